"""Names of folders and files of image sets: splits, Unicode, extensions, links, zip members."""

from __future__ import annotations

import os
import stat
import unicodedata
import zipfile

import pytest
from picture_sets import archive, grey, load, numbered, pack, save


@pytest.fixture(autouse=True)
def nowhere_else(cache):
    """Caches go to a temporary folder."""


# ------------------------------------------------------------------------------------------- splits

MEANINGS = [
    ("train", "train"),
    ("Training", "train"),
    ("VAL", "val"),
    ("valid", "val"),
    ("Validation", "val"),
    ("dev", "val"),
]
MEANINGS += [("TEST", "test"), ("testing", "test"), ("Eval", "test")]


@pytest.mark.parametrize(("folder", "split"), MEANINGS)
def test_folders_of_splits(tmp_path, folder, split):
    """As the only one, beside another, in a zip file, and for all kinds of sets."""
    other = "train" if split != "train" else "dev"
    root = tmp_path / "set"
    for name in ("cat", "dog"):
        save(root / folder / name / "0.png", 10)
        save(root / other / name / "0.png", 20)
    data = load(f"folder:{root}", split=split)
    assert (data.size, data.classes, grey(data)) == (2, ("cat", "dog"), [10, 10])
    assert grey(load(f"folder:{root}", split=folder)) == [10, 10]
    assert load(f"attributes:{root}", split=split).attributes == ("cat", "dog")
    for side in ("A", "B"):
        for i in range(2):
            for part in (folder, other):
                save(
                    tmp_path / "joined" / f"{part}{side}" / f"{i}.png", 10 if part == folder else 20
                )
                save(tmp_path / "nested" / side / part / f"{i}.png", 10 if part == folder else 20)
    for kind in ("joined", "nested"):
        for scheme in ("paired", "unpaired"):
            data = load(f"{scheme}:{tmp_path / kind}", split=split)
            assert (grey(data, "a"), grey(data, "b")) == ([10, 10], [10, 10])
    for part in (folder, other):
        save(tmp_path / "maps" / "images" / part / "0.png", 10 if part == folder else 20)
        save(tmp_path / "maps" / "labels" / part / "0.png", 1)
    assert grey(load(f"layout:{tmp_path / 'maps'}?classes=2", split=split)) == [10]


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            ("train/a.png", "valid/b.png", "cat/c.png"),
            "has folders of splits (train, valid) beside the folder cat",
        ),
        (
            ("Test/a.png", "x/b.png", "y/b.png", "z/c.png", "w/d.png"),
            "(Test) beside the folder w, the folder x, the folder y and 1 more",
        ),
        (("train/a.png", "b.png"), "has folders of splits (train) beside images"),
        (
            ("val/a.png", "dev/b.png", "train/c.png"),
            "has the folders dev and val, which both mean the split val",
        ),
        (("test/a.png", "val/b.png"), "has no split 'train': its splits are test, val"),
    ],
)
def test_mixtures_of_splits_and_others_are_refused_by_name(tmp_path, failure, files, told):
    for file in files:
        save(tmp_path / "set" / file)
    assert told in failure(f"folder:{tmp_path / 'set'}")


def test_one_split_inside_every_class_is_a_part_of_names(tmp_path):
    for file in ("cat/train/a.png", "dog/train/b.png", "dog/train/test/b.png"):
        save(tmp_path / "set" / file)
    assert load(f"folder:{tmp_path / 'set'}").classes == ("cat", "dog")


def test_mixtures_of_pairs_are_refused_by_name(tmp_path, failure):
    for split in ("train", "valid", "extra"):
        for side in "AB":
            save(tmp_path / "set" / split / side / "0.png")
    for scheme in ("paired", "unpaired"):
        message = failure(f"{scheme}:{tmp_path / 'set'}")
        assert (
            "folders of splits (train, val) and images in others, such as extra/A/0.png" in message
        )
    for side in "AB":
        save(tmp_path / "both" / "val" / side / "0.png")
        save(tmp_path / "both" / "dev" / side / "0.png")
    assert "the folders dev and val, side by side, both mean the split val" in failure(
        f"paired:{tmp_path / 'both'}", split="val"
    )


def test_images_in_neither_domain_are_named(tmp_path, failure):
    for file in ("A/0.png", "A/1.png", "B/0.png", "B/1.png", "C/0.png"):
        save(tmp_path / "set" / file)
    spec = f"unpaired:{tmp_path / 'set'}"
    assert "C/0.png lies in neither of the domains A and B" in failure(spec)
    data = load(spec, skip_bad=True)
    assert (len(data.arrays["a"]), len(data.arrays["b"]), len(data.skipped)) == (2, 2, 1)


