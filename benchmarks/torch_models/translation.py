"""Pix2Pix and CycleGAN in PyTorch, in the order and with the losses of junyanz/pytorch-CycleGAN-and-pix2pix."""

from __future__ import annotations

import random
from itertools import chain
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
    normal_weights,
    place,
)
from benchmarks.torch_models.translation_networks import PatchDiscriminator, ResNetTranslator, UNet


def _generator(config: Any, inputs: int, outputs: int) -> nn.Module:
    """The network of a config's settings: "unet" or "resnet"."""
    network: nn.Module
    if config.generator == "unet":
        depth = config.depth or _halvings(config.image_size)
        dropped = (
            range(3)
            if vars(config).get("dropout_layers", "paper") == "paper"
            else range(1, depth - 4)
        )
        network = UNet(
            inputs, outputs, config.generator_width, depth, config.norm, config.dropout, dropped
        )
    else:
        blocks = config.blocks or (9 if min(config.image_size) >= 256 else 6)
        network = ResNetTranslator(
            inputs, outputs, config.generator_width, blocks, config.norm, config.dropout
        )
    normal_weights(network)
    return network


def _halvings(size: tuple[int, int]) -> int:
    count = 1
    while all(side % 2 ** (count + 1) == 0 for side in size):
        count += 1
    return count


def _critic(config: Any, inputs: int) -> nn.Module:
    network = PatchDiscriminator(
        inputs, config.discriminator_width, config.discriminator_layers, config.norm
    )
    normal_weights(network)
    return network


class Pix2PixGame:
    """The game of a `jaxgan.families.pix2pix.Config` with a U-Net or a ResNet, patches, and no stabilisers."""

    def __init__(self, config: Any, options: Options):
        self.config, self.options = config, options
        channels = {"a": config.channels_a, "b": config.channels_b}
        source, target = channels[config.direction[0]], channels[config.direction[-1]]
        self.generator = place(_generator(config, source, target), options)
        self.discriminator = place(_critic(config, source + target), options)
        self.networks = {
            "generator": {"g": self.generator},
            "discriminator": {"d": self.discriminator},
        }
        self.g, self.d = fast(self.generator, options), fast(self.discriminator, options)
        self.g_optimizer = adam(self.generator.parameters(), config.generator_optimizer)
        self.d_optimizer = adam(self.discriminator.parameters(), config.discriminator_optimizer)

    def step(self, batch: Tensors, draws: Tensors | None = None) -> Tensors:
        """One round on a and b [B, C, H, W]: the discriminator's step, then the generator's on the same translation."""
        config = self.config
        source, target = batch[config.direction[0]], batch[config.direction[-1]]
        with autocast(self.options):
            fake = self.g(source)
            fake_logits = self.d(torch.cat([source, fake.detach()], 1))
            real_logits = self.d(torch.cat([source, target], 1))
        d_loss = 0.5 * critic_loss(config.loss, real_logits, fake_logits)
        learn(self.d_optimizer, d_loss)
        with frozen(self.discriminator):
            with autocast(self.options):
                logits = self.d(torch.cat([source, fake], 1))
            adversarial, distance = (
                fooling_loss(config.loss, logits),
                functional.l1_loss(fake.float(), target),
            )
            g_loss = adversarial + config.l1_weight * distance
            learn(self.g_optimizer, g_loss)
        return detached(
            {
                "d_loss": d_loss,
                "g_loss": g_loss,
                "g_adversarial_loss": adversarial,
                "l1_loss": distance,
            }
        )


class ReplayPool:
    """The last images a critic was shown; half of the time it is shown one of them instead of a new one (Shrivastava et al. 2017)."""

    def __init__(self, size: int):
        self.size, self.images = size, []  # type: ignore[var-annotated]

    def query(self, images: torch.Tensor) -> torch.Tensor:
        """Images [B, C, H, W] -> as many, older ones among them. Nothing is read back from the device."""
        if not self.size:
            return images
        shown = []
        for image in images.split(1):
            if len(self.images) < self.size:
                self.images.append(image)
            elif random.random() < 0.5:
                slot = random.randrange(self.size)
                image, self.images[slot] = self.images[slot], image
            shown.append(image)
        return torch.cat(shown) if len(shown) > 1 else shown[0]


class CycleGANGame:
    """The game of a `jaxgan.families.cyclegan.Config` without cycle critics, with a ResNet or a U-Net and a replay pool."""

    def __init__(self, config: Any, options: Options):
        self.config, self.options = config, options
        channels = {"a": config.channels_a, "b": config.channels_b}
        self.generators = {
            way: place(_generator(config, channels[way[0]], channels[way[-1]]), options)
            for way in ("a2b", "b2a")
        }
        self.critics = {
            domain: place(_critic(config, count), options) for domain, count in channels.items()
        }
        self.networks = {"generator": self.generators, "discriminator": self.critics}
        self.g = {way: fast(network, options) for way, network in self.generators.items()}
        self.d = {domain: fast(network, options) for domain, network in self.critics.items()}
        self.pools = {domain: ReplayPool(config.stabilisers.pool_size) for domain in "ab"}
        self.g_optimizer = adam(
            chain(*(network.parameters() for network in self.generators.values())),
            config.generator_optimizer,
        )
        self.d_optimizer = adam(
            chain(*(network.parameters() for network in self.critics.values())),
            config.discriminator_optimizer,
        )

    def step(self, batch: Tensors, draws: Tensors | None = None) -> Tensors:
        """One round on a and b [B, C, H, W]: a step of both generators, then one of both critics."""
        with frozen(*self.critics.values()):
            made, metrics = self._generators(batch)
            learn(self.g_optimizer, metrics["g_loss"])
        losses = {}
        for domain in "ab":
            fake = self.pools[domain].query(made[domain].detach())
            with autocast(self.options):
                fake_logits, real_logits = self.d[domain](fake), self.d[domain](batch[domain])
            losses[f"d_{domain}_loss"] = 0.5 * critic_loss(
                self.config.loss, real_logits, fake_logits
            )
        d_loss = losses["d_a_loss"] + losses["d_b_loss"]
        learn(self.d_optimizer, d_loss)
        return detached(metrics | losses | {"d_loss": d_loss})

    def _generators(self, batch: Tensors) -> tuple[Tensors, Tensors]:
        """The translations by target domain, and the generators' losses."""
        made: Tensors = {}
        metrics: Tensors = {}
        loss: Any = 0.0
        config = self.config
        for source, way in (("a", "a2b"), ("b", "b2a")):
            target, real = way[-1], batch[source]
            with autocast(self.options):
                fake = self.g[way](real)
                back, logits = self.g[way[::-1]](fake), self.d[target](fake)
                same = self.g[way](batch[target]) if config.identity_weight else None
            made[target] = fake
            adversarial, cycle = (
                fooling_loss(config.loss, logits),
                functional.l1_loss(back.float(), real),
            )
            metrics |= {f"{way}_adversarial_loss": adversarial, f"cycle_{source}_loss": cycle}
            loss = loss + adversarial + config.cycle_weight * cycle
            if same is not None:
                identity = functional.l1_loss(same.float(), batch[target])
                metrics[f"identity_{target}_loss"] = identity
                loss = loss + config.identity_weight * config.cycle_weight * identity
        return made, metrics | {"g_loss": loss}
