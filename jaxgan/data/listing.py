"""Which files lie in a folder or a zip file, and their bytes.

Links are followed; a folder that two links lead to counts twice, and a link to a folder above it is
cut. What cannot be read is listed with the reason, never left out: links that lead nowhere, images
of unknown formats, images without an extension, two members of one name.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from jaxgan.data import filenames
from jaxgan.data.images import BadImage
from jaxgan.data.source import CACHE_NAME
from jaxgan.errors import DataError

MAX_FILE_BYTES = 2**30


class Facts(NamedTuple):
    """Size in bytes and time of change of a file; `problem`: why it is no usable image, or ""."""

    size: int
    time: int
    problem: str = ""


@dataclass(frozen=True)
class Place:
    """A folder or an archive that holds images.

    names: its files, relative to it, composed (NFC), in a fixed order.
    load: the bytes of one of them; raises OSError or BadImage.
    stamp: JSON-able; changes when these files do.
    home: where the cache of the decoded images would lie.
    identity: what kind of place it is, to tell the caches of one `home` apart.
    problems: why some of its images cannot be used.
    close: releases what `load` holds open.
    """

    names: list[str]
    load: Callable[[str], bytes]
    stamp: Callable[[list[str]], Any]
    home: Path
    identity: str
    problems: Mapping[str, str] = field(default_factory=dict)
    close: Callable[[], None] = lambda: None

    @property
    def images(self) -> list[str]:
        """The images among its files, those that cannot be used too."""
        return [name for name in self.names if filenames.is_image(name) or name in self.problems]


# ---------------------------------------------------------------------------------------- folders


def in_folder(path: Path) -> Place:
    """List the files below `path`. Raises DataError: no such folder, or one that cannot be read."""
    if not path.is_dir():
        what = "is a file, not a folder" if path.exists() else "does not exist"
        raise DataError(f"{path} {what}: name the folder that holds the images")
    stored: dict[str, str] = {}
    problems: dict[str, str] = {}
    facts = walk(path)
    for file in facts:
        name = filenames.nfc(file)
        if name in stored:
            name, first = file, name
            problems[name] = f"has the same name as {first}, in another form of Unicode: rename one"
        elif facts[file].problem:
            problems[name] = facts[file].problem
        stored[name] = file
    return Place(
        sorted(stored, key=filenames.order),
        lambda name: load(path / stored[name]),
        lambda chosen: [[name, *facts[stored[name]], problems.get(name, "")] for name in chosen],
        path / CACHE_NAME,
        "folder",
        problems,
    )


def walk(path: Path) -> dict[str, Facts]:
    """Return the facts of every file below a folder by its relative name, in a fixed order."""
    found: dict[str, Facts] = {}
    waiting: list[tuple[str, tuple[str, ...]]] = [("", ())]
    while waiting:
        folder, above = waiting.pop()
        full = os.path.join(path, folder)
        real = os.path.realpath(full)
        if real in above:
            continue
        for name in _entries(full):
            file, target = folder + name, os.path.join(full, name)
            try:
                info = os.stat(target)
            except OSError as error:
                found[file] = Facts(0, 0, _unreachable(target, error))
                continue
            if stat.S_ISDIR(info.st_mode):
                waiting.append((f"{file}/", (*above, real)))
            elif stat.S_ISREG(info.st_mode):
                found[file] = Facts(info.st_size, info.st_mtime_ns, _problem(target))
            elif filenames.is_image(name):
                found[file] = Facts(0, 0, "is no regular file")
    return dict(sorted(found.items(), key=lambda item: filenames.order(item[0])))


def _entries(folder: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if not filenames.ignored(name)]
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{folder} cannot be read: {reason}: make it readable") from None


def _unreachable(path: str, error: OSError) -> str:
    if not os.path.islink(path) or error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        return f"cannot be read ({error.strerror or error})"
    if error.errno == errno.ELOOP:
        return "is a link in a circle"
    return f"is a link to {os.readlink(path)}, which does not exist"


def _problem(path: str) -> str:
    """Why a regular file is an image that cannot be used; "" if it can, or is none."""
    if filenames.telling(path):
        return filenames.problem_of_name(path)
    try:
        with open(path, "rb") as file:
            return filenames.problem_of_content(path, file.read(filenames.HEAD))
    except OSError:
        return ""  # whatever it is, it is not known to be an image


def load(path: Path, *, any_name: bool = False) -> bytes:
    """Return the bytes of a file. Raises BadImage if `walk` has a problem with it, or it is large.

    Args:
      any_name: take an image without an extension too.
    """
    try:
        info = path.stat()
    except OSError as error:
        raise BadImage(_unreachable(str(path), error)) from None
    problem = filenames.problem_of_name(path.name) if any_name else _problem(str(path))
    problem = problem if stat.S_ISREG(info.st_mode) else "is no regular file"
    if problem:
        raise BadImage(problem)
    if info.st_size > MAX_FILE_BYTES:
        raise BadImage(f"is larger than {MAX_FILE_BYTES} bytes")
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadImage(f"cannot be read ({error.strerror or error})") from None


# --------------------------------------------------------------------------------------- archives


def in_archive(path: Path) -> Place:
    """List the files in a zip file. Raises DataError: no such file, no zip."""
    if not path.is_file():
        what = "is a folder, not a zip file" if path.is_dir() else "does not exist"
        raise DataError(f"{path} {what}: name the zip file that holds the images")
    try:
        changed = path.stat()
        packed = zipfile.ZipFile(path)
    except Exception as error:  # BadZipFile, OSError, NotImplementedError, UnicodeDecodeError, ...
        raise DataError(
            f"{path} is not a readable zip file ({error}): pack or fetch it again"
        ) from None
    infos: dict[str, zipfile.ZipInfo] = {}
    problems: dict[str, str] = {}
    for info in packed.infolist():
        name = _member(info)
        if not name:
            continue
        first = infos.setdefault(name, info)
        if first is not info and (first.CRC, first.file_size) != (info.CRC, info.file_size):
            problems[name] = "is twice in the zip file, with different content: pack it again"
        elif problem := _problem_inside(packed, info, name):
            problems[name] = problem

    def read(name: str) -> bytes:
        if name in problems:
            raise BadImage(problems[name])
        if infos[name].file_size > MAX_FILE_BYTES:
            raise BadImage(f"unpacks to more than {MAX_FILE_BYTES} bytes")
        try:
            return packed.read(infos[name])
        except Exception as error:  # wrong checksum, password, unknown compression, damaged stream
            raise BadImage(f"cannot be unpacked ({error})") from None

    stamp = [[path.name, changed.st_size, changed.st_mtime_ns]]
    ordered = sorted(infos, key=filenames.order)
    home, identity = path.parent / CACHE_NAME, f"zip {path.name}"
    return Place(ordered, read, lambda chosen: stamp, home, identity, problems, packed.close)


def _member(info: zipfile.ZipInfo) -> str:
    """The path of a member, tidied: "a/b.png"; "" for folders and what is ignored."""
    raw = info.filename
    if not info.flag_bits & 0x800:  # Macs write UTF-8 without saying so
        with contextlib.suppress(UnicodeError):
            raw = raw.encode("cp437").decode("utf-8")
    raw = filenames.nfc(raw.replace("\\", "/"))
    parts = [part for part in raw.split("/") if part not in ("", ".")]
    folder = raw.endswith("/")
    hidden = any(filenames.ignored(part) for part in parts if part != "..")
    return "" if folder or hidden else "/".join(parts)


def _problem_inside(packed: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> str:
    """As `_problem`, for a member of a zip file."""
    if stat.S_ISLNK(info.external_attr >> 16) and info.create_system == 3:
        return "is a link, which is not followed in a zip file: pack the file that it leads to"
    if filenames.is_image(name) and ".." in name.split("/"):
        return "has a path that leads out of the zip file: pack it again, without .."
    if filenames.telling(name):
        return filenames.problem_of_name(name)
    try:
        with packed.open(info) as file:
            return filenames.problem_of_content(name, file.read(filenames.HEAD))
    except Exception:  # damaged, encrypted: not known to be an image
        return ""
