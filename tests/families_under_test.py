"""The families that the contract, resume and device tests cover, each with a tiny setting. A new family is covered by being listed here once."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

from jaxgan import acgan, cgan, dcgan, gan
from jaxgan.families.stabilisers import Stabilisers


class Case(NamedTuple):
    """family: the module. config: a setting small enough to compile in seconds. data: a source it can be trained from."""

    family: ModuleType
    config: Any
    data: str = "digits"


EMA = Stabilisers(ema_half_life=100)

CASES = {
    "gan": Case(gan, gan.Config((8, 8), 1, 8, generator_hidden=(16, 16), discriminator_hidden=(8, 8), stabilisers=EMA)),
    "cgan": Case(cgan, cgan.Config((8, 8), 1, latent_size=8, generator_hidden=(16,), discriminator_hidden=(8,), stabilisers=EMA)),
    "dcgan": Case(dcgan, dcgan.Config((16, 16), 1, 0, 8, generator_width=4, discriminator_width=4, stabilisers=EMA)),
    "acgan": Case(acgan, acgan.Config((16, 16), 1, 10, 8, generator_widths=(8, 6, 4), discriminator_widths=(4, 4, 8), stabilisers=EMA)),
}
