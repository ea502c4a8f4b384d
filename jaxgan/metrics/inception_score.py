"""Inception Score: sure classes of each image, many classes over all."""

from __future__ import annotations

import numpy as np

from jaxgan.errors import require


def inception_score(probabilities: np.ndarray, splits: int = 10) -> tuple[float, float]:
    """exp(mean KL(p(y|x) || p(y))), between 1 and the number of classes: its mean and standard deviation over `splits` consecutive parts.

    p(y) is the mean over the part, so the score depends on the number of images in a part: 5,000 in published figures.
    Source: Salimans et al. 2016, "Improved Techniques for Training GANs", section 4; ten splits as its code has them. The order is not shuffled.

    Args:
      probabilities: [N, K], of the classes for each image.

    Raises ValueError: another shape, rows that do not sum to 1 (to 1e-3), fewer images than splits.
    """
    given = np.asarray(probabilities, np.float64)
    require(
        given.ndim == 2 and given.size > 0,
        f"probabilities must be [N, K] and at least one, got shape {given.shape}",
    )
    require(
        np.all(given >= 0) and np.all(np.abs(given.sum(1) - 1) <= 1e-3),
        "each row of probabilities must be at least 0 and sum to 1",
    )
    require(
        1 <= splits <= len(given),
        f"splits must be between 1 and the number of images, {len(given)}, got {splits}",
    )
    scores = [_score(part) for part in np.array_split(given, splits)]
    return float(np.mean(scores)), float(np.std(scores))


def _score(probabilities: np.ndarray) -> float:
    marginal = probabilities.mean(0, keepdims=True)
    present = probabilities > 0  # 0 log 0 is 0
    ratios = np.log(np.where(present, probabilities, 1)) - np.log(
        np.where(marginal > 0, marginal, 1)
    )
    return float(np.exp(np.sum(probabilities * ratios, axis=1).mean()))
