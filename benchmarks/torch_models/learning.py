"""What all games in PyTorch share: where and how they compute, their optimiser, losses of logits, and networks held still."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

Tensors = dict[str, Any]
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Options:
    """How a game computes; none of it changes what it computes but for rounding."""

    device: str = "cpu"
    dtype: str = "float32"
    """"bfloat16": networks under autocast; parameters and losses stay float32."""
    channels_last: bool = True
    """Images and kernels lie as [B, H, W, C] in memory."""
    compiled: bool = False
    """Networks through `torch.compile`, except in passes that are differentiated twice, which it does not support."""
    grouped: bool = False
    """StyleGAN2's modulation by a kernel for each example in one grouped convolution, as its first code has it, instead of scaling features."""
    tf32: bool = True
    """On GPUs: matrix products and convolutions of float32 in TF32, which is JAX's default."""


def prepare(options: Options, threads: int = 0) -> None:
    """Process-wide settings. threads: of the CPU; 0 leaves them."""
    if threads:
        torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = options.tf32


def place(network: Network, options: Options) -> Network:
    """The network on its device, in its memory format, training."""
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    return network.to(options.device, memory_format=layout).train()  # type: ignore[call-overload, no-any-return]


def fast(network: nn.Module, options: Options) -> Any:
    """What calls the network: itself, or a compiled form that shares its parameters."""
    return torch.compile(network, dynamic=False) if options.compiled else network


def tensor(array: np.ndarray, options: Options) -> torch.Tensor:
    """An array as a tensor on the device; images [B, H, W, C] become [B, C, H, W] in the options' memory format."""
    result = torch.from_numpy(np.array(array, order="C"))  # a copy: tensors must be writable
    if array.ndim == 4:
        result = result.permute(0, 3, 1, 2).contiguous(
            memory_format=torch.channels_last if options.channels_last else torch.contiguous_format
        )
    return result.to(options.device)


def autocast(options: Options) -> Any:
    """The context in which networks run."""
    return torch.autocast(
        torch.device(options.device).type, torch.bfloat16, enabled=options.dtype == "bfloat16"
    )


def adam(parameters: Any, settings: Any) -> torch.optim.Optimizer:
    """Fused Adam with the settings of a `jaxgan.optim.Optimizer`, at its first learning rate."""
    betas = (settings.beta1, settings.beta2)
    return torch.optim.Adam(
        list(parameters), settings.learning_rate, betas, settings.epsilon, fused=True
    )


def learn(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """One step of the optimiser on the loss's gradient."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


@contextlib.contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """No gradients of these networks' parameters are computed inside."""
    for network in networks:
        network.requires_grad_(False)
    try:
        yield
    finally:
        for network in networks:
            network.requires_grad_(True)


def critic_loss(name: str, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """The discriminator's loss of logits of any shape, the sum of its two terms; names as in `jaxgan.losses`."""
    real, fake = real.float(), fake.float()
    if name == "non-saturating":
        return functional.softplus(-real).mean() + functional.softplus(fake).mean()
    if name == "least-squares":
        return (real - 1).square().mean() + fake.square().mean()
    if name == "hinge":
        return functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()
    if name == "wasserstein":
        return fake.mean() - real.mean()
    raise ValueError(f"the games in PyTorch have no loss {name!r}")


def fooling_loss(name: str, fake: torch.Tensor) -> torch.Tensor:
    """The generator's loss; names as in `jaxgan.losses`."""
    fake = fake.float()
    if name == "non-saturating":
        return functional.softplus(-fake).mean()
    if name == "least-squares":
        return (fake - 1).square().mean()
    if name in ("hinge", "wasserstein"):
        return -fake.mean()
    raise ValueError(f"the games in PyTorch have no loss {name!r}")


def detached(metrics: Tensors) -> Tensors:
    """Metrics without their graphs, still on the device: reading them is the caller's decision."""
    return {name: value.detach() for name, value in metrics.items()}


def normal_weights(network: nn.Module) -> None:
    """DCGAN's initial weights, which Pix2Pix and CycleGAN have too: kernels N(0, 0.02), gains of norms N(1, 0.02), biases 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.normal_(module.weight, 1.0, 0.02)
        if getattr(module, "bias", None) is not None:
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
