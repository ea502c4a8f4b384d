"""Winograd's convolutions, which multiply less: a form of `jaxgan.nn.convolution.forms` and `.kernel_gradients` for kernels with many channels on CPU.

m neighbouring outputs of a kernel of r taps see n = m + r - 1 inputs. A direct convolution multiplies m r times, Winograd's n times: of inputs d and a kernel
g the outputs are y = A^T [(G g) * (B^T d)] with the small matrices of `_matrices`. Rows and columns at once, a tile of m x m outputs takes n^2 multiplications
instead of m^2 r^2; with m = 2, 9 instead of 16 for 2x2 kernels, 16 instead of 36 for 3x3 ones, 25 instead of 64 for 4x4 ones. They are n^2 matrix products
over channels, and both gradients are as cheap. Source: Lavin & Gray 2015, section 4.1. Results differ from a direct convolution's by rounding only, by about
1e-6 of the largest, up to 4e-6 for 4x4 kernels.

A 4x4 kernel with stride 2 is a 2x2 kernel with stride 1 once each square of 2x2 pixels is folded into channels.

The kernel G g G^T is the same for the convolution and its gradient in the images, so that a step computes it once however often it uses a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from math import prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.nn.convolution.geometry import Geometry, Pair, pad

Matrix = tuple[tuple[Fraction, ...], ...]


class _Matrices(NamedTuple):
    inputs: Matrix
    """B^T [n, n]."""
    kernel: Matrix
    """G [n, r]."""
    outputs: Matrix
    """A^T [m, n]."""

    @property
    def tile(self) -> int:
        """m: neighbouring outputs that are made at once."""
        return len(self.outputs)


_HALF = Fraction(1, 2)
_POINTS: dict[int, tuple[tuple[Fraction | int, ...], ...]] = {
    2: ((0, 1), (0, 1, -1)),
    3: ((0, 1, -1),),
    4: ((0, 1, -2, -_HALF),),
}
"""By the number of taps: where polynomials are evaluated, besides at infinity; one more point is one more output in a tile. Four points round worse than
three, these the least of those tried. Of tiles with more outputs, 3x3 for 3 taps was not faster, 4x4 rounds eight times as badly; 3x3 for 4 taps twice."""

FITTING = (((3, 3), (1, 1)), ((4, 4), (1, 1)), ((4, 4), (2, 2)))
"""Sizes of kernels, and strides."""


def _matrices(geometry: Geometry, flipped: bool = False) -> _Matrices:
    """Those with the fewest products for images of this size; the same for a convolution and its gradients."""
    taps = geometry.kernel_size[0] // _fold(geometry)
    choices = [_with_points(points, taps) for points in _POINTS[taps]]
    fewest = min(
        range(len(choices)),
        key=lambda i: len(choices[i].inputs) ** 2 * prod(_tiles(choices[i], *geometry.output_size)),
    )
    return _with_points(_POINTS[taps][fewest], taps, flipped)


@cache
def _with_points(places: Sequence[Fraction | int], taps: int, flipped: bool = False) -> _Matrices:
    """The matrices of a kernel of so many taps. flipped: of the kernel with these in opposite order, from the same G g."""
    points = [Fraction(place) for place in places]
    made = _cook_toom(points, taps)
    if not flipped:
        return made
    # Coefficients in opposite order give at 1 / p what the others give at p, but for a factor; those at 0 are those at infinity.
    other = _cook_toom([1 / point if point else point for point in points], taps)
    order = [len(points), *range(1, len(points)), 0]
    factors = [
        next(theirs / ours for theirs, ours in zip(other.kernel[i][::-1], row) if ours)
        for i, row in zip(order, made.kernel)
    ]
    inputs = tuple(tuple(factor * x for x in other.inputs[i]) for i, factor in zip(order, factors))
    return _Matrices(
        inputs, made.kernel, tuple(tuple(row[i] for i in order) for row in other.outputs)
    )


def _cook_toom(points: Sequence[Fraction], taps: int) -> _Matrices:
    """The matrices for as many outputs as points let, by Cook and Toom's product of polynomials, of which a convolution is the transpose.

    The product is found from its values. At a point p, that of a kernel's polynomial is the row 1, p, p^2, ... of G; at infinity, its last coefficient.
    Lagrange's polynomials lead back, each 0 at all other points. What it is at its own is divided by in G, so that B^T holds few fractions.
    """
    tile = len(points) + 2 - taps
    others = [[other for other in points if other != point] for point in points]
    inputs = [(*_with_roots(roots), Fraction(0)) for roots in others] + [_with_roots(points)]
    own = [prod(point - root for root in roots) for point, roots in zip(points, others)]
    kernel = [
        tuple(value / whole for value in _powers(point, taps)) for point, whole in zip(points, own)
    ] + [_powers(None, taps)]
    outputs = [_powers(point, tile) for point in (*points, None)]
    return _Matrices(tuple(inputs), tuple(kernel), _transposed(tuple(outputs)))


def _powers(point: Fraction | None, count: int) -> tuple[Fraction, ...]:
    """1, p, p^2, ... for a point p; at infinity (None) 0, ..., 0, 1."""
    return tuple(Fraction(i == count - 1) if point is None else point**i for i in range(count))


def _with_roots(roots: Sequence[Fraction]) -> tuple[Fraction, ...]:
    """Coefficients of the product of all x - root, the constant one first."""
    made: tuple[Fraction, ...] = (Fraction(1),)
    for root in roots:
        made = tuple(
            above - root * here for above, here in zip((Fraction(0), *made), (*made, Fraction(0)))
        )
    return made


def fits(geometry: Geometry) -> bool:
    """Whether the kernel has a size and stride that this can compute."""
    return (geometry.kernel_size, geometry.strides) in FITTING


def widening(geometry: Geometry) -> int:
    """How many times as many channels the images have as they are computed with, for what `fits`."""
    return _fold(geometry) ** 2


def winograd_forward(geometry: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution [B, H', W', O] of x [B, H, W, I]; kernels as the geometry says. For what `fits`."""
    folds, (rows, columns) = _fold(geometry), geometry.output_size
    x, kernel = _folded(pad(x, _whole_padding(geometry)), folds), _folded_kernel(geometry, kernel)
    matrices = _matrices(geometry)
    size = _tiles(matrices, rows, columns)
    made = jnp.einsum(
        "npi,noi->npo" if geometry.turned else "npi,nio->npo",
        _seen(matrices, x, size),
        _kernel_points(matrices, kernel),
    )
    return _woven(matrices, made, (x.shape[0], *size))[:, :rows, :columns]


