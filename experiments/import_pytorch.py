"""Turns generators that PyTorch trained into runs to translate with, or to draw from:

    python -m experiments.import_pytorch checkpoints/maps/latest_net_G_A.pth runs/maps               junyanz/pytorch-CycleGAN-and-pix2pix
    python -m experiments.translate runs/maps photos maps --direction b2a
    python -m experiments.import_pytorch checkpoints/ade20k_pretrained/latest_net_G.pth runs/ade     NVlabs/SPADE
    python -m experiments.translate runs/ade label_maps photos --unknown 0
    python -m experiments.import_pytorch models/200000-G.ckpt runs/faces                             yunjey/stargan
    python -m experiments.import_pytorch G_ema.npz runs/styles                                       NVlabs/stylegan2-ada-pytorch

State dicts are read without running anything that is in them. The pickles (.pkl) of stylegan2-ada-pytorch are unrestricted ones, which may run any code:
they are refused, and must be saved as .npz, .safetensors or a state dict (.pth) where they are trusted.

CycleGAN and pix2pix: the networks are read off the files' names and shapes. The run translates as the reference's test script does: normalisation by
each image's own statistics, and dropout on where the network was trained with it (`--eval` for neither). That script resizes to 256 pixels; `translate`
keeps sizes.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

from experiments.support import import_families
from experiments.support.common import one_sentence_errors, short_name
from jaxgan.errors import DataError, RunError, require

DROPOUT = 0.5
"""The reference's only rate."""
RESCUE = (
    "where you trust it, save its weights in stylegan2-ada-pytorch's folder by python -c \"import pickle, numpy; G = pickle.load(open('FILE', 'rb'))['G_ema']; "
    "numpy.savez('G_ema.npz', **{n: t.float().cpu().numpy() for n, t in G.state_dict().items()})\""
)
"""What to do about a pickle."""


@dataclass(frozen=True)
class Options:
    """Turn a generator of pytorch-CycleGAN-and-pix2pix, SPADE, StarGAN or stylegan2-ada-pytorch into a run that experiments.translate or sample takes.

    Which of them it is, its names tell. Two generators, *_net_G_A.pth and *_net_G_B.pth, become a CycleGAN for both directions; one such generator
    becomes a Pix2Pix for its own, whatever it was trained by. The run has no discriminators: it translates (or draws), and training starts from it by
    --init-from RUN.
    """

    file: Path
    """FILE: state dict of a generator, .pth, .pt or .ckpt (needs PyTorch), .npz or .safetensors. The other one of *_net_G_A and
    *_net_G_B beside it is taken too."""
    run: Path
    """RUN: run directory to make."""
    other: Path | None = None
    """The generator of the way back, if it is not found by its name. Where names do not tell, FILE is a2b and this is b2a. SPADE: the encoder."""
    direction: Literal["a2b", "b2a"] | None = None
    """Take FILE alone, as this translation; otherwise one file is b2a if it is a *_net_G_B, else a2b."""
    image_size: tuple[int, int] = (256, 256)
    """Height and width it was trained at, for the record: any size is translated. For a U-Net, multiples of 2^depth."""
    eval: bool = False
    """As the reference's test script with --eval: running statistics in batch norms, and no dropout."""
    no_dropout: bool = False
    """The U-Net was trained with --no_dropout, which its file does not tell. (Those of a CycleGAN never have any.)"""
    planes: Literal["none", "unknown", "edges", "both"] | None = None
    """SPADE: which planes of the layouts are no classes: one for pixels of unknown class (--contain_dontcare_label), one for instance edges (no
    --no_instance). Otherwise by their number as in the released models (151 unknown, 36 edges, 184 both), else none."""
    upsampling: Literal["normal", "more", "most"] | None = None
    """SPADE: --num_upsampling_layers. Otherwise most or normal by the number of blocks; "more" leaves no trace."""
    attributes: str | None = None
    """StarGAN: names of its attributes in order, with commas between, and + between those that exclude each other (Black_Hair+Blond_Hair,Male)."""


class Source(NamedTuple):
    """A generator that was read: its file, its `infer.Architecture`, its variables."""

    file: Path
    found: Any
    variables: Any


def main(arguments: Sequence[str] | None = None) -> None:
    """Import, and print what was found and where it went. Exit status 2 and one sentence if that is impossible; then nothing is left behind."""
    import tyro

    config = (tyro.conf.PositionalRequiredArgs, tyro.conf.FlagCreatePairsOff)
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = tyro.cli(
        Options, prog="python -m experiments.import_pytorch", args=arguments, config=config
    )
    with one_sentence_errors():
        import_run(options)


