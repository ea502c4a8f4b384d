"""Which generator a state dict of junyanz's pytorch-CycleGAN-and-pix2pix belongs to, from its names and shapes.

    arrays = unwrapped(files.read(Path("latest_net_G.pth")))
    found = architecture(arrays)                # Architecture(generator="resnet", width=64, blocks=9, ...)
    variables = load(found, arrays)             # those of network(found)

The size of the images is not in there: the networks take any.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxgan.convert.names import Shapes, weight_shape
from jaxgan.convert.pytorch import from_state_dict
from jaxgan.errors import require
from jaxgan.networks.translator import ResNetTranslator
from jaxgan.networks.unet import UNet
from jaxgan.state import PyTree

Arrays = Mapping[str, np.ndarray]

_WRAPPERS = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put in front of every name."""
_KNOWN = "known are those of ResnetGenerator and UnetGenerator of pytorch-CycleGAN-and-pix2pix"


class Architecture(NamedTuple):
    """All that names and shapes say of a generator."""

    generator: str
    """"resnet" or "unet"."""
    width: int
    """Feature maps of its first layer."""
    inputs: int
    """Channels of the images it takes."""
    outputs: int
    """Channels of the images it makes."""
    norm: str
    """"batch", "instance" or "none"."""
    blocks: int = 0
    """"resnet": residual blocks."""
    depth: int = 0
    """"unet": halvings."""
    dropout: bool = False
    """"resnet": the blocks were built with dropout. In a U-Net it leaves no trace."""

    def __str__(self) -> str:
        size = f"{self.blocks} blocks" if self.generator == "resnet" else f"depth {self.depth}"
        channels = f"{self.inputs} -> {self.outputs} channels"
        return f"{self.generator} of width {self.width}, {size}, {channels}, {self.norm} norm{', dropout' if self.dropout else ''}"


def unwrapped(arrays: Arrays) -> dict[str, np.ndarray]:
    """The arrays under the network's own names, without the prefixes of DataParallel and torch.compile."""
    result = dict(arrays)
    while prefix := next(
        (
            prefix
            for prefix in _WRAPPERS
            if result and all(name.startswith(prefix) for name in result)
        ),
        "",
    ):
        result = {name.removeprefix(prefix): array for name, array in result.items()}
    return result


def architecture(arrays: Arrays) -> Architecture:
    """The generator these arrays belong to. Raises `ValueError` if it is none that is known, or lacks what its size is read from."""
    shapes = {name: np.shape(array) for name, array in arrays.items()}
    if "model.model.0.weight" in shapes:
        return _unet(shapes)
    if any(".conv_block." in name for name in shapes):
        return _resnet(shapes)
    if any(shapes.get(f"{name}.0.weight", ())[2:] in ((4, 4), (1, 1)) for name in ("model", "net")):
        raise ValueError(
            f"the names are a discriminator's, which translates nothing: give a generator's file; {_KNOWN}"
        )
    raise ValueError(
        f"the names ({', '.join(list(shapes)[:3])}, ...) are of an unknown network: {_KNOWN}"
    )


def network(found: Architecture) -> Any:
    """The module of this architecture, its dropout rate apart."""
    if found.generator == "unet":
        return UNet(found.outputs, found.width, found.depth, found.norm)
    return ResNetTranslator(found.outputs, found.width, found.blocks, found.norm)


def load(found: Architecture, arrays: Arrays) -> dict[str, PyTree]:
    """The variables of `network(found)`; see `from_state_dict`. Raises `ValueError` where names or shapes do not fit together."""
    return from_state_dict(
        network(found), _with_biases(found, arrays) if found.norm == "none" else arrays
    )


# ------------------------------------------------------------------------------------------------------------------- networks


def _norm(shapes: Shapes, first: str) -> str:
    """Only batch norm has weights. In front of an instance norm the reference keeps a bias, where there is no norm (an oddity) it does not."""
    if any(name.endswith(".weight") and len(shape) == 1 for name, shape in shapes.items()):
        return "batch"
    return "instance" if f"{first}.bias" in shapes else "none"


def _resnet(shapes: Shapes) -> Architecture:
    numbers = sorted(
        {
            int(match[1])
            for name in shapes
            if (match := re.match(r"model\.(\d+)\.conv_block\.", name))
        }
    )
    placed = bool(numbers) and numbers == list(range(10, 10 + len(numbers)))
    require(
        placed,
        f"the residual blocks are model.{numbers} instead of model.10 and following, so this is an unknown network: {_KNOWN}",
    )
    width, inputs = weight_shape(shapes, "model.1", 4)[:2]
    outputs = weight_shape(shapes, f"model.{17 + len(numbers)}", 4)[0]
    dropout = not any(name.endswith(".conv_block.5.weight") for name in shapes)
    return Architecture(
        "resnet",
        width,
        inputs,
        outputs,
        _norm(shapes, "model.1"),
        blocks=len(numbers),
        dropout=dropout,
    )


def _unet(shapes: Shapes) -> Architecture:
    width, inputs = weight_shape(shapes, "model.model.0", 4)[:2]
    outputs = weight_shape(shapes, "model.model.3", 4)[1]
    depth, prefix = 1, "model.model.1.model"
    while f"{prefix}.1.weight" in shapes:
        depth, prefix = depth + 1, f"{prefix}.3.model"
    require(depth > 1, f"a U-Net of one layer is an unknown network: {_KNOWN}")
    return Architecture("unet", width, inputs, outputs, _norm(shapes, "model.model.0"), depth=depth)


def _with_biases(found: Architecture, arrays: Arrays) -> dict[str, np.ndarray]:
    """The arrays with zeros for the biases that our networks without a norm have, and the reference's lack."""
    first = 10 + found.blocks
    transposed = (
        (f"model.{first}.weight", f"model.{first + 3}.weight")
        if found.generator == "resnet"
        else (".3.weight", ".5.weight")
    )
    zeros = {
        f"{name.removesuffix('weight')}bias": np.zeros(
            array.shape[1 if name.endswith(transposed) else 0], np.float32
        )
        for name, array in arrays.items()
        if name.endswith(".weight") and array.ndim == 4
    }
    return {**zeros, **arrays}
