"""`paired:DIR` and `paired:DIR_A,DIR_B`: images of two domains, A and B, that belong together. Also how folders of two domains are laid
out, for `unpaired:` too.

The domains are told by sub-folders A and B (or a and b), which may lie in or hold sub-folders train, test, val of splits (train/A or A/train; any
of `filenames.SPLIT_NAMES`), or by sub-folders such as trainA and trainB, as CycleGAN's sets have them. A pair has equal names in both, up to the
extension. In a split without such sub-folders every image is a pair: A its left half, B its right half. Other sub-folders are part of the names;
those that wrap everything, and hidden files, are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from jaxgan.data import filenames, images, listing
from jaxgan.data.listing import Facts
from jaxgan.data.source import CACHE_NAME, Source
from jaxgan.errors import DataError

DOMAINS = ("A", "B")
PARTS = ("a", "b")
OUTSIDE = "lies in no folder of a split"
"""What is wrong with an image beside folders of splits."""

Pair = tuple[np.ndarray, np.ndarray]

Meaning = Callable[[str], tuple[str | None, str | None]]
"""The split and the domain that a folder's name stands for."""


@dataclass(frozen=True)
class Place:
    """Where a file lies: its split and domain, None where its path names none, and the rest of its path, composed.

    problem: as in `Facts`. loose: it lies in no folder, but for those that wrap everything.
    """

    split: str | None
    domain: str | None
    key: str
    problem: str = ""
    loose: bool = False


def source(spec: str, rest: str, split: str) -> Source:
    """Source of pairs, whose parts are "a" and "b", from the folder `rest` or from two with a comma between.

    Unusable pairs (a missing partner, unequal sizes, an odd width, damage) raise BadImage when they are read; so do images that lie in
    neither domain where the others are laid out by domain.

    Raises DataError: no such folder, no images, no such split, only one of the two domains, two folders that look like domains but are not
    called A and B.
    """
    path = Path(rest).expanduser()
    folders = None if path.exists() else two_folders(spec, rest)
    if folders is None:
        stats = listed(path, spec)
        found, home, identity = in_split(places(stats), split, spec), path, f"paired {split}"
    else:
        path = Path()
        stats, found = _of_two_folders(spec, folders, split)
        home, identity = folders[0], f"paired {split} with {folders[1].resolve()}"
    domains = {place.domain for place in found.values()} - {None}
    if len(domains) == 1:
        need = "B" if "A" in domains else "A"
        raise DataError(
            f"{spec} holds no images of domain {need} in split {split!r}: put them, with equal names, into a folder {need} beside the other"
        )
    rows = _rows(found, spec)
    stamp = [[file, *stats[file], place.domain] for file, place in found.items()]
    return Source(
        spec,
        [filenames.nfc(row[0]) for row in rows],
        lambda i: _pair(path, *rows[i]),
        None,
        (),
        stamp,
        home / CACHE_NAME,
        identity,
        parts=PARTS,
    )


def title(spec: str, domain: str) -> str:
    """What to call one domain of a set, in messages."""
    return f"domain {domain} of {spec}"


def two_folders(spec: str, rest: str) -> tuple[Path, Path] | None:
    """The two folders of "DIR_A,DIR_B", or None without a comma. Names may hold commas too: the first cut that gives two folders is taken.

    Raises DataError: nothing before or after the comma.
    """
    cuts = [
        (rest[:i].strip(), rest[i + 1 :].strip())
        for i, character in enumerate(rest)
        if character == ","
    ]
    choices = [(Path(a).expanduser(), Path(b).expanduser()) for a, b in cuts if a and b]
    found = next((choice for choice in choices if choice[0].is_dir() and choice[1].is_dir()), None)
    if found is None and len(choices) < len(cuts):
        raise DataError(
            f"data {spec!r} names no folder on one side of its comma: write {spec.partition(':')[0]}:DIR_A,DIR_B"
        )
    return found or (choices[0] if choices else None)


def _of_two_folders(
    spec: str, folders: tuple[Path, Path], split: str
) -> tuple[dict[str, Facts], dict[str, Place]]:
    """What `listed` and `in_split` tell of one folder, of two that are A and B; the files are named with their folders."""
    if folders[0].resolve() == folders[1].resolve():
        raise DataError(f"data {spec!r} names one folder twice: name that of A and that of B")
    stats: dict[str, Facts] = {}
    found: dict[str, Place] = {}
    for domain, folder in zip(DOMAINS, folders):
        name = title(spec, domain)
        within = listed(folder, name)
        for file, place in in_split(places(within), split, name).items():
            full = (folder / file).as_posix()
            stats[full] = within[file]
            found[full] = replace(
                place, domain=domain, split=place.split if split == "all" else None
            )  # only one may have splits
    return stats, found


