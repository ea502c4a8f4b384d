"""A figure keeps what it depends on, and is compared with its like only."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from jaxgan.errors import RunError
from jaxgan.metrics import result
from jaxgan.metrics.result import Result, compare

ONE = Result(
    "fid", 12.5, 0.1, "a2b", 3.0, "inception", "2015aaaa", "tf1 bilinear to 299", 100, 50, "test", 7, 0.7,
    "unpaired:maps", "abc", "jaxgan.families.cyclegan", 12800, {"jaxgan": "0.1.0", "jax": "0.10.2"},
)  # fmt: skip


def test_lines_of_json_come_back_as_they_were():
    line = ONE.to_json()
    assert "\n" not in line
    assert json.loads(line)["truncation"] == 0.7
    assert Result.from_json(line) == ONE
    assert Result.from_json(json.dumps({**json.loads(line), "of a later version": 1})) == ONE
    for value in (float("inf"), float("nan")):
        back = Result.from_json(dataclasses.replace(ONE, value=value).to_json())
        assert back.value == value or (math.isnan(back.value) and math.isnan(value))


def changed(**fields):
    return json.dumps({**json.loads(ONE.to_json()), **fields})


OTHERS = [
    {"real": "many"},
    {"seed": True},
    {"network": 3},
    {"floor_counts": ["a"]},
    {"floor_counts": 3},
    {"versions": []},
    {"value": 10**400},
    {"split": None},
]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "7",
        '{"value": 3}',
        '{"metric": "fid", "value": "much"}',
        "[" * 100_000,
        *(changed(**fields) for fields in OTHERS),
    ],
    ids=lambda line: line[:10] + line[-20:],
)
def test_other_lines_are_refused(line):
    with pytest.raises(ValueError, match="is no result of an evaluation"):
        Result.from_json(line)


def test_figures_of_like_provenance_are_compared():
    other = dataclasses.replace(
        ONE,
        value=10.0,
        subject="b2a",
        family="jaxgan.families.stargan",
        checkpoint=99,
        data="unpaired:moved",
        floor=None,
    )
    assert compare(ONE, other) == -2.5
    assert (
        compare(ONE, dataclasses.replace(other, versions={"jaxgan": "0.1.0", "jax": "0.12.0"}))
        == -2.5
    )


CHANGES = {
    "metric": "kid", "network": "vgg16", "checksum": "other", "resize": "none", "real": 99, "generated": 51, "split": "val", "seed": 8, "truncation": None,
    "fingerprint": "abd", "versions": {"jaxgan": "0.2.0"},
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_figure_measured_in_another_way_is_refused_by_the_name_of_what_differs(name):
    told = "jaxgan" if name == "versions" else name
    with pytest.raises(
        ValueError, match=rf"not measured alike \({told} [^;]+\): evaluate both again"
    ):
        compare(ONE, dataclasses.replace(ONE, **{name: CHANGES[name]}))


def test_every_difference_is_named():
    with pytest.raises(
        ValueError, match=r"network 'inception' and 'vgg16'; real 100 and 99; seed 7 and 8"
    ):
        compare(ONE, dataclasses.replace(ONE, network="vgg16", real=99, seed=8))


def test_files_of_results_are_added_to_and_read_without_their_torn_end(tmp_path):
    path = tmp_path / "evaluations.jsonl"
    assert result.read_results(path) == []
    result.append_results(path, [ONE])
    result.append_results(path, [dataclasses.replace(ONE, value=1.0)])
    with open(path, "a") as file:
        file.write('{"metric": "fi')
    assert [one.value for one in result.read_results(path)] == [12.5, 1.0]
    with pytest.raises(RunError, match="cannot write"):
        result.append_results(tmp_path / "no" / "such.jsonl", [ONE])
