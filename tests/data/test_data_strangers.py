"""Whatever lies in tables of labels and zip files: the right data, or an error that names the file."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from picture_sets import archive, save

from jaxgan.data import cells, filenames, labels, listing, sources, tables
from jaxgan.data.images import BadImage
from jaxgan.errors import DataError

bounded = settings(max_examples=60, derandomize=True, deadline=None)
KNOWN = ("00.png", "01.png", "a,b.png", "né.png")
CELLS = st.one_of(
    st.sampled_from(
        [*KNOWN, "0", "1.0", "-1", "NaN", "", "cat", "file", '"', "é", "1e9", "9" * 400]
    ),
    st.text(max_size=6),
)
TABLES = st.builds(
    lambda rows, mark, end: end.join(mark.join(row) for row in rows),
    st.lists(st.lists(CELLS, max_size=4), max_size=6),
    st.sampled_from([",", ";", "\t", ", "]),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | CELLS,
    lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=3), one),
    max_leaves=8,
)
LISTED = st.fixed_dictionaries({"labels": st.none() | st.lists(st.tuples(CELLS, JSON), max_size=4)})


def outcome(function):
    """What it returns, and the message of the DataError that it raises, or ""."""
    try:
        return function(), ""
    except DataError as error:
        return None, str(error)


def read(path, content):
    """What a label file says of the four known images, and what `numbered` makes of it."""
    listed = labels.read("set", path, "", lambda _: content, KNOWN.__contains__)
    return None if listed is None else (listed, *labels.numbered("the set", listed.values))


def is_sound(found, message, path):
    """Nothing, or an error that names the file, or labels that agree with their text."""
    if message:
        return message.startswith((f"{path} in set", "the set has the label"))
    if found is None:
        return path.endswith("json")
    listed, numbers, classes = found
    disjoint = (
        not listed.values.keys() & listed.bad.keys() and numbers.keys() == listed.values.keys()
    )
    return disjoint and all(
        means(listed.values[file], classes[number]) for file, number in numbers.items()
    )


def means(text, name):
    value = cells.number(text)
    return name == text if value is None or cells.number(name) is None else float(name) == value


@bounded
@given(TABLES.map(str.encode) | st.binary(max_size=60))
@example(b"\xef\xbb\xbf00.png,3")
@example(b"00.png,1\x00")
def test_any_label_table_gives_labels_or_a_named_error(content):
    assert is_sound(*outcome(lambda: read("labels.csv", content)), "labels.csv")


@bounded
@given((JSON | LISTED).map(json.dumps))
@example('{"labels": ' + "[" * 5000)
@example('{"labels": [["00.png", 1e400]]}')
@example('{"labels": [["00.png", -1e400], ["01.png", "\\ud800"]]}')
def test_any_json_gives_labels_or_a_named_error(text):
    assert is_sound(*outcome(lambda: read("dataset.json", text.encode())), "dataset.json")


@bounded
@given(
    st.dictionaries(st.sampled_from(KNOWN), st.integers(0, 2000), min_size=1),
    st.sampled_from(",;\t"),
    st.booleans(),
    st.booleans(),
)
def test_a_table_that_was_written_is_read(values, mark, header, points):
    """By Python's own writer of CSV, with any separator."""
    text = io.StringIO()
    rows = [(file, f"{value}.0" if points else value) for file, value in values.items()]
    csv.writer(text, delimiter=mark).writerows([("what", "ever")] * header + rows)
    (_, numbers, classes), message = outcome(lambda: read("labels.csv", text.getvalue().encode()))
    assert (numbers, classes, message) == (
        values,
        tuple(map(str, range(max(values.values()) + 1))),
        "",
    )


@bounded
@given(TABLES, st.sampled_from(["t.csv", "t.txt"]))
def test_any_attribute_table_gives_rows_or_a_named_error(text, name):
    found, message = outcome(lambda: tables.attributes("t", text, name, KNOWN.__contains__))
    if found is None:
        assert message.startswith(("t has ", "t lists ", "t is ", "t, line "))
        return
    columns, entries = found
    assert len(set(columns)) == len(columns) > 0
    assert entries
    assert all(len(values) == len(columns) and file for _, file, values in entries)


PARTS = [
    ("..", ".", "", "a", "train", "Valid", "é", "é", "0.png", "1.PNG"),
    ("x.heic", "labels.csv", "__MACOSX", "._0.png", "C:", " "),
]
NAMES = st.text(min_size=1, max_size=8) | st.builds(
    lambda parts, mark: mark.join(parts),
    st.lists(st.sampled_from(sum(PARTS, ())), min_size=1, max_size=4),
    st.sampled_from("/\\"),
)
MEMBERS = st.lists(st.tuples(NAMES, st.sampled_from([0, 1, 2])), max_size=6)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@bounded
@given(
    members=MEMBERS,
    cut=st.just(0) | st.integers(0, 400),
    split=st.sampled_from(["train", "all", "val"]),
)
def test_any_zip_file_gives_images_or_a_named_error(tmp_path_factory, members, cut, split):
    folder = tmp_path_factory.mktemp("zip")
    contents = [save(folder / "picture.png", 9).read_bytes(), b"", b"0.png,1\n"]
    spec = archive(folder / "x.zip", [(name, contents[kind]) for name, kind in members])
    if cut:
        (folder / "x.zip").write_bytes((folder / "x.zip").read_bytes()[:-cut])
    source, message = outcome(lambda: sources.find(spec, split))
    if source is None:
        assert str(folder) in message
        return
    place = listing.in_archive(folder / "x.zip")
    if split == "all":
        assert {file for file in place.names if filenames.is_image(file)} <= {*source.files}
    for i, file in enumerate(source.files):
        try:
            assert source.read(i).tolist() == np.full((4, 4, 1), 9).tolist()
            assert filenames.is_image(file)
        except BadImage as error:
            told = str(error)
            assert told
    source.close()
    place.close()
