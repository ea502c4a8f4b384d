"""`experiments.sample`: what is drawn, in which order, and the three ways to write it."""

from __future__ import annotations

import types

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import sample as command
from jaxgan.family import Conditioning
from jaxgan.pictures.images import tile
from tests import tiny_family

CONFIG = tiny_family.Config()


def labelled(config, state, key, n, labels=None, *, first=0):
    """Images that carry their label and their global index: label / 10 everywhere but for one pixel, index / 1000."""
    images = jax.numpy.broadcast_to(labels[:, None, None, None] / 10.0, (n, 4, 4, 1))
    return images.at[:, 0, 0, 0].set((first + jax.numpy.arange(n)) / 1000)


CONDITIONAL = types.SimpleNamespace(sample=labelled, __name__="jaxgan.families.cgan")
CLASSES = types.SimpleNamespace(classes=3)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """A run directory whose checkpoint is a fresh state."""
    import jaxgan.checkpoint

    state = jax.jit(tiny_family.init, static_argnums=0)(CONFIG, jax.random.key(0))
    monkeypatch.setattr(
        jaxgan.checkpoint, "load", lambda folder: (tiny_family, CONFIG, state.replace(players={}))
    )
    return tmp_path, state


def test_chunks_change_nothing(run):
    whole = tiny_family.sample(CONFIG, run[1], jax.random.key(3), 150)
    drawn = command.draw(tiny_family, CONFIG, run[1], 150, None, seed=3)
    assert drawn.shape == (150, 4, 4, 1)
    np.testing.assert_allclose(drawn, whole, atol=1e-6)
    assert np.abs(drawn[:64] - drawn[64:128]).max() > 0.1


def test_labels_are_drawn_in_turn_over_chunk_borders():
    labels = np.resize(np.array([2, 0, 1], np.int32), 130)
    drawn = command.draw(CONDITIONAL, CLASSES, {}, 130, labels, seed=0)
    np.testing.assert_allclose(drawn[:, 1, 1, 0], labels / 10, rtol=1e-6)
    np.testing.assert_allclose(drawn[:, 0, 0, 0], np.arange(130) / 1000, rtol=1e-6)


def test_chosen_labels():
    assert command.chosen_labels([], 3).tolist() == [0, 1, 2]
    assert command.chosen_labels(["all"], 3).tolist() == [0, 1, 2]
    assert command.chosen_labels(["2", "0"], 3).tolist() == [2, 0]
    assert command.chosen_labels([], 0) is None
    with pytest.raises(ValueError, match="numbers from 0 to 2, got '3'"):
        command.chosen_labels(["3"], 3)
    with pytest.raises(ValueError, match="has no classes"):
        command.chosen_labels(["0"], 0)


def test_classes_are_chosen_by_name():
    named = ("cat", "dog", "eel")
    assert command.chosen_labels(["dog", "0", "cat"], 3, named).tolist() == [1, 0, 0]
    with pytest.raises(
        ValueError,
        match="names of classes, which are cat, dog, eel, or numbers from 0 to 2, got 'cow'",
    ):
        command.chosen_labels(["cow"], 3, named)
    years = ("1990", "2", "2010")  # names that are numbers win
    assert command.chosen_labels(["2", "number:2"], 3, years).tolist() == [1, 2]
    with pytest.raises(ValueError, match="--labels 0 is no name of a class"):
        command.chosen_labels(["0"], 3, years)


def test_array_file_holds_the_images(run, capsys):
    folder, state = run
    command.main([str(folder), "--n", "5", "--seed", "1", "--out", str(folder / "images.npy")])
    assert capsys.readouterr().out == f"{folder / 'images.npy'}\n"
    images = np.load(folder / "images.npy")
    assert images.dtype == np.float32
    np.testing.assert_allclose(
        images, tiny_family.sample(CONFIG, state, jax.random.key(1), 5), atol=1e-6
    )


def _height(images):
    """Of a sheet of two rows without a title."""
    return tile(images.reshape(2, 3, *images.shape[1:])).shape[0]


