"""Auxiliary-classifier GAN (Odena et al. 2016): the discriminator also says which class it sees, and both players want it to be right.

`architecture="odena"` is the paper's CIFAR-10 network, "resnet" the residual pair with conditional batch norm of later comparisons. ACGAN tends to
collapse late in training: keep samples, and lower `fake_class_weight` and `generator_class_weight`. Supports every stabiliser.
Batches: see `batch_spec`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan import losses
from jaxgan.errors import require_range
from jaxgan.family import Conditioning
from jaxgan.games import adversarial
from jaxgan.games.adversarial import Draws, Game
from jaxgan.games.adversarial import labelled_batch_spec as batch_spec
from jaxgan.games.checks import Contract, begin, check_config, check_sampler
from jaxgan.games.stabilisers import Stabilisers
from jaxgan.networks.acgan import ACGANDiscriminator, ACGANGenerator, halvings_to_base
from jaxgan.networks.dcgan import halvings
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
    "train_step",
]


@dataclass(frozen=True)
class Config:
    """Settings of an ACGAN; the defaults are the paper's for CIFAR-10 (batch 100, 50,000 rounds)."""

    image_size: tuple[int, int] = (32, 32)
    """Height and width in pixels; multiples of 4, at least 12 ("resnet": at least 16)."""
    channels: int = 3
    """Channels of the images; any number."""
    classes: int = 10
    """Number of classes; labels are in [0, classes)."""
    latent_size: int = 100
    """Length Z of the latent vector, standard normal; the label is appended to it (110 inputs in the paper)."""
    architecture: Literal["odena", "resnet"] = "odena"
    """"odena": the paper's. "resnet": residual blocks, conditional batch norm in the generator."""
    generator_widths: tuple[int, ...] = (384, 192, 96)
    """"odena": feature maps of the generator from the base up. "resnet": the first is the width everywhere (256)."""
    discriminator_widths: tuple[int, ...] = (16, 32, 64, 128, 256, 512)
    """"odena": feature maps of the discriminator's convolutions, every other one of stride 2. "resnet": the first is the width everywhere (128)."""
    dropout: float = 0.5
    """"odena": rate of dropout in the discriminator."""
    input_noise: float = 0.1
    """"odena": standard deviation of the noise on the discriminator's images, not annealed; the paper tried 0, 0.1 and 0.2."""
    real_class_weight: float = 1.0
    """Weight of the class loss on real images, for the discriminator."""
    fake_class_weight: float = 1.0
    """Weight of the class loss on generated images, for the discriminator (WGAN-GP's ACGAN mode: 0)."""
    generator_class_weight: float = 1.0
    """Weight of the class loss for the generator (WGAN-GP's ACGAN mode: 0.1)."""
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
        require_range("latent_size", self.latent_size, 1)
        adversarial.check_widths(
            generator_widths=self.generator_widths, discriminator_widths=self.discriminator_widths
        )
        require_range("classes", self.classes, 1)
        require_range("dropout", self.dropout, 0, 0.99)
        for name in (
            "input_noise",
            "real_class_weight",
            "fake_class_weight",
            "generator_class_weight",
        ):
            require_range(name, getattr(self, name), 0)
        (halvings_to_base if self.architecture == "odena" else halvings)(self.image_size)


def game(config: Config, axis_name: str | None = None) -> Game:
    """The networks and losses of these settings; `axis_name` is the axis batch statistics are averaged over."""
    shape, spectral_norm = adversarial.image_shape(config), config.stabilisers.spectral_norm
    options: dict[str, Any] = {"classes": config.classes, "dtype": jnp.dtype(config.dtype)}
    generator: nn.Module
    discriminator: nn.Module
    if config.architecture == "odena":
        generator = ACGANGenerator(
            shape, widths=config.generator_widths, axis_name=axis_name, **options
        )
        discriminator = ACGANDiscriminator(
            widths=config.discriminator_widths,
            dropout_rate=config.dropout,
            input_noise=config.input_noise,
            spectral_norm=spectral_norm,
            axis_name=axis_name,
            **options,
        )
    else:
        generator = ResNetGenerator(
            shape, config.generator_widths[0], axis_name=axis_name, **options
        )
        discriminator = ResNetDiscriminator(
            config.discriminator_widths[0], class_head=True, spectral_norm=spectral_norm, **options
        )
    return Game(generator, discriminator, *_losses(config, axis_name), config.classes)


