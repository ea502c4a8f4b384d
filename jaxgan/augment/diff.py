"""DiffAugment (Zhao et al. 2020): colour, translation and cutout, always applied.

Source: mit-han-lab/data-efficient-gans, DiffAugment_pytorch.py. Deviation: none in what is done; draws have a key for each example.
Shapes: B examples, H, W image size, C channels.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.augment.parts import ONE_IMAGE, Parts, each_image
from jaxgan.update import example_streams

POLICY = ("color", "translation", "cutout")
SHIFT = 1 / 8
"""Largest translation, as a share of each side."""
HOLE = 1 / 2
"""Sides of the square cut out, as a share of the image's."""

Transform = dict[str, jax.Array]
"""brightness, saturation, contrast: float32 [B]; shift, hole: int32 [B, 2], rows and columns by which the image moves, and where its hole begins."""


def draw(keys: jax.Array, size: tuple[int, int]) -> Transform:
    """What to do to each of B examples of `size` = (H, W); keys [B] are consumed by their stream "diffaugment"."""
    uniform = jax.vmap(lambda key: jax.random.uniform(key, (7,), jnp.float32))(
        example_streams(keys, "diffaugment")
    )
    largest, holes = (
        np.array([[_share(side, ratio) for side in size]], np.int32) for ratio in (SHIFT, HOLE)
    )
    shift = (
        jnp.floor(uniform[:, 3:5] * (2 * largest + 1).astype(np.float32)).astype(jnp.int32)
        - largest
    )
    middle = jnp.floor(
        uniform[:, 5:7] * (np.array([size], np.int32) + 1 - holes % 2).astype(np.float32)
    ).astype(jnp.int32)
    return {
        "brightness": uniform[:, 0] - 0.5,
        "saturation": 2 * uniform[:, 1],
        "contrast": uniform[:, 2] + 0.5,
        "shift": shift,
        "hole": middle - holes // 2,
    }


def apply(
    transform: Transform, shown: jax.Array, policy: tuple[str, ...], parts: Parts = ONE_IMAGE
) -> jax.Array:
    """Images [B, H, W, C], changed in the order of `policy`; a condition is only translated."""
    for name in policy:
        if name == "translation":
            shown = translate(transform, shown)
        else:
            shown = each_image(
                partial(_recolour if name == "color" else _cut_out, transform), shown, parts
            )
    return shown


def translate(transform: Transform, arrays: jax.Array, fill: Any = 0) -> jax.Array:
    """Arrays [B, H, W, ...] of any type moved by whole pixels; `fill` comes in."""
    (height, width), shift = arrays.shape[1:3], transform["shift"]
    down, right = (_share(side, SHIFT) for side in (height, width))

    def one(array: jax.Array, by: jax.Array) -> jax.Array:
        padded = jnp.pad(
            array,
            ((down, down), (right, right), *[(0, 0)] * (array.ndim - 2)),
            constant_values=fill,
        )
        start = [down - by[0], right - by[1], *[jnp.int32(0)] * (array.ndim - 2)]
        return jax.lax.dynamic_slice(padded, start, array.shape)

    return jax.vmap(one)(arrays, shift)


def _recolour(transform: Transform, images: jax.Array) -> jax.Array:
    """Brightness added, distance from grey scaled, distance from the image's mean scaled. Grey has no saturation to scale."""
    brightness, saturation, contrast = (
        transform[name][:, None, None, None] for name in ("brightness", "saturation", "contrast")
    )
    images = images + brightness
    grey = images.mean(axis=3, keepdims=True)
    images = grey + saturation * (images - grey)
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    return mean + contrast * (images - mean)


def _cut_out(transform: Transform, images: jax.Array) -> jax.Array:
    """A rectangle of half the sides is set to 0, mid-grey; at the border, what is left of it."""
    inside = []
    for axis, side in enumerate(images.shape[1:3]):
        place = jnp.arange(side, dtype=jnp.int32)[None, :] - transform["hole"][:, axis, None]
        inside.append((place >= 0) & (place < _share(side, HOLE)))
    hidden = inside[0][:, :, None, None] & inside[1][:, None, :, None]
    return jnp.where(hidden, jnp.zeros_like(images), images)


def _share(side: int, ratio: float) -> int:
    return int(side * ratio + 0.5)
