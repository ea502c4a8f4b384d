"""What evaluations say in words, and what the report shows of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from jaxgan.metrics.result import Result, append_results
from jaxgan.records.log import Log
from jaxgan.report import diagnostics, hints
from jaxgan.report import writing as report


def result(metric, value, floor=None, subject="", checkpoint=100, **more):
    return Result(metric, value, floor=floor, subject=subject, checkpoint=checkpoint, **more)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (
            result("diversity", 0.1, 0.4),
            "0.25 times as unlike each other as real ones: too little variety (mode collapse)",
        ),
        (
            result("diversity", 0.8, 0.4, "a2b"),
            "images (a2b) are 2.00 times as unlike each other as real ones: noise",
        ),
        (result("memorisation", 0.01, 0.1), "0.10 times as far from their nearest training images"),
        (
            result("colour_correlation", -0.8, None, "a2b"),
            "dark where their input is light (correlation of brightness -0.80)",
        ),
        (
            result("colour_correlation", -0.8, 0.9, "b2a"),
            "(correlation of brightness -0.80, of true ones 0.90)",
        ),
        (result("colour_correlation", 0.9, -1.0), "these are not (0.90): the colours are inverted"),
        (
            result("class_accuracy", 0.12, 0.98),
            "12% of generated images are read as the class asked for, 98% of real ones",
        ),
        (
            result("fid", 3.1, 3.0, real=90, generated=80, floor_counts=(90, 80)),
            "fid is 3.1, that of real images 3: what is left is mostly chance",
        ),
        (
            result("kid", 1e-3, -1e-4, standard_error=1e-3),
            "kid is 0.001, that of real images -0.0001: what is left is mostly chance",
        ),
    ],
)
def test_each_finding_is_a_sentence_with_what_to_try(one, words):
    (said,) = diagnostics.sentences([one])
    assert words in said


@pytest.mark.parametrize(
    "one",
    [
        result("diversity", 0.35, 0.4),
        result("memorisation", 0.09, 0.1),
        result("colour_correlation", 0.5),
        result("colour_correlation", -0.9, -1.0),
        result("class_accuracy", 0.95, 0.98),
        result("class_accuracy", 0.1, 0.98, "class 3"),
        result("fid", 30.0, 3.0, real=90, generated=80, floor_counts=(90, 80)),
        result(
            "fid", 3.1, 3.0, real=90, generated=80, floor_counts=(45, 45)
        ),  # half the images: as much higher by that alone
        result("kid", 0.1, -0.01, standard_error=0.02),
    ],
)
def test_what_is_as_it_should_be_is_not_mentioned(one):
    assert diagnostics.sentences([one]) == []


def test_precision_without_recall_is_named_and_the_other_way_round():
    assert (
        "variety is missing"
        in diagnostics.sentences([result("precision", 0.8), result("recall", 0.1)])[0]
    )
    assert (
        "unlike any real one"
        in diagnostics.sentences([result("precision", 0.1), result("recall", 0.8)])[0]
    )


def test_only_the_last_evaluation_counts():
    old, new = (
        result("diversity", 0.1, 0.4, checkpoint=100),
        result("diversity", 0.4, 0.4, checkpoint=200),
    )
    assert diagnostics.sentences([old, new]) == []
    assert diagnostics.last(
        [old, result("fid", 1.0, checkpoint=200), new, result("fid", 2.0, checkpoint=200)]
    ) == [result("fid", 2.0, checkpoint=200), new]


def test_the_report_shows_the_last_evaluation_its_cost_and_the_best(tmp_path):
    with Log(tmp_path, tensorboard=False, progress=False) as log:
        for images in (100, 200):
            log.metrics(
                images, images, {"d_loss": 1.0, "eval/fid": 40.0 - images / 10}, images / 10
            )
    common = {
        "data": "digits",
        "split": "test",
        "network": "tiny",
        "resize": "linear to 4",
        "generated": 50,
        "real": 297,
    }
    some = [
        result("fid", 20.0, 3.25, checkpoint=200, **common),
        result("diversity", 0.1, 0.4, checkpoint=200, **common),
    ]
    append_results(
        tmp_path / "evaluations.jsonl", [*some, result("evaluation_seconds", 0.5, checkpoint=200)]
    )
    (tmp_path / "best.json").write_text(json.dumps({"images": 200, "metric": "fid", "value": 20.0}))
    page = report.write(tmp_path).read_text()
    assert "At 200 images. Evaluating took 0.5 s, 2.5% of the time." in page
    assert "Against digits, split test, seed 0, by tiny (linear to 4)." in page
    assert "Best by fid: the checkpoint at 200 images, 20." in page
    assert "<tr><th>fid</th><td>20</td><td></td><td>3.25</td><td>50 and 297</td></tr>" in page
    assert "too little variety (mode collapse)" in page
    assert "eval/fid" in page


def series(values):
    return np.arange(len(values), dtype=float), np.asarray(values, float)


def test_curves_of_evaluations_are_judged_by_their_names():
    worse = series([50, 20, 30, 40.0])
    assert any(
        "eval/fid_a2b was best (20)" in said
        for said in hints.find_hints({"eval/fid_a2b": worse}, series([]))
    )


def test_a_discriminator_that_adaptive_augmentation_does_not_hold_is_named():
    said = hints.find_hints({"real_sign": series([0.9] * 60)}, series([]))
    assert any("learns the training images by heart" in one for one in said)
    assert not any(
        "by heart" in one for one in hints.find_hints({"real_sign": series([0.6] * 60)}, series([]))
    )


def test_each_figure_stands_below_the_manner_in_which_it_was_measured():
    same = {"data": "digits", "split": "test", "seed": 0}
    results = [
        result("fid", 1.0, **same, truncation=0.7),
        result("kid", 2.0, **same),
        result("precision", 0.5, **same),
        result("is", 3.0, data="folder:x", split="all", seed=4),
    ]
    page = diagnostics.section(results, 0.0)
    heads = [
        "split test, seed 0, truncation 0.7.",
        "Against digits, split test, seed 0.",
        "Against folder:x, split all, seed 4.",
    ]
    places = [
        page.index(text)
        for text in (heads[0], "fid", heads[1], "kid", "precision", heads[2], "<th>is</th>")
    ]
    assert places == sorted(places)
    assert page.count("<table>") == 3
