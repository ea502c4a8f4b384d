"""A spec such as `idx:DIR` -> `Source`, or two of them for unpaired domains. Adding a kind of source is one function and one line in `SCHEMES`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl

import numpy as np

from jaxgan.data import (
    attributes,
    digit_views,
    filenames,
    files,
    idx,
    layouts,
    pairs,
    tfds,
    unpaired,
)
from jaxgan.data.source import CACHE_NAME, Found, Source
from jaxgan.errors import DataError

DIGITS_TRAIN = 1500
"""Of the 1,797 digits, the first 1,500 are the split "train" and the last 297 "test"."""


def find(spec: str, split: str) -> Found:
    """The source that `spec` names; of unpaired domains, that of A and that of B. Reads lists and labels, not yet the images of folders and archives.

    Raises DataError: an unknown scheme (lists the known ones), a missing source, an unknown option or split, damaged lists.
    """
    scheme, colon, rest = spec.partition(":")
    if scheme not in SCHEMES:
        raise DataError(f"data {spec!r} is of no known kind: the kinds are {', '.join(SYNTAX)}")
    if scheme != "digits" and not rest:
        raise DataError(
            f"data {spec!r} is incomplete: write {next(form for form in SYNTAX if form.startswith(scheme))}"
        )
    if scheme == "digits" and colon:
        raise DataError(f"data {spec!r} says more than needed: write digits")
    own = (
        scheme in ("tfds", "digits") or rest.partition("?")[0] == "digits"
    )  # these have fixed names
    return SCHEMES[scheme](spec, rest, split if own else filenames.split_of(split) or split)


def _options(spec: str, rest: str, known: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """Split `DIR?name=value` into DIR and its options; a "?" in the name of something that exists stays."""
    path, options = _split(spec, rest, known[0])
    for option in options:
        if option not in known:
            raise DataError(
                f"data {spec!r} has the unknown option {option!r}: known here: {', '.join(known)}"
            )
    return path, options


def _split(spec: str, rest: str, example: str) -> tuple[str, dict[str, str]]:
    path, mark, query = rest.rpartition("?")
    if not mark or os.path.exists(
        os.path.expanduser(rest)
    ):  # unlike Path.exists, it takes names that are too long for a file
        return rest, {}
    options = dict(parse_qsl(query, keep_blank_values=True))
    if not options:
        raise DataError(f"data {spec!r} has options that cannot be read: write ?{example}=...")
    return path, options


def _load_digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Of one split, scikit-learn's images (float [N, 8, 8] in 0..16) and their classes."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    parts = {"train": slice(0, DIGITS_TRAIN), "test": slice(DIGITS_TRAIN, None), "all": slice(None)}
    if split not in parts:
        raise DataError(f"digits has no split {split!r}: its splits are {', '.join(parts)}")
    return bunch.images[parts[split]], bunch.target[parts[split]].astype(np.int32)


def _digits(spec: str, rest: str, split: str) -> Source:
    pictures, labels = _load_digits(split)
    return _in_memory(
        spec,
        np.round(pictures * (255 / 16)).astype(np.uint8)[..., None],
        labels,
        None,
        None,
        "digits",
    )


def _views(spec: str, rest: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The digits of one split as domain "a" and as domain "b" draws them."""
    _, options = _options(spec, rest, ("task",))
    task = options.get("task", digit_views.TASKS[0])
    if task not in digit_views.TASKS:
        raise DataError(
            f"data {spec!r} has the unknown task {task!r}: the tasks are {', '.join(digit_views.TASKS)}"
        )
    coverage = _load_digits(split)[0] / 16
    return digit_views.render(coverage, task, "a"), digit_views.render(coverage, task, "b")


def _paired(spec: str, rest: str, split: str) -> Source:
    if rest.partition("?")[0] != "digits":
        return pairs.source(spec, rest, split)
    a, b = _views(spec, rest, split)
    names = [f"example {i}" for i in range(len(a))]
    return Source(
        spec, names, lambda i: (a[i], b[i]), None, (), None, None, "digits", parts=pairs.PARTS
    )


def _unpaired(spec: str, rest: str, split: str) -> Found:
    if rest.partition("?")[0] != "digits":
        return unpaired.sources(spec, rest, split)
    a, b = _views(spec, rest, split)  # no digit is in both domains
    return (
        _in_memory(pairs.title(spec, "A"), a[0::2], None, None, None, "digits"),
        _in_memory(pairs.title(spec, "B"), b[1::2], None, None, None, "digits"),
    )


