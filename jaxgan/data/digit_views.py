"""Two renderings, "a" and "b", of scikit-learn's 8x8 digits: sets for translation whose true translation is known. NumPy only."""

from __future__ import annotations

import numpy as np

from jaxgan.errors import require, require_choice

TASKS = ("recolour", "outline")
DOMAINS = ("a", "b")

# Paper and ink, RGB. Red runs through the whole of 0..255 in b, so that `recolour` loses nothing to rounding, in either direction.
COLOURS = {"a": ((0, 0, 0), (255, 255, 255)), "b": ((255, 236, 200), (0, 64, 160))}


def render(digits: np.ndarray, task: str, domain: str) -> np.ndarray:
    """Draw digits at twice their size, in the paper and ink of `domain`: float [N, H, W] in [0, 1] -> uint8 [N, 2H, 2W, 3].

    The strokes are enlarged bilinearly (with half-pixel centres) to a coverage c. In domain "a" the paper is black and the ink white, in
    "b" the paper cream and the ink blue.

    Args:
      digits: coverage of each pixel by the stroke.
      task: "recolour": both domains blend paper and ink by c in 1/255ths. One colour map turns a into b, and one b into a, exactly: with v
        the grey of a, the colour of b is round(paper + (ink - paper) v / 255), and v = 255 - red of b.
        "outline": the strokes are where c >= 1/2, without blending; a fills them, b draws their one-pixel outline. No map of single pixels
        does that: white becomes blue at the rim, cream within. On scikit-learn's digits, equal outlines come from equal strokes only.
      domain: "a" or "b".

    Raises ValueError: another task or domain, digits of another shape or range.
    """
    require_choice("task", task, TASKS)
    require_choice("domain", domain, DOMAINS)
    digits = np.asarray(digits, np.float64)
    require(digits.ndim == 3, f"digits must be [N, H, W], got {list(digits.shape)}")
    require(digits.size == 0 or (digits.min() >= 0 and digits.max() <= 1), "digits must be between 0 and 1")
    coverage = _doubled(_doubled(digits, 1), 2)
    if task == "recolour":
        ink = np.round(255 * coverage) / 255
    else:
        filled = coverage >= 0.5
        ink = (filled if domain == "a" else outline(filled)).astype(np.float64)
    paper, colour = (np.array(rgb, np.float64) for rgb in COLOURS[domain])
    return np.round(paper + (colour - paper) * ink[..., None]).astype(np.uint8)


def outline(filled: np.ndarray) -> np.ndarray:
    """bool [N, H, W] -> bool [N, H, W]: the pixels of a shape that have one of their four neighbours outside it; beyond the image is outside."""
    padded = np.pad(filled, ((0, 0), (1, 1), (1, 1)))
    inside = padded[:, :-2, 1:-1] & padded[:, 2:, 1:-1] & padded[:, 1:-1, :-2] & padded[:, 1:-1, 2:]
    return filled & ~inside


def _doubled(array: np.ndarray, axis: int) -> np.ndarray:
    """Twice as long along `axis`, bilinear: each pixel becomes two, a quarter of the way towards its neighbours; the border repeats."""
    length = array.shape[axis]
    padded = np.take(array, np.clip(np.arange(-1, length + 1), 0, length - 1), axis)
    before, after = (np.take(padded, np.arange(length) + shift, axis) for shift in (0, 2))
    pair = np.stack([0.75 * array + 0.25 * before, 0.75 * array + 0.25 * after], axis + 1)
    return pair.reshape(*array.shape[:axis], 2 * length, *array.shape[axis + 1 :])
