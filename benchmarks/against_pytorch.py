"""Time training steps against the same games in plain PyTorch: `python -m benchmarks.against_pytorch`.

    python -m benchmarks.against_pytorch --check                          the same losses from the same weights and draws? tiny networks, three rounds
    python -m benchmarks.against_pytorch                                  all families at sizes for a CPU
    python -m benchmarks.against_pytorch --suite cpu-large                CycleGAN and StyleGAN2 at larger ones
    python -m benchmarks.against_pytorch --suite gpu --device cuda --dtype bfloat16 --compiled
    python -m benchmarks.against_pytorch --families pix2pix --size 128 --profile

Each side has a process of its own, and they work in turns (A B A B), so that other load on the machine falls on all; while one works, the others sleep.
Both have all cores, or `--cores`. On a CPU, PyTorch's threads wait for each other asleep, and in one more side as is its default, spinning: on free cores that
may be a little faster, on a busy machine it is tens of times slower. A round is as many steps of each kind as make 1.5 s (0.3 s on a GPU; at most 200),
weighted as lazy regularisation has them. The ratio is the fastest PyTorch's time over ours: above 1, jaxgan is faster. `first_s` is the first step's additional
time, in which a side compiles or chooses its algorithms. On GPUs float32 is computed in TF32 by both. Nothing is read back between steps. Appends to
benchmarks/results/against_pytorch.jsonl; with --profile to against_pytorch_layers.jsonl.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import record, timing
from benchmarks.pytorch_cases import SUITES, Case, config_of, kinds
from benchmarks.sides import Rival, rounds, started, started_together
from experiments.support.common import one_sentence_errors
from jaxgan.errors import JaxganError, require

NAME, LAYERS = "against_pytorch", "against_pytorch_layers"
TOLERANCE = 1e-3
"""Largest relative difference of a loss in three rounds."""


# ----------------------------------------------------------------------------------------------------------------- measuring


def sides_of(case: Case, device: str, compiled: bool) -> list[str]:
    """The sides that take part: jaxgan first."""
    sides = (
        ["jaxgan", "pytorch"]
        + ["pytorch-contiguous"] * (case.family != "cgan")
        + ["pytorch-grouped"] * (case.family == "stylegan" and device != "cpu")
    )
    return sides + ["pytorch-spinning"] * (device == "cpu") + ["pytorch-compiled"] * compiled


def measure(
    case: Case, rivals: Sequence[Rival], dtype: str, seconds: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the results file holds of a case, and its provenance. rivals: its sides, jaxgan first. seconds: see `sides.rounds`."""
    times = rounds(rivals, kinds(config_of(case.family, case.size, dtype)), seconds)
    where = rivals[0].provenance | {"command": record.command()} | rivals[1].provenance
    per_step = {side: timing.summary(own) for side, own in times.items()}
    fastest = min(
        (side for side in times if side != "jaxgan"), key=lambda side: per_step[side]["median_ms"]
    )
    line: dict[str, Any] = {
        "name": case.name,
        "family": case.family,
        "image_size": [case.size, case.size],
        "fastest": fastest,
    }
    line |= timing.ratio(times[fastest], times["jaxgan"])
    line |= rivals[0].ask(limits=True)
    line["sides"] = {
        rival.side: {
            "first_s": round(rival.first_s, 2),
            "steps_per_call": rival.count,
            **per_step[rival.side],
        }
        for rival in rivals
    }
    return line, where


# ------------------------------------------------------------------------------------------------------------------- screens

HEAD = f"{'':<26}{'jaxgan ms':>11}{'PyTorch ms':>11}{'ratio':>7}{'p10':>6}{'p90':>6}{'least':>6}{'n':>4}  fastest PyTorch; others' ms; first_s of both"


def row(line: dict[str, Any]) -> str:
    """One line of the table on screen; `HEAD` names its columns. least: the ratio of the shortest times."""
    mine, best = line["sides"]["jaxgan"], line["sides"][line["fastest"]]
    others = [
        f"{side} {own['median_ms']:,.1f}"
        for side, own in line["sides"].items()
        if side not in ("jaxgan", line["fastest"])
    ]
    text = f"{line['name']:<26}{mine['median_ms']:>11,.2f}{best['median_ms']:>11,.2f}{line['ratio']:>7.2f}{line['ratio_p10']:>6.2f}{line['ratio_p90']:>6.2f}"
    text += f"{line['ratio_min']:>6.2f}"
    return f"{text}{mine['repetitions']:>4}  {line['fastest']}; {', '.join(others) or '-'}; {mine['first_s']:.1f}, {best['first_s']:.1f}"


