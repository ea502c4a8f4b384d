from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

import jaxgan.data
from jaxgan.data import images
from jaxgan.data.dataset import from_domains
from jaxgan.errors import DataError

RNG = np.random.default_rng(3)


def noise(count, height=6, width=8, channels=3):
    return RNG.integers(0, 256, (count, height, width, channels)).astype(np.uint8)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(path)


def side_by_side(folder, a, b):
    for i, pair in enumerate(zip(a, b)):
        save(folder / f"{i}.png", np.concatenate(pair, axis=1))


def two_folders(folder_a, folder_b, a, b):
    for i, pair in enumerate(zip(a, b)):
        save(folder_a / f"{i}.png", pair[0])
        save(folder_b / f"{i}.bmp", pair[1])  # names are equal up to the extension


def load(folder, **options):
    return jaxgan.data.open(f"paired:{folder}", progress=False, **options)


@pytest.fixture(autouse=True)
def nowhere_else(cache):
    """Caches go to a temporary folder."""


def same(data, a, b):
    assert list(data.arrays) == ["a", "b"]
    np.testing.assert_array_equal(data.arrays["a"], a)
    np.testing.assert_array_equal(data.arrays["b"], b)
    assert not data.independent


# ------------------------------------------------------------------------------------------------------------------- layouts


def test_side_by_side(tmp_path):
    a, b = noise(3), noise(3)
    side_by_side(tmp_path / "set", a, b)
    data = load(tmp_path / "set")
    same(data, a, b)
    assert (data.size, data.image_size, data.channels, data.class_count, data.skipped) == (
        3,
        (6, 8),
        3,
        0,
        (),
    )
    assert data.fingerprint == from_domains("x", a, b, independent=False).fingerprint
    assert data.fingerprint != from_domains("x", b, a, independent=False).fingerprint
    assert data.fingerprint != from_domains("x", a, b, independent=True).fingerprint


def test_two_folders_of_other_channels(tmp_path):
    a, b = noise(3, channels=1), noise(3, channels=4)
    for i in range(3):
        save(tmp_path / "set" / "A" / "deep" / f"{i}.v1.png", a[i])
        save(tmp_path / "set" / "B" / "deep" / f"{i}.v1.png", b[i])
    same(load(tmp_path / "set"), a, b)


@pytest.mark.parametrize(
    "layout",
    [
        "{split}",
        "{split}/{domain}",
        "{domain}/{split}",
        "{split}{domain}",
        "wrapped/{split}/{domain}",
    ],
)
@pytest.mark.parametrize("names", ["AB", "ab"])
def test_splits(tmp_path, layout, names, failure):
    whole = {split: (noise(2 + i), noise(2 + i)) for i, split in enumerate(("train", "val"))}
    for split, (a, b) in whole.items():
        if "{domain}" in layout:
            two_folders(
                *(tmp_path / "set" / layout.format(split=split, domain=domain) for domain in names),
                a,
                b,
            )
        else:
            side_by_side(tmp_path / "set" / split, a, b)
    for split, (a, b) in whole.items():
        same(load(tmp_path / "set", split=split), a, b)
    same(
        load(tmp_path / "set", split="all"),
        *(np.concatenate([whole["train"][i], whole["val"][i]]) for i in range(2)),
    )
    assert "has no split 'test': its splits are train, val" in failure(
        f"paired:{tmp_path / 'set'}", split="test"
    )


def test_each_split_has_a_layout_of_its_own(tmp_path):
    (a, b), (test_a, test_b) = (noise(3), noise(3)), (noise(2), noise(2))
    two_folders(tmp_path / "set" / "train" / "A", tmp_path / "set" / "train" / "B", a, b)
    side_by_side(tmp_path / "set" / "test", test_a, test_b)
    same(load(tmp_path / "set"), a, b)
    same(load(tmp_path / "set", split="test"), test_a, test_b)
    same(
        load(tmp_path / "set", split="all"),
        np.concatenate([test_a, a]),
        np.concatenate([test_b, b]),
    )


