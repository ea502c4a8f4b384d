"""Weights of the Inception of FID from a file that is already there, told by its checksum. Nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxgan.convert import files
from jaxgan.errors import DataError
from jaxgan.perceptual.inception import SIZE, Inception
from jaxgan.state import PyTree

CHECKSUM = "6726825d"
"""How the SHA-256 of the original file begins, which its name ends with."""
FILE = f"pt_inception-2015-12-05-{CHECKSUM}.pth"
"""Of the release "fid_weights" of mseitzer/pytorch-fid; torch-fidelity's `weights-inception-2015-12-05-6726825d.pth` is the same."""
EPSILON = 0.001
"""Of the batch norms, added to the variance."""


def verify(path: Path, checksum: str = "") -> str:
    """The SHA-256 of the file, in hexadecimal digits. Raises `DataError` if it is missing, or its sum does not begin as `checksum` (default: `CHECKSUM`)."""
    return files.verify(path, "FID's Inception", FILE, checksum or CHECKSUM)


def read(layer: str, path: Path, checksum: str = "") -> PyTree:
    """The parameters of `Inception(layer)`, float32, from the state dict as .pth, .pt, .npz or .safetensors.

    Each batch norm is folded into its convolution, in float64: kernel * scale, bias - mean * scale, with scale = weight / sqrt(variance + 0.001).

    Args:
      checksum: how the SHA-256 of the file begins, in hexadecimal digits; empty for the original file.

    Raises:
      DataError: the file is missing, is another one than the checksum says, cannot be read, or lacks an array or has one of another shape.
    """
    verify(path, checksum)
    return from_arrays(layer, files.read(path), str(path))


def from_arrays(layer: str, arrays: files.Arrays, origin: str = "the state dict") -> PyTree:
    """As `read`, from arrays at hand. Those of layers behind `layer` are not looked at. Raises DataError: one is missing, or of another shape."""
    template = jax.eval_shape(
        lambda: Inception(layer).init(jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)))["params"]
    )
    params: dict[tuple[str, ...], np.ndarray] = {}
    for path, leaf in traverse_util.flatten_dict(template).items():
        if path == ("fc",):
            params[path] = np.ascontiguousarray(
                _array(origin, arrays, "fc.weight", leaf.shape[::-1]).T
            )
        elif path[-1] == "kernel":
            params[path], params[(*path[:-1], "bias")] = _folded(
                origin, arrays, ".".join(path[:-2]), leaf.shape
            )
    return traverse_util.unflatten_dict(params)


def _folded(
    origin: str, arrays: files.Arrays, name: str, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel [kh, kw, I, O] and bias [O] of a convolution with its batch norm."""
    rows, columns, inputs, outputs = shape
    kernel = _array(origin, arrays, f"{name}.conv.weight", (outputs, inputs, rows, columns)).astype(
        np.float64
    )
    weight, bias, mean, variance = (
        _array(origin, arrays, f"{name}.bn.{part}", (outputs,)).astype(np.float64)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = weight / np.sqrt(variance + EPSILON)
    return (kernel * scale[:, None, None, None]).transpose(2, 3, 1, 0).astype(np.float32), (
        bias - mean * scale
    ).astype(np.float32)


def _array(origin: str, arrays: files.Arrays, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name not in arrays:
        raise DataError(
            f"{origin} has no {name}: name a state dict of FID's Inception ({FILE}); torchvision's own Inception is another network"
        )
    if arrays[name].shape != shape:
        raise DataError(
            f"{name} in {origin} has shape {arrays[name].shape}, where FID's Inception ({FILE}) has {shape}"
        )
    return arrays[name]
