"""`experiments.latent`: what is decoded, against a model whose codes are the pixels themselves, and one sentence for what cannot be."""

from __future__ import annotations

import types

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import latent as command
from jaxgan import data, vaegan
from tests.families_under_test import CASES

SIZE = (3, 4)
PIXELS = np.random.default_rng(0).integers(0, 256, (200, *SIZE, 1)).astype(np.uint8)
LABELS = np.sort(np.arange(200) % 3)
ATTRIBUTES = np.stack([np.arange(200) % 2, np.arange(200) % 5 == 0], axis=1).astype(np.uint8)


def encode(config, state, images):
    """A code is the pixels in a row; its log-variance is not looked at."""
    return images.reshape(len(images), -1), np.nan


def decode(config, state, codes):
    assert len(codes) == command.CHUNK
    return codes.reshape(len(codes), *SIZE, 1)


FAMILY = types.SimpleNamespace(encode=encode, decode=decode, __name__="jaxgan.families.vaegan")
CONFIG = types.SimpleNamespace(image_size=SIZE, channels=1, latent_size=12)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """run(*arguments) -> the array the command wrote, with the pixels above as its data."""
    import jaxgan.checkpoint

    monkeypatch.setattr(jaxgan.checkpoint, "load", lambda folder: (FAMILY, CONFIG, {}))
    classes = data.from_arrays("classes", PIXELS, LABELS, ("ant", "bee", "cat"))
    sets = {"classes": classes, "plain": data.from_arrays("plain", PIXELS)}
    sets["attributes"] = data.dataset.with_attributes(sets["plain"], ATTRIBUTES, ("Odd", "Fifth"))
    monkeypatch.setattr("jaxgan.data.open", lambda spec, image_size, channels: sets[spec])

    def call(action, *arguments, out=tmp_path / "out.npy"):
        command.main([str(tmp_path), action, str(out), *map(str, arguments)])
        return np.load(out) if out.suffix == ".npy" else out

    return call


def as_floats(pixels):
    return pixels.astype(np.float64) / 127.5 - 1


def test_strips_between_samples_are_straight(run):
    """From one code of the prior to the next; every sample is used once, and the number of strips changes none."""
    grid = run("interpolate", "--n", 40, "--steps", 5, "--seed", 3)
    assert grid.shape == (40, 5, *SIZE, 1)
    keys = [jax.random.fold_in(jax.random.key(3), i) for i in range(80)]
    codes = np.stack([jax.random.normal(key, (12,)) for key in keys]).reshape(40, 2, *SIZE, 1)
    for column, share in enumerate((0, 0.25, 0.5, 0.75, 1)):
        np.testing.assert_allclose(grid[:, column], (1 - share) * codes[:, 0] + share * codes[:, 1], atol=1e-6)
    np.testing.assert_array_equal(run("interpolate", "--n", 2, "--steps", 5, "--seed", 3), grid[:2])


def test_strips_between_images_begin_and_end_with_them(run, tmp_path):
    files = []
    for i in range(3):
        files.append(tmp_path / f"{i}.png")
        Image.fromarray(PIXELS[i, ..., 0]).save(files[-1])
    grid = run("interpolate", "--images", *files, "--steps", 3)
    images = as_floats(PIXELS[:3])
    assert grid.shape == (2, 5, *SIZE, 1)
    for strip in range(2):
        middle = (images[strip] + images[strip + 1]) / 2
        expected = [images[strip], images[strip], middle, images[strip + 1], images[strip + 1]]
        np.testing.assert_allclose(grid[strip], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "names", "with_it", "without"),
    [
        ("classes", ("--to", "bee"), LABELS == 1, LABELS != 1),
        ("classes", ("--to", "cat", "--from", "ant"), LABELS == 2, LABELS == 0),
        ("attributes", ("--to", "Odd"), ATTRIBUTES[:, 0] == 1, ATTRIBUTES[:, 0] == 0),
        ("attributes", ("--to", "Odd", "--from", "Fifth"), ATTRIBUTES[:, 0] == 1, ATTRIBUTES[:, 1] == 1),
    ],
)
def test_an_attribute_is_a_difference_of_mean_codes(run, capsys, spec, names, with_it, without):
    """Means over all of each group; a row is an image of the second group, and what becomes of it at each strength."""
    grid = run("attribute", "--data", spec, *names, "--n", 4, "--strengths", "0", "-1", "2")
    images = as_floats(PIXELS)
    vector = images[with_it].mean(axis=0) - images[without].mean(axis=0)
    chosen = images[without][:4]
    assert grid.shape == (4, 4, *SIZE, 1)
    for column, expected in enumerate((chosen, chosen, chosen - vector, chosen + 2 * vector)):
        np.testing.assert_allclose(grid[:, column], expected, atol=1e-5)
    assert f"{names[1]}: {with_it.sum()} images" in capsys.readouterr().out


