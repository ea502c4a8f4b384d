from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan.data import order
from jaxgan.data.order import _permutation

sizes = st.integers(1, 200)
batches = st.integers(1, 64)
seeds = st.integers(0, 2**32 - 1)


def stream(size, batch_size, seed, steps):
    return np.concatenate([order(size, batch_size, seed, step) for step in range(steps)])


@given(sizes, batches, seeds)
def test_every_epoch_is_a_permutation(size, batch_size, seed):
    steps = -(-3 * size // batch_size)
    indices = stream(size, batch_size, seed, steps)
    assert indices.dtype == np.int64
    for epoch in range(3):
        np.testing.assert_array_equal(
            np.sort(indices[epoch * size : (epoch + 1) * size]), np.arange(size)
        )


@given(sizes, batches, seeds, st.lists(st.integers(0, 50), min_size=1, max_size=6))
def test_pure_and_independent_of_call_order(size, batch_size, seed, steps):
    forwards = [order(size, batch_size, seed, step) for step in steps]
    _permutation.cache_clear()
    backwards = [order(size, batch_size, seed, step) for step in reversed(steps)][::-1]
    for a, b in zip(forwards, backwards):
        np.testing.assert_array_equal(a, b)
    forwards[0][:] = -1  # a caller may write into its batch
    assert order(size, batch_size, seed, steps[0]).min() >= 0


@given(sizes, st.integers(1, 8), st.integers(1, 8), seeds, st.integers(0, 10**7))
@settings(max_examples=50)
def test_processes_share_the_global_batch(size, share, processes, seed, step):
    whole = order(size, share * processes, seed, step)
    parts = [
        order(size, share * processes, seed, step, process=p, processes=processes)
        for p in range(processes)
    ]
    assert {len(part) for part in parts} == {share}
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@given(sizes, st.integers(1, 10), st.integers(1, 5), seeds)
def test_batch_size_only_cuts_the_stream(size, small, times, seed):
    np.testing.assert_array_equal(
        stream(size, small, seed, 4 * times), stream(size, small * times, seed, 4)
    )


def test_epochs_seeds_and_attempts_differ():
    runs = [
        order(1000, 1000, seed, step) for seed in (0, 5, 6, (5, 1), (5, 2)) for step in range(4)
    ]
    for i, a in enumerate(runs):
        for b in runs[:i]:
            assert np.mean(a == b) < 0.02  # two random permutations agree in one place on average
    np.testing.assert_array_equal(
        order(1000, 10, 5, 3), order(1000, 10, (5, 0), 3)
    )  # attempt 0 is the run itself


def test_domains_differ_from_each_other_in_every_attempt():
    """As `jaxgan.run.feed` asks for them: attempt 0 is left out, domains count from 1. Also for the largest seed."""
    for seed in (5, 2**32 - 1):
        parts = [(seed, *attempt, domain) for attempt in ((), (1,), (2,)) for domain in (1, 2)]
        runs = [order(1000, 1000, part, epoch) for part in [(seed,), *parts] for epoch in range(3)]
        agree = np.mean(np.array(runs)[:, None] == np.array(runs)[None], axis=2)
        assert agree[~np.eye(len(runs), dtype=bool)].max() < 0.02


def test_later_epochs_are_read_across_the_border():
    np.testing.assert_array_equal(
        order(10, 4, 3, 2),
        np.concatenate([_permutation(10, (3,), 0)[8:], _permutation(10, (3,), 1)[:2]]),
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 4, 0, 0), "size 0"),
        ((4, 0, 0, 0), "batch_size"),
        ((4, 4, -1, 0), "seed"),
        ((4, 4, 0, -1), "step"),
    ],
)
def test_settings_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        order(*arguments)


def test_unequal_shares_are_refused():
    with pytest.raises(ValueError, match="no multiple of the 3 processes"):
        order(10, 4, 0, 0, process=0, processes=3)
    with pytest.raises(ValueError, match="process must be between 0 and 1"):
        order(10, 4, 0, 0, process=2, processes=2)
