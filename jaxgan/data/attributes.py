"""`attributes:PATH[?...]`: the images of a folder or zip file, each with a vector of attributes, 0 or 1.

    attributes:faces                                                sub-folders: one exclusive group, a column for each
    'attributes:faces?table=faces.csv'                              file,Smiling,hair  /  1.jpg,1,brown  /  ...
    'attributes:celeba?table=list_attr_celeba.txt&select=Male,Young'
    'attributes:faces.zip?names={age}_{gender}_*&age=0-19,20-39,40-200&gender=male:0,female:1'
    'attributes:celeba?table=list_attr_celeba.txt+attributes:rafd'  several sets at once, see `jaxgan.data.combine`

`table` is looked for in PATH, beside it, and as a path of its own; files are named in it from the folder it lies in, from PATH, or, where only
one image has it, by the mere name. Its cells are separated by commas, semicolons or tabs. In `names`, a field {NAME} stands for at least one
character, but for none of those beside it in the pattern, and * for any; a pattern with slashes takes in the folders above the file; the
extension may be left out. `select` chooses columns of the table, or fields, in the order wanted.

A column or field whose values are all 0 or 1, -1 or 1, true or false, or yes or no, in any case, is one binary attribute. Other values are
classes: an exclusive group with a column NAME_VALUE for each. In a table 3.0 is 3, and NaN is a missing value. An option NAME=BIN,BIN,...
sorts values into bins, an exclusive group too: a bin is a range LOW-HIGH, both ends within, or a single value; TITLE:BIN gives it a title. An
image whose value is missing or in no bin cannot be used. Columns follow from the images of all splits, so they are the same in each.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from jaxgan.data import cells, filenames, files, labels, tables
from jaxgan.data.listing import Place, in_archive, in_folder
from jaxgan.data.source import Groups, Source
from jaxgan.errors import DataError

OPTIONS = ("table", "names", "select")
MAX_CLASSES = 50
"""Values that a column may have without bins."""

_NUMBER = r"-?\d+(?:\.\d+)?"


@dataclass
class Values:
    """What is known of images, as text.

    fields: names of the columns.
    rows: by image, its values, one for each field.
    bad: by image, or file that is none, why there is no row.
    plain: the columns are classes called by their values alone, as sub-folders are.
    where: by image, which row of a table tells its values.
    """

    fields: tuple[str, ...]
    rows: dict[str, tuple[str, ...]]
    bad: dict[str, str] = field(default_factory=dict)
    plain: bool = False
    where: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Bin:
    """A value as text, or a range of numbers; `title` names its column."""

    title: str
    text: str
    low: float
    high: float

    def holds(self, value: str) -> bool:
        """Whether a value lies in the bin."""
        return value == self.text or (
            re.fullmatch(_NUMBER, value) is not None and self.low <= float(value) <= self.high
        )


def source(spec: str, path: Path, options: Mapping[str, str], split: str) -> Source:
    """Source of images with attributes; options as above. Images that have none raise BadImage when they are read.

    Raises DataError: nothing at `path`, no such split, no such table or a damaged one, an unknown option or column, unusable bins, a table or
    pattern that fits no image.
    """
    if not path.exists():
        raise DataError(
            f"{path} does not exist: name the folder or zip file that holds the images of {spec}"
        )
    options = {
        filenames.nfc(option): value if option == "table" else filenames.nfc(value)
        for option, value in options.items()
    }
    place = in_folder(path) if path.is_dir() else in_archive(path)
    try:
        choice = files.choose(spec, place, split)
        values = _chosen(spec, _values(spec, path, place, choice, options), options)
        return _source(spec, place, choice, values, _bins(spec, values, options), split)
    except BaseException:
        place.close()
        raise


def _values(
    spec: str, path: Path, place: Place, choice: files.Choice, options: Mapping[str, str]
) -> Values:
    for option in OPTIONS:
        if options.get(option) == "":
            raise DataError(f"data {spec!r} leaves {option} empty: write {option}=...")
    if "table" in options and "names" in options:
        raise DataError(f"data {spec!r} has both a table and a pattern of names: choose one")
    if "table" in options:
        return _from_table(spec, path, place, choice, options["table"])
    return (
        from_names(spec, list(choice.kinds), options["names"])
        if "names" in options
        else _from_folders(spec, place, choice)
    )


def _from_folders(spec: str, place: Place, choice: files.Choice) -> Values:
    usable = {file: kind for file, kind in choice.kinds.items() if file not in place.problems}
    kinds = list(usable.values())
    if len(set(kinds)) < 2:
        raise DataError(
            f"{spec} has no sub-folders to tell attributes by: sort the images into some, or give ?table=FILE or ?names=PATTERN"
        )
    files.refuse_stray(spec, list(usable), kinds, "?table=FILE")
    return Values(
        ("class",), {file: (kind,) for file, kind in choice.kinds.items() if kind}, plain=True
    )


def from_names(spec: str, pictures: Sequence[str], pattern: str) -> Values:
    """The fields that a pattern finds in the names of files. Raises DataError: no or unclear fields, not one file that fits."""
    parts = re.split(r"(\{[^{}]*\}|\*)", pattern)  # text at even places, fields and stars between
    fields = tuple(part[1:-1] for part in parts[1::2] if part != "*")
    if (
        not fields
        or not all(re.fullmatch(r"\w[\w -]*", name) for name in fields)
        or len(set(fields)) < len(fields)
    ):
        raise DataError(
            f"data {spec!r} has names={pattern}: write fields with names of their own, such as {{age}}_{{gender}}_*"
        )
    rule = ""
    for i, part in enumerate(parts):
        before, after = (
            parts[i - 1][-1:] if i else "",
            parts[i + 1][:1] if i + 1 < len(parts) else "",
        )
        if i % 2 == 0:
            rule += re.escape(part)
        elif part == "*":
            rule += "[^/]*"
        elif (i > 1 and not before) or (i + 2 < len(parts) and not after):
            raise DataError(
                f"data {spec!r} has names={pattern}: {part} needs a character between it and its neighbour, such as _"
            )
        else:
            rule += f"([^/{re.escape(before)}{re.escape(after or '.')}]+)"
    shape, depth = re.compile(rule + r"(?:\.[^./]+)?"), pattern.count("/") + 1
    values = Values(fields, {})
    for file in pictures:
        match = shape.fullmatch("/".join(PurePosixPath(file).parts[-depth:]))
        if match:
            values.rows[file] = match.groups()
        else:
            values.bad[file] = f"is not named like {pattern}"
    if not values.rows:
        raise DataError(
            f"{spec} has no image that is named like {pattern}: they are called such as {pictures[0]}"
        )
    return values


def _from_table(spec: str, path: Path, place: Place, choice: files.Choice, name: str) -> Values:
    inside = _inside(place.names, choice.root, filenames.nfc(name))
    outside = next((x for x in (path.parent / name, Path(name).expanduser()) if x.is_file()), None)
    load: Callable[[], bytes]
    if inside is not None:
        where, load = f"{inside} in {path}", partial(place.load, inside)
    elif outside is not None:
        where, load = str(outside), outside.read_bytes
    else:
        raise DataError(
            f"{spec} has no table {name}: it is not in {path}, not beside it, and no file of its own"
        )
    found = _finder(choice, f"{PurePosixPath(inside).parent}/".removeprefix("./") if inside else "")
    text = tables.decoded(where, load)
    columns, entries = tables.attributes(where, text, name, lambda cell: found(cell) is not None)
    values, absent = (
        Values(columns, {}),
        [cells.missing(column) for column in zip(*(row for _, _, row in entries))],
    )
    for line, cell, row in entries:
        file = found(cell)
        if file is None:
            values.bad[labels.tidy(cell)] = f"is listed in {name}, but no such image is there"
        elif file in values.rows:
            raise DataError(f"{where}, line {line}: {file} is listed twice")
        else:
            values.rows[file] = tuple(
                "" if text in gone else _tidy(text) for text, gone in zip(row, absent)
            )
            values.where[file] = f" in {name}, line {line}"
    if not values.rows:
        raise DataError(
            f"{where} lists none of the images: they are called such as {next(iter(choice.kinds))}, its rows such as {entries[0][1]}"
        )
    values.bad |= {
        file: f"has no row in {name}" for file in choice.kinds if file not in values.rows
    }
    return values


def _tidy(text: str) -> str:
    """A value as columns are called by it: composed, and 3 for 3.0."""
    value = cells.whole(text) if "." in text or "," in text else None
    return filenames.nfc(text) if value is None else str(value)


def _finder(choice: files.Choice, beside: str) -> Callable[[str], str | None]:
    """Return what finds the image that a cell names: counted from the table's folder, from the top, or by a mere name that only one has."""
    count = Counter(PurePosixPath(file).name for file in choice.kinds)
    single = {
        PurePosixPath(file).name: file
        for file in choice.kinds
        if count[PurePosixPath(file).name] == 1
    }
    kinds, roots = choice.kinds, (beside, choice.root, "")

    def found(cell: str) -> str | None:
        file = labels.tidy(cell)
        return next((root + file for root in roots if root + file in kinds), single.get(file))

    return found


