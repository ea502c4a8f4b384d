"""Inside jit: uint8 batches -> float32 in [-1, 1], augmented by draws that are keyed per example. Shapes are [B, H, W, C]."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from jaxgan.errors import require
from jaxgan.update import example_keys, example_streams, stream_key


def normalise(array: jax.Array) -> jax.Array:
    """uint8 or uint16, any shape -> float32, the same shape: 0 becomes -1, the type's largest value 1. Raises ValueError for other types."""
    array = jnp.asarray(array)
    require(array.dtype in (jnp.uint8, jnp.uint16), f"images must be uint8 or uint16, got {array.dtype}")
    top = jnp.iinfo(array.dtype).max
    return (2 * array.astype(jnp.float32) - top) / top


def prepare(
    batch: dict[str, jax.Array],
    key: jax.Array,
    step: jax.Array | int,
    *,
    flip: bool = False,
    crop: int = 0,
    rotate90: bool = False,
    rotation: float = 0.0,
    scale: float = 0.0,
    axis_name: str | None = None,
    first: int = 0,
) -> dict[str, jax.Array]:
    """A batch ready for `train_step`: uint8 and uint16 arrays [B, H, W, C] normalised and augmented, all others as they are.

    One draw per example serves all its arrays, so pairs stay aligned. With the defaults nothing is drawn.

    Args:
      key: the run's key. Consumes its stream "augment" at `step`, per example by global index: the same on any number of devices.
      flip: mirror left and right, with probability 1/2.
      crop: pixels; enlarge to [H + crop, W + crop] (bilinear) and cut [H, W] at random. 30 at 256 pixels is the pix2pix recipe.
      rotate90: 0 to 3 quarter turns; square images only.
      rotation: degrees; turn by a uniform angle in [-rotation, rotation] (bilinear, mirrored beyond the border).
      scale: zoom by a log-uniform factor in [1 / (1 + scale), 1 + scale], about the centre (the same interpolation).
      axis_name: the mapped axis, where the batch is one device's part.
      first: global index of the first example, where the batch is one process's part.

    Raises ValueError: settings out of range, rotate90 on images that are not square.
    """
    require(crop >= 0, f"crop must be at least 0 pixels, got {crop}")
    require(0 <= rotation <= 180, f"rotation must be between 0 and 180 degrees, got {rotation}")
    require(scale >= 0, f"scale must be at least 0, got {scale}")
    prepared = {}
    for name, array in batch.items():
        if array.ndim != 4 or array.dtype not in (jnp.uint8, jnp.uint16):
            prepared[name] = array
            continue
        require(not rotate90 or array.shape[1] == array.shape[2], f"rotate90 needs square images, {name} is {array.shape[1]}x{array.shape[2]}")
        images = normalise(array)
        if flip or crop or rotate90 or rotation or scale:
            keys = example_keys(stream_key(key, "augment", step), len(images), axis_name, first)
            images = _augment(images, keys, flip, crop, rotate90, rotation, scale)
        prepared[name] = images
    return prepared


def _augment(images: jax.Array, keys: jax.Array, flip: bool, crop: int, rotate90: bool, rotation: float, scale: float) -> jax.Array:
    def each(change: Callable, stream: str) -> jax.Array:
        return jax.vmap(change)(images, example_streams(keys, stream))

    if rotation or scale:
        images = each(lambda image, key: _turn_and_zoom(image, key, rotation, scale), "turn and zoom")
    if crop:
        images = each(lambda image, key: _crop(image, key, crop), "crop")
    if rotate90:
        images = each(_quarter_turns, "quarter turns")
    if flip:
        images = each(lambda image, key: jnp.where(jax.random.bernoulli(key), image[:, ::-1], image), "flip")
    return images


def _quarter_turns(image: jax.Array, key: jax.Array) -> jax.Array:
    turned = jnp.stack([jnp.rot90(image, turns) for turns in range(4)])
    return turned[jax.random.randint(key, (), 0, 4)]


def _crop(image: jax.Array, key: jax.Array, margin: int) -> jax.Array:
    height, width, channels = image.shape
    enlarged = jax.image.resize(image, (height + margin, width + margin, channels), "bilinear")
    top, left = jax.random.randint(key, (2,), 0, margin + 1)
    return jax.lax.dynamic_slice(enlarged, (top, left, 0), image.shape)


def _turn_and_zoom(image: jax.Array, key: jax.Array, rotation: float, scale: float) -> jax.Array:
    turn, zoom = jax.random.uniform(key, (2,), minval=-1.0)
    return affine(image, turn * jnp.deg2rad(rotation), (1.0 + scale) ** zoom)


def affine(image: jax.Array, angle: jax.Array, factor: jax.Array) -> jax.Array:
    """[H, W, C] -> the same shape: turned by `angle` (radians, counter-clockwise as seen) and enlarged by `factor` about the centre. Bilinear."""
    height, width, _ = image.shape
    rows, columns = jnp.meshgrid(jnp.arange(height) - (height - 1) / 2, jnp.arange(width) - (width - 1) / 2, indexing="ij")
    cos, sin = jnp.cos(angle) / factor, jnp.sin(angle) / factor
    # Where each output pixel comes from: rows run downwards, which turns the sense of the angle around.
    source_rows = cos * rows + sin * columns + (height - 1) / 2
    source_columns = cos * columns - sin * rows + (width - 1) / 2
    one = lambda plane: map_coordinates(plane, [source_rows, source_columns], order=1, mode="mirror")  # noqa: E731
    return jax.vmap(one, in_axes=2, out_axes=2)(image)
