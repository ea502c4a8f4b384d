"""Decoded images on disk, mapped into memory: made once, found again, never half.

An entry is a folder `<options>-<stamp>/` with `image.raw` (of pairs `a.raw` and `b.raw`; of layouts also `layout.raw`, `instance.raw`), `label.raw`
and `meta.json`. Attributes are not kept, so that another choice of them finds the same images; `row.raw` then tells which of the source's examples
these are. Of a set that is streamed an entry holds no images, only what was found when all were looked at: which can be used, of what kind.
An entry is written under another name, flushed to the disk and then renamed, so that a folder of that name is whole whenever the process
or the machine stopped.
`<stamp>` follows the source's files: when they change, so does the name, and the outdated entry is removed.
`meta.json` holds checksums of itself and of the arrays. Arrays of up to 2 GB together are compared with theirs when the entry is opened (0.4 s for 1 GB,
see `checked`); of larger sets each block of 64 MB is when it is first read. A damaged entry is made again, with one line that says so.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from jaxgan.data import decoding
from jaxgan.data.checked import Checked, Checksums, blocks, first_wrong
from jaxgan.data.images import Form
from jaxgan.data.source import CACHE_NAME, Source
from jaxgan.errors import DataError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

FORMAT = 4  # part of every entry's name: raise it when decoding changes
CHECKED_BYTES = 2 << 30
"""Arrays of an entry that take no more than this together are checked when it is opened."""
_TYPES = {"label": ("int32", "int64"), "row": ("int64",)}
"""Of the arrays of an entry; all others are images or maps, uint8 or uint16."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR)


@dataclass(frozen=True)
class Entry:
    """A whole set on disk; `arrays` are read-only maps of its files, as `Checked` where they have not been compared with their checksums yet.

    parts: dtype and shape [N, ...] of the images of a set that is streamed. unknown: whether its label maps have pixels of no known class.
    """

    folder: Path
    arrays: dict[str, np.ndarray]
    classes: tuple[str, ...]
    fingerprint: str
    skipped: tuple[str, ...]
    parts: dict[str, tuple[str, tuple[int, ...]]]
    unknown: bool


class Reading(NamedTuple):
    """How a source is read: what its images are brought to, and the options of `jaxgan.data.open` of the same names."""

    form: Form
    skip_bad: bool = False
    progress: bool = True
    stream: bool = False


def fetch(source: Source, reading: Reading, cache_dir: Path | None) -> Entry:
    """The entry for `source` read so, decoded now if there is none.

    Looked for and made in `cache_dir`, else in the folder that JAXGAN_CACHE names, else beside the source, else (where that is not
    writable) in ~/.cache/jaxgan. Several processes may call this at once: one decodes, the others wait for it. With `stream` all images are decoded and
    looked at too, but none is kept. A damaged entry is made again, which is said on standard error.

    Raises DataError: images that cannot be used (see `decoding.settle`), a full disk, no writable folder.
    """
    assert source.home is not None
    places = _places(source.home, cache_dir)
    named = [
        (place, _names(source, reading.form, shared, reading.stream)) for place, shared in places
    ]
    damage: dict[Path, str] = {}
    entry = next(
        (
            found
            for place, names in named
            if (found := _open(place / "-".join(names), source, damage))
        ),
        None,
    )
    for place, names in [] if entry else named:
        try:
            with _lock(place, names[0]):
                # Another process may have made it while this one waited.
                entry = _open(place / "-".join(names), source, damage)
                if entry is None:
                    _say_damaged(source, damage, place)
                    entry = _build(source, reading, place, names)
                break
        except _NotWritable:
            continue
    if entry is None:
        tried = " nor ".join(str(place) for place, _ in named)
        raise DataError(
            f"the decoded images of {source.name} cannot be written to {tried}: set JAXGAN_CACHE (or cache_dir) to a writable folder"
        )
    if not reading.skip_bad:
        decoding.refuse_bad(source.name, list(entry.skipped), len(source.files))
    return entry


class _NotWritable(Exception):
    pass


def _places(home: Path, cache_dir: Path | None) -> list[tuple[Path, bool]]:
    """Folders to look into, and whether sources of several places share each."""
    chosen = cache_dir or os.environ.get("JAXGAN_CACHE")
    if chosen:
        return [(Path(chosen).expanduser(), True)]
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [(home, False), (user / "jaxgan", True)]


def _names(source: Source, form: Form, shared: bool, stream: bool) -> tuple[str, str]:
    """An entry's name: what was asked for, and the state of the files. In the source's own folder, which may move, paths do not count."""
    assert source.home is not None
    asked = [
        FORMAT,
        source.identity,
        form.size,
        form.channels,
        str(source.home.resolve()) if shared else None,
    ]
    if form.size is not None and form.resize != "cover":
        asked.append(form.resize)
    if stream:
        asked.append("stream")
    return _hash(asked), _hash(source.stamp)


def _hash(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=8).hexdigest()


class _Damaged(Exception):
    """What is wrong with an entry, in words."""


