"""Winograd's convolutions, which multiply less: the form of `jaxgan.nn.conv_forms` for kernels with many channels on CPU.

Two neighbouring outputs of a kernel of r taps see n = r + 1 inputs. A direct convolution multiplies 2 r times, Winograd's n times: of inputs d and a kernel g
the outputs are y = A^T [(G g) * (B^T d)] with the small matrices below. Rows and columns at once, a tile of 2x2 outputs takes n^2 multiplications instead of
4 r^2: 16 instead of 36 for 3x3 kernels, 9 instead of 16 for 2x2 ones. They are n^2 matrix products over channels, and both gradients are as cheap. Source:
Lavin & Gray 2015, section 4.1. The matrices hold nothing but 0, 1, -1 and 1/2, so that results differ from a direct convolution's by rounding only, by about
1e-6 of the largest. Larger tiles would save more and round worse.

A 4x4 kernel with stride 2 is a 2x2 kernel with stride 1 once each square of 2x2 pixels is folded into channels. With stride 1 it is one as well, once each
pixel has its neighbours two rows below, two columns to the right, and both, beside it as channels.

The kernel G g G^T is the same for the convolution and its gradient in the images, so that a step computes it once however often it uses a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgan.nn.channels import apart, beside
from jaxgan.nn.geometry import Geometry, Pair, pad

Matrix = tuple[tuple[float, ...], ...]


class _Matrices(NamedTuple):
    inputs: Matrix
    """B^T [n, n]."""
    kernel: Matrix
    """G [n, r]."""
    outputs: Matrix
    """A^T [2, n]."""

    def flipped(self) -> _Matrices:
        """For the kernel with its taps in opposite order, whose G g has the same rows in another order: the other two take that order instead."""
        order = [self.kernel.index(row[::-1]) for row in self.kernel]
        return _Matrices(tuple(self.inputs[i] for i in order), self.kernel, tuple(tuple(row[i] for i in order) for row in self.outputs))


_MATRICES = {
    2: _Matrices(((1, -1, 0), (0, 1, 0), (0, -1, 1)), ((1, 0), (1, 1), (0, 1)), ((1, 1, 0), (0, 1, 1))),
    3: _Matrices(
        ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
        ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)),
        ((1, 1, 1, 0), (0, 1, -1, -1)),
    ),
}

FITTING = (((3, 3), (1, 1)), ((4, 4), (1, 1)), ((4, 4), (2, 2)))
"""Sizes of kernels, and strides."""


def fits(geometry: Geometry) -> bool:
    """Whether the kernel has a size and stride that this can compute."""
    return (geometry.kernel_size, geometry.strides) in FITTING


def widening(geometry: Geometry) -> int:
    """How many times as many channels the images have as they are computed with, for what `fits`."""
    return 4 if geometry.kernel_size == (4, 4) else 1


def winograd_forward(geometry: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution [B, H', W', O] of x [B, H, W, I]; kernels as the geometry says. For what `fits`."""
    if _joins(geometry):
        return winograd_forward(_joined_geometry(geometry), _joined(geometry, x), _joined_kernel(geometry, kernel))
    folds, (rows, columns) = _fold(geometry), geometry.output_size
    x, kernel = _folded(pad(x, _whole_padding(geometry)), folds), _folded_kernel(geometry, kernel)
    matrices, size = _MATRICES[kernel.shape[0]], _tiles(rows, columns)
    made = jnp.einsum("npi,noi->npo" if geometry.turned else "npi,nio->npo", _seen(matrices, x, size), _kernel_points(matrices, kernel))
    return _woven(matrices, made, (x.shape[0], *size))[:, :rows, :columns]


