"""Kernel distance between two sets of features: KID, where the features are Inception's. Unlike the Frechet distance it is unbiased at any number."""

from __future__ import annotations

import numpy as np

from jaxgan.errors import require, require_seed
from jaxgan.metrics.frechet import as_features


def kid(
    real: np.ndarray,
    fake: np.ndarray,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Squared maximum mean discrepancy under the kernel (x.y / D + 1)^3, and its standard error.

    The mean of the unbiased estimate (which may be negative) over random subsets of `subset_size` from each side, drawn without replacement.
    Source: Binkowski et al. 2018, "Demystifying MMD GANs", section 4.3; the defaults are its authors'.

    Args:
      real, fake: [N, D] and [M, D].
      subset_size: where a set is smaller, its size takes this place. If that is the whole of both, there is one subset.
      seed: of the subsets, by NumPy's generator.

    Returns: the value, and its standard error over draws of the sets themselves. That is the delete-d jackknife's, from the spread over subsets (Shao & Wu
    1989), plus that of the mean over so many; where a subset is the whole of a set, of the estimate's projections on single examples (Hoeffding), which is too
    large, by up to the square root of 2, for two sets of one distribution. (Other libraries print the standard deviation over subsets instead.)

    Raises ValueError: sets of other shapes, fewer than two features in a set, fewer than one subset or a size below 2.
    """
    real, fake = as_features("real features", real), as_features("generated features", fake)
    require(
        real.shape[1] == fake.shape[1],
        f"features of {real.shape[1]} numbers cannot be compared with features of {fake.shape[1]}",
    )
    require(
        min(len(real), len(fake)) >= 2,
        f"the unbiased estimate takes at least 2 features a set, got {len(real)} and {len(fake)}",
    )
    require(
        subsets >= 1 and subset_size >= 2,
        f"subsets must be at least 1 and subset_size at least 2, got {subsets} and {subset_size}",
    )
    seed, count = require_seed(seed), min(len(real), len(fake))
    size = min(subset_size, count)
    if size == len(real) == len(fake):
        return _estimate(real, fake)
    generator = np.random.default_rng(seed)
    draws = [
        [
            features[generator.choice(len(features), size, replace=False)]
            for features in (real, fake)
        ]
        for _ in range(subsets)
    ]
    values, errors = np.array([_estimate(*draw) for draw in draws]).T
    if size == count or subsets == 1:
        return float(values.mean()), float(np.sqrt(np.mean(errors**2)))
    spread = values.var(ddof=1)
    return float(values.mean()), float(np.sqrt(spread * (size / (count - size) + 1 / subsets)))


def _estimate(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The unbiased estimate from x and y [n, D], and its standard error to first order."""
    n = len(x)
    within_x, within_y, between = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    rows_x = (within_x.sum(1) - np.diag(within_x)) / (n - 1)
    rows_y = (within_y.sum(1) - np.diag(within_y)) / (n - 1)
    projections = rows_x - between.mean(1), rows_y - between.mean(0)
    error = np.sqrt(sum(4 * projection.var(ddof=1) / n for projection in projections))
    return float(rows_x.mean() + rows_y.mean() - 2 * between.mean()), float(error)


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    base = x @ y.T / x.shape[1] + 1
    return base * base * base  # a power by an exponent takes far longer
