"""Feature networks: images -> features and class probabilities, the same way for real and generated images."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxgan.data.prepare import normalise
from jaxgan.errors import require
from jaxgan.parallel import data_mesh, replicated, split
from jaxgan.pictures.images import to_uint8
from jaxgan.state import PyTree

_FORMAT = 1  # of cached features: raise it when extraction changes


class Outputs(NamedTuple):
    """features float32 [B, D]; logits float32 [B, K], or None of a network without classes."""

    features: jax.Array
    logits: jax.Array | None


class FeatureNetwork(NamedTuple):
    """A network and its weights.

    name: "digits", "inception", ...: what published values are told apart by.
    checksum: how the SHA-256 of the weights begins, 16 hexadecimal digits.
    resize: how images come to the network's size, in words.
    classes: names of the logits' classes in order; () where there are none, or their names are not known.
    params: arrays.
    apply: (params, images float32 [B, H, W, C] in [-1, 1]) -> Outputs; pure, hashable, takes grey and RGB of any size and resizes itself.
    """

    name: str
    checksum: str
    resize: str
    classes: tuple[str, ...]
    params: PyTree
    apply: Callable[[PyTree, jax.Array], Outputs]


class Features(NamedTuple):
    """features float32 [N, D]; probabilities of the classes float32 [N, K], or None of a network without classes."""

    features: np.ndarray
    probabilities: np.ndarray | None


def extract(
    network: FeatureNetwork,
    images: np.ndarray | Iterable[np.ndarray],
    *,
    batch_size: int = 256,
    mesh: Mesh | None = None,
) -> Features:
    """Features and class probabilities of images, in their order.

    Every image is taken at 8 bits per channel, as it would be from a PNG file, so that generated images have no other rounding than real ones.

    Args:
      images: uint8, uint16, or float in [-1, 1] (rounded, and clipped): [N, H, W, C], or parts of any length of one H, W and C.
      batch_size: of one run of the network; rounded up to a multiple of the number of devices.
      mesh: devices that share each batch; None: all of this process.

    Raises ValueError: no images, other types or shapes, values that are NaN or infinite.
    """
    mesh = data_mesh(jax.local_devices()) if mesh is None else mesh
    parts: Iterable[Any] = images
    if isinstance(images, (np.ndarray, jax.Array)):
        parts, batch_size = [images], min(batch_size, max(1, len(images)))
    batch_size = -(-batch_size // mesh.size) * mesh.size
    params = jax.device_put(network.params, replicated(mesh))
    found: list[tuple[np.ndarray, ...]] = []
    waiting: tuple[int, Any] | None = None
    for batch in _batches(parts, batch_size):
        filled = (
            np.concatenate([batch, np.repeat(batch[-1:], batch_size - len(batch), axis=0)])
            if len(batch) < batch_size
            else batch
        )
        running = _run(network.apply, params, jax.device_put(filled, split(mesh)))
        found += (
            [] if waiting is None else [_fetched(*waiting)]
        )  # one batch late: the devices compute while the next one is prepared
        waiting = len(batch), running
    if waiting is None:
        raise ValueError("there must be at least one image to take features of")
    found.append(_fetched(*waiting))
    features, *rest = (np.concatenate(arrays) for arrays in zip(*found))
    return Features(features, rest[0] if rest else None)


@partial(jax.jit, static_argnums=0)
def _run(
    apply: Callable[[PyTree, jax.Array], Outputs], params: PyTree, images: jax.Array
) -> tuple[jax.Array, ...]:
    with jax.default_matmul_precision(
        "highest"
    ):  # accelerators would round to TF32 or bfloat16, and values would depend on the device
        outputs = apply(params, normalise(images))
    return (
        (outputs.features,)
        if outputs.logits is None
        else (outputs.features, jax.nn.softmax(outputs.logits))
    )


def _fetched(count: int, outputs: tuple[jax.Array, ...]) -> tuple[np.ndarray, ...]:
    return tuple(np.asarray(array, np.float32)[:count] for array in outputs)


def _batches(parts: Iterable[np.ndarray], batch_size: int) -> Iterator[np.ndarray]:
    """uint8 [batch_size, H, W, C] from parts of any length; the last may be shorter."""
    held = np.zeros((0,), np.uint8)
    for part in parts:
        part = _eight_bits(part)
        require(
            held.size == 0 or part.shape[1:] == held.shape[1:],
            f"all images must be of one size, got {list(part.shape[1:])} after {list(held.shape[1:])}",
        )
        held = np.concatenate([held, part]) if held.size else part
        while len(held) >= batch_size:
            yield held[:batch_size]
            held = held[batch_size:]
    if len(held):
        yield held


def _eight_bits(images: Any) -> np.ndarray:
    """uint8, uint16 or float [N, H, W, C] -> uint8."""
    images = np.asarray(images)
    require(
        images.ndim == 4 and 0 not in images.shape[1:],
        f"images must be [N, H, W, C], got shape {images.shape}",
    )
    if images.dtype == np.uint16:
        return np.rint(images / np.float32(257)).astype(np.uint8)
    if images.dtype != np.uint8:
        require(
            np.isfinite(images.astype(np.float32)).all(),
            "images must be finite, got a NaN or an infinity: the generator that made them is broken",
        )
    return to_uint8(images)


# ---------------------------------------------------------------------------------------------------------------------- cache


def cached(
    network: FeatureNetwork, name: str, fingerprint: str, make: Callable[[], Features]
) -> Features:
    """`make()`, or what it returned before: for the features of real images, which do not change.

    Kept in `features/` of the folder that JAXGAN_CACHE names, else of ~/.cache/jaxgan; found by the network's name, weights and resizing, `name` and
    `fingerprint`. Where that cannot be written, or is damaged, they are made again; nothing is kept of networks or data without a checksum or fingerprint,
    which cannot be told from others.

    Args:
      name: which images of the data set and how many, such as "test 2000"; whatever the features depend on beside the content.
      fingerprint: of the data set's content.
    """
    if not network.checksum or not fingerprint:
        return make()
    asked = [_FORMAT, network.name, network.checksum, network.resize, name, fingerprint]
    path = (
        _folder() / f"{hashlib.blake2b(json.dumps(asked).encode(), digest_size=16).hexdigest()}.npz"
    )
    unreadable = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
    with (
        suppress(*unreadable),
        open(path, "rb") as stream,
        np.load(stream, allow_pickle=False) as file,
    ):  # opened here: NumPy leaves it open where it fails
        return Features(
            file["features"], file["probabilities"] if "probabilities" in file.files else None
        )
    made = make()
    partial_path = path.with_name(f"{path.stem}.{uuid.uuid4().hex[:8]}.partial.npz")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            np.savez(
                partial_path,
                **{key: array for key, array in made._asdict().items() if array is not None},
            )
            os.replace(partial_path, path)
        finally:
            partial_path.unlink(missing_ok=True)
    return made


def _folder() -> Path:
    chosen = os.environ.get("JAXGAN_CACHE")
    base = (
        Path(chosen).expanduser()
        if chosen
        else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxgan"
    )
    return base / "features"