def winograd_input_gradient(geometry: Geometry, g: jax.Array, kernel: jax.Array) -> jax.Array:
    """Its gradient in x [B, H, W, I], given that of its result, g [B, H', W', O]."""
    if _joins(geometry):
        return _unjoined(geometry, winograd_input_gradient(_joined_geometry(geometry), g, _joined_kernel(geometry, kernel)))
    side, kernel = _fold(geometry), _folded_kernel(geometry, kernel)
    taps, sizes = kernel.shape[0], list(zip(geometry.input_size, geometry.output_size, geometry.padding))
    # Of the squares of pixels (or the pixels) of padded images, those that are padding only are never computed.
    skipped = [low // side for _, _, (low, _) in sizes]
    rows, columns = (-(-(low + n) // side) - skip for (n, _, (low, _)), skip in zip(sizes, skipped))
    around = [(taps - 1 - skip, count - m + skip) for (_, m, _), skip, count in zip(sizes, skipped, (rows, columns))]
    matrices, size = _MATRICES[taps].flipped(), _tiles(rows, columns)
    seen = _seen(matrices, pad(g, around), size)
    made = jnp.einsum("npo,noi->npi" if geometry.turned else "npo,nio->npi", seen, _kernel_points(matrices, kernel))
    slopes = _unfolded(_woven(matrices, made, (g.shape[0], *size))[:, :rows, :columns], side)
    lows = [low - skip * side for (_, _, (low, _)), skip in zip(sizes, skipped)]
    return pad(slopes, [(-low, n + low - m) for low, n, m in zip(lows, geometry.input_size, slopes.shape[1:3])])


def winograd_kernel_gradient(geometry: Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    """Its gradient in the kernel, held as the geometry says."""
    if _joins(geometry):
        return _unjoined_kernel(geometry, winograd_kernel_gradient(_joined_geometry(geometry), _joined(geometry, x), g))
    x = _folded(pad(x, _whole_padding(geometry)), _fold(geometry))
    matrices, (rows, columns) = _MATRICES[x.shape[1] - g.shape[1] + 1], _tiles(*geometry.output_size)
    n = len(matrices.inputs)
    blocks = _blocks(rows, 4 * n * n * columns, x, g)
    rows = -(-rows // blocks)  # of tiles, in a block
    x = pad(x, ((0, 2 * blocks * rows + n - 2 - x.shape[1]), (0, 0)))
    g = pad(g, [(0, 2 * count - side) for count, side in zip((blocks * rows, columns), geometry.output_size)])

    def add(block: jax.Array | int, made: jax.Array) -> jax.Array:
        seen, slopes = (jax.lax.dynamic_slice_in_dim(one, 2 * rows * block, size, 1) for one, size in ((x, 2 * rows + n - 2), (g, 2 * rows)))
        slopes = slopes.reshape(g.shape[0], rows, 2, columns, 2, g.shape[3]).transpose(2, 4, 0, 1, 3, 5)
        slopes = _points(_transposed(matrices.outputs), slopes).reshape(n * n, -1, g.shape[3])
        return made + jnp.einsum("npi,npo->noi" if geometry.turned else "npi,npo->nio", _seen(matrices, seen, (rows, columns)), slopes)

    none = jnp.zeros((n * n, g.shape[3], x.shape[3]) if geometry.turned else (n * n, x.shape[3], g.shape[3]), g.dtype)
    made = jax.lax.fori_loop(0, blocks, add, none) if blocks > 1 else add(0, none)
    back = _points(_transposed(matrices.kernel), made.reshape(n, n, *made.shape[1:]))
    return _unfolded_kernel(geometry, back.reshape(-1, *back.shape[2:]))


_BLOCK = 16 << 20
"""Bytes of transformed images and gradients that are laid out at a time, so that they stay in the processor's cache."""


def _blocks(rows: int, row_bytes: int, x: jax.Array, g: jax.Array) -> int:
    """In how many blocks of rows of tiles a kernel's gradient is made, preferably equal ones. row_bytes: of a row, for one image and channel.

    Measured on two cores, 3x3 kernels: 1.1 to 1.5 times faster than all at once where that is more than a few blocks.
    """
    inputs, outputs = x.shape[3], g.shape[3]
    if not isinstance(x.shape[0], int):  # any batch, as in a program that is exported
        return 1
    least = min(rows, -(-rows * row_bytes * x.shape[0] * (inputs + outputs) // _BLOCK))
    return next((count for count in range(least, 2 * least) if rows % count == 0), least)


# ------------------------------------------------------------------------------------------------------------- the transforms


def _tiles(rows: int, columns: int) -> Pair:
    """How many tiles of 2x2 outputs an image has, the last ones perhaps not whole."""
    return -(-rows // 2), -(-columns // 2)


def _seen(matrices: _Matrices, x: jax.Array, size: Pair) -> jax.Array:
    """B^T d B of all tiles: [n^2, B tiles, I]. Zeros at the bottom and right complete the last tiles."""
    (rows, columns), n = size, len(matrices.inputs)
    x = pad(x, ((0, 2 * rows + n - 2 - x.shape[1]), (0, 2 * columns + n - 2 - x.shape[2])))
    across = jnp.stack(_combined(matrices.inputs, [x[:, u : u + 2 * rows - 1 : 2] for u in range(n)]))
    seen = jnp.stack(_combined(matrices.inputs, [across[:, :, :, v : v + 2 * columns - 1 : 2] for v in range(n)]), 1)
    return seen.reshape(n * n, -1, x.shape[3])


def _kernel_points(matrices: _Matrices, kernel: jax.Array) -> jax.Array:
    """G g G^T: [n^2, I, O]."""
    points = _points(matrices.kernel, kernel)
    return points.reshape(-1, *points.shape[2:])


def _woven(matrices: _Matrices, made: jax.Array, tiles: tuple[int, int, int]) -> jax.Array:
    """A^T m A of all tiles [n^2, B tiles, O] in their places: [B, 2 rows of tiles, 2 columns of tiles, O]."""
    count = len(matrices.inputs)
    pairs = _points(matrices.outputs, made.reshape(count, count, *tiles, made.shape[2]))
    woven = pairs.transpose(2, 3, 0, 4, 1, 5)
    return woven.reshape(tiles[0], 2 * tiles[1], 2 * tiles[2], made.shape[2])


def _points(matrix: Matrix, parts: jax.Array) -> jax.Array:
    """matrix parts matrix^T of parts [rows, columns, ...]."""
    down = jnp.stack(_combined(matrix, parts))
    return jnp.stack(_combined(matrix, down.swapaxes(0, 1)), 1)


def _combined(matrix: Matrix, parts: Sequence[jax.Array] | jax.Array) -> list[jax.Array]:
    """Of each row of the matrix, the sum of the parts that it weights."""
    made = []
    for row in matrix:
        weighted = [part if weight == 1 else -part if weight == -1 else weight * part for weight, part in zip(row, parts) if weight]
        made.append(sum(weighted[1:], weighted[0]))
    return made


def _transposed(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


# ---------------------------------------------------------------------------------------------------------- stride 2, by folding


def _fold(geometry: Geometry) -> int:
    """The side of the squares that are folded into channels: the stride."""
    return geometry.strides[0]


def _whole_padding(geometry: Geometry) -> list[Pair]:
    """Padding around x, without rows that no output reads, for which it is whole squares."""
    side = _fold(geometry)
    taps = [k // side for k in geometry.kernel_size]
    return [(low, (m + k - 1) * side - n - low) for (low, _), m, k, n in zip(geometry.padding, geometry.output_size, taps, geometry.input_size)]


def _folded(x: jax.Array, side: int) -> jax.Array:
    """x [B, H, W, C] -> [B, H / side, W / side, side side C]."""
    if side == 1:
        return x
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // side, side, width // side, side, channels).transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // side, width // side, -1)


def _unfolded(x: jax.Array, side: int) -> jax.Array:
    """The inverse of `_folded`."""
    if side == 1:
        return x
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, side, side, channels // side**2).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, height * side, width * side, -1)


def _folded_kernel(geometry: Geometry, kernel: jax.Array) -> jax.Array:
    """The kernel for folded images, held as before: [kh / side, kw / side, side side I, O], or with the last two the other way around."""
    side = _fold(geometry)
    if side == 1:
        return kernel
    rows, columns, first, second = kernel.shape
    kernel = kernel.reshape(rows // side, side, columns // side, side, first, second)
    if geometry.turned:
        return kernel.transpose(0, 2, 4, 1, 3, 5).reshape(rows // side, columns // side, first, -1)
    return kernel.transpose(0, 2, 1, 3, 4, 5).reshape(rows // side, columns // side, -1, second)


def _unfolded_kernel(geometry: Geometry, points: jax.Array) -> jax.Array:
    """From the taps of a folded kernel [taps, side side I, O], or turned, to a kernel as the geometry holds it."""
    side, (rows, columns) = _fold(geometry), geometry.kernel_size
    taps, (first, second) = (rows // side, columns // side), points.shape[1:]
    if side == 1:
        return points.reshape(*taps, first, second)
    if geometry.turned:
        return points.reshape(*taps, first, side, side, -1).transpose(0, 3, 1, 4, 2, 5).reshape(rows, columns, first, -1)
    return points.reshape(*taps, side, side, -1, second).transpose(0, 2, 1, 3, 4, 5).reshape(rows, columns, -1, second)


# ----------------------------------------------------------------------------------------------------- 4x4 with stride 1, by joining

_SHIFTS = ((0, 0), (0, 2), (2, 0), (2, 2))
"""Rows and columns from a pixel to those that become its channels."""


def _joins(geometry: Geometry) -> bool:
    return (geometry.kernel_size, geometry.strides) == ((4, 4), (1, 1))


def _joined_geometry(geometry: Geometry) -> Geometry:
    rows, columns = geometry.output_size
    return geometry._replace(input_size=(rows + 1, columns + 1), kernel_size=(2, 2), padding=((0, 0), (0, 0)))


def _joined(geometry: Geometry, x: jax.Array) -> jax.Array:
    """x [B, H, W, C] -> [B, H' + 1, W' + 1, 4 C]."""
    x, (rows, columns) = pad(x, geometry.trimmed_padding()), geometry.output_size
    return beside([x[:, down : down + rows + 1, right : right + columns + 1] for down, right in _SHIFTS])


def _unjoined(geometry: Geometry, slopes: jax.Array) -> jax.Array:
    """The gradient in x of `_joined`, given that of its result."""
    (top, bottom), (left, right) = geometry.trimmed_padding()
    parts = zip(_SHIFTS, apart(slopes, 4), strict=True)
    first, *rest = (pad(part, ((u - top, 2 - u - bottom), (v - left, 2 - v - right))) for (u, v), part in parts)
    return sum(rest, first)


def _joined_kernel(geometry: Geometry, kernel: jax.Array) -> jax.Array:
    """[4, 4, I, O] -> [2, 2, 4 I, O], or turned."""
    return jnp.concatenate([kernel[u : u + 2, v : v + 2] for u, v in _SHIFTS], 3 if geometry.turned else 2)


def _unjoined_kernel(geometry: Geometry, kernel: jax.Array) -> jax.Array:
    """The inverse of `_joined_kernel`."""
    first, second, third, fourth = jnp.split(kernel, 4, 3 if geometry.turned else 2)
    return jnp.concatenate([jnp.concatenate([first, second], 1), jnp.concatenate([third, fourth], 1)], 0)
