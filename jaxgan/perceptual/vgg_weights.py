"""Weights of VGG16 and VGG19 from files that are already there, told by their checksum. Nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jaxgan.convert import files
from jaxgan.errors import DataError
from jaxgan.perceptual.vgg import CLASSES, HIDDEN, STAGES, WHOLE, WIDTHS
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
    return _stages(kind, path, files.read(path), STAGES[kind])


def read_whole(kind: str, path: Path, checksum: str = "") -> PyTree:
    """The parameters of `VGG(kind)`, float32: as `read`, with all convolutions and the three fully connected layers (`classifier`)."""
    verify(kind, path, checksum)
    arrays = files.read(path)
    params, inputs = _stages(kind, path, arrays, WHOLE[kind]), 7 * 7 * WIDTHS[-1]
    for i, outputs in enumerate((HIDDEN, HIDDEN, CLASSES)):
        weight, bias = (
            _array(path, arrays, f"classifier.{3 * i}.{name}") for name in ("weight", "bias")
        )
        if weight.shape != (outputs, inputs) or bias.shape != (outputs,):
            raise DataError(
                f"classifier.{3 * i} in {path} has shapes {weight.shape} and {bias.shape}, where {kind} has {(outputs, inputs)} and {(outputs,)}"
            )
        if i == 0:  # a flattened map is (C, H, W) there, (H, W, C) here
            weight = (
                weight.reshape(outputs, WIDTHS[-1], 7, 7)
                .transpose(0, 2, 3, 1)
                .reshape(outputs, inputs)
            )
        params[f"fc{i}"], inputs = {"kernel": np.ascontiguousarray(weight.T), "bias": bias}, outputs
    return params


def _stages(
    kind: str, path: Path, arrays: files.Arrays, stages: tuple[int, ...]
) -> dict[str, PyTree]:
    """The convolutions of `stages`, by their names in our networks."""
    params = {}
    for (stage, i), (number, inputs) in _convolutions(stages).items():
        kernel, bias = (
            _array(path, arrays, f"features.{number}.{name}") for name in ("weight", "bias")
        )
        expected = (WIDTHS[stage], inputs, 3, 3)
        if kernel.shape != expected or bias.shape != expected[:1]:
            raise DataError(
                f"features.{number} in {path} has shapes {kernel.shape} and {bias.shape}, where {kind} has {expected} and {expected[:1]}"
            )
        params[f"conv{stage}_{i}"] = {
            "kernel": np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)),
            "bias": bias,
        }
    return params


def verify(kind: str, path: Path, checksum: str = "") -> str:
    """The SHA-256 of the file, in hexadecimal digits.

    Raises `DataError` if the file is missing, or its sum does not begin as `checksum`, or as torchvision's own where that is empty.
    """
    return files.verify(
        path, kind, f"torchvision's {kind}-{CHECKSUMS[kind]}.pth", checksum or CHECKSUMS[kind]
    )


def _convolutions(stages: tuple[int, ...]) -> dict[tuple[int, int], tuple[int, int]]:
    """(stage, number in it) -> (number in torchvision's `features`, channels of its input). There, each has a ReLU after it, each stage a pooling."""
    found, number, inputs = {}, 0, 3
    for stage, (count, width) in enumerate(zip(stages, WIDTHS, strict=True)):
        for i in range(count):
            found[stage, i] = (number, inputs)
            number, inputs = number + 2, width
        number += 1
    return found


def _array(path: Path, arrays: files.Arrays, name: str) -> np.ndarray:
    if name not in arrays:
        raise DataError(
            f"{path} has no {name}: name a state dict of torchvision's VGG, whose layers are called features.0, features.2, ..."
        )
    return arrays[name]
