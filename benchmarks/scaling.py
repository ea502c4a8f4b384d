"""One step over 1, 2, 4 and 8 devices, `pmap` against a mesh under `jit`: `python -m benchmarks.scaling`.

    python -m benchmarks.scaling                                          virtual devices where there is one CPU: equality and overhead
    python -m benchmarks.scaling --family stylegan --preset paper256 --batch 8 --devices 1 2 4 8

Weak scaling: the batch of each device stays, so that on real devices the time should. Virtual devices share the cores of one CPU, so there n of them are
held against n times the work of one. Both forms are timed in turns. Before that, every number of devices plays one step on the same global batch; the largest
relative difference of its losses to one device's is the column `difference`.

The column `split` is how the work is divided: FLOPs of the compiled step on one device over FLOPs of
each of n devices, for the same global batch. n would be perfect. Below `LEAST_SPLIT` x n devices
repeat each other's work, and the command says so and leaves with status 1.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import cases, record, timing
from experiments.support.common import one_sentence_errors
from jaxgan import parallel
from jaxgan.errors import require

NAME = "scaling"
FORMS = {"mesh": "jit", "pmap": "pmap"}
LEAST_SPLIT = 0.8
"""The line for `split` over the number of devices."""
LEAST_SPLIT_OF_SMALL = 0.55
"""The line for gan and cgan: on digits they are mostly optimiser, which every device runs in full."""


def first_losses(case: cases.Case, kind: str, devices: int) -> dict[str, float]:
    """The losses of one step from the fresh state on the case's global batch."""
    step = cases.mapped(case, kind, devices)
    _, metrics = step(fresh(case), cases.random_batch(case), jax.random.key(1))
    return {name: float(value) for name, value in metrics.items() if name.endswith("_loss")}


def fresh(case: cases.Case) -> Any:
    """A new state."""
    return cases.initial_state(case.family, case.config)


def difference(found: dict[str, float], expected: dict[str, float]) -> float:
    """The largest difference of two sets of losses, relative to the expected."""
    return max(abs(found[name] - value) / max(abs(value), 1e-6) for name, value in expected.items())


def times(case: cases.Case, devices: int, repetitions: int | None) -> dict[str, list[float]]:
    """Seconds of a step in each form, in turns."""
    return timing.interleave(
        {name: caller(case, kind, devices) for name, kind in FORMS.items()},
        repetitions,
        multiple=cases.period(case.config),
        least_seconds=0.5,
    )


def flops_per_device(family: Any, config: Any, batch_size: int, devices: int) -> float:
    """FLOPs that each device does in one compiled step of `jit_step`, by XLA's count."""
    mesh = parallel.data_mesh(jax.devices()[:devices])
    whole, cut = parallel.replicated(mesh), parallel.split(mesh)
    state = jax.eval_shape(partial(family.init, config), jax.random.key(0))
    arguments = (
        state,
        family.batch_spec(config, batch_size),
        jax.eval_shape(lambda: jax.random.key(0)),
    )
    step = parallel.jit_step(family, config, mesh)
    compiled = (
        jax.jit(step, in_shardings=(whole, cut, whole), out_shardings=whole)
        .lower(*arguments)
        .compile()
    )
    costs: Any = compiled.cost_analysis()
    return float(costs["flops"])


def split(case: cases.Case, devices: int) -> float:
    """FLOPs of the case's step on one device over those of each of `devices`; `devices` is perfect."""
    one, each = (
        flops_per_device(case.family, case.config, case.batch_size, n) for n in (1, devices)
    )
    return one / each


def least_split(case: cases.Case, devices: int) -> float:
    """The line for `split` of a case."""
    small = case.name.split()[0] in ("gan", "cgan")
    return devices * (LEAST_SPLIT_OF_SMALL if small else LEAST_SPLIT)


def caller(case: cases.Case, kind: str, devices: int) -> timing.Call:
    """A call that plays one step, and goes on from its state the next time; the first one compiles."""
    step, batch, key = (
        cases.mapped(case, kind, devices),
        cases.random_batch(case),
        jax.random.key(1),
    )
    held = [fresh(case)]

    def call() -> Any:
        held[0], _ = step(held[0], batch, key)
        return held[0]

    return call


