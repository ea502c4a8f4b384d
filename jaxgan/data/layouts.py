"""`layout:DIR` and `layout:IMAGES,MAPS[,INSTANCES]`: images, each with a map of class ids, and maps of instances where there are any.

    layout:city                      images/1.jpg  labels/1.png  instances/1.png, and sub-folders train, val, test within or around these
    'layout:camvid?unknown=11'       train/1.jpg  trainannot/1.png  val/...  valannot/...
    'layout:ade20k?unknown=0'        images/training/1.jpg  annotations/training/1.png  ...
    'layout:photos,maps?classes=sky,tree,road'

What the files of a folder are is told by its name, in any case and with or without a plural s: image, img, photo; layout, label, annot, annotation,
mask, seg, segmentation; inst, instance; SegmentationClass and the like of PASCAL VOC. It may begin with its split, as in trainannot or train_label; a
folder of a split alone holds images where none is called so. Training and validation are train and val. Files that belong together have equal names,
up to the extension; other sub-folders are part of the names.

Maps are PNG files, or others without loss, whose pixels are ids: grey of 1 to 16 bits, or indices of a palette. JPEG maps are refused, for compression
changes ids, and coloured maps too: `experiments.colour_layouts` converts them. Instance ids only tell one thing from its neighbour.

`unknown` is an id, or several with commas, of pixels of no class, 255 unless it is given; with 0 among them, ids count from 1 and classes from 0.
`classes` is their number; their names, with commas; or a text file of a name each line, in DIR or a path of its own. Without it the highest id of all
splits tells. In the arrays, ids are 0 to classes - 1, and `classes` where the class is unknown.

Masks of 0 and 255 (or 65535) alone, in all splits, have two classes, and nothing in them is unknown, unless `unknown` is given.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from jaxgan.data import filenames, images, pairs, tables
from jaxgan.data.listing import Facts
from jaxgan.data.source import CACHE_NAME, Source
from jaxgan.errors import DataError
from jaxgan.records import threads

OPTIONS = ("classes", "unknown")
PARTS = ("image", "layout", "instance")
UNKNOWN = 255

_NOUNS = {"image": "images", "layout": "label maps", "instance": "instance maps"}
_FOLDER = re.compile(
    rf"(?P<split>{'|'.join(sorted(filenames.SPLIT_NAMES, reverse=True))})?(?:\d{{4}})?[_-]?"
    r"(?:(?P<image>jpegimages?|image|img|photo)|(?P<layout>layout|label|annotation|annot|mask|segmentationclass|segmentation|seg)"
    r"|(?P<instance>instance|inst|segmentationobject))?(?:s|es)?"
)

Row = tuple[tuple[str, ...], str]
"""The files of one example, image first; and why it is none, or ""."""


@dataclass(frozen=True)
class Ids:
    """How the ids of a file become classes.

    unknown: ids of no class.
    count: number of classes; None: not known yet.
    white: the id that stands for class 1, in masks of 0 and that one; 0: ids stand for themselves.
    """

    unknown: tuple[int, ...]
    count: int | None
    white: int = 0

    @property
    def first(self) -> int:
        """The id of class 0."""
        return int(0 in self.unknown)

    def highest(self, ids: Iterable[int]) -> int:
        """The highest class among these ids; -1 where all are unknown."""
        known = set(ids) - set(self.unknown)
        return max(known) - self.first if known else -1

    def classes(
        self, ids: np.ndarray, count: int, remedy: str = "give another ?classes= or ?unknown="
    ) -> np.ndarray:
        """[H, W] -> classes, uint8 or uint16 [H, W], `count` where unknown. Raises BadImage: an id that is out of range; `remedy` says what else to do."""
        if self.white:
            ids = np.where(ids == self.white, 1, ids)
        unknown = np.isin(ids, self.unknown)
        wrong = ~unknown & (ids >= count + self.first)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            these = (
                f"{self.first} to {count + self.first - 1}"
                + f", and {' and '.join(map(str, self.unknown))} where unknown" * bool(self.unknown)
            )
            raise images.BadImage(
                f"has the id {ids[row, column]} in row {row}, column {column}, but ids are {these}: repair it, or {remedy}"
            )
        return np.where(unknown, count, ids.astype(np.int64) - self.first).astype(
            np.uint8 if count <= 255 else np.uint16
        )


def present(ids: np.ndarray) -> set[int]:
    """Which ids a map has."""
    return set(np.flatnonzero(np.bincount(ids.ravel())).tolist())


def white(ids: set[int]) -> int:
    """The brightest level, 255 or 65535, where there are no others but it and 0; else 0."""
    return next((level for level in (255, 65_535) if level in ids and ids <= {0, level}), 0)


def source(spec: str, rest: str, options: Mapping[str, str], split: str) -> Source:
    """Source whose parts are "image", "layout" (uint8 or uint16 [H, W]) and, where there are instance maps, "instance" (uint16 [H, W]).

    Unusable examples raise BadImage when they are read: a missing partner, a map of another size than its image, of colours, or with an id out
    of range; damage; images that lie in no folder of the layout.

    Raises DataError: no such folder or split, only images or only maps, options that cannot be read.
    """
    path = Path(rest).expanduser()
    root, listed, every = (
        _in_folders(spec, rest) if not path.exists() and "," in rest else _in_folder(spec, path)
    )
    found = pairs.in_split(every, split, spec)
    kinds = [part for part in PARTS if any(place.domain == part for place in found.values())]
    for need in PARTS[:2]:
        if need not in kinds:
            raise DataError(
                f"{spec} holds no {_NOUNS[need]} in split {split!r}: put images into a folder images and label maps, with equal names, into a folder "
                "labels beside it, or name both, layout:IMAGES,MAPS"
            )
    ids, names = _ids(spec, path, options)
    maps = [file for file, place in every.items() if place.domain == "layout"]
    settled = _settled(spec, root, maps, ids, "unknown" in options)
    used = (
        found if ids.count and "unknown" in options else every
    )  # the classes are those of all splits
    rows = _rows(found, kinds)

    def read(i: int) -> tuple[np.ndarray, ...]:
        return _read(root, *rows[i], settled)

    def counted() -> tuple[str, ...]:
        ids = settled()
        return ("0", str(ids.white)) if ids.white else tuple(map(str, range(ids.count or 0)))

    return Source(
        spec,
        [filenames.nfc(row[0][0]) for row in rows],
        read,
        None,
        names,
        [[file, *listed[file], place.domain] for file, place in used.items()],
        (path if path.exists() else Path(rest.split(",")[0]).expanduser()) / CACHE_NAME,
        f"layout {split} {ids.unknown}{' as told' * ('unknown' in options)} {ids.count} {names}"
        + (f" with {rest}" if not path.exists() else ""),
        parts=tuple(kinds),
        counted=None if names else counted,
    )


def class_names(spec: str, text: str, folder: Path) -> tuple[str, ...]:
    """What the option `classes` says: names of classes, "0", "1", ... where only their number is given. Raises DataError."""
    listed = next(
        (
            path
            for path in (folder / text, Path(text).expanduser())
            if "," not in text and not text.isdecimal() and path.is_file()
        ),
        None,
    )
    if listed is not None:
        names = tuple(
            line.strip()
            for line in tables.decoded(str(listed), listed.read_bytes).splitlines()
            if line.strip()
        )
    elif text.isdecimal():
        names = tuple(map(str, range(int(text)))) if 1 <= int(text) <= 65_535 else ()
    else:
        names = tuple(name.strip() for name in text.split(",")) if "," in text else ()
    if not names or not all(names) or len(set(names)) < len(names):
        raise DataError(
            f"data {spec!r} has classes={text}: give their number, at least 1, or different names with commas, or a file of a name each line"
        )
    return names


# ------------------------------------------------------------------------------------------------------------------ which files

Listed = dict[str, Facts]


def _meaning(folder: str) -> tuple[str | None, str | None]:
    """The split and the part that a folder's name stands for."""
    match = _FOLDER.fullmatch(folder.lower())
    if match is None:
        return None, None
    return filenames.SPLIT_NAMES.get(match["split"]), next(
        (part for part in PARTS if match[part]), None
    )


