"""`experiments.translation_score`: errors by hand, baselines that are what they say, and models of known error."""

from __future__ import annotations

import json
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import translation_score
from experiments.translation_score import Score, baselines, measure, report
from jaxgan import data
from jaxgan.data import digit_views
from jaxgan.errors import DataError
from jaxgan.family import Conditioning
from jaxgan.state import State


def pictures(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_errors_by_hand():
    """Two pixels of two images: off by (0, 0), (16, 4), (17, 0) and (0, 100) of 255."""
    target = np.full((2, 1, 2, 2), 100, np.uint8)
    guess = np.array([[[[100, 100], [116, 96]]], [[[83, 100], [100, 200]]]], np.float64)
    score = measure(lambda images: guess, np.zeros((2, 1, 2, 3), np.uint8), target)
    assert score.l1 == (16 + 4 + 17 + 100) / 8
    np.testing.assert_allclose(score.rms, np.sqrt((256 + 16 + 289 + 10_000) / 8))
    assert score.accuracy == 2 / 4


def test_a_guess_outside_the_range_counts_as_its_edge():
    assert (
        measure(
            lambda images: np.full(images.shape, 300.0),
            pictures(1, 2, 2, 1),
            np.full((1, 2, 2, 1), 255, np.uint8),
        ).l1
        == 0
    )


def test_more_images_than_a_chunk():
    source = pictures(2 * translation_score.CHUNK + 3, 2, 2, 1)
    assert measure(lambda images: images + 1.0, source, source).l1 == pytest.approx(1, abs=0.02)
    assert measure(lambda images: images.astype(float), source, source) == Score(0.0, 0.0, 1.0)


def test_baselines():
    """An affine relation is found exactly; the mean image is the mean; where channels differ there is nothing to copy."""
    source = pictures(20, 4, 4, 2)
    target = (
        np.stack([source[..., 0] // 2, 255 - source[..., 1], source[..., 0] // 2], -1)
    ).astype(np.uint8)
    found = baselines(source, target)
    assert set(found) == {
        "mean image",
        "best affine map of a pixel, RMS",
        "best affine map of a pixel, L1",
    }
    np.testing.assert_allclose(
        found["mean image"](source[:2]), np.broadcast_to(target.mean(axis=0), (2, 4, 4, 3))
    )
    assert measure(found["best affine map of a pixel, RMS"], source, target).l1 < 0.3
    assert "copying the input" in baselines(source, source)


def test_the_affine_map_for_l1_is_the_median_where_that_for_rms_is_the_mean():
    source = np.zeros((1, 10, 10, 1), np.uint8)
    target = source.copy()
    target[0, :3] = 200
    found = baselines(source, target)
    np.testing.assert_allclose(found["best affine map of a pixel, RMS"](source), 60, atol=1e-6)
    np.testing.assert_allclose(found["best affine map of a pixel, L1"](source), 0, atol=0.1)


def translator(change):
    """A family whose model is `change` of images in [-1, 1]."""
    told = Conditioning("sides", sides=(3, 3), directions=("a2b", "b2a"))

    def translate(config, state, images, direction):
        return change(images, direction)

    return SimpleNamespace(translate=translate, conditioning=lambda config: told), SimpleNamespace(
        image_size=(16, 16)
    )


def test_the_true_recolouring_has_no_error():
    """And its table says so for both directions, beside the baselines."""
    (paper, ink) = (
        np.array(colour, np.float32).reshape(1, 1, 1, 3) for colour in digit_views.COLOURS["b"]
    )

    def change(images, direction):
        if direction == "a2b":
            grey = (images[..., :1] + 1) / 2
            return jnp.round(paper + (ink - paper) * grey) / 127.5 - 1
        return jnp.broadcast_to(-images[..., :1], images.shape)

    family, config = translator(change)
    for (text, scores), direction in zip(
        report(family, config, None, "paired:digits", "test"), ("a2b", "b2a"), strict=True
    ):
        assert scores["this model"].l1 < 0.01
        assert scores["this model"].accuracy == 1
        assert scores["copying the input"].l1 > 100
        assert f"{direction}, 297 held-out pairs" in text


def test_copying_scores_as_copying():
    family, config = translator(lambda images, direction: images)
    _, scores = next(report(family, config, None, "paired:digits?task=outline", "test"))
    np.testing.assert_allclose(scores["this model"], scores["copying the input"], atol=1e-4)


def test_sixteen_bits_score_as_eight():
    eight = {name: pictures(5, 4, 4, 3, seed=i) for i, name in enumerate("ab")}
    sets = [
        data.from_domains("x", scale(eight["a"]), scale(eight["b"]), independent=False)
        for scale in (np.asarray, lambda x: x.astype(np.uint16) * 257)
    ]
    family, config = translator(lambda images, direction: images)
    of_eight, of_sixteen = (
        translation_score.score(family, config, None, one, one, "a2b") for one in sets
    )
    for name, expected in of_eight.items():
        np.testing.assert_allclose(of_sixteen[name], expected, rtol=1e-4, atol=1e-3, err_msg=name)


def test_unpaired_data_has_nothing_to_compare_with():
    with pytest.raises(DataError, match="has no pairs to compare translations with"):
        next(report(*translator(lambda images, direction: images), None, "unpaired:digits", "test"))


def test_figures_are_appended_as_json(tmp_path, monkeypatch, capsys):
    family, config = translator(lambda images, direction: images)
    monkeypatch.setattr(
        "jaxgan.checkpoint.load", lambda run: (family, config, State(5, 5, {}, {}, {}))
    )
    for _ in range(2):
        translation_score.run(tmp_path / "one", "paired:digits", out=tmp_path / "scores.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert [line["direction"] for line in lines] == ["a2b", "b2a"] * 2
    assert lines[0]["images"] == 5
    assert lines[0]["this model"] == pytest.approx(lines[0]["copying the input"], abs=1e-4)
    assert "copying the input" in capsys.readouterr().out


def inks(change):
    """A family whose model is `change` of images in [-1, 1] and the colour that is asked for, and its config."""
    names = ("red", "green", "blue")

    def translate(config, state, images, attributes):
        return change(images, names[int(attributes.argmax())])

    family = SimpleNamespace(
        translate=translate,
        conditioning=lambda config: Conditioning("attributes", attributes=names),
    )
    return family, SimpleNamespace(
        image_size=(16, 16),
        channels=3,
        attributes=names,
        groups=(("ink", 3),),
        known=(),
        alternatives=(),
    )


def test_the_true_inks_have_no_error():
    """Each ink from the digits in the two others, 198 of the 297 that are held out."""

    def change(images, colour):
        ink = jnp.array(digit_views.INKS[colour], jnp.float32).reshape(1, 1, 1, 3)
        return jnp.round(ink * (jnp.max(images, axis=-1, keepdims=True) + 1) / 2) / 127.5 - 1

    found = list(report(*inks(change), None, "attributes:digits", "test"))
    assert len(found) == 3
    for (text, scores), colour in zip(found, digit_views.INKS, strict=True):
        assert scores["this model"].l1 < 0.01
        assert scores["this model"].accuracy == 1
        assert scores["copying the input"].l1 > 10
        assert f"to {colour}, 198 held-out pairs" in text
    _, scores = next(
        report(*inks(lambda images, colour: images), None, "attributes:digits", "test")
    )
    np.testing.assert_allclose(
        scores["this model"], scores["copying the input"], atol=0.01
    )  # some differences are 16, up to rounding
    with pytest.raises(
        DataError, match="attributes:faces tells no true translations between attributes"
    ):
        next(report(*inks(change), None, "attributes:faces", "test"))


def test_only_runs_on_digits_are_scored_after_training(capsys, monkeypatch):
    monkeypatch.setattr(
        "jaxgan.checkpoint.load", lambda run: (*translator(lambda images, direction: images), None)
    )
    for spec, printed in (
        ("unpaired:digits", True),
        ("paired:digits?task=outline", True),
        ("paired:maps", False),
        ("digits", False),
    ):
        translation_score.after_digits(SimpleNamespace(data=spec, run="here"))
        assert bool(capsys.readouterr().out) == printed, spec
    assert data.open("paired:digits", split="test").size == 297