def winograd_input_gradient(geometry: Geometry, g: jax.Array, kernel: jax.Array) -> jax.Array:
    """Its gradient in x [B, H, W, I], given that of its result, g [B, H', W', O]."""
    side, kernel = _fold(geometry), _folded_kernel(geometry, kernel)
    taps, sizes = (
        kernel.shape[0],
        list(zip(geometry.input_size, geometry.output_size, geometry.padding)),
    )
    # Of the squares of pixels (or the pixels) of padded images, those that are padding only are never computed.
    skipped = [low // side for _, _, (low, _) in sizes]
    rows, columns = (-(-(low + n) // side) - skip for (n, _, (low, _)), skip in zip(sizes, skipped))
    around = [
        (taps - 1 - skip, count - m + skip)
        for (_, m, _), skip, count in zip(sizes, skipped, (rows, columns))
    ]
    matrices = _matrices(geometry, flipped=True)
    size = _tiles(matrices, rows, columns)
    seen = _seen(matrices, pad(g, around), size)
    made = jnp.einsum(
        "npo,noi->npi" if geometry.turned else "npo,nio->npi",
        seen,
        _kernel_points(matrices, kernel),
    )
    slopes = _unfolded(_woven(matrices, made, (g.shape[0], *size))[:, :rows, :columns], side)
    lows = [low - skip * side for (_, _, (low, _)), skip in zip(sizes, skipped)]
    return pad(
        slopes,
        [(-low, n + low - m) for low, n, m in zip(lows, geometry.input_size, slopes.shape[1:3])],
    )


def winograd_kernel_gradient(geometry: Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    """Its gradient in the kernel, held as the geometry says."""
    x = _folded(pad(x, _whole_padding(geometry)), _fold(geometry))
    matrices = _matrices(geometry)
    n, tile, (rows, columns) = (
        len(matrices.inputs),
        matrices.tile,
        _tiles(matrices, *geometry.output_size),
    )
    blocks = _blocks(rows, 4 * n * n * columns, x, g)
    rows = -(-rows // blocks)  # of tiles, in a block
    x = pad(x, ((0, blocks * rows * tile + n - tile - x.shape[1]), (0, 0)))
    g = pad(
        g,
        [
            (0, tile * count - side)
            for count, side in zip((blocks * rows, columns), geometry.output_size)
        ],
    )

    def add(block: jax.Array | int, made: jax.Array) -> jax.Array:
        sizes = ((x, rows * tile + n - tile), (g, rows * tile))
        seen, slopes = (
            jax.lax.dynamic_slice_in_dim(one, rows * tile * block, size, 1) for one, size in sizes
        )
        slopes = slopes.reshape(g.shape[0], rows, tile, columns, tile, g.shape[3]).transpose(
            2, 4, 0, 1, 3, 5
        )
        slopes = _points(_transposed(matrices.outputs), slopes).reshape(n * n, -1, g.shape[3])
        return made + jnp.einsum(
            "npi,npo->noi" if geometry.turned else "npi,npo->nio",
            _seen(matrices, seen, (rows, columns)),
            slopes,
        )

    none = jnp.zeros(
        (n * n, g.shape[3], x.shape[3]) if geometry.turned else (n * n, x.shape[3], g.shape[3]),
        g.dtype,
    )
    made = jax.lax.fori_loop(0, blocks, add, none) if blocks > 1 else add(0, none)
    back = _both_sides(matrices.kernel, made).T @ made.reshape(n * n, -1)
    return _unfolded_kernel(geometry, back.reshape(-1, *made.shape[1:]))


_BLOCK = 24 << 20
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


def _tiles(matrices: _Matrices, rows: int, columns: int) -> Pair:
    """How many tiles of outputs an image has, the last ones perhaps not whole."""
    return -(-rows // matrices.tile), -(-columns // matrices.tile)


def _seen(matrices: _Matrices, x: jax.Array, size: Pair) -> jax.Array:
    """B^T d B of all tiles: [n^2, B tiles, I]. Zeros at the bottom and right complete the last tiles."""
    n, tile, (rows, columns) = len(matrices.inputs), matrices.tile, size
    x = pad(x, [(0, tile * count + n - tile - side) for count, side in zip(size, x.shape[1:3])])
    across = jnp.stack(
        _combined(matrices.inputs, [x[:, u : u + tile * (rows - 1) + 1 : tile] for u in range(n)])
    )
    seen = jnp.stack(
        _combined(
            matrices.inputs,
            [across[:, :, :, v : v + tile * (columns - 1) + 1 : tile] for v in range(n)],
        ),
        1,
    )
    return seen.reshape(n * n, -1, x.shape[3])


def _kernel_points(matrices: _Matrices, kernel: jax.Array) -> jax.Array:
    """G g G^T: [n^2, I, O]."""
    taps = kernel.reshape(-1, kernel.shape[2] * kernel.shape[3])
    return (_both_sides(matrices.kernel, kernel) @ taps).reshape(-1, *kernel.shape[2:])


def _both_sides(matrix: Matrix, like: jax.Array) -> jax.Array:
    """What a flattened p becomes matrix p matrix^T by. As one product, a kernel's transform is 2 to 3 times faster than as sums."""
    side = np.array(matrix, np.float64)
    return jnp.asarray(np.kron(side, side), like.dtype)


def _woven(matrices: _Matrices, made: jax.Array, tiles: tuple[int, int, int]) -> jax.Array:
    """A^T y A of all tiles y [n^2, B tiles, O] in their places: [B, m rows of tiles, m columns of tiles, O]."""
    n, tile = len(matrices.inputs), matrices.tile
    outputs = _points(matrices.outputs, made.reshape(n, n, *tiles, made.shape[2]))
    return outputs.transpose(2, 3, 0, 4, 1, 5).reshape(
        tiles[0], tile * tiles[1], tile * tiles[2], made.shape[2]
    )


def _points(matrix: Matrix, parts: jax.Array) -> jax.Array:
    """matrix parts matrix^T of parts [rows, columns, ...]."""
    down = jnp.stack(_combined(matrix, parts))
    return jnp.stack(_combined(matrix, down.swapaxes(0, 1)), 1)


def _combined(matrix: Matrix, parts: Sequence[jax.Array] | jax.Array) -> list[jax.Array]:
    """Of each row of the matrix, the sum of the parts that it weights."""
    made = []
    for row in matrix:
        weighted = [
            part if weight == 1 else -part if weight == -1 else float(weight) * part
            for weight, part in zip(row, parts)
            if weight
        ]
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
    return [
        (low, (m + k - 1) * side - n - low)
        for (low, _), m, k, n in zip(
            geometry.padding, geometry.output_size, taps, geometry.input_size
        )
    ]


def _folded(x: jax.Array, side: int) -> jax.Array:
    """x [B, H, W, C] -> [B, H / side, W / side, side side C]."""
    if side == 1:
        return x
    batch, height, width, channels = x.shape
    return (
        x.reshape(batch, height // side, side, width // side, side, channels)
        .transpose(0, 1, 3, 2, 4, 5)
        .reshape(batch, height // side, width // side, -1)
    )


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
        return (
            points.reshape(*taps, first, side, side, -1)
            .transpose(0, 3, 1, 4, 2, 5)
            .reshape(rows, columns, first, -1)
        )
    return (
        points.reshape(*taps, side, side, -1, second)
        .transpose(0, 2, 1, 3, 4, 5)
        .reshape(rows, columns, -1, second)
    )
