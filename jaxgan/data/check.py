"""Does a data set fit a family? Asked before step one."""

from __future__ import annotations

from collections.abc import Mapping

import jax

from jaxgan.data.dataset import Dataset
from jaxgan.errors import DataError

_NOUNS = {"image": "images", "label": "labels", "a": "images A", "b": "images B"}
_REMEDIES = {
    "label": "make sub-folders of classes, add labels.csv, or choose a family without classes",
    "a": "use data of two sides, such as paired:DIR or unpaired:DIR",
    "b": "use data of two sides, such as paired:DIR or unpaired:DIR",
}


def check(
    dataset: Dataset, spec: Mapping[str, jax.ShapeDtypeStruct], *, classes: int | None = None, crop: int = 0, paired: bool = False
) -> None:
    """Raise DataError, in one sentence with the remedy, unless `dataset` can make the batches that `spec` describes.

    Args:
      spec: a family's `batch_spec(config, batch_size)`; the leading axis is the batch and does not count. Images come as uint8 or uint16 and
        are normalised later.
      classes: how many classes the family was configured with; None: labels are not compared.
      crop: images may be larger by this margin, to be cut (`Augment.crop`).
      paired: row i of every array must show the same, so that independent arrays do not fit.
    """
    for name, wanted in spec.items():
        if name not in dataset.arrays:
            remedy = _REMEDIES.get(name, f"it has {' and '.join(map(_noun, dataset.arrays))}")
            raise DataError(f"{dataset.name} has no {_noun(name)}, which this family needs: {remedy}")
        have, want = tuple(dataset.arrays[name].shape[1:]), tuple(wanted.shape[1:])
        if len(want) == 3 and len(have) == 3:
            _check_size(dataset.name, _noun(name), have, want, crop)
            _check_channels(dataset.name, name, have[2], spec)
        elif have != want:
            raise DataError(f"{dataset.name} has {name} of shape {list(have)} per example, but the family is configured for {list(want)}")
    _check_lengths(dataset, spec, paired)
    if "label" in spec and classes is not None:
        _check_labels(dataset, classes)


def _noun(name: str) -> str:
    """The plural of what an array holds."""
    return _NOUNS.get(name, f"{name}s")


def _check_size(source: str, noun: str, have: tuple[int, ...], want: tuple[int, ...], crop: int) -> None:
    height, width = want[0] + crop, want[1] + crop
    if have[:2] not in (want[:2], (height, width)):
        larger = f", and {height}x{width} with the margin of crop={crop}" if crop else ""
        raise DataError(
            f"{source} has {noun} of {have[0]}x{have[1]}, but the family is configured for {want[0]}x{want[1]}{larger}: "
            f"open it with image_size=({height}, {width}), or configure the family for {have[0]}x{have[1]}"
        )


def _check_channels(source: str, name: str, have: int, spec: Mapping[str, jax.ShapeDtypeStruct]) -> None:
    want = spec[name].shape[3]
    if have != want:
        channels = [wanted.shape[3] for wanted in spec.values() if len(wanted.shape) == 4]
        setting = want if len(set(channels)) == 1 else f"({', '.join(map(str, channels))})"
        raise DataError(
            f"{source} has {_noun(name)} with {have} channel{'s' * (have > 1)}, but the family is configured for {want}: "
            f"open it with channels={setting}, or configure the family for {have}"
        )


def _check_lengths(dataset: Dataset, spec: Mapping[str, jax.ShapeDtypeStruct], paired: bool) -> None:
    lengths = [f"{len(dataset.arrays[name])} {_noun(name)}" for name in spec]
    if dataset.independent:
        if paired:
            raise DataError(f"{dataset.name} has {' and '.join(lengths)} that are no pairs: use paired:DIR, or a family that needs none")
    elif len({len(dataset.arrays[name]) for name in spec}) > 1:
        raise DataError(f"{dataset.name} has {' but '.join(lengths)}: make them as many, or mark the set as independent")


def _check_labels(dataset: Dataset, classes: int) -> None:
    highest = int(dataset.arrays["label"].max())
    if highest >= classes:
        raise DataError(
            f"{dataset.name} has labels up to {highest}, but the family is configured for {classes} classes (labels 0 to {classes - 1}): "
            f"configure it with classes={max(highest + 1, dataset.class_count)}"
        )
