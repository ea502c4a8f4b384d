"""Timing against calls whose length is known: how often each runs, in which order, and what the figures are of."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import timing


@pytest.fixture
def clock(monkeypatch):
    """A clock that calls turn forward themselves."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    return now


def ticking(clock, name, seconds, called):
    def call():
        called.append(name)
        clock[0] += seconds

    return call


def test_rivals_run_in_turns_after_a_warm_up(clock):
    called: list = []
    times = timing.interleave(
        {"a": ticking(clock, "a", 0.5, called), "b": ticking(clock, "b", 0.25, called)}
    )
    assert called == ["a", "b"] * (3 + 30)
    assert {name: len(each) for name, each in times.items()} == {"a": 30, "b": 30}
    assert timing.ratio(times["a"], times["b"]) == {
        "ratio": 2.0,
        "ratio_min": 2.0,
        "ratio_p10": 2.0,
        "ratio_p90": 2.0,
    }


def test_slow_calls_are_repeated_ten_times(clock):
    called: list = []
    times = timing.repeat(ticking(clock, "a", 3.0, called))
    np.testing.assert_allclose(times, [3.0] * 10)
    assert len(called) == 11


def test_short_calls_are_repeated_for_a_while_and_whole_periods(clock):
    called: list = []
    assert len(timing.repeat(ticking(clock, "a", 0.125, called), 4, least_seconds=2.0)) == 16
    assert len(timing.repeat(ticking(clock, "a", 0.125, called), 30, multiple=16)) == 32
    assert (
        len(timing.repeat(ticking(clock, "a", 0.125, called), 1, least_seconds=2.5, multiple=16))
        == 32
    )
    assert len(timing.repeat(ticking(clock, "a", 0.0, called), 1, least_seconds=1.0)) == 1000


def test_summary_is_of_one_step():
    seconds = [0.002 * i for i in range(1, 12)]
    found = timing.summary(seconds, per_call=2)
    assert found == {
        "median_ms": 6.0,
        "p10_ms": 2.0,
        "p90_ms": 10.0,
        "mean_ms": 6.0,
        "min_ms": 1.0,
        "repetitions": 11,
    }


def test_ratio_tells_the_spread_round_by_round():
    found = timing.ratio([2.0, 4.0, 6.0], [1.0, 1.0, 1.0])
    assert found == {"ratio": 4.0, "ratio_min": 2.0, "ratio_p10": 2.4, "ratio_p90": 5.6}
