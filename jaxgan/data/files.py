"""`folder:DIR` and `zip:FILE`: which images there are, which class each has, and how to read one.

Sub-folders are classes, sorted by name. `labels.csv` (header `file,label`) or `dataset.json` (`{"labels": [["file", 3], ...]}`, as StyleGAN's
tools write it) beside the images takes precedence. Sub-folders `train`, `test`, `val` are splits. Hidden files are ignored, and one
folder that wraps everything else.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from jaxgan.data import images, labels
from jaxgan.data.source import CACHE_NAME, Source
from jaxgan.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
SPLITS = ("train", "test", "val")
MAX_FILE_BYTES = 2**30


def folder(name: str, path: Path, split: str) -> Source:
    """Source of the images below `path`. Raises DataError: no such folder, no images, labels that do not fit."""
    if not path.is_dir():
        what = "is a file, not a folder" if path.exists() else "does not exist"
        raise DataError(f"{path} {what}: name the folder that holds the images")
    stats = dict(walk(path))

    def read(file: str) -> bytes:
        target = path / file
        if target.stat().st_size > MAX_FILE_BYTES:
            raise images.BadImage(f"is larger than {MAX_FILE_BYTES} bytes")
        return target.read_bytes()

    choice = _choose(name, list(stats), split)
    counted = choice.pictures if choice.label_file is None else [*choice.pictures, choice.label_file]
    return _source(name, choice, read, [[file, *stats[file]] for file in counted], path / CACHE_NAME, f"folder {split}")


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


def archive(name: str, path: Path, split: str) -> Source:
    """Source of the images in a zip file; nothing is unpacked to disk. Raises DataError: no such file, no zip, as for `folder`."""
    if not path.is_file():
        what = "is a folder, not a zip file" if path.is_dir() else "does not exist"
        raise DataError(f"{path} {what}: name the zip file that holds the images")
    try:
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

    try:
        stat = path.stat()
        stamp = [[path.name, stat.st_size, stat.st_mtime_ns]]
        return _source(name, _choose(name, sorted(infos), split), read, stamp, path.parent / CACHE_NAME, f"zip {path.name} {split}", packed.close)
    except BaseException:
        packed.close()
        raise


@dataclass(frozen=True)
class _Choice:
    """pictures: the images of one split; kinds: the sub-folder each lies in, or None; every: the images of all splits;
    label_file: the file of labels, or None, and label_root: the folder its entries count from, as "a/b/"."""

    pictures: list[str]
    kinds: list[str | None]
    every: list[str]
    label_file: str | None
    label_root: str


def _choose(name: str, files: list[str], split: str) -> _Choice:
    every = [file for file in files if file.lower().endswith(SUFFIXES)]
    if not every:
        raise DataError(f"{name} holds no images (looked for {' '.join(SUFFIXES)}, in sub-folders too)")
    root = _wrapper(every, files)
    pictures, roots = every, [root]
    tops = {_top(file, root) for file in every}
    kinds = [_top(file, root) for file in every]
    if "train" in tops and all(top in SPLITS for top in tops):
        if split == "all":
            kinds = [_top(file, f"{root}{_top(file, root)}/") for file in every]
        else:
            roots = [f"{root}{split}/", root]
            pictures = [file for file in every if file.startswith(roots[0])]
            kinds = [_top(file, roots[0]) for file in pictures]
        if not pictures:
            raise DataError(f"{name} has no split {split!r}: its splits are {', '.join(sorted(map(str, tops)))}")
    elif split not in ("train", "all"):
        raise DataError(f"{name} has no split {split!r}: put its images into sub-folders train/ and {split}/, or name another folder")
    for place in roots:
        for label_file in labels.paths(place):
            if label_file in files:
                return _Choice(pictures, kinds, every, label_file, place)
    return _Choice(pictures, kinds, every, None, root)


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


def _source(name: str, choice: _Choice, load: Callable[[str], bytes], stamp, home: Path, identity: str, close=lambda: None) -> Source:
    listed = None if choice.label_file is None else labels.read(name, choice.label_file, choice.label_root, load)
    files, bad = list(choice.pictures), {}
    numbers: list[int] | None = None
    classes: tuple[str, ...] = ()
    if listed is not None:
        by_file, classes = listed
        missing = sorted(by_file.keys() - set(choice.every))
        bad = dict.fromkeys(missing, f"is listed in {choice.label_file}, but no such image is there")
        bad |= {file: f"has no label in {choice.label_file}" for file in files if file not in by_file}
        numbers = [by_file.get(file, -1) for file in files] + [-1] * len(missing)
        files += missing
    elif any(choice.kinds):
        numbers, classes = _folder_classes(name, choice)

    def pixels(i: int) -> np.ndarray:
        if files[i] in bad:
            raise images.BadImage(bad[files[i]])
        try:
            data = load(files[i])
        except OSError as error:
            raise images.BadImage(f"cannot be read ({error.strerror or error})") from None
        return images.decode(data)

    values = None if numbers is None else np.array(numbers, np.int32)
    return Source(name, files, pixels, values, classes, stamp, home, identity, close)


def _folder_classes(name: str, choice: _Choice) -> tuple[list[int], tuple[str, ...]]:
    if None in choice.kinds:
        stray = choice.pictures[choice.kinds.index(None)]
        raise DataError(f"{name} has images in class sub-folders and images beside them (such as {stray}): move those into a class, or add labels.csv")
    classes = tuple(sorted({str(kind) for kind in choice.kinds}))
    index = {kind: i for i, kind in enumerate(classes)}
    return [index[str(kind)] for kind in choice.kinds], classes
