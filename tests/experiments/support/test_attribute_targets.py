"""`experiments.translate` between attributes: which targets are meant, what becomes of each image, the grid, and one sentence for what does not fit."""

from __future__ import annotations

import dataclasses
import re
import types
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments.support import image_files
from experiments.support.attribute_targets import targets
from jaxgan import stargan
from jaxgan.data.images import decode
from jaxgan.family import Conditioning
from jaxgan.pictures.images import to_uint8
from jaxgan.report import gallery
from tests.experiments.test_translate import go, noise, pixels_of, put, refused
from tests.families_under_test import CASES

INKS = CASES["stargan"].config
FACES = stargan.Config(attributes=("Black_Hair", "Blond_Hair", "Male", "Young"))
MIXED = dataclasses.replace(
    FACES,
    attributes=("Male", "child", "adult", "old", "a / b"),
    groups=(("Male", 1), ("age", 3), ("hat", 1)),
)
SETS = dataclasses.replace(
    MIXED, known=((True, True, True, True, False), (True, False, False, False, True))
)
TWO_GROUPS = stargan.Config(
    attributes=("red", "blue", "round", "square"), groups=(("ink", 2), ("shape", 2))
)


def told(found):
    return {name: values.tolist() for name, values in found.told.items()}


# ------------------------------------------------------------------------------------------------------------------ one target


@pytest.mark.parametrize(
    ("config", "text", "row", "number"),
    [
        (INKS, "green", [0, 1, 0], None),
        (FACES, "Young, Blond_Hair", [0, 1, 0, 1], None),
        (FACES, "", [0, 0, 0, 0], None),
        (MIXED, "old,a / b", [0, 0, 0, 1, 1], None),
        (SETS, "adult", [0, 0, 1, 0, 0], 0),
        (SETS, "Male,child", [1, 1, 0, 0, 0], 0),
        (SETS, "a / b", [0, 0, 0, 0, 1], 1),
        (
            SETS,
            "Male",
            [1, 0, 0, 0, 0],
            1,
        ),  # both sets tell it, but the first has to be told an age too
        (SETS, "", [0, 0, 0, 0, 0], 1),
    ],
)
def test_the_target_that_names_mean(config, text, row, number):
    assert told(targets(config, text, grid=False)) == {"attributes": [row]} | (
        {} if number is None else {"sets": [number]}
    )


@pytest.mark.parametrize(
    ("config", "text", "message"),
    [
        (
            INKS,
            None,
            "--attributes must say what to translate to: names with commas between, of red, green or blue",
        ),
        (INKS, "Red", "--attributes has the unknown 'Red': this run knows red, green or blue"),
        (
            INKS,
            "red,blue",
            "--attributes has red and blue, of which an image has one only: name one of red, green or blue",
        ),
        (INKS, "", "--attributes says nothing of red, green or blue: name one of these too"),
        (
            FACES,
            "Male,Hat",
            "the unknown 'Hat': this run knows Black_Hair; Blond_Hair; Male; Young",
        ),
        (MIXED, "Male", "--attributes says nothing of child, adult or old: name one of these too"),
        (
            TWO_GROUPS,
            "",
            "--attributes says nothing of red or blue; round or square: name one of each too",
        ),
        (
            SETS,
            "child,a / b",
            "has child and a / b, which no data set tells together: this run knows set 0: Male; child, adult or old; set 1: Male; a / b",
        ),
    ],
)
def test_names_that_mean_no_target(config, text, message):
    with pytest.raises(ValueError, match=f"^.*{re.escape(message)}$"):
        targets(config, text, grid=False)


# -------------------------------------------------------------------------------------------------------------------- the grid


@pytest.mark.parametrize("text", [None, "blue"])
def test_every_domain_of_one_group_needs_no_base(text):
    found = targets(INKS, text, grid=True)
    assert (found.titles, found.folders) == (INKS.attributes, INKS.attributes)
    assert told(found) == {"attributes": np.eye(3).tolist()}


def test_every_domain_keeps_the_others():
    """Binary attributes are turned, exclusive ones and hair colours chosen; titles say which way."""
    found = targets(FACES, "Black_Hair,Male", grid=True)
    assert found.titles == ("Black_Hair", "Blond_Hair", "not Male", "Young")
    assert found.folders == ("Black_Hair", "Blond_Hair", "not_Male", "Young")
    assert told(found) == {"attributes": [[1, 0, 1, 0], [0, 1, 1, 0], [1, 0, 0, 0], [1, 0, 1, 1]]}
    found = targets(MIXED, "old", grid=True)
    assert found.folders == ("Male", "child", "adult", "old", "a_b")
    assert told(found) == {
        "attributes": [
            [1, 0, 0, 1, 0],
            [0, 1, 0, 0, 0],
            [0, 0, 1, 0, 0],
            [0, 0, 0, 1, 0],
            [0, 0, 0, 1, 1],
        ]
    }


