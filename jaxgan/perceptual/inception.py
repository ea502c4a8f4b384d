"""Inception v3 as TensorFlow's graph of 2015-12-05 has it, whose features and classes published FID, KID and Inception Scores are of. Never trained here."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.errors import require, require_choice
from jaxgan.nn.layers import Conv

LAYERS = ("64", "192", "768", "2048")
"""Where features are taken: behind the first and second maximum, in front of the last reduction, and at the end. Named by their number."""
SIZE = 299
CLASSES = 1008


class Inception(nn.Module):
    """Images [B, 299, 299, 3], (level - 128) / 128 of 0 to 255 -> (features [B, D], logits [B, 1008]): a layer's means over its pixels.

    The logits are without the last layer's bias, as the Inception Score's are; they follow the last layer alone, and are None with an earlier one.
    Source: Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision", in the form and with the names of mseitzer/pytorch-fid and
    toshas/torch-fidelity. Unlike torchvision's: average pools leave out what lies beyond the border, the last block pools by maximum, there are 1008 classes.
    Deviation: the batch norms (epsilon 0.001) are part of the convolutions; see `jaxgan.perceptual.inception_weights`.

    Raises ValueError for images of another shape, and other layers.
    """

    layer: str = "2048"

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        require_choice("features", self.layer, LAYERS)
        require(
            images.shape[1:] == (SIZE, SIZE, 3),
            f"Inception takes images [B, {SIZE}, {SIZE}, 3], got shape {images.shape}",
        )
        x = _Unit(32, 3, 2, name="Conv2d_1a_3x3")(images)
        x = _Unit(32, 3, name="Conv2d_2a_3x3")(x)
        x = _maximum(_Unit(64, 3, 1, 1, name="Conv2d_2b_3x3")(x), 2)
        if self.layer == "64":
            return x.mean((1, 2)), None
        x = _Unit(80, 1, name="Conv2d_3b_1x1")(x)
        x = _maximum(_Unit(192, 3, name="Conv2d_4a_3x3")(x), 2)
        if self.layer == "192":
            return x.mean((1, 2)), None
        for block, pooled in (("5b", 32), ("5c", 64), ("5d", 64)):
            x = _BlockA(pooled, name=f"Mixed_{block}")(x)
        x = _BlockB(name="Mixed_6a")(x)
        for block, width in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
            x = _BlockC(width, name=f"Mixed_{block}")(x)
        if self.layer == "768":
            return x.mean((1, 2)), None
        x = _BlockD(name="Mixed_7a")(x)
        x = _BlockE(name="Mixed_7b")(x, _mean(x))
        x = _BlockE(name="Mixed_7c")(
            x, _maximum(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf), 1)
        )
        features = x.mean((1, 2))
        return features, features @ self.param(
            "fc", nn.initializers.lecun_normal(), (features.shape[-1], CLASSES), jnp.float32
        )


class _Unit(nn.Module):
    """Convolution, the batch norm in it, ReLU."""

    features: int
    kernel_size: int | tuple[int, int]
    strides: int = 1
    padding: int | tuple[int, int] = 0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        rows, columns = (
            (self.padding, self.padding) if isinstance(self.padding, int) else self.padding
        )
        return nn.relu(
            Conv(
                self.features,
                self.kernel_size,
                self.strides,
                ((rows, rows), (columns, columns)),
                name="conv",
            )(x)
        )


def _across(features: int, name: str, length: int = 7) -> _Unit:
    return _Unit(features, (1, length), 1, (0, length // 2), name=name)


def _down(features: int, name: str, length: int = 7) -> _Unit:
    return _Unit(features, (length, 1), 1, (length // 2, 0), name=name)


class _BlockA(nn.Module):
    pooled: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        one = _Unit(64, 1, name="branch1x1")(x)
        five = _Unit(64, 5, 1, 2, name="branch5x5_2")(_Unit(48, 1, name="branch5x5_1")(x))
        three = _Unit(96, 3, 1, 1, name="branch3x3dbl_2")(_Unit(64, 1, name="branch3x3dbl_1")(x))
        three = _Unit(96, 3, 1, 1, name="branch3x3dbl_3")(three)
        return _joined(one, five, three, _Unit(self.pooled, 1, name="branch_pool")(_mean(x)))


class _BlockB(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        double = _Unit(96, 3, 1, 1, name="branch3x3dbl_2")(_Unit(64, 1, name="branch3x3dbl_1")(x))
        return _joined(
            _Unit(384, 3, 2, name="branch3x3")(x),
            _Unit(96, 3, 2, name="branch3x3dbl_3")(double),
            _maximum(x, 2),
        )


class _BlockC(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        single = _across(self.width, "branch7x7_2")(_Unit(self.width, 1, name="branch7x7_1")(x))
        double = _down(self.width, "branch7x7dbl_2")(_Unit(self.width, 1, name="branch7x7dbl_1")(x))
        double = _down(self.width, "branch7x7dbl_4")(_across(self.width, "branch7x7dbl_3")(double))
        pooled = _Unit(192, 1, name="branch_pool")(_mean(x))
        return _joined(
            _Unit(192, 1, name="branch1x1")(x),
            _down(192, "branch7x7_3")(single),
            _across(192, "branch7x7dbl_5")(double),
            pooled,
        )


class _BlockD(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        three = _Unit(320, 3, 2, name="branch3x3_2")(_Unit(192, 1, name="branch3x3_1")(x))
        seven = _across(192, "branch7x7x3_2")(_Unit(192, 1, name="branch7x7x3_1")(x))
        seven = _Unit(192, 3, 2, name="branch7x7x3_4")(_down(192, "branch7x7x3_3")(seven))
        return _joined(three, seven, _maximum(x, 2))


class _BlockE(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, pooled: jax.Array) -> jax.Array:
        three = _Unit(384, 1, name="branch3x3_1")(x)
        double = _Unit(384, 3, 1, 1, name="branch3x3dbl_2")(_Unit(448, 1, name="branch3x3dbl_1")(x))
        return _joined(
            _Unit(320, 1, name="branch1x1")(x),
            _across(384, "branch3x3_2a", 3)(three),
            _down(384, "branch3x3_2b", 3)(three),
            _across(384, "branch3x3dbl_3a", 3)(double),
            _down(384, "branch3x3dbl_3b", 3)(double),
            _Unit(192, 1, name="branch_pool")(pooled),
        )


def _joined(*branches: jax.Array) -> jax.Array:
    return jnp.concatenate(branches, axis=-1)


def _maximum(x: jax.Array, stride: int) -> jax.Array:
    """Of each whole 3x3 square, every `stride`-th."""
    for axis in (1, 2):
        first, second, third = _neighbours(x, axis, stride)
        x = jnp.maximum(jnp.maximum(first, second), third)
    return x


def _mean(x: jax.Array) -> jax.Array:
    """Of the 3x3 square around each pixel, without what lies beyond the border."""
    for axis in (1, 2):
        length = x.shape[axis]
        first, second, third = _neighbours(
            jnp.pad(x, [(1, 1) if i == axis else (0, 0) for i in range(4)]), axis, 1
        )
        counts = np.convolve(np.ones(length, np.float32), np.ones(3, np.float32), "same")
        x = (first + second + third) / counts.reshape([-1 if i == axis else 1 for i in range(4)])
    return x


def _neighbours(x: jax.Array, axis: int, stride: int) -> Sequence[jax.Array]:
    """The first, second and third of every three neighbours along `axis`."""
    last = x.shape[axis] - 2
    return [jax.lax.slice_in_dim(x, start, start + last, stride, axis) for start in range(3)]
