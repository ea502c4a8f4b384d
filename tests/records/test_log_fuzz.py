"""metrics.jsonl is read back when a run resumes, whoever wrote it: every line is used as it stands or passed over, and training can go on."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan.errors import RunError
from jaxgan.records.log import Log, read_metrics
from jaxgan.report import writing as report

GOOD = {"images": 64, "step": 1, "metrics": {"d_loss": 0.5}, "seconds": 1.0}
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from([10**400, -(2**63), "NaN", "1e999"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=4,
)
LINES = st.one_of(
    st.binary(max_size=60),
    st.builds(json.dumps, VALUES).map(str.encode),
    st.builds(
        lambda key, value: json.dumps({**GOOD, key: value}).encode(),
        st.sampled_from([*GOOD]),
        VALUES,
    ),
    st.builds(lambda value: json.dumps({**GOOD, "metrics": {"d_loss": value}}).encode(), VALUES),
    st.integers(0, len(json.dumps(GOOD))).map(lambda cut: json.dumps(GOOD).encode()[:cut]),
)


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(st.lists(LINES, max_size=4), st.sampled_from([0, 64, 10_000]))
def test_any_metrics_file_is_read_or_passed_over(lines, resume_images):
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        content = b"\n".join([*lines, json.dumps(GOOD).encode(), b""])
        (run / "metrics.jsonl").write_bytes(content)
        (run / "evaluations.jsonl").write_bytes(content)
        for line in read_metrics(run):
            assert 0 <= line["images"] < 2**31
            assert 0 <= line["seconds"] < math.inf
            assert all(isinstance(value, float) for value in line["metrics"].values())
        with Log(run, resume_images, tensorboard=False, progress=False) as log:
            assert math.isfinite(log.seconds)
            log.metrics(20_000, 2, {"d_loss": 0.25}, log.seconds + 1)
        kept = read_metrics(run)
        assert (GOOD in kept) == (resume_images >= 64)
        assert all(line["images"] <= resume_images for line in kept[:-1])
        assert "<html" in report.write(run).read_text()


@pytest.mark.parametrize(
    "line",
    [
        "[" * 100_000,
        '{"images": Infinity, "step": 1, "metrics": {}, "seconds": 1}',
        '{"images": 64, "step": 1, "metrics": {}, "seconds": NaN}',
        '{"images": 64, "step": 1, "metrics": {}, "seconds": 1e400}',
        '{"images": 64, "step": 1, "metrics": {}, "seconds": -1}',
        '{"images": 64.5, "step": 1, "metrics": {}, "seconds": 1}',
        '{"images": 9e30, "step": 1, "metrics": {}, "seconds": 1}',
        '{"images": 9999999999, "step": 1, "metrics": {}, "seconds": 1}',
        '{"images": true, "step": 1, "metrics": {}, "seconds": 1}',
        '{"images": 64, "step": 1, "metrics": {"a": ' + "9" * 400 + '}, "seconds": 1}',
        '{"images": 64, "step": 1, "metrics": {"a": "1_0"}, "seconds": 1}',
        '{"images": 64, "step": 1, "metrics": {"\\ud800": 1}, "seconds": 1}',
        '{"images": 64, "step": 1, "metrics": [1], "seconds": 1}',
    ],
)
def test_lines_that_no_run_writes_are_passed_over(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text(line + "\n" + json.dumps(GOOD) + "\n")
    assert read_metrics(tmp_path) == [GOOD]
    with Log(tmp_path, 64, tensorboard=False, progress=False) as log:
        assert log.seconds == 1.0
    assert (tmp_path / "metrics.jsonl").read_text() == json.dumps(GOOD) + "\n"


def test_a_line_separator_in_a_name_does_not_break_the_line(tmp_path):
    line = {**GOOD, "metrics": {"a\u2028b\x85": 1.0}}
    (tmp_path / "metrics.jsonl").write_text(
        json.dumps(line, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    assert read_metrics(tmp_path) == [line]


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(RunError, match=r"cannot read .*metrics.jsonl: Is a directory"):
        read_metrics(tmp_path)
    with pytest.raises(RunError, match="Is a directory"):
        Log(tmp_path, tensorboard=False)
