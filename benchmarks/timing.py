"""Fair timing: warmed up, waited for, repeated often enough to say how far the times spread, and rivals in turns.

A *call* is a function of no arguments that does the work once and returns what to wait for (the new state of a step; a call on another library's device
waits itself). Times are seconds of wall clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

Call = Callable[[], Any]

REPETITIONS, SLOW_REPETITIONS, SLOW = 30, 10, 2.0
"""How often at least, and how often a call that takes more than SLOW seconds."""


def seconds_of(call: Call) -> float:
    """Seconds of one call, until its result is there."""
    begin = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - begin


def repeat(
    call: Call,
    repetitions: int | None = None,
    *,
    warm_up: int = 3,
    least_seconds: float = 0.0,
    multiple: int = 1,
) -> list[float]:
    """Seconds of each of many calls. See `interleave`."""
    return interleave(
        {"": call}, repetitions, warm_up=warm_up, least_seconds=least_seconds, multiple=multiple
    )[""]


def interleave(
    calls: Mapping[str, Call],
    repetitions: int | None = None,
    *,
    warm_up: int = 3,
    least_seconds: float = 0.0,
    multiple: int = 1,
) -> dict[str, list[float]]:
    """Seconds of each of many calls of every rival, taken in turns (A B A B), so that other load on the machine falls on all of them.

    Args:
      calls: by name; each compiled already, or the first warm-up compiles it.
      repetitions: rounds; None is 30, or 10 if any call takes more than 2 s.
      warm_up: untimed rounds before (at least 1; only 1 if any call takes more than 2 s).
      least_seconds: go on, up to 1,000 rounds, until that long has been timed: more rounds for calls of microseconds.
      multiple: round the number of rounds up to a multiple of this, for work that repeats with a period (lazy regularisation).
    """
    for _ in range(max(1, warm_up)):
        warm = [seconds_of(call) for call in calls.values()]
        if max(warm) > SLOW:
            break
    if repetitions is None:
        repetitions = SLOW_REPETITIONS if max(warm) > SLOW else REPETITIONS
    times: dict[str, list[float]] = {name: [] for name in calls}
    rounds, total = -(-repetitions // multiple) * multiple, 0.0
    done = 0
    while done < rounds or (done % multiple) or (total < least_seconds and done < 1_000):
        for name, call in calls.items():
            times[name].append(seconds_of(call))
            total += times[name][-1]
        done += 1
    return times


def summary(seconds: Sequence[float], per_call: int = 1) -> dict[str, float | int]:
    """Milliseconds of one step, of `per_call` in each call: median_ms, p10_ms, p90_ms, mean_ms, min_ms, and how many `repetitions`."""
    times = 1e3 * np.asarray(seconds) / per_call
    values = {
        "median_ms": np.median(times), "p10_ms": np.percentile(times, 10), "p90_ms": np.percentile(times, 90), "mean_ms": times.mean(), "min_ms": times.min()
    }  # fmt: skip
    return {
        **{name: round(float(value), 4) for name, value in values.items()},
        "repetitions": len(times),
    }


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> dict[str, float]:
    """How many times as long one rival of `interleave` took as another: `ratio` of the medians, `ratio_min` of the minima, and the spread `ratio_p10` to
    `ratio_p90` of the ratios round by round.
    """
    above, below = np.asarray(numerator), np.asarray(denominator)
    each = above / below
    values = {"ratio": np.median(above) / np.median(below), "ratio_min": above.min() / below.min()}
    values |= {"ratio_p10": np.percentile(each, 10), "ratio_p90": np.percentile(each, 90)}
    return {name: round(float(value), 3) for name, value in values.items()}
