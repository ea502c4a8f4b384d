"""Which figures there are, which of them a model can be asked for, and which way is better."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

from jaxgan.data.dataset import Dataset
from jaxgan.errors import require
from jaxgan.family import Encodes, Samples, Styled, Translates, conditioning
from jaxgan.metrics import real
from jaxgan.metrics.paired import WINDOW


class Metric(NamedTuple):
    """lower: whether less is better. needs: "features" or "logits" of a network, or "". words: what it is, in a table's head."""

    lower: bool
    needs: str
    words: str


METRICS = {
    "fid": Metric(True, "features", "Frechet distance of features"),
    "kid": Metric(True, "features", "kernel distance of features"),
    "is": Metric(False, "logits", "Inception Score"),
    "precision": Metric(False, "features", "share of generated images on the real manifold"),
    "recall": Metric(False, "features", "share of real images on the generated manifold"),
    "density": Metric(False, "features", "how densely real images surround generated ones"),
    "coverage": Metric(False, "features", "share of real images with a generated one near"),
    "intra_fid": Metric(True, "features", "Frechet distance within each class"),
    "class_accuracy": Metric(False, "logits", "share of images read as the class asked for"),
    "l1": Metric(True, "", "mean absolute difference from the true image, of 255"),
    "accuracy": Metric(False, "", "share of pixels within 16 of 255 of the true image"),
    "psnr": Metric(False, "", "peak signal-to-noise ratio in dB"),
    "ssim": Metric(False, "", "structural similarity to the true image"),
    "miou": Metric(False, "", "mean intersection over union with the map"),
    "pixel_accuracy": Metric(False, "", "share of pixels read as the map's class"),
    "attribute_accuracy": Metric(
        False, "features", "share of images read as showing the attribute asked for"
    ),
    "reconstruction_l1": Metric(
        True, "", "mean absolute difference after the way there and back, of 255"
    ),
    "ppl": Metric(True, "features", "perceptual path length"),
}
FEATURES = ("fid", "kid", "is", "precision", "recall", "density", "coverage")
PAIRED = ("l1", "accuracy", "psnr", "ssim")
SEGMENTED = ("miou", "pixel_accuracy")
DEFAULTS = {
    "none": ("fid", "kid"),
    "class": ("fid", "kid", "class_accuracy"),
    "paired": PAIRED,
    "unpaired": ("fid", "kid"),
    "domains": ("fid", "attribute_accuracy"),
    "layout": ("fid", "pixel_accuracy", "miou"),
    "files": ("fid", "kid"),
}


def mode(family: ModuleType, config: Any, dataset: Dataset) -> str:
    """How a model is conditioned, read from its contract: "none", "class", "paired", "unpaired", "domains" (attributes) or "layout".

    "paired" where the data tell the true translation of each image, whether or not the model was trained with it.
    Raises ValueError for a family that neither samples nor translates.
    """
    spec = family.batch_spec(config, 1)
    require(
        isinstance(family, (Samples, Translates)),
        f"{family.__name__} has neither sample nor translate: there is nothing to evaluate",
    )
    if "attributes" in spec:
        return "domains"
    if "layout" in spec:
        return "layout"
    if "a" in spec:
        return "unpaired" if dataset.independent else "paired"
    return "class" if "label" in spec else "none"


def offered(
    family: ModuleType, config: Any, dataset: Dataset, judge: Any = None
) -> tuple[str, ...]:
    """The figures that this model can be asked for on these data, in the order of `METRICS`."""
    how = mode(family, config, dataset)
    names = set(FEATURES)
    if how == "class" and "label" in dataset.arrays:
        names |= {"intra_fid", "class_accuracy"}
    if how in ("paired", "layout") or (how == "domains" and dataset.name == "attributes:digits"):
        sides = [
            side
            for wanted in family.batch_spec(config, 1).values()
            if len(wanted.shape) == 4
            for side in wanted.shape[1:3]
        ]
        names |= set(PAIRED) - ({"ssim"} if min(sides) < WINDOW else set())
    if how == "layout" and (judge is not None or real.segmenter(dataset) is not None):
        names |= set(SEGMENTED)
    if how == "domains":
        names.add("attribute_accuracy")
    if isinstance(family, Encodes) or how == "domains" or len(directions(family, config)) > 1:
        names.add("reconstruction_l1")
    if isinstance(family, Styled):
        names.add("ppl")
    return tuple(name for name in METRICS if name in names)


def needs(name: str, judge: Any = None) -> str:
    """What a metric needs of a network, "" for nothing; attributes are read by a `Judge` where there is one."""
    return (
        ""
        if name == "attribute_accuracy" and judge is not None and judge.kind == "attributes"
        else METRICS[name].needs
    )


def least(name: str) -> int:
    """Of how many real and generated images a metric says nothing yet: covariances take two, neighbours one more than their number."""
    return {"fid": 1, "kid": 1, "precision": 3, "recall": 3, "density": 5, "coverage": 5}.get(
        name, 0
    )


def chosen(
    metrics: tuple[str, ...], possible: tuple[str, ...], how: str, what: str
) -> tuple[str, ...]:
    """The figures to measure: those asked for, by default those usual for the mode `how`. Raises ValueError naming what does not apply, and what does."""
    if not metrics:
        return tuple(name for name in DEFAULTS[how] if name in possible)
    unknown = [name for name in dict.fromkeys(metrics) if name not in possible]
    missing = ", ".join(name if name in METRICS else f"{name} (unknown)" for name in unknown)
    require(
        not unknown,
        f"{missing} cannot be measured of {what}: ask for some of {', '.join(possible)}",
    )
    return tuple(dict.fromkeys(metrics))


def directions(family: ModuleType, config: Any) -> tuple[str, ...]:
    """The ways a model translates between two domains; () for others."""
    return conditioning(family, config).directions
