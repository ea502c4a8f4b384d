"""Layers of StyleGAN (Karras et al. 2019, 2020): weights scaled at run time, modulated convolutions, noise, AdaIN, and the batch's spread.

Parameters are float32 and start at unit variance, so that under Adam all learn at one relative rate (equalised learning rate). Styles and their scales are
float32; images are in `dtype`. Names and scales as in NVlabs/stylegan2-ada-pytorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import prod, sqrt
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import is_number, require, require_choice
from jaxgan.nn import initialisers
from jaxgan.nn.convolution import conv2d, conv_transpose2d
from jaxgan.nn.norm import InstanceNorm, per_channel
from jaxgan.nn.resample import BINOMIAL, downsample_filtered, low_pass, upsample_filtered
from jaxgan.update import example_streams, gather, local_part

Planes = jax.Array | Literal["constant"] | None
"""One layer's noise: float32 [B, H, W]; the layer's constant plane, drawn at init and held in the collection `noise`; or none."""
NOISES = ("random", "constant", "none")
SAMPLINGS = ("none", "up", "down")


def activate(x: jax.Array, bias: jax.Array, gain: float = 1.0, clamp: Any = 0.0) -> jax.Array:
    """Leaky ReLU 0.2 of x [B, ..., C] + bias [C], times sqrt(2) (which keeps the variance about the same) and `gain`, clamped as `clamped` does."""
    return clamped(
        nn.leaky_relu(x + per_channel(bias.astype(x.dtype), x.ndim), 0.2) * (sqrt(2) * gain),
        clamp,
        gain,
    )


def clamped(x: jax.Array, clamp: Any, gain: float = 1.0) -> jax.Array:
    """x kept within plus and minus `clamp` times `gain`; 0 for no limit."""
    return x if is_number(clamp) and clamp == 0 else jnp.clip(x, -clamp * gain, clamp * gain)


def second_moment_norm(x: jax.Array) -> jax.Array:
    """[B, F] -> [B, F], each row divided by its root mean square."""
    return x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-8)


class EqualDense(nn.Module):
    """Linear layer [B, I] -> [B, features], its kernel scaled by rate / sqrt(I), its bias by rate."""

    features: int
    active: bool = False
    """Followed by `activate`."""
    rate: float = 1.0
    """Learning rate as a multiple of the others'."""
    bias_init: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param(
            "kernel",
            initialisers.normal(1 / self.rate),
            (x.shape[-1], self.features),
            jnp.float32,
        )
        bias = (
            self.param(
                "bias", nn.initializers.constant(self.bias_init), (self.features,), jnp.float32
            )
            * self.rate
        )
        y = x.astype(self.dtype) @ (kernel * (self.rate / sqrt(x.shape[-1]))).astype(self.dtype)
        return (
            activate(y, bias) if self.active else y + per_channel(bias.astype(self.dtype), y.ndim)
        )


class EqualConv(nn.Module):
    """Convolution [B, H, W, I] -> [B, H', W', features] that keeps the size, its kernel scaled by 1 / sqrt(fan-in).

    sampling: "up" doubles the size after it (1x1 only), "down" halves it, both with the filter of `upsample_filtered`.
    """

    features: int
    kernel_size: int
    sampling: str = "none"
    active: bool = True
    """With bias and `activate`; else neither."""
    clamp: Any = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, gain: float = 1.0) -> jax.Array:
        require_choice("sampling", self.sampling, SAMPLINGS)
        require(
            self.sampling != "up" or self.kernel_size == 1, "only a 1x1 EqualConv doubles the size"
        )
        k, x = self.kernel_size, x.astype(self.dtype)
        kernel = self.param(
            "kernel", initialisers.normal(1.0), (k, k, x.shape[-1], self.features), jnp.float32
        )
        kernel = (kernel / sqrt(prod(kernel.shape[:3]))).astype(self.dtype)
        if self.sampling == "down" and k > 1:
            pad = k // 2
            y = conv2d(low_pass(x, BINOMIAL, (pad + 1, pad + 1)), kernel, 2)
        else:
            y = conv2d(downsample_filtered(x) if self.sampling == "down" else x, kernel, 1, k // 2)
        y = upsample_filtered(y) if self.sampling == "up" else y
        if not self.active:
            return clamped(y * gain, self.clamp, gain)
        return activate(
            y,
            self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32),
            gain,
            self.clamp,
        )


