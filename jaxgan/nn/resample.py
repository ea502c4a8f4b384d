"""Changing the size of feature maps [B, H, W, C] by factors of two, and low-pass filters in front of and behind it."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.errors import require_choice


def upsample_nearest(x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, 2H, 2W, C], every pixel repeated. Broadcasting: far faster on CPU than `jax.image.resize` and its gradient."""
    batch, height, width, channels = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None, :], (batch, height, 2, width, 2, channels))
    return x.reshape(batch, 2 * height, 2 * width, channels)


def _double(x: jax.Array, axis: int, edge: float) -> jax.Array:
    """Twice the length along `axis`; each new pixel is 3/4 of the nearest and 1/4 of the next one, which beyond the border is `edge` times the border's."""
    length = x.shape[axis]
    before = jnp.concatenate(
        [
            edge * jax.lax.slice_in_dim(x, 0, 1, axis=axis),
            jax.lax.slice_in_dim(x, 0, length - 1, axis=axis),
        ],
        axis,
    )
    after = jnp.concatenate(
        [
            jax.lax.slice_in_dim(x, 1, length, axis=axis),
            edge * jax.lax.slice_in_dim(x, length - 1, length, axis=axis),
        ],
        axis,
    )
    pairs = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis=axis + 1)
    return pairs.reshape(*x.shape[:axis], 2 * length, *x.shape[axis + 1 :])


def upsample_bilinear(x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, 2H, 2W, C], linear interpolation with half-pixel centres (PyTorch's align_corners=False)."""
    return _double(_double(x, 1, 1.0), 2, 1.0)


def upsample(x: jax.Array, method: str) -> jax.Array:
    """[B, H, W, C] -> [B, 2H, 2W, C] by `method`, "nearest" or "bilinear". Raises ValueError for others."""
    require_choice("upsampling", method, ("nearest", "bilinear"))
    return upsample_nearest(x) if method == "nearest" else upsample_bilinear(x)


def average_pool(x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, H/2, W/2, C], mean of each 2x2 square. By reshape: its gradient is a broadcast."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))


def max_pool(x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, H // 2, W // 2, C], maximum of each 2x2 square; an odd row or column at the end is left out. Equal pixels share the gradient."""
    batch, height, width, channels = (
        side if axis in (0, 3) else side // 2 for axis, side in enumerate(x.shape)
    )
    return x[:, : 2 * height, : 2 * width].reshape(batch, height, 2, width, 2, channels).max((2, 4))


def overlapping_average_pool(x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, ceil(H/2), ceil(W/2), C], mean of 3x3 squares around every other pixel; what lies outside does not count.

    PyTorch's avg_pool2d(x, 3, 2, 1, count_include_pad=False). By shifted sums: their gradient is fast on CPU.
    """
    for axis in (1, 2):
        x = _overlapping_mean(x, axis)
    return x


def _overlapping_mean(x: jax.Array, axis: int) -> jax.Array:
    length = x.shape[axis]
    outputs, odd = (length + 1) // 2, length % 2
    middle, other = (jax.lax.slice_in_dim(x, start, length, 2, axis) for start in (0, 1))

    def shifted(low: int, high: int) -> jax.Array:
        return jax.lax.pad(
            other,
            jnp.zeros((), x.dtype),
            [(low, high, 0) if i == axis else (0, 0, 0) for i in range(x.ndim)],
        )

    counts = np.full(outputs, 3.0)
    counts[0] -= 1
    counts[-1] -= odd
    return (shifted(1, odd - 1) + middle + shifted(0, odd)) / counts.astype(x.dtype).reshape(
        [-1 if i == axis else 1 for i in range(x.ndim)]
    )


# -------------------------------------------------------------------------------------------------------------------- filters

BINOMIAL = (1.0, 3.0, 3.0, 1.0)
"""The low-pass filter of StyleGAN2 along each axis, before it is normalised."""


def low_pass(
    x: jax.Array, taps: Sequence[float], padding: tuple[int, int], stride: int = 1
) -> jax.Array:
    """[B, H, W, C] -> [B, H', W', C], filtered along rows and columns with taps / sum(taps), of which every `stride`-th value is kept.

    H' = (H + low + high - len(taps)) // stride + 1 for padding (low, high), by zeros. As sums of shifted images, separably: on CPU many times faster
    than a depthwise convolution, and its gradient too. With symmetric taps it is upfirdn2d of StyleGAN2 with up=1.
    """
    total = sum(taps)
    weights = [tap / total for tap in taps]
    return _filter(_filter(x, 1, weights, padding, stride), 2, weights, padding, stride)


def _filter(
    x: jax.Array, axis: int, weights: Sequence[float], padding: tuple[int, int], stride: int
) -> jax.Array:
    pads = [(0, 0)] * x.ndim
    pads[axis] = padding
    x = jnp.pad(x, pads)
    span = (x.shape[axis] - len(weights)) // stride * stride + 1
    first, *rest = (
        weight * jax.lax.slice_in_dim(x, k, k + span, stride, axis)
        for k, weight in enumerate(weights)
    )
    return sum(rest, first)


def upsample_filtered(x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, 2H, 2W, C]: zeros between the pixels, then `BINOMIAL` with gain 4, as upsample2d of StyleGAN2. Inside, it is bilinear."""
    return _double(_double(x, 1, 0.0), 2, 0.0)


def downsample_filtered(x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, H/2, W/2, C]: `BINOMIAL`, then every other pixel, as downsample2d of StyleGAN2."""
    return low_pass(x, BINOMIAL, (1, 1), 2)
