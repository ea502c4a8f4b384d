"""Does a data set fit a family? Asked before step one."""

from __future__ import annotations

from collections.abc import Mapping

import jax

from jaxgan.data.dataset import Dataset
from jaxgan.errors import DataError

_LABELS = "make sub-folders of classes, add labels.csv, or choose a family without classes"


def check(dataset: Dataset, spec: Mapping[str, jax.ShapeDtypeStruct], *, classes: int | None = None) -> None:
    """Raise DataError, in one sentence with the remedy, unless `dataset` can make the batches that `spec` describes.

    Args:
      spec: a family's `batch_spec(config, batch_size)`; the leading axis is the batch and does not count. Images come as uint8 or uint16 and
        are normalised later.
      classes: how many classes the family was configured with; None: labels are not compared.
    """
    for name, wanted in spec.items():
        if name not in dataset.arrays:
            remedy = _LABELS if name == "label" else f"it has {', '.join(dataset.arrays)}"
            raise DataError(f"{dataset.name} has no {name if name != 'label' else 'labels'}, which this family needs: {remedy}")
        have, want = tuple(dataset.arrays[name].shape[1:]), tuple(wanted.shape[1:])
        if len(want) == 3 and len(have) == 3:
            _check_images(dataset.name, name, have, want)
        elif have != want:
            raise DataError(f"{dataset.name} has {name} of shape {list(have)} per example, but the family is configured for {list(want)}")
    if "label" in spec and classes is not None:
        _check_labels(dataset, classes)


def _check_images(source: str, name: str, have: tuple[int, ...], want: tuple[int, ...]) -> None:
    if have[:2] != want[:2]:
        raise DataError(
            f"{source} has {name}s of {have[0]}x{have[1]}, but the family is configured for {want[0]}x{want[1]}: "
            f"open it with image_size=({want[0]}, {want[1]}), or configure the family for {have[0]}x{have[1]}"
        )
    if have[2] != want[2]:
        raise DataError(
            f"{source} has {name}s with {have[2]} channel{'s' * (have[2] > 1)}, but the family is configured for {want[2]}: "
            f"open it with channels={want[2]}, or configure the family for {have[2]}"
        )


def _check_labels(dataset: Dataset, classes: int) -> None:
    highest = int(dataset.arrays["label"].max())
    if highest >= classes:
        raise DataError(
            f"{dataset.name} has labels up to {highest}, but the family is configured for {classes} classes (labels 0 to {classes - 1}): "
            f"configure it with classes={max(highest + 1, dataset.class_count)}"
        )
