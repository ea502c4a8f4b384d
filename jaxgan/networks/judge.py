"""Small networks that judge images: what is shown (class or attributes), and where (a class for each pixel). Trained in minutes, shipped or kept in a file."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import require
from jaxgan.nn import initialisers
from jaxgan.nn.layers import Conv, Dense
from jaxgan.nn.regularise import dropout
from jaxgan.nn.resample import average_pool, max_pool, upsample_nearest

GROUP = 8
"""Channels that are normalised together; widths are multiples of it where there is a norm."""


class Classifier(nn.Module):
    """Images [B, H, W, C] -> (features float32 [B, hidden], logits float32 [B, outputs]).

    For each width a 3x3 convolution, ReLU and 2x2 maximum; then a hidden layer with ReLU, which is the features, and a linear one. H and W are multiples of
    2 ** len(widths). With `normalise` a group norm stands before each convolution's ReLU: for deeper networks.

    Keys: one for each example draws its two dropout masks (behind the convolutions and behind the features); None draws nothing. Not consumed.
    """

    widths: tuple[int, ...]
    hidden: int
    outputs: int
    dropout: float = 0.0
    normalise: bool = False

    @nn.compact
    def __call__(
        self, images: jax.Array, keys: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        _require_halvings("the classifier", images, len(self.widths))
        x = images
        for i, width in enumerate(self.widths):
            x = max_pool(_activated(width, self.normalise, f"conv{i}", x))
        x = dropout(x.reshape(len(x), -1), self.dropout, keys, "flat")
        features = nn.relu(Dense(self.hidden, kernel_init=initialisers.he_normal, name="hidden")(x))
        return features, Dense(self.outputs, name="logits")(
            dropout(features, self.dropout, keys, "hidden")
        )


class Segmenter(nn.Module):
    """Images [B, H, W, C] -> (features float32 [B, widths[-1]], logits float32 [B, H, W, outputs]): a small U-Net (Ronneberger et al. 2015).

    On the way down two 3x3 convolutions for each width, with 2x2 means between them, on the way up one over the enlarged maps joined with those
    of the same size; group norm and ReLU behind each. The features are the means of the deepest maps. H and W are multiples of 2 ** (len(widths) - 1).

    Keys: one for each example draws the dropout mask of the deepest maps; None draws nothing. Not consumed.
    """

    widths: tuple[int, ...]
    outputs: int
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, images: jax.Array, keys: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        _require_halvings("the segmenter", images, len(self.widths) - 1)
        x, skips = images, []
        for i, width in enumerate(self.widths):
            x = average_pool(x) if i else x
            for j in range(2):
                x = _activated(width, True, f"down{i}_{j}", x)
            skips.append(x)
        features = jnp.mean(x, (1, 2))
        x = dropout(x, self.dropout, keys, "deepest")
        for i in reversed(range(len(self.widths) - 1)):
            x = _activated(
                self.widths[i],
                True,
                f"up{i}",
                jnp.concatenate([upsample_nearest(x), skips[i]], axis=-1),
            )
        return features, Conv(self.outputs, 1, name="logits")(x)


def _activated(width: int, normalise: bool, name: str, x: jax.Array) -> jax.Array:
    """3x3 convolution, group norm where wanted, ReLU. Called inside a module's `__call__`, which owns the parameters."""
    x = Conv(width, 3, 1, 1, use_bias=not normalise, kernel_init=initialisers.he_normal, name=name)(
        x
    )
    return nn.relu(
        nn.GroupNorm(num_groups=None, group_size=GROUP, name=f"{name}_norm")(x) if normalise else x
    )


def _require_halvings(network: str, images: jax.Array, count: int) -> None:
    fits = images.ndim == 4 and all(side % 2**count == 0 for side in images.shape[1:3])
    require(
        fits,
        f"{network} takes images [B, H, W, C] whose sides are multiples of {2**count}, got shape {list(images.shape)}",
    )
