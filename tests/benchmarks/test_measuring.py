"""Every benchmark, on the smallest of cases: what it records is whole and consistent."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from benchmarks import cases, compile_time, population, record, scaling, step_time
from tests.benchmarks.test_cases import tiny

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def keep_compiled():
    """Sets the folder of the persistent cache, which all tests share otherwise."""
    before = jax.config.jax_compilation_cache_dir
    yield lambda folder: jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_compilation_cache_dir", before)


def test_step_time_gives_no_compile_seconds_beside_a_persistent_cache(tmp_path, keep_compiled):
    """They may be those of reading."""
    keep_compiled(str(tmp_path))
    found = step_time.measure(step_time.Form(tiny("gan")), repetitions=3)
    assert found["compile_s"] is None
    assert step_time.row(found)


def test_step_time(tmp_path, keep_compiled):
    keep_compiled(None)
    found = step_time.measure(
        step_time.Form(tiny("gan")), repetitions=3, peak={"flops": 2e9, "bytes": 1e9}
    )
    assert found["repetitions"] >= 3
    assert 0 < found["min_ms"] <= found["p10_ms"] <= found["median_ms"] <= found["p90_ms"]
    assert found["images_per_s"] == pytest.approx(16e3 / found["median_ms"], rel=1e-3)
    assert found["flops_per_s"] == pytest.approx(
        1e3 * found["flops"] / found["median_ms"], rel=1e-3
    )
    assert found["peak_share"] == pytest.approx(found["flops_per_s"] / 2e9, rel=1e-2)
    assert found["copy_share"] == pytest.approx(
        1e3 * found["bytes"] / found["median_ms"] / 1e9, rel=1e-2
    )
    assert found["flops_ratio"] == pytest.approx(found["flops_compiled"] / found["flops"], abs=1e-3)
    assert 0.5 < found["flops_ratio"] < 3
    assert found["bytes_ratio"] > 0.5
    assert found["argument_bytes"] > 16 * 8 * 8 * 4
    assert found["compile_s"] > 0
    record.append("step_time", found, record.provenance(), tmp_path)
    assert "gan tiny" in step_time.row(record.read(tmp_path / "step_time.jsonl")[0])


def test_step_time_of_programs_compiled_beside_each_other(tmp_path, keep_compiled, monkeypatch):
    """All are compiled before the first is timed; how long that took is not said."""
    keep_compiled(None)
    done = []
    measure, compiled = step_time.measure, jax.stages.Lowered.compile
    monkeypatch.setattr(step_time, "measured_peak", lambda dtype: {"flops": 1e9, "bytes": 1e9})
    monkeypatch.setattr(
        step_time, "measure", lambda *given: done.append("timed") or measure(*given)
    )
    monkeypatch.setattr(
        jax.stages.Lowered,
        "compile",
        lambda lowered: (compiled(lowered), done.append("compiled"))[0],
    )
    step_time.main(
        [
            "--family",
            "gan",
            "--batch",
            "8",
            "4",
            "--together",
            "2",
            "--repetitions",
            "1",
            "--out",
            str(tmp_path),
        ]
    )
    lines = record.read(tmp_path / "step_time.jsonl")
    assert [
        (line["name"], line["images"], line["compile_s"], line["together"]) for line in lines
    ] == [("gan digits", n, None, 2) for n in (8, 4)]
    assert done == ["compiled", "compiled", "timed", "timed"]


@pytest.mark.parametrize(
    ("kind", "devices", "steps"), [("pmap", 2, 1), ("scan", 1, 2), ("jit", 2, 1)]
)
@pytest.mark.slow
def test_step_time_of_other_forms(kind, devices, steps):
    found = step_time.measure(step_time.Form(tiny("gan"), kind, devices, steps), repetitions=2)
    assert found["flops_ratio"] is None
    assert found["images_per_s"] == pytest.approx(16e3 / found["median_ms"], rel=1e-3)
    assert found["steps_per_call"] == steps
    assert step_time.row(found).split()[2:4] == [kind + ("2" if kind == "scan" else ""), "16"]


def test_commands_refuse_in_one_sentence(tmp_path, capsys):
    for command, arguments, message in (
        (step_time, ["--family", "dcgan", "--preset", "nothing"], "preset must be one of 'digits'"),
        (step_time, ["--family", "nothing"], "family must be one of 'gan'"),
        (compile_time, ["--presets", "nothing"], "no preset of gan, cgan"),
        (population, ["--members", "0"], "must be at least 1"),
        (scaling, ["--devices", "0"], "--devices must be at least 1"),
    ):
        with pytest.raises(SystemExit) as left:
            command.main([*arguments, "--out", str(tmp_path)])
        assert left.value.code == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_scaling():
    """The batch of each device stays; losses are those of one device; both forms are there; efficiencies are of the measured times."""
    lines = scaling.measure(tiny("gan", 4), [1, 2], repetitions=2)
    assert [(line["parallel"], line["devices"], line["images"]) for line in lines] == [
        ("mesh", 1, 4),
        ("pmap", 1, 4),
        ("mesh", 2, 8),
        ("pmap", 2, 8),
    ]
    assert all(line["difference"] < 1e-4 for line in lines)
    one, two = (
        next(line for line in lines if (line["parallel"], line["devices"]) == ("mesh", count))
        for count in (1, 2)
    )
    assert one["weak_efficiency"] == 1
    assert two["weak_efficiency"] == pytest.approx(
        2 * one["median_ms"] / two["median_ms"], abs=0.01
    )
    assert [line.get("split") for line in lines[:2]] == [1, None]
    assert two["least_split"] < two["split"] <= 2
    assert two["ratio"] == pytest.approx(two["median_ms"] / lines[3]["median_ms"], abs=0.01)


def test_difference_of_losses():
    assert scaling.difference(
        {"a_loss": 2.0, "b_loss": 3.3}, {"a_loss": 2.0, "b_loss": 3.0}
    ) == pytest.approx(0.1)


@pytest.mark.slow
def test_population():
    found = population.measure(2, 2, 8, repetitions=2)
    assert found["ratio"] == pytest.approx(
        found["alone_median_ms"] / found["vmap_median_ms"], rel=0.01
    )
    assert found["vmap_repetitions"] == 2


def test_programs_kept_by_compile_time_are_those_that_step_time_runs(tmp_path):
    assert compile_time.measure(tiny("gan"), tmp_path)["from_cache"]
    with compile_time.cache(tmp_path), compile_time.cache_hits() as hits:
        step_time.measure(step_time.Form(tiny("gan")), repetitions=1)
    assert hits
    assert len(list(tmp_path.glob("jit_train_step-*-cache"))) == 1


def test_compile_time_keeps_programs_in_new_folders_only(tmp_path, capsys):
    another = tmp_path / "another"
    another.touch()
    for place in (tmp_path, another):
        with pytest.raises(SystemExit):
            compile_time.main(["--families", "gan", "--presets", "digits", "--cache", str(place)])
        assert "is not an empty folder" in capsys.readouterr().err


def test_compile_time_reads_from_the_cache():
    found = compile_time.measure(tiny("gan"))
    assert found["from_cache"]
    assert 0 < found["cached_s"] < found["compile_s"]


def test_presets_that_differ_in_schedules_only_are_compiled_once():
    names = [case.name for case in compile_time.different(["cyclegan", "cgan"], [])]
    assert names == [
        "cyclegan digits",
        "cyclegan outline",
        "cyclegan maps",
        "cgan digits",
        "cgan mnist",
        "cgan paper",
        "cgan cifar10",
    ]


MEASURED = {
    "parallel": "jit", "steps_per_call": 1, "images": 16, "compile_s": 1.0, "median_ms": 2.0, "p10_ms": 1.5, "p90_ms": 12345.0, "images_per_s": 8000.0,
    "flops": 10**9, "flops_ratio": 1.0, "flops_per_s": 5e11, "peak_share": 0.5, "bytes": 10**7, "bytes_ratio": None, "temp_bytes": None,
}  # fmt: skip


COUNTING = """
import runpy, sys
import jax
events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
runpy.run_module("experiments.gan", run_name="__main__")
print("hits", events.count("/jax/compilation_cache/cache_hits"))
"""


@pytest.mark.slow
def test_a_second_start_with_the_compilation_cache_reads_from_it(tmp_path):
    hits, kept = [], []
    cache = tmp_path / "cache"
    for name in ("first", "second"):
        small = [
            "--images",
            "256",
            "--batch-size",
            "128",
            "--steps-per-call",
            "1",
            "--devices",
            "1",
        ]
        command = [
            sys.executable,
            "-c",
            COUNTING,
            "--run",
            str(tmp_path / name),
            "--compilation-cache",
            str(cache),
            *small,
        ]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0, ended.stderr
        hits.append(int(ended.stdout.rsplit("hits ", 1)[1]))
        kept.append(len(list(cache.glob("*-cache"))))
    assert kept[0] >= 1
    assert hits == [0, kept[0]]


def test_suites_print_a_table_and_append(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(step_time, "measured_peak", lambda dtype: {"flops": 1e9, "bytes": 1e9})
    monkeypatch.setattr(step_time, "measure", lambda form, *_: MEASURED | {"name": form.case.name})
    monkeypatch.setattr(step_time.jax, "clear_caches", lambda: None)
    step_time.main(["--batch", "4", "--out", str(tmp_path)])
    lines = record.read(tmp_path / "step_time.jsonl")
    assert [line["name"] for line in lines] == [f"{family} digits" for family in cases.FAMILIES]
    assert {line["provenance"]["batch"] for line in lines} == {4}
    table = capsys.readouterr().out.splitlines()[2:]
    assert [row.split()[0] for row in table] == list(cases.FAMILIES)
    assert {len(row) for row in table} == {len(step_time.HEAD)}


def test_what_does_not_fit_is_said_and_the_rest_measured(tmp_path, capsys, monkeypatch):
    def measure(form, *_):
        if form.case.name == "dcgan digits":
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return MEASURED | {"name": form.case.name}

    monkeypatch.setattr(step_time, "measured_peak", lambda dtype: {"flops": 1e9, "bytes": 1e9})
    monkeypatch.setattr(step_time, "measure", measure)
    monkeypatch.setattr(step_time.jax, "clear_caches", lambda: None)
    step_time.main(["--family", "dcgan", "gan", "--out", str(tmp_path)])
    assert [line["name"] for line in record.read(tmp_path / "step_time.jsonl")] == ["gan digits"]
    assert (
        "dcgan digits           needs more memory than the device has for a batch of 64"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("against_pytorch", ["--check"]), ("train_pytorch", ["dcgan", "--out", "nowhere"])],
)
def test_pytorch_that_is_missing_is_named(name, arguments, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SystemExit) as left:
        importlib.import_module(f"benchmarks.{name}").main(arguments)
    assert left.value.code == 2
    assert "PyTorch, which is not installed" in capsys.readouterr().err
