from __future__ import annotations

import os
import zipfile

import numpy as np
import pytest
from PIL import Image

import jaxgan.data
from jaxgan.data import decoding, from_arrays, with_attributes
from jaxgan.errors import DataError

RNG = np.random.default_rng(5)


def make(folder, *names, size=(4, 6)):
    """PNG pictures of noise; returns them by name."""
    made = {}
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        made[name] = RNG.integers(0, 256, (*size, 3)).astype(np.uint8)
        Image.fromarray(made[name]).save(folder / name)
    return made


def pack(folder, path, prefix=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


def load(rest, **options):
    return jaxgan.data.open(f"attributes:{rest}", progress=False, **options)


@pytest.fixture(autouse=True)
def nowhere_else(cache):
    """Caches go to a temporary folder."""


@pytest.fixture
def decoded(monkeypatch):
    """Which sets were decoded rather than found."""
    calls = []
    passed = decoding.passed
    monkeypatch.setattr(
        decoding, "passed", lambda source, *rest: calls.append(source.name) or passed(source, *rest)
    )
    return calls


@pytest.fixture(params=["folder", "zip", "wrapped zip"])
def path_of(request, tmp_path):
    """Folder -> where its files are, as a folder, an archive, and an archive with everything in one top folder."""

    def path(folder):
        if request.param == "folder":
            return folder
        return pack(
            folder, tmp_path / "packed.zip", "wrapper/" if request.param == "wrapped zip" else ""
        )

    return path


def holds(data, pictures, names, groups, rows):
    """`data` has these pictures, in this order, with these attributes."""
    assert list(data.arrays) == ["image", "attributes"]
    np.testing.assert_array_equal(data.arrays["image"], list(pictures))
    assert (data.attributes, data.groups, data.known) == (names, groups, ())
    np.testing.assert_array_equal(data.arrays["attributes"], rows)
    assert data.arrays["attributes"].dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        data.arrays["attributes"][0] = 0


# -------------------------------------------------------------------------------------------------------------- sub-folders


def test_subfolders_are_exclusive(tmp_path, path_of):
    made = make(tmp_path / "set", "angry/1.png", "happy/1.png", "happy/2.png", "sad/deep/1.png")
    expected = [[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]]
    holds(
        load(path_of(tmp_path / "set")),
        made.values(),
        ("angry", "happy", "sad"),
        (("class", 3),),
        expected,
    )


def test_subfolders_called_0_and_1_are_no_binary_attribute(tmp_path):
    made = make(tmp_path / "set", "0/a.png", "1/a.png")
    holds(load(tmp_path / "set"), made.values(), ("0", "1"), (("class", 2),), np.eye(2))


def test_splits_have_the_same_columns(tmp_path):
    made = make(tmp_path / "set", "test/b/1.png", "train/a/1.png", "train/b/2.png", "train/c/1.png")
    for split, rows in (
        ("train", np.eye(3)),
        ("test", [[0, 1, 0]]),
        ("all", [[0, 1, 0], *np.eye(3)]),
    ):
        pictures = [
            picture for name, picture in made.items() if split in ("all", name.split("/")[0])
        ]
        holds(load(tmp_path / "set", split=split), pictures, ("a", "b", "c"), (("class", 3),), rows)


def test_no_subfolders_to_tell_by(tmp_path, failure):
    make(tmp_path / "set", "only/1.png")
    assert (
        "has no sub-folders to tell attributes by: sort the images into some, or give ?table=FILE"
        in failure(f"attributes:{tmp_path / 'set'}")
    )
    make(tmp_path / "set", "other/1.png", "stray.png")
    assert (
        "images beside them (such as stray.png): move those into a class, or add ?table=FILE"
        in failure(f"attributes:{tmp_path / 'set'}")
    )
    make(tmp_path / "good", "a/1.png", "b/1.png")
    assert "selects from sub-folders: select chooses columns" in failure(
        f"attributes:{tmp_path / 'good'}?select=a"
    )
    assert "unknown option 'class': known here: table, names, select" in failure(
        f"attributes:{tmp_path / 'good'}?class=a,b"
    )


# ------------------------------------------------------------------------------------------------------------------- tables

CSV = "file,Smiling,hair,young\n1.png,1,brown,1\n2.png,0,black,-1\nsub/3.png,1,blond,1\n"


def test_csv_of_binary_values_and_classes(tmp_path, path_of):
    made = make(tmp_path / "set", "1.png", "2.png", "sub/3.png")
    (tmp_path / "set" / "t.csv").write_text(CSV)
    where = path_of(tmp_path / "set")
    names = ("Smiling", "hair_black", "hair_blond", "hair_brown", "young")
    holds(
        load(f"{where}?table=t.csv"),
        made.values(),
        names,
        (("Smiling", 1), ("hair", 3), ("young", 1)),
        [[1, 0, 0, 1, 1], [0, 1, 0, 0, 0], [1, 0, 1, 0, 1]],
    )
    holds(
        load(f"{where}?table=t.csv&select=young,Smiling"),
        made.values(),
        ("young", "Smiling"),
        (),
        [[1, 1], [0, 0], [1, 1]],
    )
    holds(
        load(f"{where}?table=t.csv&select=hair"),
        made.values(),
        names[1:4],
        (("hair", 3),),
        [[0, 0, 1], [1, 0, 0], [0, 1, 0]],
    )


CELEBA = (
    "3\nBlack_Hair Male Young \n000001.png -1  1  1\n000002.png  1 -1 -1\n000003.png -1 -1  1\n"
)


@pytest.mark.parametrize("place", ["img", "img/pictures", "."])
def test_celeba_beside_above_and_by_path(tmp_path, place):
    made = make(tmp_path / "celeba" / "img", "000001.png", "000002.png", "000003.png")
    (tmp_path / "celeba" / "Anno").mkdir()
    (tmp_path / "celeba" / place).mkdir(exist_ok=True)
    target = (
        tmp_path
        / "celeba"
        / ("list_attr_celeba.txt" if place != "." else "Anno/list_attr_celeba.txt")
    )
    target.write_text(CELEBA)
    where = tmp_path / "celeba" / ("img" if place == "img" else ".")
    rows = [[0, 1, 1], [1, 0, 0], [0, 0, 1]]
    holds(
        load(f"{where}?table=list_attr_celeba.txt"),
        made.values(),
        ("Black_Hair", "Male", "Young"),
        (),
        rows,
    )
    elsewhere = target.rename(tmp_path / "elsewhere.txt")
    chosen = load(f"{where}?table={elsewhere}&select=Young,Black_Hair")
    holds(chosen, made.values(), ("Young", "Black_Hair"), (), [[1, 0], [0, 1], [1, 0]])


def test_many_selected_columns_make_a_name_too_long_for_a_file(tmp_path):
    made = make(tmp_path / "set", "1.png", "2.png")
    names = tuple(f"attribute_number_{i}" for i in range(40))
    (tmp_path / "t.csv").write_text(f"file,{','.join(names)}\n1.png{',1' * 40}\n2.png{',0' * 40}\n")
    spec = f"{tmp_path / 'set'}?table=t.csv&select={','.join(names)}"
    holds(load(spec), made.values(), names, (), [[1] * 40, [0] * 40])


def test_numbers_in_a_table_can_be_binned(tmp_path):
    made = make(tmp_path / "set", "1.png", "2.png", "3.png")
    (tmp_path / "t.csv").write_text("file,age\n1.png,19\n2.png,20.5\n3.png,0\n")
    holds(
        load(f"{tmp_path / 'set'}?table=t.csv&age=0-19,20-200"),
        made.values(),
        ("age_0-19", "age_20-200"),
        (("age", 2),),
        [[1, 0], [0, 1], [1, 0]],
    )


@pytest.mark.parametrize(
    ("file", "text", "options", "told"),
    [
        (
            "t.csv",
            "file,a,b\n1.png,1,0\n2.png,1\n",
            "",
            "t.csv in .*, line 3: expected a file and 2 values, got 1 for '2.png'",
        ),
        ("t.csv", "file,a\n1.png,1,1\n", "", "line 2: expected a file and 1 value, got 2"),
        (
            "t.csv",
            "1.png,1\n2.png,0\n",
            "",
            "t.csv in .* has no header: expected `file,name,...`, got '1.png,1'",
        ),
        ("t.csv", "", "", "has no header"),
        ("t.csv", "file,a,a\n1.png,1,1\n", "", "has two columns 'a': rename one"),
        ("t.csv", "file,a\n", "", "lists no files: fill it"),
        ("t.csv", "file,a\n1.png,1\n./1.png,0\n2.png,0\n", "", "line 3: 1.png is listed twice"),
        (
            "t.csv",
            "file,a\nx.jpg,1\n",
            "",
            "lists none of the images: they are called such as 1.png, its rows such as x.jpg",
        ),
        (
            "t.csv",
            "file,a,b\n1.png,1,0\n2.png,1,1\n",
            "&select=a,Hat",
            "selects the unknown 'Hat': known are a, b",
        ),
        ("t.csv", "file,a,b\n1.png,1,0\n2.png,1,1\n", "&select=a,a", "selects twice 'a'"),
        (
            "t.csv",
            "file,a\n1.png,1\n2.png,1\n",
            "&selekt=a",
            "unknown option 'selekt': known here: table, names, select, a",
        ),
        (
            "t.csv",
            "file,a\n1.png,1\n2.png,1\n",
            "&names={a}_*",
            "has both a table and a pattern of names: choose one",
        ),
        ("t.csv", "file,a,a_x\n1.png,x,1\n2.png,y,1\n", "", "has two attributes called 'a_x'"),
        (
            "t.csv",
            "file,a\n1.png,1\n3.png,1\n",
            "",
            "2 of 3 images .* 2.png has no row in t.csv; 3.png is listed in t.csv, but no such image is there",
        ),
        (
            "t.csv",
            "file,a\n1.png,1\n2.png,\n",
            "",
            "1 of 2 images of .* cannot be used: 2.png has no a in t.csv, line 3:",
        ),
        (
            "t.txt",
            "2\na b\n1.png 1 -1\n2.png 1\n",
            "",
            "t.txt in .*, line 4: expected a file and 2 values, got 1 for '2.png'",
        ),
        (
            "t.txt",
            "2\na b\n1.png 1 -1\n2.png 1 l\n",
            "",
            "line 4: the values of 2.png must be -1 or 1, got 'l'",
        ),
        (
            "t.txt",
            "3\na b\n1.png 1 -1\n2.png 1 1\n",
            "",
            "lists 2 files, but announces 3: fetch it again",
        ),
        (
            "t.txt",
            "a b\n1.png 1 -1\n2.png 1 1\n",
            "",
            "is no table like CelebA's: expected the number of rows, then a line of names",
        ),
        (
            "t.txt",
            "2\n1.png 1 -1\n2.png 1 1\n",
            "",
            "has no header: expected `the names of the attributes`",
        ),
    ],
)
def test_tables_that_do_not_fit(tmp_path, failure, file, text, options, told):
    import re

    make(tmp_path / "set", "1.png", "2.png")
    (tmp_path / "set" / file).write_text(text)
    message = failure(f"attributes:{tmp_path / 'set'}?table={file}{options}")
    assert re.search(told, message), message


def test_no_such_table_path_or_option(tmp_path, failure):
    make(tmp_path / "set", "1.png", "2.png")
    where = tmp_path / "set"
    assert (
        f"has no table t.csv: it is not in {where}, not beside it, and no file of its own"
        in failure(f"attributes:{where}?table=t.csv")
    )
    assert "leaves table empty: write table=..." in failure(f"attributes:{where}?table")
    assert f"{tmp_path / 'nowhere'} does not exist: name the folder or zip file" in failure(
        f"attributes:{tmp_path / 'nowhere'}?table=t.csv"
    )
    assert "write attributes:PATH" in failure("attributes:")
    assert "says more than needed: write attributes:digits" in failure("attributes:digits?table=x")
    (where / "t.csv").write_bytes(b"\xff\xfe")
    assert "t.csv in " in failure(f"attributes:{where}?table=t.csv")
    assert "is not UTF-8 text" in failure(f"attributes:{where}?table=t.csv")


def test_what_has_no_row_can_be_skipped_and_rows_stay_aligned(tmp_path):
    made = make(tmp_path / "set", "1.png", "2.png", "3.png", "4.png", "5.png")
    (tmp_path / "set" / "3.png").write_bytes(b"")
    (tmp_path / "t.csv").write_text(
        "file,a,hair\n5.png,1,red\n4.png,0,\n3.png,0,red\n9.png,1,red\n1.png,1,grey\n"
    )
    data = load(f"{tmp_path / 'set'}?table=t.csv", skip_bad=True)
    holds(
        data,
        [made["1.png"], made["5.png"]],
        ("a", "hair_grey", "hair_red"),
        (("a", 1), ("hair", 2)),
        [[1, 1, 0], [1, 0, 1]],
    )
    assert data.skipped == (
        "2.png has no row in t.csv",
        "3.png is empty (0 bytes)",
        "4.png has no hair in t.csv, line 3",
        "9.png is listed in t.csv, but no such image is there",
    )


# -------------------------------------------------------------------------------------------------------------------- names


def test_names_with_bins_and_titles(tmp_path, path_of):
    made = make(tmp_path / "set", "19_0_2_x_1.png", "20_1_0_y.jpg.png", "64_0_4_.png")
    where = path_of(tmp_path / "set")
    bins = "&age=0-19,20-39,40-200&gender=male:0,female:1"
    names = (
        "age_0-19",
        "age_20-39",
        "age_40-200",
        "gender_male",
        "gender_female",
        "race_0",
        "race_2",
        "race_4",
    )
    rows = [[1, 0, 0, 1, 0, 0, 1, 0], [0, 1, 0, 0, 1, 1, 0, 0], [0, 0, 1, 1, 0, 0, 0, 1]]
    holds(
        load(where.as_posix() + "?names={age}_{gender}_{race}_*" + bins),
        made.values(),
        names,
        (("age", 3), ("gender", 2), ("race", 3)),
        rows,
    )
    unbinned = load(where.as_posix() + "?names={age}_{gender}_{race}_*&select=gender")
    holds(unbinned, made.values(), ("gender",), (), [[0], [1], [0]])


def test_fields_stop_at_what_stands_beside_them(tmp_path):
    """A name as in the Radboud set: the star takes what the fields cannot."""
    made = make(
        tmp_path / "set",
        "Rafd090_01_Caucasian_female_angry_frontal.png",
        "Rafd090_02_Caucasian_male_happy_left.png",
    )
    data = load(f"{tmp_path / 'set'}" + "?names=*_{sex}_{mood}_{gaze}&select=mood,gaze")
    holds(
        data,
        made.values(),
        ("mood_angry", "mood_happy", "gaze_frontal", "gaze_left"),
        (("mood", 2), ("gaze", 2)),
        [[1, 0, 1, 0], [0, 1, 0, 1]],
    )


def test_patterns_take_in_folders(tmp_path):
    made = make(tmp_path / "set", "anna/glad-1.png", "bert/glad-1.png", "bert/sad-2.png")
    data = load(f"{tmp_path / 'set'}" + "?names={who}/{mood}-*.png")
    holds(
        data,
        made.values(),
        ("who_anna", "who_bert", "mood_glad", "mood_sad"),
        (("who", 2), ("mood", 2)),
        [[1, 0, 1, 0], [0, 1, 1, 0], [0, 1, 0, 1]],
    )


def test_classes_that_are_numbers_are_sorted_as_such(tmp_path):
    make(tmp_path / "set", "10_a.png", "9_b.png", "x_c.png")
    assert load(f"{tmp_path / 'set'}" + "?names={n}_*").attributes == ("n_9", "n_10", "n_x")


def test_values_without_a_bin_and_names_that_do_not_fit(tmp_path, failure):
    made = make(tmp_path / "set", "5_0.png", "30_1.png", "39.png", "old_0.png", "300_1.png")
    spec = f"{tmp_path / 'set'}" + "?names={age}_{gender}&age=0-19,20-200"
    reasons = (
        "300_1.png has the age '300', which is in no bin",
        "39.png is not named like {age}_{gender}",
        "old_0.png has the age 'old', which is in no bin",
    )
    assert (
        f"3 of 5 images of attributes:{spec} cannot be used: {'; '.join(reasons)}: repair"
        in failure(f"attributes:{spec}")
    )
    data = load(spec, skip_bad=True)
    holds(
        data,
        [made["30_1.png"], made["5_0.png"]],
        ("age_0-19", "age_20-200", "gender"),
        (("age", 2), ("gender", 1)),
        [[0, 1, 1], [1, 0, 0]],
    )
    assert data.skipped == reasons


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            "names={age}_{race}_*",
            "has no image that is named like {age}_{race}_*: they are called such as 1_a.png",
        ),
        ("names={age}{race}_*", "{age} needs a character between it and its neighbour"),
        ("names={age}*", "{age} needs a character between it and its neighbour"),
        ("names=*{age}_*", "{age} needs a character between it and its neighbour"),
        ("names=*_*", "write fields with names of their own, such as {age}_{gender}_*"),
        ("names={a}_{a}", "write fields with names of their own"),
        ("names={}_*", "write fields with names of their own"),
        ("names={age}_*&sex=0,1", "unknown option 'sex': known here: table, names, select, age"),
        ("names={age}_*&select=sex", "selects the unknown 'sex': known are age"),
        ("names={age}_*&age=0-5,5-9", "age: the bins 0-5 and 5-9 overlap"),
        ("names={age}_*&age=a:1,a:2", "age: the bins a and a overlap"),
        ("names={age}_*&age=9-0,10-20", "age: '9-0' is no bin: write LOW-HIGH or a value"),
        ("names={age}_*&age=", "age: '' is no bin"),
        ("names={age}_*&age=0-99", "age: at least two bins are needed, got '0-99'"),
        ("names={age}_*&age=3-4,5-6", "none of the 2 images of"),
    ],
)
def test_patterns_and_bins_that_do_not_fit(tmp_path, failure, options, told):
    make(tmp_path / "set", "1_a.png", "2_b.png")
    assert told in failure(f"attributes:{tmp_path / 'set'}?{options}", skip_bad=True)


