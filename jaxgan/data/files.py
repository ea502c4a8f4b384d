"""`folder:DIR` and `zip:FILE`: which images there are, which class each has, and how to read one.

Sub-folders are classes, in the order of their names, or as numbers if all are whole numbers. A label file
beside the images takes precedence, see `jaxgan.data.labels`. Sub-folders `train`, `test`, `val`, or called
as in `filenames.SPLIT_NAMES`, are splits. A class has the same number in each. Hidden files are ignored, and
one folder that wraps everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jaxgan.data import filenames, images, labels
from jaxgan.data.listing import Place, in_archive, in_folder
from jaxgan.data.source import Source
from jaxgan.errors import DataError


def folder(name: str, path: Path, split: str) -> Source:
    """Source of the images below `path`. Raises DataError: no such folder, no images, labels that do not fit."""
    return _source(name, in_folder(path), split)


def archive(name: str, path: Path, split: str) -> Source:
    """Source of the images in a zip file; nothing is unpacked to disk. Raises DataError: no such file, no zip, as for `folder`."""
    place = in_archive(path)
    try:
        return _source(name, place, split)
    except BaseException:
        place.close()
        raise


# --------------------------------------------------------------------------------- which images


@dataclass(frozen=True)
class Part:
    """The images of one split.

    kinds: the sub-folder that each image lies in, or None.
    label_file: the file of their labels, or None; its entries count from `label_root`, as "a/b/".
    """

    kinds: dict[str, str | None]
    label_file: str | None
    label_root: str


@dataclass(frozen=True)
class Choice:
    """Which images of a place one split holds.

    root: the folder, as "a/b/", that holds everything.
    pictures: the images of the split, in order.
    parts: all splits by name; a single "train" where there are no folders of splits.
    chosen: the names of those wanted.
    """

    root: str
    pictures: list[str]
    parts: dict[str, Part]
    chosen: tuple[str, ...]

    @property
    def kinds(self) -> dict[str, str | None]:
        """The images of all splits, and the sub-folder each lies in, or None."""
        return {file: kind for part in self.parts.values() for file, kind in part.kinds.items()}


def choose(name: str, place: Place, split: str) -> Choice:
    """Return the images of a place that one split holds, those that cannot be used too.

    Raises DataError: no images, no such split, folders of splits beside others.
    """
    every = place.images
    if not every:
        raise DataError(
            f"{name} holds no images (looked for {' '.join(filenames.SUFFIXES)}, in sub-folders too)"
        )
    usable = [file for file in every if file not in place.problems] or every
    root = _wrapper(usable, place.names)
    folders = _splits(name, {_top(file, root) for file in usable})
    if not folders:
        if split not in ("train", "all"):
            raise DataError(
                f"{name} has no split {split!r}: put its images into sub-folders train/ and {split}/, or name another folder"
            )
        only = _part(every, place.names, root, (root,))
        _refuse_inner_splits(name, [file.removeprefix(root) for file in usable], only)
        return Choice(root, every, {"train": only}, ("train",))
    within = {
        part: [file for file in every if _top(file, root) == top] for part, top in folders.items()
    }
    chosen = tuple(sorted(folders)) if split == "all" else (split,)
    if split not in (*folders, "all"):
        raise DataError(
            f"{name} has no split {split!r}: its splits are {', '.join(sorted(folders))}"
        )
    others = {file for part in folders if part not in chosen for file in within[part]}
    parts = {}
    for part, top in folders.items():
        inside = f"{root}{top}/"
        parts[part] = _part(within[part], place.names, inside, (inside, root))
    return Choice(root, [file for file in every if file not in others], parts, chosen)


def _part(pictures: list[str], files: list[str], root: str, label_roots: Iterable[str]) -> Part:
    kinds = {file: _top(file, root) for file in pictures}
    found = ((labels.find(files, each), each) for each in label_roots)
    label_file, label_root = next((one for one in found if one[0]), (None, root))
    return Part(kinds, label_file, label_root)


def _splits(name: str, tops: set[str | None]) -> dict[str, str]:
    """Return the folder of each split; {} if no folder is one. Raises DataError: some are, or two are the same."""
    found: dict[str, str] = {}
    others = [top for top in tops if top is None or filenames.split_of(top) is None]
    for top in sorted(top for top in tops if top is not None):
        split = filenames.split_of(top)
        if split is not None and found.setdefault(split, top) != top:
            raise DataError(
                f"{name} has the folders {found[split]} and {top}, which both mean the split {split}: rename or join them"
            )
    if found and others:
        strays = sorted(f"the folder {top}" if top else "images" for top in others)
        more = f" and {len(strays) - 3} more" if len(strays) > 3 else ""
        raise DataError(
            f"{name} has folders of splits ({', '.join(sorted(found.values()))}) beside {', '.join(strays[:3])}{more}: "
            "move everything into folders of splits, or rename those that are classes"
        )
    return found


def _refuse_inner_splits(name: str, files: list[str], part: Part) -> None:
    """Raise DataError where every class folder holds folders of splits, and nothing else: they would be mixed."""
    inner = {
        filenames.split_of(folders[1]) if len(folders := file.split("/")) > 2 else None
        for file in files
    }
    if part.label_file is None and None not in inner and len(inner) > 1:
        raise DataError(
            f"{name} has folders of splits inside its class folders, such as {files[0]}: put the splits above the classes"
        )


def _wrapper(pictures: list[str], files: list[str]) -> str:
    """The folder, as "a/b/", that holds all images, unless a label file lies further up."""
    root = ""
    while labels.find(files, root) is None:
        tops = {_top(file, root) for file in pictures}
        top = next(iter(tops))
        if len(tops) > 1 or top is None or filenames.split_of(top):
            break
        root = f"{root}{top}/"
    return root


def _top(file: str, root: str) -> str | None:
    top, slash, _ = file.removeprefix(root).partition("/")
    return top if slash else None


# --------------------------------------------------------------------------------- their labels


@dataclass(frozen=True)
class Labelled:
    """The labels of a split, numbered together with those of the others.

    numbers: the class of each image that has one; None without labels.
    bad: why others have none. missing: files that are listed, but not there, and the reason.
    """

    numbers: dict[str, int] | None = None
    classes: tuple[str, ...] = ()
    bad: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)


def _source(name: str, place: Place, split: str) -> Source:
    choice = choose(name, place, split)
    found = _labelled(name, place, choice)
    files = [*choice.pictures, *sorted(found.missing)]
    values = None
    if found.numbers is not None:
        values = np.array([found.numbers.get(file, -1) for file in files], np.int32)
    tables = sorted({part.label_file for part in choice.parts.values() if part.label_file})
    return Source(
        name,
        files,
        reader(place, files, {**found.bad, **found.missing}),
        values,
        found.classes,
        [place.stamp([*choice.pictures, *tables]), found.classes],
        place.home,
        f"{place.identity} {split}",
        place.close,
    )


def _labelled(name: str, place: Place, choice: Choice) -> Labelled:
    """Return the labels of the wanted splits, numbered together with those of the others.

    Raises DataError: damaged files of labels, some images with labels and others without.
    """
    known, parts = choice.kinds, choice.parts
    tables = {
        part.label_file: labels.read(
            name, part.label_file, part.label_root, place.load, known.__contains__
        )
        for part in parts.values()
        if part.label_file
    }
    listed = {
        split: table
        for split, part in parts.items()
        if part.label_file and (table := tables[part.label_file])
    }
    usable = {
        split: [kind for file, kind in part.kinds.items() if file not in place.problems]
        for split, part in parts.items()
    }
    sorted_ = [split for split, part in parts.items() if not part.label_file and any(usable[split])]
    without = [
        split
        for split in choice.chosen
        if usable[split] and split not in listed and split not in sorted_
    ]
    if not {*choice.chosen} & {*listed, *sorted_}:
        return Labelled()
    if listed and sorted_:
        split = next(iter(listed))
        told = f"takes labels of the split {split} from {parts[split].label_file}, but those of {sorted_[0]} from sub-folders"
        raise DataError(f"{name} {told}: label all splits in one way")
    if without:
        raise DataError(
            f"{name} has labels, but none in the split {without[0]}: open another split, or add labels"
        )
    return _by_table(name, choice, listed) if listed else _by_folder(name, place, choice, sorted_)


def _by_table(name: str, choice: Choice, listed: Mapping[str, labels.Listed]) -> Labelled:
    files = {str(choice.parts[split].label_file): table for split, table in listed.items()}
    values = {file: value for table in files.values() for file, value in table.values.items()}
    numbers, classes = labels.numbered(f"{' and '.join(files)} in {name}", values)
    bad: dict[str, str] = {}
    missing: dict[str, str] = {}
    every = choice.kinds
    for split in (each for each in choice.chosen if each in listed):
        path, table = choice.parts[split].label_file, listed[split]
        absent = (table.values.keys() | table.bad.keys()) - every.keys()
        missing |= dict.fromkeys(absent, f"is listed in {path}, but no such image is there")
        unlabelled = [file for file in choice.parts[split].kinds if file not in table.values]
        bad |= {file: table.bad.get(file, f"has no label in {path}") for file in unlabelled}
    return Labelled(numbers, classes, bad, missing)


def _by_folder(name: str, place: Place, choice: Choice, splits: Iterable[str]) -> Labelled:
    every = choice.kinds
    usable = [file for file in choice.pictures if file not in place.problems]
    refuse_stray(name, usable, [every[file] for file in usable], "labels.csv")
    kinds = {
        file: kind
        for split in splits
        for file, kind in choice.parts[split].kinds.items()
        if kind and file not in place.problems
    }
    classes = labels.folder_classes(kinds.values())
    index = {kind: i for i, kind in enumerate(classes)}
    return Labelled({file: index[kind] for file, kind in kinds.items()}, classes)


# ------------------------------------------------------------------------------- how to read them


def reader(place: Place, files: list[str], bad: Mapping[str, str]) -> Callable[[int], np.ndarray]:
    """`Source.read` of these files of `place`; `bad`: why some of them are none to be used."""

    def pixels(i: int) -> np.ndarray:
        reason = place.problems.get(files[i]) or bad.get(files[i])
        if reason:
            raise images.BadImage(reason)
        try:
            data = place.load(files[i])
        except OSError as error:
            raise images.BadImage(f"cannot be read ({error.strerror or error})") from None
        return images.decode(data)

    return pixels


def refuse_stray(name: str, pictures: list[str], kinds: list[str | None], otherwise: str) -> None:
    """Raise DataError where some images lie in class sub-folders and others do not; `otherwise` is what to add instead."""
    if None in kinds:
        stray = pictures[kinds.index(None)]
        raise DataError(
            f"{name} has images in class sub-folders and images beside them (such as {stray}): move those into a class, or add {otherwise}"
        )
