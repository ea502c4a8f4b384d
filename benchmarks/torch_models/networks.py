"""DCGAN's and the residual networks in PyTorch, written from their tables for any size, with the references' names."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional


def dcgan_generator(
    latent: int, base: tuple[int, int], doublings: int, width: int, channels: int
) -> nn.Module:
    widths = [latent, *(width << i for i in reversed(range(doublings)))]
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        layers += [
            nn.ConvTranspose2d(
                inputs, outputs, (4, 4) if i else base, 2 if i else 1, 1 if i else 0, bias=False
            ),
            nn.BatchNorm2d(outputs),
            nn.ReLU(True),
        ]
    return _Main(*layers, nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1, bias=False), nn.Tanh())


def dcgan_discriminator(
    base: tuple[int, int], halvings: int, width: int, channels: int, spectral=None
) -> nn.Module:
    """spectral: a function that puts spectral norm on a layer; then there are biases and no batch norm."""
    wrap = spectral or (lambda layer: layer)
    widths = [channels, *(width << i for i in range(halvings))]
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        layers.append(wrap(nn.Conv2d(inputs, outputs, 4, 2, 1, bias=spectral is not None)))
        if i and spectral is None:
            layers.append(nn.BatchNorm2d(outputs))
        layers.append(nn.LeakyReLU(0.2, True))
    return _Main(
        *layers, wrap(nn.Conv2d(widths[-1], 1, base, bias=spectral is not None)), nn.Flatten(0)
    )


class _Main(nn.Module):
    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.main = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.main(x if x.ndim == 4 else x[:, :, None, None])


class ConditionalNorm(nn.Module):
    def __init__(self, features: int, classes: int):
        super().__init__()
        self.bn = nn.BatchNorm2d(features, affine=False)
        self.embed = nn.Embedding(classes, 2 * features)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        scale, bias = self.embed(labels)[:, :, None, None].chunk(2, 1)
        return self.bn(x) * scale + bias


class GeneratorBlock(nn.Module):
    def __init__(self, width: int, classes: int, mode: str):
        super().__init__()
        self.c1, self.c2, self.c_sc = (
            nn.Conv2d(width, width, 3, 1, 1),
            nn.Conv2d(width, width, 3, 1, 1),
            nn.Conv2d(width, width, 1),
        )
        self.b1, self.b2 = (
            ConditionalNorm(width, classes) if classes else nn.BatchNorm2d(width) for _ in range(2)
        )
        self.classes, self.mode = classes, mode

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        given = (labels,) if self.classes else ()
        h = self.c1(_double(functional.relu(self.b1(x, *given)), self.mode))
        return self.c2(functional.relu(self.b2(h, *given))) + self.c_sc(_double(x, self.mode))


def _double(x: torch.Tensor, mode: str) -> torch.Tensor:
    return functional.interpolate(
        x, scale_factor=2, mode=mode, **({"align_corners": False} if mode == "bilinear" else {})
    )


class ResNetGenerator(nn.Module):
    def __init__(
        self,
        latent: int,
        base: tuple[int, int],
        doublings: int,
        width: int,
        channels: int,
        classes: int = 0,
        mode: str = "bilinear",
    ):
        super().__init__()
        self.base, self.doublings = base, doublings
        self.l1 = nn.Linear(latent, base[0] * base[1] * width)
        for i in range(doublings):
            self.add_module(f"block{i + 2}", GeneratorBlock(width, classes, mode))
        self.add_module(f"b{doublings + 2}", nn.BatchNorm2d(width))
        self.add_module(f"c{doublings + 2}", nn.Conv2d(width, channels, 3, 1, 1))

    def forward(self, latents: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        x = self.l1(latents).view(len(latents), -1, *self.base)
        for i in range(self.doublings):
            x = getattr(self, f"block{i + 2}")(x, labels)
        last = self.doublings + 2
        return torch.tanh(getattr(self, f"c{last}")(functional.relu(getattr(self, f"b{last}")(x))))


class DiscriminatorBlock(nn.Module):
    def __init__(self, inputs: int, width: int, first: bool, down: bool, in_place: bool, wrap):
        super().__init__()
        self.c1, self.c2 = (
            wrap(nn.Conv2d(inputs, width, 3, 1, 1)),
            wrap(nn.Conv2d(width, width, 3, 1, 1)),
        )
        if first or down:
            self.c_sc = wrap(nn.Conv2d(inputs, width, 1))
        self.first, self.down, self.in_place = first, down, in_place

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.c1(x if self.first else functional.relu(x, self.in_place))
        h = self.c2(functional.relu(h))
        if self.first:
            return functional.avg_pool2d(h, 2) + self.c_sc(functional.avg_pool2d(x, 2))
        return (
            functional.avg_pool2d(h, 2) + functional.avg_pool2d(self.c_sc(x), 2)
            if self.down
            else h + x
        )


class ResNetDiscriminator(nn.Module):
    """heads: "" (logits), "projection" or "class"."""

    def __init__(
        self,
        halvings: int,
        width: int,
        channels: int,
        pool: str,
        in_place: bool,
        head: str = "",
        classes: int = 0,
        spectral=None,
    ):
        super().__init__()
        wrap = spectral or (lambda layer: layer)
        self.blocks, self.pool, self.head = halvings + 2, pool, head
        for i in range(self.blocks):
            self.add_module(
                f"block{i + 1}",
                DiscriminatorBlock(
                    width if i else channels, width, i == 0, i < halvings, in_place, wrap
                ),
            )
        self.add_module(f"l{self.blocks + 1}", wrap(nn.Linear(width, 1)))
        if head:
            self.l_y = wrap(
                nn.Linear(width, classes) if head == "class" else nn.Embedding(classes, width)
            )

    def forward(self, x: torch.Tensor, labels: torch.Tensor):
        for i in range(self.blocks):
            x = getattr(self, f"block{i + 1}")(x)
        x = functional.relu(x)
        x = x.sum((2, 3)) if self.pool == "sum" else x.mean((2, 3))
        logits = getattr(self, f"l{self.blocks + 1}")(x)[:, 0]
        if self.head == "class":
            return logits, self.l_y(x)
        return logits + (self.l_y(labels) * x).sum(1) if self.head else logits