def _inside(names: list[str], root: str, name: str) -> str | None:
    """The file called `name` among these: counted from the top or `root`, or the only one with that name."""
    exact = next((file for file in (name, root + name) if file in names), None)
    same = [file for file in names if PurePosixPath(file).name == name]
    return exact or (same[0] if len(same) == 1 else None)


def _chosen(spec: str, values: Values, options: Mapping[str, str]) -> Values:
    """The fields that `select` names, in its order."""
    if "select" not in options:
        return values
    if values.plain:
        raise DataError(
            f"data {spec!r} selects from sub-folders: select chooses columns of a table, or fields of names"
        )
    wanted = tuple(name.strip() for name in options["select"].split(","))
    for name in wanted:
        if name not in values.fields or wanted.count(name) > 1:
            what = "selects twice" if name in values.fields else "selects the unknown"
            raise DataError(f"data {spec!r} {what} {name!r}: known are {', '.join(values.fields)}")
    index = [values.fields.index(name) for name in wanted]
    return replace(
        values,
        fields=wanted,
        rows={file: tuple(row[i] for i in index) for file, row in values.rows.items()},
    )


def _bins(spec: str, values: Values, options: Mapping[str, str]) -> dict[str, list[Bin]]:
    fields = () if values.plain else values.fields
    for option in options:
        if option not in OPTIONS + fields:
            raise DataError(
                f"data {spec!r} has the unknown option {option!r}: known here: {', '.join(OPTIONS + fields)}"
            )
    return {
        name: _parsed(f"data {spec!r}, {name}", options[name])
        for name in options
        if name not in OPTIONS
    }


