"""The smallest settings at which everything of a game takes part: what is compared before anything is timed."""

from __future__ import annotations

from typing import Any

from jaxgan import cgan, cyclegan, dcgan, pix2pix, spade, stargan, stylegan
from jaxgan.games.stabilisers import Stabilisers
from jaxgan.optim import Optimizer

CRITIC = Stabilisers(critic_steps=2, gradient_penalty=10.0)
MLP: dict[str, Any] = {
    "architecture": "mlp",
    "generator_hidden": (8, 12),
    "discriminator_hidden": (10, 8),
    "dropout": 0.0,
}
STYLES: dict[str, Any] = {
    "latent_size": 6,
    "style_size": 8,
    "mapping_layers": 2,
    "channel_base": 64,
    "channel_max": 8,
    "minibatch_std_group": 2,
}

TINY: dict[str, tuple[Any, int]] = {
    "dcgan": (
        dcgan.Config((16, 24), 2, latent_size=6, generator_width=4, discriminator_width=4),
        4,
    ),
    "cgan": (
        cgan.Config(
            (6, 4),
            2,
            3,
            5,
            **MLP,
            generator_optimizer=Optimizer(),
            discriminator_optimizer=Optimizer(),
        ),
        6,
    ),
    "pix2pix": (
        pix2pix.Config(
            (32, 32),
            2,
            3,
            generator_width=3,
            depth=3,
            discriminator_width=4,
            discriminator_layers=2,
            dropout=0.0,
        ),
        2,
    ),
    "cyclegan": (
        cyclegan.Config(
            (16, 16), generator_width=3, blocks=1, discriminator_width=4, discriminator_layers=1
        ),
        2,
    ),
    "stargan": (
        stargan.Config(
            (8, 8),
            attributes=("x", "y", "z"),
            generator_width=3,
            blocks=1,
            discriminator_width=4,
            discriminator_layers=2,
            stabilisers=CRITIC,
        ),
        3,
    ),
    "spade": (
        spade.Config(
            (16, 16),
            classes=4,
            generator_width=2,
            up_blocks=1,
            norm_width=5,
            discriminator_width=3,
            discriminator_layers=2,
        ),
        2,
    ),
    "stylegan": (stylegan.Config((8, 8), 2, **STYLES), 4),
}
"""Family -> its Config and the batch size."""
