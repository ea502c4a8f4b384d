"""State dicts in files: PyTorch's own .pth, .pt and .ckpt, NumPy's .npz, and .safetensors.

    arrays = read(Path("latest_net_G.pth"))     # {"model.1.weight": float32 [64, 3, 7, 7], ...}

Nothing is ever unpickled freely: PyTorch reads its files with `weights_only`, NumPy without pickle, and safetensors holds numbers alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import pickle
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.errors import DataError

Arrays = dict[str, np.ndarray]

_SHOWN = 10
"""Names in an error message."""


class _Unreadable(Exception):
    """What is wrong with a file, in words that follow "FILE cannot be read: "."""


def read(path: Path) -> Arrays:
    """The arrays of a state dict under their names: float32 whatever floating type is stored, integers as they are.

    Raises `DataError`, one sentence that names the file: it is missing, of another kind, damaged, holds something other than named arrays, or a
    value that is not finite; or it is PyTorch's and PyTorch is not installed.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}: name a state dict ({', '.join(_READERS)})")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path} is none of {', '.join(_READERS)}, the kinds of state dicts that are read: save it as one of them"
        )
    try:
        arrays = reader(path)
    except _Unreadable as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror or error}): permit reading it, or copy it again"
        ) from None
    if not arrays:
        raise DataError(f"{path} holds no arrays: name the file of a network's state dict")
    return {name: _checked(path, name, array) for name, array in arrays.items()}


