from __future__ import annotations

import json
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

import jaxgan.data
from jaxgan.errors import DataError
from jaxgan.pictures.images import save_png

RNG = np.random.default_rng(2)


def save(path, size=(6, 5), value=None, **options):
    """A grey or RGB picture; returns its pixels."""
    shape = size if len(size) == 3 else (*size, 3)
    pixels = (
        RNG.integers(0, 256, shape).astype(np.uint8)
        if value is None
        else np.full(shape, value, np.uint8)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if shape[2] == 1 else pixels).save(path, **options)
    return pixels


@pytest.fixture
def photos(tmp_path, cache):
    folder = tmp_path / "photos"
    return folder, np.stack([save(folder / f"{i}.png") for i in range(4)])


def pack(folder, path, prefix=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, prefix + file.relative_to(folder).as_posix())
    return f"zip:{path}"


@pytest.fixture(params=["folder", "zip", "wrapped zip"])
def spec_of(request, tmp_path):
    """Folder -> the spec of it, as a folder, an archive, and an archive with everything in one top folder."""

    def spec(folder):
        if request.param == "folder":
            return f"folder:{folder}"
        return pack(
            folder, tmp_path / "packed.zip", "wrapper/" if request.param == "wrapped zip" else ""
        )

    return spec


def test_images_without_labels(photos, spec_of):
    folder, pixels = photos
    (folder / "README.txt").write_text("not a picture, not counted")
    (folder / ".hidden.png").write_bytes(b"")
    save(folder / "__MACOSX" / "x.png")
    data = jaxgan.data.open(spec_of(folder), progress=False)
    np.testing.assert_array_equal(data.arrays["image"], pixels)
    assert set(data.arrays) == {"image"}
    assert (data.classes, data.skipped) == ((), ())
    assert isinstance(data.arrays["image"], np.memmap)


def test_sub_folders_are_classes(tmp_path, cache, spec_of):
    folder = tmp_path / "pets"
    pixels = [save(folder / file) for file in ("cat/1.png", "cat/deep/2.PNG", "dog/0.png")]
    data = jaxgan.data.open(spec_of(folder), progress=False)
    np.testing.assert_array_equal(data.arrays["image"], pixels)
    assert data.classes == ("cat", "dog")
    np.testing.assert_array_equal(data.arrays["label"], [0, 0, 1])
    assert data.arrays["label"].dtype == np.int32


def test_sub_folders_train_and_test_are_splits(tmp_path, cache, spec_of, failure):
    folder = tmp_path / "split"
    for file in ("train/a/1.png", "train/b/2.png", "train/b/3.png", "test/a/4.png", "test/b/5.png"):
        save(folder / file)
    spec = spec_of(folder)
    counts = {
        split: jaxgan.data.open(spec, split=split, progress=False)
        for split in ("train", "test", "all")
    }
    assert {
        split: (x.size, x.classes, x.arrays["label"].tolist()) for split, x in counts.items()
    } == {
        "train": (3, ("a", "b"), [0, 1, 1]),
        "test": (2, ("a", "b"), [0, 1]),
        "all": (5, ("a", "b"), [0, 1, 0, 1, 1]),
    }
    assert "no split 'val': its splits are test, train" in failure(spec, split="val")


def test_a_plain_folder_has_no_test_split(photos, spec_of, failure):
    assert "no split 'test'" in failure(spec_of(photos[0]), split="test")


@pytest.mark.parametrize(
    ("file", "text", "labels", "classes"),
    [
        (
            "labels.csv",
            "file,label\n2.png,1\n0.png,0\n1.png,3\n3.png,0\n",
            [0, 3, 1, 0],
            ("0", "1", "2", "3"),
        ),
        (
            "labels.csv",
            "0.png, cat\n1.png,dog\n\n2.png,cat\n./3.png,ape\n",
            [1, 2, 1, 0],
            ("ape", "cat", "dog"),
        ),
        (
            "dataset.json",
            '{"labels": [["0.png", 1], ["1.png", 0], ["2.png", 1], ["3.png", 1]]}',
            [1, 0, 1, 1],
            ("0", "1"),
        ),
        ("dataset.json", '{"labels": null}', None, ()),
    ],
)
def test_label_files(photos, spec_of, file, text, labels, classes):
    (photos[0] / file).write_text(text)
    data = jaxgan.data.open(spec_of(photos[0]), progress=False)
    assert data.classes == classes
    assert (data.arrays["label"].tolist() if "label" in data.arrays else None) == labels


