"""Label files beside images: `labels.csv` and StyleGAN's `dataset.json`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

from jaxgan.data.images import BadImage
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
    text = decoded(where, lambda: load(path))
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


def decoded(where: str, load: Callable[[], bytes]) -> str:
    """The text of a file. Raises DataError: not UTF-8, not readable, damaged in its archive."""
    try:
        return load().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"{where} cannot be read: {error.strerror or error}") from None
    except BadImage as error:
        raise DataError(f"{where} {error}") from None


Table = tuple[tuple[str, ...], list[tuple[int, str, tuple[str, ...]]]]
"""Names of the columns; line, file and values of each row."""


def table(where: str, text: str, comma: bool) -> Table:
    """A table of attributes; values are stripped text.

    Args:
      comma: CSV, headed by `file,name,...` (the first name does not count). Otherwise as in CelebA's list_attr_celeba.txt: the number of rows, a
        line of names, then a file and -1 or 1 for each name, between blanks.

    Raises DataError naming the line: no such header, a name twice, another number of values than of names, of rows than announced.
    """
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text, newline=""))] if comma else [line.split() for line in text.splitlines()]
    except csv.Error as error:
        raise DataError(f"{where} is not valid CSV ({error}): save it again as CSV") from None
    lines = [(number, row) for number, row in enumerate(rows, start=1) if any(row)]
    count = None if comma else _count(where, lines)
    header = lines[0 if comma else 1][1] if lines else []
    names = tuple(header[1:] if comma else header)
    if not names or not all(names) or "." in header[0]:
        form = "file,name,..." if comma else "the names of the attributes"
        raise DataError(f"{where} has no header: expected `{form}`, got {','.join(header)[:80]!r}")
    twice = sorted(name for name in set(names) if names.count(name) > 1)
    if twice:
        raise DataError(f"{where} has two columns {twice[0]!r}: rename one")
    entries = [(number, row[0], tuple(row[1:])) for number, row in lines[1 if comma else 2 :]]
    for number, file, values in entries:
        if len(values) != len(names) or not file:
            raise DataError(f"{where}, line {number}: expected a file and {len(names)} value{'s' * (len(names) > 1)}, got {len(values)} for {file!r}")
        if not comma and not set(values) <= {"-1", "1"}:
            raise DataError(f"{where}, line {number}: the values of {file} must be -1 or 1, got {next(v for v in values if v not in ('-1', '1'))!r}")
    if not entries or count not in (None, len(entries)):
        raise DataError(f"{where} lists {len(entries) or 'no'} files" + (f", but announces {count}: fetch it again" if count else ": fill it"))
    return names, entries


def _count(where: str, lines: list[tuple[int, list[str]]]) -> int:
    """The number of rows that the first line announces."""
    first = lines[0][1] if lines else []
    if len(first) != 1 or not first[0].isdecimal() or len(lines) < 2:
        raise DataError(f"{where} is no table like CelebA's: expected the number of rows, then a line of names; or a CSV file called .csv")
    return int(first[0])


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
