"""Translate images with a trained run.

    python -m experiments.translate runs/cyclegan-maps photos translated --direction b2a
    python -m experiments.translate runs/stargan-digits digits red --attributes red
    python -m experiments.translate runs/stargan-digits digits every --grid
    python -m experiments.translate runs/spade-city maps streets --style dusk.jpg

Reads the run directory and the images, nothing else. Image i of the sorted list depends on the seed, i and its own pixels only.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np
from tqdm import tqdm

from experiments.support import label_maps, runs
from experiments.support.attribute_targets import targets
from experiments.support.common import check_seed, one_sentence_errors, short_name
from experiments.support.image_files import Item, assign, find, normalise, read, write
from jaxgan.data.images import BadImage, quiet
from jaxgan.errors import DataError, RunError, require, require_seed
from jaxgan.family import Translates, conditioning
from jaxgan.pictures import tiles
from jaxgan.report import gallery

PAGE = "index.html"


@dataclass(frozen=True)
class Options:
    """Translate an image, or all images of a folder and its sub-folders, with a trained run.

    Outputs are PNG files of the inputs' names and bit depth. Arrays (.npy) give arrays, and so do images where the run makes something other than grey, RGB
    or RGBA. A folder also gets index.html, inputs beside outputs. The networks are compiled once for every size of image (or tile).
    """

    run: Path
    """RUN: directory of a run whose family translates images (pix2pix, cyclegan, stargan, spade)."""
    input: Path
    """INPUT: an image; a .npy array [H, W, C] of uint8, uint16, or float32 in [-1, 1]; or a folder of these. Of a spade run, label maps: PNG files whose
    pixels are ids, grey or with a palette."""
    output: Path
    """OUTPUT: folder to write to, keeping sub-folders; for one image, also a file name."""
    family: str = ""
    """Module of the run's family where it is not the library's: FILE.py or my.module; it is run, so name one you trust."""
    direction: Literal["a2b", "b2a"] | None = None
    """Which way; otherwise the run's own, or a2b where it knows both."""
    attributes: str | None = None
    """Of a stargan run, what to translate to: names of the attributes that are on, with commas between; all others are off, and of each exclusive group
    one must be named. With --grid: what the images show, needed unless all attributes are one group."""
    grid: bool = False
    """Of a stargan run, translate to every target domain: each of an exclusive group, and the opposite of each other attribute. Each domain is a folder of
    OUTPUT, and the page has a row for each image."""
    unknown: str | None = None
    """Of a spade run, the id of pixels of no class, or several with commas; with 0 among them, class 0 has the id 1. Otherwise as in the run's data, or 255."""
    instances: Path | None = None
    """Of a spade run with instance edges, the maps of instances: a folder of files of INPUT's names, or a file. Without, each class is one thing."""
    style: Path | None = None
    """Of a spade run with styles, the image whose style to take; without, each map draws its own."""
    seed: int = 0
    """Decides what the networks draw (dropout, styles)."""
    tile: int = 1024
    """Translate images with a longer side than this in overlapping tiles; 0 for never. Instance norm then sees one tile at a time, so tones may vary."""
    overlap: int = 128
    """Pixels that neighbouring tiles share at least, where one fades into the other; at most half a tile."""
    batch: int = 1
    """Images of equal size, or tiles, translated at once; more may be faster on an accelerator."""
    strict: bool = False
    """Stop at the first unusable image rather than leave it out."""
    resume: bool = False
    """Keep the outputs that are there already, whatever made them, and add the missing ones."""
    overwrite: bool = False
    """Replace the outputs that are there already."""


class Picture(NamedTuple):
    """An item that was read: uint8, uint16 or float32 [H, W, C] of the channels that the model takes, or a label map (see `label_maps`)."""

    item: Item
    pixels: np.ndarray


