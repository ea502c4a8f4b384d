"""Text files of rows: which character separates the cells, whether row one is a header."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from typing import NamedTuple

from jaxgan.data import cells, filenames
from jaxgan.data.images import BadImage
from jaxgan.errors import DataError

SEPARATORS = ",;\t"

Row = tuple[int, list[str]]
"""Number of the line, and the stripped cells."""


class Table(NamedTuple):
    """The cells of the header, () without one; and the rows below it. Blank lines do not count."""

    header: tuple[str, ...]
    rows: list[Row]


def decoded(where: str, load: Callable[[], bytes]) -> str:
    """Return the text of a file. Raises DataError: not UTF-8, not readable, damaged in its archive."""
    try:
        content = load()
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        reason = f"{'it looks like UTF-16; ' * wide}{error.reason} at byte {error.start}"
        raise DataError(f"{where} is not UTF-8 text ({reason}): save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"{where} cannot be read: {error.strerror or error}") from None
    except BadImage as error:
        raise DataError(f"{where} {error}") from None


def separated(where: str, text: str, known: Callable[[str], bool]) -> Table:
    """Return the rows of a table whose cells are separated by commas, semicolons or tabs.

    Of these, the separator is the one that finds the most names of images in the first cells. Row
    one is a header if its first cell names no image of the set and has no extension of one.

    Args:
      known: tells whether a cell names an image of the set.

    Raises DataError: quotes that do not match, a field without end.
    """
    hint, _, rest = text.partition("\n")
    if hint.rstrip("\r").lower() in {f"sep={mark}" for mark in SEPARATORS}:  # written by Excel
        choices, text = hint[4], "\n" + rest
    else:
        choices = "".join(mark for mark in SEPARATORS if mark in text) or ","
    tried: list[tuple[tuple[int, bool], list[Row]]] = []
    failed: list[csv.Error] = []
    for mark in choices:
        try:
            rows = _rows(text, mark)
        except csv.Error as error:
            failed.append(error)
            continue
        named = sum(len(row) > 1 and known(row[0]) for _, row in rows)
        widths = {len(row) for _, row in rows}
        tried.append(((named, len(widths) == 1 and widths != {1}), rows))
    if not tried:
        raise DataError(f"{where} is not valid CSV ({failed[0]}): save it again as CSV")
    rows = max(tried, key=lambda one: one[0])[1]
    if rows and not known(rows[0][1][0]) and not filenames.is_image(rows[0][1][0]):
        return Table(tuple(rows[0][1]), rows[1:])
    return Table((), rows)


def _rows(text: str, mark: str) -> list[Row]:
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=mark, skipinitialspace=True)
    rows = [(reader.line_num, [filenames.nfc(cell).strip() for cell in row]) for row in reader]
    for number, row in rows:
        if any("\n" in cell or "\r" in cell for cell in row):
            raise csv.Error(f"a quote that is not closed before line {number}")
    return [(number, row) for number, row in rows if any(row)]


Attributes = tuple[tuple[str, ...], list[tuple[int, str, tuple[str, ...]]]]
"""Names of the columns; line, file and values of each row."""


def attributes(where: str, text: str, name: str, known: Callable[[str], bool]) -> Attributes:
    """Return a table of attributes; values are stripped text.

    It is headed by `file,name,...` (the first name does not count), or is one like CelebA's
    list_attr_celeba.txt: the number of rows, a line of names, then a file and the values, between blanks.

    Args:
      name: the table's name; .csv and .tsv are of the first form, others if their first line says so.
      known: tells whether a cell names an image of the set.

    Raises DataError naming the line: no header, a name twice, another number of values than of names,
    or of rows than announced; in a table like CelebA's, a value that is neither on nor off.
    """
    first = next((line for line in text.splitlines() if line.strip()), "")
    if name.lower().endswith((".csv", ".tsv")) or any(mark in first.strip() for mark in SEPARATORS):
        header, rows = separated(where, text, known)
        if not header:
            got = ",".join(rows[0][1])[:80] if rows else ""
            raise DataError(f"{where} has no header: expected `file,name,...`, got {got!r}")
        return _entries(where, header[1:], rows)
    return _spaced(where, text, known)


def _spaced(where: str, text: str, known: Callable[[str], bool]) -> Attributes:
    text = filenames.nfc(text)
    lines = [(n, line.split()) for n, line in enumerate(text.splitlines(), start=1) if line.strip()]
    first = lines[0][1] if lines else []
    if len(first) != 1 or not re.fullmatch(r"\d{1,18}", first[0], re.ASCII) or len(lines) < 2:
        form = "expected the number of rows, then a line of names; or a CSV file called .csv"
        raise DataError(f"{where} is no table like CelebA's: {form}")
    header = lines[1][1]
    if known(header[0]) or filenames.is_image(header[0]):
        got = ",".join(header)[:80]
        raise DataError(
            f"{where} has no header: expected `the names of the attributes`, got {got!r}"
        )
    columns, entries = _entries(where, tuple(header), lines[2:], int(first[0]))
    allowed = next((pair for pair in cells.BINARY if _fits(pair, entries)), cells.BINARY[1])
    for number, file, values in entries:
        for value in values:
            if cells.binary({value}) is None or cells.word(value) not in allowed:
                words = " or ".join(allowed)
                raise DataError(
                    f"{where}, line {number}: the values of {file} must be {words}, got {value!r}"
                )
    return columns, entries


def _fits(pair: dict[str, int], entries: list[tuple[int, str, tuple[str, ...]]]) -> bool:
    return all(cells.word(value) in pair for _, _, values in entries for value in values)


def _entries(
    where: str, columns: tuple[str, ...], rows: list[Row], count: int | None = None
) -> Attributes:
    if not columns or not all(columns):
        got = ",".join(columns)[:80]
        raise DataError(f"{where} has no header: expected `file,name,...`, got {got!r}")
    twice = sorted(name for name in set(columns) if columns.count(name) > 1)
    if twice:
        raise DataError(f"{where} has two columns {twice[0]!r}: rename one")
    entries = [(number, row[0], tuple(row[1:])) for number, row in rows]
    for number, file, values in entries:
        if len(values) != len(columns) or not file:
            wanted = f"{len(columns)} value{'s' * (len(columns) > 1)}"
            raise DataError(
                f"{where}, line {number}: expected a file and {wanted}, got {len(values)} for {file!r}"
            )
    if not entries or count not in (None, len(entries)):
        remedy = ": fill it" if count is None else f", but announces {count}: fetch it again"
        raise DataError(f"{where} lists {len(entries) or 'no'} files{remedy}")
    return columns, entries
