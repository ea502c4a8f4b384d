"""Checkpoints of a run: saved while training continues, whole or not at all, checked leaf by leaf when read.

A checkpoint is `checkpoints/<images>/` with three items (Orbax): `state` (everything training needs), `sampler` (what `sample` and `translate`
need: step, images, ema) and `meta` (JSON: family, config, versions, a CRC-32 for every leaf of the other two). Orbax itself notices a truncated
file but not a flipped byte, hence the checksums. One that is damaged is named, set aside as `<images>.damaged`, and the one before it is used.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import json
import logging
import re
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from jaxgan.config_io import from_dict
from jaxgan.errors import CheckpointError
from jaxgan.state import Player, PyTree, State

FORMAT = 1
"""Version of the layout of a checkpoint."""

FILES = "files.json"
"""Size and CRC-32 of every file of a checkpoint, written once it is complete; a checkpoint without it is judged by its leaves alone."""

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class CheckpointWarning(UserWarning):
    """A damaged checkpoint was passed over."""


class _Damaged(Exception):
    """What is wrong with one checkpoint, in words that follow "checkpoint 128 is damaged: "."""


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
        return _numbers(self.directory)

    def protect(self, number: int) -> None:
        """Keep checkpoint `number` from now on, however many newer ones there are."""
        self._policy.protected.add(number)

    def save(self, state: State, sampler: PyTree, meta: dict[str, Any]) -> None:
        """Start saving under the number `state.images`; returns once the arrays are copied, so the state may be donated at once.

        Call it only for a state known to be finite, in every process. `meta` is JSON-able; format, versions and checksums are added here.

        Raises `CheckpointError` if that number exists already, if it cannot be written, or if an earlier save failed in the meantime.
        """
        number = int(state.images)
        items = {"state": _to_host(state), "sampler": _to_host(sampler)}
        leaves = {name: {path: _describe(leaf) for path, leaf in _paths(tree)} for name, tree in items.items()}
        meta = {**meta, "format": FORMAT, "step": int(state.step), "images": number, "versions": versions(), "leaves": leaves}
        meta["crc32"] = _meta_checksum(meta)
        arguments = {name: ocp.args.StandardSave(tree) for name, tree in items.items()}
        self.wait()
        self._saving = number
        with self._reported():
            self._check_writable()
            saved = self._open().save(number, args=ocp.args.Composite(**arguments, meta=ocp.args.JsonSave(meta)))
        if not saved:
            raise CheckpointError(f"checkpoint {number} was not saved, as {self.directory} already holds {self.steps}: remove the run or use another")

    def restore(self, abstract_state: State, place: Callable[[PyTree], PyTree] | None = None) -> tuple[State, dict[str, Any]] | None:
        """The newest undamaged checkpoint as (state, meta), or None where there is none yet. Damaged ones are renamed, with a warning.

        Args:
          abstract_state: `jax.eval_shape(init, ...)`: structure, shapes and dtypes.
          place: host arrays -> device arrays; default: uncommitted on the default device, which jit and pmap both accept.

        Raises `CheckpointError` if all are damaged, or if the state is of other shapes than `abstract_state`.
        """
        targets = {"state": abstract_state, "sampler": sampler(abstract_state)}
        found = _newest(self.directory, targets, set_aside=True)
        if found is None:
            return None
        items, meta = found
        return (place or _to_device)(items["state"]), meta

    def wait(self) -> None:
        """Until what is being saved is complete. Raises `CheckpointError` if it could not be written."""
        if self._manager is None or self._saving is None:
            return
        with self._reported():
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
            if jax.process_index() == 0:
                _write_file_list(self.directory / str(self._saving))
        self._saving = None

    def close(self) -> None:
        """`wait`, then release everything. May be called twice."""
        manager = self._manager
        try:
            self.wait()
        finally:
            self._manager, self._saving = None, None
            if manager is not None:
                with _quiet():
                    manager.close()

    def _open(self) -> ocp.CheckpointManager:
        if self._manager is None:
            options = ocp.CheckpointManagerOptions(create=True, cleanup_tmp_directories=True, preservation_policy=self._policy)
            self._manager = ocp.CheckpointManager(self.directory, options=options)
        return self._manager

    def _check_writable(self) -> None:
        """Raise `OSError` where nothing can be written. Asked here, as Orbax's threads wait for minutes for a directory that cannot be made."""
        if jax.process_index() == 0:
            self.directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.directory) as file:
                file.write(b"x" * 4096)

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        """Turns whatever goes wrong inside into one sentence."""
        reason = None
        with _quiet():
            try:
                yield
            except Exception as error:
                reason = _reason(error)
        if reason is not None:
            number, self._saving = self._saving, None
            remedy = "nothing half-written is taken for a checkpoint; free space or permit writing there and run the same command again"
            raise CheckpointError(f"checkpoint {number} could not be written to {self.directory} ({reason}): {remedy}")


