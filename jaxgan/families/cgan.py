"""The conditional GAN (Mirza & Osindero 2014): generator and discriminator are both told the class.

`architecture="maxout"` is the paper's recipe for MNIST, "mlp" a leaky-ReLU network with learned label embeddings, "conv" the networks of DCGAN with
the label as extra inputs. Supports every stabiliser. Batches: see `batch_spec`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import require_range
from jaxgan.family import Conditioning
from jaxgan.games import adversarial
from jaxgan.games.adversarial import Draws, Game
from jaxgan.games.adversarial import labelled_batch_spec as batch_spec
from jaxgan.games.checks import Contract, begin, check_config, check_sampler
from jaxgan.games.stabilisers import Stabilisers
from jaxgan.networks.dcgan import DCGANDiscriminator, DCGANGenerator, halvings
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
    half_life=1_732_902,
    min_learning_rate=1e-6,
)
"""The paper's schedule: the learning rate divided by 1.00004 at every update of 100 images down to 1e-6, momentum 0.5 to 0.7."""


UNIFORM = (0.0, 1.0)
"""Range of uniform latents."""


@dataclass(frozen=True)
class Config:
    """Settings of a conditional GAN; the defaults are the paper's recipe for MNIST (batch 100)."""

    image_size: tuple[int, int] = (28, 28)
    """Height and width in pixels; any, but for "conv" multiples of 4 and at least 16."""
    channels: int = 1
    """Channels of the images; any number."""
    classes: int = 10
    """Number of classes; labels are in [0, classes)."""
    latent_size: int = 100
    """Length Z of the latent vector."""
    latent: Literal["uniform", "normal"] = "uniform"
    """Distribution of the latents: uniform in [0, 1) as in the paper, or normal."""
    architecture: Literal["maxout", "mlp", "conv"] = "maxout"
    """"maxout": the paper's two paths. "mlp": leaky ReLU, label embeddings. "conv": DCGAN with labels."""
    generator_hidden: tuple[int, ...] = (1200,)
    """"maxout" and "mlp": units of the generator's (joint) hidden layers; for "mlp" usually 128, 256, 512, 1024."""
    discriminator_hidden: tuple[int, ...] = (240,)
    """The same of the discriminator; in "maxout" each unit keeps the largest of 4 pieces; for "mlp" usually 512, 512, 512."""
    width: int = 64
    """"conv": feature maps at the largest resolution, doubled at each halving."""
    batch_norm: bool = True
    """"mlp": batch norm in the generator, from the second layer."""
    dropout: float = 0.5
    """Rate of dropout in the hidden layers; in both networks for "maxout", in the discriminator for "mlp" (usually 0.4), none for "conv"."""
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
        for name in ("latent_size", "classes", "width"):
            require_range(name, getattr(self, name), 1)
        adversarial.check_widths(
            generator_hidden=self.generator_hidden, discriminator_hidden=self.discriminator_hidden
        )
        require_range("dropout", self.dropout, 0, 0.99)
        if self.architecture == "conv":
            halvings(self.image_size)


def _latent(config: Config):
    return jax.random.normal if config.latent == "normal" else jax.random.uniform


def game(config: Config, axis_name: str | None = None) -> Game:
    """The networks and losses of these settings; `axis_name` is the axis batch statistics are averaged over."""
    shape, dtype, spectral_norm = (
        adversarial.image_shape(config),
        jnp.dtype(config.dtype),
        config.stabilisers.spectral_norm,
    )
    options: dict[str, Any] = {"classes": config.classes, "dtype": dtype}
    generator: nn.Module
    discriminator: nn.Module
    if config.architecture == "maxout":
        generator = MaxoutGenerator(
            shape, config.generator_hidden, dropout_rate=config.dropout, **options
        )
        hidden = tuple((units, 4) for units in config.discriminator_hidden)
        discriminator = MaxoutDiscriminator(
            hidden,
            input_dropout=0.0,
            dropout_rate=config.dropout,
            spectral_norm=spectral_norm,
            **options,
        )
    elif config.architecture == "mlp":
        generator = MLPGenerator(
            shape,
            config.generator_hidden,
            batch_norm=config.batch_norm,
            axis_name=axis_name,
            **options,
        )
        discriminator = MLPDiscriminator(
            config.discriminator_hidden,
            dropout_rate=config.dropout,
            spectral_norm=spectral_norm,
            **options,
        )
    else:
        generator = DCGANGenerator(shape, config.width, axis_name=axis_name, **options)
        discriminator = DCGANDiscriminator(
            config.width, spectral_norm=spectral_norm, axis_name=axis_name, **options
        )
    return Game(
        generator, discriminator, *adversarial.adversarial_losses(config, axis_name), config.classes
    )


def conditioning(config: Config) -> Conditioning:
    """What the model is told."""
    uniform = UNIFORM if config.latent == "uniform" else None
    return Conditioning("class", config.classes, latent_range=uniform)


def init(config: Config, key: jax.Array) -> State:
    """Fresh state. Call it under jit: `jax.jit(cgan.init, static_argnums=0)`. Does not consume `key`."""
    check_config(config, Config)
    return adversarial.init_state(game(config), config, key)


def train_step(
    config: Config, state: State, batch: Batch, key: jax.Array, *, axis_name: str | None = None
) -> tuple[State, Metrics]:
    """One round: `critic_steps` discriminator steps, one generator step.

    Args:
      batch: as `batch_spec`; this device's part when mapped over `axis_name`.
      key: the run's key, the same at every step and not consumed; draws depend on (key, state.step, example).

    Source: Mirza & Osindero 2014. Deviation: the generator's turn re-uses the latents of the last discriminator turn, and follows it.
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


def sample(
    config: Config, state: State, key: jax.Array, n: int, labels: jax.Array, *, first: int = 0
) -> jax.Array:
    """`n` images [n, H, W, C] in [-1, 1] of the classes `labels` (int32 [n]) from the averaged generator.

    Image i uses `fold_in(key, first + i)`, so chunks change nothing.
    """
    drawn = latents(config, key, n, first=first)
    return generate(config, state, drawn, labels)


def generate(config: Config, state: State, latents: jax.Array, labels: jax.Array) -> jax.Array:
    """Images [B, H, W, C] in [-1, 1] of latents [B, Z] of the classes `labels` (int32 [B]), from the averaged generator; each latent alone.

    `sample` draws the latents: image i's is of the distribution `latent` by `fold_in(key, first + i)`. Raises ValueError for latents of another length.
    """
    check_sampler(CONTRACT, config, state)
    return adversarial.images_of(game(config), config, state, latents, labels)


def latents(config: Config, key: jax.Array, n: int, *, first: int = 0) -> jax.Array:
    """The latents [n, Z] of which `sample` makes its images; latent i uses `fold_in(key, first + i)`."""
    check_config(config, Config)
    return adversarial.sample_latents(config, key, n, first, _latent(config))


def preview(config: Config, state: State, batch: Batch, key: jax.Array) -> jax.Array:
    """A grid [8, columns, H, W, C] of samples in [-1, 1], a column for each of the first ten classes; the batch is not used."""
    check_sampler(CONTRACT, config, state)
    return adversarial.preview_grid(sample, config, state, key, config.classes)


CONTRACT = Contract(Config, init, batch_spec, conditioning)
"""What arguments are checked against."""
