from __future__ import annotations

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import data_check
from jaxgan.data import check, from_arrays
from jaxgan.errors import DataError
from jaxgan.family import Conditioning

IMAGES = np.arange(6 * 8 * 4 * 3, dtype=np.uint8).reshape(6, 8, 4, 3)
PLAIN = from_arrays("plain", IMAGES)
LABELLED = from_arrays("labelled", IMAGES, np.array([0, 1, 2, 3, 1, 1]))


def spec(height=8, width=4, channels=3, label=False):
    wanted = {"image": jax.ShapeDtypeStruct((16, height, width, channels), jnp.float32)}
    return wanted | ({"label": jax.ShapeDtypeStruct((16,), jnp.int32)} if label else {})


def test_what_fits_passes():
    check(PLAIN, spec())
    check(LABELLED, spec())
    check(LABELLED, spec(label=True), Conditioning("class", 4))
    check(LABELLED, spec(label=True), Conditioning("class", 10))
    check(LABELLED, spec(label=True))


@pytest.mark.parametrize(
    ("data", "wanted", "classes", "told"),
    [
        (
            PLAIN,
            spec(4, 8),
            None,
            r"plain has images of 8x4, but the family is configured for 4x8: open it with image_size=\(4, 8\)",
        ),
        (
            PLAIN,
            spec(channels=1),
            None,
            "images with 3 channels, .* for 1: open it with channels=1",
        ),
        (PLAIN, spec(label=True), None, "plain has no labels, which this family needs"),
        (
            LABELLED,
            spec(label=True),
            3,
            r"labels up to 3, but .* 3 classes \(labels 0 to 2\): configure it with classes=4",
        ),
        (
            PLAIN,
            {"map": jax.ShapeDtypeStruct((16, 8, 4, 3), jnp.float32)},
            None,
            "plain has no maps, which this family needs: it has images",
        ),
    ],
)
def test_what_does_not_fit_is_told_with_the_remedy(data, wanted, classes, told):
    with pytest.raises(DataError, match=told) as caught:
        check(data, wanted, classes and Conditioning("class", classes))
    assert "\n" not in str(caught.value)


def sides(a=(6, 8, 4, 3), b=(6, 8, 4, 1), independent=False):
    """A data set with arrays a and b of these shapes."""
    arrays = {"a": np.zeros(a, np.uint8), "b": np.zeros(b, np.uint8)}
    return types.SimpleNamespace(name="maps", arrays=arrays, independent=independent)


PAIRS = Conditioning("sides", paired=True)


def two(a=(8, 4, 3), b=(8, 4, 1)):
    """The spec of a family that translates."""
    return {
        name: jax.ShapeDtypeStruct((2, *shape), jnp.float32)
        for name, shape in {"a": a, "b": b}.items()
    }


def test_two_sides_that_fit_pass():
    check(sides(), two(), PAIRS)
    check(sides(b=(9, 8, 4, 1), independent=True), two())
    check(sides(a=(6, 10, 6, 3)), two(), crop=2)
    check(PLAIN, spec(6, 2), crop=2)


@pytest.mark.parametrize(
    ("data", "wanted", "options", "message"),
    [
        (
            PLAIN,
            two(),
            {},
            "plain has no images A, which this family needs: use data of two sides, such as paired:DIR or unpaired:DIR",
        ),
        (
            sides(),
            spec(),
            {},
            "maps has no images, which this family needs: it has images A and images B",
        ),
        (
            sides(b=(6, 8, 8, 1)),
            two(),
            {},
            "maps has images B of 8x8, but the family is configured for 8x4: open it with",
        ),
        (
            sides(a=(6, 9, 5, 3)),
            two(),
            {"crop": 2},
            r"images A of 9x5, .* 8x4, and 10x6 with the margin of crop=2: open it with image_size=\(10, 6\)",
        ),
        (
            sides(b=(6, 8, 4, 3)),
            two(),
            {},
            r"images B with 3 channels, but .* for 1: open it with channels=\(3, 1\), or configure the family for 3",
        ),
        (
            sides(a=(6, 8, 4, 1)),
            two(b=(8, 4, 3), a=(8, 4, 3)),
            {},
            "images A with 1 channel, but .* for 3: open it with channels=3",
        ),
        (sides(b=(7, 8, 4, 1)), two(), {}, "maps has 6 images A but 7 images B"),
        (
            sides(b=(7, 8, 4, 1), independent=True),
            two(),
            {"told": PAIRS},
            "maps has 6 images A and 7 images B that are no pairs: use paired:DIR",
        ),
    ],
)
def test_two_sides_that_do_not_fit(data, wanted, options, message):
    with pytest.raises(DataError, match=message) as caught:
        check(data, wanted, **options)
    assert "\n" not in str(caught.value)


def test_report_of_the_command(capsys):
    data_check.main(["digits", "--image-size", "16", "12", "--channels", "3", "--split", "all"])
    lines = capsys.readouterr().out.splitlines()
    facts = {
        line.split()[0]: line.split(maxsplit=1)[1] for line in lines if not line.startswith(" ")
    }
    assert facts["examples"] == "1797"
    assert facts["images"] == "16x12, 3 channels, uint8"
    assert facts["range"] == "0 to 255 of 0 to 255"
    assert facts["classes"] == "10; the smallest has 174 examples, the largest 183"
    assert len(facts["fingerprint"]) == 32
    assert facts["skipped"] == "none"
    assert sum(int(line.split()[2]) for line in lines if line.startswith("  ")) == 1797


@pytest.mark.parametrize(
    "arguments", [["folder:/no/such/folder"], ["films:x"], ["digits", "--channels", "7"]]
)
def test_the_command_says_one_sentence_and_exits_with_2(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        data_check.main(arguments)
    assert caught.value.code == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.startswith("error: ")
    assert streams.err.count("\n") == 1


def test_the_command_lists_what_it_skipped(tmp_path, capsys):
    from PIL import Image

    for name in "ab":
        Image.new("RGB", (4, 4)).save(tmp_path / f"{name}.png")
    (tmp_path / "c.png").write_bytes(b"")
    data_check.main([f"folder:{tmp_path}", "--skip-bad"])
    out = capsys.readouterr().out
    assert "skipped      1\n  c.png is empty (0 bytes)" in out
    assert f"cache        {tmp_path}" in out
    assert {path.name for path in tmp_path.iterdir()} == {
        "a.png",
        "b.png",
        "c.png",
        ".jaxgan-cache",
    }
