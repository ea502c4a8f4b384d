"""Judges generated digits by means that share nothing with the generator: a support vector classifier and distances to real digits.

Three figures, because each catches what the others miss: a generator that ignores its labels (accuracy), one that draws the same digit
again and again (distinct neighbours), one that copies its training images (distance ratio).
"""

from __future__ import annotations

import dataclasses

import numpy as np

MIN_ACCURACY = 0.97
MIN_DISTINCT = 350
MIN_RATIO = 0.6
COUNT = 1000
"""Generated images the bar for distinct neighbours is meant for; `verdict` refuses fewer."""

_BLOCK = 256
"""Images compared with all training images at once, so that memory stays small."""


@dataclasses.dataclass(frozen=True)
class Score:
    """What `score` found, about `count` generated images."""

    accuracy: float
    """Share of generated images that the classifier assigns to the requested class."""
    distinct_neighbours: int
    """Different training images among the nearest training images of the generated ones."""
    median_distance: float
    """Median Euclidean distance of a generated image to its nearest training image, pixels in [-1, 1]."""
    real_median_distance: float
    """The same of held-out real images."""
    classifier_accuracy: float
    """Of the classifier itself on the held-out real images: what `accuracy` can be expected to reach."""
    count: int
    """Generated images judged."""

    @property
    def ratio(self) -> float:
        """Median distance relative to that of held-out real images: 0 for copies, 1 for new real digits."""
        return self.median_distance / self.real_median_distance


def score(
    images: np.ndarray,
    labels: np.ndarray,
    train_images: np.ndarray,
    train_labels: np.ndarray,
    held_out_images: np.ndarray,
    held_out_labels: np.ndarray,
) -> Score:
    """The three figures of generated `images` [N, H, W, C] that were asked to be `labels` [N].

    Args:
      images, train_images, held_out_images: uint8 in [0, 255] or float in [-1, 1]. The classifier sees the training images only.

    Raises `ValueError` if shapes differ or float images leave [-1, 1].
    """
    generated, train, held_out = (
        _pixels(images, "images"),
        _pixels(train_images, "train_images"),
        _pixels(held_out_images, "held_out_images"),
    )
    given = {
        "images": (generated, labels),
        "train_images": (train, train_labels),
        "held_out_images": (held_out, held_out_labels),
    }
    for name, (pixels, classes) in given.items():
        if len(pixels) != len(classes) or pixels.shape[1] != train.shape[1]:
            raise ValueError(
                f"{name} must be one image of {train.shape[1]} pixels per label, got {pixels.shape} for {len(classes)} labels"
            )
    classifier = _classifier(train, train_labels)
    neighbours, distances = nearest(generated, train)
    return Score(
        accuracy=float(np.mean(classifier.predict(generated) == np.asarray(labels))),
        distinct_neighbours=len(np.unique(neighbours)),
        median_distance=float(np.median(distances)),
        real_median_distance=float(np.median(nearest(held_out, train)[1])),
        classifier_accuracy=float(
            np.mean(classifier.predict(held_out) == np.asarray(held_out_labels))
        ),
        count=len(generated),
    )


def verdict(score: Score) -> list[str]:
    """One sentence per criterion the score fails; [] if it passes all."""
    if score.count < COUNT:
        raise ValueError(f"the bars are set for {COUNT} generated images, got {score.count}")
    failures = []
    if score.accuracy < MIN_ACCURACY:
        failures.append(
            f"{score.accuracy:.1%} of the digits are read as the class asked for, fewer than {MIN_ACCURACY:.0%}"
        )
    if score.distinct_neighbours < MIN_DISTINCT:
        failures.append(
            f"the digits resemble only {score.distinct_neighbours} different real ones, fewer than {MIN_DISTINCT}: too little variety"
        )
    if score.ratio < MIN_RATIO:
        failures.append(
            f"the digits are {score.ratio:.2f} times as far from the training images as new real ones, less than {MIN_RATIO}: copies"
        )
    return failures


def nearest(images: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of [N] and Euclidean distance [N] to the nearest row of `train` [M, P] for each row of `images` [N, P]."""
    indices, distances = [], []
    for start in range(0, len(images), _BLOCK):
        squares = np.sum(
            (images[start : start + _BLOCK, None] - train[None]) ** 2, axis=-1
        )  # differences, not a dot product: exact 0 for copies
        best = np.argmin(squares, axis=1)
        indices.append(best)
        distances.append(np.sqrt(squares[np.arange(len(best)), best]))
    return np.concatenate(indices), np.concatenate(distances)


def _classifier(train: np.ndarray, labels: np.ndarray):
    """Radial-basis support vector classifier; reads 95 % of the 8x8 digits of new writers correctly, 99 % of new digits of known ones."""
    from sklearn.svm import SVC

    return SVC(gamma=2 / train.shape[1], C=10.0).fit(train, np.asarray(labels))


def _pixels(images: np.ndarray, name: str) -> np.ndarray:
    """uint8 or float [N, ...] -> float32 [N, P] in [-1, 1]."""
    images = np.asarray(images)
    if images.dtype == np.uint8:
        images = images.astype(np.float32) / 127.5 - 1.0
    flat = images.astype(np.float32).reshape(len(images), -1)
    if not np.all(np.abs(flat) <= 1.0 + 1e-6):  # also refuses NaN
        raise ValueError(
            f"{name} must be uint8 or float in [-1, 1], got values from {flat.min():g} to {flat.max():g}"
        )
    return flat
