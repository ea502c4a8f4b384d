"""The demo: it judges what the generator draws, its exit status is the verdict, and (slow) the recipe passes."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from experiments import cgan, demo
from experiments.support.digit_score import Score
from jaxgan import data
from jaxgan.errors import RunError

GOOD = Score(0.99, 600, 1.8, 2.0, 0.95, 1000)
BAD = Score(0.9, 600, 1.8, 2.0, 0.95, 1000)


def test_judging_uses_a_hundred_of_each_class(monkeypatch):
    train = data.open("digits")
    asked = []

    def draw_copies(
        family, config, state, n, labels, seed
    ):  # the nearest a generator can come to its training set
        asked.append(labels)
        images, classes = train.arrays["image"], train.arrays["label"]
        return (
            np.stack(
                [
                    images[np.flatnonzero(classes == label)[i % 100]]
                    for i, label in enumerate(labels)
                ]
            )
            / np.float32(127.5)
            - 1
        )

    monkeypatch.setattr(demo, "draw", draw_copies)
    result = demo.judge(cgan.DIGITS, None, train)
    assert np.bincount(asked[0]).tolist() == [100] * 10
    assert result.accuracy > 0.99
    assert result.median_distance == 0.0
    assert result.real_median_distance == pytest.approx(
        2.29, abs=0.02
    )  # the 297 digits of the split "test"
    assert result.classifier_accuracy == pytest.approx(0.953, abs=0.01)


def test_a_demo_that_was_stopped_is_not_judged(monkeypatch, tmp_path):
    monkeypatch.setattr(
        "experiments.support.common.train", lambda *_: types.SimpleNamespace(images=12_800)
    )
    monkeypatch.setattr(demo, "judge", lambda *_: pytest.fail("judged"))
    with pytest.raises(SystemExit) as stop:
        demo.main(["--run", str(tmp_path / "run")])
    assert stop.value.code == 130


@pytest.mark.parametrize(("score", "status"), [(GOOD, 0), (BAD, 1)])
def test_the_exit_status_is_the_verdict(monkeypatch, tmp_path, score, status, capsys):
    monkeypatch.setattr(
        "experiments.support.common.train", lambda *_: types.SimpleNamespace(images=10**9)
    )
    monkeypatch.setattr(demo, "judge", lambda *_: score)
    with pytest.raises(SystemExit) as stop:
        demo.main(["--run", str(tmp_path / "run")])
    assert stop.value.code == status
    printed = capsys.readouterr().out
    assert str(tmp_path / "run" / "report.html") in printed
    assert ("PASSED" in printed, "FAILED: 90.0%" in printed) == (status == 0, status == 1)


def test_the_newest_sample_grid_is_named(tmp_path):
    (tmp_path / "samples").mkdir()
    for images in (0, 12800, 614400):
        (tmp_path / "samples" / f"{images:08d}.png").touch()
    text = demo.report(tmp_path, 20.0, GOOD, [])
    assert "00614400.png" in text
    assert "00012800.png" not in text


def test_starting_afresh_removes_runs_and_nothing_else(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").touch()
    with pytest.raises(RunError, match="something else than a run"):
        demo._remove_run(tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").touch()
    demo._remove_run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_recipe_passes(tmp_path, seed):
    """The demo as a person runs it, then drawing from its run directory alone."""
    run = tmp_path / "run"
    command = [sys.executable, "-m", "experiments.demo", "--run", str(run), "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASSED" in done.stdout
    assert (run / "report.html").stat().st_size > 10_000
    command = [
        sys.executable,
        "-m",
        "experiments.sample",
        str(run),
        "--n",
        "20",
        "--out",
        str(run / "drawn.npy"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    images = np.load(Path(done.stdout.strip()))
    assert images.shape == (20, 8, 8, 1)
    assert images.min() >= -1
    assert images.max() <= 1
    assert images.std() > 0.5  # ink and paper, not grey: the real digits have 0.75
