"""Several sets with attributes as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxgan.data import decoding
from jaxgan.data.dataset import Dataset
from jaxgan.errors import DataError


def combine(datasets: Sequence[Dataset]) -> Dataset:
    """Several sets with attributes as one, for training on all of them at once: images one set after the other, copied into memory.

    The columns are the union of theirs: groups of the same name and columns are one, groups of one name but no common column both stay. What a set
    does not tell is 0, and `Dataset.known` says so. The array "set" (int32 [N]) is the number of each image's set. Labels are left out.

    Raises DataError: fewer than two sets, one without attributes or combined already, images of other sizes, channels or types, groups that share
    some columns only.
    """
    for data in datasets:
        if "image" not in data.arrays or not data.attributes or data.known:
            raise DataError(
                f"{data.name} cannot be combined: single sets of images with attributes are needed, such as attributes:DIR"
            )
    if len(datasets) < 2:
        raise DataError(f"there must be several sets to combine, got {len(datasets)}")
    first = datasets[0].arrays["image"]
    for data in datasets[1:]:
        image = data.arrays["image"]
        if (image.shape[1:], image.dtype) != (first.shape[1:], first.dtype):
            kinds = [f"{'x'.join(map(str, x.shape[1:]))} {x.dtype}" for x in (first, image)]
            raise DataError(
                f"{datasets[0].name} has images of {kinds[0]}, {data.name} of {kinds[1]}: open both with one image_size and one number of channels"
            )
    groups = _union(datasets)
    names = tuple(column for _, columns in groups for column in columns)
    parts, known = [], []
    for data in datasets:
        values = dict(zip(data.attributes, data.arrays["attributes"].T))
        absent = np.zeros(data.size, np.uint8)
        parts.append(np.stack([values.get(name, absent) for name in names], axis=1))
        known.append(tuple(name in values for name in names))
    arrays = {
        "image": np.concatenate([data.arrays["image"] for data in datasets]),
        "attributes": np.concatenate(parts),
        "set": np.repeat(
            np.arange(len(datasets), dtype=np.int32), [data.size for data in datasets]
        ),
    }
    for array in arrays.values():
        array.setflags(write=False)
    exclusive = any(len(columns) > 1 for _, columns in groups)
    return Dataset(
        " + ".join(data.name for data in datasets),
        arrays,
        fingerprint=decoding.joined([data.fingerprint for data in datasets]),
        files=tuple(f"{data.name}: {file}" for data in datasets for file in data.files),
        skipped=tuple(reason for data in datasets for reason in data.skipped),
        attributes=names,
        groups=tuple((name, len(columns)) for name, columns in groups) if exclusive else (),
        known=tuple(known),
    )


def _union(datasets: Sequence[Dataset]) -> list[tuple[str, tuple[str, ...]]]:
    """The groups of all sets, with their columns; a binary column is a group of one."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for data in datasets:
        start = 0
        for name, count in data.groups or [(name, 1) for name in data.attributes]:
            columns = data.attributes[start : start + count]
            start += count
            shared = [other for other in found if set(other[1]) & set(columns)]
            if not shared:
                taken = {other for other, _ in found}
                free = (
                    name if number == 1 else f"{name} {number}"
                    for number in range(1, len(found) + 2)
                )
                found.append((next(x for x in free if x not in taken), columns))
            elif shared[0][1] != columns:
                both = f"{', '.join(shared[0][1])}; {', '.join(columns)}"
                raise DataError(
                    f"{data.name} and another set share some attributes of a group, but not all ({both}): give them other names, or one order"
                )
    return found
