"""Labels, splits and names: what changes nothing in a set, and what changes it in a known way."""

from __future__ import annotations

import csv
import json
import os
import shutil
import unicodedata
import zipfile

import numpy as np
import pytest
from PIL import Image

import jaxgan.data

LEVELS = {"a-b": (0, 10), "a": (20, 30), "né": (40,), "z z": (50, 60)}
"""Grey levels of the pictures of each class."""


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def pets(tmp_path):
    """Two splits of four classes, in folders."""
    root = tmp_path / "pets"
    for split, more in (("train", 0), ("val", 5)):
        for name, levels in LEVELS.items():
            for level in levels:
                save(root / split / name / f"ü{level}.png", level + more)
    return root


def save(path, level):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((3, 3), level, np.uint8)).save(path, "PNG")


def load(spec, **options):
    return jaxgan.data.open(str(spec), progress=False, **options)


def content(spec):
    """All that training and evaluation see of both splits."""
    sets = [load(spec, split=split) for split in ("train", "val")]
    return [
        (
            data.fingerprint,
            data.classes,
            data.arrays["label"].tolist(),
            data.arrays["image"].tolist(),
        )
        for data in sets
    ]


def files(root):
    return sorted(file for file in root.rglob("*") if file.is_file())


# --------------------------------------------------------------------------- what changes nothing: where it lies


def pack(root, path, name=lambda file: file, order=lambda all_: all_):
    with zipfile.ZipFile(path, "w") as archive:
        for file in order(files(root)):
            info = zipfile.ZipInfo("x")
            info.filename = name(file.relative_to(root).as_posix())
            archive.writestr(info, file.read_bytes())
    return f"zip:{path}"


PACKINGS = {
    "as it is": {},
    "members in reverse": {"order": lambda all_: all_[::-1]},
    "backslashes": {"name": lambda file: file.replace("/", "\\")},
    "decomposed": {"name": lambda file: unicodedata.normalize("NFD", file)},
    "in a folder": {"name": lambda file: f"pets of 2026/{file}"},
    "from here": {"name": lambda file: f"./{file}"},
    "from the top": {"name": lambda file: f"/{file}"},
}


@pytest.mark.parametrize("packing", PACKINGS.values(), ids=PACKINGS)
def test_a_zip_file_is_its_folder(pets, tmp_path, packing):
    assert content(pack(pets, tmp_path / "x.zip", **packing)) == content(f"folder:{pets}")


@pytest.mark.parametrize("scheme", ["folder", "zip"])
def test_images_come_in_one_order_at_any_depth(tmp_path, scheme):
    """Files before sub-folders, however a sign sorts beside a slash."""
    names = ["b.png", "a/1.png", "a-b/1.png", "a/0/9.png", "a.png/1.png", "a/z.png"]
    for level, name in enumerate(names):
        save(tmp_path / "set" / name, level)
    (tmp_path / "set" / "dataset.json").write_text('{"labels": null}')
    spec = (
        f"folder:{tmp_path / 'set'}"
        if scheme == "folder"
        else pack(tmp_path / "set", tmp_path / "x.zip")
    )
    assert load(spec).arrays["image"][:, 0, 0, 0].tolist() == [0, 1, 5, 3, 2, 4]


def moved(pets, split, name):
    (pets / split).rename(pets / name)


def linked(pets):
    """Every class behind a link, of which two lead to one folder in turn."""
    for folder in [*(pets / "train").iterdir()]:
        away = pets.parent / "away" / folder.name
        shutil.copytree(folder, away)
        shutil.rmtree(folder)
        (pets / "train" / folder.name).symlink_to(away)


def littered(pets):
    for file in (
        "train/.DS_Store",
        "train/a/Thumbs.db",
        "val/a/._ü20.png",
        "__MACOSX/x.png",
        "readme.txt",
        "train/a/notes",
    ):
        (pets / file).parent.mkdir(exist_ok=True)
        (pets / file).write_bytes(b"no image")


