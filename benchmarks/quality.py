"""Train every family for a limited time, measure what it makes, and write the tables of docs/results.md.

    python -m benchmarks.quality --list                                                      the rows, and the command behind each
    python -m benchmarks.quality --data-folder DIR --rows dcgan-fashion --seconds 600        train, score, append to benchmarks/results/quality.jsonl
    python -m benchmarks.quality --data-folder DIR                                           all rows that are not there yet
    python -m benchmarks.quality --tables                                                    only write the tables again

DIR holds mnist/, fashion-mnist/ (IDX files), maps/ (pairs side by side), camvid/ (images and label maps) and utkface.zip, those that the rows need. A row is
trained by the command of its family, in a process of its own that is stopped by SIGTERM when its time is over, compilation included, and scored as far as
it got: its last checkpoint, and of up to --looks checkpoints the best by the row's first figure. The choice is made on the images that the figure is
then given for, so "best" flatters a little. Stopped at any moment, the same command goes on where it was.

One line a figure: the fields of `jaxgan.metrics.result.Result`, and row, which ("last", "best", or the name of a baseline), command, seconds, device, cores.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

from benchmarks import quality_tables
from benchmarks.quality_rows import JUDGES, ROWS, Row
from experiments.judge_training import without_folders
from jaxgan.errors import DataError, RunError, require

ROOT = Path(__file__).resolve().parent.parent
GRACE = 600
"""Seconds that a run may take to finish its step, which may be its first and compiling, save and leave once it is told to."""
KEEP = 12
HELD_OUT = 8
"""Every so many faces, in the order of their names, are held out."""


def run(
    data_folder: Path = Path("data"),
    rows: tuple[str, ...] = (),
    seconds: float = 600,
    work: Path = Path("runs/quality"),
    results: Path = ROOT / "benchmarks/results/quality.jsonl",
    docs: Path = ROOT / "docs/results.md",
    network: str = "",
    looks: int = 4,
    seed: int = 0,
    again: bool = False,
    list: bool = False,
    tables: bool = False,
) -> None:
    """Train, measure, write tables.

    Args:
        data_folder: Folder of the data sets.
        rows: Names of rows; all if none.
        seconds: Time that a row is trained for, of wall clock.
        work: Folder of runs and judges; what is there is gone on with.
        results: File of lines to append to.
        docs: Page whose tables, between markers, are written.
        network: Feature network for rows that have none of their own, such as inception:FILE.
        looks: Checkpoints scored at most, evenly spread, the last one among them.
        seed: Of training and of what is sampled.
        again: Measure rows that are there already, once more.
        list: Only list the rows.
        tables: Only write the tables.
    """
    unknown = [name for name in rows if name not in ROWS]
    require(not unknown, f"there are no rows {', '.join(unknown)}: the rows are {', '.join(ROWS)}")
    require(seconds > 0 and looks > 0, "seconds and looks must be above 0")
    chosen = {name: ROWS[name] for name in rows or ROWS}
    if list:
        for name, row in chosen.items():
            print(f"{name:<24} {shlex.join(command(name, row, data_folder, work, seed))}")
        return
    for name, row in {} if tables else chosen.items():
        there = [line for line in quality_tables.read(results) if line["which"] in quality_tables.SCORED]  # baselines have no seed
        if not again and any(line["row"] == name and line["seed"] == seed for line in there):
            print(f"{name}: measured already (--again measures it once more)", flush=True)
            continue
        lines = measured(name, row, data_folder, work, seconds, network, looks, seed)
        results.parent.mkdir(parents=True, exist_ok=True)
        with results.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))
    quality_tables.write(docs, quality_tables.read(results))


def command(name: str, row: Row, data_folder: Path, work: Path, seed: int) -> list[str]:
    """What is run: python -m experiments.FAMILY and its flags."""
    family, *flags = row.command.split()
    cadence = ["--checkpoint-every", str(row.checkpoint), "--keep", str(KEEP), "--seed", str(seed)]
    return ["python", "-m", f"experiments.{family}", *flags, "--data", spec(row.data, data_folder, work), "--run", str(run_of(name, work, seed)), *cadence]


def spec(text: str, data_folder: Path, work: Path) -> str:
    """A spec of `quality_rows` with its folders put in."""
    return text.replace("{data}", str(data_folder)).replace("{work}", str(work))


def run_of(name: str, work: Path, seed: int) -> Path:
    """The run directory of a row."""
    return work / (name if seed == 0 else f"{name}-seed{seed}")


# ------------------------------------------------------------------------------------------------------------------- training


def train(name: str, row: Row, data_folder: Path, work: Path, seconds: float, seed: int) -> float:
    """Train a row until its time is over or it is complete; returns the seconds it has taken in all. Raises RunError if its command fails."""
    clock = work / f"{run_of(name, work, seed).name}.json"
    state = json.loads(clock.read_text()) if clock.exists() else {"seconds": 0.0, "complete": False}
    if state["complete"] or state["seconds"] >= seconds - 1:
        return state["seconds"]
    work.mkdir(parents=True, exist_ok=True)
    told = command(name, row, data_folder, work, seed)
    print(f"{name}: {shlex.join(told)}", flush=True)
    start, before = time.monotonic(), state["seconds"]
    try:
        state["complete"] = call(told, seconds - before)
    finally:
        state["seconds"] = round(before + time.monotonic() - start, 1)
        clock.write_text(json.dumps(state))
    return state["seconds"]


def call(told: list[str], seconds: float | None) -> bool:
    """Run a command for so long at most (None: to its end), then SIGTERM it; whether it ended by itself. Raises RunError if it fails or will not leave."""
    process = subprocess.Popen([sys.executable, *told[1:]], cwd=os.getcwd(), env={**os.environ, "PYTHONPATH": _path()})
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(None if seconds is None else max(1.0, seconds))
        by_itself = process.poll() is not None
        if not by_itself:
            process.send_signal(signal.SIGTERM)
            process.wait(GRACE)
    except subprocess.TimeoutExpired:
        raise RunError(f"{shlex.join(told)} did not stop within {GRACE} s: see what it is doing") from None
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(GRACE)
    if process.returncode != 0 and (by_itself or process.returncode != -signal.SIGTERM):  # a run that has not begun yet just dies of it
        raise RunError(f"{shlex.join(told)} failed with status {process.returncode}: see what it wrote above")
    return by_itself


def _path() -> str:
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))


def split_faces(archive: Path, out: Path) -> None:
    """The archive again, its images sorted into train/ and test/: every eighth, in the order of their names, is held out. Raises DataError: no archive."""
    if out.exists():
        return
    if not archive.is_file():
        raise DataError(f"there is no {archive}: put the faces there, or choose other rows")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(partial, "w") as target:
        names = sorted(name for name in source.namelist() if name.lower().endswith((".jpg", ".jpeg", ".png")))
        for i, name in enumerate(names):
            target.writestr(f"{'test' if i % HELD_OUT == HELD_OUT - 1 else 'train'}/{Path(name).name}", source.read(name))
    partial.rename(out)


def judge_file(name: str, data_folder: Path, work: Path) -> Path:
    """The file of a judge of `JUDGES`, trained now if it is not there."""
    out = work / f"judge-{name}.npz"
    if not out.exists():
        tool, data = JUDGES[name]
        module, *flags = tool.split()
        work.mkdir(parents=True, exist_ok=True)
        call(["python", "-m", f"experiments.{module}", *flags, "--data", spec(data, data_folder, work), "--out", str(out)], None)
    return out


# -------------------------------------------------------------------------------------------------------------------- scoring


def measured(name: str, row: Row, data_folder: Path, work: Path, seconds: float, network: str, looks: int, seed: int) -> list[dict[str, Any]]:
    """Train a row, and every figure of it as a line."""
    from benchmarks import quality_scores
    from jaxgan import checkpoint
    from jaxgan.metrics import judges, table, tasks
    from jaxgan.metrics.features import open_network
    from jaxgan.metrics.measure import default_network

    if "{work}/utkface.zip" in row.data:
        split_faces(data_folder / "utkface.zip", work / "utkface.zip")
    judge = judges.open_judge(judge_file(row.judge, data_folder, work)) if row.judge else None
    taken = train(name, row, data_folder, work, seconds, seed)
    directory = run_of(name, work, seed)
    numbers = spread(checkpoint.Checkpoints(directory / "checkpoints").steps, looks)
    own = quality_scores.network_of(judge, row.judge) if judge is not None else None
    place = {"row": name, "table": row.table, "command": shlex.join(command(name, row, Path("DIR"), Path("WORK"), seed)), "seconds": taken, **device()}
    found: dict[int, Any] = {}
    family, config, _ = checkpoint.load(directory, numbers[-1])
    real, train_set = opened(family, config, row, spec(row.data, data_folder, work))
    own = own or open_network(network or default_network(row.data))
    score = quality_scores.scorer(row, family, config, real, train_set, own, judge, seed)
    for number in numbers:
        print(f"{name}: scoring the checkpoint at {number} images", flush=True)
        found[number] = score(checkpoint.load(directory, number)[2])
    first = quality_scores.measurable(row, own)[0]
    best = quality_tables.best({number: [one.value for one in results if one.metric == first] for number, results in found.items()}, table.METRICS[first].lower)
    lines = [line(place, which, one) for which, number in (("last", numbers[-1]), ("best", best)) for one in found[number]]
    if row.size != (0, 0):
        ways = tuple(task.subject for task in tasks.make_tasks(family, config, real, 2, seed, {}))
        plain = {**place, "command": "", "seconds": 0.0}
        for how, one in quality_scores.baselines(row, train_set, real, own, ways):
            lines.append(line(plain, how, one))
    return lines


def line(place: dict[str, Any], which: str, result: Any) -> dict[str, Any]:
    """A result as it is kept."""
    fields = json.loads(result.to_json())
    return {**place, "which": which, **fields, "data": without_folders(fields["data"])}


def opened(family: Any, config: Any, row: Row, data: str) -> tuple[Any, Any]:
    """(the held-out images, those of training), both as the model sees them."""
    from jaxgan import data as sets
    from jaxgan.metrics.real import form_of

    options = form_of(family, config) | {"resize": "stretch" if row.size != (0, 0) else "cover"}
    return sets.open(data, split=row.split, **options), sets.open(data, **options)


def spread(numbers: list[int], count: int) -> list[int]:
    """At most `count` of the checkpoints, evenly, the last always, and never the untrained one. Raises RunError where there is no trained one."""
    trained = [number for number in numbers if number > 0]
    if not trained:
        raise RunError("the run was stopped before its first step, which is compiled first: give it more --seconds")
    count = min(count, len(trained))
    return sorted({trained[-1 - (i * (len(trained) - 1)) // max(1, count - 1)] for i in range(count)})


def device() -> dict[str, Any]:
    """What it ran on."""
    import jax

    return {"device": jax.devices()[0].device_kind, "cores": os.cpu_count(), "python": platform.python_version()}


if __name__ == "__main__":
    import tyro

    from experiments.common import one_sentence_errors

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an exception, so that the command under way is stopped too
    with one_sentence_errors():
        tyro.cli(run, prog="python -m benchmarks.quality", description=__doc__)
