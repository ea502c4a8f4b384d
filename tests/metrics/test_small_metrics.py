"""Inception Score, errors of pairs, and label maps: closed forms and loops."""

from __future__ import annotations

import numpy as np
import pytest

from jaxgan.metrics.inception_score import inception_score
from jaxgan.metrics.paired import accuracy, l1, psnr, ssim
from jaxgan.metrics.segmentation import confusion, mean_iou, pixel_accuracy

PAIR = np.random.default_rng(0).integers(0, 256, (2, 3, 14, 12, 3)).astype(np.uint8)


def test_inception_score_of_sure_and_of_unsure_classes():
    """Sure and evenly spread over 4 of 10 classes: 4. Always the same answer: 1."""
    sure = np.eye(10)[np.arange(40) % 4]
    np.testing.assert_allclose(inception_score(sure, 5), (4, 0), atol=1e-12)
    np.testing.assert_allclose(inception_score(np.full((40, 10), 0.1)), (1, 0), atol=1e-12)


def test_inception_score_by_parts():
    p = np.random.default_rng(0).dirichlet(np.ones(5), 30)
    scores = [
        np.exp(np.mean([np.sum(row * np.log(row / part.mean(0))) for row in part]))
        for part in (p[:10], p[10:20], p[20:])
    ]
    np.testing.assert_allclose(inception_score(p, 3), (np.mean(scores), np.std(scores)), rtol=1e-12)


@pytest.mark.parametrize(
    ("probabilities", "splits", "message"),
    [
        (np.ones((4, 2)), 2, "sum to 1"),
        (np.array([[1.5, -0.5]]), 1, "at least 0"),
        (np.eye(4), 5, "splits must be between 1 and the number of images, 4, got 5"),
        (np.ones(4), 1, r"\[N, K\]"),
    ],
)
def test_inception_score_refusals(probabilities, splits, message):
    with pytest.raises(ValueError, match=message):
        inception_score(probabilities, splits)


def test_l1_and_psnr():
    a, b = PAIR
    differences = a.astype(float) - b
    np.testing.assert_allclose(l1(a, b), [np.mean(np.abs(d)) for d in differences], rtol=1e-12)
    np.testing.assert_allclose(
        psnr(a, b), [-10 * np.log10(np.mean((d / 255) ** 2)) for d in differences], rtol=1e-12
    )
    np.testing.assert_allclose(psnr(a, a), np.full(3, 10 * np.log10(255**2 * 12)), rtol=1e-12)


def test_accuracy_takes_the_worst_channel():
    a = np.full((1, 1, 4, 3), 100, np.uint8)
    b = a.copy()
    b[0, 0, 1, 0] += 16
    b[0, 0, 2, 1] += 17
    b[0, 0, 3, 2] -= 100
    np.testing.assert_array_equal(accuracy(a, b), [0.5])
    np.testing.assert_array_equal(accuracy(a, b, within=17), [0.75])


def test_ssim_against_windows():
    """Every 11x11 window by its own weighted sums."""
    a, b = PAIR.astype(float)
    weights = np.exp(-(np.add.outer(np.arange(-5, 6) ** 2, np.arange(-5, 6) ** 2)) / (2 * 1.5**2))
    weights /= weights.sum()

    def at(x, y):
        mx, my = (weights * x).sum(), (weights * y).sum()
        vx, vy, cov = (
            (weights * (x - mx) ** 2).sum(),
            (weights * (y - my) ** 2).sum(),
            (weights * (x - mx) * (y - my)).sum(),
        )
        return (
            (2 * mx * my + 2.55**2)
            * (2 * cov + 7.65**2)
            / ((mx**2 + my**2 + 2.55**2) * (vx + vy + 7.65**2))
        )

    expected = [
        np.mean(
            [
                at(x[i : i + 11, j : j + 11, c], y[i : i + 11, j : j + 11, c])
                for i in range(4)
                for j in range(2)
                for c in range(3)
            ]
        )
        for x, y in zip(a, b)
    ]
    np.testing.assert_allclose(ssim(*PAIR), expected, rtol=1e-10)
    np.testing.assert_allclose(ssim(PAIR[0], PAIR[0]), np.ones(3), rtol=1e-12)
    assert np.all(ssim(PAIR[0], 255 - PAIR[0]) < 0)


@pytest.mark.parametrize("measure", [l1, accuracy, psnr, ssim])
def test_pairs_that_do_not_fit(measure):
    with pytest.raises(ValueError, match="uint8 of one shape"):
        measure(PAIR[0], PAIR[1][:2])
    with pytest.raises(ValueError, match="uint8 of one shape"):
        measure(PAIR[0] / 255, PAIR[1] / 255)
    with pytest.raises(ValueError, match="at least 11 x 11, got 14 x 10"):
        ssim(PAIR[0][:, :, :10], PAIR[1][:, :, :10])


def test_label_maps():
    true, predicted = (
        np.array([[0, 0, 1], [1, 3, 3]], np.uint8),
        np.array([[0, 1, 1], [1, 0, 2]], np.int32),
    )
    counts = confusion(true, predicted, 3, unknown=3)
    np.testing.assert_array_equal(counts, [[1, 1, 0], [0, 2, 0], [0, 0, 0]])
    np.testing.assert_allclose(
        mean_iou(counts), (1 / 2 + 2 / 3) / 2
    )  # class 2 is nowhere that counts
    np.testing.assert_allclose(pixel_accuracy(counts), 3 / 4)
    assert mean_iou(confusion(true, true, 4)) == pixel_accuracy(confusion(true, true, 4)) == 1
    assert np.isnan([mean_iou(np.zeros((2, 2), int)), pixel_accuracy(np.zeros((2, 2), int))]).all()
    np.testing.assert_allclose(mean_iou(confusion(np.zeros(4, int), np.ones(4, int), 2)), 0)


def test_label_maps_that_do_not_fit():
    with pytest.raises(ValueError, match="predicted ids must be between 0 and 1"):
        confusion(np.zeros(2, int), np.array([0, 2]), 2)
    with pytest.raises(ValueError, match="true ids"):
        confusion(np.array([0, 2]), np.zeros(2, int), 2)
    with pytest.raises(ValueError, match="integers of one shape"):
        confusion(np.zeros(2), np.zeros(2), 2)