def _in_folder(spec: str, path: Path) -> tuple[Path, Listed, dict[str, pairs.Place]]:
    """The folder that file names count from; size and time of every file; where each lies, in all splits."""
    listed = pairs.listed(path, spec)
    found = pairs.places(listed, _meaning)
    if "image" in {place.domain for place in found.values()}:
        return path, listed, found
    return (
        path,
        listed,
        {
            file: place if place.domain else replace(place, domain="image")
            for file, place in found.items()
        },
    )


def _in_folders(spec: str, rest: str) -> tuple[Path, Listed, dict[str, pairs.Place]]:
    """As `_in_folder`, of two or three folders; files are named with theirs."""
    folders = [Path(text.strip()).expanduser() for text in rest.split(",")]
    if not 2 <= len(folders) <= 3 or len({folder.resolve() for folder in folders}) < len(folders):
        raise DataError(
            f"data {spec!r} must name two or three folders, of images, of label maps and of instance maps: write layout:IMAGES,MAPS[,INSTANCES]"
        )
    listed: Listed = {}
    found: dict[str, pairs.Place] = {}
    for part, folder in zip(PARTS, folders):
        name = f"the {_NOUNS[part]} of {spec}"
        within = pairs.listed(folder, name)
        for file, place in pairs.places(within, lambda text: (_meaning(text)[0], None)).items():
            full = (folder / file).as_posix()
            listed[full], found[full] = within[file], replace(place, domain=part)
    return Path(), listed, found


