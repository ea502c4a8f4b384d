"""StarGAN in PyTorch, in the order and with the losses of yunjey/stargan; the last translation serves both players."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

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
    place,
)
from benchmarks.torch_models.stargan_networks import StarGANDiscriminator, StarGANGenerator


class StarGANGame:
    """The game of a `jaxgan.families.stargan.Config` of binary attributes from one data set, with a gradient penalty and no other stabiliser."""

    def __init__(self, config: Any, options: Options):
        self.config, self.options, count = config, options, len(config.attributes)
        self.generator = place(
            StarGANGenerator(
                config.channels + count, config.channels, config.generator_width, config.blocks
            ),
            options,
        )
        critic = StarGANDiscriminator(
            config.image_size,
            config.channels,
            count,
            config.discriminator_width,
            config.discriminator_layers,
        )
        self.discriminator = place(critic, options)
        self.networks = {
            "generator": {"g": self.generator},
            "discriminator": {"d": self.discriminator},
        }
        self.g, self.d = fast(self.generator, options), fast(self.discriminator, options)
        self.g_optimizer = adam(self.generator.parameters(), config.generator_optimizer)
        self.d_optimizer = adam(self.discriminator.parameters(), config.discriminator_optimizer)

    def draw(self, count: int) -> Tensors:
        """alpha of the penalty and order of the targets, both uniform [count]."""
        alpha, order = torch.rand(2, count, device=self.options.device)
        return {"alpha": alpha, "order": order}

    def step(self, batch: Tensors, draws: Tensors | None = None) -> Tensors:
        """One round on image [n B, C, H, W] and attributes float32 [n B, K], interleaved: n critic steps, then a generator step."""
        n, config = config_steps(self.config), self.config
        draws = draws or self.draw(len(batch["image"]))
        for turn in range(n):
            real, attributes = (batch[name][turn::n] for name in ("image", "attributes"))
            alpha, order = (draws[name][turn::n] for name in ("alpha", "order"))
            target = attributes[order.argsort()]
            last = turn == n - 1
            with torch.set_grad_enabled(last), autocast(self.options):
                fake = self.g(_told(real, target))
            d_metrics = self._critic_step(real, attributes, fake.detach(), alpha)
        with frozen(self.discriminator):
            with autocast(self.options):
                logits, classes = self.d(fake)
                back = self.g(_told(fake, attributes))
            adversarial, class_loss = (
                fooling_loss(config.loss, logits),
                _class_loss(classes, target),
            )
            distance = functional.l1_loss(back.float(), real)
            g_loss = (
                adversarial
                + config.class_weight * class_loss
                + config.reconstruction_weight * distance
            )
            learn(self.g_optimizer, g_loss)
        losses = {
            "g_loss": g_loss,
            "g_adversarial_loss": adversarial,
            "g_class_loss": class_loss,
            "reconstruction_loss": distance,
        }
        return detached(d_metrics | losses)

    def _critic_step(
        self, real: torch.Tensor, attributes: torch.Tensor, fake: torch.Tensor, alpha: torch.Tensor
    ) -> Tensors:
        with autocast(self.options):
            logits, classes = self.d(torch.cat([real, fake]))
            (real_logits, fake_logits), classes = logits.chunk(2), classes[: len(real)]
        class_loss, adversarial = (
            _class_loss(classes, attributes),
            critic_loss(self.config.loss, real_logits, fake_logits),
        )
        penalty = self._gradient_penalty(real, fake, alpha)
        d_loss = (
            adversarial
            + self.config.class_weight * class_loss
            + self.config.stabilisers.gradient_penalty * penalty
        )
        learn(self.d_optimizer, d_loss)
        return {
            "d_loss": d_loss,
            "d_adversarial_loss": adversarial,
            "d_class_loss": class_loss,
            "gradient_penalty": penalty,
        }

    def _gradient_penalty(
        self, real: torch.Tensor, fake: torch.Tensor, alpha: torch.Tensor
    ) -> torch.Tensor:
        weight = alpha[:, None, None, None]
        between = (weight * real + (1 - weight) * fake).requires_grad_()
        with autocast(self.options):
            logits, _ = self.discriminator(between)
        (slopes,) = torch.autograd.grad(logits.float().sum(), between, create_graph=True)
        return (slopes.flatten(1).norm(dim=1) - 1).square().mean()


def config_steps(config: Any) -> int:
    """Critic steps in a round."""
    count: int = config.stabilisers.critic_steps
    return count


def _told(images: torch.Tensor, attributes: torch.Tensor) -> torch.Tensor:
    """Images and a plane for each attribute: [B, C + K, H, W]."""
    return torch.cat([images, attributes[:, :, None, None].expand(-1, -1, *images.shape[2:])], 1)


def _class_loss(logits: torch.Tensor, attributes: torch.Tensor) -> torch.Tensor:
    return functional.binary_cross_entropy_with_logits(
        logits.float(), attributes, reduction="sum"
    ) / len(logits)
