"""Which image formats are read, by content; damaged and transparent PNG files; that nothing in the project opens an image in another way."""

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxgan.data import images
from jaxgan.pictures import formats
from jaxgan.pictures.images import encode_png

RNG = np.random.default_rng(3)
RGB = RNG.integers(0, 256, (6, 5, 3)).astype(np.uint8)


def encode(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def png(rows, depth, colours, size, *chunks):
    """A PNG file of packed rows (bytes each), without filters."""
    height, width = size
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    body = [
        (b"IHDR", header),
        *chunks,
        (b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))),
        (b"IEND", b""),
    ]
    return formats.PNG + b"".join(
        struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part))
        for kind, part in body
    )


def grey_png(levels, depth, *chunks):
    """Grey of 1, 2, 4, 8 or 16 bits."""
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in levels]
    else:
        bits = (levels[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        rows = [np.packbits(row.ravel()).tobytes() for row in bits]
    return png(rows, depth, 0, levels.shape, *chunks)


# ------------------------------------------------------------------------------------------------------------------- formats


def test_the_formats_that_are_read():
    for kind in ("PNG", "TIFF", "BMP", "PPM"):
        np.testing.assert_array_equal(images.decode(encode(Image.fromarray(RGB), kind)), RGB)
    np.testing.assert_array_equal(
        images.decode(encode(Image.fromarray(RGB), "WEBP", lossless=True)), RGB
    )
    assert images.decode(encode(Image.fromarray(RGB), "JPEG")).shape == RGB.shape
    assert images.decode(encode(Image.fromarray(RGB), "GIF")).shape == RGB.shape


Image.init()
OTHERS = (
    "PCX",
    "SGI",
    "TGA",
    "ICO",
    "DDS",
    "JPEG2000",
    "SPIDER",
    "EPS",
    "PDF",
    "MSP",
    "XBM",
    "QOI",
    "AVIF",
    "ICNS",
)


@pytest.mark.parametrize(
    "kind", [kind for kind in OTHERS if kind in Image.SAVE]
)  # older Pillows write fewer
def test_other_formats_are_refused_whatever_they_are_called(kind):
    mode = {"MSP": "1", "XBM": "1", "SPIDER": "F"}.get(kind, "RGB")
    data = encode(Image.fromarray(np.tile(RGB, (6, 7, 1))[:32, :32]).convert(mode), kind)
    with pytest.raises(images.BadImage) as caught:
        images.decode(data)
    assert "PNG, JPEG, WebP, GIF, TIFF, BMP and PPM" in str(caught.value)
    named = {
        "PCX": "a PCX",
        "SGI": "an SGI",
        "TGA": "a TGA",
        "EPS": "an EPS",
        "PDF": "a PDF",
        "JPEG2000": "a JPEG 2000",
        "AVIF": "an AVIF",
        "QOI": "a QOI",
    }
    assert kind == "TGA" or named.get(kind, "") in str(caught.value), (
        "a TGA file has no mark at its start"
    )


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n", "an EPS or PostScript file"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC file"),
        (b"\0\0\0\x18ftypcrx \0\0\0\0", "a camera raw file"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG file"),
        (b"8BPS\0\1", "a Photoshop file"),
        (bytes(40) + b"TRUEVISION-XFILE.\0", "a TGA file"),
    ],
)
def test_foreign_formats_are_named(data, named):
    with pytest.raises(images.BadImage, match=f"is {named}, and only .* are read: save it as PNG"):
        images.decode(data)


def test_every_image_is_opened_with_a_list_of_formats():
    root = Path(formats.__file__).parents[2]
    files = [
        file
        for folder in ("jaxgan", "experiments", "benchmarks")
        for file in (root / folder).rglob("*.py")
    ]
    calls = [
        line
        for file in files
        for line in file.read_text().splitlines()
        if re.search(r"\bImage\.open\(", line)
    ]
    assert calls
    assert [line for line in calls if "formats=" not in line] == []