class _Keep:
    """Orbax preservation policy: the newest `count`, and the protected ones."""

    def __init__(self, count: int, protected: set[int]):
        self.count, self.protected = count, protected

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        newest = {info.step for info in sorted(checkpoints, key=lambda info: info.step)[-self.count :]}
        return [info.step in newest | self.protected for info in checkpoints]


# ------------------------------------------------------------------------------------------------------- reading without training


def load(run: str | Path) -> tuple[ModuleType, Any, State]:
    """What sampling from a run needs: (family module, config, state with `players` and `extra` empty), from its newest undamaged checkpoint.

    Reads only; safe while the run is training. Raises `CheckpointError` if there is no checkpoint, all are damaged, or the family cannot be
    imported.
    """

    def targets(meta):
        state = _abstract(*_family_and_config(meta))
        return {"sampler": sampler(state)}

    items, meta = _require(run, targets)
    family, config = _family_and_config(meta)
    part = _to_device(items["sampler"])
    return family, config, State(part["step"], part["images"], {}, part["ema"], {})


def initialise_from(run: str | Path, state: State) -> State:
    """`state` with the networks of another run: parameters, statistics and averages; its own fresh optimisers, counters and `extra`.

    For fine-tuning (`--init-from`). Raises `CheckpointError` where the networks are of other shapes.
    """
    items, _ = _require(run, lambda meta: {"state": _abstract(*_family_and_config(meta))})
    source = items["state"]
    ours, theirs = _networks(state), _networks(source)
    wrong = _mismatches(ours, {path: _describe(leaf) for path, leaf in _paths(theirs)})
    if wrong:
        raise CheckpointError(f"the networks of {run} do not fit this config ({'; '.join(wrong)}): start from a run of the same architecture")
    networks = _to_device(theirs)
    players = {name: Player(networks["params"][name], networks["stats"][name], player.opt) for name, player in state.players.items()}
    return state.replace(players=players, ema=networks["ema"])


def _networks(state: State) -> PyTree:
    params = {name: player.params for name, player in state.players.items()}
    return {"params": params, "stats": {name: player.stats for name, player in state.players.items()}, "ema": state.ema}


def _require(run: str | Path, targets: Callable[[dict], dict[str, PyTree]]) -> tuple[dict[str, PyTree], dict[str, Any]]:
    directory = (Path(run) / "checkpoints").absolute()
    found = _newest(directory, targets, set_aside=False)
    if found is None:
        raise CheckpointError(f"{run} holds no checkpoint: is it the directory of a run that has started training?")
    return found


def _family_and_config(meta: dict[str, Any]) -> tuple[ModuleType, Any]:
    try:
        family = importlib.import_module(meta["family"])
    except ImportError as error:
        raise CheckpointError(f"the run's family {meta['family']} cannot be imported ({error}): put its module on the path") from error
    try:
        return family, from_dict(family.Config, meta["config"])
    except ValueError as error:
        raise CheckpointError(f"the run's config does not fit {meta['family']} as installed: {error}") from error


