"""Images too large for one pass, as overlapping tiles of one shape whose results are blended. NumPy only; shapes are [H, W, C].

What is blended is exact for maps that treat every pixel alone. A network sees no further than its tile: within its receptive field of a tile's
border its result differs, which the weights fade out, and norms over the image (instance norm) become norms over the tile.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from jaxgan.errors import require

Box = tuple[slice, slice]
"""Rows and columns of one tile."""


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles of `tile` pixels (of `length`, where that is less) begin along an axis of `length` pixels, spread evenly from end to end.

    As few as reach everywhere with neighbours sharing at least `overlap` pixels.

    Raises `ValueError` unless 0 <= overlap < tile and length > 0.
    """
    require(
        0 <= overlap < tile,
        f"tiles must overlap by less than their size and not below 0, got overlap {overlap} of tile {tile}",
    )
    require(length > 0, f"an image has at least one pixel along each axis, got {length}")
    if length <= tile:
        return [0]
    steps = math.ceil((length - tile) / (tile - overlap))
    return [step * (length - tile) // steps for step in range(steps + 1)]


def weights(length: int, tile: int, overlap: int) -> np.ndarray:
    """How much every tile counts along an axis: float64 [tiles, min(tile, length)], above 0; at every position of the axis the sum is 1.

    A squared sine over what neighbours share, so a tile counts least where it is cut, and fully at the ends of the axis. Raises as `starts`.
    """
    first, side = starts(length, tile, overlap), min(tile, length)
    position = np.arange(side) + 0.5
    result = np.ones((len(first), side))
    for left, right in zip(range(len(first)), range(1, len(first))):
        shared = first[left] + side - first[right]
        rise = (
            np.sin(0.5 * np.pi * np.minimum(position / shared, 1)) ** 2 if shared else np.ones(side)
        )
        result[right] *= rise
        result[left] *= rise[::-1]
    total = np.zeros(length)
    for begin, one in zip(first, result, strict=True):
        total[begin : begin + side] += one
    return np.stack(
        [one / total[begin : begin + side] for begin, one in zip(first, result, strict=True)]
    )


def boxes(size: tuple[int, int], tile: int, overlap: int) -> list[Box]:
    """The tiles of an image of `size` (H, W), row by row, all of one shape. Raises as `starts`."""
    sides = [min(tile, length) for length in size]
    tops, lefts = (starts(length, tile, overlap) for length in size)
    return [
        (slice(top, top + sides[0]), slice(left, left + sides[1])) for top in tops for left in lefts
    ]


def blend(
    parts: Iterable[np.ndarray], size: tuple[int, int], tile: int, overlap: int
) -> np.ndarray:
    """What became of every tile, float32 [h, w, C] in the order of `boxes` -> float32 [H, W, C], the weighted mean where they overlap.

    Equal values give exactly that value: it is summed in float64. Parts are consumed one by one. Raises `ValueError` if their number or shape is
    not that of `boxes`, and as `starts`.
    """
    places = boxes(size, tile, overlap)
    rows, columns = (weights(length, tile, overlap) for length in size)
    total = np.empty(0)
    for number, (box, part) in enumerate(zip(places, parts, strict=True)):
        row, column = divmod(number, len(columns))
        shape = (len(rows[row]), len(columns[column]))
        require(
            part.shape[:2] == shape,
            f"tile {number} must have {shape[0]}x{shape[1]} pixels, got {part.shape[0]}x{part.shape[1]}",
        )
        if len(places) == 1:
            return np.asarray(part, np.float32)
        total = np.zeros((*size, part.shape[-1])) if number == 0 else total
        total[box] += rows[row][:, None, None] * columns[column][None, :, None] * part
    return total.astype(np.float32)
