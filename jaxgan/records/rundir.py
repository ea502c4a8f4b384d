"""A run's directory: one process at a time, one config for ever, and a record of what it ran on."""

from __future__ import annotations

import json
import os
import platform
import shutil
import warnings
from pathlib import Path
from typing import Any

import jax
from jax.experimental import multihost_utils

from jaxgan.errors import RunError
from jaxgan.pictures.images import write_whole
from jaxgan.records import checkpoint, data_record, naming
from jaxgan.records.config_io import completed, differences
from jaxgan.records.data_record import DataRecord

try:
    import fcntl
except ImportError:  # Windows: no lock
    fcntl = None  # type: ignore[assignment]

FORMAT = 1
"""Version of the layout of a run directory."""
DEEPEST = 50
"""Levels of nested settings, of which no run has more than a few."""
_LEFT = (
    "config.json",
    "environment.json",
    "attempts.json",
    "evaluations.jsonl",
    "notes.jsonl",
    checkpoint.BEST_FILE,
    data_record.DATA_FILE,
    data_record.NAMES_FILE,
)
"""Files of a run that `RunDir` removes where no step was trained."""


class RunWarning(UserWarning):
    """A run continues under other circumstances than it began in."""


class RunDir:
    """The directory of one run, locked against a second process; a context manager. Only process 0 of several writes and locks.

    Raises `RunError` if it cannot be made or written, or is in use.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._lock: Any = None
        self._pending: dict[str, Any] | None = None
        self._change: dict[str, Any] | None = None
        self._record: DataRecord | None = None
        self.data_changes: list[dict[str, Any]] = []
        if jax.process_index() > 0:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / ".lock", "w")  # noqa: SIM115 (held while the run lasts)
        except OSError as error:
            raise RunError(
                f"cannot write to the run directory {self.path} ({error.strerror}): choose another or permit writing there"
            ) from error
        if fcntl is not None:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._lock.close()
                raise RunError(
                    f"another process is training in {self.path}: wait for it, stop it, or choose another run directory"
                ) from None

    def __enter__(self) -> RunDir:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()  # and with it the lock goes

    def settle_config(
        self,
        config: dict[str, Any],
        kind: type | None = None,
        record: DataRecord | None = None,
        data_changed: bool = False,
    ) -> None:
        """Compare with config.json; raise `RunError` that lists what differs. `commit` writes what is new.

        A data set is the same by content, and a run to start from by its checkpoint: they may have moved. Settings that the family's Config,
        `kind`, has gained since are at their defaults. A run that has not trained a step takes other settings.

        Args:
          record: of the data set, kept so that its changes can be told later.
          data_changed: go on with a data set of other content, and record the change.
        """
        config, self._record = json.loads(json.dumps({"format": FORMAT, **config})), record
        self.data_changes = data_record.changes(self.path)
        stored = read_json(self.path / "config.json")
        if stored is None:
            if checkpoint.Checkpoints(self.path / "checkpoints").steps:
                raise RunError(
                    f"{self.path} holds checkpoints but no config.json: choose another run directory"
                )
            self._pending = config
            return
        version = stored.get("format", 0)
        if not isinstance(version, int):
            raise RunError(
                f"{self.path / 'config.json'} holds something else than the settings of a run: restore it, or choose another run directory"
            )
        if version > FORMAT:
            raise RunError(
                f"{self.path} has format {version}, newer than this version reads ({FORMAT}): update jaxgan"
            )
        if "imported" in stored:
            raise RunError(
                f"{self.path} holds imported networks without discriminators: train in another run directory, from these by --init-from {self.path}"
            )
        wanted, change = {**config}, None
        # A run that began before names were kept goes on, and keeps them from now on: the fingerprint tells that they are the same.
        new_names = {} if naming.KEY in stored else {naming.KEY: wanted.pop(naming.KEY, None)}
        if stored.get("fingerprint") == config["fingerprint"]:
            wanted["data"] = stored.get("data")
        elif record is not None:
            change = data_record.change(self.path, record, str(stored.get("fingerprint")))
            wanted |= {name: stored.get(name) for name in ("data", "fingerprint")}
        if "init_from" not in stored or checkpoint.same_origin(
            stored["init_from"], config.get("init_from")
        ):
            wanted["init_from"] = stored.get("init_from")
        if kind is not None and "config" in stored:
            stored = json.loads(json.dumps({**stored, "config": completed(kind, stored["config"])}))
        changed = differences(_with_origin(stored), _with_origin(wanted))
        if (changed or change) and not self._begun(stored):
            self._discard()
            self._pending = config
        elif changed:
            listed = "; ".join([*changed, *([data_record.in_words(change)] if change else [])])
            raise RunError(
                f"{self.path} is a run of other settings ({listed}): use these again, or choose another run directory"
            )
        elif change and not data_changed:
            remedy = "restore it, add --data-changed to go on from the last checkpoint with the set as it is now, or choose another run directory"
            raise RunError(
                f"{data_record.in_words(change)}; {self.path} was trained on the set as it was: {remedy}"
            )
        elif change:
            self._pending = {**stored, "data": config["data"], "fingerprint": config["fingerprint"]}
            self.data_changes, self._change = [*self.data_changes, change], change
        elif new_names.get(naming.KEY):
            self._pending = {**stored, **new_names}

    def commit(self, images: int) -> str | None:
        """Write what `settle_config` found new, once nothing refuses it any more; what is to be said of a changed data set."""
        if self._change is not None:
            self._change["images"] = images
        if jax.process_index() == 0:
            recorded = (self.path / data_record.DATA_FILE).exists() and self._pending is None
            if self._record is not None and not recorded:
                data_record.write(self.path, self._record, self.data_changes)
            if self._pending is not None:
                self._write("config.json", self._pending)
        said = None if self._change is None else data_record.in_words(self._change)
        self._pending = self._change = None
        return said

    def _begun(self, stored: dict[str, Any]) -> bool:
        """Whether there is anything to lose: a checkpoint past 0 or a line of metrics. Of a strange config.json always."""
        if not {"format", "family", "fingerprint"} <= set(stored):
            return True
        names = [path.name for path in (self.path / "checkpoints").glob("*") if path.name != "0"]
        saved = any(name.isdecimal() or ".damaged" in name for name in names)
        metrics = self.path / "metrics.jsonl"
        return saved or (metrics.exists() and metrics.stat().st_size > 0)

    def _discard(self) -> None:
        """Remove what a run that has not trained a step has left."""
        if jax.process_index() == 0:
            for name in _LEFT:
                (self.path / name).unlink(missing_ok=True)
            shutil.rmtree(self.path / "checkpoints", ignore_errors=True)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("jaxgan settles a run again")
        self.data_changes = []

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
        stored["failures"].append(
            {"attempt": stored["attempt"], "step": step, "images": images, "non_finite": names}
        )
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
        if (
            not counted
            or not isinstance(failures, list)
            or not all(isinstance(failure, dict) for failure in failures)
        ):
            raise RunError(
                f"{path} does not say how often the run was rolled back: restore it, or choose another run directory"
            )
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
        raise RunError(
            f"{path} cannot be read ({error}): restore it, or choose another run directory"
        ) from None
    if not isinstance(content, dict) or _is_deeper(content, DEEPEST):
        raise RunError(f"{path} holds no settings: restore it, or choose another run directory")
    return content


def _is_deeper(content: Any, levels: int) -> bool:
    """Whether a JSON value is nested more than `levels` times."""
    layer = [content]
    for _ in range(levels):
        layer = [
            item
            for one in layer
            if isinstance(one, (dict, list))
            for item in (one.values() if isinstance(one, dict) else one)
        ]
    return any(isinstance(one, (dict, list)) for one in layer)


def _with_origin(config: dict[str, Any]) -> dict[str, Any]:
    """The config with the directory of the run it started from in place of all that is known of that."""
    origin = config.get("init_from")
    return {**config, "init_from": origin.get("run") if isinstance(origin, dict) else origin}


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
