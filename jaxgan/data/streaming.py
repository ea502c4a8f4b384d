"""Sets that are too large to keep decoded: arrays whose rows are decoded when they are asked for, ahead of the training by Grain's threads.

Which rows a step sees is decided as for any other set, so that the batches are the same to the bit. Needs the extra [grain].
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxgan.data import decoding
from jaxgan.data.images import BadImage, Form
from jaxgan.data.source import Source
from jaxgan.errors import DataError

Example = Callable[[int], tuple[np.ndarray, ...]]

BUFFER_BYTES = 1 << 28
"""Decoded images that wait for their batch take about so much at most; one batch is made in any case."""
BUFFERED = 256
"""How many of them at most: Grain looks at all that wait each time it gives one."""


@dataclass(frozen=True, eq=False)
class Streamed:
    """An array [N, ...] that is nowhere as a whole. Indexing by a number, a slice or an integer array decodes, and copies into memory, those rows.

    example: row -> all parts of the example, the same function for every part of a source; raises DataError for one that has become unusable.
    part: which of them this is. shape, dtype: as of an array.
    """

    example: Example
    part: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """What it would take in memory."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        if np.ndim(rows) == 0:
            if not -len(self) <= rows < len(self):
                raise IndexError(f"row {rows} of {len(self)}")
            return self.example(int(rows) % len(self))[self.part]
        rows = np.asarray(rows)
        made = np.empty((rows.size, *self.shape[1:]), self.dtype)
        for i, row in enumerate(rows.ravel()):
            made[i] = self[row]
        return made.reshape(*rows.shape, *self.shape[1:])


def require_grain() -> None:
    """Raise DataError unless Grain is installed."""
    try:
        import grain  # noqa: F401
    except ImportError as error:
        raise DataError(
            f"streaming needs the package grain ({error}): pip install 'jaxgan[grain]', or leave out stream (--stream)"
        ) from None


def streamed(
    source: Source, form: Form, kept: np.ndarray, parts: Mapping[str, tuple[str, tuple[int, ...]]]
) -> dict[str, Any]:
    """The parts of a source as arrays of its examples `kept`, int [N]; `parts`: the dtype and shape [N, ...] of each, as the source was found to be."""
    warnings.filterwarnings(
        "ignore", module=r"PIL\."
    )  # for good: images are decoded by threads while training goes on, see `images.quiet`
    kinds = [(tuple(shape[1:]), dtype) for dtype, shape in parts.values()]

    def example(row: int) -> tuple[np.ndarray, ...]:
        number = int(kept[row])
        try:
            found = decoding.one(source, form, number)
        except BadImage as error:
            raise DataError(
                f"{source.files[number]} of {source.name} {error}: it was usable before, so put it back, or start again to look at all"
            ) from None
        if [(image.shape, str(image.dtype)) for image in found] != kinds:
            raise DataError(
                f"{source.files[number]} of {source.name} is of another size or type than before: start again to look at all"
            )
        return found

    return {
        name: Streamed(example, i, tuple(shape), np.dtype(dtype))
        for i, (name, (dtype, shape)) in enumerate(parts.items())
    }


def calls(
    arrays: Mapping[str, Any], rows: Callable[[int], Mapping[str, np.ndarray]]
) -> Generator[dict[str, np.ndarray], None, None]:
    """For call 0, 1, ... without end, the rows `rows(call)`, int [...] by array, of every array: [..., H, W, C] and the like. Closing it stops its threads.

    Args:
      arrays: `Streamed`, or in memory, such as labels.
      rows: a pure function, of the same shape for every call.
    """
    import grain

    rows = functools.lru_cache(maxsize=64)(rows)
    shape = next(iter(rows(0).values())).shape
    count, bytes_each = (
        int(np.prod(shape)),
        sum(array.nbytes // len(array) for array in arrays.values()),
    )
    threads = min(16, 2 * (os.cpu_count() or 1))
    buffer = max(threads, min(4 * count, BUFFERED, BUFFER_BYTES // max(1, bytes_each)))

    def example(index: int) -> dict[str, np.ndarray]:
        call, position = divmod(index, count)
        mine = {name: int(numbers.flat[position]) for name, numbers in rows(call).items()}
        decoded: dict[tuple[Example, int], tuple[np.ndarray, ...]] = {}
        return {name: _row(array, mine[name], decoded) for name, array in arrays.items()}

    def together(examples: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        stacked = {name: np.stack([one[name] for one in examples]) for name in arrays}
        return {name: array.reshape(*shape, *array.shape[1:]) for name, array in stacked.items()}

    every = grain.MapDataset.range(2**62 // count * count).map(example)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffer)
    stream = iter(every.to_iter_dataset(options).batch(count, batch_fn=together))
    try:
        yield from stream
    finally:
        close = getattr(stream, "close", None)
        if close is not None:
            close()


def _row(
    array: Any, row: int, decoded: dict[tuple[Example, int], tuple[np.ndarray, ...]]
) -> np.ndarray:
    """One row of an array; of several parts of one example, which is decoded once."""
    if not isinstance(array, Streamed):
        return np.asarray(array[row])
    key = (array.example, row)
    if key not in decoded:
        decoded[key] = array.example(row)
    return decoded[key][array.part]
