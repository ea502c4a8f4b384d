"""The command line that every family shares: a preset gives the defaults, flags change them, the data set decides shapes.

A family's module holds its presets and calls `main`. Errors in settings, data or runs end with one sentence and exit status 2.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from experiments.support import memory, runs
from jaxgan.data import Augment
from jaxgan.errors import JaxganError, require, require_seed
from jaxgan.family import conditioning

Resize = Literal["cover", "stretch", "width", "none"]
PLAIN = Augment()


@dataclasses.dataclass(frozen=True)
class Preset:
    """A recipe for one data set: where every flag starts from."""

    config: Any
    """The family's Config; image size, channels and classes are those of the data unless fixed below or given by flag."""
    data: str
    """Data spec."""
    images: int
    """Real images to train on."""
    batch_size: int = 64
    steps_per_call: int = 1
    augment: Augment = PLAIN
    image_size: tuple[int, int] | None = None
    """Size the networks see: the data is resized to it, plus the margin of `augment.crop`; None keeps the data's."""
    resize: Resize = "cover"
    rule: Callable[[Any, int], Any] | None = None
    """(config with the data's sizes, batch size) -> config, where a recipe depends on them; settings given by flag stay as they are."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How and where to train; none of it changes what a step calculates except data, batch size, seed, augmentation and initial weights."""

    preset: str = ""
    """Recipe that gives every default below."""
    data: str = "digits"
    """Data set: digits, tfds:NAME, idx:DIR, folder:DIR or zip:FILE; to translate: paired:DIR, unpaired:DIR (or two folders, DIR_A,DIR_B), tfds:cycle_gan/NAME,
    paired:digits or unpaired:digits; to translate between attributes: attributes:PATH or attributes:digits, and several sets at once,
    attributes:PATH+attributes:PATH; to paint by label maps: layout:DIR, layout:IMAGES,MAPS or layout:digits."""
    run: str = ""
    """Run directory, made or resumed; runs/FAMILY-PRESET if empty."""
    images: int = 0
    """Train until this many real images were shown."""
    batch_size: int = 64
    """Images per step, over all devices."""
    seed: int = 0
    """Decides initial weights, data order and every draw."""
    flip: bool = False
    """Mirror images left to right at random."""
    crop: int = 0
    """Train on random cuts from images that are larger by this many pixels, both ways."""
    rotate90: bool = False
    """Turn images by 0 to 3 quarter turns at random; square images only."""
    rotation: float = 0.0
    """Turn images by up to this many degrees at random, either way."""
    zoom: float = 0.0
    """Zoom images at random by up to the factor 1 + ZOOM, in or out."""
    resize: Resize = "cover"
    """How images come to the size of the networks: scaled to cover it and cut, stretched to it, scaled to its width (the height
    follows), or not at all."""
    devices: int = 0
    """Use this many devices; 0 for all there are."""
    parallel: Literal["jit", "pmap"] = "jit"
    """How a step is spread over devices; the result is the same."""
    steps_per_call: int = 1
    """Steps per dispatch; more is faster for small networks."""
    log_every: int = 0
    """Images between log lines; 0 for about 500 lines in all, and one in 10,000 images at least."""
    sample_every: int = 0
    """Images between sample grids; 0 for 20 grids in all, and one in 100,000 images at least."""
    checkpoint_every: int = 0
    """Images between checkpoints; 0 for 10 in all, and one in 200,000 images at least."""
    keep: int = 3
    """Newest checkpoints kept."""
    evaluate_every: int = 0
    """Images between evaluations of the generator on held-out images; 0 for none."""
    metrics: tuple[str, ...] = ()
    """What to measure then, such as: fid kid precision recall; by default what is usual for the family."""
    network: str = ""
    """Feature network: digits, mnist, fashion_mnist, inception:FILE, vgg16:FILE, vgg19:FILE or judge:FILE; by default that of the data, of the first three."""
    evaluate_samples: int = 0
    """Images made at each evaluation; 0 for 2,000."""
    keep_best: str = ""
    """Metric by which the best checkpoint is kept as well; needs evaluations."""
    patience: int = 0
    """Stop after so many evaluations without a better value of that metric, else of the first; 0 for never."""
    rollback: bool = False
    """Go on from the last checkpoint, with other draws, if the run meets or has met a NaN or an infinity."""
    init_from: str = ""
    """Run directory whose networks to start from, with fresh optimisers. Give the same again to resume."""
    family: str = ""
    """Module of the family of --init-from's run, where it is not the library's: FILE.py or my.module; it is run, so name one you trust."""
    data_changed: bool = False
    """Go on with a data set whose images were added, removed or changed since the run began; the change is recorded."""
    stream: bool = False
    """Decode images while training goes on, and keep none of them decoded: for sets larger than the disk. Needs the extra [grain]."""
    skip_bad: bool = False
    """Skip unreadable images, counted and named, rather than stop at them."""
    compilation_cache: str = ""
    """Folder that keeps compiled programs, so that a later start is faster."""
    distributed: bool = False
    """One of several processes: connect to the others first. The cluster is recognised where JAX can, else give the next three."""
    coordinator: str = ""
    """HOST:PORT of process 0, reachable by all."""
    process_id: int = -1
    """Number of this process, from 0."""
    processes: int = 0
    """How many processes there are."""


