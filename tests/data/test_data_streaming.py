"""Sets that are streamed: the same images, order and fingerprint as sets that are kept decoded, and the same errors."""

from __future__ import annotations

import sys
import threading
import time
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgan.data
from jaxgan.data import streaming
from jaxgan.errors import DataError
from jaxgan.pictures.images import save_png
from jaxgan.run import train
from jaxgan.run.feed import Feed
from tests import tiny_family

pytest.importorskip("grain")

RNG = np.random.default_rng(4)
BATCH = 4


def write(folder, names, shape=(6, 5, 3), kind=np.uint8):
    for name in names:
        save_png(folder / name, RNG.integers(0, np.iinfo(kind).max + 1, shape).astype(kind))


@pytest.fixture
def places(tmp_path, cache):
    """By spec, sets of several kinds."""
    write(
        tmp_path / "classes", [f"{kind}/{i}.png" for kind in "ab" for i in range(5)], kind=np.uint16
    )
    write(tmp_path / "pairs", [f"{side}/{i}.png" for side in "AB" for i in range(5)])
    write(
        tmp_path / "domains",
        [f"train{side}/{i}.png" for side, count in (("A", 7), ("B", 5)) for i in range(count)],
    )
    write(tmp_path / "maps" / "images", [f"{i}.png" for i in range(5)])
    for i in range(5):
        save_png(
            tmp_path / "maps" / "labels" / f"{i}.png", RNG.integers(0, 3, (6, 5)).astype(np.uint8)
        )
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as packed:
        for path in sorted((tmp_path / "classes").rglob("*.png")):
            packed.write(path, path.relative_to(tmp_path / "classes"))
    specs = {
        "folder": "classes",
        "zip": "packed.zip",
        "attributes": "classes",
        "paired": "pairs",
        "unpaired": "domains",
        "layout": "maps",
    }
    return {kind: f"{kind}:{tmp_path / name}" for kind, name in specs.items()}


def spec_of(dataset):
    return {
        name: jax.ShapeDtypeStruct((BATCH, *array.shape[1:]), jnp.float32)
        for name, array in dataset.arrays.items()
    }


def taken(feed, step, count):
    """The first batches from `step` on; the feed is closed then."""
    calls = feed.calls(step)
    try:
        return [next(calls) for _ in range(count)]
    finally:
        calls.close()


@pytest.mark.parametrize("kind", ["folder", "zip", "attributes", "paired", "unpaired", "layout"])
def test_batches_are_those_of_the_kept_set(places, kind):
    kept, stream = (
        jaxgan.data.open(places[kind], image_size=(4, 4), progress=False, stream=stream)
        for stream in (False, True)
    )
    assert stream.fingerprint == kept.fingerprint
    assert (stream.classes, stream.attributes, stream.size, stream.image_size) == (
        kept.classes,
        kept.attributes,
        kept.size,
        kept.image_size,
    )
    assert {name: (array.shape, array.dtype) for name, array in stream.arrays.items()} == {
        name: (a.shape, a.dtype) for name, a in kept.arrays.items()
    }
    assert {
        name for name, array in stream.arrays.items() if isinstance(array, streaming.Streamed)
    } >= set(kept.images)
    feeds = [Feed(dataset, spec_of(dataset), 3, 0, 2, resident=False) for dataset in (kept, stream)]
    assert not feeds[1].resident
    for ours, theirs in zip(*(taken(feed, 4, 5) for feed in feeds), strict=True):
        assert list(ours) == list(theirs)
        for name in ours:
            assert ours[name].shape[:2] == (2, BATCH)
            assert ours[name].dtype == theirs[name].dtype
            np.testing.assert_array_equal(ours[name], theirs[name])
    for name, array in feeds[1].first_batch().items():
        np.testing.assert_array_equal(array, feeds[0].first_batch()[name])


def test_nothing_decoded_is_kept_and_the_look_is_taken_once(places, cache, decoded):
    for _ in range(2):
        jaxgan.data.open(places["folder"], progress=False, stream=True)
    assert decoded == [places["folder"]]
    assert {path.name for path in cache.rglob("*.raw")} == {"row.raw", "label.raw"}


def test_unusable_images_are_found_before_training(places, tmp_path, failure):
    (tmp_path / "classes" / "a" / "3.png").write_bytes(b"no image")
    assert "a/3.png is not an image" in failure(places["folder"], stream=True)
    dataset = jaxgan.data.open(places["folder"], progress=False, stream=True, skip_bad=True)
    kept = jaxgan.data.open(places["folder"], progress=False, skip_bad=True)
    assert dataset.size == 9
    assert dataset.skipped == kept.skipped
    np.testing.assert_array_equal(dataset.arrays["image"][np.arange(9)], kept.arrays["image"])


def test_an_image_that_vanishes_during_training_is_named(places, tmp_path):
    dataset = jaxgan.data.open(places["folder"], progress=False, stream=True)
    (tmp_path / "classes" / "b" / "2.png").unlink()
    with pytest.raises(
        DataError, match=r"b/2\.png of folder.* cannot be read .*: it was usable before"
    ):
        taken(Feed(dataset, spec_of(dataset), 0, 0, 1), 0, 3)
    write(tmp_path / "classes", ["b/2.png"], (9, 9, 3))
    with pytest.raises(DataError, match="another size or type than before"):
        dataset.arrays["image"][7]


