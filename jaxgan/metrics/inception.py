"""FID's Inception as a feature network."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import jax

from jaxgan.errors import require_choice
from jaxgan.metrics.features import FeatureNetwork, Outputs
from jaxgan.metrics.inputs import as_rgb, resize_tf1
from jaxgan.perceptual import inception_weights
from jaxgan.perceptual.inception import LAYERS, SIZE, Inception
from jaxgan.state import PyTree


def open_inception(path: Path, checksum: str = "", features: str = "2048") -> FeatureNetwork:
    """Inception of 2015-12-05 with weights from `path`: see `jaxgan.perceptual.inception_weights.read`, and for what it raises.

    Args:
      features: "2048", the last layer, which FID and KID are of, with logits for the Inception Score; or an earlier one, "64", "192", "768", without. The
        name in records then says so: "inception-768".
    """
    require_choice("features", features, LAYERS)
    found = inception_weights.verify(path, checksum)
    params = inception_weights.read(features, path, checksum)
    name = "inception" if features == "2048" else f"inception-{features}"
    return FeatureNetwork(
        name, found[:16], f"TensorFlow 1 bilinear to {SIZE}", (), params, _applied(features)
    )


@cache
def _applied(layer: str) -> Callable[[PyTree, jax.Array], Outputs]:
    """One function however often the network is opened, so that it is compiled once."""
    return partial(_apply, layer)


def _apply(layer: str, params: PyTree, images: jax.Array) -> Outputs:
    levels = resize_tf1((as_rgb(images) + 1) * 127.5, (SIZE, SIZE))
    return Outputs(*Inception(layer).apply({"params": params}, (levels - 128) / 128))
