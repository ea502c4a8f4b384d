"""Strangers' image files: damaged bytes of every format that is read end in a named error or in an image, whatever was changed."""

from __future__ import annotations

import io
import re
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import tiff_files
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxgan.data import images
from jaxgan.pictures.images import encode_png

RNG = np.random.default_rng(8)
RGB, DEEP = (
    RNG.integers(0, 256, (9, 11, 3)).astype(np.uint8),
    RNG.integers(0, 65536, (9, 11, 4)).astype(np.uint16),
)
FEW = settings(max_examples=150, deadline=None, derandomize=True)


def encode(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def animation(kind):
    frames = [Image.fromarray(RGB // n) for n in (1, 2, 3)]
    return encode(frames[0], kind, save_all=True, append_images=frames[1:])


INDEXED = Image.fromarray(RGB).quantize(7)
FILES = {
    "png": encode(Image.fromarray(RGB), "PNG"),
    "png smooth": encode(
        Image.fromarray(np.add.outer(np.arange(200), np.arange(200)).astype(np.uint8)), "PNG"
    ),  # without its checksums, it reads as another
    "png 16": encode_png(DEEP),
    "png grey": encode(Image.fromarray(RGB[..., 0]), "PNG", transparency=3),
    "png palette": encode(INDEXED, "PNG", transparency=b"\0\x80\xff"),
    "png animated": animation("PNG"),
    "jpeg": encode(Image.fromarray(RGB), "JPEG"),
    "jpeg progressive": encode(Image.fromarray(RGB).convert("CMYK"), "JPEG", progressive=True),
    "gif": encode(INDEXED, "GIF", transparency=2),
    "gif animated": animation("GIF"),
    "webp": encode(Image.fromarray(RGB), "WEBP"),
    "webp lossless": encode(Image.fromarray(np.dstack([RGB, RGB[..., 0]])), "WEBP", lossless=True),
    "webp animated": animation("WEBP"),
    "bmp": encode(Image.fromarray(RGB), "BMP"),
    "bmp palette": encode(INDEXED, "BMP"),
    "ppm": encode(Image.fromarray(RGB), "PPM"),
    "pgm": b"P2 3 2 9 1 2 3 4 5 9",
    "tiff": tiff_files.tiff(RGB, 2),
    "tiff big-endian": tiff_files.tiff(DEEP, 2, order=">", deflate=True, tags=[(338, 3, (1,))]),
    "tiff tiles": tiff_files.tiff(RGB, 2, tile=(16, 16), planar=True),
    "tiff bigtiff": tiff_files.tiff(DEEP[..., 0], 0, big=True),
    "tiff lzw": encode(Image.fromarray(RGB), "TIFF", compression="tiff_lzw"),
    "tiff jpeg": encode(Image.fromarray(RGB), "TIFF", compression="jpeg"),
    "tiff fax": encode(Image.fromarray(RGB).convert("1"), "TIFF", compression="group4"),
    "tiff pages": encode(
        Image.fromarray(RGB), "TIFF", save_all=True, append_images=[Image.fromarray(RGB)]
    ),
}


@st.composite
def damaged(draw, content):
    """A file with bytes changed, numbers put into it, a part taken out or doubled, or its end cut off."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(("flip", "number", "cut", "take", "double", "zero")))
        length = draw(st.integers(1, 16))
        if kind == "flip" and data:
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "number":
            order, value = (
                draw(st.sampled_from("<>")),
                draw(st.sampled_from((0, 1, 255, 32_768, 65_535, 2**31 - 1, 2**32 - 1))),
            )
            data[place : place + 4] = struct.pack(order + "I", value)
        elif kind == "cut":
            del data[place:]
        elif kind == "take":
            del data[place : place + length]
        elif kind == "double":
            data[place:place] = data[place : place + length]
        else:
            data[place : place + length] = bytes(length)
    return bytes(data)


def outcome(decode, data):
    """What is read, or None where it is refused."""
    try:
        with images.quiet():
            return decode(data)
    except images.BadImage as error:
        reason = str(error)
    assert re.fullmatch(r".+", reason), "one line"
    return None


@pytest.fixture(autouse=True)
def small_images_only(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10**6)


@pytest.mark.parametrize("name", FILES)
def test_damaged_files_end_in_an_error_or_an_image(name):
    whole = outcome(images.decode, FILES[name])
    assert (whole is None) == (name == "tiff pages")

    @FEW
    @given(damaged(FILES[name]))
    def check(data):
        result = outcome(images.decode, data)
        if result is not None:
            assert result.dtype in (np.uint8, np.uint16)
            assert result.ndim == 3
            assert result.shape[2] in images.CHANNELS
            assert 0 < result.size <= 4 * 10**6
            if name.startswith("png") and data.startswith(b"\x89PNG"):
                np.testing.assert_array_equal(
                    result, whole, err_msg="a PNG file has checksums: what is read is right"
                )
        ids = outcome(images.decode_ids, data)
        assert ids is None or (ids.ndim == 2 and ids.dtype in (np.uint8, np.uint16))

    check()


@FEW
@given(
    st.binary(max_size=200),
    st.sampled_from(
        (b"", *(content[:length] for content in FILES.values() for length in (4, 16, 30)))
    ),
)
def test_noise_ends_in_an_error_or_an_image(noise, start):
    result = outcome(images.decode, start + noise)
    assert result is None or result.ndim == 3


@pytest.mark.parametrize(
    "name", ["png", "jpeg", "gif", "webp lossless", "bmp", "tiff", "tiff lzw", "ppm"]
)
def test_files_cut_off_anywhere_end_in_an_error_or_the_image(name):
    """A cut in the end of a format's last chunk may leave all pixels; where some are gone, nothing is made up."""
    whole = outcome(images.decode, FILES[name])
    for length in range(len(FILES[name]) - 1):
        result = outcome(images.decode, FILES[name][:length])
        if result is not None:
            np.testing.assert_array_equal(result, whole)


def header(width, height, depth=8, colours=2):
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


@pytest.mark.parametrize(
    "data",
    [
        header(2**31 - 1, 2**31 - 1),
        header(10**6, 2) + b"\0\0\0\0IEND\xaeB`\x82",
        b"P6 100000 100000 255 ",
        b"P5 99999999999 1 255 ",
        b"BM" + bytes(12) + struct.pack("<IiiHHIIiiII", 40, 2**30, 2**30, 1, 24, 0, 0, 0, 0, 0, 0),
        b"GIF89a"
        + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0)
        + b","
        + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0)
        + b"\2\1\0\0;",
        tiff_files.tiff(RGB, 2, tags=[(256, 4, (2**31,)), (257, 4, (2**31,))]),
        tiff_files.tiff(RGB, 2, tags=[(256, 4, (60_000,)), (257, 4, (60_000,))]),
        tiff_files.tiff(RGB[..., 0], 1, tags=[(256, 4, (0,))]),
        tiff_files.tiff(RGB, 2, tile=(16, 16), tags=[(322, 4, (2**31,))]),
        tiff_files.tiff(RGB, 2, tags=[(277, 3, (65_535,))]),
    ],
)
def test_huge_sizes_are_refused_before_memory_is_taken(data):
    tracemalloc.start()
    try:
        assert outcome(images.decode, data) is None
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()