def listed(path: Path, name: str) -> dict[str, Facts]:
    """Return the facts of every image below `path`, by its name relative to `path`, in order; those that cannot be used too.

    Raises DataError: no such folder, no images; `name` is what to call the set.
    """
    if not path.is_dir():
        what = "is a file, not a folder" if path.exists() else "does not exist"
        raise DataError(f"{path} {what}: name the folder that holds the images of {name}")
    found = {
        file: facts
        for file, facts in listing.walk(path).items()
        if filenames.is_image(file) or facts.problem
    }
    if not found:
        raise DataError(
            f"{name} holds no images (looked for {' '.join(filenames.SUFFIXES)} in {path}, in sub-folders too)"
        )
    return dict(sorted(found.items(), key=lambda item: filenames.nfc(item[0])))


def places(found: Mapping[str, Facts], meaning: Meaning | None = None) -> dict[str, Place]:
    """Return where each file lies, by what folders are called; A and B, unless another `meaning` is given.

    Raises DataError: two folders side by side that mean the same split.
    """
    meaning = meaning or _meaning
    paths = {file: PurePosixPath(filenames.nfc(file)).parts for file in found}
    usable = [file for file in found if not found[file].problem] or list(found)
    depth = 0
    while (
        len(tops := {paths[file][depth] if len(paths[file]) > depth + 1 else "" for file in usable})
        == 1
    ):
        top = next(iter(tops))
        if not top or any(meaning(top)):
            break
        depth += 1  # a folder that wraps everything
    _refuse_twice([paths[file] for file in usable], depth, meaning)
    parts = {file: path[min(depth, len(path) - 1) :] for file, path in paths.items()}
    return {
        file: replace(_place(part, meaning), problem=found[file].problem, loose=len(part) == 1)
        for file, part in parts.items()
    }


def _refuse_twice(paths: list[tuple[str, ...]], depth: int, meaning: Meaning) -> None:
    """Raise DataError where two folders side by side mean the same split of the same images, such as val and dev."""
    seen: dict[tuple[tuple[str, ...], str, str | None], str] = {}
    for folders in {path[:-1] for path in paths}:
        for level in range(depth, len(folders)):
            split, domain = meaning(folders[level])
            if not (split or domain):
                break
            first = (
                seen.setdefault((folders[:level], split, domain), folders[level])
                if split
                else folders[level]
            )
            if first != folders[level]:
                both = " and ".join(sorted((first, folders[level])))
                raise DataError(
                    f"the folders {both}, side by side, both mean the split {split}: rename or join them"
                )


def _place(path: tuple[str, ...], meaning: Meaning) -> Place:
    split = domain = None
    for depth, folder in enumerate(path[:-1]):
        named_split, named_domain = meaning(folder)
        if (
            not (named_split or named_domain)
            or (named_split and split)
            or (named_domain and domain)
        ):
            return Place(split, domain, "/".join(path[depth:]))
        split, domain = split or named_split, domain or named_domain
    return Place(split, domain, path[-1])


def _meaning(folder: str) -> tuple[str | None, str | None]:
    """The split and the domain that a folder's name stands for: "train", "A" or "trainA" (or "a", "traina")."""
    split, domain = folder[:-1], folder[-1:].upper()
    if filenames.split_of(folder):
        return filenames.split_of(folder), None
    return (
        (filenames.split_of(split), domain)
        if domain in DOMAINS and (not split or filenames.split_of(split))
        else (None, None)
    )


def in_split(found: dict[str, Place], split: str, name: str) -> dict[str, Place]:
    """Return the files of one split, or of "all". Without folders of splits, "train" and "all" are everything.

    An image beside folders of splits is a problem of each. Raises DataError: no such split, other folders beside those of splits.
    """
    known = sorted({place.split for place in found.values() if place.split})
    outside = {
        file: place
        for file, place in found.items()
        if known and not place.split and not place.problem
    }
    stray = next((file for file, place in outside.items() if not place.loose), None)
    if stray is not None:
        remedy = "move them into a split, or rename those folders"
        raise DataError(
            f"{name} has folders of splits ({', '.join(known)}) and images in others, such as {stray}: {remedy}"
        )
    found = found | {file: replace(place, problem=OUTSIDE) for file, place in outside.items()}
    if split == "all" or (split == "train" and not known):
        return found
    if not known:
        raise DataError(
            f"{name} has no split {split!r}: put its images into sub-folders train and {split}, or name another folder"
        )
    if split not in known:
        raise DataError(f"{name} has no split {split!r}: its splits are {', '.join(known)}")
    return {
        file: place for file, place in found.items() if place.split in (split, None)
    }  # None: problems


