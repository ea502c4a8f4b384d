"""The IDX format of MNIST: big-endian header `0 0 type ndim`, `ndim` 32-bit sizes, then the values. Plain or gzipped."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from jaxgan.errors import DataError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read(path: Path) -> np.ndarray:
    """One IDX file -> array of the type and shape its header names.

    Raises DataError: no IDX header, fewer or more bytes than the header promises, damaged gzip.
    """
    opener = gzip.open if path.suffix == ".gz" else Path.open
    try:
        with opener(path, "rb") as file:
            dtype, shape = _header(path, file.read(4), file)
            promised = math.prod(shape) * dtype.itemsize
            values = _read_up_to(file, promised + 1)  # one more, to notice surplus bytes
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path} is a damaged or truncated gzip file ({error}): fetch it again"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(values) != promised:
        amount = f"only {len(values)}" if len(values) < promised else "more"
        raise DataError(
            f"{path} is damaged: its header promises {promised} bytes of values, but it holds {amount}; fetch it again"
        )
    array = np.frombuffer(values, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _read_up_to(file, count: int) -> bytearray:
    """At most `count` bytes, in pieces: a damaged header may promise more than fits the memory, and `read(count)` would reserve it all."""
    values = bytearray()
    while len(values) < count and (piece := file.read(min(count - len(values), 2**24))):
        values += piece
    return values


def _header(path: Path, magic: bytes, file) -> tuple[np.dtype, tuple[int, ...]]:
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not magic[3]:
        raise DataError(
            f"{path} is not an IDX file: it begins with bytes {magic.hex(' ') or '(none)'} instead of 00 00 <type> <dimensions>"
        )
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"{path} is truncated within its IDX header: fetch it again")
    return np.dtype(_TYPES[magic[2]]), struct.unpack(f">{magic[3]}I", sizes)


def write(path: Path, array: np.ndarray) -> None:
    """uint8 array -> IDX file, gzipped where the name ends in .gz. The inverse of `read`."""
    if array.dtype != np.uint8:
        raise ValueError(f"only uint8 arrays are written, got {array.dtype}")
    opener = gzip.open if path.suffix == ".gz" else Path.open
    with opener(path, "wb") as file:
        file.write(
            struct.pack(f">HBB{array.ndim}I", 0, 0x08, array.ndim, *array.shape) + array.tobytes()
        )


def find(folder: Path, prefix: str, part: str, kind: str) -> Path | None:
    """The file of `part` ("train" or "test") and `kind` ("images" or "labels") under its usual names, or None."""
    dimensions = 3 if kind == "images" else 1
    for name in ("train",) if part == "train" else ("t10k", "test"):
        for separator in ("-", "."):
            for end in ("", ".gz"):
                path = folder / f"{prefix}{name}-{kind}{separator}idx{dimensions}-ubyte{end}"
                if path.is_file():
                    return path
    return None


def load(folder: Path, prefix: str, part: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Images uint8 [N, H, W, C] and labels int32 [N] (None where no label file lies beside them) of "train" or "test".

    Raises DataError: files missing or damaged, values that are not bytes, as many labels as there are not images.
    """
    images_path = find(folder, prefix, part, "images")
    if images_path is None:
        name = f"{prefix}{'train' if part == 'train' else 't10k'}-images-idx3-ubyte"
        raise DataError(
            f"{folder} holds neither {name} nor {name}.gz: name the folder of the original files (or ?prefix=... before their names)"
        )
    images = read(images_path)
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataError(
            f"{images_path} holds {images.dtype} values in {images.ndim} dimensions, not images (bytes in 3 dimensions)"
        )
    images = images[..., None] if images.ndim == 3 else images
    if images.shape[0] == 0 or 0 in images.shape:
        raise DataError(
            f"{images_path} holds no images (its sizes are {'x'.join(map(str, images.shape))})"
        )
    if images.shape[3] not in (1, 3, 4):
        raise DataError(f"{images_path} has {images.shape[3]} channels; 1, 3 and 4 are supported")
    labels_path = find(folder, prefix, part, "labels")
    labels = None if labels_path is None else _labels(labels_path)
    if labels is not None and len(labels) != len(images):
        raise DataError(
            f"{labels_path} holds {len(labels)} labels, but {images_path.name} holds {len(images)} images: use files that belong together"
        )
    return images, labels


def class_count(folder: Path, prefix: str) -> int:
    """Return the highest label of both parts and one more. Raises DataError: damaged files of labels."""
    paths = [find(folder, prefix, part, "labels") for part in ("train", "test")]
    return max((int(_labels(path).max(initial=-1)) + 1 for path in paths if path), default=0)


def _labels(path: Path) -> np.ndarray:
    labels = read(path)
    if labels.ndim != 1 or labels.dtype.kind not in "ui":
        raise DataError(
            f"{path} holds {labels.dtype} values in {labels.ndim} dimensions, not labels (integers in one dimension)"
        )
    if len(labels) and labels.min() < 0:
        raise DataError(f"{path} holds the label {labels.min()}: labels count from 0")
    return labels.astype(np.int32)
