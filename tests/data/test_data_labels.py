"""Labels of image sets: what tables mean, and how classes are numbered."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from picture_sets import grey, load, numbered, save

import jaxgan.data
from jaxgan.data import idx
from jaxgan.errors import RunError


@pytest.fixture(autouse=True)
def nowhere_else(cache):
    """Caches go to a temporary folder."""


# ------------------------------------------------------------------------------------------- tables

FORMS = {
    "header of other words": "filename,class\n{rows}",
    "header with spaces": '"file name" , "kind of thing"\n{rows}',
    "no header": "{rows}",
    "byte order mark": "\ufefffile,label\n{rows}",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("mark", [",", ";", "\t"], ids=["comma", "semicolon", "tab"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_tables_of_any_header_separator_and_line_end(tmp_path, form, mark, end):
    numbered(tmp_path / "set", 12)
    text = form.format(rows="".join(f"{i:02d}.png,{i}\n" for i in range(12)))
    (tmp_path / "set" / "labels.csv").write_bytes(
        text.replace(",", mark).replace("\n", end).encode()
    )
    data = load(f"folder:{tmp_path / 'set'}")
    assert data.arrays["label"].tolist() == list(range(12))
    assert data.classes == tuple(map(str, range(12)))


@pytest.mark.parametrize(
    ("values", "expected", "classes"),
    [
        (["0.0", "2.0", "10.0"], [0, 2, 10], tuple(map(str, range(11)))),
        (["0,0", "2,0", "10,0"], [0, 2, 10], tuple(map(str, range(11)))),
        (["01", "+2", "3."], [1, 2, 3], ("0", "1", "2", "3")),
        (["0.5", "10.5", "2"], [0, 2, 1], ("0.5", "2", "10.5")),
        (["1e3", "-2", "2.50"], [2, 0, 1], ("-2", "2.5", "1000")),
        (["cat", "10", "2"], [2, 0, 1], ("10", "2", "cat")),
        (["1_0", "2_0", "1_0"], [0, 1, 0], ("1_0", "2_0")),
        (["inf", "1", "2"], [2, 0, 1], ("1", "2", "inf")),
        (["None", "NA", "glasses"], [1, 0, 2], ("NA", "None", "glasses")),
    ],
)
def test_numbers_sort_as_numbers(tmp_path, values, expected, classes):
    numbered(tmp_path / "set", 3)
    for file, text in {
        "labels.csv": "".join(f"{i:02d}.png;{value}\n" for i, value in enumerate(values)),
        "dataset.json": json.dumps(
            {"labels": [[f"{i:02d}.png", value] for i, value in enumerate(values)]}
        ),
    }.items():
        (tmp_path / "set" / file).write_text(text)
        data = load(f"folder:{tmp_path / 'set'}")
        assert (data.arrays["label"].tolist(), data.classes) == (expected, classes)
        (tmp_path / "set" / file).unlink()


def test_json_numbers_may_be_floats(tmp_path):
    numbered(tmp_path / "set", 3)
    (tmp_path / "set" / "dataset.json").write_text(
        '{"labels": [["00.png", 2.0], ["01.png", 0], ["02.png", 10.0]]}'
    )
    assert load(f"folder:{tmp_path / 'set'}").arrays["label"].tolist() == [2, 0, 10]


@pytest.mark.parametrize("word", ["", "NaN", "nan", "<NA>", "NA", "n/a", "None", "null"])
def test_a_missing_label_is_refused_with_its_row_and_can_be_skipped(tmp_path, failure, word):
    numbered(tmp_path / "set", 4)
    (tmp_path / "set" / "labels.csv").write_text(
        f"file,label\n00.png,0.0\n01.png,{word}\n02.png,2.0\n03.png,1.0\n"
    )
    spec = f"folder:{tmp_path / 'set'}"
    assert "1 of 4 images of" in failure(spec)
    assert "01.png has no label in labels.csv, line 3" in failure(spec)
    data = load(spec, skip_bad=True)
    assert (grey(data), data.arrays["label"].tolist(), data.classes) == (
        [0, 40, 60],
        [0, 2, 1],
        ("0", "1", "2"),
    )


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        (
            "labels.csv",
            '"00.png,1\n01.png,2\n',
            "labels.csv in .* is not valid CSV .*: save it again as CSV",
        ),
        ("labels.csv", "00.png," + "x" * 200_000, "is not valid CSV"),
        (
            "labels.csv",
            "file,label\n00.png,1\n\n01.png\n",
            "line 4: expected `file,label`, got '01.png'",
        ),
        ("labels.csv", "00.png;1\n00.png;1\n", "line 2: 00.png is listed twice"),
        (
            "labels.csv",
            "00.png,1048576\n01.png,0\n",
            "label 1048576 .as for 00.png.: labels count from 0, up to 1048575",
        ),
        ("labels.csv", "00.png,-1.0\n01.png,0\n", "label -1.0 .as for 00.png"),
        ("labels.csv", "file,label\n", "lists no labels: fill it"),
        (
            "labels.csv",
            "file,label\n00.png,é\n".encode("latin-1"),
            "not UTF-8 text .* at byte 18.: save it as UTF-8",
        ),
        (
            "labels.csv",
            "file,label\n00.png,1\n".encode("utf-16"),
            "it looks like UTF-16; .*: save it as UTF-8",
        ),
        (
            "dataset.json",
            '{"labels": [["00.png", true]]}',
            r"entry 0: expected \[\"file\", 3\], got \[\"00.png\", true\]",
        ),
        (
            "dataset.json",
            '{"labels": [["00.png", null], ["01.png", 0]]}',
            "00.png has no label in dataset.json, entry 0",
        ),
        (
            "dataset.json",
            '{"labels": [["00.png", NaN], ["01.png", 0]]}',
            "00.png has no label in dataset.json, entry 0",
        ),
        ("dataset.json", '{"labels": [["00.png", %s]]}' % ("9" * 5000), "is not valid JSON"),
        ("dataset.json", '{"labels": []}', "lists no labels"),
        ("dataset.json", '{"labels": {"00.png": 1}}', '"labels" is no list'),
    ],
)
def test_mistakes_in_tables_are_named(tmp_path, failure, file, content, told):

    numbered(tmp_path / "set", 2)
    (tmp_path / "set" / file).write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )
    message = failure(f"folder:{tmp_path / 'set'}")
    assert re.search(told, message), message


def test_names_with_commas_and_quotes(tmp_path):
    save(tmp_path / "set" / "a,b.png", 1)
    save(tmp_path / "set" / "c;d.png", 2)
    (tmp_path / "set" / "labels.csv").write_text('a,b.png;cat\n"c;d.png";dog\n')
    data = load(f"folder:{tmp_path / 'set'}")
    assert (grey(data), data.arrays["label"].tolist()) == ([1, 2], [0, 1])
    (tmp_path / "set" / "labels.csv").write_text('sep=;\n"c;d.png";dog\na,b.png;cat\n')
    assert load(f"folder:{tmp_path / 'set'}").arrays["label"].tolist() == [0, 1]


@pytest.mark.parametrize(
    "name", ["labels.csv", "Labels.CSV", "labels.tsv", "dataset.json", "DATASET.JSON"]
)
def test_label_files_in_any_case(tmp_path, name):
    numbered(tmp_path / "set", 2)
    text = (
        '{"labels": [["00.png", 1], ["01.png", 0]]}'
        if name.lower().endswith("json")
        else "00.png\t1\n01.png\t0\n"
    )
    (tmp_path / "set" / name).write_text(text)
    assert load(f"folder:{tmp_path / 'set'}").arrays["label"].tolist() == [1, 0]


def test_null_labels_are_none_in_each_split(tmp_path):
    for split in ("train", "test"):
        numbered(tmp_path / "set" / split / "00000", 2)
        numbered(tmp_path / "set" / split / "00001", 2)
    (tmp_path / "set" / "dataset.json").write_text('{"labels": null}')
    for split in ("train", "test", "all"):
        data = load(f"folder:{tmp_path / 'set'}", split=split)
        assert (set(data.arrays), data.classes) == ({"image"}, ())


PAIRS = [
    ("1", "0"),
    ("1", "-1"),
    ("+1", "-1"),
    ("true", "FALSE"),
    ("True", "false"),
    ("YES", "no"),
    ("1.0", "0.0"),
    ("+1", "0"),
]


@pytest.mark.parametrize(("on", "off"), PAIRS)
@pytest.mark.parametrize("mark", [",", ";", "\t"], ids=["comma", "semicolon", "tab"])
def test_words_for_on_and_off_are_binary(tmp_path, on, off, mark):
    numbered(tmp_path / "set", 3)
    rows = [
        ("name", "smiling", "hat"),
        ("00.png", on, off),
        ("01.png", off, off),
        ("02.png", on, on),
    ]
    (tmp_path / "t.csv").write_text("".join(mark.join(row) + "\n" for row in rows))
    data = load(f"attributes:{tmp_path / 'set'}?table=t.csv")
    assert (data.attributes, data.groups) == (("smiling", "hat"), ())
    assert data.arrays["attributes"].tolist() == [[1, 0], [0, 0], [1, 1]]


@pytest.mark.parametrize(
    "values", [("yes", "1", "0"), ("true", "no", "yes"), ("0", "-1", "1"), ("on", "off", "on")]
)
def test_words_of_several_pairs_are_classes(tmp_path, values):
    numbered(tmp_path / "set", 3)
    (tmp_path / "t.csv").write_text(
        "file,a\n" + "".join(f"{i:02d}.png,{value}\n" for i, value in enumerate(values))
    )
    assert load(f"attributes:{tmp_path / 'set'}?table=t.csv").groups == (("a", len(set(values))),)


def test_a_missing_attribute_is_refused_with_its_row(tmp_path, failure):
    numbered(tmp_path / "set", 3)
    (tmp_path / "t.csv").write_text("id;age;sex\n00.png;3.0;yes\n01.png;;no\n02.png;10.0;NA\n")
    spec = f"attributes:{tmp_path / 'set'}?table=t.csv"
    message = failure(spec)
    assert "01.png has no age in t.csv, line 3; 02.png has no sex in t.csv, line 4" in message
    data = load(spec + "&select=age", skip_bad=True)
    assert (data.attributes, data.arrays["attributes"].tolist()) == (
        ("age_3", "age_10"),
        [[1, 0], [0, 1]],
    )


def test_celebas_table_takes_other_words_too(tmp_path, failure):
    numbered(tmp_path / "set", 2)
    (tmp_path / "t.txt").write_text("2\nMale Young\n00.png 0 1\n01.png 1 1\n")
    spec = f"attributes:{tmp_path / 'set'}?table=t.txt"
    assert load(spec).arrays["attributes"].tolist() == [[0, 1], [1, 1]]
    (tmp_path / "t.txt").write_text("2\nMale Young\n00.png 0 1\n01.png -1 1\n")
    assert "the values of 00.png must be -1 or 1, got '0'" in failure(spec)


# ------------------------------------------------------------------------------------ class folders


@pytest.mark.parametrize(
    ("folders", "classes"),
    [
        (("0", "1", "10", "2"), ("0", "1", "2", "10")),
        (("-1", "+1", "0"), ("-1", "0", "+1")),
        (("002", "01", "10"), ("01", "002", "10")),
        (("1", "10", "2", "x"), ("1", "10", "2", "x")),
        (("1.5", "10", "2"), ("1.5", "10", "2")),
        (("b", "B", "a"), ("B", "a", "b")),
    ],
)
def test_class_folders_sort_as_numbers_if_all_are_whole(tmp_path, folders, classes):
    for i, name in enumerate(folders):
        save(tmp_path / "set" / name / "x.png", 10 * i)
    data = load(f"folder:{tmp_path / 'set'}")
    assert data.classes == classes
    assert [classes[i] for i in data.arrays["label"]] == [
        folders[level // 10] for level in grey(data)
    ]
    assert load(f"attributes:{tmp_path / 'set'}").attributes == classes


# ------------------------------------------------------------------------------- numbers of classes


def test_classes_are_those_of_all_splits(tmp_path):
    for file in ("train/b/0.png", "train/c/0.png", "test/a/0.png", "test/c/0.png", "dev/10/0.png"):
        save(tmp_path / "set" / file)
    found = {
        split: load(f"folder:{tmp_path / 'set'}", split=split)
        for split in ("train", "test", "val", "all")
    }
    assert {data.classes for data in found.values()} == {("10", "a", "b", "c")}
    assert {split: data.arrays["label"].tolist() for split, data in found.items()} == {
        "train": [2, 3],
        "test": [1, 3],
        "val": [0],
        "all": [0, 1, 3, 2, 3],
    }
    told = "has no images of 2 of 4 classes (10, a), so nothing is learnt of these"
    assert jaxgan.data.remarks(found["train"]) == [f"folder:{tmp_path / 'set'} {told}"]
    assert jaxgan.data.remarks(found["train"], {"image"}) == []
    assert jaxgan.data.remarks(found["all"]) == []


def test_each_split_may_have_a_table_of_its_own(tmp_path, failure):
    spec = f"folder:{tmp_path / 'set'}"
    for split, rows in (("train", "0.png,dog\n1.png,ape\n"), ("test", "0.png,cat\n1.png,dog\n")):
        numbered(tmp_path / "set" / split, 2)
        (tmp_path / "set" / split / "labels.csv").write_text(
            rows.replace("0.png", "00.png").replace("1.png", "01.png")
        )
    found = {split: load(spec, split=split) for split in ("train", "test", "all")}
    assert {data.classes for data in found.values()} == {("ape", "cat", "dog")}
    assert [data.arrays["label"].tolist() for data in found.values()] == [
        [2, 0],
        [1, 2],
        [1, 2, 2, 0],
    ]
    (tmp_path / "set" / "test" / "labels.csv").write_text("00.png,7\n01.png,11\n")
    (tmp_path / "set" / "train" / "labels.csv").write_text("00.png,1\n01.png,2\n")
    train = load(spec)
    assert (train.arrays["label"].tolist(), len(train.classes)) == ([1, 2], 12)
    (tmp_path / "set" / "test" / "labels.csv").unlink()
    assert "has labels, but none in the split test" in failure(spec, split="all")
    assert set(load(spec, split="test").arrays) == {"image"}
    (tmp_path / "set" / "test" / "cat").mkdir()
    (tmp_path / "set" / "test" / "00.png").rename(tmp_path / "set" / "test" / "cat" / "00.png")
    message = failure(spec)
    assert (
        "takes labels of the split train from train/labels.csv, but those of test from sub-folders"
        in message
    )


def test_another_split_changes_the_numbers_and_the_cache_with_them(tmp_path):
    for file in ("train/b/0.png", "train/c/0.png", "test/b/0.png"):
        save(tmp_path / "set" / file)
    first = load(f"folder:{tmp_path / 'set'}")
    save(tmp_path / "set" / "test" / "a" / "0.png")
    second = load(f"folder:{tmp_path / 'set'}")
    assert [data.arrays["label"].tolist() for data in (first, second)] == [[0, 1], [1, 2]]
    assert (first.classes, second.classes) == (("b", "c"), ("a", "b", "c"))
    assert first.fingerprint != second.fingerprint


def test_idx_counts_the_classes_of_both_parts(tmp_path):
    for part, label in (("train", [0, 1]), ("t10k", [1, 5])):
        idx.write(tmp_path / f"{part}-images-idx3-ubyte", np.zeros((2, 4, 4), np.uint8))
        idx.write(tmp_path / f"{part}-labels-idx1-ubyte", np.array(label, np.uint8))
    for size in (None, (8, 8)):
        assert [
            load(f"idx:{tmp_path}", split=split, image_size=size).class_count
            for split in ("train", "test", "all")
        ] == [6, 6, 6]


def test_absent_classes_are_said_before_training(tmp_path, capsys):
    from jaxgan import cgan
    from jaxgan.run import train

    for file in ("train/a/0.png", "train/c/0.png", "test/b/0.png"):
        save(tmp_path / "set" / file)
    data = load(f"folder:{tmp_path / 'set'}")
    config = cgan.Config(
        (4, 4), classes=3, architecture="mlp", generator_hidden=(4,), discriminator_hidden=(4,)
    )
    (tmp_path / "file").write_text("nothing is trained: this is no place for a run")
    with pytest.raises(RunError, match="file"):
        train.run(cgan, config, data, tmp_path / "file", images=8, batch_size=8, seed=0)
    assert (
        "has no images of 1 of 3 classes (b), so nothing is learnt of these"
        in capsys.readouterr().out
    )
