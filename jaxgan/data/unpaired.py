"""`unpaired:DIR` and `unpaired:DIR_A,DIR_B`: two domains, A and B, each an ordinary set of images. Class sub-folders and labels are ignored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

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
        _source(spec, domain, path, names, stats, f"unpaired {domain} {split}", strays=strays)
        for domain, names in chosen.items()
    )
    return first, second


def _folder(spec: str, domain: str, path: Path, split: str) -> Source:
    name = pairs.title(spec, domain)
    stats = pairs.listed(path, name)
    found = pairs.in_split(pairs.places(stats), split, name)
    strays = {file: place.problem for file, place in found.items() if place.problem}
    return _source(
        spec, domain, path, list(found), stats, f"unpaired {split}", f"{path.name}/", strays
    )


def _source(
    spec: str,
    domain: str,
    path: Path,
    names: list[str],
    stats: dict[str, Facts],
    identity: str,
    prefix: str = "",
    strays: Mapping[str, str] | None = None,
) -> Source:
    def read(i: int):
        if strays and names[i] in strays:
            raise BadImage(strays[names[i]])
        return pairs.picture(path, names[i])

    stamp = [[file, *stats[file]] for file in names]
    return Source(
        pairs.title(spec, domain),
        [prefix + nfc(file) for file in names],
        read,
        None,
        (),
        stamp,
        path / CACHE_NAME,
        identity,
    )
