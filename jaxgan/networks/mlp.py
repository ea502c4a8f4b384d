"""Fully connected networks: the 2014 GAN, the 2014 conditional GAN, and the batch-normalised MLP of the tutorials.

All generators: latents [B, Z] (and labels int32 [B]) -> images [B, H, W, C] in [-1, 1]. All discriminators: images (and labels) -> logits [B].
`keys` are one per example, for dropout; None turns it off. Outputs are float32.
"""

from __future__ import annotations

from math import prod
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.nn import initialisers
from jaxgan.nn.labels import one_hot
from jaxgan.nn.layers import Dense, Embedding
from jaxgan.nn.norm import BatchNorm
from jaxgan.nn.regularise import dropout

torch_uniform = initialisers.scaled(1 / 3, "fan_in", "uniform")
"""U(-1/sqrt(fan_in), 1/sqrt(fan_in)), PyTorch's default for linear layers and convolutions."""


def _flat_images(images: jax.Array) -> jax.Array:
    return images.reshape(images.shape[0], -1)


def _as_images(pixels: jax.Array, image_shape: tuple[int, int, int]) -> jax.Array:
    return pixels.reshape(-1, *image_shape).astype(jnp.float32)


class MaxoutDense(nn.Module):
    """Linear map to units x pieces, of which each unit keeps the largest piece (Goodfellow et al. 2013): [B, I] -> [B, units]."""

    units: int
    pieces: int
    spectral_norm: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        dense = Dense(
            self.units * self.pieces,
            kernel_init=initialisers.uniform(0.005),
            spectral_norm=self.spectral_norm,
            dtype=self.dtype,
        )
        pieces = dense(x, train).reshape(-1, self.units, self.pieces)
        # Not `max`: its derivative finds the largest piece again by comparing, which fails (0 / 0) where the compiler computes the pieces
        # twice and rounds them differently, as it may in bfloat16.
        largest = jnp.argmax(pieces, axis=-1, keepdims=True).astype(jnp.int32) == jnp.arange(
            self.pieces, dtype=jnp.int32
        ).reshape(1, 1, -1)
        return jnp.where(largest, pieces, 0).sum(axis=-1)


class MaxoutGenerator(nn.Module):
    """ReLU layers and a sigmoid, as in 2014; with `classes`, latents and one-hot labels have a layer each before the joint one.

    The sigmoid's [0, 1] is mapped to [-1, 1]. Weights start in U(-0.05, 0.05).
    Source: Goodfellow et al. 2014 (mnist.yaml), Mirza & Osindero 2014. Deviation: the output bias starts at 0, not at the pixel marginals.
    """

    image_shape: tuple[int, int, int]
    hidden: tuple[int, ...] = (1200, 1200)
    latent_hidden: int = 200
    label_hidden: int = 1000
    classes: int = 0
    dropout_rate: float = 0.0
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
        keys = keys if train else None

        def dense(features: int, name: str) -> Dense:
            return Dense(
                features, kernel_init=initialisers.uniform(0.05), dtype=self.dtype, name=name
            )

        x = latents
        if self.classes:
            vectors = one_hot(labels, self.classes)
            x = jnp.concatenate(
                [
                    dense(self.latent_hidden, "latent_path")(x),
                    dense(self.label_hidden, "label_path")(vectors),
                ],
                axis=-1,
            )
            x = dropout(nn.relu(x), self.dropout_rate, keys, "paths")
        for i, features in enumerate(self.hidden):
            x = dropout(
                nn.relu(dense(features, f"hidden{i}")(x)), self.dropout_rate, keys, f"hidden{i}"
            )
        return _as_images(
            2 * nn.sigmoid(dense(prod(self.image_shape), "output")(x).astype(jnp.float32)) - 1,
            self.image_shape,
        )