def test_two_folders_of_any_name(tmp_path, decoded, failure):
    (a, b), (test_a, test_b) = (noise(3), noise(3)), (noise(2), noise(2))
    photos, maps = tmp_path / "photos", tmp_path / "maps"
    two_folders(photos, maps / "train", a, b)  # only one has splits
    same(load(f"{photos},{maps}"), a, b)
    same(load(f"{maps}, {photos}"), b, a)
    assert len(decoded) == 2
    same(load(f"{photos},{maps}"), a, b)
    assert len(decoded) == 2
    two_folders(tmp_path / "x" / "test", maps / "test", test_a, test_b)
    same(load(f"{tmp_path / 'x'},{maps}", split="test"), test_a, test_b)
    (maps / "train" / "1.bmp").unlink()
    spec = f"paired:{photos},{maps}"
    assert (
        f"1 of 3 images of {spec} cannot be used: {photos}/1.png has no image of the same name in B"
        in failure(spec)
    )
    assert f"domain A of {spec} has no split 'test': put its images" in failure(spec, split="test")
    assert f"data 'paired:{maps},{maps}' names one folder twice" in failure(f"paired:{maps},{maps}")
    assert (
        f"{tmp_path / 'y'} does not exist: name the folder that holds the images of domain B"
        in failure(f"paired:{maps},{tmp_path / 'y'}")
    )
    message = (
        f"data 'paired:{maps},' names no folder on one side of its comma: write paired:DIR_A,DIR_B"
    )
    assert failure(f"paired:{maps},") == message


def test_the_stamp_tells_files_of_domains_from_images_side_by_side(tmp_path):
    """Else what a/ and b/ gave before they were known as domains, halves, would be found in the cache."""
    side_by_side(tmp_path / "whole", noise(2), noise(2))
    two_folders(tmp_path / "named" / "a", tmp_path / "named" / "b", noise(2), noise(2))
    stamps = {
        name: jaxgan.data.sources.find(f"paired:{tmp_path / name}", "train").stamp
        for name in ("whole", "named")
    }
    assert [row[-1] for row in stamps["whole"]] == [None, None]
    assert [row[-1] for row in stamps["named"]] == ["A", "A", "B", "B"]


@pytest.mark.parametrize(
    "layout", ["{domain}", "train/{domain}", "{domain}/train", "wrapped/{domain}/deep"]
)
def test_domains_of_other_names_are_not_halved(tmp_path, layout, failure):
    folders = [tmp_path / "set" / layout.format(domain=domain) for domain in ("photos", "maps")]
    two_folders(*folders, noise(10), noise(10))
    told = f"paired:{tmp_path / 'set'} holds files of equal names in maps and photos, which do not say which domain they are: rename these folders"
    assert told in failure(f"paired:{tmp_path / 'set'}")
    save(tmp_path / "set" / layout.partition("{")[0] / "overview.png", noise(1)[0])
    (folders[0] / "3.png").unlink()  # nine of ten
    assert f"{told} to A and B, or name both, paired:DIR_A,DIR_B" in failure(
        f"paired:{tmp_path / 'set'}"
    )
    (folders[0] / "4.png").unlink()
    assert load(tmp_path / "set").arrays["a"].shape[2] == 4  # two sets of images side by side


def test_without_splits_train_is_everything(tmp_path, failure):
    side_by_side(tmp_path / "set" / "some" / "where", *noise(2)[None].repeat(2, 0))
    assert load(tmp_path / "set").size == load(tmp_path / "set", split="all").size == 2
    assert "has no split 'test': put its images into sub-folders train and test" in failure(
        f"paired:{tmp_path / 'set'}", split="test"
    )


def test_sixteen_bits_beside_eight(tmp_path):
    """The parts of a pair keep types of their own."""
    deep = RNG.integers(0, 65536, (2, 6, 8)).astype(np.uint16)
    b = noise(2)
    for i in range(2):
        (tmp_path / "set" / "A").mkdir(parents=True, exist_ok=True)
        Image.fromarray(deep[i]).save(tmp_path / "set" / "A" / f"{i}.png")
        save(tmp_path / "set" / "B" / f"{i}.png", b[i])
    data = load(tmp_path / "set")
    assert (data.arrays["a"].dtype, data.arrays["b"].dtype) == (np.uint16, np.uint8)
    same(data, deep[..., None], b)


# ------------------------------------------------------------------------------------------------------ sizes and channels


@pytest.mark.parametrize("how", ["cover", "stretch"])
def test_halves_are_resized_each_on_its_own(tmp_path, how):
    a, b = noise(2, 6, 8), noise(2, 6, 8)
    side_by_side(tmp_path / "set", a, b)
    data = load(tmp_path / "set", image_size=(5, 5), resize=how)
    box = (1, 0, 7, 6) if how == "cover" else None  # 5x5 of 6x8: the central 6x6

    def expected(image):
        return np.asarray(Image.fromarray(image).resize((5, 5), Image.Resampling.BICUBIC, box=box))

    same(data, [expected(x) for x in a], [expected(x) for x in b])


