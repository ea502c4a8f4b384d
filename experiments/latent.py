"""Walk through the codes of a trained run: images between two codes, as a sheet or an animation, and images with an attribute added.

    python -m experiments.latent runs/dcgan-digits interpolate walk.gif                             a tour of samples, as an animation
    python -m experiments.latent runs/cgan-digits interpolate walk.png --labels 3 5                 strips from one sample to another
    python -m experiments.latent runs/styles interpolate walk.webp --truncation 0.7                 StyleGAN, in its styles w
    python -m experiments.latent runs/styles interpolate walk.gif --images a.npz b.npz c.npz        between results of experiments.project
    python -m experiments.latent runs/vaegan-faces64 interpolate walk.png --images a.jpg b.jpg      from one image to the next
    python -m experiments.latent runs/vaegan-digits attribute to3.png --data digits --to 3 --from 7
    python -m experiments.latent runs/vaegan-faces64 attribute smile.png --data 'attributes:celeba?table=list_attr_celeba.txt' --to Smiling

`interpolate` is for every family that draws images from noise, `attribute` for those that encode images, too (vaegan). Between samples of a normal
distribution the way is an arc; between others, between images and in w it is straight (--path). Reads the run directory, and the files it is given.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.sample import chosen_labels
from experiments.support import animation, image_files, latent_codes, runs
from experiments.support.common import one_sentence_errors, seed, short_name
from experiments.support.latent_codes import Model
from jaxgan.data.dataset import Dataset
from jaxgan.errors import require
from jaxgan.family import Encodes, conditioning
from jaxgan.pictures.images import save_png, tile, write_whole

ENDINGS = (".png", ".npy", *animation.KINDS)
MOST_PANELS = 10
"""Classes that an animation shows side by side if none are named."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a sheet (.png), an array (.npy) or an animation and print where. Leaves with status 2 and one sentence where that is impossible."""
    options = _parser().parse_args(arguments)
    with one_sentence_errors():
        walks = options.action == "interpolate"
        endings, suffix = ENDINGS if walks else ENDINGS[:2], options.out.suffix.lower()
        require(
            suffix in endings,
            f"OUT must end in {', '.join(endings[:-1])} or {endings[-1]}, got {options.out}",
        )
        require(options.n >= 1, f"--n must be at least 1, got {options.n}")
        family, config, state = runs.load(options.run, family=options.family)
        if not walks:
            require(
                isinstance(family, Encodes),
                f"{short_name(family)} cannot encode images, so attributes cannot be added to them: give a run of vaegan",
            )
            print(write(options.out, move(latent_codes.prepare(family, config, state), options)))
            return
        model = latent_codes.prepare(family, config, state, options.space, options.truncation)
        labels = chosen_labels(
            options.labels,
            conditioning(family, config).classes,
            runs.names(options.run).classes if options.labels else (),
        )
        if suffix in animation.KINDS:
            print(
                animation.write(
                    options.out, tour(model, options, labels), options.frames_per_second
                )
            )
        else:
            print(write(options.out, interpolate(model, options, labels)))


# --------------------------------------------------------------------------------------------------------------- interpolation


def interpolate(model: Model, options: argparse.Namespace, labels: np.ndarray | None) -> np.ndarray:
    """Strips [rows, columns, H, W, C] of images whose codes lie evenly on the way.

    Between each given image and the next, which stand at both ends of a strip; else between two samples, `options.n` strips, of the classes in turn.
    """
    steps = 9 if options.steps is None else options.steps
    require(steps >= 2, f"--steps must be at least 2, got {steps}")
    given = _given(model, options)
    if given is None:
        pairs = None if labels is None else np.repeat(np.resize(labels, options.n), 2)
        codes = model.sample(options.seed, 2 * options.n, pairs)
        starts, ends = codes[::2], codes[1::2]
    else:
        starts, ends = given[0][:-1], given[0][1:]
    way = latent_codes.between(starts, ends, np.linspace(0, 1, steps), _path(model, options))
    strips = _decoded(
        model,
        way,
        None
        if labels is None or given is not None
        else np.repeat(np.resize(labels, len(way)), steps),
    )
    return (
        strips
        if given is None
        else np.concatenate([given[1][:-1, None], strips, given[1][1:, None]], axis=1)
    )


