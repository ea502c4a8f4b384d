"""What a run knows of its data set, so that a changed set can be told from another one: counts, a fingerprint and the names of the files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxgan.pictures.images import write_whole

DATA_FILE = "data.json"
NAMES_FILE = "data_files.json.gz"
NAMED = 5
"""How many new or removed names a sentence lists."""
MOST_NAMES = 2_000_000
"""Of larger sets only the counts are kept."""


class DataRecord(NamedTuple):
    """What tells one data set from another.

    data: its spec. fingerprint: of its content. images: number of images in each array of images.
    files: names of its files.
    """

    data: str
    fingerprint: str
    images: dict[str, int]
    files: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """All but the files, JSON-able."""
        return {"data": self.data, "fingerprint": self.fingerprint, "images": self.images}


def write(run_dir: Path, record: DataRecord, changes: Sequence[dict[str, Any]]) -> None:
    """Record the data set, and the changes so far, in a run directory."""
    content = {**record.to_dict(), "changes": list(changes)}
    write_whole(run_dir / DATA_FILE, (json.dumps(content, indent=2) + "\n").encode())
    names = list(record.files) if len(record.files) <= MOST_NAMES else []
    write_whole(run_dir / NAMES_FILE, gzip.compress(json.dumps(names).encode(), mtime=0))


def changes(run_dir: Path) -> list[dict[str, Any]]:
    """The changes of the data set that the run went on with, earliest first."""
    found = _read(run_dir / DATA_FILE).get("changes")
    return (
        [change for change in found if isinstance(change, dict)] if isinstance(found, list) else []
    )


def change(
    run_dir: Path, record: DataRecord, fingerprint: str, images: int | None = None
) -> dict[str, Any]:
    """What changed since the data set was recorded; `in_words` says it.

    Args:
      fingerprint: the stored one.
      images: count at which the run goes on.
    """
    stored, now = _read(run_dir / DATA_FILE), record.to_dict()
    before = (
        {name: stored.get(name) for name in now}
        if stored.get("fingerprint") == fingerprint
        else {"fingerprint": fingerprint}
    )
    old, new = _names(run_dir) if before.get("images") else [], list(record.files)
    known, there = set(old), set(new)
    added = [name for name in new if name not in known] if old else []
    removed = [name for name in old if name not in there] if new else []
    differ = {
        "new": len(added),
        "first_new": added[:NAMED],
        "removed": len(removed),
        "first_removed": removed[:NAMED],
    }
    return {"images": images, "before": before, "after": now, **(differ if old and new else {})}


def in_words(change: dict[str, Any]) -> str:
    """A clause without a full stop: counts before and now, and the first new and removed names."""
    before, now = _counted(change["before"].get("images")), _counted(change["after"]["images"])
    text = (
        f"the data set has changed: {before} before, {now} now"
        if before
        else f"the data set has changed: {now} now"
    )
    parts = [
        _listed(kind, change[kind], change[f"first_{kind}"])
        for kind in ("new", "removed")
        if change.get(kind)
    ]
    if "new" in change and not parts:
        parts = ["no new or removed names, but other content, labels or names of classes"]
    return "; ".join([text, *parts])


def _listed(kind: str, count: int, first: Sequence[str]) -> str:
    more = f" and {count - len(first):,} more" if count > len(first) else ""
    return f"{kind}: {', '.join(first)}{more}"


def _counted(images: Any) -> str:
    """ "50 images"; of several arrays "50 images in a and 40 in b"."""
    if not isinstance(images, dict) or not images:
        return ""
    if len(images) == 1:
        count = next(iter(images.values()))
        return f"{count:,} image{'s' * (count != 1)}"
    return " and ".join(f"{count:,} images in {name}" for name, count in images.items())


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _names(run_dir: Path) -> list[str]:
    try:
        content = json.loads(gzip.decompress((run_dir / NAMES_FILE).read_bytes()))
    except (OSError, ValueError, EOFError, RecursionError):
        return []
    return [name for name in content if isinstance(name, str)] if isinstance(content, list) else []
