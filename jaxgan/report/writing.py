"""report.html: one page about a run that opens anywhere, without network, script or server.

Everything is read from the run directory, so the page can be written again at any time; what is missing there is left out.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.errors import RunError
from jaxgan.metrics.result import read_results
from jaxgan.pictures.images import data_uri
from jaxgan.records.checkpoint import BEST_FILE
from jaxgan.records.log import RESULTS_FILE, read_metrics, read_samples
from jaxgan.records.notes import read_notes
from jaxgan.report import curves, diagnostics, hints, page
from jaxgan.report.curves import Series, escape

REPORT_FILE = "report.html"
MAX_SHEETS = 24
LATEST_BYTES, EARLIER_BYTES = 3_000_000, 150_000
"""Caps on the embedded sample sheets, which are made smaller until they fit: the page stays below about 9 MB."""
LATEST_WIDTH, EARLIER_WIDTH = 1200, 480


def write(run_dir: Path | str) -> Path:
    """Writes `run_dir`/report.html, whole or not at all, and returns its path. Raises `RunError` if the directory is missing or not writable."""
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise RunError(
            f"there is no run directory {run_dir}; give the directory that training was started with (--run)"
        )
    lines, samples = read_metrics(run_dir), read_samples(run_dir)
    config, environment = _json(run_dir / "config.json"), _json(run_dir / "environment.json")
    series = {
        name: _series(lines, name)
        for name in dict.fromkeys(name for line in lines for name in line["metrics"])
    }
    rate = images_per_second(lines)
    name, family = run_dir.resolve().name, config.get("family")
    title = f"{family.rpartition('.')[2]}: {name}" if isinstance(family, str) else name
    results, best = read_results(run_dir / RESULTS_FILE), _json(run_dir / BEST_FILE)
    advice = [
        *diagnostics.sentences(results),
        *hints.find_hints(series, rate, hints.losses_used(config)),
    ]
    kept = (
        f" Best by {best.get('metric')}: the checkpoint at {best.get('images'):,} images, {best.get('value'):.4g}."
        if best
        else ""
    )
    latest, earlier = _sheets(samples)
    body = [
        f"<header><h1>{escape(title)}</h1>{_status(lines)}</header>",
        _section("Notes", _notes(read_notes(run_dir))),
        _section(
            "What the curves say",
            "<ul>" + "".join(f"<li>{escape(hint)}</li>" for hint in advice) + "</ul>",
        ),
        _section("Latest samples", latest),
        _section("Evaluation", diagnostics.section(results, total_seconds(lines), kept)),
        _section("Metrics", "".join(curves.charts(series))),
        _section("Samples over time", earlier),
        _section("Timing", _timing(lines, rate)),
        f'<div class="pair">{_section("Settings", _table(config))}{_section("Environment", _table(environment))}</div>',
        f"<footer>Written {time.strftime('%Y-%m-%d %H:%M')}. Curves run over the real images shown to the discriminator: "
        "bold lines are smoothed, faint ones as measured.</footer>",
    ]
    return page.write(run_dir / REPORT_FILE, title, body, _STYLE)


# --------------------------------------------------------------------------------------------------------------------- facts


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _series(lines: Sequence[dict[str, Any]], name: str) -> Series:
    points = [(line["images"], line["metrics"][name]) for line in lines if name in line["metrics"]]
    return np.array([x for x, _ in points], np.float64), np.array(
        [y for _, y in points], np.float64
    )


def images_per_second(lines: Sequence[dict[str, Any]]) -> Series:
    """Speed between neighbouring lines of `log.read_metrics`; pairs in which images or clock do not advance say nothing and are left out."""
    points = []
    for old, new in pairwise(lines):
        images, seconds = new["images"] - old["images"], new["seconds"] - old["seconds"]
        if images > 0 and seconds > 0:
            points.append((new["images"], images / seconds))
    return np.array([x for x, _ in points], np.float64), np.array(
        [y for _, y in points], np.float64
    )


def _not_finite(lines: Sequence[dict[str, Any]]) -> tuple[int, list[str]] | None:
    for line in reversed(lines):
        if names := [name for name, value in line["metrics"].items() if not math.isfinite(value)]:
            return line["images"], names
    return None


# ---------------------------------------------------------------------------------------------------------------------- page


def _notes(notes: Sequence[tuple[int, str]]) -> str:
    rows = "".join(f"<li>At {images:,} images: {escape(text)}</li>" for images, text in notes)
    return f"<ul>{rows}</ul>" if rows else ""


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>" if content else ""


def _status(lines: Sequence[dict[str, Any]]) -> str:
    if not lines:
        return "<p>No metrics yet.</p>"
    last = max(lines, key=lambda line: line["images"])
    facts = [
        f"{last['images']:,} images in {last['step']:,} rounds",
        f"{_duration(total_seconds(lines))} of training",
    ]
    text = f"<p>{escape(', '.join(facts))}.</p>"
    if event := _not_finite(lines):
        text += (
            f'<p class="bad">Not finite at {event[0]:,} images: {escape(", ".join(event[1]))}.</p>'
        )
    return text


def total_seconds(lines: Sequence[dict[str, Any]]) -> float:
    """Training time: the clock of the last line; if it was set back on the way (a session that began at 0 again), the sum over the sessions."""
    clock = [line["seconds"] for line in lines]
    return sum(old for old, new in pairwise(clock) if new < old) + clock[-1] if clock else 0.0


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _timing(lines: Sequence[dict[str, Any]], rate: Series) -> str:
    if not len(rate[0]):
        return ""
    facts = {"training time": _duration(total_seconds(lines)), "median speed": f"{np.median(rate[1]):,.1f} images/s",
             "latest speed": f"{rate[1][-1]:,.1f} images/s"}  # fmt: skip
    return f'<div class="charts">{curves.chart("Images per second", {"images/s": rate})}<div>{_table(facts)}</div></div>'


def _table(content: dict[str, Any]) -> str:
    rows = "".join(_rows(content, 0))
    return f"<table>{rows}</table>" if rows else ""


def _rows(content: dict[str, Any], depth: int) -> list[str]:
    """A table row per value; a nested mapping is a heading with its values indented below."""
    rows = []
    for name, value in content.items():
        label = f'<th style="padding-left:{depth * 1.1:.1f}em">{escape(name)}</th>'
        nested = isinstance(value, dict) and value
        shown = (
            "" if nested else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        )
        rows.append(f"<tr>{label}<td>{escape(shown)}</td></tr>")
        rows += _rows(value, depth + 1) if nested else []
    return rows


def _sheets(samples: Sequence[tuple[int, Path]]) -> tuple[str, str]:
    """The latest sheet, and up to `MAX_SHEETS` - 1 earlier ones spread evenly over the run (the first among them)."""
    latest = "".join(
        _figure(images, path, LATEST_WIDTH, LATEST_BYTES) for images, path in samples[-1:]
    )
    earlier = samples[:-1]
    chosen = sorted(
        {round(i) for i in np.linspace(0, len(earlier) - 1, min(len(earlier), MAX_SHEETS - 1))}
    )
    figures = "".join(
        _figure(images, path, EARLIER_WIDTH, EARLIER_BYTES)
        for images, path in (earlier[i] for i in chosen)
    )
    return latest, f'<div class="sheets">{figures}</div>' if figures else ""


def _figure(images: int, path: Path, width: int, limit: int) -> str:
    try:
        source, note = data_uri(path, width, limit)
    except (OSError, ValueError):  # removed meanwhile, or not a picture
        return ""
    caption = f"{images:,} images" + (f"; {note}" if note else "")
    return f'<figure><img src="{source}" alt="samples after {images:,} images"><figcaption>{escape(caption)}</figcaption></figure>'


_STYLE = (
    """
