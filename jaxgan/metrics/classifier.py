"""The classifiers that come with the package, as feature networks: of scikit-learn's digits, MNIST and Fashion-MNIST.

Their features are those of the last hidden layer: what FID and KID of small grey images are taken under, where Inception's would be out of place. Such values
compare with each other, never with those published under Inception. `python -m experiments.train_classifier NAME` made the files; what each gets right of
held-out real images stands in its `meta`.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from pathlib import Path

import flax.linen as nn
import jax

from jaxgan.errors import require_choice
from jaxgan.metrics import judges
from jaxgan.metrics.features import FeatureNetwork, Outputs
from jaxgan.metrics.judges import Judge
from jaxgan.state import PyTree

SHIPPED = ("digits", "mnist", "fashion_mnist")
"""Classifiers that come with the package."""
WEIGHTS = Path(__file__).parent / "weights"
CHECKSUM_DIGITS = 16


@dataclasses.dataclass(frozen=True)
class Apply:
    """(params, images float32 [B, H, W, C] in [-1, 1]) -> Outputs, of a judge's network. Equal where the network is, so that it is compiled once."""

    network: nn.Module
    image_size: tuple[int, int]
    channels: int
    logits: bool
    """Whether the network's logits are one vector for each image, rather than for each pixel."""

    def __call__(self, params: PyTree, images: jax.Array) -> Outputs:
        features, logits = judges.apply(
            self.network, self.image_size, self.channels, params, images
        )
        return Outputs(features, logits if self.logits else None)


def open_classifier(name: str) -> FeatureNetwork:
    """The classifier "digits", "mnist" or "fashion_mnist"; ten classes. Raises ValueError for another name."""
    require_choice("classifier", name, SHIPPED)
    return feature_network(shipped(name), name)


@lru_cache(maxsize=len(SHIPPED))
def shipped(name: str) -> Judge:
    """The file behind `open_classifier`. Raises DataError where it is missing or damaged: install the package again."""
    return judges.open_judge(WEIGHTS / f"{name}.npz")


def feature_network(judge: Judge, name: str) -> FeatureNetwork:
    """A judge of any kind as what `features.extract` takes. Only one of "classes" has logits there: columns of attributes are no classes of an image."""
    height, width = judge.meta["image_size"]
    one = judge.kind == "classes"
    apply = Apply(judge.network, (height, width), judge.meta["channels"], one)
    classes = tuple(judge.meta["outputs"]) if one else ()
    return FeatureNetwork(
        name,
        judge.checksum[:CHECKSUM_DIGITS],
        f"cubic, antialiased to {height}x{width}",
        classes,
        judge.params,
        apply,
    )
