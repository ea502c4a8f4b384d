"""Frechet distance between two sets of features, each taken for a Gaussian: FID, where the features are Inception's.

Source: Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium". N features of D numbers each.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from jaxgan.errors import require


@dataclass(frozen=True, eq=False)
class Moments:
    """Number of features, their mean float64 [D], and their unbiased covariance float64 [D, D] (zero of a single one)."""

    count: int
    mean: np.ndarray
    covariance: np.ndarray


def moments(features: np.ndarray) -> Moments:
    """Moments of features [N, D], in float64. Raises ValueError: another shape, no features, values that are not finite."""
    features = as_features("features", features)
    count, mean = len(features), features.mean(0)
    centred = features - mean[None]
    return Moments(count, mean, centred.T @ centred / max(count - 1, 1))


def add(total: Moments, features: np.ndarray) -> Moments:
    """Moments of all features so far, with `features` [N, D] more: nothing but the moments need be kept.

    Source: the pairwise update of Chan, Golub & LeVeque 1979, which loses no digits however many parts there are. Raises ValueError as `moments`, and for
    another D.
    """
    part = moments(features)
    require(
        part.mean.shape == total.mean.shape,
        f"features of {len(part.mean)} numbers cannot be added to moments of {len(total.mean)}",
    )
    count = total.count + part.count
    gap = part.mean - total.mean
    scatter = (
        total.covariance * (total.count - 1)
        + part.covariance * (part.count - 1)
        + np.outer(gap, gap) * (total.count * part.count / count)
    )
    return Moments(count, total.mean + gap * (part.count / count), scatter / max(count - 1, 1))


def distance(a: Moments, b: Moments) -> float:
    """|mean_a - mean_b|^2 + trace(A + B - 2 (A B)^(1/2)) of the covariances A and B: never negative, 0 for equal moments, symmetric.

    trace((A B)^(1/2)) is the sum of the singular values of F_a' F_b, for any factors A = F_a F_a' and B = F_b F_b'. So covariances without full rank (N <= D)
    lose no digits. Deviation: the reference takes the square root of the product A B, and adds 1e-6 to the diagonals where that fails.

    It is biased: two sets of N features of one Gaussian are about trace(A) (D / 2 + 2) / N apart, so compare values of equal N only.

    Raises ValueError: features of another D, or fewer than two of either.
    """
    require(
        a.mean.shape == b.mean.shape,
        f"features of {len(a.mean)} numbers cannot be compared with features of {len(b.mean)}",
    )
    require(
        min(a.count, b.count) >= 2,
        f"a covariance takes at least 2 features, got {a.count} and {b.count}",
    )
    cross = np.linalg.svd(_factor(a.covariance).T @ _factor(b.covariance), compute_uv=False).sum()
    return max(
        0.0,
        float(
            np.sum((a.mean - b.mean) ** 2)
            + np.trace(a.covariance)
            + np.trace(b.covariance)
            - 2 * cross
        ),
    )


def _factor(covariance: np.ndarray) -> np.ndarray:
    """F with F F' = covariance: Cholesky's where that has full rank; otherwise by its eigenvectors, those left out whose value is zero but for rounding."""
    tiny = len(covariance) * np.finfo(np.float64).eps
    with suppress(np.linalg.LinAlgError):
        triangle = np.linalg.cholesky(covariance)
        if np.diag(triangle).min() ** 2 > tiny * np.diag(covariance).max():
            return triangle
    values, vectors = np.linalg.eigh(covariance)
    kept = values > tiny * values[-1]
    return vectors[:, kept] * np.sqrt(values[kept])[None]


def as_features(name: str, features: np.ndarray) -> np.ndarray:
    """`features` as float64 [N, D]. Raises ValueError: another shape, none, values that are not finite."""
    array = np.asarray(features, np.float64)
    require(
        array.ndim == 2 and array.size > 0,
        f"{name} must be [N, D] and at least one, got shape {array.shape}",
    )
    require(
        np.isfinite(array).all(),
        f"{name} must be finite, got {np.count_nonzero(~np.isfinite(array).all(1))} rows with a NaN or an infinity",
    )
    return array
