"""`folder:DIR` and `zip:FILE`: which images there are, which class each has, and how to read one.

Sub-folders are classes, sorted by name. `labels.csv` (header `file,label`) or `dataset.json` (`{"labels": [["file", 3], ...]}`, as StyleGAN's
tools write it) beside the images takes precedence. Sub-folders `train`, `test`, `val` are splits. Hidden files are ignored, and one
folder that wraps everything else.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from jaxgan.data import images, labels
from jaxgan.data.source import CACHE_NAME, Source
from jaxgan.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
SPLITS = ("train", "test", "val")
MAX_FILE_BYTES = 2**30


@dataclass(frozen=True)
class Place:
    """A folder or an archive that holds images.

    names: its files, relative to it, in a fixed order.
    load: the bytes of one of them; raises OSError or BadImage.
    stamp: JSON-able; changes when these files do.
    home: where the cache of the decoded images would lie.
    identity: what kind of place it is, to tell the caches of one `home` apart.
    close: releases what `load` holds open.
    """

    names: list[str]
    load: Callable[[str], bytes]
    stamp: Callable[[list[str]], Any]
    home: Path
    identity: str
    close: Callable[[], None] = lambda: None


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


def in_folder(path: Path) -> Place:
    """The files below `path`. Raises DataError: no such folder, or one that cannot be read."""
    if not path.is_dir():
        what = "is a file, not a folder" if path.exists() else "does not exist"
        raise DataError(f"{path} {what}: name the folder that holds the images")
    stats = dict(walk(path))

    def read(file: str) -> bytes:
        target = path / file
        if target.stat().st_size > MAX_FILE_BYTES:
            raise images.BadImage(f"is larger than {MAX_FILE_BYTES} bytes")
        return target.read_bytes()

    return Place(list(stats), read, lambda names: [[file, *stats[file]] for file in names], path / CACHE_NAME, "folder")


def walk(path: Path):
    """Relative name, then (size, time of change), of every file, in a fixed order."""

    def refuse(error: OSError):
        raise DataError(f"{error.filename} cannot be read: {error.strerror}") from None

    seen = set()
    for parent, folders, files in os.walk(path, followlinks=True, onerror=refuse):
        real = os.path.realpath(parent)
        if real in seen:  # a link to a folder above it
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(x for x in folders if not _hidden(x))
        for file in sorted(files):
            full = os.path.join(parent, file)
            if not _hidden(file) and os.path.isfile(full):
                stat = os.stat(full)
                yield Path(full).relative_to(path).as_posix(), (stat.st_size, stat.st_mtime_ns)


def _hidden(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


def in_archive(path: Path) -> Place:
    """The files in a zip file. Raises DataError: no such file, no zip."""
    if not path.is_file():
        what = "is a folder, not a zip file" if path.is_dir() else "does not exist"
        raise DataError(f"{path} {what}: name the zip file that holds the images")
    try:
        stat = path.stat()
        packed = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path} is not a readable zip file ({error}): pack or fetch it again") from None
    infos = {x.filename: x for x in packed.infolist() if not x.is_dir() and not any(map(_hidden, PurePosixPath(x.filename).parts))}

    def read(file: str) -> bytes:
        if infos[file].file_size > MAX_FILE_BYTES:
            raise images.BadImage(f"unpacks to more than {MAX_FILE_BYTES} bytes")
        try:
            return packed.read(file)
        except Exception as error:  # wrong checksum, password, unknown compression, damaged stream: many types
            raise images.BadImage(f"cannot be unpacked ({error})") from None

    stamp = [[path.name, stat.st_size, stat.st_mtime_ns]]
    return Place(sorted(infos), read, lambda names: stamp, path.parent / CACHE_NAME, f"zip {path.name}", packed.close)


@dataclass(frozen=True)
class Choice:
    """pictures: the images of one split; kinds: the images of all splits, and the sub-folder each lies in, or None;
    label_file: the file of labels, or None, and label_root: the folder its entries count from, as "a/b/"."""

    pictures: list[str]
    kinds: dict[str, str | None]
    label_file: str | None
    label_root: str


def choose(name: str, files: list[str], split: str) -> Choice:
    """The images among `files` that one split holds. Raises DataError: no images, no such split."""
    every = [file for file in files if file.lower().endswith(SUFFIXES)]
    if not every:
        raise DataError(f"{name} holds no images (looked for {' '.join(SUFFIXES)}, in sub-folders too)")
    root = _wrapper(every, files)
    pictures, roots = every, [root]
    kinds = {file: _top(file, root) for file in every}
    tops = set(kinds.values())
    if "train" in tops and all(top in SPLITS for top in tops):
        kinds = {file: _top(file, f"{root}{top}/") for file, top in kinds.items()}
        if split != "all":
            roots = [f"{root}{split}/", root]
            pictures = [file for file in every if file.startswith(roots[0])]
        if not pictures:
            raise DataError(f"{name} has no split {split!r}: its splits are {', '.join(sorted(map(str, tops)))}")
    elif split not in ("train", "all"):
        raise DataError(f"{name} has no split {split!r}: put its images into sub-folders train/ and {split}/, or name another folder")
    for place in roots:
        for label_file in labels.paths(place):
            if label_file in files:
                return Choice(pictures, kinds, label_file, place)
    return Choice(pictures, kinds, None, root)


def _wrapper(pictures: list[str], files: list[str]) -> str:
    """The folder, as "a/b/", that holds all images, unless a label file lies further up."""
    root = ""
    while not any(file in files for file in labels.paths(root)):
        tops = {_top(file, root) for file in pictures}
        top = next(iter(tops))
        if len(tops) > 1 or top is None or top in SPLITS:
            break
        root = f"{root}{top}/"
    return root


def _top(file: str, root: str) -> str | None:
    top, slash, _ = file[len(root) :].partition("/")
    return top if slash else None


def _source(name: str, place: Place, split: str) -> Source:
    choice = choose(name, place.names, split)
    listed = None if choice.label_file is None else labels.read(name, choice.label_file, choice.label_root, place.load)
    files, bad = list(choice.pictures), {}
    numbers: list[int] | None = None
    classes: tuple[str, ...] = ()
    if listed is not None:
        by_file, classes = listed
        missing = sorted(by_file.keys() - choice.kinds.keys())
        bad = dict.fromkeys(missing, f"is listed in {choice.label_file}, but no such image is there")
        bad |= {file: f"has no label in {choice.label_file}" for file in files if file not in by_file}
        numbers = [by_file.get(file, -1) for file in files] + [-1] * len(missing)
        files += missing
    elif any(choice.kinds[file] for file in files):
        numbers, classes = _folder_classes(name, choice)
    values = None if numbers is None else np.array(numbers, np.int32)
    stamp = place.stamp(choice.pictures if choice.label_file is None else [*choice.pictures, choice.label_file])
    return Source(name, files, reader(place, files, bad), values, classes, stamp, place.home, f"{place.identity} {split}", place.close)


def reader(place: Place, files: list[str], bad: Mapping[str, str]) -> Callable[[int], np.ndarray]:
    """`Source.read` of these files of `place`; `bad`: why some of them are none to be used."""

    def pixels(i: int) -> np.ndarray:
        if files[i] in bad:
            raise images.BadImage(bad[files[i]])
        try:
            data = place.load(files[i])
        except OSError as error:
            raise images.BadImage(f"cannot be read ({error.strerror or error})") from None
        return images.decode(data)

    return pixels


def _folder_classes(name: str, choice: Choice) -> tuple[list[int], tuple[str, ...]]:
    kinds = [choice.kinds[file] for file in choice.pictures]
    refuse_stray(name, choice.pictures, kinds, "labels.csv")
    classes = tuple(sorted({str(kind) for kind in kinds}))
    index = {kind: i for i, kind in enumerate(classes)}
    return [index[str(kind)] for kind in kinds], classes


def refuse_stray(name: str, pictures: list[str], kinds: list[str | None], otherwise: str) -> None:
    """Raise DataError where some images lie in class sub-folders and others do not; `otherwise` is what to add instead."""
    if None in kinds:
        stray = pictures[kinds.index(None)]
        raise DataError(f"{name} has images in class sub-folders and images beside them (such as {stray}): move those into a class, or add {otherwise}")
