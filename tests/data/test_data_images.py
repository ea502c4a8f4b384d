from __future__ import annotations

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxgan.data import images
from jaxgan.pictures.images import encode_png

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 7, 3)).astype(np.uint8)
GREY = RGB[:, :, 0]


def encode(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("pixels", [RGB, GREY, np.dstack([RGB, GREY])], ids=["rgb", "grey", "rgba"])
def test_png_is_exact(pixels):
    result = images.decode(encode(Image.fromarray(pixels)))
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, pixels if pixels.ndim == 3 else pixels[:, :, None])


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_kept(kind):
    pixels = RNG.integers(0, 65536, (4, 6)).astype(np.uint16)
    pixels[0, 0] = 65535
    result = images.decode(encode(Image.fromarray(pixels), kind))
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(result[:, :, 0], pixels)


def test_one_bit_becomes_grey():
    pixels = RNG.integers(0, 2, (9, 9)).astype(bool)
    np.testing.assert_array_equal(
        images.decode(encode(Image.fromarray(pixels)))[:, :, 0], pixels * 255
    )


def test_palette_becomes_rgb_and_with_transparency_rgba():
    palette = Image.fromarray((np.arange(35) % 4).astype(np.uint8).reshape(5, 7)).convert("L")
    indexed = Image.new("P", (7, 5))
    indexed.putdata(np.asarray(palette).ravel().tolist())
    indexed.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 255, 0, 1])
    colours = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90], [255, 0, 1]], np.uint8)
    expected = colours[np.asarray(palette)]
    np.testing.assert_array_equal(images.decode(encode(indexed)), expected)
    result = images.decode(encode(indexed, transparency=2))
    np.testing.assert_array_equal(result[:, :, :3], expected)
    np.testing.assert_array_equal(result[:, :, 3], np.where(np.asarray(palette) == 2, 0, 255))


def test_cmyk_becomes_rgb():
    cmyk = np.zeros((8, 8, 4), np.uint8)
    cmyk[..., 0] = 255  # full cyan
    picture = Image.merge("CMYK", [Image.fromarray(cmyk[..., c]) for c in range(4)])
    result = images.decode(encode(picture, "JPEG", quality=100))
    assert result.shape == (8, 8, 3)
    np.testing.assert_allclose(result.reshape(-1, 3).mean(0), [0, 255, 255], atol=3)


def test_grey_with_alpha_becomes_rgba():
    result = images.decode(encode(Image.merge("LA", [Image.fromarray(GREY)] * 2)))
    np.testing.assert_array_equal(result, np.dstack([GREY] * 4))


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda x: x),
        (2, np.fliplr),
        (3, lambda x: np.rot90(x, 2)),
        (4, np.flipud),
        (6, lambda x: np.rot90(x, -1)),
        (8, np.rot90),
    ],
)
def test_exif_orientation(orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(
        images.decode(encode(Image.fromarray(RGB), exif=exif)), upright(RGB)
    )


def test_damaged_exif_is_ignored():
    result = images.decode(encode(Image.fromarray(RGB), exif=b"Exif\0\0II*\0\xff\xff\xff\xff junk"))
    np.testing.assert_array_equal(result, RGB)


def test_animation_gives_its_first_frame():
    frames = [Image.new("L", (4, 4), value) for value in (0, 255)]
    assert (
        images.decode(encode(frames[0], "GIF", save_all=True, append_images=frames[1:])).max() == 0
    )


def bomb_png(width, height):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "side", [10_000, 60_000]
)  # Pillow itself warns about the first, refuses the second
@pytest.mark.parametrize("quiet", [True, False])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bomb(side, quiet):
    with (
        images.quiet() if quiet else contextlib.nullcontext(),
        pytest.raises(images.BadImage, match="decompression bomb"),
    ):
        images.decode(bomb_png(side, side))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"just some text, thought to be a picture", "is not an image that Pillow can read"),
        (encode(Image.fromarray(np.tile(RGB, (40, 40, 1))), "JPEG")[:-2000], "is damaged"),
        (encode(Image.fromarray(np.tile(RGB, (40, 40, 1))))[:-200], "is damaged"),
        (encode(Image.fromarray(RGB))[:20], "is not an image|is damaged"),
        (encode(Image.fromarray(np.full((4, 4), 0.5, np.float32)), "TIFF"), "floating-point"),
        (encode(Image.fromarray(np.full((4, 4), 70000, np.int32)), "TIFF"), "32-bit"),
    ],
    ids=["empty", "text", "truncated jpeg", "truncated png", "header only", "float", "32 bit"],
)
def test_bad_files_have_reasons(data, reason):
    with pytest.raises(images.BadImage, match=reason):
        images.decode(data)


