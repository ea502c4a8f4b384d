"""Evaluation while a run trains: when, what is written, which checkpoint is the best, and when to stop.

Nothing here changes training: the averaged generator is read, with keys of its own. Values go to metrics.jsonl as `eval/fid` and the like, from where a
resumed run knows what was best; results with all they depend on go to evaluations.jsonl, from where it knows how that was measured.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxgan.data import Dataset
from jaxgan.errors import require
from jaxgan.metrics import real, table
from jaxgan.metrics.measure import Evaluator, evaluator, versions
from jaxgan.metrics.result import (
    COMPARED,
    RESULTS_FILE,
    SECONDS,
    Result,
    append_results,
    read_results,
)
from jaxgan.pictures.images import write_whole
from jaxgan.records.checkpoint import BEST_FILE
from jaxgan.records.log import Log, read_metrics
from jaxgan.state import State

SAMPLES = 2_000
"""Images made at each evaluation, where nothing is said."""


class Plan(NamedTuple):
    """How a run is evaluated. every: images between evaluations. keep_best: the metric whose best checkpoint is kept, "" for none. patience: evaluations
    without a better value after which training stops, 0 for never. judged: the metric that both go by.
    """

    measure: Evaluator
    every: int
    keep_best: str
    patience: int
    judged: str


def plan(
    family: ModuleType,
    config: Any,
    dataset: Dataset,
    every: int,
    metrics: Sequence[str],
    network: Any,
    samples: int | None,
    keep_best: str | None,
    patience: int | None,
    held_out: tuple[Dataset, str] | None,
) -> Plan:
    """Settings of `train.run`, checked. Raises ValueError as `metrics.measure.evaluator`, and for a metric to go by that is not measured."""
    images, split = held_out or (dataset, "train")
    chosen = tuple(metrics) or table.chosen(
        (), table.offered(family, config, images), table.mode(family, config, images), ""
    )
    require(
        not keep_best or keep_best in chosen,
        f"keep_best must be one of the metrics measured, {', '.join(chosen)}, got {keep_best!r}",
    )
    require(
        patience is None or patience >= 0,
        f"patience must be at least 1 evaluation, or 0 for never, got {patience}",
    )
    options: dict[str, Any] = {
        "network": network or None,
        "samples": samples or SAMPLES,
        "split": split,
    }
    measure = evaluator(
        family, config, images, chosen, train=dataset if held_out else None, **options
    )
    return Plan(
        measure, every, keep_best or "", patience or 0, keep_best or (chosen[0] if chosen else "")
    )


def refuse_without(every: int | None, **options: Any) -> None:
    """Raise ValueError for options of evaluation where nothing is evaluated."""
    given = [name for name, value in options.items() if value]
    require(
        every or not given,
        f"{', '.join(given)} mean something only with evaluate_every, the images between evaluations",
    )


def held_out_of(dataset: Dataset, **form: Any) -> tuple[Dataset, str] | None:
    """Images that are not trained on and the name of their split, at the size of `dataset`; None where its source has none. See `metrics.real`.

    Of "val" rather than "test", where there are both: the best checkpoint is chosen by them, and test images are for what is said of it afterwards.
    """
    return real.open_like(dataset, **form)


# -------------------------------------------------------------------------------------------------------------- while training


def curves(results: Sequence[Result]) -> dict[str, float]:
    """What metrics.jsonl is told: `eval/NAME` of each metric, of several directions or domains each, and then their mean; classes are left out."""
    found: dict[str, float] = {}
    for metric in dict.fromkeys(one.metric for one in results):
        some = [one for one in results if one.metric == metric and "class " not in one.subject]
        if len(some) > 1:
            found |= {f"eval/{metric}_{one.subject.replace(' ', '_')}": one.value for one in some}
        if some:
            found[f"eval/{metric}"] = float(np.mean([one.value for one in some]))
    return found


def _manner(one: Result) -> tuple[Any, ...]:
    """How a result was measured: what must be equal for values to compare."""
    return tuple(getattr(one, name) for name in COMPARED if name != "metric")


class Evaluation:
    """The evaluations of one run: those of before, from its log, and new ones. Process 0 measures; all processes know what came of it.

    best: images at the best value so far, None where there is none. exhausted: whether training should stop.

    Args:
      log: None in processes other than 0. saved: numbers of the checkpoints there are. A best value whose checkpoint was not kept does not count.
    """

    def __init__(self, plan: Plan, run_dir: Path, log: Log | None, saved: Sequence[int] = ()):
        self.plan, self._path, self._log = plan, run_dir, log
        name = f"eval/{plan.judged}"
        lines = (
            []
            if log is None
            else [line for line in read_metrics(run_dir) if name in line["metrics"]]
        )
        self._values = {line["images"]: line["metrics"][name] for line in lines}
        self._lost: set[int] = set()
        done = [
            one
            for one in ([] if log is None else read_results(run_dir / RESULTS_FILE))
            if one.metric == SECONDS
        ]
        self._seconds = sum(one.value for one in done)
        self._measured = {
            one.checkpoint: _manner(one) for one in done if one.checkpoint is not None
        }
        for images in (
            self._measured
        ):  # where the figure could not be told, that evaluation was not a better one
            self._values.setdefault(images, math.nan)
        if self._measured:
            self._values = self._alike(self._measured[max(self._measured)])
        self._lost = (
            {images for images in self._values if images not in saved}
            if self._best()[0] not in saved
            else set()
        )
        self._agree()
        if log is not None and plan.keep_best:
            self._write_best(self.best)

    def due(self, images: int, total: int) -> bool:
        """Whether to evaluate after so many images."""
        return images % self.plan.every == 0 or images >= total

    def __call__(self, state: State, step: int, images: int, seconds: float) -> bool:
        """Evaluate, and write what was found; whether this is the best so far.

        Args:
          state: on one device or several. seconds: the run's clock.
        """
        if self._log is not None:
            began = time.monotonic()
            part = State(state.step, state.images, {}, state.ema, {})
            results = self.plan.measure(jax.tree.map(lambda leaf: leaf.addressable_data(0), part))
            values, taken = curves(results), time.monotonic() - began
            self._seconds += taken
            self._log.metrics(images, step, values, seconds + taken)
            unknown = Result("", 0.0, checkpoint=images, versions=versions())
            judged = next(
                (one for one in results if one.metric == self.plan.judged),
                next(iter(results), unknown),
            )
            cost = replace(
                judged,
                metric=SECONDS,
                value=taken,
                standard_error=None,
                floor=None,
                floor_counts=(),
                subject="",
            )
            append_results(self._path / RESULTS_FILE, [*results, cost])
            self._begin_anew(_manner(cost))
            self._measured[images] = _manner(cost)
            share = self._seconds / max(seconds + taken, 1e-9)
            text = ", ".join(
                f"{name.removeprefix('eval/')} {value:.4g}" for name, value in values.items()
            )
            self._log.message(
                f"evaluated at {images:,} images in {taken:.1f} s ({share:.1%} of the time so far): {text}"
            )
            self._values[images] = values.get(f"eval/{self.plan.judged}", math.nan)
        self._agree()
        return self.best == images

    def _begin_anew(self, manner: tuple[Any, ...]) -> None:
        """Forget values that were measured in another way, by an earlier session: they do not compare."""
        alike = self._alike(manner)
        if len(alike) < len(self._values) and self._log is not None:
            self._log.message(
                f"{self.plan.judged} was measured in another way before (samples, data or network): what is best is looked for from here on"
            )
        self._values = alike

    def _alike(self, manner: tuple[Any, ...]) -> dict[int, float]:
        """The values that were measured in this way."""
        return {
            images: value
            for images, value in self._values.items()
            if self._measured.get(images) == manner
        }

    @property
    def latest(self) -> dict[str, float]:
        """The newest value of the metric to go by, under its name; {} before the first."""
        return {self.plan.judged: self._values[max(self._values)]} if self._values else {}

    def record(self) -> None:
        """Note the best checkpoint, once it is complete."""
        if self._log is not None:
            self._write_best(self.best)

    def said(self) -> str:
        """Why training stops."""
        plan, best = self.plan, self._turn
        return (
            f"stopped early: {plan.judged} has not become better in {plan.patience} evaluations since {best or 0:,} images; to go on, raise patience, "
            f"or leave it out"
        )

    def _agree(self) -> None:
        """What is best and whether to stop, as process 0 sees it, in every process."""
        best, (self._turn, since) = self._best()[0], self._patience()
        told = np.array(
            [
                -1 if best is None else best,
                bool(self.plan.patience) and since >= self.plan.patience,
            ],
            np.int32,
        )
        if jax.process_count() > 1:
            told = np.asarray(multihost_utils.broadcast_one_to_all(told))
        self.best = None if told[0] < 0 else int(told[0])
        self.exhausted = bool(told[1])

    def _best(self) -> tuple[int | None, int]:
        """(images at the best value, evaluations since), of those whose checkpoint can still be the best one kept."""
        lost = self._lost if self.plan.keep_best else set()
        return self._best_of(
            {images: value for images, value in self._values.items() if images not in lost}
        )

    def _patience(self) -> tuple[int | None, int]:
        """The same for `patience`: whichever checkpoints are left, and without evaluations that a session made only because it ended there."""
        return self._best_of(
            {
                images: value
                for images, value in self._values.items()
                if images % self.plan.every == 0
            }
        )

    def _best_of(self, values: dict[int, float]) -> tuple[int | None, int]:
        """(images at the best value, evaluations since). The first of equal values counts; values that are not finite never do."""
        sign = 1 if not self.plan.judged or table.METRICS[self.plan.judged].lower else -1
        best: tuple[float, int] | None = None
        since = 0
        for images, value in sorted(values.items()):
            since += 1
            if math.isfinite(value) and (best is None or sign * value < best[0]):
                best, since = (sign * value, images), 0
        return (None if best is None else best[1]), since

    def _write_best(self, best: int | None) -> None:
        path = self._path / BEST_FILE
        if best is None:
            path.unlink(missing_ok=True)
            return
        content = {"images": best, "metric": self.plan.keep_best, "value": self._values[best]}
        write_whole(path, (json.dumps(content) + "\n").encode())
