"""How the rows of `benchmarks.quality` are trained: by the commands of the families, or by `benchmarks.train_pytorch` to as many images."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from benchmarks.quality_rows import JUDGES, Row
from jaxgan import checkpoint
from jaxgan.errors import DataError, RunError
from jaxgan.records import opening
from jaxgan.records.config_io import from_dict
from jaxgan.state import State

ROOT = Path(__file__).resolve().parent.parent
GRACE = 600
"""Seconds that a run may take to finish its step, which may be its first and compiling, save and leave once it is told to."""
KEEP = 12
HELD_OUT = 8
"""Every so many faces, in the order of their names, are held out."""


class Trained(NamedTuple):
    """What a row was trained to.

    told: the command, for any folders. seconds: it took. numbers: images seen at the checkpoints that can be scored, ascending. state: of such a number.
    made: images made already, see `jaxgan.metrics.measure.evaluator`; None where the state makes them.
    """

    told: list[str]
    seconds: float
    family: ModuleType
    config: Any
    numbers: list[int]
    state: Callable[[int], State]
    made: dict[str, np.ndarray] | None = None


def command(name: str, row: Row, data_folder: Path, work: Path, seed: int) -> list[str]:
    """What is run: python -m experiments.FAMILY and its flags."""
    if row.rival:
        return rival_command(name, row, data_folder, work, seed)
    family, *flags = row.command.split()
    cadence = ["--checkpoint-every", str(row.checkpoint), "--keep", str(KEEP), "--seed", str(seed)]
    return [
        "python",
        "-m",
        f"experiments.{family}",
        *flags,
        "--data",
        spec(row.data, data_folder, work),
        "--run",
        str(run_of(name, work, seed)),
        *cadence,
    ]


def spec(text: str, data_folder: Path, work: Path) -> str:
    """A spec of `quality_rows` with its folders put in."""
    return text.replace("{data}", str(data_folder)).replace("{work}", str(work))


def run_of(name: str, work: Path, seed: int) -> Path:
    """The run directory of a row."""
    return work / (name if seed == 0 else f"{name}-seed{seed}")


def rival_command(
    name: str, row: Row, data_folder: Path, work: Path, seed: int, images: str = "IMAGES"
) -> list[str]:
    """The same training in PyTorch: python -m benchmarks.train_pytorch FAMILY and its flags. images: how many it sees."""
    family, *flags = row.command.split()
    flags = [
        flag
        for flag, before in zip(flags, ["", *flags], strict=False)
        if "--images" not in (flag, before)
    ]
    ends = [
        "--seconds",
        "1e6",
        "--images",
        images,
        "--seed",
        str(seed),
        "--split",
        row.split,
        "--samples",
        str(row.samples),
    ]
    places = ["--data", spec(row.data, data_folder, work), "--out", str(run_of(name, work, seed))]
    return ["python", "-m", "benchmarks.train_pytorch", family, *flags, *places, *ends]


# ------------------------------------------------------------------------------------------------------------------- training


def trained(
    name: str,
    row: Row,
    data_folder: Path,
    work: Path,
    seconds: float,
    seed: int,
    lines: list[dict[str, Any]],
) -> Trained:
    """Train a row, or go on, or find it trained. lines: what is measured already, where a rival finds how many images its model saw."""
    if row.rival:
        return _by_pytorch(name, row, data_folder, work, seed, lines)
    taken, directory = train(name, row, data_folder, work, seconds, seed), run_of(name, work, seed)
    numbers = [
        number for number in checkpoint.Checkpoints(directory / "checkpoints").steps if number > 0
    ]
    if not numbers:
        raise RunError(
            "the run was stopped before its first step, which is compiled first: give it more --seconds"
        )
    family, config, _ = checkpoint.load(directory, numbers[-1])
    told = command(name, row, Path("DIR"), Path("WORK"), seed)
    return Trained(
        told, taken, family, config, numbers, lambda number: checkpoint.load(directory, number)[2]
    )


def _by_pytorch(
    name: str, row: Row, data_folder: Path, work: Path, seed: int, lines: list[dict[str, Any]]
) -> Trained:
    """A row trained by PyTorch until it has seen the images of its rival's last checkpoint. Raises RunError where that is not measured."""
    seen = [
        line["checkpoint"]
        for line in lines
        if (line["row"], line["which"], line["seed"]) == (row.rival, "last", seed)
    ]
    if not seen:
        raise RunError(
            f"{name} is to see as many images as {row.rival} of seed {seed}, which is not measured yet: measure it first"
        )
    told, out = (
        rival_command(name, row, data_folder, work, seed, str(seen[-1])),
        run_of(name, work, seed),
    )
    if (
        not (out / "run.json").exists()
        or json.loads((out / "run.json").read_text())["images"] != seen[-1]
    ):
        work.mkdir(parents=True, exist_ok=True)
        print(f"{name}: {shlex.join(told)}", flush=True)
        call(told, None)
    report = json.loads((out / "run.json").read_text())
    family = opening.family_of({"family": f"jaxgan.families.{report['family']}"})
    with np.load(out / "generated.npz") as file:
        made = {"" if subject == "image" else subject: file[subject] for subject in file}
    state = State(jnp.int32(report["steps"]), jnp.int32(report["images"]), {}, {}, {})
    shown = rival_command(name, row, Path("DIR"), Path("WORK"), seed, str(seen[-1]))
    return Trained(
        shown,
        report["seconds"],
        family,
        from_dict(family.Config, report["config"]),
        [report["images"]],
        lambda number: state,
        made,
    )


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
    process = subprocess.Popen(
        [sys.executable, *told[1:]], cwd=os.getcwd(), env={**os.environ, "PYTHONPATH": _path()}
    )
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(None if seconds is None else max(1.0, seconds))
        by_itself = process.poll() is not None
        if not by_itself:
            process.send_signal(signal.SIGTERM)
            process.wait(GRACE)
    except subprocess.TimeoutExpired:
        raise RunError(
            f"{shlex.join(told)} did not stop within {GRACE} s: see what it is doing"
        ) from None
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(GRACE)
    if process.returncode != 0 and (
        by_itself or process.returncode != -signal.SIGTERM
    ):  # a run that has not begun yet just dies of it
        raise RunError(
            f"{shlex.join(told)} failed with status {process.returncode}: see what it wrote above"
        )
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
        names = sorted(
            name for name in source.namelist() if name.lower().endswith((".jpg", ".jpeg", ".png"))
        )
        for i, name in enumerate(names):
            target.writestr(
                f"{'test' if i % HELD_OUT == HELD_OUT - 1 else 'train'}/{Path(name).name}",
                source.read(name),
            )
    partial.rename(out)


def judge_file(name: str, data_folder: Path, work: Path) -> Path:
    """The file of a judge of `JUDGES`, trained now if it is not there."""
    out = work / f"judge-{name}.npz"
    if not out.exists():
        tool, data = JUDGES[name]
        module, *flags = tool.split()
        work.mkdir(parents=True, exist_ok=True)
        call(
            [
                "python",
                "-m",
                f"experiments.{module}",
                *flags,
                "--data",
                spec(data, data_folder, work),
                "--out",
                str(out),
            ],
            None,
        )
    return out
