"""Three numbers that tell what no distance of features does: too little variety, copies of training images, inverted colours.

Each is a `Result` with its real counterpart as the floor; `jaxgan.report.diagnostics` says in words what they mean. Pixels are of 0 to 1 here.
"""

from __future__ import annotations

import numpy as np

from jaxgan.metrics.figures import Figure

KEPT = 256
"""Generated images that are looked at."""
TRAIN = 60_000
"""Training images that copies are looked for among, at most."""
SIDE = 16
"""Images are brought to about so many pixels a side first, by averaging."""
_BLOCK = 1 << 24

NAMES = ("diversity", "memorisation", "colour_correlation")


def small(images: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, C] -> float32 [N, P] in [0, 1]: means of square blocks; a border that fills no block is cut off."""
    factor = max(1, -(-min(images.shape[1:3]) // SIDE))
    height, width = (side // factor for side in images.shape[1:3])
    cut = images[:, : height * factor, : width * factor].reshape(
        len(images), height, factor, width, factor, -1
    )
    return (cut.mean((2, 4), dtype=np.float32) / 255).reshape(len(images), -1)


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean squared differences [N, M] of rows [N, P], [M, P]."""
    squares = np.square(a).sum(1)[:, None] + np.square(b).sum(1)[None] - 2 * a @ b.T
    return np.maximum(squares, 0) / a.shape[1]


def spread(images: np.ndarray) -> float:
    """Root mean square difference of two different images, over all pairs [N, P]; 0 where all are equal."""
    count = len(images)
    variance = np.square(images - images.mean(0, keepdims=True)).mean(dtype=np.float64)
    return float(np.sqrt(2 * variance * count / (count - 1))) if count > 1 else 0.0


def diversity(fake: np.ndarray, real: np.ndarray) -> Figure:
    """How unlike each other generated images [N, P] are; the floor is that of real ones [M, P]. A generator that draws one image has 0."""
    return Figure(spread(fake), (len(real), len(fake)), None, spread(real))


def memorisation(fake: np.ndarray, real: np.ndarray, train: np.ndarray) -> Figure:
    """Median distance of generated images [N, P] to their nearest training image; the floor is that of real images that were not trained on. 0: copies."""
    return Figure(
        float(np.median(nearest(fake, train))),
        (len(real), len(fake)),
        None,
        float(np.median(nearest(real, train))),
    )


def nearest(images: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Root mean square difference [N] of each image [N, P] to the nearest of the training images [M, P]."""
    best, count = np.full(len(images), np.inf), max(1, _BLOCK // max(1, len(images)))
    for start in range(0, len(train), count):
        best = np.minimum(best, _squares(images, train[start : start + count]).min(1))
    return np.sqrt(best)


def colour_correlation(source: np.ndarray, fake: np.ndarray, target: np.ndarray | None) -> Figure:
    """Mean correlation, over the pixels of an image, of the brightness of translations and of what was given, uint8 [N, H, W, C] each; the floor is that of
    true translations where they are known. About -1: dark is turned to light. Images of one brightness all over do not count."""
    value, count = _correlation(source, fake)
    return Figure(
        value, (count, count), None, None if target is None else _correlation(source, target)[0]
    )


def _correlation(a: np.ndarray, b: np.ndarray) -> tuple[float, int]:
    """The mean, and of how many images it is; 0 of none."""
    planes = [images.mean(-1).reshape(len(images), -1) for images in (a, b)]
    x, y = (plane - plane.mean(1, keepdims=True) for plane in planes)
    scale = np.sqrt(np.square(x).sum(1) * np.square(y).sum(1))
    varied = scale > 1e-6
    return float(((x * y).sum(1)[varied] / scale[varied]).mean()) if varied.any() else 0.0, int(
        varied.sum()
    )
