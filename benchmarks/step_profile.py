"""Where the time of a whole training step goes on a CPU, kernel by kernel: `python -m benchmarks.step_profile`.

    python -m benchmarks.step_profile                                       the games of benchmarks.against_pytorch, at sizes for a CPU
    python -m benchmarks.step_profile --families dcgan --size 64 --batch 16

The program is run under JAX's profiler as often as `--repetitions` says, and the fastest run is shown. A kernel is what XLA runs as one: a convolution or
matrix product, with what is fused into it, or other work. Kernels may run beside each other on different cores; then each has only a part of them, and its
rate is that of this part. Lazy regularisation is weighted as often as it occurs. Appends one line a game to benchmarks/results/step_profile.jsonl, and one
line a kind of convolution or matrix product to benchmarks/results/step_kernels.jsonl.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import kernels, record, timing
from benchmarks.against_pytorch import chosen
from benchmarks.kernels import Interval, Product
from benchmarks.pytorch_cases import Case, config_of, kinds
from experiments.support.common import one_sentence_errors
from experiments.support.memory import keep_freed
from jaxgan import cgan, cyclegan, dcgan, parallel, pix2pix, spade, stargan, stylegan
from jaxgan.errors import require
from jaxgan.nn.convolution import SCOPE

NAME, KERNELS = "step_profile", "step_kernels"
FAMILIES = {
    "cgan": cgan,
    "dcgan": dcgan,
    "pix2pix": pix2pix,
    "cyclegan": cyclegan,
    "stargan": stargan,
    "spade": spade,
    "stylegan": stylegan,
}
OTHERS = 6
"""Kinds of other kernels that are named."""


def profile(
    case: Case, repetitions: int
) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """(what is told of a step, what is told of each kind of convolution or matrix product in it, where it was measured)."""
    family, config = FAMILIES[case.family], config_of(case.family, case.size)
    call, program = _step(family, config, case.batch)
    names, products = kernels.products(program)
    of = kinds(config)
    total = sum(weight for _, weight in of)
    seen, alone, watched = [], 0.0, 0.0
    for kind, weight in of:
        share = weight / total
        alone += share * min(timing.repeat(partial(call, kind), repetitions))
        intervals, seconds = min(
            (kernels.kernel_times(partial(call, kind), names) for _ in range(repetitions)),
            key=lambda run: run[1],
        )
        watched += share * seconds
        seen.append((share, intervals))
    place = {"name": case.name, "family": case.family, "image_size": [case.size, case.size]}
    told = {
        **place,
        "ms": 1e3 * alone,
        "watched_ms": 1e3 * watched,
        **summary(seen, products, kernels.scoped(program, SCOPE), watched),
    }
    return (
        told,
        [place | line for line in by_kind(seen, products)],
        record.provenance(config, batch=case.batch),
    )


def _step(family: Any, config: Any, batch_size: int) -> tuple[Callable[[int | None], Any], str]:
    """(makes one step of a kind, see `kinds`; the text of the compiled program)."""
    from benchmarks.cases import Case as Preset
    from benchmarks.cases import initial_state, random_batch

    held = [initial_state(family, config)]
    batch, key = random_batch(Preset("", family, config, batch_size, 1)), jax.random.key(1)
    step: Any = parallel.jit_step(family, config)
    compiled = step.lower(held[0], batch, key).compile()

    def call(kind: int | None) -> Any:
        state = held[0] if kind is None else held[0].replace(step=jnp.int32(kind))
        held[0], _ = compiled(state, batch, key)
        return held[0]

    return call, compiled.as_text()


def summary(
    seen: Sequence[tuple[float, Sequence[Interval]]],
    products: Mapping[str, Product],
    scoped: Set[str],
    seconds: float,
) -> dict[str, Any]:
    """Shares of a step's seconds in which certain kernels run, beside others or not, and the longest kinds of those that are no products, in milliseconds.

    product_share: convolutions and matrix products. convolution_share: these and what belongs to a convolution, as laying images out for it. busy_share: any.

    Args:
      seen: kernels of each kind of round, with its share of the rounds.
      scoped: kernels that belong to convolutions.
    """

    def share_of(chosen: Callable[[str], bool]) -> float:
        return (
            1e-9
            * sum(
                share * kernels.covered([one for one in intervals if chosen(one.name)])
                for share, intervals in seen
            )
            / seconds
        )

    shares = {
        "product_share": share_of(lambda name: name in products),
        "convolution_share": share_of(lambda name: name in products or name in scoped),
    }
    others: dict[str, float] = defaultdict(float)
    for share, intervals in seen:
        for one in intervals:
            if one.name not in products:
                others[re.sub(r"(\.\w+)+$", "", one.name)] += share * (one.end - one.begin)
    longest = sorted(others.items(), key=lambda pair: -pair[1])[:OTHERS]
    return shares | {
        "busy_share": share_of(bool),
        "others_ms": {name: round(1e-6 * time, 3) for name, time in longest},
    }


def by_kind(
    seen: Sequence[tuple[float, Sequence[Interval]]], products: Mapping[str, Product]
) -> list[dict[str, Any]]:
    """Of every kind of convolution or matrix product: how many a mean step has, milliseconds of all and their share of the sum, operations
    of one, and the rate. The longest come first.
    """
    count: dict[Product, float] = defaultdict(float)
    time: dict[Product, float] = defaultdict(float)
    for share, intervals in seen:
        for one in intervals:
            if one.name in products:
                count[products[one.name]] += share
                time[products[one.name]] += share * (one.end - one.begin)
    rates = {kind: count[kind] * kind.flops / (1e-9 * own) for kind, own in time.items() if own}
    whole, lines = sum(time.values()), []
    for kind, rate in rates.items():
        line = {
            "kernel": kind.what,
            "count": round(count[kind], 3),
            "ms": 1e-6 * time[kind],
            "share": time[kind] / whole,
        }
        lines.append(line | {"flops": kind.flops, "flops_per_s": rate})
    return sorted(lines, key=lambda line: -line["ms"])


def table(told: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], most: int = 20) -> str:
    """What was found, as text: the longest `most` kinds."""
    head = (
        f"{told['name']}: {told['ms']:,.1f} ms a step, {told['watched_ms']:,.1f} under the profiler; convolutions and products {told['product_share']:.0%}, "
        f"with what belongs to convolutions {told['convolution_share']:.0%}, any kernel {told['busy_share']:.0%}; others: "
    )
    head += ", ".join(f"{name} {ms:.1f}" for name, ms in told["others_ms"].items())
    rows = [
        f"  {line['ms']:>9.2f} ms {line['count']:>6.4g} x {line['flops_per_s'] / 1e9:>6.0f} GFLOP/s  {line['kernel'][:110]}"
        for line in lines[:most]
    ]
    return "\n".join([head, *rows])


def case_options(text: str | None, repetitions: int) -> argparse.ArgumentParser:
    """The options of a command that measures games of `benchmarks.against_pytorch` on a CPU: those of its `chosen`, and how often."""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(suite="cpu", only=[])
    parser.add_argument("--families", nargs="+", default=[], help="only these")
    parser.add_argument(
        "--size", type=int, default=0, help="side of the images, instead of the suite's"
    )
    parser.add_argument(
        "--batch", type=int, default=0, help="images of a step, instead of the suite's"
    )
    parser.add_argument(
        "--repetitions", type=int, default=repetitions, help="how often each thing is timed"
    )
    parser.add_argument(
        "--out", type=Path, help="folder of the results, instead of benchmarks/results"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse options, measure, print, append to the results."""
    options = case_options(__doc__, 5).parse_args(arguments)
    with one_sentence_errors():
        cases = chosen(options)
        require(options.repetitions > 0, "--repetitions must be above 0")
        keep_freed()
        require(
            jax.default_backend() == "cpu",
            "kernels are told by the names that they have on a CPU: set JAX_PLATFORMS=cpu",
        )
        for case in cases:
            told, lines, where = profile(case, options.repetitions)
            record.append(NAME, told, where, options.out)
            for line in lines:
                record.append(KERNELS, line, where, options.out)
            print(table(told, lines), flush=True)


if __name__ == "__main__":
    main()
