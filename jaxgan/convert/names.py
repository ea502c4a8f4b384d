"""The tables of names: which layer of a reference's PyTorch network is which module of ours.

One `Table` for each network, in `TABLES`; those of the translation networks are in `jaxgan.convert.translation_names`. What the arrays of a layer
are called and how they are laid out follows from the kind of the layer and is in `jaxgan.convert.pytorch`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from jaxgan.networks.resnet import ResNetDiscriminator, ResNetGenerator
from jaxgan.state import PyTree

Shapes = Mapping[str, tuple[int, ...]]
"""Shape of each array of a state dict."""


class Layer(NamedTuple):
    """One layer of the reference.

    name: its prefix in the state dict. kind: "conv", "conv_transpose", "linear", "embedding", "norm", "conditional_norm", "instance_norm" (which has
    no arrays that anything reads), "affine_instance_norm" (of which nothing reads the running statistics); and of StyleGAN2 "constant", "noise" and
    "running_mean".
    inputs, outputs: for a linear layer, height and width of the feature map that was flattened into its input, or that its output is folded
    into: PyTorch flattens [C, H, W], we flatten [H, W, C].
    """

    name: str
    kind: str
    inputs: tuple[int, int] | None = None
    outputs: tuple[int, int] | None = None
    removed_bias: bool = False
    """The reference has a bias here, which the norm after it removes, and we have none: dropped when read, zero when written."""


Layers = dict[str, Layer]
"""Path of our module, "block0/conv1", to the reference's layer."""


class Table(NamedTuple):
    """What the conversion knows about one network.

    layers: (network, its `params`) -> `Layers`. Depths are read off `params`.
    example: (network, shapes of the state dict) -> arguments, as `ShapeDtypeStruct`, that the network is initialised with. It says what the
    module itself does not know (latent size, image size, channels) and raises ValueError where the state dict lacks what it is read from.
    respelt: (network, state dict) -> the state dict with names as `layers` has them, where the reference spells them in several ways.
    constants: layers -> arrays that the reference stores and that are always the same: not looked at when read, added when written.
    """

    layers: Callable[[Any, PyTree], Layers]
    example: Callable[[Any, Shapes], tuple]
    respelt: Callable[[Any, dict[str, np.ndarray]], dict[str, np.ndarray]] = (
        lambda network, arrays: arrays
    )
    constants: Callable[[Layers], dict[str, np.ndarray]] = lambda layers: {}


# -------------------------------------------------------------------------------------------------------------------- helpers


def floats(*shape: int) -> jax.ShapeDtypeStruct:
    """A float32 argument of this shape."""
    return jax.ShapeDtypeStruct(shape, jnp.float32)


_LABELS = jax.ShapeDtypeStruct((1,), jnp.int32)


def weight_shape(shapes: Shapes, layer: str, rank: int) -> tuple[int, ...]:
    """The shape of a layer's weight, with or without spectral norm."""
    shape = shapes.get(f"{layer}.weight", shapes.get(f"{layer}.weight_orig"))
    if shape is None:
        raise ValueError(
            f"the state dict has no {layer}.weight (nor {layer}.weight_orig), from which the network's size is read"
        )
    if len(shape) != rank:
        raise ValueError(f"{layer}.weight must have {rank} axes, got shape {shape}")
    return shape


def _modules(params: PyTree, prefix: str) -> int:
    """How many modules are called `prefix` and a number."""
    return sum(name.startswith(prefix) and name[len(prefix) :].isdigit() for name in params)


def _numbers(shapes: Shapes, prefix: str) -> set[int]:
    """The numbers that follow `prefix` in names such as "main.3.weight" or "block2.c1.bias"."""
    tails = (name[len(prefix) :].split(".")[0] for name in shapes if name.startswith(prefix))
    return {int(tail) for tail in tails if tail.isdigit()}


# ---------------------------------------------------------------------------------------------------- pytorch/examples: dcgan


def _dcgan_generator_layers(network: DCGANGenerator, params: PyTree) -> Layers:
    """`main`: transposed convolution, batch norm, ReLU, in turn; the last convolution alone."""
    count = _modules(params, "conv")
    convs = {f"conv{i}": Layer(f"main.{3 * i}", "conv_transpose") for i in range(count)}
    return convs | {f"norm{i}": Layer(f"main.{3 * i + 1}", "norm") for i in range(count - 1)}