def profile(
    case: Case, sides: Sequence[str], device: str, dtype: str, cores: int = 0, repetitions: int = 5
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(a record for each kind of convolution in a step, where): one forward pass with both gradients, alone, on both sides; the largest difference first."""
    from benchmarks.rivals import operations

    chosen = [side for side in sides if side in ("jaxgan", "pytorch", "pytorch-contiguous")]
    with started(chosen, case, device, dtype, cores) as rivals:
        layers = rivals[1].ask(layers=None)["layers"]
        times = {
            rival.side: rival.ask(layers=layers, repetitions=repetitions)["seconds"]
            for rival in rivals
        }
        where = rivals[0].provenance | {"torch": rivals[1].provenance["torch"]}
    lines = []
    for i, layer in enumerate(layers):
        mine, theirs = times["jaxgan"][i], min(times[side][i] for side in chosen[1:])
        done, (batch, inputs, height, width) = 3 * operations(layer), layer["x"]
        what = f"{'up' if layer['transposed'] else ''}conv {layer['kernel'][0]}x{layer['kernel'][1]}/{layer['stride']} {inputs}>{layer['outputs']}"
        line = {
            "name": case.name,
            "layer": what,
            "input": f"{batch}x{height}x{width}",
            "count": layer["count"],
            "flops": done,
        }
        seconds = {
            "jaxgan_ms": 1e3 * mine,
            "pytorch_ms": 1e3 * theirs,
            "difference_ms": 1e3 * layer["count"] * (mine - theirs),
            "ratio": theirs / mine,
        }
        lines.append(
            line
            | seconds
            | {"jaxgan_flops_per_s": done / mine, "pytorch_flops_per_s": done / theirs}
        )
    return sorted(lines, key=lambda line: -line["difference_ms"]), where


def profile_table(lines: Sequence[dict[str, Any]]) -> str:
    """What `profile` found, as text."""
    head = f"{'':<26}{'batch x size':>14}{'n':>4}{'jaxgan ms':>10}{'PyTorch':>10}{'GF/s':>8}{'PyTorch':>8}{'n x diff':>10}"
    rows = [
        f"{line['layer']:<26}{line['input']:>14}{line['count']:>4}{line['jaxgan_ms']:>10.2f}{line['pytorch_ms']:>10.2f}"
        f"{line['jaxgan_flops_per_s'] / 1e9:>8.0f}{line['pytorch_flops_per_s'] / 1e9:>8.0f}{line['difference_ms']:>10.1f}"
        for line in lines
    ]
    return "\n".join([head, *rows])


def check() -> None:
    """Compare losses of all families at tiny sizes. Raises `JaxganError` where they differ."""
    from benchmarks.torch_models.side_by_side import compare, largest_difference
    from benchmarks.torch_models.tiny import TINY

    for name, (config, batch) in TINY.items():
        difference = largest_difference(compared := compare(name, config, batch))
        print(
            f"{name:<10} {len(compared)} losses, 3 rounds: largest relative difference {difference:.1e}",
            flush=True,
        )
        if not difference <= TOLERANCE:
            raise JaxganError(
                f"{name}: jaxgan and PyTorch differ by {difference:.1e}, more than {TOLERANCE:.0e}: they do not play the same game"
            )


def wanted_sides(case: Case, options: argparse.Namespace) -> list[str]:
    """`sides_of` a case; of those of PyTorch, the ones asked for. Raises ValueError where none is left."""
    sides = sides_of(case, options.device, options.compiled)
    chosen = [
        side for side in sides if side == "jaxgan" or not options.sides or side in options.sides
    ]
    require(
        len(chosen) > 1,
        f"--sides {' '.join(options.sides)}: {case.name} has {', '.join(sides[1:])} here",
    )
    return chosen


def profile_all(cases: Sequence[Case], options: argparse.Namespace) -> None:
    """`profile` of each case: printed, and appended to the results."""
    for case in cases:
        lines, where = profile(
            case, wanted_sides(case, options), options.device, options.dtype, options.cores
        )
        for one in lines:
            record.append(LAYERS, one, where, options.out)
        print(f"{case.name}\n{profile_table(lines)}", flush=True)


def ready(cases: Sequence[Case], options: argparse.Namespace) -> Iterator[tuple[Case, list[Rival]]]:
    """Each case with its processes: started for it, or all of them beside each other before the first. They end when the next case is asked for."""
    wanted = [
        (case, wanted_sides(case, options), kinds(config_of(case.family, case.size)))
        for case in cases
    ]
    if not options.together:
        for case, sides, _ in wanted:
            with started(sides, case, options.device, options.dtype, options.cores) as rivals:
                yield case, rivals
        return
    with started_together(
        wanted, options.device, options.dtype, options.cores, options.together, options.patience
    ) as found:
        for case in cases:
            yield case, found[case]
            for rival in found[case]:
                rival.close()


def require_pytorch() -> None:
    """Raise `JaxganError` unless PyTorch is installed."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise JaxganError(
            f"this compares with PyTorch, which is not installed ({error}): pip install torch"
        ) from None