def test_a_limit_looks_at_images_spread_over_the_set(run):
    """Every fourth, as classes come one after the other."""
    grid = run("attribute", "--data", "classes", "--to", "cat", "--limit", 50, "--n", 1, "--strengths", "1")
    images, labels = as_floats(PIXELS[::4]), LABELS[::4]
    vector = images[labels == 2].mean(axis=0) - images[labels != 2].mean(axis=0)
    np.testing.assert_allclose(grid[0, 1], images[0] + vector, atol=1e-5)


def test_the_attribute_of_given_images(run, tmp_path):
    """Of another size and with colours, they are scaled to the model's; a folder counts as its images."""
    (tmp_path / "mine").mkdir()
    Image.fromarray(np.full((12, 16, 3), 51, np.uint8)).save(tmp_path / "mine" / "a.png")
    np.save(tmp_path / "mine" / "b.npy", np.full((*SIZE, 1), 0.5, np.float32))
    grid = run("attribute", "--data", "classes", "--to", "bee", "--images", tmp_path / "mine", "--strengths", "0")
    np.testing.assert_allclose(grid[:, 0, 0, 0, 0], [51 / 127.5 - 1, 0.5], atol=1e-6)


def test_a_sheet(run, tmp_path):
    with Image.open(run("interpolate", "--n", 2, "--steps", 4, out=tmp_path / "sheet.png")) as sheet:
        assert (sheet.width > sheet.height, sheet.mode) == (True, "L")


def test_a_real_run(monkeypatch, tmp_path):
    """The first and last of a strip between samples are what `sample` draws."""
    import jaxgan.checkpoint

    config = CASES["vaegan"].config
    state = jax.jit(vaegan.init, static_argnums=0)(config, jax.random.key(0)).replace(players={})
    monkeypatch.setattr(jaxgan.checkpoint, "load", lambda folder: (vaegan, config, state))
    command.main([str(tmp_path), "interpolate", str(tmp_path / "out.npy"), "--n", "2", "--seed", "5"])
    strips, samples = np.load(tmp_path / "out.npy"), vaegan.sample(config, state, jax.random.key(5), 4)
    np.testing.assert_allclose(strips[:, [0, -1]].reshape(samples.shape), samples, atol=1e-6)


@pytest.mark.parametrize(
    ("action", "arguments", "message"),
    [
        ("interpolate", ["--steps", "1"], "--steps must be at least 2"),
        ("interpolate", ["--n", "0"], "--n must be at least 1"),
        ("interpolate", ["--images", "one.png"], "needs two images"),
        ("interpolate", ["--images", "none/here", "or/here"], "does not exist"),
        ("attribute", ["--data", "classes", "--to", "dog"], "--to must be a class or attribute of classes, which are ant, bee, cat, got 'dog'"),
        ("attribute", ["--data", "classes", "--to", "ant", "--from", "dog"], "--from must be"),
        ("attribute", ["--data", "plain", "--to", "ant"], "plain has no classes and no attributes"),
        ("attribute", ["--data", "classes", "--to", "cat", "--limit", "2", "--from", "bee"], "that were looked at is cat: raise --limit"),
    ],
)
def test_bad_requests_end_with_status_2(run, capsys, action, arguments, message):
    with pytest.raises(SystemExit) as stop:
        run(action, *arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_an_image_that_cannot_be_used_is_named(run, capsys, tmp_path):
    for name, array in (("small.npy", np.zeros((2, 2, 1), np.float32)), ("four.npy", np.zeros((*SIZE, 5), np.uint8))):
        np.save(tmp_path / name, array)
        with pytest.raises(SystemExit):
            run("interpolate", "--images", tmp_path / name, tmp_path / name)
        assert f"{tmp_path / name} " in capsys.readouterr().err


def test_other_endings_and_other_families_are_refused(run, monkeypatch, capsys, tmp_path):
    import jaxgan.checkpoint

    with pytest.raises(SystemExit):
        run("interpolate", out=tmp_path / "sheet.jpg")
    assert "OUT must end in .png or .npy" in capsys.readouterr().err
    monkeypatch.setattr(jaxgan.checkpoint, "load", lambda folder: (types.SimpleNamespace(__name__="jaxgan.families.dcgan"), CONFIG, {}))
    with pytest.raises(SystemExit):
        run("interpolate")
    assert capsys.readouterr().err == "error: dcgan cannot encode images, so it has no codes to mix or move: give a run of vaegan\n"
