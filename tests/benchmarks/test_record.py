"""A line says what it was measured on, and files of lines are read back as they were written."""

from __future__ import annotations

import json

import jax
import pytest

from benchmarks import record
from jaxgan import dcgan, gan
from jaxgan.errors import DataError


def test_a_line_says_what_it_was_measured_on(tmp_path):
    config = gan.Config((8, 8))
    where = record.provenance(config, seed=3, batch=16)
    record.append("times", {"median_ms": 1.5}, where, tmp_path)
    record.append("times", {"median_ms": 2.5}, where, tmp_path)
    lines = record.read(tmp_path / "times.jsonl")
    assert [line["median_ms"] for line in lines] == [1.5, 2.5]
    found = lines[0]["provenance"]
    assert found == json.loads(json.dumps(where))
    assert (
        found["jax"],
        found["device"],
        found["devices"],
        found["seed"],
        found["batch"],
        found["dtype"],
    ) == (jax.__version__, "cpu", 1, 3, 16, "float32")
    assert found["cores"] >= 1
    assert found["cpu"]
    assert set(found) == {
        *(
            "jax",
            "jaxlib",
            "python",
            "platform",
            "device",
            "devices",
            "cpu",
            "cores",
            "load",
            "matmul_precision",
            "xla_flags",
        ),
        *("commit", "date", "command", "seed", "dtype", "batch", "config"),
    }


def test_config_hash_is_of_the_values():
    one = dcgan.Config((32, 32))
    assert record.config_hash(one) == record.config_hash(dcgan.Config((32, 32)))
    assert record.config_hash(one) != record.config_hash(dcgan.Config((32, 32), generator_width=63))
    assert record.provenance(dcgan.Config((32, 32), dtype="bfloat16"))["dtype"] == "bfloat16"


def test_a_damaged_line_is_named(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"a": 1, "cores": 2}\n{"a": \n')
    with pytest.raises(DataError, match=r"x\.jsonl, line 2, is not a JSON object"):
        record.read(tmp_path / "x.jsonl")


def test_lines_from_before_provenance_are_read(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"a": 1, "cores": 2, "jax": "0.10.2"}\n')
    assert record.read(tmp_path / "x.jsonl")[0]["provenance"] == {"cores": 2, "jax": "0.10.2"}
    assert record.read(tmp_path / "none.jsonl") == []


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        record.append("x", {}, {}, tmp_path / "file")


def test_a_copy_without_its_history_may_be_told_its_commit(monkeypatch):
    def no_git(*_):
        raise OSError

    monkeypatch.setattr(record, "_git", no_git)
    for told, found in (("0123456789ab", "0123456789ab"), (None, "unknown")):
        record.commit.cache_clear()
        monkeypatch.delenv("JAXGAN_COMMIT", raising=False)
        if told:
            monkeypatch.setenv("JAXGAN_COMMIT", told)
        assert record.commit() == found
    record.commit.cache_clear()
