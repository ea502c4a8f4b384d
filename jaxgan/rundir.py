"""A run's directory: one process at a time, one config for ever, and a record of what it ran on."""

from __future__ import annotations

import json
import os
import platform
import warnings
from pathlib import Path
from typing import Any

import jax

from jaxgan import checkpoint, naming
from jaxgan.config_io import completed, differences
from jaxgan.errors import RunError
from jaxgan.images import write_whole

try:
    import fcntl
except ImportError:  # Windows: no lock
    fcntl = None  # type: ignore[assignment]

FORMAT = 1
"""Version of the layout of a run directory."""
DEEPEST = 50
"""Levels of nested settings, of which no run has more than a few."""


class RunWarning(UserWarning):
    """A run continues under other circumstances than it began in."""


class RunDir:
    """The directory of one run, locked against a second process; a context manager. Only process 0 of several writes and locks.

    Raises `RunError` if it cannot be made or written, or is in use.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._lock: Any = None
        if jax.process_index() > 0:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / ".lock", "w")  # noqa: SIM115 (held while the run lasts)
        except OSError as error:
            raise RunError(f"cannot write to the run directory {self.path} ({error.strerror}): choose another or permit writing there") from error
        if fcntl is not None:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._lock.close()
                raise RunError(f"another process is training in {self.path}: wait for it, stop it, or choose another run directory") from None

    def __enter__(self) -> RunDir:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()  # and with it the lock goes

    def settle_config(self, config: dict[str, Any], kind: type | None = None) -> None:
        """Write config.json in a new directory; in an old one raise `RunError` that lists what differs.

        A data set is the same by content: it may have moved. Settings that the family's Config, `kind`, has gained since are at their defaults.
        """
        config = {"format": FORMAT, **config}
        stored = read_json(self.path / "config.json")
        if stored is None:
            if checkpoint.Checkpoints(self.path / "checkpoints").steps:
                raise RunError(f"{self.path} holds checkpoints but no config.json: choose another run directory")
            self._write("config.json", config)
            return
        version = stored.get("format", 0)
        if not isinstance(version, int):
            raise RunError(f"{self.path / 'config.json'} holds something else than the settings of a run: restore it, or choose another run directory")
        if version > FORMAT:
            raise RunError(f"{self.path} has format {version}, newer than this version reads ({FORMAT}): update jaxgan")
        if "imported" in stored:
            raise RunError(f"{self.path} holds imported networks without discriminators: train in another run directory, from these by --init-from {self.path}")
        # A run that began before names were kept goes on, and keeps them from now on: the fingerprint tells that they are the same.
        new_names = {} if naming.KEY in stored else {naming.KEY: config.pop(naming.KEY, None)}
        if stored.get("fingerprint") == config["fingerprint"]:
            config = {**config, "data": stored.get("data")}
        if kind is not None and "config" in stored:
            stored = json.loads(json.dumps({**stored, "config": completed(kind, stored["config"])}))
        changed = differences(stored, json.loads(json.dumps(config)))
        if changed:
            raise RunError(f"{self.path} is a run of other settings ({'; '.join(changed)}): use these again, or choose another run directory")
        if new_names.get(naming.KEY):
            self._write("config.json", {**stored, **new_names})

    def settle_environment(self, environment: dict[str, Any], images: int) -> None:
        """Write environment.json; where it was another before, warn and keep a record of the change at `images`."""
        stored = read_json(self.path / "environment.json") or {}
        changes = stored.pop("changes", [])
        changes = changes if isinstance(changes, list) else []
        changed = differences(stored, json.loads(json.dumps(environment))) if stored else []
        if changed:
            changes = [*changes, {"images": images, "changed": changed}]
            text = f"{self.path} continues under other circumstances ({'; '.join(changed)}): results may differ in rounding from an uninterrupted run"
            warnings.warn(text, RunWarning, stacklevel=3)
        self._write("environment.json", {**environment, "changes": changes})

    def attempt(self) -> int:
        """How often the run was rolled back."""
        return self._attempts()["attempt"]

    def failed(self) -> bool:
        """Whether the present attempt ended in a non-finite value."""
        failures = self._attempts()["failures"]
        return bool(failures) and failures[-1].get("attempt") == self.attempt()

    def record_failure(self, step: int, images: int, names: list[str]) -> None:
        """Note in attempts.json that the present attempt ended."""
        stored = self._attempts()
        stored["failures"].append({"attempt": stored["attempt"], "step": step, "images": images, "non_finite": names})
        self._write("attempts.json", stored)

    def next_attempt(self) -> int:
        """Begin another attempt, noted before it does anything, so that a restart continues it."""
        stored = self._attempts()
        stored["attempt"] += 1
        self._write("attempts.json", stored)
        return stored["attempt"]

    def _attempts(self) -> dict[str, Any]:
        path = self.path / "attempts.json"
        stored = {"attempt": 0, "failures": [], **(read_json(path) or {})}
        number, failures = stored["attempt"], stored["failures"]
        counted = isinstance(number, int) and 0 <= number < 2**31
        if not counted or not isinstance(failures, list) or not all(isinstance(failure, dict) for failure in failures):
            raise RunError(f"{path} does not say how often the run was rolled back: restore it, or choose another run directory")
        return stored

    def _write(self, name: str, content: dict[str, Any]) -> None:
        if jax.process_index() == 0:
            write_whole(self.path / name, (json.dumps(content, indent=2) + "\n").encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """The mapping in a JSON file; None if there is no file. Raises `RunError` if it is something else."""
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read ({error}): restore it, or choose another run directory") from None
    if not isinstance(content, dict) or _is_deeper(content, DEEPEST):
        raise RunError(f"{path} holds no settings: restore it, or choose another run directory")
    return content


def _is_deeper(content: Any, levels: int) -> bool:
    """Whether a JSON value is nested more than `levels` times."""
    layer = [content]
    for _ in range(levels):
        layer = [item for one in layer if isinstance(one, (dict, list)) for item in (one.values() if isinstance(one, dict) else one)]
    return any(isinstance(one, (dict, list)) for one in layer)


def environment(devices: list[jax.Device], parallel: str, steps_per_call: int) -> dict[str, Any]:
    """Everything besides the config that a result, to the last bit, may depend on."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "versions": {"python": platform.python_version(), **checkpoint.versions()},
        "device_kind": devices[0].device_kind,
        "device_count": len(devices),
        "process_count": jax.process_count(),
        "cpu_threads": threads,
        "steps_per_call": steps_per_call,
        "parallel": parallel,
        "matmul_precision": str(getattr(jax.config, "jax_default_matmul_precision", None)),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }
