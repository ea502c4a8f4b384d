"""The real images that generated ones are held against: which split they are, their pixels, their features, and true translations where data know them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from types import ModuleType
from typing import Any

import numpy as np

from jaxgan import data
from jaxgan.data import digit_views, sources
from jaxgan.data.dataset import Dataset
from jaxgan.errors import DataError

FALLBACKS = ("test", "val", "train")
"""Splits that are looked for in turn where none is asked for."""
WHILE_TRAINING = ("val", "test")
"""The same, to choose checkpoints by."""
BLOCK_PIXELS = 1 << 20


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of an array of images or maps, cut at the centre to `size`; read only when they are taken.

    index: int [n], or None for all rows.
    """

    array: np.ndarray
    size: tuple[int, int]
    index: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.array) if self.index is None else len(self.index)

    def take(self, first: int, count: int, whole: bool = False) -> np.ndarray:
        """At most `count` rows from `first` on: uint8 [n, H, W, C] of images of 8 or 16 bits, unless `whole`: as they are; maps [n, H, W] always are."""
        part = slice(first, first + count)
        top, left = (
            (have - want) // 2 for have, want in zip(self.array.shape[1:3], self.size, strict=True)
        )
        rows = self.array[part] if self.index is None else self.array[self.index[part]]
        cut = rows[:, top : top + self.size[0], left : left + self.size[1]]
        rounded = cut.ndim == 4 and cut.dtype == np.uint16 and not whole
        return np.rint(cut / np.float32(257)).astype(np.uint8) if rounded else np.asarray(cut)

    def blocks(self) -> Iterator[np.ndarray]:
        """All rows, in blocks of bounded size."""
        count = max(1, BLOCK_PIXELS // (self.size[0] * self.size[1]))
        for first in range(0, len(self), count):
            yield self.take(first, count)

    def told(self) -> str:
        """Which rows these are, in a few words that differ wherever the rows do."""
        which = (
            ""
            if self.index is None
            else f", {blake2b(self.index.astype(np.int64).tobytes(), digest_size=8).hexdigest()}"
        )
        return f"{len(self)} of {len(self.array)}{which}"

    def some(self, count: int, seed: int = 0) -> Rows:
        """Take at most `count` of these rows, drawn at random: sets are often sorted, or periodic."""
        if count >= len(self):
            return self
        index = drawn(len(self), count, seed)
        return replace(self, index=index if self.index is None else self.index[index])


def form_of(family: ModuleType, config: Any, crop: int = 0) -> dict[str, Any]:
    """`image_size` and `channels` of `jaxgan.data.open` for a model; `crop`: the margin that images had in training."""
    shapes = [
        wanted.shape for wanted in family.batch_spec(config, 1).values() if len(wanted.shape) == 4
    ]
    channels = tuple(shape[3] for shape in shapes)
    return {
        "image_size": (shapes[0][1] + crop, shapes[0][2] + crop),
        "channels": channels[0] if len(set(channels)) == 1 else channels,
    }


def drawn(size: int, count: int, seed: int = 0) -> np.ndarray:
    """Draw at most `count` of the numbers from 0 to size - 1, without repetition, ascending: int [n].

    At random by (seed, size), not by a stride: of images in a periodic order, such as digits in three
    inks in turn, a stride picks those of one kind.
    """
    random = np.random.default_rng([seed, size])
    return np.sort(random.choice(size, min(count, size), replace=False, shuffle=False))


def halves(rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split rows [N, ...] into two halves drawn at random, which differ by chance alone."""
    order = np.random.default_rng([seed, len(rows)]).permutation(len(rows))
    return rows[np.sort(order[0::2])], rows[np.sort(order[1::2])]


def open_real(spec: str, split: str | None = None, **form: Any) -> tuple[Dataset, str]:
    """(images to compare with, the split they are): of `split`, or by default the first of test, val and train that the source has.

    Of `unpaired:digits` the pairs are opened, as their true translations are known.

    Args:
      form: of `jaxgan.data.open`.

    Raises DataError as that does.
    """
    scheme, _, rest = spec.partition(":")
    spec = f"paired:{rest}" if scheme == "unpaired" and rest.partition("?")[0] == "digits" else spec
    chosen = split or next((each for each in FALLBACKS if has_split(spec, each)), "train")
    return data.open(spec, split=chosen, **form), chosen


def has_split(spec: str, split: str) -> bool:
    """Whether a source has images of a split. Reads its lists only."""
    for part in spec.replace("+attributes:", "\nattributes:").split("\n"):
        try:
            found = sources.find(part, split)
        except DataError:
            return False
        for source in found if isinstance(found, tuple) else (found,):
            source.close()
    return True


def open_like(dataset: Dataset, **options: Any) -> tuple[Dataset, str] | None:
    """As `open_real`, images held out from `dataset`, of its size and channels, and their split; None where its name is no spec, or has no such split.

    Args:
      options: `resize` and `skip_bad` of `jaxgan.data.open`, as they were for `dataset`.
    """
    if not any(dataset.name.partition(":")[0] == scheme for scheme in sources.SCHEMES):
        return None
    split = next((each for each in WHILE_TRAINING if has_split(dataset.name, each)), None)
    channels = tuple(array.shape[3] for array in dataset.images.values())
    form = {
        "image_size": dataset.image_size,
        "channels": channels[0] if len(set(channels)) == 1 else channels,
    }
    return None if split is None else open_real(dataset.name, split, **form, **options)


# -------------------------------------------------------------------------------------------------------------- truths that are known


def true_inks(dataset: Dataset, name: str, images: Rows) -> np.ndarray | None:
    """uint8 [n, H, W, 3]: what translations of `images` to the attribute `name` should be; None where that is not known."""
    known = (
        dataset.name == "attributes:digits"
        and name in digit_views.INKS
        and images.array.shape[-1] == 3
    )
    return digit_views.ink(images.take(0, len(images)), name) if known else None


def _palette() -> tuple[np.ndarray, np.ndarray]:
    """Colours of painted digits, float [P, 3], and the class that each stands for, int [P]."""
    paper, blue = (np.array(rgb, np.float64) for rgb in digit_views.COLOURS["b"])
    colours, classes = [paper, 0.75 * paper], [0, 0]
    for ink in (blue, *(np.array(rgb, np.float64) for rgb in digit_views.INKS.values())):
        colours, classes = [*colours, (ink + paper) / 2, ink], [*classes, 1, 2]
    return np.stack(colours), np.array(classes)


def painted_classes(images: np.ndarray) -> np.ndarray:
    """The class of each pixel of painted digits, by the nearest colour of their palette: uint8 [N, H, W, 3] -> int [N, H, W]. Right on all real ones."""
    colours, classes = _palette()
    distances = np.square(images[..., None, :].astype(np.float64) - colours[None, None, None]).sum(
        -1
    )
    return classes[distances.argmin(-1)]


def segmenter(dataset: Dataset) -> Any:
    """What reads the classes of pixels off images of `dataset`, where that is known: of `layout:digits`; else None."""
    known = dataset.name.startswith("layout:digits") and dataset.channels == 3
    return painted_classes if known else None
