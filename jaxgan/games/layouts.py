"""Layouts as SPADE's networks see them, and as people do.

Shapes: B examples, H, W their size, K classes. A layout is int [B, H, W], each pixel's class; K stands for unknown.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.errors import require
from jaxgan.nn.convolution import Symbols


class Layout(NamedTuple):
    """What the networks are told of a layout."""

    planes: jax.Array
    """As `encoded`."""
    symbols: Symbols | None
    """The same, as `symbols`: a CPU looks its convolutions up. None after augmentation."""


def told(config: Any, layout: jax.Array, instance: jax.Array | None = None) -> Layout:
    """A layout int [B, H, W], and where `config.instance_edges` the instances, as the networks are told them. Raises as `encoded`."""
    return Layout(encoded(config, layout, instance), symbols(config, layout, instance))


def planes(config: Any) -> int:
    """How many planes `encoded` has: the classes, one for unknown pixels and one for instance edges where the config has them."""
    return config.classes + bool(config.unknown) + bool(config.instance_edges)


def encoded(config: Any, layout: jax.Array, instance: jax.Array | None = None) -> jax.Array:
    """A layout, and where `config.instance_edges` the instances int [B, H, W], as float32 planes [B, H, W, S]: one-hot, then edges.

    A pixel of no class, and an unknown one without `config.unknown`, is 0 in every plane.

    Raises ValueError for other shapes, for numbers that are not whole, and if instances are missing or not asked for.
    """
    for name, array in (("layouts", layout), ("instances", instance)):
        whole = array is None or (array.ndim == 3 and jnp.issubdtype(array.dtype, jnp.integer))
        require(
            whole,
            f"{name} must be whole numbers [B, H, W], got {getattr(array, 'dtype', None)} of shape {getattr(array, 'shape', None)}",
        )
    require(
        (instance is not None) == config.instance_edges,
        f"instances are {'needed' if config.instance_edges else 'not used'} with this config",
    )
    require(
        instance is None or instance.shape == layout.shape,
        f"layouts and instances must be of one shape, got {layout.shape} and {_shape(instance)}",
    )
    one_hot = jax.nn.one_hot(layout, config.classes + bool(config.unknown), dtype=jnp.float32)
    return (
        one_hot
        if instance is None
        else jnp.concatenate([one_hot, edges(instance)[..., None]], axis=-1)
    )


def symbols(config: Any, layout: jax.Array, instance: jax.Array | None = None) -> Symbols:
    """`encoded` as symbols, each class (and none) without an edge and, where the config has them, with one: `vectors[numbers]` are its planes."""
    classes = config.classes + bool(config.unknown)
    vectors = jnp.eye(classes + 1, classes, dtype=jnp.float32)  # the last for a pixel of no class
    numbers = jnp.where((layout >= 0) & (layout < classes), layout, classes)
    if instance is not None:
        vectors = jnp.concatenate(
            [jnp.pad(vectors, ((0, 0), (0, 1)), constant_values=edge) for edge in (0, 1)]
        )
        numbers += (classes + 1) * edges(instance).astype(numbers.dtype)
    return Symbols(numbers, vectors)


def _shape(array: jax.Array | None) -> Any:
    return None if array is None else array.shape


def edges(instance: jax.Array) -> jax.Array:
    """Instances int [B, H, W] -> float32 [B, H, W]: 1 where a pixel's instance is another than that of one of its four neighbours.

    Source: pix2pixHD (Wang et al. 2018), section 3.3, as in NVlabs/SPADE. Deviation: none.
    """
    found = jnp.zeros(instance.shape, bool)
    for axis in (1, 2):
        length = instance.shape[axis]
        before, after = (
            jax.lax.slice_in_dim(instance, start, length - 1 + start, axis=axis) for start in (0, 1)
        )
        border = before != after
        for pad in ((0, 1), (1, 0)):
            found |= jnp.pad(border, [pad if i == axis else (0, 0) for i in range(3)])
    return found.astype(jnp.float32)


def palette(count: int) -> np.ndarray:
    """`count` colours, float32 [count, 3] in [-1, 1], the first black and all different up to 256: class k's bits, in threes, from each channel's highest.

    Those of PASCAL VOC's label maps.
    """
    numbers = np.arange(count)[:, None]
    levels = np.zeros((count, 3))
    for bit in range(8):
        levels += ((numbers >> (3 * bit + np.arange(3))) & 1) << (7 - bit)
    return (levels / 127.5 - 1).astype(np.float32)


def coloured(config: Any, layout: jax.Array) -> jax.Array:
    """A layout [B, H, W] in colours, float32 [B, H, W, C] in [-1, 1] with the config's channels; unknown pixels are white.

    Grey, with fewer than three channels, from black to light grey; further channels than three are opaque.
    """
    table = (
        palette(config.classes)
        if config.channels >= 3
        else np.linspace(-1, 0.8, config.classes, dtype=np.float32)[:, None]
    )
    table = np.concatenate([table, np.ones((1, table.shape[1]), np.float32)])
    ones = np.ones((len(table), config.channels - table.shape[1]), np.float32)
    return jnp.asarray(np.concatenate([table, ones], axis=1))[jnp.minimum(layout, config.classes)]
