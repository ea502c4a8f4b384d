"""One image file's bytes -> one array, and an array -> the size and channels asked for. NumPy and Pillow only; images are [H, W, C], maps of ids [H, W]."""

from __future__ import annotations

import io
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps

CHANNELS = (1, 3, 4)
"""Grey, RGB, RGBA."""

RESIZES = ("cover", "stretch", "width")
"""Ways of `resize`."""

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow and libjpeg have it


class BadImage(Exception):
    """Why one file is no usable image; reads after the file's name: "is empty (0 bytes)"."""


@contextmanager
def quiet() -> Iterator[None]:
    """While decoding: Pillow's remarks about sloppy metadata are not the user's business, its decompression-bomb warning is an error.

    Enter it in the main thread, around the threads that decode: warning filters belong to the process.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def decode(data: bytes) -> np.ndarray:
    """Bytes of an image file -> uint8 or uint16 [H, W, 1, 3 or 4]; upright by its EXIF orientation.

    uint16 for 16-bit grey, and for 16-bit RGB and RGBA of PNG and TIFF files. 1-bit becomes grey, palette and CMYK become RGB, anything with
    transparency RGBA. An animation gives its first frame. 16-bit grey with opacity, and 16-bit colours of other formats, are read at 8 bits.

    Raises BadImage: empty, not an image, truncated or damaged, a decompression bomb (more than `PIL.Image.MAX_IMAGE_PIXELS` pixels).
    """

    def convert(image: Image.Image) -> np.ndarray:
        tiles = _second_bytes(image)
        first = _upright(_loaded(image))
        if tiles is None:
            return _as_array(first)
        with Image.open(io.BytesIO(data)) as again:
            again.tile = tiles  # type: ignore[attr-defined]
            return _joined(np.asarray(first), np.asarray(_upright(_loaded(again))), image.info.get("transparency"))

    return _decoded(data, convert)


def _second_bytes(image: Image.Image) -> list[Any] | None:
    """Of a file of 16-bit RGB or RGBA, how to read it so that Pillow keeps the byte of each channel that it drops otherwise; None for any other file.

    Pillow has 8 bits for each channel of a colour and takes the higher byte of 16; from a file said to be of the other byte order, it takes the lower.
    """
    tiles = []
    for tile in getattr(image, "tile", []):
        packing, *rest = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        match = re.fullmatch(r"(RGBA?;16)([BLN])", packing) if isinstance(packing, str) else None
        if match is None:
            return None
        big = match[2] == "B" or (match[2] == "N" and sys.byteorder == "big")
        other = match[1] + ("L" if big else "B")
        tiles.append(tile._replace(args=(other, *rest) if isinstance(tile[3], tuple) else other))
    return tiles or None


def _joined(high: np.ndarray, low: np.ndarray, transparent: Any) -> np.ndarray:
    """uint8 [H, W, C], twice -> uint16 [H, W, C]. transparent: the colour (R, G, B) that stands for none, if there is one: then C becomes 4."""
    pixels = high.astype(np.uint16) << 8 | low
    if not isinstance(transparent, tuple) or pixels.shape[2] != 3:
        return pixels
    seen = (pixels != np.array(transparent)).any(axis=2, keepdims=True)
    return np.concatenate([pixels, np.where(seen, 65535, 0).astype(np.uint16)], axis=2)


def decode_ids(data: bytes) -> np.ndarray:
    """Bytes of an image file whose pixels are ids -> uint8 or uint16 [H, W]: grey of 1 to 16 bits, or the indices of a palette, whatever its colours.

    Upright as `decode` is. Raises BadImage as `decode` does, and for colours or transparency in place of ids, and for lossy JPEG.
    """
    return _decoded(data, _as_ids)


def _as_ids(image: Image.Image) -> np.ndarray:
    if image.format in ("JPEG", "MPO"):
        raise BadImage("is a JPEG, which blurs ids: save the map as PNG")
    tiles = getattr(image, "tile", None)  # how the pixels are packed; forgotten once they are loaded
    packing = str(tiles[0][3]) if tiles else ""
    image = _upright(_loaded(image))
    if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
        raise BadImage(f"has colours ({image.mode}) in place of ids: save one id for each pixel, as grey or palette PNG")
    ids = np.asarray(image).astype(np.uint8) if image.mode in ("1", "L", "P") else _as_array(image)[:, :, 0]
    # Pillow spreads grey of 2 and 4 bits over 0..255.
    return ids // {"L;2": 85, "L;4": 17}.get(packing, 1)


def _loaded(image: Image.Image) -> Image.Image:
    image.load()
    return image


def _decoded(data: bytes, convert: Callable[[Image.Image], np.ndarray]) -> np.ndarray:
    if not data:
        raise BadImage("is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(data)) as image:
            _refuse_bomb(image)
            return convert(image)
    except BadImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImage(f"unpacks to more than {Image.MAX_IMAGE_PIXELS} pixels, which looks like a decompression bomb") from None
    except Image.UnidentifiedImageError:
        raise BadImage("is not an image that Pillow can read") from None
    except Exception as error:  # Pillow's plugins raise OSError, SyntaxError, struct.error, ValueError, zlib.error, ... on damaged files
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise BadImage(f"is damaged ({reason[0]})") from None


def _refuse_bomb(image: Image.Image) -> None:
    # Pillow itself only warns up to twice its limit. Reading the header allocated nothing yet.
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise Image.DecompressionBombError


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # unreadable EXIF in a readable image: there is no orientation to respect
        return image


def _as_array(image: Image.Image) -> np.ndarray:
    mode = image.mode
    if mode.startswith("I"):  # "I;16" and its byte orders; "I" for 16-bit PGM
        array = np.asarray(image).astype(np.int64)
        if array.min() < 0 or array.max() > 65535:
            raise BadImage("has 32-bit pixels; 8-bit and 16-bit are supported")
        return array.astype(np.uint16)[:, :, None]
    if mode == "F":
        raise BadImage("has floating-point pixels; 8-bit and 16-bit are supported")
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    elif mode in ("1", "L"):
        image = image.convert("L")
    else:  # RGB, P, CMYK, YCbCr, LAB, HSV
        image = image.convert("RGB")
    array = np.asarray(image)
    return array[:, :, None] if array.ndim == 2 else array


@dataclass(frozen=True)
class Form:
    """What images are turned into; None leaves them as they are.

    size: (height, width).
    channels: 1 grey, 3 RGB, 4 RGBA; or a tuple with one number for each part of an example. Maps of ids have none.
    resize: one of `RESIZES`, see `resize`.
    """

    size: tuple[int, int] | None = None
    channels: int | tuple[int, ...] | None = None
    resize: str = "cover"

    def channels_of(self, part: int) -> int | None:
        """Channels of one part of the examples, by its number."""
        return self.channels[part] if isinstance(self.channels, tuple) else self.channels


def convert_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """uint8 or uint16 [..., 1, 3 or 4] -> the same type, [..., channels].

    Grey is repeated into RGB; RGB becomes BT.601 luma; a missing alpha is opaque; alpha that must go is laid over white.
    """
    have, top = image.shape[-1], np.iinfo(image.dtype).max
    if have == channels:
        return image
    if have == 4:
        alpha = image[..., 3:] / top
        image = np.round(image[..., :3] * alpha + top * (1 - alpha)).astype(image.dtype)
        return convert_channels(image, channels)
    if channels == 4:
        opaque = np.full((*image.shape[:-1], 1), top, image.dtype)
        return np.concatenate([convert_channels(image, 3), opaque], axis=-1)
    if channels == 3:
        return np.repeat(image, 3, axis=-1)
    return np.round(image @ _LUMA).astype(image.dtype)[..., None]


def resize(image: np.ndarray, size: tuple[int, int], how: str = "cover") -> np.ndarray:
    """uint8 or uint16 [H, W, C] or [H, W] -> the same type, [height, width, C] or [height, width].

    Images: bicubic, antialiased when shrinking (Pillow's `resize`); 8-bit RGBA is interpolated with premultiplied alpha. Maps [H, W]: each pixel
    takes the id at its centre.

    Args:
      size: (height, width).
      how: "cover": scaled to cover `size`, keeping its shape, then cut at the centre. "stretch": both sides scaled to `size`, as pix2pix's
        `resize_and_crop` does. "width": scaled to the width, keeping its shape, the height rounded down, as its `scale_width` does; the
        height of `size` does not count.

    Raises BadImage where "width" would make an image of more than `PIL.Image.MAX_IMAGE_PIXELS` pixels.
    """
    height, width = image.shape[:2]
    if how == "width":
        size = (max(1, size[1] * height // width), size[1])
        if size[0] * size[1] > (Image.MAX_IMAGE_PIXELS or np.inf):
            raise BadImage(f"is {height}x{width}, which would be {size[0]} pixels high when scaled to a width of {size[1]}")
    if (height, width) == tuple(size):
        return image
    box = _cover(height, width, size) if how == "cover" else (0.0, 0.0, float(width), float(height))
    return _nearest(image, size, box) if image.ndim == 2 else _resample(image, size, box)


def _cover(height: int, width: int, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The largest part in the centre that has the shape of `size`: left, top, right, bottom."""
    shrink = min(height / size[0], width / size[1])
    box_height, box_width = size[0] * shrink, size[1] * shrink
    top, left = max(0.0, (height - box_height) / 2), max(0.0, (width - box_width) / 2)
    return left, top, min(float(width), left + box_width), min(float(height), top + box_height)


def _nearest(ids: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float]) -> np.ndarray:
    left, top, right, bottom = box
    edge = 1e-6  # a centre between two pixels takes the later one, whatever the rounding
    rows = np.floor(top + (np.arange(size[0]) + 0.5) * (bottom - top) / size[0] + edge).astype(int)
    columns = np.floor(left + (np.arange(size[1]) + 0.5) * (right - left) / size[1] + edge).astype(int)
    return ids[rows[:, None], columns]


