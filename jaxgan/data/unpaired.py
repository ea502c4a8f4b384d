"""`unpaired:DIR` and `unpaired:DIR_A,DIR_B`: two domains, A and B, each an ordinary set of images. Class sub-folders and labels are ignored."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from jaxgan.data import pairs
from jaxgan.data.filenames import nfc
from jaxgan.data.images import BadImage
from jaxgan.data.listing import Facts
from jaxgan.data.source import CACHE_NAME, Source
from jaxgan.errors import DataError


def sources(spec: str, rest: str, split: str) -> tuple[Source, Source]:
    """The sources of A and B: from one folder, laid out as `pairs` says, or from two folders with a comma between.

    Raises DataError: no such folder or split, a domain without images, nothing on one side of the comma.
    """
    path = Path(rest).expanduser()
    folders = None if path.exists() else pairs.two_folders(spec, rest)
    if folders is not None:
        first, second = (
            _folder(spec, domain, folder, split) for domain, folder in zip(pairs.DOMAINS, folders)
        )
        return first, second
    stats = pairs.listed(path, spec)
    found = pairs.in_split(pairs.places(stats), split, spec)
    chosen = {
        domain: [file for file, place in found.items() if place.domain == domain]
        for domain in pairs.DOMAINS
    }
    strays = {
        file: place.problem or "lies in neither of the domains A and B"
        for file, place in found.items()
        if not place.domain
    }
    for domain, names in chosen.items():
        if not names:
            part = "train" if split == "all" else split
            raise DataError(
                f"{spec} holds no images of domain {domain}: put them into {path}/{part}{domain}, or name two folders, unpaired:DIR_A,DIR_B"
            )
    chosen["A"] += strays  # which are reported once
    first, second = (
        _source(
            _Files(path, names, stats, strays),
            pairs.title(spec, domain),
            f"unpaired {domain} {split}",
        )
        for domain, names in chosen.items()
    )
    return first, second


def _folder(spec: str, domain: str, path: Path, split: str) -> Source:
    name = pairs.title(spec, domain)
    stats = pairs.listed(path, name)
    found = pairs.in_split(pairs.places(stats), split, name)
    strays = {file: place.problem for file, place in found.items() if place.problem}
    files = _Files(path, list(found), stats, strays)
    return _source(files, name, f"unpaired {split}", f"{path.name}/")


class _Files(NamedTuple):
    """Files of a domain in a folder: all names, facts of each, and what is wrong with those that do not belong."""

    folder: Path
    names: list[str]
    stats: dict[str, Facts]
    strays: dict[str, str]


def _source(files: _Files, title: str, identity: str, prefix: str = "") -> Source:
    def read(i: int):
        if files.names[i] in files.strays:
            raise BadImage(files.strays[files.names[i]])
        return pairs.picture(files.folder, files.names[i])

    return Source(
        title,
        [prefix + nfc(file) for file in files.names],
        read,
        None,
        (),
        [[file, *files.stats[file]] for file in files.names],
        files.folder / CACHE_NAME,
        identity,
    )
