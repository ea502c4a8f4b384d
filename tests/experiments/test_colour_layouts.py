"""Coloured label maps become maps of ids that `layout:` reads: by all their colours, by a palette, by the nearest of a few."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from experiments.colour_layouts import run
from jaxgan import data
from jaxgan.data import images
from jaxgan.errors import DataError, RunError

RNG = np.random.default_rng(1)
COLOURS = np.array([[0, 0, 0], [0, 0, 255], [30, 200, 30], [200, 30, 30]], np.uint8)
"""From the darkest."""


@pytest.fixture(autouse=True)
def nowhere_else(monkeypatch, tmp_path):
    """Caches go to a temporary folder."""
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "cache"))


def make(folder, kind="png", colours=COLOURS, count=3, **how):
    """Maps of blocks; returns their ids."""
    made = [RNG.integers(0, len(colours), (3, 4)).repeat(8, 0).repeat(8, 1) for _ in range(count)]
    made[0].flat[: len(colours)] = np.arange(len(colours))
    for i, ids in enumerate(made):
        (folder / "a").mkdir(parents=True, exist_ok=True)
        Image.fromarray(colours[ids]).save(folder / "a" / f"{i}.{kind}", **how)
    return np.stack(made)


def read(folder):
    return np.stack(
        [images.decode_ids(file.read_bytes()) for file in sorted(folder.rglob("*.png"))]
    )


def test_every_colour_becomes_an_id(tmp_path, capsys):
    ids = make(tmp_path / "maps")
    run(tmp_path / "maps", tmp_path / "out")
    np.testing.assert_array_equal(read(tmp_path / "out"), ids)
    assert (tmp_path / "out" / "classes.txt").read_text().split() == [
        "#000000",
        "#0000ff",
        "#1ec81e",
        "#c81e1e",
    ]
    assert "3 maps of 4 classes: #000000, #0000ff, #1ec81e, #c81e1e" in capsys.readouterr().out
    make(tmp_path / "photos")
    found = data.open(
        f"layout:{tmp_path / 'photos'},{tmp_path / 'out'}?classes={tmp_path / 'out' / 'classes.txt'}",
        progress=False,
    )
    assert found.classes == ("#000000", "#0000ff", "#1ec81e", "#c81e1e")
    np.testing.assert_array_equal(found.arrays["layout"], ids)


@pytest.mark.parametrize(
    "colours",
    [
        np.repeat(np.array([[0], [7], [255]], np.uint8), 3, 1),
        np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1),
    ],
)
def test_grey_levels_in_rgb_stay_ids(tmp_path, colours):
    ids = make(tmp_path / "maps", colours=colours)
    run(tmp_path / "maps", tmp_path / "out")
    np.testing.assert_array_equal(read(tmp_path / "out"), colours[ids][..., 0])
    assert not (tmp_path / "out" / "classes.txt").exists()


def test_a_palette_names_and_orders_the_classes(tmp_path, capsys):
    ids = make(tmp_path / "maps")
    (tmp_path / "palette.txt").write_text(
        "Void #000000\n\n200 30 30\tcar\n#0000ff, sky 2\n30 200 30 7 tall tree 4\n"
    )
    run(tmp_path / "maps", tmp_path / "out", palette=tmp_path / "palette.txt")
    np.testing.assert_array_equal(read(tmp_path / "out"), np.array([255, 1, 2, 0])[ids])
    assert (tmp_path / "out" / "classes.txt").read_text().splitlines() == [
        "car",
        "sky 2",
        "7 tall tree 4",
    ]
    assert "&unknown=255" in capsys.readouterr().out


def test_noisy_colours_get_the_nearest(tmp_path):
    ids = make(tmp_path / "maps", "jpg", quality=95, subsampling=0)
    with pytest.raises(
        DataError, match=r"0\.jpg is a JPEG, whose compression changes colours: give --colours N"
    ):
        run(tmp_path / "maps", tmp_path / "out")
    run(tmp_path / "maps", tmp_path / "out", colours=4)
    found = read(tmp_path / "out")
    assert len({(a, b) for a, b in zip(ids.ravel(), found.ravel())}) == 4, (
        "another numbering, most frequent first, of the same pixels"
    )
    order = np.bincount(found.ravel())
    assert (np.diff(order) <= 0).all()
    (tmp_path / "palette.txt").write_text(
        "black #000000\nblue #0000ff\ngreen 30 200 30\nred 200 30 30\n"
    )
    run(tmp_path / "maps", tmp_path / "exact", palette=tmp_path / "palette.txt", colours=0)
    np.testing.assert_array_equal(read(tmp_path / "exact"), ids)


@pytest.mark.parametrize(
    ("palette", "told"),
    [
        (
            "black #000000\n",
            "has the colour #.* in row .*, column .*, which the palette lacks: add it, or take the nearest with --colours 0",
        ),
        ("black #000000\nnight 0 0 0\n", "line 2, repeats a colour"),
        ("black\n", "line 1, is no class: write a name and a colour"),
        ("black 0 0 256\n", "line 1, is no class"),
        ("void #000000\n", "has 0 classes: there must be 1 to 254"),
    ],
)
def test_palettes_that_do_not_fit(tmp_path, palette, told):
    make(tmp_path / "maps")
    (tmp_path / "palette.txt").write_text(palette)
    with pytest.raises(DataError, match=told):
        run(tmp_path / "maps", tmp_path / "out", palette=tmp_path / "palette.txt")


def test_what_cannot_be_converted(tmp_path):
    make(tmp_path / "maps")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(RunError, match="is not empty: name a new folder"):
        run(tmp_path / "maps", tmp_path / "full")
    with pytest.raises(RunError, match="lies in MAPS"):
        run(tmp_path / "maps", tmp_path / "maps" / "out")
    with pytest.raises(DataError, match="have 4 colours, fewer than --colours 9"):
        run(tmp_path / "maps", tmp_path / "out", colours=9)
    Image.fromarray(RNG.integers(0, 256, (20, 20, 3)).astype(np.uint8)).save(tmp_path / "noise.png")
    with pytest.raises(
        DataError,
        match=r"noise\.png and those before it have more than 255 colours, too many for classes: give --colours N",
    ):
        run(tmp_path / "noise.png", tmp_path / "out")
    with pytest.raises(ValueError, match="--colours 0 takes the nearest colour of a palette"):
        run(tmp_path / "maps", tmp_path / "out", colours=0)
    Image.fromarray(np.zeros((4, 4, 4), np.uint8)).save(tmp_path / "maps" / "b.png")
    with pytest.raises(DataError, match=r"b\.png has transparent pixels"):
        run(tmp_path / "maps", tmp_path / "out")
    Image.fromarray(COLOURS[None]).save(tmp_path / "maps" / "b.bmp")
    with pytest.raises(RunError, match=r"two maps would become b\.png"):
        run(tmp_path / "maps", tmp_path / "out")
