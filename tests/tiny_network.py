"""A feature network of two matrices, for tests of what surrounds feature networks: means of a 4 x 4 grid -> 6 features -> 10 classes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.metrics.features import FeatureNetwork, Outputs


def apply(params, images):
    grey = jax.image.resize(
        images.mean(-1, keepdims=True), (images.shape[0], 4, 4, 1), "linear"
    ).reshape(images.shape[0], -1)
    features = jnp.tanh(grey @ params["features"])
    return Outputs(features, features @ params["logits"])


def network():
    random = np.random.default_rng(0)
    params = {
        name: random.normal(size=shape).astype(np.float32)
        for name, shape in {"features": (16, 6), "logits": (6, 10)}.items()
    }
    return FeatureNetwork(
        "tiny", "0123456789abcdef", "linear to 4", tuple(map(str, range(10))), params, apply
    )