def _open(folder: Path, source: Source, damage: dict[Path, str] | None = None) -> Entry | None:
    """The entry in `folder`; None where there is none or it is damaged, which `damage` is told."""
    try:
        return _read(folder, source) if folder.is_dir() else None
    except _Damaged as error:
        if damage is not None:
            damage[folder] = str(error)
        return None


def _say_damaged(source: Source, damage: dict[Path, str], place: Path) -> None:
    for folder, reason in damage.items():
        where = "" if folder.parent == place else f" into {place}"
        print(
            f"the decoded images of {source.name} in {folder} are damaged ({reason}): decoding them again{where}",
            file=sys.stderr,
            flush=True,
        )


def _read(folder: Path, source: Source) -> Entry:
    """The entry of `source` in `folder`, its arrays checked or `Checked`. Raises _Damaged."""
    meta = _read_meta(folder)
    try:
        kinds = {name: _kind(name, *kind) for name, kind in meta["arrays"].items()}
        parts = {name: _kind(name, *kind) for name, kind in meta["parts"].items()}
        sizes = [math.prod(shape) * np.dtype(dtype).itemsize for dtype, shape in kinds.values()]
        at_once = sum(sizes) <= CHECKED_BYTES
        arrays = {
            name: _map(folder, name, kind, meta["checksums"][name], at_once)
            for name, kind in kinds.items()
        }
        images = tuple(parts or (name for name in kinds if name not in _TYPES))
        lengths = {shape[0] for _, shape in (*kinds.values(), *parts.values())}
        if (
            images != source.parts
            or len(lengths) > 1
            or (
                "row" in arrays
                and not 0 <= arrays["row"].min() <= arrays["row"].max() < len(source.files)
            )
        ):
            raise ValueError
        return Entry(
            folder,
            arrays,
            tuple(meta["classes"]),
            meta["fingerprint"],
            tuple(meta["skipped"]),
            parts,
            meta["unknown"],
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError):
        raise _Damaged("meta.json does not describe such an entry") from None


