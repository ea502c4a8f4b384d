"""One HTML page of inputs beside outputs, for translated images: opens anywhere, without network, script or server."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np

from jaxgan.curves import escape
from jaxgan.data.images import resize
from jaxgan.images import data_uri, encode_png, to_uint8, write_whole

SHOWN = 200
"""Pairs on a page."""
SIDE, LIMIT = 320, 40_000
"""Caps on a thumbnail: pixels along its longer side, bytes (before base64); 200 pairs stay below about 20 MB."""
SMALL = 128
"""Images smaller than this are enlarged with sharp pixels."""


class Pair(NamedTuple):
    """An image and what became of it: uint8, uint16 or float [H, W, C] in [-1, 1], any C; `link`: the output's path relative to the page."""

    name: str
    before: np.ndarray
    after: np.ndarray
    link: str


def write(path: Path | str, title: str, facts: Mapping[str, str], pairs: Iterable[Pair], total: int, left_out: Sequence[str] = ()) -> Path:
    """Writes the page, whole or not at all, and returns its path. Raises `RunError` if it cannot be written.

    Args:
      facts: what to say above the images, by name.
      pairs: consumed one by one; those that are shown, of `total`.
      left_out: what could not be translated, and why, one sentence each.
    """
    cards = [_card(pair) for pair in pairs]
    count = f"{total:,} image{'s' * (total != 1)}" + (f", the first {len(cards)} shown" if len(cards) < total else "")
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts.items())
    failures = "".join(f"<li>{escape(reason)}</li>" for reason in left_out)
    body = [
        f"<header><h1>{escape(title)}</h1><p>{count}.</p></header><table>{rows}</table>",
        f'<section><h2>Left out</h2><ul class="bad">{failures}</ul></section>' if failures else "",
        f'<section><h2>Given, and translated</h2><div class="cards">{"".join(cards)}</div></section>' if cards else "",
        f"<footer>Written {time.strftime('%Y-%m-%d %H:%M')}. Thumbnails; a name opens the whole translation.</footer>",
    ]
    return write_whole(path, _PAGE.format(title=escape(title), style=_STYLE, body="\n".join(body)).encode())


def _card(pair: Pair) -> str:
    sides = "".join(_picture(array, f"{pair.name}, {what}") for what, array in (("given", pair.before), ("translated", pair.after)))
    link = f'<a href="{escape(quote(pair.link))}">{escape(pair.name)}</a>'
    return f'<figure><div class="pair">{sides}</div><figcaption>{link} <span>{escape(_facts(pair))}</span></figcaption></figure>'


def _facts(pair: Pair) -> str:
    kinds = [{1: "grey", 3: "RGB", 4: "RGBA"}.get(array.shape[-1], f"{array.shape[-1]} channels") for array in (pair.before, pair.after)]
    depth = {"uint8": "", "uint16": ", 16-bit"}.get(pair.before.dtype.name, ", float")  # the output's too, which is read back as Pillow does
    height, width = pair.before.shape[:2]
    return f"{width} × {height}, {' → '.join(dict.fromkeys(kinds))}{depth}"  # noqa: RUF001


def _picture(array: np.ndarray, alt: str) -> str:
    source, _ = data_uri(io.BytesIO(encode_png(thumbnail(array))), SIDE, LIMIT)
    kind = ' class="small"' if max(array.shape[:2]) < SMALL else ""
    return f'<img{kind} src="{source}" alt="{escape(alt)}" loading="lazy">'


def thumbnail(array: np.ndarray) -> np.ndarray:
    """[H, W, C] (see `Pair`) -> uint8 [h, w, 1, 3 or 4], no side longer than `SIDE`: of 2 channels the first, of 5 and more the first three."""
    channels = array.shape[-1]
    array = array if channels in (1, 3, 4) else array[..., : 1 if channels == 2 else 3]
    if array.dtype == np.uint16:
        array = np.rint(array / 257).astype(np.uint8)
    pixels, scale = to_uint8(array), min(1.0, SIDE / max(array.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in array.shape[:2])
    return resize(pixels, (height, width))


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""

_STYLE = """
:root { color-scheme: light dark; --paper: #fdfdfc; --ink: #22262b; --quiet: #6b7280; --rule: #e4e5e7; --bad: #b3261e; --link: #2563ab; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #dcdfe3; --quiet: #8d949e; --rule: #2d3136; --bad: #f28b82; --link: #6aa5e8; } }
body { margin: 0 auto; max-width: 1360px; padding: 2.5rem 1.5rem; background: var(--paper); color: var(--ink); font: 15px/1.55 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.7rem; font-weight: 600; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { margin: 2.2rem 0 .8rem; font-size: 1.05rem; font-weight: 600; }
header p { margin: .3rem 0 1.2rem; color: var(--quiet); }
table { border-collapse: collapse; font-size: .85rem; } tr { border-bottom: 1px solid var(--rule); }
th { text-align: left; font-weight: 400; color: var(--quiet); white-space: nowrap; } td { overflow-wrap: anywhere; }
th, td { padding: .28rem 1.5em .28rem 0; vertical-align: top; font-variant-numeric: tabular-nums; }
ul { margin: 0; padding-left: 1.2rem; } .bad { color: var(--bad); overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 400px), 1fr)); gap: 1.6rem 1.4rem; }
figure { margin: 0; min-width: 0; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 4px; align-items: start; }
img { display: block; width: 100%; height: auto; max-height: 420px; object-fit: contain; border-radius: 3px; } img.small { image-rendering: pixelated; }
figcaption { margin-top: .35rem; font-size: .8rem; overflow-wrap: anywhere; } figcaption span { color: var(--quiet); }
a { color: var(--link); text-decoration: none; } a:hover { text-decoration: underline; }
footer { margin-top: 3rem; font-size: .8rem; color: var(--quiet); }
"""
