"""Checkpoints of a run: saved while training continues, whole or not at all, checked leaf by leaf when read.

A checkpoint is `checkpoints/<images>/` with three items (Orbax): `state` (everything training needs), `sampler` (what `sample` and `translate`
need: step, images, ema) and `meta` (JSON: family, config, versions, a CRC-32 for every leaf of the other two). Orbax itself notices a truncated
file but not a flipped byte, hence the checksums. One that is damaged is named, set aside as `<images>.damaged`, and the one before it is used.
"""

from __future__ import annotations

import functools
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import orbax.checkpoint as ocp

from jaxgan.errors import CheckpointError, require
from jaxgan.records import integrity, naming, opening
from jaxgan.records.integrity import CheckpointWarning
from jaxgan.records.naming import Names
from jaxgan.records.threads import dead_pools, supervised
from jaxgan.state import Player, PyTree, State

__all__ = [
    "BEST_FILE",
    "CheckpointWarning",
    "Checkpoints",
    "initialise_from",
    "load",
    "names",
    "number_of",
    "sampler",
    "versions",
]

BEST_FILE = "best.json"
"""In a run directory: the number of the best checkpoint, and by which figure it is that."""

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def versions() -> dict[str, str]:
    """The versions of the packages a result depends on."""
    return {name: version(name) for name in PACKAGES}


def sampler(state: State) -> PyTree:
    """The part of a state that `sample` and `translate` read."""
    return {"step": state.step, "images": state.images, "ema": state.ema}


class Checkpoints:
    """The checkpoints of one run that is being trained; a context manager, as what is being saved is lost without `close`.

    Args:
      directory: the run's `checkpoints/`, made at the first save.
      keep: how many of the newest to keep.
      protected: numbers (images) kept besides these, such as the best by a metric; see `protect`.
    """

    def __init__(self, directory: str | Path, keep: int = 3, protected: Iterable[int] = ()):
        if keep < 1:
            raise ValueError(f"keep must be at least 1, got {keep}")
        self.directory = Path(directory).absolute()
        self._policy = _Keep(keep, set(protected))
        self._saving: int | None = None
        self._manager: ocp.CheckpointManager | None = None
        self._log_level = logging.NOTSET
        self._dead_before = frozenset(dead_pools("orbax"))

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind, error, trace) -> None:
        try:
            self.close()
        except CheckpointError:
            if kind is None:  # an error on its way out says more than one of closing
                raise

    @property
    def steps(self) -> list[int]:
        """Numbers (images) of the checkpoints that are complete, ascending."""
        return integrity.numbers(self.directory)

    def protect(self, number: int, instead_of: int | None = None) -> None:
        """Keep checkpoint `number` from now on, however many newer ones there are; `instead_of` another, which goes with the next save unless it is new."""
        if instead_of is not None:
            self._policy.protected.discard(instead_of)
        self._policy.protected.add(number)

    def save(self, state: State, sampler: PyTree, meta: dict[str, Any]) -> None:
        """Start saving under the number `state.images`; returns once the arrays are copied, so the state may be donated at once.

        Call it only for a state known to be finite, in every process. `meta` is JSON-able; format, versions and checksums are added here.

        Raises `CheckpointError` if that number exists already, if it cannot be written, or if an earlier save failed in the meantime.
        """
        number = int(state.images)
        items = {"state": integrity.to_host(state), "sampler": integrity.to_host(sampler)}
        leaves = {
            name: {path: integrity.describe(leaf) for path, leaf in integrity.paths(tree)}
            for name, tree in items.items()
        }
        meta = {
            **meta,
            "format": integrity.FORMAT,
            "step": int(state.step),
            "images": number,
            "versions": versions(),
            "leaves": leaves,
        }
        meta["crc32"] = integrity.meta_checksum(meta)
        arguments = {name: ocp.args.StandardSave(tree) for name, tree in items.items()}
        self.wait()
        self._saving = number
        arguments["meta"] = ocp.args.JsonSave(meta)
        saved = self._attempt(lambda: self._start(number, ocp.args.Composite(**arguments)))
        if not saved:
            raise CheckpointError(
                f"checkpoint {number} was not saved, as {self.directory} already holds {self.steps}: remove the run or use another"
            )

    def restore(
        self, abstract_state: State, place: Callable[[PyTree], PyTree] | None = None
    ) -> tuple[State, dict[str, Any]] | None:
        """The newest undamaged checkpoint as (state, meta), or None where there is none yet. Damaged ones are renamed, with a warning.

        Args:
          abstract_state: `jax.eval_shape(init, ...)`: structure, shapes and dtypes.
          place: host arrays -> device arrays; default: uncommitted on the default device, which jit and pmap both accept.

        Raises `CheckpointError` if all are damaged, or if the state is of other shapes than `abstract_state`.
        """
        targets = {"state": abstract_state, "sampler": sampler(abstract_state)}
        found = integrity.newest(self.directory, targets, set_aside=True)
        if found is None:
            return None
        items, meta = found
        return (place or integrity.to_device)(items["state"]), meta

    def wait(self) -> None:
        """Until what is being saved is complete. Raises `CheckpointError` if it could not be written."""
        if self._manager is None or self._saving is None:
            return
        self._attempt(functools.partial(self._finish, self._manager, self._saving))
        self._saving = None

    def close(self) -> None:
        """`wait`, then release everything. May be called twice."""
        manager = self._manager
        try:
            self.wait()
        finally:
            self._manager, self._saving = None, None
            if manager is not None:
                integrity.guarded(
                    lambda: supervised(manager.close, "orbax", self._dead_before)
                )  # what it has to say, `wait` has said
                logging.getLogger("absl").setLevel(self._log_level)

    def _start(self, number: int, arguments: ocp.args.Composite) -> bool:
        # Tried here, as Orbax's threads would wait for minutes for a directory that cannot be made.
        if jax.process_index() == 0:
            self.directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.directory) as file:
                file.write(b"x" * 4096)
        if self._manager is None:
            self._log_level = logging.getLogger("absl").level
            logging.getLogger("absl").setLevel(
                logging.CRITICAL
            )  # its threads log their tracebacks; `_attempt` says it in a sentence
            options = ocp.CheckpointManagerOptions(
                create=True, cleanup_tmp_directories=True, preservation_policy=self._policy
            )
            self._manager = ocp.CheckpointManager(self.directory, options=options)
        return self._manager.save(number, args=arguments)

    def _finish(self, manager: ocp.CheckpointManager, number: int) -> None:
        manager.wait_until_finished()
        manager.check_for_errors()
        if jax.process_index() == 0:
            integrity.require_items(self.directory / str(number), remove=True)
            integrity.write_files(self.directory / str(number))

    def _attempt(self, action: Callable[[], Any]) -> Any:
        result, reason = integrity.guarded(lambda: supervised(action, "orbax", self._dead_before))
        if reason is not None:
            number, self._saving = self._saving, None
            remedy = "nothing half-written is taken for a checkpoint; free space or permit writing there and run the same command again"
            raise CheckpointError(
                f"checkpoint {number} could not be written to {self.directory} ({reason}): {remedy}"
            )
        return result


