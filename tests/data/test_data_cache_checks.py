"""Damage to the decoded cache is found, whichever byte it is, and mended."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import zlib

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import jaxgan.data
from experiments import data_check
from jaxgan.data import cache as caches
from jaxgan.data import checked
from jaxgan.errors import DataError
from jaxgan.run.feed import Feed

FUZZ = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(autouse=True)
def nowhere_else(tmp_path, monkeypatch):
    monkeypatch.delenv("JAXGAN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))


@pytest.fixture
def large(monkeypatch):
    """As if sets of over 100 bytes were large, and blocks 64 bytes."""
    monkeypatch.setattr(caches, "CHECKED_BYTES", 100)
    monkeypatch.setattr(checked, "BLOCK_BYTES", 64)


def labelled(folder, count=6, side=4):
    """Noise in two classes; all images, in the order of the set."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3)).astype(np.uint8)
    for i, image in enumerate(pixels):
        (folder / "ab"[2 * i // count]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / "ab"[2 * i // count] / f"{i:03}.png")
    return pixels


def load(folder, **options):
    return jaxgan.data.open(f"folder:{folder}", progress=False, **options)


def flip(path, position, mask=0xFF):
    content = bytearray(path.read_bytes())
    content[position] ^= mask
    path.write_bytes(bytes(content))


def rejoined(meta):
    """The text of a meta.json whose checksum is right."""
    meta = {name: value for name, value in meta.items() if name != "checksum"}
    return json.dumps({**meta, "checksum": caches._meta_checksum(json.loads(json.dumps(meta)))})


@pytest.mark.parametrize(
    ("name", "position"), [("image", 0), ("image", 150), ("image", -1), ("label", 0), ("label", -1)]
)
def test_a_flipped_bit_of_an_array_is_found_and_mended(tmp_path, decoded, capsys, name, position):
    pixels = labelled(tmp_path / "set")
    entry = load(tmp_path / "set").cache
    flip(entry / f"{name}.raw", position, 0x01)
    data = load(tmp_path / "set")
    assert len(decoded) == 2
    np.testing.assert_array_equal(data.arrays["image"], pixels)
    assert data.arrays["label"].tolist() == [0, 0, 0, 1, 1, 1]
    said = capsys.readouterr().err
    reason = f"{name}.raw, block 0 of 64 MB, does not match its checksum"
    assert (
        said
        == f"the decoded images of folder:{tmp_path / 'set'} in {entry} are damaged ({reason}): decoding them again\n"
    )
    assert load(tmp_path / "set").fingerprint == data.fingerprint
    assert len(decoded) == 2
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda text: text.replace('"a"', '"c"'), "meta.json does not match its checksum"),
        (
            lambda text: json.dumps({**json.loads(text), "fingerprint": "0" * 32}),
            "meta.json does not match its checksum",
        ),
        (
            lambda text: json.dumps(json.loads(text) | {"extra": 1}),
            "meta.json does not match its checksum",
        ),
        (
            lambda text: json.dumps(
                {name: value for name, value in json.loads(text).items() if name != "checksum"}
            ),
            "meta.json cannot be read",
        ),
        (lambda text: text[: len(text) // 2], "meta.json cannot be read"),
        (lambda text: "[" * 100_000, "meta.json cannot be read"),
        (
            lambda text: rejoined({**json.loads(text), "arrays": {}}),
            "meta.json does not describe such an entry",
        ),
        (
            lambda text: rejoined(
                {**json.loads(text), "arrays": {"../image": ["uint8", [6, 4, 4, 3]]}}
            ),
            "meta.json does not describe such an entry",
        ),
        (
            lambda text: rejoined(json.loads(text.replace('"uint8"', '"O"'))),
            "meta.json does not describe such an entry",
        ),
        (
            lambda text: rejoined({**json.loads(text), "checksums": {"image": [], "label": []}}),
            "meta.json does not describe such an entry",
        ),
    ],
)
def test_an_edited_meta_is_found_and_mended(tmp_path, decoded, capsys, edit, said):
    pixels = labelled(tmp_path / "set")
    entry = load(tmp_path / "set").cache
    (entry / "meta.json").write_text(edit((entry / "meta.json").read_text()))
    data = load(tmp_path / "set")
    assert data.classes == ("a", "b")
    np.testing.assert_array_equal(data.arrays["image"], pixels)
    assert len(decoded) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"the decoded images of {data.name} in {entry} are damaged ({said}): decoding them again"
    ]


@pytest.mark.parametrize("spaces", [None, 4])
def test_only_the_spaces_of_a_meta_do_not_matter(tmp_path, decoded, spaces):
    labelled(tmp_path / "set")
    meta = load(tmp_path / "set").cache / "meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()), indent=spaces))
    load(tmp_path / "set")
    assert len(decoded) == 1