def test_width_keeps_the_shape(tmp_path, failure):
    side_by_side(tmp_path / "set", noise(2, 7, 12), noise(2, 7, 12))
    data = load(tmp_path / "set", image_size=(99, 6), resize="width")
    assert data.arrays["b"].shape == (2, 3, 6, 3)  # 6 * 7 / 12, rounded down
    save(tmp_path / "set" / "tall.png", noise(1, 14, 24)[0])
    message = failure(f"paired:{tmp_path / 'set'}", image_size=(99, 6), resize="width")
    assert (
        "3x6 with 3 channels beside 3x6 with 3 channels (0.png and 1 more); 7x6 with 3 channels beside 7x6 with 3 channels (tall.png)"
        in message
    )
    assert (
        'choose resize="cover" or "stretch" (--resize), since scaled to one width they keep heights of their own'
        in message
    )


def test_ways_to_resize_have_caches_of_their_own(tmp_path, decoded):
    side_by_side(tmp_path / "set", noise(2), noise(2))
    shapes = [
        load(tmp_path / "set", image_size=(4, 4), resize=how).arrays["a"].shape
        for how in ("cover", "stretch", "width") * 2
    ]
    assert shapes == [(2, 4, 4, 3), (2, 4, 4, 3), (2, 3, 4, 3)] * 2
    assert len(decoded) == 3


def test_channels_of_each_domain(tmp_path):
    a, b = noise(2), noise(2)
    side_by_side(tmp_path / "set", a, b)
    same(
        load(tmp_path / "set", channels=(1, 4)),
        images.convert_channels(a, 1),
        images.convert_channels(b, 4),
    )
    same(
        load(tmp_path / "set", channels=1),
        images.convert_channels(a, 1),
        images.convert_channels(b, 1),
    )


# ------------------------------------------------------------------------------------------------------------------- damage


def test_what_has_no_partner_is_named_and_skipped(tmp_path, failure):
    a, b = noise(5), noise(5)
    two_folders(tmp_path / "set" / "A", tmp_path / "set" / "B", a, b)
    (tmp_path / "set" / "A" / "1.png").unlink()
    (tmp_path / "set" / "B" / "3.bmp").unlink()
    message = failure(f"paired:{tmp_path / 'set'}")
    assert f"2 of 5 images of paired:{tmp_path / 'set'} cannot be used" in message
    assert (
        "B/1.bmp has no image of the same name in A; A/3.png has no image of the same name in B: repair or remove"
        in message
    )
    data = load(tmp_path / "set", skip_bad=True)
    same(data, a[[0, 2, 4]], b[[0, 2, 4]])
    assert data.skipped == (
        "B/1.bmp has no image of the same name in A",
        "A/3.png has no image of the same name in B",
    )


def test_pairs_stay_aligned_when_either_half_is_damaged(tmp_path, failure):
    a, b = noise(6), noise(6)
    root = tmp_path / "set"
    two_folders(root / "A", root / "B", a, b)
    (root / "A" / "0.png").write_bytes(b"")
    (root / "B" / "2.bmp").write_bytes(b"no image")
    save(root / "B" / "4.bmp", noise(1, 6, 9)[0])
    save(root / "A" / "5.tif", a[0])
    reasons = (
        "A/0.png is empty (0 bytes)",
        "A/2.png has the partner B/2.bmp, which is not an image that Pillow can read (only PNG, JPEG, WebP, GIF, TIFF, BMP and PPM are)",
        "A/4.png is 6x8, but its partner B/4.bmp is 6x9: both images of a pair must be of one size",
        "A/5.tif has the same name as A/5.png, up to the extension",
    )
    assert (
        f"4 of 7 images of paired:{root} cannot be used: {'; '.join(reasons)}: repair or remove them"
        in failure(f"paired:{root}")
    )
    data = load(root, skip_bad=True)
    same(data, a[[1, 3, 5]], b[[1, 3, 5]])
    assert data.skipped == reasons


def test_what_lies_beside_the_domains_is_named_and_skipped(tmp_path, failure):
    a, b = noise(3), noise(3)
    two_folders(tmp_path / "set" / "train" / "A", tmp_path / "set" / "train" / "B", a, b)
    save(tmp_path / "set" / "train" / "x" / "stray.png", a[0])
    save(tmp_path / "set" / "overview.png", a[0])
    spec, stray = (
        f"paired:{tmp_path / 'set'}",
        "train/x/stray.png lies in neither of the folders A and B",
    )
    overview = "overview.png lies in no folder of a split"
    for split in ("train", "all"):
        assert f"2 of 5 images of {spec} cannot be used: {overview}; {stray}: repair" in failure(
            spec, split=split
        )
        data = load(tmp_path / "set", split=split, skip_bad=True)
        same(data, a, b)
        assert data.skipped == (overview, stray)


