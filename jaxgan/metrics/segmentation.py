"""How well label maps are met: counts of pixels by true and predicted class, and what follows from them. K classes, ids from 0 to K - 1."""

from __future__ import annotations

import numpy as np

from jaxgan.errors import require


def confusion(
    true: np.ndarray, predicted: np.ndarray, classes: int, unknown: int | None = None
) -> np.ndarray:
    """int64 [K, K]: pixels of each true class (rows) by predicted class (columns), over integers of one shape; sums of these are those of more images.

    Args:
      unknown: id in `true` of pixels that do not count; in data sets it is K.

    Raises ValueError: unlike shapes, no integers, ids outside 0 to K - 1.
    """
    true, predicted = np.asarray(true), np.asarray(predicted)
    kinds = true.dtype.kind in "iu" and predicted.dtype.kind in "iu"
    given = f"{true.dtype} {list(true.shape)} and {predicted.dtype} {list(predicted.shape)}"
    require(
        true.shape == predicted.shape and kinds, f"maps must be integers of one shape, got {given}"
    )
    counted = np.ones(true.shape, bool) if unknown is None else true != unknown
    rows, columns = true[counted].astype(np.int64), predicted[counted].astype(np.int64)
    for name, ids in (("true", rows), ("predicted", columns)):
        require(
            ids.size == 0 or (ids.min() >= 0 and ids.max() < classes),
            f"{name} ids must be between 0 and {classes - 1}",
        )
    return np.bincount(classes * rows + columns, minlength=classes**2).reshape(classes, classes)


def mean_iou(confusion: np.ndarray) -> float:
    """Mean over classes of (pixels right) / (pixels that are or were predicted of the class), in [0, 1]; classes that are neither anywhere do not count.

    nan where nothing counts. Source: Long et al. 2015, "Fully Convolutional Networks for Semantic Segmentation", section 5.
    """
    right = np.diag(confusion).astype(np.float64)
    union = confusion.sum(0) + confusion.sum(1) - right
    return (
        float(np.mean(right[union > 0] / union[union > 0])) if np.any(union > 0) else float("nan")
    )


def pixel_accuracy(confusion: np.ndarray) -> float:
    """Share of pixels of the right class, in [0, 1]; nan where nothing counts."""
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else float("nan")
