"""The residual generator and critic of WGAN-GP (Gulrajani et al. 2017) and SNGAN (Miyato et al. 2018)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.networks.dcgan import halvings
from jaxgan.nn import initialisers
from jaxgan.nn.layers import Conv, Dense, Embedding
from jaxgan.nn.norm import BatchNorm
from jaxgan.nn.resample import average_pool, upsample

he_like = initialisers.scaled(2.0, "fan_avg", "uniform")
"""Glorot uniform with gain sqrt 2, for the convolutions inside residual blocks."""
glorot = initialisers.scaled(1.0, "fan_avg", "uniform")


class GeneratorBlock(nn.Module):
    """Batch norm, ReLU, upsampling, convolution, twice but for the upsampling; plus a 1x1 shortcut: [B, H, W, I] -> [B, 2H, 2W, features]."""

    features: int
    upsampling: str = "nearest"
    classes: int = 0
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, labels: jax.Array | None, train: bool) -> jax.Array:
        def norm(name: str) -> BatchNorm:
            return BatchNorm(self.axis_name, classes=self.classes, dtype=self.dtype, name=name)

        shortcut = Conv(self.features, 1, kernel_init=glorot, dtype=self.dtype, name="shortcut")(
            upsample(x, self.upsampling)
        )
        x = upsample(nn.relu(norm("norm0")(x, train, labels)), self.upsampling)
        x = Conv(self.features, 3, 1, 1, kernel_init=he_like, dtype=self.dtype, name="conv0")(x)
        x = nn.relu(norm("norm1")(x, train, labels))
        return (
            Conv(self.features, 3, 1, 1, kernel_init=he_like, dtype=self.dtype, name="conv1")(x)
            + shortcut
        )


class ResNetGenerator(nn.Module):
    """Latents [B, Z] (and labels int32 [B]) -> images [B, H, W, C] in [-1, 1], float32.

    A linear map to the base (4x4 for 32, 7x7 for 28), one block per doubling, all of one width. With `classes` the batch norms are conditional.
    Source: improved_wgan_training and sngan_projection (CIFAR networks). Deviation: convolutions in front of a norm keep their bias, as there.
    """

    image_shape: tuple[int, int, int]
    width: int = 128
    classes: int = 0
    upsampling: str = "nearest"
    """"nearest" as the official code, "bilinear" as mimicry."""
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
        x = Dense(
            base[0] * base[1] * self.width, kernel_init=glorot, dtype=self.dtype, name="input"
        )(latents)
        x = x.reshape(-1, *base, self.width)
        for i in range(count):
            x = GeneratorBlock(
                self.width,
                self.upsampling,
                self.classes,
                self.axis_name,
                self.dtype,
                name=f"block{i}",
            )(x, labels, train)
        x = nn.relu(BatchNorm(self.axis_name, dtype=self.dtype, name="norm")(x, train))
        x = Conv(channels, 3, 1, 1, kernel_init=glorot, dtype=self.dtype, name="output")(x)
        return jnp.tanh(x.astype(jnp.float32))


class DiscriminatorBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: [B, H, W, I] -> [B, H, W, features], halved if `down`.

    `first`: the block that sees the image has no leading activation, and its shortcut is pooled before its convolution.
    `activated_shortcut`: the leading activation is in front of the shortcut too.
    """

    features: int
    down: bool
    first: bool = False
    spectral_norm: bool = False
    eval_iterations: int = 0
    activated_shortcut: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        def conv(size: int, init: Any, name: str) -> Conv:
            return Conv(
                self.features,
                size,
                1,
                size // 2,
                True,
                init,
                self.spectral_norm,
                self.eval_iterations,
                dtype=self.dtype,
                name=name,
            )

        activated = x if self.first else nn.relu(x)
        shortcut = activated if self.activated_shortcut else x
        if self.first:
            shortcut = conv(1, glorot, "shortcut")(average_pool(x), train)
        elif self.down:
            shortcut = average_pool(conv(1, glorot, "shortcut")(shortcut, train))
        elif x.shape[-1] != self.features:
            shortcut = conv(1, glorot, "shortcut")(shortcut, train)
        x = conv(3, he_like, "conv0")(activated, train)
        x = conv(3, he_like, "conv1")(nn.relu(x), train)
        return (average_pool(x) if self.down else x) + shortcut


class ResNetDiscriminator(nn.Module):
    """Images [B, H, W, C] (and labels int32 [B]) -> logits [B], float32; with `class_head` also class logits [B, classes].

    Halves the image while its smaller side is above 8, then two blocks of the same size; all of one width, without normalisation of activations.
    With `classes` and no `class_head`, the label's embedding is projected on the features (Miyato & Koyama 2018).
    Source: improved_wgan_training (`pool` "mean") and sngan_projection (`pool` "sum"), CIFAR networks. Deviation: none.
    """

    width: int = 128
    classes: int = 0
    class_head: bool = False
    pool: str = "mean"
    spectral_norm: bool = False
    eval_iterations: int = 0
    """Power iterations at evaluation; see `spectrally_normalised`."""
    activated_shortcut: bool = False
    """False as the official code. True as mimicry, whose activation works in place, so that the shortcuts see activated features."""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        labels: jax.Array | None = None,
        keys: jax.Array | None = None,
        *,
        train: bool,
    ) -> Any:
        def dense(features: int, name: str) -> Dense:
            return Dense(
                features,
                True,
                glorot,
                self.spectral_norm,
                self.eval_iterations,
                self.dtype,
                name=name,
            )

        x, downs = images, 0
        while min(images.shape[1:3]) >> downs > 8 and all(
            side % 2 ** (downs + 1) == 0 for side in images.shape[1:3]
        ):
            downs += 1
        for i in range(downs + 2):
            options = (
                self.spectral_norm,
                self.eval_iterations,
                self.activated_shortcut,
                self.dtype,
            )
            x = DiscriminatorBlock(self.width, i < downs, i == 0, *options, name=f"block{i}")(
                x, train
            )
        x = nn.relu(x)
        features = x.mean(axis=(1, 2)) if self.pool == "mean" else x.sum(axis=(1, 2))
        logits = dense(1, "output")(features, train)[:, 0].astype(jnp.float32)
        if self.class_head:
            return logits, dense(self.classes, "class_output")(features, train).astype(jnp.float32)
        if self.classes:
            embedding = Embedding(
                self.classes, self.width, glorot, self.spectral_norm, self.dtype, name="embedding"
            )(labels, train)
            logits = logits + jnp.sum(embedding * features, axis=-1).astype(jnp.float32)
        return logits