def _read_meta(folder: Path) -> dict[str, Any]:
    try:
        meta = json.loads((folder / "meta.json").read_text())
        if "damaged" in meta:
            raise _Damaged(str(meta["damaged"]))
        checksum = meta.pop("checksum")
    except FileNotFoundError:
        raise _Damaged("meta.json is missing") from None
    except OSError as error:
        raise _Damaged(f"meta.json cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _Damaged("meta.json cannot be read") from None
    if checksum != _meta_checksum(meta):
        raise _Damaged("meta.json does not match its checksum")
    return meta


def _meta_checksum(meta: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(meta).encode(), digest_size=16).hexdigest()


def _kind(name: str, dtype: str, shape: list[int]) -> tuple[str, tuple[int, ...]]:
    """Raises ValueError or TypeError for what no entry holds; a name is part of a path."""
    if (
        not name.isidentifier()
        or dtype not in _TYPES.get(name, ("uint8", "uint16"))
        or not all(type(side) is int and side > 0 for side in shape)
    ):
        raise ValueError
    return dtype, tuple(shape)


def _map(
    folder: Path, name: str, kind: tuple[str, tuple[int, ...]], checksums: list[int], at_once: bool
) -> Any:
    """One array of an entry, compared with its checksums now or (images, unless `at_once`) when it is read. Raises _Damaged."""
    file, (dtype, shape) = folder / f"{name}.raw", kind
    try:
        size, wanted = file.stat().st_size, math.prod(shape) * np.dtype(dtype).itemsize
        if size != wanted:
            raise _Damaged(f"{file.name} has {size} bytes instead of {wanted}")
        if len(checksums) != blocks(size):
            raise ValueError
        array = np.memmap(file, dtype, "r", shape=shape)
    except OSError as error:
        raise _Damaged(f"{file.name} cannot be read: {error.strerror or error}") from None
    if not at_once and name not in _TYPES:
        return Checked(
            array,
            checksums,
            lambda block: _discard(
                folder, f"{file.name}, block {block} of 64 MB, does not match its checksum"
            ),
        )
    if (wrong := first_wrong(array, checksums, range(len(checksums)))) is not None:
        raise _Damaged(f"{file.name}, block {wrong} of 64 MB, does not match its checksum")
    return array


def _discard(folder: Path, reason: str) -> DataError:
    """Give up an entry found damaged while it is used: its meta.json says so, and it is made again when it is next opened."""
    try:
        (folder / "meta.json").write_text(json.dumps({"damaged": reason}))
        remedy = "run the same command again, which decodes them again"
    except OSError:
        remedy = "remove that folder, or set JAXGAN_CACHE to a writable one, and run the same command again"
    return DataError(f"the decoded images in {folder} are damaged ({reason}): {remedy}")


@contextmanager
def _lock(place: Path, name: str) -> Iterator[None]:
    """Held while decoding into `place`; the system drops it when the process dies. Raises _NotWritable."""
    try:
        if (
            place.name == CACHE_NAME
            and not place.exists()
            and not place.parent.stat().st_mode & 0o222
        ):
            raise _NotWritable  # root could write, but the folder is marked as not to be written by anyone
        place.mkdir(parents=True, exist_ok=True)
        file = (place / f"{name}.lock").open("a")
    except OSError as error:
        if error.errno in _REFUSED:
            raise _NotWritable from None
        raise _write_error(error, place) from None
    with file:
        locked = False
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                locked = True
            except OSError:  # a file system without locks: two processes may then both decode, and the first to finish wins
                pass
        if locked:
            for left in place.glob(
                f"{name}-*.partial"
            ):  # by a process that was killed: no other can be writing now
                shutil.rmtree(left, ignore_errors=True)
        yield


def _build(source: Source, reading: Reading, place: Path, names: tuple[str, str]) -> Entry:
    final = place / "-".join(names)
    partial = place / f"{final.name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        try:
            partial.mkdir()
            _write(source, reading, partial)
            _commit(partial, final, source)
        except (
            OSError
        ) as error:  # what goes wrong in reading is a BadImage: this is the cache's disk
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise _NotWritable from None
            raise _write_error(error, place, source) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for old in place.glob(f"{names[0]}-*"):
        if old != final and not old.name.endswith(".partial"):
            shutil.rmtree(old, ignore_errors=True)
    entry = _open(final, source)
    if entry is None:
        raise DataError(
            f"the decoded images of {source.name} cannot be read back from {final}: check that disk, or set JAXGAN_CACHE to another"
        )
    return entry


def _write_error(error: OSError, place: Path, source: Source | None = None) -> DataError:
    what = "the decoded images" if source is None else f"the decoded images of {source.name}"
    if error.errno in _FULL:
        remedy = "free space, set JAXGAN_CACHE (or cache_dir) to a folder with room, or stream (--stream)"
        return DataError(f"the disk of {place} is full, so {what} cannot be kept: {remedy}")
    return DataError(
        f"{what} cannot be written to {place} ({error.strerror or error}): set JAXGAN_CACHE (or cache_dir) to another folder"
    )


def _write(source: Source, reading: Reading, folder: Path) -> None:
    """Plain writes, not a writable map: on a full disk a map kills the process, a write says so."""
    form, skip_bad, progress, stream = reading
    tally = decoding.Tally()
    like: decoding.Images = ()
    classes, unknown = source.class_names(), False
    fingerprints, checksums = (
        [decoding.Fingerprint() for _ in source.parts],
        {part: Checksums() for part in source.parts},
    )
    with ExitStack() as stack:
        outputs = (
            []
            if stream
            else [stack.enter_context((folder / f"{part}.raw").open("wb")) for part in source.parts]
        )
        for example in decoding.passed(source, form, progress, tally):
            if tally.bad and not skip_bad:
                continue  # an error will follow; go on only to count
            like = example
            unknown = unknown or any(
                part == "layout" and bool((ids == len(classes)).any())
                for part, ids in zip(source.parts, example)
            )
            for pixels, fingerprint in zip(example, fingerprints):
                fingerprint.add(pixels)
            for pixels, output, sums in zip(example, outputs, checksums.values()):
                output.write(np.ascontiguousarray(pixels).data)
                sums.add(pixels)
        for output in outputs:
            _flush(output)
    decoding.settle(source, form, tally, skip_bad)
    parts = {
        part: [str(pixels.dtype), [len(tally.kept), *pixels.shape]]
        for part, pixels in zip(source.parts, like)
    }
    arrays: dict[str, Any] = {} if stream else dict(parts)
    others = {} if source.labels is None else {"label": source.labels[tally.kept]}
    rows = (
        {} if source.attributes is None and not stream else {"row": np.array(tally.kept, np.int64)}
    )
    for name, array in (others | rows).items():
        with (folder / f"{name}.raw").open("wb") as file:
            file.write(array.tobytes())
            _flush(file)
        checksums[name] = Checksums()
        checksums[name].add(array)
        arrays[name] = [str(array.dtype), list(array.shape)]
    hashes = [
        one.finish(others, classes, pixels.shape, str(pixels.dtype))
        for one, pixels in zip(fingerprints, like)
    ]
    meta = {
        "arrays": arrays,
        "parts": parts if stream else {},
        "classes": classes,
        "unknown": unknown,
        "fingerprint": decoding.joined(hashes),
        "skipped": tally.bad,
        "source": source.name,
        "checksums": {name: checksums[name].finish() for name in arrays},
    }
    meta["checksum"] = _meta_checksum(json.loads(json.dumps(meta)))
    with (folder / "meta.json").open("wb") as file:
        file.write(json.dumps(meta, indent=1).encode())
        _flush(file)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _commit(partial: Path, final: Path, source: Source) -> None:
    """Give a whole entry its name. Where another process was first, its entry stays: it has the same content."""
    _sync_folder(partial)
    if final.exists() and _open(final, source) is None:
        shutil.rmtree(final)  # damaged
    try:
        partial.rename(final)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    _sync_folder(final.parent)


def _sync_folder(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
