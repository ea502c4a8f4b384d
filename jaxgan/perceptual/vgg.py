"""VGG16 and VGG19 (Simonyan & Zisserman 2015): as far as perceptual losses look at it, and whole, for metrics. Never trained here."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import require, require_choice
from jaxgan.nn.layers import Conv, Dense
from jaxgan.nn.resample import max_pool

STAGES = {"vgg16": (2, 2, 3, 3, 1), "vgg19": (2, 2, 4, 4, 1)}
"""3x3 convolutions of each stage; of the last one only the first, behind which no perceptual loss looks."""
WHOLE = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
"""3x3 convolutions of each stage."""
WIDTHS = (64, 128, 256, 512, 512)
SIZE, HIDDEN, CLASSES = 224, 4096, 1000
"""Of the whole network: side of its images, width of its fully connected layers, classes."""
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
        require(
            fits,
            f"{self.kind} takes images [B, H, W, 3 or 1] of at least {LEAST} x {LEAST}, got shape {images.shape}",
        )
        x, maps = (
            jnp.repeat(images, 4 - images.shape[-1] if images.shape[-1] == 1 else 1, axis=-1),
            [],
        )
        for stage, (count, width) in enumerate(zip(STAGES[self.kind], WIDTHS, strict=True)):
            x = max_pool(x) if stage else x
            for i in range(count):
                x = nn.relu(Conv(width, 3, 1, 1, dtype=self.dtype, name=f"conv{stage}_{i}")(x))
                maps += [x] if i == 0 else []
        return maps


class VGG(nn.Module):
    """Images [B, 224, 224, 3] -> (features [B, 4096], logits [B, 1000]): the second fully connected layer behind its ReLU, and the classes of ImageNet.

    Nothing is normalised: it is for the caller to give the images as the weights want them. Source: torchvision's vgg16 and vgg19 at evaluation (no dropout).
    Raises ValueError for images of another shape.
    """

    kind: str = "vgg16"
    """"vgg16" or "vgg19"."""

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        require_choice("features", self.kind, WHOLE)
        require(
            images.shape[1:] == (SIZE, SIZE, 3),
            f"{self.kind} takes images [B, {SIZE}, {SIZE}, 3], got shape {images.shape}",
        )
        x = images
        for stage, (count, width) in enumerate(zip(WHOLE[self.kind], WIDTHS, strict=True)):
            for i in range(count):
                x = nn.relu(Conv(width, 3, 1, 1, name=f"conv{stage}_{i}")(x))
            x = max_pool(x)
        x = x.reshape(x.shape[0], -1)
        for i in range(2):
            x = nn.relu(Dense(HIDDEN, name=f"fc{i}")(x))
        return x, Dense(CLASSES, name="fc2")(x)
