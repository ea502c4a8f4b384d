"""The tables of names of SPADE's networks: NVlabs/SPADE. See `jaxgan.convert.names`.

There, convolutions add constants that a later batch norm removes; ours add none. When read they are taken off that norm's running mean, so that
running statistics give the same images; they are zero when written.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import numpy as np

from jaxgan.convert.names import Layer, Layers, Shapes, Table, floats, weight_shape
from jaxgan.networks.spade import MultiscaleDiscriminator, SPADEGenerator, StyleEncoder
from jaxgan.state import PyTree

Arrays = dict[str, np.ndarray]


def _blocks(network: SPADEGenerator) -> dict[str, str]:
    """Our blocks and the reference's, in order."""
    ups = network.up_blocks + (network.upsampling == "most")
    return {
        "head": "head_0",
        "middle0": "G_middle_0",
        "middle1": "G_middle_1",
        **{f"up{i}": f"up_{i}" for i in range(ups)},
    }


def _spade_layers(ours: str, theirs: str, removed_bias: bool = False) -> Layers:
    return {
        f"{ours}/norm": Layer(f"{theirs}.param_free_norm", "norm"),
        f"{ours}/shared": Layer(f"{theirs}.mlp_shared.0", "conv"),
        f"{ours}/gamma": Layer(f"{theirs}.mlp_gamma", "conv"),
        f"{ours}/beta": Layer(f"{theirs}.mlp_beta", "conv", removed_bias=removed_bias),
    }


def _generator_layers(network: SPADEGenerator, params: PyTree) -> Layers:
    """`fc`, blocks of convolutions `conv_0`, `conv_1`, `conv_s` behind norms of the same numbers, `conv_img`."""
    if network.latent_size:
        first = Layer(
            "fc",
            "linear",
            outputs=(
                network.image_size[0] // network.multiple,
                network.image_size[1] // network.multiple,
            ),
        )
    else:
        first = Layer("fc", "conv", removed_bias=True)
    layers = {"input": first, "output": Layer("conv_img", "conv")}
    blocks = _blocks(network)
    for ours, theirs in blocks.items():
        inner = ours != list(blocks)[-1]
        layers |= {f"{ours}/conv0": Layer(f"{theirs}.conv_0", "conv", removed_bias=True)}
        layers |= {f"{ours}/conv1": Layer(f"{theirs}.conv_1", "conv", removed_bias=inner)}
        for i in range(2):
            layers |= _spade_layers(f"{ours}/norm{i}", f"{theirs}.norm_{i}")
        if "shortcut" in params.get(ours, {}):
            layers |= {f"{ours}/shortcut": Layer(f"{theirs}.conv_s", "conv")}
            layers |= _spade_layers(f"{ours}/shortcut_norm", f"{theirs}.norm_s", removed_bias=inner)
    return layers


def _generator_example(network: SPADEGenerator, shapes: Shapes) -> tuple:
    planes = weight_shape(shapes, "head_0.norm_0.mlp_shared.0", 4)[1]
    size = network.image_size if network.latent_size else (network.multiple, network.multiple)
    return (floats(1, *size, planes),)


def _without_constants(network: SPADEGenerator, arrays: Arrays) -> Arrays:
    """The arrays with zeros for the biases that a batch norm removes, and its running mean without them.

    A constant added to the features runs through the blocks whose shortcut is the identity, up to a shortcut that has a norm of its own.
    """
    result = dict(arrays)

    def take(name: str) -> np.ndarray:
        """A bias, which becomes zero; nothing where it is missing, which `from_state_dict` reports."""
        bias = result.get(f"{name}.bias", np.zeros((), np.float32))
        if f"{name}.bias" in result:
            result[f"{name}.bias"] = np.zeros_like(bias)
        return bias

    def shift(norm: str, constant: np.ndarray) -> None:
        mean = result.get(f"{norm}.param_free_norm.running_mean")
        if mean is not None and constant.shape in ((), mean.shape):
            result[f"{norm}.param_free_norm.running_mean"] = mean - constant

    constant = np.zeros((), np.float32) if network.latent_size else take("fc")
    *inner, last = _blocks(network).values()
    for block in (*inner, last):
        shift(f"{block}.norm_0", constant)
        shift(f"{block}.norm_1", take(f"{block}.conv_0"))
        shift(f"{block}.norm_s", constant)
        if block == last:
            break
        if f"{block}.conv_s.weight_orig" in result:
            constant = _through_shortcut(result, block, take(f"{block}.norm_s.mlp_beta"))
        constant = constant + take(f"{block}.conv_1")
    return result


def _through_shortcut(arrays: Arrays, block: str, bias: np.ndarray) -> np.ndarray:
    """What a constant in front of the block's 1x1 convolution is behind it."""
    weight, u, v = (
        arrays.get(f"{block}.conv_s.{name}") for name in ("weight_orig", "weight_u", "weight_v")
    )
    if (
        weight is None
        or u is None
        or v is None
        or bias.shape != v.shape
        or weight.shape != (*u.shape, *v.shape, 1, 1)
    ):
        return np.zeros((), np.float32)
    matrix = weight[:, :, 0, 0]
    return matrix @ bias / (u @ matrix @ v)


def _discriminator_layers(network: MultiscaleDiscriminator, params: PyTree) -> Layers:
    """`discriminator_`scale: `model0` a convolution; `model1`, ... a convolution and an instance norm; the last `model` a convolution."""
    layers: Layers = {}
    for scale in range(network.scales):
        ours, theirs = f"scale{scale}", f"discriminator_{scale}"
        layers[f"{ours}/conv0"] = Layer(f"{theirs}.model0.0", "conv")
        layers |= {
            f"{ours}/conv{i}": Layer(f"{theirs}.model{i}.0.0", "conv")
            for i in range(1, network.layers + 1)
        }
        layers[f"{ours}/output"] = Layer(f"{theirs}.model{network.layers + 1}.0", "conv")
    return layers


def _discriminator_example(network: MultiscaleDiscriminator, shapes: Shapes) -> tuple:
    side = 1 << (network.layers + network.scales)
    return (floats(1, side, side, weight_shape(shapes, "discriminator_0.model0.0", 4)[1]),)


def _encoder_layers(network: StyleEncoder, params: PyTree) -> Layers:
    """`layer1`, ...: a convolution and an instance norm; `fc_mu`, `fc_var`."""
    layers: Layers = {f"conv{i}": Layer(f"layer{i + 1}.0", "conv") for i in range(network.layers)}
    heads: Any = {"mean": "fc_mu", "log_variance": "fc_var"}
    return layers | {ours: Layer(theirs, "linear", inputs=(4, 4)) for ours, theirs in heads.items()}


def _encoder_example(network: StyleEncoder, shapes: Shapes) -> tuple:
    side = 4 << network.layers
    return (floats(1, side, side, weight_shape(shapes, "layer1.0", 4)[1]),)


SPADE_TABLES: dict[type[nn.Module], Table] = {
    SPADEGenerator: Table(_generator_layers, _generator_example, _without_constants),
    MultiscaleDiscriminator: Table(_discriminator_layers, _discriminator_example),
    StyleEncoder: Table(_encoder_layers, _encoder_example),
}
