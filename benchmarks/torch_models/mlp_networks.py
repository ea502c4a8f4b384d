"""The conditional GAN of fully connected layers in PyTorch, with our names; images lie as [B, C, H, W], their pixels in the order (H, W, C)."""

from __future__ import annotations

from math import prod

import torch
from torch import nn
from torch.nn import functional

Shape = tuple[int, int, int]


class MLPGenerator(nn.Module):
    """`jaxgan.networks.mlp.MLPGenerator`."""

    def __init__(
        self,
        latent: int,
        shape: Shape,
        hidden: tuple[int, ...],
        classes: int,
        label: int = 10,
        batch_norm: bool = True,
    ):
        super().__init__()
        self.embedding, self.shape, self.depth = nn.Embedding(classes, label), shape, len(hidden)
        inputs = latent + label
        for i, features in enumerate(hidden):
            normed = batch_norm and i > 0
            self.add_module(f"hidden{i}", nn.Linear(inputs, features, bias=not normed))
            self.add_module(f"norm{i}", nn.BatchNorm1d(features) if normed else nn.Identity())
            inputs = features
        self.output = nn.Linear(inputs, prod(shape))

    def forward(self, latents: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        x = torch.cat([latents, self.embedding(labels)], 1)
        for i in range(self.depth):
            x = functional.leaky_relu(
                getattr(self, f"norm{i}")(getattr(self, f"hidden{i}")(x)), 0.2, True
            )
        return torch.tanh(self.output(x)).view(-1, *self.shape).permute(0, 3, 1, 2)


class MLPDiscriminator(nn.Module):
    """`jaxgan.networks.mlp.MLPDiscriminator`."""

    def __init__(
        self,
        shape: Shape,
        hidden: tuple[int, ...],
        classes: int,
        label: int = 10,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.embedding, self.depth, self.dropout = (
            nn.Embedding(classes, label),
            len(hidden),
            dropout,
        )
        inputs = prod(shape) + label
        for i, features in enumerate(hidden):
            self.add_module(f"hidden{i}", nn.Linear(inputs, features))
            inputs = features
        self.output = nn.Linear(inputs, 1)

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        x = torch.cat([images.permute(0, 2, 3, 1).flatten(1), self.embedding(labels)], 1)
        for i in range(self.depth):
            x = getattr(self, f"hidden{i}")(x)
            x = functional.dropout(x, self.dropout) if i and self.dropout else x
            x = functional.leaky_relu(x, 0.2, True)
        return self.output(x)[:, 0]
