"""The tables of names of StarGAN's networks: yunjey/stargan. See `jaxgan.convert.names`."""

from __future__ import annotations

import flax.linen as nn

from jaxgan.convert.names import Layer, Layers, Shapes, Table, floats, weight_shape
from jaxgan.networks.stargan import StarGANDiscriminator, StarGANGenerator
from jaxgan.state import PyTree


def _normed(conv: str, norm: str, kind: str, prefix: str, number: int) -> Layers:
    """A convolution `prefix`.number and the norm after it."""
    return {
        conv: Layer(f"{prefix}.{number}", kind),
        norm: Layer(f"{prefix}.{number + 1}", "affine_instance_norm"),
    }


def _generator_layers(network: StarGANGenerator, params: PyTree) -> Layers:
    """`main`: three times (convolution, norm, ReLU), blocks, twice (transposed convolution, norm, ReLU), convolution."""
    after = 9 + network.blocks
    layers = {"output": Layer(f"main.{after + 6}", "conv")}
    for i in range(3):
        layers |= _normed(f"conv{i}", f"norm{i}", "conv", "main", 3 * i)
    for i in range(network.blocks):
        for k in range(2):
            layers |= _normed(
                f"block{i}/conv{k}", f"block{i}/norm{k}", "conv", f"main.{9 + i}.main", 3 * k
            )
    for i in range(2):
        layers |= _normed(f"up{i}", f"up_norm{i}", "conv_transpose", "main", after + 3 * i)
    return layers


def _generator_example(network: StarGANGenerator, shapes: Shapes) -> tuple:
    return (floats(1, 4, 4, weight_shape(shapes, "main.0", 4)[1]),)


def _discriminator_layers(network: StarGANDiscriminator, params: PyTree) -> Layers:
    """`main`: convolution, leaky ReLU, in turn; `conv1` to the patches' logits, `conv2` to the labels'."""
    trunk = {f"conv{i}": Layer(f"main.{2 * i}", "conv") for i in range(network.layers)}
    return trunk | {"output": Layer("conv1", "conv"), "class_output": Layer("conv2", "conv")}


def _discriminator_example(network: StarGANDiscriminator, shapes: Shapes) -> tuple:
    """`conv2` covers all that the strided convolutions leave."""
    height, width = weight_shape(shapes, "conv2", 4)[2:]
    return (
        floats(
            1,
            height << network.layers,
            width << network.layers,
            weight_shape(shapes, "main.0", 4)[1],
        ),
    )


STARGAN_TABLES: dict[type[nn.Module], Table] = {
    StarGANGenerator: Table(_generator_layers, _generator_example),
    StarGANDiscriminator: Table(_discriminator_layers, _discriminator_example),
}
