"""The layers with weights: convolutions, linear map, embedding; each with spectral normalisation as an option.

Parameters are float32, the arithmetic is in `dtype`. Convolutions run through `jaxgan.nn.convolution`, which is fast on every backend.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.nn import initialisers
from jaxgan.nn.convolution import conv2d, conv_transpose2d
from jaxgan.nn.labels import rows
from jaxgan.nn.norm import per_channel
from jaxgan.nn.spectral import spectrally_normalised

Size = int | tuple[int, int]
Padding = int | tuple[tuple[int, int], tuple[int, int]]


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


class Conv(nn.Module):
    """Convolution [B, H, W, I] -> [B, H', W', features]; with `spectral_norm` its kernel has spectral norm 1."""

    features: int
    kernel_size: Size
    strides: Size = 1
    padding: Padding = 0
    use_bias: bool = True
    kernel_init: Callable = initialisers.lecun_normal
    spectral_norm: bool = False
    eval_iterations: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        kernel = self.param(
            "kernel",
            self.kernel_init,
            (*_pair(self.kernel_size), x.shape[-1], self.features),
            jnp.float32,
        )
        if self.spectral_norm:
            kernel = spectrally_normalised(self, kernel, train, self.eval_iterations)
        y = conv2d(x.astype(self.dtype), kernel.astype(self.dtype), self.strides, self.padding)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
            y = y + per_channel(bias.astype(self.dtype), y.ndim)
        return y


class ConvTranspose(nn.Module):
    """Transposed convolution [B, H, W, I] -> [B, H', W', features], sizes as in PyTorch: H' = (H - 1) * stride - 2 * padding + kernel + output_padding."""

    features: int
    kernel_size: Size
    strides: Size = 1
    padding: Padding = 0
    output_padding: Size = 0
    use_bias: bool = True
    kernel_init: Callable = initialisers.lecun_normal
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param(
            "kernel",
            self.kernel_init,
            (*_pair(self.kernel_size), x.shape[-1], self.features),
            jnp.float32,
        )
        y = conv_transpose2d(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            self.strides,
            self.padding,
            self.output_padding,
        )
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
            y = y + per_channel(bias.astype(self.dtype), y.ndim)
        return y


class Dense(nn.Module):
    """Linear layer [B, I] -> [B, features]; with `spectral_norm` its kernel has spectral norm 1."""

    features: int
    use_bias: bool = True
    kernel_init: Callable = initialisers.lecun_normal
    spectral_norm: bool = False
    eval_iterations: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features), jnp.float32)
        if self.spectral_norm:
            kernel = spectrally_normalised(self, kernel, train, self.eval_iterations)
        y = x.astype(self.dtype) @ kernel.astype(self.dtype)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
            y = y + per_channel(bias.astype(self.dtype), y.ndim)
        return y


class Embedding(nn.Module):
    """A learned vector per class: labels int32 [B] -> [B, features]; with `spectral_norm` the table has spectral norm 1."""

    classes: int
    features: int
    embedding_init: Callable = initialisers.normal(1.0)
    spectral_norm: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, labels: jax.Array | None, train: bool = False) -> jax.Array:
        table = self.param(
            "embedding", self.embedding_init, (self.classes, self.features), jnp.float32
        )
        if self.spectral_norm:
            table = spectrally_normalised(
                self, table.T, train, 0
            ).T  # u is per class, as in the reference implementations
        return rows(table.astype(self.dtype), labels)
