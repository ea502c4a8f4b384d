"""What an accelerator did in traced steps, kernel by kernel: `python -m benchmarks.device_trace FOLDER`.

    python -m benchmarks.against_pytorch --suite gpu --device cuda --only pix2pix-256-batch-16 --trace traces
    python -m benchmarks.device_trace traces/pix2pix-256-batch-16

FOLDER is what JAX's profiler wrote. Kernels go by the names of XLA's instructions without their numbers: "cudnn-conv" and its relatives are convolutions,
"gemm" products, "input_reduce_fusion" sums as in norms, "copy" and "transpose" what is only laid out anew. With command buffers XLA names those instead:
`XLA_FLAGS=--xla_gpu_enable_command_buffer=` while tracing shows what is in them.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from benchmarks.kernels import Interval, covered
from experiments.support.common import one_sentence_errors
from jaxgan.errors import DataError, require

SHOWN = 30
"""Kinds of kernels that are printed."""


def device_intervals(planes: Any) -> Iterator[Interval]:
    """Every kernel and copy on the streams of accelerators, of the planes of a `jax.profiler.ProfileData`."""
    for plane in planes:
        if plane.name.startswith("/device:"):
            for line in plane.lines:
                for event in line.events if line.name.startswith("Stream") else ():
                    name = dict(event.stats).get("hlo_op") or event.name
                    yield Interval(
                        re.sub(r"(\.\d+)+$", "", str(name)),
                        event.start_ns,
                        event.start_ns + event.duration_ns,
                    )


def table(intervals: Sequence[Interval], steps: int) -> str:
    """Milliseconds and number of the kernels of each kind in a step, the longest first; and of all."""
    time: dict[str, float] = defaultdict(float)
    count = Counter(one.name for one in intervals)
    for one in intervals:
        time[one.name] += one.end - one.begin
    longest = sorted(time.items(), key=lambda pair: -pair[1])[:SHOWN]
    span = max(one.end for one in intervals) - min(one.begin for one in intervals)
    head = f"{1e-6 * covered(intervals) / steps:.3f} ms of kernels in {1e-6 * span / steps:.3f} ms a step, {len(intervals) / steps:g} of them"
    return "\n".join(
        [
            head,
            *(
                f"{1e-6 * own / steps:9.3f} ms {count[name] / steps:7g}  {name}"
                for name, own in longest
            ),
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse options, read, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of one game's trace")
    parser.add_argument(
        "--steps",
        type=int,
        default=1,
        help="how many were traced: one of each kind, of which StyleGAN2 has three",
    )
    options = parser.parse_args(arguments)
    with one_sentence_errors():
        require(options.steps > 0, "--steps must be above 0")
        files = sorted(options.folder.glob("**/*.xplane.pb"))
        if not files:
            raise DataError(
                f"{options.folder} holds no *.xplane.pb of JAX's profiler: trace steps first, by --trace of benchmarks.against_pytorch"
            )
        found = list(device_intervals(jax.profiler.ProfileData.from_file(str(files[-1])).planes))
        if not found:
            raise DataError(
                f"{files[-1]} shows no accelerator at work: python -m benchmarks.step_profile tells where a step on a CPU goes"
            )
        print(table(found, options.steps))


if __name__ == "__main__":
    main()
