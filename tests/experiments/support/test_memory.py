"""Freed memory is kept: a program that is told so meets no page twice."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
COUNT = """
import resource
from experiments.support import memory
if {keep}:
    assert memory.keep_freed()
import jax, jax.numpy as jnp

@jax.jit
def step(x):  # a buffer of 64 MB between x and what comes of it
    return jnp.sin(jnp.outer(x, x)) @ x / 4096

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

x, counts = jnp.ones(4096), []
for _ in range(48):
    before = faults()
    x = jax.block_until_ready(step(x))
    counts.append(faults() - before)
print(sorted(counts[24:])[12])
"""
LARGE = """
import ctypes, resource
from experiments.support import memory
assert memory.keep_freed()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    buffer = libc.malloc(5 << 29)
    ctypes.memset(buffer, 1, 64 << 20)  # the rest is never touched, and so takes no memory
    libc.free(buffer)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(), faults())
"""
GLIBC = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="another C library, which is left as it is"
)


def run(program):
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@GLIBC
def test_buffers_of_a_step_are_not_mapped_anew():
    """The median of calls, once the heap has settled, which takes up to four of them, on a busy machine more."""
    found = {keep: float(run(COUNT.format(keep=keep))) for keep in (False, True)}
    assert found[False] > 10_000 > 1_000 > found[True]


@GLIBC
def test_buffers_larger_than_two_gigabytes_are_kept_too():
    first, second = map(int, run(LARGE).split())
    assert first > 10 * second