def _rows(found: Mapping[str, pairs.Place], kinds: list[str]) -> list[Row]:
    """The examples, in order of their names."""
    by_part: dict[str, dict[tuple[str, str], str]] = {kind: {} for kind in kinds}
    rows: dict[tuple[tuple[str, str], str], Row] = {}
    for file, place in found.items():
        key = (place.split or "", str(PurePosixPath(place.key).with_suffix("")))
        if place.domain is None or place.problem == pairs.OUTSIDE:
            rows[key, file] = (file,), place.problem or "lies in no folder of images or of maps"
            continue
        first = by_part[place.domain].setdefault(key, file)
        if first != file:
            rows[key, file] = (file,), f"has the same name as {first}, up to the extension"
    for key in set().union(*by_part.values()):
        have = [by_part[kind][key] for kind in kinds if key in by_part[kind]]
        missing = [_NOUNS[kind][:-1] for kind in kinds if key not in by_part[kind]]
        rows[key, ""] = (
            tuple(have),
            f"has no {' and no '.join(missing)} of the same name" if missing else "",
        )
    return [rows[key] for key in sorted(rows)]


# ------------------------------------------------------------------------------------------------------------------ what they hold


def _ids(spec: str, folder: Path, options: Mapping[str, str]) -> tuple[Ids, tuple[str, ...]]:
    """What the options say of ids, and the names of the classes."""
    unknown = options.get("unknown", str(UNKNOWN)).split(",")
    if not all(text.strip().isdecimal() and int(text) <= 65_535 for text in unknown):
        raise DataError(
            f"data {spec!r} has unknown={options['unknown']}: give an id from 0 to 65535, or several with commas"
        )
    names = class_names(spec, options["classes"], folder) if "classes" in options else ()
    return Ids(tuple(sorted({int(text) for text in unknown})), len(names) or None), names


def _settled(spec: str, root: Path, maps: list[str], ids: Ids, told: bool) -> Callable[[], Ids]:
    """What the maps tell beside the options: their number of classes, and whether they are masks. Reads them when first called, as far as needed.

    Args:
      told: the options say what is unknown, so that 255 is what they make of it.

    Raises DataError: no map that can be read, no pixel of a class, masks of two levels where more classes are expected.
    """
    if ids.count and (told or ids.count == 1):
        return lambda: ids
    lock = threading.Lock()
    found: list[Ids] = []

    def settle() -> Ids:
        with lock:
            if not found:
                found.append(
                    _with_levels(
                        spec, maps[0], ids, _levels(spec, root, maps, every=not ids.count), told
                    )
                )
        return found[0]

    return settle


def _levels(spec: str, root: Path, maps: list[str], every: bool) -> set[int]:
    """The ids of all maps together; unless `every`, of as many as show that they are no masks of two levels. Raises DataError: none can be read."""

    def look(file: str) -> set[int] | images.BadImage:
        try:
            return present(pairs.picture(root, file, images.decode_ids))
        except images.BadImage as error:
            return error

    levels: set[int] = set()
    bad = ""
    with ThreadPoolExecutor(8, thread_name_prefix="jaxgan-count") as pool:
        for start in range(0, len(maps), 64):
            looked = [(file, pool.submit(look, file)) for file in maps[start : start + 64]]
            for file, future in looked:
                found = threads.result(future, pool)
                if isinstance(found, set):
                    levels |= found
                else:
                    bad = bad or f"{file} {found}"
            if not every and len(levels) > 1 and not white(levels):
                break
    if not levels:
        raise DataError(f"no label map of {spec} can be read: {bad}")
    return levels


def _with_levels(spec: str, first: str, ids: Ids, levels: set[int], told: bool) -> Ids:
    """`ids` with what the levels of all maps tell; `first`: a map to look at."""
    top = 0 if told or 0 not in levels else white(levels)
    if top and (ids.count or 2) > 2:
        raise DataError(
            f"the label maps of {spec} are masks of 0 and {top}, which are two classes, but ?classes= has {ids.count}: give two names, or "
            f"?unknown={top} if {top} stands for pixels of no class"
        )
    if top:
        return Ids((), 2, top)
    count = ids.count or 1 + ids.highest(levels)
    if not count:
        raise DataError(
            f"the label maps of {spec} hold no class in any pixel: look at {first}, or give another ?unknown="
        )
    return replace(ids, count=count)


def _read(
    root: Path, names: tuple[str, ...], reason: str, settled: Callable[[], Ids]
) -> tuple[np.ndarray, ...]:
    if reason:
        raise images.BadImage(reason)
    image = pairs.picture(root, names[0])
    maps = []
    for part, name in zip(PARTS[1:], names[1:]):
        try:
            array = pairs.picture(root, name, images.decode_ids)
            if array.shape != image.shape[:2]:
                sizes = [f"{height}x{width}" for height, width in (array.shape, image.shape[:2])]
                raise images.BadImage(
                    f"is {sizes[0]}, but the image {sizes[1]}: both must be of one size"
                )
            ids = settled() if part == "layout" else None
            maps.append(
                array.astype(np.uint16) if ids is None else ids.classes(array, ids.count or 0)
            )
        except images.BadImage as error:
            raise images.BadImage(f"has the {_NOUNS[part][:-1]} {name}, which {error}") from None
    return image, *maps