AUGMENT_FLAGS = {
    "flip": "flip",
    "crop": "crop",
    "rotate90": "rotate90",
    "rotation": "rotation",
    "zoom": "scale",
}
"""Option -> field of `Augment`."""
EVALUATION = ("evaluate_every", "metrics", "network", "evaluate_samples", "keep_best", "patience")
"""Options that `jaxgan.train.run` takes as they are."""


def main(
    family: ModuleType,
    presets: dict[str, Preset],
    description: str | None,
    arguments: Sequence[str] | None = None,
    after: Callable[[Options], None] | None = None,
    before: Callable[[Options, Any], None] | None = None,
) -> None:
    """Train `family` as the command line says, and leave with status 2 and one sentence on stderr if that is impossible.

    Args:
      description: what `--help` opens with.
      after: called once training is complete.
      before: called with the options and the final config before training begins.
    """
    if arguments is None:  # a program of its own
        memory.keep_freed()
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    with one_sentence_errors():
        preset, options, config = parse(family, presets, description, arguments)
        connect(options)
        if options.preset == "digits" and "digits" not in options.data:
            print(
                "note: all settings not given are the preset digits', small networks for small images; --preset offers others",
                file=sys.stderr,
            )
        options, config, dataset = prepare(preset, options, config, arguments)
        if conditioning(family, config).kind == "attributes" and dataset.attributes:
            from experiments import data_check

            print("\n".join(data_check.balance(dataset)), flush=True)
        if before is not None:
            before(options, config)
        state = train(family, options, config, dataset)
        if after is not None and int(state.images) >= options.images:
            after(options)


