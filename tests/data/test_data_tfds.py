from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import jaxgan.data
from jaxgan.data import tfds
from jaxgan.errors import DataError

ROOT = Path(__file__).resolve().parents[2]

# TensorFlow Datasets and what it imports warn about their own deprecated code.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def mocked(monkeypatch, tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with tfds.testing.mock_data(num_examples=6):
        yield tfds


@pytest.mark.parametrize(("name", "shape"), [("mnist", (28, 28, 1)), ("cifar10", (32, 32, 3))])
def test_mocked_sets_without_tensorflow(mocked, name, shape):
    loaded = "tensorflow" in sys.modules
    data = jaxgan.data.open(f"tfds:{name}", progress=False)
    records = mocked.data_source(name, split="train", download=False)
    np.testing.assert_array_equal(data.arrays["image"], [records[i]["image"] for i in range(6)])
    np.testing.assert_array_equal(data.arrays["label"], [records[i]["label"] for i in range(6)])
    assert data.arrays["image"].shape == (6, *shape)
    assert data.classes == tuple("0123456789")  # only prepared sets know names
    assert data.cache is None
    assert ("tensorflow" in sys.modules) == loaded


@pytest.mark.parametrize(
    ("asked", "known", "found"),
    [
        ("val", ["train", "validation"], "validation"),
        ("validation", ["train", "validation"], "validation"),
        ("testing", ["train", "test"], "test"),
        ("val", ["train", "test"], "val"),
        ("val", ["dev", "validation"], "val"),
        ("train[:50%]", ["train"], "train[:50%]"),
    ],
)
def test_splits_by_the_names_of_tfds(asked, known, found):
    assert tfds._named(asked, known) == found


def test_mocked_config_and_size(mocked):
    data = jaxgan.data.open(
        "tfds:cycle_gan/horse2zebra", split="trainA", image_size=(16, 16), progress=False
    )
    assert data.arrays["image"].shape == (6, 16, 16, 3)
    assert data.classes == ("A", "B")


@pytest.mark.parametrize(
    ("split", "parts"),
    [
        ("train", ["trainA", "trainB"]),
        ("test", ["testA", "testB"]),
        ("all", ["trainA+testA", "trainB+testB"]),
    ],
)
def test_cycle_gan_sets_are_unpaired(mocked, monkeypatch, split, parts):
    records, read = tfds._records, []

    def recorded(
        builder, spec, part, command
    ):  # what is mocked is alike in all splits, so they are told apart by name and length
        found, name = records(builder, spec, part, command)
        read.append(part)
        return [found[i] for i in range(len(found) - (part == parts[1]))], name

    monkeypatch.setattr(tfds, "_records", recorded)
    data = jaxgan.data.open(
        "tfds:cycle_gan/horse2zebra",
        split=split,
        image_size=(16, 16),
        channels=(1, 3),
        progress=False,
    )
    assert read == parts
    assert data.independent
    assert data.classes == ()
    assert {name: array.shape for name, array in data.arrays.items()} == {
        "a": (6, 16, 16, 1),
        "b": (5, 16, 16, 3),
    }
    for name, part, channels in zip("ab", parts, (1, 3)):
        alone = jaxgan.data.open(
            "tfds:cycle_gan/horse2zebra",
            split=part,
            image_size=(16, 16),
            channels=channels,
            progress=False,
        )
        assert not alone.independent
        np.testing.assert_array_equal(data.arrays[name], alone.arrays["image"])


def test_other_sets_keep_their_splits():
    assert tfds.domain_splits("mnist", "train") is None
    assert tfds.domain_splits("cycle_gan/maps", "trainA") is None
    assert tfds.domain_splits("cycle_gan/maps", "train[:50%]") is None
    assert (
        tfds.domain_splits("cycle_gan:3.0.0", "train")
        == tfds.domain_splits("cycle_gan/maps:3.0.0", "train")
        == ("trainA", "trainB")
    )


def test_not_prepared_tells_the_command(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(
        DataError,
        match=r"is not prepared in .*: run `python -m experiments.prepare_tfds mnist --data-dir",
    ) as caught:
        jaxgan.data.open(f"tfds:mnist?data_dir={tmp_path}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spec", ["tfds:no_such_set_anywhere", "tfds:cycle_gan/no_such_config"])
def test_unknown_names(spec, tmp_path, monkeypatch):
    pytest.importorskip("tensorflow_datasets")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match="cannot be opened by TensorFlow Datasets") as caught:
        jaxgan.data.open(spec)
    assert "\n" not in str(caught.value)


def test_unknown_option():
    with pytest.raises(DataError, match="unknown option 'dir': known here: data_dir"):
        jaxgan.data.open("tfds:mnist?dir=x")


def tensorflow_python(folder):
    """An interpreter that has TensorFlow: the one JAXGAN_TF_PYTHON names, else of a virtual environment made now."""
    named = os.environ.get("JAXGAN_TF_PYTHON")
    if named:
        return named
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    wanted = [
        "tensorflow-cpu>=2.21,<2.22",
        "tensorflow-datasets>=4.9.10",
        "importlib_resources",
        "array_record",
    ]
    installed = subprocess.run(
        [python, "-m", "pip", "install", "-q", *wanted], capture_output=True, text=True
    )
    if installed.returncode:
        pytest.skip(
            f"TensorFlow cannot be installed here: {installed.stderr.strip().splitlines()[-1:]}; set JAXGAN_TF_PYTHON to a Python that has it"
        )
    return python


READ = """
import sys, numpy as np, jaxgan.data
spec, original = sys.argv[1:]
for split in ("train", "test"):
    got, want = jaxgan.data.open(spec, split=split, progress=False), jaxgan.data.open(original, split=split)
    rows = lambda data: np.column_stack([np.asarray(data.arrays["image"]).reshape(data.size, -1), data.arrays["label"]])
    a, b = (x[np.lexsort(x.T[::-1])] for x in (rows(got), rows(want)))
    assert a.shape == b.shape and np.array_equal(a, b), split
    print(split, got.size, got.classes[9])
assert "tensorflow" not in sys.modules
"""


@pytest.mark.slow
@pytest.mark.multiprocess
def test_prepared_for_real_then_read_without_tensorflow(real_data, tmp_path):
    python = tensorflow_python(tmp_path / "venv")
    command = [python, "-m", "experiments.prepare_tfds", "fashion_mnist"]
    command += [
        "--data-dir",
        str(tmp_path / "tfds"),
        "--manual-dir",
        str(real_data / "fashion-mnist"),
    ]
    prepared = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert prepared.returncode == 0, prepared.stderr[-2000:]
    assert Path(prepared.stdout.splitlines()[-1]).is_dir()
    # TFDS shuffles what it prepares: the same examples, in another order.
    command = [
        sys.executable,
        "-c",
        READ,
        f"tfds:fashion_mnist?data_dir={tmp_path / 'tfds'}",
        f"idx:{real_data / 'fashion-mnist'}",
    ]
    read = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert read.returncode == 0, read.stderr[-2000:]
    assert read.stdout.splitlines() == ["train 60000 Ankle boot", "test 10000 Ankle boot"]
