"""The plain adversarial game in PyTorch: DCGAN (pytorch/examples) and the conditional GAN of fully connected layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from benchmarks.torch_models.learning import (
    Options,
    Tensors,
    adam,
    autocast,
    critic_loss,
    detached,
    fast,
    fooling_loss,
    frozen,
    learn,
    normal_weights,
    place,
)
from benchmarks.torch_models.mlp_networks import MLPDiscriminator, MLPGenerator
from benchmarks.torch_models.networks import dcgan_discriminator, dcgan_generator


class AdversarialGame:
    """A generator from latents (and labels) against a discriminator; one step of each in a round, on the same generated images."""

    def __init__(
        self, generator: nn.Module, discriminator: nn.Module, config: Any, options: Options
    ):
        self.config, self.options = config, options
        self.generator, self.discriminator = (
            place(generator, options),
            place(discriminator, options),
        )
        self.networks = {
            "generator": {"": self.generator},
            "discriminator": {"": self.discriminator},
        }
        self.g, self.d = fast(self.generator, options), fast(self.discriminator, options)
        self.g_optimizer = adam(self.generator.parameters(), config.generator_optimizer)
        self.d_optimizer = adam(self.discriminator.parameters(), config.discriminator_optimizer)

    def draw(self, count: int) -> Tensors:
        """latents [count, Z]."""
        uniform = vars(self.config).get("latent") == "uniform"
        return {
            "latents": (torch.rand if uniform else torch.randn)(
                count, self.config.latent_size, device=self.options.device
            )
        }

    def step(self, batch: Tensors, draws: Tensors | None = None) -> Tensors:
        """One round on image [B, C, H, W] and, with classes, label int64 [B]: d_loss, g_loss."""
        real, labels = batch["image"], (batch["label"],) if "label" in batch else ()
        draws = draws or self.draw(len(real))
        with autocast(self.options):
            fake = self.g(draws["latents"], *labels)
            real_logits, fake_logits = self.d(real, *labels), self.d(fake.detach(), *labels)
        d_loss = critic_loss(self.config.loss, real_logits, fake_logits)
        learn(self.d_optimizer, d_loss)
        with frozen(self.discriminator):
            with autocast(self.options):
                logits = self.d(fake, *labels)
            g_loss = fooling_loss(self.config.loss, logits)
            learn(self.g_optimizer, g_loss)
        return detached({"d_loss": d_loss, "g_loss": g_loss})


def _halvings(size: tuple[int, int]) -> int:
    count = 0
    while min(size) >> (count + 1) >= 4 and all(side % 2 ** (count + 1) == 0 for side in size):
        count += 1
    return count


def dcgan(config: Any, options: Options) -> AdversarialGame:
    """The game of a `jaxgan.families.dcgan.Config` of architecture "dcgan", without classes and stabilisers."""
    count = _halvings(config.image_size)
    base = (config.image_size[0] >> count, config.image_size[1] >> count)
    generator = dcgan_generator(
        config.latent_size, base, count, config.generator_width, config.channels
    )
    discriminator = dcgan_discriminator(base, count, config.discriminator_width, config.channels)
    for network in (generator, discriminator):
        normal_weights(network)
    return AdversarialGame(generator, discriminator, config, options)


def cgan(config: Any, options: Options) -> AdversarialGame:
    """The game of a `jaxgan.families.cgan.Config` of architecture "mlp", trained by Adam, without stabilisers."""
    shape = (*config.image_size, config.channels)
    generator = MLPGenerator(
        config.latent_size,
        shape,
        config.generator_hidden,
        config.classes,
        batch_norm=config.batch_norm,
    )
    return AdversarialGame(
        generator,
        MLPDiscriminator(
            shape, config.discriminator_hidden, config.classes, dropout=config.dropout
        ),
        config,
        options,
    )
