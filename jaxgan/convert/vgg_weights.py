"""Weights of VGG16 and VGG19 from files that are already there, told by their checksum. Nothing is downloaded."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from jaxgan.convert import files
from jaxgan.errors import DataError
from jaxgan.networks.vgg import STAGES, WIDTHS
from jaxgan.state import PyTree

CHECKSUMS = {"vgg16": "397923af", "vgg19": "dcbb9e9d"}
"""How the SHA-256 of torchvision's files begins, which their names end with: vgg19-dcbb9e9d.pth."""


def read(kind: str, path: Path, checksum: str = "") -> PyTree:
    """The parameters of `VGGFeatures(kind)`, float32, from torchvision's state dict as .pth, .pt, .npz or .safetensors.

    Args:
      checksum: how the SHA-256 of the file begins, in hexadecimal digits; empty for torchvision's own file.

    Raises:
      DataError: the file is missing, is another one than the checksum says, cannot be read, or lacks an array or has one of another shape.
    """
    verify(kind, path, checksum)
    arrays, params = files.read(path), {}
    for (stage, i), (number, inputs) in _convolutions(kind).items():
        kernel, bias = (_array(path, arrays, f"features.{number}.{name}") for name in ("weight", "bias"))
        expected = (WIDTHS[stage], inputs, 3, 3)
        if kernel.shape != expected or bias.shape != expected[:1]:
            raise DataError(f"features.{number} in {path} has shapes {kernel.shape} and {bias.shape}, where {kind} has {expected} and {expected[:1]}")
        params[f"conv{stage}_{i}"] = {"kernel": np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)), "bias": bias}
    return params


def verify(kind: str, path: Path, checksum: str = "") -> str:
    """The SHA-256 of the file, in hexadecimal digits.

    Raises `DataError` if the file is missing, or its sum does not begin as `checksum`, or as torchvision's own where that is empty.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}: name torchvision's weights of {kind} (such as {kind}-{CHECKSUMS[kind]}.pth), which are never downloaded")
    with open(path, "rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    expected = (checksum or CHECKSUMS[kind]).lower()
    if not found.startswith(expected):
        raise DataError(
            f"{path} is not the expected file of {kind}: its SHA-256 begins {found[:16]}, not {expected[:16]}; take torchvision's, or give its own checksum"
        )
    return found


def _convolutions(kind: str) -> dict[tuple[int, int], tuple[int, int]]:
    """(stage, number in it) -> (number in torchvision's `features`, channels of its input). There, each has a ReLU after it, each stage a pooling."""
    found, number, inputs = {}, 0, 3
    for stage, (count, width) in enumerate(zip(STAGES[kind], WIDTHS, strict=True)):
        for i in range(count):
            found[stage, i] = (number, inputs)
            number, inputs = number + 2, width
        number += 1
    return found


def _array(path: Path, arrays: files.Arrays, name: str) -> np.ndarray:
    if name not in arrays:
        raise DataError(f"{path} has no {name}: name a state dict of torchvision's VGG, whose layers are called features.0, features.2, ...")
    return arrays[name]