CHANGES = {
    "training": lambda pets: moved(pets, "train", "Training"),
    "valid": lambda pets: moved(pets, "val", "valid"),
    "VALIDATION": lambda pets: moved(pets, "val", "VALIDATION"),
    "dev": lambda pets: moved(pets, "val", "dev"),
    "a test split": lambda pets: shutil.copytree(pets / "val", pets / "test"),
    "upper case": lambda pets: [file.rename(file.with_suffix(".PNG")) for file in files(pets)],
    "decomposed": lambda pets: [
        file.rename(file.with_name(unicodedata.normalize("NFD", file.name))) for file in files(pets)
    ],
    "links": linked,
    "a loop": lambda pets: (pets / "train" / "a" / "up").symlink_to(pets),
    "litter": littered,
    "an empty class": lambda pets: (pets / "train" / "b").mkdir(),
    "times": lambda pets: [os.utime(file, ns=(1, 1)) for file in files(pets)],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_changes_nothing_of_a_folder(pets, change):
    before = content(f"folder:{pets}")
    change(pets)
    assert content(f"folder:{pets}") == before


# --------------------------------------------------------------------------- what changes nothing: how it is said


def rows_of(pets, label):
    found = [file.relative_to(pets).as_posix() for file in files(pets) if file.suffix == ".png"]
    return [(file, label(file.split("/")[1])) for file in found]


def written(pets, rows, mark=",", header=(), end="\n"):
    with (pets / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=mark, lineterminator=end).writerows([*header, *rows])


TABLES = {
    "plain": {},
    "semicolons": {"mark": ";"},
    "tabs": {"mark": "\t"},
    "header": {"header": [("any", "words")]},
    "Windows": {"end": "\r\n", "header": [("file", "label")], "mark": ";"},
}


@pytest.mark.parametrize("form", TABLES.values(), ids=TABLES)
def test_a_table_of_names_is_class_folders(pets, form):
    before = content(f"folder:{pets}")
    written(pets, rows_of(pets, str), **form)
    assert content(f"folder:{pets}") == before


def test_the_order_of_rows_and_the_form_of_numbers_change_nothing(pets):
    numbers = {name: i for i, name in enumerate(LEVELS)}
    written(pets, rows_of(pets, numbers.__getitem__))
    before = content(f"folder:{pets}")
    for form in ("{}.0", "0{}", "+{}"):
        written(
            pets,
            [(file, form.format(label)) for file, label in rows_of(pets, numbers.__getitem__)][
                ::-1
            ],
        )
        assert content(f"folder:{pets}") == before
    (pets / "labels.csv").unlink()
    for kind in (int, float, str):
        rows = [(file, kind(label)) for file, label in rows_of(pets, numbers.__getitem__)]
        (pets / "dataset.json").write_text(json.dumps({"labels": rows}))
        assert content(f"folder:{pets}") == before


def test_one_table_or_one_for_each_split_are_the_same(pets):
    written(pets, rows_of(pets, str))
    before = content(f"folder:{pets}")
    (pets / "labels.csv").unlink()
    for split in ("train", "val"):
        written(
            pets / split,
            [
                (file.split("/", 1)[1], label)
                for file, label in rows_of(pets, str)
                if file.startswith(split)
            ],
        )
    assert content(f"folder:{pets}") == before


@pytest.mark.parametrize(
    ("on", "off"), [("1", "-1"), ("+1", "-1"), ("TRUE", "False"), ("yes", "NO"), ("1.0", "0.0")]
)
def test_words_for_on_and_off_change_nothing(pets, on, off):
    def seen(one, zero):
        with (pets.parent / "t.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(
                [("file", "dark"), *rows_of(pets, lambda name: one if name == "a" else zero)]
            )
        data = load(f"attributes:{pets}?table=t.csv")
        return data.fingerprint, data.attributes, data.arrays["attributes"].tolist()

    assert seen(on, off) == seen("1", "0")


# --------------------------------------------------------------------------- what changes it in a known way


def test_a_class_of_another_split_moves_the_numbers_behind_it(pets):
    before, classes = load(f"folder:{pets}").arrays["label"], load(f"folder:{pets}").classes
    save(pets / "val" / "b" / "0.png", 1)
    after = load(f"folder:{pets}")
    assert [after.classes[i] for i in after.arrays["label"]] == [classes[i] for i in before]
    assert after.classes == ("a", "a-b", "b", "né", "z z")
    np.testing.assert_array_equal(after.arrays["label"], before + (before >= 2))
    assert len(jaxgan.data.remarks(after)) == 1


def test_all_is_the_union_of_the_splits(pets):
    train, val, every = (load(f"folder:{pets}", split=split) for split in ("train", "val", "all"))
    for name in ("image", "label"):
        np.testing.assert_array_equal(
            every.arrays[name], np.concatenate([train.arrays[name], val.arrays[name]])
        )
    assert every.classes == train.classes == val.classes


def test_a_second_link_doubles_a_class(pets):
    before = load(f"folder:{pets}")
    (pets / "train" / "a" / "again").symlink_to(pets / "train" / "a-b")
    after = load(f"folder:{pets}")
    a, other = (before.classes.index(name) for name in ("a", "a-b"))
    counts = np.bincount(before.arrays["label"])
    counts[a] += counts[other]
    np.testing.assert_array_equal(np.bincount(after.arrays["label"]), counts)


@pytest.mark.parametrize("bad", ["x.heic", "x.CR2", "x", "gone.png"])
def test_an_image_that_cannot_be_read_adds_one_to_what_is_skipped(pets, bad):
    before = load(f"folder:{pets}")
    if bad == "gone.png":
        (pets / "train" / "a" / bad).symlink_to(pets / "nowhere")
    else:
        (pets / "train" / "a" / bad).write_bytes(b"\xff\xd8\xff\xe0")
    after = load(f"folder:{pets}", skip_bad=True)
    assert (after.fingerprint, len(after.skipped)) == (before.fingerprint, 1)


def test_names_decide_the_order_and_nothing_else(pets):
    before = load(f"folder:{pets}")
    for folder in (pets / "train").iterdir():
        for i, file in enumerate(sorted(folder.iterdir(), reverse=True)):
            file.rename(folder / f"new{i}.png")
    after = load(f"folder:{pets}")
    for label in range(len(before.classes)):
        rows = [data.arrays["image"][data.arrays["label"] == label] for data in (before, after)]
        np.testing.assert_array_equal(rows[0], rows[1][::-1])