class MaxoutDiscriminator(nn.Module):
    """Maxout layers with dropout; with `classes`, images and one-hot labels have a maxout layer each before the joint one.

    Images are mapped from [-1, 1] to [0, 1] first. `hidden` and the paths are (units, pieces).
    Source: Goodfellow et al. 2014 (mnist.yaml), Mirza & Osindero 2014.
    """

    hidden: tuple[tuple[int, int], ...] = ((240, 5), (240, 5))
    image_path: tuple[int, int] = (240, 5)
    label_path: tuple[int, int] = (50, 5)
    classes: int = 0
    input_dropout: float = 0.2
    dropout_rate: float = 0.5
    spectral_norm: bool = False
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
        keys = keys if train else None

        def maxout(shape: tuple[int, int], name: str) -> MaxoutDense:
            return MaxoutDense(
                *shape, spectral_norm=self.spectral_norm, dtype=self.dtype, name=name
            )

        x = dropout((_flat_images(images) + 1) / 2, self.input_dropout, keys, "input")
        if self.classes:
            vectors = one_hot(labels, self.classes)
            x = jnp.concatenate(
                [
                    maxout(self.image_path, "image_path")(x, train),
                    maxout(self.label_path, "label_path")(vectors, train),
                ],
                axis=-1,
            )
            x = dropout(x, self.dropout_rate, keys, "paths")
        for i, shape in enumerate(self.hidden):
            x = dropout(
                maxout(shape, f"hidden{i}")(x, train), self.dropout_rate, keys, f"hidden{i}"
            )
        output = Dense(
            1,
            kernel_init=initialisers.uniform(0.005),
            spectral_norm=self.spectral_norm,
            dtype=self.dtype,
            name="output",
        )
        return output(x, train)[:, 0].astype(jnp.float32)


class MLPGenerator(nn.Module):
    """Leaky-ReLU layers and tanh; batch norm from the second layer; a learned label embedding beside the latents if `classes`.

    Source: PyTorch-GAN's gan and cgan. Deviations: batch norm's epsilon is 1e-5 (there 0.8, an argument in the wrong place), and no bias in
    front of a norm.
    """

    image_shape: tuple[int, int, int]
    hidden: tuple[int, ...] = (128, 256, 512, 1024)
    classes: int = 0
    label_size: int = 10
    batch_norm: bool = True
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
        x = latents
        if self.classes:
            x = jnp.concatenate(
                [x, Embedding(self.classes, self.label_size, name="embedding")(labels)], axis=-1
            )
        for i, features in enumerate(self.hidden):
            normed = self.batch_norm and i > 0
            x = Dense(
                features,
                use_bias=not normed,
                kernel_init=torch_uniform,
                dtype=self.dtype,
                name=f"hidden{i}",
            )(x)
            if normed:
                x = BatchNorm(self.axis_name, dtype=self.dtype, name=f"norm{i}")(x, train)
            x = nn.leaky_relu(x, 0.2)
        pixels = Dense(
            prod(self.image_shape), kernel_init=torch_uniform, dtype=self.dtype, name="output"
        )(x)
        return _as_images(jnp.tanh(pixels.astype(jnp.float32)), self.image_shape)


class MLPDiscriminator(nn.Module):
    """Leaky-ReLU layers; dropout from the second layer; a learned label embedding beside the pixels if `classes`.

    Source: PyTorch-GAN's gan (512-256-1) and cgan (512-512-512-1, dropout 0.4).
    """

    hidden: tuple[int, ...] = (512, 256)
    classes: int = 0
    label_size: int = 10
    dropout_rate: float = 0.0
    spectral_norm: bool = False
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
        keys = keys if train else None
        x = _flat_images(images)
        if self.classes:
            x = jnp.concatenate(
                [x, Embedding(self.classes, self.label_size, name="embedding")(labels)], axis=-1
            )
        for i, features in enumerate(self.hidden):
            x = Dense(
                features,
                kernel_init=torch_uniform,
                spectral_norm=self.spectral_norm,
                dtype=self.dtype,
                name=f"hidden{i}",
            )(x, train)
            x = dropout(x, self.dropout_rate if i else 0.0, keys, f"hidden{i}")
            x = nn.leaky_relu(x, 0.2)
        output = Dense(
            1,
            kernel_init=torch_uniform,
            spectral_norm=self.spectral_norm,
            dtype=self.dtype,
            name="output",
        )
        return output(x, train)[:, 0].astype(jnp.float32)
