"""Names of classes and attributes: they stay with a run, and data are matched to them by name."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from experiments.support import runs
from jaxgan import cgan, data, stylegan
from jaxgan.data.dataset import Dataset
from jaxgan.data.naming import matched, unused_classes
from jaxgan.errors import DataError, RunError
from jaxgan.records import checkpoint, naming
from jaxgan.records.naming import Names
from jaxgan.run import train
from tests.families_under_test import CASES

ANIMALS = ("cat", "dog", "eel")


def labelled(classes, labels):
    images = np.zeros((len(labels), 8, 8, 1), np.uint8)
    return Dataset(
        "animals", {"image": images, "label": np.array(labels, np.int32)}, tuple(classes), "0"
    )


def told(attributes, values, groups=()):
    images = np.zeros((len(values), 8, 8, 1), np.uint8)
    arrays = {"image": images, "attributes": np.array(values, np.uint8)}
    return Dataset("faces", arrays, (), "0", attributes=tuple(attributes), groups=tuple(groups))


def test_classes_are_numbered_as_in_the_run():
    found = matched(labelled(("eel", "cat", "dog"), [0, 1, 2, 0]), Names(ANIMALS), "a run")
    assert found.classes == ANIMALS
    assert found.arrays["label"].tolist() == [2, 0, 1, 2]
    fewer = matched(labelled(("dog", "eel"), [0, 1]), Names(ANIMALS), "a run")
    assert (fewer.classes, fewer.arrays["label"].tolist()) == (ANIMALS, [1, 2])
    same = labelled(ANIMALS, [0, 1])
    assert matched(same, Names(ANIMALS), "a run") is same
    assert matched(same, Names(), "a run of before") is same


def test_other_classes_are_refused_with_both_lists():
    with pytest.raises(
        DataError, match="animals has the classes cat, cow, but a run knows cat, dog, eel: give"
    ):
        matched(labelled(("cat", "cow"), [0, 1]), Names(ANIMALS), "a run")


def test_composed_and_decomposed_names_are_one():
    found = matched(labelled(("a", "e\u0301"), [0, 1]), Names(classes=("\u00e9", "a")), "a run")
    assert found.arrays["label"].tolist() == [1, 0]


def test_attributes_are_put_in_the_order_of_the_run():
    found = matched(
        told(("hat", "smile"), [[1, 0], [0, 1]]), Names(attributes=("smile", "hat")), "a run"
    )
    assert found.attributes == ("smile", "hat")
    assert found.arrays["attributes"].tolist() == [[0, 1], [1, 0]]
    with pytest.raises(
        DataError, match="faces has the attributes hat, smile, but a run knows hat, beard"
    ):
        matched(told(("hat", "smile"), [[1, 0]]), Names(attributes=("hat", "beard")), "a run")


def test_exclusive_groups_stay_whole():
    faces = told(("black", "blond", "hat"), [[1, 0, 1]], (("hair", 2), ("hat", 1)))
    found = matched(faces, Names(attributes=("hat", "blond", "black")), "a run")
    assert (found.groups, found.arrays["attributes"].tolist()) == (
        (("hat", 1), ("hair", 2)),
        [[1, 0, 1]],
    )
    with pytest.raises(DataError, match="but a run knows"):
        matched(faces, Names(attributes=("black", "hat", "blond")), "a run")


def test_names_from_files_are_names_or_none():
    assert naming.from_dict(Names(ANIMALS, ("hat",)).to_dict()) == Names(ANIMALS, ("hat",))
    for content in (None, [], {"classes": "cat"}, {"classes": [1, 2]}, {"classes": {"cat": 0}}):
        assert naming.from_dict(content) == Names()


def test_a_model_without_classes_says_that_it_ignores_them():
    config = CASES["stylegan"].config
    said = unused_classes(
        labelled(ANIMALS, [0, 1, 2]), "stylegan", config, stylegan.batch_spec(config, 4)
    )
    assert said == (
        "animals has 3 classes (cat, dog, eel), which this stylegan ignores: "
        "set classes=3 (--config.classes 3) to learn them"
    )
    config = CASES["cgan"].config
    assert (
        unused_classes(labelled(ANIMALS, [0, 1, 2]), "cgan", config, cgan.batch_spec(config, 4))
        == ""
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of cgan on two class folders."""
    folder = tmp_path_factory.mktemp("names")
    for number, name in enumerate(("dog", "cat")):
        (folder / "set" / name).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(np.full((8, 8), 100 * number + i, np.uint8)).save(
                folder / "set" / name / f"{i}.png"
            )
    config = cgan.Config(
        (8, 8), 1, 2, 4, architecture="mlp", generator_hidden=(4,), discriminator_hidden=(4,)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxgan.records.log._open_tensorboard", lambda *arguments: None)
        train.run(
            cgan,
            config,
            data.open(f"folder:{folder / 'set'}"),
            folder / "run",
            images=8,
            batch_size=4,
            devices=1,
            progress=False,
        )
    return folder


def test_names_stay_with_a_run(run):
    assert json.loads((run / "run" / "config.json").read_text())["names"] == {
        "classes": ["cat", "dog"]
    }
    assert checkpoint.names(run / "run") == Names(("cat", "dog"))
    config = checkpoint.load(run / "run")[1]
    turned = labelled(("dog", "cat"), [0, 1])
    assert runs.numbered(turned, config, str(run / "run")).arrays["label"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist: name the file of the run's family, or its module"),
        ("raise OSError('no disk')", r"cannot be imported \(OSError: no disk\)"),
        ("def (", r"cannot be imported \(SyntaxError"),
        ("x = 1", "is no family, as it has no Config and no init"),
    ],
)
def test_families_that_cannot_be_taken_are_refused(tmp_path, content, message):
    path = tmp_path / "my_broken_family.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises(RunError, match=message):
        runs.module_of(str(path))


def test_a_family_is_taken_from_a_file(tmp_path):
    path = tmp_path / "my_whole_family.py"
    path.write_text(
        "from jaxgan.families.gan import *\nfrom jaxgan.families.gan import Config, init\n"
    )
    module = runs.module_of(str(path))
    assert module.__name__ == "my_whole_family"
    assert runs.module_of(str(path)) is module
