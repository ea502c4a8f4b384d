"""NVlabs' SPADE networks in PyTorch without style encoder, written from their tables for any size, with the reference's names."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn
from torch.nn import functional


def _spectral(layer: nn.Module) -> nn.Module:
    """The older of PyTorch's two: the newer one updates the singular vectors in the other order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.nn.utils.spectral_norm(layer)


class SPADE(nn.Module):
    def __init__(self, features: int, planes: int, hidden: int):
        super().__init__()
        self.param_free_norm = nn.BatchNorm2d(features, affine=False)
        self.mlp_shared = nn.Sequential(nn.Conv2d(planes, hidden, 3, 1, 1), nn.ReLU(True))
        self.mlp_gamma, self.mlp_beta = (nn.Conv2d(hidden, features, 3, 1, 1) for _ in range(2))

    def forward(self, x: torch.Tensor, layout: torch.Tensor) -> torch.Tensor:
        shared = self.mlp_shared(functional.interpolate(layout, x.shape[2:], mode="nearest"))
        return torch.addcmul(
            self.mlp_beta(shared), self.param_free_norm(x), 1 + self.mlp_gamma(shared)
        )


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, planes: int, hidden: int):
        super().__init__()
        middle = min(inputs, outputs)
        self.conv_0, self.conv_1 = (
            _spectral(nn.Conv2d(inputs, middle, 3, 1, 1)),
            _spectral(nn.Conv2d(middle, outputs, 3, 1, 1)),
        )
        self.norm_0, self.norm_1 = SPADE(inputs, planes, hidden), SPADE(middle, planes, hidden)
        self.learned = inputs != outputs
        if self.learned:
            self.conv_s, self.norm_s = (
                _spectral(nn.Conv2d(inputs, outputs, 1, bias=False)),
                SPADE(inputs, planes, hidden),
            )

    def forward(self, x: torch.Tensor, layout: torch.Tensor) -> torch.Tensor:
        shortcut = self.conv_s(self.norm_s(x, layout)) if self.learned else x
        y = self.conv_0(functional.leaky_relu(self.norm_0(x, layout), 0.2, True))
        return shortcut + self.conv_1(functional.leaky_relu(self.norm_1(y, layout), 0.2, True))


class SPADEGenerator(nn.Module):
    """`ups` blocks that halve the width; the reference's are 4. Upsampling "normal"."""

    def __init__(self, planes: int, channels: int, width: int, ups: int, hidden: int):
        super().__init__()
        widest, self.ups = width << ups, ups
        self.fc = nn.Conv2d(planes, widest, 3, 1, 1)
        self.head_0, self.G_middle_0, self.G_middle_1 = (
            _Block(widest, widest, planes, hidden) for _ in range(3)
        )
        for i in range(ups):
            self.add_module(f"up_{i}", _Block(widest >> i, widest >> (i + 1), planes, hidden))
        self.conv_img = nn.Conv2d(width, channels, 3, 1, 1)

    def forward(self, layout: torch.Tensor) -> torch.Tensor:
        multiple = 2 << self.ups
        x = self.fc(
            functional.interpolate(
                layout, (layout.shape[2] // multiple, layout.shape[3] // multiple), mode="nearest"
            )
        )
        x = self.G_middle_0(_double(self.head_0(x, layout)), layout)
        x = self.G_middle_1(x, layout)
        for i in range(self.ups):
            x = getattr(self, f"up_{i}")(_double(x), layout)
        return torch.tanh(self.conv_img(functional.leaky_relu(x, 0.2)))


def _double(x: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(x, scale_factor=2, mode="nearest")


class _PatchCritic(nn.Module):
    def __init__(self, inputs: int, width: int, layers: int):
        super().__init__()
        self.count = layers + 2
        self.model0 = nn.Sequential(nn.Conv2d(inputs, width, 4, 2, 2), nn.LeakyReLU(0.2, True))
        for i in range(1, layers + 1):
            before, after = (min(width << k, 512) for k in (i - 1, i))
            conv = _spectral(nn.Conv2d(before, after, 4, 2 if i < layers else 1, 2, bias=False))
            self.add_module(
                f"model{i}",
                nn.Sequential(
                    nn.Sequential(conv, nn.InstanceNorm2d(after)), nn.LeakyReLU(0.2, True)
                ),
            )
        self.add_module(
            f"model{layers + 1}", nn.Sequential(nn.Conv2d(min(width << layers, 512), 1, 4, 1, 2))
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps = []
        for i in range(self.count):
            x = getattr(self, f"model{i}")(x)
            maps.append(x)
        return maps


class MultiscaleDiscriminator(nn.Module):
    """For each scale the feature maps after each layer, the logits last."""

    def __init__(self, inputs: int, width: int, layers: int, scales: int):
        super().__init__()
        self.scales = scales
        for i in range(scales):
            self.add_module(f"discriminator_{i}", _PatchCritic(inputs, width, layers))

    def forward(self, x: torch.Tensor) -> Any:
        judged = []
        for i in range(self.scales):
            x = functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False) if i else x
            judged.append(getattr(self, f"discriminator_{i}")(x))
        return judged
