"""Which generator of SPADE, StarGAN or StyleGAN2 a state dict belongs to, from its names and shapes; those of pytorch-CycleGAN-and-pix2pix: `infer`.

    kind(arrays)                                # "spade", "stargan", "stylegan" or None
    network = spade_generator(arrays, image_size, "auto")

Repositories: NVlabs/SPADE, yunjey/stargan, NVlabs/stylegan2-ada-pytorch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from jaxgan.convert.names import weight_shape
from jaxgan.errors import require
from jaxgan.networks.spade import SPADEGenerator, StyleEncoder
from jaxgan.networks.stargan import StarGANGenerator
from jaxgan.networks.stylegan2 import StyleGAN2Generator

Arrays = Mapping[str, np.ndarray]

_MARKS = {
    "spade": "head_0.norm_0.mlp_gamma.weight",
    "stylegan": "synthesis.b4.const",
    "stargan": "main.0.weight",
}
"""A name that only this family's generator has; a StarGAN's discriminator has StarGAN's, too."""
REFERENCE_UPS = 4
"""Blocks of the reference's SPADE generator that follow a doubling and halve the width; a fifth is that of "most" upsampling."""


def kind(arrays: Arrays) -> str | None:
    """The family whose generator has these names; None for none of these."""
    return next((name for name, mark in _MARKS.items() if mark in arrays), None)


def shapes_of(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    """Names and shapes; spectral norm, in both of PyTorch's spellings, under the plain name of its kernel."""
    plain = {
        name.replace(".parametrizations.weight.original", ".weight").replace(
            ".weight_orig", ".weight"
        ): name
        for name in arrays
    }
    return {name: np.shape(arrays[given]) for name, given in plain.items()}


def spade_generator(
    arrays: Arrays, image_size: tuple[int, int], upsampling: str | None = None
) -> tuple[SPADEGenerator, int]:
    """The module, and how many planes its layouts have.

    Args:
      image_size: (H, W) it was trained at. upsampling: "normal", "more" or "most"; None is "most" with a fifth up-step and else "normal", as "more"
        leaves no trace in names.

    Raises ValueError where something is missing.
    """
    shapes = shapes_of(arrays)
    ups = 1 + max(
        (int(match[1]) for name in shapes if (match := re.match(r"up_(\d+)\.", name))), default=-1
    )
    require(ups > 0, "the names have no up_0, so this is no SPADE generator")
    upsampling = upsampling or ("most" if ups > REFERENCE_UPS else "normal")
    up_blocks = ups - (upsampling == "most")
    widest = weight_shape(shapes, "head_0.conv_1", 4)[0]
    hidden, planes = weight_shape(shapes, "head_0.norm_0.mlp_shared.0", 4)[:2]
    first = shapes.get("fc.weight", ())
    latent = first[1] if len(first) == 2 else 0
    channels = weight_shape(shapes, "conv_img", 4)[0]
    return SPADEGenerator(
        channels, widest >> up_blocks, up_blocks, upsampling, latent, image_size, hidden
    ), planes


def style_encoder(arrays: Arrays) -> tuple[StyleEncoder, int]:
    """SPADE's encoder, and the channels of its images. Raises ValueError where something is missing."""
    shapes = shapes_of(arrays)
    layers = len([name for name in shapes if re.fullmatch(r"layer\d+\.0\.weight", name)])
    width, channels = weight_shape(shapes, "layer1.0", 4)[:2]
    return StyleEncoder(weight_shape(shapes, "fc_mu", 2)[0], width, layers), channels


def stargan_generator(arrays: Arrays) -> tuple[StarGANGenerator, int]:
    """The module, and how many planes of labels its images have beside them. Raises ValueError for a discriminator, and where something is missing."""
    shapes = shapes_of(arrays)
    require(
        "conv1.weight" not in shapes,
        "the names are a discriminator's, which translates nothing: give the generator's file, NUMBER-G.ckpt",
    )
    blocks = len({match[1] for name in shapes if (match := re.match(r"main\.(\d+)\.main\.", name))})
    width, inputs = weight_shape(shapes, "main.0", 4)[:2]
    channels = weight_shape(shapes, f"main.{blocks + 15}", 4)[0]
    require(
        inputs > channels,
        f"the generator takes {inputs} planes, of which {channels} are the image's: none is left for attributes",
    )
    return StarGANGenerator(channels, width, blocks), inputs - channels


def stylegan_generator(arrays: Arrays) -> tuple[StyleGAN2Generator, int]:
    """The module, and the length of its latents. Raises ValueError where something is missing."""
    shapes = shapes_of(arrays)
    levels = sorted(
        int(match[1])
        for name in shapes
        if (match := re.fullmatch(r"synthesis\.b(\d+)\.conv1\.weight", name))
    )
    require(
        levels == [4 << i for i in range(len(levels))],
        f"the levels are {levels} instead of 4, 8, ...: this is no StyleGAN2 generator",
    )
    widths = [weight_shape(shapes, f"synthesis.b{level}.conv1", 4)[0] for level in levels]
    base, last = shapes["synthesis.b4.const"][1:], f"synthesis.b{levels[-1]}"
    channels = weight_shape(shapes, f"{last}.torgb", 4)[0]
    skips, resnet = (
        "synthesis.b4.torgb.weight" in shapes or len(levels) == 1,
        f"{last}.skip.weight" in shapes,
    )
    layers = len([name for name in shapes if re.fullmatch(r"mapping\.fc\d+\.weight", name)])
    style, inputs = weight_shape(shapes, "mapping.fc0", 2)
    classes = shapes.get("mapping.embed.weight", (0, 0))[1]
    doubled = 1 << (len(levels) - 1)
    network = StyleGAN2Generator(
        (base[0] * doubled, base[1] * doubled, channels),
        style,
        layers,
        classes,
        "resnet" if resnet else "skip" if skips else "orig",
        # Where the widest is also the narrowest nothing tells the base; what is above it changes nothing.
        channel_base=max(width * level for width, level in zip(widths, levels, strict=True)),
        channel_max=max(widths),
    )
    return network, inputs - (style if classes else 0)
