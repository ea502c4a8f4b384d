"""Label files beside images, `labels.csv` and StyleGAN's `dataset.json`; and how labels are numbered.

`labels.csv` has rows `file,label`, separated by commas, semicolons or tabs, with or without a header.
`dataset.json` is `{"labels": [["file", 3], ...]}`; `{"labels": null}` means that there are none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from jaxgan.data import cells, filenames, tables
from jaxgan.errors import DataError

MAX_CLASSES = 2**20
FILES = ("labels.csv", "labels.tsv", "dataset.json")
"""Names of label files, in any case; the preferred one first."""


@dataclass(frozen=True)
class Listed:
    """What a label file says: the label of each file as text; why others have none."""

    values: dict[str, str] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)


def find(files: Iterable[str], root: str) -> str | None:
    """Return the label file among `files` that lies in the folder `root` ("" or "a/b/"), if any."""
    start = len(root)
    inside = [file for file in files if file.startswith(root) and file.find("/", start) < 0]
    at = {file[start:].lower(): file for file in reversed(inside)}
    return next((at[name] for name in FILES if name in at), None)


def read(
    source: str, path: str, root: str, load: Callable[[str], bytes], known: Callable[[str], bool]
) -> Listed | None:
    """Return the labels that the file `path` of `source` lists; None where it says there are none.

    Args:
      root: the folder that its entries count from, "" or "a/b/".
      known: tells whether a path is one of an image of the set.

    Raises DataError naming the file and line: not UTF-8, not CSV or JSON of the expected form, a file
    listed twice.
    """
    where = f"{path} in {source}"
    text = tables.decoded(where, lambda: load(path))
    if path.lower().endswith(".json"):
        rows = _json_rows(where, text)
    else:
        rows = _table_rows(where, text, lambda cell: known(root + tidy(cell)))
    if rows is None:
        return None
    listed, absent = Listed(), cells.missing(value for _, _, value in rows)
    for place, cell, value in rows:
        file = root + tidy(cell)
        if file in listed.values or file in listed.bad:
            raise DataError(f"{where}, {place}: {file} is listed twice")
        if value in absent:
            listed.bad[file] = f"has no label in {path}, {place}"
        else:
            listed.values[file] = filenames.nfc(value)
    if not rows:
        raise DataError(f"{where} lists no labels: fill it or remove it")
    return listed


def tidy(cell: str) -> str:
    """Return the path that a cell names, composed and with slashes."""
    return filenames.nfc(cell).replace("\\", "/").removeprefix("./")


def _table_rows(where: str, text: str, known: Callable[[str], bool]) -> list[tuple[str, str, str]]:
    rows = tables.separated(where, text, known).rows
    for line, row in rows:
        if len(row) != 2 or not row[0]:
            got = ",".join(row)[:80]
            raise DataError(f"{where}, line {line}: expected `file,label`, got {got!r}")
    return [(f"line {line}", row[0], row[1]) for line, row in rows]


def _json_rows(where: str, text: str) -> list[tuple[str, str, str]] | None:
    form = '{"labels": [["file", 3], ...]}'
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{where} is not valid JSON ({error}): write it again or remove it"
        ) from None
    if not isinstance(content, dict) or "labels" not in content:
        raise DataError(f'{where} has no "labels": expected {form}')
    entries = content["labels"]
    if entries is None:  # StyleGAN's tools write this for sets without labels
        return None
    if not isinstance(entries, list):
        raise DataError(f'{where}: "labels" is no list; expected {form}')
    rows = []
    for number, entry in enumerate(entries):
        pair = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
        value = _text(pair[1])
        if not isinstance(pair[0], str) or not pair[0] or value is None:
            got = json.dumps(entry)[:80]
            raise DataError(f'{where}, entry {number}: expected ["file", 3], got {got}')
        rows.append((f"entry {number}", pair[0], value))
    return rows


def _text(value: object) -> str | None:
    """A label of a JSON file as text, "" where it is missing; None for what is no label."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    return value.strip() if isinstance(value, str) else repr(value)


# --------------------------------------------------------------------------------------- numbering


def folder_classes(folders: Iterable[str]) -> tuple[str, ...]:
    """Return class folders in their order: by number if all names are whole numbers, else by name."""
    found = set(folders)
    numbers = {name: value for name in found if (value := _integer(name)) is not None}
    if len(numbers) < len(found):
        return tuple(sorted(found))
    return tuple(sorted(found, key=lambda name: (numbers[name], name)))


def _integer(name: str) -> int | None:
    return None if "." in name or "," in name else cells.whole(name)


def numbered(where: str, values: Mapping[str, str]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the class of each file by its label as text, and the names of the classes.

    Whole numbers are the classes themselves, counted from 0. Other numbers are classes in their
    order, and anything else by name.

    Raises DataError: a negative label, or one beyond `MAX_CLASSES`.
    """
    texts = set(values.values())
    integers = {text: value for text in texts if (value := cells.whole(text)) is not None}
    floats = {text: real for text in texts if (real := cells.number(text)) is not None}
    if len(integers) == len(texts):
        for file, text in values.items():
            if not 0 <= integers[text] < MAX_CLASSES:
                what = f"{where} has the label {text[:40]} (as for {file})"
                raise DataError(f"{what}: labels count from 0, up to {MAX_CLASSES - 1}")
        classes = tuple(map(str, range(max(integers.values(), default=-1) + 1)))
        return {file: integers[text] for file, text in values.items()}, classes
    if len(floats) == len(texts):
        ordered = {value: i for i, value in enumerate(sorted(set(floats.values())))}
        index = {text: ordered[value] for text, value in floats.items()}
        classes = tuple(repr(value).removesuffix(".0") for value in ordered)
    else:
        classes = tuple(sorted(texts))
        index = {text: i for i, text in enumerate(classes)}
    return {file: index[text] for file, text in values.items()}, classes
