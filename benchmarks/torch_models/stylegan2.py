"""StyleGAN2 in PyTorch, in the order of NVlabs/stylegan2-ada-pytorch: lazy R1 and path length, style mixing, averaged generator; no augmentation."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch

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
from benchmarks.torch_models.stylegan2_networks import StyleGAN2Discriminator, StyleGAN2Generator


class StyleGAN2Game:
    """The game of a `jaxgan.families.stylegan.Config` of StyleGAN2 for square images without classes ("skip" generator, "resnet" discriminator)."""

    def __init__(self, config: Any, options: Options):
        self.config, self.options = config, options
        sizes = (config.image_size[0], config.channels)
        width = (config.channel_base, config.channel_max)
        generator = StyleGAN2Generator(
            config.latent_size,
            config.style_size,
            config.mapping_layers,
            *sizes,
            *width,
            options.grouped,
        )
        self.generator = place(generator, options)
        self.discriminator = place(
            StyleGAN2Discriminator(*sizes, *width, config.minibatch_std_group), options
        )
        self.networks = {
            "generator": {"": self.generator},
            "discriminator": {"": self.discriminator},
        }
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.synthesis, self.d = (
            fast(self.generator.synthesis, options),
            fast(self.discriminator, options),
        )
        self.layers = 2 * self.generator.synthesis.levels
        self.g_optimizer = adam(
            self.generator.parameters(),
            _corrected(config.generator_optimizer, config.path_length_interval),
        )
        self.d_optimizer = adam(
            self.discriminator.parameters(),
            _corrected(config.discriminator_optimizer, config.r1_interval),
        )
        self.mean_length, self.rounds, self.images = torch.zeros((), device=options.device), 0, 0

    def draw(self, count: int) -> Tensors:
        """Of the turns "generator", "discriminator" and "path length": latents [n, Z], other_latents, first_mixed [n], noise; directions [n, C, H, W]."""
        counts = {
            "generator": count,
            "discriminator": count,
            "path length": count // self.config.path_length_shrink,
        }
        return {turn: self._draw(n) for turn, n in counts.items()}

    def _draw(self, count: int) -> Tensors:
        device, config = self.options.device, self.config
        latents, other = torch.randn(2, count, config.latent_size, device=device)
        chance, first = (
            torch.rand(count, device=device),
            torch.randint(1, self.layers, (count,), device=device),
        )
        first = torch.where(chance < config.style_mixing, first, self.layers)
        return {
            "latents": latents,
            "other_latents": other,
            "first_mixed": first,
            "noise": None,
            "directions": None,
        }

    def step(self, batch: Tensors, draws: Tensors | None = None) -> Tensors:
        """One round on image [B, C, H, W]: the generator's step, then the discriminator's, each followed by one on its penalty where that is due."""
        real, config = batch["image"], self.config
        draws = draws or self.draw(len(real))
        with frozen(self.discriminator):
            with autocast(self.options):
                logits = self.d(self._fake(draws["generator"]))
            g_loss = fooling_loss("non-saturating", logits)
            learn(self.g_optimizer, g_loss)
            if self.rounds % config.path_length_interval == 0:
                learn(
                    self.g_optimizer,
                    config.path_length_interval
                    * config.path_length_weight
                    * self._path_length_penalty(draws["path length"]),
                )
        with autocast(self.options):
            with torch.no_grad():
                fake = self._fake(draws["discriminator"])
            real_logits, fake_logits = self.d(real), self.d(fake)
        d_loss = critic_loss("non-saturating", real_logits, fake_logits)
        learn(self.d_optimizer, d_loss)
        if self.rounds % config.r1_interval == 0:
            learn(
                self.d_optimizer,
                config.r1_interval * config.stabilisers.r1 * self._r1_penalty(real),
            )
        self.rounds, self.images = self.rounds + 1, self.images + len(real)
        self._average(len(real))
        return detached({"g_loss": g_loss, "d_loss": d_loss, "path_length_mean": self.mean_length})

    def _styles(self, draws: Tensors) -> torch.Tensor:
        """w for each layer [B, L, W]; the running mean of w moves."""
        mapping: Any = self.generator.mapping
        w = mapping(draws["latents"])
        mapping.w_avg.copy_(
            w.detach().float().mean(0).lerp(mapping.w_avg, self.config.average_decay)
        )
        ws = w[:, None].expand(-1, self.layers, -1)
        before = torch.arange(self.layers, device=w.device) < draws["first_mixed"][:, None]
        return torch.where(before[:, :, None], ws, mapping(draws["other_latents"])[:, None])

    def _fake(self, draws: Tensors) -> torch.Tensor:
        images: torch.Tensor = self.synthesis(self._styles(draws), draws["noise"])
        return images

    def _path_length_penalty(self, draws: Tensors) -> torch.Tensor:
        with autocast(self.options):
            ws = self._styles(draws)
            fake = self.generator.synthesis(ws, draws["noise"])
        directions = torch.randn_like(fake) if draws["directions"] is None else draws["directions"]
        (slopes,) = torch.autograd.grad(
            (fake * directions).sum() / (fake.shape[2] * fake.shape[3]) ** 0.5,
            ws,
            create_graph=True,
        )
        lengths = slopes.float().square().sum(2).mean(1).sqrt()
        mean = self.mean_length.lerp(lengths.mean(), self.config.path_length_decay)
        self.mean_length = mean.detach()
        return (lengths - mean).square().mean()

    def _r1_penalty(self, real: torch.Tensor) -> torch.Tensor:
        real = real.detach().requires_grad_()
        with autocast(self.options):
            logits = self.discriminator(real)
        (slopes,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
        return 0.5 * slopes.float().square().sum((1, 2, 3)).mean()

    @torch.no_grad()
    def _average(self, count: int) -> None:
        s = self.config.stabilisers
        span = min(s.ema_half_life, s.ema_ramp * self.images) if s.ema_ramp else s.ema_half_life
        share = 1 - 0.5 ** (count / max(span, 1e-8))
        torch._foreach_lerp_(
            list(self.average.parameters()), list(self.generator.parameters()), share
        )
        for old, new in zip(self.average.buffers(), self.generator.buffers()):
            old.copy_(new)


def _corrected(settings: Any, interval: int) -> Any:
    """The optimiser's settings of a player with a further step every `interval` rounds (Karras et al. 2020, appendix B)."""
    c = interval / (interval + 1) if interval > 1 else 1.0
    return dataclasses.replace(
        settings,
        learning_rate=c * settings.learning_rate,
        beta1=settings.beta1**c,
        beta2=settings.beta2**c,
    )