def _rows(found: dict[str, Place], spec: str) -> list[tuple[str, str, str]]:
    """A's file, B's file and "" for each pair of files; a file, "" and "" for two images side by side; for what is none, a file, "" and why.

    Each split has a layout of its own. In order of the names. Raises DataError: see `_refuse_unnamed`.
    """
    by_folders = {place.split for place in found.values() if place.domain}
    by_halves = {
        file: place
        for file, place in found.items()
        if not (by_folders and place.split in {None, *by_folders})
    }
    _refuse_unnamed(by_halves, spec)
    if not by_folders:
        return [(file, "", place.problem) for file, place in by_halves.items()]
    by_domain: dict[str, dict[tuple[str, str], str]] = {"A": {}, "B": {}}
    rows = {}
    for file, place in found.items():
        key = (place.split or "", str(PurePosixPath(place.key).with_suffix("")))
        if place.domain is None or place.problem == OUTSIDE:
            rows[key, file] = (
                file,
                "",
                place.problem
                or ("" if file in by_halves else "lies in neither of the folders A and B"),
            )
            continue
        first = by_domain[place.domain].setdefault(key, file)
        if first != file:
            rows[key, file] = (file, "", f"has the same name as {first}, up to the extension")
    of_a, of_b = by_domain["A"], by_domain["B"]
    for key in of_a.keys() | of_b.keys():
        if key in of_a and key in of_b:
            rows[key, ""] = (of_a[key], of_b[key], "")
        else:
            alone, other = (of_a[key], "B") if key in of_a else (of_b[key], "A")
            rows[key, ""] = (alone, "", f"has no image of the same name in {other}")
    return [rows[key] for key in sorted(rows)]


def _refuse_unnamed(by_halves: dict[str, Place], spec: str) -> None:
    """Raise DataError where a split has no domains, but two folders that hold nearly the same names, which are domains then."""
    for split in sorted({place.split or "" for place in by_halves.values()}):
        held: dict[str, set[str]] = {}
        for place in by_halves.values():
            if (place.split or "") == split:
                top, slash, name = place.key.partition("/")
                held.setdefault(top if slash else "", set()).add(
                    str(PurePosixPath(name or top).with_suffix(""))
                )
        held.pop("", None)  # images beside the folders
        if len(held) != 2:
            continue
        first, second = held.values()
        if 10 * len(first & second) >= 9 * max(
            len(first), len(second)
        ):  # a few partners may be missing
            raise DataError(
                f"{spec} holds files of equal names in {' and '.join(sorted(held))}, which do not say which domain they are: rename these folders "
                "to A and B, or name both, paired:DIR_A,DIR_B (put images that hold A and B side by side into one folder)"
            )


def _pair(path: Path, file_a: str, file_b: str, reason: str) -> Pair:
    if reason:
        raise images.BadImage(reason)
    a = picture(path, file_a)
    if not file_b:
        return halves(a)
    try:
        b = picture(path, file_b)
    except images.BadImage as error:
        raise images.BadImage(f"has the partner {filenames.nfc(file_b)}, which {error}") from None
    if a.shape[:2] != b.shape[:2]:
        sizes = [f"{image.shape[0]}x{image.shape[1]}" for image in (a, b)]
        raise images.BadImage(
            f"is {sizes[0]}, but its partner {filenames.nfc(file_b)} is {sizes[1]}: both images of a pair must be of one size"
        )
    return a, b


def halves(image: np.ndarray) -> Pair:
    """[H, 2W, C] -> A, the left half, and B, the right half: [H, W, C] each. Raises BadImage for an odd width."""
    width = image.shape[1]
    if width % 2:
        raise images.BadImage(
            f"is {width} pixel{'s' * (width > 1)} wide: A and B side by side need an even width"
        )
    return image[:, : width // 2], image[:, width // 2 :]


def picture(
    path: Path, file: str, decode: Callable[[bytes], np.ndarray] = images.decode
) -> np.ndarray:
    """The image in `path`/`file`, see `images.decode`. Raises BadImage."""
    return decode(listing.load(path / file))
