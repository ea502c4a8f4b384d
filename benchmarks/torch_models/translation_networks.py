"""junyanz's translation networks in PyTorch, written from their tables for any size, with the reference's names."""

from __future__ import annotations

import torch
from torch import nn


def _norm(kind: str, features: int) -> nn.Module:
    return nn.BatchNorm2d(features) if kind == "batch" else nn.InstanceNorm2d(features)


def _bias(kind: str) -> bool:
    return kind == "instance"


class _Block(nn.Module):
    def __init__(self, width: int, norm: str, dropout: float):
        super().__init__()

        def half() -> list[nn.Module]:
            return [
                nn.ReflectionPad2d(1),
                nn.Conv2d(width, width, 3, bias=_bias(norm)),
                _norm(norm, width),
            ]

        self.conv_block = nn.Sequential(
            *half(), nn.ReLU(True), *([nn.Dropout(dropout)] if dropout else []), *half()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv_block(x)


class ResNetTranslator(nn.Module):
    def __init__(
        self, inputs: int, channels: int, width: int, blocks: int, norm: str, dropout: float = 0.0
    ):
        super().__init__()
        bias = _bias(norm)
        layers: list[nn.Module] = [
            nn.ReflectionPad2d(3),
            nn.Conv2d(inputs, width, 7, bias=bias),
            _norm(norm, width),
            nn.ReLU(True),
        ]
        for n in (width, 2 * width):
            layers += [nn.Conv2d(n, 2 * n, 3, 2, 1, bias=bias), _norm(norm, 2 * n), nn.ReLU(True)]
        layers += [_Block(4 * width, norm, dropout) for _ in range(blocks)]
        for n in (2 * width, width):
            layers += [
                nn.ConvTranspose2d(2 * n, n, 3, 2, 1, 1, bias=bias),
                _norm(norm, n),
                nn.ReLU(True),
            ]
        self.model = nn.Sequential(
            *layers, nn.ReflectionPad2d(3), nn.Conv2d(width, channels, 7), nn.Tanh()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


class _Level(nn.Module):
    """One level of the U-Net around the ones further in. Activations in place reach the skips, too: behind the next ReLU that changes nothing."""

    def __init__(
        self,
        outer: int,
        inner: int,
        norm: str,
        inside: nn.Module | None,
        outermost: tuple[int, int] | None = None,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.outermost = outermost is not None
        inputs, outputs = outermost or (outer, outer)
        down: list[nn.Module] = [nn.Conv2d(inputs, inner, 4, 2, 1, bias=_bias(norm))]
        up = nn.ConvTranspose2d(
            inner * (2 if inside else 1), outputs, 4, 2, 1, bias=self.outermost or _bias(norm)
        )
        if not self.outermost:
            down = [nn.LeakyReLU(0.2, True), *down, *([_norm(norm, inner)] if inside else [])]
        tail = (
            [nn.Tanh()]
            if self.outermost
            else [_norm(norm, outputs), *([nn.Dropout(dropout)] if dropout else [])]
        )
        self.model = nn.Sequential(*down, *([inside] if inside else []), nn.ReLU(True), up, *tail)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


class UNet(nn.Module):
    """dropped: the levels, counted from the innermost, that end with dropout of this rate."""

    def __init__(
        self,
        inputs: int,
        channels: int,
        width: int,
        depth: int,
        norm: str,
        dropout: float = 0.0,
        dropped: range = range(3),
    ):
        super().__init__()
        widths = [width * min(1 << i, 8) for i in range(depth)]
        level: nn.Module | None = None
        for i in reversed(range(1, depth)):
            level = _Level(
                widths[i - 1],
                widths[i],
                norm,
                level,
                dropout=dropout if depth - 1 - i in dropped else 0.0,
            )
        self.model = _Level(0, width, norm, level, (inputs, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


class PatchDiscriminator(nn.Module):
    def __init__(self, inputs: int, width: int, layers: int, norm: str):
        super().__init__()
        modules: list[nn.Module] = [nn.Conv2d(inputs, width, 4, 2, 1), nn.LeakyReLU(0.2, True)]
        for i in range(1, layers + 1):
            before, after = (width * min(1 << k, 8) for k in (i - 1, i))
            modules += [
                nn.Conv2d(before, after, 4, 2 if i < layers else 1, 1, bias=_bias(norm)),
                _norm(norm, after),
                nn.LeakyReLU(0.2, True),
            ]
        self.model = nn.Sequential(*modules, nn.Conv2d(width * min(1 << layers, 8), 1, 4, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)[:, 0]


class PixelDiscriminator(nn.Module):
    def __init__(self, inputs: int, width: int, norm: str):
        super().__init__()
        middle = [
            nn.Conv2d(width, 2 * width, 1, bias=_bias(norm)),
            _norm(norm, 2 * width),
            nn.LeakyReLU(0.2, True),
        ]
        self.net = nn.Sequential(
            nn.Conv2d(inputs, width, 1),
            nn.LeakyReLU(0.2, True),
            *middle,
            nn.Conv2d(2 * width, 1, 1, bias=_bias(norm)),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)[:, 0]
