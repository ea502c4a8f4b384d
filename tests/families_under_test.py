"""The families that the contract, resume and device tests cover, each with a tiny setting. A new family is covered by being listed here once."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

from jaxgan import acgan, cgan, cyclegan, dcgan, gan, pix2pix
from jaxgan.families.stabilisers import Stabilisers


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

CASES = {
    "gan": Case(gan, gan.Config((8, 8), 1, 8, generator_hidden=(16, 16), discriminator_hidden=(8, 8), stabilisers=EMA)),
    "cgan": Case(cgan, cgan.Config((8, 8), 1, latent_size=8, generator_hidden=(16,), discriminator_hidden=(8,), stabilisers=EMA)),
    "dcgan": Case(dcgan, dcgan.Config((16, 16), 1, 0, 8, generator_width=4, discriminator_width=4, stabilisers=EMA)),
    "acgan": Case(acgan, acgan.Config((16, 16), 1, 10, 8, generator_widths=(8, 6, 4), discriminator_widths=(4, 4, 8), stabilisers=EMA)),
    "pix2pix": Case(pix2pix, pix2pix.Config((8, 8), 3, 1, depth=2, **SMALL, stabilisers=EMA), "paired:digits"),
    "cyclegan": Case(cyclegan, cyclegan.Config((16, 16), 1, 1, blocks=1, dropout=0.3, **SMALL, stabilisers=POOL), "unpaired:digits", 2e-5),
}
