"""How a program that trains on CPU deals with memory that it has freed."""

from __future__ import annotations

import ctypes
import platform

import jax

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt(3)."""


def keep_freed() -> bool:
    """Have the C library keep what is freed for what is asked for next; whether it can be told so, which only glibc can. Call it before JAX is used.

    A training step on CPU asks for the same large buffers again and again. By default large ones are mapped anew each time, and cleared page by page when
    first touched: for CycleGAN at 128x128 that is 224,000 page faults a step, which cost it about a quarter of its time. The process now holds the most
    memory it ever needed, with no limit: the buffers of a step of CycleGAN at 256x256 are more than 2 GB. glibc keeps only what the main thread has freed
    (what other threads get is given back with their heaps), so CPU programs run in the thread that calls them instead of one of JAX's: a step returns when
    it is done. Nothing changes on accelerators, whose buffers are not the C library's.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    kept = all([mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, -1)])  # -1: never
    jax.config.update("jax_cpu_enable_async_dispatch", not kept)
    return kept
