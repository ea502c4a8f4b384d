"""Moving pixels by an affine map: exactly, for flips and quarter turns, or resampled with little aliasing.

A map is given by its inverse, a homogeneous matrix [3, 3] from (x, y, 1) in the result to the same in the source; x to the right, y down, in pixels from the
image's centre. Shapes: B examples, H, W image size, C channels.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
"""Low-pass filter of the wavelet sym6 (Daubechies 1992). It is orthogonal to its own even shifts, so halving undoes doubling exactly."""
PEAK = 5
"""Where its largest value is, which a pixel's place is put at."""
REACH = 6
"""Pixels beyond the border that doubling and halving read between them."""


# -------------------------------------------------------------------------------------------------------------- whole pixels


def flip_and_turn(arrays: jax.Array, flip: jax.Array, turns: jax.Array) -> jax.Array:
    """Arrays [B, H, W, ...] of any type mirrored left to right where `flip` (bool [B]), then turned by `turns` (int [B]) quarters, as `numpy.rot90`.

    Odd turns need square images.
    """

    def where(condition: jax.Array, yes: jax.Array, no: jax.Array) -> jax.Array:
        return jnp.where(condition.reshape(-1, *[1] * (no.ndim - 1)), yes, no)

    arrays = where(flip, arrays[:, :, ::-1], arrays)
    arrays = where(turns % 4 >= 2, arrays[:, ::-1, ::-1], arrays)
    if arrays.shape[1] == arrays.shape[2]:
        arrays = where(turns % 2 == 1, jnp.rot90(arrays, axes=(1, 2)), arrays)
    return arrays


# ------------------------------------------------------------------------------------------------------------------- filters

# Both are products with a constant matrix. Most of its entries are 0, yet on CPU a product is several times as fast as adding shifted copies, backwards
# above all.


@functools.cache
def _doubling(side: int) -> np.ndarray:
    """float32 [2 (side + 2 margin), side]: reflects a row of pixels at its ends, doubles it, filters by sym6. Pixel i lies at 2 (i + margin)."""
    margin = _margin(side)
    wide = side + 2 * margin
    doubled = np.zeros((2 * wide + len(SYM6), wide))
    for pixel in range(wide):
        doubled[2 * pixel : 2 * pixel + len(SYM6), pixel] = np.sqrt(2) * np.array(SYM6)
    reflected = np.pad(np.eye(side), ((margin, margin), (0, 0)), mode="reflect")
    return (doubled[PEAK : PEAK + 2 * wide] @ reflected).astype(np.float32)


@functools.cache
def _halving(side: int) -> np.ndarray:
    """float32 [side, 2 (side + REACH)]: the adjoint filter at every other place, of a row with `REACH` more places at each end than its pixels have."""
    halved = np.zeros((side, 2 * (side + REACH)))
    for pixel in range(side):
        start = 2 * pixel + REACH - PEAK
        halved[pixel, start : start + len(SYM6)] = np.array(SYM6) / np.sqrt(2)
    return halved.astype(np.float32)


def _margin(side: int) -> int:
    """Pixels reflected at each end: all there are, and not fewer than the filters read."""
    return max(side - 1, REACH)


# ---------------------------------------------------------------------------------------------------------------- resampling


def resample(images: jax.Array, inverse: jax.Array) -> jax.Array:
    """Images [B, H, W, C] moved by the maps whose inverses are given, float32 [B, 3, 3]; where a map is the identity, unchanged to the bit.

    Reflected beyond the borders once and black (0) beyond that; doubled by sym6, sampled bilinearly, halved by sym6. Whole pixels move exactly, to rounding.

    Source: Karras et al. 2020a, appendix B; NVlabs/stylegan2-ada-pytorch, augment.py. There, only as much is reflected as the batch needs, which comes to
    the same.
    """
    height, width = images.shape[1:3]
    doubled = jnp.einsum(
        "uh,vw,bhwc->buvc", _doubling(height), _doubling(width), images, precision="highest"
    )
    sampled = _bilinear(doubled, *_sources((height, width), inverse))
    moved = jnp.einsum(
        "hu,wv,buvc->bhwc", _halving(height), _halving(width), sampled, precision="highest"
    )
    touched = jnp.any(inverse != jnp.eye(3, dtype=jnp.float32)[None], axis=(1, 2))
    return jnp.where(touched[:, None, None, None], moved, images)


def resample_labels(labels: jax.Array, inverse: jax.Array) -> jax.Array:
    """Arrays [B, H, W, ...] of any type moved by the same maps: each place takes the nearest value. Reflected beyond the borders, as often as it takes."""
    sides = labels.shape[1:3]
    places = [
        jnp.arange(side, dtype=jnp.int32).astype(jnp.float32) - (side - 1) / 2 for side in sides
    ]
    moved = _shifts(places, inverse)
    found = []
    for place, shift, side in zip(
        (places[0][None, :, None], places[1][None, None, :]), moved, sides, strict=True
    ):
        index = jnp.round(place + (side - 1) / 2 + shift).astype(jnp.int32) % max(2 * side - 2, 1)
        found.append(jnp.minimum(index, 2 * side - 2 - index))
    return jax.vmap(lambda array, row, column: array[row, column])(labels, *found)


def _sources(size: tuple[int, int], inverse: jax.Array) -> list[jax.Array]:
    """Rows and columns in the doubled image that the places of the result come from, float32 [B, 2 (H + 6), 2 (W + 6)]."""
    places = [jnp.arange(2 * (side + REACH), dtype=jnp.int32) - REACH for side in size]
    rows, columns = _shifts(
        [
            place.astype(jnp.float32) / 2 - (side - 1) / 2
            for place, side in zip(places, size, strict=True)
        ],
        inverse,
    )
    starts = [place + 2 * _margin(side) for place, side in zip(places, size, strict=True)]
    first, second = starts[0][None, :, None], starts[1][None, None, :]
    return [2 * rows + first.astype(jnp.float32), 2 * columns + second.astype(jnp.float32)]


def _shifts(places: list[jax.Array], inverse: jax.Array) -> list[jax.Array]:
    """How far from each place (rows, columns from the centre) its source is, in rows and columns [B, rows, columns].

    Differences rather than the sources themselves: these are exactly 0 for the identity, and whole for a move by whole pixels.
    """
    rest = (inverse - jnp.eye(3, dtype=jnp.float32)[None])[:, :, :, None, None]
    y, x = places[0][None, :, None], places[1][None, None, :]
    return [rest[:, row, 0] * x + rest[:, row, 1] * y + rest[:, row, 2] for row in (1, 0)]


def _bilinear(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """images [B, H, W, C] at rows, columns [B, h, w] -> [B, h, w, C]; zeros outside."""
    height, width, channels = images.shape[1:]
    pixels = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0))).reshape(len(images), -1, channels)
    tops, lefts = (
        jnp.clip(jnp.floor(place), -1, side - 1)
        for place, side in ((rows, height), (columns, width))
    )
    down, right = jnp.clip(rows - tops, 0, 1), jnp.clip(columns - lefts, 0, 1)
    first = ((tops + 1) * (width + 2) + lefts + 1).astype(jnp.int32)
    total = jnp.zeros((), images.dtype)
    for row, across in enumerate((1 - down, down)):
        for column, along in enumerate((1 - right, right)):
            corner = jax.vmap(lambda image, place: image.at[place].get(mode="promise_in_bounds"))(
                pixels, first + row * (width + 2) + column
            )
            total += (across * along)[..., None] * corner
    return total
