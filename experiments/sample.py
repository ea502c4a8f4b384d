"""Draw images from a trained generator: `python -m experiments.sample runs/cgan-digits --n 100 --labels all`.

Classes are drawn by name or number, `--labels cat dog`. A grid shows their names above its columns, and names of files end in them.

StyleGAN's also nearer to the average, `--truncation 0.7`, and as a grid of mixed styles, `--mix 0 4`: rows with the columns' styles in layers 0 to 3.

Reads the run directory and nothing else. Image i depends on the seed and i only, so a longer list begins with the shorter one.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from experiments.support import runs
from experiments.support.common import one_sentence_errors, seed, short_name
from jaxgan.errors import require, require_seed
from jaxgan.family import Samples, Styled, conditioning
from jaxgan.pictures import titles
from jaxgan.pictures.images import save_png, tile, write_whole

CHUNK = 64
"""Images generated at once: bounds memory, changes nothing."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a grid (.png), an array (.npy) or one file per image (a folder), and print where."""
    options = _parser().parse_args(arguments)
    with one_sentence_errors():
        require(options.n > 0, f"--n must be at least 1, got {options.n}")
        out = options.out or options.run / f"generated-{options.seed}.png"
        require(
            out.suffix in ("", ".png", ".npy"),
            f"--out must be a folder or end in .png or .npy, got {out}",
        )
        family, config, state = runs.load(options.run, family=options.family)
        named = runs.names(options.run).classes
        choice = chosen_labels(options.labels, conditioning(family, config).classes, named)
        _check_styles(family, options)
        if options.mix:
            print(save_png(out, tile(mixed(family, config, state, options, choice))))
            return
        labels, extra = (
            None if choice is None else np.resize(choice, options.n),
            {} if options.truncation is None else {"truncation": options.truncation},
        )
        images = draw(family, config, state, options.n, labels, options.seed, **extra)
        shown = (
            None
            if choice is None
            else [runs.class_names(config.classes, named)[label] for label in choice]
        )
        print(write(out, images, shown))


def _check_styles(family: ModuleType, options: argparse.Namespace) -> None:
    """Raise `ValueError` for options of StyleGAN given for another family, or that do not fit."""
    for name in ("truncation", "mix"):
        if getattr(options, name) is not None and not isinstance(family, Styled):
            raise ValueError(
                f"{short_name(family)} has no styles: leave out --{name}, which is for stylegan"
            )
    require(
        not options.mix or options.out is None or options.out.suffix == ".png",
        f"--mix makes a grid: --out must end in .png, got {options.out}",
    )


def mixed(
    family: ModuleType,
    config: Any,
    state: Any,
    options: argparse.Namespace,
    choice: np.ndarray | None,
) -> np.ndarray:
    """The grid of mixed styles of --n sources in each direction, [n + 1, n + 1, H, W, C]; --n above 8 is taken as 8."""
    import jax

    n, truncation = min(options.n, 8), 1.0 if options.truncation is None else options.truncation
    labels = () if choice is None else (np.resize(choice, 2 * n),)
    grid = jax.jit(
        lambda state, key, *labels: family.mix(
            config, state, key, n, tuple(options.mix), *labels, truncation=truncation
        )
    )
    return np.asarray(grid(state, jax.random.key(options.seed), *labels), np.float32)


def chosen_labels(
    words: Sequence[str], classes: int, named: Sequence[str] = ()
) -> np.ndarray | None:
    """The classes to draw, int32; None for a model without classes. See `runs.chosen_classes`.

    Raises `ValueError` for a class that does not exist, or any where the family has none.
    """
    if not classes:
        require(not words, "this run has no classes: leave out --labels")
        return None
    return runs.chosen_classes(words, classes, named)


def draw(
    family: ModuleType,
    config: Any,
    state: Any,
    n: int,
    labels: np.ndarray | None,
    seed: int,
    **options: Any,
) -> np.ndarray:
    """`n` images, float32 [n, H, W, C] in [-1, 1]; `labels` int32 [n], or None for families without classes. options: of the family's `sample`.

    Raises `ValueError` if the family does not start from noise.
    """
    import jax
    import jax.numpy as jnp

    require(
        isinstance(family, Samples),
        f"{short_name(family)} changes given images and draws none from noise: use python -m experiments.translate",
    )
    key, generate = (
        jax.random.key(require_seed(seed)),
        jax.jit(partial(family.sample, config, **options), static_argnums=2),
    )
    images = []
    for first in range(0, n, CHUNK):
        # Whole chunks only, so that one program serves all; what is too much is cut off below.
        part = (
            {}
            if labels is None
            else {"labels": jnp.asarray(np.resize(labels[first : first + CHUNK], CHUNK))}
        )
        images.append(np.asarray(generate(state, key, CHUNK, first=first, **part), np.float32))
    return np.concatenate(images)[:n]


def write(out: Path, images: np.ndarray, choice: Sequence[str] | None) -> Path:
    """Write images [n, H, W, C] as `out` says by its ending; a grid has a column for each class of `choice`, below its name. Returns the path written.

    Args:
      choice: the names of the classes in turn; None without classes.
    """
    if out.suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, images)
        return write_whole(out, buffer.getvalue())
    if out.suffix == ".png":
        headed = choice if choice is not None and 1 < len(choice) <= len(images) else ()
        columns = len(headed) or int(np.ceil(np.sqrt(len(images))))
        rows = -(-len(images) // columns)
        blank = np.full((rows * columns - len(images), *images.shape[1:]), -1.0, images.dtype)
        sheet = tile(np.concatenate([images, blank]).reshape(rows, columns, *images.shape[1:]))
        return save_png(out, titles.above(sheet, headed), titles.note(choice or ()))
    labels = [""] if choice is None else [f"-{titles.for_file(name)}" for name in choice]
    for i, image in enumerate(images):
        save_png(out / f"{i:06d}{labels[i % len(labels)]}.png", image)
    return out


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.sample", description=(__doc__ or "").strip().split("\n\n")[0]
    )
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("--n", type=int, default=64, help="how many images (default: 64)")
    parser.add_argument(
        "--labels",
        nargs="+",
        default=[],
        metavar="CLASS",
        help="names or numbers of classes to draw in turn, or 'all' (default: all)",
    )
    runs.add_family(parser)
    parser.add_argument(
        "--truncation",
        type=float,
        help="stylegan: how far styles go from their mean; 1 is all the way, 0.7 usual for pictures",
    )
    parser.add_argument(
        "--mix",
        nargs=2,
        type=int,
        metavar=("FIRST", "LAST"),
        help="stylegan: a grid of rows with the columns' styles in these layers",
    )
    parser.add_argument("--seed", type=seed, default=0, help="decides the images (default: 0)")
    ways = "FILE.png: a grid; FILE.npy: float32 [n, H, W, C] in [-1, 1]; a folder: one PNG each (default: a grid in the run directory)"
    parser.add_argument("--out", type=Path, help=ways)
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