def _losses(
    config: Config, axis_name: str | None
) -> tuple[Callable[..., tuple[jax.Array, Metrics]], Callable[..., tuple[jax.Array, Metrics]]]:
    """The adversarial losses plus the class losses of section 4: L_S and L_C. One softmax, in the cross-entropy."""
    adversarial_d, adversarial_g = adversarial.adversarial_losses(config, axis_name)

    def accuracy(class_logits: jax.Array, labels: jax.Array) -> jax.Array:
        return jnp.mean(
            jnp.argmax(class_logits, axis=-1).astype(labels.dtype) == labels, dtype=jnp.float32
        )

    def discriminator_loss(
        real, fake, real_labels: jax.Array, fake_labels: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        (real_logits, real_classes), (fake_logits, fake_classes) = real, fake
        loss, _ = adversarial_d(real_logits, fake_logits, real_labels, fake_labels)
        real_class_loss = losses.softmax_cross_entropy(real_classes, real_labels)
        fake_class_loss = losses.softmax_cross_entropy(fake_classes, fake_labels)
        metrics = {
            "real_class_loss": real_class_loss,
            "fake_class_loss": fake_class_loss,
            "real_class_accuracy": accuracy(real_classes, real_labels),
            "fake_class_accuracy": accuracy(fake_classes, fake_labels),
        }
        return (
            loss
            + config.real_class_weight * real_class_loss
            + config.fake_class_weight * fake_class_loss,
            metrics,
        )

    def generator_loss(fake, real, fake_labels: jax.Array) -> tuple[jax.Array, Metrics]:
        fake_logits, fake_classes = fake
        loss, _ = adversarial_g(fake_logits, None if real is None else real[0], fake_labels)
        class_loss = losses.softmax_cross_entropy(fake_classes, fake_labels)
        return loss + config.generator_class_weight * class_loss, {"g_class_loss": class_loss}

    return discriminator_loss, generator_loss


def conditioning(config: Config) -> Conditioning:
    """What the model is told."""
    return Conditioning("class", config.classes)


def init(config: Config, key: jax.Array) -> State:
    """Fresh state. Call it under jit: `jax.jit(acgan.init, static_argnums=0)`. Does not consume `key`."""
    check_config(config, Config)
    return adversarial.init_state(game(config), config, key)


def train_step(
    config: Config, state: State, batch: Batch, key: jax.Array, *, axis_name: str | None = None
) -> tuple[State, Metrics]:
    """One round: `critic_steps` discriminator steps, one generator step.

    Args:
      batch: as `batch_spec`; this device's part when mapped over `axis_name`.
      key: the run's key, the same at every step and not consumed; draws depend on (key, state.step, example).

    Source: Odena et al. 2016, section 4. Deviation: generated images have the real batch's classes, not classes drawn uniformly.
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
    config: Config, state: State, key: jax.Array, n: int, labels: jax.Array, *, first: int = 0
) -> jax.Array:
    """`n` images [n, H, W, C] in [-1, 1] of the classes `labels` (int32 [n]) from the averaged generator.

    Image i uses `fold_in(key, first + i)`, so chunks change nothing.
    """
    drawn = latents(config, key, n, first=first)
    return generate(config, state, drawn, labels)


def generate(config: Config, state: State, latents: jax.Array, labels: jax.Array) -> jax.Array:
    """Images [B, H, W, C] in [-1, 1] of latents [B, Z] of the classes `labels` (int32 [B]), from the averaged generator; each latent alone.

    `sample` draws the latents: image i's is standard normal by `fold_in(key, first + i)`. Raises ValueError for latents of another length.
    """
    check_sampler(CONTRACT, config, state)
    return adversarial.images_of(game(config), config, state, latents, labels)


def latents(config: Config, key: jax.Array, n: int, *, first: int = 0) -> jax.Array:
    """The latents [n, Z] of which `sample` makes its images; latent i uses `fold_in(key, first + i)`."""
    check_config(config, Config)
    return adversarial.sample_latents(config, key, n, first)


def preview(config: Config, state: State, batch: Batch, key: jax.Array) -> jax.Array:
    """A grid [8, columns, H, W, C] of samples in [-1, 1], a column for each of the first ten classes; the batch is not used."""
    check_sampler(CONTRACT, config, state)
    return adversarial.preview_grid(sample, config, state, key, config.classes)


CONTRACT = Contract(Config, init, batch_spec, conditioning)
"""What arguments are checked against."""