def test_a_plugin_of_another_format_never_runs(monkeypatch):
    from PIL import EpsImagePlugin, PcxImagePlugin

    ran = []
    for plugin in (EpsImagePlugin.EpsImageFile, PcxImagePlugin.PcxImageFile):
        monkeypatch.setattr(plugin, "_open", lambda self: ran.append(type(self)))
    for kind in ("EPS", "PCX"):
        with pytest.raises(images.BadImage):
            images.decode(encode(Image.fromarray(RGB), kind))
    assert ran == []


# ---------------------------------------------------------------------------------------------------------------- damaged PNG


def test_a_flipped_byte_of_a_png_is_found():
    """Pillow does not look at the checksums of the pixels' chunks."""
    data = encode(Image.fromarray(RGB), "PNG")
    for i in range(len(data) - 12):
        changed = bytearray(data)
        changed[i] ^= 0x10
        with pytest.raises(images.BadImage, match=r"is damaged|is not an image|unpacks"):
            images.decode(bytes(changed))


def test_what_follows_the_end_of_a_png_does_not_count():
    np.testing.assert_array_equal(
        images.decode(encode(Image.fromarray(RGB), "PNG") + b"appended"), RGB
    )


@pytest.mark.parametrize(
    ("cut", "reason"), [(1, "it is cut off"), (12, "it is cut off"), (20, "'IDAT' is cut off")]
)
def test_a_png_that_is_cut_off(cut, reason):
    data = png([bytes(4)] * 4, 8, 0, (4, 4))
    with pytest.raises(images.BadImage, match=f"is damaged .*{reason}"):
        images.decode(data[:-cut])