@settings(FUZZ, max_examples=40)
@given(st.data())
def test_any_damage_to_any_file_gives_the_right_data(tmp_path, draw):
    folder = tmp_path / "set"
    if not folder.exists():
        labelled(folder)
    whole = load(folder)
    entry, pixels = whole.cache, np.array(whole.arrays["image"])
    path = entry / draw.draw(st.sampled_from(["meta.json", "image.raw", "label.raw"]))
    content = path.read_bytes()
    start = draw.draw(st.integers(0, len(content)))
    stop = draw.draw(st.integers(start, min(len(content), start + 8)))
    path.write_bytes(content[:start] + draw.draw(st.binary(max_size=8)) + content[stop:])
    data = load(folder)
    np.testing.assert_array_equal(data.arrays["image"], pixels)
    assert (data.arrays["label"].tolist(), data.classes, data.fingerprint) == (
        [0, 0, 0, 1, 1, 1],
        ("a", "b"),
        whole.fingerprint,
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=4,
)


@settings(FUZZ, max_examples=60)
@given(st.data())
def test_a_meta_made_up_with_a_right_checksum_is_never_followed_astray(tmp_path, draw):
    folder = tmp_path / "set"
    if not folder.exists():
        labelled(folder)
    whole = load(folder)
    pixels = np.array(whole.arrays["image"])
    meta = json.loads((whole.cache / "meta.json").read_text())
    name = draw.draw(st.sampled_from(["arrays", "parts", "checksums"]))
    value = draw.draw(
        JSON
        | st.fixed_dictionaries({"image": JSON, "label": JSON})
        | st.fixed_dictionaries({"image": st.tuples(st.just("uint8"), JSON)})
    )
    (whole.cache / "meta.json").write_text(rejoined({**meta, name: value}))
    np.testing.assert_array_equal(load(folder).arrays["image"], pixels)


def test_labels_of_a_streamed_set_are_checked(tmp_path, decoded, capsys):
    pytest.importorskip("grain")
    pixels = labelled(tmp_path / "set")
    entry = load(tmp_path / "set", stream=True).cache
    flip(entry / "label.raw", 3)
    data = load(tmp_path / "set", stream=True)
    assert len(decoded) == 2
    assert data.arrays["label"].tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(data.arrays["image"][:], pixels)
    assert "label.raw" in capsys.readouterr().err


def test_pairs_and_maps_are_checked(tmp_path, capsys):
    for i, side in enumerate("AB"):
        (tmp_path / "set" / side).mkdir(parents=True)
        for j in range(3):
            Image.new("RGB", (4, 4), (i, j, 0)).save(tmp_path / "set" / side / f"{j}.png")
    data = jaxgan.data.open(f"paired:{tmp_path / 'set'}", progress=False)
    flip(data.cache / "b.raw", 7)
    again = jaxgan.data.open(f"paired:{tmp_path / 'set'}", progress=False)
    np.testing.assert_array_equal(again.arrays["b"][:, 0, 0], [[1, j, 0] for j in range(3)])
    assert "b.raw, block 0" in capsys.readouterr().err


def test_a_damaged_entry_in_a_read_only_place_is_made_again_elsewhere(tmp_path, decoded, capsys):
    pixels = labelled(tmp_path / "set")
    entry = load(tmp_path / "set").cache
    flip(entry / "image.raw", 9)
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "--bind", str(tmp_path / "set"), str(disk)], capture_output=True
        ).returncode
    ):
        pytest.skip("mounting needs root")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(disk)], check=True)
        for _ in range(2):
            data = load(disk)
            assert data.cache.parent == tmp_path / "user" / "jaxgan"
            np.testing.assert_array_equal(data.arrays["image"], pixels)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    assert len(decoded) == 2
    assert capsys.readouterr().err.endswith(
        f": decoding them again into {tmp_path / 'user' / 'jaxgan'}\n"
    )


