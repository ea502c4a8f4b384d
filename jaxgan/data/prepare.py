"""Inside jit: uint8 batches -> float32 in [-1, 1], augmented by draws that are keyed per example. Shapes are [B, H, W, C]; of maps of ids, [B, H, W]."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from jaxgan.errors import require, require_range
from jaxgan.settings import settle
from jaxgan.update import example_keys, example_streams, stream_key


@dataclass(frozen=True)
class Augment:
    """Random changes of training images, drawn for each example: turn and zoom, then crop, quarter turn, mirror. The defaults draw nothing.

    Maps of ids change as their images do, by the nearest pixel wherever images are interpolated.

    Raises ValueError for settings out of range.
    """

    flip: bool = False
    """Mirror left and right, with probability 1/2."""
    crop: int = 0
    """Pixels by which images are higher and wider than what is cut from them at random; 30 at 256 is the recipe of pix2pix and CycleGAN (286 -> 256)."""
    rotate90: bool = False
    """Turn by 0 to 3 quarter turns; square images only."""
    rotation: float = 0.0
    """Degrees; turn by a uniform angle in [-rotation, rotation] (bilinear, mirrored beyond the border)."""
    scale: float = 0.0
    """Zoom by a log-uniform factor in [1 / (1 + scale), 1 + scale], about the centre (the same interpolation)."""

    def __post_init__(self) -> None:
        settle(self, traced=False)
        require_range("crop", self.crop, 0)
        require_range("rotation (degrees)", self.rotation, 0, 180)
        require_range("scale (zoom)", self.scale, 0)


PLAIN = Augment()


def normalise(array: jax.Array) -> jax.Array:
    """uint8 or uint16, any shape -> float32, the same shape: 0 becomes -1, the type's largest value 1. Raises ValueError for other types."""
    array = jnp.asarray(array)
    require(
        array.dtype in (jnp.uint8, jnp.uint16), f"images must be uint8 or uint16, got {array.dtype}"
    )
    top = jnp.iinfo(array.dtype).max
    return (2 * array.astype(jnp.float32) - top) / top


def prepare(
    batch: dict[str, jax.Array],
    key: jax.Array,
    step: jax.Array | int,
    augment: Augment = PLAIN,
    *,
    sizes: Mapping[str, tuple[int, int]] | None = None,
    aligned: bool = True,
    axis_name: str | None = None,
    first: int = 0,
) -> dict[str, jax.Array]:
    """A batch ready for `train_step`: uint8 and uint16 arrays [B, H, W, C] normalised, augmented and of the size wanted; maps of ids, integers
    [B, H, W], as int32 and changed alike; all others as they are.

    Args:
      key: the run's key. Consumes its stream "augment" at `step`, per example by global index: the same on any number of devices.
      augment: what to change at random; with the default nothing is drawn.
      sizes: (height, width) wanted, by array; None, or an array not named: its own. With `augment.crop` an array may be larger by that margin on
        both sides, and is enlarged to that where it is not (see `enlarge`).
      aligned: one draw per example serves all its arrays, so pairs stay aligned. False: the arrays are independent, and each draws on its own.
      axis_name: the mapped axis, where the batch is one device's part.
      first: global index of the first example, where the batch is one process's part.

    Raises ValueError: an array of another size, rotate90 on images that are not square.
    """
    prepared = {}
    for name, array in batch.items():
        ids = array.ndim == 3 and jnp.issubdtype(array.dtype, jnp.integer)
        if not ids and (array.ndim != 4 or array.dtype not in (jnp.uint8, jnp.uint16)):
            prepared[name] = array
            continue
        size = _wanted_size(name, array, augment, sizes)
        images = jnp.asarray(array, jnp.int32)[..., None] if ids else normalise(array)
        if augment != PLAIN:
            keys = example_keys(stream_key(key, "augment", step), len(images), axis_name, first)
            images = _augment(images, keys, augment, size, "" if aligned else f" {name}")
        prepared[name] = images[..., 0] if ids else images
    return prepared


def _wanted_size(
    name: str, array: jax.Array, augment: Augment, sizes: Mapping[str, tuple[int, int]] | None
) -> tuple[int, int]:
    have = (array.shape[1], array.shape[2])
    height, width = have if sizes is None else sizes.get(name, have)
    larger = (height + augment.crop, width + augment.crop)
    margin = f" or, with crop={augment.crop}, {larger[0]}x{larger[1]}" if augment.crop else ""
    require(
        have in ((height, width), larger),
        f"{name} must be {height}x{width}{margin}, got {have[0]}x{have[1]}",
    )
    require(
        not augment.rotate90 or height == width,
        f"rotate90 needs square images, {name} is {height}x{width}",
    )
    return height, width


