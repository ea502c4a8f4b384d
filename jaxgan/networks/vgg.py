"""The convolutional part of VGG16 and VGG19 (Simonyan & Zisserman 2015), as far as perceptual losses look at it. Never trained here."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import require, require_choice
from jaxgan.nn.layers import Conv

STAGES = {"vgg16": (2, 2, 3, 3, 1), "vgg19": (2, 2, 4, 4, 1)}
"""3x3 convolutions of each stage; of the last one only the first, behind which nothing is looked at."""
WIDTHS = (64, 128, 256, 512, 512)
LEAST = 16
"""Smallest side of an image, of which one pixel reaches the last stage."""


class VGGFeatures(nn.Module):
    """Images [B, H, W, 3 or 1] -> five feature maps, after the first ReLU of each stage: relu1_1, relu2_1, ..., relu5_1, each half the size of the last.

    Grey is repeated. Nothing is normalised: it is for the caller to give the images as the weights want them.
    Source: torchvision's vgg16 and vgg19, `features`. Deviation: equal pixels share the gradient of a maximum.

    Raises ValueError for other channels, and sides below 16.
    """

    kind: str = "vgg19"
    """"vgg16" or "vgg19"."""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> list[jax.Array]:
        require_choice("features", self.kind, STAGES)
        fits = images.ndim == 4 and images.shape[-1] in (1, 3) and min(images.shape[1:3]) >= LEAST
        require(fits, f"{self.kind} takes images [B, H, W, 3 or 1] of at least {LEAST} x {LEAST}, got shape {images.shape}")
        x, maps = jnp.repeat(images, 4 - images.shape[-1] if images.shape[-1] == 1 else 1, axis=-1), []
        for stage, (count, width) in enumerate(zip(STAGES[self.kind], WIDTHS, strict=True)):
            x = _halved(x) if stage else x
            for i in range(count):
                x = nn.relu(Conv(width, 3, 1, 1, dtype=self.dtype, name=f"conv{stage}_{i}")(x))
                maps += [x] if i == 0 else []
        return maps


def _halved(x: jax.Array) -> jax.Array:
    """Maximum of each 2x2 square; an odd row or column at the end is left out."""
    batch, height, width, channels = (side if axis in (0, 3) else side // 2 for axis, side in enumerate(x.shape))
    return x[:, : 2 * height, : 2 * width].reshape(batch, height, 2, width, 2, channels).max((2, 4))
