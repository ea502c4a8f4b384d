"""The families that have a game in PyTorch, and random batches for both sides."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.torch_models.learning import Options, tensor
from jaxgan import cgan, cyclegan, dcgan, pix2pix, spade, stargan, stylegan

FAMILIES: dict[str, ModuleType] = {
    "dcgan": dcgan, "cgan": cgan, "pix2pix": pix2pix, "cyclegan": cyclegan, "stargan": stargan, "spade": spade, "stylegan": stylegan
}  # fmt: skip


def random_batch(
    family: ModuleType, config: Any, batch_size: int, seed: int
) -> dict[str, np.ndarray]:
    """A batch as the family's `batch_spec` says: smooth images in [-1, 1], labels and attributes at random, layouts of blocks."""
    random = np.random.default_rng(seed)
    batch: dict[str, np.ndarray] = {}
    coarse: np.ndarray
    for name, spec in family.batch_spec(config, batch_size).items():
        shape = spec.shape
        if len(shape) == 4:
            coarse = random.uniform(
                -1, 1, (shape[0], -(-shape[1] // 4), -(-shape[2] // 4), shape[3])
            )
            batch[name] = (
                coarse.repeat(4, 1).repeat(4, 2)[:, : shape[1], : shape[2]].astype(np.float32)
            )
        elif name == "layout":
            coarse = random.integers(
                0, config.classes, (shape[0], -(-shape[1] // 8), -(-shape[2] // 8))
            )
            batch[name] = (
                coarse.repeat(8, 1).repeat(8, 2)[:, : shape[1], : shape[2]].astype(np.int32)
            )
        elif name == "attributes":
            batch[name] = random.integers(0, 2, shape).astype(np.float32)
        else:
            batch[name] = random.integers(0, config.classes, shape).astype(np.int32)
    return batch


def tensors(batch: Mapping[str, np.ndarray], options: Options) -> dict[str, Any]:
    """A batch for the game in PyTorch, whose labels and layouts are int64."""
    return {
        name: tensor(array.astype(np.int64) if array.dtype == np.int32 else array, options)
        for name, array in batch.items()
    }