@contextlib.contextmanager
def one_sentence_errors() -> Iterator[None]:
    """Turns the errors a user can cause into one sentence on stderr and exit status 2; ctrl-C into status 130.

    A `ValueError` counts as the user's if this project raised it: one from inside another library keeps its traceback.
    """
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has left, as in `--help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (JaxganError, ValueError) as error:
        if not isinstance(error, JaxganError) and not _raised_here(error.__traceback__):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def parse(
    family: ModuleType,
    presets: dict[str, Preset],
    description: str | None,
    arguments: Sequence[str],
) -> tuple[Preset, Options, Any]:
    """The chosen preset, the options and the family's config. Leaves with status 2 if a flag is unknown, 0 after `--help`."""
    import tyro

    check_seed(arguments)
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--preset", default=next(iter(presets)))
    name = first.parse_known_args(list(arguments))[0].preset
    name = (
        name if name in presets else next(iter(presets))
    )  # an unknown one is left to tyro, which lists those there are
    preset = presets[name]
    fields: list[tuple[str, Any, Any]] = [
        ("preset", Literal[tuple(presets)], dataclasses.field(default=name)),
        ("config", type(preset.config), dataclasses.field(default=preset.config)),
    ]
    command = dataclasses.make_dataclass("Command", fields, bases=(Options,), frozen=True)
    shared = {
        field: getattr(preset, field)
        for field in ("data", "images", "batch_size", "steps_per_call", "resize")
    }
    shared |= {flag: getattr(preset.augment, field) for flag, field in AUGMENT_FLAGS.items()}
    default = command(
        preset=name, config=preset.config, run=f"runs/{short_name(family)}-{name}", **shared
    )
    program = f"python -m experiments.{short_name(family)}"
    parsed = tyro.cli(
        command,
        default=default,
        args=list(arguments),
        prog=program,
        description=(description or "").strip(),
    )
    options = Options(
        **{field.name: getattr(parsed, field.name) for field in dataclasses.fields(Options)}
    )
    return preset, dataclasses.replace(options, metrics=names(options.metrics)), parsed.config


def names(words: Sequence[str]) -> tuple[str, ...]:
    """Names with commas or blanks between them, as "fid,kid precision"."""
    return tuple(name for word in words for name in word.split(",") if name)


def connect(options: Options) -> None:
    """Start what must be started before JAX is first used: other processes, the cache of compiled programs."""
    import jax

    if options.compilation_cache:
        jax.config.update("jax_compilation_cache_dir", options.compilation_cache)
    given = bool(options.coordinator) or options.process_id >= 0 or options.processes > 0
    require(
        options.distributed or not given,
        "--coordinator, --process-id and --processes mean something only with --distributed",
    )
    if options.distributed:
        jax.distributed.initialize(
            coordinator_address=options.coordinator or None,
            num_processes=options.processes or None,
            process_id=options.process_id if options.process_id >= 0 else None,
        )


def prepare(
    preset: Preset, options: Options, config: Any, arguments: Sequence[str]
) -> tuple[Options, Any, Any]:
    """Open the data and let it fill in what was not given: (options with whole cadences, config, data set).

    Where a size is known, by flag or preset, the data is opened at it plus the margin of the crop, so that 286 -> 256 is exact; else at its own. A
    config without classes stays without, whatever labels the data has.
    """
    from jaxgan import data

    crop = augmentation(options).crop
    chosen = given(arguments, "config.image-size")
    known = tuple(config.image_size) if chosen else preset.image_size
    opened = (
        None if known is None or options.resize == "none" else (known[0] + crop, known[1] + crop)
    )
    resize = "cover" if options.resize == "none" else options.resize
    choices: dict[str, Any] = {
        "resize": resize,
        "skip_bad": options.skip_bad,
        "stream": options.stream,
    }
    dataset = data.open(
        options.data, image_size=opened, channels=_given_channels(config, arguments), **choices
    )
    if options.init_from:
        dataset = runs.numbered(dataset, config, options.init_from)
    height, width = dataset.image_size
    inner = (height - crop, width - crop)
    image_size = inner if opened or inner == known else known if chosen else (height, width)
    found = {"image_size": image_size, **_found_channels(config, dataset)}
    settings = vars(config)
    if settings.get("classes") and dataset.classes and not given(arguments, "config.classes"):
        found["classes"] = len(dataset.classes)
    if "attributes" in settings and dataset.attributes:
        found |= {name: getattr(dataset, name) for name in ("attributes", "groups", "known")}
    if "unknown" in settings and "layout" in dataset.arrays:
        found |= _found_maps(dataset, arguments)
    config = dataclasses.replace(
        config, **{name: value for name, value in found.items() if name in settings}
    )
    if preset.rule is not None:
        config = _changed(config, preset.config, preset.rule(config, options.batch_size), arguments)
    return whole_calls(options, config, arguments), config, dataset


def _changed(
    config: Any, default: Any, ruled: Any, arguments: Sequence[str], path: str = "config"
) -> Any:
    """`ruled`, but for the fields that were typed or are not as in `default`, nested ones too."""
    if (
        not dataclasses.is_dataclass(config)
        or isinstance(config, type)
        or type(config) is not type(ruled)
    ):
        group, _, name = path.rpartition(".")
        typed = given(arguments, path) or given(arguments, f"{group}.no-{name}")
        return config if typed or config != default else ruled
    values = {}
    for field in dataclasses.fields(config):
        ours, usual, theirs = (getattr(each, field.name, None) for each in (config, default, ruled))
        values[field.name] = _changed(
            ours, usual, theirs, arguments, f"{path}.{field.name.replace('_', '-')}"
        )
    return dataclasses.replace(config, **values)


def augmentation(options: Options) -> Augment:
    """What the flags say of it. Raises `ValueError` for values out of range."""
    return Augment(**{field: getattr(options, flag) for flag, field in AUGMENT_FLAGS.items()})


def _given_channels(config: Any, arguments: Sequence[str]) -> int | tuple[int, int] | None:
    """What to open the data with; None keeps its channels. Of two sides, to give one fixes both."""
    if "channels_a" in vars(config):
        fixed = given(arguments, "config.channels-a") or given(arguments, "config.channels-b")
        return (config.channels_a, config.channels_b) if fixed else None
    return config.channels if given(arguments, "config.channels") else None


def _found_channels(config: Any, dataset: Any) -> dict[str, int]:
    """The config's fields that the data decides; where an array is missing, `jaxgan.data.check` tells."""
    if "channels_a" in vars(config):
        return {
            f"channels_{name}": dataset.arrays[name].shape[3]
            for name in ("a", "b")
            if name in dataset.arrays
        }
    return {"channels": dataset.channels}


def _found_maps(dataset: Any, arguments: Sequence[str]) -> dict[str, bool]:
    """What the label maps decide and no flag did: whether pixels of unknown class are to be expected, and whether instances are known."""
    flags = {
        "unknown": ("config.unknown", "config.no-unknown"),
        "instance_edges": ("config.instance-edges", "config.no-instance-edges"),
    }
    found = {"unknown": dataset.unknown, "instance_edges": "instance" in dataset.arrays}
    return {
        name: value
        for name, value in found.items()
        if not any(given(arguments, flag) for flag in flags[name])
    }


def whole_calls(options: Options, config: Any, arguments: Sequence[str]) -> Options:
    """Options whose image counts are whole numbers of calls (steps per call x images per step), where they were not given.

    Those given on the command line stay as they are: training refuses them if they do not fit, and names the nearest value.
    """
    require(
        options.batch_size > 0 and options.steps_per_call > 0,
        "--batch-size and --steps-per-call must be at least 1",
    )
    require(options.images > 0, "--images must be at least 1")
    stabilisers = vars(config).get("stabilisers")
    turns = 1 if stabilisers is None else stabilisers.critic_steps
    call = options.steps_per_call * options.batch_size * turns
    images = options.images if given(arguments, "images") else _round_up(options.images, call)
    shares = {
        "log_every": (500, 10_000),
        "sample_every": (20, 100_000),
        "checkpoint_every": (10, 200_000),
    }
    cadences: dict[str, Any] = {
        name: getattr(options, name) or _round_up(min(images // share, most), call)
        for name, (share, most) in shares.items()
    }
    return dataclasses.replace(options, images=images, **cadences)


def train(family: ModuleType, options: Options, config: Any, dataset: Any) -> Any:
    """Train with `jaxgan.train.run`; returns the final state."""
    import jaxgan.run.evaluation
    import jaxgan.train

    resize: Any = "cover" if options.resize == "none" else options.resize
    return jaxgan.train.run(
        family,
        config,
        dataset,
        Path(options.run),
        images=options.images,
        batch_size=options.batch_size,
        seed=options.seed,
        augment=augmentation(options),
        devices=options.devices or None,
        parallel=options.parallel,
        steps_per_call=options.steps_per_call,
        log_every=options.log_every,
        sample_every=options.sample_every,
        checkpoint_every=options.checkpoint_every,
        keep=options.keep,
        rollback=options.rollback,
        init_from=options.init_from or None,
        init_family=runs.module_of(options.family) if options.family else None,
        data_changed=options.data_changed,
        **{name: getattr(options, name) for name in EVALUATION},
        held_out=jaxgan.run.evaluation.held_out_of(
            dataset, resize=resize, skip_bad=options.skip_bad, stream=options.stream
        )
        if options.evaluate_every
        else None,
    )


def given(arguments: Sequence[str], flag: str) -> bool:
    """Whether `--flag` is on the command line, in either spelling of its hyphens, with or without `=`."""
    return any(argument.split("=", 1)[0].replace("_", "-") == f"--{flag}" for argument in arguments)


def seed(text: str) -> int:
    """`--seed` of a command; leaves with status 2 and one sentence for anything but a whole number from 0 to 2**32 - 1."""
    with one_sentence_errors():
        return require_seed(int(text) if text.strip().lstrip("+-").isdecimal() else text)


def check_seed(arguments: Sequence[str] | None = None) -> None:
    """Leave as `seed` does if a `--seed` among the arguments, by default those of the program, cannot be one."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for flag, following in zip(arguments, [*arguments[1:], None]):
        name, equals, value = flag.partition("=")
        text = value if equals else following
        if name == "--seed" and text is not None:  # without a value, the parser says so
            seed(text)


def short_name(family: ModuleType) -> str:
    """The name in commands and directories: "cgan" for `jaxgan.families.cgan`."""
    return family.__name__.rsplit(".", 1)[-1]


def _round_up(count: int, multiple: int) -> int:
    return max(1, -(-count // multiple)) * multiple


def _raised_here(traceback: Any) -> bool:
    """Whether the innermost frame of `traceback` is code of this project."""
    import jaxgan

    homes = (str(Path(jaxgan.__file__).parent), str(Path(__file__).parents[1]))
    while traceback.tb_next:
        traceback = traceback.tb_next
    return traceback.tb_frame.f_code.co_filename.startswith(homes)
