"""`layout:`: which files belong together, what their ids mean, what is refused; and that maps of ids go through the cache, augmentation and checks."""

from __future__ import annotations

import functools
import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import jaxgan.data
from experiments import data_check
from jaxgan.data import Augment, decoding, from_layouts, images, normalise, prepare
from jaxgan.data.digit_views import STROKES, painted, stroke_maps
from jaxgan.errors import DataError
from jaxgan.family import Conditioning
from jaxgan.run.feed import Feed

RNG = np.random.default_rng(7)
SIZE = (6, 8)


def save(path, pixels, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **how)
    return pixels


def ids(top=3, size=SIZE, dtype=np.uint8):
    """Every id from 0 to `top - 1` is in it."""
    array = RNG.integers(0, top, size).astype(dtype)
    array.flat[:top] = np.arange(top)
    return array


def photo(size=SIZE):
    return RNG.integers(0, 256, (*size, 3)).astype(np.uint8)


def make(folder, *pairs, top=3):
    """PNG pictures and maps of these names; returns them as two lists."""
    pictures, maps = [], []
    for picture, layout in pairs:
        pictures.append(save(folder / picture, photo()))
        maps.append(save(folder / layout, ids(top)))
    return pictures, maps


def load(rest, **options):
    return jaxgan.data.open(f"layout:{rest}", progress=False, **options)


@pytest.fixture(autouse=True)
def nowhere_else(cache):
    """Caches go to a temporary folder."""


@pytest.fixture
def decoded(monkeypatch):
    """Which sets were decoded rather than found."""
    calls = []
    passed = decoding.passed
    monkeypatch.setattr(
        decoding, "passed", lambda source, *rest: calls.append(source.name) or passed(source, *rest)
    )
    return calls


def holds(data, pictures, maps, classes, dtype=np.uint8):
    assert list(data.arrays)[:2] == ["image", "layout"]
    np.testing.assert_array_equal(data.arrays["image"], pictures)
    np.testing.assert_array_equal(data.arrays["layout"], maps)
    assert data.arrays["layout"].dtype == dtype
    assert data.classes == classes
    assert not data.independent
    with pytest.raises(ValueError, match="read-only"):
        data.arrays["layout"][0] = 0


# ----------------------------------------------------------------------------------------------------------------- which files

LAYOUTS = {
    "beside": ("images/{}.png", "labels/{}.png"),
    "camvid": ("train/{}.png", "trainannot/{}.png"),
    "pix2pixHD": ("train_img/{}.png", "train_label/{}.png"),
    "ade20k": ("ADE/images/training/{}.png", "ADE/annotations/training/{}.png"),
    "coco": ("images/train2017/{}.png", "annotations/train2017/{}.png"),
    "voc": ("VOC2012/JPEGImages/{}.png", "VOC2012/SegmentationClass/{}.png"),
    "around": ("train/photos/{}.png", "train/masks/{}.png"),
    "sub-folders": ("Images/bonn/{}.png", "Layouts/bonn/{}.png"),
    "maps within": ("{}.png", "labels/{}.png"),
}


@pytest.mark.parametrize("form", LAYOUTS.values(), ids=LAYOUTS)
def test_every_way_to_lay_folders_out(tmp_path, form):
    pictures, maps = make(
        tmp_path, *[tuple(path.format(name) for path in form) for name in ("1", "2")]
    )
    holds(load(tmp_path), pictures, maps, ("0", "1", "2"))


def test_splits(tmp_path):
    names = [
        ("val/1.png", "valannot/1.png"),
        ("train/1.png", "trainannot/1.png"),
        ("train/2.png", "trainannot/2.png"),
    ]
    pictures, maps = make(tmp_path, *names)
    save(tmp_path / "valannot" / "1.png", maps[0] + 1)
    classes = ("0", "1", "2", "3")  # of all splits, in each
    holds(load(tmp_path), pictures[1:], maps[1:], classes)
    holds(load(tmp_path, split="val"), pictures[:1], [maps[0] + 1], classes)
    assert load(tmp_path, split="all").size == 3
    with pytest.raises(DataError, match="has no split 'test': its splits are train, val"):
        load(tmp_path, split="test")


