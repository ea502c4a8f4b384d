"""The Frechet distance against closed forms, and moments in parts against NumPy's."""

from __future__ import annotations

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan.metrics.frechet import Moments, add, distance, moments

FEATURES = arrays.arrays(
    np.float64, st.tuples(st.integers(2, 12), st.just(4)), elements=st.floats(-100, 100, width=32)
)
FAST = settings(max_examples=30, deadline=None)


def _scale(*sets: np.ndarray) -> float:
    """What rounding is relative to."""
    return 1 + max(float(np.square(x).sum()) for x in sets)


@FAST
@given(FEATURES, FEATURES)
def test_symmetric_never_negative_and_zero_to_itself(x, y):
    a, b = moments(x), moments(y)
    assert distance(a, a) <= 1e-12 * _scale(x)
    assert distance(a, b) >= 0
    assert abs(distance(a, b) - distance(b, a)) <= 1e-7 * _scale(x, y)


@FAST
@given(FEATURES, arrays.arrays(np.float64, 4, elements=st.floats(-100, 100, width=32)))
def test_a_shift_adds_its_square(x, shift):
    found = distance(moments(x), moments(x + shift[None]))
    assert abs(found - np.sum(shift**2)) <= 1e-9 * _scale(x, x + shift[None])


def test_diagonal_gaussians():
    a, b = np.array([1.0, 4.0, 0.25]), np.array([9.0, 1.0, 0.25])
    first, second = (
        Moments(10, np.zeros(3), np.diag(a)),
        Moments(10, np.array([1.0, 2.0, 0.0]), np.diag(b)),
    )
    np.testing.assert_allclose(
        distance(first, second), 5 + np.sum((np.sqrt(a) - np.sqrt(b)) ** 2), rtol=1e-12
    )


def test_full_covariances_against_the_matrix_square_root():
    linalg = pytest.importorskip("scipy.linalg")
    x, y = np.random.default_rng(0).normal(size=(2, 50, 6)) @ np.random.default_rng(1).normal(
        size=(2, 6, 6)
    )
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(
        a + b - 2 * np.real(linalg.sqrtm(a @ b))
    )
    np.testing.assert_allclose(distance(moments(x), moments(y)), expected, rtol=1e-8)


def test_fewer_features_than_numbers():
    """Covariances of rank 4 in 300 dimensions: B = 9 A is at (1 - 3)^2 trace(A) from A; the general square root of their product would be noise."""
    x = np.random.default_rng(0).normal(size=(5, 300))
    a, b = moments(x), moments(3 * (x - x.mean(0, keepdims=True)) + x.mean(0, keepdims=True))
    np.testing.assert_allclose(distance(a, b), 4 * np.trace(a.covariance), rtol=1e-12)
    assert distance(a, a) <= 1e-12 * np.trace(a.covariance)


def test_numbers_that_never_change_or_say_the_same():
    """A covariance with a zero row, and one with two equal rows, have no Cholesky factor to rely on."""
    x, y = np.random.default_rng(0).normal(size=(2, 400, 3))
    expected = distance(moments(x), moments(y))
    dead = [np.concatenate([features, np.full((400, 1), 7.0)], 1) for features in (x, y)]
    np.testing.assert_allclose(distance(*map(moments, dead)), expected, rtol=1e-9)
    turned = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 3)))[0]
    np.testing.assert_allclose(
        distance(moments(x @ turned.T), moments(y @ turned.T)), expected, rtol=1e-9
    )


def test_bias():
    """What the docstring says of it."""
    generator, n, d = np.random.default_rng(0), 500, 32
    values = [
        distance(*(moments(generator.normal(size=(n, d))) for _ in range(2))) for _ in range(10)
    ]
    np.testing.assert_allclose(np.mean(values), d * (d / 2 + 2) / n, rtol=0.1)


@FAST
@given(FEATURES, st.lists(st.integers(1, 11), max_size=4))
def test_moments_in_parts(x, cuts):
    first, *rest = [
        part for part in np.split(x, sorted({cut for cut in cuts if cut < len(x)})) if len(part)
    ]
    total = moments(first)
    for part in rest:
        total = add(total, part)
    assert total.count == len(x)
    np.testing.assert_allclose(total.mean, x.mean(0), atol=1e-12 * _scale(x))
    np.testing.assert_allclose(total.covariance, np.cov(x, rowvar=False), atol=1e-12 * _scale(x))


def test_parts_far_from_zero_lose_no_digits():
    """The sum of squares minus the square of the sum would have no digit left."""
    x = 1e8 + np.random.default_rng(0).normal(size=(1000, 2))
    total = moments(x[:300])
    for part in (x[300:301], x[301:]):
        total = add(total, part)
    np.testing.assert_allclose(
        total.covariance, np.cov(x - 1e8, rowvar=False), rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: moments(np.zeros(3)), r"features must be \[N, D\]"),
        (lambda: moments(np.array([[1.0, np.nan]])), "1 rows with a NaN"),
        (lambda: add(moments(np.zeros((2, 3))), np.zeros((2, 4))), "4 numbers cannot be added"),
        (
            lambda: distance(moments(np.zeros((2, 3))), moments(np.zeros((2, 4)))),
            "cannot be compared",
        ),
        (
            lambda: distance(moments(np.zeros((1, 3))), moments(np.zeros((2, 3)))),
            "at least 2 features, got 1 and 2",
        ),
    ],
)
def test_refusals(act, message):
    with pytest.raises(ValueError, match=message):
        act()
