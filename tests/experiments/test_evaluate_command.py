"""The command that evaluates: of a run, of files, and what it refuses."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from experiments import evaluate
from jaxgan import data, train
from jaxgan.metrics.result import Result, append_results, read_results
from tests import tiny_family, tiny_network

NETWORK = tiny_network.network()
FAMILY = ("--family", "tests.tiny_family")


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """TensorBoard takes longer to load than these runs; the networks that come with the package are tested where they are."""
    monkeypatch.setattr("jaxgan.records.log._open_tensorboard", lambda *arguments: None)
    monkeypatch.setattr(
        "jaxgan.metrics.measure.open_network", lambda spec: NETWORK._replace(name=spec)
    )
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxgan.records.log._open_tensorboard", lambda *arguments: None)
        digits = data.open("digits", image_size=(4, 4))
        options = {
            "images": 32,
            "batch_size": 16,
            "devices": 1,
            "progress": False,
            "log_every": 16,
            "sample_every": 32,
            "checkpoint_every": 16,
        }
        train.run(tiny_family, tiny_family.Config(), digits, directory, **options)
    return directory


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        evaluate.main(list(map(str, arguments)))
    assert left.value.code == 2
    return capsys.readouterr().err


def test_a_run_is_evaluated_on_held_out_images_of_what_it_was_trained_on(trained, tmp_path, capsys):
    evaluate.main([str(trained), *FAMILY, "--samples", "40", "--out", str(tmp_path / "out.jsonl")])
    shown = capsys.readouterr().out
    assert "digits, split test, seed 0, after 32 images" in shown
    assert "features of digits (0123456789abcdef; linear to 4)" in shown
    found = {one.metric: one for one in read_results(tmp_path / "out.jsonl")}
    assert set(found) == {"fid", "kid", "diversity", "memorisation"}
    assert (found["fid"].real, found["fid"].generated, found["fid"].checkpoint) == (297, 40, 32)
    assert any(
        line.startswith("fid ") and f"{found['fid'].value:.5g}" in line and "40 / 297" in line
        for line in shown.splitlines()
    )
    assert not (trained / "evaluations.jsonl").exists()


def test_an_earlier_checkpoint_and_another_split_can_be_named(trained, capsys):
    evaluate.main(
        [
            str(trained),
            *FAMILY,
            "--samples",
            "40",
            "--checkpoint",
            "16",
            "--split",
            "train",
            "--metrics",
            "fid",
        ]
    )
    found = read_results(trained / "evaluations.jsonl")
    (trained / "evaluations.jsonl").unlink()
    assert [(one.checkpoint, one.split, one.real) for one in found if one.metric == "fid"] == [
        (16, "train", 1500)
    ]


def test_real_images_come_to_their_size_as_in_training(tmp_path, capsys):
    """Flat images, stretched in training and cut by default: the translator of a preset would be judged on what it never saw."""
    for i in range(4):
        for split in ("train", "test"):
            (tmp_path / "data" / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(
                np.random.default_rng(i).integers(0, 256, (6, 12)).astype(np.uint8)
            ).save(tmp_path / "data" / split / f"{i}.png")
    spec, run = f"folder:{tmp_path / 'data'}", tmp_path / "run"
    options = {
        "images": 16,
        "batch_size": 16,
        "devices": 1,
        "progress": False,
        "log_every": 16,
        "sample_every": 16,
        "checkpoint_every": 16,
    }
    train.run(
        tiny_family,
        tiny_family.Config(),
        data.open(spec, image_size=(4, 4), resize="stretch"),
        run,
        **options,
    )
    evaluate.main([str(run), *FAMILY, "--samples", "4", "--network", "digits", "--metrics", "fid"])
    (found, *_) = read_results(run / "evaluations.jsonl")
    assert (
        found.fingerprint
        == data.open(spec, split="test", image_size=(4, 4), resize="stretch").fingerprint
    )
    Image.fromarray(np.zeros((6, 12), np.uint8)).save(tmp_path / "data" / "train" / "0.png")
    assert "does not hold what" in refused(
        capsys, run, *FAMILY, "--samples", "4", "--network", "digits"
    )


def test_two_folders_are_compared(tmp_path, capsys):
    digits = data.open("digits").arrays["image"][:60, :, :, 0]
    for folder, images in {"real": digits[:30], "made": digits[30:]}.items():
        (tmp_path / folder).mkdir()
        for i, image in enumerate(images):
            Image.fromarray(np.repeat(np.repeat(image, 2, 0), 2, 1)).save(
                tmp_path / folder / f"{i:02d}.png"
            )
    out = tmp_path / "out.jsonl"
    evaluate.main(
        [
            "--images",
            str(tmp_path / "real"),
            str(tmp_path / "made"),
            "--network",
            "digits",
            "--metrics",
            "fid",
            "precision",
            "--out",
            str(out),
        ]
    )
    found = {one.metric: one for one in read_results(out)}
    assert (found["fid"].real, found["fid"].generated, found["fid"].checkpoint) == (30, 30, None)
    assert 0 < found["fid"].value < 1
    assert found["precision"].value > 0.5
    assert found["fid"].floor_counts == (15, 15)
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .startswith("real: where real images are too few, of fewer than are generated")
    )
    evaluate.main(
        [
            "--images",
            str(tmp_path / "real"),
            str(tmp_path / "real"),
            "--network",
            "digits",
            "--metrics",
            "fid",
            "precision",
            "--out",
            str(out),
        ]
    )
    found = {one.metric: one for one in read_results(out)}
    assert found["fid"].value < 1e-9
    assert found["precision"].value == 1


ONE = Result("fid", 3.0, network="tiny", real=10, generated=10, seed=0, versions={"jaxgan": "1"})


def test_files_of_results_are_compared_where_they_are_alike(tmp_path, capsys):
    append_results(tmp_path / "a", [dataclasses.replace(ONE, value=9.0), ONE])
    append_results(tmp_path / "b", [dataclasses.replace(ONE, value=2.5, family="other")])
    evaluate.main(["--compare", str(tmp_path / "a"), str(tmp_path / "b")])
    assert capsys.readouterr().out.splitlines()[1].split() == ["fid", "3", "2.5", "-0.5"]
    append_results(tmp_path / "c", [dataclasses.replace(ONE, seed=1, generated=20)])
    assert "generated 10 and 20; seed 0 and 1" in refused(
        capsys, "--compare", tmp_path / "a", tmp_path / "c"
    )
    append_results(tmp_path / "d", [dataclasses.replace(ONE, metric="kid")])
    assert "no figure in common" in refused(capsys, "--compare", tmp_path / "a", tmp_path / "d")
    assert "there is no file" in refused(capsys, "--compare", tmp_path / "a", tmp_path / "none")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a run directory, or two sets of images"),
        (["--truncation", "0.7"], "tests.tiny_family has no styles to truncate"),
        (
            ["--metrics", "l1"],
            "l1 cannot be measured of tiny_family on digits: ask for some of fid, kid",
        ),
        (["--checkpoint", "best"], "has not kept a best checkpoint"),
        (["--checkpoint", "7"], "has no checkpoint 7: it has 0, 16, 32"),
        (["--samples", "1"], "samples must be at least 2"),
        (["--split", "dev"], "digits has no split 'dev'"),
        (["--judge", "nowhere.npz"], "there is no file nowhere.npz"),
    ],
)
def test_what_cannot_be_evaluated_ends_in_one_sentence(trained, capsys, arguments, message):
    said = refused(capsys, *([trained, *FAMILY, *arguments] if arguments else []))
    assert message in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_training_from_the_command_line_is_told_how_to_evaluate(tmp_path, monkeypatch):
    from experiments.support import common
    from jaxgan import gan

    told = {}
    monkeypatch.setattr("jaxgan.train.run", lambda *arguments, **options: told.update(options))
    flags = [
        "--evaluate-every",
        "1280",
        "--metrics",
        "fid",
        "kid",
        "--keep-best",
        "fid",
        "--patience",
        "3",
        "--network",
        "digits",
        "--evaluate-samples",
        "50",
    ]
    from experiments.gan import PRESETS

    preset, options, config = common.parse(
        gan, PRESETS, "", ["--preset", "digits", "--run", str(tmp_path / "run"), *flags]
    )
    options, config, dataset = common.prepare(preset, options, config, flags)
    common.train(gan, options, config, dataset)
    asked = {name: told[name] for name in common.EVALUATION}
    assert asked == {
        "evaluate_every": 1280,
        "metrics": ("fid", "kid"),
        "network": "digits",
        "evaluate_samples": 50,
        "keep_best": "fid",
        "patience": 3,
    }
    held_out, split = told["held_out"]
    assert (split, held_out.size, held_out.image_size) == ("test", 297, dataset.image_size)
    assert json.dumps(asked)