def tour(model: Model, options: argparse.Namespace, labels: np.ndarray | None) -> list[np.ndarray]:
    """Frames [rows, columns, H, W, C] of a closed tour: from each of `options.n` samples, or of the given images, to the next, and from the last to the first.

    With classes, a panel for each, all on the same latents.
    """
    steps = 16 if options.steps is None else options.steps
    require(steps >= 1, f"--steps must be at least 1, got {steps}")
    require(
        0 < options.frames_per_second <= 100,
        f"--frames-per-second must be above 0 and at most 100, got {options.frames_per_second}",
    )
    given = _given(model, options)
    require(
        given is not None or options.n >= 2,
        f"--n must be at least 2, to go from one to the next, got {options.n}",
    )
    panels: list[int | None] = (
        [None]
        if labels is None or given is not None
        else list(labels if options.labels else labels[:MOST_PANELS])
    )
    shown = []
    for label in panels:
        own = None if label is None else np.full(options.n, label, np.int32)
        codes = model.sample(options.seed, options.n, own) if given is None else given[0]
        way = latent_codes.between(
            codes, np.roll(codes, -1, axis=0), np.arange(steps) / steps, _path(model, options)
        )
        shown.append(
            _decoded(
                model, way, None if label is None else np.full(len(codes) * steps, label, np.int32)
            )
        )
    columns = int(np.ceil(np.sqrt(len(shown))))
    blank = [np.full_like(shown[0], -1)] * (-len(shown) % columns)
    films = np.stack([*shown, *blank]).reshape(-1, columns, len(codes) * steps, *shown[0].shape[2:])
    return [films[:, :, i] for i in range(films.shape[2])]


def _given(model: Model, options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray] | None:
    """Codes and images of --images; None without."""
    require(
        len(options.images) != 1 or options.images[0].is_dir(),
        "--images needs two images at least, to go from one to the next",
    )
    files = [file for path in options.images for file in _files(path)]
    require(
        len(files) != 1,
        f"--images needs two images at least, to go from one to the next: {files[:1]} is one",
    )
    return model.read(files) if files else None


def _files(path: Path) -> list[Path]:
    return [path] if path.suffix.lower() == ".npz" else [file for _, file in image_files.find(path)]


def _path(model: Model, options: argparse.Namespace) -> latent_codes.Way:
    return options.path or ("line" if options.images else model.path)


# ------------------------------------------------------------------------------------------------------------------ attributes


def move(model: Model, options: argparse.Namespace) -> np.ndarray:
    """Rows [n, 1 + strengths, H, W, C] of images: as given, and then decoded with the attribute's vector added to their code, times each strength.

    The vector is the difference of mean codes, of images that have the attribute (or class) `to` and of those that have `origin`, or have not `to`. Of several
    data sets, those count that tell it. Without images given, the first of the latter are taken. Source: Larsen et al. 2015, section 3.2.
    """
    from jaxgan import data

    require(options.limit >= 2, f"--limit must be at least 2, got {options.limit}")
    dataset = data.open(options.data, image_size=model.image_size, channels=model.channels)
    require(
        "image" in dataset.arrays,
        f"{options.data} holds pairs or two domains: give one of classes or attributes",
    )
    count = min(
        dataset.size, options.limit
    )  # at random, as folders come class by class and names may alternate between two kinds
    rows = np.sort(np.random.default_rng(0).choice(dataset.size, count, replace=False))
    with_it = members(dataset, options.to, "--to")[rows]
    without = (
        (told(dataset, options.to)[rows] & ~with_it)
        if options.origin is None
        else members(dataset, options.origin, "--from")[rows]
    )
    names = (options.to, f"not {options.to}" if options.origin is None else options.origin)
    for group, name in zip((with_it, without), names, strict=True):
        require(
            group.any(),
            f"none of the {len(group)} images of {options.data} that were looked at is {name}: raise --limit, or name another",
        )
    either, pixels = with_it | without, dataset.arrays["image"]
    encode: Any = model.encode
    codes = encode(image_files.normalise(np.asarray(pixels[rows[either]])))
    vector = difference(codes, with_it[either], without[either])
    print(
        f"{names[0]}: {with_it.sum()} images; {names[1]}: {without.sum()}; their mean codes are {np.linalg.norm(vector):.3g} apart"
    )
    files = [file for path in options.images for file in _files(path)]
    if files:
        images = model.read(files)[1]
    else:
        images = image_files.normalise(np.asarray(pixels[rows[without][: options.n]]))
    strengths = np.array(options.strengths, np.float32)[None, :, None]
    moved = _decoded(model, encode(images)[:, None] + strengths * vector, None)
    return np.concatenate([images[:, None], moved], axis=1)


def members(dataset: Dataset, name: str, flag: str) -> np.ndarray:
    """Which images have this attribute or are of this class, bool [N]. Raises `ValueError` for a name that is not there."""
    if name in dataset.attributes:
        return np.asarray(dataset.arrays["attributes"])[:, dataset.attributes.index(name)] == 1
    if name in dataset.classes:
        return np.asarray(dataset.arrays["label"]) == dataset.classes.index(name)
    known = (*dataset.attributes, *dataset.classes)
    require(
        known,
        f"{dataset.name} has no classes and no attributes: use sub-folders, a labels.csv, or attributes:PATH",
    )
    shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    require(
        False,
        f"{flag} must be a class or attribute of {dataset.name}, which are {shown}, got {name!r}",
    )
    return np.zeros(0, bool)


