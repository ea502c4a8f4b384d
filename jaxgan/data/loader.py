"""Batches on the host: gather rows of a set, and stay a few batches ahead in a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from jaxgan.records import threads

if TYPE_CHECKING:
    from jaxgan.data.dataset import Dataset

T = TypeVar("T")
_END = object()
_DIED = "no more batches can be made, as {}: run the same command again, which goes on from the last checkpoint"


def batch(
    dataset: Dataset | Mapping[str, np.ndarray], indices: np.ndarray
) -> dict[str, np.ndarray]:
    """Rows `indices` (int [B]) of every array: {"image": uint8 or uint16 [B, H, W, C], "label": int32 [B], ...}, copied into memory."""
    arrays = dataset if isinstance(dataset, Mapping) else dataset.arrays
    return {name: np.asarray(array[indices]) for name, array in arrays.items()}


def prefetch(iterator: Iterator[T], depth: int = 2) -> Iterator[T]:
    """The same items, made up to `depth` ahead in a background thread.

    An exception of `iterator` is raised where its item would have come. Closing the result, leaving it to the garbage collector, or an
    exception in the loop over it stops the thread and closes `iterator`. The thread starts with the first item asked for.

    Raises ValueError unless depth >= 1; `threads.ThreadDied`, while iterated over, once the thread or those that it waits for have died.
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    return _prefetched(iterator, depth)


def _prefetched(iterator: Iterator[T], depth: int) -> Iterator[T]:
    items: queue.Queue[Any] = queue.Queue(depth)
    stop = threading.Event()
    thread = threading.Thread(
        target=_fill, args=(iterator, items, stop), name="jaxgan-prefetch", daemon=True
    )
    thread.start()
    try:
        while True:
            item, error = _next(items, thread)
            if isinstance(error, (SystemExit, KeyboardInterrupt)):
                raise threads.ThreadDied(
                    _DIED.format(f"the thread {thread.name} was ended by {type(error).__name__}")
                ) from error
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        stop.set()
        threads.join(thread, "grain")  # one that is stuck goes with the process


def _next(items: queue.Queue[Any], thread: threading.Thread) -> Any:
    """The next item. Raises ThreadDied where none can come any more."""
    wrong = 0
    while True:
        try:
            return items.get(timeout=threads.LOOK_SECONDS)
        except queue.Empty:
            who = threads.stuck(thread, "grain")
            wrong = wrong + 1 if who else 0
            if wrong >= threads.PATIENCE and items.empty():
                raise threads.ThreadDied(_DIED.format(f"the threads of {who} have died")) from None


def _fill(iterator: Iterator[Any], items: queue.Queue[Any], stop: threading.Event) -> None:
    def put(entry):
        while not stop.is_set():
            try:
                return items.put(
                    entry, timeout=0.05
                )  # wakes up to see `stop` when nobody takes items any more
            except queue.Full:
                continue

    try:
        for item in iterator:
            put((item, None))
            if stop.is_set():
                break
        put((_END, None))
    except BaseException as error:
        put((None, error))
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
