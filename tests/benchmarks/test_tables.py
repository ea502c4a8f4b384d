"""The page of figures is what the command makes of the results files, and says what is missing."""

from __future__ import annotations

import json

import pytest

from benchmarks import record, tables


def test_the_page_is_what_the_command_writes():
    assert tables.PAGE.read_text() == tables.page(record.RESULTS), (
        "run python -m benchmarks.tables: benchmarks/README.md is not of these results"
    )


def line(name, milliseconds, **where):
    times = {
        f"{form}_{part}_ms": milliseconds
        for form in ("vmap", "alone")
        for part in ("median", "p10", "p90")
    }
    ratios = {"ratio": 2.0, "ratio_p10": 1.5, "ratio_p90": 2.5}
    where = {
        "platform": "cpu",
        "device": "cpu",
        "cpu": "Model",
        "cores": 2,
        "jax": "0.10.2",
        "commit": "abc",
        "date": "2026-01-02 03:04",
        "load": 0.5,
    } | where
    return json.dumps(
        {
            "name": name,
            "members": 8,
            "steps": 5,
            "batch": 64,
            **times,
            **ratios,
            "provenance": where,
        }
    )


@pytest.fixture
def written(tmp_path):
    def write(name, *lines):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
        tables.main(["--results", str(tmp_path), "--out", str(tmp_path / "README.md")])
        return (tmp_path / "README.md").read_text()

    return write


def section(page, title):
    return page[page.index(f"## {title}") :].split("\n## ")[0]


def test_the_newest_line_of_each_device_is_shown(written):
    gpu = {"platform": "gpu", "device": "NVIDIA X"}
    lines = line("a", 1234.5), line("a", 0.12345, **gpu), line("a", 56.789)
    shown = section(written("population", *lines), "Populations")
    assert shown.count("| 8 |") == 2
    assert (
        "| 8 | 56.8 (56.8 to 56.8) | 56.8 (56.8 to 56.8) | 2.00 (1.50 to 2.50) | - | 0.10.2 | abc | 2026-01-02 03:04 | 0.5 |"
        in shown
    )
    assert (
        shown.index("### CPU, Model, 2 cores")
        < shown.index("56.8")
        < shown.index("### NVIDIA X")
        < shown.index("0.123")
    )
    assert "GPU or TPU" not in shown


def test_what_is_missing_is_named(written):
    page = written("population", line("other", 1.0))
    assert "Not measured here: cgan of embed_population." in section(page, "Populations")
    assert section(page, "Populations").rstrip().endswith("Not measured on a GPU or TPU.")
    assert section(page, "Step time").rstrip().endswith("Not measured.")


def test_files_without_a_table_of_their_own_show_their_fields(written):
    page = written("some_thing", line("a", 1.5), line("b", 2.5))
    assert "| name | members | steps | batch | vmap_median_ms |" in section(page, "Some thing")
    assert "| a | 8 | 5 | 64 | 1.5 |" in section(page, "Some thing")


def test_rivals_have_a_table(tmp_path):
    times = {
        "repetitions": 30,
        "first_s": 12.34,
        "median_ms": 100.4,
        "p10_ms": 90.0,
        "p90_ms": 1100.0,
    }
    ratios = {"ratio": 1.25, "ratio_p10": 1.1, "ratio_p90": 1.5}
    sides = {
        "jaxgan": times,
        "pytorch": times | {"median_ms": 125.5},
        "pytorch-compiled": times | {"median_ms": 150.4},
    }
    asked = {
        "flops": 3e9,
        "bytes": 2e9,
        "peak_flops_per_s": 1e11,
        "peak_bytes_per_s": 5e10,
    }  # 30 and 40 ms
    rival = {
        "name": "dcgan",
        "image_size": [64, 64],
        "fastest": "pytorch",
        **ratios,
        **asked,
        "sides": sides,
    }
    record.append(
        "against_pytorch",
        rival,
        {"platform": "cpu", "batch": 32, "dtype": "float32", "torch": "2.13.0"},
        tmp_path,
    )
    record.append(
        "against_pytorch",
        rival | {"name": "dcgan-64-batch-16"},
        {"platform": "gpu", "device": "A card", "batch": 16},
        tmp_path,
    )
    shown = section(tables.page(tmp_path), "Against PyTorch")
    row = "| dcgan | 64x64 | 32 | float32 | 1.25 (1.10 to 1.50) | 100 (90 to 1,100) | 12.3 | 126 (90 to 1,100) | 12.3 "
    assert row + "| pytorch | 126 | - | 150 | 3 | 40% | - | - | 30 | 2.13.0 |" in shown
    on_cpu, elsewhere = shown.split("### A card")
    assert "Not measured here: cgan-28-batch-100, dcgan-64-batch-16," in on_cpu
    assert "Not measured here: cgan-28-batch-100, dcgan-64-batch-128," in elsewhere
    record.append(
        "against_pytorch",
        rival | {"left_out": ["pytorch-compiled"]},
        {"platform": "cpu", "batch": 32, "dtype": "float32"},
        tmp_path,
    )
    both = [
        line
        for line in section(tables.page(tmp_path), "Against PyTorch").splitlines()
        if line.startswith("| dcgan | 64x64 | 32 ")
    ]
    assert ["pytorch-compiled" in line for line in both] == [False, True], (
        "a ratio to fewer rivals does not take the place of one to all"
    )
