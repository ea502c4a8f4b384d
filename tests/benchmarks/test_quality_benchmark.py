"""`benchmarks.quality`: commands, time limits, held-out faces, baselines by hand, tables from given lines; and one row from end to end."""

from __future__ import annotations

import json
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import quality, quality_scores, quality_tables, quality_training, train_pytorch
from benchmarks.quality_rows import JUDGES, ROWS, Row
from experiments.support import common
from experiments.support.judge_training import without_folders
from jaxgan import data, gan
from jaxgan.errors import DataError, RunError
from jaxgan.metrics import judges, table
from jaxgan.metrics.real import Rows
from jaxgan.metrics.result import Result
from jaxgan.records.config_io import to_dict

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_commands_that_exist(name):
    """Every flag is known, every figure has a name, and checkpoints fall on whole calls."""
    import importlib

    row = ROWS[name]
    told = quality_training.command(name, row, Path("DIR"), Path("WORK"), 3)
    if row.rival:
        assert told[:3] == ["python", "-m", "benchmarks.train_pytorch"]
        given, flags = train_pytorch.parse(told[3:])
        assert (given.family, given.out, given.split) == (
            row.command.split()[0],
            Path(f"WORK/{name}-seed3"),
            row.split,
        )
        assert [flag for flag in flags if flag.startswith("--images")] == ["--images"]
        flags[flags.index("--images") + 1] = "640"
        told[2:] = [f"experiments.{given.family}", *flags]
    module = importlib.import_module(told[2])
    family = next(value for key, value in vars(module).items() if key == told[2].rpartition(".")[2])
    _, options, config = common.parse(family, module.PRESETS, "", told[3:])
    if row.rival:
        train_pytorch.check_settings(given.family, config, common.augmentation(options))
        return
    assert (options.seed, options.run, options.checkpoint_every) == (
        3,
        f"WORK/{name}-seed3",
        row.checkpoint,
    )
    call = (
        options.steps_per_call * options.batch_size * getattr(config.stabilisers, "critic_steps", 1)
    )
    assert row.checkpoint % call == 0
    assert set(row.metrics) <= set(table.METRICS)
    assert row.judge in ("", *JUDGES)
    assert row.table in quality_tables.marked((ROOT / "docs/results.md").read_text())
    common.whole_calls(options, config, told[3:])


def test_the_tables_of_the_page_are_those_of_the_lines():
    page = (ROOT / "docs/results.md").read_text()
    assert (
        quality_tables.filled(page, quality_tables.read(ROOT / "benchmarks/results/quality.jsonl"))
        == page
    )


def line(row="a", which="last", metric="fid", value=1.0, **others):
    result = Result(
        metric,
        value,
        family="f",
        checkpoint=640,
        real=10,
        generated=20,
        network="n",
        checksum="c",
        data="idx:sets",
        versions={"jax": "1"},
    )
    place = {
        "row": row,
        "table": "t",
        "command": f"python {row}",
        "seconds": 600.4,
        "device": "cpu",
        "cores": 2,
    }
    return {**place, "which": which, **json.loads(result.to_json()), **others}


PAGE = "before\n<!-- quality: t -->\nold\n<!-- end of quality -->\nbetween\n<!-- quality: u -->\n<!-- end of quality -->\nafter\n"


def test_tables_are_written_between_their_markers(tmp_path):
    lines = [
        line(value=9.0),
        line(value=3.14159, standard_error=0.26, floor=1.5),  # of the same figure the later one
        line(metric="recall", value=0.5, floor=0.75),
        line(metric="intra_fid", subject="class 3", value=77.0),
        line(which="best"),  # the same checkpoint
        line("b", value=2.0),
        line("b", "best", value=1.0, checkpoint=320),
        line("b", "mean image", "l1", 4.0, checkpoint=None, subject="a2b"),
    ]
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    quality_tables.write(page, lines)
    text = page.read_text()
    assert text.startswith(
        "before\n<!-- quality: t -->\n| model | FID | recall | L1 | images seen | seconds |\n|---|---|---|---|---|---|\n"
    )
    body = text.split("|---|\n", 1)[1].split("\n\n")[0].split("\n")
    assert body == [
        "| a | 3.1 ± 0.3 | 50.0 % |  | 640 | 600 |",
        "| b | 2.0 |  |  | 640 | 600 |",
        "| b, best | 1.0 |  |  | 320 |  |",
        "| mean image, a2b |  |  | 4.00 |  |  |",
        "| real images, sets | 1.5 | 75.0 % |  |  |  |",
    ]
    assert "jax 1, cpu, 2 cores. Real and generated images: 10 and 20. Features: n (c)." in text
    assert (
        "```\npython a\npython b\n```\n<!-- end of quality -->\nbetween\n<!-- quality: u -->\nNot measured yet.\n<!-- end of quality -->\nafter\n"
        in text
    )
    quality_tables.write(page, lines)
    assert page.read_text() == text
    with pytest.raises(DataError, match="there is no page"):
        quality_tables.write(tmp_path / "none.md", lines)