class Model(NamedTuple):
    """A run ready to translate, in one way or several: float32 [B, H, W, C] in [-1, 1], their numbers and ways, int32 [B] -> float32 [B, H, W, C'].

    ways: what to call each. folders: of each way, below OUTPUT; () where there is one way, without a folder. channels: C and C'.
    read: a file -> a `Picture`'s pixels, of which `normalise` makes what `apply` takes. show: a file -> what a person looks at.
    """

    apply: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    name: str
    ways: tuple[str, ...]
    folders: tuple[str, ...]
    channels: tuple[int, int]
    read: Callable[[Path], np.ndarray]
    normalise: Callable[[np.ndarray], np.ndarray] = normalise
    show: Callable[[Path], np.ndarray] = read

    @property
    def title(self) -> str:
        """The family, and the way if there is one."""
        return f"{self.name}, every domain" if self.folders else f"{self.name} {self.ways[0]}"


@dataclass
class Outcome:
    """What was done: items written, items kept from before, why others were left out."""

    written: list[Item] = field(default_factory=list)
    kept: list[Item] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> None:
    """Translate, and print where. Exit status 1 if nothing could be translated, 2 if it was refused, 130 if it was interrupted."""
    import tyro

    arguments = sys.argv[1:] if arguments is None else list(arguments)
    config = (tyro.conf.PositionalRequiredArgs, tyro.conf.FlagCreatePairsOff)
    check_seed(arguments)
    options = tyro.cli(
        Options, prog="python -m experiments.translate", args=arguments, config=config
    )
    with one_sentence_errors():
        status = translate(options, f"python -m experiments.translate {shlex.join(arguments)}")
    if status:
        sys.exit(status)


def translate(options: Options, command: str) -> int:
    """Translate as `options` say; returns the exit status. Raises `ValueError`, `DataError`, `CheckpointError` or `RunError` where that is impossible.

    Args:
      command: for the page.
    """
    check(options)
    sources = find(options.input)
    model = prepare(*runs.load(options.run, family=options.family), options)
    items = assign(
        sources,
        options.input,
        options.output,
        model.channels[1],
        options.resume or options.overwrite,
        model.folders,
    )
    outcome = Outcome(kept=[item for item in items if options.resume and item.target.exists()])
    kept = set(outcome.kept)
    try:
        translate_all(model, [item for item in items if item not in kept], options, outcome)
    except KeyboardInterrupt:
        count = len(outcome.written)
        print(
            f"interrupted: {count} of {len(items)} images were written, all of them whole: --resume (without --overwrite) adds the others",
            file=sys.stderr,
        )
        return 130
    if outcome.bad:
        print(
            f"{len(outcome.bad)} of {len(sources)} images were left out:",
            *outcome.bad,
            sep="\n  ",
            file=sys.stderr,
        )
    done = sorted(outcome.written + outcome.kept)
    if options.input.is_dir() or model.folders:
        print(write_page(options, command, model, done, outcome.bad))
    else:
        print(*(item.target for item in done), sep="\n", end="\n" * bool(done))
    return 0 if done else 1


# ------------------------------------------------------------------------------------------------------------- what to do


def check(options: Options) -> None:
    """Raise `ValueError` for settings that cannot be, before anything is read."""
    require(
        not (options.resume and options.overwrite),
        "--resume keeps outputs and --overwrite replaces them: give one of the two",
    )
    require(options.batch >= 1, f"--batch must be at least 1, got {options.batch}")
    require(
        options.tile >= 0,
        f"--tile must be a number of pixels, or 0 for no tiles, got {options.tile}",
    )
    fits = options.overlap >= 0 and (not options.tile or 2 * options.overlap <= options.tile)
    require(
        fits,
        f"--overlap must be from 0 to half of --tile ({options.tile // 2}), got {options.overlap}",
    )


# -------------------------------------------------------------------------------------------------------------- translate