def _abstract(family: ModuleType, config: Any) -> State:
    return jax.eval_shape(functools.partial(family.init, config), jax.random.key(0))


# --------------------------------------------------------------------------------------------------------------- reading, checking


def _numbers(directory: Path) -> list[int]:
    return sorted(int(path.name) for path in directory.glob("*") if path.name.isdecimal() and path.is_dir())


def _newest(directory: Path, targets: Any, set_aside: bool) -> tuple[dict[str, PyTree], dict[str, Any]] | None:
    """(items, meta) of the newest undamaged checkpoint, None if there is none at all. `targets`: by item, or meta -> that."""
    passed: dict[int, str] = {}
    while waiting := [number for number in _numbers(directory) if number not in passed]:
        number, problem, found = waiting[-1], "", None
        try:
            found = _read(directory / str(number), targets)
        except _Damaged as error:
            problem = str(error)
        if _everywhere(found is not None) and found is not None:
            return found
        passed[number] = problem or "another process found it damaged"
        place = _set_aside(directory, number) if set_aside else "left in place"
        line = f"checkpoint {number} in {directory} is damaged: {passed[number]}; {place}, and the one before it is used"
        warnings.warn(line, CheckpointWarning, stacklevel=3)
    damaged = sorted(path.name for path in directory.glob("*.damaged*"))
    if passed or damaged:
        reasons = "; ".join(f"{number}: {problem}" for number, problem in passed.items()) or ", ".join(damaged)
        raise CheckpointError(f"every checkpoint in {directory} is damaged ({reasons}): start again in another run directory")
    return None


def _everywhere(ok: bool) -> bool:
    """Whether `ok` in every process, so that all of them settle on the same checkpoint."""
    return ok if jax.process_count() == 1 else bool(multihost_utils.process_allgather(np.array(ok)).all())


def _set_aside(directory: Path, number: int) -> str:
    names = (f"{number}.damaged{suffix}" for suffix in ["", *(f".{i}" for i in range(2, 1000))])
    name = next(name for name in names if not (directory / name).exists())
    try:
        if jax.process_index() == 0:
            (directory / str(number)).rename(directory / name)
    except OSError as error:
        raise CheckpointError(f"the damaged checkpoint {number} in {directory} cannot be renamed ({_reason(error)}): permit writing there") from None
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"jaxgan renamed {name}")
    return f"renamed {name}"


def _read(path: Path, targets: Any) -> tuple[dict[str, PyTree], dict[str, Any]]:
    """(items, meta) of one checkpoint, every leaf compared with its checksum. Raises `_Damaged`, or `CheckpointError` where it does not fit."""
    meta = _read_meta(path)
    if meta["format"] > FORMAT:
        raise CheckpointError(f"{path} has format {meta['format']}, newer than this version reads ({FORMAT}): update jaxgan")
    items = {}
    for name, target in (targets(meta) if callable(targets) else targets).items():
        wrong = _mismatches(target, meta["leaves"][name])
        if wrong:
            raise CheckpointError(f"{path} does not fit this config or version ({'; '.join(wrong)}): use the config it was trained with")
        items[name] = _read_item(path, name, target)
        for leaf_path, leaf in _paths(items[name]):
            if _describe(leaf) != meta["leaves"][name][leaf_path]:
                raise _Damaged(f"leaf {leaf_path} of item {name} does not match its checksum")
    return items, meta


def _read_meta(path: Path) -> dict[str, Any]:
    _check_files(path, "meta")
    with _damage("meta/metadata cannot be read", path), ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
        meta = reader.restore(path / "meta")
        checksum = meta.pop("crc32")
    if checksum != _meta_checksum(meta):
        raise _Damaged("meta/metadata does not match its checksum")
    return meta


