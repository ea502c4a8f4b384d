"""SPADE in PyTorch, in the order and with the losses of NVlabs/SPADE, without the perceptual loss and the style encoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
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
from benchmarks.torch_models.spade_networks import MultiscaleDiscriminator, SPADEGenerator


class SPADEGame:
    """The game of a `jaxgan.families.spade.Config` of "normal" upsampling without encoder, features, instance edges and stabilisers."""

    def __init__(self, config: Any, options: Options):
        self.config, self.options = config, options
        self.planes = config.classes + bool(config.unknown)
        generator = SPADEGenerator(
            self.planes,
            config.channels,
            config.generator_width,
            config.up_blocks,
            config.norm_width,
        )
        sizes = (
            config.discriminator_width,
            config.discriminator_layers,
            config.discriminator_scales,
        )
        discriminator = MultiscaleDiscriminator(self.planes + config.channels, *sizes)
        for network in (generator, discriminator):
            _xavier(network)
        self.generator, self.discriminator = (
            place(generator, options),
            place(discriminator, options),
        )
        self.networks = {
            "generator": {"g": self.generator},
            "discriminator": {"d": self.discriminator},
        }
        self.g, self.d = fast(self.generator, options), fast(self.discriminator, options)
        self.g_optimizer = adam(self.generator.parameters(), config.generator_optimizer)
        self.d_optimizer = adam(self.discriminator.parameters(), config.discriminator_optimizer)

    def step(self, batch: Tensors, draws: Tensors | None = None) -> Tensors:
        """One round on image [B, C, H, W] and layout int64 [B, H, W]: the generator's step, then the discriminator's on what the new generator makes."""
        real, layout, loss = batch["image"], self._planes(batch["layout"]), self.config.loss
        with frozen(self.discriminator):
            with autocast(self.options):
                fake = self.g(layout)
                of_fake, of_real = self._judge(layout, fake, real)
            adversarial = sum(fooling_loss(loss, maps[-1]) for maps in of_fake) / len(of_fake)
            matching = sum(
                _distance(x, y)
                for fakes, reals in zip(of_fake, of_real)
                for x, y in zip(fakes[:-1], reals[:-1])
            ) / len(of_fake)
            g_loss = adversarial + self.config.feature_weight * matching
            learn(self.g_optimizer, g_loss)
        with autocast(self.options):
            with torch.no_grad():
                fake = self.g(layout)
            of_fake, of_real = self._judge(layout, fake, real)
        d_loss: Any = sum(
            critic_loss(loss, reals[-1], fakes[-1]) for fakes, reals in zip(of_fake, of_real)
        ) / len(of_fake)
        learn(self.d_optimizer, d_loss)
        return detached(
            {
                "g_loss": g_loss,
                "g_adversarial_loss": adversarial,
                "feature_matching_loss": matching,
                "d_loss": d_loss,
            }
        )

    def _planes(self, layout: torch.Tensor) -> torch.Tensor:
        """One plane for each class, float32 [B, S, H, W]."""
        shape = (len(layout), self.planes, *layout.shape[1:])
        memory = torch.channels_last if self.options.channels_last else torch.contiguous_format
        planes = torch.zeros(shape, device=self.options.device).contiguous(memory_format=memory)
        return planes.scatter_(1, layout[:, None], 1.0)

    def _judge(
        self, layout: torch.Tensor, fake: torch.Tensor, real: torch.Tensor
    ) -> tuple[Any, Any]:
        """The maps of generated and of real images, from one pass over both."""
        both = torch.cat([torch.cat([layout, fake], 1), torch.cat([layout, real], 1)])
        judged, count = self.d(both), len(real)
        return [[x[:count] for x in maps] for maps in judged], [
            [x[count:] for x in maps] for maps in judged
        ]


def _distance(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return functional.l1_loss(x.float(), y.detach().float())


def _xavier(network: nn.Module) -> None:
    """Xavier's normal weights of gain 0.02."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_normal_(getattr(module, "weight_orig", module.weight), 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
