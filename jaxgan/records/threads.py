"""Waiting for background threads that may have died.

A thread can die without a word: of an exit raised in it, of memory that ran out, of a library's bug. Whoever waits for its answer then waits without end.
So nothing here waits for a thread without looking, once a second, whether anyone is left who could answer.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import thread as pools
from contextlib import suppress
from typing import Any, TypeVar

from jaxgan.errors import RunError

T = TypeVar("T")

LOOK_SECONDS = 1.0
"""How often whoever waits looks."""
PATIENCE = 8
"""In how many looks, one after the other, something must be wrong: threads that hand over work seem dead for a moment."""


POOLS = {
    "grain": ("grain-",),
    "orbax": ("asyncio", "metadata_store", "Worker", "ThreadPoolExecutor"),
}
"""How the names of a library's pools of threads begin."""


class ThreadDied(RunError):
    """Nobody is left who could do what is waited for; the message names the threads."""


def dead_pools(package: str, known: frozenset[Any] = frozenset()) -> dict[Any, str]:
    """Names of the thread pools of `package` that have no thread left alive though nobody ended them, by the queue of their work.

    What they had in hand, or waits in the queue, is never done.

    Args:
      known: pools that are not looked at, such as those that were dead before.
    """
    workers: dict[Any, list[threading.Thread]] = {}
    for thread, work in list(pools._threads_queues.items()):  # type: ignore[attr-defined]
        if thread.name.startswith(POOLS[package]) and work not in known:
            workers.setdefault(work, []).append(thread)
    return {
        work: threads[0].name.rstrip("0123456789").rstrip("_")
        for work, threads in workers.items()
        if not any(map(threading.Thread.is_alive, threads)) and not _told_to_end(work)
    }


def _told_to_end(work: Any) -> bool:
    """Whether the queue of a pool without threads holds the None that ends them. Nothing is handed in meanwhile."""
    with pools._global_shutdown_lock:
        items = []
        with suppress(queue.Empty):
            while True:
                items.append(work.get_nowait())
        for item in items:
            work.put(item)
    return any(item is None for item in items)


def deadlocked(thread: threading.Thread, package: str) -> bool:
    """Whether `thread` runs code of `package` and it and all others that do wait for another thread: for its end, its answer or a lock.

    A thread that waits for a disk or a network does so elsewhere: in a system call, in other code, in a loop of events.
    """
    frames = sys._current_frames()
    workers = [
        frames.get(worker.ident or 0) for worker in list(pools._threads_queues) if worker.is_alive()
    ]  # type: ignore[attr-defined]
    busy = any(
        frame is not None and frame.f_code.co_name != "_worker" for frame in workers
    )  # perhaps with what another waits for
    if busy or not _runs(frames.get(thread.ident or 0), package):
        return False
    return all(_waits(frame) for frame in frames.values() if _runs(frame, package))


def _runs(frame: Any, package: str) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] == package:
            return True
        frame = frame.f_back
    return False


def _waits(frame: Any) -> bool:
    return (frame.f_globals.get("__name__"), frame.f_code.co_name) in _WAITS


_WAITS = [("threading", name) for name in ("wait", "join", "_wait_for_tstate_lock")] + [
    ("logging", "acquire")
]


def stuck(thread: threading.Thread, package: str, known: frozenset[Any] = frozenset()) -> str:
    """Who seems to have died, where `thread` can never finish what it does with `package`; "" while it may. known: see `dead_pools`."""
    if not thread.is_alive():
        return thread.name
    dead = ", ".join(sorted(set(dead_pools(package, known).values())))
    return dead or (package if deadlocked(thread, package) else "")


def join(thread: threading.Thread, package: str, known: frozenset[Any] = frozenset()) -> str:
    """Wait until `thread` has ended, and return ""; or who has died, once it can never end. known: see `dead_pools`."""
    wrong, who = 0, ""
    while thread.is_alive():
        thread.join(LOOK_SECONDS)
        who = stuck(thread, package, known) if thread.is_alive() else ""
        wrong = wrong + 1 if who else 0
        if wrong >= PATIENCE:
            return who
    return ""


def result(future: Future[T], pool: ThreadPoolExecutor) -> T:
    """The result of work given to a pool. Raises ThreadDied once a thread of the pool has died: the work may have been in its hands."""
    while True:
        try:
            return future.result(LOOK_SECONDS)
        except TimeoutError:
            if not future.done() and not all(map(threading.Thread.is_alive, pool._threads)):
                raise ThreadDied(
                    f"the threads of {pool._thread_name_prefix} have died: run the same command again"
                ) from None
        except (SystemExit, KeyboardInterrupt) as error:
            if future.done() and future.exception() is error:
                raise ThreadDied(
                    f"a thread of {pool._thread_name_prefix} was ended by {type(error).__name__}: run the same command again"
                ) from error
            raise


def supervised(action: Callable[[], T], package: str, known: frozenset[Any] = frozenset()) -> T:
    """`action()`, called in a thread of its own; raises what it raises, and ThreadDied once it can never return.

    Threads that it starts end with the process, as this one does, so that one that is stuck cannot hold up the process's end.

    Args:
      package: the library that `action` calls, whose threads may wait for each other.
      known: see `dead_pools`; those that an earlier run in this process left dead.
    """
    outcome: list[tuple[T | None, BaseException | None]] = []

    def work() -> None:
        try:
            outcome.append((action(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=work, name="jaxgan-supervised", daemon=True)
    thread.start()
    who = join(thread, package, known)
    if who:
        raise ThreadDied(f"the threads of {who} have died")
    if not outcome:
        raise ThreadDied("its thread has died")
    value, error = outcome[0]
    if error is not None:
        raise (
            error
            if isinstance(error, Exception)
            else ThreadDied(f"its thread was ended by {type(error).__name__}")
        )
    return value  # type: ignore[return-value]
