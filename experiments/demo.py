"""Train a class-conditional GAN on real handwritten digits, look at it, and have it judged: `make demo`, or `python -m experiments.demo`.

Offline, under 90 seconds of training on two cores. The recipe is the preset `digits` of `experiments.cgan`; the judge is
`experiments.support.digit_score`, which knows nothing of the generator. Exit status: 0 if the digits pass, 1 if not.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments import cgan
from experiments.sample import draw
from experiments.support import common, digit_score


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, print where to look and how the digits were judged; leave with status 1 if they fail."""
    chosen = _parser().parse_args(arguments)
    with common.one_sentence_errors():
        if chosen.fresh and chosen.run.is_dir():
            _remove_run(chosen.run)
        flags = ["--run", str(chosen.run), "--seed", str(chosen.seed)]
        if chosen.images:
            flags += ["--images", str(chosen.images)]
        preset, options, config = common.parse(cgan.cgan, cgan.PRESETS, __doc__, flags)
        options, config, train_set = common.prepare(preset, options, config, flags)
        began = time.perf_counter()
        state = common.train(cgan.cgan, options, config, train_set)
        seconds = time.perf_counter() - began
        if int(state.images) < options.images:  # a signal: training has said so
            sys.exit(130)
        result = judge(config, state, train_set)
        failures = digit_score.verdict(result)
    print(report(chosen.run, seconds, result, failures))
    sys.exit(1 if failures else 0)


def judge(config: Any, state: Any, train_set: Any) -> digit_score.Score:
    """The score of 1,000 digits, 100 of each class, against the digits trained on and those of the split "test"."""
    from jaxgan import data

    labels = np.arange(digit_score.COUNT, dtype=np.int32) % config.classes
    images = draw(cgan.cgan, config, state, digit_score.COUNT, labels, seed=0)
    train, held_out = train_set.arrays, data.open("digits", split="test").arrays
    return digit_score.score(
        images, labels, train["image"], train["label"], held_out["image"], held_out["label"]
    )


def report(run: Path, seconds: float, score: digit_score.Score, failures: Sequence[str]) -> str:
    """What the demo prints at the end."""
    grids = sorted((run / "samples").glob("*.png"))
    lines = [
        "",
        f"training took {seconds:.0f} s, compilation included",
        f"sample grid  {grids[-1] if grids else run / 'samples'}",
        f"report       {run / 'report.html'}",
        "",
        f"{score.count} new digits, judged by a classifier that saw only real ones (right about {score.classifier_accuracy:.1%} of held-out digits):",
        f"  read as the class asked for          {score.accuracy:6.1%}   at least {digit_score.MIN_ACCURACY:.0%}",
        f"  different nearest training images    {score.distinct_neighbours:6d}   at least {digit_score.MIN_DISTINCT}",
        f"  distance to them, new real digits 1  {score.ratio:6.2f}   at least {digit_score.MIN_RATIO}",
        "",
        *(f"FAILED: {failure}" for failure in failures),
    ]
    return "\n".join(
        lines
        if failures
        else [*lines, f"PASSED. Draw more: python -m experiments.sample {run} --labels all --n 100"]
    )


def _remove_run(run: Path) -> None:
    """Removes a run directory; refuses any other folder."""
    from jaxgan.errors import RunError

    if not (run / "config.json").is_file() and any(path.name != ".lock" for path in run.iterdir()):
        raise RunError(f"{run} holds something else than a run: choose another folder with --run")
    shutil.rmtree(run)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.demo", description=(__doc__ or "").strip().split("\n\n")[0]
    )
    parser.add_argument(
        "--run", type=Path, default=Path("runs/demo"), help="run directory (default: runs/demo)"
    )
    parser.add_argument(
        "--seed", type=common.seed, default=0, help="decides everything drawn (default: 0)"
    )
    parser.add_argument(
        "--images",
        type=int,
        default=0,
        help="train on this many images instead of the preset's number",
    )
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="start again even if the run directory holds a finished or interrupted run",
    )
    return parser


if __name__ == "__main__":
    main()
