"""VGG16 and VGG19 of torchvision as feature networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp

from jaxgan.metrics.features import FeatureNetwork, Outputs
from jaxgan.metrics.inputs import as_rgb, resize
from jaxgan.perceptual import vgg_weights
from jaxgan.perceptual.vgg import SIZE, VGG
from jaxgan.state import PyTree

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's colours in [0, 1], which torchvision's weights want subtracted and divided by."""


def open_vgg(kind: str, path: Path, checksum: str = "") -> FeatureNetwork:
    """VGG with torchvision's weights from `path`: see `jaxgan.perceptual.vgg_weights.read_whole`, and for what it raises.

    Features are the second fully connected layer's 4,096 behind its ReLU, as for published precision and recall (Kynkaanniemi et al. 2019). Deviation: those
    are of another conversion of the network, so figures are near theirs and not equal.
    """
    found = vgg_weights.verify(kind, path, checksum)
    return FeatureNetwork(
        kind,
        found[:16],
        f"antialiased bilinear to {SIZE}",
        (),
        vgg_weights.read_whole(kind, path, checksum),
        _applied(kind),
    )


@cache
def _applied(kind: str) -> Callable[[PyTree, jax.Array], Outputs]:
    """One function however often the network is opened, so that it is compiled once."""
    return partial(_apply, kind)


def _apply(kind: str, params: PyTree, images: jax.Array) -> Outputs:
    images = (resize(as_rgb(images), (SIZE, SIZE)) + 1) / 2
    mean, deviation = (
        jnp.array(values, jnp.float32).reshape(1, 1, 1, 3) for values in (MEAN, DEVIATION)
    )
    return Outputs(*VGG(kind).apply({"params": params}, (images - mean) / deviation))
