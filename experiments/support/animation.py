"""Frames to one animated file that browsers show: GIF, WebP or APNG, endless."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from jaxgan.errors import RunError
from jaxgan.pictures.images import tile, write_whole

KINDS = {".gif": "GIF", ".webp": "WEBP", ".apng": "PNG"}
"""Ending of a file -> what Pillow calls its format."""
MAX_SIDE = 512
"""Small frames are enlarged, by a whole factor, to at most so many pixels."""


def write(path: Path, frames: Sequence[np.ndarray], frames_per_second: float) -> Path:
    """Write frames [rows, columns, H, W, C] in [-1, 1], each tiled as `jaxgan.pictures.images.tile` does, whole or not at all. Returns the path.

    A GIF has 256 colours a frame and no opacity (what is clear becomes white); the others lose nothing.

    Raises `RunError` if it cannot be written.
    """
    kind = KINDS[path.suffix.lower()]
    pictures = [_picture(tile(frame, MAX_SIDE, MAX_SIDE), kind) for frame in frames]
    options = {
        "save_all": True,
        "append_images": pictures[1:],
        "duration": round(1000 / frames_per_second),
        "loop": 0,
    }
    options |= (
        {"lossless": True} if kind == "WEBP" else {"optimize": False} if kind == "GIF" else {}
    )
    buffer = io.BytesIO()
    try:
        pictures[0].save(buffer, kind, **options)
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} cannot be made a {path.suffix[1:]} ({error}): choose another of {', '.join(KINDS)}"
        ) from None
    return write_whole(path, buffer.getvalue())


def _picture(pixels: np.ndarray, kind: str) -> Image.Image:
    """uint8 [H, W, 1..4] in a mode that the format knows."""
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    if kind == "PNG" or picture.mode in ("L", "RGB"):
        return picture
    picture = picture.convert("RGBA")
    return (
        Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
        if kind == "GIF"
        else picture
    )