def _read_item(path: Path, name: str, target: PyTree) -> PyTree:
    _check_files(path, name)
    host = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), target)
    with _damage(f"item {name} cannot be read", path), ocp.StandardCheckpointer() as reader:
        return reader.restore(path / name, host)


@contextlib.contextmanager
def _damage(what: str, path: Path) -> Iterator[None]:
    """Turns any exception into `_Damaged`: Orbax raises all kinds at damaged files, bare `Exception` among them."""
    reason = None
    with _quiet():
        try:
            yield
        except Exception as error:
            reason = _reason(error, path)
    if reason is not None:
        raise _Damaged(f"{what} ({reason})")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences what Orbax leaves behind when it fails (a log of every thread, coroutines never awaited); the exception itself passes."""
    logger, hook = logging.getLogger("absl"), sys.unraisablehook
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda unraisable: None
    failed = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
            failed = False
    finally:
        if failed:
            gc.collect()
        sys.unraisablehook = hook
        logger.setLevel(level)


def _check_files(path: Path, item: str) -> None:
    if not (path / item).is_dir():
        raise _Damaged(f"item {item} is missing")
    for folder in (path, path / item):
        if not (folder / "commit_success.txt").is_file():
            raise _Damaged(f"{(folder / 'commit_success.txt').relative_to(path)} is missing")


def _mismatches(target: PyTree, leaves: dict[str, list]) -> list[str]:
    """How stored leaves differ from `target`: at most three, in words."""
    wanted = {path: _kind(leaf) for path, leaf in _paths(target)}
    stored = {path: f"{dtype}{shape}" for path, (dtype, shape, _) in leaves.items()}
    wrong = [
        f"{path}: stored {stored.get(path, 'nothing')}, expected {wanted.get(path, 'nothing')}"
        for path in [*wanted, *(path for path in stored if path not in wanted)]
        if stored.get(path) != wanted.get(path)
    ]
    return wrong if len(wrong) <= 3 else [*wrong[:3], f"and {len(wrong) - 3} more"]


# ------------------------------------------------------------------------------------------------------------------------ leaves


def _to_host(tree: PyTree) -> PyTree:
    """Copies in host memory; of arrays over several processes too, which must be whole on each device."""
    jax.tree.map(lambda leaf: leaf.copy_to_host_async() if isinstance(leaf, jax.Array) and leaf.is_fully_addressable else None, tree)
    # A copy, as on CPU the array is otherwise a view of a buffer that the next step is given to overwrite.
    return jax.tree.map(lambda leaf: np.array(leaf, copy=True), tree)


def _to_device(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), tree)


def _paths(tree: PyTree) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _kind(leaf: Any) -> str:
    return f"{leaf.dtype.name}{list(leaf.shape)}"


def _describe(leaf: np.ndarray) -> list:
    """[dtype, shape, CRC-32 of the bytes]."""
    return [leaf.dtype.name, list(leaf.shape), zlib.crc32(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8))]


def _meta_checksum(meta: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(meta, sort_keys=True).encode())


_SYSTEM_REASONS = re.compile(r"No space left on device|Disk quota exceeded|File too large|Read-only file system|Permission denied|Input/output error")


def _reason(error: BaseException | None, path: Path | None = None) -> str:
    """The few words of a long error that a person can use: what the system said, or the first line, and the file under `path`."""
    texts = []
    while error is not None:
        texts.append(error.strerror or str(error) if isinstance(error, OSError) else str(error))
        error = error.__cause__ or error.__context__
    text = "\n".join(texts)
    file = re.search(re.escape(str(path)) + r"/([^\s\"':;,\]]+)", text) if path else None
    said = _SYSTEM_REASONS.search(text)
    first = said.group() if said else (next((line.strip() for line in text.splitlines() if line.strip()), "no reason given"))[:160]
    return f"{file.group(1)}: {first}" if file and file.group(1) not in first else first
