"""A checkpoint on disk: finding the newest that is whole, checking every file and leaf of it, setting aside one that is not.

Orbax raises all kinds of exceptions at truncated files, and none at a flipped byte; hence two lists of checksums, one of leaves (in `meta`) and
one of files. Used through `jaxgan.checkpoint`.
"""

from __future__ import annotations

import gc
import json
import logging
import re
import shutil
import sys
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from jaxgan.errors import CheckpointError
from jaxgan.state import PyTree

FORMAT = 1
"""Version of the layout of a checkpoint."""

FILES = "files.json"
"""Size and CRC-32 of every file of a checkpoint, written once it is complete; a checkpoint without it is judged by its leaves alone."""


class CheckpointWarning(UserWarning):
    """A damaged checkpoint was passed over."""


class _Damaged(Exception):
    """What is wrong with one checkpoint, in words that follow "checkpoint 128 is damaged: "."""


def numbers(directory: Path) -> list[int]:
    """Numbers of the complete checkpoints, ascending."""
    return sorted(
        int(path.name)
        for path in directory.glob("*")
        if re.fullmatch("0|[1-9][0-9]*", path.name) and path.is_dir()
    )


def newest(
    directory: Path, targets: Any, set_aside: bool, only: int | None = None
) -> tuple[dict[str, PyTree], dict[str, Any]] | None:
    """(items, meta) of the newest undamaged checkpoint, or of the number `only`; None if there is none at all.

    targets: by item, or meta -> that. set_aside: damaged ones are renamed, by all processes together, which agree on the checkpoint.
    """
    passed: dict[int, str] = {}
    while waiting := [
        number for number in numbers(directory) if number not in passed and only in (None, number)
    ]:
        number, problem, found = waiting[-1], "", None
        try:
            found = _read(directory / str(number), targets)
        except _Damaged as error:
            problem = str(error)
        if (not set_aside or _everywhere(found is not None)) and found is not None:
            return found
        passed[number] = problem or "another process found it damaged"
        place = _set_aside(directory, number) if set_aside else "left in place"
        line = f"checkpoint {number} in {directory} is damaged: {passed[number]}; {place}, and the one before it is used"
        warnings.warn(line, CheckpointWarning, stacklevel=3)
    damaged = sorted(path.name for path in directory.glob("*.damaged*"))
    if passed or damaged:
        reasons = "; ".join(
            f"{number}: {problem}" for number, problem in passed.items()
        ) or ", ".join(damaged)
        raise CheckpointError(
            f"every checkpoint in {directory} is damaged ({reasons}): start again in another run directory"
        )
    return None


def _everywhere(ok: bool) -> bool:
    """Whether `ok` in every process, so that all of them settle on the same checkpoint."""
    return (
        ok
        if jax.process_count() == 1
        else bool(multihost_utils.process_allgather(np.array(ok)).all())
    )


def _set_aside(directory: Path, number: int) -> str:
    """Rename a checkpoint to the first free `<number>.damaged`, once for all processes; what was done, in words."""
    done = "renamed"
    if jax.process_index() == 0:
        names = (f"{number}.damaged{suffix}" for suffix in ["", *(f".{i}" for i in range(2, 1000))])
        name = next(name for name in names if not (directory / name).exists())
        try:
            (directory / str(number)).rename(directory / name)
        except OSError as error:
            raise CheckpointError(
                f"the damaged checkpoint {number} in {directory} cannot be renamed ({_reason(error)}): permit writing there"
            ) from None
        done = f"renamed {name}"
    if jax.process_count() > 1:
        # Named after what all processes know: those that come late no longer see which name was free.
        multihost_utils.sync_global_devices(f"jaxgan set {number} aside")
    return done


def _read(path: Path, targets: Any) -> tuple[dict[str, PyTree], dict[str, Any]]:
    """(items, meta) of one checkpoint, every leaf compared with its checksum. Raises `_Damaged`, or `CheckpointError` where it does not fit."""
    meta = _read_meta(path)
    if meta["format"] > FORMAT:
        raise CheckpointError(
            f"{path} has format {meta['format']}, newer than this version reads ({FORMAT}): update jaxgan"
        )
    items = {}
    for name, target in (targets(meta) if callable(targets) else targets).items():
        if name not in meta["leaves"]:
            raise _Damaged(f"meta/metadata lists no leaves of item {name}")
        wrong = mismatches(target, meta["leaves"][name])
        if wrong:
            raise CheckpointError(
                f"{path} does not fit this config or version ({'; '.join(wrong)}): use the config it was trained with"
            )
        items[name] = _read_item(path, name, target)
        for leaf_path, leaf in paths(items[name]):
            if describe(leaf) != meta["leaves"][name][leaf_path]:
                raise _Damaged(f"leaf {leaf_path} of item {name} does not match its checksum")
    return items, meta


