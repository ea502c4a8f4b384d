"""How a run is watched, fed and stopped changes nothing of what it learns; nor does how its images are stored."""

from __future__ import annotations

import dataclasses
import json
import zipfile

import jax
import numpy as np
import pytest
from PIL import Image

from jaxgan import data
from jaxgan.run import train
from tests import tiny_family

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 1)).astype(np.uint8)
DATASET = data.from_arrays("noise", PIXELS)
CONFIG = tiny_family.Config()


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No TensorBoard, and a cache of one's own."""
    monkeypatch.setattr("jaxgan.records.log._open_tensorboard", lambda *arguments: None)
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "cache"))


def trained(directory, dataset=DATASET, config=CONFIG, images=64, **options):
    """The final state of a run, as bytes by the name of each leaf."""
    cadences = {"log_every": 32, "sample_every": 64, "checkpoint_every": 64}
    settings = {"batch_size": 8, "devices": 1, "progress": False, **cadences, **options}
    state = train.run(tiny_family, config, dataset, directory, images=images, **settings)
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(state))
    return {jax.tree_util.keystr(path): np.asarray(leaf).tobytes() for path, leaf in leaves}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxgan.records.log._open_tensorboard", lambda *arguments: None)
        return trained(tmp_path_factory.mktemp("runs") / "plain")


SAME = {
    "every step logged": {"log_every": 8},
    "nothing but the last step logged": {"log_every": 64},
    "sampled at every second step": {"sample_every": 16},
    "saved at every step": {"checkpoint_every": 8, "keep": 1},
    "all checkpoints kept": {"checkpoint_every": 16, "keep": 9},
    "streamed from the host": {"resident": False},
    "asked for by name what is the default": {"parallel": "jit", "seed": 0, "keep": 3},
    "no augmentation, said": {"augment": data.Augment()},
    "config of defaults, said": {"config": tiny_family.Config(image_size=(4, 4), critic_steps=1)},
    "config of lists": {"config": dataclasses.replace(CONFIG, image_size=(4, 4))},
}


@pytest.mark.parametrize("options", SAME.values(), ids=SAME)
def test_what_watches_a_run_changes_nothing(plain, tmp_path, options):
    assert trained(tmp_path / "run", **options) == plain


@pytest.mark.parametrize("stops", [(8,), (8, 16, 56), (40,)])
def test_a_run_in_pieces_is_the_run(plain, tmp_path, stops):
    for images in stops:
        trained(tmp_path / "run", images=images, sample_every=8, checkpoint_every=8)
    assert trained(tmp_path / "run", sample_every=8, checkpoint_every=8) == plain


def test_a_run_that_went_on_is_another_one(plain, tmp_path):
    assert trained(tmp_path / "run", images=72) != plain
    assert trained(tmp_path / "other", seed=1) != plain


def test_the_order_of_names_in_config_json_changes_nothing(plain, tmp_path):
    trained(tmp_path / "run", images=32, checkpoint_every=32, sample_every=32)
    path = tmp_path / "run" / "config.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(stored.items())), separators=(",", ":")))
    assert trained(tmp_path / "run", sample_every=32, checkpoint_every=32) == plain


# -------------------------------------------------------------------------------------------- how images are stored


@pytest.fixture
def stored(tmp_path):
    """The images as files of a folder, named so that their order is that of the array."""
    folder = tmp_path / "files"
    folder.mkdir()
    for i, pixels in enumerate(PIXELS):
        Image.fromarray(pixels[..., 0]).save(folder / f"{i:03}.png")
    return folder


def zipped(folder, order):
    path = folder.parent / "files.zip"
    with zipfile.ZipFile(path, "w") as file:
        for image in order:
            file.write(image, image.name)
    return path


def test_files_train_as_their_array_does(plain, stored, tmp_path):
    assert trained(tmp_path / "run", f"folder:{stored}") == plain


def test_a_zip_file_packed_backwards_trains_as_its_folder_does(plain, stored, tmp_path):
    path = zipped(stored, sorted(stored.iterdir(), reverse=True))
    assert trained(tmp_path / "run", f"zip:{path}") == plain


def test_a_moved_set_is_the_same_set(plain, stored, tmp_path):
    trained(tmp_path / "run", f"folder:{stored}", images=32, checkpoint_every=32, sample_every=32)
    moved = stored.rename(tmp_path / "elsewhere")
    again = trained(tmp_path / "run", f"folder:{moved}", checkpoint_every=32, sample_every=32)
    assert again == plain


def opened(folder, **options):
    return data.open(f"folder:{folder}", progress=False, **options)


def test_the_cache_gives_what_was_decoded(stored, tmp_path):
    first = opened(stored, cache_dir=tmp_path / "one")
    again = opened(stored, cache_dir=tmp_path / "one")
    elsewhere = opened(stored, cache_dir=tmp_path / "two")
    for dataset in (first, again, elsewhere):
        np.testing.assert_array_equal(dataset.arrays["image"], PIXELS)
        assert (dataset.fingerprint, dataset.files) == (first.fingerprint, first.files)


def test_an_image_that_is_changed_changes_its_row_alone(stored, tmp_path):
    before = opened(stored)
    Image.fromarray(255 - PIXELS[7, ..., 0]).save(stored / "007.png", compress_level=1)
    after = opened(stored)
    differs = (np.asarray(before.arrays["image"]) != np.asarray(after.arrays["image"])).any(
        (1, 2, 3)
    )
    assert np.flatnonzero(differs).tolist() == [7]
    assert before.fingerprint != after.fingerprint


def test_a_new_image_adds_a_row_where_its_name_belongs(stored, tmp_path):
    Image.fromarray(PIXELS[0, ..., 0]).save(stored / "007b.png")
    after = opened(stored)
    assert after.files[8] == "007b.png"
    np.testing.assert_array_equal(np.delete(after.arrays["image"], 8, axis=0), PIXELS)