def prepare(family: ModuleType, config: Any, state: Any, options: Options) -> Model:
    """The run as a compiled function that knows each image's draws. Raises `ValueError` if the family draws images from noise, or cannot go that way."""
    import jax

    name, ways, folders, channels, fixed, told = ask(family, config, options)
    key, maps = jax.random.key(require_seed(options.seed)), takes_maps(family, config)
    translated = (
        label_maps.translation(family, config, state, options.style) if maps else family.translate
    )

    def one(
        state: Any, image: jax.Array, index: jax.Array, told: dict[str, jax.Array]
    ) -> jax.Array:
        return translated(config, state, image[None], **fixed, **told, key=key, first=index)[0]

    program = jax.jit(jax.vmap(one, in_axes=(None, 0, 0, 0)))

    def apply(images: np.ndarray, indices: np.ndarray, way: np.ndarray) -> np.ndarray:
        try:
            return np.asarray(
                program(
                    state, images, indices, {name: values[way] for name, values in told.items()}
                ),
                np.float32,
            )
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            batch, height, width, _ = images.shape
            raise RunError(
                f"{batch} at once of {height}x{width} pixels do not fit into memory: lower --tile (or give one), or --batch"
            ) from error

    if not maps:
        return Model(apply, name, ways, folders, channels, lambda path: read(path, channels[0]))
    reader = label_maps.reader(
        config, options.run, options.input, options.unknown, options.instances
    )
    return Model(
        apply,
        name,
        ways,
        folders,
        channels,
        reader,
        np.asarray,
        lambda path: label_maps.coloured(config, reader(path)),
    )


def takes_maps(family: ModuleType, config: Any) -> bool:
    """Whether the family starts from label maps."""
    return conditioning(family, config).kind == "layout"


class Request(NamedTuple):
    """As in `Model`; and for `translate`, `fixed`: settings; `told`: arrays [ways, ...] of what differs between the ways."""

    name: str
    ways: tuple[str, ...]
    folders: tuple[str, ...]
    channels: tuple[int, int]
    fixed: dict[str, Any]
    told: dict[str, np.ndarray]


def ask(family: ModuleType, config: Any, options: Options) -> Request:
    """What the options ask of this run. Raises `ValueError` if it cannot be asked that."""
    name, told = short_name(family), conditioning(family, config)
    require(
        isinstance(family, Translates),
        f"{name} draws images from noise and translates none: use python -m experiments.sample",
    )
    if takes_maps(family, config):
        unused = {
            "--direction": options.direction,
            "--attributes": options.attributes,
            "--grid": options.grid or None,
        }
        for flag, value in unused.items():
            require(value is None, f"this {name} run makes images of label maps: leave out {flag}")
        return Request(name, ("painted",), (), (config.channels, config.channels), {}, {})
    for flag, path in (
        ("--unknown", options.unknown),
        ("--instances", options.instances),
        ("--style", options.style),
    ):
        require(
            path is None,
            f"this {name} run starts from images, not from label maps: leave out {flag}",
        )
    if told.kind == "attributes":
        require(
            options.direction is None,
            f"this {name} run translates between attributes, not between two sides: leave out --direction",
        )
        asked = targets(config, options.attributes, options.grid)
        return Request(
            name,
            asked.titles,
            asked.folders if options.grid else (),
            (config.channels, config.channels),
            {},
            asked.told,
        )
    given = "--attributes" if options.attributes is not None else "--grid"
    require(
        options.attributes is None and not options.grid,
        f"this {name} run knows no attributes: leave out {given}, or name a stargan run",
    )
    direction = options.direction or told.directions[0]
    require(
        direction in told.directions,
        f"this {name} run translates {told.directions[0]} only: leave out --direction {direction}, or train a run for it",
    )
    channels = told.sides if direction == "a2b" else told.sides[::-1]
    return Request(name, (direction,), (), channels, {"direction": direction}, {})


