"""One image file's bytes -> one array. NumPy and Pillow only; images are [H, W, C], maps of ids [H, W].

Which files are read: PNG, JPEG, WebP, GIF, TIFF, BMP and PPM (PBM, PGM, PNM), told by content. Of TIFF see `jaxgan.data.tiff`.
"""

from __future__ import annotations

import io
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from jaxgan.data import tiff
from jaxgan.pictures import formats
from jaxgan.pictures.formats import BadImage

CONVERTER = "python -m experiments.colour_layouts MAPS OUT"
"""The command that turns coloured label maps into maps of ids."""

_SPREAD = {"L;2": 85, "L;4": 17}
"""Pillow spreads grey of 2 and 4 bits over 0..255 by these factors."""


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
    """Decode an image file: uint8 or uint16 [H, W, 1, 3 or 4], upright by its EXIF orientation.

    uint16 for 16-bit grey, for 16-bit RGB and RGBA of PNG and TIFF files, and for 16-bit grey with opacity of PNG files. 1-bit becomes grey, palette and CMYK
    become RGB, anything with transparency RGBA. An animation gives its first frame. 16-bit colours of other formats, and inks, are read at 8 bits.

    Raises BadImage: empty, not an image of a format that is read, truncated or damaged, a kind of TIFF that is not supported, 32-bit or floating-point
    pixels, a decompression bomb (more than `PIL.Image.MAX_IMAGE_PIXELS` pixels).
    """
    return _decoded(data, _as_image)


def decode_ids(data: bytes) -> np.ndarray:
    """Decode an image file whose pixels are ids: uint8 or uint16 [H, W], from grey of 1 to 16 bits or the indices of a palette, whatever its colours.

    Upright as `decode` is. Raises BadImage as `decode` does, and for colours or transparency in place of ids, for lossy compression, and for GIF palettes.
    """
    return _decoded(data, _as_ids, ids=True)


def _decoded(
    data: bytes, convert: Callable[[Image.Image, tiff.Choice], np.ndarray], ids: bool = False
) -> np.ndarray:
    if not data:
        raise BadImage("is empty (0 bytes)")
    try:
        choice = (
            tiff.chosen(data, ids)
            if data.startswith(formats.TIFF)
            else tiff.Choice(data, 0, False, False)
        )
        with _opened(choice) as image:
            reason = formats.damage(data) if data.startswith(formats.PNG) else ""
            if reason:
                raise BadImage(f"is damaged ({reason})")
            return convert(image, choice)
    except BadImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImage(
            f"unpacks to more than {Image.MAX_IMAGE_PIXELS} pixels, which looks like a decompression bomb"
        ) from None
    except Image.UnidentifiedImageError:
        raise BadImage(_unidentified(data)) from None
    except Exception as error:  # Pillow's plugins raise OSError, SyntaxError, struct.error, ValueError, zlib.error, ... on damaged files
        reasons = str(error).strip().splitlines() or [type(error).__name__]
        raise BadImage(f"is damaged ({reasons[0]})") from None


def _opened(choice: tiff.Choice) -> Image.Image:
    """The image, its header read. Raises as Pillow does, and BadImage."""
    image = formats.open_image(io.BytesIO(choice.data))
    try:
        if choice.page:
            image.seek(choice.page)
        # Pillow itself only warns up to twice its limit. Reading the header allocated nothing yet.
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and image.width * image.height > limit:
            raise Image.DecompressionBombError
    except BaseException:
        image.close()
        raise
    return image


def _unidentified(data: bytes) -> str:
    foreign = formats.foreign(data)
    if foreign:
        return f"is {foreign}, and only {formats.IN_WORDS} are read: save it as PNG"
    known = next(
        (
            name
            for start, name in ((formats.PNG, "PNG"), (b"\xff\xd8\xff", "JPEG"), (b"GIF8", "GIF"))
            if data.startswith(start)
        ),
        "",
    )
    known = "TIFF" if data.startswith(formats.TIFF) else known
    return (
        f"is damaged, or a kind of {known} that is not supported"
        if known
        else f"is not an image that Pillow can read (only {formats.IN_WORDS} are)"
    )


def _loaded(image: Image.Image) -> Image.Image:
    image.load()
    return image


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # unreadable EXIF in a readable image: there is no orientation to respect
        return image


def _packing(image: Image.Image) -> str:
    """How the pixels are packed, in Pillow's words; forgotten once they are loaded."""
    tiles = getattr(image, "tile", None)
    packing = tiles[0][3] if tiles else ""
    return str(packing[0] if isinstance(packing, tuple) else packing)


# ---------------------------------------------------------------------------------------------------------------------- images


def _as_image(image: Image.Image, choice: tiff.Choice) -> np.ndarray:
    tiles, transparent, deep_grey = (
        _second_bytes(image),
        _transparent(image),
        _packing(image) == "LA;16B",
    )
    first = _upright(_loaded(image))
    if deep_grey:
        pixels = _deep_grey(choice)
    elif tiles is None:
        pixels = _as_array(first)
    else:
        with _opened(choice) as again:
            again.tile = tiles  # type: ignore[attr-defined]
            pixels = np.asarray(first).astype(np.uint16) << 8 | np.asarray(_upright(_loaded(again)))
    if choice.inverted:
        pixels = np.iinfo(pixels.dtype).max - pixels
    if transparent is not None:
        pixels = _see_through(pixels, transparent)
    return _divided(pixels) if choice.premultiplied else pixels


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


