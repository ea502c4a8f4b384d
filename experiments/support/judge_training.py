"""What the three commands that train judges share: data split in two, a loss for each kind, held-out accuracy, one file.

`python -m experiments.train_classifier`, `train_attributes` and `train_segmenter` are the commands.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan import checkpoint, data
from jaxgan.data import Augment, Dataset
from jaxgan.errors import DataError, require_seed
from jaxgan.games.attributes import class_loss
from jaxgan.metrics import judges
from jaxgan.metrics.fit import fit
from jaxgan.metrics.judges import Attributes, Judge
from jaxgan.metrics.real import has_split
from jaxgan.records.config_io import to_dict
from jaxgan.state import Batch, PyTree
from jaxgan.update import stream_key

ARRAY = {"classes": "label", "attributes": "attributes", "layout": "layout"}
"""Of each kind of judge, the array that holds the truth."""
WIDTH, MOST, LEAST = 16, 128, 4
"""`by_size`: feature maps of the first convolution and at most, doubled at each halving; smallest side."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a judge is built and trained. network: the fields of its module but `outputs`. Where `augment` crops, images get a border first: they are moved."""

    image_size: tuple[int, int]
    network: dict[str, Any]
    epochs: float
    batch_size: int = 128
    learning_rate: float = 2e-3
    augment: Augment = Augment()