def test_a_grid_has_a_column_per_class(tmp_path):
    images = np.zeros((6, 4, 4, 1), np.float32)
    images[[1, 4]] = 1.0  # the second class of three is white
    command.write(tmp_path / "grid.png", images, ["cat", "dog", "eel"])
    with Image.open(tmp_path / "grid.png") as grid:
        sheet = np.asarray(grid)
        assert grid.info["Comment"] == "classes in turn: cat, dog, eel"

    pixels = sheet[-_height(images) :]
    assert sheet.shape[0] > pixels.shape[0]
    assert (sheet[: -pixels.shape[0]] < 128).any()  # the names above the columns
    height, width = pixels.shape
    assert (pixels[[height // 4, 3 * height // 4], width // 2] == 255).all()
    assert (pixels[[height // 4, 3 * height // 4]][:, [width // 6, 5 * width // 6]] == 128).all()


def test_a_folder_holds_one_file_per_image_exactly(tmp_path):
    values = np.linspace(-1, 1, 4 * 16, dtype=np.float32).reshape(4, 4, 4, 1)
    command.write(tmp_path / "all", values, ["7", "8"])
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == [
        "000000-7.png",
        "000001-8.png",
        "000002-7.png",
        "000003-8.png",
    ]
    with Image.open(tmp_path / "all" / "000002-7.png") as image:
        np.testing.assert_array_equal(
            np.asarray(image), np.rint((values[2, ..., 0] + 1) * 127.5).astype(np.uint8)
        )


def test_the_default_is_a_grid_in_the_run(run):
    command.main([str(run[0]), "--n", "9", "--seed", "4"])
    with Image.open(run[0] / "generated-4.png") as grid:
        assert grid.size[0] == grid.size[1] > 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--n", "0"], "--n must be at least 1"),
        (["--out", "x.jpg"], ".png or .npy"),
        (["--labels", "1"], "no classes"),
    ],
)
def test_bad_requests_end_with_status_2(run, arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main([str(run[0]), *arguments])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_family_that_translates_is_refused():
    with pytest.raises(ValueError, match="cyclegan changes given images"):
        command.draw(
            types.SimpleNamespace(__name__="jaxgan.families.cyclegan"), CONFIG, {}, 1, None, 0
        )


@pytest.mark.parametrize(("flags", "message"), [
    (["--truncation", "0.7"], "has no styles: leave out --truncation"),
    (["--mix", "0", "2"], "has no styles: leave out --mix"),
])  # fmt: skip
def test_options_of_styles_are_refused_elsewhere(run, flags, message, capsys):
    with pytest.raises(SystemExit) as left:
        command.main([str(run[0]), *flags])
    assert left.value.code == 2
    assert message in capsys.readouterr().err


def test_truncation_and_mixed_styles_reach_the_family(monkeypatch, tmp_path):
    """--truncation goes to `sample`; --mix with the layers, sources and labels to `mix`, whose grid becomes one picture."""
    import jaxgan.checkpoint

    def sample(config, state, key, n, labels=None, *, first=0, truncation=1.0):
        return jax.numpy.full((n, 4, 4, 1), truncation)

    def mix(config, state, key, n, layers, labels, *, truncation):
        assert (n, layers, truncation, labels.shape) == (2, (1, 3), 0.5, (4,))
        return jax.numpy.zeros((n + 1, n + 1, 4, 5, 1)) + labels[1] / 10

    family = types.SimpleNamespace(
        sample=sample,
        mix=mix,
        styles_of=None,
        synthesise=None,
        conditioning=lambda config: Conditioning("class", config.classes),
        __name__="jaxgan.families.stylegan",
    )
    monkeypatch.setattr(jaxgan.checkpoint, "load", lambda folder: (family, CLASSES, {}))
    command.main(
        [str(tmp_path), "--n", "3", "--truncation", "0.25", "--out", str(tmp_path / "images.npy")]
    )
    np.testing.assert_array_equal(
        np.load(tmp_path / "images.npy"), np.full((3, 4, 4, 1), 0.25, np.float32)
    )
    command.main([str(tmp_path), "--n", "2", "--mix", "1", "3", "--truncation", "0.5"])
    with Image.open(tmp_path / "generated-0.png") as picture:
        width, height = picture.size
        assert width > 3 * 5 - 1
        assert height > 3 * 4 - 1
    with pytest.raises(SystemExit):
        command.main(
            [str(tmp_path), "--n", "2", "--mix", "1", "3", "--out", str(tmp_path / "images.npy")]
        )
