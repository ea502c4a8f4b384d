"""How a results file is shown as a table of Markdown: its columns, and what each makes of a line. `benchmarks.tables` has the tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Line = dict[str, Any]


class Column(NamedTuple):
    """show: text of a line, or "" where it does not say."""

    head: str
    show: Callable[[Line], str]


class Table(NamedTuple):
    """How the lines of a results file are shown, or those of them that `chosen` is true of.

    key: the fields whose values together say what was measured. expected: gives the names of which there should be lines, on a CPU (True) or elsewhere.
    """

    file: str
    title: str
    text: str
    commands: tuple[str, ...]
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    expected: Callable[[bool], Sequence[str]] = lambda on_cpu: ()
    chosen: Callable[[Line], bool] = bool


def number(name: str, form: str = "", scale: float = 1.0, head: str = "") -> Column:
    """A column of numbers times `scale`, as `format` says or with three digits; `name` may be nested, "lax.min_ms"."""

    def show(line: Line) -> str:
        value = get(line, name)
        if value is None:
            return ""
        value = value if scale == 1 else value * scale
        return format(value, form) if form else digits(value)

    return Column(head or name, show)


def digits(value: float) -> str:
    """Three digits that count, and no exponent for large numbers."""
    return format(value, ",.0f" if abs(value) >= 100 else ".3g")


def text(name: str, head: str = "") -> Column:
    """A column of plain text."""
    return Column(
        head or name, lambda line: "" if (value := get(line, name)) is None else str(value)
    )


def spread(head: str = "ms (p10 to p90)", prefix: str = "") -> Column:
    """Median and spread of the times, where they are known."""

    def show(line: Line) -> str:
        median, *ends = (get(line, f"{prefix}{name}") for name in ("median_ms", "p10_ms", "p90_ms"))
        if median is None:
            return ""
        return digits(median) + (
            " ({} to {})".format(*map(digits, ends)) if None not in ends else ""
        )

    return Column(head, show)


def ratio_spread(head: str) -> Column:
    """A ratio with its spread round by round."""
    return Column(
        head,
        lambda line: "{:.2f} ({:.2f} to {:.2f})".format(
            *(line[name] for name in ("ratio", "ratio_p10", "ratio_p90"))
        ),
    )


def get(line: Line, name: str) -> Any:
    """A field of a line; `name` may be nested, "lax.min_ms". None where there is none."""
    value: Any = line
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
