"""Write a trained generator for use without this library: `python -m experiments.export runs/cgan-digits exported`.

OUT gets the program as StableHLO (for CPU, CUDA and TPU, any batch size), its weights as safetensors, and model.json, which says how to call it. The
program is then read back, and compared with this library's own on a few random inputs. Needs the extra [export].
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.support import runs
from experiments.support.common import one_sentence_errors
from jaxgan.errors import JaxganError, RunError, require

TOLERANCE = 1e-4
"""Largest difference of a pixel in [-1, 1]: the same operations, compiled apart."""
CHECKED = 3


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the files, check them and print where they are."""
    options = _parser().parse_args(arguments)
    with one_sentence_errors():
        from jaxgan import export

        export.require_packages()
        empty = not options.out.is_dir() or not any(options.out.iterdir())
        require(
            empty or options.overwrite,
            f"{options.out} is not empty: give --overwrite, or another folder",
        )
        family, config, state = runs.load(options.run, family=options.family)
        size = None if options.image_size is None else tuple(options.image_size)
        settings: dict[str, Any] = {
            "direction": options.direction,
            "image_size": size,
            "noise": options.noise,
        }
        out = export.save(
            options.out, family, config, state, **settings, names=runs.names(options.run)
        )
        difference = compare(out, export.program(family, config, **settings), state.ema)
        if not difference <= TOLERANCE:
            raise RunError(
                f"the program in {out} makes other images than this run (by up to {difference:.2g}): do not use it, and report this"
            )
        print(
            f"{out}: read back, and equal to the run to {difference:.1e} on {CHECKED} random inputs"
        )


def compare(out: Path, program: Any, ema: Any) -> float:
    """The largest difference between images [B, H, W, C] of the files in `out`, read back, and of `program` itself, for random inputs."""
    import jax
    import safetensors.numpy

    from jaxgan import export

    exported = jax.export.deserialize(bytearray((out / export.PROGRAM).read_bytes()))
    weights = safetensors.numpy.load_file(out / export.WEIGHTS)
    inputs = random_inputs(program, CHECKED)
    pair = jax.jit(exported.call)(weights, inputs), jax.jit(program.function)(ema, inputs)
    made, wanted = (np.asarray(images, np.float32) for images in pair)
    if not np.isfinite(wanted).all():
        raise JaxganError(
            f"the run's own images hold NaN or infinite pixels, so that {out} is of no use: train it again, or from an earlier checkpoint"
        )
    return float(np.abs(made - wanted).max())


def random_inputs(program: Any, count: int) -> dict[str, np.ndarray]:
    """Something for each input of a program, [count, ...]: uniform in its range, standard normal where it has none."""
    random = np.random.default_rng(0)

    def fill(one: Any) -> np.ndarray:
        shape, low, high = (count, *one.shape), one.low, one.high
        if np.issubdtype(one.dtype, np.integer):
            return random.integers(
                low, 10 if high is None else high, shape, one.dtype, endpoint=True
            )
        values = (
            random.normal(size=shape)
            if low is None
            else random.uniform(low, 1.0 if high is None else high, shape)
        )
        return values.astype(one.dtype)

    return {name: fill(one) for name, one in program.inputs.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.export", description=(__doc__ or "").strip().split("\n\n")[0]
    )
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument(
        "--direction",
        choices=("a2b", "b2a"),
        help="cyclegan: which of its two translators (default: a2b)",
    )
    parser.add_argument(
        "--image-size",
        nargs=2,
        type=int,
        metavar=("HEIGHT", "WIDTH"),
        help="of what is translated (default: as in training)",
    )
    parser.add_argument(
        "--noise",
        choices=("random", "constant", "none"),
        help="stylegan: from seeds, which are then an input (default), or fixed, or none",
    )
    runs.add_family(parser)
    parser.add_argument(
        "--overwrite", action="store_true", help="write into a folder that holds files already"
    )
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