def _alone() -> ocp.options.MultiprocessingOptions:
    """This process reads for itself and waits for no other: `checkpoint.load` may be called in one of them, for which the rest would never come."""
    here = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=here, active_processes={here}, barrier_sync_key_prefix=f"process{here}"
    )


def _read_meta(path: Path) -> dict[str, Any]:
    _check_files(path, "meta")

    def read():
        options = _alone()
        with ocp.Checkpointer(
            ocp.JsonCheckpointHandler(multiprocessing_options=options),
            multiprocessing_options=options,
        ) as reader:
            meta = reader.restore(path / "meta")
        checksum = meta.pop("crc32")
        return meta, checksum == meta_checksum(meta)

    found, reason = guarded(read, path)
    if found is None:
        raise _Damaged(f"meta/metadata cannot be read ({reason})")
    meta, right = found
    if not right:
        raise _Damaged("meta/metadata does not match its checksum")
    if not _is_count(meta.get("format")) or (meta["format"] <= FORMAT and not _is_whole(meta)):
        raise _Damaged("meta/metadata holds something else than the description of a checkpoint")
    if meta["format"] <= FORMAT and str(meta["images"]) != path.name:
        raise _Damaged(f"meta/metadata is of another checkpoint, {meta['images']}")
    return meta


def _is_whole(meta: dict[str, Any]) -> bool:
    """Whether a meta item has the fields that every checkpoint has, each of its type: whoever wrote it may have given it a checksum as well."""
    kinds = {"family": str, "config": dict, "leaves": dict}
    numbers = [meta.get("step"), meta.get("images"), meta.get("attempt", 0)]
    if not all(map(_is_count, numbers)) or not all(
        isinstance(meta.get(name), kind) for name, kind in kinds.items()
    ):
        return False
    return all(
        isinstance(leaves, dict) and all(map(_is_description, leaves.values()))
        for leaves in meta["leaves"].values()
    )


def _is_description(value: Any) -> bool:
    """Whether `value` is what `describe` gives."""
    match value:
        case [str(), [*shape], checksum]:
            return all(map(_is_count, (*shape, checksum)))
    return False


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _read_item(path: Path, name: str, target: PyTree) -> PyTree:
    _check_files(path, name)
    host = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), target)

    def read():
        with ocp.StandardCheckpointer(multiprocessing_options=_alone()) as reader:
            return reader.restore(path / name, host)

    item, reason = guarded(read, path)
    if reason is not None:
        raise _Damaged(f"item {name} cannot be read ({reason})")
    return item


def guarded(action: Callable[[], Any], path: Path | None = None) -> tuple[Any, str | None]:
    """(result, None), or (None, why not) for any exception, as Orbax raises all kinds, bare `Exception` among them.

    Silences what Orbax leaves behind when it fails: a log of every thread, coroutines never awaited.
    """
    logger, hook, reason = logging.getLogger("absl"), sys.unraisablehook, None
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda unraisable: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return action(), None
            except Exception as error:
                reason = _reason(error, path)
            gc.collect()
            time.sleep(0.2)  # its threads are still failing one by one
        return None, reason
    finally:
        sys.unraisablehook = hook
        logger.setLevel(level)


