"""Deep convolutional GAN (Radford et al. 2015), and the residual pair of WGAN-GP and SNGAN.

`architecture="dcgan"` with the defaults is pytorch/examples' 64 x 64; "resnet" the CIFAR networks of improved_wgan_training and sngan_projection
(see `wgan_gp` and `sngan`, the two recipes). Optional label conditioning. Supports every stabiliser. Batches: see `batch_spec`.
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
from jaxgan.networks.resnet import ResNetDiscriminator, ResNetGenerator
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
    "sngan",
    "train_step",
    "wgan_gp",
]


@dataclass(frozen=True)
class Config:
    """Settings of a convolutional GAN; the defaults are those of pytorch/examples dcgan (batch 64 there, 128 in the paper)."""

    image_size: tuple[int, int] = (64, 64)
    """Height and width in pixels; multiples of 4 and at least 16. Both are halved while even and at least 4 remain: 64 to 4, 28 to 7."""
    channels: int = 3
    """Channels of the images; any number."""
    classes: int = 0
    """Number of classes, if generator and discriminator are to be told them; 0 for unconditional."""
    latent_size: int = 100
    """Length Z of the latent vector, standard normal."""
    architecture: Literal["dcgan", "resnet"] = "dcgan"
    """"dcgan": strided convolutions with batch norm. "resnet": residual blocks, no norm in the discriminator."""
    generator_width: int = 64
    """Feature maps; for "dcgan" at the largest resolution, doubled at each halving (paper: 128), for "resnet" everywhere."""
    discriminator_width: int = 64
    """The same of the discriminator."""
    pool: Literal["mean", "sum"] = "mean"
    """"resnet": how the discriminator pools its last features; WGAN-GP "mean", SNGAN "sum"."""
    loss: str = "non-saturating"
    """One of `jaxgan.losses.LOSSES`."""
    generator_optimizer: Optimizer = Optimizer()
    """Optimiser and schedule of the generator."""
    discriminator_optimizer: Optimizer = Optimizer()
    """Optimiser and schedule of the discriminator."""
    stabilisers: Stabilisers = Stabilisers()
    """See `Stabilisers`; all are supported."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the networks; parameters and losses are float32."""

    def __post_init__(self):
        settle(self)
        adversarial.check_settings(self)
        for name in ("latent_size", "generator_width", "discriminator_width"):
            require_range(name, getattr(self, name), 1)
        require_range("classes", self.classes, 0)
        halvings(self.image_size)


def wgan_gp(image_size: tuple[int, int] = (32, 32), channels: int = 3, classes: int = 0) -> Config:
    """The residual WGAN-GP of Gulrajani et al. 2017 for CIFAR-10: batch 64, 100,000 rounds of 5 critic steps, rate falling to zero.

    Source: improved_wgan_training, gan_cifar_resnet.py.
    """
    adam = Optimizer(beta1=0.0, beta2=0.9, decay_images=100_000 * 5 * 64)
    stabilisers = Stabilisers(
        critic_steps=5, generator_batch=2, gradient_penalty=10.0, dequantise=1 / 128
    )
    return Config(
        image_size,
        channels,
        classes,
        128,
        "resnet",
        128,
        128,
        "mean",
        "wasserstein",
        adam,
        adam,
        stabilisers,
    )


def sngan(image_size: tuple[int, int] = (32, 32), channels: int = 3, classes: int = 0) -> Config:
    """The residual SNGAN of Miyato et al. 2018 for CIFAR-10: batch 64, 50,000 rounds of 5 critic steps, rate falling to zero.

    Source: sngan_projection, CIFAR configs.
    """
    adam = Optimizer(beta1=0.0, beta2=0.9, decay_images=50_000 * 5 * 64)
    stabilisers = Stabilisers(critic_steps=5, generator_batch=2, spectral_norm=True)
    return Config(
        image_size,
        channels,
        classes,
        128,
        "resnet",
        256,
        128,
        "sum",
        "hinge",
        adam,
        adam,
        stabilisers,
    )


