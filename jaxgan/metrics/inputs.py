"""Images to what a feature network takes: its channels and its size. All float32 [B, H, W, C] in [-1, 1], inside jit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.errors import require


def as_rgb(images: jax.Array) -> jax.Array:
    """[B, H, W, 1 to 4] -> [B, H, W, 3]: grey is repeated, opacity (the last of 2 or 4 channels) is resolved over white. Raises ValueError for more."""
    channels = images.shape[-1]
    require(
        images.ndim == 4 and 1 <= channels <= 4,
        f"feature networks take images [B, H, W, 1 to 4], got shape {images.shape}",
    )
    if channels in (2, 4):
        opacity = (images[..., -1:] + 1) / 2
        images = images[..., :-1] * opacity + (1 - opacity)
    return jnp.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images


def as_grey(images: jax.Array) -> jax.Array:
    """[B, H, W, 1 to 4] -> [B, H, W, 1]: luma of ITU-R BT.601 (0.299, 0.587, 0.114), opacity as in `as_rgb`; grey passes. Raises ValueError for more."""
    if images.shape[-1] == 1:
        return images
    red, green, blue = jnp.split(as_rgb(images), 3, axis=-1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def resize(images: jax.Array, size: tuple[int, int]) -> jax.Array:
    """[B, H, W, C] -> [B, *size, C], linear with half-pixel centres, over as many pixels as the image shrinks (antialiased, as Pillow's bilinear filter)."""
    return (
        images
        if images.shape[1:3] == size
        else jax.image.resize(
            images, (images.shape[0], *size, images.shape[3]), "linear", antialias=True
        )
    )


def resize_tf1(images: jax.Array, size: tuple[int, int]) -> jax.Array:
    """[B, H, W, C] -> [B, *size, C], as TensorFlow 1's `resize_bilinear`: output pixel i lies at i H / H' of the input (no half-pixel centres), between two
    of its pixels, however far the image shrinks (no antialiasing); the last row and column are repeated beyond the border.
    """
    for axis in (2, 1):
        length, wanted = images.shape[axis], size[axis - 1]
        places = np.arange(wanted, dtype=np.float32) * np.float32(length / wanted)
        low = np.minimum(places.astype(np.int32), length - 1)
        share = (
            (places - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(4)])
        )
        first, second = (
            jnp.take(images, index, axis) for index in (low, np.minimum(low + 1, length - 1))
        )
        images = first + (second - first) * share
    return images
