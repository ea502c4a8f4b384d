"""The families that the contract, resume and device tests cover, each with a tiny setting. A new family is covered by being listed here once."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

from jaxgan import acgan, cgan, cyclegan, dcgan, gan, pix2pix, spade, stargan, stylegan, vaegan
from jaxgan.games.stabilisers import Stabilisers


class Case(NamedTuple):
    """family: the module. config: a setting small enough to compile in seconds. data: a source it can be trained from.

    rate: learning rate at which plain SGD does not blow rounding up; lower where losses have large weights.
    """

    family: ModuleType
    config: Any
    data: str = "digits"
    rate: float = 0.05


EMA = Stabilisers(ema_half_life=100)
POOL = Stabilisers(ema_half_life=100, pool_size=12)
SMALL = {"generator_width": 4, "discriminator_width": 4, "discriminator_layers": 1}
CRITIC = Stabilisers(ema_half_life=100, critic_steps=2, gradient_penalty=10.0)
CRITIC_POOL = Stabilisers(ema_half_life=100, critic_steps=2, gradient_penalty=10.0, pool_size=12)
KNOWN = tuple(tuple(map(bool, row)) for row in ((1, 1, 1, 1, 0), (1, 0, 0, 0, 1)))
TWO_SETS = {
    "attributes": tuple("abcde"),
    "groups": (("a", 1), ("bcd", 3), ("e", 1)),
    "known": KNOWN,
}
NOISE = Stabilisers(ema_half_life=100, instance_noise=0.1)
TINY_SPADE = {
    "up_blocks": 1,
    "norm_width": 8,
    "generator_width": 4,
    "discriminator_width": 4,
    "discriminator_layers": 1,
}
MAPPED = {
    "latent_size": 8,
    "style_size": 8,
    "mapping_layers": 2,
    "channel_base": 32,
    "channel_max": 4,
}
LAZY = {
    "r1_interval": 2,
    "path_length_interval": 2,
    "stabilisers": Stabilisers(ema_half_life=100, r1=1.0),
}
WIDTHS = {"encoder_width": 4, "generator_width": 4, "discriminator_width": 4}
INKS = {"attributes": ("red", "green", "blue"), "groups": (("ink", 3),)}

CASES = {
    "gan": Case(
        gan,
        gan.Config(
            (8, 8), 1, 8, generator_hidden=(16, 16), discriminator_hidden=(8, 8), stabilisers=EMA
        ),
    ),
    "cgan": Case(
        cgan,
        cgan.Config(
            (8, 8),
            1,
            latent_size=8,
            generator_hidden=(16,),
            discriminator_hidden=(8,),
            stabilisers=EMA,
        ),
    ),
    "dcgan": Case(
        dcgan,
        dcgan.Config((16, 16), 1, 0, 8, generator_width=4, discriminator_width=4, stabilisers=EMA),
    ),
    "acgan": Case(
        acgan,
        acgan.Config(
            (16, 16),
            1,
            10,
            8,
            generator_widths=(8, 6, 4),
            discriminator_widths=(4, 4, 8),
            stabilisers=EMA,
        ),
    ),
    "pix2pix": Case(
        pix2pix, pix2pix.Config((8, 8), 3, 1, depth=2, **SMALL, stabilisers=EMA), "paired:digits"
    ),
    "cyclegan": Case(
        cyclegan,
        cyclegan.Config((16, 16), 1, 1, blocks=1, dropout=0.3, **SMALL, stabilisers=POOL),
        "unpaired:digits",
        2e-5,
    ),
    "stargan": Case(
        stargan,
        stargan.Config((8, 8), blocks=1, **INKS, **SMALL, stabilisers=CRITIC),
        "attributes:digits",
        0.0002,
    ),
    "spade": Case(
        spade,
        spade.Config((8, 8), classes=4, **TINY_SPADE, stabilisers=NOISE),
        "layout:digits",
        0.002,
    ),
    "stylegan": Case(stylegan, stylegan.Config((8, 8), 1, **MAPPED, **LAZY), rate=0.002),
    "vaegan": Case(
        vaegan,
        vaegan.Config((8, 8), 1, 8, depth=1, gamma=0.02, **WIDTHS, stabilisers=EMA),
        rate=0.005,
    ),
}

PROCESSES = CASES | {
    "stargan sets": Case(
        stargan,
        stargan.Config((8, 12), 1, **TWO_SETS, blocks=1, **SMALL, stabilisers=CRITIC_POOL),
        rate=0.0005,
    )
}
"""For the tests that start processes: several data sets at once as well, with masks."""
