"""One HTML page of inputs beside outputs, for translated images: opens anywhere, without network, script or server."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np

from jaxgan.data.images import resize
from jaxgan.pictures.images import data_uri, encode_png, to_uint8
from jaxgan.report import page
from jaxgan.report.curves import escape

SHOWN = 400
"""Thumbnails on a page: 200 images with one translation each."""
SIDE, LIMIT = 320, 40_000
"""Caps on a thumbnail: pixels along its longer side, bytes (before base64); a page stays below about 20 MB."""
SMALL = 128
"""Images smaller than this are enlarged with sharp pixels."""


class Result(NamedTuple):
    """One translation: an image as in `Row`, its file relative to the page, and what to call it."""

    pixels: np.ndarray
    link: str
    title: str = "translated"


class Row(NamedTuple):
    """An image and what became of it, images uint8, uint16 or float [H, W, C] in [-1, 1], any C."""

    name: str
    given: np.ndarray
    results: Sequence[Result]


def write(
    path: Path | str,
    title: str,
    facts: Mapping[str, str],
    rows: Iterable[Row],
    total: int,
    left_out: Sequence[str] = (),
) -> Path:
    """Writes the page, whole or not at all, and returns its path. Raises `RunError` if it cannot be written.

    Args:
      facts: what to say above the images, by name.
      rows: consumed one by one; those that are shown, of `total`.
      left_out: what could not be translated, and why, one sentence each.
    """
    cards = [_card(row) for row in rows]
    count = f"{total:,} image{'s' * (total != 1)}" + (
        f", the first {len(cards)} shown" if len(cards) < total else ""
    )
    table = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts.items()
    )
    failures = "".join(f"<li>{escape(reason)}</li>" for reason in left_out)
    body = [
        f"<header><h1>{escape(title)}</h1><p>{count}.</p></header><table>{table}</table>",
        f'<section><h2>Left out</h2><ul class="bad">{failures}</ul></section>' if failures else "",
        f'<section><h2>Given, and translated</h2><div class="cards">{"".join(cards)}</div></section>'
        if cards
        else "",
        f"<footer>Written {time.strftime('%Y-%m-%d %H:%M')}. Thumbnails; a name opens the whole translation.</footer>",
    ]
    return page.write(path, title, body, _STYLE)


def _card(row: Row) -> str:
    """Two pictures, side by side, whose name is the link; or the whole width for a longer row, where each translation is named below it."""
    several = len(row.results) > 1
    sides = [_picture(row.given, f"{row.name}, given") + "<span>given</span>" * several]
    sides += [
        _picture(x.pixels, f"{row.name}, {x.title}") + _link(x.link, x.title) * several
        for x in row.results
    ]
    name = escape(row.name) if several else _link(row.results[0].link, row.name)
    pictures = "".join(f"<div>{side}</div>" for side in sides)
    kind = ' class="row"' if several else ""
    return f'<figure{kind}><div class="pair">{pictures}</div><figcaption>{name} <span>{escape(_facts(row))}</span></figcaption></figure>'


def _link(target: str, text: str) -> str:
    return f'<a href="{escape(quote(target))}">{escape(text)}</a>'


def _facts(row: Row) -> str:
    given, result = row.given, row.results[0].pixels
    kinds = [
        {1: "grey", 3: "RGB", 4: "RGBA"}.get(array.shape[-1], f"{array.shape[-1]} channels")
        for array in (given, result)
    ]
    depth = {"uint8": "", "uint16": ", 16-bit"}.get(given.dtype.name, ", float")  # the output's too
    height, width = given.shape[:2]
    return f"{width} × {height}, {' → '.join(dict.fromkeys(kinds))}{depth}"  # noqa: RUF001


def _picture(array: np.ndarray, alt: str) -> str:
    source, _ = data_uri(io.BytesIO(encode_png(thumbnail(array))), SIDE, LIMIT)
    kind = ' class="small"' if max(array.shape[:2]) < SMALL else ""
    return f'<img{kind} src="{source}" alt="{escape(alt)}" loading="lazy">'


def thumbnail(array: np.ndarray) -> np.ndarray:
    """[H, W, C] (see `Row`) -> uint8 [h, w, 1, 3 or 4], no side longer than `SIDE`: of 2 channels the first, of 5 and more the first three."""
    channels = array.shape[-1]
    array = array if channels in (1, 3, 4) else array[..., : 1 if channels == 2 else 3]
    if array.dtype == np.uint16:
        array = np.rint(array / 257).astype(np.uint8)
    pixels, scale = to_uint8(array), min(1.0, SIDE / max(array.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in array.shape[:2])
    return resize(pixels, (height, width))


_STYLE = """
body { max-width: 1360px; }
h2 { margin: 2.2rem 0 .8rem; }
header p { margin: .3rem 0 1.2rem; }
th, td { padding: .28rem 1.5em .28rem 0; }
.bad { color: var(--bad); overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 400px), 1fr)); gap: 1.6rem 1.4rem; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 4px; align-items: start; }
figure.row { grid-column: 1 / -1; }
figure.row .pair { grid-template-columns: repeat(auto-fit, minmax(100px, 1fr)); font-size: .75rem; overflow-wrap: anywhere; }
img { width: 100%; max-height: 420px; object-fit: contain; } img.small { image-rendering: pixelated; }
figcaption { margin-top: .35rem; font-size: .8rem; overflow-wrap: anywhere; } figcaption span { color: var(--quiet); }
a { color: var(--link); text-decoration: none; } a:hover { text-decoration: underline; }
"""
