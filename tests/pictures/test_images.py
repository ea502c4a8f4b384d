"""`jaxgan.pictures.images`: 16 bits per channel, and files written whole. What log and report do with pictures is tested there."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxgan.data.prepare import normalise
from jaxgan.pictures import images as pictures


def read_png16(content):
    """An independent reader of what the PNG specification says: (uint16 [H, W, C], chunks by name)."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        assert struct.unpack(">I", content[at + 8 + length : at + 12 + length])[0] == zlib.crc32(
            kind + body
        )
        chunks[kind], at = body, at + 12 + length
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, rest) == (16, [0, 0, 0])
    channels = {0: 1, 4: 2, 2: 3, 6: 4}[colour]
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(
        height, 1 + 2 * width * channels
    )
    assert (lines[:, 0] == 2).all(), "filter Up"
    plain = (
        (np.cumsum(lines[:, 1:], axis=0, dtype=np.int64) % 256)
        .astype(np.int64)
        .reshape(height, width, channels, 2)
    )
    return (plain[..., 0] * 256 + plain[..., 1]).astype(np.uint16), chunks


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_is_exact(channels):
    pixels = np.random.default_rng(channels).integers(0, 65536, (5, 7, channels)).astype(np.uint16)
    content = pictures.encode_png(pixels, note="a nöte")
    result, chunks = read_png16(content)
    np.testing.assert_array_equal(result, pixels)
    assert chunks[b"iTXt"] == b"Comment\0\0\0\0\0" + "a nöte".encode()
    with Image.open(
        io.BytesIO(content)
    ) as image:  # Pillow keeps 16 bits of grey, and the upper 8 of anything else
        assert image.info["Comment"] == "a nöte"
        read = np.asarray(image).reshape(5, 7, -1)
    if channels == 1:
        np.testing.assert_array_equal(read, pixels)
    elif channels > 2:
        np.testing.assert_array_equal(read, pixels // 256)
    assert b"iTXt" not in pictures.encode_png(pixels)


@pytest.mark.parametrize(
    ("back", "kind"), [(pictures.to_uint8, np.uint8), (pictures.to_uint16, np.uint16)]
)
def test_whole_numbers_undo_normalise(back, kind):
    values = np.arange(np.iinfo(kind).max + 1, dtype=kind).reshape(16, -1, 1)
    result = back(normalise(values))
    assert result.dtype == kind
    np.testing.assert_array_equal(result, values)
    assert back(values) is values


def test_16_bit_limits():
    assert pictures.to_uint16(np.array([[[-2.0], [0.0], [2.0], [np.nan]]])).ravel().tolist() == [
        0,
        32768,
        65535,
        0,
    ]
    bad = pictures.to_uint16(np.array([[[0.0, np.inf, 0.0]]]))
    assert bad.ravel().tolist() == [65535, 0, 65535], "the colour of what is not finite"
    with pytest.raises(ValueError, match="must be uint16, or float"):
        pictures.to_uint16(np.zeros((1, 1, 1), np.uint8))


@pytest.mark.parametrize("at", ["write_bytes", "replace"])
def test_an_interruption_leaves_nothing_half_written(tmp_path, monkeypatch, at):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def stop(target, *rest):
        open(target, "wb").close()
        raise KeyboardInterrupt

    monkeypatch.setattr(pictures.os if at == "replace" else pictures.Path, at, stop)
    with pytest.raises(KeyboardInterrupt):
        pictures.write_whole(path, b"new")
    assert [file.name for file in tmp_path.iterdir()] == ["a.bin"]
    assert path.read_bytes() == b"old"