def test_too_many_classes_need_bins(tmp_path, failure):
    picture = (tmp_path / "x.png", make(tmp_path, "x.png"))[0].read_bytes()
    (tmp_path / "set").mkdir()
    for i in range(51):
        (tmp_path / "set" / f"{i}_x.png").write_bytes(picture)
    spec = f"attributes:{tmp_path / 'set'}" + "?names={age}_*"
    assert "has 51 different values of age: sort them into bins, such as age=0-19,20-39" in failure(
        spec
    )


# -------------------------------------------------------------------------------------------------------------------- cache


def test_another_choice_of_attributes_finds_the_same_images(tmp_path, decoded):
    made = make(tmp_path / "set", "1.png", "2.png", "sub/3.png")
    table = tmp_path / "set" / "t.csv"
    table.write_text(CSV)
    first, again, other = (
        load(f"{tmp_path / 'set'}?table=t.csv&select={name}") for name in ("hair", "hair", "young")
    )
    assert len(decoded) == 1
    assert first.cache == other.cache
    assert isinstance(other.arrays["image"], np.memmap)
    assert first.fingerprint == again.fingerprint != other.fingerprint
    table.write_text(CSV.replace("brown", "grey"))
    renamed = load(f"{tmp_path / 'set'}?table=t.csv&select=hair")
    assert len(decoded) == 1
    holds(
        renamed,
        made.values(),
        ("hair_black", "hair_blond", "hair_grey"),
        (("hair", 3),),
        [[0, 0, 1], [1, 0, 0], [0, 1, 0]],
    )
    assert renamed.fingerprint != first.fingerprint
    # A row less: that image cannot be used any more, whatever the cache holds.
    table.write_text(CSV.replace("2.png,0,black,-1\n", ""))
    with pytest.raises(DataError, match=r"1 of 3 images .*: 2.png has no row in t.csv"):
        load(f"{tmp_path / 'set'}?table=t.csv")
    skipping = load(f"{tmp_path / 'set'}?table=t.csv&select=Smiling", skip_bad=True)
    holds(skipping, [made["1.png"], made["sub/3.png"]], ("Smiling",), (), [[1], [1]])
    make(tmp_path / "set", "1.png")
    os.utime(tmp_path / "set" / "1.png", ns=(1, 1))
    assert (
        load(f"{tmp_path / 'set'}?table=t.csv&select=Smiling", skip_bad=True).fingerprint
        != skipping.fingerprint
    )