def test_lines_are_read_or_named(tmp_path):
    path = tmp_path / "lines.jsonl"
    assert quality_tables.read(path) == []
    path.write_text(json.dumps(line(value="inf")) + "\n")
    assert quality_tables.read(path)[0]["value"] == float("inf")
    path.write_text(json.dumps(line()) + "\n{}\n")
    with pytest.raises(DataError, match="line 2"):
        quality_tables.read(path)


def test_the_best_checkpoint():
    values = {100: [3.0, 1.0], 200: [1.0, 1.0], 300: [1.0, 1.0], 400: [9.0, 9.0]}
    assert quality_tables.best(values, lower=True) == 200
    assert quality_tables.best(values, lower=False) == 400


def test_checkpoints_are_spread_and_the_last_is_there():
    assert quality.spread([10, 20, 30, 40, 47], 3) == [10, 30, 47]
    assert quality.spread([10, 20], 9) == [10, 20]
    assert quality.spread([10, 20, 30], 1) == [30]


def test_faces_are_parted_once(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for i in reversed(range(17)):
            archive.writestr(f"faces/{i:02d}.jpg", bytes([i]))
        archive.writestr("faces/notes.txt", b"")
    quality_training.split_faces(tmp_path / "all.zip", tmp_path / "work" / "parted.zip")
    with zipfile.ZipFile(tmp_path / "work" / "parted.zip") as archive:
        assert {name for name in archive.namelist() if name.startswith("test")} == {
            "test/07.jpg",
            "test/15.jpg",
        }
        assert len(archive.namelist()) == 17
        assert archive.read("test/15.jpg") == bytes([15])
    with pytest.raises(DataError, match="put the faces there"):
        quality_training.split_faces(tmp_path / "none.zip", tmp_path / "other.zip")


def test_a_command_is_stopped_when_its_time_is_over(tmp_path):
    code = "import signal, sys, time, pathlib; signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path('told').touch(), sys.exit(0))); time.sleep(60)"
    start = time.monotonic()
    script = tmp_path / "script.py"
    script.write_text(code.replace("'told'", repr(str(tmp_path / "told"))))
    assert not quality_training.call([sys.executable, str(script)], 2.0)
    assert (tmp_path / "told").exists()
    assert time.monotonic() - start < 30
    assert quality_training.call([sys.executable, "-c", ""], 30.0)
    assert not quality_training.call(
        [sys.executable, "-c", "import time; time.sleep(60)"], 1.0
    )  # dies of it, as a run that has not begun
    with pytest.raises(RunError, match="failed with status 3"):
        quality_training.call([sys.executable, "-c", "raise SystemExit(3)"], 30.0)


def test_answers_without_a_model_by_hand():
    known = np.zeros((3, 2, 2, 3), np.uint8)
    known[1], known[2] = 100, 200
    answers = np.stack([np.full((2, 2, 3), value, np.uint8) for value in (10, 20, 31)])
    train = data.from_domains("train", known, answers, independent=False)
    source = np.stack([np.full((2, 2, 3), value, np.uint8) for value in (190, 60)])
    real = data.from_domains("real", source, np.full_like(source, 25), independent=False)
    found = dict(quality_scores.predictions(train, real, "a2b"))
    np.testing.assert_array_equal(found["copying the input"], source)
    np.testing.assert_array_equal(found["mean image"], np.full_like(source, 20))
    assert found["nearest neighbour"][:, 0, 0, 0].tolist() == [31, 20]
    row = Row("pix2pix", "", 1, ("l1", "accuracy"), "maps")
    results = {
        (how, one.metric): one.value
        for how, one in quality_scores.baselines(row, train, real, None, ("a2b",))
    }
    assert results["nearest neighbour", "l1"] == 5.5
    assert results["mean image", "accuracy"] == 1.0
    assert results["copying the input", "l1"] == 100.0


def test_maps_are_read_off_translations(monkeypatch):
    """A judge that sees red pixels as class 1: half of the translated ones are right, all of the true ones."""
    names = ("#000000", "#ff0000")
    judge = judges.Judge("layout", "f" * 64, None, None, {"outputs": names, "image_size": [1, 2]})
    monkeypatch.setattr(judges, "segment", lambda judge, images: (images[..., 0] > 99).astype(int))
    b = np.array([[[[0, 0, 0], [255, 0, 0]]]] * 2, np.uint8)
    rows = {"source": Rows(np.zeros_like(b), (1, 2)), "target": Rows(b, (1, 2))}
    task = SimpleNamespace(subject="a2b", make=lambda state: [np.zeros_like(b)], **rows)
    found = {
        one.metric: one
        for one in quality_scores.map_accuracy(
            judge, task, None, Result("l1", 1.0, standard_error=2.0)
        )
    }
    assert (found["pixel_accuracy"].value, found["pixel_accuracy"].floor) == (0.5, 1.0)
    assert (found["miou"].value, found["miou"].floor) == (0.25, 1.0)
    assert found["miou"].standard_error is None


def test_specs_lose_their_folders():
    assert without_folders("idx:/home/me/mnist") == "idx:mnist"
    assert (
        without_folders("attributes:a/b/faces.zip?names={age}_*&gender=male:0,female:1")
        == "attributes:faces.zip?names={age}_*&gender=male:0,female:1"
    )
    assert without_folders("layout:/x/images,/x/maps?unknown=11") == "layout:images,maps?unknown=11"
    assert without_folders("digits") == "digits"


def test_a_row_of_one_seed_is_not_one_of_another(tmp_path, monkeypatch):
    """Baselines, which have no seed, do not count as a measurement of seed 0."""
    made, results = [], tmp_path / "lines.jsonl"
    results.write_text(
        "".join(
            json.dumps(one) + "\n"
            for one in (line("gan-fashion", seed=1), line("gan-fashion", "mean image", seed=0))
        )
    )
    monkeypatch.setattr(
        quality, "measured", lambda name, *arguments: made.append(arguments[-1]) or []
    )
    (tmp_path / "page.md").write_text(PAGE)
    for seed in (1, 0):
        quality.run(
            rows=("gan-fashion",),
            results=results,
            docs=tmp_path / "page.md",
            work=tmp_path,
            seed=seed,
        )
    assert made == [0]


def test_rivals_see_as_many_images_and_only_after_the_row_they_are_named_for(tmp_path, monkeypatch):
    """What PyTorch made, here all black, is measured as the model's images are."""
    row = Row(
        "gan --preset digits --images 9",
        "digits",
        64,
        ("fid", "recall"),
        "t",
        samples=297,
        rival="gan",
    )
    monkeypatch.setattr(quality, "ROWS", {"gan-pytorch": row})
    results, page, told = tmp_path / "lines.jsonl", tmp_path / "page.md", []
    page.write_text(PAGE)
    options = {"work": tmp_path / "work", "results": results, "docs": page}

    def pretend(command, seconds):
        told.append((command, seconds))
        out = Path(command[command.index("--out") + 1])
        out.mkdir(parents=True)
        np.savez(out / "generated.npz", image=np.zeros((297, 8, 8, 1), np.uint8))
        config = to_dict(
            gan.Config((8, 8), 1, 8, generator_hidden=(16,), discriminator_hidden=(8,))
        )
        (out / "run.json").write_text(
            json.dumps(
                {"family": "gan", "config": config, "images": 640, "steps": 5, "seconds": 1.5}
            )
        )

    monkeypatch.setattr(quality_training, "call", pretend)
    with pytest.raises(
        RunError, match="as many images as gan of seed 0, which is not measured yet"
    ):
        quality.run(**options)
    results.write_text(json.dumps(line("gan", seed=0)) + "\n")
    quality.run(**options)
    (command, seconds), *more = told
    assert more == []
    assert seconds is None
    assert command[command.index("--images") + 1] == "640"
    assert "9" not in command
    found = {
        one["metric"]: one for one in quality_tables.read(results) if one["row"] == "gan-pytorch"
    }
    assert set(found) == {"fid", "recall"}
    assert found["fid"]["value"] > 10 * found["fid"]["floor"]
    assert found["recall"]["value"] == 0 < found["recall"]["floor"]
    assert (found["fid"]["checkpoint"], found["fid"]["generated"], found["fid"]["seconds"]) == (
        640,
        297,
        1.5,
    )


def test_unknown_rows_are_refused():
    with pytest.raises(ValueError, match="there are no rows gan-faces"):
        quality.run(rows=("gan-faces",))


PIX2PIX = Row(
    "pix2pix --preset digits --images 1600",
    "paired:digits?task=outline",
    800,
    ("l1", "ssim", "kid"),
    "maps",
    judge="maps",
    size=(16, 16),
)
SMALL = {
    "gan": Row(
        "gan --preset digits --images 25600",
        "digits",
        12_800,
        ("fid", "precision"),
        "t",
        samples=297,
    ),
    "cgan": Row(
        "cgan --preset digits --images 25600",
        "digits",
        12_800,
        ("fid", "class_accuracy", "intra_fid"),
        "t",
        samples=297,
    ),
    "pix2pix": PIX2PIX,
    "cyclegan": PIX2PIX._replace(
        command="cyclegan --preset outline --images 1600", metrics=("l1", "kid")
    ),
    "stargan": Row(
        "stargan --preset digits --images 1600",
        "attributes:digits",
        800,
        ("attribute_accuracy", "reconstruction_l1", "kid"),
        "t",
        judge="attributes",
    ),
    "spade": Row(
        "spade --preset digits --images 1600",
        "layout:digits",
        800,
        ("miou", "pixel_accuracy", "kid"),
        "t",
        judge="layout",
    ),
}
TOOLS = {
    "attributes": ("train_attributes --image-size 16 16 --epochs 1 --no-flip", "attributes:digits"),
    "layout": ("train_segmenter --image-size 16 16 --epochs 1 --no-flip", "layout:digits"),
    "maps": (
        "train_segmenter --image-size 16 16 --epochs 1 --no-flip",
        "paired:digits?task=outline",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_row_from_end_to_end(name, tmp_path, monkeypatch, capsys):
    """Rows of each kind on the digits and their views: judges are trained, the model is, figures come with what they depend on, and are not made twice."""
    row = SMALL[name]
    monkeypatch.setattr(quality, "ROWS", {name: row})
    monkeypatch.setattr(quality_training, "JUDGES", TOOLS)
    page, results = tmp_path / "page.md", tmp_path / "lines.jsonl"
    page.write_text(PAGE.replace(": u ", ": maps "))
    options = {"work": tmp_path / "work", "results": results, "docs": page}
    quality.run(**options)
    lines = quality_tables.read(results)
    models = [line for line in lines if line["which"] in ("last", "best")]
    judged = {"pixel_accuracy", "miou"} if row.table == "maps" else set()
    assert {line["metric"] for line in models} == set(row.metrics) | judged
    assert all(
        np.isfinite(line["value"]) and line["checkpoint"] > 0 and line["fingerprint"]
        for line in models
    )
    assert {line["checkpoint"] for line in models if line["which"] == "last"} == {
        int(row.command.split()[-1])
    }
    last = next(
        line for line in models if line["which"] == "last" and line["metric"] in ("fid", "kid")
    )
    assert last["floor"] < last["value"]
    plain = {line["which"] for line in lines} - {"last", "best"}
    assert plain == (
        {"copying the input", "mean image", "nearest neighbour"} if row.table == "maps" else set()
    )
    assert f"| {name}" in page.read_text()
    capsys.readouterr()
    quality.run(**options)
    assert "measured already" in capsys.readouterr().out
    assert quality_tables.read(results) == lines