def import_run(options: Options) -> None:
    """Make the run directory as `options` say, and print about it.

    Raises `DataError` for files that cannot be used, `RunError` or `CheckpointError` if the run cannot be written, `ValueError` for settings.
    """
    from jaxgan.convert import infer_more

    require_new(options.run)
    if options.file.suffix.lower() == ".pkl":
        raise DataError(
            f"{options.file} is an unrestricted pickle, which may run any code and is not read: {RESCUE}"
        )
    chosen, arrays = find(options), _arrays(options.file)
    kind = infer_more.kind(arrays)
    if kind is not None:
        found = _fitting(
            options.file,
            lambda: import_families.convert(kind, options.file, arrays, options, _arrays),
        )
        write(options.run, found.family, found.config, found.ema, found.files)
        print(*found.lines, f"{options.run} is a {short_name(found.family)} run", sep="\n")
        return
    for flag in ("planes", "upsampling", "attributes"):
        require(
            getattr(options, flag) is None,
            f"{options.file} is no generator of SPADE or StarGAN: leave out --{flag}",
        )
    sources = {direction: read(file) for direction, file in chosen.items()}
    paired = len(sources) == 2
    family, config, ema = (
        cyclegan_run(sources, options) if paired else pix2pix_run(sources, options)
    )
    write(
        options.run,
        family,
        config,
        ema,
        {direction: source.file for direction, source in sources.items()},
    )
    for direction, source in sources.items():
        print(f"{direction}: {source.found}, from {source.file}")
    statistics = (
        "each image's own statistics" if config.statistics == "image" else "running statistics"
    )
    ways, dropout = " and ".join(sources), "with" if config.translation_dropout else "without"
    print(
        f"{options.run} is a {short_name(family)} run that translates {ways} by {statistics}, {dropout} dropout"
    )


# ------------------------------------------------------------------------------------------------------------- which files


def require_new(run: Path) -> None:
    """Raise `RunError` unless `run` is an empty directory or nothing at all."""
    if run.is_dir() and any(path.name != ".lock" for path in run.iterdir()):
        raise RunError(f"{run} is not empty: choose another run directory, or remove it first")
    if run.exists() and not run.is_dir():
        raise RunError(f"{run} is a file: choose another run directory")


def find(options: Options) -> dict[str, Path]:
    """The files to read by their direction: one, or a2b and b2a. Raises `ValueError` if the options contradict each other or the names."""
    file, other = options.file, options.other
    require(
        other is None or options.direction is None,
        "--direction takes FILE alone, so leave it out or leave out --other",
    )
    side = direction_of(file)
    if other is None and side is not None and options.direction is None:
        sibling = file.with_name(f"{file.stem[:-1]}{'B' if side == 'a2b' else 'A'}{file.suffix}")
        other = sibling if file.is_file() and sibling.is_file() else None
    if other is None:
        return {options.direction or side or "a2b": file}
    sides = (side, direction_of(other))
    same = sides[0] is not None and sides[0] == sides[1]
    require(
        not same and file.resolve() != other.resolve(),
        f"{file} and {other} are the same direction: give one *_net_G_A and one *_net_G_B",
    )
    return (
        {"a2b": other, "b2a": file}
        if sides[0] == "b2a" or sides[1] == "a2b"
        else {"a2b": file, "b2a": other}
    )


def direction_of(file: Path) -> str | None:
    """The direction that the reference's name for a CycleGAN's generator stands for; None for any other name."""
    match = re.fullmatch(r"(?:.*_)?net_G_([AB])", file.stem)
    return None if match is None else {"A": "a2b", "B": "b2a"}[match[1]]


def read(file: Path) -> Source:
    """One generator. Raises `DataError`, naming the file, if it is none that can be read."""
    from jaxgan.convert import infer

    arrays = _arrays(file)

    def source() -> Source:
        found = infer.architecture(arrays)
        return Source(file, found, infer.load(found, arrays))

    return _fitting(file, source)


def _arrays(file: Path) -> dict[str, Any]:
    from jaxgan.convert import files, infer

    return infer.unwrapped(files.read(file))