def _check_files(path: Path, item: str) -> None:
    """Raise `_Damaged` unless every file of an item (and of the checkpoint itself) is there and as it was written."""
    if not (path / item).is_dir():
        raise _Damaged(f"item {item} is missing")
    for folder in (path, path / item):
        if not (folder / "commit_success.txt").is_file():
            raise _Damaged(f"{(folder / 'commit_success.txt').relative_to(path)} is missing")
    if not (
        path / FILES
    ).is_file():  # the run was killed between the commit and the writing of the list
        return
    try:
        files = json.loads((path / FILES).read_text())
        wanted = {name: (int(size), int(checksum)) for name, (size, checksum) in files.items()}
    except (OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        raise _Damaged(f"{FILES} cannot be read") from None
    for name, (size, checksum) in wanted.items():
        if "\0" in name or not set(name.split("/")).isdisjoint({"", ".", ".."}):
            raise _Damaged(f"{FILES} lists what is no file of a checkpoint")
        if "/" in name and not name.startswith(f"{item}/"):
            continue
        file = path / name
        if not file.is_file():
            raise _Damaged(f"file {name} is missing")
        if file.stat().st_size != size:
            raise _Damaged(f"file {name} has {file.stat().st_size} bytes instead of {size}")
        if _file_checksum(file) != checksum:
            raise _Damaged(f"file {name} does not match its checksum")


def require_items(path: Path, remove: bool) -> None:
    """Raise FileNotFoundError unless every item of a checkpoint just written has its data.

    Orbax waits for the threads that write the items, but does not ask whether they have: one that was ended from outside leaves a hole.

    Args:
      remove: take one with a hole away, so that nobody reads it.
    """
    missing = [
        file
        for file in ("meta/metadata", "state/_METADATA", "sampler/_METADATA")
        if not (path / file).is_file()
    ]
    trees = [path / item for item in ("state", "sampler")]
    missing += [
        f"{tree.name}/manifest.ocdbt"
        for tree in trees
        if not (tree / "manifest.ocdbt").is_file() and not any(tree.rglob(".zarray"))
    ]
    if missing:
        if remove:
            shutil.rmtree(path, ignore_errors=True)
        raise FileNotFoundError(f"{missing[0]} was not written")


def write_files(path: Path) -> None:
    """Write the list of files of a checkpoint that is complete."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    listed = {
        file.relative_to(path).as_posix(): [file.stat().st_size, _file_checksum(file)]
        for file in files
    }
    partial = path / f".{FILES}.tmp"
    partial.write_text(json.dumps(listed, indent=0))
    partial.rename(path / FILES)


def _file_checksum(file: Path) -> int:
    checksum = 0
    with open(file, "rb") as stream:
        while block := stream.read(1 << 22):
            checksum = zlib.crc32(block, checksum)
    return checksum


def mismatches(target: PyTree, leaves: dict[str, list]) -> list[str]:
    """How stored leaves differ from `target`: at most three, in words."""
    wanted = {path: _kind(leaf) for path, leaf in paths(target)}
    stored = {path: f"{dtype}{shape}" for path, (dtype, shape, _) in leaves.items()}
    wrong = [
        f"{path}: stored {stored.get(path, 'nothing')}, expected {wanted.get(path, 'nothing')}"
        for path in [*wanted, *(path for path in stored if path not in wanted)]
        if stored.get(path) != wanted.get(path)
    ]
    return wrong if len(wrong) <= 3 else [*wrong[:3], f"and {len(wrong) - 3} more"]


# ------------------------------------------------------------------------------------------------------------------------ leaves


def to_host(tree: PyTree) -> PyTree:
    """Copies in host memory; of arrays over several processes too, which must be whole on each device."""
    jax.tree.map(
        lambda leaf: (
            leaf.copy_to_host_async()
            if isinstance(leaf, jax.Array) and leaf.is_fully_addressable
            else None
        ),
        tree,
    )
    # A copy, as on CPU the array is otherwise a view of a buffer that the next step is given to overwrite.
    return jax.tree.map(lambda leaf: np.array(leaf, copy=True), tree)


def to_device(tree: PyTree) -> PyTree:
    """Copies on the default device, uncommitted, so that jit and pmap both take them."""
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), tree)


def paths(tree: PyTree) -> list[tuple[str, Any]]:
    """Leaves and their names, such as "players/generator/params/hidden"."""
    return [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def _kind(leaf: Any) -> str:
    return f"{leaf.dtype.name}{list(leaf.shape)}"


def describe(leaf: np.ndarray) -> list:
    """[dtype, shape, CRC-32 of the bytes]."""
    return [
        leaf.dtype.name,
        list(leaf.shape),
        zlib.crc32(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data),
    ]


def meta_checksum(meta: dict[str, Any]) -> int:
    """CRC-32 of a meta item without its own `crc32`."""
    return zlib.crc32(json.dumps(meta, sort_keys=True).encode())


_SYSTEM_REASONS = re.compile(
    r"No space left on device|Disk quota exceeded|File too large|Read-only file system|Permission denied|Input/output error"
)


def _reason(error: BaseException | None, path: Path | None = None) -> str:
    """The few words of a long error that a person can use: what the system said, or the first line, and the file under `path`."""
    texts = []
    while error is not None:
        texts.append(error.strerror or str(error) if isinstance(error, OSError) else str(error))
        error = error.__cause__ or error.__context__
    text = "\n".join(texts)
    file = re.search(re.escape(str(path)) + r"/([^\s\"':;,\]]+)", text) if path else None
    said = _SYSTEM_REASONS.search(text)
    first = (
        said.group()
        if said
        else (
            next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
        )[:160]
    )
    return f"{file.group(1)}: {first}" if file and file.group(1) not in first else first