PASSES = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)
"""Adam7: first row and column of each pass, and the steps from one to the next."""


def filtered(rows, unit, choose):
    """Rows of bytes [H, W] with the filters `choose(row)` of the PNG specification (section 9.2), written down byte by byte. unit: bytes of a pixel."""
    out = b""
    before = [0] * rows.shape[1]
    for number, row in enumerate(rows.tolist()):
        kind = choose(number)
        out += bytes([kind])
        for i, value in enumerate(row):
            left, above = (row[i - unit] if i >= unit else 0), before[i]
            corner = before[i - unit] if i >= unit else 0
            guess = left + above - corner
            paeth = min((left, above, corner), key=lambda near: abs(guess - near))
            out += bytes([(value - (0, left, above, (left + above) // 2, paeth)[kind]) % 256])
        before = row
    return out


def deep_png(pixels, choose, interlaced=False, chunks=()):
    """A PNG file of uint16 [H, W, 2, 3 or 4]: a writer of its own, apart from the library's."""
    height, width, channels = pixels.shape
    parts = (
        [pixels[top::down, left::right] for top, left, down, right in PASSES]
        if interlaced
        else [pixels]
    )
    parts = [part.astype(">u2").reshape(part.shape[0], -1) for part in parts if part.size]
    data = b"".join(filtered(part.view(np.uint8), 2 * channels, choose) for part in parts)
    header = struct.pack(
        ">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, int(interlaced)
    )
    every = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in every
    )


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([2, 3, 4]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_16_bit_colours_are_read_to_the_bit(height, width, channels, interlaced, seed):
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 65536, (height, width, channels)).astype(np.uint16)
    kinds = random.integers(0, 5, height)
    result = images.decode(deep_png(pixels, lambda row: int(kinds[row]), interlaced))
    expected = pixels[..., [0, 0, 0, 1]] if channels == 2 else pixels
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(images.decode(encode_png(pixels)), expected)


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize("interlaced", [False, True])
def test_every_filter_of_16_bit_colours(kind, interlaced):
    pixels = RNG.integers(0, 65536, (11, 13, 3)).astype(np.uint16)
    np.testing.assert_array_equal(
        images.decode(deep_png(pixels, lambda row: kind, interlaced)), pixels
    )


def test_16_bit_colours_with_a_transparent_one():
    pixels = RNG.integers(0, 65536, (3, 4, 3)).astype(np.uint16)
    pixels[0, 0] = pixels[1, 2] = (1000, 2000, 3000)
    pixels[2, 2] = (1000, 2000, 3001)  # the same in the higher bytes
    result = images.decode(
        deep_png(pixels, lambda row: 0, chunks=[(b"tRNS", struct.pack(">HHH", 1000, 2000, 3000))])
    )
    np.testing.assert_array_equal(result[..., :3], pixels)
    np.testing.assert_array_equal(result[..., 3] == 0, np.isin(np.arange(12).reshape(3, 4), [0, 6]))


def test_16_bit_colours_are_turned_upright():
    pixels = RNG.integers(0, 65536, (3, 5, 3)).astype(np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6
    data = deep_png(
        pixels, lambda row: 1, chunks=[(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))]
    )
    np.testing.assert_array_equal(images.decode(data), np.rot90(pixels, -1))


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_colours_of_tiff(order):
    """Uncompressed, one strip, the least that the format asks for."""
    pixels = RNG.integers(0, 65536, (4, 3, 3)).astype(f"{order}u2")
    start = 8 + 2 + 9 * 12 + 4
    entries = [
        (256, 3, 1, 3, 0),
        (257, 3, 1, 4, 0),
        (258, 3, 3, start),
        (259, 3, 1, 1, 0),
        (262, 3, 1, 2, 0),
        (273, 4, 1, start + 6),
    ]
    entries += [(277, 3, 1, 3, 0), (278, 3, 1, 4, 0), (279, 4, 1, pixels.nbytes)]
    packed = b"".join(
        struct.pack(
            order + ("HHIHH" if kind == 3 and count == 1 else "HHII"), tag, kind, count, *value
        )
        for tag, kind, count, *value in entries
    )
    marks = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, 9)
    np.testing.assert_array_equal(
        images.decode(
            marks + packed + bytes(4) + struct.pack(order + "HHH", 16, 16, 16) + pixels.tobytes()
        ),
        pixels,
    )


def test_damaged_16_bit_colours_are_named():
    data = deep_png(RNG.integers(0, 65536, (30, 30, 3)).astype(np.uint16), lambda row: 4)
    with pytest.raises(images.BadImage, match="is damaged"):
        images.decode(data[:2000])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_channels(dtype):
    top = np.iinfo(dtype).max
    grey, rgb = (
        RNG.integers(0, top, (3, 4, 1)).astype(dtype),
        RNG.integers(0, top, (3, 4, 3)).astype(dtype),
    )
    np.testing.assert_array_equal(images.convert_channels(grey, 3), np.dstack([grey] * 3))
    np.testing.assert_array_equal(
        images.convert_channels(rgb, 4), np.dstack([rgb, np.full((3, 4), top, dtype)])
    )
    np.testing.assert_array_equal(images.convert_channels(grey, 4)[..., :3], np.dstack([grey] * 3))
    luma = np.round(rgb[..., 0] * 0.299 + rgb[..., 1] * 0.587 + rgb[..., 2] * 0.114)
    np.testing.assert_allclose(images.convert_channels(rgb, 1)[..., 0], luma, atol=1)
    see_through = np.dstack([rgb, np.zeros((3, 4), dtype)])
    np.testing.assert_array_equal(images.convert_channels(see_through, 3), np.full_like(rgb, top))
    solid = np.dstack([rgb, np.full((3, 4), top, dtype)])
    np.testing.assert_array_equal(images.convert_channels(solid, 3), rgb)
    half = np.dstack(
        [np.zeros_like(rgb), np.full((3, 4), 51 * (top // 255), dtype)]
    )  # a fifth black over white
    np.testing.assert_array_equal(
        images.convert_channels(half, 1), np.full((3, 4, 1), 204 * (top // 255), dtype)
    )
    assert images.convert_channels(rgb, 3) is rgb


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_resize_keeps_constants_types_and_shape(dtype, channels):
    image = np.full((11, 17, channels), 200, dtype)
    result = images.resize(image, (6, 4))
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, np.full((6, 4, channels), 200, dtype))
    assert images.resize(image, (11, 17)) is image


def test_resize_keeps_aspect_and_cuts_the_centre():
    wide = np.zeros((8, 24, 1), np.uint8)
    wide[:, 8:16] = 255  # the middle third is all that a square shows
    np.testing.assert_array_equal(images.resize(wide, (8, 8)), np.full((8, 8, 1), 255, np.uint8))
    np.testing.assert_array_equal(
        images.resize(wide.transpose(1, 0, 2), (8, 8)), np.full((8, 8, 1), 255, np.uint8)
    )
    rows = np.repeat(np.arange(0, 240, 10, dtype=np.uint8)[:, None], 8, 1)[
        ..., None
    ]  # cutting without scaling is exact
    np.testing.assert_array_equal(images.resize(rows, (8, 8)), rows[8:16])


def test_resize_8_and_16_bit_agree_and_are_antialiased():
    pixels = RNG.integers(0, 256, (32, 32, 1)).astype(np.uint8)
    small = images.resize(pixels, (4, 4))
    deep = images.resize(pixels.astype(np.uint16) * 257, (4, 4))
    np.testing.assert_allclose(deep / 257, small, atol=1)
    checkers = (np.indices((32, 32)).sum(0) % 2 * 255).astype(np.uint8)[..., None]
    np.testing.assert_allclose(images.resize(checkers, (8, 8)).astype(float), 127.5, atol=12)


def test_one_pixel_is_a_placeholder_unless_asked_for():
    dot = np.zeros((1, 1, 3), np.uint8)
    with pytest.raises(images.BadImage, match="1x1"):
        images.fit(dot, None, None)
    with pytest.raises(images.BadImage, match="1x1"):
        images.fit(dot, (8, 8), None)
    assert images.fit(dot, (1, 1), 1).shape == (1, 1, 1)


def test_width_refuses_what_would_explode():
    with pytest.raises(
        images.BadImage,
        match="is 20000x1, which would be 5120000 pixels high when scaled to a width of 256",
    ):
        images.resize(np.zeros((20000, 1, 1), np.uint8), (1, 256), "width")
