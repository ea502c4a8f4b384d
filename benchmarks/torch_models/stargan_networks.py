"""yunjey's StarGAN networks in PyTorch, written from their tables for any size, with the reference's names."""

from __future__ import annotations

import torch
from torch import nn


class _Block(nn.Module):
    def __init__(self, width: int, running: bool):
        super().__init__()
        first, second = (
            [nn.Conv2d(width, width, 3, 1, 1, bias=False), _norm(width, running)] for _ in range(2)
        )
        self.main = nn.Sequential(*first, nn.ReLU(True), *second)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.main(x)


class StarGANGenerator(nn.Module):
    """running: the norms keep running statistics, as the reference's do although it never reads them."""

    def __init__(self, inputs: int, channels: int, width: int, blocks: int, running: bool = False):
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, width, 7, 1, 3, bias=False),
            _norm(width, running),
            nn.ReLU(True),
        ]
        for n in (width, 2 * width):
            layers += [
                nn.Conv2d(n, 2 * n, 4, 2, 1, bias=False),
                _norm(2 * n, running),
                nn.ReLU(True),
            ]
        layers += [_Block(4 * width, running) for _ in range(blocks)]
        for n in (2 * width, width):
            layers += [
                nn.ConvTranspose2d(2 * n, n, 4, 2, 1, bias=False),
                _norm(n, running),
                nn.ReLU(True),
            ]
        self.main = nn.Sequential(
            *layers, nn.Conv2d(width, channels, 7, 1, 3, bias=False), nn.Tanh()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.main(x)


def _norm(width: int, running: bool) -> nn.Module:
    return nn.InstanceNorm2d(width, affine=True, track_running_stats=running)


class StarGANDiscriminator(nn.Module):
    """For images that need not be square."""

    def __init__(
        self, size: tuple[int, int], channels: int, attributes: int, width: int, layers: int
    ):
        super().__init__()
        modules: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.01, True)]
        for i in range(1, layers):
            modules += [nn.Conv2d(width << (i - 1), width << i, 4, 2, 1), nn.LeakyReLU(0.01, True)]
        self.main = nn.Sequential(*modules)
        self.conv1 = nn.Conv2d(width << (layers - 1), 1, 3, 1, 1, bias=False)
        self.conv2 = nn.Conv2d(
            width << (layers - 1), attributes, (size[0] >> layers, size[1] >> layers), bias=False
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.main(x)
        return self.conv1(x)[:, 0], self.conv2(x)[:, :, 0, 0]
