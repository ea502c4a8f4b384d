"""StyleGAN2's networks in plain PyTorch ("skip" generator, residual discriminator), with the names of NVlabs/stylegan2-ada-pytorch, for square images."""

from __future__ import annotations

import functools
from math import log2, sqrt
from typing import Any

import torch
from torch import nn
from torch.nn import functional


def features_at(level: int, base: int, most: int) -> int:
    """Feature maps at resolution 4 * 2^level."""
    return max(min(base // (4 << level), most), 1)


def _filter(x: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
    """The low-pass filter, 1 3 3 1 both ways, as a depthwise kernel [C, 1, 4, 4] for x [B, C, H, W]."""
    made = _made_filter if torch.compiler.is_compiling() else _kept_filter
    return made(x.shape[1], gain, x.dtype, x.device)


def _made_filter(
    channels: int, gain: float, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    taps = (
        4 - 2 * (torch.arange(4, device=device) - 1.5).abs()
    ) / 8  # computed there: a copy would wait for the device
    return (gain * torch.outer(taps, taps)).to(dtype).repeat(channels, 1, 1, 1)


_kept_filter = functools.cache(_made_filter)


def blur(x: torch.Tensor, padding: int, gain: float = 1.0) -> torch.Tensor:
    """x [B, C, H, W] through the low-pass filter: [B, C, H + 2 padding - 3, ...]."""
    if x.is_cuda:
        return _means(functional.pad(x, (padding,) * 4), 1) * gain
    return functional.conv2d(x, _filter(x, gain), padding=padding, groups=x.shape[1])


def halve(x: torch.Tensor) -> torch.Tensor:
    """The low-pass filter, then every other pixel."""
    if x.is_cuda:
        return _means(functional.pad(x, (1,) * 4), 2)
    return functional.conv2d(x, _filter(x), stride=2, padding=1, groups=x.shape[1])


def _means(x: torch.Tensor, stride: int) -> torch.Tensor:
    """The low-pass filter as three means of 2x2 pixels: on an H200, StyleGAN2-128 by depthwise convolutions took twice as long."""
    x = functional.avg_pool2d(functional.avg_pool2d(x, 2, 1), 2, 1)
    return functional.avg_pool2d(x, 2, stride)


def double(x: torch.Tensor) -> torch.Tensor:
    """Zeros between the pixels, then the low-pass filter with gain 4."""
    return functional.conv_transpose2d(x, _filter(x, 4.0), stride=2, padding=1, groups=x.shape[1])


def activate(x: torch.Tensor, bias: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
    """Leaky ReLU 0.2 of x [B, C, ...] + bias [C], times sqrt(2) and gain."""
    shape = (1, -1, *[1] * (x.ndim - 2))
    return functional.leaky_relu(x + bias.to(x.dtype).view(shape), 0.2) * (sqrt(2) * gain)


class FullyConnected(nn.Module):
    """Weights scaled by rate / sqrt(inputs), biases by rate."""

    def __init__(
        self, inputs: int, outputs: int, active: bool = False, rate: float = 1.0, bias: float = 0.0
    ):
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.randn(outputs, inputs) / rate),
            nn.Parameter(torch.full((outputs,), bias)),
        )
        self.active, self.rate, self.scale = active, rate, rate / sqrt(inputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self.weight * self.scale, self.bias * self.rate
        return (
            activate(functional.linear(x, weight), bias)
            if self.active
            else functional.linear(x, weight, bias)
        )


class MappingNetwork(nn.Module):
    """Latents [B, Z] -> w [B, W]."""

    def __init__(self, latent: int, style: int, layers: int):
        super().__init__()
        self.layers = layers
        for i in range(layers):
            self.add_module(f"fc{i}", FullyConnected(style if i else latent, style, True, 0.01))
        self.register_buffer("w_avg", torch.zeros(style))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for i in range(self.layers):
            x = getattr(self, f"fc{i}")(x)
        return x


def modulated(
    x: torch.Tensor,
    weight: torch.Tensor,
    style: torch.Tensor,
    demodulate: bool,
    up: bool,
    grouped: bool,
) -> torch.Tensor:
    """Each x [B, I, H, W] convolved with a kernel [O, I, k, k] whose inputs are scaled by its style [B, I], and whose outputs have norm 1.

    grouped: by one kernel for each example in a grouped convolution; else by scaling features before and after one convolution.
    """
    if grouped:
        return _modulated_grouped(x, weight, style, demodulate, up)
    half = weight.to(x.dtype)
    y = x * style.to(x.dtype)[:, :, None, None]
    if up:
        y = blur(functional.conv_transpose2d(y, half.transpose(0, 1), stride=2), 1, 4.0)
    else:
        y = functional.conv2d(y, half, padding=weight.shape[2] // 2)
    if demodulate:
        scale = (style.square() @ weight.square().sum((2, 3)).t() + 1e-8).rsqrt()
        y = y * scale.to(x.dtype)[:, :, None, None]
    return y


def _modulated_grouped(
    x: torch.Tensor, weight: torch.Tensor, style: torch.Tensor, demodulate: bool, up: bool
) -> torch.Tensor:
    batch, inputs, height, width = x.shape
    kernels = weight[None] * style[:, None, :, None, None]
    if demodulate:
        kernels = kernels * (kernels.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    kernels, side = kernels.to(x.dtype), weight.shape[2]
    x = x.reshape(1, -1, height, width)
    if up:
        y = functional.conv_transpose2d(
            x,
            kernels.transpose(1, 2).reshape(-1, weight.shape[0], side, side),
            stride=2,
            groups=batch,
        )
        return blur(y.reshape(batch, -1, *y.shape[2:]), 1, 4.0)
    y = functional.conv2d(
        x, kernels.reshape(-1, inputs, side, side), padding=side // 2, groups=batch
    )
    return y.reshape(batch, -1, height, width)


class SynthesisLayer(nn.Module):
    def __init__(self, inputs: int, outputs: int, style: int, size: int, up: bool, grouped: bool):
        super().__init__()
        self.affine = FullyConnected(style, inputs, bias=1.0)
        self.weight, self.bias = (
            nn.Parameter(torch.randn(outputs, inputs, 3, 3)),
            nn.Parameter(torch.zeros(outputs)),
        )
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_const", torch.randn(size, size))
        self.size, self.up, self.grouped = size, up, grouped

    def forward(self, x: torch.Tensor, w: torch.Tensor, noise: torch.Tensor | None) -> torch.Tensor:
        y = modulated(x, self.weight, self.affine(w), True, self.up, self.grouped)
        noise = (
            torch.randn(len(x), 1, self.size, self.size, device=x.device)
            if noise is None
            else noise
        )
        return activate(y + (noise * self.noise_strength).to(y.dtype), self.bias)


class ToRGB(nn.Module):
    def __init__(self, inputs: int, channels: int, style: int, grouped: bool):
        super().__init__()
        self.affine, self.scale, self.grouped = (
            FullyConnected(style, inputs, bias=1.0),
            1 / sqrt(inputs),
            grouped,
        )
        self.weight, self.bias = (
            nn.Parameter(torch.randn(channels, inputs, 1, 1)),
            nn.Parameter(torch.zeros(channels)),
        )

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        y = modulated(x, self.weight, self.affine(w) * self.scale, False, False, self.grouped)
        return (y + self.bias.to(y.dtype)[None, :, None, None]).float()


class _SynthesisBlock(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, style: int, size: int, channels: int, grouped: bool
    ):
        super().__init__()
        if inputs:
            self.conv0 = SynthesisLayer(inputs, outputs, style, size, True, grouped)
        else:
            self.const = nn.Parameter(torch.randn(outputs, size, size))
        self.conv1 = SynthesisLayer(outputs, outputs, style, size, False, grouped)
        self.torgb = ToRGB(outputs, channels, style, grouped)

    def forward(
        self, x: Any, image: Any, ws: torch.Tensor, noise: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        used = 0
        if x is None:
            x = self.const.expand(len(ws), -1, -1, -1)
        else:
            x, used = self.conv0(x, ws[:, 0], noise and noise[0]), 1
        x = self.conv1(x, ws[:, used], noise and noise[used])
        made = self.torgb(x, ws[:, -1])
        return x, made if image is None else double(image) + made


class SynthesisNetwork(nn.Module):
    """w for each layer [B, L, W] -> images [B, channels, size, size], float32."""

    def __init__(self, size: int, channels: int, style: int, base: int, most: int, grouped: bool):
        super().__init__()
        self.levels = int(log2(size)) - 1
        widths = [features_at(i, base, most) for i in range(self.levels)]
        for i, width in enumerate(widths):
            self.add_module(
                f"b{4 << i}",
                _SynthesisBlock(widths[i - 1] if i else 0, width, style, 4 << i, channels, grouped),
            )

    def forward(self, ws: torch.Tensor, noise: list[torch.Tensor] | None = None) -> torch.Tensor:
        """noise: [B, 1, H, W] of each layer; None draws it."""
        x, image, used = None, None, 0
        for i in range(self.levels):
            count = 2 if i else 1
            own = None if noise is None else noise[used : used + count]
            x, image = getattr(self, f"b{4 << i}")(x, image, ws[:, used : used + count + 1], own)
            used += count
        result: Any = image
        return result


class StyleGAN2Generator(nn.Module):
    """`mapping` and `synthesis`; they are called one by one."""

    def __init__(
        self,
        latent: int,
        style: int,
        layers: int,
        size: int,
        channels: int,
        base: int,
        most: int,
        grouped: bool = False,
    ):
        super().__init__()
        self.mapping, self.synthesis = (
            MappingNetwork(latent, style, layers),
            SynthesisNetwork(size, channels, style, base, most, grouped),
        )


class _Conv(nn.Module):
    """Kernel scaled by 1 / sqrt(fan-in); halves the size behind the low-pass filter if `down`; bias and activation, or neither."""

    def __init__(
        self, inputs: int, outputs: int, side: int, down: bool = False, active: bool = True
    ):
        super().__init__()
        self.weight, self.scale, self.down = (
            nn.Parameter(torch.randn(outputs, inputs, side, side)),
            1 / sqrt(inputs * side**2),
            down,
        )
        self.bias = nn.Parameter(torch.zeros(outputs)) if active else None

    def forward(self, x: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
        side = self.weight.shape[2]
        weight = (self.weight * self.scale).to(x.dtype)
        if self.down and side > 1:
            y = functional.conv2d(blur(x, side // 2 + 1), weight, stride=2)
        else:
            y = functional.conv2d(halve(x) if self.down else x, weight, padding=side // 2)
        return y * gain if self.bias is None else activate(y, self.bias, gain)


class _DiscriminatorBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, channels: int):
        super().__init__()
        if channels:
            self.fromrgb = _Conv(channels, inputs, 1)
        self.conv0, self.conv1, self.skip = (
            _Conv(inputs, inputs, 3),
            _Conv(inputs, outputs, 3, True),
            _Conv(inputs, outputs, 1, True, False),
        )
        self.first = bool(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.fromrgb(x) if self.first else x
        return self.skip(x, sqrt(0.5)) + self.conv1(self.conv0(x), sqrt(0.5))


class _Epilogue(nn.Module):
    """The spread over a group as a further plane, a convolution, two linear layers: logits [B]."""

    def __init__(self, features: int, group: int):
        super().__init__()
        self.group = group
        self.conv, self.fc = (
            _Conv(features + 1, features, 3),
            FullyConnected(16 * features, features, True),
        )
        self.out = FullyConnected(features, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, _, height, width = x.shape
        size = min(self.group, batch)
        grouped = x.float().reshape(size, -1, *x.shape[1:])
        spread = (grouped.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3)).repeat(size)
        x = self.conv(
            torch.cat([x, spread.to(x.dtype)[:, None, None, None].expand(-1, 1, height, width)], 1)
        )
        return self.out(self.fc(x.flatten(1)))[:, 0]


class StyleGAN2Discriminator(nn.Module):
    """Images [B, channels, size, size] -> logits [B]."""

    def __init__(self, size: int, channels: int, base: int, most: int, group: int):
        super().__init__()
        self.levels = int(log2(size)) - 1
        widths = [features_at(i, base, most) for i in range(self.levels)]
        for i in range(self.levels - 1, 0, -1):
            self.add_module(
                f"b{4 << i}",
                _DiscriminatorBlock(
                    widths[i], widths[i - 1], channels if i == self.levels - 1 else 0
                ),
            )
        self.b4 = _Epilogue(widths[0], group)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i in range(self.levels - 1, -1, -1):
            x = getattr(self, f"b{4 << i}")(x)
        return x.float()
