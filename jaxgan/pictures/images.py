"""Arrays in [-1, 1] to pictures a person looks at: bytes, one tiled sheet, PNG files.

Shapes: H, W height and width; C channels: 1 grey, 2 grey and opacity, 3 RGB, 4 RGB and opacity; of more, the first three are shown as RGB.
"""

from __future__ import annotations

import base64
import io
import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from jaxgan.errors import RunError
from jaxgan.pictures.formats import open_image

BAD_COLOUR = (255, 0, 255)
"""What a pixel that is NaN or infinite is painted with: no photograph and no digit has much of it."""

GAP = 2
"""Pixels between the images of a sheet."""
GAP_GREY = 128
MAX_WIDTH = 900
MAX_HEIGHT = 1800
"""A sheet is enlarged by the largest whole factor that keeps it within this width and height."""


def to_uint8(images: Any) -> np.ndarray:
    """[..., H, W, C] in [-1, 1] -> uint8 [..., H, W, C]: -1 -> 0, 1 -> 255, rounded to nearest (halves to even), values outside clipped.

    A pixel with a NaN or an infinity becomes `BAD_COLOUR` (opaque) where it has three channels or more; with fewer there is no colour to give,
    and its non-finite values become 0 (`tile` shows those in colour too). uint8 passes unchanged.
    """
    return _to_whole(images, np.uint8)


def to_uint16(images: Any) -> np.ndarray:
    """As `to_uint8`, with 1 -> 65535. Undoes `jaxgan.data.prepare.normalise` exactly. uint16 passes unchanged."""
    return _to_whole(images, np.uint16)


def _to_whole(images: Any, kind: type[np.uint8] | type[np.uint16]) -> np.ndarray:
    images, top = np.asarray(images), np.iinfo(kind).max
    if images.dtype == kind:
        return images
    if not (np.issubdtype(images.dtype, np.floating) or images.dtype.name == "bfloat16"):
        raise ValueError(f"images must be {kind.__name__}, or float in [-1, 1], got {images.dtype}")
    values = images.astype(np.float32)
    good = np.isfinite(values)
    pixels = np.rint((np.clip(np.where(good, values, -1.0), -1.0, 1.0) + 1.0) * (top / 2)).astype(
        kind
    )
    channels = pixels.shape[-1] if pixels.ndim else 0
    if channels >= 3 and not good.all():
        bad = ~good.all(axis=-1)
        pixels[bad] = top
        pixels[bad, :3] = np.array(BAD_COLOUR) * (top // 255)
    return pixels


def tile(grid: Any, max_width: int = MAX_WIDTH, max_height: int = MAX_HEIGHT) -> np.ndarray:
    """[rows, columns, H, W, C] in [-1, 1] (or uint8) -> one sheet, uint8 [height, width, C'], with C' in 1..4.

    Images are enlarged by pixel repetition (a whole factor: at most `max_width` wide and `max_height` high, never made smaller) and parted by `GAP`
    pixels, grey, or transparent where the images have opacity. C' is C, except: C > 4 shows the first three; grey with a non-finite
    pixel becomes RGB, so that the pixel can be seen.

    Raises `ValueError` for another rank or an empty axis.
    """
    grid = np.asarray(grid)
    if grid.ndim != 5 or 0 in grid.shape:
        raise ValueError(
            f"a grid of images is [rows, columns, H, W, C], none of them 0, got shape {list(grid.shape)}"
        )
    pixels = to_uint8(_showable(grid))
    rows, columns, height, width, channels = pixels.shape
    factor = max(
        1,
        min(
            (max_width - GAP * (columns - 1)) // (columns * width),
            (max_height - GAP * (rows - 1)) // (rows * height),
        ),
    )
    pixels = pixels.repeat(factor, axis=2).repeat(factor, axis=3)
    height, width = height * factor, width * factor
    sheet = np.full(
        (rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels), GAP_GREY, np.uint8
    )
    if channels in (2, 4):
        sheet[..., -1] = 0
    for row in range(rows):
        for column in range(columns):
            top, left = row * (height + GAP), column * (width + GAP)
            sheet[top : top + height, left : left + width] = pixels[row, column]
    return sheet


def _showable(grid: np.ndarray) -> np.ndarray:
    """At most four channels; three where grey cannot show what is wrong."""
    if grid.shape[-1] > 4:
        return grid[..., :3]
    if (
        grid.shape[-1] < 3
        and grid.dtype != np.uint8
        and not np.isfinite(grid.astype(np.float32)).all()
    ):
        bad = ~np.isfinite(grid.astype(np.float32)).all(axis=-1, keepdims=True)
        return np.where(bad, np.float32("nan"), grid[..., :1].astype(np.float32)).repeat(3, axis=-1)
    return grid


def encode_png(array: Any, note: str = "") -> bytes:
    """[H, W, C] (or [H, W]), uint8, uint16 or float in [-1, 1], C in 1..4 -> the bytes of a PNG file; `note` is stored in it as its comment.

    uint16 is stored with 16 bits per channel, everything else with 8.
    """
    pixels = np.asarray(array)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    pixels = pixels if pixels.dtype == np.uint16 else to_uint8(pixels)
    if pixels.ndim != 3 or not 1 <= pixels.shape[-1] <= 4 or 0 in pixels.shape:
        raise ValueError(
            f"a PNG holds an image [H, W, C] of 1 to 4 channels, got shape {list(pixels.shape)}"
        )
    if pixels.dtype == np.uint16:
        return _encode_png16(pixels, note)
    info = PngInfo()
    if note:
        info.add_itxt("Comment", note)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)).save(
        buffer, "PNG", pnginfo=info
    )
    return buffer.getvalue()