def _parsed(where: str, text: str) -> list[Bin]:
    bins = []
    for part in text.split(","):
        title, colon, value = part.rpartition(":")
        value, title = value.strip(), (title if colon else value).strip()
        numbers = re.fullmatch(f"({_NUMBER})-({_NUMBER})|({_NUMBER})", value)
        low, high = (
            (float(numbers[1] or numbers[3]), float(numbers[2] or numbers[3]))
            if numbers
            else (np.inf, -np.inf)
        )
        if not value or not title or (numbers and low > high):
            raise DataError(
                f"{where}: {part!r} is no bin: write LOW-HIGH or a value, separated by commas, such as 0-19,20-39"
            )
        bins.append(Bin(title, value, low, high))
    for i, one in enumerate(bins):
        for other in bins[:i]:
            if (
                one.title == other.title
                or one.text == other.text
                or max(one.low, other.low) <= min(one.high, other.high)
            ):
                raise DataError(
                    f"{where}: the bins {other.title} and {one.title} overlap: a value must lie in one only"
                )
    if len(bins) < 2:
        raise DataError(f"{where}: at least two bins are needed, got {text!r}")
    return bins


def encode(
    spec: str, values: Values, bins: Mapping[str, Sequence[Bin]]
) -> tuple[dict[str, np.ndarray], tuple[str, ...], Groups]:
    """The attribute vector of each image, uint8 [K]; the names of the columns, and their groups as in `Dataset`.

    Images that have none, since a value is missing or in no bin, are added to `values.bad`.

    Raises DataError: too many classes, two columns of one name.
    """
    position = {name: i for i, name in enumerate(values.fields)}
    for file, row in values.rows.items():
        reasons = [
            f"has no {name}{values.where.get(file, '')}"
            for name, i in position.items()
            if not row[i]
        ]
        reasons += [
            f"has the {name} {row[position[name]]!r}, which is in no bin"
            for name in bins
            if not any(x.holds(row[position[name]]) for x in bins[name])
        ]
        if reasons:
            values.bad[file] = reasons[0]
    good = {file: row for file, row in values.rows.items() if file not in values.bad}
    blocks: list[tuple[str, list[str]]] = []
    parts = []
    for name, i in position.items():
        texts = [row[i] for row in good.values()]
        columns, codes, code_of = _column(spec, name, set(texts), bins.get(name), values.plain)
        blocks.append((name, columns))
        parts.append(codes[np.array([code_of[text] for text in texts], np.int64)])
    names = tuple(column for _, columns in blocks for column in columns)
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise DataError(
            f"{spec} has two attributes called {twice[0]!r}: rename a column or a class"
        )
    groups = (
        tuple((name, len(columns)) for name, columns in blocks)
        if any(len(columns) > 1 for _, columns in blocks)
        else ()
    )
    return dict(zip(good, np.concatenate(parts, axis=1))), names, groups


