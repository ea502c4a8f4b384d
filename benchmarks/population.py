"""n GANs in one program by `vmap` against n runs one after another: `python -m benchmarks.population`.

The training loop of `examples.population`, compiled beforehand in both forms, which take turns.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import record, timing
from examples import population as embed_population
from experiments.support.common import one_sentence_errors
from jaxgan.errors import require

NAME = "population"


def measure(
    members: int, steps: int, batch_size: int = 64, repetitions: int | None = None
) -> dict[str, Any]:
    """Train `members` GANs for `steps` steps in both forms.

    Returns: milliseconds of one step of all members, `vmap_...` and `alone_...`, and the `ratio` alone / vmap with its spread: how many times faster
    the population is.
    """
    train = embed_population.member(steps, batch_size)
    together, alone = jax.jit(jax.vmap(train)), jax.jit(train)
    seeds = [jnp.int32(seed) for seed in range(members)]
    stacked = jnp.arange(members)
    seconds = timing.interleave(
        {"vmap": lambda: together(stacked), "alone": lambda: [alone(seed) for seed in seeds]},
        repetitions,
    )
    found: dict[str, Any] = {
        "name": "cgan of embed_population",
        "members": members,
        "steps": steps,
        "batch": batch_size,
    }
    for form, each in seconds.items():
        found |= {f"{form}_{name}": value for name, value in timing.summary(each, steps).items()}
    return found | timing.ratio(seconds["alone"], seconds["vmap"])


def main(arguments: list[str] | None = None) -> None:
    """Parse options, measure, print a table, append to the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--members", nargs="+", type=int, default=[2, 8, 32], help="sizes of the population"
    )
    parser.add_argument("--steps", type=int, default=20, help="steps of one call")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument(
        "--repetitions",
        type=int,
        default=0,
        help="timed calls of each form; 0 for 30, or 10 where one takes over 2 s",
    )
    parser.add_argument(
        "--out", type=Path, default=record.RESULTS, help="folder of the results files"
    )
    options = parser.parse_args(arguments)
    with one_sentence_errors():
        require(
            min(*options.members, options.steps, options.batch) >= 1,
            "--members, --steps and --batch must be at least 1",
        )
        print(
            f"{'members':>8}{'vmap ms':>10}{'p10':>9}{'p90':>9}{'alone ms':>10}{'p10':>9}{'p90':>9}{'alone / vmap':>22}"
        )
        for members in options.members:
            where = record.provenance(embed_population.CONFIG, batch=options.batch)
            line = record.append(
                NAME,
                measure(members, options.steps, options.batch, options.repetitions or None),
                where,
                options.out,
            )
            columns = "".join(
                f"{line[f'{form}_{name}']:>{width}.2f}"
                for form in ("vmap", "alone")
                for name, width in COLUMNS
            )
            print(
                f"{members:>8}{columns}{line['ratio']:>8.2f} ({line['ratio_p10']:.2f} to {line['ratio_p90']:.2f})",
                flush=True,
            )


COLUMNS = (("median_ms", 10), ("p10_ms", 9), ("p90_ms", 9))

if __name__ == "__main__":
    main()
