"""Translators of images that keep their size: the residual network of CycleGAN, and the same with a dense block."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import require_choice, require_range
from jaxgan.networks.dcgan import dcgan_normal, dcgan_scale
from jaxgan.nn.layers import Conv, ConvTranspose
from jaxgan.nn.norm import norm_layer
from jaxgan.nn.padding import reflection_pad, require_sides
from jaxgan.nn.regularise import dropout
from jaxgan.nn.resample import upsample_nearest

UPSAMPLINGS = ("transposed", "resize")


class ResNetTranslator(nn.Module):
    """Images [B, H, W, C] in [-1, 1] -> images [B, H, W, channels] in [-1, 1], float32. H and W are multiples of 4, any size is taken.

    A 7x7 convolution, two of stride 2, residual blocks, two up-convolutions, a 7x7 convolution and tanh. Padding is by reflection, but zeros in
    front of the strided convolutions, as in the reference code. There is no activation after a block's sum.
    Source: junyanz's ResnetGenerator (Zhu et al. 2017, after Johnson et al. 2016). Deviation: no bias in front of an instance norm, which would
    remove it.

    Raises ValueError for other sides, and for unknown settings.
    """

    channels: int
    width: int = 64
    """Feature maps after the first layer; twice and four times as many after the strided ones."""
    blocks: int = 9
    norm: str = "instance"
    """"instance", "batch" or "none"."""
    dropout: float = 0.0
    """After the first ReLU of each block, where keys are given."""
    upsampling: str = "transposed"
    """"transposed": 3x3 transposed convolutions; "resize": nearest neighbours and a 3x3 convolution, against checkerboards (Odena et al. 2016)."""
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @property
    def multiple(self) -> int:
        """What both sides of the images must be multiples of."""
        return 4

    @nn.compact
    def __call__(
        self, images: jax.Array, keys: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """keys: one per example [B], not consumed, for dropout, in training or not; None: without dropout. train: batch norm uses the batch's statistics."""
        require_range("blocks", self.blocks, 0)
        x = _down(self, images, train)
        for i in range(self.blocks):
            options = (self.norm, self.dropout, self.axis_name, self.dtype)
            x = ResidualBlock(*options, name=f"block{i}")(x, keys, train, f"block{i}")
        return _up(self, x, train)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with reflection, each normalised, a ReLU between them; plus the input: [B, H, W, C] -> [B, H, W, C]."""

    norm: str
    dropout: float
    axis_name: str | None
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, keys: jax.Array | None, train: bool, stream: str) -> jax.Array:
        """stream: the name under which `keys` draw the dropout; another one for each block."""
        conv = partial(
            Conv,
            x.shape[-1],
            3,
            use_bias=self.norm == "none",
            kernel_init=dcgan_normal,
            dtype=self.dtype,
        )
        norm = partial(
            norm_layer,
            self.norm,
            axis_name=self.axis_name,
            dtype=self.dtype,
            scale_init=dcgan_scale,
        )
        y = conv(name="conv0")(reflection_pad(x, 1))
        y = dropout(nn.relu(norm("norm0")(y, train)), self.dropout, keys, stream)
        y = conv(name="conv1")(reflection_pad(y, 1))
        return x + norm("norm1")(y, train)


class DenseNetTranslator(nn.Module):
    """As `ResNetTranslator`, with one dense block (Huang et al. 2017) in place of the residual blocks.

    Each of its layers sees all feature maps before it and adds `growth` more: norm, ReLU, 3x3 convolution with reflection, dropout. A transition
    (norm, ReLU, 1x1 convolution) leads back to 4 * width feature maps, again normalised, with a ReLU. Chosen here, as neither paper has this
    network: no 1x1 bottlenecks inside the layers, no pooling, and the ends of `ResNetTranslator`.
    """

    channels: int
    width: int = 64
    layers: int = 6
    growth: int = 32
    norm: str = "instance"
    dropout: float = 0.0
    upsampling: str = "transposed"
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @property
    def multiple(self) -> int:
        """What both sides of the images must be multiples of."""
        return 4

    @nn.compact
    def __call__(
        self, images: jax.Array, keys: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """keys: one per example [B], not consumed, for dropout, in training or not; None: without dropout. train: batch norm uses the batch's statistics."""
        require_range("layers", self.layers, 1)
        norm, bias = _norm(self), self.norm == "none"
        x = _down(self, images, train)
        for i in range(self.layers):
            y = reflection_pad(nn.relu(norm(f"dense_norm{i}")(x, train)), 1)
            y = Conv(
                self.growth,
                3,
                use_bias=bias,
                kernel_init=dcgan_normal,
                dtype=self.dtype,
                name=f"dense{i}",
            )(y)
            x = jnp.concatenate([x, dropout(y, self.dropout, keys, f"dense{i}")], axis=-1)
        x = nn.relu(norm("transition_norm0")(x, train))
        x = Conv(
            4 * self.width,
            1,
            use_bias=bias,
            kernel_init=dcgan_normal,
            dtype=self.dtype,
            name="transition",
        )(x)
        x = nn.relu(norm("transition_norm1")(x, train))
        return _up(self, x, train)


# The ends, which both networks share. They are called inside the network's compact method, so that the layers are the network's own.


def _norm(network: Any) -> Callable:
    return partial(
        norm_layer,
        network.norm,
        axis_name=network.axis_name,
        dtype=network.dtype,
        scale_init=dcgan_scale,
    )


def _down(network: Any, images: jax.Array, train: bool) -> jax.Array:
    """[B, H, W, C] -> [B, H / 4, W / 4, 4 * width]: conv0, conv1, conv2, each with norm and ReLU."""
    require_sides(type(network).__name__, images, network.multiple)
    require_choice("upsampling", network.upsampling, UPSAMPLINGS)
    norm, x = _norm(network), reflection_pad(images.astype(network.dtype), 3)
    for i, (kernel, strides, padding) in enumerate([(7, 1, 0), (3, 2, 1), (3, 2, 1)]):
        conv = Conv(
            network.width << i,
            kernel,
            strides,
            padding,
            network.norm == "none",
            dcgan_normal,
            dtype=network.dtype,
            name=f"conv{i}",
        )
        x = nn.relu(norm(f"norm{i}")(conv(x), train))
    return x


def _up(network: Any, x: jax.Array, train: bool) -> jax.Array:
    """[B, H / 4, W / 4, 4 * width] -> [B, H, W, channels] in [-1, 1], float32: up0, up1, each with norm and ReLU; output."""
    norm, options = (
        _norm(network),
        {"use_bias": network.norm == "none", "kernel_init": dcgan_normal, "dtype": network.dtype},
    )
    for i in range(2):
        features = network.width << (1 - i)
        if network.upsampling == "transposed":
            x = ConvTranspose(features, 3, 2, 1, 1, **options, name=f"up{i}")(x)
        else:
            x = Conv(features, 3, **options, name=f"up{i}")(reflection_pad(upsample_nearest(x), 1))
        x = nn.relu(norm(f"up_norm{i}")(x, train))
    x = Conv(network.channels, 7, kernel_init=dcgan_normal, dtype=network.dtype, name="output")(
        reflection_pad(x, 3)
    )
    return jnp.tanh(x.astype(jnp.float32))
