"""report.html: one page about a run that opens anywhere, without network, script or server.

Everything is read from the run directory, so the page can be written again at any time; what is missing there is left out.
"""

from __future__ import annotations

import html
import json
import math
import time
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.errors import RunError
from jaxgan.images import data_uri, write_whole
from jaxgan.log import read_metrics, read_samples

REPORT_FILE = "report.html"
MAX_SHEETS = 24
LATEST_BYTES, EARLIER_BYTES = 3_000_000, 150_000
"""Caps on the embedded sample sheets, which are made smaller until they fit: the page stays below about 9 MB."""
LATEST_WIDTH, EARLIER_WIDTH = 1200, 480

Series = tuple[np.ndarray, np.ndarray]
"""Images shown [n] and the values there [n], finite or not."""


def write(run_dir: Path | str) -> Path:
    """Writes `run_dir`/report.html, whole or not at all, and returns its path. Raises `RunError` if the directory is missing or not writable."""
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise RunError(f"there is no run directory {run_dir}; give the directory that training was started with (--run)")
    lines, samples = read_metrics(run_dir), read_samples(run_dir)
    config, environment = _json(run_dir / "config.json"), _json(run_dir / "environment.json")
    series = {name: _series(lines, name) for name in dict.fromkeys(name for line in lines for name in line["metrics"])}
    rate = images_per_second(lines)
    name, family = run_dir.resolve().name, config.get("family")
    title = f"{family.rpartition('.')[2]}: {name}" if isinstance(family, str) else name
    hints = find_hints(series, rate, _losses_used(config))
    latest, earlier = _sheets(samples)
    body = [
        f"<header><h1>{_text(title)}</h1>{_status(lines)}</header>",
        _section("What the curves say", "<ul>" + "".join(f"<li>{_text(hint)}</li>" for hint in hints) + "</ul>"),
        _section("Latest samples", latest),
        _section("Metrics", "".join(_charts(series))),
        _section("Samples over time", earlier),
        _section("Timing", _timing(lines, rate)),
        f'<div class="pair">{_section("Settings", _table(config))}{_section("Environment", _table(environment))}</div>',
        f"<footer>Written {time.strftime('%Y-%m-%d %H:%M')}. Curves run over the real images shown to the discriminator: bold lines smoothed, faint ones as measured.</footer>",
    ]
    return write_whole(run_dir / REPORT_FILE, _PAGE.format(title=_text(title), style=_STYLE, body="\n".join(body)).encode("utf-8"))


# --------------------------------------------------------------------------------------------------------------------- facts


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _series(lines: Sequence[dict[str, Any]], name: str) -> Series:
    points = [(line["images"], line["metrics"][name]) for line in lines if name in line["metrics"]]
    return np.array([x for x, _ in points], np.float64), np.array([y for _, y in points], np.float64)


def images_per_second(lines: Sequence[dict[str, Any]]) -> Series:
    """Speed between neighbouring lines of `log.read_metrics`; pairs in which images or clock do not advance say nothing and are left out."""
    points = []
    for old, new in pairwise(lines):
        images, seconds = new["images"] - old["images"], new["seconds"] - old["seconds"]
        if images > 0 and seconds > 0:
            points.append((new["images"], images / seconds))
    return np.array([x for x, _ in points], np.float64), np.array([y for _, y in points], np.float64)


def smooth(values: np.ndarray) -> np.ndarray:
    """Bias-corrected moving average of finite values [n] over about a fortieth of them."""
    decay = 1 - 1 / max(1.0, len(values) / 40)
    total = weight = 0.0
    out = np.empty(len(values))
    for i, value in enumerate(values):
        total, weight = decay * total + (1 - decay) * value, decay * weight + (1 - decay)
        out[i] = total / weight
    return out


