"""The sizes of a convolution, zeros around images, and what taps of a kernel meet: what all forms of `jaxgan.nn.convolution` share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

Pair = tuple[int, int]

CANONICAL = ("NHWC", "HWIO", "NHWC")
"""How a convolution holds images, kernel and result: the one way that a CPU computes fast."""


class Geometry(NamedTuple):
    """The static side of one (mirrored) convolution: sizes of its input [H, W], its output and its kernel."""

    input_size: Pair
    output_size: Pair
    kernel_size: Pair
    strides: Pair
    padding: tuple[Pair, Pair]
    turned: bool = False
    """Whether kernels are held as [kh, kw, O, I]: those of transposed convolutions, which would have to be turned in memory otherwise."""

    def spread_padding(self) -> list[Pair]:
        """Padding around g, spread out by the strides, for which a convolution with the flipped kernel has the input's size. Can be negative."""
        return [(k - 1 - low, n + low - (m - 1) * s - 1) for n, m, k, s, (low, _) in zip(*self[:5])]

    def trimmed_padding(self) -> list[Pair]:
        """Padding around x without the rows that no output reads, so that strides divide the rest. Can be negative."""
        return [(low, k + (m - 1) * s - n - low) for n, m, k, s, (low, _) in zip(*self[:5])]


def turn(geometry: Geometry, kernel: jax.Array) -> jax.Array:
    """From the way kernels are held to [kh, kw, I, O], or back."""
    return kernel.swapaxes(2, 3) if geometry.turned else kernel


def wide(dtype: Any) -> Any:
    """The type that sums of numbers of a floating `dtype` are made in: float32, or `dtype` where that is wider."""
    return jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype


def pad(x: jax.Array, pads: Sequence[Pair], strides: Pair = (1, 1)) -> jax.Array:
    """Zeros around (or, where negative, cropping of) rows and columns of x [B, H, W, C], and strides - 1 zeros between them."""
    rows, columns = ((low, high, s - 1) for (low, high), s in zip(pads, strides))
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), rows, columns, (0, 0, 0)))


def each_tap(geometry: Geometry, x: jax.Array) -> list[jax.Array]:
    """For each tap, in order, what it meets: [B, H', W', I]."""
    (kh, kw), (sh, sw), (rows, columns) = (
        geometry.kernel_size,
        geometry.strides,
        geometry.output_size,
    )
    x = pad(x, geometry.trimmed_padding())
    return [
        x[:, u : u + (rows - 1) * sh + 1 : sh, v : v + (columns - 1) * sw + 1 : sw]
        for u in range(kh)
        for v in range(kw)
    ]


def taken_back(geometry: Geometry, g: jax.Array, u: int, v: int) -> jax.Array:
    """The transpose of one of `each_tap`: every pixel of g [B, H', W', C] where tap (u, v) met it, [B, H, W, C]."""
    lows = [tap - low for tap, (low, _) in zip((u, v), geometry.padding)]
    pads = [
        (low, n - low - (m - 1) * s - 1)
        for low, n, m, s in zip(lows, geometry.input_size, geometry.output_size, geometry.strides)
    ]
    return pad(g, pads, geometry.strides)


def seen_by_taps(geometry: Geometry, x: jax.Array) -> jax.Array:
    """x [B, H, W, I] -> [kh kw, B H' W', I]: what each tap of the kernel meets at every output pixel."""
    return jnp.stack([flat(seen) for seen in each_tap(geometry, x)])


def flat(x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B H W, C]."""
    return x.reshape(-1, x.shape[3])