def _augment(
    images: jax.Array, keys: jax.Array, augment: Augment, size: tuple[int, int], domain: str
) -> jax.Array:
    """[B, h, w, C] -> [B, *size, C]; integers are ids. `domain` ends the streams' names: "" where arrays share their draws."""

    def each(change: Callable, stream: str) -> jax.Array:
        return jax.vmap(change)(images, example_streams(keys, stream + domain))

    if augment.crop and images.shape[1:3] == size:
        images = enlarge(images, size[0] + augment.crop, size[1] + augment.crop)
    if augment.rotation or augment.scale:
        images = each(
            lambda image, key: _turn_and_zoom(image, key, augment.rotation, augment.scale),
            "turn and zoom",
        )
    if augment.crop:
        images = each(lambda image, key: _crop(image, key, size, augment.crop), "crop")
    if augment.rotate90:
        images = each(_quarter_turns, "quarter turns")
    if augment.flip:
        images = each(
            lambda image, key: jnp.where(
                jax.random.bernoulli(key, jnp.float32(0.5)), image[:, ::-1], image
            ),
            "flip",
        )
    return images


def enlarge(images: jax.Array, height: int, width: int) -> jax.Array:
    """float32 [B, h, w, C] in [-1, 1] -> [B, height, width, C], cubic (a = -1/2), as Pillow's BICUBIC but for its rounding to whole levels; of
    integers, the id at the centre of each pixel.

    Like Pillow, one axis after the other, width first, and cut to [-1, 1] after each: the kernel overshoots at edges. For larger sizes only: nothing
    is blurred against aliasing here.
    """
    count, rows, _, channels = images.shape
    if jnp.issubdtype(images.dtype, jnp.integer):
        return jax.image.resize(images, (count, height, width, channels), "nearest")
    images = jnp.clip(jax.image.resize(images, (count, rows, width, channels), "cubic"), -1, 1)
    return jnp.clip(jax.image.resize(images, (count, height, width, channels), "cubic"), -1, 1)


def _quarter_turns(image: jax.Array, key: jax.Array) -> jax.Array:
    turned = jnp.stack([jnp.rot90(image, turns) for turns in range(4)])
    return turned[jax.random.randint(key, (), 0, 4, jnp.int32)]


def _crop(image: jax.Array, key: jax.Array, size: tuple[int, int], margin: int) -> jax.Array:
    top, left = jax.random.randint(key, (2,), 0, margin + 1, jnp.int32)
    return jax.lax.dynamic_slice(image, (top, left, jnp.int32(0)), (*size, image.shape[2]))


def _turn_and_zoom(image: jax.Array, key: jax.Array, rotation: float, scale: float) -> jax.Array:
    turn, zoom = jax.random.uniform(key, (2,), jnp.float32, minval=-1.0)
    return affine(image, turn * jnp.deg2rad(jnp.float32(rotation)), (1.0 + scale) ** zoom)


def affine(image: jax.Array, angle: jax.Array, factor: jax.Array) -> jax.Array:
    """[H, W, C] -> the same shape: turned by `angle` (radians, counter-clockwise as seen) and enlarged by `factor` about the centre. Bilinear;
    of integers, the id of the nearest pixel."""
    height, width, _ = image.shape
    places = [
        jnp.arange(side, dtype=jnp.int32).astype(jnp.float32) - (side - 1) / 2
        for side in (height, width)
    ]
    rows, columns = jnp.meshgrid(*places, indexing="ij")
    cos, sin = jnp.cos(angle) / factor, jnp.sin(angle) / factor
    # Where each output pixel comes from: rows run downwards, which turns the sense of the angle around.
    source_rows = cos * rows + sin * columns + (height - 1) / 2
    source_columns = cos * columns - sin * rows + (width - 1) / 2
    if jnp.issubdtype(image.dtype, jnp.integer):
        return image[_nearest(source_rows, height), _nearest(source_columns, width)]

    def one(plane: jax.Array) -> jax.Array:
        return map_coordinates(plane, [source_rows, source_columns], order=1, mode="mirror")

    return jax.vmap(one, in_axes=2, out_axes=2)(image)


def _nearest(places: jax.Array, side: int) -> jax.Array:
    """The pixel nearest to each place along an axis of `side` pixels, int32; beyond the border ones, mirrored at these."""
    last = side - 1
    index = jax.lax.round(places).astype(jnp.int32)
    return jnp.abs((index + last) % max(2 * last, 1) - last)