def test_folders_named_one_by_one(tmp_path):
    pictures, maps = make(tmp_path, ("x/1.png", "y/1.png"))
    things = save(tmp_path / "z" / "1.png", ids(40))
    data = load(f"{tmp_path}/x,{tmp_path}/y")
    holds(data, pictures, maps, ("0", "1", "2"))
    with_things = load(f"{tmp_path}/x,{tmp_path}/y,{tmp_path}/z?classes=4")
    holds(with_things, pictures, maps, ("0", "1", "2", "3"))
    np.testing.assert_array_equal(with_things.arrays["instance"], [things])
    for rest in (
        f"{tmp_path}/x,{tmp_path}/x",
        f"{tmp_path}/x,{tmp_path}/y,{tmp_path}/z,{tmp_path}",
    ):
        with pytest.raises(
            DataError, match="must name two or three folders, of images, of label maps"
        ):
            load(rest)
    with pytest.raises(
        DataError,
        match=r"gone does not exist: name the folder that holds the images of the label maps of layout:",
    ):
        load(f"{tmp_path}/x,{tmp_path}/gone")


def test_instances(tmp_path):
    make(tmp_path, ("images/1.png", "labels/1.png"), ("images/2.png", "labels/2.png"))
    things = [
        save(tmp_path / "instances" / f"{i}.png", ids(9, dtype=np.uint16) + np.uint16(26_000))
        for i in (1, 2)
    ]
    data = load(tmp_path)
    assert list(data.arrays) == ["image", "layout", "instance"]
    np.testing.assert_array_equal(data.arrays["instance"], things)
    assert data.arrays["instance"].dtype == np.uint16


@pytest.mark.parametrize(("folder", "missing"), [("images", "label maps"), ("labels", "images")])
def test_only_one_side(tmp_path, failure, folder, missing):
    save(tmp_path / folder / "1.png", ids())
    if folder == "labels":
        save(tmp_path / "instances" / "1.png", ids())
    told = failure(f"layout:{tmp_path}")
    assert (
        f"holds no {missing} in split 'train': put images into a folder images and label maps, with equal names, into a folder labels beside it"
        in told
    )


def test_empty_and_missing_folders(tmp_path, failure):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    assert "holds no images (looked for .png" in failure(f"layout:{tmp_path}")
    assert "does not exist: name the folder that holds the images" in failure(
        f"layout:{tmp_path}/gone"
    )
    assert "is incomplete: write layout:DIR" in failure("layout:")


# ------------------------------------------------------------------------------------------------------------------------ ids