def translate_all(model: Model, items: Sequence[Item], options: Options, outcome: Outcome) -> None:
    """Translate `items` and note in `outcome` what became of each as soon as it is known. Raises `DataError` for a bad one if `options.strict`."""
    with quiet(), tqdm(total=len(items), desc=model.title, unit=" images", disable=None) as bar:

        def pictures() -> Iterator[Picture]:
            for _, ways in groupby(items, lambda item: item.number):
                same = list(ways)
                try:
                    pixels = model.read(same[0].source)
                except BadImage as error:
                    if options.strict:
                        raise DataError(
                            f"{same[0].source} {error}: repair or remove it, or leave out --strict"
                        ) from None
                    outcome.bad.append(f"{same[0].name} {error}")
                    bar.update(len(same))
                    continue
                yield from (Picture(item, pixels) for item in same)

        for group in groups(pictures(), options):
            for picture, image in zip(group, translate_group(model, group, options), strict=True):
                item = picture.item
                note = f"{model.name} {model.ways[item.way]} of {options.run.resolve().name}, seed {options.seed}, image {item.number}"
                write(item.target, image, picture.pixels.dtype, note)
                outcome.written.append(item)
                bar.update()


def groups(pictures: Iterator[Picture], options: Options) -> Iterator[list[Picture]]:
    """Neighbours of equal size, up to `options.batch` together; what is cut into tiles is alone."""
    group: list[Picture] = []
    for picture in pictures:
        shape = picture.pixels.shape
        if group and group[0].pixels.shape != shape:
            yield group
            group = []
        group.append(picture)
        if len(group) == options.batch or _tile(shape, options) < max(shape[:2]):
            yield group
            group = []
    if group:
        yield group


def _tile(shape: tuple[int, ...], options: Options) -> int:
    return options.tile or max(*shape[:2], options.overlap + 1)


def translate_group(
    model: Model, group: Sequence[Picture], options: Options
) -> Iterator[np.ndarray]:
    """The translations float32 [H, W, C'] in [-1, 1] of images of equal size, one by one. All passes have one shape: the last batch is filled up."""
    shape = group[0].pixels.shape
    layout = shape[:2], _tile(shape, options), min(options.overlap, _tile(shape, options) - 1)
    boxes = tiles.boxes(*layout)
    patches = [
        (picture.pixels[box], picture.item.number, picture.item.way)
        for picture in group
        for box in boxes
    ]

    def results() -> Iterator[np.ndarray]:
        for start in range(0, len(patches), options.batch):
            part = patches[start : start + options.batch]
            filled = part + part[-1:] * (options.batch - len(part))
            pixels, numbers, ways = zip(*filled, strict=True)
            yield from model.apply(
                np.stack([*map(model.normalise, pixels)]),
                np.array(numbers, np.int32),
                np.array(ways, np.int32),
            )[: len(part)]

    parts = results()
    for _ in group:
        yield tiles.blend(islice(parts, len(boxes)), *layout)


# ------------------------------------------------------------------------------------------------------------------- page


def write_page(
    options: Options, command: str, model: Model, done: Sequence[Item], bad: Sequence[str]
) -> Path:
    """Write OUTPUT/index.html from the files: the first inputs (`gallery.SHOWN` thumbnails in all) beside their translations. Returns its path."""
    images = [list(items) for _, items in groupby(done, lambda item: item.number)]

    def rows() -> Iterator[gallery.Row]:
        for items in images[: max(1, gallery.SHOWN // (1 + len(model.ways)))]:
            try:
                yield gallery.Row(
                    items[0].name, model.show(items[0].source), [result(item) for item in items]
                )
            except BadImage:  # removed meanwhile
                continue

    def result(item: Item) -> gallery.Result:
        link = item.target.relative_to(options.output).as_posix()
        return gallery.Result(
            read(item.target), link, model.ways[item.way] if model.folders else "translated"
        )

    way = (
        "domains"
        if model.folders
        else "attributes"
        if options.attributes is not None
        else "direction"
    )
    facts = {"run": str(options.run), "family": model.name, way: "; ".join(model.ways), "seed": str(options.seed),
             "tiles": f"above {options.tile} pixels, overlap {options.overlap}" if options.tile else "none",
             "from": str(options.input), "command": command}  # fmt: skip
    with quiet():
        return gallery.write(
            options.output / PAGE,
            f"{model.title}: {options.run.resolve().name}",
            facts,
            rows(),
            len(images),
            bad,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
