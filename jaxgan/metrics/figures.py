"""From images and their features to figures: each function returns what one metric says of one task. N generated images, M real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from jaxgan.errors import require
from jaxgan.metrics import frechet, kernel, manifold, segmentation
from jaxgan.metrics.features import FeatureNetwork, Features
from jaxgan.metrics.inception_score import inception_score
from jaxgan.metrics.real import drawn, halves
from jaxgan.metrics.tasks import Task

RIDGE = 1e-2
"""Weight decay of the linear classifier of attributes, on standardised inputs, relative to their number."""


class Figure(NamedTuple):
    """A value: see `Result` for its fields. counts: real and generated images it is of."""

    value: float
    counts: tuple[int, int]
    standard_error: float | None = None
    floor: float | None = None
    subject: str | None = None
    floor_counts: tuple[int, ...] = ()
    fitted: int = 0
    """Real images that a classifier was fitted to for this figure."""


class Known(NamedTuple):
    """Images as features. Where they are needed: labels int [M]; attributes [M, K] of 0 and 1, and told bool [M, K], which of them are known; colours float32
    [M, 3 C], see `colours`. Of generated images labels are the classes asked for."""

    features: Features
    labels: Any = None
    attributes: Any = None
    colours: Any = None
    told: Any = None

    def some(self, index: Any) -> Known:
        """The rows `index` of everything."""
        rows: list[Any] = [
            None if each is None else each[index] for each in (*self.features, *self[1:])
        ]
        return Known(Features(rows[0], rows[1]), *rows[2:])


@dataclass(frozen=True)
class Material:
    """What the figures of one task are made of.

    network: a `FeatureNetwork`. fake, real: `Known`, of generated and real images. other: of training images, where the real ones are held out from them.
    Each is None where there is none. errors: by metric, one value for each image. confusions: [2, K, K], of label maps as read off generated and real
    images; mapped: how many images those are of, as maps without a known pixel do not count. read: bool [n], whether a judge sees the attribute asked for
    in each of the real images that have it. floors: what was measured of real images alone, kept from state to state. shared: what several figures of
    this state have in common.
    """

    task: Task
    network: Any
    classes: tuple[str, ...]
    fake: Any
    real: Any
    other: Any
    errors: dict[str, np.ndarray]
    confusions: Any
    read: Any
    seed: int
    floors: dict[Any, Any] = field(default_factory=dict)
    shared: dict[Any, Any] = field(default_factory=dict)
    mapped: int = 0

    def like(self) -> Material:
        """With those real images that generated ones should be like: of a target domain, those that show it. Of training images no more than are generated,
        as distances depend on numbers."""
        task, real, other = self.task, self.real, self.other
        if task.index is not None and real is not None:
            real = real.some(task.index)
            other = None if other is None else other.some(np.flatnonzero(_showing(other, task)))
        if other is not None:
            other = other.some(drawn(len(other.features.features), task.count, self.seed))
        return replace(self, real=real, other=other)

    @property
    def pair(self) -> tuple[np.ndarray, np.ndarray]:
        """Features of the real and of the generated images."""
        return self.real.features.features, self.fake.features.features

    @property
    def real_pair(self) -> tuple[np.ndarray, np.ndarray]:
        """Two sets of features of real images, which differ by chance alone: the real ones and training images, or halves of the real ones, drawn at random."""
        features = self.pair[0]
        return (
            (features, self.other.features.features)
            if self.other is not None
            else halves(features, self.seed)
        )

    @property
    def sizes(self) -> tuple[int, int]:
        """Real and generated images."""
        real, fake = self.pair
        return len(real), len(fake)


def _showing(known: Known, task: Task) -> np.ndarray:
    """Which images are known to show what a task asks for, or not to show it where it asks for that: bool [M]."""
    shown: np.ndarray = known.attributes[:, task.column] == task.value
    return shown if known.told is None else shown & known.told[:, task.column]


def colours(images: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, C] -> float32 [N, 3 C]: each channel's mean, standard deviation and maximum, of which a network for grey images knows nothing."""
    flat = images.reshape(len(images), -1, images.shape[-1]).astype(np.float32) / 255
    return np.concatenate([flat.mean(1), flat.std(1), flat.max(1)], axis=1)


# ----------------------------------------------------------------------------------------------------------------- of features


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return frechet.distance(frechet.moments(a), frechet.moments(b))


def fid(material: Material) -> Iterator[Figure]:
    """Heusel et al. 2017. The floor is as large as it is because of the numbers of images alone."""
    yield _with_floor(material, "fid", _distance(*material.pair), None, _distance)


