"""A data set in memory or mapped into it, and sets made from arrays."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jaxgan.data import decoding, images
from jaxgan.data.source import Groups
from jaxgan.errors import DataError
from jaxgan.records.data_record import DataRecord


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images, and labels, attributes or maps of ids where there are any; or images of two domains, A and B.

    name: the spec it was opened by.
    arrays: "image" uint8 or uint16 [N, H, W, C], and "label" int32 [N] where there are labels; or "a" and "b", uint8 or uint16 [N, H, W, C]
      each. "attributes" uint8 [N, K] of 0 and 1, and "set" int32 [N] where sets were combined.
      "layout" uint8 or uint16 [N, H, W], the class of each pixel, `class_count` where it is unknown; and "instance" uint16 [N, H, W], the number of
      the thing that each pixel shows, where it is known. Read-only, in memory or mapped from the cache; or `streaming.Streamed`.
    classes: names of the classes, by label or id; () without labels or label maps.
    fingerprint: hash of the content (pixels, labels, maps, class names, whether independent, attributes, their names and groups).
    skipped: one "FILE reason" per example that `skip_bad` left out.
    cache: the folder that holds the decoded images, or None where they are in memory.
    independent: whether "a" and "b" are of lengths of their own and each is shuffled on its own; otherwise row i of all arrays belongs together.
    attributes: names of the K columns of "attributes".
    groups: name and number of columns of each exclusive group (one of its columns is 1), in order; () where all columns are binary. Where there are
      both, a binary column is a group of one.
    known: of combined sets, one row for each and K columns: which attributes that set tells; the others are 0 there. () of a single set.
    files: names of the examples in the source, those that were skipped among them; () of arrays at hand.
    """

    name: str
    arrays: dict[str, np.ndarray]
    classes: tuple[str, ...] = ()
    fingerprint: str = ""
    skipped: tuple[str, ...] = ()
    cache: Path | None = None
    independent: bool = False
    attributes: tuple[str, ...] = ()
    groups: Groups = ()
    known: tuple[tuple[bool, ...], ...] = ()
    files: Sequence[str] = ()

    @property
    def images(self) -> dict[str, np.ndarray]:
        """The arrays of images: "image", or "a" and "b"."""
        return {name: array for name, array in self.arrays.items() if array.ndim == 4}

    @property
    def record(self) -> DataRecord:
        """What tells this set from another one, as a run keeps it."""
        counts = {name: len(array) for name, array in self.images.items()}
        return DataRecord(self.name, self.fingerprint, counts, tuple(self.files))

    @property
    def size(self) -> int:
        """Number of examples; of independent domains, that of the larger one."""
        return max(map(len, self.arrays.values()))

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width), in domain A where there are two."""
        height, width = next(iter(self.images.values())).shape[1:3]
        return height, width

    @property
    def channels(self) -> int:
        """1 grey, 3 RGB, 4 RGBA; in domain A where there are two."""
        return next(iter(self.images.values())).shape[3]

    @property
    def class_count(self) -> int:
        """Number of classes; 0 without labels or label maps."""
        return len(self.classes)

    @property
    def told(self) -> np.ndarray:
        """Which attributes are known of each example, bool [N, K]: all of them, unless sets were combined. The others are 0 in "attributes"."""
        if not self.known:
            return np.ones((self.size, len(self.attributes)), bool)
        return np.array(self.known, bool)[np.asarray(self.arrays["set"])]

    @functools.cached_property
    def unknown(self) -> bool:
        """Whether any pixel of the label maps is of no known class. Reads them all once."""
        return "layout" in self.arrays and any(
            bool((ids == self.class_count).any()) for ids in self.arrays["layout"]
        )


def from_arrays(
    name: str, image: np.ndarray, label: np.ndarray | None = None, classes: tuple[str, ...] = ()
) -> Dataset:
    """A data set of arrays at hand.

    Args:
      image: uint8 or uint16 [N, H, W, C] with 1, 3 or 4 channels.
      label: integers [N], from 0.
      classes: their names; numbers where none are given.

    Raises DataError where shapes, types or labels do not fit.
    """
    _require_images(name, image)
    others = {}
    if label is not None:
        if label.shape != image.shape[:1] or label.dtype.kind not in "ui" or label.min() < 0:
            raise DataError(
                f"{name}: labels must be {len(image)} integers from 0, got {label.dtype} {list(label.shape)}"
            )
        classes = tuple(classes) or tuple(map(str, range(int(label.max()) + 1)))
        if label.max() >= len(classes):
            raise DataError(
                f"{name}: the label {label.max()} has no name among the {len(classes)} classes"
            )
        others["label"] = label.astype(np.int32)
    fingerprint = decoding.Fingerprint()
    fingerprint.add(image)
    arrays = {"image": image.view(), **others}
    for array in arrays.values():
        array.setflags(write=False)
    return Dataset(
        name,
        arrays,
        tuple(classes),
        fingerprint.finish(others, classes, image.shape[1:], str(image.dtype)),
    )


def with_attributes(
    data: Dataset, attributes: np.ndarray, names: Sequence[str], groups: Groups = ()
) -> Dataset:
    """The set with an attribute vector for each image.

    Args:
      attributes: integers or booleans [N, K], 0 or 1.
      names: of the K columns, all different.
      groups: as in `Dataset`.

    Raises DataError: shapes or values that do not fit; a row with not exactly one 1 in an exclusive group.
    """
    names, groups = tuple(names), tuple((str(name), int(count)) for name, count in groups)
    shape = (data.size, len(names))
    if (
        tuple(attributes.shape) != shape
        or not names
        or attributes.dtype.kind not in "uib"
        or not np.isin(attributes, (0, 1)).all()
    ):
        raise DataError(
            f"{data.name}: attributes must be 0 or 1 and {list(shape)}, got {attributes.dtype} {list(attributes.shape)}"
        )
    if len(set(names)) < len(names):
        raise DataError(f"{data.name}: the attributes {', '.join(names)} must have different names")
    if groups and (
        sum(count for _, count in groups) != len(names) or min(count for _, count in groups) < 1
    ):
        raise DataError(
            f"{data.name}: the groups {groups} must have the {len(names)} attributes as their columns"
        )
    values, start = attributes.astype(np.uint8), 0
    for name, count in groups:
        wrong = values[:, start : start + count].sum(1) != 1
        if count > 1 and wrong.any():
            raise DataError(
                f"{data.name}: the attributes of the group {name} are exclusive, but example {wrong.argmax()} has not exactly one of them"
            )
        start += count
    values.setflags(write=False)
    fingerprint = decoding.described(data.fingerprint, values, [names, groups])
    return replace(
        data,
        arrays={**data.arrays, "attributes": values},
        fingerprint=fingerprint,
        attributes=names,
        groups=groups,
    )


def from_domains(name: str, a: np.ndarray, b: np.ndarray, *, independent: bool) -> Dataset:
    """A data set of two domains, of arrays at hand.

    Args:
      a, b: uint8 or uint16 [N, H, W, C] with 1, 3 or 4 channels each.
      independent: False: a[i] and b[i] are a pair. True: no image of one has a partner in the other; the lengths may differ.

    Raises DataError: shapes or types that do not fit, pairs of other numbers of images, an independent domain of a single one.
    """
    domains = {"a": from_arrays(f"{name}, domain A", a), "b": from_arrays(f"{name}, domain B", b)}
    if not independent and len(a) != len(b):
        raise DataError(
            f"{name}: there must be as many images of A as of B to make pairs, got {len(a)} and {len(b)}"
        )
    if independent:
        for domain, data in domains.items():
            require_several(name, domain, data)
    arrays = {domain: data.arrays["image"] for domain, data in domains.items()}
    return Dataset(
        name,
        arrays,
        (),
        decoding.joined([data.fingerprint for data in domains.values()], independent),
        independent=independent,
    )


def from_layouts(
    name: str,
    image: np.ndarray,
    layout: np.ndarray,
    classes: Sequence[str],
    instance: np.ndarray | None = None,
) -> Dataset:
    """A data set of images and label maps at hand.

    Args:
      image: uint8 or uint16 [N, H, W, C] with 1, 3 or 4 channels.
      layout: integers [N, H, W], the class of each pixel, or the number of classes where it is unknown.
      classes: their names.
      instance: integers [N, H, W] from 0 to 65535.

    Raises DataError where shapes, types or ids do not fit.
    """
    _require_images(name, image)
    maps = {"layout": (layout, len(classes))} | (
        {} if instance is None else {"instance": (instance, 65_535)}
    )
    arrays, names = {"image": image.view()}, tuple(classes)
    for part, (array, top) in maps.items():
        if (
            array.shape != image.shape[:3]
            or array.dtype.kind not in "ui"
            or array.min() < 0
            or array.max() > top
        ):
            have = f"{array.dtype} {list(array.shape)} from {array.min()} to {array.max()}"
            raise DataError(
                f"{name}: {part} must be integers {list(image.shape[:3])} from 0 to {top}, got {have}"
            )
        arrays[part] = array.astype(np.uint8 if part == "layout" and top <= 255 else np.uint16)
    hashes = []
    for array in arrays.values():
        array.setflags(write=False)
        fingerprint = decoding.Fingerprint()
        fingerprint.add(array)
        hashes.append(fingerprint.finish({}, names, array.shape[1:], str(array.dtype)))
    return Dataset(name, arrays, names, decoding.joined(hashes))


def _require_images(name: str, image: np.ndarray) -> None:
    if (
        image.dtype not in (np.uint8, np.uint16)
        or image.ndim != 4
        or image.shape[3] not in images.CHANNELS
        or 0 in image.shape
    ):
        raise DataError(
            f"{name}: images must be uint8 or uint16 [N, H, W, 1, 3 or 4] and at least one, got {image.dtype} {list(image.shape)}"
        )


def require_several(name: str, domain: str, data: Dataset) -> None:
    if data.size < 2:
        raise DataError(
            f"domain {domain.upper()} of {name} holds a single usable image: unpaired training needs at least two in each domain, so add more"
        )
