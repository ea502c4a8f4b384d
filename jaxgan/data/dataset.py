"""A data set in memory or mapped into it, and the one way to get it: `open(spec)`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxgan.data import cache, decoding, images, sources
from jaxgan.data.source import Source
from jaxgan.errors import DataError, require


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images, and labels where there are any.

    name: the spec it was opened by.
    arrays: "image" uint8 or uint16 [N, H, W, C], and "label" int32 [N] where there are labels; read-only, in memory or mapped from the cache.
    classes: names of the classes, by label; () without labels.
    fingerprint: hash of the content (pixels, labels, class names).
    skipped: one "FILE reason" per example that `skip_bad` left out.
    cache: the folder that holds the decoded images, or None where they are in memory.
    """

    name: str
    arrays: dict[str, np.ndarray]
    classes: tuple[str, ...] = ()
    fingerprint: str = ""
    skipped: tuple[str, ...] = ()
    cache: Path | None = None

    @property
    def size(self) -> int:
        """Number of examples."""
        return len(self.arrays["image"])

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width)."""
        height, width = self.arrays["image"].shape[1:3]
        return height, width

    @property
    def channels(self) -> int:
        """1 grey, 3 RGB, 4 RGBA."""
        return self.arrays["image"].shape[3]

    @property
    def class_count(self) -> int:
        """Number of classes; 0 without labels."""
        return len(self.classes)


def from_arrays(name: str, image: np.ndarray, label: np.ndarray | None = None, classes: tuple[str, ...] = ()) -> Dataset:
    """A data set of arrays at hand.

    Args:
      image: uint8 or uint16 [N, H, W, C] with 1, 3 or 4 channels.
      label: integers [N], from 0.
      classes: their names; numbers where none are given.

    Raises DataError where shapes, types or labels do not fit.
    """
    if image.dtype not in (np.uint8, np.uint16) or image.ndim != 4 or image.shape[3] not in images.CHANNELS or 0 in image.shape:
        raise DataError(f"{name}: images must be uint8 or uint16 [N, H, W, 1, 3 or 4] and at least one, got {image.dtype} {list(image.shape)}")
    others = {}
    if label is not None:
        if label.shape != image.shape[:1] or label.dtype.kind not in "ui" or label.min() < 0:
            raise DataError(f"{name}: labels must be {len(image)} integers from 0, got {label.dtype} {list(label.shape)}")
        classes = tuple(classes) or tuple(map(str, range(int(label.max()) + 1)))
        if label.max() >= len(classes):
            raise DataError(f"{name}: the label {label.max()} has no name among the {len(classes)} classes")
        others["label"] = label.astype(np.int32)
    fingerprint = decoding.Fingerprint()
    fingerprint.add(image)
    arrays = {"image": image.view(), **others}
    for array in arrays.values():
        array.setflags(write=False)
    return Dataset(name, arrays, classes, fingerprint.finish(others, classes, image.shape[1:], str(image.dtype)))


def open(
    spec: str,
    *,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    split: str = "train",
    skip_bad: bool = False,
    cache_dir: Path | str | None = None,
    progress: bool = True,
) -> Dataset:
    """The data set that `spec` names, decoded on first use and found in a cache from then on.

    Args:
      spec: `digits` (scikit-learn's 1,797), `idx:DIR[?prefix=NAME]`, `folder:DIR`, `zip:FILE`, `tfds:NAME[/CONFIG][?data_dir=DIR]`.
      image_size: (height, width); images are scaled to cover it, keeping their shape, and cut at the centre. None: as they are, which must
        be one size.
      channels: 1 grey, 3 RGB, 4 RGBA (see `images.convert_channels`). None: as they are.
      split: "train", "test" or "all"; of `tfds:` any split it knows. Of the digits the first 1,500 are "train", the last 297 "test". Folders
        and archives have the splits that their sub-folders train/, test/, val/ make; without those, "train" and "all" are everything.
      skip_bad: leave unusable files out and list them in `Dataset.skipped`, instead of raising.
      cache_dir: where decoded images are kept. None: the folder JAXGAN_CACHE names, else `.jaxgan-cache` beside the source, else (where that
        cannot be written) ~/.cache/jaxgan. Digits, and IDX files at their own size, need none.
      progress: show a bar while decoding, on a terminal.

    Raises:
      DataError: one sentence on what is missing, damaged or not alike, with the first offenders.
      ValueError: settings out of range.
    """
    size = None if image_size is None else (int(image_size[0]), int(image_size[1]))
    require(size is None or min(size) >= 1, f"image_size must be (height, width), both at least 1, got {image_size}")
    require(channels is None or channels in images.CHANNELS, f"channels must be 1 (grey), 3 (RGB) or 4 (RGBA), got {channels}")
    source = sources.find(spec, split)
    try:
        if source.array is not None and size in (None, source.array.shape[1:3]):
            converted = source.array if channels is None else images.convert_channels(source.array, channels)
            return from_arrays(spec, converted, source.labels, source.classes)
        if source.home is None:
            return _decode(source, size, channels, skip_bad, progress)
        entry = cache.fetch(source, size, channels, skip_bad, None if cache_dir is None else Path(cache_dir), progress)
        return Dataset(spec, entry.arrays, entry.classes, entry.fingerprint, entry.skipped, entry.folder)
    finally:
        source.close()


def _decode(source: Source, size: tuple[int, int] | None, channels: int | None, skip_bad: bool, progress: bool) -> Dataset:
    tally = decoding.Tally()
    pixels = list(decoding.passed(source, size, channels, progress, tally))
    decoding.settle(source, tally, skip_bad)
    labels = None if source.labels is None else source.labels[tally.kept]
    made = from_arrays(source.name, np.stack(pixels), labels, source.classes)
    return Dataset(made.name, made.arrays, made.classes, made.fingerprint, tuple(tally.bad))
