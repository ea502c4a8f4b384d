"""Padding by reflection, and the check of image sizes that networks share."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxgan.errors import require


def reflection_pad(x: jax.Array, width: int) -> jax.Array:
    """x [B, H, W, C] -> [B, H + 2 width, W + 2 width, C]: rows and columns mirrored at the border ones, which are not repeated.

    A side not above `width` is mirrored as often as it takes, a side of 1 repeated, as `numpy.pad` does.
    """
    return jnp.pad(x, ((0, 0), (width, width), (width, width), (0, 0)), mode="reflect")


def require_sides(network: str, images: jax.Array, multiple: int) -> None:
    """Raise `ValueError` unless images are [B, H, W, C] with H and W multiples of `multiple`."""
    require(images.ndim == 4, f"{network} takes images [B, H, W, C], got shape {images.shape}")
    height, width = images.shape[1:3]
    fits = height > 0 and width > 0 and height % multiple == 0 and width % multiple == 0
    require(
        fits,
        f"{network} takes images with sides that are multiples of {multiple}, got {height} x {width}",
    )