def kid(material: Material) -> Iterator[Figure]:
    """Binkowski et al. 2018."""
    value, error = kernel.kid(*material.pair, seed=material.seed)
    yield _with_floor(
        material, "kid", value, error, lambda a, b: kernel.kid(a, b, seed=material.seed)[0]
    )


def _with_floor(
    material: Material,
    name: str,
    value: float,
    error: float | None,
    measure: Callable,
    least: int = 2,
) -> Figure:
    """A value beside what `measure` says of two sets of real images, once for all states; None where one has fewer than `least`."""
    a, b = material.real_pair
    if name not in material.floors:
        material.floors[name] = float(measure(a, b)) if min(len(a), len(b)) >= least else None
    floor = material.floors[name]
    return Figure(
        value, material.sizes, error, floor, None, () if floor is None else (len(a), len(b))
    )


def _manifold(function: Callable, place: int, k: int) -> Callable[[Material], Iterator[Figure]]:
    """One of the two values of a function of `manifold`, which is called once for both."""

    def both(kept: dict[Any, Any], a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
        if function not in kept:
            kept[function] = function(a, b, k)
        found: tuple[float, float] = kept[function]
        return found

    def measure(material: Material) -> Iterator[Figure]:
        value = both(material.shared, *material.pair)[place]
        yield _with_floor(
            material,
            f"{function.__name__} {place}",
            value,
            None,
            lambda a, b: both(material.floors, a, b)[place],
            k + 1,
        )

    return measure


def score(material: Material) -> Iterator[Figure]:
    """Salimans et al. 2016; ten parts, or fewer where there are not two images for each, in a random order: files are often sorted by class, and a part of one
    class scores 1. The floor is of parts of the same size, as far as there are so many real images."""
    fake, real = (
        np.random.default_rng(material.seed).permutation(_probabilities(known))
        for known in (material.fake, material.real)
    )
    splits = max(1, min(10, len(fake) // 2))
    value, spread = inception_score(fake, splits)
    floor, _ = inception_score(real, max(1, len(real) * splits // len(fake)))
    yield Figure(value, material.sizes, spread / np.sqrt(splits), floor)


def _probabilities(known: Known) -> np.ndarray:
    found: Any = known.features.probabilities
    require(
        found is not None,
        "this figure needs a network that tells classes apart: name another network",
    )
    return np.asarray(found)


# ------------------------------------------------------------------------------------------------------------------ of classes


def intra_fid(material: Material) -> Iterator[Figure]:
    """The mean over classes of the Frechet distances within each (Miyato & Koyama 2018), then each; classes with fewer than two images do not count.

    Nor are those images among the numbers of the mean.
    """
    found = []
    for number, name in enumerate(material.classes):
        parts = [_of_class(known, number) for known in (material.real, material.fake)]
        if min(map(len, parts)) < 2:
            continue
        other = (
            (parts[0], _of_class(material.other, number))
            if material.other is not None
            else halves(parts[0], material.seed)
        )
        if ("intra_fid", number) not in material.floors:
            material.floors["intra_fid", number] = (
                _distance(*other) if min(map(len, other)) >= 2 else None
            )
        floor = material.floors["intra_fid", number]
        counts = () if floor is None else (len(other[0]), len(other[1]))
        found.append(
            Figure(
                _distance(*parts),
                (len(parts[0]), len(parts[1])),
                None,
                floor,
                f"class {name}",
                counts,
            )
        )
    floors = [one.floor for one in found if one.floor is not None]
    counts = (sum(one.counts[0] for one in found), sum(one.counts[1] for one in found))
    yield Figure(
        float(np.mean([one.value for one in found])),
        counts,
        None,
        float(np.mean(floors)) if floors else None,
    )
    yield from found


def _of_class(known: Known, number: int) -> np.ndarray:
    chosen: np.ndarray = known.features.features[known.labels == number]
    return chosen


def class_accuracy(material: Material) -> Iterator[Figure]:
    """Share read as the class asked for, then of each class. The floor is the network's own accuracy on the real images."""
    order = class_order(material.network, material.classes)
    (fake, asked), (real, true) = (
        (_read(known, order), known.labels) for known in (material.fake, material.real)
    )
    yield _share(fake == asked, real == true, None)
    for number, name in enumerate(material.classes):
        if (asked == number).any() and (true == number).any():
            yield _share(
                (fake == asked)[asked == number], (real == true)[true == number], f"class {name}"
            )


def class_order(network: FeatureNetwork, classes: tuple[str, ...]) -> np.ndarray:
    """The data set's number of each of the network's classes, by name.

    Numbers on one side are taken for the names on the other in their order, unless these are sorted: so
    are folders, whose order says nothing of labels. Raises ValueError where they are not the same classes.
    """
    if sorted(network.classes) == sorted(classes):
        return np.array([classes.index(name) for name in network.classes])
    numbers = tuple(map(str, range(len(classes))))
    told = ", ".join(network.classes) or "no classes that have names"
    labels = [names for names in (network.classes, classes) if names != numbers]
    fits = (
        len(network.classes) == len(classes)
        and len(labels) == 1
        and list(labels[0]) != sorted(labels[0])
    )
    require(
        fits,
        f"network {network.name} tells {told} apart, not the data's {', '.join(classes)}: use a network of these classes, or its names",
    )
    return np.arange(len(classes))  # numbers for names on one side: in the order of their labels


def _read(known: Known, order: np.ndarray) -> np.ndarray:
    return order[_probabilities(known).argmax(1)]


def _share(right: np.ndarray, real: np.ndarray, subject: str | None) -> Figure:
    share = float(np.mean(right))
    return Figure(
        share,
        (len(real), len(right)),
        float(np.sqrt(share * (1 - share) / len(right))),
        float(np.mean(real)),
        subject,
    )


def attribute_accuracy(material: Material) -> Iterator[Figure]:
    """Share read as showing the attribute asked for, by a linear classifier of features and colours, fitted to training images, else to half
    of the real ones. The floor is the share of the other real images with that attribute. By a judge of attributes, where there is one, and then of all of
    them."""
    task, fake, real = material.task, material.fake, material.real
    if material.read is not None:
        yield _share(material.errors["attribute_accuracy"], material.read, None)
        return
    first, second = halves(np.arange(len(real.features.features)), material.seed)
    fitted, judged = (
        (material.other, real)
        if material.other is not None
        else (real.some(first), real.some(second))
    )
    read = _linear(fitted, task.column or 0)
    like = _showing(judged, task)
    require(
        like.any(), f"no real image is left to judge {task.subject} by: evaluate on more images"
    )
    share = _share(read(fake) == task.value, (read(judged) == task.value)[like], None)
    yield share._replace(fitted=len(fitted.features.features))


def _linear(known: Known, column: int) -> Callable[[Known], np.ndarray]:
    """Ridge regression to -1 and 1, both weighing the same: `Known` -> bool [N]."""

    def inputs(known: Known) -> np.ndarray:
        return np.concatenate([known.features.features, known.colours], axis=1).astype(np.float64)

    rows = slice(None) if known.told is None else known.told[:, column]
    x, y = inputs(known)[rows], known.attributes[rows, column] > 0
    require(
        y.any() and not y.all(),
        "the real images to fit a classifier of attributes to all show the same: evaluate on more images",
    )
    mean, spread = x.mean(0, keepdims=True), x.std(0, keepdims=True) + 1e-6

    def standard(x: np.ndarray) -> np.ndarray:
        return np.concatenate([(x - mean) / spread, np.ones((len(x), 1))], axis=1)

    z, weights = standard(x), np.where(y, 0.5 / y.mean(), 0.5 / (1 - y.mean()))[:, None]
    gram = (z * weights).T @ z / len(z) + RIDGE * np.eye(z.shape[1])
    solution = np.linalg.solve(gram, (z * weights).T @ np.where(y, 1.0, -1.0) / len(z))
    return lambda known: standard(inputs(known)) @ solution > 0


# ------------------------------------------------------------------------------------------------------------------- of pixels


def _mean(name: str) -> Callable[[Material], Iterator[Figure]]:
    def measure(material: Material) -> Iterator[Figure]:
        values = material.errors[name]
        error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
        yield Figure(float(values.mean()), (len(values), len(values)), error)

    return measure


def _segmented(function: Callable[[np.ndarray], float]) -> Callable[[Material], Iterator[Figure]]:
    def measure(material: Material) -> Iterator[Figure]:
        generated, real = material.confusions
        yield Figure(function(generated), (material.mapped, material.mapped), None, function(real))

    return measure


MEASURES: dict[str, Callable[[Material], Iterator[Figure]]] = {
    "fid": fid,
    "kid": kid,
    "is": score,
    "precision": _manifold(manifold.precision_recall, 0, 3),
    "recall": _manifold(manifold.precision_recall, 1, 3),
    "density": _manifold(manifold.density_coverage, 0, 5),
    "coverage": _manifold(manifold.density_coverage, 1, 5),
    "intra_fid": intra_fid,
    "class_accuracy": class_accuracy,
    "attribute_accuracy": attribute_accuracy,
    **{name: _mean(name) for name in ("l1", "accuracy", "psnr", "ssim", "reconstruction_l1")},
    "miou": _segmented(segmentation.mean_iou),
    "pixel_accuracy": _segmented(segmentation.pixel_accuracy),
}
"""By name; "ppl" is measured from the generator itself, see `measure`."""
