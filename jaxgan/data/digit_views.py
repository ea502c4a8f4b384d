"""Renderings of scikit-learn's 8x8 digits, in two domains, in several inks, or painted by the map of its strokes: sets for translation whose true
translation is known. NumPy only."""

from __future__ import annotations

import numpy as np

from jaxgan.errors import require, require_choice

TASKS = ("recolour", "outline")
DOMAINS = ("a", "b")
STROKES = ("paper", "stroke", "rim")
"""Classes of the pixels of a digit: beside its strokes, within them, on their one-pixel rim."""
STYLES = ("blue", "inks")

# Paper and ink, RGB. Red runs through the whole of 0..255 in b, so that `recolour` loses nothing to rounding, in either direction.
COLOURS = {"a": ((0, 0, 0), (255, 255, 255)), "b": ((255, 236, 200), (0, 64, 160))}

# Inks on black paper, RGB. Each has one channel of 255, so that the grey of a pixel is its largest channel and no ink loses anything to rounding.
INKS = {"red": (255, 64, 48), "green": (48, 255, 96), "blue": (64, 112, 255)}


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
    require(
        digits.size == 0 or (digits.min() >= 0 and digits.max() <= 1),
        "digits must be between 0 and 1",
    )
    coverage = _doubled(_doubled(digits, 1), 2)
    if task == "recolour":
        ink = np.round(255 * coverage) / 255
    else:
        filled = coverage >= 0.5
        ink = (filled if domain == "a" else outline(filled)).astype(np.float64)
    paper, colour = (np.array(rgb, np.float64) for rgb in COLOURS[domain])
    return np.round(paper + (colour - paper) * ink[..., None]).astype(np.uint8)


def ink(images: np.ndarray, colour: str) -> np.ndarray:
    """Draw with an ink of `INKS` what is drawn in another, or in white, on black paper: uint8 [N, H, W, 3] -> the same shape and type.

    With v the largest channel of a pixel, its new colour is round(colour v / 255), and v stays. This is the true translation of `attributes:digits`.

    Raises ValueError: another ink, images of another shape or type.
    """
    require_choice("colour", colour, INKS)
    images = np.asarray(images)
    fits = images.ndim == 4 and images.shape[3] == 3 and images.dtype == np.uint8
    require(fits, f"images must be uint8 [N, H, W, 3], got {images.dtype} {list(images.shape)}")
    value = images.max(-1, keepdims=True).astype(np.float64)
    return np.round(np.array(INKS[colour]) * value / 255).astype(np.uint8)


def in_inks(digits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw each digit in one ink, taking the inks in turn: float [N, H, W] in [0, 1] -> uint8 [N, 2H, 2W, 3], and the number of its ink, int64 [N].

    Strokes are those of task "recolour" of `render`. No digit is drawn in two inks. Raises ValueError as `render` does.
    """
    white, number = render(digits, "recolour", "a"), np.arange(len(digits)) % len(INKS)
    drawn = np.empty_like(white)
    for i, colour in enumerate(INKS):
        drawn[number == i] = ink(white[number == i], colour)
    return drawn, number


def stroke_maps(digits: np.ndarray) -> np.ndarray:
    """The class of each pixel of digits at twice their size, by `STROKES`: float [N, H, W] in [0, 1] -> uint8 [N, 2H, 2W].

    The strokes are those of task "outline" of `render`: what it fills in "a", less what it draws in "b", is within them. Raises ValueError as it does.
    """
    filled, rim = (
        render(digits, "outline", "a")[..., 0] == 255,
        render(digits, "outline", "b")[..., 0] == COLOURS["b"][1][0],
    )
    return filled.astype(np.uint8) + rim


def painted(maps: np.ndarray, style: str = "blue") -> np.ndarray:
    """Paint maps of strokes, on cream paper: uint8 [N, H, W] of `STROKES` -> uint8 [N, H, W, 3].

    Rims have the colour of the ink, what is within them the mean of ink and paper. Strokes lie above the paper and throw a shadow one pixel down and
    to the right, three quarters as bright as paper. The colour of a pixel is a function of its class and of that of its upper left neighbour.

    Args:
      style: "blue": all in the ink of `COLOURS`. "inks": in the inks of `INKS` in turn, so that the map does not tell the ink, but the image does.

    Raises ValueError: another style, maps of another shape, type or range.
    """
    require_choice("style", style, STYLES)
    maps = np.asarray(maps)
    fits = (
        maps.ndim == 3 and maps.dtype == np.uint8 and (maps.size == 0 or maps.max() < len(STROKES))
    )
    require(
        fits,
        f"maps must be uint8 [N, H, W] of 0 to {len(STROKES) - 1}, got {maps.dtype} {list(maps.shape)}",
    )
    paper, blue = (np.array(rgb, np.float64) for rgb in COLOURS["b"])
    inks = (
        np.array(list(INKS.values()), np.float64)[np.arange(len(maps)) % len(INKS)]
        if style == "inks"
        else np.tile(blue, (len(maps), 1))
    )
    palette = np.stack(
        [
            np.broadcast_to(paper, inks.shape),
            (inks + paper) / 2,
            inks,
            np.broadcast_to(0.75 * paper, inks.shape),
        ],
        axis=1,
    )
    shaded = (maps == 0) & (np.pad(maps, ((0, 0), (1, 0), (1, 0)))[:, :-1, :-1] > 0)
    return np.round(palette[np.arange(len(maps))[:, None, None], np.where(shaded, 3, maps)]).astype(
        np.uint8
    )


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
