"""Names of classes on pictures and in the names of files."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxgan.pictures.images import GAP

PAPER, INK = 255, 0
LONGEST = 24
"""Letters of a title that are shown."""


def above(sheet: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Write a name above each column of a sheet of `images.tile`: uint8 [H, W, C] -> [H + title, W, C].

    Names that are wider than a column stand upright. Without names the sheet stays as it is.
    """
    if not names:
        return sheet
    width, channels = sheet.shape[1], sheet.shape[2]
    cell = (width + GAP) // len(names) - GAP
    labels = [_label(name) for name in names]
    if max(label.width for label in labels) > cell:
        labels = [label.transpose(Image.Transpose.ROTATE_90) for label in labels]
    strip = Image.new("L", (width, max(label.height for label in labels) + 2 * GAP), PAPER)
    for column, label in enumerate(labels):
        left = column * (cell + GAP) + max(0, (cell - label.width) // 2)
        strip.paste(label, (left, strip.height - GAP - label.height))
    pixels = np.asarray(strip)[..., None].repeat(channels, axis=2)
    if channels in (2, 4):
        pixels[..., -1] = 255
    return np.concatenate([pixels, sheet])


def _label(name: str) -> Image.Image:
    text = name if len(name) <= LONGEST else name[: LONGEST - 3] + "..."
    font = ImageFont.load_default()
    try:
        width = font.getbbox(text)[2]
    except UnicodeError:  # a Pillow without FreeType has letters of Latin-1 alone
        text = text.encode("ascii", "replace").decode()
        width = font.getbbox(text)[2]
    label = Image.new("L", (max(1, round(width)), round(font.getbbox("Ag")[3])), PAPER)
    ImageDraw.Draw(label).text((0, 0), text, fill=INK, font=font)
    return label


def note(names: Sequence[str]) -> str:
    """What a sheet's PNG says of its classes in its comment; "" without any."""
    return f"classes in turn: {', '.join(names)}" if names else ""


def for_file(name: str) -> str:
    """A name as part of a file's name: letters, digits, _, + and - stay, anything else becomes _."""
    return re.sub(r"[^\w+-]+", "_", name)[:80]