def _attributes(spec: str, rest: str, split: str) -> Source:
    path, options = _split(spec, rest, attributes.OPTIONS[0])
    if path != "digits":
        return attributes.source(spec, Path(path).expanduser(), options, split)
    if options:
        raise DataError(f"data {spec!r} says more than needed: write attributes:digits")
    pixels, number = digit_views.in_inks(_load_digits(split)[0] / 16)
    names = tuple(digit_views.INKS)
    found = _in_memory(spec, pixels, None, None, None, "digits")
    return replace(
        found,
        attributes=np.eye(len(names), dtype=np.uint8)[number],
        attribute_names=names,
        groups=(("ink", len(names)),),
    )


def _layout(spec: str, rest: str, split: str) -> Source:
    if rest.partition("?")[0] != "digits":
        path, options = _options(spec, rest, layouts.OPTIONS)
        return layouts.source(spec, path, options, split)
    _, options = _options(spec, rest, ("style",))
    style = options.get("style", digit_views.STYLES[0])
    if style not in digit_views.STYLES:
        raise DataError(
            f"data {spec!r} has the unknown style {style!r}: the styles are {', '.join(digit_views.STYLES)}"
        )
    maps = digit_views.stroke_maps(_load_digits(split)[0] / 16)
    pixels = digit_views.painted(maps, style)
    names = [f"example {i}" for i in range(len(maps))]
    return Source(
        spec,
        names,
        lambda i: (pixels[i], maps[i]),
        None,
        digit_views.STROKES,
        None,
        None,
        "digits",
        parts=layouts.PARTS[:2],
    )


def _idx(spec: str, rest: str, split: str) -> Source:
    path, options = _options(spec, rest, ("prefix",))
    folder, prefix = Path(path).expanduser(), options.get("prefix", "")
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: name the folder that holds the IDX files")
    if split not in ("train", "test", "all"):
        raise DataError(f"{spec} has no split {split!r}: its splits are train, test, all")
    parts = ("train", "test") if split == "all" else (split,)
    loaded = [idx.load(folder, prefix, part) for part in parts]
    if len({pixels.shape[1:] for pixels, _ in loaded}) > 1:
        raise DataError(
            f"{spec} has images of other sizes in its test files than in its training files: use files that belong together"
        )
    known = [labels for _, labels in loaded if labels is not None]
    labels = np.concatenate(known) if len(known) == len(loaded) else None
    classes = () if labels is None else tuple(map(str, range(idx.class_count(folder, prefix))))
    paths = [idx.find(folder, prefix, part, "images") for part in parts]
    paths += [
        idx.find(folder, prefix, part, "labels") for part in ("train", "test")
    ]  # which number the classes
    stamp = [
        [path.name, path.stat().st_size, path.stat().st_mtime_ns]
        for path in paths
        if path is not None
    ]
    pixels = loaded[0][0] if len(loaded) == 1 else np.concatenate([pixels for pixels, _ in loaded])
    found = _in_memory(spec, pixels, labels, stamp, folder / CACHE_NAME, f"idx {prefix} {split}")
    return replace(found, classes=classes)


def _in_memory(
    spec: str,
    pixels: np.ndarray,
    labels: np.ndarray | None,
    stamp,
    home: Path | None,
    identity: str,
) -> Source:
    classes = () if labels is None else tuple(map(str, range(int(labels.max()) + 1)))
    names = [f"example {i}" for i in range(len(pixels))]
    return Source(
        spec, names, pixels.__getitem__, labels, classes, stamp, home, identity, array=pixels
    )


def _tfds(spec: str, rest: str, split: str) -> Found:
    name, options = _options(spec, rest, ("data_dir",))
    splits = tfds.domain_splits(name, split)
    if splits is None:
        return tfds.source(spec, name, options.get("data_dir"), split)
    a, b = (tfds.source(spec, name, options.get("data_dir"), part) for part in splits)
    return (
        replace(a, name=pairs.title(spec, "A"), labels=None, classes=()),
        replace(b, name=pairs.title(spec, "B"), labels=None, classes=()),
    )


SCHEMES: dict[str, Callable[[str, str, str], Found]] = {
    "digits": _digits,
    "idx": _idx,
    "folder": lambda spec, rest, split: files.folder(spec, Path(rest).expanduser(), split),
    "zip": lambda spec, rest, split: files.archive(spec, Path(rest).expanduser(), split),
    "tfds": _tfds,
    "paired": _paired,
    "unpaired": _unpaired,
    "attributes": _attributes,
    "layout": _layout,
}
SYNTAX = (
    "digits",
    "idx:DIR",
    "folder:DIR",
    "zip:FILE",
    "tfds:NAME[/CONFIG]",
    "paired:DIR",
    "unpaired:DIR",
    "attributes:PATH",
    "layout:DIR",
)
