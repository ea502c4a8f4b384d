"""Judges: small networks trained on real images that measure generated ones, each kept in one file with what it was trained on and how good it is.

A judge says of an image its class ("classes"), its attributes ("attributes") or the class of each pixel ("layout"). `experiments.train_classifier`,
`train_attributes` and `train_segmenter` make them. A file is an .npz of float16 arrays, which are the judge: its accuracy was measured with them, after
rounding. Beside them `meta`, JSON: architecture, image size, names, data and their fingerprint, split, seed, versions, held-out accuracy.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxgan.data import normalise
from jaxgan.errors import DataError, require, require_choice
from jaxgan.games.attributes import group_columns
from jaxgan.metrics.inputs import as_grey, as_rgb
from jaxgan.networks.judge import Classifier, Segmenter
from jaxgan.pictures.images import write_whole
from jaxgan.state import PyTree

FORMAT = 1
KINDS = ("classes", "attributes", "layout")
BATCH = 256
"""Images judged at once, where sides are at most 32; larger ones in smaller batches."""


class Judge(NamedTuple):
    """A trained network and what is known of it.

    kind: one of `KINDS`.
    checksum: SHA-256 of the file, in hexadecimal digits.
    network: of `jaxgan.networks.judge`.
    meta: as in the file: "image_size" (height, width), "channels", "outputs" (names), "groups" of attributes, "held_out" (what it gets right of real
      images it was not trained on), "data", "fingerprint", "split", "training", "versions", "storage".
    """

    kind: str
    checksum: str
    network: nn.Module
    params: PyTree
    meta: dict[str, Any]


class Attributes(NamedTuple):
    """Columns of attributes as `jaxgan.games.attributes` reads them."""

    attributes: tuple[str, ...]
    groups: tuple[tuple[str, int], ...]
    known: tuple = ()
    alternatives: tuple = ()


def build(meta: dict[str, Any]) -> nn.Module:
    """The network that `meta` describes. Raises KeyError or TypeError where it does not describe one."""
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in meta["network"].items()
    }
    return (Segmenter if meta["kind"] == "layout" else Classifier)(
        outputs=len(meta["outputs"]), **settings
    )


def stored(params: PyTree) -> PyTree:
    """float32 parameters as a file keeps them: rounded to float16, float32 again."""
    return jax.tree.map(lambda leaf: np.asarray(leaf).astype(np.float16).astype(np.float32), params)


def save(path: Path, params: PyTree, meta: dict[str, Any]) -> str:
    """Write a judge to an .npz file, whole or not at all; returns its checksum. Raises `RunError` if it cannot be written."""
    arrays = {
        name: np.asarray(leaf, np.float16) for name, leaf in flatten_dict(params, sep="/").items()
    }
    described = json.dumps({"format": FORMAT, "storage": "float16", **meta}, sort_keys=True)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, allow_pickle=False, meta=np.frombuffer(described.encode(), np.uint8), **arrays
    )
    write_whole(path, buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def open_judge(path: str | Path) -> Judge:
    """The judge in a file of `save`. Raises `DataError`: no such file, another kind of file, damaged, of a later version."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError(
            f"there is no file {path}: train a judge with python -m experiments.train_classifier, train_attributes or train_segmenter"
        )
    content = path.read_bytes()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {
                name: file[name] for name in file.files
            }  # reads all: a flipped byte fails the archive's CRC-32
        meta = json.loads(arrays.pop("meta").tobytes())
        known = meta["format"] <= FORMAT and meta["kind"] in KINDS
        network = build(meta) if known else None
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
    ) as error:
        raise DataError(
            f"{path} is no judge, or damaged ({type(error).__name__}): train it again, or copy it again"
        ) from error
    if network is None:
        raise DataError(
            f"{path} holds a judge of format {meta['format']} and kind {meta['kind']!r}, which this version does not read: update jaxgan"
        )
    params = unflatten_dict(
        {name: array.astype(np.float32) for name, array in arrays.items()}, sep="/"
    )
    _require_fit(path, network, params, meta)
    return Judge(meta["kind"], hashlib.sha256(content).hexdigest(), network, params, meta)


def _require_fit(path: Path, network: nn.Module, params: PyTree, meta: dict[str, Any]) -> None:
    example = jax.ShapeDtypeStruct((1, *meta["image_size"], meta["channels"]), jnp.float32)
    wanted = jax.eval_shape(network.init, jax.random.key(0), example)["params"]
    shapes = [
        {name: leaf.shape for name, leaf in flatten_dict(tree, sep="/").items()}
        for tree in (wanted, params)
    ]
    if shapes[0] != shapes[1]:
        raise DataError(
            f"{path} holds other arrays than its description says: train it again, or copy it again"
        )


# -------------------------------------------------------------------------------------------------------------------- judging


