"""Mix and move the codes of a trained autoencoder: strips of images between two codes, and images with an attribute added.

    python -m experiments.latent runs/vaegan-digits interpolate walk.png                            strips from one sample to another
    python -m experiments.latent runs/vaegan-faces64 interpolate walk.png --images a.jpg b.jpg      from one image to the next
    python -m experiments.latent runs/vaegan-digits attribute to3.png --data digits --to 3 --from 7
    python -m experiments.latent runs/vaegan-faces64 attribute smile.png --data 'attributes:celeba?table=list_attr_celeba.txt' --to Smiling

For runs of a family that encodes (vaegan). Reads the run directory, and the images that it is given.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from experiments import image_files
from experiments.common import one_sentence_errors, short_name
from jaxgan.data.dataset import Dataset
from jaxgan.data.images import BadImage, quiet, resize
from jaxgan.errors import DataError, require
from jaxgan.images import save_png, tile, write_whole

CHUNK = 64
"""Images encoded or decoded at once: bounds memory, changes nothing."""


class Model(NamedTuple):
    """A run that encodes, in NumPy: images float32 [N, H, W, C] in [-1, 1], codes float32 [N, Z], image_size (H, W), channels C.

    encode gives the means of images' codes, decode images of codes, sample(seed, n) codes of the prior.
    """

    encode: Callable[[np.ndarray], np.ndarray]
    decode: Callable[[np.ndarray], np.ndarray]
    sample: Callable[[int, int], np.ndarray]
    image_size: tuple[int, int]
    channels: int


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a sheet (.png) or an array (.npy) of images and print where. Leaves with status 2 and one sentence where that is impossible."""
    options = _parser().parse_args(arguments)
    with one_sentence_errors():
        import jaxgan.checkpoint

        require(options.out.suffix.lower() in (".png", ".npy"), f"OUT must end in .png or .npy, got {options.out}")
        require(options.n >= 1, f"--n must be at least 1, got {options.n}")
        model = prepare(*jaxgan.checkpoint.load(options.run))
        grid = interpolate(model, options) if options.action == "interpolate" else move(model, options)
        print(write(options.out, grid))


def prepare(family: ModuleType, config: Any, state: Any) -> Model:
    """The run's networks, compiled for whole chunks. Raises `ValueError` if its family has no codes."""
    import jax
    import jax.numpy as jnp

    encodes = hasattr(family, "encode") and hasattr(family, "decode")
    require(encodes, f"{short_name(family)} cannot encode images, so it has no codes to mix or move: give a run of vaegan")
    encode, decode = (jax.jit(partial(function, config)) for function in (family.encode, family.decode))

    def sample(seed: int, n: int) -> np.ndarray:
        keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(jnp.arange(n))
        return np.asarray(jax.vmap(lambda key: jax.random.normal(key, (config.latent_size,)))(keys))

    return Model(
        lambda images: _in_chunks(lambda part: encode(state, part)[0], images),
        lambda codes: _in_chunks(partial(decode, state), codes),
        sample,
        tuple(config.image_size),
        config.channels,
    )


def _in_chunks(function: Callable[[np.ndarray], Any], rows: np.ndarray) -> np.ndarray:
    """`function` of all rows, always of `CHUNK` at once, so that one program serves all; the last part is filled up and cut back."""
    parts = []
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        filled = np.concatenate([part, np.repeat(part[-1:], CHUNK - len(part), axis=0)])
        parts.append(np.asarray(function(filled), np.float32)[: len(part)])
    return np.concatenate(parts)


# --------------------------------------------------------------------------------------------------------------- interpolation


def interpolate(model: Model, options: argparse.Namespace) -> np.ndarray:
    """Strips [rows, columns, H, W, C] of images whose codes lie evenly on a straight line.

    Between each given image and the next, which stand at both ends of a strip; else between two samples, `options.n` strips.
    """
    require(options.steps >= 2, f"--steps must be at least 2, got {options.steps}")
    require(len(options.images) != 1, "--images needs two images at least, to go from one to the next")
    images = read(options.images, model)
    codes = model.sample(options.seed, 2 * options.n) if images is None else model.encode(images)
    starts, ends = (codes[::2], codes[1::2]) if images is None else (codes[:-1], codes[1:])
    share = np.linspace(0, 1, options.steps, dtype=np.float32)[None, :, None]
    path = (1 - share) * starts[:, None] + share * ends[:, None]
    strips = _decoded(model, path)
    return strips if images is None else np.concatenate([images[:-1, None], strips, images[1:, None]], axis=1)


# ------------------------------------------------------------------------------------------------------------------ attributes


