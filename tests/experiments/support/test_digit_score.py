"""The demo's score: each way to cheat must fail the criterion that is there to catch it, and real digits must pass all three."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.support.digit_score import COUNT, Score, nearest, score, verdict


@pytest.fixture(scope="module")
def digits():
    """Real digits as uint8 [N, 8, 8, 1]: 797 to train on, 1,000 held out (as many as are generated)."""
    from sklearn.datasets import load_digits

    source = load_digits()
    order = np.random.default_rng(0).permutation(len(source.images))
    images, labels = (
        np.round(source.images * (255 / 16)).astype(np.uint8)[order, ..., None],
        source.target[order],
    )
    return images[:797], labels[:797], images[797:], labels[797:]


def test_new_real_digits_pass(digits):
    result = score(digits[2], digits[3], *digits)
    assert verdict(result) == []
    assert result.accuracy == result.classifier_accuracy > 0.98
    assert result.ratio == 1.0
    assert result.distinct_neighbours > 450
    assert result.count == COUNT


def test_class_means_fail_on_variety_only(digits):
    train, classes = digits[0], digits[1]
    means = np.stack([train[classes == c].mean(axis=0) for c in range(10)]) / 127.5 - 1
    labels = np.arange(COUNT) % 10
    result = score(means[labels], labels, *digits)
    assert (result.accuracy, result.distinct_neighbours) == (1.0, 10)
    assert result.ratio > 0.8
    (failure,) = verdict(result)
    assert "only 10 different" in failure


def test_copies_fail_on_distance_only(digits):
    index = np.arange(COUNT) % len(digits[0])
    result = score(digits[0][index], digits[1][index], *digits)
    assert (result.distinct_neighbours, result.median_distance, result.ratio) == (
        len(digits[0]),
        0.0,
        0.0,
    )
    assert result.accuracy > 0.99
    (failure,) = verdict(result)
    assert "copies" in failure


def test_slightly_noisy_copies_fail_on_distance(digits):
    """A copy with Gaussian noise s is about s * sqrt(64) away: 0.8 of the 2.19 of real digits, for s = 0.1 and less where clipped."""
    index = np.arange(COUNT) % len(digits[0])
    noise = 0.1 * np.random.default_rng(1).standard_normal((COUNT, 8, 8, 1))
    result = score(np.clip(digits[0][index] / 127.5 - 1 + noise, -1, 1), digits[1][index], *digits)
    assert 0.2 < result.ratio < 0.37
    assert len(verdict(result)) == 1


def test_wrong_labels_fail_on_accuracy_only(digits):
    result = score(digits[2], (digits[3] + 1) % 10, *digits)
    assert result.accuracy < 0.01
    (failure,) = verdict(result)
    assert "class asked for" in failure


def test_noise_fails_on_accuracy(digits):
    noise = np.random.default_rng(1).uniform(-1, 1, (COUNT, 8, 8, 1))
    result = score(noise, np.arange(COUNT) % 10, *digits)
    assert 0.05 < result.accuracy < 0.15  # chance
    assert result.ratio > 3
    assert any("class asked for" in failure for failure in verdict(result))


def test_uint8_and_float_images_score_alike(digits):
    floats = digits[2].astype(np.float32) / 127.5 - 1
    assert score(floats, digits[3], *digits) == score(digits[2], digits[3], *digits)


def test_nearest_agrees_with_a_loop():
    rng = np.random.default_rng(2)
    images, train = rng.standard_normal((300, 5)), rng.standard_normal((40, 5))
    indices, distances = nearest(images, train)
    for image, index, distance in zip(images, indices, distances):
        expected = [np.linalg.norm(image - row) for row in train]
        assert index == int(np.argmin(expected))
        np.testing.assert_allclose(distance, min(expected), rtol=1e-12)


def test_the_bars_are_inclusive():
    at_bar = Score(0.97, 350, 1.2, 2.0, 0.99, COUNT)
    assert verdict(at_bar) == []
    below = Score(0.9699, 349, 1.19, 2.0, 0.99, COUNT)
    assert len(verdict(below)) == 3


def test_bad_input_is_refused(digits):
    train, labels, held_out, held_labels = digits
    with pytest.raises(ValueError, match="1000 generated"):
        verdict(Score(1.0, 400, 2.0, 2.0, 0.99, 999))
    with pytest.raises(ValueError, match=r"uint8 or float in \[-1, 1\]"):
        score(held_out.astype(np.float32), held_labels, *digits)
    with pytest.raises(ValueError, match=r"uint8 or float in \[-1, 1\]"):
        score(np.full((5, 8, 8, 1), np.nan), np.zeros(5, int), *digits)
    with pytest.raises(ValueError, match="one image of 64 pixels per label"):
        score(held_out[:5], held_labels[:4], train, labels, held_out, held_labels)