def test_an_odd_width_cannot_be_halved(tmp_path, failure):
    a, b = noise(3), noise(3)
    side_by_side(tmp_path / "set", a, b)
    save(tmp_path / "set" / "1.png", noise(1, 6, 15)[0])
    assert "1 of 3 images" in failure(f"paired:{tmp_path / 'set'}")
    assert "1.png is 15 pixels wide: A and B side by side need an even width" in failure(
        f"paired:{tmp_path / 'set'}"
    )
    same(load(tmp_path / "set", skip_bad=True), a[[0, 2]], b[[0, 2]])


def test_a_missing_domain(tmp_path, failure):
    for domain, other in ("AB", "BA"):
        save(tmp_path / domain / "set" / domain / "1.png", noise(1)[0])
        message = failure(f"paired:{tmp_path / domain / 'set'}")
        assert (
            f"holds no images of domain {other} in split 'train': put them, with equal names, into a folder {other} beside the other"
            in message
        )


def test_unlike_pairs_tell_the_remedy(tmp_path, failure):
    side_by_side(tmp_path / "set", noise(2), noise(2))
    save(tmp_path / "set" / "x.png", noise(1, 6, 16, 1)[0])
    save(tmp_path / "set" / "y.png", noise(1, 4, 16, 3)[0])
    message = failure(f"paired:{tmp_path / 'set'}")
    assert "6x8 with 1 channel beside 6x8 with 1 channel (x.png)" in message
    assert (
        "give image_size HEIGHT WIDTH (--image-size in data_check; --config.image-size in training)"
        in message
    )
    assert (
        "give channels 1, 3 or 4 (--channels in data_check; --config.channels, or --config.channels-a and -b, in training)"
        in message
    )
    assert load(tmp_path / "set", image_size=(4, 4), channels=3).size == 4


def test_no_folder_and_no_images(tmp_path, failure):
    assert "does not exist: name the folder" in failure(f"paired:{tmp_path / 'nowhere'}")
    (tmp_path / "file.png").write_bytes(b"")
    assert "is a file, not a folder" in failure(f"paired:{tmp_path / 'file.png'}")
    (tmp_path / "empty").mkdir()
    assert "holds no images" in failure(f"paired:{tmp_path / 'empty'}")
    assert "write paired:DIR" in failure("paired:")


# -------------------------------------------------------------------------------------------------------------------- cache


def test_decoded_once_then_found_and_outdated_when_a_file_changes(tmp_path, decoded, cache):
    a, b = noise(3), noise(3)
    two_folders(tmp_path / "set" / "A", tmp_path / "set" / "B", a, b)
    first, second = load(tmp_path / "set"), load(tmp_path / "set")
    assert len(decoded) == 1
    assert first.fingerprint == second.fingerprint
    assert first.cache == second.cache
    assert first.cache.parent == cache
    for data in (first, second):
        assert isinstance(data.arrays["b"], np.memmap)
        same(data, a, b)
    changed = noise(1)
    save(tmp_path / "set" / "B" / "1.bmp", changed[0])
    os.utime(tmp_path / "set" / "B" / "1.bmp", ns=(1, 1))
    third = load(tmp_path / "set")
    assert len(decoded) == 2
    same(third, a, np.concatenate([b[:1], changed, b[2:]]))
    assert third.fingerprint != first.fingerprint


def test_a_damaged_part_of_the_cache_is_made_again(tmp_path, decoded):
    a, b = noise(2), noise(2)
    side_by_side(tmp_path / "set", a, b)
    os.truncate(load(tmp_path / "set").cache / "b.raw", 10)
    same(load(tmp_path / "set"), a, b)
    assert len(decoded) == 2


# ------------------------------------------------------------------------------------------------------------ arrays at hand


def test_arrays_at_hand_must_fit():
    with pytest.raises(
        DataError, match="x: there must be as many images of A as of B to make pairs, got 2 and 3"
    ):
        from_domains("x", noise(2), noise(3), independent=False)
    with pytest.raises(DataError, match="x, domain B: images must be uint8 or uint16"):
        from_domains("x", noise(2), noise(2).astype(np.float32), independent=False)
    with pytest.raises(DataError, match="domain B of x holds a single usable image"):
        from_domains("x", noise(2), noise(1), independent=True)


def test_real_maps(real_data):
    data = load(real_data / "maps", split="val")
    assert data.arrays["a"].shape == data.arrays["b"].shape == (200, 256, 256, 3)
    file = min((real_data / "maps" / "val").iterdir())
    whole = np.asarray(Image.open(file))
    same_first = np.concatenate([data.arrays["a"][0], data.arrays["b"][0]], axis=1)
    np.testing.assert_array_equal(same_first, whole)