def _column(
    spec: str, name: str, known: set[str], bins: Sequence[Bin] | None, plain: bool
) -> tuple[list[str], np.ndarray, dict[str, int]]:
    """What a column with these values becomes: names of k attributes, codes (uint8 [n, k]), and which code each value has."""
    if bins is not None:
        index = {text: next(i for i, x in enumerate(bins) if x.holds(text)) for text in known}
        return [f"{name}_{x.title}" for x in bins], np.eye(len(bins), dtype=np.uint8), index
    if not plain and (codes := cells.binary(known)) is not None:
        return [name], np.array([[0], [1]], np.uint8), codes
    if len(known) > MAX_CLASSES and not plain:
        raise DataError(
            f"{spec} has {len(known)} different values of {name}: sort them into bins, such as {name}=0-19,20-39, or select other columns"
        )
    classes = labels.folder_classes(known) if plain else sorted(known, key=_rank)
    return (
        [text if plain else f"{name}_{text}" for text in classes],
        np.eye(len(classes), dtype=np.uint8),
        {text: i for i, text in enumerate(classes)},
    )


def _rank(text: str) -> tuple[float, str]:
    """Numbers in their order, before other values in theirs."""
    value = cells.number(text)
    return (np.inf if value is None else value), text


def _source(
    spec: str,
    place: Place,
    choice: files.Choice,
    values: Values,
    bins: Mapping[str, Sequence[Bin]],
    split: str,
) -> Source:
    vectors, names, groups = encode(spec, values, bins)
    listed = list(choice.pictures) + sorted(values.bad.keys() - choice.kinds.keys())
    bad = {file: values.bad[file] for file in listed if file in values.bad}
    array = np.zeros((len(listed), len(names)), np.uint8)
    for i, file in enumerate(listed):
        array[i] = vectors.get(file, 0)
    # The images do not depend on which attributes are wanted, only on which of them can be used.
    without = (
        f" without {hashlib.blake2b(json.dumps(bad).encode(), digest_size=8).hexdigest()}"
        if bad
        else ""
    )
    return Source(
        spec,
        listed,
        files.reader(place, listed, bad),
        None,
        (),
        place.stamp(choice.pictures),
        place.home,
        f"attributes {place.identity} {split}{without}",
        place.close,
        attributes=array,
        attribute_names=names,
        groups=groups,
    )