def test_a_damaged_entry_opened_by_several_threads_is_made_again_once(tmp_path, decoded, capsys):
    pixels = labelled(tmp_path / "set", 40)
    flip(load(tmp_path / "set").cache / "image.raw", 9)
    found = []
    threads = [
        threading.Thread(
            target=lambda: found.append(np.array(load(tmp_path / "set").arrays["image"]))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for images in found:
        np.testing.assert_array_equal(images, pixels)
    assert len(decoded) == 2
    assert capsys.readouterr().err.count("\n") == 1


# ------------------------------------------------------------------------------------------------------------------ large sets


def test_blocks_of_a_large_set_are_checked_at_their_first_read(tmp_path, large, decoded, capsys):
    pixels = labelled(tmp_path / "set")  # 48 bytes an image, 288 in all
    entry = load(tmp_path / "set").cache
    flip(entry / "image.raw", 200)  # block 3: images 4 and 5 have bytes there
    data = load(tmp_path / "set")
    image = data.arrays["image"]
    assert isinstance(image, checked.Checked)
    for rows in (
        0,
        -6,
        slice(0, 4),
        np.array([3, 1]),
        [[0], [2]],
        slice(3, None, -1),
        (slice(0, 2), 1),
    ):
        np.testing.assert_array_equal(image[rows], pixels[rows])
    for rows in (4, -1, slice(None), np.array([0, 4]), slice(5, 3, -1)):
        with pytest.raises(
            DataError,
            match=r"damaged \(image.raw, block 3 of 64 MB, does not match its checksum\): run the same command again",
        ):
            image[rows]
    assert len(decoded) == 1
    again = load(tmp_path / "set")
    np.testing.assert_array_equal(np.asarray(again.arrays["image"]), pixels)
    assert "block 3 of 64 MB" in capsys.readouterr().err
    assert len(decoded) == 2


@settings(FUZZ, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 50), st.data())
def test_reading_checks_the_blocks_of_just_those_rows(count, width, draw):
    array = np.random.default_rng(count).integers(0, 256, (count, width)).astype(np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checked, "BLOCK_BYTES", 16)
        sums = checked.Checksums()
        for row in array:
            sums.add(row)
        good = sums.finish()
        assert good == [zlib.crc32(array.tobytes()[i : i + 16]) for i in range(0, array.size, 16)]
        at = draw.draw(st.integers(0, array.size - 1))
        broken = array.copy()
        broken.reshape(-1)[at] ^= 1
        lazy = checked.Checked(broken, good, lambda block: DataError(str(block)))
        rows = np.array(draw.draw(st.lists(st.integers(-count, count - 1), min_size=1, max_size=4)))
        held = {
            block
            for row in rows % count
            for block in range(row * width // 16, ((row + 1) * width - 1) // 16 + 1)
        }
        if at // 16 in held:
            with pytest.raises(DataError, match=f"^{at // 16}$"):
                lazy[rows]
        else:
            np.testing.assert_array_equal(lazy[rows], array[rows])


def test_a_checked_array_is_an_array_in_all_else():
    array = np.arange(60, dtype=np.uint8).reshape(5, 12)
    sums = checked.Checksums()
    sums.add(array)
    lazy = checked.Checked(array, sums.finish(), lambda block: DataError("damaged"))
    assert (lazy.shape, lazy.dtype, lazy.ndim, lazy.nbytes, len(lazy)) == (
        (5, 12),
        np.uint8,
        2,
        60,
        5,
    )
    assert [row.tolist() for row in lazy] == array.tolist()
    assert lazy.max() == 59
    for made in (
        np.asarray(lazy),
        np.concatenate([lazy]),
        lazy[array[:, 0] >= 0],
        lazy[...],
        lazy + 0,
        np.array(lazy),
        0 + lazy,
    ):
        np.testing.assert_array_equal(made, array)
    with pytest.raises(IndexError):
        lazy[5]
    broken = checked.Checked(array, [0], lambda block: DataError("damaged"))
    for use in (
        np.asarray,
        np.max,
        lambda x: x.sum(),
        lambda x: x + 1,
        lambda x: np.add(1, x),
        list,
        lambda x: x[...],
        lambda x: x[array[:, 0] > 2],
    ):
        with pytest.raises(DataError):
            use(broken)


def test_a_large_set_feeds_the_same_batches(tmp_path, large, monkeypatch):
    labelled(tmp_path / "set", 20)
    spec = {
        "image": jax.ShapeDtypeStruct((4, 4, 4, 3), np.float32),
        "label": jax.ShapeDtypeStruct((4,), np.int32),
    }

    def batches():
        calls = Feed(load(tmp_path / "set"), spec, 0, 0, 1, resident=False).calls(0)
        got = [jax.tree.map(np.asarray, next(calls)) for _ in range(7)]
        calls.close()
        return got

    lazy = batches()
    monkeypatch.setattr(caches, "CHECKED_BYTES", 1 << 30)
    for one, other in zip(lazy, batches()):
        jax.tree.map(np.testing.assert_array_equal, one, other)


def test_data_check_verifies_everything_and_mends(tmp_path, large, decoded, capsys):
    labelled(tmp_path / "set")
    entry = load(tmp_path / "set").cache
    flip(entry / "image.raw", 287)
    data_check.main([f"folder:{tmp_path / 'set'}", "--verify"])
    said = capsys.readouterr()
    reason = "image.raw, block 4 of 64 MB, does not match its checksum"
    assert (
        said.err
        == f"the decoded images of folder:{tmp_path / 'set'} in {entry} are damaged ({reason}): decoding them again\n"
    )
    assert said.out.splitlines()[-1] == "verified     all 312 bytes match their checksums"
    data_check.main([f"folder:{tmp_path / 'set'}", "--verify"])
    assert len(decoded) == 2
    assert capsys.readouterr().err == ""


def test_a_cache_moved_with_its_folder_stays_right(tmp_path, decoded):
    labelled(tmp_path / "set")
    load(tmp_path / "set")
    shutil.copytree(tmp_path / "set", tmp_path / "copy", copy_function=shutil.copy2)
    load(tmp_path / "copy")
    assert len(decoded) == 1