def _dcgan_generator_example(network: DCGANGenerator, shapes: Shapes) -> tuple:
    return floats(1, weight_shape(shapes, "main.0", 4)[0] - network.classes), _LABELS


def _dcgan_discriminator_layers(network: DCGANDiscriminator, params: PyTree) -> Layers:
    """`main`: convolution, leaky ReLU; then convolution, batch norm, leaky ReLU, in turn; the last convolution alone.

    The reference has no spectral norm. With it, batch norms are left out of the count: convolution, leaky ReLU, in turn.
    """
    count = _modules(params, "conv")
    if network.spectral_norm:
        return {f"conv{i}": Layer(f"main.{2 * i}", "conv") for i in range(count)}
    convs = {f"conv{i}": Layer(f"main.{max(3 * i - 1, 0)}", "conv") for i in range(count)}
    return convs | {f"norm{i}": Layer(f"main.{3 * i}", "norm") for i in range(1, count - 1)}


def _dcgan_discriminator_example(network: DCGANDiscriminator, shapes: Shapes) -> tuple:
    """The last convolution covers the base; each one before it halves."""
    channels = weight_shape(shapes, "main.0", 4)[1] - network.classes
    last = max(_numbers(shapes, "main."))
    base = weight_shape(shapes, f"main.{last}", 4)[2:]
    count = last // 2 if network.spectral_norm else last // 3 + 1
    return floats(1, base[0] << count, base[1] << count, channels), _LABELS


# --------------------------------------------------------------------------------------- mimicry: SNGAN, cGAN-PD and WGAN-GP


def _resnet_generator_layers(network: ResNetGenerator, params: PyTree) -> Layers:
    """`l1`, `block2`, `block3`, ..., and `b`, `c` with the number after the last block's."""
    height, width, _ = network.image_shape
    blocks = _modules(params, "block")
    norm = "conditional_norm" if network.classes else "norm"
    layers = {"input": Layer("l1", "linear", outputs=(height >> blocks, width >> blocks))}
    for i in range(blocks):
        ours, theirs = f"block{i}", f"block{i + 2}"
        layers |= {f"{ours}/norm{k}": Layer(f"{theirs}.b{k + 1}", norm) for k in range(2)}
        layers |= {f"{ours}/conv{k}": Layer(f"{theirs}.c{k + 1}", "conv") for k in range(2)}
        layers[f"{ours}/shortcut"] = Layer(f"{theirs}.c_sc", "conv")
    return layers | {
        "norm": Layer(f"b{blocks + 2}", "norm"),
        "output": Layer(f"c{blocks + 2}", "conv"),
    }


def _resnet_generator_example(network: ResNetGenerator, shapes: Shapes) -> tuple:
    return floats(1, weight_shape(shapes, "l1", 2)[1]), _LABELS


def _resnet_discriminator_layers(network: ResNetDiscriminator, params: PyTree) -> Layers:
    """`block1`, `block2`, ..., `l` with the number after the last block's, and `l_y` for the labels."""
    blocks = _modules(params, "block")
    layers = {"output": Layer(f"l{blocks + 1}", "linear")}
    for i in range(blocks):
        ours, theirs = f"block{i}", f"block{i + 1}"
        layers |= {f"{ours}/conv{k}": Layer(f"{theirs}.c{k + 1}", "conv") for k in range(2)}
        if "shortcut" in params[ours]:
            layers[f"{ours}/shortcut"] = Layer(f"{theirs}.c_sc", "conv")
    if network.class_head:
        layers["class_output"] = Layer("l_y", "linear")
    elif network.classes:
        layers["embedding"] = Layer("l_y", "embedding")
    return layers


def _resnet_discriminator_example(network: ResNetDiscriminator, shapes: Shapes) -> tuple:
    """The last two blocks keep the size, the ones before halve it until it is 8."""
    channels = weight_shape(shapes, "block1.c1", 4)[1]
    side = 8 << max(max(_numbers(shapes, "block")) - 2, 1)
    return floats(1, side, side, channels), _LABELS


TABLES: dict[type[nn.Module], Table] = {
    DCGANGenerator: Table(_dcgan_generator_layers, _dcgan_generator_example),
    DCGANDiscriminator: Table(_dcgan_discriminator_layers, _dcgan_discriminator_example),
    ResNetGenerator: Table(_resnet_generator_layers, _resnet_generator_example),
    ResNetDiscriminator: Table(_resnet_discriminator_layers, _resnet_discriminator_example),
}
