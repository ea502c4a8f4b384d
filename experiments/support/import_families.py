"""What `experiments.import_pytorch` makes of a generator of SPADE, StarGAN or StyleGAN2: the run's family, config and averages.

The config has what names and shapes tell, what the options add, and the recipe's defaults for the rest, which sampling and translating do not read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from jaxgan.errors import DataError, require

CLAMP = 256.0
"""Of activations, in every network that stylegan2-ada-pytorch trains by its own settings; no weight tells it."""
KNOWN_PLANES = {151: "unknown", 36: "edges", 184: "both"}
"""Planes of the released SPADE models, ADE20K, Cityscapes and COCO-Stuff -> which of them are no classes."""


class Imported(NamedTuple):
    """arrays: of each network, by its letter in `imported`; lines: to print."""

    family: ModuleType
    config: Any
    ema: Any
    files: dict[str, Path]
    lines: list[str]


def convert(
    kind: str,
    file: Path,
    arrays: dict[str, Any],
    options: Any,
    read: Callable[[Path], dict[str, Any]],
) -> Imported:
    """The run of one file whose arrays are at hand.

    Args:
      kind: of `jaxgan.convert.infer_more.kind`. options: of `import_pytorch`. read: a further file's arrays.

    Raises `DataError` or `ValueError` for what does not fit together.
    """
    for flag in ("direction", "eval", "no_dropout"):
        require(
            not getattr(options, flag),
            f"this is a generator of {kind}, for which --{flag.replace('_', '-')} means nothing: leave it out",
        )
    for flag, family in (
        ("planes", "spade"),
        ("upsampling", "spade"),
        ("other", "spade"),
        ("attributes", "stargan"),
    ):
        require(
            getattr(options, flag) is None or kind == family,
            f"this is a generator of {kind}: leave out --{flag}, which is for {family}",
        )
    if kind == "spade":
        return _spade(file, arrays, options, read)
    return _stargan(file, arrays, options) if kind == "stargan" else _stylegan(file, arrays)


def _spade(
    file: Path, arrays: dict[str, Any], options: Any, read: Callable[[Path], dict[str, Any]]
) -> Imported:
    from jaxgan.convert import infer_more
    from jaxgan.convert.pytorch import from_state_dict
    from jaxgan.families import spade
    from jaxgan.games import translation

    network, planes = infer_more.spade_generator(arrays, options.image_size, options.upsampling)
    extra = options.planes or KNOWN_PLANES.get(planes, "none")
    unknown, edges = extra in ("unknown", "both"), extra in ("edges", "both")
    settings = {
        "image_size": options.image_size,
        "channels": network.channels,
        "classes": planes - unknown - edges,
        "unknown": unknown,
    }
    settings |= {
        "instance_edges": edges,
        "generator_width": network.width,
        "up_blocks": network.up_blocks,
        "upsampling": network.upsampling,
    }
    ema, files = translation.with_stats({}, "g", from_state_dict(network, arrays)), {"g": file}
    other = options.other or file.with_name(file.name.replace("net_G", "net_E"))
    if network.latent_size:
        if other == file or not other.is_file():
            raise DataError(
                f"{file} makes images in styles, which the encoder gives: name its file, *_net_E{file.suffix}, with --other"
            )
        given = read(other)
        encoder, _ = infer_more.style_encoder(given)
        fits = (encoder.latent_size, encoder.width) == (network.latent_size, network.width)
        if not fits:
            raise DataError(f"{other} is an encoder of width {encoder.width} and {encoder.latent_size} numbers, {file} a generator of {network.width} "
                            f"and {network.latent_size}: they must be of one training")  # fmt: skip
        settings |= {
            "encoder": True,
            "style_size": encoder.latent_size,
            "encoder_layers": encoder.layers,
        }
        ema, files["e"] = translation.with_stats(ema, "e", from_state_dict(encoder, given)), other
    require(
        network.latent_size or options.other is None,
        "the generator has no styles, so it needs no encoder: leave out --other",
    )
    planes_are = f"{planes} planes: {planes - unknown - edges} classes{', unknown' * unknown}{', instance edges' * edges}"
    lines = [
        f"g: SPADE of width {network.width}, {network.up_blocks} up-blocks, {network.upsampling} upsampling, {planes_are}, from {file}"
    ]
    return Imported(spade, spade.Config(**settings, norm_width=network.hidden), ema, files, lines)


def _stargan(file: Path, arrays: dict[str, Any], options: Any) -> Imported:
    from jaxgan.convert import infer_more
    from jaxgan.convert.pytorch import from_state_dict
    from jaxgan.families import stargan
    from jaxgan.games import translation

    network, count = infer_more.stargan_generator(arrays)
    names, groups = _groups(
        options.attributes
        or ",".join(
            stargan.Config().attributes if count == 5 else (f"attribute{i}" for i in range(count))
        )
    )
    require(
        len(names) == count,
        f"the generator is told {count} attributes, and --attributes names {len(names)}: {', '.join(names)}",
    )
    shape = {
        "image_size": options.image_size,
        "channels": network.channels,
        "generator_width": network.width,
        "blocks": network.blocks,
    }
    config = stargan.Config(**shape, attributes=names, groups=groups)
    ema = translation.with_stats({}, "g", from_state_dict(network, arrays))
    line = f"g: StarGAN of width {network.width}, {network.blocks} blocks, attributes {', '.join(names)}, from {file}"
    return Imported(stargan, config, ema, {"g": file}, [line])


def _groups(text: str) -> tuple[tuple[str, ...], tuple[tuple[str, int], ...]]:
    """Names and groups of "a+b+c,d": a, b and c exclude each other."""
    parts = [[name.strip() for name in part.split("+")] for part in text.split(",")]
    names = tuple(name for part in parts for name in part)
    return names, tuple((part[0], len(part)) for part in parts) if any(
        len(part) > 1 for part in parts
    ) else ()


def _stylegan(file: Path, arrays: dict[str, Any]) -> Imported:
    from jaxgan.convert import infer_more
    from jaxgan.convert.pytorch import from_state_dict
    from jaxgan.families import stylegan

    network, latent = infer_more.stylegan_generator(arrays)
    height, width, channels = network.image_shape
    architecture: Any = network.architecture
    config = stylegan.Config(
        (height, width), channels, network.classes, latent, network.style_size, network.mapping_layers,
        generator_architecture=architecture, channel_base=network.channel_base, channel_max=network.channel_max, activation_clamp=CLAMP,
    )  # fmt: skip
    line = f"generator: StyleGAN2 {network.architecture} at {height}x{width}, {network.classes or 'no'} classes, from {file}"
    return Imported(stylegan, config, from_state_dict(network, arrays), {"generator": file}, [line])
