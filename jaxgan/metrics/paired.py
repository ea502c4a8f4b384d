"""Errors of an image against its true counterpart, one number for each pair. Images are uint8 [N, H, W, C], levels 0 to 255."""

from __future__ import annotations

import numpy as np

from jaxgan.errors import require

WINDOW = 11
"""Side of SSIM's window, and the least side of an image."""


ROUNDING = 1 / 12
"""Mean squared error of rounding to whole levels."""


def l1(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean absolute difference of each pair, in levels of 0 to 255: float64 [N]. Raises ValueError unless both are uint8 of one shape [N, H, W, C]."""
    a, b = _levels(a, b)
    return np.abs(a - b).mean((1, 2, 3))


def accuracy(a: np.ndarray, b: np.ndarray, within: float = 16) -> np.ndarray:
    """Share of each pair's pixels of which every channel differs by at most `within` levels: float64 [N]. Raises ValueError as `l1`."""
    a, b = _levels(a, b)
    return (np.abs(a - b).max(3) <= within).mean((1, 2))


def psnr(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of each pair in decibels, 10 log10(255^2 / mean squared difference): float64 [N].

    At most 58.92 dB, that of equal images: levels are rounded, so a mean squared difference below
    `ROUNDING` says nothing. An infinite value would make a mean infinite, and left out of it, an exact
    reconstruction would lower it. Raises ValueError as `l1`.
    """
    a, b = _levels(a, b)
    squares = ((a - b) ** 2).mean((1, 2, 3))
    return 10 * np.log10(255**2 / np.maximum(squares, ROUNDING))


def ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Structural similarity of each pair, at most 1: float64 [N]. The mean over all whole windows, and over the channels, each on its own.

    Source: Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural Similarity", section III: Gaussian windows of 11x11 with standard
    deviation 1.5, K1 = 0.01, K2 = 0.03, L = 255. Deviation: images are not made smaller first, as its authors' later script does for large ones.

    Raises ValueError as `l1`, and for sides below 11.
    """
    a, b = _levels(a, b)
    require(
        min(a.shape[1:3]) >= WINDOW,
        f"SSIM takes images of at least {WINDOW} x {WINDOW}, got {a.shape[1]} x {a.shape[2]}",
    )
    return np.array([_similarity(x, y) for x, y in zip(a, b)])


def _similarity(x: np.ndarray, y: np.ndarray) -> float:
    mean_x, mean_y = _blurred(x), _blurred(y)
    var_x, var_y, cov = (
        _blurred(x * x) - mean_x**2,
        _blurred(y * y) - mean_y**2,
        _blurred(x * y) - mean_x * mean_y,
    )
    small, large = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return float(
        np.mean(
            (2 * mean_x * mean_y + small)
            * (2 * cov + large)
            / ((mean_x**2 + mean_y**2 + small) * (var_x + var_y + large))
        )
    )


def _blurred(image: np.ndarray) -> np.ndarray:
    """[H, W, C] -> [H - 10, W - 10, C]: weighted means over the windows, along one axis after the other."""
    weights = np.exp(-0.5 * (np.arange(WINDOW) - WINDOW // 2) ** 2 / 1.5**2)
    weights /= weights.sum()
    height, width = (side - WINDOW + 1 for side in image.shape[:2])
    rows = sum(weight * image[i : i + height] for i, weight in enumerate(weights))
    return sum(weight * rows[:, i : i + width] for i, weight in enumerate(weights))


def _levels(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a), np.asarray(b)
    fits = (
        a.dtype == b.dtype == np.uint8 and a.shape == b.shape and a.ndim == 4 and 0 not in a.shape
    )
    require(
        fits,
        f"pairs must be uint8 of one shape [N, H, W, C], got {a.dtype} {list(a.shape)} and {b.dtype} {list(b.shape)}",
    )
    return a.astype(np.float64), b.astype(np.float64)