def _losses_used(config: Any) -> set[str]:
    """Every value of a setting named "loss"."""
    if isinstance(config, list):
        return set().union(*map(_losses_used, config))
    if not isinstance(config, dict):
        return set()
    return set().union(*({value} if name == "loss" and isinstance(value, str) else _losses_used(value) for name, value in config.items()))


def _not_finite(lines: Sequence[dict[str, Any]]) -> tuple[int, list[str]] | None:
    for line in reversed(lines):
        if names := [name for name, value in line["metrics"].items() if not math.isfinite(value)]:
            return line["images"], names
    return None


# --------------------------------------------------------------------------------------------------------------------- hints

HINT_POINTS = 12
"""A curve with fewer finite values in its last third is not judged."""


def _last_third(series: Series) -> np.ndarray:
    values = series[1][len(series[1]) * 2 // 3 :]
    values = values[np.isfinite(values)]
    return values if len(values) >= HINT_POINTS else np.array([])


def find_hints(series: dict[str, Series], rate: Series, losses: Iterable[str] = ()) -> list[str]:
    """Plain sentences on what the last third of the curves suggests trying; never empty.

    Args:
      losses: names of the adversarial losses in use; accuracies are not judged where the sign of a logit does not mean real or fake
        (Wasserstein, relativistic).
    """
    hints = []
    if broken := [name for name, (_, values) in series.items() if not np.isfinite(values).all()]:
        hints.append(_NOT_FINITE.format(names=", ".join(broken)))
    if not any(loss == "wasserstein" or loss.startswith("relativistic") for loss in losses):
        for name in series:
            partner = name.replace("real_accuracy", "fake_accuracy")
            if partner != name and partner in series:
                hints += _accuracy_hint(name, _last_third(series[name]), _last_third(series[partner]))
    for name, one in series.items():
        values = _last_third(one)
        if "logits" in name and len(values) and np.abs(values).mean() > 50:
            hints.append(_LARGE_LOGITS.format(name=name, mean=values.mean()))
        if {"fid", "kid"} & set(name.lower().split("_")):
            hints += _score_hint(name, one)
    speed = _last_third(rate)
    if len(speed) and np.median(speed) < 0.7 * (before := np.median(rate[1][: len(rate[1]) // 3])):
        hints.append(_SLOWER.format(before=before, now=np.median(speed)))
    if not any(len(_last_third(one)) for one in series.values()):
        hints.append("Too few values yet to judge the curves.")
    return hints or ["Nothing unusual. GAN losses do not show quality: judge by the samples, or by FID over time."]


_NOT_FINITE = (
    "Not finite at some point: {names}. Try a lower learning rate, gradient clipping (clip_norm), float32 instead of bfloat16, or continue "
    "from the last good checkpoint with --rollback."
)
_LARGE_LOGITS = "{name} has drifted to {mean:.3g}: large logits leave the generator little gradient. Try an R1 penalty or spectral norm."
_SLOWER = "Training has slowed down from {before:,.0f} to {now:,.0f} images/s: is another program using the machine, or is the device too hot?"
_DISCRIMINATOR_WINS = (
    "The discriminator{which} tells real from fake nearly always ({real:.0%} of real and {fake:.0%} of generated images): the generator learns "
    "little. Try an R1 penalty, DiffAugment or ADA (above all with few images), a lower discriminator learning rate, or smoothed real labels."
)
_DISCRIMINATOR_GUESSES = (
    "The discriminator{which} is close to guessing ({real:.0%} of real and {fake:.0%} of generated images): fine if the samples are good; if not, "
    "it is too weak. Try a wider discriminator, a higher learning rate for it, or a weaker penalty or augmentation."
)
_DISCRIMINATOR_STUCK = (
    "The discriminator{which} is right about {real:.0%} of real and {fake:.0%} of generated images: it calls nearly everything the same. "
    "Try a higher learning rate for it, or a weaker penalty."
)
_OVERFITTED = (
    "{name} was best ({best:.4g}) at {images:,.0f} images and is {last:.4g} now: use the best checkpoint, or stop earlier. With few images, try "
    "DiffAugment or ADA."
)


def _accuracy_hint(name: str, real: np.ndarray, fake: np.ndarray) -> list[str]:
    if not len(real) or not len(fake):
        return []
    low, high = sorted((real.mean(), fake.mean()))
    if low > 0.98:
        sentence = _DISCRIMINATOR_WINS
    elif high < 0.6:
        sentence = _DISCRIMINATOR_GUESSES
    elif low < 0.1 and high > 0.9:
        sentence = _DISCRIMINATOR_STUCK
    else:
        return []
    return [sentence.format(which="" if name == "real_accuracy" else f" ({name})", real=real.mean(), fake=fake.mean())]


def _score_hint(name: str, one: Series) -> list[str]:
    images, values = one[0][np.isfinite(one[1])], one[1][np.isfinite(one[1])]
    if len(values) < 4 or values[-1] <= 1.2 * values.min():
        return []
    return [_OVERFITTED.format(name=name, best=values.min(), images=images[values.argmin()], last=values[-1])]


# -------------------------------------------------------------------------------------------------------------------- curves

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 520, 220, 54, 12, 8, 24
MAX_POINTS, MAX_LINES = 600, 6
GROUPS = {"Losses": {"loss"}, "Accuracies": {"accuracy"}, "Logits": {"logits", "logit"}, "Penalties": {"penalty", "r1", "r2"}}
"""Figures, and the words in a metric's name that put it there."""


def _group(name: str) -> str:
    words = set(name.lower().split("_"))
    return next((group for group, marks in GROUPS.items() if marks & words), name)


def _charts(series: dict[str, Series]) -> list[str]:
    """One figure per group of metrics (more where a group has more than `MAX_LINES`); a metric of no group has its own."""
    groups: dict[str, dict[str, Series]] = {group: {} for group in GROUPS}
    for name, one in series.items():
        groups.setdefault(_group(name), {})[name] = one
    figures = []
    for title, members in groups.items():
        names = list(members)
        for start in range(0, len(names), MAX_LINES):
            figures.append(chart(title, {name: members[name] for name in names[start : start + MAX_LINES]}, percent=title == "Accuracies"))
    return [f'<div class="charts">{"".join(figures)}</div>'] if figures else []


def chart(title: str, series: dict[str, Series], percent: bool = False) -> str:
    """An HTML figure of curves over images: a legend with the latest (smoothed) values, and an inline SVG that takes its colours from the page.

    Args:
      percent: values are shares; the axis runs from 0 to 100 %.
    """
    finite = {name: (x[np.isfinite(y)], y[np.isfinite(y)]) for name, (x, y) in series.items()}
    x_end = max((x[-1] for x, _ in series.values() if len(x)), default=1.0)
    low, high = (0.0, 1.0) if percent else _range([y for _, y in finite.values()])
    parts, legend = [], []
    for tick in ticks(low, high, 4):
        y = _place(tick, low, high, HEIGHT - BOTTOM, TOP)
        label = f"{tick:.0%}" if percent else _short(tick)
        parts.append(f'<path class="rule" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{y + 3.5:.1f}" text-anchor="end">{label}</text>')
    for tick in ticks(0.0, x_end, 5):
        x = _place(tick, 0.0, x_end, LEFT, WIDTH - RIGHT)
        anchor = "end" if x > WIDTH - RIGHT - 14 else "middle"
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{_short(tick)}</text>')
    for number, (name, (x, y)) in enumerate(finite.items()):
        means = smooth(y)
        latest = (f"{means[-1]:.1%}" if percent else f"{means[-1]:.4g}") if len(y) else "not finite"
        legend.append(f'<span><i class="c{number}"></i>{_text(name) if name != title else ""} <b>{latest}</b></span>')
        curves = [("bold", means)] if len(y) < HINT_POINTS else [("raw", y), ("bold", means)]
        parts += [f'<path class="{kind} s{number}" d="{_path(x, values, x_end, low, high)}"/>' for kind, values in curves]
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{_text(title)} over images">{"".join(parts)}</svg>'
    return f'<figure><figcaption><h3>{_text(title)}</h3><div class="legend">{"".join(legend)}</div></figcaption>{svg}</figure>'


def _range(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """Axis limits: all of the values, unless a few spikes would flatten the rest, which are then cut off."""
    values = [one for one in values if len(one)]
    if not values:
        return 0.0, 1.0
    everything = np.concatenate(values)
    low, high = float(everything.min()), float(everything.max())
    inner_low = min(float(np.percentile(one, 1)) for one in values)
    inner_high = max(float(np.percentile(one, 99)) for one in values)
    span = inner_high - inner_low
    if span > 0 and high - low > 3 * span:
        low, high = max(low, inner_low - span / 4), min(high, inner_high + span / 4)
    margin = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    return low - margin, high + margin


def ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) within [low, high], about `count` of them."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * min((1, 2, 5, 10), key=lambda factor: abs(math.log(factor * power / rough)))
    return [number * step for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _short(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"


def _place(value: Any, low: float, high: float, start: float, end: float) -> Any:
    return start + (value - low) / ((high - low) or 1.0) * (end - start)


def _path(x: np.ndarray, y: np.ndarray, x_end: float, low: float, high: float) -> str:
    if len(y) > MAX_POINTS:  # the least and the greatest of each stretch, in their order: the outline of the curve stays
        stretches = np.array_split(np.arange(len(y)), MAX_POINTS // 2)
        chosen = np.array(sorted({int(i) for part in stretches for i in (part[y[part].argmin()], part[y[part].argmax()])}))
        x, y = x[chosen], y[chosen]
    across = _place(x, 0.0, x_end, LEFT, WIDTH - RIGHT)
    down = np.clip(_place(y, low, high, HEIGHT - BOTTOM, TOP), TOP, HEIGHT - BOTTOM)
    points = [f"{a:.1f} {d:.1f}" for a, d in zip(across, down, strict=True)]
    return f"M{points[0]}h.1" if len(points) == 1 else "M" + "L".join(points) if points else ""


# ---------------------------------------------------------------------------------------------------------------------- page


def _text(value: Any) -> str:
    return html.escape(str(value), quote=True)


def _section(title: str, content: str) -> str:
    return f"<section><h2>{_text(title)}</h2>{content}</section>" if content else ""


def _status(lines: Sequence[dict[str, Any]]) -> str:
    if not lines:
        return "<p>No metrics yet.</p>"
    last = max(lines, key=lambda line: line["images"])
    facts = [f"{last['images']:,} images in {last['step']:,} rounds", f"{_duration(total_seconds(lines))} of training"]
    text = f"<p>{_text(', '.join(facts))}.</p>"
    if event := _not_finite(lines):
        text += f'<p class="bad">Not finite at {event[0]:,} images: {_text(", ".join(event[1]))}.</p>'
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
    return f'<div class="charts">{chart("Images per second", {"images/s": rate})}<div>{_table(facts)}</div></div>'


def _table(content: dict[str, Any]) -> str:
    rows = "".join(_rows(content, 0))
    return f"<table>{rows}</table>" if rows else ""


def _rows(content: dict[str, Any], depth: int) -> list[str]:
    """A table row per value; a nested mapping is a heading with its values indented below."""
    rows = []
    for name, value in content.items():
        label = f'<th style="padding-left:{depth * 1.1:.1f}em">{_text(name)}</th>'
        nested = isinstance(value, dict) and value
        shown = "" if nested else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        rows.append(f"<tr>{label}<td>{_text(shown)}</td></tr>")
        rows += _rows(value, depth + 1) if nested else []
    return rows


def _sheets(samples: Sequence[tuple[int, Path]]) -> tuple[str, str]:
    """The latest sheet, and up to `MAX_SHEETS` - 1 earlier ones spread evenly over the run (the first among them)."""
    latest = "".join(_figure(images, path, LATEST_WIDTH, LATEST_BYTES) for images, path in samples[-1:])
    earlier = samples[:-1]
    chosen = sorted({round(i) for i in np.linspace(0, len(earlier) - 1, min(len(earlier), MAX_SHEETS - 1))})
    figures = "".join(_figure(images, path, EARLIER_WIDTH, EARLIER_BYTES) for images, path in (earlier[i] for i in chosen))
    return latest, f'<div class="sheets">{figures}</div>' if figures else ""


def _figure(images: int, path: Path, width: int, limit: int) -> str:
    try:
        source, note = data_uri(path, width, limit)
    except (OSError, ValueError):  # removed meanwhile, or not a picture
        return ""
    caption = f"{images:,} images" + (f"; {note}" if note else "")
    return f'<figure><img src="{source}" alt="samples after {images:,} images"><figcaption>{_text(caption)}</figcaption></figure>'


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
:root { color-scheme: light dark; --paper: #fdfdfc; --ink: #22262b; --quiet: #6b7280; --rule: #e4e5e7;
  --bad: #b3261e; --c0: #2563ab; --c1: #d1661c; --c2: #2f8f5b; --c3: #8a4fb0; --c4: #a8861b; --c5: #c23b67; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #dcdfe3; --quiet: #8d949e; --rule: #2d3136; --bad: #f28b82;
  --c0: #6aa5e8; --c1: #f0985a; --c2: #6cc493; --c3: #c093e0; --c4: #d9bb57; --c5: #ee7f9f; } }
body { margin: 0 auto; max-width: 1120px; padding: 2.5rem 1.5rem; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.7rem; font-weight: 600; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { margin: 2.6rem 0 .8rem; font-size: 1.05rem; font-weight: 600; }
h3 { margin: 0; font-size: .9rem; font-weight: 600; }
header p { margin: .3rem 0 0; color: var(--quiet); } header p.bad { color: var(--bad); }
ul { margin: 0; padding-left: 1.2rem; max-width: 75ch; } li + li { margin-top: .4rem; }
figure { margin: 0; min-width: 0; }
.charts, .pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 1.8rem 2.4rem; }
.legend { display: flex; flex-wrap: wrap; gap: 0 1.1em; margin: .1rem 0 .3rem; font-size: .8rem; color: var(--quiet); }
.legend i { display: inline-block; width: .7em; height: .7em; margin-right: .4em; border-radius: 2px; }
.legend b { font-weight: 500; color: var(--ink); font-variant-numeric: tabular-nums; }
svg { display: block; width: 100%; height: auto; } svg text { font-size: 10.5px; fill: var(--quiet); font-variant-numeric: tabular-nums; }
svg path { fill: none; stroke-linejoin: round; stroke-linecap: round; } .rule { stroke: var(--rule); }
.raw { stroke-width: .8; opacity: .3; } .bold { stroke-width: 1.7; }
""" + "".join(f".s{i} {{ stroke: var(--c{i}); }} .c{i} {{ background: var(--c{i}); }}\n" for i in range(MAX_LINES)) + """
img { display: block; max-width: 100%; height: auto; border-radius: 3px; }
figure img + figcaption { margin-top: .35rem; font-size: .8rem; color: var(--quiet); }
.sheets { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 240px), 1fr)); gap: 1.4rem; }
table { border-collapse: collapse; width: 100%; font-size: .85rem; } tr { border-bottom: 1px solid var(--rule); }
th { text-align: left; font-weight: 400; color: var(--quiet); white-space: nowrap; } td { text-align: right; overflow-wrap: anywhere; }
th, td { padding: .28rem 0 .28rem 1em; vertical-align: top; font-variant-numeric: tabular-nums; }
footer { margin-top: 3rem; font-size: .8rem; color: var(--quiet); }
"""