def _fitting(file: Path, convert: Callable[[], Any]) -> Any:
    """`convert()`, whose `ValueError` is about the file's names and shapes: `DataError`."""
    try:
        return convert()
    except ValueError as error:
        reason = textwrap.shorten(str(error), 400, placeholder=" ...")
        raise DataError(f"{file} is not a generator that can be imported: {reason}") from None


# ---------------------------------------------------------------------------------------------------------------- which run


def cyclegan_run(sources: dict[str, Source], options: Options) -> tuple[ModuleType, Any, Any]:
    """Family, config and averages of both directions. Raises `DataError` if the two are not of one architecture."""
    from jaxgan.families import cyclegan
    from jaxgan.games import translation

    there, back = sources["a2b"], sources["b2a"]
    wanted = there.found._replace(inputs=there.found.outputs, outputs=there.found.inputs)
    if back.found != wanted:
        raise DataError(
            f"{there.file} is {there.found} and {back.file} is {back.found}, not the same the other way round: import each alone by --direction"
        )
    require(
        not options.no_dropout, "--no-dropout is for the U-Net of a Pix2Pix: a CycleGAN's has none"
    )
    channels = (there.found.inputs, there.found.outputs)
    identity: dict[str, Any] = {} if channels[0] == channels[1] else {"identity_weight": 0.0}
    config = cyclegan.Config(
        **_settings(there.found, channels, DROPOUT if there.found.dropout else 0.0, options),
        **identity,
    )
    ema: dict[str, Any] = {}
    for direction, source in sources.items():
        ema = translation.with_stats(ema, direction, source.variables)
    return cyclegan, config, ema


def pix2pix_run(sources: dict[str, Source], options: Options) -> tuple[ModuleType, Any, Any]:
    """Family, config and averages of one direction."""
    from jaxgan.families import pix2pix
    from jaxgan.games import translation

    ((direction, source),) = sources.items()
    found, unet = source.found, source.found.generator == "unet"
    require(
        unet or not options.no_dropout,
        "--no-dropout is for a U-Net: the names of other networks tell whether they have any, so leave it out",
    )
    # Above five layers the reference's U-Net has dropout by default in Pix2Pix, and never in CycleGAN.
    trained_with = (
        found.depth > 5 and not options.no_dropout and direction_of(source.file) is None
        if unet
        else found.dropout
    )
    channels = (
        (found.inputs, found.outputs) if direction == "a2b" else (found.outputs, found.inputs)
    )
    settings = _settings(found, channels, DROPOUT if trained_with else 0.0, options)
    settings |= {"direction": direction, "dropout_layers": "port"}
    return pix2pix, pix2pix.Config(**settings), translation.with_stats({}, "g", source.variables)


def _settings(
    found: Any, channels: tuple[int, int], dropout: float, options: Options
) -> dict[str, Any]:
    """The fields that both families' configs share."""
    running = options.eval and found.norm == "batch"
    return {
        "image_size": options.image_size,
        "channels_a": channels[0],
        "channels_b": channels[1],
        "generator": found.generator,
        "generator_width": found.width,
        "depth": found.depth,
        "blocks": found.blocks,
        "norm": found.norm,
        "dropout": dropout,
        "statistics": "running" if running else "image",
        "translation_dropout": dropout > 0 and not options.eval,
    }


def write(run: Path, family: ModuleType, config: Any, ema: Any, files: dict[str, Path]) -> None:
    """Write the run: config.json and a checkpoint at 0 images, both with the files' names and SHA-256. If it fails, nothing is left."""
    import jax.numpy as jnp

    from jaxgan import checkpoint
    from jaxgan.records.config_io import to_dict
    from jaxgan.records.rundir import RunDir
    from jaxgan.state import State

    imported = {}
    for name, file in files.items():
        with open(file, "rb") as stream:
            imported[name] = {
                "file": file.name,
                "sha256": hashlib.file_digest(stream, "sha256").hexdigest(),
            }
    settings = {"family": family.__name__, "config": to_dict(config), "imported": imported}
    state = State(jnp.int32(0), jnp.int32(0), {}, ema, {})
    with RunDir(run) as directory:
        require_new(run)  # again, now that no other process can write there
        try:
            directory.settle_config(settings)
            directory.commit(0)
            with checkpoint.Checkpoints(run / "checkpoints") as checkpoints:
                checkpoints.save(state, checkpoint.sampler(state), settings)
        except BaseException:
            shutil.rmtree(run, ignore_errors=True)
            raise


if __name__ == "__main__":
    main(sys.argv[1:])
