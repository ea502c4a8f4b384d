"""Label files beside images: `labels.csv` and StyleGAN's `dataset.json`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

from jaxgan.errors import DataError

Labels = tuple[dict[str, int], tuple[str, ...]]
"""Label by file, and the names of the classes."""


def paths(root: str) -> tuple[str, str]:
    """Where label files of images below `root` ("" or "a/b/") would lie, the preferred one first."""
    return f"{root}labels.csv", f"{root}dataset.json"


def read(source: str, path: str, root: str, load: Callable[[str], bytes]) -> Labels | None:
    """The labels that the file `path` of `source` lists, for files named relative to `root`; None where it says that there are none.

    Labels are numbers from 0, or names (then classes are the sorted names).

    Raises DataError naming the file and line: not UTF-8, not CSV or JSON of the expected form, a file listed twice, a negative label.
    """
    where = f"{path} in {source}"
    try:
        text = load(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"{where} cannot be read: {error.strerror or error}") from None
    rows = _csv_rows(where, text) if path.endswith(".csv") else _json_rows(where, text)
    if rows is None:
        return None
    values: dict[str, str | int] = {}
    for place, file, value in rows:
        file = root + file.replace("\\", "/").removeprefix("./")
        if file in values:
            raise DataError(f"{where}, {place}: {file} is listed twice")
        values[file] = value
    if not values:
        raise DataError(f"{where} lists no labels: fill it or remove it")
    return _number(where, values)


def _number(where: str, values: dict[str, str | int]) -> Labels:
    try:
        numbers = {file: int(value) for file, value in values.items()}
    except ValueError:
        classes = tuple(sorted({str(value) for value in values.values()}))
        index = {name: i for i, name in enumerate(classes)}
        return {file: index[str(value)] for file, value in values.items()}, classes
    file, low = min(numbers.items(), key=lambda item: item[1])
    high = max(numbers.values())
    if low < 0 or high >= 2**20:
        raise DataError(f"{where} has the label {low if low < 0 else high} (as for {file}): labels count from 0")
    return numbers, tuple(map(str, range(high + 1)))


def _csv_rows(where: str, text: str) -> list[tuple[str, str, str | int]]:
    rows: list[tuple[str, str, str | int]] = []
    for line, row in enumerate(csv.reader(io.StringIO(text, newline="")), start=1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or (line == 1 and [cell.lower() for cell in cells] == ["file", "label"]):
            continue
        if len(cells) != 2 or not all(cells):
            raise DataError(f"{where}, line {line}: expected `file,label`, got {','.join(row)!r}")
        rows.append((f"line {line}", cells[0], cells[1]))
    return rows


def _json_rows(where: str, text: str) -> list[tuple[str, str, str | int]] | None:
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{where} is not valid JSON ({error}): write it again or remove it") from None
    if not isinstance(content, dict) or "labels" not in content:
        raise DataError(f'{where} has no "labels": expected {{"labels": [["file", 3], ...]}}')
    entries = content["labels"]
    if entries is None:  # StyleGAN's tools write this for sets without labels
        return None
    if not isinstance(entries, list):
        raise DataError(f'{where}: "labels" is no list; expected {{"labels": [["file", 3], ...]}}')
    for number, entry in enumerate(entries):
        good = isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str) and type(entry[1]) is int
        if not good:
            raise DataError(f'{where}, entry {number}: expected ["file", 3], got {json.dumps(entry)[:80]}')
    return [(f"entry {number}", file, value) for number, (file, value) in enumerate(entries)]