def game(config: Config, axis_name: str | None = None) -> Game:
    """The networks and losses of these settings; `axis_name` is the axis batch statistics are averaged over."""
    shape, spectral_norm = adversarial.image_shape(config), config.stabilisers.spectral_norm
    options: dict[str, Any] = {"classes": config.classes, "dtype": jnp.dtype(config.dtype)}
    generator: nn.Module
    discriminator: nn.Module
    if config.architecture == "dcgan":
        generator = DCGANGenerator(shape, config.generator_width, axis_name=axis_name, **options)
        discriminator = DCGANDiscriminator(
            config.discriminator_width, spectral_norm=spectral_norm, axis_name=axis_name, **options
        )
    else:
        generator = ResNetGenerator(shape, config.generator_width, axis_name=axis_name, **options)
        discriminator = ResNetDiscriminator(
            config.discriminator_width, pool=config.pool, spectral_norm=spectral_norm, **options
        )
    return Game(
        generator, discriminator, *adversarial.adversarial_losses(config, axis_name), config.classes
    )


def conditioning(config: Config) -> Conditioning:
    """What the model is told."""
    return Conditioning("class" if config.classes else "none", config.classes)


def init(config: Config, key: jax.Array) -> State:
    """Fresh state. Call it under jit: `jax.jit(dcgan.init, static_argnums=0)`. Does not consume `key`."""
    check_config(config, Config)
    return adversarial.init_state(game(config), config, key)


def train_step(
    config: Config, state: State, batch: Batch, key: jax.Array, *, axis_name: str | None = None
) -> tuple[State, Metrics]:
    """One round: `critic_steps` discriminator steps, one generator step.

    Args:
      batch: as `batch_spec`; this device's part when mapped over `axis_name`.
      key: the run's key, the same at every step and not consumed; draws depend on (key, state.step, example).

    Source: Radford et al. 2015 as in pytorch/examples dcgan (real and generated images in separate passes, the generator's turn on the same
    generated images); Gulrajani et al. 2017 and Miyato et al. 2018 for "resnet". Deviation: none.
    """
    batch = begin(CONTRACT, config, state, batch)
    return _round(
        config,
        state,
        batch,
        adversarial.draw(config, state, key, batch["image"].shape[0], axis_name),
        axis_name,
    )


def _round(
    config: Config, state: State, batch: Batch, draws: Draws, axis_name: str | None
) -> tuple[State, Metrics]:
    return adversarial.play_round(game(config, axis_name), config, state, batch, draws, axis_name)


def sample(
    config: Config,
    state: State,
    key: jax.Array,
    n: int,
    labels: jax.Array | None = None,
    *,
    first: int = 0,
) -> jax.Array:
    """`n` images [n, H, W, C] in [-1, 1] from the averaged generator, of the classes `labels` (int32 [n]) if conditional.

    Image i uses `fold_in(key, first + i)`, so chunks change nothing.
    """
    drawn = latents(config, key, n, first=first)
    return generate(config, state, drawn, labels)


def generate(
    config: Config, state: State, latents: jax.Array, labels: jax.Array | None = None
) -> jax.Array:
    """Images [B, H, W, C] in [-1, 1] of latents [B, Z], of the classes `labels` (int32 [B]) if conditional, from the averaged generator; each latent alone.

    `sample` draws the latents: image i's is standard normal by `fold_in(key, first + i)`. Raises ValueError for latents of another length,
    and labels missing or out of place.
    """
    check_sampler(CONTRACT, config, state)
    return adversarial.images_of(game(config), config, state, latents, labels)


def latents(config: Config, key: jax.Array, n: int, *, first: int = 0) -> jax.Array:
    """The latents [n, Z] of which `sample` makes its images; latent i uses `fold_in(key, first + i)`."""
    check_config(config, Config)
    return adversarial.sample_latents(config, key, n, first)


def preview(config: Config, state: State, batch: Batch, key: jax.Array) -> jax.Array:
    """A grid [8, columns, H, W, C] of samples in [-1, 1]: 8 columns, or one for each of the first ten classes; the batch is not used."""
    check_sampler(CONTRACT, config, state)
    return adversarial.preview_grid(sample, config, state, key, config.classes)


CONTRACT = Contract(Config, init, batch_spec, conditioning)
"""What arguments are checked against."""
