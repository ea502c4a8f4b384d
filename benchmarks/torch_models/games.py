"""All games in PyTorch by name: each a function of a family's Config and `learning.Options`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.torch_models.adversarial import cgan, dcgan
from benchmarks.torch_models.learning import Options
from benchmarks.torch_models.spade import SPADEGame
from benchmarks.torch_models.stargan import StarGANGame
from benchmarks.torch_models.stylegan2 import StyleGAN2Game
from benchmarks.torch_models.translation import CycleGANGame, Pix2PixGame

GAMES: dict[str, Callable[[Any, Options], Any]] = {
    "dcgan": dcgan,
    "cgan": cgan,
    "pix2pix": Pix2PixGame,
    "cyclegan": CycleGANGame,
    "stargan": StarGANGame,
    "spade": SPADEGame,
    "stylegan": StyleGAN2Game,
}
