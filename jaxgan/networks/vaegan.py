"""The networks of the VAE/GAN (Larsen et al. 2015): encoder, decoder, and a discriminator that also shows what its convolutions find."""

from __future__ import annotations

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import require
from jaxgan.nn import initialisers
from jaxgan.nn.layers import Conv, ConvTranspose, Dense
from jaxgan.nn.norm import BatchNorm
from jaxgan.nn.padding import require_sides

deeppy_uniform = initialisers.scaled(1 / 9, "fan_in", "uniform")
"""deeppy's AutoFiller: uniform within 1 / sqrt(3 fan_in)."""

EPSILON = 1e-6
"""Batch norm's, in all three networks; its momentum is 0.9, the default."""


def strided_layers(image_size: tuple[int, int], depth: int = 0) -> int:
    """How often the networks halve an image: `depth` where it is given, else 3 (64 to 8, 32 to 4), more where 3 would leave more than 8, fewer where
    sides do not halve so often or fewer than 4 would be left (28 to 7), at least 2.

    Raises:
      ValueError: the sides do not halve that often; the message names what they must be multiples of.
    """
    smaller = min(image_size)
    if depth:
        require(
            all(side % 2**depth == 0 for side in image_size),
            f"image_size must be multiples of {2**depth} for depth {depth}, got {image_size}",
        )
        return depth
    needed = max(2, (-(-smaller // 8) - 1).bit_length())
    for count in range(max(3, needed), needed - 1, -1):
        if smaller >> count >= 4 and all(side % 2**count == 0 for side in image_size):
            return count
    multiple = 2**needed
    require(
        False,
        f"image_size must be multiples of {multiple} and at least {4 * multiple}, got {image_size}: change it, or set depth to halve less often",
    )
    return 0


class VAEGANEncoder(nn.Module):
    """Images [B, H, W, C] -> mean and log-variance of their codes, float32 [B, latent_size] each.

    5x5 convolutions of stride 2 (width, 2 width, then 4 width feature maps), a linear layer of 16 width, each with batch norm and ReLU; two linear heads.
    Source: andersbll/autoencoding_beyond_pixels, architectures.py. Deviation: batch norm's gains start at 1, not uniform in [0, 1).

    Raises ValueError unless H and W are multiples of 2**depth.
    """

    latent_size: int = 128
    width: int = 64
    depth: int = 3
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        require_sides(type(self).__name__, images, 2**self.depth)
        norm = partial(BatchNorm, self.axis_name, epsilon=EPSILON, dtype=self.dtype)
        dense = partial(Dense, kernel_init=deeppy_uniform, dtype=self.dtype)
        x = images
        for i in range(self.depth):
            x = Conv(
                min(self.width << i, 4 * self.width),
                5,
                2,
                2,
                False,
                deeppy_uniform,
                dtype=self.dtype,
                name=f"conv{i}",
            )(x)
            x = nn.relu(norm(name=f"norm{i}")(x, train))
        x = dense(16 * self.width, use_bias=False, name="dense")(x.reshape(x.shape[0], -1))
        x = nn.relu(norm(name="dense_norm")(x, train))
        return dense(self.latent_size, name="mean")(x).astype(jnp.float32), dense(
            self.latent_size, name="log_variance"
        )(x).astype(jnp.float32)


class VAEGANDecoder(nn.Module):
    """Codes [B, Z] -> images [B, H, W, C] in [-1, 1], float32.

    A linear layer to the base of 4 width feature maps, 5x5 transposed convolutions of stride 2 (4 width, then 2 width and width/2 feature maps at
    the two largest sizes), each with batch norm and ReLU; a 5x5 convolution and tanh. Source and deviation as `VAEGANEncoder`.
    """

    image_shape: tuple[int, int, int]
    width: int = 64
    depth: int = 3
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, codes: jax.Array, *, train: bool) -> jax.Array:
        height, width, channels = self.image_shape
        base, wide = (height >> self.depth, width >> self.depth), 4 * self.width
        norm = partial(BatchNorm, self.axis_name, epsilon=EPSILON, dtype=self.dtype)
        x = Dense(base[0] * base[1] * wide, False, deeppy_uniform, dtype=self.dtype, name="dense")(
            codes
        )
        x = nn.relu(norm(name="dense_norm")(x, train)).reshape(-1, *base, wide)
        widths = [wide] * max(0, self.depth - 2) + [2 * self.width, max(1, self.width // 2)][
            -self.depth :
        ]
        for i, features in enumerate(widths):
            up = ConvTranspose(
                features,
                5,
                2,
                2,
                1,
                use_bias=False,
                kernel_init=deeppy_uniform,
                dtype=self.dtype,
                name=f"conv{i}",
            )
            x = nn.relu(norm(name=f"norm{i}")(up(x), train))
        x = Conv(channels, 5, 1, 2, kernel_init=deeppy_uniform, dtype=self.dtype, name="output")(x)
        return jnp.tanh(x.astype(jnp.float32))


class VAEGANDiscriminator(nn.Module):
    """Images [B, H, W, C] -> logits [B], float32, and the features of the depth strided convolutions, [B, H', W', F] each.

    A 5x5 convolution (width/2) and ReLU; 5x5 convolutions of stride 2 (2 width, then 4 width), a linear layer of 8 width, each with batch norm and
    ReLU; a linear layer. Features are a convolution's output before its norm, as the reference has them. With `spectral_norm` kernels are normalised
    instead, and batch norm is left out. Source and deviation as `VAEGANEncoder`.
    """

    width: int = 64
    depth: int = 3
    spectral_norm: bool = False
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool
    ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        require_sides(type(self).__name__, images, 2**self.depth)
        options: dict[str, Any] = {
            "kernel_init": deeppy_uniform,
            "spectral_norm": self.spectral_norm,
            "dtype": self.dtype,
        }

        def activated(x: jax.Array, name: str) -> jax.Array:
            if not self.spectral_norm:
                x = BatchNorm(self.axis_name, epsilon=EPSILON, dtype=self.dtype, name=name)(
                    x, train
                )
            return nn.relu(x)

        x = nn.relu(Conv(max(1, self.width // 2), 5, 1, 2, name="conv0", **options)(images, train))
        features = []
        for i in range(1, self.depth + 1):
            x = Conv(
                self.width * (2 if i == 1 else 4),
                5,
                2,
                2,
                self.spectral_norm,
                name=f"conv{i}",
                **options,
            )(x, train)
            features.append(x)
            x = activated(x, f"norm{i}")
        x = Dense(8 * self.width, self.spectral_norm, name="dense", **options)(
            x.reshape(x.shape[0], -1), train
        )
        logits = Dense(1, name="output", **options)(activated(x, "dense_norm"), train)
        return logits[:, 0].astype(jnp.float32), tuple(features)
