"""Label maps read off drawn maps by their few flat colours: what a judge of map and photograph pairs is trained on.

A palette is written as names of classes, "#aadaff", so that a judge's file carries it.
"""

from __future__ import annotations

import numpy as np

from jaxgan.data import Dataset, from_layouts
from jaxgan.errors import DataError, require

COLOURS = 5
SAMPLE = 50_000
BLOCK = 16


def palette(images: np.ndarray, count: int = COLOURS) -> tuple[str, ...]:
    """The centres of `count` clusters of pixels, by k-means on an even sample, most frequent first: names "#rrggbb". Images uint8 [N, H, W, 3].

    Raises ValueError for other images.
    """
    from sklearn.cluster import KMeans

    fits = images.ndim == 4 and images.shape[-1] == 3 and images.dtype == np.uint8
    require(fits, f"images must be uint8 [N, H, W, 3], got {images.dtype} {list(images.shape)}")
    pixels = images.reshape(-1, 3)
    found = KMeans(count, n_init=3, random_state=0).fit(pixels[:: max(1, len(pixels) // SAMPLE)].astype(np.float64))
    order = np.argsort(-np.bincount(found.labels_, minlength=count), kind="stable")
    return tuple("#" + "".join(f"{round(level):02x}" for level in found.cluster_centers_[i]) for i in order)


def read(images: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """The nearest colour of a palette: uint8 [N, H, W, 3] -> uint8 [N, H, W]."""
    colours = np.array([[int(name[i : i + 2], 16) for i in (1, 3, 5)] for name in names], np.float32)
    maps = np.empty(images.shape[:3], np.uint8)
    for start in range(0, len(images), BLOCK):  # [n, H, W, K, 3] at once
        part = images[start : start + BLOCK, :, :, None].astype(np.float32)
        maps[start : start + BLOCK] = np.square(part - colours[None, None, None]).sum(-1).argmin(-1)
    return maps


def of_pairs(pairs: Dataset, names: tuple[str, ...] | None = None) -> Dataset:
    """Pairs of photographs (A) and drawn maps (B) as images with label maps: both sides, with the classes of B's pixels.

    names: the palette; None: that of these maps. Raises DataError for a set without pairs.
    """
    if pairs.independent or "b" not in pairs.arrays or pairs.arrays["a"].shape != pairs.arrays["b"].shape:
        raise DataError(f"{pairs.name} has no pairs of equal size and channels to read label maps off: use a paired: source")
    a, b = (np.asarray(pairs.arrays[name]) for name in ("a", "b"))
    names = names or palette(b)
    maps = read(b, names)
    return from_layouts(f"{pairs.name} by colour", np.concatenate([a, b]), np.concatenate([maps, maps]), names)
