"""Time one training step of every family: `python -m benchmarks.step_time`.

    python -m benchmarks.step_time                                        digits, all ten families
    python -m benchmarks.step_time --suite recipes --dtype bfloat16       a published recipe of each, for an accelerator
    python -m benchmarks.step_time --family cyclegan --preset maps --image-size 128 128
    python -m benchmarks.step_time --family gan cgan --parallel scan      several steps in one dispatch
    python -m benchmarks.step_time --family stylegan --preset auto --image-size 128 128 --augment ada --dtype bfloat16
    python -m benchmarks.step_time --suite recipes --dtype bfloat16 --together 8    compile in eight threads, then time: for a device rented by the minute

Each call is waited for, so what a loop gains by overlapping calls is not in it. Where lazy regularisation makes steps unequal, whole periods are timed and the
mean counts instead of the median. The peak is measured in the same process: a large matrix product in the same dtype, and a copy.

With --together the states and batches of all cases are held at once. On a GPU it may save little, and what a run leaves in JAX_COMPILATION_CACHE_DIR the next
one reads: on an H200 twelve programs, seven beside each other, were not ready after 520 s; eleven of them were after 95 s of the next run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax

from benchmarks import cases, peaks, record, timing
from experiments.support.common import one_sentence_errors
from experiments.support.memory import keep_freed
from jaxgan.errors import require

NAME = "step_time"


class Form(NamedTuple):
    """A case and how its step is mapped: see `cases.mapped`."""

    case: cases.Case
    kind: str = "jit"
    devices: int = 1
    steps: int = 1


class Ready(NamedTuple):
    """What a case is measured with. inputs: state, batch and key. program: gives the compiled step, or None where only the first call compiles it. trace_s:
    seconds in which it was traced. asked: see `cases.arithmetic`.
    """

    step: Any
    inputs: tuple[Any, Any, Any]
    program: Callable[[], Any]
    trace_s: float
    asked: dict[str, int]


def prepare(form: Form, pool: Executor | None = None) -> Ready:
    """Trace the step. With a pool it is being compiled there from now on, without one when `program` is called."""
    case, kind, devices, steps = form
    state, batch, key = (
        cases.initial_state(case.family, case.config),
        cases.random_batch(case),
        jax.random.key(1),
    )
    if kind == "scan":
        batch = {name: jax.numpy.stack([leaf] * steps) for name, leaf in batch.items()}
    step, program, begin = (
        cases.mapped(case, kind, devices, steps),
        lambda: None,
        time.perf_counter(),
    )
    if hasattr(step, "lower"):
        compile_it = step.lower(state, batch, key).compile
        program = compile_it if pool is None else pool.submit(compile_it).result
    return Ready(
        step, (state, batch, key), program, time.perf_counter() - begin, cases.arithmetic(case)
    )


def measure(
    form: Form,
    repetitions: int | None = None,
    peak: dict[str, float] | None = None,
    ready: Ready | None = None,
) -> dict[str, Any]:
    """Compile and time the step of a case; what `benchmarks/results/step_time.jsonl` holds of it.

    Args:
      peak: from `measured_peak`.
      ready: what `prepare` gave for it, if it was called with a pool.

    Returns: compile_s (None with a persistent cache of compiled programs, or compiled in a pool), the times of a step (`timing.summary`), images_per_s, the
    arithmetic of a step (`cases.arithmetic`), flops_compiled and bytes_compiled (what the compiler says of one step; on one device, under jit), temp_bytes and
    argument_bytes (of each device), and shares of the peak of all devices. What is not known is None.
    """
    case, kind, devices, steps = form
    apart = ready is not None
    step, (state, batch, key), compile_it, trace_seconds, asked = ready or prepare(form)
    begin = time.perf_counter()
    program = compile_it()
    compile_seconds = trace_seconds + time.perf_counter() - begin
    run, held = (step if program is None else program), [state]

    def call() -> Any:
        held[0], _ = run(held[0], batch, key)
        return held[0]

    first = timing.seconds_of(call)
    seconds = timing.repeat(
        call, repetitions, least_seconds=0.5, multiple=cases.period(case.config)
    )
    times = timing.summary(seconds, steps)
    usual = times["mean_ms"] if cases.period(case.config) > 1 else times["median_ms"]
    if program is None:
        compile_seconds = max(0.0, first - steps * usual / 1e3)
    # With a persistent cache the program may only have been read.
    unknown = apart or getattr(jax.config, "jax_compilation_cache_dir", None)
    # The compiler counts one device's part of a program that is cut over a mesh, and the body of a loop once.
    known = (
        program_cost(program)
        if kind == "jit" and devices == 1
        else {"flops_compiled": None, "bytes_compiled": None, **memory(program)}
    )
    measured = {
        "name": case.name,
        "parallel": kind,
        "steps_per_call": steps,
        "image_size": list(case.config.image_size),
        "images": case.images,
    }
    measured |= {
        "compile_s": None if unknown else round(compile_seconds, 2),
        **times,
        "images_per_s": round(1e3 * case.images / usual, 1),
        **asked,
        **known,
    }
    real = (
        1 if jax.default_backend() == "cpu" else devices
    )  # virtual devices share what the peak was measured on
    return measured | shares(
        measured,
        usual / 1e3,
        None if peak is None else {name: real * value for name, value in peak.items()},
    )


def program_cost(program: Any) -> dict[str, int | None]:
    """What the compiler says of a program: flops_compiled, bytes_compiled, temp_bytes, argument_bytes."""
    cost = program.cost_analysis() if program is not None else None
    cost = cost[0] if isinstance(cost, list) and cost else cost or {}
    # A GPU's compiler does not count what its libraries compute, which is all of the convolutions.
    found = {
        "flops_compiled": cost.get("flops") if jax.default_backend() != "gpu" else None,
        "bytes_compiled": cost.get("bytes accessed"),
    }
    return {
        **{name: None if value is None else int(value) for name, value in found.items()},
        **memory(program),
    }


def memory(program: Any) -> dict[str, int | None]:
    """Bytes of arguments and of temporary arrays."""
    analysis = program.memory_analysis() if program is not None else None
    return {
        name: getattr(analysis, f"{part}_size_in_bytes", None)
        for name, part in (("temp_bytes", "temp"), ("argument_bytes", "argument"))
    }


def shares(
    measured: dict[str, Any], seconds: float, peak: dict[str, float] | None
) -> dict[str, float | None]:
    """What of the compiler's is more than was asked for, and what of the peak is used: flops_ratio, bytes_ratio, flops_per_s, peak_share, copy_share.

    The compiler counts a step with all of its lazy penalties, and is compared with that; rates are of an average step.
    """
    found: dict[str, float | None] = {"flops_per_s": float(f"{measured['flops'] / seconds:.4g}")}
    for name in ("flops", "bytes"):
        have, least = measured[f"{name}_compiled"], measured[f"most_{name}"]
        found[f"{name}_ratio"] = None if have is None or not least else round(have / least, 3)
    if peak is not None:
        found |= {"peak_flops_per_s": peak["flops"], "peak_bytes_per_s": peak["bytes"]}
        found["peak_share"] = round(measured["flops"] / seconds / peak["flops"], 4)
        found["copy_share"] = round(measured["bytes"] / seconds / peak["bytes"], 4)
    return found


def measured_peak(dtype: str) -> dict[str, float]:
    """FLOP/s of a large matrix product and bytes/s of a copy, on the first device."""
    return {
        "flops": float(f"{peaks.matmul_flops(dtype):.4g}"),
        "bytes": float(f"{peaks.copy_bytes():.4g}"),
    }


HEAD = f"{'':<22}{'form':>8}{'batch':>6}{'compile s':>10}{'ms':>10}{'p10':>9}{'p90':>9}{'images/s':>10}"
HEAD += f"{'GFLOP':>9}{'x':>6}{'GF/s':>12}{'peak':>6}{'MB':>9}{'x':>7}{'temp MB':>9}"


def row(line: dict[str, Any]) -> str:
    """One line of the table on screen; `HEAD` names its columns."""
    form = line["parallel"] + (str(line["steps_per_call"]) if line["steps_per_call"] > 1 else "")

    def number(value: float | None, width: int, form: str) -> str:
        return f"{'-' if value is None else format(value, form):>{width}}"

    text = f"{line['name']:<22}{form:>8}{line['images']:>6}" + number(line["compile_s"], 10, ".1f")
    text += f"{line['median_ms']:>10.2f}{line['p10_ms']:>9.2f}{line['p90_ms']:>9.2f}{line['images_per_s']:>10,.0f}"
    text += f"{line['flops'] / 1e9:>9.2f}{number(line['flops_ratio'], 6, '.2f')}{line['flops_per_s'] / 1e9:>12,.1f}"
    text += (
        number(line.get("peak_share"), 6, ".0%")
        + f"{line['bytes'] / 1e6:>9.1f}"
        + number(line["bytes_ratio"], 7, ".1f")
    )
    return text + number(
        None if line["temp_bytes"] is None else line["temp_bytes"] / 1e6, 9, ",.1f"
    )


def chosen(options: argparse.Namespace) -> list[cases.Case]:
    """The cases that the command line asks for. Raises `ValueError` for unknown ones."""
    suite = cases.SUITES[options.suite]
    return [
        cases.case(name, options.preset or suite.get(name, ""), batch, options.dtype, options.image_size, options.augment)
        for name in options.family or suite
        for batch in options.batch
    ]  # fmt: skip


def in_turn(forms: Sequence[Form], together: int = 0) -> Iterator[tuple[Form, Ready | None]]:
    """Each form of a case when its turn to be timed comes: compiled `together` beside each other before the first of them, or with 0 not yet (None)."""
    if not together:
        yield from ((form, None) for form in forms)
        return
    with ThreadPoolExecutor(together) as pool:
        ready = [(form, prepare(form, pool)) for form in forms]
    yield from ready


def main(arguments: list[str] | None = None) -> None:
    """Parse options, measure, print a table, append to the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--suite", choices=tuple(cases.SUITES), default="cpu", help="the presets to measure"
    )
    parser.add_argument("--family", nargs="+", default=[], help="only these families")
    parser.add_argument("--preset", default="", help="this preset of each, instead of the suite's")
    parser.add_argument(
        "--batch",
        nargs="+",
        type=int,
        default=[0],
        help="images of one critic turn, over all devices; 0 for the preset's",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="",
        help="of the networks; the preset's if left out",
    )
    parser.add_argument(
        "--image-size",
        nargs=2,
        type=int,
        metavar=("HEIGHT", "WIDTH"),
        help="instead of the preset's",
    )
    parser.add_argument(
        "--augment",
        choices=("diffaugment", "ada"),
        default="",
        help="what the discriminator sees, instead of the preset's",
    )
    parser.add_argument(
        "--parallel", choices=("jit", "pmap", "scan"), default="jit", help="how the step is mapped"
    )
    parser.add_argument("--devices", type=int, default=1, help="devices of jit and pmap")
    parser.add_argument(
        "--steps-per-call",
        type=int,
        default=0,
        help="steps of scan; 0 for the preset's, at least 4",
    )
    parser.add_argument(
        "--together",
        type=int,
        default=0,
        metavar="N",
        help="compile all programs first, N beside each other",
    )
    parser.add_argument(
        "--repetitions",
        type=int,
        default=0,
        help="timed calls; 0 for 30, or 10 where a call takes over 2 s",
    )
    parser.add_argument(
        "--out", type=Path, default=record.RESULTS, help="folder of the results files"
    )
    options = parser.parse_args(arguments)
    keep_freed()  # as the experiments do
    with one_sentence_errors():
        require(
            options.repetitions >= 0 and options.steps_per_call >= 0,
            "--repetitions and --steps-per-call must be at least 1",
        )
        require(options.together >= 0, "--together must be at least 1")
        wanted = chosen(options)
        peak = {
            dtype: measured_peak(dtype) for dtype in sorted({case.config.dtype for case in wanted})
        }
        for dtype, found in peak.items():
            print(
                f"peak, {dtype}: {found['flops'] / 1e9:,.0f} GFLOP/s in a matrix product, {found['bytes'] / 1e9:,.1f} GB/s in a copy"
            )
        print(HEAD)
        scanned = options.parallel == "scan"
        forms = [
            Form(
                case,
                options.parallel,
                options.devices,
                (options.steps_per_call or max(4, case.steps)) if scanned else 1,
            )
            for case in wanted
        ]
        for form, ready in in_turn(forms, options.together):
            case, where = (
                form.case,
                record.provenance(
                    form.case.config, batch=form.case.batch_size, devices=options.devices
                ),
            )
            try:
                found = measure(form, options.repetitions or None, peak[case.config.dtype], ready)
                found |= {"together": options.together} if options.together else {}
                print(row(record.append(NAME, found, where, options.out)), flush=True)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                print(
                    f"{case.name:<22} needs more memory than the device has for a batch of {case.batch_size}: measure it with a smaller --batch",
                    flush=True,
                )
            jax.clear_caches()


if __name__ == "__main__":
    main()