def test_palettes_give_indices_and_grey_its_levels(tmp_path):
    array = ids(4)
    palette = Image.frombytes("P", SIZE[::-1], array.tobytes())
    palette.putpalette([250, 3, 9, 8, 8, 8, 0, 0, 0, 255, 255, 255])
    for bits in (2, 4, 8):
        palette.save(tmp_path / "p.png", bits=bits)
        np.testing.assert_array_equal(images.decode_ids((tmp_path / "p.png").read_bytes()), array)
    for dtype, top in ((np.uint8, 256), (np.uint16, 48)):
        levels = RNG.integers(0, top, SIZE).astype(dtype) * dtype(1 if dtype == np.uint8 else 1300)
        save(tmp_path / "g.png", levels)
        found = images.decode_ids((tmp_path / "g.png").read_bytes())
        np.testing.assert_array_equal(found, levels)
        assert found.dtype == dtype
    Image.fromarray(array > 1).save(tmp_path / "b.png")
    np.testing.assert_array_equal(images.decode_ids((tmp_path / "b.png").read_bytes()), array > 1)


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_few_bits_is_not_spread(bits):
    """Pillow cannot write such PNG files, so they are written here by hand."""
    import struct
    import zlib

    array = ids(2**bits, (4, 8))
    packed = sum(
        array[:, i :: 8 // bits].astype(int) << (8 - bits * (i + 1)) for i in range(8 // bits)
    ).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in (
        (b"IHDR", struct.pack(">IIBBBBB", 8, 4, bits, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ):
        data += (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )
    np.testing.assert_array_equal(images.decode_ids(data), array)


def test_unknown(tmp_path):
    pictures, maps = make(tmp_path, ("images/1.png", "labels/1.png"))
    maps[0][2, 3] = 255
    save(tmp_path / "labels" / "1.png", maps[0])
    data = load(tmp_path)
    holds(data, pictures, np.where(maps[0] == 255, 3, maps[0])[None], ("0", "1", "2"))
    assert data.unknown
    holds(
        load(f"{tmp_path}?unknown=2,255"),
        pictures,
        np.where(maps[0] >= 2, 2, maps[0])[None],
        ("0", "1"),
    )
    table = np.full(256, 2)
    table[[1, 2]] = 0, 1
    holds(
        load(f"{tmp_path}?unknown=0,255"), pictures, table[maps[0]][None], ("0", "1")
    )  # as in ADE20K
    every = load(f"{tmp_path}?unknown=65535")
    assert every.class_count == 256
    assert every.arrays["layout"].dtype == np.uint16  # 256 would be the id of unknown
    assert not every.unknown


def test_classes_by_number_names_and_file(tmp_path):
    pictures, maps = make(tmp_path, ("images/1.png", "labels/1.png"))
    holds(load(f"{tmp_path}?classes=7"), pictures, maps, tuple("0123456"))
    names = ("sky", "tree", "road")
    holds(load(f"{tmp_path}?classes=sky, tree,road"), pictures, maps, names)
    (tmp_path / "names.txt").write_text("sky\ntree\n\nroad\n")
    holds(load(f"{tmp_path}?classes=names.txt"), pictures, maps, names)
    holds(load(f"{tmp_path}?classes={tmp_path / 'names.txt'}"), pictures, maps, names)
    assert (
        len(
            {
                load(f"{tmp_path}?classes={text}").fingerprint
                for text in ("7", "names.txt", "sky,tree,road")
            }
        )
        == 2
    )


@pytest.mark.parametrize(
    "option",
    [
        "classes=0",
        "classes=sky",
        "classes=sky,sky",
        "classes=",
        "classes=a,,b",
        "unknown=-1",
        "unknown=70000",
        "unknown=sky",
    ],
)
def test_options_that_cannot_be_read(tmp_path, failure, option):
    make(tmp_path, ("images/1.png", "labels/1.png"))
    name, value = option.split("=")
    assert f"has {name}={value}: give" in failure(f"layout:{tmp_path}?{option}")
    assert "unknown option 'ignore': known here: classes, unknown" in failure(
        f"layout:{tmp_path}?ignore=255"
    )


def test_nothing_but_unknown(tmp_path, failure):
    make(tmp_path, ("images/1.png", "labels/1.png"), top=1)
    told = failure(f"layout:{tmp_path}?unknown=0")
    assert "hold no class in any pixel: look at labels/1.png, or give another ?unknown=" in told


def test_out_of_range(tmp_path, failure):
    _, maps = make(
        tmp_path, ("images/1.png", "labels/1.png"), ("images/2.png", "labels/2.png"), top=1
    )
    maps[1][4, 5] = 9
    save(tmp_path / "labels" / "2.png", maps[1])
    told = failure(f"layout:{tmp_path}?classes=9")
    assert "1 of 2 images" in told
    expected = "images/2.png has the label map labels/2.png, which has the id 9 in row 4, column 5, but ids are 0 to 8, and 255 where unknown: repair it, or"
    assert expected in told
    assert "ids are 1 to 8, and 0 where unknown" in failure(
        f"layout:{tmp_path}?classes=8&unknown=0"
    )
    assert load(f"{tmp_path}?classes=9&unknown=0").arrays["layout"].tolist()[1][4][5] == 8
    skipping = load(f"{tmp_path}?classes=9", skip_bad=True)
    assert skipping.size == 1
    assert "id 9" in skipping.skipped[0]


# -------------------------------------------------------------------------------------------------------------- what is refused


def test_bad_partners_are_all_named(tmp_path, failure):
    make(
        tmp_path,
        *[
            (f"images/{name}.png", f"labels/{name}.png")
            for name in ("colours", "good", "jpeg", "size", "twice")
        ],
    )
    save(tmp_path / "labels" / "colours.png", photo())
    save(tmp_path / "labels" / "size.png", ids(size=(8, 6)))
    (tmp_path / "labels" / "jpeg.png").unlink()
    save(tmp_path / "labels" / "jpeg.jpg", ids())
    save(tmp_path / "images" / "twice.bmp", photo())
    save(tmp_path / "images" / "alone.png", photo())
    save(tmp_path / "labels" / "lost.png", ids())
    save(tmp_path / "other" / "stray.png", ids())
    data = load(tmp_path, skip_bad=True)
    assert data.size == 2
    told = dict(reason.split(" ", 1) for reason in data.skipped)
    assert told == {
        "images/colours.png": "has the label map labels/colours.png, which has colours (RGB) in place of ids: convert the maps with "
        "python -m experiments.colour_layouts MAPS OUT, or save one id for each pixel as grey or palette PNG",
        "images/size.png": "has the label map labels/size.png, which is 8x6, but the image 6x8: both must be of one size",
        "images/jpeg.png": "has the label map labels/jpeg.jpg, which is a JPEG, and compression changes ids: save the map as PNG "
        "from where it was made",
        "images/twice.png": "has the same name as images/twice.bmp, up to the extension",
        "images/alone.png": "has no label map of the same name",
        "labels/lost.png": "has no image of the same name",
        "other/stray.png": "lies in no folder of images or of maps",
    }
    assert "7 of 9 images of layout:" in failure(f"layout:{tmp_path}")


def test_missing_instances_and_damage(tmp_path):
    make(
        tmp_path,
        ("images/1.png", "labels/1.png"),
        ("images/2.png", "labels/2.png"),
        ("images/3.png", "labels/3.png"),
    )
    for name in "13":
        save(tmp_path / "instances" / f"{name}.png", ids())
    (tmp_path / "labels" / "1.png").write_bytes(b"")
    told = load(tmp_path, skip_bad=True).skipped
    assert told == (
        "images/1.png has the label map labels/1.png, which is empty (0 bytes)",
        "images/2.png has no instance map of the same name",
    )


def test_sizes_that_differ_ask_for_one(tmp_path, failure):
    make(tmp_path, ("images/1.png", "labels/1.png"))
    save(tmp_path / "images" / "2.png", photo((4, 4)))
    save(tmp_path / "labels" / "2.png", ids(size=(4, 4)))
    assert (
        "6x8 with 3 channels beside 6x8 of ids (images/1.png); 4x4 with 3 channels beside 4x4 of ids (images/2.png): give"
        in failure(f"layout:{tmp_path}")
    )
    assert load(tmp_path, image_size=(4, 4)).arrays["layout"].shape == (2, 4, 4)


# ------------------------------------------------------------------------------------------------------------- sizes and caches


@pytest.mark.parametrize("how", ["cover", "stretch", "width"])
@pytest.mark.parametrize("size", [(3, 4), (4, 4), (12, 16), (9, 6), (7, 11)])
def test_ids_are_resized_by_nearest_as_pillow_does(size, how):
    array = RNG.integers(0, 60_000, (13, 10)).astype(np.uint16)
    found = images.resize(array, size, how)
    assert np.isin(found, array).all()
    target = images.resize(np.zeros((13, 10, 1), np.uint8), size, how).shape[:2]
    box = images._cover(13, 10, size) if how == "cover" else (0, 0, 10, 13)
    expected = Image.fromarray(array.astype(np.int32)).resize(
        (target[1], target[0]), Image.Resampling.NEAREST, box=box
    )
    np.testing.assert_array_equal(found, np.asarray(expected))


def test_the_cache_is_found_again_and_follows_files_and_options(tmp_path, decoded):
    make(tmp_path / "set", ("train/1.png", "trainannot/1.png"), ("val/1.png", "valannot/1.png"))
    one = load(tmp_path / "set")
    again = load(tmp_path / "set")
    assert len(decoded) == 1
    assert again.fingerprint == one.fingerprint
    assert isinstance(again.arrays["layout"], np.memmap)
    layout = np.asarray(one.arrays["layout"])
    assert (
        from_layouts(
            "x", np.asarray(one.arrays["image"]), layout.astype(np.int64), one.classes
        ).fingerprint
        == one.fingerprint
    )
    load(f"{tmp_path / 'set'}?unknown=2")
    load(f"{tmp_path / 'set'}?classes=3")
    assert len(decoded) == 3
    target = (
        tmp_path / "set" / "valannot" / "1.png"
    )  # of another split, but the classes are counted over all
    save(target, ids(6))
    os.utime(target, ns=(1, 1))
    assert load(tmp_path / "set").class_count == 6
    assert load(f"{tmp_path / 'set'}?classes=3").class_count == 3
    assert len(decoded) == 5, "whether these are masks of two levels is seen in all splits, too"
    assert load(f"{tmp_path / 'set'}?unknown=2&classes=3").class_count == 3
    target.touch()
    assert load(f"{tmp_path / 'set'}?unknown=2&classes=3").class_count == 3
    assert len(decoded) == 6


def test_from_layouts_refuses_what_does_not_fit():
    image, layout = np.zeros((2, 4, 4, 3), np.uint8), np.full((2, 4, 4), 3)
    data = from_layouts("x", image, layout, ("a", "b", "c"), layout * 20_000)
    assert data.unknown
    assert data.arrays["instance"].dtype == np.uint16
    for wrong in (layout + 1, layout - 4, layout[:1], layout.astype(float)):
        with pytest.raises(
            DataError, match=r"x: layout must be integers \[2, 4, 4\] from 0 to 3, got"
        ):
            from_layouts("x", image, wrong, ("a", "b", "c"))
    with pytest.raises(DataError, match="x: instance must be integers"):
        from_layouts("x", image, layout, ("a", "b", "c"), layout * 30_000)


# ------------------------------------------------------------------------------------------------------------------ the digits


def test_digits_show_what_their_maps_say():
    data = load("digits")
    assert data.classes == STROKES
    assert data.arrays["layout"].shape == (1500, 16, 16)
    maps, pixels = data.arrays["layout"], data.arrays["image"]
    left = np.pad(maps, ((0, 0), (1, 0), (1, 0)))[:, :-1, :-1]
    seen = {}
    for own, other in ((0, 0), (0, 1), (0, 2), (1, 2), (2, 0)):
        colours = {tuple(colour) for colour in pixels[(maps == own) & (left == other)].tolist()}
        assert len(colours) == 1
        seen[own, bool(other)] = colours.pop()
    assert seen == {
        (0, False): (255, 236, 200),
        (0, True): (191, 177, 150),
        (1, True): (128, 150, 180),
        (2, False): (0, 64, 160),
    }
    assert not data.unknown


def test_digits_in_inks_have_the_same_maps():
    blue, inks = load("digits", split="test"), load("digits?style=inks", split="test")
    np.testing.assert_array_equal(blue.arrays["layout"], inks.arrays["layout"])
    rims = [
        {tuple(colour) for colour in image[rim == 2].tolist()}
        for image, rim in zip(inks.arrays["image"][:3], inks.arrays["layout"])
    ]
    assert rims == [{(255, 64, 48)}, {(48, 255, 96)}, {(64, 112, 255)}]
    assert load("digits", split="test", image_size=(8, 8), channels=1).arrays["image"].shape == (
        297,
        8,
        8,
        1,
    )


def test_strokes_have_closed_rims():
    block = np.zeros((1, 4, 4))
    block[0, 1:3, 1:3] = 1
    (found,) = stroke_maps(block)
    assert found[2:6, 2:6].tolist() == [[2, 2, 2, 2], [2, 1, 1, 2], [2, 1, 1, 2], [2, 2, 2, 2]]
    assert found.sum() == 2 * 12 + 4
    with pytest.raises(ValueError, match="maps must be uint8"):
        painted(found[None].astype(int))
    with pytest.raises(ValueError, match="maps must be uint8"):
        painted(found[None] + np.uint8(1))
    with pytest.raises(ValueError, match="style must be one of"):
        painted(found[None], "red")


def test_wrong_words_about_digits(failure):
    assert "unknown style 'pink': the styles are blue, inks" in failure("layout:digits?style=pink")
    assert "unknown option 'classes': known here: style" in failure("layout:digits?classes=3")
    with pytest.raises(ValueError, match="are for images of two domains"):
        load("digits", channels=(1, 3))


# ---------------------------------------------------------------------------------------------------------------- augmentation

AUGMENTS = {
    "flip": Augment(flip=True),
    "crop": Augment(crop=3),
    "quarter turns": Augment(rotate90=True),
    "turn and zoom": Augment(rotation=25.0, scale=0.3),
    "all": Augment(flip=True, crop=2, rotate90=True, rotation=25.0, scale=0.3),
}


@functools.cache
def prepared(augment):
    return jax.jit(partial(prepare, augment=augment))


@pytest.mark.parametrize("augment", AUGMENTS.values(), ids=AUGMENTS)
@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31 - 1))
def test_every_augmentation_moves_image_and_map_alike(augment, seed):
    """Images of two halves of the plane, whose maps say which half: a pixel or more away from the edge between them, both must agree."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:16, :16] - 7.5
    angles, shifts = (
        rng.uniform(0, 2 * np.pi, 4)[:, None, None],
        rng.uniform(-3, 3, 4)[:, None, None],
    )
    half = rows * np.cos(angles) + columns * np.sin(angles) > shifts
    batch = {
        "image": np.repeat(255 * half[..., None], 3, -1).astype(np.uint8),
        "layout": half.astype(np.uint8),
        "instance": half.astype(np.uint16) * 40_000,
    }
    found = prepared(augment)(batch, jax.random.key(seed), 3)
    image, layout = np.asarray(found["image"])[..., 0], np.asarray(found["layout"])
    assert found["layout"].dtype == found["instance"].dtype == jnp.int32
    assert set(np.unique(layout)) <= {0, 1}
    np.testing.assert_array_equal(found["instance"], 40_000 * layout)
    around = np.lib.stride_tricks.sliding_window_view(
        np.pad(image, ((0, 0), (1, 1), (1, 1)), "edge"), (3, 3), (1, 2)
    )
    sure = (around.min((3, 4)) > 0.5) | (around.max((3, 4)) < -0.5)
    assert sure.mean() > 0.6
    np.testing.assert_array_equal(layout[sure], image[sure] > 0)


def test_what_only_moves_pixels_moves_ids_exactly():
    grey = RNG.integers(0, 256, (16, 9, 9)).astype(np.uint8)
    batch = {"image": grey[..., None], "layout": grey}
    augment = Augment(flip=True, crop=3, rotate90=True)
    found = jax.jit(partial(prepare, augment=augment, sizes={"image": (6, 6), "layout": (6, 6)}))(
        batch, jax.random.key(1), 0
    )
    assert found["layout"].shape == (16, 6, 6)
    np.testing.assert_array_equal(
        normalise(found["layout"].astype(jnp.uint8)), found["image"][..., 0]
    )
    with pytest.raises(ValueError, match="layout must be 8x8 or, with crop=3, 11x11, got 9x9"):
        prepare({"layout": grey}, jax.random.key(1), 0, augment, sizes={"layout": (8, 8)})


def test_ids_are_not_changed_without_augmentation():
    layout = RNG.integers(0, 2**16, (2, 5, 4)).astype(np.uint16)
    found = prepare({"layout": layout}, jax.random.key(0), 0)["layout"]
    np.testing.assert_array_equal(found, layout)
    larger = prepare(
        {"layout": layout}, jax.random.key(0), 0, Augment(crop=4), sizes={"layout": (5, 4)}
    )["layout"]
    assert larger.shape == (2, 5, 4)
    assert np.isin(larger, layout).all()


# ------------------------------------------------------------------------------------------------------ batches, checks, report


def spec(size=(16, 16), **more):
    wanted = {
        "image": jax.ShapeDtypeStruct((4, *size, 3), jnp.float32),
        "layout": jax.ShapeDtypeStruct((4, *size), jnp.int32),
    }
    return wanted | {
        name: jax.ShapeDtypeStruct((4, *shape), jnp.int32) for name, shape in more.items()
    }


def test_feed_cuts_maps_with_their_images():
    data = load("digits", image_size=(20, 20))
    feed = Feed(data, spec(), seed=0, attempt=0, steps_per_call=2)
    assert feed.sizes == {"image": (16, 16), "layout": (16, 16)}
    first = feed.first_batch()
    assert first["layout"].shape == (8, 16, 16)
    paper = (first["image"] == (255, 236, 200)).all(-1)
    assert ((first["layout"] == 0) | ~paper).mean() > 0.99
    rows = feed.rows(0)
    np.testing.assert_array_equal(rows["image"], rows["layout"])


MAPS = Conditioning("layout", 3)


def test_checks_against_a_family():
    data = load("digits")
    jaxgan.data.check(data, spec(), MAPS)
    jaxgan.data.check(data, spec((14, 14)), MAPS, crop=2)
    with pytest.raises(
        DataError, match=r"label maps of 16x16, but the family is configured for 8x8"
    ) as caught:
        jaxgan.data.check(
            data, spec((16, 16)) | {"layout": jax.ShapeDtypeStruct((4, 8, 8), jnp.int32)}, MAPS
        )
    assert "\n" not in str(caught.value)
    with pytest.raises(
        DataError,
        match="label maps of 3 classes, but the family is configured for 5: configure it with classes=3, or open the data with",
    ):
        jaxgan.data.check(data, spec(), Conditioning("layout", 5))
    with pytest.raises(
        DataError,
        match="has no instance maps, which this family needs: add them in a folder instances",
    ):
        jaxgan.data.check(data, spec(instance=(16, 16)), MAPS)
    with pytest.raises(
        DataError,
        match="digits has no label maps, which this family needs: use data of images and label maps, such as layout:DIR",
    ):
        jaxgan.data.check(jaxgan.data.open("digits"), {"layout": spec()["layout"]})
    unknown = from_layouts(
        "x", data.arrays["image"], np.where(data.arrays["layout"] == 2, 3, 0), data.classes
    )
    jaxgan.data.check(unknown, spec(), Conditioning("layout", 3, unknown=True))
    with pytest.raises(
        DataError,
        match="x has pixels of unknown class, but the family is configured without: configure it with unknown=True",
    ):
        jaxgan.data.check(unknown, spec(), MAPS)


def test_the_report_gives_shares(tmp_path, capsys):
    for name, ids_of in (("1", [[0, 0], [0, 255]]), ("2", [[2, 2], [2, 2]])):
        save(tmp_path / "images" / f"{name}.png", photo((2, 2)))
        save(tmp_path / "labels" / f"{name}.png", np.array(ids_of, np.uint8))
        save(tmp_path / "instances" / f"{name}.png", np.array(ids_of, np.uint8))
    data_check.main([f"layout:{tmp_path}?classes=sky,tree,road,sea"])
    lines = capsys.readouterr().out.splitlines()
    assert "label maps   4 classes, 2 of them in no pixel; unknown in 12.5% of the pixels" in lines
    assert "instances    1.5 in an image on average" in lines
    assert (
        "  warning: no pixel is of the class tree, sea: look whether the ids are those of the classes"
        in lines
    )
    shares = {
        line.split()[1]: line.split()[2:]
        for line in lines
        if line.startswith("  ") and "warning" not in line
    }
    assert {name: words[0] for name, words in shares.items()} == {
        "sky": "37.5%",
        "tree": "0.0%",
        "road": "50.0%",
        "sea": "0.0%",
        "unknown": "12.5%",
    }
    assert shares["road"][-4:] == ["1", "of", "2", "images"]


def test_camvid(real_data, tmp_path):
    where = real_data / "camvid"
    data = load(f"{where}?unknown=11", split="val", image_size=(48, 64))
    assert (data.size, data.class_count, data.image_size, data.unknown) == (101, 11, (48, 64), True)
    maps = np.stack(
        [np.asarray(Image.open(path)) for path in sorted((where / "valannot").iterdir())]
    )
    np.testing.assert_array_equal(data.arrays["layout"], maps[:, 2::4, 2::4])
