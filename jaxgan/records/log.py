"""What a run writes while it trains: metrics.jsonl, sample sheets, TensorBoard events, and one line on the terminal.

`metrics.jsonl` and `samples/` are the record; TensorBoard is a copy, made anew from them whenever a log is opened, so that the three
always agree whatever stopped the run before.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.errors import RunError
from jaxgan.pictures.images import encode_png, tile, write_whole
from jaxgan.records.notes import truncate_notes
from jaxgan.records.tensorboard import Mirror

METRICS_FILE = "metrics.jsonl"
RESULTS_FILE = "evaluations.jsonl"
SAMPLES_FOLDER = "samples"
TENSORBOARD_FOLDER = "tensorboard"

LINE_SECONDS = 10.0
"""Least time between two progress lines where output is not a terminal (a file, a batch system)."""
REDRAW_SECONDS = 0.1
"""Least time between two updates of the live line of a terminal."""


class Log:
    """The log of one run; a context manager. One process writes it (under multi-host training, process 0).

    Opening it removes what lies past `resume_images` (a fresh run: 0): metric lines, a torn last line, sample sheets, half-written files, events.
    So a run that was stopped anywhere and resumed leaves what an uninterrupted one leaves, apart from times, provided that the metrics and the
    sheet of an image count are logged before the checkpoint of that count commits.

    Args:
      run_dir: made if it does not exist.
      resume_images: images shown to the discriminator at the checkpoint that training continues from.
      tensorboard: mirror to TensorBoard if tensorboardX is installed; nothing is said where it is not.
      progress: show the progress line. Messages are always shown. Both go to standard error.

    Attributes:
      seconds: training time at the last line kept (0.0 without one): a resumed run continues its clock from here.

    Raises `RunError` if the directory cannot be written, here and in the methods.
    """

    def __init__(
        self,
        run_dir: Path | str,
        resume_images: int = 0,
        tensorboard: bool = True,
        progress: bool = True,
    ):
        self.run_dir = Path(run_dir)
        self._stream, self._progress = sys.stderr, progress
        self._live_width, self._shown_at, self._noted = 0, -math.inf, False
        try:
            (self.run_dir / SAMPLES_FOLDER).mkdir(parents=True, exist_ok=True)
            lines = _truncate(self.run_dir, resume_images)
            self._file = open(self.run_dir / METRICS_FILE, "a", encoding="utf-8")  # noqa: SIM115 (closed by `close`)
        except OSError as error:
            raise RunError(
                f"cannot write to the run directory {self.run_dir}: {error.strerror or error}; choose another or free space"
            ) from error
        self.seconds = lines[-1]["seconds"] if lines else 0.0
        self._mirror = _open_tensorboard(self.run_dir, lines, self.message) if tensorboard else None

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the live line and closes the files; a second call does nothing."""
        self._end_live_line()
        with suppress(OSError):  # what a full disk refused was already reported by `metrics`
            self._file.close()
        if self._mirror is not None:
            self._mirror.close()

    def metrics(self, images: int, step: int, metrics: Mapping[str, Any], seconds: float) -> None:
        """Appends one line to metrics.jsonl, handed to the operating system at once, and mirrors it to TensorBoard.

        Args:
          images, step: `State.images`, `State.step` after the round measured.
          metrics: scalars by name. Non-finite ones are written as "NaN", "Infinity", "-Infinity", which JSON has no numbers for.
          seconds: training time since the run began, over all its sessions (see `seconds`): a clock, not a duration.
        """
        values = {name: float(value) for name, value in metrics.items()}
        written = {name: _json_number(value) for name, value in values.items()}
        line = {
            "images": int(images),
            "step": int(step),
            "metrics": written,
            "seconds": round(float(seconds), 3),
        }
        try:
            self._file.write(json.dumps(line, allow_nan=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise RunError(
                f"cannot write {self._file.name}: {error.strerror or error}; free space and run the same command again"
            ) from error
        self.seconds = float(seconds)
        if self._mirror is not None:
            self._mirror.scalars(values, int(images))

    def grid(self, images: int, array: Any) -> Path:
        """Saves `array` [rows, columns, H, W, C] in [-1, 1] as samples/<images>.png (see `images.tile`), whole or not at all, and mirrors it."""
        array = np.asarray(array)
        sheet = tile(array)
        note = f"channels 1 to 3 of {array.shape[-1]} are shown" if array.shape[-1] > 4 else ""
        path = write_whole(
            self.run_dir / SAMPLES_FOLDER / f"{int(images):08d}.png", encode_png(sheet, note)
        )
        if note and not self._noted:
            self._noted = True
            self.message(f"sample sheets: {note}, as red, green and blue")
        if self._mirror is not None:
            self._mirror.sheet(path, int(images))
        return path

    def progress(
        self,
        images: int,
        total: int,
        metrics: Mapping[str, Any],
        images_per_second: float,
        eta: float | None,
    ) -> None:
        """The one progress line: redrawn in place on a terminal, else a plain line every `LINE_SECONDS`; the last (images >= total) always.

        Args:
          metrics: shown in this order, as many as fit. eta: seconds left, None or non-finite while unknown.
        """
        live, now = self._stream.isatty(), time.monotonic()
        if not self._progress or (
            now - self._shown_at < (REDRAW_SECONDS if live else LINE_SECONDS) and images < total
        ):
            return
        self._shown_at = now
        columns = shutil.get_terminal_size((120, 24)).columns - 1 if live else 0
        line = progress_line(images, total, metrics, images_per_second, eta, columns)
        if live:
            self._stream.write("\r" + line.ljust(self._live_width))
            self._live_width = len(line)
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def message(self, text: str) -> None:
        """Shows `text` on a line of its own, above the live line."""
        self._end_live_line()
        self._stream.write(text + "\n")
        self._stream.flush()

    def _end_live_line(self) -> None:
        if self._live_width:
            self._stream.write("\n")
            self._stream.flush()
            self._live_width = 0


def progress_line(
    images: int,
    total: int,
    metrics: Mapping[str, Any],
    images_per_second: float,
    eta: float | None,
    columns: int = 0,
) -> str:
    """One line whose parts keep their width from call to call; with `columns` > 0, only as many metrics as fit (and never longer than that)."""
    width = len(f"{total:,}")
    share = 100 * images // max(total, 1)
    line = f"{images:>{width},} / {total:,} images {share:>3}%  {images_per_second:>9,.1f} images/s  {_clock(eta):>9} left"
    for name, value in metrics.items():
        part = f"  {name} {float(value):>10.4g}"
        if columns and len(line) + len(part) > columns:
            break
        line += part
    return line[:columns] if columns else line


def _clock(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds):
        return "-:--:--"
    whole = max(0, round(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


# ------------------------------------------------------------------------------------------------------------------- reading


def read_metrics(run_dir: Path | str) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl: {"images": int, "step": int, "metrics": {name: float, may be NaN}, "seconds": float}, in file order.

    What is not such a line (the torn end of a killed or still writing process) is passed over; no file, no lines.
    Raises `RunError` if the file cannot be read.
    """
    path = Path(run_dir) / METRICS_FILE
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(
            f"cannot read {path}: {error.strerror or error}; permit reading it, or move it away"
        ) from error
    return [line for line in map(_parsed, text.split("\n")) if line is not None]


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
        metrics = {name: _metric(value) for name, value in line["metrics"].items()}
        images, step, seconds = line["images"], line["step"], float(line["seconds"])
        "".join(
            metrics
        ).encode()  # half a surrogate pair, which JSON can spell, could never be written again
        if not (_is_count(images) and _is_count(step) and 0 <= seconds < math.inf):
            return None
        return {"images": images, "step": step, "metrics": metrics, "seconds": seconds}
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None


def _metric(value: Any) -> float:
    if isinstance(value, str) and value not in _WORDS:
        raise ValueError(f"{value!r} is no metric")
    return float(value)


def _is_count(value: Any) -> bool:
    """Whether `State` could count it: an int32 from 0."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def read_samples(run_dir: Path | str) -> list[tuple[int, Path]]:
    """(images, path) of every sample sheet, earliest first."""
    folder = Path(run_dir) / SAMPLES_FOLDER
    return sorted(
        (int(path.stem), path)
        for path in folder.glob("*.png")
        if re.fullmatch(r"[0-9]+", path.stem)
    )


_WORDS = ("NaN", "Infinity", "-Infinity")
"""What JSON has no numbers for."""


def _json_number(value: float) -> float | str:
    return (
        value
        if math.isfinite(value)
        else _WORDS[0]
        if math.isnan(value)
        else _WORDS[1]
        if value > 0
        else _WORDS[2]
    )


# ---------------------------------------------------------------------------------------------------------------- truncation


def _truncate(run_dir: Path, resume_images: int) -> list[dict[str, Any]]:
    """Removes everything past `resume_images` and all events; returns the metric lines that stay (their text is kept byte for byte)."""
    path = run_dir / METRICS_FILE
    kept: list[dict[str, Any]] = []
    if path.exists():
        content = path.read_bytes()
        texts = []
        for text in content.split(b"\n"):
            line = _parsed(text.decode("utf-8", errors="replace"))
            if line is not None and line["images"] <= resume_images:
                kept.append(line)
                texts.append(text + b"\n")
        if b"".join(texts) != content:
            write_whole(path, b"".join(texts))
    _truncate_results(run_dir / RESULTS_FILE, resume_images)
    truncate_notes(run_dir, resume_images)
    for images, sheet in read_samples(run_dir):
        if images > resume_images:
            sheet.unlink()
    written = [f".{name}.tmp" for name in (METRICS_FILE, RESULTS_FILE, "report.html")]
    for pattern in (
        f"{SAMPLES_FOLDER}/.*.png.tmp",
        *written,
        f"{TENSORBOARD_FOLDER}/events.out.tfevents.*",
    ):
        for leftover in run_dir.glob(pattern):
            leftover.unlink()
    return kept


def _truncate_results(path: Path, resume_images: int) -> None:
    """Removes results of checkpoints past `resume_images`, and a torn last line."""
    if not path.exists():
        return
    content, texts = path.read_bytes(), []
    for text in content.split(b"\n"):
        with suppress(ValueError, AttributeError, TypeError, RecursionError):
            if (json.loads(text).get("checkpoint") or 0) <= resume_images:
                texts.append(text + b"\n")
    if b"".join(texts) != content:
        write_whole(path, b"".join(texts))


# --------------------------------------------------------------------------------------------------------------- TensorBoard


def _open_tensorboard(
    run_dir: Path, lines: list[dict[str, Any]], say: Callable[[str], None]
) -> Mirror | None:
    """A copy that already holds `lines` and the sheets on disk; None where tensorboardX is not installed.

    Rebuilt rather than purged: `purge_step` only asks the viewer to hide the old events, and a killed run loses those not yet written.
    """
    try:
        mirror = Mirror(run_dir / TENSORBOARD_FOLDER, say)
    except ImportError:
        return None
    # Times are guessed so that they keep their distances: the last line is taken to be written just now.
    end = time.time() - (lines[-1]["seconds"] if lines else 0.0)
    for line in lines:
        mirror.scalars(line["metrics"], line["images"], end + line["seconds"])
    for images, path in read_samples(run_dir):
        mirror.sheet(path, images, path.stat().st_mtime)
    return mirror