# --------------------------------------------------------------------------------------------------------------- transparency


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_grey_level_in_every_depth(depth):
    levels = RNG.integers(0, 2**depth, (5, 7)).astype(np.uint16)
    levels[0, 0] = level = 1
    levels[1, 1] = 0
    result = images.decode(grey_png(levels, depth, (b"tRNS", struct.pack(">H", level))))
    top = 65535 if depth == 16 else 255
    expected = (levels * (top // (2**depth - 1))).astype(np.uint16 if depth == 16 else np.uint8)
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(
        result, np.dstack([expected] * 3 + [np.where(levels == level, 0, top)])
    )


def test_transparent_palettes_and_gifs():
    indexed = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    indexed.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    expected = [[[10, 20, 30, 255], [40, 50, 60, 0], [70, 80, 90, 255]]]
    np.testing.assert_array_equal(images.decode(encode(indexed, "PNG", transparency=1)), expected)
    half = images.decode(encode(indexed, "PNG", transparency=b"\xff\x80\x00"))
    np.testing.assert_array_equal(half[0, :, 3], [255, 128, 0])
    np.testing.assert_array_equal(
        images.decode(encode(indexed, "GIF", transparency=1))[0, :, 3], [255, 0, 255]
    )
    grey = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    np.testing.assert_array_equal(
        images.decode(encode(grey, "GIF", transparency=1))[0, :, 3], [255, 0, 255]
    )


def test_16_bit_grey_with_opacity_is_read_to_the_bit():
    pixels = RNG.integers(0, 65536, (13, 9, 2)).astype(np.uint16)
    for data in (
        png([row.astype(">u2").tobytes() for row in pixels], 16, 4, (13, 9)),
        encode_png(pixels),
    ):
        result = images.decode(data)
        assert result.dtype == np.uint16
        np.testing.assert_array_equal(result, pixels[..., [0, 0, 0, 1]])


@pytest.mark.parametrize("size", [(3, 5), (24, 31)])
def test_opacity_is_resized_premultiplied_in_8_and_16_bits(size):
    """What is clear has no colour: red under it does not bleed into what is seen."""
    image = RNG.integers(0, 256, (12, 15, 4)).astype(np.uint8)
    image[:, :8] = (255, 0, 0, 0)
    image[:, 8:, :3] = (0, 200, 40)
    small, deep = (
        images.resize(image, size, "stretch"),
        images.resize(image.astype(np.uint16) * 257, size, "stretch"),
    )
    np.testing.assert_allclose(
        deep[..., 3] / 257, small[..., 3], atol=5
    )  # 8 bits are cut to 0..255 between rows and columns
    seen = deep[..., 3] > 20 * 257
    assert seen.any()
    assert deep[seen][:, 0].max() == 0
    np.testing.assert_allclose(deep[seen][:, :3] / 257, [[0, 200, 40]] * int(seen.sum()), atol=0.01)
    np.testing.assert_allclose(
        deep[seen][:, :3] / 257, small[seen][:, :3], atol=255 / 20
    )  # 8 bits round the premultiplied colours


# ----------------------------------------------------------------------------------------------------------------------- ids


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_ids_of_every_depth(depth):
    ids = RNG.integers(0, 2**depth, (5, 7)).astype(np.uint16)
    np.testing.assert_array_equal(images.decode_ids(grey_png(ids, depth)), ids)


@pytest.mark.parametrize("highest", [3, 20, 255, 999, 65535])
def test_ids_of_a_pgm_are_its_numbers(highest):
    """Pillow spreads them over all levels."""
    ids = RNG.integers(0, min(highest, 40) + 1, (5, 7))
    packed = ids.astype(np.uint8 if highest < 256 else ">u2").tobytes()
    np.testing.assert_array_equal(images.decode_ids(b"P5 7 5 %d\n" % highest + packed), ids)
    plain = " ".join(map(str, ids.ravel())).encode()
    np.testing.assert_array_equal(images.decode_ids(b"P2 7 5 %d\n" % highest + plain), ids)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            encode(Image.fromarray(RGB[..., 0]), "JPEG"),
            "is a JPEG, and compression changes ids: save the map as PNG",
        ),
        (encode(Image.fromarray(RGB), "JPEG"), "is a JPEG, and compression changes ids"),
        (
            encode(Image.fromarray(RGB), "PNG"),
            r"has colours \(RGB\) in place of ids: convert the maps with python -m experiments.colour_layouts",
        ),
        (encode(Image.fromarray(RGB), "WEBP", lossless=True), r"has colours \(RGB\)"),
        (encode(Image.fromarray(np.dstack([RGB, RGB[..., 0]])), "PNG"), r"has colours \(RGBA\)"),
        (encode(Image.fromarray(RGB).convert("LA"), "PNG"), "has opacity beside its ids: convert"),
        (encode(Image.fromarray(RGB), "BMP"), r"has colours \(RGB\)"),
        (
            encode(Image.fromarray(RGB[..., 0] // 100 * 7), "GIF"),
            "is a GIF, whose writers number colours anew",
        ),
        (encode(Image.fromarray(RGB).convert("CMYK"), "TIFF"), r"has colours \(CMYK\)"),
        (
            encode(Image.fromarray(RGB[..., 0]), "TIFF", compression="jpeg"),
            "compressed with loss, and compression changes ids",
        ),
        (encode(Image.fromarray(RGB[..., 0].astype(np.float32)), "TIFF"), "floating-point"),
        (
            encode(Image.fromarray(RGB[..., 0].astype(np.int32) - 300), "TIFF"),
            "has ids below 0 or above 65535",
        ),
    ],
    ids=[
        "jpeg",
        "colour jpeg",
        "rgb",
        "webp",
        "rgba",
        "la",
        "bmp",
        "gif",
        "cmyk",
        "jpeg in tiff",
        "float",
        "negative",
    ],
)
def test_maps_that_hold_no_ids(data, reason):
    with pytest.raises(images.BadImage, match=reason):
        images.decode_ids(data)


def test_a_gif_of_all_grey_levels_holds_ids():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(images.decode_ids(encode(Image.fromarray(levels), "GIF")), levels)


def test_32_bit_numbers_are_ids_but_no_levels():
    ids = RNG.integers(0, 60_000, (4, 5)).astype(np.int32)
    data = encode(Image.fromarray(ids), "TIFF")
    np.testing.assert_array_equal(images.decode_ids(data), ids)
    with pytest.raises(images.BadImage, match="has 32-bit pixels"):
        images.decode(data)


def test_documentation_names_the_formats():
    assert re.sub(r" and |, ", " ", formats.IN_WORDS).upper().split() == list(formats.READ)
