"""Say that a program is being compiled, how long it takes, and what a persistent cache saves the next time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

TICK_SECONDS = 10.0
"""Seconds between two lines while a program is being compiled."""
FOLDER = "jax_compilation_cache_dir"
KEPT_SECONDS = "jax_persistent_cache_min_compile_time_secs"
"""Option of JAX's: programs that take less are not kept."""
SAVED_EVENT = "/jax/compilation_cache/compile_time_saved_sec"


@contextlib.contextmanager
def ticking(what: str, say: Callable[[str], None]) -> Iterator[None]:
    """Say every `TICK_SECONDS` that `what` goes on, from a thread that ends with the context."""
    began, over = time.monotonic(), threading.Event()

    def tick() -> None:
        while not over.wait(TICK_SECONDS):
            say(f"{what}: {time.monotonic() - began:.0f} s so far")

    thread = threading.Thread(target=tick, name="jaxgan-compiling", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def compile_lowered(lowered: Any, traced_seconds: float, say: Callable[[str], None]) -> Any:
    """Compile `lowered` and say how long it took, and how much of that the persistent cache saves next time, or has saved.

    Args:
      lowered: a `jax.stages.Lowered`; anything without `compile` is returned as it is.
      traced_seconds: what making it took, which no cache saves.
    """
    if not hasattr(lowered, "compile"):
        return lowered
    saved: list[float] = []

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event == SAVED_EVENT:
            saved.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    began = time.monotonic()
    try:
        with ticking("still compiling the training step", say):
            compiled = lowered.compile()
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    say(in_words(traced_seconds, time.monotonic() - began, saved))
    return compiled


def in_words(traced: float, compiled: float, saved: list[float]) -> str:
    """What is said of a program that was traced and compiled in so many seconds; saved: seconds that the cache saved, if it had the program."""
    folder, least = (getattr(jax.config, option) for option in (FOLDER, KEPT_SECONDS))
    text = f"compiled in {traced + compiled:.1f} s"
    if saved:
        return f"{text}: the program came from the cache {folder}, which saved {max(sum(saved), 0.0):.1f} s"
    if compiled < least:
        return f"{text}: a cache of compiled programs keeps only what XLA takes {least:g} s or more for"
    if folder:
        return f"{text}: the cache {folder} keeps the program and saves about {compiled:.1f} s of that next time"
    return f"{text}: with --compilation-cache DIR the next start would save about {compiled:.1f} s of that"
