"""Batch normalisation as the reference implementations do it, over the global batch; instance normalisation; and the choice between them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import require_choice
from jaxgan.nn.labels import rows
from jaxgan.update import device_count, device_mean

NORMS = ("batch", "instance", "none")


def per_channel(vector: jax.Array, rank: int) -> jax.Array:
    """[C] -> [1, ..., 1, C] of the given rank, so that nothing is broadcast silently."""
    return vector.reshape((1,) * (rank - 1) + vector.shape)


def _mean(x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """The mean over `axes`, kept as 1: on a CPU in one pass, elsewhere axis by axis; chosen at lowering, as in `jaxgan.nn.convolution`.

    Compiled for a GPU, one long sum for each channel has what is summed written to memory in float32 first (seen at 64x64 pixels); sums along one axis, which
    are short and many, have it computed where they are added.
    """
    return jax.lax.platform_dependent(
        x,
        cpu=partial(jnp.mean, axis=axes, keepdims=True),
        default=partial(_mean_axis_by_axis, axes=axes),
    )


def _mean_axis_by_axis(x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    for axis in reversed(axes):
        x = jnp.mean(x, axis, keepdims=True)
    return x


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def standardise(
    x: jax.Array, axes: tuple[int, ...], epsilon: float, axis_name: str | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """x less its mean over `axes`, and all devices of `axis_name`, over the root of its variance + epsilon: (standardised, mean, variance), axes kept as 1.

    In two passes, so that the variance does not suffer cancellation. Mean and variance are for keeping, and have no gradient. The gradient is written out: the
    sums that it needs are of one pass over x and the slope, where the rules of single operations need a second, after the first.
    """
    return _standardise_fwd(x, axes, epsilon, axis_name)[0]


def _standardise_fwd(
    x: jax.Array, axes: tuple[int, ...], epsilon: float, axis_name: str | None
) -> tuple[Any, Any]:
    mean = device_mean(_mean(x, axes), axis_name)
    centred = x - mean
    var = device_mean(_mean(centred**2, axes), axis_name)
    scale = jax.lax.rsqrt(var + epsilon)
    return (centred * scale, mean, var), (x, mean, scale)


def _standardise_bwd(
    axes: tuple[int, ...], epsilon: float, axis_name: str | None, kept: Any, slopes: Any
) -> tuple[jax.Array]:
    (x, mean, scale), g = kept, slopes[0]
    y = (x - mean) * scale
    along_one, along_y = device_mean((_mean(g, axes), _mean(g * y, axes)), axis_name)
    return (scale * (g - along_one - y * along_y),)


standardise.defvjp(_standardise_fwd, _standardise_bwd)


class BatchNorm(nn.Module):
    """Batch normalisation of [B, ..., C] over all axes but the last, and over all devices.

    Statistics are float32 and of two passes (the variance does not suffer cancellation). The running variance is the unbiased one, and
    `momentum` is the share of the old value kept: PyTorch's 0.1 is 0.9 here. With `classes`, gain and bias are looked up by label
    (conditional batch norm, Dumoulin et al. 2017); without `affine` there are none.

    Source: Ioffe & Szegedy 2015, with PyTorch's running statistics. Deviation: none.
    """

    axis_name: str | None = None
    momentum: float = 0.9
    epsilon: float = 1e-5
    classes: int = 0
    affine: bool = True
    copies: int = 1
    """How often each pixel counts for the running variance: 4 where x is still to be doubled either way, which no other statistic sees."""
    scale_init: Callable = nn.initializers.ones
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, labels: jax.Array | None = None) -> jax.Array:
        """x [B, ..., C], labels int32 [B] if conditional -> [B, ..., C] in `dtype`. In training `batch_stats` is updated where mutable."""
        channels, axes = x.shape[-1], tuple(range(x.ndim - 1))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)
        x = x.astype(jnp.float32)
        if train:
            axis_name = None if self.is_initializing() else self.axis_name
            normalised, mean, var = standardise(x, axes, self.epsilon, axis_name)
            mean, var = mean.reshape(channels), var.reshape(channels)
            if not self.is_initializing() and self.is_mutable_collection("batch_stats"):
                count = self.copies * (x.size // channels) * device_count(axis_name)
                running_mean.value = self.momentum * running_mean.value + (1 - self.momentum) * mean
                running_var.value = self.momentum * running_var.value + (
                    1 - self.momentum
                ) * var * (count / max(count - 1, 1))
        else:
            scale = jax.lax.rsqrt(running_var.value + self.epsilon)
            normalised = (x - per_channel(running_mean.value, x.ndim)) * per_channel(scale, x.ndim)
        if not self.affine:
            return normalised.astype(self.dtype)
        shape = (self.classes, channels) if self.classes else (channels,)
        scale = self.param("scale", self.scale_init, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        if self.classes:
            scale, bias = (
                rows(table, labels).reshape(x.shape[0], *(1,) * (x.ndim - 2), channels)
                for table in (scale, bias)
            )
        else:
            scale, bias = per_channel(scale, x.ndim), per_channel(bias, x.ndim)
        return (normalised * scale + bias).astype(self.dtype)


class InstanceNorm(nn.Module):
    """Normalisation of each channel of each example over its pixels: no parameters, no running statistics, so that it does the same in training and after.

    Statistics are float32 and of two passes. Source: Ulyanov et al. 2016, without gain and bias, as CycleGAN uses it. Deviation: none.
    """

    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, H, W, C] -> [B, H, W, C] in `dtype`."""
        return standardise(x.astype(jnp.float32), (1, 2), self.epsilon)[0].astype(self.dtype)


def norm_layer(
    kind: str,
    name: str,
    axis_name: str | None = None,
    dtype: Any = jnp.float32,
    scale_init: Callable = nn.initializers.ones,
) -> Callable[[jax.Array, bool], jax.Array]:
    """A function (x [B, H, W, C], train) -> [B, H, W, C] that normalises as `kind` says: "batch", "instance" or "none" (the identity).

    To be called inside a compact module, of which the batch norm becomes the submodule `name`. Raises ValueError for other kinds.
    """
    require_choice("norm", kind, NORMS)
    if kind == "batch":
        return BatchNorm(axis_name, scale_init=scale_init, dtype=dtype, name=name)
    if kind == "instance":
        norm = InstanceNorm(dtype=dtype, name=name)
        return lambda x, train: norm(x)
    return lambda x, train: x
