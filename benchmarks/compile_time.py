"""Seconds to trace and compile a training step, cold and from the persistent cache: `python -m benchmarks.compile_time`.

    python -m benchmarks.compile_time                                     every preset of every family, without allocating anything
    python -m benchmarks.compile_time --families stylegan spade --presets digits
    python -m benchmarks.compile_time --families pix2pix --presets maps --dtype bfloat16 --cache programs

Nothing is run, so that any preset fits any machine. Presets of equal step (config and batch) are measured once. The cached time is what a second start with
--compilation-cache pays: it traces again, and reads the program instead of compiling it. With --cache the programs are kept, for a benchmark that follows with
JAX_COMPILATION_CACHE_DIR of that folder and need not compile on a device that is rented by the minute.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from benchmarks import cases, record
from experiments.support.common import one_sentence_errors
from jaxgan import optim, parallel
from jaxgan.errors import require

NAME = "compile_time"
TARGET = 60.0
"""Seconds that no preset's step should take to compile on two cores."""


@contextmanager
def cache(folder: str | Path) -> Iterator[None]:
    """The persistent cache in `folder`, of programs however quick to compile; afterwards as before."""
    names = (
        "jax_compilation_cache_dir",
        "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes",
    )
    before = {name: getattr(jax.config, name) for name in names}
    for name, value in zip(names, (str(folder), 0.0, -1), strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


@contextmanager
def cache_hits() -> Iterator[list[str]]:
    """A list that grows by one with every program read from the persistent cache."""
    hits: list[str] = []
    listening = [True]

    def listen(event: str, **_: Any) -> None:
        if listening[0] and event == "/jax/compilation_cache/cache_hits":
            hits.append(event)

    jax.monitoring.register_event_listener(listen)
    try:
        yield hits
    finally:
        listening[0] = False  # JAX has no public way to take a listener away


def lowered(case: cases.Case, inputs: Any) -> Any:
    """The step of a case, traced and lowered."""
    step: Any = parallel.jit_step(case.family, case.config)
    return step.lower(*inputs)


def measure(case: cases.Case, kept: Path | None = None) -> dict[str, Any]:
    """trace_s, compile_s, and cached_s, to read it from the cache: of the step of a case, donated as training does. The program is kept in `kept`."""
    inputs = cases.arguments(case)
    with (
        nullcontext(kept) if kept is not None else tempfile.TemporaryDirectory() as folder,
        cache(folder),
    ):
        traced, trace_seconds = clocked(lambda: lowered(case, inputs))
        _, compile_seconds = clocked(traced.compile)
        jax.clear_caches()
        again = lowered(case, inputs)
        with cache_hits() as hits:
            _, cached_seconds = clocked(again.compile)
    seconds = {"trace_s": trace_seconds, "compile_s": compile_seconds, "cached_s": cached_seconds}
    rounded = {name: round(value, 2) for name, value in seconds.items()}
    return {
        "name": case.name,
        "image_size": list(case.config.image_size),
        "images": case.images,
        **rounded,
        "from_cache": bool(hits),
    }


def clocked(work: Callable[[], Any]) -> tuple[Any, float]:
    """(its result, seconds it took)."""
    begin = time.perf_counter()
    result = work()
    return result, time.perf_counter() - begin


def different(families: list[str], presets: list[str], dtype: str = "") -> list[cases.Case]:
    """The presets of these families, or those named, one of each step: schedules are numbers in a program that is otherwise the same. dtype: of the networks,
    instead of each preset's.
    """
    chosen: dict[Any, cases.Case] = {}
    for family in families:
        for preset in cases.presets(family):
            if not presets or preset in presets:
                case = cases.case(family, preset, dtype=dtype)
                chosen.setdefault((family, without_schedules(case.config), case.batch_size), case)
    require(chosen, f"no preset of {', '.join(families)} is named {' or '.join(presets)}")
    return list(chosen.values())


def without_schedules(config: Any) -> Any:
    """A config whose optimisers decay over the same images."""
    optimizers = {
        name: value for name, value in vars(config).items() if isinstance(value, optim.Optimizer)
    }
    change = functools.partial(dataclasses.replace, constant_images=0)
    return dataclasses.replace(
        config,
        **{
            name: change(each, decay_images=min(each.decay_images, 1))
            if each.decay_images
            else each
            for name, each in optimizers.items()
        },
    )


def main(arguments: list[str] | None = None) -> None:
    """Parse options, measure, print a table, append to the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--families", nargs="+", default=list(cases.FAMILIES))
    parser.add_argument("--presets", nargs="+", default=[], help="only presets of these names")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="",
        help="of the networks; the presets' if left out",
    )
    parser.add_argument(
        "--cache", type=Path, help="an empty or new folder that keeps the compiled programs"
    )
    parser.add_argument(
        "--out", type=Path, default=record.RESULTS, help="folder of the results files"
    )
    options = parser.parse_args(arguments)
    with one_sentence_errors():
        if options.cache is not None and options.cache.exists():
            empty = options.cache.is_dir() and not any(options.cache.iterdir())
            require(
                empty,
                f"--cache {options.cache} is not an empty folder, and the times would be of reading: choose a new one",
            )
        print(f"{'':<26}{'images':>8}{'trace s':>10}{'compile s':>11}{'from cache s':>14}")
        for case in different(options.families, options.presets, options.dtype):
            line = record.append(
                NAME,
                measure(case, options.cache),
                record.provenance(case.config, batch=case.batch_size),
                options.out,
            )
            late = f"  more than {TARGET:.0f} s" if line["compile_s"] > TARGET else ""
            cached = f"{line['cached_s']:.2f}" if line["from_cache"] else "not cached"
            print(
                f"{case.name:<26}{case.images:>8}{line['trace_s']:>10.2f}{line['compile_s']:>11.2f}{cached:>14}{late}",
                flush=True,
            )


if __name__ == "__main__":
    main()
