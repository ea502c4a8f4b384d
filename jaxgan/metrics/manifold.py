"""Fidelity and variety apart, by nearest neighbours among features: precision and recall, density and coverage.

Each feature of a set is the centre of a ball that reaches to its k-th nearest neighbour in that set (itself not counted); together they are the
set's manifold. Distances are Euclidean, of float64, and made a block of rows at a time: nothing of the size N x M is ever held.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from jaxgan.errors import require
from jaxgan.metrics.frechet import as_features

_BLOCK = 2**23
"""Distances that are held at once: 64 MiB."""


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = 3) -> tuple[float, float]:
    """(precision, recall): the share of generated features [M, D] inside the manifold of the real ones [N, D], and the other way round.

    Source: Kynkaanniemi et al. 2019, "Improved Precision and Recall Metric for Assessing Generative Models". Published figures are of k = 3, VGG16's second
    fully connected layer, and 50,000 images on each side. Both fall or rise with N and M, so compare values of equal numbers only.

    Raises ValueError: features of unlike D, or no more than k of a set.
    """
    real, fake = _checked(real, fake, k, k)
    return _share_inside(fake, real, k), _share_inside(real, fake, k)


def density_coverage(real: np.ndarray, fake: np.ndarray, k: int = 5) -> tuple[float, float]:
    """(density, coverage): in how many real balls a generated feature lies, over k, on average; and the share of real balls with any generated feature in them.

    Coverage is in [0, 1]; density is about 1 for equal distributions and may exceed it. A single far outlier does not change them much, as it does precision.
    Source: Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics for Generative Models", section 3.2; k = 5 is theirs. Deviation: a feature on a ball's
    surface lies in it, as for precision.

    Raises ValueError: features of unlike D, no more than k real ones, or no generated ones.
    """
    real, fake = _checked(real, fake, k, 0)
    reach = _reach(real, k)
    held = np.concatenate(
        [(block <= reach[rows, None]).sum(1) for rows, block in _squares(real, fake)]
    )
    return float(held.sum() / (k * len(fake))), float(np.mean(held > 0))


def _checked(
    real: np.ndarray, fake: np.ndarray, k: int, least: int
) -> tuple[np.ndarray, np.ndarray]:
    """Both in float64, about the mean of the real ones, where squares lose fewest digits."""
    real, fake = as_features("real features", real), as_features("generated features", fake)
    require(
        real.shape[1] == fake.shape[1],
        f"features of {real.shape[1]} numbers cannot be compared with features of {fake.shape[1]}",
    )
    require(
        k >= 1 and len(real) > k and len(fake) > least,
        f"k must be at least 1 and smaller than either set, got {k} for {len(real)} and {len(fake)}",
    )
    centre = real.mean(0, keepdims=True)
    return real - centre, fake - centre


def _share_inside(points: np.ndarray, centres: np.ndarray, k: int) -> float:
    reach = _reach(centres, k)[None]
    return float(
        sum((block <= reach).any(1).sum() for _, block in _squares(points, centres)) / len(points)
    )


def _reach(features: np.ndarray, k: int) -> np.ndarray:
    """[N] squared distance from each of the features to its k-th nearest neighbour, itself being the 0-th."""
    return np.concatenate(
        [np.partition(block, k, axis=1)[:, k] for _, block in _squares(features, features)]
    )


def _squares(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Squared distances [rows, M] of x [N, D] to y [M, D], a slice of rows at a time; exactly 0 where they are 0 but for rounding, as of copies."""
    sizes_x, sizes_y = np.sum(x**2, axis=1), np.sum(y**2, axis=1)
    count = max(1, _BLOCK // len(y))
    for start in range(0, len(x), count):
        rows = slice(start, start + count)
        sizes = sizes_x[rows, None] + sizes_y[None]
        block = sizes - 2 * (x[rows] @ y.T)
        block[block < 1e-13 * sizes] = 0
        yield rows, block
