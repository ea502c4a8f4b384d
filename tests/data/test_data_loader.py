from __future__ import annotations

import gc
import threading
import time

import numpy as np
import pytest

from jaxgan.data import batch, from_arrays, order, prefetch


def alive():
    return [thread for thread in threading.enumerate() if thread.name == "jaxgan-prefetch"]


def fail_in_the_loop_over(items):
    for _ in items:
        raise RuntimeError("by the loop")


def test_batch_gathers_rows_into_memory():
    image = np.arange(5 * 12, dtype=np.uint8).reshape(5, 2, 2, 3)
    data = from_arrays("five", image, np.array([0, 1, 2, 1, 0]))
    rows = batch(data, np.array([4, 1, 1]))
    np.testing.assert_array_equal(rows["image"], image[[4, 1, 1]])
    np.testing.assert_array_equal(rows["label"], [0, 1, 1])
    assert rows["label"].dtype == np.int32
    assert type(rows["image"]) is np.ndarray
    rows["image"][:] = 0  # a copy
    assert data.arrays["image"].max() == 59


def test_prefetch_keeps_order_and_ends():
    assert list(prefetch(iter(range(100)), 3)) == list(range(100))
    assert list(prefetch(iter([]))) == []
    assert not alive()


def test_prefetch_runs_ahead_but_no_further_than_depth():
    made = []

    def source():
        for i in range(10):
            made.append(i)
            yield i

    items = prefetch(source(), 2)
    assert made == []
    assert next(items) == 0
    deadline = time.monotonic() + 5
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert made == [0, 1, 2, 3]  # one taken, two waiting, one in the thread's hands
    items.close()
    assert not alive()


def test_prefetch_raises_where_the_item_would_have_come():
    def source():
        yield 1
        yield 2
        raise KeyError("third")

    items = prefetch(source())
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(KeyError, match="third"):
        next(items)
    assert not alive()


@pytest.mark.parametrize("leave", ["break", "close", "drop", "raise"])
def test_prefetch_stops_and_closes_on_early_exit(leave):
    closed = []

    def source():
        try:
            i = 0
            while True:
                yield i
                i += 1
        finally:
            closed.append(True)

    items = prefetch(source(), 2)
    if leave == "raise":
        with pytest.raises(RuntimeError, match="by the loop"):
            fail_in_the_loop_over(items)
        del items
    elif leave == "break":
        for _ in items:
            break
        del items
    else:
        next(items)
        items.close() if leave == "close" else None
        del items
    gc.collect()
    assert closed == [True]
    assert not alive()


def test_prefetch_of_a_real_stream():
    data = from_arrays("forty", np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1))
    batches = prefetch(batch(data, order(40, 8, 0, step)) for step in range(5))
    seen = np.concatenate([rows["image"].ravel() for rows in batches])
    np.testing.assert_array_equal(np.sort(seen), np.arange(40))


def test_depth_is_checked_at_once():
    with pytest.raises(ValueError, match="depth"):
        prefetch(iter([]), 0)
