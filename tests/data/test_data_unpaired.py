from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

import jaxgan.data
from jaxgan.data import images
from jaxgan.data.dataset import from_domains

RNG = np.random.default_rng(4)


def make(folder, count, height=6, width=8, channels=3):
    """PNG pictures of noise; returns them as one array."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (count, height, width, channels)).astype(np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image[..., 0] if channels == 1 else image).save(folder / f"{i}.png")
    return pixels


def load(rest, **options):
    return jaxgan.data.open(f"unpaired:{rest}", progress=False, **options)


@pytest.fixture(autouse=True)
def nowhere_else(cache):
    """Caches go to a temporary folder."""


def same(data, a, b):
    assert list(data.arrays) == ["a", "b"]
    np.testing.assert_array_equal(data.arrays["a"], a)
    np.testing.assert_array_equal(data.arrays["b"], b)
    assert data.independent


# ------------------------------------------------------------------------------------------------------------------- layouts


@pytest.mark.parametrize(
    "layout", ["{split}{domain}", "{domain}/{split}", "{split}/{domain}", "wrapped/{split}{domain}"]
)
def test_splits_of_one_folder(tmp_path, layout, failure):
    counts = {("train", "A"): 3, ("train", "B"): 5, ("test", "A"): 2, ("test", "B"): 4}
    made = {
        (s, d): make(tmp_path / "set" / layout.format(split=s, domain=d), count)
        for (s, d), count in counts.items()
    }
    for split, largest in (("train", 5), ("test", 4)):
        data = load(tmp_path / "set", split=split)
        same(data, made[split, "A"], made[split, "B"])
        assert (data.size, data.image_size, data.channels, data.class_count) == (
            largest,
            (6, 8),
            3,
            0,
        )
        expected = from_domains("x", made[split, "A"], made[split, "B"], independent=True)
        assert data.fingerprint == expected.fingerprint
    same(
        load(tmp_path / "set", split="all"),
        *(np.concatenate([made["test", d], made["train", d]]) for d in "AB"),
    )
    assert "has no split 'val': its splits are test, train" in failure(
        f"unpaired:{tmp_path / 'set'}", split="val"
    )


def test_a_and_b_without_splits(tmp_path, failure):
    a, b = make(tmp_path / "A", 3), make(tmp_path / "B", 2)
    for split in ("train", "all"):
        same(load(tmp_path, split=split), a, b)
    assert "has no split 'test': put its images into sub-folders train and test" in failure(
        f"unpaired:{tmp_path}", split="test"
    )


@pytest.mark.parametrize("prefix", ["", "train"])
def test_lower_case(tmp_path, prefix):
    a, b = make(tmp_path / f"{prefix}a", 3), make(tmp_path / f"{prefix}b", 2)
    same(load(tmp_path), a, b)


def test_two_folders(tmp_path, failure):
    a, b = make(tmp_path / "horses", 3), make(tmp_path / "zebras" / "train", 2)
    test = make(tmp_path / "zebras" / "test", 4)
    spec = f"{tmp_path / 'horses'},{tmp_path / 'zebras'}"
    same(load(spec), a, b)
    same(
        load(f"{tmp_path / 'horses'}, {tmp_path / 'zebras'}", split="all"),
        a,
        np.concatenate([test, b]),
    )
    assert f"domain A of unpaired:{spec} has no split 'test': put its images" in failure(
        f"unpaired:{spec}", split="test"
    )


def test_commas_in_names(tmp_path):
    a, b = make(tmp_path / "one,two" / "A", 2), make(tmp_path / "one,two" / "B", 3)
    same(load(tmp_path / "one,two"), a, b)  # one folder that exists
    same(load(f"{tmp_path}/one,two/A,{tmp_path}/one,two/B"), a, b)


def test_classes_are_ignored(tmp_path):
    """Class sub-folders, images beside them, and label files: domains are plain sets."""
    a = make(tmp_path / "trainA" / "bay", 2)
    last = make(tmp_path / "trainA", 1)
    (tmp_path / "trainA" / "labels.csv").write_text("nowhere.png,3\n")
    b = make(tmp_path / "trainB" / "plains", 2)
    data = load(tmp_path)
    same(data, np.concatenate([last, a]), b)
    assert data.classes == ()


def test_domains_may_differ_in_size_and_channels(tmp_path):
    a, b = make(tmp_path / "A", 2, 4, 6, 1), make(tmp_path / "B", 3, 8, 10, 3)
    same(load(tmp_path), a, b)
    same(
        load(tmp_path, channels=(3, 1)),
        images.convert_channels(a, 3),
        images.convert_channels(b, 1),
    )
    data = load(tmp_path, image_size=(5, 3), channels=3, resize="stretch")
    assert (data.arrays["a"].shape, data.arrays["b"].shape) == ((2, 5, 3, 3), (3, 5, 3, 3))
    expected = np.asarray(Image.fromarray(b[2]).resize((3, 5), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(data.arrays["b"][2], expected)


# ------------------------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize(("present", "absent"), ["AB", "BA"])
def test_a_domain_without_images(tmp_path, present, absent, failure):
    make(tmp_path / f"train{present}", 2)
    (tmp_path / f"train{absent}").mkdir()
    message = failure(f"unpaired:{tmp_path}")
    assert (
        f"unpaired:{tmp_path} holds no images of domain {absent}: put them into {tmp_path}/train{absent}, or name two folders"
        in message
    )


@pytest.mark.parametrize(("several", "single"), ["AB", "BA"])
def test_a_domain_of_one_image(tmp_path, several, single, failure):
    make(tmp_path / f"train{several}", 2)
    make(tmp_path / f"train{single}", 1)
    assert (
        f"domain {single} of unpaired:{tmp_path} holds a single usable image: unpaired training needs at least two"
        in failure(f"unpaired:{tmp_path}")
    )


def test_a_folder_that_is_missing_or_empty(tmp_path, failure):
    make(tmp_path / "a", 2)
    (tmp_path / "empty").mkdir()
    assert (
        f"{tmp_path / 'b'} does not exist: name the folder that holds the images of domain B"
        in failure(f"unpaired:{tmp_path / 'a'},{tmp_path / 'b'}")
    )
    assert "domain A of unpaired:" in failure(f"unpaired:{tmp_path / 'empty'},{tmp_path / 'a'}")
    assert "does not exist" in failure(f"unpaired:{tmp_path / 'nowhere'}")
    assert "write unpaired:DIR" in failure("unpaired:")


@pytest.mark.parametrize("rest", ["photos,", ",photos", "photos, ", ",", " , ", "nowhere,"])
def test_an_empty_part_is_not_the_working_directory(tmp_path, rest, monkeypatch, failure):
    make(tmp_path / "photos", 2)
    monkeypatch.chdir(tmp_path)
    expected = f"data 'unpaired:{rest}' names no folder on one side of its comma: write unpaired:DIR_A,DIR_B"
    assert failure(f"unpaired:{rest}") == expected


def test_damage_in_either_domain_is_named_or_skipped(tmp_path, failure):
    a, b = make(tmp_path / "trainA", 4), make(tmp_path / "trainB", 3)
    (tmp_path / "trainA" / "1.png").write_bytes(b"")
    (tmp_path / "trainB" / "2.png").write_bytes(b"")
    assert (
        f"1 of 4 images of domain A of unpaired:{tmp_path} cannot be used: trainA/1.png is empty (0 bytes)"
        in failure(f"unpaired:{tmp_path}")
    )
    data = load(tmp_path, skip_bad=True)
    same(data, a[[0, 2, 3]], b[:2])
    assert data.skipped == ("trainA/1.png is empty (0 bytes)", "trainB/2.png is empty (0 bytes)")
    (tmp_path / "trainB" / "1.png").write_bytes(b"")
    assert "domain B of" in failure(f"unpaired:{tmp_path}", skip_bad=True)  # one image is left


# -------------------------------------------------------------------------------------------------------------------- cache


def test_each_domain_is_cached_on_its_own(tmp_path, decoded, cache):
    make(tmp_path / "set" / "trainA", 2)
    b = make(tmp_path / "set" / "trainB", 2)
    first = load(tmp_path / "set")
    assert first.cache == cache
    assert all(isinstance(array, np.memmap) for array in first.arrays.values())
    assert len(decoded) == 2
    make(tmp_path / "set" / "testA", 2)  # another split is none of their business
    assert load(tmp_path / "set").fingerprint == first.fingerprint
    assert len(decoded) == 2
    changed = make(tmp_path / "set" / "trainA", 2)
    for i in range(2):
        os.utime(tmp_path / "set" / "trainA" / f"{i}.png", ns=(1, 1))
    data = load(tmp_path / "set")
    same(data, changed, b)
    assert data.fingerprint != first.fingerprint
    assert decoded[2:] == [f"domain A of unpaired:{tmp_path / 'set'}"]


def test_two_folders_in_either_order_share_their_caches(tmp_path, decoded, monkeypatch):
    monkeypatch.delenv("JAXGAN_CACHE")
    a, b = make(tmp_path / "x", 2), make(tmp_path / "y", 3)
    same(load(f"{tmp_path / 'x'},{tmp_path / 'y'}"), a, b)
    data = load(f"{tmp_path / 'y'},{tmp_path / 'x'}")
    same(data, b, a)
    assert len(decoded) == 2
    assert data.cache == tmp_path  # what holds both
    assert (tmp_path / "x" / ".jaxgan-cache").is_dir()
