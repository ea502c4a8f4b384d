"""The benchmark of the input pipeline measures what it says: synthetic sets fit, waiting is seen, lines are whole."""

from __future__ import annotations

import time

import jax
import numpy as np
import pytest

from benchmarks import cases, input_pipeline, record, tables
from jaxgan import data
from jaxgan.run import feed
from tests import tiny_family
from tests.families_under_test import CASES

SMALLEST = cases.Case("smallest", tiny_family, tiny_family.Config(), 8, 1)


def tiny(name, batch_size=8):
    return cases.Case(f"{name} tiny", CASES[name].family, CASES[name].config, batch_size, 1)


@pytest.mark.parametrize("name", CASES)
def test_synthetic_sets_fit(name, tmp_path):
    case = tiny(name)
    dataset = input_pipeline.synthetic(case, 3, "mapped", tmp_path)
    spec = case.family.batch_spec(case.config, case.batch_size)
    assert set(dataset.arrays) == set(spec)
    batch = data.prepare(
        {leaf: np.asarray(array[:8]) for leaf, array in dataset.arrays.items()},
        jax.random.key(0),
        0,
    )
    for leaf, wanted in spec.items():
        margin = 3 if len(wanted.shape) >= 3 else 0
        assert batch[leaf].shape[1:3] == tuple(side + margin for side in wanted.shape[1:3])
        assert np.asarray(batch[leaf]).std() > 0


def test_images_are_smooth_and_decode_to_nearly_themselves():
    image = input_pipeline.pictures(2, (64, 48, 3))[1]
    assert np.abs(np.diff(image.astype(int), axis=0)).mean() < 16  # of independent pixels it is 85
    again = input_pipeline.images.decode(input_pipeline.encoded(image))
    assert np.abs(again.astype(int) - image).mean() < 4


def shown(page, title):
    return page[page.index(f"## {title}") :].split("\n## ")[0]


def test_every_source_is_measured_and_shown(tmp_path):
    pytest.importorskip("grain")
    lines = list(input_pipeline.sources(12, (8, 8), 4, 0.05))
    assert [line["source"] for line in lines] == ["first use", "resident", "mapped", "stream"]
    for line in lines:
        assert line["shown"] / line["images_per_s"] == pytest.approx(
            line["seconds"], abs=1e-3
        )  # both are rounded
        record.append("input_pipeline", line, {"platform": "cpu"}, tmp_path)
    page = tables.page(tmp_path)
    for line, count in zip(lines, (12, 4, 4, 4), strict=True):
        assert (
            f"| {line['source']} | 8x8 | 12 | {count} | {tables.digits(line['images_per_s'])}".split(
                "."
            )[0]
            in shown(page, "Sources of data")
        )
    assert "| stream |" not in shown(page, "Waiting for data")


def test_a_slow_source_shows(monkeypatch):
    plain = feed._gather

    def slow(arrays, rows):
        time.sleep(0.05)
        return plain(arrays, rows)

    shares = []
    for gather in (plain, slow):
        monkeypatch.setattr(feed, "_gather", gather)
        shares.append(input_pipeline.waits(SMALLEST, data.Augment(), "mapped", 0.3))
    assert shares[1]["wait_share"] > 0.8
    assert shares[1]["wait_ms_per_step"] > 30 > shares[0]["wait_ms_per_step"]


def test_the_command_appends_whole_lines(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cases, "case", lambda family, *rest: SMALLEST)
    input_pipeline.main(
        [
            "waits",
            "--family",
            "gan",
            "--source",
            "resident",
            "--seconds",
            "0.1",
            "--out",
            str(tmp_path),
        ]
    )
    (line,) = record.read(tmp_path / "input_pipeline.jsonl")
    assert line["name"] == "smallest"
    page = tables.page(tmp_path)
    assert f"| smallest | resident | 4x4 | 8 | {tables.digits(line['ms_per_step'])} |" in shown(
        page, "Waiting for data"
    )
    assert "smallest" not in shown(page, "Sources of data")
    assert line["provenance"]["config"] == record.config_hash(SMALLEST.config)
    assert "smallest" in capsys.readouterr().out
    with pytest.raises(SystemExit) as status:
        input_pipeline.main(["sources", "--images", "0"])
    assert status.value.code == 2