def test_every_domain_of_two_sets():
    """What the image's own set does not tell comes from the first that does, which is told nothing else of the own."""
    found = targets(SETS, "Male,old", grid=True)
    assert found.titles == ("not Male", "child", "adult", "old", "a / b")
    rows = [[0, 0, 0, 1, 0], [1, 1, 0, 0, 0], [1, 0, 1, 0, 0], [1, 0, 0, 1, 0], [1, 0, 0, 0, 1]]
    assert told(found) == {"attributes": rows, "sets": [0, 0, 0, 0, 1]}
    apart = dataclasses.replace(
        TWO_GROUPS, known=((True, True, False, False), (False, False, True, True))
    )
    assert told(targets(apart, None, grid=True)) == {
        "attributes": np.eye(4).tolist(),
        "sets": [0, 0, 1, 1],
    }


def test_names_that_no_folder_or_list_can_have():
    config = stargan.Config(attributes=("a, b", "a/b", "a b", "c"), groups=(("x", 4),))
    assert targets(config, None, grid=True).folders == ("a_b_0", "a_b_1", "a_b_2", "c")
    assert told(targets(config, "a, b", grid=False)) == {"attributes": [[1, 0, 0, 0]]}


@pytest.mark.parametrize(
    ("config", "words"),
    [(FACES, "Black_Hair; Blond_Hair; Male; Young"), (TWO_GROUPS, "red or blue; round or square")],
)
def test_a_grid_must_know_what_it_keeps(config, words):
    with pytest.raises(
        ValueError,
        match=f"changes one attribute and keeps the others, so say by --attributes which the images show, of {words}$",
    ):
        targets(config, None, grid=True)


# --------------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def run(monkeypatch, tmp_path):
    """use(config) makes `tmp_path`/run a stub family's: each channel of a translation is the image's, times what its attribute is, and 0 in set 1."""
    import jaxgan.checkpoint

    shapes = []

    def translate(config, state, images, attributes, *, sets=None, key=None, first=0):
        shapes.append(images.shape)
        return (
            images
            * (2 * attributes[:3] - 1).reshape(1, 1, 1, 3)
            * (1 if sets is None else 1 - sets)
        )

    def use(config):
        functions = {
            "translate": translate,
            "conditioning": lambda config: Conditioning("attributes", attributes=config.attributes),
        }
        family = types.SimpleNamespace(shapes=shapes, __name__="jaxgan.families.stub", **functions)
        monkeypatch.setattr(jaxgan.checkpoint, "load", lambda folder: (family, config, {}))
        return family

    (tmp_path / "in").mkdir()
    return use


def expected(pixels, row, known=1):
    """The stub's translation, in the image's own bits."""
    top = np.iinfo(pixels.dtype).max
    values = (2 * pixels.astype(np.float64) - top) / top * (2 * np.array(row) - 1) * known
    return np.rint((values + 1) * (top / 2))


def test_a_target_for_files_of_all_kinds_in_tiles_and_batches(run, tmp_path):
    family = run(INKS)
    given = {
        "a.png": noise(37, 50, 3),
        "deep/b.npy": noise(9, 8, 3, kind=np.uint16),
        "c.npy": noise(9, 8, 3),
    }
    for name, pixels in given.items():
        put(tmp_path / "in" / name, pixels)
    assert (
        go(tmp_path, "--attributes", "green", "--tile", "16", "--overlap", "5", "--batch", "2") == 0
    )
    for name, pixels in given.items():
        result = pixels_of(tmp_path / "out" / name)
        assert result.dtype == pixels.dtype
        assert np.abs(result.astype(int) - expected(pixels, [0, 1, 0])).max() <= 1, (
            "rounding of values between two levels"
        )
    assert {shape[1:3] for shape in family.shapes} == {(16, 16), (9, 8)}
    with Image.open(tmp_path / "out" / "a.png") as picture:
        assert picture.info["Comment"] == "stub green of run, seed 0, image 0"


def test_the_grid_has_a_folder_for_each_domain_and_a_row_for_each_image(run, tmp_path, capsys):
    family = run(SETS)
    given = {"a.png": noise(20, 13, 3), "b/c d.png": noise(4, 5, 1, kind=np.uint16)}
    for name, pixels in given.items():
        put(tmp_path / "in" / name, pixels)
    (tmp_path / "in" / "bad.png").write_bytes(b"")
    assert go(tmp_path, "--grid", "--attributes", "Male,old", "--batch", "3", "--tile", "0") == 0
    output = capsys.readouterr()
    assert output.out == f"{tmp_path / 'out' / 'index.html'}\n"
    assert output.err.splitlines() == [
        "1 of 3 images were left out:",
        "  bad.png is empty (0 bytes)",
    ]
    domains = {
        "not_Male": [0, 0, 0],
        "child": [1, 1, 0],
        "adult": [1, 0, 1],
        "old": [1, 0, 0],
        "a_b": [1, 0, 0],
    }
    for name, pixels in given.items():
        for domain, row in domains.items():
            path = tmp_path / "out" / domain / name
            assert path.read_bytes()[24:26] == bytes([8 * pixels.itemsize, 2]), (
                "bit depth, colour type"
            )
            result = pixels_of(path)
            wanted = expected(
                np.broadcast_to(pixels, result.shape), row, known=0 if domain == "a_b" else 1
            )
            assert np.abs(result.astype(int) - wanted).max() <= 1
    assert [shape[1:3] for shape in family.shapes] == [(20, 13), (4, 5)], (
        "one compilation for all domains"
    )
    page = (tmp_path / "out" / "index.html").read_text()
    assert "stub, every domain: run" in page
    assert "<td>not Male; child; adult; old; a / b</td>" in page
    assert page.count('<figure class="row">') == 2
    links = re.findall(r'<a href="([^"]*)">([^<]*)</a>', page)
    titles = ["not Male", "child", "adult", "old", "a / b"]
    assert links == [
        (f"{domain}/{name}", title)
        for name in ("a.png", "b/c%20d.png")
        for domain, title in zip(domains, titles, strict=True)
    ]
    assert page.count("<img") == 12


