"""The tables of docs/results.md, made from the lines of benchmarks/results/quality.jsonl. They stand between markers; what is between is never typed.

<!-- quality: fashion -->
<!-- end of quality -->
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from jaxgan.errors import DataError

Line = dict[str, Any]
MARKED = re.compile(
    r"(<!-- quality: (?P<name>[\w-]+) -->\n).*?(<!-- end of quality -->)", re.DOTALL
)
PERCENT = (
    "accuracy",
    "class_accuracy",
    "attribute_accuracy",
    "pixel_accuracy",
    "miou",
    "precision",
    "recall",
)
DIGITS = {"ssim": 3, "intra_fid": 1, "fid": 1, "l1": 2, "reconstruction_l1": 2}
HEADS = {
    "fid": "FID",
    "kid": "KID",
    "l1": "L1",
    "ssim": "SSIM",
    "miou": "mIoU",
    "intra_fid": "intra-class FID",
    "reconstruction_l1": "L1 there and back",
}
SCORED = ("last", "best")


def read(path: Path) -> list[Line]:
    """The lines of a file, in order; no file, no lines. Raises DataError for a line that is none."""
    lines = []
    for number, text in enumerate(
        path.read_text(encoding="utf-8").splitlines() if path.exists() else (), 1
    ):
        try:
            line = json.loads(text)
            lines.append(
                {**line, "row": line["row"], "which": line["which"], "value": float(line["value"])}
            )
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}, line {number}, is no figure of benchmarks.quality ({error}): remove that line"
            ) from None
    return lines


def best(values: dict[int, list[float]], lower: bool) -> int:
    """The checkpoint with the best mean of its values; the earliest of equals."""
    means = {number: sum(each) / len(each) for number, each in values.items()}
    return min(means, key=lambda number: (means[number] if lower else -means[number], number))


def write(path: Path, lines: list[Line]) -> None:
    """Put a table between each pair of markers of a page, for which there are lines; all else stays. Raises DataError: no such page."""
    if not path.is_file():
        raise DataError(f"there is no page {path}: name the one whose tables are to be written")
    old = path.read_text(encoding="utf-8")
    new = filled(old, lines)
    if new != old:
        path.write_text(new, encoding="utf-8")


def marked(text: str) -> list[str]:
    """Names of the tables that a page has room for."""
    return [match["name"] for match in MARKED.finditer(text)]


def filled(text: str, lines: list[Line]) -> str:
    """A page with its tables, made from these lines."""

    def one(match: re.Match[str]) -> str:
        chosen = latest([line for line in lines if line["table"] == match["name"]])
        return match[1] + (table(chosen) if chosen else "Not measured yet.\n") + match[3]

    return MARKED.sub(one, text)


def latest(lines: list[Line]) -> list[Line]:
    """Of figures that were measured more than once, the last."""
    kept = {
        (line["row"], line["which"], line["metric"], line["subject"], line["seed"]): line
        for line in lines
    }
    return list(kept.values())


def table(lines: list[Line]) -> str:
    """Markdown: a line for each model, checkpoint and subject, a column for each figure; real images and baselines in lines of their own, below."""
    lines = [
        line for line in lines if not line["subject"].startswith("class ")
    ]  # of each class: in the file, too much for a page
    columns = list(dict.fromkeys(line["metric"] for line in lines))
    groups: dict[tuple[str, str, str, int], dict[str, Line]] = {}
    for line in lines:
        groups.setdefault((line["row"], line["which"], line["subject"], line["seed"]), {})[
            line["metric"]
        ] = line
    groups = _without_twins(groups)
    body = [
        "| "
        + " | ".join(
            [
                "model",
                *(HEADS.get(name, name.replace("_", " ")) for name in columns),
                "images seen",
                "seconds",
            ]
        )
        + " |"
    ]
    body.append("|---" * (len(columns) + 3) + "|")
    floors: dict[str, str] = {}
    for (_, which, _, _), cells in groups.items():
        one = next(iter(cells.values()))
        seen = [
            f"{one['checkpoint']:,}" if which in SCORED else "",
            f"{one['seconds']:.0f}" if which == "last" else "",
        ]
        text = (
            "| "
            + " | ".join([_title(one), *(_cell(cells.get(name)) for name in columns), *seen])
            + " |"
        )
        if text not in body:
            body.append(text)
        if any(line["floor"] is not None for line in cells.values()):
            floors.setdefault(_floor(one, cells, columns), one["row"])
    return "\n".join([*body, *floors, "", *_notes(lines), ""])


def _without_twins(
    groups: dict[tuple[str, str, str, int], dict[str, Line]],
) -> dict[tuple[str, str, str, int], dict[str, Line]]:
    """Without a "best" checkpoint that is the last one."""
    return {
        key: cells
        for key, cells in groups.items()
        if key[1] != "best"
        or next(iter(cells.values()))["checkpoint"]
        != next(iter(groups[key[0], "last", *key[2:]].values()))["checkpoint"]
    }


def _title(line: Line) -> str:
    seed = f" (seed {line['seed']})" if line["seed"] else ""
    name = (
        line["row"]
        if line["which"] == "last"
        else f"{line['row']}, best"
        if line["which"] == "best"
        else line["which"]
    )
    return f"{name}{', ' + line['subject'] if line['subject'] else ''}{seed}"


def _number(name: str, value: float) -> str:
    if name == "kid":  # between thousandths and tens, as the network goes
        return f"{value:.3g}"
    return f"{100 * value:.1f} %" if name in PERCENT else f"{value:.{DIGITS.get(name, 2)}f}"


def _cell(line: Line | None) -> str:
    if line is None:
        return ""
    error = line["standard_error"]
    return _number(line["metric"], line["value"]) + (
        f" ± {_number(line['metric'], error)}" if error is not None else ""
    )


def _floor(one: Line, cells: dict[str, Line], columns: list[str]) -> str:
    values = [
        _number(name, cells[name]["floor"])
        if name in cells and cells[name]["floor"] is not None
        else ""
        for name in columns
    ]
    what = f"real images, {one['data'].partition('?')[0].rpartition(':')[2]}{', ' + one['subject'] if one['subject'] else ''}"
    return "| " + " | ".join([what, *values, "", ""]) + " |"


def _notes(lines: list[Line]) -> list[str]:
    """What the figures depend on, and the commands."""
    networks = sorted(
        {
            f"{line['network']} ({line['checksum']})"
            for line in lines
            if line["network"] and line["network"] != "judge"
        }
    )
    counts = sorted(
        {(line["real"], line["generated"]) for line in lines if line["which"] in SCORED}
    )
    models = [line for line in lines if line["which"] in SCORED]
    places = sorted(
        {
            f"jax {line['versions'].get('jax', '?')}, {line['device']}, {line['cores']} core{'s' * (line['cores'] > 1)}"
            for line in models
        }
    )
    text = [
        f"{'; '.join(places)}. Real and generated images: {', '.join(f'{a:,} and {b:,}' for a, b in counts)}."
    ]
    text += [f"Features: {', '.join(networks)}."] if networks else []
    commands = list(dict.fromkeys(line["command"] for line in models))
    return [" ".join(text), "", "```", *commands, "```"]