def move(model: Model, options: argparse.Namespace) -> np.ndarray:
    """Rows [n, 1 + strengths, H, W, C] of images: as given, and then decoded with the attribute's vector added to their code, times each strength.

    The vector is the difference of mean codes, of images that have the attribute (or class) `to` and of those that have `origin`, or have not `to`. Without
    images given, the first of the latter are taken. Source: Larsen et al. 2015, section 3.2.
    """
    from jaxgan import data

    require(options.limit >= 2, f"--limit must be at least 2, got {options.limit}")
    dataset = data.open(options.data, image_size=model.image_size, channels=model.channels)
    require("image" in dataset.arrays, f"{options.data} holds pairs or two domains: give one of classes or attributes")
    rows = np.arange(dataset.size)[:: -(-dataset.size // options.limit)]  # spread evenly, as folders come class by class
    with_it = members(dataset, options.to, "--to")[rows]
    without = ~with_it if options.origin is None else members(dataset, options.origin, "--from")[rows]
    names = (options.to, f"not {options.to}" if options.origin is None else options.origin)
    for group, name in zip((with_it, without), names, strict=True):
        require(group.any(), f"none of the {len(group)} images of {options.data} that were looked at is {name}: raise --limit, or name another")
    either, pixels = with_it | without, dataset.arrays["image"]
    codes = model.encode(image_files.normalise(np.asarray(pixels[rows[either]])))
    vector = difference(codes, with_it[either], without[either])
    print(f"{names[0]}: {with_it.sum()} images; {names[1]}: {without.sum()}; their mean codes are {np.linalg.norm(vector):.3g} apart")
    images = read(options.images, model)
    if images is None:
        images = image_files.normalise(np.asarray(pixels[rows[without][: options.n]]))
    strengths = np.array(options.strengths, np.float32)[None, :, None]
    moved = _decoded(model, model.encode(images)[:, None] + strengths * vector)
    return np.concatenate([images[:, None], moved], axis=1)


def members(dataset: Dataset, name: str, flag: str) -> np.ndarray:
    """Which images have this attribute or are of this class, bool [N]. Raises `ValueError` for a name that is not there."""
    if name in dataset.attributes:
        return np.asarray(dataset.arrays["attributes"])[:, dataset.attributes.index(name)] == 1
    if name in dataset.classes:
        return np.asarray(dataset.arrays["label"]) == dataset.classes.index(name)
    known = (*dataset.attributes, *dataset.classes)
    require(known, f"{dataset.name} has no classes and no attributes: use sub-folders, a labels.csv, or attributes:PATH")
    shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    require(False, f"{flag} must be a class or attribute of {dataset.name}, which are {shown}, got {name!r}")
    return np.zeros(0, bool)


def difference(codes: np.ndarray, with_it: np.ndarray, without: np.ndarray) -> np.ndarray:
    """Codes [N, Z] and two groups bool [N] -> difference of their mean codes, float32 [Z], summed in float64."""
    return (codes[with_it].mean(axis=0, dtype=np.float64) - codes[without].mean(axis=0, dtype=np.float64)).astype(np.float32)


# --------------------------------------------------------------------------------------------------------------- images in and out


def _decoded(model: Model, codes: np.ndarray) -> np.ndarray:
    """Codes [rows, columns, Z] -> images [rows, columns, H, W, C]."""
    images = model.decode(codes.reshape(-1, codes.shape[-1]))
    return images.reshape(*codes.shape[:2], *images.shape[1:])


def read(paths: Sequence[Path], model: Model) -> np.ndarray | None:
    """The images at these paths (files, or folders of them) as the model takes them, cut and scaled to its size; None without paths.

    Raises `DataError` for one that cannot be used.
    """
    images = []
    with quiet():
        for _, file in (item for path in paths for item in image_files.find(path)):
            try:
                pixels = image_files.read(file, model.channels)
                if pixels.dtype == np.float32 and pixels.shape[:2] != model.image_size:
                    raise BadImage(f"must be {model.image_size[0]}x{model.image_size[1]} pixels, as arrays of floats are not scaled")
                images.append(image_files.normalise(pixels if pixels.dtype == np.float32 else resize(pixels, model.image_size)))
            except BadImage as error:
                raise DataError(f"{file} {error}: give another image") from None
    return np.stack(images) if images else None


def write(out: Path, grid: np.ndarray) -> Path:
    """Write images [rows, columns, H, W, C]: as one sheet (.png) or as float32 (.npy). Returns the path."""
    if out.suffix.lower() == ".png":
        return save_png(out, tile(grid))
    buffer = io.BytesIO()
    np.save(buffer, grid.astype(np.float32))
    return write_whole(out, buffer.getvalue())


def _parser() -> argparse.ArgumentParser:
    formats = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser(prog="python -m experiments.latent", description=__doc__, **formats)  # type: ignore[arg-type]
    parser.add_argument("run", type=Path, metavar="RUN", help="run directory")
    actions = parser.add_subparsers(dest="action", required=True)
    walk = actions.add_parser("interpolate", help="strips of images between two codes")
    walk.add_argument("--steps", type=int, default=9, help="images in a strip (default: 9)")
    walk.add_argument("--seed", type=int, default=0, help="decides the samples (default: 0)")
    shift = actions.add_parser("attribute", help="add the difference of two groups' mean codes to images")
    shift.add_argument("--data", required=True, metavar="SPEC", help="data set with classes or attributes (digits, folder:DIR, attributes:PATH, ...)")
    shift.add_argument("--to", required=True, metavar="NAME", help="class or attribute to add")
    shift.add_argument("--from", dest="origin", metavar="NAME", help="class or attribute to take away (default: all that is not --to)")
    strengths = "how much of the difference to add, for each column; 0 is the reconstruction (default: 0 0.5 1 1.5)"
    shift.add_argument("--strengths", type=float, nargs="+", default=[0.0, 0.5, 1.0, 1.5], help=strengths)
    shift.add_argument("--limit", type=int, default=10_000, help="images of the data set to take means over at most (default: 10000)")
    for action, count in ((walk, "strips between samples, without --images"), (shift, "images to take from the data set, without --images")):
        action.add_argument("out", type=Path, metavar="OUT", help="FILE.png: one sheet; FILE.npy: float32 [rows, columns, H, W, C] in [-1, 1]")
        action.add_argument("--images", type=Path, nargs="+", default=[], metavar="PATH", help="images of your own, or folders of them")
        action.add_argument("--n", type=int, default=8, help=f"{count} (default: 8)")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
