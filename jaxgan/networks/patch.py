"""Discriminators that judge patches of an image, or its single pixels (Isola et al. 2017)."""

from __future__ import annotations

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import require, require_range
from jaxgan.networks.dcgan import dcgan_normal, dcgan_scale
from jaxgan.nn.layers import Conv
from jaxgan.nn.norm import norm_layer
from jaxgan.nn.padding import require_sides

Judgement = jax.Array | tuple[jax.Array, list[jax.Array]]


class PatchDiscriminator(nn.Module):
    """Images [B, H, W, C] -> logits [B, h, w], float32, one for each patch; h is about H / 2**layers - 2.

    `layers` 4x4 convolutions of stride 2 (width, 2, 4, 8, 8, ... times width feature maps), one of stride 1, and one to the logits; leaky ReLU
    0.2; a norm after all but the first and the last (left out with `spectral_norm`). A patch is 16, 34, 70, 142, 286 pixels wide for
    1, 2, 3, 4, 5 layers.
    Source: junyanz's NLayerDiscriminator. Deviation: no bias in front of an instance norm, which would remove it.
    """

    width: int = 64
    layers: int = 3
    norm: str = "batch"
    """"batch", "instance" or "none"."""
    spectral_norm: bool = False
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @property
    def multiple(self) -> int:
        """What both sides of the images must be multiples of."""
        return 1

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        keys: jax.Array | None = None,
        *,
        train: bool,
        features: bool = False,
    ) -> Judgement:
        """keys are not used. features: return also the feature maps after each activation, the largest first.

        Raises ValueError if a side is too small for any patch.
        """
        require_range("layers", self.layers, 1)
        require_sides("PatchDiscriminator", images, self.multiple)
        least = 3 << self.layers
        fits = min(images.shape[1:3]) >= least
        require(
            fits,
            f"a patch discriminator of {self.layers} layers takes images of at least {least} x {least}, got {images.shape[1]} x {images.shape[2]}",
        )
        kind = "none" if self.spectral_norm else self.norm
        norm = partial(
            norm_layer, kind, axis_name=self.axis_name, dtype=self.dtype, scale_init=dcgan_scale
        )
        conv = partial(
            Conv,
            kernel_size=4,
            padding=1,
            kernel_init=dcgan_normal,
            spectral_norm=self.spectral_norm,
            dtype=self.dtype,
        )
        x, maps = images.astype(self.dtype), []
        for i in range(self.layers + 1):
            strides, bias = 2 if i < self.layers else 1, i == 0 or kind == "none"
            x = conv(self.width * min(2**i, 8), strides=strides, use_bias=bias, name=f"conv{i}")(
                x, train
            )
            x = nn.leaky_relu(norm(f"norm{i}")(x, train) if i else x, 0.2)
            maps.append(x)
        logits = conv(1, name="output")(x, train)[..., 0].astype(jnp.float32)
        return (logits, maps) if features else logits


class PixelDiscriminator(nn.Module):
    """Images [B, H, W, C] of any size -> logits [B, H, W], float32, one for each pixel: three 1x1 convolutions, leaky ReLU 0.2.

    Source: junyanz's PixelDiscriminator. Deviation: no bias in front of an instance norm, which would remove it.
    """

    width: int = 64
    norm: str = "batch"
    """"batch", "instance" or "none": of the second layer; left out with `spectral_norm`."""
    spectral_norm: bool = False
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @property
    def multiple(self) -> int:
        """What both sides of the images must be multiples of."""
        return 1

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        keys: jax.Array | None = None,
        *,
        train: bool,
        features: bool = False,
    ) -> Judgement:
        """keys are not used. features: return also the feature maps after each activation."""
        require_sides("PixelDiscriminator", images, self.multiple)
        kind = "none" if self.spectral_norm else self.norm
        conv = partial(
            Conv,
            kernel_size=1,
            kernel_init=dcgan_normal,
            spectral_norm=self.spectral_norm,
            dtype=self.dtype,
        )
        x = nn.leaky_relu(conv(self.width, name="conv0")(images.astype(self.dtype), train), 0.2)
        maps = [x]
        x = conv(2 * self.width, use_bias=kind == "none", name="conv1")(x, train)
        x = nn.leaky_relu(
            norm_layer(kind, "norm1", self.axis_name, self.dtype, dcgan_scale)(x, train), 0.2
        )
        maps.append(x)
        # With batch norm the reference leaves this bias out, too.
        logits = conv(1, use_bias=kind != "batch", name="output")(x, train)[..., 0].astype(
            jnp.float32
        )
        return (logits, maps) if features else logits