def verify(path: Path, what: str, example: str, checksum: str) -> str:
    """The SHA-256 of the file, in hexadecimal digits.

    Args:
      what: the network whose weights it holds, and `example` the name of its original file, for messages.
      checksum: how the sum must begin.

    Raises `DataError` if the file is missing, or its sum begins otherwise.
    """
    if not path.is_file():
        raise DataError(
            f"there is no file {path}: name the weights of {what} (such as {example}), which are never downloaded"
        )
    with open(path, "rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    expected = checksum.lower()
    if not found.startswith(expected):
        difference = f"its SHA-256 begins {found[:16]}, not {expected[:16]}"
        raise DataError(
            f"{path} is not the expected file of {what}: {difference}; take the original ({example}), or give this one's own checksum"
        )
    return found


def _checked(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind in "biu":
        return array
    if array.dtype.kind != "f":
        raise DataError(
            f"{name} in {path} is of type {array.dtype}: the arrays of a state dict are floating or whole numbers"
        )
    result = np.asarray(array, np.float32)
    if not np.isfinite(result).all():
        raise DataError(
            f"{name} in {path} has values that are NaN or infinite: take a checkpoint from before training failed"
        )
    return result


# ----------------------------------------------------------------------------------------------------------------------- PyTorch


def _torch(path: Path) -> Arrays:
    try:
        import torch
    except ImportError:
        script = (
            "import sys, numpy, torch; path = sys.argv[1]; "
            "numpy.savez(path.rsplit('.', 1)[0] + '.npz', **{n: t.float().numpy() for n, t in torch.load(path, map_location='cpu', weights_only=True).items()})"
        )
        remedy = f'install it, or convert the file where it is installed, to FILE.npz: python -c "{script}" FILE'
        raise DataError(f"{path} is read by PyTorch, which is not installed: {remedy}") from None
    stored = (
        path.read_bytes()
    )  # so that what PyTorch raises is about the content, an OSError included
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd versions in damaged files
            content = torch.load(io.BytesIO(stored), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        held = "it is damaged, or holds other objects than arrays, which are never unpickled as they may run any code"
        raise _Unreadable(
            f"{held}; save the network's state_dict() alone, by torch.save(network.state_dict(), FILE)"
        ) from None
    except Exception as error:  # a damaged file of the older format raises all kinds
        raise _Unreadable(
            f"it is damaged or not complete ({_first_line(error)}); copy or download it again"
        ) from None
    return {
        name: _of_tensor(tensor)
        for name, tensor in _state_dict(path, content, torch.Tensor).items()
    }


def _of_tensor(tensor: Any) -> np.ndarray:
    tensor = tensor.detach()
    return (
        tensor.float() if tensor.is_floating_point() else tensor
    ).numpy()  # NumPy has no bfloat16


def _state_dict(path: Path, content: Any, tensor: type) -> Mapping[str, Any]:
    """`content` if it is a mapping of names to tensors. Raises `DataError` that says what else it is."""
    if isinstance(content, Mapping) and all(
        isinstance(name, str) and isinstance(value, tensor) for name, value in content.items()
    ):
        return content
    if not isinstance(content, Mapping):
        raise DataError(
            f"{path} holds no state dict but a {type(content).__name__}: save the network's state_dict() instead"
        )
    keys = [f"{key} ({type(value).__name__})" for key, value in list(content.items())[:_SHOWN]]
    listed = ", ".join(keys) + (
        f" and {len(content) - _SHOWN} more" if len(content) > _SHOWN else ""
    )
    raise DataError(
        f"{path} holds no state dict but a mapping of {listed}: save the generator's part of it alone, by torch.save(torch.load(FILE)[KEY], NEW)"
    )


# ------------------------------------------------------------------------------------------------------------------------- NumPy


def _npz(path: Path) -> Arrays:
    try:
        with open(path, "rb") as stream:  # which NumPy would leave open where it fails
            content = np.load(stream, allow_pickle=False)
            if isinstance(content, np.ndarray):
                raise _Unreadable(
                    "it is no .npz but one array (.npy) without a name; save named arrays by numpy.savez"
                )
            with content:
                return {name: content[name] for name in content.files}
    except (
        ValueError,
        EOFError,
        KeyError,
        NotImplementedError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise _Unreadable(
            f"it is damaged, not complete, or holds Python objects, which are not unpickled ({_first_line(error)}); save arrays again"
        ) from None


# ------------------------------------------------------------------------------------------------------------------- safetensors

_KINDS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
"""Type in a header -> NumPy's; BF16 by its bits, which are the upper half of a float32's."""


def _safetensors(path: Path) -> Arrays:
    """Source: the format's description (huggingface/safetensors): the header's length (8 bytes, little endian), a JSON header, the arrays' bytes."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    if len(content) < max(start, 8):
        raise _Unreadable(
            f"its header should end at byte {max(start, 8)} of {len(content)}; it is truncated or no .safetensors, copy or download it again"
        )
    try:
        header = json.loads(content[8:start])
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise _Unreadable(
            "its header is not a JSON mapping; it is damaged or no .safetensors, copy or download it again"
        )
    header.pop("__metadata__", None)
    return {name: _slice(name, entry, content, start) for name, entry in header.items()}


def _slice(name: str, entry: Any, content: bytes, start: int) -> np.ndarray:
    match entry:
        case {"dtype": str(kind), "shape": [*shape], "data_offsets": [int(begin), int(end)]}:
            pass
        case _:
            raise _Unreadable(
                f"the header's entry for {name} lacks dtype, shape or data_offsets; it is damaged, copy or download it again"
            )
    if kind not in _KINDS:
        raise _Unreadable(
            f"{name} is of type {kind}, known are {', '.join(_KINDS)}; save it as F32"
        )
    item, counts = (
        np.dtype(_KINDS[kind]),
        all(isinstance(side, int) and side >= 0 for side in shape),
    )
    if not counts or begin < 0 or end - begin != math.prod(shape) * item.itemsize:
        raise _Unreadable(
            f"{name} of shape {shape} and type {kind} does not take the bytes {begin} to {end}; it is damaged, copy or download it again"
        )
    if start + end > len(content):
        raise _Unreadable(
            f"{name} should end at byte {start + end} of {len(content)}; it is truncated, copy or download it again"
        )
    array = np.frombuffer(content, item, math.prod(shape), start + begin).reshape(shape)
    return (array.astype(np.uint32) << 16).view(np.float32) if kind == "BF16" else array


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:160]


_READERS: dict[str, Callable[[Path], Arrays]] = {
    ".pth": _torch,
    ".pt": _torch,
    ".ckpt": _torch,
    ".npz": _npz,
    ".safetensors": _safetensors,
}