def _resample(image: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float]) -> np.ndarray:
    channels = image.shape[2]
    target = (size[1], size[0])
    if image.dtype == np.uint8 and channels in CHANNELS:
        picture = Image.fromarray(image[:, :, 0] if channels == 1 else image)
        result = np.asarray(picture.resize(target, Image.Resampling.BICUBIC, box=box))
        return result.reshape(*size, channels)
    planes = [Image.fromarray(image[:, :, c].astype(np.float32)).resize(target, Image.Resampling.BICUBIC, box=box) for c in range(channels)]
    stacked = np.stack([np.asarray(plane) for plane in planes], axis=2)
    return np.clip(np.round(stacked), 0, np.iinfo(image.dtype).max).astype(image.dtype)


def fit(image: np.ndarray, size: tuple[int, int] | None, channels: int | None, how: str = "cover") -> np.ndarray:
    """Apply `convert_channels` (not to maps [H, W]) and `resize` where asked for.

    Raises BadImage for a 1x1 image (a placeholder for a picture that is gone) unless just that size is asked for, and as `resize` does.
    """
    if image.shape[:2] == (1, 1) and size != (1, 1):
        raise BadImage("has 1x1 pixels: a placeholder, not a picture")
    if channels is not None and image.ndim == 3:
        image = convert_channels(image, channels)
    return image if size is None else resize(image, size, how)