def test_a_grid_of_one_file_can_be_resumed(run, tmp_path, capsys, monkeypatch):
    run(INKS)
    pixels = noise(4, 5, 3)
    put(tmp_path / "in" / "a.png", pixels)
    put(tmp_path / "in" / "b.png", pixels)
    assert go(tmp_path, "--grid", source="in/a.png") == 0
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")) == [
        "blue/a.png", "green/a.png", "index.html", "red/a.png"
    ]  # fmt: skip
    capsys.readouterr()
    assert "is not empty: give --resume" in refused(tmp_path, capsys, "--grid", source="in/a.png")
    (tmp_path / "out" / "green" / "a.png").unlink()
    monkeypatch.setattr(gallery, "SHOWN", 4)
    assert go(tmp_path, "--grid", "--resume") == 0
    page = (tmp_path / "out" / "index.html").read_text()
    assert "2 images, the first 1 shown." in page
    for name in ("a.png", "b.png"):
        np.testing.assert_array_equal(
            pixels_of(tmp_path / "out" / "green" / name),
            pixels_of(tmp_path / "out" / "green" / "a.png"),
        )
    put(tmp_path / "file.png", pixels)
    assert "is a file, and several are to be written" in refused(
        tmp_path, capsys, "--grid", source="in/a.png", target="file.png"
    )


def test_what_does_not_fit_the_run(run, tmp_path, capsys, monkeypatch):
    import jaxgan.checkpoint

    run(INKS)
    put(tmp_path / "in" / "a.png", noise(4, 4, 3))
    assert (
        "must say what to translate to: names with commas between, of red, green or blue"
        in refused(tmp_path, capsys)
    )
    assert "has the unknown 'pink': this run knows red, green or blue" in refused(
        tmp_path, capsys, "--attributes", "pink"
    )
    both = ("--attributes", "red", "--direction", "a2b")
    assert (
        "this stub run translates between attributes, not between two sides: leave out --direction"
        in refused(tmp_path, capsys, *both)
    )
    sides, told = (
        types.SimpleNamespace(),
        Conditioning("sides", sides=(3, 3), directions=("a2b", "b2a")),
    )
    family = types.SimpleNamespace(
        translate=None, conditioning=lambda config: told, __name__="jaxgan.families.cyclegan"
    )
    monkeypatch.setattr(jaxgan.checkpoint, "load", lambda folder: (family, sides, {}))
    assert "this cyclegan run knows no attributes: leave out --attributes, or name" in refused(
        tmp_path, capsys, "--attributes", "red"
    )
    assert "this cyclegan run knows no attributes: leave out --grid, or name" in refused(
        tmp_path, capsys, "--grid"
    )
    assert not (tmp_path / "out").exists()


def test_stargan_itself(monkeypatch, tmp_path):
    """The tool writes what `translate` gives for each image alone, of two data sets; also a single row."""
    import jaxgan.checkpoint

    config = dataclasses.replace(INKS, known=((True,) * 3, (True,) * 3))
    state = jax.eval_shape(partial(stargan.init, config), jax.random.key(0))
    random = np.random.default_rng(0)
    state = jax.tree.map(
        lambda leaf: random.normal(0, 0.3, leaf.shape).astype(leaf.dtype),
        state.replace(players={}, extra={}),
    )
    monkeypatch.setattr(jaxgan.checkpoint, "load", lambda folder: (stargan, config, state))
    given = [put(tmp_path / "in" / f"{i}.png", noise(13, 18, 3)) for i in range(2)]
    assert go(tmp_path, "--grid", "--batch", "2") == 0
    pixels = jnp.asarray(
        image_files.normalise(np.stack([image_files.read(path) for path in given]))
    )
    direct = jax.jit(partial(stargan.translate, config))
    for row, ink in zip(np.eye(3), INKS.attributes, strict=True):
        for i, image in enumerate(direct(state, pixels, row, sets=np.int32(0))):
            result = decode((tmp_path / "out" / ink / f"{i}.png").read_bytes())
            assert np.abs(result.astype(int) - to_uint8(image).astype(int)).max() <= 1