def measure(
    case: cases.Case, counts: list[int], repetitions: int | None = None
) -> list[dict[str, Any]]:
    """One record for each form and number of devices.

    Args:
      case: its batch is that of each device.

    Returns: times (`timing.summary`), `weak_efficiency` (1 is ideal; see above), `difference`, against the other form `ratio` with its spread, and for the
    mesh `split` and `least_split`, on one device 1 (under pmap each device has its part by construction).
    """
    whole = case._replace(batch_size=case.batch_size * max(counts))
    expected = first_losses(whole, "jit", 1)
    virtual = jax.default_backend() == "cpu"
    base: dict[str, float] = {}
    lines = []
    for count in counts:
        case_now = case._replace(batch_size=case.batch_size * count)
        seconds = times(case_now, count, repetitions)
        shared = {
            "split": round(split(case_now, count), 2),
            "least_split": round(least_split(case, count), 2),
        }
        for form, kind in FORMS.items():
            value = float(
                np.mean(seconds[form])
                if cases.period(case.config) > 1
                else np.median(seconds[form])
            )
            base.setdefault(form, value / counts[0] if virtual else value)
            ideal = base[form] * (count if virtual else 1)
            other = "mesh" if form == "pmap" else "pmap"
            line = {
                "name": case.name,
                "parallel": form,
                "devices": count,
                "virtual": virtual,
                "images": case_now.images,
            }
            line |= {**timing.summary(seconds[form]), "weak_efficiency": round(ideal / value, 3)}
            line |= {
                "difference": float(f"{difference(first_losses(whole, kind, count), expected):.3g}")
            }
            line |= shared if form == "mesh" else {}
            lines.append(line | {"against": other, **timing.ratio(seconds[form], seconds[other])})
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Parse options, measure, print a table, append to the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--family", nargs="+", default=["dcgan"], help="families to measure")
    parser.add_argument("--preset", default="digits")
    parser.add_argument(
        "--batch", type=int, default=8, help="images of one critic turn on each device"
    )
    parser.add_argument(
        "--devices",
        nargs="+",
        type=int,
        default=[1, 2, 4, 8],
        help="numbers of devices; on a CPU they are virtual",
    )
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
            min(options.devices) >= 1, f"--devices must be at least 1, got {min(options.devices)}"
        )
        require(options.batch >= 1, f"--batch must be at least 1, got {options.batch}")
        jax.config.update("jax_num_cpu_devices", max(options.devices))
        numbers = f"{'devices':>8}{'images':>7}{'ms':>10}{'p10':>9}{'p90':>9}"
        print(
            f"{'':<20}{'form':>6}{numbers}{'efficiency':>11}{'difference':>11}{'split':>7}{'time / other form':>24}"
        )
        repeated = []
        for family in options.family:
            case = cases.case(family, options.preset, options.batch)
            where = record.provenance(case.config)
            for line in measure(case, sorted(set(options.devices)), options.repetitions or None):
                place = {
                    **where,
                    "batch": options.batch * line["devices"],
                    "devices": line["devices"],
                }
                record.append(NAME, line, place, options.out)
                spread = f"{line['ratio']:.2f} ({line['ratio_p10']:.2f} to {line['ratio_p90']:.2f})"
                text = f"{line['name']:<20}{line['parallel']:>6}{line['devices']:>8}{line['images']:>7}{line['median_ms']:>10.2f}{line['p10_ms']:>9.2f}"
                cut = f"{line['split']:.2f}" if "split" in line else "-"
                print(
                    text
                    + f"{line['p90_ms']:>9.2f}{line['weak_efficiency']:>11.2f}{line['difference']:>11.1e}{cut:>7}{spread:>24}",
                    flush=True,
                )
                if line.get("split", line["devices"]) < line.get("least_split", 0):
                    repeated.append(
                        f"{line['name']} on {line['devices']} devices ({cut}, at least {line['least_split']:.2f} is expected)"
                    )
            jax.clear_caches()
        if repeated:
            sys.exit("devices repeat each other's work: " + "; ".join(repeated))


if __name__ == "__main__":
    main()
