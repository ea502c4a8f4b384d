"""What should change nothing of a figure, and what should change it in a known way."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxgan.data import open as open_data
from jaxgan.metrics import paired
from jaxgan.metrics.frechet import distance, moments
from jaxgan.metrics.real import drawn, halves

DIGITS = load_digits()
RANDOM = np.random.default_rng(0)


def frechet_distance(a, b):
    return distance(moments(a), moments(b))


def pairs(count=6):
    a = RANDOM.integers(0, 256, (count, 12, 12, 3)).astype(np.uint8)
    return a, np.clip(a + RANDOM.integers(-20, 20, a.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("measure", [paired.l1, paired.accuracy, paired.psnr, paired.ssim])
def test_errors_of_pairs_are_symmetric_and_each_on_its_own(measure):
    a, b = pairs()
    np.testing.assert_allclose(measure(a, b), measure(b, a), rtol=1e-12)
    np.testing.assert_array_equal(measure(a, b), np.concatenate([measure(a[:2], b[:2]), measure(a[2:], b[2:])]))
    order = RANDOM.permutation(len(a))
    np.testing.assert_array_equal(measure(a[order], b[order]), measure(a, b)[order])
    np.testing.assert_allclose(measure(a[:, :, ::-1], b[:, :, ::-1]), measure(a, b), rtol=1e-9)


@pytest.mark.parametrize("measure", [paired.accuracy, paired.psnr, paired.ssim])
def test_an_exact_reconstruction_never_lowers_a_mean(measure):
    a, b = pairs()
    before = measure(a, b)
    exact = b.copy()
    exact[0] = a[0]
    after = measure(a, exact)
    assert np.isfinite(after).all()
    assert after.mean() > before.mean()
    assert after[0] == measure(a, a).max()


def test_psnr_of_equal_images_is_that_of_rounding():
    a, _ = pairs()
    np.testing.assert_allclose(paired.psnr(a, a), 10 * np.log10(255**2 * 12))
    off = a.copy()
    off[:, 0, 0, 0] ^= 1  # one level of one pixel, far below rounding
    np.testing.assert_array_equal(paired.psnr(a, off), paired.psnr(a, a))
    near = np.where(a > 127, a - 1, a + 1).astype(np.uint8)
    np.testing.assert_allclose(paired.psnr(a, near), 20 * np.log10(255))


def test_what_is_drawn_is_of_every_kind_of_a_periodic_set():
    """Of digits in three inks in turn, 99 of 5,391 by a stride would all be red."""
    index = drawn(5391, 99)
    assert (np.diff(index) > 0).all()
    assert (index.min(), index.max()) > (0, 5000)
    assert np.bincount(index % 3).min() > 20
    np.testing.assert_array_equal(drawn(5391, 99), index)
    assert (drawn(5391, 99, seed=1) != index).any()
    np.testing.assert_array_equal(drawn(5, 9), range(5))
    inks = open_data("attributes:digits", image_size=(8, 8)).arrays["attributes"]
    shares = inks[drawn(len(inks), 300)].mean(0)
    assert (abs(shares - inks.mean(0)) < 0.1).all()


def test_halves_are_two_like_parts_of_the_whole():
    rows = np.arange(101)
    first, second = halves(rows, 0)
    assert (len(first), len(second)) == (51, 50)
    np.testing.assert_array_equal(np.sort(np.concatenate([first, second])), rows)
    assert {len(halves(rows, seed)[0] % 2) for seed in range(3)} == {51}
    assert 15 < (first % 2).sum() < 36  # not every other one


def test_the_floor_does_not_depend_on_how_kinds_take_turns():
    zeros, ones = (DIGITS.data[DIGITS.target == kind][:120] for kind in (0, 1))
    alternating = np.stack([zeros, ones], 1).reshape(-1, zeros.shape[1])
    floors = [frechet_distance(*halves(rows, 0)) for rows in (alternating, np.concatenate([zeros, ones]))]
    by_stride = frechet_distance(alternating[0::2], alternating[1::2])
    assert max(floors) < 2 * min(floors)
    assert by_stride > 5 * max(floors)


def test_a_set_is_as_far_from_itself_and_its_double_as_nothing():
    rows = DIGITS.data[:200]
    assert frechet_distance(rows, rows) == pytest.approx(0, abs=1e-3)
    assert frechet_distance(rows, rows[::-1]) == pytest.approx(0, abs=1e-3)
    other = DIGITS.data[200:400]
    assert frechet_distance(rows, other) == pytest.approx(frechet_distance(other, rows), rel=1e-6)
