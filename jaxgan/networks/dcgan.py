"""The convolutional generator and discriminator of DCGAN (Radford et al. 2015), for any size that halves evenly."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import require
from jaxgan.nn import initialisers
from jaxgan.nn.channels import beside
from jaxgan.nn.labels import one_hot
from jaxgan.nn.layers import Conv, ConvTranspose
from jaxgan.nn.norm import BatchNorm

dcgan_normal = initialisers.normal(0.02)


dcgan_scale = initialisers.normal(0.02, mean=1.0)
"""Batch norm's gain as DCGAN starts it."""


def halvings(image_size: tuple[int, int], least: int = 2) -> int:
    """How often both sides can be halved evenly while the smaller stays at least 4: 64 -> 4, 32 -> 3, 28 -> 2.

    Raises:
      ValueError: fewer than `least`, in which case the message names the multiple that the sides must be of.
    """
    count = 0
    while min(image_size) >> (count + 1) >= 4 and all(
        side % 2 ** (count + 1) == 0 for side in image_size
    ):
        count += 1
    multiple = 2**least
    require(
        count >= least,
        f"image_size must be multiples of {multiple} and at least {4 * multiple}, got {image_size}",
    )
    return count


class DCGANGenerator(nn.Module):
    """Latents [B, Z] (and labels int32 [B]) -> images [B, H, W, C] in [-1, 1], float32.

    The first layer makes the base (4x4 for 64, 7x7 for 28), every further one doubles it with a 4x4 transposed convolution of stride 2.
    With `classes`, a one-hot label is appended to the latents. Layers: conv0, norm0, ..., the last convolution alone.
    Source: pytorch/examples dcgan. Deviation: none.
    """

    image_shape: tuple[int, int, int]
    width: int = 64
    """Feature maps before the last layer; doubled at each halving of the size."""
    classes: int = 0
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        latents: jax.Array,
        labels: jax.Array | None = None,
        keys: jax.Array | None = None,
        *,
        train: bool,
    ) -> jax.Array:
        height, width, channels = self.image_shape
        count = halvings((height, width))
        base = (height >> count, width >> count)

        def up(features: int, i: int) -> ConvTranspose:
            kernel, strides, padding = (base, 1, 0) if i == 0 else ((4, 4), 2, 1)
            return ConvTranspose(
                features,
                kernel,
                strides,
                padding,
                use_bias=False,
                kernel_init=dcgan_normal,
                dtype=self.dtype,
                name=f"conv{i}",
            )

        x = latents
        if self.classes:
            x = jnp.concatenate([x, one_hot(labels, self.classes)], axis=-1)
        x = x[:, None, None, :]
        for i in range(count):
            x = up(self.width << (count - 1 - i), i)(x)
            x = nn.relu(
                BatchNorm(
                    self.axis_name, scale_init=dcgan_scale, dtype=self.dtype, name=f"norm{i}"
                )(x, train)
            )
        return jnp.tanh(up(channels, count)(x).astype(jnp.float32))


class DCGANDiscriminator(nn.Module):
    """Images [B, H, W, C] (and labels int32 [B]) -> logits [B], float32.

    4x4 convolutions of stride 2 down to the base, batch norm from the second on, then one valid convolution over the base. With `classes`,
    the label enters as one plane per class. With `spectral_norm` the kernels are normalised instead, and batch norm is left out.
    Source: pytorch/examples dcgan. Deviation: none.
    """

    width: int = 64
    classes: int = 0
    spectral_norm: bool = False
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        labels: jax.Array | None = None,
        keys: jax.Array | None = None,
        *,
        train: bool,
    ) -> jax.Array:
        count = halvings((images.shape[1], images.shape[2]))
        batch_norm = not self.spectral_norm

        def conv(
            features: int, i: int, size: int | tuple[int, int], strides: int, padding: int
        ) -> Conv:
            return Conv(
                features,
                size,
                strides,
                padding,
                use_bias=not batch_norm,
                kernel_init=dcgan_normal,
                spectral_norm=self.spectral_norm,
                dtype=self.dtype,
                name=f"conv{i}",
            )

        x = images
        if self.classes:
            planes = one_hot(labels, self.classes)[:, None, None, :]
            x = beside([x, jnp.broadcast_to(planes, (*images.shape[:3], self.classes))])
        for i in range(count):
            x = conv(self.width << i, i, 4, 2, 1)(x, train)
            if batch_norm and i > 0:
                x = BatchNorm(
                    self.axis_name, scale_init=dcgan_scale, dtype=self.dtype, name=f"norm{i}"
                )(x, train)
            x = nn.leaky_relu(x, 0.2)
        last = conv(1, count, (x.shape[1], x.shape[2]), 1, 0)
        return last(x, train)[:, 0, 0, 0].astype(jnp.float32)
