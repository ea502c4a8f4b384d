"""The tables of names of StyleGAN2's networks: NVlabs/stylegan2-ada-pytorch. See `jaxgan.convert.names`."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.convert.names import Layer, Layers, Shapes, Table, floats, weight_shape
from jaxgan.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator
from jaxgan.nn.resample import BINOMIAL
from jaxgan.state import PyTree

_LABELS = jax.ShapeDtypeStruct((1,), jnp.int32)


def _mapping(ours: str, theirs: str, params: PyTree) -> Layers:
    """`embed` and `fc0`, `fc1`, ..."""
    return {
        f"{ours}/{name}": Layer(f"{theirs}.{name.replace('dense', 'fc')}", "linear")
        for name in params
    }


def _generator_layers(network: StyleGAN2Generator, params: PyTree) -> Layers:
    """`mapping`, and `synthesis.b4`, `b8`, ... with `conv0`, `conv1`, `torgb`, `skip`."""
    layers = _mapping("mapping/layers", "mapping", params["mapping"]["layers"]) | {
        "mapping": Layer("mapping", "running_mean")
    }
    for name in (name for name in params if name.startswith("block")):
        block = f"synthesis.b{4 << int(name.removeprefix('block'))}"
        for module in params[name]:
            if module == "const":
                layers[name] = Layer(block, "constant")
                continue
            theirs = f"{block}.{module.replace('image', 'torgb')}"
            layers[f"{name}/{module}"] = Layer(theirs, "conv")
            if "affine" in params[name][module]:
                layers[f"{name}/{module}/affine"] = Layer(f"{theirs}.affine", "linear")
            if "noise" in params[name][module]:
                layers[f"{name}/{module}/noise"] = Layer(theirs, "noise")
    return layers


def _generator_example(network: StyleGAN2Generator, shapes: Shapes) -> tuple:
    embedded = network.style_size if network.classes else 0
    return floats(1, weight_shape(shapes, "mapping.fc0", 2)[1] - embedded), _LABELS


def _filters(layers: Layers) -> dict[str, np.ndarray]:
    """The low-pass filter, which the reference stores with each block and with every convolution but those to images."""
    taps = np.array(BINOMIAL, np.float32) / sum(BINOMIAL)
    convolutions = {
        layer.name
        for layer in layers.values()
        if layer.kind == "conv" and not layer.name.endswith("torgb")
    }
    blocks = {name.rpartition(".")[0] for name in convolutions} - {
        "b4"
    }  # the discriminator's last is none of its own kind
    return {
        f"{name}.resample_filter": np.outer(taps, taps) for name in sorted(convolutions | blocks)
    }


def _discriminator_layers(network: StyleGAN2Discriminator, params: PyTree) -> Layers:
    """`b32`, `b16`, ... with `fromrgb`, `conv0`, `conv1`, `skip`; `b4` with `conv`, `fc`, `out`; `mapping`."""
    layers = _mapping("mapping", "mapping", params.get("mapping", {}))
    for name in (name for name in params if name.startswith("block")):
        block = f"b{4 << int(name.removeprefix('block'))}"
        layers |= {
            f"{name}/{module}": Layer(f"{block}.{module.replace('from_image', 'fromrgb')}", "conv")
            for module in params[name]
        }
    layers |= {
        name: Layer(f"b4.{theirs}", "conv")
        for name, theirs in (("from_image", "fromrgb"), ("conv", "conv"))
        if name in params
    }
    area = params["dense"]["kernel"].shape[0] // params["conv"]["kernel"].shape[-1]
    side = int(area**0.5)
    return layers | {
        "dense": Layer("b4.fc", "linear", inputs=(side, area // side)),
        "output": Layer("b4.out", "linear"),
    }


def _discriminator_example(network: StyleGAN2Discriminator, shapes: Shapes) -> tuple:
    """The first block is that of the images' own size."""
    largest = max(
        int(name[1:].split(".")[0])
        for name in shapes
        if name.startswith("b") and name[1:].split(".")[0].isdigit()
    )
    return floats(1, largest, largest, weight_shape(shapes, f"b{largest}.fromrgb", 4)[1]), _LABELS


STYLEGAN_TABLES: dict[type[nn.Module], Table] = {
    StyleGAN2Generator: Table(_generator_layers, _generator_example, constants=_filters),
    StyleGAN2Discriminator: Table(
        _discriminator_layers, _discriminator_example, constants=_filters
    ),
}
