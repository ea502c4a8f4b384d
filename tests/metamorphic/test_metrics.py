"""What should change nothing of a figure, and what should change it in a known way."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxgan.data import from_arrays
from jaxgan.data import open as open_data
from jaxgan.metrics import figures, looks, paired
from jaxgan.metrics.feature_networks import open_network
from jaxgan.metrics.features import Features
from jaxgan.metrics.figures import Known, Material
from jaxgan.metrics.frechet import distance, moments
from jaxgan.metrics.ground import Ground, Watch
from jaxgan.metrics.kernel import kid
from jaxgan.metrics.measure import evaluate_files
from jaxgan.metrics.real import Rows, drawn, halves
from jaxgan.metrics.tasks import Task

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
    np.testing.assert_array_equal(
        measure(a, b), np.concatenate([measure(a[:2], b[:2]), measure(a[2:], b[2:])])
    )
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
    floors = [
        frechet_distance(*halves(rows, 0)) for rows in (alternating, np.concatenate([zeros, ones]))
    ]
    by_stride = frechet_distance(alternating[0::2], alternating[1::2])
    assert max(floors) < 2 * min(floors)
    assert by_stride > 5 * max(floors)


def test_a_set_is_as_far_from_itself_and_its_double_as_nothing():
    rows = DIGITS.data[:200]
    assert frechet_distance(rows, rows) == pytest.approx(0, abs=1e-3)
    assert frechet_distance(rows, rows[::-1]) == pytest.approx(0, abs=1e-3)
    other = DIGITS.data[200:400]
    assert frechet_distance(rows, other) == pytest.approx(frechet_distance(other, rows), rel=1e-6)


def test_figures_of_sets_do_not_depend_on_their_order():
    a, b = DIGITS.data[:150], DIGITS.data[150:300]
    order = RANDOM.permutation(150)
    assert kid(a[order], b) == pytest.approx(kid(a, b), rel=1e-6)
    assert kid(a, b) == pytest.approx(kid(b, a), rel=1e-6)
    assert frechet_distance(a[order], b) == pytest.approx(frechet_distance(a, b), rel=1e-6)


@pytest.mark.parametrize("order", ["alternating", "in turn", "shuffled"])
def test_attributes_are_read_whichever_way_kinds_take_turns(order):
    """Without training images, a classifier is fitted to half of the real ones: every other one would be of one kind."""
    shown = np.arange(240) % 2
    shown = {
        "alternating": shown,
        "in turn": np.sort(shown),
        "shuffled": RANDOM.permutation(shown),
    }[order]
    features = RANDOM.normal(size=(240, 4)) + 8 * shown[:, None]
    known = Known(Features(features, None), None, shown[:, None], features[:, :1])
    material = Material(
        Task("to it", 240, None, "image", column=0), None, (), known, known, None, {}, None, None, 0
    )
    (found,) = figures.attribute_accuracy(material)
    assert (found.value, found.floor) == (0.5, 1)
    assert 40 < found.counts[0] < 80  # about half of those that show it


def test_counts_leave_out_what_a_figure_leaves_out():
    features = [
        Known(Features(RANDOM.normal(size=(21, 3)), None), np.repeat([0, 1, 2], [10, 10, 1]))
        for _ in range(2)
    ]
    mean, *each = figures.intra_fid(
        Material(
            Task("", 21, None, "image"), None, ("a", "b", "c"), *features, None, {}, None, None, 0
        )
    )
    assert [one.counts for one in (mean, *each)] == [(20, 20), (10, 10), (10, 10)]
    images, _ = pairs()
    images[:4] = 7  # of one brightness all over
    assert looks.colour_correlation(images, images, images).counts == (2, 2)


def test_maps_without_a_known_pixel_are_not_counted():
    dataset = open_data("layout:digits", split="test", image_size=(16, 16))
    maps = dataset.arrays["layout"][:5].copy()
    maps[3:] = dataset.class_count  # unknown
    images = Rows(dataset.arrays["image"][:5], (16, 16))
    task = Task("", 5, None, "image", target=images, layout=Rows(maps, (16, 16)))
    watch = Watch(task, Ground(dataset, None, None, ("miou",), 5, None, False, False, 0))
    assert len(np.concatenate(list(watch([images.take(0, 2), images.take(2, 3)])))) == 5
    material = Material(
        task, None, (), None, None, None, {}, watch.confusions, None, 0, mapped=watch.mapped
    )
    (found,) = figures.MEASURES["miou"](material)
    assert (found.value, found.counts) == (1, (3, 3))


def test_features_that_were_kept_are_those_of_the_images_drawn(monkeypatch, tmp_path):
    """Features kept of other rows, as many, of the same set would stand beside the labels of these."""
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path))
    network = open_network("digits")
    train, test = (open_data("digits", split=split) for split in ("train", "test"))

    def known(seed):
        return Ground(test, train, network, ("fid",), 200, None, False, False, seed).known(
            "image", (8, 8), True
        )

    first, second, again = known(0), known(1), known(0)
    assert (first.labels != second.labels).any()
    np.testing.assert_array_equal(first.features.features, again.features.features)
    for each in (first, second):
        assert (each.features.probabilities.argmax(1) == each.labels).mean() > 0.95


def test_floors_of_files_are_drawn_by_the_seed():
    images = from_arrays("some", DIGITS.images[:120, :, :, None].astype(np.uint8) * 15)
    floors = [
        evaluate_files(images, images, ["fid"], network="digits", looks=False, seed=seed)[0]
        for seed in (0, 0, 1)
    ]
    assert [one.seed for one in floors] == [0, 0, 1]
    assert floors[0].floor == floors[1].floor != floors[2].floor
    assert [one.value for one in floors] == pytest.approx([0, 0, 0], abs=1e-3)
    assert max(one.floor for one in floors) < 2 * min(one.floor for one in floors)
