"""The generative adversarial network (Goodfellow et al. 2014), with fully connected networks.

`architecture="maxout"` is the 2014 recipe for MNIST; "mlp" is the batch-normalised network of the tutorials (set the optimisers to Adam 2e-4).
Supports every stabiliser. Batches: see `batch_spec`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import require_range
from jaxgan.family import Conditioning
from jaxgan.games import adversarial
from jaxgan.games.adversarial import Draws, Game, batch_spec
from jaxgan.games.checks import Contract, begin, check_config, check_sampler
from jaxgan.games.stabilisers import Stabilisers
from jaxgan.networks.mlp import MaxoutDiscriminator, MaxoutGenerator, MLPDiscriminator, MLPGenerator
from jaxgan.optim import Optimizer
from jaxgan.settings import settle
from jaxgan.state import Batch, Metrics, State

__all__ = [
    "Config",
    "batch_spec",
    "conditioning",
    "game",
    "generate",
    "init",
    "latents",
    "preview",
    "sample",
    "train_step",
]

OFFICIAL_OPTIMIZER = Optimizer(
    "sgd",
    learning_rate=0.1,
    momentum=0.5,
    final_momentum=0.7,
    momentum_images=12_500_000,
    half_life=17_328_714,
    min_learning_rate=1e-6,
)
"""The 2014 schedule: the learning rate divided by 1.000004 at every update of 100 images, momentum 0.5 to 0.7 over 250 epochs of 50,000."""


UNIFORM = (-(3**0.5), 3**0.5)
"""Range of uniform latents."""


@dataclass(frozen=True)
class Config:
    """Settings of a GAN; the defaults are the 2014 recipe for MNIST (mnist.yaml of the authors' code, batch 100)."""

    image_size: tuple[int, int] = (28, 28)
    """Height and width in pixels; any."""
    channels: int = 1
    """Channels of the images; any number."""
    latent_size: int = 100
    """Length Z of the latent vector."""
    latent: Literal["uniform", "normal"] = "uniform"
    """Distribution of the latents; both have variance 1."""
    architecture: Literal["maxout", "mlp"] = "maxout"
    """"maxout": ReLU generator, maxout discriminator with dropout (2014). "mlp": leaky ReLU and batch norm (tutorials)."""
    generator_hidden: tuple[int, ...] = (1200, 1200)
    """Units of the generator's hidden layers (tutorials: 128, 256, 512, 1024)."""
    discriminator_hidden: tuple[int, ...] = (240, 240)
    """Units of the discriminator's hidden layers; in "maxout" each keeps the largest of 5 pieces (tutorials: 512, 256)."""
    loss: str = "non-saturating"
    """One of `jaxgan.losses.LOSSES`."""
    generator_optimizer: Optimizer = OFFICIAL_OPTIMIZER
    """Optimiser and schedule of the generator."""
    discriminator_optimizer: Optimizer = OFFICIAL_OPTIMIZER
    """Optimiser and schedule of the discriminator."""
    stabilisers: Stabilisers = Stabilisers()
    """See `Stabilisers`; all are supported."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the networks; parameters and losses are float32."""

    def __post_init__(self):
        settle(self)
        adversarial.check_settings(self)
        require_range("latent_size", self.latent_size, 1)
        adversarial.check_widths(
            generator_hidden=self.generator_hidden, discriminator_hidden=self.discriminator_hidden
        )


def _latent(config: Config):
    if config.latent == "normal":
        return jax.random.normal
    return partial(jax.random.uniform, minval=UNIFORM[0], maxval=UNIFORM[1])


def game(config: Config, axis_name: str | None = None) -> Game:
    """The networks and losses of these settings; `axis_name` is the axis batch statistics are averaged over."""
    shape, dtype = adversarial.image_shape(config), jnp.dtype(config.dtype)
    spectral_norm = config.stabilisers.spectral_norm
    generator: nn.Module
    discriminator: nn.Module
    if config.architecture == "maxout":
        generator = MaxoutGenerator(shape, config.generator_hidden, dtype=dtype)
        hidden = tuple((units, 5) for units in config.discriminator_hidden)
        discriminator = MaxoutDiscriminator(hidden, spectral_norm=spectral_norm, dtype=dtype)
    else:
        generator = MLPGenerator(shape, config.generator_hidden, axis_name=axis_name, dtype=dtype)
        discriminator = MLPDiscriminator(
            config.discriminator_hidden, spectral_norm=spectral_norm, dtype=dtype
        )
    return Game(generator, discriminator, *adversarial.adversarial_losses(config, axis_name))


def conditioning(config: Config) -> Conditioning:
    """What the model is told."""
    return Conditioning(latent_range=UNIFORM if config.latent == "uniform" else None)


def init(config: Config, key: jax.Array) -> State:
    """Fresh state. Call it under jit: `jax.jit(gan.init, static_argnums=0)`. Does not consume `key`."""
    check_config(config, Config)
    return adversarial.init_state(game(config), config, key)


def train_step(
    config: Config, state: State, batch: Batch, key: jax.Array, *, axis_name: str | None = None
) -> tuple[State, Metrics]:
    """One round: `critic_steps` discriminator steps, one generator step.

    Args:
      batch: as `batch_spec`; this device's part when mapped over `axis_name`.
      key: the run's key, the same at every step and not consumed; draws depend on (key, state.step, example).

    Source: Goodfellow et al. 2014, algorithm 1, with the non-saturating loss of its code. Deviation: the generator's turn re-uses the latents
    of the last discriminator turn, and follows it (the code steps both at once).
    """
    batch = begin(CONTRACT, config, state, batch)
    return _round(
        config,
        state,
        batch,
        adversarial.draw(config, state, key, batch["image"].shape[0], axis_name, _latent(config)),
        axis_name,
    )


def _round(
    config: Config, state: State, batch: Batch, draws: Draws, axis_name: str | None
) -> tuple[State, Metrics]:
    return adversarial.play_round(game(config, axis_name), config, state, batch, draws, axis_name)


def sample(config: Config, state: State, key: jax.Array, n: int, *, first: int = 0) -> jax.Array:
    """`n` images [n, H, W, C] in [-1, 1] from the averaged generator. Image i uses `fold_in(key, first + i)`, so chunks change nothing."""
    drawn = latents(config, key, n, first=first)
    return generate(config, state, drawn)


def generate(config: Config, state: State, latents: jax.Array) -> jax.Array:
    """Images [B, H, W, C] in [-1, 1] of latents [B, Z], from the averaged generator; each latent alone.

    `sample` draws the latents: image i's is of the distribution `latent` by `fold_in(key, first + i)`. Raises ValueError for latents of another length.
    """
    check_sampler(CONTRACT, config, state)
    return adversarial.images_of(game(config), config, state, latents, None)


def latents(config: Config, key: jax.Array, n: int, *, first: int = 0) -> jax.Array:
    """The latents [n, Z] of which `sample` makes its images; latent i uses `fold_in(key, first + i)`."""
    check_config(config, Config)
    return adversarial.sample_latents(config, key, n, first, _latent(config))


def preview(config: Config, state: State, batch: Batch, key: jax.Array) -> jax.Array:
    """An 8 x 8 grid [8, 8, H, W, C] of samples in [-1, 1]; the batch is not used."""
    check_sampler(CONTRACT, config, state)
    return adversarial.preview_grid(sample, config, state, key, 0)


CONTRACT = Contract(Config, init, batch_spec, conditioning)
"""What arguments are checked against."""
