"""What `benchmarks.quality` measures beside `jaxgan.metrics.evaluate`: readings of judges, and what can be had without a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.quality_rows import Row
from experiments import colour_layouts
from jaxgan.data.dataset import Dataset
from jaxgan.metrics import judges, kernel, paired, segmentation, table
from jaxgan.metrics.classifier import feature_network
from jaxgan.metrics.features import extract
from jaxgan.metrics.judges import Judge
from jaxgan.metrics.measure import Evaluator, evaluator, versions
from jaxgan.metrics.result import Result
from jaxgan.metrics.tasks import Task, make_tasks

JUDGED = {"attribute_accuracy", "miou", "pixel_accuracy"}
PAIRED = {"l1": paired.l1, "ssim": paired.ssim, "accuracy": paired.accuracy}


def scorer(
    row: Row,
    family: ModuleType,
    config: Any,
    real: Dataset,
    train: Dataset,
    network: Any,
    judge: Judge | None,
    seed: int,
    made: dict | None = None,
) -> Evaluator:
    """A function of states of a row's model: every figure of it. `real` are the held-out images, `train` those it was trained on; made: see `evaluator`."""
    own = judge if set(row.metrics) & JUDGED else None
    options: dict[str, Any] = {
        "network": network,
        "samples": row.samples,
        "seed": seed,
        "split": row.split,
    }
    usual = evaluator(
        family,
        config,
        real,
        measurable(row, network),
        **options,
        train=train,
        judge=own,
        looks=False,
        made=made,
    )
    if judge is None or row.table != "maps":
        return usual
    tasks = make_tasks(family, config, real, row.samples, seed, {}, made)

    def score(state: Any) -> list[Result]:
        found = usual(state)
        return found + [one for task in tasks for one in map_accuracy(judge, task, state, found[0])]

    return score


def measurable(row: Row, network: Any) -> tuple[str, ...]:
    """The row's figures, without those that need a network where there is none."""
    return tuple(
        name for name in row.metrics if network is not None or not table.METRICS[name].needs
    )


def network_of(judge: Judge, name: str) -> Any:
    """A judge's features for distances, under a name that says they are its own."""
    return feature_network(judge, f"{name} judge")


def network_fields(judge: Judge) -> dict[str, Any]:
    """What a result says of a judge that reads images."""
    height, width = judge.meta["image_size"]
    return {
        "network": "judge",
        "checksum": judge.checksum[:16],
        "resize": f"cubic, antialiased to {height}x{width}",
    }


def map_accuracy(judge: Judge, task: Task, state: Any, like: Result) -> Iterator[Result]:
    """How well the judge reads the colours of the true map off translations, photographs or maps; the floor is how well it does off the true images.

    As the "FCN score" of Isola et al. 2017, section 4.1. like: a result of the same model and data, to fill in.
    """
    common = dataclasses.replace(like, **network_fields(judge), standard_error=None)
    made = np.concatenate(list(task.make(state)))
    rows: Any = {task.subject[0]: task.source, task.subject[-1]: task.target}
    ids = colour_layouts.read(rows["b"].take(0, len(made)), tuple(judge.meta["outputs"]))
    target = rows[task.subject[-1]].take(0, len(made))
    counts = [
        segmentation.confusion(ids, judges.segment(judge, images), len(judge.meta["outputs"]))
        for images in (made, target)
    ]
    for name, measure in (
        ("pixel_accuracy", segmentation.pixel_accuracy),
        ("miou", segmentation.mean_iou),
    ):
        value, floor = (measure(one) for one in counts)
        yield dataclasses.replace(
            common,
            metric=name,
            value=value,
            subject=task.subject,
            floor=floor,
            real=len(made),
            generated=len(made),
        )


# ------------------------------------------------------------------------------------------------------------ without a model


def predictions(train: Dataset, real: Dataset, direction: str) -> Iterator[tuple[str, np.ndarray]]:
    """(how, uint8 [N, H, W, C]): answers to the held-out sources of a translation that anyone could give who has the training pairs."""
    start, end = direction[0], direction[-1]
    source, known, answers = (
        np.asarray(real.arrays[start]),
        np.asarray(train.arrays[start]),
        np.asarray(train.arrays[end]),
    )
    if source.shape == real.arrays[end].shape:
        yield "copying the input", source
    mean = np.rint(answers.mean(axis=0, dtype=np.float64)).astype(np.uint8)
    yield "mean image", np.broadcast_to(mean, (len(source), *mean.shape))
    yield "nearest neighbour", answers[nearest(source, known)]


def nearest(images: np.ndarray, known: np.ndarray) -> np.ndarray:
    """int64 [N]: of each image the nearest in `known` [M, ...], by Euclidean distance of pixels."""
    x, y = (array.reshape(len(array), -1).astype(np.float32) / 255 for array in (images, known))
    return (np.square(y).sum(1)[None] - 2 * x @ y.T).argmin(1)


def baselines(
    row: Row, train: Dataset, real: Dataset, network: Any, directions: tuple[str, ...]
) -> Iterator[tuple[str, Result]]:
    """(how, result) of every answer that needs no model, by the row's figures."""
    for direction in directions:
        target = np.asarray(real.arrays[direction[-1]])
        true = extract(network, target).features if network is not None else None
        for how, images in predictions(train, real, direction):
            common = Result(
                "",
                0.0,
                subject=direction,
                real=len(target),
                generated=len(images),
                split=row.split,
                data=real.name,
                fingerprint=real.fingerprint,
            )
            common = dataclasses.replace(common, versions=versions())
            for name in row.metrics:
                if name in PAIRED:
                    values = PAIRED[name](images, target)
                    error = float(values.std(ddof=1) / np.sqrt(len(values)))
                    yield (
                        how,
                        dataclasses.replace(
                            common, metric=name, value=float(values.mean()), standard_error=error
                        ),
                    )
                elif name == "kid" and true is not None:
                    value, error = kernel.kid(true, extract(network, images).features)
                    told = {
                        "network": network.name,
                        "checksum": network.checksum,
                        "resize": network.resize,
                    }
                    yield (
                        how,
                        dataclasses.replace(
                            common, metric=name, value=value, standard_error=error, **told
                        ),
                    )