def _encode_png16(pixels: np.ndarray, note: str) -> bytes:
    """uint16 [H, W, 1..4] -> a PNG file of 16 bits per channel, which Pillow writes for grey only.

    Source: PNG Specification (Third Edition), W3C 2025: sections 9.2 (every row by filter 2, Up), 11.2.1 (IHDR) and 11.3.3.4 (iTXt).
    """
    height, width, channels = pixels.shape
    rows = np.ascontiguousarray(pixels, ">u2").view(np.uint8).reshape(height, -1)
    above = np.concatenate([np.zeros_like(rows[:1]), rows[:-1]])
    filtered = np.concatenate([np.full((height, 1), 2, np.uint8), rows - above], axis=1)
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    comment = [(b"iTXt", b"Comment" + 5 * b"\0" + note.encode())] if note else []
    chunks = [
        (b"IHDR", header),
        *comment,
        (b"IDAT", zlib.compress(filtered.tobytes())),
        (b"IEND", b""),
    ]
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def save_png(path: Path | str, array: Any, note: str = "") -> Path:
    """Writes `array` (see `encode_png`) as a PNG file, whole or not at all; folders are made. Raises `RunError` if it cannot be written."""
    return write_whole(path, encode_png(array, note))


def write_whole(path: Path | str, content: bytes) -> Path:
    """Writes a file whole or not at all: under a temporary name beside it, then renamed. Raises `RunError` if it cannot be written."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror or error}; free space or choose another folder"
        ) from error
    finally:  # nothing is left under that name but by a full disk or an interruption
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path


def data_uri(path: Path | str | io.BytesIO, width: int, limit: int) -> tuple[str, str]:
    """A picture file (or its bytes in a buffer) for use inside an HTML page: its data URI and its comment ("" without one).

    The picture is made smaller, and WebP where PNG is too large, until it is at most `width` pixels across and `limit` bytes (before base64).
    Raises `OSError` or `ValueError` where the file cannot be read as a picture.
    """
    with open_image(path) as file:
        note = str(file.info.get("Comment", ""))
        picture = file.copy() if file.mode in ("L", "LA", "RGB", "RGBA") else file.convert("RGB")
    while True:
        if picture.width > width:
            picture = picture.resize(
                (width, max(1, round(picture.height * width / picture.width))),
                Image.Resampling.LANCZOS,
            )
        for kind, options in (("PNG", {"compress_level": 6}), ("WEBP", {"quality": 85})):
            if kind == "WEBP" and max(picture.size) > 16_383:  # the format's own limit
                continue
            buffer = io.BytesIO()
            picture.save(buffer, kind, **options)
            content = buffer.getvalue()
            if len(content) <= limit or picture.width == 1:
                return (
                    f"data:image/{kind.lower()};base64,{base64.b64encode(content).decode()}",
                    note,
                )
        width = max(1, picture.width // 2)
