"""TIFF files: bands, pages, layouts, both polarities and depths are read to the bit, or refused by naming what is not supported."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
import tiff_files
from PIL import Image
from tiff_files import tiff

from jaxgan.data import images

RNG = np.random.default_rng(11)
WHITE, BLACK, RGB, PALETTE, CMYK, LAB = 0, 1, 2, 3, 5, 8
HOW = [{}, {"deflate": True}, {"tile": (16, 16)}, {"deflate": True, "tile": (16, 16)}]
NAMES = ["plain", "deflate", "tiles", "deflate in tiles"]


def noise(*shape, dtype="u1"):
    return RNG.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def extra(*kinds):
    return [(338, 3, kinds)]


def refusal(data, decode=images.decode):
    with pytest.raises(images.BadImage) as caught:
        decode(data)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize("how", HOW, ids=NAMES)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_grey_and_colours_are_read_to_the_bit(dtype, order, how):
    top = np.iinfo(dtype).max
    grey, colours, clear = (
        noise(21, 18, dtype=dtype),
        noise(21, 18, 3, dtype=dtype),
        noise(21, 18, 4, dtype=dtype),
    )
    for expected, data in (
        (grey[..., None], tiff(grey, BLACK, order=order, **how)),
        (top - grey[..., None], tiff(grey, WHITE, order=order, **how)),
        (colours, tiff(colours, RGB, order=order, **how)),
        (clear, tiff(clear, RGB, order=order, tags=extra(2), **how)),
    ):
        result = images.decode(data)
        assert result.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_premultiplied_colours_are_divided_by_their_opacity(order, dtype):
    top = np.iinfo(dtype).max
    opacity = RNG.integers(1, top + 1, (9, 8, 1))
    pixels = np.concatenate(
        [(RNG.random((9, 8, 3)) * (opacity + 1)).astype(int).clip(0, opacity), opacity], axis=2
    ).astype(dtype)
    pixels[0, 0] = 0
    expected = np.round(pixels[..., :3].astype(float) * top / np.maximum(pixels[..., 3:], 1))
    result = images.decode(tiff(pixels, RGB, order=order, tags=extra(1)))
    np.testing.assert_array_equal(result, np.dstack([expected, pixels[..., 3]]))
    if dtype == "u1":
        grey = images.decode(tiff(pixels[..., [0, 3]], BLACK, order=order, tags=extra(1)))
        np.testing.assert_array_equal(grey, np.dstack([expected[..., 0]] * 3 + [pixels[..., 3]]))


@pytest.mark.parametrize("how", HOW, ids=NAMES)
def test_planes_of_8_bits(how):
    for bands, tags in ((3, ()), (4, extra(2))):
        pixels = noise(21, 18, bands)
        np.testing.assert_array_equal(
            images.decode(tiff(pixels, RGB, planar=True, tags=tags, **how)), pixels
        )


def test_grey_with_opacity_palettes_and_inks():
    pixels = noise(5, 6, 2)
    np.testing.assert_array_equal(
        images.decode(tiff(pixels, BLACK, tags=extra(2))), pixels[..., [0, 0, 0, 1]]
    )
    colours, indices = noise(3, 256, dtype="u2"), noise(5, 6)
    data = tiff(indices, PALETTE, tags=[(320, 3, tuple(colours.ravel().tolist()))])
    np.testing.assert_array_equal(images.decode(data), (colours >> 8).T[indices])
    np.testing.assert_array_equal(images.decode_ids(data), indices)
    assert (
        images.decode(tiff(np.full((4, 4, 4), (255, 0, 0, 0), np.uint8), CMYK)).tolist()
        == [[[0, 255, 255]] * 4] * 4
    )


COMPRESSIONS = ("raw", "tiff_lzw", "packbits", "tiff_adobe_deflate")
SAVED = [
    ("1", "group4"),
    *(
        (mode, compression)
        for mode in ("1", "L", "RGB", "RGBA", "I;16", "P")
        for compression in COMPRESSIONS
    ),
]


@pytest.mark.parametrize(("mode", "compression"), SAVED)
def test_files_of_pillow_in_every_compression(mode, compression):
    picture = (
        Image.fromarray(noise(7, 9, dtype="u2"))
        if mode == "I;16"
        else Image.fromarray(noise(7, 9, 3)).convert(mode)
    )
    file, lossless = io.BytesIO(), io.BytesIO()
    picture.save(file, "TIFF", compression=compression)
    picture.save(lossless, "PNG")
    np.testing.assert_array_equal(
        images.decode(file.getvalue()), images.decode(lossless.getvalue())
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", [WHITE, BLACK])
def test_orientation_is_kept_in_16_bits(photometric, order):
    pixels = noise(4, 7, dtype="u2")
    levels = pixels if photometric else 65535 - pixels
    data = tiff(pixels, photometric, order=order, tags=[(274, 3, (6,))])
    np.testing.assert_array_equal(images.decode(data)[..., 0], np.rot90(levels, -1))
    colours = noise(4, 7, 3, dtype="u2")
    np.testing.assert_array_equal(
        images.decode(tiff(colours, RGB, order=order, tags=[(274, 3, (8,))])), np.rot90(colours)
    )


def test_64_bit_offsets():
    pixels = noise(6, 5, 3, dtype="u2")
    np.testing.assert_array_equal(images.decode(tiff(pixels, RGB, big=True)), pixels)
    assert "is a big-endian BigTIFF file, which is not supported" in refusal(
        tiff(pixels, RGB, big=True, order=">")
    )


@pytest.mark.parametrize("first", [True, False])
def test_a_smaller_version_beside_the_picture_does_not_count(first):
    picture, small = noise(8, 10, 3), noise(4, 5, 3)
    pages = [tiff_files.page(picture, RGB), tiff_files.page(small, RGB, tags=[(254, 4, (1,))])]
    np.testing.assert_array_equal(
        images.decode(tiff_files.file(*(pages if first else pages[::-1]))), picture
    )


# ---------------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("planar", [True, False])
@pytest.mark.parametrize(
    ("photometric", "bands", "kinds"),
    [
        (RGB, 4, (0,)),
        (RGB, 4, None),
        (RGB, 5, (2, 0)),
        (RGB, 5, (1, 0)),
        (RGB, 6, (0, 0, 0)),
        (RGB, 4, (999,)),
        (BLACK, 2, (0,)),
        (BLACK, 2, None),
    ]
    + [
        (BLACK, 3, (0, 0)),
        (BLACK, 13, (0,) * 12),
        (WHITE, 2, (2,)),
        (CMYK, 5, (0,)),
        (CMYK, 5, (2,)),
        (PALETTE, 2, (0,)),
        (RGB, 2, None),
    ],
)
def test_bands_that_are_no_colours_are_named(photometric, bands, kinds, planar, dtype):
    data = tiff(
        noise(4, 5, bands, dtype=dtype),
        photometric,
        planar=planar,
        tags=extra(*kinds) if kinds else (),
    )
    assert (
        f"has {bands} bands, and only grey or three colours, perhaps with opacity, are supported: save it as PNG"
        in refusal(data)
    )


@pytest.mark.parametrize(
    ("dtype", "told"),
    [
        ("i1", "signed"),
        ("i2", "signed"),
        ("i4", "32-bit"),
        ("u4", "32-bit"),
        ("f2", "floating-point"),
        ("f4", "floating-point"),
        ("f8", "floating-point"),
    ]
    + [("c8", "complex")],
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_other_numbers_are_named(dtype, told, order):
    assert f"has {told}" in refusal(tiff(np.ones((4, 5), dtype), BLACK, order=order))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (
            tiff(noise(4, 5, 3, dtype="u2"), RGB, planar=True),
            "has 3 bands of 16 bits, each in a plane of its own",
        ),
        (tiff(noise(4, 5, 3), LAB), "has CIELab colours, which are not supported"),
        (tiff(noise(4, 5), 32803), "a camera's colour filter array"),
        (tiff(noise(4, 5, 2, dtype="u2"), BLACK, tags=extra(2)), "has 16-bit pixels with opacity"),
        (tiff(noise(4, 5, dtype="u2"), BLACK, tags=[(258, 3, (12,))]), "has 12-bit pixels"),
        (
            tiff(noise(4, 5, 3), RGB, tags=[(258, 3, (5, 6, 5))]),
            r"has 3 bands of different kinds \(5, 6, 5 bits\)",
        ),
        (tiff(noise(4, 5, 3), RGB, tags=[(259, 3, (34712,))]), "is compressed by JPEG 2000"),
        (tiff(noise(4, 5, 3), RGB, tags=[(259, 3, (1234,))]), "is compressed by method 1234"),
        (tiff(noise(4, 5, 4), CMYK, tags=[(332, 3, (2,))]), "other inks than cyan"),
        (tiff(noise(4, 5, 3), RGB, tags=[(50706, 1, (1, 4, 0, 0))]), "is a camera raw file"),
        (
            tiff_files.file(*[tiff_files.page(noise(4, 5), BLACK)] * 3),
            "has 3 pages, and one image in a file is supported",
        ),
        (
            tiff_files.file(*[tiff_files.page(noise(4, 5, 3), RGB)] * 2, order="<", big=True),
            "has 2 pages",
        ),
        (tiff(noise(4, 5), BLACK)[:30], "is damaged"),
        (tiff(noise(40, 50), BLACK)[:-100], "is damaged"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(60), "is a camera raw file"),
        (b"II*\0\xff\xff\xff\xff", "is damaged"),
        (b"II*\0\0\0\0\0", "is damaged"),
    ],
)
def test_other_kinds_are_named(data, told):
    assert re.search(told, refusal(data))


def test_a_directory_that_names_itself_as_the_next_one_ends():
    data = bytearray(tiff(noise(4, 5), BLACK))
    count = int.from_bytes(data[8:10], "little")
    data[10 + 12 * count : 14 + 12 * count] = (8).to_bytes(4, "little")
    assert images.decode(bytes(data)).shape == (4, 5, 1)


def test_ids_where_0_means_white_are_unclear():
    assert "0 means white, so that its ids are unclear" in refusal(
        tiff(noise(4, 5), WHITE), images.decode_ids
    )
    ids = noise(4, 5, dtype="u2")
    for order in "<>":
        np.testing.assert_array_equal(images.decode_ids(tiff(ids, BLACK, order=order)), ids)
