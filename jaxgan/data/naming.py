"""Match the classes and attributes of a data set to those that a run knows, by their names."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jaxgan.data.dataset import Dataset
from jaxgan.errors import DataError
from jaxgan.records.naming import Names, asked, listed


def names_of(dataset: Dataset, spec: Mapping[str, Any]) -> Names:
    """The names that batches of `spec` (a family's `batch_spec`) rely on."""
    return asked(Names(dataset.classes, dataset.attributes), spec)


def unused_classes(dataset: Dataset, family: str, config: Any, spec: Mapping[str, Any]) -> str:
    """Say in a sentence that a model without conditions does not learn the classes that the data has; "" where there is nothing to say."""
    if set(spec) != {"image"} or "label" not in dataset.arrays or len(dataset.classes) < 2:
        return ""
    count = len(dataset.classes)
    remedy = (
        f"set classes={count} (--config.classes {count}) to learn them"
        if "classes" in vars(config)
        else "families with labels, such as cgan, learn them"
    )
    return f"{dataset.name} has {count} classes ({listed(dataset.classes)}), which this {family} ignores: {remedy}"


def matched(dataset: Dataset, names: Names, run: str) -> Dataset:
    """Return `dataset` with classes and attributes numbered as in `names`.

    Classes may come in another order, or some of them be absent; attributes may come in another order. What is unknown of either side stays as it is.

    Args:
      run: whose names these are, for the message.

    Raises `DataError`, with both lists, where names differ.
    """
    if (
        names.classes
        and dataset.classes
        and ("label" in dataset.arrays or "layout" in dataset.arrays)
    ):
        dataset = _with_classes(dataset, names.classes, run)
    if names.attributes and dataset.attributes:
        dataset = _with_attributes(dataset, names.attributes, run)
    return dataset


def _with_classes(dataset: Dataset, classes: tuple[str, ...], run: str) -> Dataset:
    table = _places(dataset.classes, classes)
    if dataset.classes == classes:
        return dataset
    if table is None:
        raise _differ(dataset, "classes", dataset.classes, classes, run)
    arrays: dict[str, Any] = dict(dataset.arrays)
    if "label" in arrays:
        arrays["label"] = _frozen(table[np.asarray(arrays["label"])].astype(np.int32))
    if "layout" in arrays:
        if not isinstance(arrays["layout"], np.ndarray):
            raise _differ(dataset, "classes (in this order)", dataset.classes, classes, run)
        kind = np.uint8 if len(classes) <= 255 else np.uint16
        arrays["layout"] = _frozen(np.append(table, len(classes)).astype(kind)[arrays["layout"]])
    made = replace(dataset, arrays=arrays, classes=classes)
    if "unknown" in dataset.__dict__:  # as it was found when the data were opened
        made.__dict__["unknown"] = dataset.unknown
    return made


def _with_attributes(dataset: Dataset, attributes: tuple[str, ...], run: str) -> Dataset:
    if dataset.attributes == attributes:
        return dataset
    places = _places(attributes, dataset.attributes)
    groups = (
        None
        if places is None or len(attributes) != len(dataset.attributes)
        else _groups(dataset, places)
    )
    if places is None or groups is None:
        raise _differ(dataset, "attributes", dataset.attributes, attributes, run)
    values = _frozen(np.ascontiguousarray(np.asarray(dataset.arrays["attributes"])[:, places]))
    known = tuple(tuple(row[place] for place in places) for row in dataset.known)
    return replace(
        dataset,
        arrays={**dataset.arrays, "attributes": values},
        attributes=attributes,
        groups=groups,
        known=known,
    )


def _groups(dataset: Dataset, places: np.ndarray) -> Any:
    """The exclusive groups in the order of the columns `places`; None where one would be torn apart."""
    if not dataset.groups:
        return ()
    owner = np.repeat(np.arange(len(dataset.groups)), [count for _, count in dataset.groups])[
        places
    ]
    order = list(dict.fromkeys(owner.tolist()))
    whole = np.array_equal(owner, np.repeat(order, [dataset.groups[number][1] for number in order]))
    return tuple(dataset.groups[number] for number in order) if whole else None


def _places(names: Sequence[str], among: Sequence[str]) -> np.ndarray | None:
    """Where each of `names` is in `among`, int [n]; None unless each is there, once."""
    first, second = (
        [unicodedata.normalize("NFC", name) for name in each] for each in (names, among)
    )
    places = {name: place for place, name in enumerate(second)}
    if len(places) < len(second) or len(set(first)) < len(first) or not set(first) <= set(places):
        return None
    return np.array([places[name] for name in first], np.int64)


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


def _differ(
    dataset: Dataset, what: str, have: Sequence[str], want: Sequence[str], run: str
) -> DataError:
    return DataError(
        f"{dataset.name} has the {what} {listed(have)}, but {run} knows {listed(want)}: give these the same names, or choose other data"
    )
