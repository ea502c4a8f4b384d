"""What a run said that a reader of its results must know, kept in notes.jsonl and shown by the report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxgan.errors import RunError
from jaxgan.optim import Optimizer, zero_from
from jaxgan.pictures.images import write_whole

NOTES_FILE = "notes.jsonl"


def read_notes(run_dir: Path | str) -> list[tuple[int, str]]:
    """(images, text) of every note, earliest first; no file, no notes. What is not such a line is passed over."""
    try:
        lines = (
            (Path(run_dir) / NOTES_FILE).read_text(encoding="utf-8", errors="replace").split("\n")
        )
    except OSError:
        return []
    return [note for note in map(_parsed, lines) if note is not None]


def add_note(run_dir: Path | str, images: int, text: str) -> None:
    """Add a note, unless that text is there already. Raises `RunError` if it cannot be written."""
    if text not in [said for _, said in read_notes(run_dir)]:
        _write(Path(run_dir), [*read_notes(run_dir), (images, text)])


def truncate_notes(run_dir: Path | str, images: int) -> None:
    """Remove the notes of later image counts, which a resumed run makes anew."""
    kept = [note for note in read_notes(run_dir) if note[0] <= images]
    if kept != read_notes(run_dir):
        _write(Path(run_dir), kept)


def of_learning_rates(config: Any, images: int, step_images: int) -> list[str]:
    """Sentences on optimisers whose learning rate is zero in some step of a run.

    Args:
      config: any dataclass that holds `Optimizer`s, at any depth.
      images: what the run trains on. step_images: images of one step.
    """
    ends: dict[int, list[str]] = {}
    for name, optimizer in _optimizers(config, ""):
        end = zero_from(optimizer)
        if end is not None and end <= images - step_images:
            ends.setdefault(end, []).append(name)
    return [_sentence(names, end, images) for end, names in sorted(ends.items())]


def _sentence(names: list[str], end: int, images: int) -> str:
    several = (
        f"learning rates of {', '.join(names[:-1])} and {names[-1]} reach"
        if len(names) > 1
        else f"learning rate of {names[0]} reaches"
    )
    remedy = (
        "give one above zero"
        if end == 0
        else f"lengthen the schedule, set min_learning_rate, or stop at --images {end}"
    )
    return f"the {several} zero at {end:,} images, so that {images - end:,} of {images:,} images train nothing with it: {remedy}"


def _optimizers(value: Any, path: str) -> Iterator[tuple[str, Optimizer]]:
    """Every optimiser in a config and its dotted name."""
    if isinstance(value, Optimizer):
        yield path or "the optimizer", value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _optimizers(getattr(value, field.name), f"{path}.{field.name}".lstrip("."))
    elif isinstance(value, (tuple, list)):
        for i, item in enumerate(value):
            yield from _optimizers(item, f"{path}[{i}]")


def _parsed(text: str) -> tuple[int, str] | None:
    try:
        line = json.loads(text)
        images, said = line["images"], line["note"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    whole = isinstance(images, int) and not isinstance(images, bool) and images >= 0
    return (images, said) if whole and isinstance(said, str) else None


def _write(run_dir: Path, notes: list[tuple[int, str]]) -> None:
    path = run_dir / NOTES_FILE
    text = "".join(json.dumps({"images": images, "note": said}) + "\n" for images, said in notes)
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise RunError(
            f"cannot write {path} ({error.strerror or error}): free space and run the same command again"
        ) from error
