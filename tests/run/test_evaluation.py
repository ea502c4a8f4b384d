"""Evaluation in training: it changes nothing of it, its best checkpoint stays, and it says when to stop."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxgan import data
from jaxgan.errors import CheckpointError
from jaxgan.metrics.result import SECONDS, Result, read_results
from jaxgan.records import checkpoint
from jaxgan.records.log import Log
from jaxgan.run import evaluation, train
from tests import tiny_family, tiny_network

IMAGES = np.random.default_rng(0).integers(0, 256, (90, 4, 4, 1)).astype(np.uint8)
DATASET, HELD_OUT = data.from_arrays("noise", IMAGES[:50]), data.from_arrays("noise", IMAGES[50:])
EVALUATED = {
    "evaluate_every": 40,
    "metrics": ("fid", "kid"),
    "network": tiny_network.network(),
    "evaluate_samples": 30,
    "held_out": (HELD_OUT, "test"),
}


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr("jaxgan.records.log._open_tensorboard", lambda *arguments: None)
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "cache"))


def run(directory, images=160, **options):
    options = {
        "batch_size": 8,
        "devices": 1,
        "progress": False,
        "log_every": 16,
        "sample_every": 80,
        "checkpoint_every": 80,
        **options,
    }
    return train.run(
        tiny_family, tiny_family.Config(), DATASET, directory, images=images, **options
    )


def assert_same_state(a, b):
    for (path, x), (_, y) in zip(
        *(jax.tree_util.tree_leaves_with_path(jax.device_get(state)) for state in (a, b)),
        strict=True,
    ):
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes(), path


def lines(directory):
    """metrics.jsonl and evaluations.jsonl without the times."""
    read = [
        json.loads(line) for line in (Path(directory) / "metrics.jsonl").read_text().splitlines()
    ]
    results = [
        one for one in read_results(Path(directory) / "evaluations.jsonl") if one.metric != SECONDS
    ]
    return [{**line, "seconds": None} for line in read], results


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "evaluated"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxgan.records.log._open_tensorboard", lambda *arguments: None)
        patch.setenv("JAXGAN_CACHE", str(directory.parent / "cache"))
        return directory, jax.device_get(run(directory, **EVALUATED))


def test_evaluation_leaves_training_as_it_is(tmp_path, evaluated):
    directory, state = evaluated
    assert_same_state(run(tmp_path / "plain"), state)
    curves, results = lines(directory)
    plain, _ = lines(tmp_path / "plain")
    assert [line for line in curves if "eval/fid" not in line["metrics"]] == plain
    assert [line["images"] for line in curves if "eval/fid" in line["metrics"]] == [
        40,
        80,
        120,
        160,
    ]
    assert [(one.metric, one.checkpoint) for one in results if one.metric in ("fid", "kid")] == [
        (m, n) for n in (40, 80, 120, 160) for m in ("fid", "kid")
    ]
    fid = {one.checkpoint: one.value for one in results if one.metric == "fid"}
    assert {
        line["images"]: line["metrics"]["eval/fid"]
        for line in curves
        if "eval/fid" in line["metrics"]
    } == fid
    one = next(one for one in results if one.metric == "fid")
    assert (one.network, one.split, one.real, one.generated, one.family, one.fingerprint) == (
        "tiny",
        "test",
        40,
        30,
        "tests.tiny_family",
        HELD_OUT.fingerprint,
    )
    assert len({one.value for one in results if one.metric == "fid"}) == 4


def test_a_resumed_run_writes_what_an_uninterrupted_one_does(tmp_path, evaluated):
    run(tmp_path / "run", 80, **EVALUATED)
    with open(
        tmp_path / "run" / "metrics.jsonl", "a"
    ) as file:  # a process killed at 120, before its checkpoint
        file.write('{"images": 120, "step": 15, "metrics": {"eval/fid": 0.0}, "seconds": 1.0}\n')
    with open(tmp_path / "run" / "evaluations.jsonl", "a") as file:
        file.write(Result("fid", 0.0, checkpoint=120).to_json() + "\n" + '{"metric": "fi')
    assert_same_state(run(tmp_path / "run", **EVALUATED), evaluated[1])
    assert lines(tmp_path / "run") == lines(evaluated[0])


def told(values, monkeypatch):
    """Evaluations find these values of fid, by images, and nothing else."""

    def plan(*arguments, **options):
        made = PLAN(*arguments, **options)
        return made._replace(
            measure=lambda state: [
                Result("fid", values[int(state.images)], checkpoint=int(state.images))
            ]
        )

    monkeypatch.setattr(evaluation, "plan", plan)


PLAN = evaluation.plan


def test_the_best_checkpoint_is_kept_beside_the_newest(tmp_path, monkeypatch):
    told({40: 5.0, 80: 3.0, 120: 4.0, 160: 3.5, 200: 3.0, 240: 9.0, 280: 1.0}, monkeypatch)
    options = {**EVALUATED, "keep_best": "fid", "keep": 1}
    run(tmp_path, 120, **options)
    assert checkpoint.Checkpoints(tmp_path / "checkpoints").steps == [80, 120]
    run(tmp_path, 240, **options)  # goes on in what is to all purposes another process
    assert checkpoint.Checkpoints(tmp_path / "checkpoints").steps == [80, 240]
    assert json.loads((tmp_path / "best.json").read_text()) == {
        "images": 80,
        "metric": "fid",
        "value": 3.0,
    }
    assert int(checkpoint.load(tmp_path, "best", family=tiny_family)[2].images) == 80
    assert int(checkpoint.load(tmp_path, family=tiny_family)[2].images) == 240
    assert int(checkpoint.load(tmp_path, 80, family=tiny_family)[2].images) == 80
    with pytest.raises(CheckpointError, match="no checkpoint 120: it has 80, 240"):
        checkpoint.load(tmp_path, 120, family=tiny_family)
    run(tmp_path, 280, **options)
    assert checkpoint.Checkpoints(tmp_path / "checkpoints").steps == [280]
    assert int(checkpoint.load(tmp_path, "best", family=tiny_family)[2].images) == 280


def test_a_run_without_a_best_checkpoint_says_so(tmp_path, evaluated):
    with pytest.raises(CheckpointError, match="has not kept a best checkpoint"):
        checkpoint.load(evaluated[0], "best", family=tiny_family)
    with pytest.raises(ValueError, match="which must be newest, best or the number"):
        checkpoint.load(evaluated[0], "last", family=tiny_family)


def test_training_stops_when_evaluations_do_not_become_better(tmp_path, monkeypatch, capsys):
    told({40: 5.0, 80: 6.0, 120: float("nan"), 160: 3.0, 200: 1.0}, monkeypatch)
    options = {**EVALUATED, "metrics": ("fid",), "patience": 2}
    assert int(run(tmp_path, 240, **options).images) == 120
    said = "stopped early: fid has not become better in 2 evaluations since 40 images"
    assert said in capsys.readouterr().err
    assert checkpoint.Checkpoints(tmp_path / "checkpoints").steps[-1] == 120
    assert int(run(tmp_path, 240, **options).images) == 120
    assert said in capsys.readouterr().err
    assert int(run(tmp_path, 200, **{**options, "patience": 3}).images) == 200


def test_values_that_were_measured_in_another_way_are_not_what_is_best(
    tmp_path, monkeypatch, capsys
):
    """More samples make every FID smaller: resumed with other settings, the best is looked for anew."""

    def plan(*arguments, **options):
        made = PLAN(*arguments, **options)
        values = {40: 2.0, 80: 5.0, 120: 4.0, 160: 6.0}

        def measure(state):
            images = int(state.images)
            return [Result("fid", values[images], checkpoint=images, generated=options["samples"])]

        return made._replace(measure=measure)

    monkeypatch.setattr(evaluation, "plan", plan)
    options = {**EVALUATED, "keep_best": "fid", "keep": 1}
    run(tmp_path, 40, **options)
    assert json.loads((tmp_path / "best.json").read_text())["images"] == 40
    run(tmp_path, 160, **{**options, "evaluate_samples": 20})
    assert json.loads((tmp_path / "best.json").read_text()) == {
        "images": 120,
        "metric": "fid",
        "value": 4.0,
    }
    assert checkpoint.Checkpoints(tmp_path / "checkpoints").steps == [120, 160]
    assert capsys.readouterr().err.count("fid was measured in another way before") == 1


def test_a_spec_is_evaluated_on_what_its_source_holds_out(tmp_path, monkeypatch):
    told = {}
    monkeypatch.setattr(
        evaluation, "plan", lambda *arguments, **options: told.update(options) or 1 / 0
    )
    options = {"images": 8, "batch_size": 8, "evaluate_every": 8}
    with pytest.raises(ZeroDivisionError):
        train.run(tiny_family, tiny_family.Config(), "digits", tmp_path, **options)
    assert (told["held_out"][1], told["held_out"][0].size) == ("test", 297)
    with pytest.raises(ZeroDivisionError):
        train.run(tiny_family, tiny_family.Config(), DATASET, tmp_path, **options)
    assert told["held_out"] is None


def test_checkpoints_are_chosen_by_validation_images_where_there_are_any(tmp_path):
    from PIL import Image

    for i, split in enumerate(("train", "val", "test")):
        (tmp_path / split).mkdir()
        for j in range(3):
            Image.fromarray(np.full((8, 8), 20 * i + j, np.uint8)).save(
                tmp_path / split / f"{j}.png"
            )
    found, split = evaluation.held_out_of(data.open(f"folder:{tmp_path}"))
    assert (split, int(found.arrays["image"][0, 0, 0, 0])) == ("val", 20)


def test_higher_is_better_where_it_is(tmp_path):
    plan = evaluation.Plan(lambda state: [], 40, "precision", 2, "precision")
    with Log(tmp_path, progress=False, tensorboard=False) as log:
        for images, value in ((40, 0.5), (80, 0.7), (120, 0.6), (160, 0.7)):
            log.metrics(images, images // 8, {"eval/precision": value}, 1.0)
        judged = evaluation.Evaluation(plan, tmp_path, log, [40, 80, 120, 160])
    assert judged.best == 80
    assert judged.exhausted
    judged = evaluation.Evaluation(plan, tmp_path, log, [40, 160])
    assert judged.best == 160  # the checkpoint of the better one is gone


def test_curves_are_means_over_directions_without_classes():
    classes = [Result("class_accuracy", 0.5), Result("class_accuracy", 0.9, subject="class 3")]
    results = [Result("fid", 2.0, subject="a2b"), Result("fid", 4.0, subject="b2a"), *classes]
    assert evaluation.curves(results) == {
        "eval/fid_a2b": 2.0,
        "eval/fid_b2a": 4.0,
        "eval/fid": 3.0,
        "eval/class_accuracy": 0.5,
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ("fid",)}, "metrics mean something only with evaluate_every"),
        (
            {**EVALUATED, "keep_best": "precision"},
            "keep_best must be one of the metrics measured, fid, kid, got 'precision'",
        ),
        (
            {**EVALUATED, "metrics": ("l1", "speed")},
            r"l1, speed \(unknown\) cannot be measured of tiny_family on noise: ask for some of fid, kid, is",
        ),
        (
            {**EVALUATED, "evaluate_every": 42},
            "evaluate_every must be a multiple of 8 images.*the nearest is 40",
        ),
        ({**EVALUATED, "network": None}, "no feature network comes with the package for noise"),
        ({**EVALUATED, "patience": -1}, "patience must be at least 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused_before_anything_is_written(
    tmp_path, options, message
):
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