class _Keep:
    """Orbax preservation policy: the newest `count`, and the protected ones."""

    def __init__(self, count: int, protected: set[int]):
        self.count, self.protected = count, protected

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        newest = {
            info.step for info in sorted(checkpoints, key=lambda info: info.step)[-self.count :]
        }
        return [info.step in newest | self.protected for info in checkpoints]


# ------------------------------------------------------------------------------------------------------- reading without training


def load(
    run: str | Path, which: str | int = "newest", *, family: ModuleType | None = None
) -> tuple[ModuleType, Any, State]:
    """What sampling from a run needs: (family module, config, state with `players` and `extra` empty), from its newest undamaged checkpoint.

    Args:
      which: "newest"; "best", by the metric that the run was trained to keep the best of (`keep_best`); or the number (images) of a checkpoint.
      family: the module of a family that is not the library's. Nothing is imported because the run's files name it.

    Reads only; safe while the run is training. Raises `CheckpointError` if there is no such checkpoint, it is or all are damaged, or it is of another
    family than `family`, or than the library's; `ValueError` for another `which`.
    """

    def targets(meta):
        chosen = opening.family_of(meta, family)
        return {"sampler": sampler(opening.abstract(chosen, opening.config_of(chosen, meta)))}

    items, meta = _require(run, targets, number_of(run, which))
    chosen = opening.family_of(meta, family)
    part = integrity.to_device(items["sampler"])
    return (
        chosen,
        opening.config_of(chosen, meta),
        State(part["step"], part["images"], {}, part["ema"], {}),
    )


