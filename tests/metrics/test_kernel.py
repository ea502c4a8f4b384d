"""The kernel distance by loops, its bias, and its standard error."""

from __future__ import annotations

import numpy as np
import pytest

from jaxgan.metrics.kernel import kid


def _by_loops(x: np.ndarray, y: np.ndarray) -> float:
    n, d = x.shape
    k = lambda a, b: (sum(p * q for p, q in zip(a, b)) / d + 1) ** 3  # noqa: E731
    within = sum(k(s[i], s[j]) for s in (x, y) for i in range(n) for j in range(n) if i != j)
    return within / (n * (n - 1)) - 2 * sum(k(a, b) for a in x for b in y) / n**2


def test_against_loops():
    x, y = np.random.default_rng(0).normal(size=(2, 7, 3))
    np.testing.assert_allclose(kid(x, y)[0], _by_loops(x, y), rtol=1e-12)


def test_subsets_of_unequal_sets_against_loops():
    """A subset as large as the smaller set holds all of it."""
    x, y = np.random.default_rng(0).normal(size=(2, 8, 3))
    generator, y = np.random.default_rng(5), y[:6]
    values = []
    for _ in range(3):
        values.append(
            _by_loops(
                x[generator.choice(8, 6, replace=False)], y[generator.choice(6, 6, replace=False)]
            )
        )
    np.testing.assert_allclose(kid(x, y, subsets=3, seed=5)[0], np.mean(values), rtol=1e-12)


def test_unbiased_on_halves_of_one_set_and_so_is_each_size():
    """Of equal distributions the mean is 0, and of a shift the value does not depend on the size of subsets, unlike a Frechet distance's."""
    generator = np.random.default_rng(0)
    values = [kid(*generator.normal(size=(2, 30, 4)))[0] for _ in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))
    x, y = generator.normal(size=(2, 1000, 4))
    small, large = (
        kid(x, y + 0.5, subset_size=size, subsets=subsets)
        for size, subsets in ((20, 400), (250, 40))
    )
    assert abs(small[0] - large[0]) < 3 * np.hypot(small[1], large[1])
    assert large[0] > 5 * large[1]


@pytest.mark.parametrize("subset_size", [100, 1000])
def test_standard_error(subset_size):
    """What it says, on average, is the spread over draws of both sets: from subsets, and from one subset of everything."""
    generator = np.random.default_rng(1)
    draws = [
        kid(
            generator.normal(size=(300, 3)),
            generator.normal(0.3, 1, (300, 3)),
            subset_size=subset_size,
            subsets=20,
        )
        for _ in range(100)
    ]
    values, errors = np.array(draws).T
    np.testing.assert_allclose(np.sqrt(np.mean(errors**2)), np.std(values, ddof=1), rtol=0.25)


def test_seed():
    x, y = np.random.default_rng(0).normal(size=(2, 50, 3))
    assert kid(x, y, subset_size=20) == kid(x, y, subset_size=20)
    assert kid(x, y, subset_size=20) != kid(x, y, subset_size=20, seed=1)


@pytest.mark.parametrize(
    ("sizes", "settings", "message"),
    [
        (((5, 3), (5, 4)), {}, "cannot be compared"),
        (((1, 3), (5, 3)), {}, "at least 2 features a set, got 1 and 5"),
        (((5, 3), (5, 3)), {"subset_size": 1}, "subset_size at least 2"),
    ],
)
def test_refusals(sizes, settings, message):
    with pytest.raises(ValueError, match=message):
        kid(*(np.zeros(size) for size in sizes), **settings)
