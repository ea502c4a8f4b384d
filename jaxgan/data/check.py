"""Does a data set fit a family? Asked before step one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import jax
import numpy as np

from jaxgan.data.dataset import Dataset
from jaxgan.data.source import Groups
from jaxgan.errors import DataError
from jaxgan.family import Conditioning

_NOUNS = {
    "image": "images",
    "a": "images A",
    "b": "images B",
    "layout": "label maps",
    "instance": "instance maps",
    "attributes": "attributes",
}
_REMEDIES = {
    "label": "make sub-folders of classes, add labels.csv, or choose a family without classes",
    "a": "use data of two sides, such as paired:DIR or unpaired:DIR",
    "b": "use data of two sides, such as paired:DIR or unpaired:DIR",
    "attributes": "use data of attributes, such as attributes:DIR",
    "layout": "use data of images and label maps, such as layout:DIR",
    "instance": "add them in a folder instances, with equal names, or configure the family without",
    "set": "combine several sets, or configure the family for one",
}


def check(
    dataset: Dataset,
    spec: Mapping[str, jax.ShapeDtypeStruct],
    told: Conditioning | None = None,
    *,
    crop: int = 0,
) -> None:
    """Raise DataError, in one sentence with the remedy, unless `dataset` can make the batches that `spec` describes.

    Args:
      spec: a family's `batch_spec(config, batch_size)`; the leading axis is the batch and does not count. Images come as uint8 or uint16 and
        are normalised later.
      told: `conditioning(family, config)`: labels, attributes, ids and whether the two sides belong together are compared with it; None: they are not.
        Exclusive data may well be taken for binary, not the other way.
      crop: images may be larger by this margin, to be cut (`Augment.crop`).
    """
    for name, wanted in spec.items():
        if name not in dataset.arrays:
            remedy = _REMEDIES.get(name, f"it has {' and '.join(map(_noun, dataset.arrays))}")
            raise DataError(
                f"{dataset.name} has no {_noun(name)}, which this family needs: {remedy}"
            )
        have, want = tuple(dataset.arrays[name].shape[1:]), tuple(wanted.shape[1:])
        if len(want) == len(have) and len(have) in (2, 3):
            _check_size(dataset.name, _noun(name), have, want, crop)
            if len(have) == 3:
                _check_channels(dataset.name, name, have[2], spec)
        elif name == "attributes" and have != want:
            raise DataError(
                f"{dataset.name} has {have[0]} attributes ({', '.join(dataset.attributes)}), but the family is configured for {want[0]}: "
                f"configure it for {have[0]}, or choose other columns (?select=NAME,NAME)"
            )
        elif have != want:
            raise DataError(
                f"{dataset.name} has {name} of shape {list(have)} per example, but the family is configured for {list(want)}"
            )
    told = told or Conditioning()
    if "attributes" in spec and told.kind == "attributes":
        _check_attributes(dataset, told.attributes, told.groups, told.known)
    _check_lengths(dataset, spec, told.paired)
    if "label" in spec and told.kind == "class":
        _check_labels(dataset, told.classes)
    if "layout" in spec and told.kind == "layout":
        _check_maps(dataset, told.classes, told.unknown)


def remarks(dataset: Dataset, wanted: Collection[str] = ("label", "attributes")) -> list[str]:
    """Return sentences on classes and attributes that no example of the set has, so that nothing is learnt of them.

    Args:
      wanted: the arrays that a family trains on.
    """
    absent: list[tuple[str, int, list[str]]] = []
    if "label" in dataset.arrays and "label" in wanted:
        counts = np.bincount(dataset.arrays["label"], minlength=dataset.class_count)
        absent.append(
            (
                "classes",
                len(counts),
                [name for name, count in zip(dataset.classes, counts) if not count],
            )
        )
    if "attributes" in dataset.arrays and "attributes" in wanted:
        shown = dataset.arrays["attributes"].max(axis=0)
        absent.append(
            (
                "attributes",
                len(shown),
                [name for name, one in zip(dataset.attributes, shown) if not one],
            )
        )
    return [
        f"{dataset.name} has no images of {len(names)} of {count} {noun} ({_few(names)}), so nothing is learnt of these"
        for noun, count, names in absent
        if names
    ]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _noun(name: str) -> str:
    """The plural of what an array holds."""
    return _NOUNS.get(name, f"{name}s")


def _check_size(
    source: str, noun: str, have: tuple[int, ...], want: tuple[int, ...], crop: int
) -> None:
    height, width = want[0] + crop, want[1] + crop
    if have[:2] not in (want[:2], (height, width)):
        larger = f", and {height}x{width} with the margin of crop={crop}" if crop else ""
        raise DataError(
            f"{source} has {noun} of {have[0]}x{have[1]}, but the family is configured for {want[0]}x{want[1]}{larger}: "
            f"open it with image_size=({height}, {width}), or configure the family for {have[0]}x{have[1]}"
        )


def _check_channels(
    source: str, name: str, have: int, spec: Mapping[str, jax.ShapeDtypeStruct]
) -> None:
    want = spec[name].shape[3]
    if have != want:
        channels = [wanted.shape[3] for wanted in spec.values() if len(wanted.shape) == 4]
        setting = want if len(set(channels)) == 1 else f"({', '.join(map(str, channels))})"
        raise DataError(
            f"{source} has {_noun(name)} with {have} channel{'s' * (have > 1)}, but the family is configured for {want}: "
            f"open it with channels={setting}, or configure the family for {have}"
        )


def _check_attributes(
    dataset: Dataset,
    attributes: tuple[str, ...],
    groups: Groups,
    known: tuple[tuple[bool, ...], ...],
) -> None:
    if dataset.attributes != tuple(attributes):
        raise DataError(
            f"{dataset.name} has the attributes {', '.join(dataset.attributes)}, but the family is configured for {', '.join(attributes)}: "
            "configure it for those, or choose columns in its order (?select=NAME,NAME)"
        )
    if dataset.known != known:
        have, want = (
            f"{len(rows)} sets that tell {' and '.join(str(sum(row)) for row in rows)}"
            if rows
            else "one set"
            for rows in (dataset.known, known)
        )
        raise DataError(
            f"{dataset.name} is {have} of the attributes, but the family is configured for {want}: give it `known` of the data set"
        )
    start, sets = 0, dataset.arrays.get("set", 0)
    told = np.array(known or [[True] * len(attributes)])
    for name, count in groups:
        columns = slice(start, start + count)
        start += count
        wrong = (dataset.arrays["attributes"][:, columns].sum(1) != 1) & told[sets, columns.start]
        if count > 1 and wrong.any():
            raise DataError(
                f"{dataset.name} has attributes that are not exclusive, {', '.join(attributes[columns])} of the group {name}, in example {wrong.argmax()}: "
                "configure the family with the groups of the data set"
            )


def _check_lengths(
    dataset: Dataset, spec: Mapping[str, jax.ShapeDtypeStruct], paired: bool
) -> None:
    lengths = [f"{len(dataset.arrays[name])} {_noun(name)}" for name in spec]
    if dataset.independent:
        if paired:
            raise DataError(
                f"{dataset.name} has {' and '.join(lengths)} that are no pairs: use paired:DIR, or a family that needs none"
            )
    elif len({len(dataset.arrays[name]) for name in spec}) > 1:
        raise DataError(
            f"{dataset.name} has {' but '.join(lengths)}: make them as many, or mark the set as independent"
        )


def _check_labels(dataset: Dataset, classes: int) -> None:
    highest = int(dataset.arrays["label"].max())
    if highest >= classes:
        raise DataError(
            f"{dataset.name} has labels up to {highest}, but the family is configured for {classes} classes (labels 0 to {classes - 1}): "
            f"configure it with classes={max(highest + 1, dataset.class_count)}"
        )


def _check_maps(dataset: Dataset, classes: int, unknown: bool) -> None:
    if dataset.class_count != classes:
        raise DataError(
            f"{dataset.name} has label maps of {dataset.class_count} classes, but the family is configured for {classes}: "
            f"configure it with classes={dataset.class_count}, or open the data with ?classes={classes}"
        )
    if not unknown and dataset.unknown:
        raise DataError(
            f"{dataset.name} has pixels of unknown class, but the family is configured without: configure it with unknown=True"
        )