def test_stylegan_folders_of_thousands_are_no_classes_with_dataset_json(tmp_path, cache, spec_of):
    folder = tmp_path / "stylegan"
    for i in range(2):
        save(folder / f"0000{i}" / f"img{i}.png")
    (folder / "dataset.json").write_text(
        '{"labels": [["00000/img0.png", 5], ["00001/img1.png", 2]]}'
    )
    assert jaxgan.data.open(spec_of(folder), progress=False).arrays["label"].tolist() == [5, 2]


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("labels.csv", "file,label\n0.png,1,7\n", "line 2: expected `file,label`"),
        ("labels.csv", "0.png,1\n0.png,2\n", "line 2: 0.png is listed twice"),
        ("labels.csv", "0.png,-1\n", "label -1 (as for 0.png)"),
        ("labels.csv", "", "lists no labels"),
        ("labels.csv", b"\xff\xfe\x00", "not UTF-8"),
        ("dataset.json", "{", "not valid JSON"),
        ("dataset.json", "[]", 'no "labels"'),
        ("dataset.json", '{"labels": [["0.png", [0.5, 1.0]]]}', "entry 0"),
        ("labels.csv", "0.png,1\n1.png,1\n2.png,1\n", "3.png has no label in labels.csv"),
        (
            "labels.csv",
            "0.png,1\n1.png,1\n2.png,1\n3.png,0\n4.png,1\n",
            "4.png is listed in labels.csv, but no such image is there",
        ),
    ],
)
def test_label_file_mistakes_are_named(photos, file, text, told, failure):
    (photos[0] / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert told in failure(f"folder:{photos[0]}")


def test_labels_that_do_not_match_can_be_skipped(photos):
    (photos[0] / "labels.csv").write_text("0.png,1\n2.png,0\n9.png,1\n")
    data = jaxgan.data.open(f"folder:{photos[0]}", skip_bad=True, progress=False)
    np.testing.assert_array_equal(data.arrays["image"], photos[1][[0, 2]])
    assert data.arrays["label"].tolist() == [1, 0]
    assert [reason.split()[0] for reason in data.skipped] == ["1.png", "3.png", "9.png"]


def test_images_beside_class_folders(photos, failure):
    save(photos[0] / "cat" / "x.png")
    assert "beside them (such as 0.png)" in failure(f"folder:{photos[0]}")


def spoil(folder):
    """One bad file of each kind, first in the folder; returns what each must be called."""
    whole = folder / "whole.jpg"
    save(whole, (200, 200))
    (folder / "00a.jpg").write_bytes(whole.read_bytes()[:-3000])
    whole.unlink()
    (folder / "00b.png").write_bytes(b"")
    (folder / "00c.jpg").write_text("words")
    save(folder / "00d.png", (1, 1))
    return {
        "00a.jpg": "is damaged",
        "00b.png": "is empty (0 bytes)",
        "00c.jpg": "is not an image that Pillow can read",
        "00d.png": "has 1x1 pixels",
    }


def test_bad_images_are_all_counted_and_named(photos, spec_of, cache, failure):
    expected = spoil(photos[0])
    spec = spec_of(photos[0])
    message = failure(spec)
    assert message.startswith(f"4 of 8 images of {spec} cannot be used: ")
    assert "--skip-bad" in message
    for file, reason in expected.items():
        assert f"{file} {reason}" in message
    assert not list(cache.glob("*-*"))  # nothing half-made stays
    data = jaxgan.data.open(spec, skip_bad=True, progress=False)
    np.testing.assert_array_equal(data.arrays["image"], photos[1])
    assert len(data.skipped) == 4
    assert failure(spec) == message  # also where the cache of the others exists
    fresh = jaxgan.data.open(spec, skip_bad=True, progress=False)
    assert (fresh.skipped, fresh.fingerprint) == (data.skipped, data.fingerprint)


def test_only_five_offenders_are_named(tmp_path, cache, failure):
    for i in range(9):
        save(tmp_path / "many" / f"{i}.png")
        (tmp_path / "many" / f"{i}.png").write_bytes(b"")
    message = failure(f"folder:{tmp_path / 'many'}")
    assert "4.png is empty" in message
    assert "5.png" not in message
    assert "and 4 more" in message
    assert "none of the 9 images" in failure(f"folder:{tmp_path / 'many'}", skip_bad=True)


def test_mixed_sizes_need_image_size(photos, failure):
    save(photos[0] / "9.png", (12, 10))
    message = failure(f"folder:{photos[0]}")
    assert "6x5 with 3 channels (0.png and 3 more); 12x10 with 3 channels (9.png)" in message
    assert (
        "give image_size HEIGHT WIDTH (--image-size in data_check; --config.image-size in training) to scale and cut them to one"
        in message
    )
    assert "channels 1, 3 or 4" not in message
    data = jaxgan.data.open(f"folder:{photos[0]}", image_size=(6, 5), progress=False)
    assert data.arrays["image"].shape == (5, 6, 5, 3)
    np.testing.assert_array_equal(data.arrays["image"][:4], photos[1])


def test_mixed_channels_need_channels(photos, failure):
    grey = save(photos[0] / "9.png", (6, 5, 1))
    message = failure(f"folder:{photos[0]}")
    assert "6x5 with 1 channel (9.png)" in message
    flags = (
        "--channels in data_check; --config.channels, or --config.channels-a and -b, in training"
    )
    assert message.endswith(f": give channels 1, 3 or 4 ({flags}) to convert them to one number")
    data = jaxgan.data.open(f"folder:{photos[0]}", channels=3, progress=False)
    np.testing.assert_array_equal(data.arrays["image"], [*photos[1], np.repeat(grey, 3, 2)])


def test_16_bit_sets_stay_16_bit(tmp_path, cache, failure):
    pixels = RNG.integers(0, 65536, (3, 4, 4)).astype(np.uint16)
    (tmp_path / "deep").mkdir()
    for i, plane in enumerate(pixels):
        Image.fromarray(plane).save(tmp_path / "deep" / f"{i}.png")
    data = jaxgan.data.open(f"folder:{tmp_path / 'deep'}", progress=False)
    assert data.arrays["image"].dtype == np.uint16
    np.testing.assert_array_equal(data.arrays["image"][..., 0], pixels)
    save(tmp_path / "deep" / "9.png", (4, 4, 1))
    assert "bit depth" in failure(f"folder:{tmp_path / 'deep'}")


def test_16_bit_colours_stay_16_bit(tmp_path, cache):
    pixels = RNG.integers(0, 65536, (3, 4, 5, 3)).astype(np.uint16)
    for i, image in enumerate(pixels):
        save_png(tmp_path / "deep" / f"{i}.png", image)
    data = jaxgan.data.open(f"folder:{tmp_path / 'deep'}", progress=False)
    assert data.arrays["image"].dtype == np.uint16
    np.testing.assert_array_equal(data.arrays["image"], pixels)


def test_palette_and_cmyk_files_in_one_set(tmp_path, cache):
    (tmp_path / "mixed").mkdir()
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    red.convert("P").save(tmp_path / "mixed" / "a.png")
    red.convert("CMYK").save(tmp_path / "mixed" / "b.jpg", quality=100)
    red.save(tmp_path / "mixed" / "c.webp", lossless=True)
    data = jaxgan.data.open(f"folder:{tmp_path / 'mixed'}", progress=False)
    np.testing.assert_allclose(
        data.arrays["image"].astype(int), np.broadcast_to([255, 0, 0], (3, 8, 8, 3)), atol=4
    )


def test_missing_and_empty_sources(tmp_path, cache, failure):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty" / "notes.txt").write_text("x")
    assert "does not exist" in failure(f"folder:{tmp_path / 'nowhere'}")
    assert "is a file, not a folder" in failure(f"folder:{tmp_path / 'file'}")
    assert "holds no images (looked for .png .apng .jpg" in failure(f"folder:{tmp_path / 'empty'}")
    assert "does not exist" in failure(f"zip:{tmp_path / 'nowhere.zip'}")
    assert "is a folder, not a zip file" in failure(f"zip:{tmp_path / 'empty'}")
    assert "is not a readable zip file" in failure(f"zip:{tmp_path / 'file'}")
    assert "holds no images" in failure(pack(tmp_path / "empty", tmp_path / "empty.zip"))


def test_damage_inside_an_archive_is_named(photos, tmp_path, failure):
    spec = pack(photos[0], tmp_path / "x.zip")
    path = tmp_path / "x.zip"
    content = bytearray(path.read_bytes())
    content[content.index((photos[0] / "1.png").read_bytes()) + 40] ^= 0xFF
    path.write_bytes(content)
    message = failure(spec)
    assert message.startswith("1 of 4 images")
    assert "1.png cannot be unpacked (Bad CRC-32" in message


def test_links_in_circles_end(photos):
    (photos[0] / "again").symlink_to(photos[0])
    assert jaxgan.data.open(f"folder:{photos[0]}", progress=False).size == 4


def test_fingerprint_is_of_the_content(photos, tmp_path):
    folder, pixels = photos
    first = jaxgan.data.open(f"folder:{folder}", progress=False)
    shutil.copytree(folder, tmp_path / "copy")
    assert (
        jaxgan.data.open(f"folder:{tmp_path / 'copy'}", progress=False).fingerprint
        == first.fingerprint
    )
    assert (
        jaxgan.data.open(pack(folder, tmp_path / "x.zip"), progress=False).fingerprint
        == first.fingerprint
    )
    assert jaxgan.data.from_arrays("x", pixels).fingerprint == first.fingerprint
    changed = pixels.copy()
    changed[3, 0, 0, 0] ^= 1
    others = [
        jaxgan.data.from_arrays("x", changed),
        jaxgan.data.from_arrays("x", pixels[::-1]),
        jaxgan.data.from_arrays("x", pixels.reshape(4, 5, 6, 3)),
        jaxgan.data.from_arrays("x", pixels, np.arange(4)),
        jaxgan.data.from_arrays("x", pixels, np.arange(4), tuple("abcd")),
    ]
    assert len({first.fingerprint, *(x.fingerprint for x in others)}) == 6


@pytest.mark.parametrize(
    "arrays",
    [
        (np.zeros((2, 4, 4, 1), np.float32), None),
        (np.zeros((2, 4, 4), np.uint8), None),
        (np.zeros((0, 4, 4, 1), np.uint8), None),
        (np.zeros((2, 4, 4, 1), np.uint8), np.array([0])),
        (np.zeros((2, 4, 4, 1), np.uint8), np.array([0, -1])),
        (np.zeros((2, 4, 4, 1), np.uint8), np.array([0.0, 1.0])),
    ],
)
def test_from_arrays_checks(arrays):
    with pytest.raises(DataError, match="mine: "):
        jaxgan.data.from_arrays("mine", *arrays)


def test_real_faces_from_an_archive(real_data, cache):
    data = jaxgan.data.open(f"zip:{real_data / 'utkface.zip'}", image_size=(16, 16), progress=False)
    assert data.arrays["image"].shape == (4800, 16, 16, 3)
    with (
        zipfile.ZipFile(real_data / "utkface.zip") as archive,
        archive.open(sorted(archive.namelist())[7]) as file,
    ):
        expected = np.asarray(
            Image.open(file).convert("RGB").resize((16, 16), Image.Resampling.BICUBIC)
        )
    np.testing.assert_array_equal(data.arrays["image"][7], expected)
    assert json.loads((data.cache / "meta.json").read_text())["fingerprint"] == data.fingerprint
