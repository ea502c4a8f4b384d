"""Paint a label map and see what a trained SPADE makes of it: `python -m experiments.spade_paint runs/spade-digits`.

Serves a page on this machine only, until ctrl-C. Reads the run directory and nothing else; classes have the names that the run's data had, or `--names`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from experiments.support import runs
from experiments.support.common import one_sentence_errors, short_name
from experiments.support.paint_server import Server, Studio, fitted_map
from jaxgan.errors import DataError, require
from jaxgan.family import conditioning


def main(arguments: Sequence[str] | None = None) -> None:
    """Load the run, compile, print where the page is, and serve it until ctrl-C. Exit status 2 and one sentence if that is impossible."""
    options = _parser().parse_args(arguments)
    with one_sentence_errors():
        studio = studio_of(
            *runs.load(options.run, family=options.family), options.run, options.names
        )
        if options.map is not None:
            studio = starting_with(studio, options.map)
        with Server(studio, options.port) as server:
            print("compiling ...", flush=True)
            studio.generate(np.zeros((1, *studio.size), np.int32), seed=0, style=None)
            serve(server)


def serve(server: Server) -> None:
    """Print where the page is, and serve it until ctrl-C."""
    try:
        print(f"paint at {server.url} (ctrl-C ends)", flush=True)
        server.serve_forever()
    except KeyboardInterrupt:
        print("\nended")


def studio_of(family: ModuleType, config: Any, state: Any, run: Path, names: str = "") -> Studio:
    """What the page needs of a run. Raises `ValueError` if its family does not start from label maps, or for another number of names."""
    import jax

    require(
        conditioning(family, config).kind == "layout",
        f"{short_name(family)} does not start from label maps: choose a run of spade",
    )
    told = class_names(run, config.classes, names)
    told_of = conditioning(family, config)

    @jax.jit
    def translate(
        state: Any, layouts: jax.Array, style: jax.Array | None, key: jax.Array
    ) -> jax.Array:
        # What was painted does not say where one thing ends and the next of its class begins: each class is one thing.
        instances = {"instances": layouts} if told_of.instances else {}
        made: jax.Array = family.translate(
            config, state, layouts, style=style, key=key, **instances
        )
        return made

    encode = jax.jit(lambda state, image: family.encode_style(config, state, image))

    def generate(layouts: np.ndarray, *, seed: int, style: np.ndarray | None) -> np.ndarray:
        latent = None if style is None or not told_of.style_size else encode(state, style)
        return np.asarray(translate(state, layouts, latent, jax.random.key(seed)), np.float32)

    title = f"{run.resolve().name} at {int(state.images):,} images"
    return Studio(
        generate,
        title,
        tuple(config.image_size),
        config.channels,
        told,
        told_of.unknown,
        bool(told_of.style_size),
        _first_map(run),
    )


def class_names(run: Path, count: int, text: str = "") -> tuple[str, ...]:
    """Names of the classes, by `text` (with commas, or a file of a name each line), else by the run, else by its data, else "class 0", "class 1", ...

    Raises `DataError` for a `text` that is none or has another number of names.
    """
    from jaxgan.data import digit_views, layouts

    path, options = _spec(run)
    numbers, kept = tuple(map(str, range(count))), runs.names(run).classes
    if text:
        found = layouts.class_names("--names", text, Path())
        if len(found) != count:
            raise DataError(
                f"--names gives {len(found)} names, but the run has {count} classes: give one for each"
            )
    elif kept:
        found = kept
    elif path == "digits":
        found = digit_views.STROKES
    else:
        try:
            found = (
                layouts.class_names("", options["classes"], Path(path).expanduser())
                if "classes" in options
                else numbers
            )
        except DataError:  # the data may be gone
            found = numbers
    return (
        found
        if len(found) == count and found != numbers
        else tuple(f"class {number}" for number in numbers)
    )


def starting_with(studio: Studio, path: Path) -> Studio:
    """The studio with the ids of an image file on its canvas. Raises `DataError` if they are none or out of range."""
    import dataclasses

    from experiments.support.paint_server import BadRequest

    try:
        return dataclasses.replace(studio, start=fitted_map(studio, path.read_bytes()))
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror or error}): name an image file of class ids with --map"
        ) from None
    except BadRequest as error:
        raise DataError(
            f"{path} cannot be painted on, since {error}: name another with --map"
        ) from None


def _spec(run: Path) -> tuple[str, dict[str, str]]:
    """Path and options of the run's data; "" and {} where the run does not tell."""
    try:
        rest = json.loads((run / "config.json").read_text())["data"].partition(":")[2]
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return "", {}
    path, mark, query = rest.rpartition("?")
    return (path, dict(parse_qsl(query))) if mark else (rest, {})


def _first_map(run: Path) -> np.ndarray | None:
    """Of the embedded digits, the map of one that no run was trained on."""
    if _spec(run)[0] != "digits":
        return None
    from jaxgan import data

    config = json.loads((run / "config.json").read_text())["config"]
    return data.open(
        "layout:digits", split="test", image_size=tuple(config["image_size"]), progress=False
    ).arrays["layout"][3]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.spade_paint",
        description=(__doc__ or "").strip().split("\n\n")[0],
    )
    parser.add_argument("run", type=Path, help="run directory of experiments.spade")
    runs.add_family(parser)
    parser.add_argument(
        "--port",
        type=int,
        default=8765,
        help="port of the page (default: 8765); 0 takes any that is free",
    )
    parser.add_argument(
        "--names",
        default="",
        help="names of the classes, with commas, or a file of a name each line",
    )
    parser.add_argument("--map", type=Path, help="image file of class ids to begin with")
    return parser


if __name__ == "__main__":
    main()