def told(dataset: Dataset, name: str) -> np.ndarray:
    """Of which images it is known whether they have this attribute or class, bool [N]."""
    if name in dataset.attributes:
        return dataset.told[:, dataset.attributes.index(name)]
    return np.ones(dataset.size, bool)


def difference(codes: np.ndarray, with_it: np.ndarray, without: np.ndarray) -> np.ndarray:
    """Codes [N, Z] and two groups bool [N] -> difference of their mean codes, float32 [Z], summed in float64."""
    return (
        codes[with_it].mean(axis=0, dtype=np.float64)
        - codes[without].mean(axis=0, dtype=np.float64)
    ).astype(np.float32)


# ------------------------------------------------------------------------------------------------------------------ images out


def _decoded(model: Model, codes: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """Codes [rows, columns, D] and labels [rows * columns] -> images [rows, columns, H, W, C]."""
    images = model.decode(codes.reshape(-1, codes.shape[-1]), labels)
    return images.reshape(*codes.shape[:2], *images.shape[1:])


def write(out: Path, grid: np.ndarray) -> Path:
    """Write images [rows, columns, H, W, C]: as one sheet (.png) or as float32 (.npy). Returns the path."""
    if out.suffix.lower() == ".png":
        return save_png(out, tile(grid))
    buffer = io.BytesIO()
    np.save(buffer, grid.astype(np.float32))
    return write_whole(out, buffer.getvalue())


def _parser() -> argparse.ArgumentParser:
    formats: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser(
        prog="python -m experiments.latent", description=__doc__, **formats
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run directory")
    runs.add_family(parser)
    actions = parser.add_subparsers(dest="action", required=True)
    walk = actions.add_parser("interpolate", help="images between two codes")
    walk.add_argument(
        "--steps",
        type=int,
        help="images in a strip (default: 9), or frames from one code to the next (default: 16)",
    )
    walk.add_argument("--seed", type=seed, default=0, help="decides the samples (default: 0)")
    walk.add_argument(
        "--labels",
        nargs="+",
        default=[],
        metavar="CLASS",
        help="of a run with classes: strips of these in turn, or a panel for each",
    )
    walk.add_argument(
        "--path",
        choices=("line", "arc"),
        help="straight, or evenly in angle (default: arc between samples of a normal distribution)",
    )
    walk.add_argument(
        "--space",
        choices=("w", "z"),
        help="stylegan: go between styles or between latents (default: w)",
    )
    walk.add_argument(
        "--truncation",
        type=float,
        help="stylegan: how far styles go from their mean; 1 is all the way, 0.7 usual for pictures",
    )
    walk.add_argument(
        "--frames-per-second", type=float, default=20, help="of an animation (default: 20)"
    )
    shift = actions.add_parser(
        "attribute", help="add the difference of two groups' mean codes to images"
    )
    shift.add_argument(
        "--data",
        required=True,
        metavar="SPEC",
        help="data set with classes or attributes (digits, folder:DIR, attributes:PATH, ...)",
    )
    shift.add_argument("--to", required=True, metavar="NAME", help="class or attribute to add")
    shift.add_argument(
        "--from",
        dest="origin",
        metavar="NAME",
        help="class or attribute to take away (default: all that is not --to)",
    )
    strengths = "how much of the difference to add, for each column; 0 is the reconstruction (default: 0 0.5 1 1.5)"
    shift.add_argument(
        "--strengths", type=float, nargs="+", default=[0.0, 0.5, 1.0, 1.5], help=strengths
    )
    shift.add_argument(
        "--limit",
        type=int,
        default=10_000,
        help="images of the data set to take means over at most (default: 10000)",
    )
    samples = "without --images: strips between samples, or samples on the tour of an animation"
    for action, count in (
        (walk, samples),
        (shift, "images to take from the data set, without --images"),
    ):
        endings = "FILE.png: one sheet; FILE.npy: float32 [rows, columns, H, W, C] in [-1, 1]"
        action.add_argument(
            "out",
            type=Path,
            metavar="OUT",
            help=endings + ("; FILE.gif, .webp, .apng: an animation" if action is walk else ""),
        )
        own = "images of your own, or folders of them" + (
            "; of stylegan, .npz files of experiments.project" if action is walk else ""
        )
        action.add_argument("--images", type=Path, nargs="+", default=[], metavar="PATH", help=own)
        action.add_argument("--n", type=int, default=8, help=f"{count} (default: 8)")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