def by_size(image_size: tuple[int, int], epochs: float, flip: bool) -> Recipe:
    """A classifier with group norm that halves images while at least 4 pixels remain; images are shifted by up to a sixteenth, mirrored if wanted."""
    side = min(image_size)
    widths: list[int] = []
    while side % 2 == 0 and side // 2 >= LEAST:
        widths.append(min(MOST, WIDTH * 2 ** len(widths)))
        side //= 2
    network = {"widths": tuple(widths), "hidden": 128, "dropout": 0.4, "normalise": True}
    return Recipe(
        image_size,
        network,
        epochs,
        64,
        augment=Augment(flip=flip, crop=2 * max(1, min(image_size) // 16)),
    )


def open_split(spec: str, image_size: tuple[int, int]) -> tuple[Dataset, Dataset, str]:
    """(training part, held-out part, what was held out): the splits of the set, or an eighth of its images, drawn at random."""
    resize = "stretch" if spec.startswith("paired:") else "cover"
    options: dict[str, Any] = {"image_size": image_size, "resize": resize}
    train = data.open(spec, **options)
    for split in ("test", "val"):
        if has_split(spec, split):
            return train, data.open(spec, **options, split=split), split
    return *split_off(train), "an eighth of the images, at random"


def without_folders(spec: str) -> str:
    """A data spec as others may read it: "idx:mnist" of "idx:/home/me/mnist"."""
    return re.sub(r"(?<=[:,])[^:,?+]*/", "", spec)


def split_off(dataset: Dataset, every: int = 8) -> tuple[Dataset, Dataset]:
    """(the others, one example in eight), for sets without a split of their own.

    Drawn at random by the size of the set alone: every eighth would be of one kind where kinds alternate. Raises DataError: too few.
    """
    if dataset.size < every:
        raise DataError(
            f"{dataset.name} has {dataset.size} examples, too few to hold one in {every} out: use more"
        )
    held = np.zeros(dataset.size, bool)
    held[np.random.default_rng(0).permutation(dataset.size)[: dataset.size // every]] = True
    parts = []
    for rows, what in ((~held, f"all but one in {every}"), (held, f"one in {every}")):
        arrays = {name: np.asarray(array)[rows] for name, array in dataset.arrays.items()}
        parts.append(
            dataclasses.replace(
                dataset,
                name=f"{dataset.name} ({what})",
                arrays=arrays,
                fingerprint=f"{dataset.fingerprint} ({what})",
            )
        )
    return parts[0], parts[1]


def train(
    kind: str,
    recipe: Recipe,
    train: Dataset,
    held_out: Dataset,
    seed: int,
    out: Path,
    split: str,
    say: Callable[[str], None] = print,
) -> Judge:
    """Train a judge on `train`, measure it on `held_out`, write it to `out` and open it from there.

    Args:
      kind: one of `judges.KINDS`; the sets have its array.
      split: in words, what was held out.

    Raises DataError: a set without that array, sets of other names; NonFiniteError.
    """
    seed, names = require_seed(seed), train.attributes if kind == "attributes" else train.classes
    told = [(each.classes, each.attributes, each.known) for each in (train, held_out)]
    if ARRAY[kind] not in train.arrays or told[0] != told[1]:
        raise DataError(
            f"{train.name} has no {ARRAY[kind]} for each image, or not the same ones in its held-out part: see python -m experiments.data_check"
        )
    meta = {
        "kind": kind,
        "image_size": recipe.image_size,
        "channels": train.channels,
        "network": recipe.network,
        "outputs": names,
        "groups": train.groups,
    }
    network = judges.build(meta)
    key = stream_key(jax.random.key(seed), "init")
    params = jax.jit(network.init)(key, jnp.zeros((1, *recipe.image_size, train.channels)))[
        "params"
    ]
    settings: dict[str, Any] = {
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "learning_rate": recipe.learning_rate,
        "seed": seed,
    }
    padded = dataclasses.replace(
        train,
        arrays={
            name: _padded(array, recipe.augment.crop // 2)
            for name, array in _needed(kind, train).items()
        },
    )
    params = fit(
        _loss(kind, network, train), params, padded, **settings, augment=recipe.augment, say=say
    )
    right = accuracy(Judge(kind, "", network, judges.stored(params), meta), held_out)
    counts = {"counts": _told(held_out)} if held_out.known and kind == "attributes" else {}
    meta |= {
        "held_out": {
            **right,
            "count": held_out.size,
            **counts,
            "fingerprint": held_out.fingerprint,
        },
        "split": split,
        "data": without_folders(train.name),
        "fingerprint": train.fingerprint,
        "training": {**settings, "augment": to_dict(recipe.augment), "examples": train.size},
        "versions": {**checkpoint.versions(), "device": jax.devices()[0].device_kind},
    }
    checksum = judges.save(out, params, meta)
    of = {name: f" of {count}" for name, count in counts.get("counts", {}).items()}
    shares = ", ".join(f"{name} {value:.4f}{of.get(name, '')}" for name, value in right.items())
    say(f"{out}: {shares} of {held_out.size} held-out; {checksum[:16]}")
    return judges.open_judge(out)


def _needed(kind: str, dataset: Dataset) -> dict[str, np.ndarray]:
    sets = ("set",) if kind == "attributes" and dataset.known else ()
    return {name: np.asarray(dataset.arrays[name]) for name in ("image", ARRAY[kind], *sets)}


def _told(dataset: Dataset) -> dict[str, int]:
    """Of each group, or of each binary attribute, how many examples are of a set that tells it."""
    config = Attributes(dataset.attributes, dataset.groups)
    return {
        name: int(dataset.told[:, columns.start].sum())
        for name, columns in judges.groups_of(config)
    }


def _padded(array: np.ndarray, margin: int) -> np.ndarray:
    """Images and maps with their borders repeated around them; all else as it is."""
    if array.ndim < 3:
        return array
    return np.pad(
        array,
        [(0, 0), (margin, margin), (margin, margin)] + [(0, 0)] * (array.ndim - 3),
        mode="edge",
    )


def _loss(
    kind: str, network: Any, dataset: Dataset
) -> Callable[[PyTree, Batch, jax.Array], jax.Array]:
    config = Attributes(dataset.attributes, dataset.groups, dataset.known)

    def loss(params: PyTree, batch: Batch, keys: jax.Array) -> jax.Array:
        logits, truth = (
            network.apply({"params": params}, batch["image"], keys)[1],
            batch[ARRAY[kind]],
        )
        if kind == "attributes":
            return class_loss(config, logits, truth.astype(jnp.float32), batch.get("set"))[0]
        known = truth < logits.shape[-1]  # the id after the last is unknown
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.where(known, truth, 0))
        return jnp.sum(losses * known) / jnp.maximum(1, jnp.sum(known))

    return loss


def accuracy(judge: Judge, held_out: Dataset) -> dict[str, float]:
    """What the judge gets right of real images: "accuracy" of classes, or of each group of attributes among the images
    whose set tells it; of pixels "accuracy" and "mean_iou"."""
    images, truth = held_out.arrays["image"], np.asarray(held_out.arrays[ARRAY[judge.kind]])
    if judge.kind == "attributes":
        return judges.attribute_accuracy(judge, images, truth, held_out.told)
    if judge.kind == "classes":
        return {"accuracy": float(np.mean(judges.classify(judge, images) == truth))}
    from jaxgan.metrics.segmentation import confusion, mean_iou, pixel_accuracy

    counts = confusion(
        truth, judges.segment(judge, images), len(held_out.classes), len(held_out.classes)
    )
    return {"accuracy": float(pixel_accuracy(counts)), "mean_iou": float(mean_iou(counts))}
