"""The networks of StyleGAN2 (Karras et al. 2020), as NVlabs/stylegan2-ada-pytorch builds them: mapping, synthesis, discriminator.

The base grid is what halving leaves of the image (4x4 of any square power of two, 4x6 of 64x96, 7x7 of 28x28); level i works at the base times 2^i.
"""

from __future__ import annotations

from functools import partial
from math import sqrt
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import require, require_choice
from jaxgan.networks.dcgan import halvings
from jaxgan.nn import initialisers
from jaxgan.nn.labels import one_hot
from jaxgan.nn.resample import downsample_filtered, upsample_filtered
from jaxgan.nn.style import (
    EqualConv,
    EqualDense,
    Planes,
    StyledConv,
    ToImage,
    noise_planes,
    second_moment_norm,
    with_batch_spread,
)
from jaxgan.update import device_mean

ARCHITECTURES = ("orig", "skip", "resnet")
BRANCH_GAIN = sqrt(0.5)
"""Both branches of a residual block are scaled by it, so that their sum keeps the variance."""


def features_at(level: int, channel_base: int, channel_max: int) -> int:
    """Feature maps of a level: those of the reference at resolution 4 * 2^level, at least 1."""
    return max(min(channel_base // (4 << level), channel_max), 1)


class Mapping(nn.Module):
    """Latents [B, Z] and/or labels int32 [B] -> [B, features], float32: fully connected layers that learn at a hundredth of the rate.

    Latents and embedded labels are normalised, then concatenated.
    """

    features: int
    layers: int
    classes: int = 0

    @nn.compact
    def __call__(self, latents: jax.Array | None, labels: jax.Array | None = None) -> jax.Array:
        inputs = [] if latents is None else [second_moment_norm(latents.astype(jnp.float32))]
        if self.classes:
            require(labels is not None, "a class-conditional network needs labels, int32 [B]")
            embedded = EqualDense(self.features, name="embed")(one_hot(labels, self.classes))
            inputs.append(second_moment_norm(embedded))
        x = jnp.concatenate(inputs, axis=-1)
        for i in range(self.layers):
            x = EqualDense(self.features, active=True, rate=0.01, name=f"dense{i}")(x)
        return x


class TrackedMapping(nn.Module):
    """`Mapping` that keeps the running mean of what it returns, over all devices: collection `average`, updated where that is mutable."""

    features: int
    layers: int
    classes: int = 0
    decay: float = 0.995
    axis_name: str | None = None

    @nn.compact
    def __call__(self, latents: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        average = self.variable("average", "w", jnp.zeros, (self.features,), jnp.float32)
        w = Mapping(self.features, self.layers, self.classes, name="layers")(latents, labels)
        if self.is_mutable_collection("average") and not self.is_initializing():
            mean = device_mean(jnp.mean(jax.lax.stop_gradient(w), axis=0), self.axis_name)
            average.value = mean + self.decay * (average.value - mean)
        return w

    def average(self) -> jax.Array:
        """The running mean [features]."""
        w: jax.Array = self.get_variable("average", "w")
        return w


class SynthesisBlock(nn.Module):
    """One level of the synthesis network; the first has a learned constant for its input.

    (features [B, H/2, W/2, C'] or None, image so far or None, w [B, 3, W]) -> features [B, H, W, C], image [B, H, W, channels] or None.
    """

    features: int
    channels: int
    base: tuple[int, int]
    architecture: str
    last: bool
    clamp: Any = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array | None, image: jax.Array | None, w: jax.Array, noise: list[Planes]
    ) -> tuple[jax.Array, jax.Array | None]:
        conv = partial(StyledConv, self.features, clamp=self.clamp)
        if x is None:
            const = self.param(
                "const", initialisers.normal(1.0), (*self.base, self.features), jnp.float32
            )
            x = jnp.broadcast_to(const.astype(self.dtype)[None], (w.shape[0], *const.shape))
            x = conv(name="conv1")(x, w[:, 0], noise[0])
        else:
            residual = self.architecture == "resnet"
            y = conv(up=True, name="conv0")(x, w[:, 0], noise[0])
            y = conv(name="conv1")(y, w[:, 1], noise[1], BRANCH_GAIN if residual else 1.0)
            if residual:
                y = y + EqualConv(
                    self.features, 1, "up", False, self.clamp, self.dtype, name="skip"
                )(x, BRANCH_GAIN)
            x = y
        image = None if image is None else upsample_filtered(image)
        if self.last or self.architecture == "skip":
            made = ToImage(self.channels, self.clamp, name="image")(x, w[:, -1]).astype(jnp.float32)
            image = made if image is None else image + made
        return x, image


class StyleGAN2Generator(nn.Module):
    """Latents [B, Z] (and labels int32 [B]) -> images [B, H, W, C], float32, of data in [-1, 1] but unbounded.

    `styles` maps latents to w, `synthesise` makes images from one w for each of `layers` layers. "skip" sums images over the levels, "resnet" has
    residual blocks, "orig" neither. Noise: see `jaxgan.nn.style.noise_planes`.
    Source: NVlabs/stylegan2-ada-pytorch training/networks.py. Deviation: a base grid other than 4x4 is possible.
    """

    image_shape: tuple[int, int, int]
    style_size: int = 512
    mapping_layers: int = 8
    classes: int = 0
    architecture: str = "skip"
    channel_base: int = 32768
    channel_max: int = 512
    clamp: Any = 0.0
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
        require_choice("generator architecture", self.architecture, ARCHITECTURES)
        self.mapping = TrackedMapping(
            self.style_size, self.mapping_layers, self.classes, self.average_decay, self.axis_name
        )
        height, width, channels = self.image_shape
        levels = self.levels
        base = (height >> (levels - 1), width >> (levels - 1))
        features = [
            features_at(level, self.channel_base, self.channel_max) for level in range(levels)
        ]
        options = {
            "channels": channels,
            "base": base,
            "architecture": self.architecture,
            "clamp": self.clamp,
            "dtype": self.dtype,
        }
        self.blocks = [
            SynthesisBlock(features[i], last=i == levels - 1, **options, name=f"block{i}")
            for i in range(levels)
        ]

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
        """Images [B, H, W, C] of w [B, layers, W]; the layer that makes a level's image shares its w with the next level's first.

        keys: one for each example; noise: see `noise_planes`.
        """
        height, width, _ = self.image_shape
        counts = [1 if level == 0 else 2 for level in range(self.levels)]
        sizes = [
            (height >> down, width >> down)
            for down, count in zip(reversed(range(self.levels)), counts)
            for _ in range(count)
        ]
        planes = noise_planes("constant" if self.is_initializing() else noise, sizes, keys)
        x, image, used = None, None, 0
        for block, count in zip(self.blocks, counts):
            x, image = block(x, image, w[:, used : used + count + 1], planes[used : used + count])
            used += count
        result: Any = image
        return result


class DiscriminatorBlock(nn.Module):
    """One level: (features [B, H, W, C'] or None, image [B, H, W, channels] or None) -> features [B, H/2, W/2, C], image at half the size or None."""

    inputs: int
    features: int
    architecture: str
    clamp: Any = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Any, image: jax.Array | None) -> tuple[jax.Array, jax.Array | None]:
        conv = partial(EqualConv, clamp=self.clamp, dtype=self.dtype)
        if image is not None:
            y = conv(self.inputs, 1, name="from_image")(image)
            x = y if x is None else x + y
            image = downsample_filtered(image) if self.architecture == "skip" else None
        residual = self.architecture == "resnet"
        y = conv(self.inputs, 3, name="conv0")(x)
        y = conv(self.features, 3, "down", name="conv1")(y, BRANCH_GAIN if residual else 1.0)
        if residual:
            y = y + conv(self.features, 1, "down", False, name="skip")(x, BRANCH_GAIN)
        return y, image


class StyleGAN2Discriminator(nn.Module):
    """Images [B, H, W, C] (and labels int32 [B]) -> logits [B], float32.

    With classes the last features are projected on the mapped label (Miyato & Koyama 2018). `minibatch_std_group` examples of the global batch share the
    spread that the last convolution sees; 0 leaves it out.
    Source: NVlabs/stylegan2-ada-pytorch training/networks.py. Deviation: groups are of the global batch, not of each device's.
    """

    classes: int = 0
    architecture: str = "resnet"
    channel_base: int = 32768
    channel_max: int = 512
    minibatch_std_group: int = 4
    mapping_layers: int = 8
    """Of the labels' mapping."""
    clamp: Any = 0.0
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
        require_choice("discriminator architecture", self.architecture, ARCHITECTURES)
        levels = halvings((images.shape[1], images.shape[2]), least=0) + 1
        features = [
            features_at(level, self.channel_base, self.channel_max) for level in range(levels)
        ]
        options = {"clamp": self.clamp, "dtype": self.dtype}
        x: Any = None
        image: Any = images
        for i in range(levels - 1, 0, -1):
            x, image = DiscriminatorBlock(
                features[i], features[i - 1], self.architecture, **options, name=f"block{i}"
            )(x, image)
        if image is not None:
            y = EqualConv(features[0], 1, **options, name="from_image")(image)
            x = y if x is None else x + y
        return judged(self, x, labels, options)


def judged(
    network: Any, x: jax.Array, labels: jax.Array | None, options: dict[str, Any]
) -> jax.Array:
    """Logits [B] of the base's features x [B, h, w, C]: the end of a discriminator, whose submodules this makes inside its compact `__call__`."""
    features, group, axis_name = (
        x.shape[-1],
        network.minibatch_std_group,
        None if network.is_initializing() else network.axis_name,
    )
    x = with_batch_spread(x, group, axis_name) if group else x
    x = EqualConv(features, 3, **options, name="conv")(x)
    x = EqualDense(features, active=True, dtype=network.dtype, name="dense")(
        x.reshape(x.shape[0], -1)
    )
    x = EqualDense(features if network.classes else 1, dtype=network.dtype, name="output")(
        x
    ).astype(jnp.float32)
    if not network.classes:
        return x[:, 0]
    direction = Mapping(features, network.mapping_layers, network.classes, name="mapping")(
        None, labels
    )
    return jnp.sum(x * direction, axis=-1) / sqrt(features)