def modulated_conv(
    x: jax.Array, kernel: jax.Array, style: jax.Array, *, demodulate: bool = True, up: bool = False
) -> jax.Array:
    """Convolve each x [B, H, W, I] with a kernel [k, k, I, O] whose inputs are scaled by its style [B, I]; -> [B, H, W, O], twice the size if `up`.

    The scales are applied to the input, and the demodulation, which brings each output's kernel to norm 1, to the output: equal to a kernel for each
    example and, without grouped convolutions, many times faster. Source: Karras et al. 2020, section 2.2; up-sampling by a transposed convolution
    and the filter `BINOMIAL`.
    """
    y, half = x * style[:, None, None, :].astype(x.dtype), kernel.astype(x.dtype)
    if up:
        y = 4 * low_pass(conv_transpose2d(y, half, 2), BINOMIAL, (1, 1))
    else:
        y = conv2d(y, half, 1, kernel.shape[0] // 2)
    if demodulate:
        scale = jax.lax.rsqrt(style**2 @ jnp.sum(kernel**2, axis=(0, 1)) + 1e-8)
        y = y * scale[:, None, None, :].astype(x.dtype)
    return y


def noise_planes(
    noise: str, sizes: Sequence[tuple[int, int]], keys: jax.Array | None
) -> list[Planes]:
    """One `Planes` for each size. noise: "random", of which an example's are one draw from its key's stream "noise"; "constant"; "none".

    Raises ValueError for another noise, and for random noise without keys.
    """
    require_choice("noise", noise, NOISES)
    if noise != "random":
        return [None if noise == "none" else "constant"] * len(sizes)
    if keys is None:
        raise ValueError("random noise needs one key for each example")
    # All layers at once: a draw is much code, and one for each layer would be half of the program that is compiled.
    areas = [prod(size) for size in sizes]
    drawn = jax.vmap(lambda key: jax.random.normal(key, (sum(areas),), jnp.float32))(
        example_streams(keys, "noise")
    )
    return [
        part.reshape(-1, *size)
        for part, size in zip(
            jnp.split(drawn, list(accumulate(areas))[:-1], axis=1), sizes, strict=True
        )
    ]


class Noise(nn.Module):
    """Adds one plane of noise to x [B, H, W, C], scaled by a learned strength that starts at 0: one for all channels, or one for each."""

    per_channel: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, noise: Planes) -> jax.Array:
        strength = self.param(
            "strength",
            nn.initializers.zeros,
            (x.shape[-1],) if self.per_channel else (),
            jnp.float32,
        )
        if self.is_initializing() or isinstance(noise, str):
            constant = self.variable(
                "noise",
                "constant",
                lambda: initialisers.draw(self.make_rng("params"), x.shape[1:3]),
            )
            noise = constant.value[None]
        if noise is None:
            return x
        scale = per_channel(strength, 4) if self.per_channel else strength
        return x + (noise[..., None] * scale).astype(x.dtype)


class StyledConv(nn.Module):
    """Modulated convolution of x [B, H, W, I] by w [B, W], noise, bias, activation: -> [B, H, W, features], twice the size if `up`."""

    features: int
    up: bool = False
    clamp: Any = 0.0
    kernel_size: int = 3

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array, noise: Planes, gain: float = 1.0) -> jax.Array:
        k, inputs = self.kernel_size, x.shape[-1]
        style = EqualDense(inputs, bias_init=1.0, name="affine")(w)
        kernel = self.param(
            "kernel", initialisers.normal(1.0), (k, k, inputs, self.features), jnp.float32
        )
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        y = Noise(name="noise")(modulated_conv(x, kernel, style, up=self.up), noise)
        return activate(y, bias, gain, self.clamp)


class ToImage(nn.Module):
    """1x1 convolution of x [B, H, W, I], modulated by w [B, W] and not demodulated: -> [B, H, W, channels] in x's dtype."""

    channels: int
    clamp: Any = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array) -> jax.Array:
        inputs = x.shape[-1]
        style = EqualDense(inputs, bias_init=1.0, name="affine")(w) / sqrt(inputs)
        kernel = self.param(
            "kernel", initialisers.normal(1.0), (1, 1, inputs, self.channels), jnp.float32
        )
        bias = self.param("bias", nn.initializers.zeros, (self.channels,), jnp.float32)
        y = modulated_conv(x, kernel, style, demodulate=False)
        return clamped(y + per_channel(bias.astype(y.dtype), y.ndim), self.clamp)


class AdaIN(nn.Module):
    """Adaptive instance norm of x [B, H, W, C] by w [B, W]: every channel of every example at mean and spread that its style says (Karras et al. 2019)."""

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array) -> jax.Array:
        scale, shift = jnp.split(
            EqualDense(2 * x.shape[-1], name="affine")(w)[:, None, None, :], 2, axis=-1
        )
        y = InstanceNorm(1e-8, name="norm")(x) * (scale + 1) + shift
        return y.astype(x.dtype)


def with_batch_spread(x: jax.Array, group: int, axis_name: str | None) -> jax.Array:
    """x [B, H, W, C] -> [B, H, W, C + 1]: the last plane is the standard deviation over a group of examples, averaged over channels and pixels.

    Groups are of the global batch, over all devices: of n groups, group i holds the examples i, i + n, i + 2n, ... A batch smaller than `group` is one group.

    Raises:
      ValueError: the global batch is not a multiple of `group`.
    """
    whole = gather(x.astype(jnp.float32), axis_name)
    size = min(group, whole.shape[0])
    require(
        whole.shape[0] % size == 0,
        f"the batch over all devices ({whole.shape[0]}) must be a multiple of minibatch_std_group ({group})",
    )
    grouped = whole.reshape(size, -1, *whole.shape[1:])
    variance = jnp.mean((grouped - jnp.mean(grouped, axis=0, keepdims=True)) ** 2, axis=0)
    spread = jnp.tile(jnp.mean(jnp.sqrt(variance + 1e-8), axis=(1, 2, 3)), size)
    own = local_part(spread, axis_name).astype(x.dtype)
    plane = jnp.broadcast_to(own[:, None, None, None], (*x.shape[:3], 1))
    return jnp.concatenate([x, plane], axis=-1)
