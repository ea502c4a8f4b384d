"""StarGAN's networks: a translator that is told the target by planes of labels, and a critic that also classifies (Choi et al. 2018)."""

from __future__ import annotations

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import require, require_range
from jaxgan.networks.mlp import torch_uniform
from jaxgan.nn import initialisers
from jaxgan.nn.channels import beside
from jaxgan.nn.layers import Conv, ConvTranspose
from jaxgan.nn.norm import InstanceNorm, per_channel
from jaxgan.nn.padding import require_sides

torch_uniform_transposed = initialisers.scaled(1 / 3, "fan_out", "uniform")
"""PyTorch's default for transposed convolutions, which takes their outputs for inputs."""


def with_planes(images: jax.Array, labels: jax.Array) -> jax.Array:
    """Images [B, H, W, C] and labels [B, P] -> [B, H, W, C + P]: after the channels, one constant plane for each label."""
    planes = jnp.broadcast_to(
        labels[:, None, None, :].astype(images.dtype), (*images.shape[:3], labels.shape[-1])
    )
    return beside([images, planes])


class StarGANGenerator(nn.Module):
    """Images in [-1, 1] and planes of labels [B, H, W, C + P] -> images [B, H, W, channels] in [-1, 1], float32. H and W are multiples of 4.

    A 7x7 convolution, two 4x4 ones of stride 2, residual blocks, two up-convolutions, a 7x7 convolution and tanh; each but the last with an instance
    norm and ReLU. Borders are padded by zeros: inside them a plane of labels is a constant, which the norm would remove.
    Source: yunjey/stargan model.py. Deviation: no running statistics, which the reference keeps and never reads.

    Raises ValueError for other sides, and for unknown settings.
    """

    channels: int = 3
    width: int = 64
    """Feature maps after the first layer; twice and four times as many after the strided ones."""
    blocks: int = 6
    dtype: Any = jnp.float32

    @property
    def multiple(self) -> int:
        """What both sides of the images must be multiples of."""
        return 4

    @nn.compact
    def __call__(
        self, images: jax.Array, keys: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """Neither keys nor train change anything: there is no dropout, and every image is normalised by itself."""
        require_range("blocks", self.blocks, 0)
        require_sides(type(self).__name__, images, self.multiple)
        conv = partial(Conv, use_bias=False, kernel_init=torch_uniform, dtype=self.dtype)
        x = images.astype(self.dtype)
        for i, (kernel, strides, padding) in enumerate([(7, 1, 3), (4, 2, 1), (4, 2, 1)]):
            x = conv(self.width << i, kernel, strides, padding, name=f"conv{i}")(x)
            x = nn.relu(AffineInstanceNorm(self.dtype, name=f"norm{i}")(x))
        for i in range(self.blocks):
            x = Block(self.dtype, name=f"block{i}")(x)
        for i in range(2):
            options = {
                "use_bias": False,
                "kernel_init": torch_uniform_transposed,
                "dtype": self.dtype,
            }
            x = ConvTranspose(self.width << (1 - i), 4, 2, 1, **options, name=f"up{i}")(x)
            x = nn.relu(AffineInstanceNorm(self.dtype, name=f"up_norm{i}")(x))
        x = conv(self.channels, 7, 1, 3, name="output")(x)
        return jnp.tanh(x.astype(jnp.float32))


class Block(nn.Module):
    """Two 3x3 convolutions with zeros around, each with an instance norm, a ReLU between them; plus the input: [B, H, W, C] -> [B, H, W, C]."""

    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = partial(
            Conv, x.shape[-1], 3, 1, 1, use_bias=False, kernel_init=torch_uniform, dtype=self.dtype
        )
        y = nn.relu(AffineInstanceNorm(self.dtype, name="norm0")(conv(name="conv0")(x)))
        return x + AffineInstanceNorm(self.dtype, name="norm1")(conv(name="conv1")(y))


class AffineInstanceNorm(nn.Module):
    """`InstanceNorm` of [B, H, W, C] with a gain and a bias for each channel."""

    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
        return (InstanceNorm()(x) * per_channel(scale, x.ndim) + per_channel(bias, x.ndim)).astype(
            self.dtype
        )


class StarGANDiscriminator(nn.Module):
    """Images [B, H, W, C] -> logits [B, h, w] of patches and logits [B, attributes] of the labels, float32; h is H / 2**layers.

    4x4 convolutions of stride 2 (width, 2, 4, 8, ... times width feature maps), leaky ReLU 0.01, no norm; then a 3x3 convolution to the patches' logits
    and one that covers everything to the labels', so that the network takes the size it was made for, and no other.
    Source: yunjey/stargan model.py. Deviation: biases start at zero, not at random.

    Raises ValueError if a side is below 2**layers.
    """

    attributes: int
    width: int = 64
    layers: int = 6
    spectral_norm: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, images: jax.Array, keys: jax.Array | None = None, *, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """keys are not used; with `spectral_norm` a training pass makes a power iteration."""
        require_range("layers", self.layers, 1)
        require_sides(type(self).__name__, images, 1)
        least = 1 << self.layers
        fits = min(images.shape[1:3]) >= least
        require(
            fits,
            f"a discriminator of {self.layers} layers takes images of at least {least} x {least}, got {images.shape[1]} x {images.shape[2]}",
        )
        conv = partial(
            Conv, kernel_init=torch_uniform, spectral_norm=self.spectral_norm, dtype=self.dtype
        )
        x = images.astype(self.dtype)
        for i in range(self.layers):
            x = nn.leaky_relu(conv(self.width << i, 4, 2, 1, name=f"conv{i}")(x, train), 0.01)
        patches = conv(1, 3, 1, 1, use_bias=False, name="output")(x, train)
        classes = conv(
            self.attributes, (x.shape[1], x.shape[2]), use_bias=False, name="class_output"
        )(x, train)
        return patches[..., 0].astype(jnp.float32), classes[:, 0, 0].astype(jnp.float32)
