from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jaxgan.data
from jaxgan.data import decoding
from jaxgan.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
OPEN = "import sys, jaxgan.data; d = jaxgan.data.open(sys.argv[1], cache_dir=sys.argv[2], progress=False); print(d.fingerprint, d.size)"


def make(folder, count, side=16, seed=0):
    """PNG pictures of noise; returns them as one array."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (count, side, side, 3)).astype(np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{i:04d}.png", compress_level=1)
    return pixels


def entries(place):
    return sorted(path.name for path in place.iterdir() if path.is_dir()) if place.is_dir() else []


def load(folder, **options):
    return jaxgan.data.open(f"folder:{folder}", progress=False, **options)


@pytest.fixture(autouse=True)
def nowhere_else(tmp_path, monkeypatch):
    monkeypatch.delenv("JAXGAN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))


@pytest.fixture
def mount(tmp_path):
    """Mounts a small tmpfs, in a folder of its own."""
    mounted = []

    def tmpfs(size, name="disk"):
        place = tmp_path / name
        place.mkdir()
        if not hasattr(os, "geteuid") or os.geteuid() != 0:
            pytest.skip("mounting a small file system needs root")
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)],
            capture_output=True,
            text=True,
        )
        if made.returncode:
            pytest.skip(f"a small file system cannot be mounted here: {made.stderr.strip()}")
        mounted.append(place)
        return place

    yield tmpfs
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_decoded_once_then_found_beside_the_source(tmp_path, decoded):
    pixels = make(tmp_path / "set", 5)
    first, second = load(tmp_path / "set"), load(tmp_path / "set")
    assert len(decoded) == 1
    assert first.cache == second.cache
    assert first.cache.parent == tmp_path / "set" / ".jaxgan-cache"
    for data in (first, second):
        assert isinstance(data.arrays["image"], np.memmap)
        np.testing.assert_array_equal(data.arrays["image"], pixels)
    assert not (tmp_path / "user").exists()


def test_a_moved_folder_keeps_its_cache(tmp_path, decoded):
    make(tmp_path / "set", 3)
    load(tmp_path / "set")
    (tmp_path / "set").rename(tmp_path / "other")
    assert load(tmp_path / "other").size == 3
    assert len(decoded) == 1


@pytest.mark.parametrize("how", ["argument", "variable"])
def test_chosen_cache_folder(tmp_path, monkeypatch, how):
    place = tmp_path / "chosen"
    sets = [make(tmp_path / name / "set", 2, seed=i) for i, name in enumerate("ab")]
    if how == "variable":
        monkeypatch.setenv("JAXGAN_CACHE", str(place))
    options = {"cache_dir": place} if how == "argument" else {}
    for name, pixels in zip("ab", sets):  # folders of one name from two places are told apart
        data = load(tmp_path / name / "set", **options)
        assert data.cache.parent == place
        np.testing.assert_array_equal(data.arrays["image"], pixels)
        assert not (tmp_path / name / "set" / ".jaxgan-cache").exists()


@pytest.mark.parametrize("change", ["add", "remove", "rename", "touch", "rewrite", "label"])
def test_outdated_when_the_files_change(tmp_path, decoded, change):
    folder = tmp_path / "set"
    make(folder, 4)
    before = load(folder)
    kept = np.array(before.arrays["image"])
    if change == "add":
        Image.new("RGB", (16, 16)).save(folder / "new.png")
    elif change == "remove":
        (folder / "0002.png").unlink()
    elif change == "rename":
        (folder / "0000.png").rename(folder / "zzzz.png")
    elif change == "touch":
        os.utime(folder / "0001.png", ns=(1, 1))
    elif change == "rewrite":
        Image.new("RGB", (16, 16), (1, 2, 3)).save(folder / "0003.png")
    else:
        (folder / "labels.csv").write_text("".join(f"{i:04d}.png,{i}\n" for i in range(4)))
    after = load(folder)
    assert len(decoded) == 2
    assert (before.fingerprint == after.fingerprint) == (change == "touch")
    assert after.size == {"add": 5, "remove": 3}.get(change, 4)
    assert entries(after.cache.parent) == [after.cache.name]  # the outdated one is gone,
    np.testing.assert_array_equal(
        before.arrays["image"], kept
    )  # yet whoever has it open may read on


def test_options_have_caches_of_their_own(tmp_path, decoded):
    make(tmp_path / "set", 3)
    shapes = [
        load(tmp_path / "set", **options).arrays["image"].shape
        for options in ({}, {"image_size": (4, 6)}, {"channels": 1}) * 2
    ]
    assert shapes == [(3, 16, 16, 3), (3, 4, 6, 3), (3, 16, 16, 1)] * 2
    assert len(decoded) == 3


@pytest.mark.parametrize(
    "damage", ["short image", "long image", "no image", "no meta", "bad meta", "empty meta"]
)
def test_a_damaged_entry_is_made_again(tmp_path, decoded, damage):
    pixels = make(tmp_path / "set", 3)
    entry = load(tmp_path / "set").cache
    if damage == "short image":
        os.truncate(entry / "image.raw", 100)
    elif damage == "long image":
        os.truncate(entry / "image.raw", 10_000)
    elif damage.startswith("no"):
        (entry / ("image.raw" if damage == "no image" else "meta.json")).unlink()
    else:
        (entry / "meta.json").write_text("{" if damage == "bad meta" else "{}")
    data = load(tmp_path / "set")
    assert len(decoded) == 2
    assert data.cache == entry
    np.testing.assert_array_equal(data.arrays["image"], pixels)


def test_full_disk_says_so_and_leaves_nothing(tmp_path, mount):
    pixels = make(tmp_path / "set", 100, side=64)  # 1.2 MB decoded
    disk = mount("1m")
    with pytest.raises(DataError, match=f"the disk of {disk} is full") as caught:
        load(tmp_path / "set", cache_dir=disk)
    assert "\n" not in str(caught.value)
    assert "JAXGAN_CACHE" in str(caught.value)
    assert entries(disk) == []
    with pytest.raises(DataError, match="is full"):  # and again: nothing was taken for whole
        load(tmp_path / "set", cache_dir=disk)
    np.testing.assert_array_equal(
        load(tmp_path / "set", cache_dir=tmp_path / "roomy").arrays["image"], pixels
    )


def test_read_only_source_falls_back_to_the_users_cache(tmp_path, mount, decoded):
    disk = mount("8m")
    pixels = make(disk / "set", 4)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for _ in range(2):
        data = load(disk / "set")
        assert data.cache.parent == tmp_path / "user" / "jaxgan"
        np.testing.assert_array_equal(data.arrays["image"], pixels)
    assert len(decoded) == 1


def test_a_folder_marked_read_only_is_left_alone_even_by_root(tmp_path):
    make(tmp_path / "set", 2)
    (tmp_path / "set").chmod(0o555)
    assert load(tmp_path / "set").cache.parent == tmp_path / "user" / "jaxgan"
    (tmp_path / "set").chmod(0o755)
    assert len(list((tmp_path / "set").iterdir())) == 2


def test_read_only_source_with_a_cache_is_read_there(tmp_path, mount, decoded):
    disk = mount("8m")
    make(disk / "set", 4)
    entry = load(disk / "set").cache
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert load(disk / "set").cache == entry
    assert len(decoded) == 1


def test_no_writable_place_says_so(tmp_path, mount, monkeypatch):
    disk = mount("8m")
    make(disk / "set", 2)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(disk / "user"))
    with pytest.raises(DataError, match=r"set JAXGAN_CACHE .* to a writable folder") as caught:
        load(disk / "set")
    assert str(disk / "user" / "jaxgan") in str(caught.value)
    with pytest.raises(
        DataError, match="cannot be written to"
    ):  # a chosen folder is not silently replaced
        load(disk / "set", cache_dir=disk / "chosen")


def start(folder, place):
    return subprocess.Popen(
        [sys.executable, "-c", OPEN, f"folder:{folder}", str(place)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.multiprocess
def test_killed_while_decoding_then_whole(tmp_path):
    pixels = make(tmp_path / "set", 1500, side=64)
    place = tmp_path / "cache"
    process = start(tmp_path / "set", place)
    try:
        deadline = time.monotonic() + 60
        while not any(file.stat().st_size > 0 for file in place.glob("*.partial/image.raw")):
            assert process.poll() is None, "finished before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.001)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    left = entries(place)
    assert len(left) == 1
    assert left[0].endswith(".partial")
    data = load(tmp_path / "set", cache_dir=place)
    np.testing.assert_array_equal(data.arrays["image"], pixels)
    assert entries(place) == [data.cache.name]  # what the killed one left is cleared away


@pytest.mark.parametrize("moment", ["written", "named"])
def test_stopped_around_the_renaming(tmp_path, monkeypatch, moment):
    """The two moments that a kill from outside does not hit reliably: all is written, but not named; and just named."""
    pixels = make(tmp_path / "set", 3)
    place, rename = tmp_path / "cache", Path.rename

    class Killed(BaseException):
        pass

    def stop(path, target):
        if moment == "named":
            rename(path, target)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", stop)
        patched.setattr(
            "shutil.rmtree", lambda *args, **kwargs: None
        )  # a killed process cleans nothing up
        with pytest.raises(Killed):
            load(tmp_path / "set", cache_dir=place)
    assert [name.endswith(".partial") for name in entries(place)] == [moment == "written"]
    np.testing.assert_array_equal(load(tmp_path / "set", cache_dir=place).arrays["image"], pixels)


@pytest.mark.multiprocess
def test_two_processes_at_once(tmp_path):
    pixels = make(tmp_path / "set", 400, side=64)
    place = tmp_path / "cache"
    processes = [start(tmp_path / "set", place) for _ in range(2)]
    results = {process.communicate(timeout=120)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert results == {f"{jaxgan.data.from_arrays('x', pixels).fingerprint} 400\n"}
    assert len(entries(place)) == 1


@pytest.mark.parametrize("locks", [True, False])
def test_threads_at_once(tmp_path, monkeypatch, decoded, locks):
    pixels = make(tmp_path / "set", 50)
    if not locks:  # as on file systems and systems without them
        monkeypatch.setattr("jaxgan.data.cache.fcntl", None)
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: load(tmp_path / "set"), range(4)))
    for data in opened:
        np.testing.assert_array_equal(data.arrays["image"], pixels)
    assert len(entries(opened[0].cache.parent)) == 1
    if locks:
        assert len(decoded) == 1


def test_an_interrupt_cleans_up(tmp_path, monkeypatch):
    make(tmp_path / "set", 20)
    add, seen = decoding.Tally.add, []

    def interrupt(self, array, file):
        seen.append(file)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return add(self, array, file)

    with monkeypatch.context() as patched:
        patched.setattr(decoding.Tally, "add", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load(tmp_path / "set")
    assert entries(tmp_path / "set" / ".jaxgan-cache") == []
