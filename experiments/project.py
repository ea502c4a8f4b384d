"""Find images in a trained StyleGAN: the style w and the noise of which its generator makes the nearest to each.

    python -m experiments.project runs/styles face.jpg projected                                      target | projection, and w and noise
    python -m experiments.project runs/styles faces/ projected --features vgg16:vgg16-397923af.pth
    python -m experiments.latent runs/styles interpolate walk.gif --images projected/a.npz projected/b.npz

OUT is a folder, of NAME.png and NAME.npz for each image: `w` float32 [Z], a plane `noise/LAYER` for each layer, `image` float32 [H, W, C] in [-1, 1],
and the `distances` float32 [steps] on the way. Distances are mean squared errors at every scale (halved down to 4 pixels), and, with --features, also
between features of torchvision's VGG, whose file is not downloaded: what the paper does, but for LPIPS's learned weights, and better for photographs.

Reads the run directory, the images and that file. An image depends on the seed and itself only. Source: Karras et al. 2020, appendix D.
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
from tqdm import tqdm

from experiments.support import image_files, runs
from experiments.support.common import one_sentence_errors, seed, short_name
from jaxgan.data.images import quiet
from jaxgan.errors import DataError, RunError, require
from jaxgan.family import Styled, conditioning
from jaxgan.pictures.images import save_png, tile, write_whole

NOISE = "noise/"
"""How the names of planes of noise begin in a .npz."""


class Found(NamedTuple):
    """A projection in NumPy: see `jaxgan.projection.Projection`; noise by the names of its layers."""

    w: np.ndarray
    noise: dict[str, np.ndarray]
    image: np.ndarray
    distances: np.ndarray


def main(arguments: Sequence[str] | None = None) -> None:
    """Project, and print where to. Leaves with status 2 and one sentence where that is impossible."""
    options = _parser().parse_args(arguments)
    with one_sentence_errors():
        family, config, state = runs.load(options.run, family=options.family)
        targets = assign(options.images, options.out, options.overwrite)
        search = prepare(family, config, state, options)
        for file, target in targets:
            with quiet():
                image = image_files.fitted(file, tuple(config.image_size), config.channels)
            found = search(image, file.name)
            save_png(
                target.with_name(target.name + ".png"), tile(np.stack([image, found.image])[None])
            )
            path = save(target.with_name(target.name + ".npz"), found)
            print(
                f"{path} (and .png): distance {found.distances[0]:.4g} at first, {found.distances[-1]:.4g} at last"
            )


def assign(paths: Sequence[Path], out: Path, overwrite: bool) -> list[tuple[Path, Path]]:
    """Each image at or below `paths`, and the path in the folder `out`, without an ending, that its results have.

    Raises `DataError` without images, `RunError` if two would have one name, or a file is there that `overwrite` does not allow to replace.
    """
    files = [file for path in paths for _, file in image_files.find(path)]
    if out.is_file():
        raise RunError(f"OUT {out} is a file, and results are files of a folder: name a folder")
    taken: dict[str, Path] = {}
    for file in files:
        if file.stem in taken:
            raise RunError(
                f"{file} and {taken[file.stem]} would both become {out / file.stem}.png: rename one of them, or project one at a time"
            )
        taken[file.stem] = file
        for target in (out / f"{file.stem}.png", out / f"{file.stem}.npz"):
            if target.exists() and (
                not overwrite or target.resolve() in {other.resolve() for other in files}
            ):
                raise RunError(
                    f"{target} is there already: give another folder, or --overwrite if it is no image of yours"
                )
    return [(file, out / name) for name, file in taken.items()]


def prepare(
    family: ModuleType, config: Any, state: Any, options: argparse.Namespace
) -> Callable[[np.ndarray, str], Found]:
    """(image float32 [H, W, C] in [-1, 1], its name) -> what is found. Raises `ValueError` or `DataError` for another family, settings or a file."""
    import jax

    from jaxgan import projection

    require(
        isinstance(family, Styled),
        f"{short_name(family)} has no styles to project into: give a run of stylegan",
    )
    settings, features = (
        projection.Settings(steps=options.steps, learning_rate=options.learning_rate),
        read_features(options.features),
    )
    classes = conditioning(family, config).classes
    fits = (
        options.label is None
        if not classes
        else options.label is not None and 0 <= options.label < classes
    )
    require(
        fits,
        f"--label must be a class from 0 to {classes - 1}"
        if classes
        else "this run has no classes: leave out --label",
    )
    begin = jax.jit(
        lambda state, key: projection.begin(config, state, key, settings, options.label)
    )
    advance = jax.jit(
        lambda state, search, wanted, features: projection.advance(
            config, state, search, wanted, settings, features
        ),
        donate_argnums=1,
    )
    render, looked_at = (
        jax.jit(partial(projection.render, config)),
        jax.jit(lambda features, image: features(image)),
    )
    first, key = None, jax.random.key(options.seed)

    def search(image: np.ndarray, name: str) -> Found:
        nonlocal first
        first = begin(state, key) if first is None else first
        wanted, at, distances = (
            looked_at(features, image[None]),
            jax.tree.map(lambda leaf: leaf.copy(), first),
            [],
        )
        for _ in tqdm(range(settings.steps), desc=name, unit=" steps", disable=None):
            at, distance = advance(state, at, wanted, features)
            distances.append(distance)
        noise = {
            jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
            for path, leaf in jax.tree.leaves_with_path(at.point["noise"])
        }
        made = render(state, at.point["w"], at.point["noise"])
        return Found(
            np.asarray(at.point["w"]), noise, np.asarray(made), np.asarray(distances, np.float32)
        )

    return search


def read_features(text: str) -> Any:
    """What "pyramid" or "vgg16:FILE" means, for `projection.project`. Raises `ValueError` for another text, `DataError` for a file that is none."""
    import jax

    from jaxgan import projection
    from jaxgan.perceptual.vgg import STAGES

    kind, _, file = text.partition(":")
    require(
        text == "pyramid" or (kind in STAGES and file),
        f"--features must be pyramid, vgg16:FILE or vgg19:FILE, got {text!r}",
    )
    if text == "pyramid":
        return jax.tree_util.Partial(projection.pyramid)
    from jaxgan.perceptual import vgg_weights

    return jax.tree_util.Partial(partial(projection.vgg, kind), vgg_weights.read(kind, Path(file)))


# ------------------------------------------------------------------------------------------------------------------ files


def save(path: Path, found: Found) -> Path:
    """Write the .npz of a projection, whole or not at all. Returns the path."""
    planes = {NOISE + name: plane for name, plane in found.noise.items()}
    buffer = io.BytesIO()
    np.savez(buffer, w=found.w, image=found.image, distances=found.distances, **planes)  # type: ignore[arg-type]
    return write_whole(path, buffer.getvalue())


def load(path: Path, state: Any) -> tuple[np.ndarray, Any]:
    """w [Z] and the noise, as `state.ema["noise"]`, of a projection's .npz. Raises `DataError` if it is none, or not of this run's generator."""
    import jax

    from jaxgan.convert import files

    arrays = files.read(path)
    leaves, tree = jax.tree.flatten_with_path(state.ema["noise"])
    wanted = {
        NOISE + jax.tree_util.keystr(at, simple=True, separator="/"): leaf.shape
        for at, leaf in leaves
    }
    wanted["w"] = state.ema["average"]["mapping"]["w"].shape
    for name, shape in wanted.items():
        if arrays.get(name, np.zeros((0, 0, 0))).shape != shape:
            raise DataError(
                f"{path} is no projection into this run ({name} of shape {shape} is missing): make it by python -m experiments.project"
            )
    return arrays["w"], jax.tree.unflatten(tree, [arrays[name] for name in wanted if name != "w"])


def _parser() -> argparse.ArgumentParser:
    formats: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser(
        prog="python -m experiments.project", description=__doc__, **formats
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run directory of stylegan")
    parser.add_argument(
        "images",
        type=Path,
        nargs="+",
        metavar="IMAGE",
        help="images, or folders of them; scaled and cut to the run's size",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write to")
    parser.add_argument(
        "--steps", type=int, default=1000, help="steps of the search (default: 1000)"
    )
    parser.add_argument(
        "--learning-rate", type=float, default=0.1, help="at its highest (default: 0.1)"
    )
    parser.add_argument(
        "--features",
        default="pyramid",
        metavar="WHAT",
        help="pyramid (of pixels alone), vgg16:FILE or vgg19:FILE (default: pyramid)",
    )
    parser.add_argument(
        "--label", type=int, help="of a run with classes, the one to begin at the mean of"
    )
    runs.add_family(parser)
    parser.add_argument(
        "--seed", type=seed, default=0, help="decides all that is drawn (default: 0)"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace results that are there already"
    )
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
