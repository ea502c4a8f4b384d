"""What a measurement was made on, and the files it is kept in: `benchmarks/results/NAME.jsonl`, one JSON object a line.

A line is the measurement's own fields and `provenance`: versions, device, machine, commit, date, seed, dtype, batch, hash of the config, command, and how busy
the machine was when the process began. Lines are appended, never changed; `benchmarks.tables` shows the newest of each.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jaxlib

from jaxgan.errors import DataError
from jaxgan.records.config_io import to_dict

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def load_average() -> float | None:
    """Processes that wanted a core, mean over the last minute; None where the system does not say."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


LOAD_AT_START = load_average()
"""Of the moment this module was imported: later values hold the benchmark's own load."""


def provenance(
    config: Any = None,
    *,
    seed: int = 0,
    dtype: str | None = None,
    batch: int | None = None,
    devices: int = 1,
) -> dict[str, Any]:
    """Where, when and of what a measurement was made, JSON-able.

    Args:
      config: the measured family's Config (or any frozen dataclass of plain values), kept as a hash; None for none.
      dtype: of the computation; None takes the config's, else float32.
      batch: images of one step, over all devices.
      devices: how many were used.
    """
    device = jax.devices()[0]
    return {
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "python": platform.python_version(),
        "platform": device.platform,
        "device": device.device_kind,
        "devices": devices,
        "cpu": cpu_model(),
        "cores": cores(),
        "load": LOAD_AT_START,
        "matmul_precision": str(
            getattr(jax.config, "jax_default_matmul_precision", None) or "default"
        ),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M"),
        "command": command(),
        "seed": seed,
        "dtype": dtype or (vars(config) if config is not None else {}).get("dtype", "float32"),
        "batch": batch,
        "config": None if config is None else config_hash(config),
    }


def config_hash(config: Any) -> str:
    """12 hexadecimal digits of the SHA-256 of a config's JSON: equal configs, equal hashes, in every process and version of Python."""
    return hashlib.sha256(json.dumps(to_dict(config), sort_keys=True).encode()).hexdigest()[:12]


def append(
    name: str, measurement: dict[str, Any], where: dict[str, Any], folder: Path | None = None
) -> dict[str, Any]:
    """Add {**measurement, "provenance": where} to NAME.jsonl in `folder` (default `benchmarks/results`); returns the line's content.

    Raises `DataError` if the file cannot be written.
    """
    line = {**measurement, "provenance": where}
    path = (folder or RESULTS) / f"{name}.jsonl"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
    except OSError as error:
        raise DataError(
            f"cannot write {path} ({error.strerror}): choose another folder by --out"
        ) from error
    return line


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a results file, oldest first; [] if there is none. A line without `provenance` gets its own fields of those names as such.

    Raises `DataError` naming file and line where one is not a JSON object.
    """
    lines = []
    for number, text in enumerate(path.read_text().splitlines() if path.exists() else [], 1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if not isinstance(line, dict):
            raise DataError(
                f"{path}, line {number}, is not a JSON object: remove the line, or take the file from version control again"
            )
        lines.append(
            line
            if "provenance" in line
            else {**line, "provenance": {name: line[name] for name in OLD_FIELDS if name in line}}
        )
    return lines


OLD_FIELDS = ("jax", "jaxlib", "python", "device", "cores", "load", "dtype")
"""What the first lines, which have no `provenance`, say of theirs."""


@functools.cache
def commit() -> str:
    """12 digits of the commit in use, with "+" if tracked files (results aside) differ from it. Outside a clone what the environment's JAXGAN_COMMIT says,
    for a copy of one on another machine, or "unknown".
    """
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        changed = _git(
            "status",
            "--porcelain",
            "--untracked-files=no",
            "--",
            ".",
            ":!benchmarks/results",
            ":!benchmarks/README.md",
        )
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("JAXGAN_COMMIT", "unknown")
    return head + "+" * bool(changed)


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def command() -> str:
    """The command line that this process was started with, as typed in the repository; without the interpreter's folder."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    program = (
        ["python", "-m", spec.name] if spec is not None else ["python", Path(sys.argv[0]).name]
    )
    return shlex.join([*program, *sys.argv[1:]])


@functools.cache
def cpu_model() -> str:
    """The processor's name."""
    table = Path("/proc/cpuinfo")
    if table.exists():
        for line in table.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