:root { --c0: #2563ab; --c1: #d1661c; --c2: #2f8f5b; --c3: #8a4fb0; --c4: #a8861b; --c5: #c23b67; }
@media (prefers-color-scheme: dark) { :root { --c0: #6aa5e8; --c1: #f0985a; --c2: #6cc493; --c3: #c093e0; --c4: #d9bb57; --c5: #ee7f9f; } }
body { max-width: 1120px; }
h2 { margin: 2.6rem 0 .8rem; }
h3 { margin: 0; font-size: .9rem; font-weight: 600; }
header p { margin: .3rem 0 0; } header p.bad { color: var(--bad); }
ul { max-width: 75ch; } li + li { margin-top: .4rem; }
.charts, .pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 1.8rem 2.4rem; }
.legend { display: flex; flex-wrap: wrap; gap: 0 1.1em; margin: .1rem 0 .3rem; font-size: .8rem; color: var(--quiet); }
.legend i { display: inline-block; width: .7em; height: .7em; margin-right: .4em; border-radius: 2px; }
.legend b { font-weight: 500; color: var(--ink); font-variant-numeric: tabular-nums; }
svg { display: block; width: 100%; height: auto; } svg text { font-size: 10.5px; fill: var(--quiet); font-variant-numeric: tabular-nums; }
svg path { fill: none; stroke-linejoin: round; stroke-linecap: round; } .rule { stroke: var(--rule); }
.raw { stroke-width: .8; opacity: .3; } .bold { stroke-width: 1.7; }
"""
    + "".join(
        f".s{i} {{ stroke: var(--c{i}); }} .c{i} {{ background: var(--c{i}); }}\n"
        for i in range(curves.MAX_LINES)
    )
    + """
img { max-width: 100%; }
figure img + figcaption { margin-top: .35rem; font-size: .8rem; color: var(--quiet); }
.sheets { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 240px), 1fr)); gap: 1.4rem; }
table { width: 100%; } td { text-align: right; }
th, td { padding: .28rem 0 .28rem 1em; }
"""
)
