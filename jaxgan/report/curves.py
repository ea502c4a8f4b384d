"""Curves as inline SVG: what the report draws, with no library and no script."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

Series = tuple[np.ndarray, np.ndarray]
"""Images shown [n] and the values there [n], finite or not."""

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 520, 220, 54, 12, 8, 24
MAX_POINTS, MAX_LINES, FEW_POINTS = 600, 6, 12
GROUPS = {
    "Losses": {"loss"},
    "Accuracies": {"accuracy"},
    "Logits": {"logits", "logit"},
    "Penalties": {"penalty", "r1", "r2"},
}
"""Figures, and the words in a metric's name that put it there."""


def escape(value: Any) -> str:
    """`value` as HTML text."""
    return html.escape(str(value), quote=True)


def smooth(values: np.ndarray) -> np.ndarray:
    """Bias-corrected moving average of finite values [n] over about a fortieth of them."""
    decay = 1 - 1 / max(1.0, len(values) / 40)
    total = weight = 0.0
    out = np.empty(len(values))
    for i, value in enumerate(values):
        total, weight = decay * total + (1 - decay) * value, decay * weight + (1 - decay)
        out[i] = total / weight
    return out


def _group(name: str) -> str:
    words = set(re.split("[_/]", name.lower()))
    return next((group for group, marks in GROUPS.items() if marks & words), name)


def charts(series: dict[str, Series]) -> list[str]:
    """One figure per group of metrics (more where a group has more than `MAX_LINES`); a metric of no group has its own."""
    groups: dict[str, dict[str, Series]] = {group: {} for group in GROUPS}
    for name, one in series.items():
        groups.setdefault(_group(name), {})[name] = one
    figures = []
    for title, members in groups.items():
        names = list(members)
        for start in range(0, len(names), MAX_LINES):
            figures.append(
                chart(
                    title,
                    {name: members[name] for name in names[start : start + MAX_LINES]},
                    percent=title == "Accuracies",
                )
            )
    return [f'<div class="charts">{"".join(figures)}</div>'] if figures else []


def chart(title: str, series: dict[str, Series], percent: bool = False) -> str:
    """An HTML figure of curves over images: a legend with the latest (smoothed) values, and an inline SVG that takes its colours from the page.

    Args:
      percent: values are shares; the axis runs from 0 to 100 %.
    """
    finite = {name: (x[np.isfinite(y)], y[np.isfinite(y)]) for name, (x, y) in series.items()}
    x_end = max((x[-1] for x, _ in series.values() if len(x)), default=0.0) or 1.0
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
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{_short(tick)}</text>'
        )
    for number, (name, (x, y)) in enumerate(finite.items()):
        means = smooth(y)
        latest = (f"{means[-1]:.1%}" if percent else f"{means[-1]:.4g}") if len(y) else "not finite"
        legend.append(
            f'<span><i class="c{number}"></i>{escape(name) if name != title else ""} <b>{latest}</b></span>'
        )
        drawn = [("bold", means)] if len(y) < FEW_POINTS else [("raw", y), ("bold", means)]
        parts += [
            f'<path class="{kind} s{number}" d="{_path(x, values, x_end, low, high)}"/>'
            for kind, values in drawn
        ]
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)} over images">{"".join(parts)}</svg>'
    return f'<figure><figcaption><h3>{escape(title)}</h3><div class="legend">{"".join(legend)}</div></figcaption>{svg}</figure>'


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
    return [
        number * step
        for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ]


def _short(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"


def _place(value: Any, low: float, high: float, start: float, end: float) -> Any:
    return start + (value - low) / ((high - low) or 1.0) * (end - start)


def _path(x: np.ndarray, y: np.ndarray, x_end: float, low: float, high: float) -> str:
    if (
        len(y) > MAX_POINTS
    ):  # the least and the greatest of each stretch, in their order: the outline of the curve stays
        stretches = np.array_split(np.arange(len(y)), MAX_POINTS // 2)
        chosen = np.array(
            sorted(
                {
                    int(i)
                    for part in stretches
                    for i in (part[y[part].argmin()], part[y[part].argmax()])
                }
            )
        )
        x, y = x[chosen], y[chosen]
    across = _place(x, 0.0, x_end, LEFT, WIDTH - RIGHT)
    down = np.clip(_place(y, low, high, HEIGHT - BOTTOM, TOP), TOP, HEIGHT - BOTTOM)
    points = [f"{a:.1f} {d:.1f}" for a, d in zip(across, down, strict=True)]
    return f"M{points[0]}h.1" if len(points) == 1 else "M" + "L".join(points) if points else ""