# -------------------------------------------------------------------------------------------- names

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "né") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(("stored", "listed"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_composed_and_decomposed_names_are_the_same(tmp_path, stored, listed):
    save(tmp_path / "set" / f"{stored}.png", 7)
    save(tmp_path / "set" / "x.png", 9)
    (tmp_path / "set" / "labels.csv").write_text(f"{listed}.png,{listed}\nx.png,{stored}\n")
    data = load(f"folder:{tmp_path / 'set'}")
    assert (data.arrays["label"].tolist(), data.classes) == ([0, 0], (COMPOSED,))
    (tmp_path / "t.csv").write_text(f"file,{listed}\n{listed}.png,1\nx.png,0\n")
    data = load(f"attributes:{tmp_path / 'set'}?table=t.csv&select={stored}")
    assert (data.attributes, data.arrays["attributes"].tolist()) == ((COMPOSED,), [[1], [0]])
    save(tmp_path / "two" / "A" / f"{stored}.png", 1)
    save(tmp_path / "two" / "B" / f"{listed}.png", 2)
    data = load(f"paired:{tmp_path / 'two'}")
    assert (grey(data, "a"), grey(data, "b")) == ([1], [2])
    save(tmp_path / "maps" / "images" / f"{stored}.png", 1)
    save(tmp_path / "maps" / "labels" / f"{listed}.png", 0)
    assert load(f"layout:{tmp_path / 'maps'}?classes=1").size == 1
    for split, name in (("train", stored), ("test", listed)):
        save(tmp_path / "classes" / split / name / "0.png")
    assert load(f"folder:{tmp_path / 'classes'}").classes == (COMPOSED,)


def test_two_forms_of_one_name_are_refused_by_name(tmp_path, failure):
    for name in (COMPOSED, DECOMPOSED):
        save(tmp_path / "set" / f"{name}.png")
    assert "has the same name as né.png, in another form of Unicode" in failure(
        f"folder:{tmp_path / 'set'}"
    )
    assert load(f"folder:{tmp_path / 'set'}", skip_bad=True).size == 1


def test_names_that_are_no_utf_8_can_be_printed(tmp_path):
    """As Latin-1 file systems and old archives leave them."""
    for name in (b"caf\xe9", b"tea"):
        folder = os.path.join(os.fsencode(tmp_path), b"set", name)
        os.makedirs(folder)
        save(tmp_path / "x.png", 1).rename(tmp_path / "set" / os.fsdecode(name) / "0.png")
    (tmp_path / "set" / os.fsdecode(b"caf\xe9") / "1.png").write_bytes(b"")
    data = load(f"folder:{tmp_path / 'set'}", skip_bad=True)
    assert (data.classes, data.skipped) == (
        ("caf\\xe9", "tea"),
        ("caf\\xe9/1.png is empty (0 bytes)",),
    )


@pytest.mark.parametrize("ending", [".PNG", ".JPE", ".jfif", ".Jpg"])
def test_extensions_in_any_case(tmp_path, ending):
    numbered(tmp_path / "set", 3, ending)
    assert load(f"folder:{tmp_path / 'set'}").size == 3
    assert load(f"zip:{pack(tmp_path / 'set', tmp_path / 'x.zip')}").size == 3


@pytest.mark.parametrize(
    "left",
    [
        "__MACOSX/._00.png",
        "._00.png",
        ".DS_Store",
        "Thumbs.db",
        "sub/Thumbs.db",
        ".git/x.png",
        "@eaDir/00.png",
    ],
)
def test_what_file_managers_leave_is_ignored(tmp_path, left):
    numbered(tmp_path / "set", 2)
    (tmp_path / "set" / left).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "set" / left).write_bytes(b"x")
    for spec in (f"folder:{tmp_path / 'set'}", f"zip:{pack(tmp_path / 'set', tmp_path / 'x.zip')}"):
        data = load(spec)
        assert (grey(data), set(data.arrays), data.skipped) == ([0, 20], {"image"}, ())


UNREADABLE = [
    ("9.heic", b"x", "is a file of the format HEIC, which is not read: convert it to PNG or JPEG"),
    ("9.HEIF", b"x", "format HEIC"),
    ("9.CR2", b"x", "is a camera raw file, which is not read: develop it to PNG or TIFF"),
    ("9.dng", b"x", "camera raw"),
    ("9.avif", b"x", "format AVIF"),
    ("9.psd", b"x", "format Photoshop"),
    ("9.jp2", b"x", "format JPEG 2000"),
    (
        "9",
        b"\x89PNG\r\n\x1a\n" + b"x" * 20,
        "is an image, but its name does not say so: rename it to 9.png",
    ),
    ("9.jpg_large", b"\xff\xd8\xff\xe0", "rename it to 9.jpg_large.jpg"),
    ("9.bak", b"\0\0\0\x18ftypheic", "rename it to 9.bak.heic"),
]


@pytest.mark.parametrize(
    ("name", "content", "told"), UNREADABLE, ids=[name for name, *_ in UNREADABLE]
)
def test_images_that_are_not_read_are_named_or_counted(tmp_path, failure, name, content, told):
    root = numbered(tmp_path / "set", 2)
    (root / name).write_bytes(content)
    (root / "notes").write_text("no image")
    for spec in (f"folder:{root}", f"zip:{pack(root, tmp_path / 'x.zip')}"):
        assert f"1 of 3 images of {spec} cannot be used: {name} " in failure(spec)
        assert told in failure(spec)
        data = load(spec, skip_bad=True)
        assert (grey(data), set(data.arrays), len(data.skipped)) == ([0, 20], {"image"}, 1)
        assert data.skipped[0].startswith(f"{name} ")
    for side in "AB":
        numbered(tmp_path / "two" / side, 2)
    (tmp_path / "two" / "A" / name).write_bytes(content)
    (tmp_path / "two" / "B" / name).write_bytes(content)
    assert told in failure(f"paired:{tmp_path / 'two'}")
    assert len(load(f"paired:{tmp_path / 'two'}", skip_bad=True).skipped) == 1
    assert len(load(f"unpaired:{tmp_path / 'two'}", skip_bad=True).skipped) == 2


def test_what_is_not_read_is_neither_class_nor_split(tmp_path):
    for file in ("train/cat/0.png", "train/dog/0.png", "test/cat/0.png"):
        save(tmp_path / "set" / file)
    for file in ("cover.heic", "train/notes.heic", "test/dog/1.heic"):
        (tmp_path / "set" / file).parent.mkdir(exist_ok=True)
        (tmp_path / "set" / file).write_bytes(b"x")
    data = load(f"folder:{tmp_path / 'set'}", skip_bad=True)
    assert (data.size, data.classes, data.arrays["label"].tolist()) == (2, ("cat", "dog"), [0, 1])
    assert [reason.split()[0] for reason in data.skipped] == ["cover.heic", "train/notes.heic"]
    assert [
        reason.split()[0]
        for reason in load(f"folder:{tmp_path / 'set'}", split="test", skip_bad=True).skipped
    ] == ["cover.heic", "test/dog/1.heic"]


# -------------------------------------------------------------------------------------------- links


def test_a_folder_behind_two_links_counts_twice_and_loops_end(tmp_path):
    numbered(tmp_path / "elsewhere", 2)
    root = tmp_path / "set"
    save(root / "real" / "0.png", 99)
    (root / "cat").symlink_to(tmp_path / "elsewhere")
    (root / "dog").symlink_to(tmp_path / "elsewhere")
    (root / "real" / "up").symlink_to(root)
    (tmp_path / "elsewhere" / "round").symlink_to(root)
    data = load(f"folder:{root}")
    assert data.classes == ("cat", "dog", "real")
    assert (grey(data), data.arrays["label"].tolist()) == ([0, 20, 0, 20, 99], [0, 0, 1, 1, 2])
    for side in "AB":
        (tmp_path / "two").mkdir(exist_ok=True)
        (tmp_path / "two" / side).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").unlink()
    assert load(f"paired:{tmp_path / 'two'}").size == 2


def test_links_to_images_count(tmp_path):
    numbered(tmp_path / "elsewhere", 1)
    numbered(tmp_path / "set", 1)
    (tmp_path / "set" / "1.png").symlink_to(tmp_path / "elsewhere" / "00.png")
    (tmp_path / "set" / "2.png").symlink_to(tmp_path / "elsewhere" / "00.png")
    assert load(f"folder:{tmp_path / 'set'}").size == 3


def test_links_to_nothing_are_listed(tmp_path, failure):
    root = numbered(tmp_path / "set", 2)
    (root / "5.png").symlink_to(root / "gone.png")
    (root / "dog").symlink_to(tmp_path / "gone")
    (root / "me.png").symlink_to(root / "me.png")
    os.mkfifo(root / "pipe.png")
    spec = f"folder:{root}"
    assert (
        f"4 of 6 images of {spec} cannot be used: 5.png is a link to {root / 'gone.png'}, which does not exist"
        in failure(spec)
    )
    data = load(spec, skip_bad=True)
    assert grey(data) == [0, 20]
    assert [reason.split(",")[0] for reason in data.skipped] == [
        f"5.png is a link to {root / 'gone.png'}",
        f"dog is a link to {tmp_path / 'gone'}",
        "me.png is a link in a circle",
        "pipe.png is no regular file",
    ]
    (root / "gone.png").write_bytes((root / "00.png").read_bytes())
    assert len(load(spec, skip_bad=True).skipped) == 3  # mended links are seen: the cache follows
    for side in "AB":
        numbered(tmp_path / "two" / side, 2)
        (tmp_path / "two" / side / "5.png").symlink_to(tmp_path / "gone")
    assert "5.png is a link to" in load(f"paired:{tmp_path / 'two'}", skip_bad=True).skipped[0]
    assert len(load(f"unpaired:{tmp_path / 'two'}", skip_bad=True).skipped) == 2


# --------------------------------------------------------------------------------------- zip files


@pytest.fixture
def picture(tmp_path):
    """Grey level -> the bytes of a PNG file."""
    return lambda value: save(tmp_path / "picture.png", value).read_bytes()


def test_backslashes_separate_folders_in_zip_files(tmp_path, picture):
    members = [
        ("set\\", b""),
        ("set\\cat\\0.png", picture(1)),
        ("set\\dog\\1.png", picture(2)),
        ("set/dog\\2.png", picture(3)),
    ]
    data = load(archive(tmp_path / "x.zip", members))
    assert (data.classes, grey(data), data.arrays["label"].tolist()) == (
        ("cat", "dog"),
        [1, 2, 3],
        [0, 1, 1],
    )


def test_odd_members_of_zip_files(tmp_path, picture, failure):
    spec = archive(
        tmp_path / "x.zip",
        [
            ("./0.png", picture(1)),
            ("/1.png", picture(2)),
            ("a//2.png", picture(3)),
            ("3.png", picture(4)),
        ],
    )
    assert "images beside them (such as 0.png)" in failure(spec)
    spec = archive(
        tmp_path / "y.zip",
        [
            ("./0.png", picture(1)),
            ("/1.png", picture(2)),
            ("../2.png", picture(3)),
            ("a\\..\\3.png", picture(3)),
        ],
    )
    assert "../2.png has a path that leads out of the zip file" in failure(spec)
    data = load(spec, skip_bad=True)
    assert (grey(data), len(data.skipped), set(data.arrays)) == ([1, 2], 2, {"image"})


def test_members_of_one_name(tmp_path, picture, failure):
    spec = archive(
        tmp_path / "x.zip", [("0.png", picture(1)), ("a.png", picture(2)), ("./0.png", picture(1))]
    )
    assert grey(load(spec)) == [1, 2]
    with pytest.warns(UserWarning, match="Duplicate name"):
        spec = archive(
            tmp_path / "y.zip",
            [("0.png", picture(1)), ("a.png", picture(2)), ("0.png", picture(3))],
        )
    assert "0.png is twice in the zip file, with different content" in failure(spec)
    assert grey(load(spec, skip_bad=True)) == [2]


def test_links_in_zip_files_are_named(tmp_path, picture, failure):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        made.writestr("0.png", picture(1))
        for name in ("1.png", "dog"):
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            made.writestr(info, "../elsewhere")
    assert f"2 of 3 images of zip:{tmp_path / 'x.zip'} cannot be used: 1.png is a link" in failure(
        f"zip:{tmp_path / 'x.zip'}"
    )
    assert grey(load(f"zip:{tmp_path / 'x.zip'}", skip_bad=True)) == [1]


def test_names_that_macs_write_into_zip_files(tmp_path, picture):
    """UTF-8, decomposed, without the flag that says so."""
    name = f"{DECOMPOSED}.png"
    spec = archive(
        tmp_path / "x.zip", [(name, picture(1)), ("labels.csv", f"{COMPOSED}.png,cat\n")]
    )
    content = (tmp_path / "x.zip").read_bytes()
    for signature, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = content.index(signature) + place
        content = content[:at] + bytes([content[at], content[at + 1] & ~8]) + content[at + 2 :]
    (tmp_path / "x.zip").write_bytes(content)
    assert zipfile.ZipFile(tmp_path / "x.zip").namelist()[0] != name
    assert load(spec).classes == ("cat",)
