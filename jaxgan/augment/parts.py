"""What a discriminator is shown at once: an image, a condition and its image, or two images side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgan.errors import require


class Parts(NamedTuple):
    """The channels of an array [B, H, W, C], in order: `given` channels of a condition, then `images` images of equal depth.

    A condition moves with its images and is changed in no other way; what changes colours, blurs or hides is the same for all images.
    """

    given: int = 0
    images: int = 1


ONE_IMAGE = Parts()


def each_image(
    function: Callable[[jax.Array], jax.Array], shown: jax.Array, parts: Parts
) -> jax.Array:
    """`function` of each image [B, H, W, C'] in `shown` [B, H, W, C]; the condition stays."""
    depth = image_depth(shown.shape[-1], parts)
    if parts.images == 0:
        return shown
    if parts == ONE_IMAGE:
        return function(shown)
    starts = range(parts.given, shown.shape[-1], depth)
    return jnp.concatenate(
        [shown[..., : parts.given], *(function(shown[..., at : at + depth]) for at in starts)],
        axis=-1,
    )


def image_depth(channels: int, parts: Parts) -> int:
    """Channels C' of one image, 0 without images. Raises `ValueError` if the parts do not make up `channels`."""
    rest = channels - parts.given
    depth = rest // max(parts.images, 1)
    fits = depth * parts.images == rest and (depth > 0 or parts.images == 0)
    require(
        fits,
        f"{channels} channels are not {parts.given} of a condition and {parts.images} images of equal depth",
    )
    return depth
