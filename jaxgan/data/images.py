"""An array -> the size and channels asked for; and `decode`, from an image file's bytes. NumPy and Pillow only; images are [H, W, C], maps of ids [H, W]."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from jaxgan.data.reading import decode, decode_ids, quiet
from jaxgan.pictures.formats import BadImage

__all__ = [
    "CHANNELS",
    "RESIZES",
    "BadImage",
    "Form",
    "convert_channels",
    "decode",
    "decode_ids",
    "fit",
    "quiet",
    "resize",
]

CHANNELS = (1, 3, 4)
"""Grey, RGB, RGBA."""

RESIZES = ("cover", "stretch", "width")
"""Ways of `resize`."""

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow and libjpeg have it


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

    Images: bicubic, antialiased when shrinking (Pillow's `resize`); RGBA is interpolated with premultiplied alpha. Maps [H, W]: each pixel takes the id
    at its centre.

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
            raise BadImage(
                f"is {height}x{width}, which would be {size[0]} pixels high when scaled to a width of {size[1]}"
            )
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


def _nearest(
    ids: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float]
) -> np.ndarray:
    left, top, right, bottom = box
    edge = 1e-6  # a centre between two pixels takes the later one, whatever the rounding
    rows = np.floor(top + (np.arange(size[0]) + 0.5) * (bottom - top) / size[0] + edge).astype(int)
    columns = np.floor(left + (np.arange(size[1]) + 0.5) * (right - left) / size[1] + edge).astype(
        int
    )
    return ids[rows[:, None], columns]


def _resample(
    image: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float]
) -> np.ndarray:
    channels = image.shape[2]
    target = (size[1], size[0])
    if image.dtype == np.uint8 and channels in CHANNELS:
        picture = Image.fromarray(image[:, :, 0] if channels == 1 else image)
        result = np.asarray(picture.resize(target, Image.Resampling.BICUBIC, box=box))
        return result.reshape(*size, channels)
    floats = image.astype(np.float32)
    if channels == 4:
        floats[..., :3] *= floats[..., 3:] / np.iinfo(image.dtype).max
    planes = [
        Image.fromarray(floats[:, :, c]).resize(target, Image.Resampling.BICUBIC, box=box)
        for c in range(channels)
    ]
    stacked = np.stack([np.asarray(plane) for plane in planes], axis=2)
    if channels == 4:
        stacked[..., :3] *= np.iinfo(image.dtype).max / np.maximum(
            stacked[..., 3:], 0.5
        )  # where it is 0, so are the colours
    return np.clip(np.round(stacked), 0, np.iinfo(image.dtype).max).astype(image.dtype)


def fit(
    image: np.ndarray, size: tuple[int, int] | None, channels: int | None, how: str = "cover"
) -> np.ndarray:
    """Apply `convert_channels` (not to maps [H, W]) and `resize` where asked for.

    Raises BadImage for a 1x1 image (a placeholder for a picture that is gone) unless just that size is asked for, and as `resize` does.
    """
    if image.shape[:2] == (1, 1) and size != (1, 1):
        raise BadImage("has 1x1 pixels: a placeholder, not a picture")
    if channels is not None and image.ndim == 3:
        image = convert_channels(image, channels)
    return image if size is None else resize(image, size, how)