def test_closing_stops_the_threads(places):
    dataset = jaxgan.data.open(places["paired"], progress=False, stream=True)
    taken(Feed(dataset, spec_of(dataset), 0, 0, 1), 0, 2)
    deadline = time.monotonic() + 10
    while any(thread.name.startswith(("grain", "jaxgan")) for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_rows_are_read_as_those_of_an_array(places):
    kept, stream = (
        jaxgan.data.open(places["folder"], progress=False, stream=stream).arrays["image"]
        for stream in (False, True)
    )
    assert (len(stream), stream.ndim, stream.nbytes) == (10, 4, kept.nbytes)
    np.testing.assert_array_equal(stream[-1], kept[-1])
    np.testing.assert_array_equal(stream[7:20], kept[7:20])
    rows = np.array([[3, 0], [9, 3]])
    np.testing.assert_array_equal(stream[rows], kept[rows])
    np.testing.assert_array_equal(list(stream), kept)


def test_what_cannot_be_streamed_says_so(places, failure, monkeypatch):
    assert "joins several sets" in failure(
        f"{places['attributes']}+{places['attributes']}", stream=True
    )
    assert jaxgan.data.open("digits", stream=True).arrays["image"].shape == (1500, 8, 8, 1)
    monkeypatch.setitem(sys.modules, "grain", None)
    assert "pip install 'jaxgan[grain]', or leave out stream (--stream)" in failure(
        places["folder"], stream=True
    )


@pytest.mark.parametrize("ids", [(0, 1), (0, 255)])
def test_whether_pixels_are_unknown_is_known_without_decoding(places, tmp_path, monkeypatch, ids):
    for i in range(5):
        save_png(
            tmp_path / "maps" / "labels" / f"{i}.png",
            np.array(ids, np.uint8)[RNG.integers(0, 2, (6, 5))],
        )
    kept, stream = (
        jaxgan.data.open(f"{places['layout']}?unknown=255&classes=3", progress=False, stream=stream)
        for stream in (False, True)
    )
    expected = 255 in ids
    assert bool((kept.arrays["layout"] == kept.class_count).any()) is expected
    monkeypatch.setattr(streaming.decoding, "one", None)
    assert (kept.unknown, stream.unknown) == (expected, expected)


@pytest.mark.slow
def test_a_run_may_change_to_streaming_and_ends_in_the_same_state(tmp_path, cache, monkeypatch):
    monkeypatch.setattr("jaxgan.records.log._open_tensorboard", lambda *arguments: None)
    write(tmp_path / "grey", [f"{i}.png" for i in range(10)], (4, 4, 1))
    kept, stream = (
        jaxgan.data.open(f"folder:{tmp_path / 'grey'}", progress=False, stream=stream)
        for stream in (False, True)
    )

    def run(name, dataset, images):
        options = {
            "batch_size": 8,
            "devices": 1,
            "progress": False,
            "log_every": 16,
            "sample_every": 80,
            "checkpoint_every": 80,
            "resident": False,
        }
        return jax.device_get(
            train.run(
                tiny_family,
                tiny_family.Config(),
                dataset,
                tmp_path / name,
                images=images,
                **options,
            )
        )

    straight = run("straight", kept, 160)
    run("changed", kept, 80)
    changed = run("changed", stream, 160)
    for (path, ours), theirs in zip(
        jax.tree_util.tree_leaves_with_path(changed), jax.tree.leaves(straight), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs, err_msg=str(path))


@pytest.mark.parametrize(
    ("shape", "rows", "most"),
    [
        ((8, 8, 1), 12_800, streaming.BUFFERED),
        ((8, 8, 1), 20, 80),
        ((4096, 4096, 3), 64, max(16, streaming.BUFFER_BYTES // (4096 * 4096 * 3))),
    ],
)
def test_few_images_wait_for_their_batch(shape, rows, most, monkeypatch):
    """With tens of thousands, as four calls of many small images would be, Grain's look at each of them took longer the more there were."""
    import grain

    asked = []
    options = grain.ReadOptions
    monkeypatch.setattr(
        grain, "ReadOptions", lambda **given: asked.append(given) or options(**given)
    )
    image = np.zeros(shape, np.uint8)
    array = streaming.Streamed(lambda row: (image,), 0, (100, *shape), np.dtype(np.uint8))
    made = streaming.calls({"image": array}, lambda call: {"image": np.arange(rows) % 100})
    if shape[0] < 100:  # a batch of the large ones would take 3 GB
        assert next(made)["image"].shape == (rows, *shape)
    else:
        monkeypatch.setattr(streaming, "_row", lambda *_: np.zeros((1, 1, 1), np.uint8))
        next(made)
    made.close()
    assert asked[0]["num_threads"] <= asked[0]["prefetch_buffer_size"] <= most
