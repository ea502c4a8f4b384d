"""The networks of StyleGAN (Karras et al. 2019) at a fixed resolution: a generator normalised by AdaIN, and its discriminator.

Levels, base grid, feature maps and methods are those of `jaxgan.networks.stylegan2`, of which mapping and the discriminator's head are shared.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.networks.dcgan import halvings
from jaxgan.networks.stylegan2 import TrackedMapping, features_at, judged
from jaxgan.nn import initialisers
from jaxgan.nn.resample import average_pool, low_pass, upsample_nearest
from jaxgan.nn.style import AdaIN, EqualConv, Noise, Planes, activate, noise_planes, per_channel

SMOOTH = (1.0, 2.0, 1.0)
"""The low-pass filter along each axis, before it is normalised."""
HE = sqrt(2)
"""Gain of the kernels in front of a leaky ReLU."""


class StyledLayer(nn.Module):
    """Noise, bias, leaky ReLU and AdaIN of x [B, H, W, C] by w [B, W], in this order."""

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array, noise: Planes) -> jax.Array:
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
        x = Noise(per_channel=True, name="noise")(x, noise) + per_channel(
            bias.astype(x.dtype), x.ndim
        )
        return AdaIN(name="adain")(nn.leaky_relu(x, 0.2), w)


class StyleGAN1Generator(nn.Module):
    """Latents [B, Z] (and labels int32 [B]) -> images [B, H, W, C], float32, of data in [-1, 1] but unbounded. Methods as `StyleGAN2Generator`.

    Source: NVlabs/stylegan training/networks_stylegan.py. Deviations: no progressive growing; the learned constant starts at random, as in StyleGAN2
    (of ones an instance norm leaves rounding); labels are embedded as there; a base grid other than 4x4 is possible.
    """

    image_shape: tuple[int, int, int]
    style_size: int = 512
    mapping_layers: int = 8
    classes: int = 0
    channel_base: int = 16384
    channel_max: int = 512
    average_decay: float = 0.995
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @property
    def levels(self) -> int:
        return halvings(self.image_shape[:2], least=0) + 1

    @property
    def layers(self) -> int:
        """Layers that take a w of their own."""
        return 2 * self.levels

    def setup(self) -> None:
        self.mapping = TrackedMapping(
            self.style_size, self.mapping_layers, self.classes, self.average_decay, self.axis_name
        )
        self.synthesis = Synthesis(
            self.image_shape, self.levels, self.channel_base, self.channel_max, self.dtype
        )

    def __call__(
        self,
        latents: jax.Array,
        labels: jax.Array | None = None,
        keys: jax.Array | None = None,
        *,
        noise: str = "constant",
        train: bool = False,
    ) -> jax.Array:
        """Images of the same w in all layers. keys: one for each example, for random noise; train changes nothing."""
        w = self.styles(latents, labels)
        return self.synthesise(
            jnp.broadcast_to(w[:, None], (w.shape[0], self.layers, w.shape[1])), keys, noise=noise
        )

    def styles(self, latents: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        """w [B, W] of latents [B, Z]; their running mean is updated where the collection `average` is mutable."""
        return self.mapping(latents, labels)

    def average(self) -> jax.Array:
        """The running mean of w, [W]."""
        return self.mapping.average()

    def synthesise(
        self, w: jax.Array, keys: jax.Array | None = None, *, noise: str = "random"
    ) -> jax.Array:
        """Images [B, H, W, C] of w [B, layers, W]. keys: one for each example; noise: see `noise_planes`."""
        height, width, _ = self.image_shape
        sizes = [
            (height >> down, width >> down)
            for down in reversed(range(self.levels))
            for _ in range(2)
        ]
        return self.synthesis(
            w, noise_planes("constant" if self.is_initializing() else noise, sizes, keys)
        )


class Synthesis(nn.Module):
    """w [B, 2 * levels, W] and as many planes of noise -> images [B, H, W, C], float32."""

    image_shape: tuple[int, int, int]
    levels: int
    channel_base: int
    channel_max: int
    dtype: Any

    @nn.compact
    def __call__(self, w: jax.Array, noise: list[Planes]) -> jax.Array:
        height, width, channels = self.image_shape
        for i in range(self.levels):
            features = features_at(i, self.channel_base, self.channel_max)
            if i == 0:
                size = (height >> (self.levels - 1), width >> (self.levels - 1))
                const = self.param(
                    "const", initialisers.normal(1.0), (*size, features), jnp.float32
                )
                x = jnp.broadcast_to(const.astype(self.dtype)[None], (w.shape[0], *const.shape))
            else:
                x = EqualConv(features, 3, active=False, dtype=self.dtype, name=f"conv{i}_0")(
                    upsample_nearest(x), HE
                )
                x = low_pass(x, SMOOTH, (1, 1))
            x = StyledLayer(name=f"layer{i}_0")(x, w[:, 2 * i], noise[2 * i])
            x = EqualConv(features, 3, active=False, dtype=self.dtype, name=f"conv{i}_1")(x, HE)
            x = StyledLayer(name=f"layer{i}_1")(x, w[:, 2 * i + 1], noise[2 * i + 1])
        bias = self.param("image_bias", nn.initializers.zeros, (channels,), jnp.float32)
        image = EqualConv(channels, 1, active=False, dtype=self.dtype, name="image")(x).astype(
            jnp.float32
        )
        return image + per_channel(bias, image.ndim)


class StyleGAN1Discriminator(nn.Module):
    """Images [B, H, W, C] (and labels int32 [B]) -> logits [B], float32: two convolutions a level, smoothed in front of the second, which halves.

    Source: NVlabs/stylegan training/networks_stylegan.py. Deviations: no progressive growing; labels are projected on, and the batch's spread is taken,
    as in `StyleGAN2Discriminator`; activations, not kernels, have the gain sqrt(2), so that biases have it, too.
    """

    classes: int = 0
    channel_base: int = 16384
    channel_max: int = 512
    minibatch_std_group: int = 4
    mapping_layers: int = 8
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        labels: jax.Array | None = None,
        keys: jax.Array | None = None,
        *,
        train: bool = False,
    ) -> jax.Array:
        """Neither keys nor train change anything."""
        levels = halvings((images.shape[1], images.shape[2]), least=0) + 1
        features = [
            features_at(level, self.channel_base, self.channel_max) for level in range(levels)
        ]
        x = EqualConv(features[-1], 1, dtype=self.dtype, name="from_image")(images)
        for i in range(levels - 1, 0, -1):
            x = EqualConv(features[i], 3, dtype=self.dtype, name=f"conv{i}_0")(x)
            x = average_pool(
                EqualConv(features[i - 1], 3, active=False, dtype=self.dtype, name=f"conv{i}_1")(
                    low_pass(x, SMOOTH, (1, 1))
                )
            )
            x = activate(
                x, self.param(f"bias{i}_1", nn.initializers.zeros, (features[i - 1],), jnp.float32)
            )
        return judged(self, x, labels, {"dtype": self.dtype})