def _deep_grey(choice: tiff.Choice) -> np.ndarray:
    """Grey with opacity of 16 bits -> uint16 RGBA. Pillow has 8 bits for them, and four bytes a pixel where it takes them for RGBA."""
    with _opened(choice) as image:
        image._mode = "RGBA"
        image.tile = [tile._replace(args="RGBA") for tile in image.tile]  # type: ignore[attr-defined]
        halves = np.asarray(_upright(_loaded(image))).astype(np.uint16)
    return (halves[..., 0::2] << 8 | halves[..., 1::2])[..., [0, 0, 0, 1]]


def _transparent(image: Image.Image) -> np.ndarray | None:
    """The grey level or colour [1 or 3] that stands for none; None without. Palettes are left to Pillow."""
    level = image.info.get("transparency")
    if image.mode == "P" or level is None or isinstance(level, bytes):
        return None
    if image.mode == "1":
        return np.array([255 if level else 0])
    return np.atleast_1d(level) * _SPREAD.get(_packing(image)[:3], 1)


def _see_through(pixels: np.ndarray, transparent: np.ndarray) -> np.ndarray:
    """[H, W, 1 or 3] -> RGBA [H, W, 4], clear where the pixel is `transparent`."""
    if pixels.shape[2] != len(transparent):
        return pixels
    opacity = np.where(
        (pixels == transparent).all(axis=2, keepdims=True), 0, np.iinfo(pixels.dtype).max
    ).astype(pixels.dtype)
    return np.concatenate([np.broadcast_to(pixels, (*pixels.shape[:2], 3)), opacity], axis=2)


def _divided(pixels: np.ndarray) -> np.ndarray:
    """RGBA whose colours are multiplied by their opacity -> RGBA whose colours are not."""
    top, floats = np.iinfo(pixels.dtype).max, pixels.astype(np.float64)
    colours = np.round(floats[..., :3] * top / np.maximum(floats[..., 3:], 1))
    return np.concatenate([np.minimum(colours, top).astype(pixels.dtype), pixels[..., 3:]], axis=2)


def _as_array(image: Image.Image) -> np.ndarray:
    mode = image.mode
    if mode.startswith("I"):  # "I;16" and its byte orders; "I" for 16-bit PGM
        return _in_16_bits(np.asarray(image), "has 32-bit pixels; 8-bit and 16-bit are supported")[
            :, :, None
        ]
    if mode == "F":
        raise BadImage("has floating-point pixels; 8-bit and 16-bit are supported")
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or (mode == "P" and "transparency" in image.info):
        image = image.convert("RGBA")
    elif mode in ("1", "L"):
        image = image.convert("L")
    else:  # RGB, P, CMYK, YCbCr
        image = image.convert("RGB")
    array = np.asarray(image)
    return array[:, :, None] if array.ndim == 2 else array


def _in_16_bits(array: np.ndarray, reason: str) -> np.ndarray:
    if array.min() < 0 or array.max() > 65535:
        raise BadImage(reason)
    return array.astype(np.uint16)


# ------------------------------------------------------------------------------------------------------------------------- ids


def _as_ids(image: Image.Image, choice: tiff.Choice) -> np.ndarray:
    if image.format in ("JPEG", "MPO"):
        raise BadImage(
            "is a JPEG, and compression changes ids: save the map as PNG from where it was made"
        )
    if (
        image.format == "GIF" and image.mode != "L"
    ):  # Pillow, among others, leaves out colours that are not used and moves up the rest
        raise BadImage(
            "is a GIF, whose writers number colours anew: save the map as PNG from where it was made"
        )
    packing, scale = _packing(image), _highest(image)
    image = _upright(_loaded(image))
    if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
        what = (
            "opacity beside its ids"
            if image.mode in ("LA", "La", "PA")
            else f"colours ({image.mode}) in place of ids"
        )
        raise BadImage(
            f"has {what}: convert the maps with {CONVERTER}, or save one id for each pixel as grey or palette PNG"
        )
    array = np.asarray(image)
    ids = (
        array.astype(np.uint8)
        if image.mode in ("1", "L", "P")
        else _in_16_bits(array, "has ids below 0 or above 65535")
    )
    if scale:  # a PGM file's levels are spread over 0..255 or 0..65535
        return np.round(ids * (scale / (255 if scale <= 255 else 65535))).astype(ids.dtype)
    return ids // _SPREAD.get(packing[:3], 1)


def _highest(image: Image.Image) -> int:
    """The highest level that a PGM file says it has; 0 for another file."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if image.format == "PPM" and tiles else None
    return int(arguments[-1]) if isinstance(arguments, tuple) and image.mode in ("L", "I") else 0