def as_input(images: jax.Array, image_size: tuple[int, int], channels: int) -> jax.Array:
    """float32 [B, H, W, 1 to 4] in [-1, 1] -> [B, *image_size, channels]: see `as_rgb` and `as_grey`; resized (cubic, antialiased), cut to [-1, 1].

    Raises ValueError for images of more channels, or of others where the judge wants opacity.
    """
    if images.shape[-1] != channels:
        images = as_grey(images) if channels == 1 else as_rgb(images)
    require(
        images.shape[-1] == channels,
        f"the judge takes images [B, H, W, {channels}], got {list(images.shape)}",
    )
    if images.shape[1:3] != tuple(image_size):
        images = jax.image.resize(
            images, (len(images), *image_size, channels), "cubic", antialias=True
        )
    return jnp.clip(images, -1, 1)


def apply(
    network: nn.Module,
    image_size: tuple[int, int],
    channels: int,
    params: PyTree,
    images: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """(features [B, D], logits [B, K] or [B, *image_size, K]) of images float32 [B, H, W, C] in [-1, 1], of any size."""
    outputs: Any = network.apply({"params": params}, as_input(images, image_size, channels))
    return outputs


def logits(judge: Judge, images: np.ndarray) -> np.ndarray:
    """float32 [N, K] or [N, h, w, K] of images uint8 or uint16 [N, H, W, C], or float in [-1, 1]; on one device."""
    return np.concatenate(list(_in_batches(judge, images)))


def _in_batches(judge: Judge, images: np.ndarray) -> Iterator[np.ndarray]:
    require(len(images) > 0, "there must be at least one image to judge")
    run = _compiled(judge.network, tuple(judge.meta["image_size"]), judge.meta["channels"])
    count = max(1, min(len(images), BATCH * 32**2 // max(32**2, images.shape[1] * images.shape[2])))
    for start in range(0, len(images), count):
        part = np.asarray(images[start : start + count])
        padded = np.concatenate(
            [part, part[:1].repeat(count - len(part), axis=0)]
        )  # one shape, one compilation
        yield np.asarray(run(judge.params, padded))[: len(part)]


@lru_cache(maxsize=8)
def _compiled(network: nn.Module, image_size: tuple[int, int], channels: int) -> Any:
    def run(params: PyTree, images: jax.Array) -> jax.Array:
        values = (
            normalise(images)
            if jnp.issubdtype(images.dtype, jnp.integer)
            else images.astype(jnp.float32)
        )
        with jax.default_matmul_precision(
            "highest"
        ):  # as in `features.extract`: what is read must not depend on the device
            return apply(network, image_size, channels, params, values)[1]

    return jax.jit(run)


def classify(judge: Judge, images: np.ndarray) -> np.ndarray:
    """The class of each image, int64 [N]. Images as in `logits`. Raises ValueError for a judge of another kind."""
    _require_kind(judge, "classes")
    return logits(judge, images).argmax(-1)


def segment(judge: Judge, images: np.ndarray) -> np.ndarray:
    """The class of each pixel, int64 [N, h, w] at the judge's size. Images as in `logits`. Raises ValueError for a judge of another kind."""
    _require_kind(judge, "layout")
    return np.concatenate([part.argmax(-1) for part in _in_batches(judge, images)])


def attributes(judge: Judge, images: np.ndarray) -> np.ndarray:
    """The attributes of each image, uint8 [N, K]: of each exclusive group one is 1. Images as in `logits`. Raises ValueError for another kind."""
    _require_kind(judge, "attributes")
    values = logits(judge, images)
    found = (values > 0).astype(np.uint8)
    for columns in group_columns(columns_of(judge)):
        if len(columns) > 1:
            part = slice(columns.start, columns.stop)
            found[:, part] = np.eye(len(columns), dtype=np.uint8)[values[:, part].argmax(-1)]
    return found


def columns_of(judge: Judge) -> Attributes:
    """Names and groups of the attributes that a judge tells."""
    return Attributes(
        tuple(judge.meta["outputs"]),
        tuple((name, count) for name, count in judge.meta.get("groups", ())),
    )


def groups_of(config: Attributes) -> list[tuple[str, range]]:
    """Name and columns of each group; a binary attribute is a group of one."""
    return list(
        zip(
            [name for name, _ in config.groups] or config.attributes,
            group_columns(config),
            strict=True,
        )
    )


def attribute_accuracy(
    judge: Judge, images: np.ndarray, wanted: np.ndarray, told: np.ndarray | None = None
) -> dict[str, float]:
    """Of each group, and of each binary attribute, the share of images [N, H, W, C] that show what is `wanted`, 0 or 1 [N, K].

    Args:
      told: which of `wanted` is known, bool [N, K]: what a data set does not tell counts neither as right nor as wrong, and a group that no image tells has
        no share. None: all of it.

    The K columns are the judge's, in its order. Raises ValueError: a judge of another kind, other columns.
    """
    found, config = attributes(judge, images), columns_of(judge)
    require(
        found.shape == np.shape(wanted),
        f"wanted must be 0 or 1 {list(found.shape)}, got {list(np.shape(wanted))}",
    )
    told = np.ones(found.shape, bool) if told is None else told
    shares = {}
    for name, columns in groups_of(config):
        rows, part = told[:, columns.start], slice(columns.start, columns.stop)
        if rows.any():
            shares[name] = float((found[rows, part] == wanted[rows, part]).all(axis=1).mean())
    return shares


def _require_kind(judge: Judge, kind: str) -> None:
    require_choice("the kind of judge", judge.kind, (kind,))
