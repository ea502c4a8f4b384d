"""How good a model's images are: `evaluate` makes them, takes features, and returns figures that say what they depend on.

    results = evaluate(dcgan, config, state, "digits", ["fid", "kid"])

The way a model is conditioned is read from its contract. Real images are held out from training where the data set has a split for that; beside each
distance stands its floor, that of real images from real ones.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np

from jaxgan.data.dataset import Dataset
from jaxgan.errors import require, require_seed
from jaxgan.family import Samples, conditioning
from jaxgan.metrics import figures, paired, path_length, real, table
from jaxgan.metrics.feature_networks import open_network
from jaxgan.metrics.features import FeatureNetwork, extract
from jaxgan.metrics.figures import Known, Material
from jaxgan.metrics.ground import Ground, Watch
from jaxgan.metrics.judges import Judge, open_judge
from jaxgan.metrics.real import Rows
from jaxgan.metrics.result import Result
from jaxgan.metrics.tasks import Task, classes_asked, file_task, make_tasks
from jaxgan.state import State
from jaxgan.update import stream_key

SAMPLES = 10_000
"""Images made, where nothing is said."""
PATHS = 2_000
"""Pairs of latents for "ppl", at most."""

Evaluator = Callable[[State], list[Result]]


def evaluate(
    family: ModuleType,
    config: Any,
    state: State,
    dataset: Dataset | str,
    metrics: Sequence[str] = (),
    *,
    network: FeatureNetwork | str | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
    split: str | None = None,
    train: Dataset | None = None,
    truncation: float | None = None,
    judge: Judge | str | Path | None = None,
    looks: bool = True,
) -> list[Result]:
    """Figures of a model; one for each metric and each direction, target domain or class it has.

    Args:
      state: of which `ema` and `images` are read.
      dataset: real images at the config's size, or larger, of which the centre is cut; or a spec, opened at `split`.
      metrics: names of `table.METRICS`; () for those that are usual.
      network: a feature network, or what `open_network` takes; None: that of the data, where it comes with the package.
      samples: images to make, at most; translators make one for each real image.
      seed: decides the images, and which real ones are drawn where not all are taken.
      split: of the real images: recorded, and opened where `dataset` is a spec. None: "test", "val" or "train", whichever is there.
      train: training images, where the real ones were not trained on: for floors, and to look for copies.
      truncation: of the styles, for families that know it.
      judge: a `judges.Judge` of label maps, for "miou" and "pixel_accuracy", or of attributes, for "attribute_accuracy"; or its file. None: the classes of
        pixels are read off by colour, which `layout:digits` allows, and attributes by a linear classifier of features.
      looks: measure what `jaxgan.report.diagnostics` judges as well.

    Raises:
      ValueError: metrics that do not apply, naming those that do; no network known for the data; settings out of range.
      DataError: real images that cannot be opened. NonFiniteError: generated images with NaN or infinite values.
    """
    if isinstance(dataset, str):
        dataset, split = real.open_real(dataset, split, **real.form_of(family, config))
    options: dict[str, Any] = {
        "network": network,
        "samples": samples,
        "seed": seed,
        "split": split or "test",
        "train": train,
    }
    return evaluator(
        family, config, dataset, metrics, **options, truncation=truncation, judge=judge, looks=looks
    )(state)


def evaluator(
    family: ModuleType,
    config: Any,
    dataset: Dataset,
    metrics: Sequence[str] = (),
    *,
    network: FeatureNetwork | str | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
    split: str = "test",
    train: Dataset | None = None,
    truncation: float | None = None,
    judge: Judge | str | Path | None = None,
    looks: bool = True,
    made: dict[str, np.ndarray] | None = None,
) -> Evaluator:
    """`evaluate` for many states of one model: programs are compiled, and real images looked at, once. Settings are checked here and now.

    made: uint8 [N, H, W, C] by subject ("" where there is but one), images that are there already and are measured in place of the model's, such as those
      of the same network elsewhere; of states only `images` is read then. Not with "ppl", nor with ways back.
    """
    seed = require_seed(seed)
    require(samples >= 2, f"samples must be at least 2, got {samples}")
    require(
        truncation is None or "truncation" in _arguments(family),
        f"{family.__name__} has no styles to truncate: leave truncation out",
    )
    judge, how = _judge(judge, dataset), table.mode(family, config, dataset)
    chosen = table.chosen(
        tuple(metrics),
        table.offered(family, config, dataset, judge),
        how,
        f"{family.__name__.rpartition('.')[2]} on {dataset.name}",
    )
    opened = _network(network, chosen, dataset, judge)
    tasks = make_tasks(
        family,
        config,
        dataset,
        samples,
        seed,
        {} if truncation is None else {"truncation": truncation},
        made,
    )
    _require_enough(chosen, tasks, dataset, opened, judge)
    ground = Ground(
        dataset,
        train,
        opened,
        chosen,
        samples,
        judge,
        looks,
        copies=how in ("none", "class"),
        seed=seed,
    )
    common = {
        "split": split,
        "seed": seed,
        "truncation": truncation,
        "data": dataset.name,
        "fingerprint": dataset.fingerprint,
    }
    path_lengths = _path_lengths(family, config, ground)

    def run(state: State) -> list[Result]:
        state = State(state.step, state.images, {}, state.ema, {})
        model = {"family": family.__name__, "checkpoint": int(state.images)}
        found = [one for task in tasks for one in measured(task, state, ground, **common, **model)]
        if "ppl" in chosen:
            found.append(path_lengths(state, common | model | {"truncation": None}))
        return found

    return run


def evaluate_files(
    images: Dataset,
    reference: Dataset,
    metrics: Sequence[str] = (),
    *,
    network: FeatureNetwork | str | None = None,
    looks: bool = True,
    seed: int = 0,
) -> list[Result]:
    """Figures of images that are there already, against others: both have an array "image", of any two sizes that the network takes.

    seed: of the halves that floors are measured between, and of all else that is drawn of the images.

    Raises ValueError as `evaluate`, and where either set has no single array of images.
    """
    for one in (images, reference):
        require(
            "image" in one.arrays,
            f"{one.name} does not hold images of one kind: name a folder, an archive or another set of single images",
        )
    seed, chosen = (
        require_seed(seed),
        table.chosen(tuple(metrics), table.FEATURES, "files", "images from files"),
    )
    opened = _network(network, chosen, reference)
    task = file_task(images.arrays["image"])
    _require_enough(chosen, [task], reference, opened, None)
    looks = looks and (images.image_size, images.channels) == (
        reference.image_size,
        reference.channels,
    )
    ground = Ground(
        reference,
        None,
        opened,
        chosen,
        images.size,
        None,
        looks,
        copies=False,
        seed=seed,
        whole=True,
    )
    common = {
        "seed": seed,
        "data": f"{images.name} against {reference.name}",
        "fingerprint": reference.fingerprint,
    }
    return list(measured(task, None, ground, **common))


def _require_enough(
    metrics: tuple[str, ...], tasks: list[Task], dataset: Dataset, network: Any, judge: Judge | None
) -> None:
    """Raise ValueError now for what would fail after the images were made, which may be hours into a training."""
    if "class_accuracy" in metrics:
        figures.class_order(network, dataset.classes)
    require(
        bool(tasks),
        f"{dataset.name} has no images to translate: no attribute is shown by some of its images and not by others",
    )
    for task in tasks:
        images: np.ndarray = dataset.arrays[task.array]
        if "intra_fid" in metrics:
            counts = [
                np.bincount(np.asarray(labels), minlength=len(dataset.classes))
                for labels in (task.labels, dataset.arrays["label"])
            ]
            require(
                np.minimum(*counts).max() >= 2,
                "intra_fid needs two real and two generated images of some class: ask for more samples",
            )
        count = min(task.count, len(images) if task.index is None else len(task.index))
        about = f"of {dataset.name}{task.subject and ', ' + task.subject}, there are {count} generated or real images"
        for name in metrics:
            require(
                count > table.least(name),
                f"{name} needs more than {table.least(name)} images on either side; {about}",
            )
        if set(table.SEGMENTED) & set(metrics) and judge is not None and task.layout is not None:
            (height, width), own = task.layout.size, tuple(judge.meta["image_size"])
            unlike = f"the judge reads maps of {own[0]}x{own[1]}, the model makes {height}x{width}"
            require(
                (height, width) == own,
                f"{unlike}: train a judge with --image-size {height} {width}",
            )


def _arguments(family: ModuleType) -> Any:
    return inspect.signature(family.sample).parameters if isinstance(family, Samples) else {}


def _judge(judge: Judge | str | Path | None, dataset: Dataset) -> Judge | None:
    """The judge, opened. Raises ValueError where it does not judge what the data set tells."""
    opened = open_judge(judge) if isinstance(judge, (str, Path)) else judge
    if opened is not None:
        names = {
            "attributes": dataset.attributes,
            "layout": dataset.classes if "layout" in dataset.arrays else (),
        }.get(opened.kind, ())
        told = tuple(opened.meta["outputs"])
        require(
            bool(names) and set(names) <= set(told),
            f"the judge tells {', '.join(told)}, not what {dataset.name} has ({', '.join(names) or 'neither'})",
        )
        require(
            opened.kind == "attributes" or names == told,
            f"the judge's classes {', '.join(told)} must be in the order of the data's, {', '.join(names)}",
        )
    return opened


def _network(
    network: FeatureNetwork | str | None,
    metrics: tuple[str, ...],
    dataset: Dataset,
    judge: Judge | None = None,
) -> Any:
    """The network to use, None where no figure needs one."""
    needed = [name for name in metrics if table.needs(name, judge)]
    if not needed:
        return None
    opened = (
        open_network(network or default_network(dataset.name))
        if network is None or isinstance(network, str)
        else network
    )
    logits = [name for name in needed if table.METRICS[name].needs == "logits"]
    require(
        not logits or opened.classes or opened.name == "inception",
        f"{', '.join(logits)} need a network that tells classes apart, {opened.name} does not",
    )
    return opened


def default_network(data: str) -> str:
    """The classifier that comes with the package for the data of a spec, told by its name: of IDX files and tfds any part of it, as in idx:MNIST/raw; of
    others the last, as folders above may be called anything. Raises ValueError where there is none.
    """
    scheme, _, rest = data.partition("?")[0].rpartition(":")
    name = re.sub(
        r"[^a-z0-9]+",
        "_",
        (rest if scheme in ("idx", "tfds") else rest.rstrip("/").rpartition("/")[2]).lower(),
    )
    if re.search(r"fashion_?mnist", name):
        return "fashion_mnist"
    if re.search(r"(^|_)mnist", name):
        return "mnist"
    known = rest == "digits" and scheme in ("", "paired", "unpaired", "attributes", "layout")
    require(
        known,
        f"no feature network comes with the package for {data}: name one, such as inception:FILE",
    )
    return "digits"


# ------------------------------------------------------------------------------------------------------------------- figures


def measured(task: Task, state: Any, ground: Ground, **common: Any) -> Iterator[Result]:
    """Every figure of one task."""
    watch = Watch(task, ground)
    images = watch(task.make(state))
    fake: Any = (
        extract(ground.network, images) if ground.featured else sum(len(part) for part in images)
    )
    errors = {name: np.concatenate(values) for name, values in watch.errors.items()}
    if "reconstruction_l1" in ground.metrics and task.back is not None and task.origin is not None:
        errors["reconstruction_l1"] = _reconstruction(task.back(state), task.origin)
    real_known = other = made = None
    if ground.featured:
        real_known, other = (
            ground.known(task.array, watch.size, training) for training in (False, True)
        )
        made = Known(
            fake, task.labels, None, np.concatenate(watch.colours) if ground.coloured else None
        )
    read = ground.judged(task, watch.size) if "attribute_accuracy" in errors else None
    floors = ground.floors.setdefault(task.subject, {})
    known, seen = (made, real_known, other), (errors, watch.confusions, read)
    material = Material(
        task,
        ground.network,
        ground.dataset.classes,
        *known,
        *seen,
        ground.seed,
        floors,
        mapped=watch.mapped,
    )
    like, network = material.like(), _described(ground.network)
    for name in ground.metrics:
        if name == "ppl" or (name == "reconstruction_l1" and name not in errors):
            continue
        for figure in figures.MEASURES[name](material if name == "attribute_accuracy" else like):
            by = network if table.needs(name, ground.judge) else ground.read_by(name)
            yield _result(name, task, figure, by | _fitted(figure, ground), common)
    for name, figure in watch.looks() if ground.looks else ():
        yield _result(name, task, figure, {}, common)


def _described(network: Any) -> dict[str, Any]:
    """The fields of a result that tell its network."""
    return (
        {}
        if network is None
        else {"network": network.name, "checksum": network.checksum, "resize": network.resize}
    )


def _fitted(figure: figures.Figure, ground: Ground) -> dict[str, str]:
    """The field of a result that tells which images a classifier was fitted to; {} where none was."""
    source = ground.dataset if ground.train is None else ground.train
    return {"fitted": f"{figure.fitted} of {source.fingerprint}"} if figure.fitted else {}


def _reconstruction(again: Iterable[np.ndarray], origin: Rows) -> np.ndarray:
    first, errors = 0, []
    for part in again:
        errors.append(paired.l1(part, origin.take(first, len(part))))
        first += len(part)
    return np.concatenate(errors)


def _result(
    metric: str, task: Task, figure: figures.Figure, network: dict[str, Any], common: dict[str, Any]
) -> Result:
    subject = (
        task.subject
        if figure.subject is None
        else ", ".join(filter(None, (task.subject, figure.subject)))
    )
    count, made = figure.counts
    counts: dict[str, Any] = {"real": count, "generated": made, "floor_counts": figure.floor_counts}
    return Result(
        metric,
        figure.value,
        figure.standard_error,
        subject,
        figure.floor,
        versions=versions(),
        **counts,
        **network,
        **common,
    )


def versions() -> dict[str, str]:
    """Of the packages that a figure depends on."""
    found = {}
    for name in ("jaxgan", "jax", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found


# ------------------------------------------------------------------------------------------------------------------ path length


def _path_lengths(
    family: ModuleType, config: Any, ground: Ground
) -> Callable[[State, dict[str, Any]], Result]:
    """Of a family with `latents`, `styles_of` and `synthesise`, as StyleGAN: between styles in pairs of one class, with constant noise, without truncation."""
    count, key = min(PATHS, ground.samples), jax.random.key(ground.seed)

    def generate(state: State, w: jax.Array, rows: jax.Array) -> jax.Array:
        images: jax.Array = family.synthesise(config, state, w)
        return images

    def measure(state: State, common: dict[str, Any]) -> Result:
        labels = (
            (classes_asked(config, ground.dataset, count, ground.seed),)
            if conditioning(family, config).classes
            else ()
        )
        drawn = (
            family.latents(config, stream_key(key, name), count) for name in ("starts", "ends")
        )
        starts, ends = (
            np.asarray(family.styles_of(config, state, latents, *labels)) for latents in drawn
        )
        value, error = path_length.path_length(
            ground.network, generate, state, starts, ends, key=stream_key(key, "places"), space="w"
        )
        return Result(
            "ppl",
            value,
            error,
            generated=2 * count,
            versions=versions(),
            **_described(ground.network),
            **common,
        )

    return measure