def names(run: str | Path, which: str | int = "newest") -> Names:
    """What the run's classes and attributes are called; empty where its checkpoints do not tell, as those of older runs, or where there are none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CheckpointWarning)  # `load` says it
        found = integrity.newest(
            (Path(run) / "checkpoints").absolute(), {}, set_aside=False, only=number_of(run, which)
        )
    if found is None:
        return Names()
    stored, columns = (
        naming.from_dict(found[1].get(naming.KEY)),
        found[1]["config"].get("attributes"),
    )
    told = naming.from_dict({"attributes": columns}).attributes
    return stored if stored.attributes else stored._replace(attributes=told)


def number_of(run: str | Path, which: str | int) -> int | None:
    """The number of the checkpoint that `which` means, see `load`; None for the newest."""
    if which == "newest":
        return None
    require(
        which == "best" or str(which).isdecimal(),
        f"which must be newest, best or the number of a checkpoint, got {which!r}",
    )
    there = integrity.numbers(Path(run) / "checkpoints")
    if which == "best":
        try:
            which = int(json.loads((Path(run) / BEST_FILE).read_text())["images"])
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise CheckpointError(
                f"{run} has not kept a best checkpoint: train it with evaluate_every and keep_best, or load the newest"
            ) from None
    if int(which) not in there:
        raise CheckpointError(
            f"{run} has no checkpoint {which}: it has {', '.join(map(str, there)) or 'none'}"
        )
    return int(which)


def origin(run: str | Path | None) -> dict[str, Any] | None:
    """Which run training starts from: its directory, the number of its newest checkpoint and that one's checksum. None for no run."""
    if run is None:
        return None
    number = max(integrity.numbers(Path(run) / "checkpoints"), default=None)
    return {"run": str(Path(run).resolve()), "checkpoint": number, "crc32": _checksum(run, number)}


def same_origin(stored: Any, given: Any) -> bool:
    """Whether two values of `origin` mean one run: one directory, or the stored checkpoint in the given one, to which it has moved."""
    if not isinstance(stored, dict) or not isinstance(given, dict):
        return stored is None and given is None
    moved = stored.get("crc32") is not None and stored["crc32"] == _checksum(
        given["run"], stored.get("checkpoint")
    )
    return stored.get("run") == given["run"] or moved


def _checksum(run: str | Path, number: int | None) -> int | None:
    try:
        return int(
            json.loads((Path(run) / "checkpoints" / str(number) / "meta" / "metadata").read_text())[
                "crc32"
            ]
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def initialise_from(
    run: str | Path,
    state: State,
    *,
    family: ModuleType | None = None,
    default: ModuleType | None = None,
) -> State:
    """`state` with the networks of another run: parameters, statistics and averages; its own fresh optimisers, counters and `extra`.

    Args:
      family: the module of that run's family, where it is not the library's. default: the family of `state`, which that run may be of as well.

    For fine-tuning (`--init-from`). A run without players, as an import makes it, gives its averages to the generator; the others stay fresh.
    Raises `CheckpointError` where the networks are of other shapes, and as `load`.
    """

    def targets(meta: dict[str, Any]) -> dict[str, PyTree]:
        chosen = opening.family_of(meta, family, default)
        source = opening.abstract(chosen, opening.config_of(chosen, meta))
        trained = any(path.startswith("players/") for path in meta["leaves"].get("state", ()))
        return {"state": source} if trained else {"sampler": sampler(source)}

    items, _ = _require(run, targets)
    if "sampler" in items:
        return _with_averages(run, state, items["sampler"]["ema"])
    theirs = _networks(items["state"])
    _require_fit(run, _networks(state), theirs)
    networks = integrity.to_device(theirs)
    players = {
        name: Player(networks["params"][name], networks["stats"][name], player.opt)
        for name, player in state.players.items()
    }
    return state.replace(players=players, ema=networks["ema"])


def _with_averages(run: str | Path, state: State, averages: PyTree) -> State:
    _require_fit(run, state.ema, averages)
    ema, networks = (
        integrity.to_device(averages),
        integrity.to_device(averages),
    )  # two copies: no buffer may appear twice in a donated state
    generator = state.players["generator"].replace(params=networks.pop("params"), stats=networks)
    return state.replace(players={**state.players, "generator": generator}, ema=ema)


def _require_fit(run: str | Path, ours: PyTree, theirs: PyTree) -> None:
    wrong = integrity.mismatches(
        ours, {path: integrity.describe(leaf) for path, leaf in integrity.paths(theirs)}
    )
    if wrong:
        raise CheckpointError(
            f"the networks of {run} do not fit this config ({'; '.join(wrong)}): start from a run of the same architecture"
        )


def _networks(state: State) -> PyTree:
    params = {name: player.params for name, player in state.players.items()}
    return {
        "params": params,
        "stats": {name: player.stats for name, player in state.players.items()},
        "ema": state.ema,
    }


def _require(
    run: str | Path, targets: Callable[[dict], dict[str, PyTree]], number: int | None = None
) -> tuple[dict[str, PyTree], dict[str, Any]]:
    directory = (Path(run) / "checkpoints").absolute()
    found = integrity.newest(directory, targets, set_aside=False, only=number)
    if found is None:
        raise CheckpointError(
            f"{run} holds no checkpoint: is it the directory of a run that has started training?"
        )
    return found
