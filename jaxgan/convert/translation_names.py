"""The tables of names of the translation networks: junyanz's pytorch-CycleGAN-and-pix2pix. See `jaxgan.convert.names`.

There, convolutions in front of an instance norm have a bias, which the norm removes; ours have none. It is dropped when read and zero when written.
"""

from __future__ import annotations

import re
from typing import Any

import flax.linen as nn
import numpy as np

from jaxgan.convert.names import Layer, Layers, Shapes, Table, floats, weight_shape
from jaxgan.errors import require
from jaxgan.networks.patch import PatchDiscriminator, PixelDiscriminator
from jaxgan.networks.translator import ResNetTranslator
from jaxgan.networks.unet import UNet
from jaxgan.state import PyTree


def _norm(network: Any) -> str:
    return "none" if getattr(network, "spectral_norm", False) else network.norm


def _normed(network: Any, conv: str, norm: str, kind: str, prefix: str, number: int) -> Layers:
    """A convolution `prefix`.number and the norm at the place after it; where there is none, PyTorch's identity keeps its place."""
    layers = {conv: Layer(f"{prefix}.{number}", kind, removed_bias=_norm(network) == "instance")}
    if _norm(network) == "none":
        return layers
    return layers | {
        norm: Layer(
            f"{prefix}.{number + 1}", "norm" if _norm(network) == "batch" else "instance_norm"
        )
    }


def _require_transposed(network: ResNetTranslator | UNet) -> None:
    require(
        network.upsampling == "transposed",
        f"the reference has no counterpart of upsampling={network.upsampling!r}: its weights fit 'transposed' only",
    )


# -------------------------------------------------------------------------------------------------------------------- ResNet


def _second_conv(network: ResNetTranslator) -> int:
    """Where a block's second convolution is: after padding, convolution, norm, ReLU, padding, and dropout where the reference is built with it."""
    return 6 if network.dropout > 0 else 5


def _resnet_layers(network: ResNetTranslator, params: PyTree) -> Layers:
    """`model`: padding, three times (convolution, norm, ReLU), blocks, twice (transposed convolution, norm, ReLU), padding, convolution."""
    _require_transposed(network)
    after = 10 + network.blocks
    layers = {"output": Layer(f"model.{after + 7}", "conv")}
    for i in range(3):
        layers |= _normed(network, f"conv{i}", f"norm{i}", "conv", "model", 1 + 3 * i)
    for i in range(network.blocks):
        block, prefix = f"block{i}", f"model.{10 + i}.conv_block"
        layers |= _normed(network, f"{block}/conv0", f"{block}/norm0", "conv", prefix, 1)
        layers |= _normed(
            network, f"{block}/conv1", f"{block}/norm1", "conv", prefix, _second_conv(network)
        )
    for i in range(2):
        layers |= _normed(
            network, f"up{i}", f"up_norm{i}", "conv_transpose", "model", after + 3 * i
        )
    return layers


def _resnet_example(network: ResNetTranslator, shapes: Shapes) -> tuple:
    return (floats(1, 8, 8, weight_shape(shapes, "model.1", 4)[1]),)


def _resnet_respelt(
    network: ResNetTranslator, arrays: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The names as a reference with this network's dropout has them: dropout has no weights, but a place, which moves those after it."""
    blocks = any(".conv_block." in name for name in arrays)
    theirs = 5 if any(name.endswith(".conv_block.5.weight") for name in arrays) else 6
    shift = _second_conv(network) - theirs if blocks else 0

    def respelt(name: str) -> str:
        return re.sub(
            r"(\.conv_block\.)(\d+)",
            lambda found: found[1] + str(int(found[2]) + (shift if int(found[2]) >= theirs else 0)),
            name,
        )

    return {respelt(name): array for name, array in arrays.items()}


# --------------------------------------------------------------------------------------------------------------------- U-Net


def _unet_layers(network: UNet, params: PyTree) -> Layers:
    """Blocks inside each other. `model` of the outermost: convolution, block, ReLU, transposed convolution; of the others: leaky ReLU,
    convolution, norm, block, ReLU, transposed convolution, norm, dropout; of the innermost: the same without the first norm and the block.
    """
    _require_transposed(network)
    innermost = network.depth - 1
    layers = {
        "down0": Layer("model.model.0", "conv"),
        "up0": Layer("model.model.3", "conv_transpose"),
    }
    prefix = "model.model.1.model"
    for i in range(1, network.depth):
        if i < innermost:
            layers |= _normed(network, f"down{i}", f"down_norm{i}", "conv", prefix, 1)
        else:
            layers[f"down{i}"] = Layer(f"{prefix}.1", "conv")
        layers |= _normed(
            network, f"up{i}", f"up_norm{i}", "conv_transpose", prefix, 5 if i < innermost else 3
        )
        prefix += ".3.model"
    return layers


def _unet_example(network: UNet, shapes: Shapes) -> tuple:
    return (
        floats(1, network.multiple, network.multiple, weight_shape(shapes, "model.model.0", 4)[1]),
    )


# ------------------------------------------------------------------------------------------------------------ discriminators


def _patch_layers(network: PatchDiscriminator, params: PyTree) -> Layers:
    """`model`: convolution, leaky ReLU; then convolution, norm, leaky ReLU, in turn; the last convolution alone."""
    layers = {
        "conv0": Layer("model.0", "conv"),
        "output": Layer(f"model.{2 + 3 * network.layers}", "conv"),
    }
    for i in range(1, network.layers + 1):
        layers |= _normed(network, f"conv{i}", f"norm{i}", "conv", "model", 3 * i - 1)
    return layers


def _patch_example(network: PatchDiscriminator, shapes: Shapes) -> tuple:
    side = 3 << network.layers
    return (floats(1, side, side, weight_shape(shapes, "model.0", 4)[1]),)


def _pixel_layers(network: PixelDiscriminator, params: PyTree) -> Layers:
    """`net`: convolution, leaky ReLU, convolution, norm, leaky ReLU, convolution."""
    ends = {"conv0": Layer("net.0", "conv"), "output": Layer("net.5", "conv")}
    return ends | _normed(network, "conv1", "norm1", "conv", "net", 2)


def _pixel_example(network: PixelDiscriminator, shapes: Shapes) -> tuple:
    return (floats(1, 1, 1, weight_shape(shapes, "net.0", 4)[1]),)


TRANSLATION_TABLES: dict[type[nn.Module], Table] = {
    ResNetTranslator: Table(_resnet_layers, _resnet_example, _resnet_respelt),
    UNet: Table(_unet_layers, _unet_example),
    PatchDiscriminator: Table(_patch_layers, _patch_example),
    PixelDiscriminator: Table(_pixel_layers, _pixel_example),
}