def test_the_fingerprint_is_that_of_the_content(tmp_path):
    make(tmp_path / "set", "a/1.png", "b/1.png")
    data, packed = (
        load(tmp_path / "set"),
        load(pack(tmp_path / "set", tmp_path / "set.zip", "top/")),
    )
    same = with_attributes(
        from_arrays("x", np.array(data.arrays["image"])),
        np.eye(2, dtype=bool),
        ("a", "b"),
        (("class", 2),),
    )
    assert data.fingerprint == packed.fingerprint == same.fingerprint
    binary = with_attributes(
        from_arrays("x", np.array(data.arrays["image"])), np.eye(2, dtype=bool), ("a", "b")
    )
    assert (
        binary.fingerprint
        != same.fingerprint
        != from_arrays("x", np.array(data.arrays["image"])).fingerprint
    )


# --------------------------------------------------------------------------------------------------------------- real faces


def test_real_faces(real_data):
    """The first faces of a set whose names tell age, gender and race."""
    import io

    with zipfile.ZipFile(real_data / "utkface.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))[:40]
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as small_archive:
            for name in names:
                small_archive.writestr(name, archive.read(name))
    path = real_data.__class__(os.environ["JAXGAN_CACHE"]).parent / "faces.zip"
    path.write_bytes(packed.getvalue())
    data = load(
        f"{path}" + "?names={age}_{gender}_{race}_*&age=0-19,20-39,40-200&select=age,gender",
        image_size=(8, 8),
    )
    assert data.attributes == ("age_0-19", "age_20-39", "age_40-200", "gender")
    for name, row in zip(names, data.arrays["attributes"]):
        age, gender = map(int, name.split("/")[-1].split("_")[:2])
        assert row.tolist() == [int(age <= 19), int(20 <= age <= 39), int(age >= 40), gender]
