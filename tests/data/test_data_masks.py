"""Masks of two levels, coloured and JPEG maps, and what data_check warns of."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import jaxgan.data
from experiments import data_check

RNG = np.random.default_rng(2)
SIZE = (6, 8)


@pytest.fixture(autouse=True)
def nowhere_else(cache):
    """Caches go to a temporary folder."""


def save(path, pixels, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **how)


def two_levels(high=255, low=0):
    """A random mask that shows both."""
    mask = RNG.integers(0, 2, SIZE)
    mask.flat[:2] = 0, 1
    return np.where(mask == 1, high, low).astype(np.uint8 if max(high, low) < 256 else np.uint16)


def make(folder, *masks, split=""):
    for i, mask in enumerate(masks):
        save(
            folder / split / "images" / f"{i}.png",
            RNG.integers(0, 256, (*SIZE, 3)).astype(np.uint8),
        )
        save(folder / split / "labels" / f"{i}.png", mask)


def load(rest, **options):
    return jaxgan.data.open(f"layout:{rest}", progress=False, **options)


@pytest.mark.parametrize("high", [255, 65_535])
def test_masks_of_two_levels_are_two_classes(tmp_path, high):
    masks = [
        two_levels(high),
        np.zeros_like(two_levels(high)),
        np.full_like(two_levels(high), high),
    ]
    make(tmp_path, *masks)
    for spec, names in (
        (tmp_path, ("0", str(high))),
        (f"{tmp_path}?classes=2", ("0", "1")),
        (f"{tmp_path}?classes=ground,thing", ("ground", "thing")),
    ):
        found = load(spec)
        assert (found.classes, found.unknown, found.arrays["layout"].dtype) == (
            names,
            False,
            np.uint8,
        )
        np.testing.assert_array_equal(found.arrays["layout"], np.stack(masks) // high)


def test_masks_in_a_palette_and_of_one_bit(tmp_path):
    mask = two_levels()
    make(tmp_path, mask)
    indexed = Image.fromarray(mask, "P")
    indexed.putpalette([0, 0, 0] * 255 + [200, 0, 0])
    indexed.save(tmp_path / "labels" / "0.png")
    np.testing.assert_array_equal(load(tmp_path).arrays["layout"][0], mask // 255)
    Image.fromarray(mask > 0).save(tmp_path / "labels" / "0.png")
    found = load(tmp_path)
    assert found.classes == ("0", "1")
    np.testing.assert_array_equal(found.arrays["layout"][0], mask // 255)


def test_what_is_unknown_is_what_the_options_say(tmp_path):
    """The mask is the same, and so are the files: the answers must not come from one cache."""
    mask = two_levels()
    make(tmp_path, mask)
    assert load(tmp_path).classes == ("0", "255")
    told = load(f"{tmp_path}?unknown=255")
    assert (told.classes, told.unknown) == (("0",), True)
    np.testing.assert_array_equal(told.arrays["layout"][0], mask // 255)
    one = load(f"{tmp_path}?classes=1")
    assert (one.classes, one.unknown) == (("0",), True)


def test_more_classes_than_a_mask_has_are_refused(tmp_path, failure):
    make(tmp_path, two_levels())
    told = failure(f"layout:{tmp_path}?classes=sky,tree,road")
    assert (
        "are masks of 0 and 255, which are two classes, but ?classes= has 3: give two names, or ?unknown=255"
        in told
    )
    assert load(f"{tmp_path}?classes=3&unknown=255").class_count == 3


@pytest.mark.parametrize(
    ("levels", "classes", "unknown"),
    [
        ((0, 1, 255), 2, True),
        ((0, 1), 2, False),
        ((1, 255), 2, True),
        ((0, 128, 255), 129, True),
        ((0, 254), 255, False),
    ],
)
def test_other_levels_stay_ids(tmp_path, levels, classes, unknown):
    mask = np.array(levels, np.uint8)[RNG.integers(0, len(levels), SIZE)]
    mask.flat[: len(levels)] = levels
    make(tmp_path, mask)
    found = load(tmp_path)
    assert (found.class_count, found.unknown) == (classes, unknown)
    np.testing.assert_array_equal(found.arrays["layout"][0], np.where(mask == 255, classes, mask))


def test_all_splits_say_together_whether_there_are_two_levels_only(tmp_path):
    make(tmp_path, two_levels(), split="train")
    other = two_levels()
    other[0, 0] = 1
    make(tmp_path, other, split="val")
    assert (load(tmp_path).classes, load(tmp_path).unknown) == (("0", "1"), True)
    assert load(f"{tmp_path}?classes=a,b").unknown


# ------------------------------------------------------------------------------------------------------ maps that hold no ids


@pytest.mark.parametrize("options", ["", "?classes=3", "?classes=3&unknown=255"])
@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("png", "colours (RGB) in place of ids"),
        ("jpg", "is a JPEG, and compression changes ids"),
        ("webp", "colours (RGB)"),
    ],
)
def test_coloured_and_jpeg_maps_are_named(tmp_path, failure, kind, told, options):
    """It said that no pixel had a class."""
    make(tmp_path, two_levels(), two_levels())
    for i in range(2):
        (tmp_path / "labels" / f"{i}.png").unlink()
        save(tmp_path / "labels" / f"{i}.{kind}", RNG.integers(0, 256, (*SIZE, 3)).astype(np.uint8))
    sentence = failure(f"layout:{tmp_path}{options}")
    assert told in sentence
    assert kind == "jpg" or "python -m experiments.colour_layouts" in sentence
    assert told in failure(f"layout:{tmp_path}{options}", skip_bad=True)


def test_instance_maps_of_colours_are_named(tmp_path, failure):
    make(tmp_path, two_levels())
    save(tmp_path / "instances" / "0.png", RNG.integers(0, 256, (*SIZE, 3)).astype(np.uint8))
    assert "has the instance map instances/0.png, which has colours (RGB)" in failure(
        f"layout:{tmp_path}"
    )


# ----------------------------------------------------------------------------------------------------------------- data_check


def warnings(data):
    return [line.strip() for line in data_check.report(data).splitlines() if "warning" in line]


def test_more_than_half_unknown_is_warned_of(tmp_path):
    mask = np.zeros(SIZE, np.uint8)
    mask[:3] = 255
    mask[0, 0] = 1
    make(tmp_path, mask)
    assert warnings(load(tmp_path)) == []
    mask[3] = 255
    make(tmp_path, mask)
    assert warnings(load(tmp_path)) == [
        "warning: more than half of the pixels are of unknown class: if the id that counts as unknown is a class, give another ?unknown="
    ]


def test_classes_that_occur_nowhere_are_warned_of(tmp_path):
    make(tmp_path, np.full(SIZE, 3, np.uint8))
    assert warnings(load(f"{tmp_path}?classes=a,b,c,d,e,f,g,h")) == [
        "warning: no pixel is of the class a, b, c, e, f and 2 more: look whether the ids are those of the classes"
    ]
    labelled = jaxgan.data.from_arrays(
        "x", np.zeros((3, 4, 4, 3), np.uint8), np.array([0, 2, 2]), ("cat", "dog", "cow")
    )
    assert warnings(labelled) == [
        "warning: no example is of the class dog, so nothing can be learnt of it"
    ]