def chosen(options: argparse.Namespace) -> list[Case]:
    """The cases that the command line asks for: those of the suite, with another size or batch where given. Raises ValueError for unknown families."""
    suite = SUITES[options.suite]
    known = {case.family for case in suite}
    unknown = [name for name in options.families if name not in known]
    require(
        not unknown,
        f"there is no PyTorch side of {', '.join(unknown)}; there is one of {', '.join(sorted(known))}",
    )
    cases = [case for case in suite if not options.families or case.family in options.families]
    cases = [
        case
        for case in cases
        if not options.only or any(text in case.name for text in options.only)
    ]
    require(
        cases,
        f"no game of --suite {options.suite} is called {' or '.join(options.only)}: {', '.join(case.name for case in suite)}",
    )
    cases = [
        Case(case.family, options.size or case.size, options.batch or case.batch) for case in cases
    ]
    return list(dict.fromkeys(cases))


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse options, measure, print a table, append to the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--suite",
        choices=tuple(SUITES),
        default="cpu",
        help="sizes and batches for which kind of machine",
    )
    parser.add_argument("--families", nargs="+", default=[], help="only these families")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="TEXT",
        help="only games whose names contain one of these, as stylegan-256",
    )
    parser.add_argument(
        "--size", type=int, default=0, help="side of the images, instead of the suite's"
    )
    parser.add_argument(
        "--batch", type=int, default=0, help="images of a step, instead of the suite's"
    )
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="of each case, after which no new round begins"
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="where both sides compute"
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the networks: bfloat16 is autocast in PyTorch",
    )
    parser.add_argument(
        "--cores",
        type=int,
        default=0,
        help="confine both sides to the first so many cores; 0 for all",
    )
    parser.add_argument(
        "--sides",
        nargs="+",
        default=[],
        help="only these forms of PyTorch: pytorch, pytorch-contiguous, ...",
    )
    parser.add_argument(
        "--compiled",
        action="store_true",
        help="also with torch.compile, which takes minutes to compile",
    )
    parser.add_argument(
        "--together",
        type=int,
        default=0,
        metavar="N",
        help="start the processes of all cases first, N beside each other",
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=0.0,
        help="with --together: sides not ready after so many seconds are left out",
    )
    parser.add_argument(
        "--trace",
        type=Path,
        metavar="FOLDER",
        help="keep there what JAX's profiler sees of one step of each kind, after the timing",
    )
    parser.add_argument(
        "--profile",
        action="store_true",
        help="time each convolution of a step alone, instead of steps",
    )
    parser.add_argument("--check", action="store_true", help="compare losses, instead of times")
    parser.add_argument(
        "--out", type=Path, help="folder of the results, instead of benchmarks/results"
    )
    options = parser.parse_args(arguments)
    with one_sentence_errors():
        cases = chosen(options)
        require(
            not options.profile or options.dtype == "float32",
            "--profile times convolutions in float32: leave out --dtype",
        )
        require_pytorch()
        if options.check:
            check()
            return
        if options.profile:
            profile_all(cases, options)
            return
        print(HEAD)
        for case, rivals in ready(cases, options):
            if len(rivals) < 2 or rivals[0].side != "jaxgan":
                print(f"{case.name}: not measured, because a side is missing", flush=True)
                continue
            line, where = measure(case, rivals, options.dtype, options.seconds)
            line |= {"together": options.together} if options.together else {}
            have = [rival.side for rival in rivals]
            line |= (
                {"left_out": out}
                if (out := [side for side in wanted_sides(case, options) if side not in have])
                else {}
            )
            record.append(NAME, line, where, options.out)
            print(row(line), flush=True)
            if options.trace:
                rivals[0].ask(
                    trace=str(options.trace / case.name),
                    kinds=[kind for kind, _ in kinds(config_of(case.family, case.size))],
                )


if __name__ == "__main__":
    main()
