"""What an H200 would be given to do in one step, told without one: `python -m benchmarks.gpu_program`.

    pip install "jax[cuda13]"
    JAX_PLATFORMS=cpu python -m benchmarks.gpu_program --families cyclegan --only 256-batch-4

JAX compiles for a GPU that is only described. The program has the fusions, layouts and library calls of a real one, but for algorithms that are chosen by
trying. Each line of the table is a kind of instruction by XLA's names, as in `benchmarks.device_trace`: how many gigabytes its operands and results have,
how many there are. Branches that a step takes now and then (lazy regularisation) are not among them. Compiling takes from 10 seconds to two minutes.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Sequence
from functools import partial

import jax

from benchmarks import cases
from benchmarks.against_pytorch import chosen
from benchmarks.pytorch_cases import config_of
from benchmarks.step_profile import FAMILIES
from experiments.support.common import one_sentence_errors
from jaxgan.errors import JaxganError

SHOWN = 20
"""Kinds of instructions that are printed."""
H200 = """
gpu_device_info {
  cuda_compute_capability { major: 9 minor: 0 } threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448 shared_memory_per_core: 233472
  registers_per_core_limit: 65536 registers_per_block_limit: 65536 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 4800000000000 l2_cache_size: 62914560 clock_rate_ghz: 1.98 device_memory_size: 150000000000
}
platform_name: "CUDA" dnn_version_info { major: 9 minor: 19 patch: 0 } runtime_version { major: 13 minor: 0 patch: 0 }
device_description_str: "NVIDIA H200"
"""
FREE = ("parameter", "get-tuple-element", "tuple", "bitcast", "constant", "conditional")
BITS = {"pred": 8, "bf16": 16}


def compiled(case: cases.Case) -> str:
    """The text of the program of a step. Raises `JaxganError` where JAX cannot compile for GPUs."""
    from jax.experimental import topologies

    jax.devices()  # finds the plug-ins
    try:
        found = topologies.get_topology_desc(
            platform="cuda", topology_name="h200", target_config=H200, topology="1x1x1"
        ).devices[0]
    except Exception as error:  # whatever the plug-in says
        raise JaxganError(
            f'JAX cannot compile for GPUs here ({error}): pip install "jax[cuda13]", and set JAX_PLATFORMS=cpu'
        ) from None
    there = jax.sharding.SingleDeviceSharding(found)
    step = jax.jit(
        partial(case.family.train_step, case.config),
        donate_argnums=0,
        in_shardings=there,
        out_shardings=there,
    )
    return step.lower(*cases.arguments(case)).compile().as_text() or ""


def instructions(program: str) -> list[tuple[str, int]]:
    """(kind, bytes of operands and results) of every instruction of a program's entry that does something."""
    entry = program[program.index("\nENTRY ") :]
    found, types = [], {}
    for name, rest in re.findall(r"^ +(?:ROOT )?%([\w.\-]+) = (.*)", entry, re.MULTILINE):
        # A tuple's type is in brackets, which do not nest but for layouts as {3,2,1,0:T(8)}; an operation's name follows the type.
        if (match := re.match(r"(\(.*?\)|\S+) ([a-z][a-z\-]*)\(([^)]*)\)", rest)) is None:
            continue
        types[name], operation, operands = match.groups()
        if operation not in FREE:
            arrays = [
                types[name],
                *(types.get(operand, "") for operand in re.findall(r"%([\w.\-]+)", operands)),
            ]
            found.append((re.sub(r"(\.\d+)+$", "", name), sum(map(_bytes, arrays))))
    return found


def _bytes(type_text: str) -> int:
    total = 0
    for kind, shape in re.findall(r"\b(pred|bf16|[fsuc]\d+)\[([\d,]*)\]", type_text):
        size = BITS.get(kind) or int(kind[1:])
        for side in filter(None, shape.split(",")):
            size *= int(side)
        total += size // 8
    return total


def table(found: Sequence[tuple[str, int]]) -> str:
    """Gigabytes and number of the instructions of each kind, the most bytes first; and of all."""
    total, count = Counter[str](), Counter(kind for kind, _ in found)
    for kind, size in found:
        total[kind] += size
    head = f"{1e-9 * sum(total.values()):.2f} GB in {len(found)} instructions"
    return "\n".join(
        [
            head,
            *(
                f"{1e-9 * size:9.3f} GB {count[kind]:6d}  {kind}"
                for kind, size in total.most_common(SHOWN)
            ),
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse options, compile, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(suite="gpu")
    parser.add_argument("--families", nargs="+", default=[], help="only these")
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
        "--dtype", choices=("float32", "bfloat16"), default="bfloat16", help="of the networks"
    )
    options = parser.parse_args(arguments)
    with one_sentence_errors():
        for case in chosen(options):
            config = config_of(case.family, case.size, options.dtype)
            program = compiled(cases.Case(case.name, FAMILIES[case.family], config, case.batch, 1))
            print(f"{case.name}: {table(instructions(program))}", flush=True)


if __name__ == "__main__":
    main()
