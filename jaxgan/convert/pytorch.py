"""Weights of reference PyTorch networks to our variables, and back.

    state = {name: tensor.numpy() for name, tensor in torch.load("netG.pth", weights_only=True).items()}
    generator = DCGANGenerator(image_shape=(64, 64, 3))
    variables = from_state_dict(generator, state)
    images = generator.apply(variables, latents, train=False)

    torch_generator.load_state_dict({name: torch.from_numpy(array) for name, array in to_state_dict(generator, variables).items()})

Which layer is which is said by the tables of `jaxgan.convert.names`, `translation_names`, `stargan_names`, `spade_names` and `stylegan_names`. This
file says how the arrays of a layer are called and laid out:

    layer               PyTorch                                  ours
    convolution         weight [O, I, kh, kw]                    kernel [kh, kw, I, O]
    its transpose       weight [I, O, kh, kw]                    kernel [kh, kw, I, O]
    linear              weight [O, I]                            kernel [I, O]; a flattened feature map is (C, H, W) there, (H, W, C) here
    embedding           weight [K, F]                            embedding [K, F]
    batch norm          weight, bias, running_mean, running_var  scale, bias, mean, var; without gain and bias, the last two
    instance norm       none; old files have running statistics  none
    with gain and bias  weight, bias; unused running statistics  scale, bias
    conditional norm    embed.weight [K, 2 C]                    scale [K, C], bias [K, C]; running statistics under `bn`
    spectral norm       weight_orig, weight_u, weight_v          kernel, u, v; v in the order of kernel's inputs
    constant            const [C, H, W]                          const [H, W, C]
    noise               noise_strength, noise_const              strength; constant in the collection `noise`
    running mean of w   w_avg                                    w in the collection `average`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxgan.convert.names import TABLES, Layer, Layers, Table
from jaxgan.convert.spade_names import SPADE_TABLES
from jaxgan.convert.stargan_names import STARGAN_TABLES
from jaxgan.convert.stylegan_names import STYLEGAN_TABLES
from jaxgan.convert.translation_names import TRANSLATION_TABLES
from jaxgan.state import PyTree

Path = tuple[str, ...]
Arrays = list[np.ndarray]

_TABLES = TABLES | TRANSLATION_TABLES | STARGAN_TABLES | SPADE_TABLES | STYLEGAN_TABLES
_KERNEL_AXES = {"conv": (2, 3, 1, 0), "conv_transpose": (2, 3, 0, 1), "linear": (1, 0)}
"""PyTorch's axes in our order."""
_NEWER_SPECTRAL_NORM = {
    ".parametrizations.weight.original": ".weight_orig",
    ".parametrizations.weight.0._u": ".weight_u",
    ".parametrizations.weight.0._v": ".weight_v",
}
"""Names under `torch.nn.utils.parametrizations.spectral_norm` to those under `torch.nn.utils.spectral_norm`."""


class _Entry(NamedTuple):
    """One array of the state dict and the leaves it fills: `read` takes it apart into them, `write` is the inverse."""

    name: str
    leaves: tuple[Path, ...]
    read: Callable[[np.ndarray], Arrays]
    write: Callable[..., np.ndarray]


def from_state_dict(network: nn.Module, arrays: Mapping[str, np.ndarray]) -> dict[str, PyTree]:
    """The variables of `network`, as `network.init` returns them, filled from a reference's state dict.

    Any width, depth, image size, latent size and number of channels will do. Every leaf is filled, and every array is used exactly once but for
    those without effect: `num_batches_tracked`, the running statistics of instance norms (StarGAN's, and those in files of old versions), biases in
    front of an instance norm.

    Args:
      network: one of the modules with a table, of the reference's width (and depth and image size, where they are settings).
      arrays: the reference's `state_dict()` as NumPy arrays under its own names, with either of PyTorch's two spellings of spectral norm.

    Returns: {"params": ..., "batch_stats": ..., "spectral": ...}, those that the network has; float32.

    Raises:
      ValueError: there is no table for the network, or names are missing, unexpected or of the wrong shape; the message lists them.
    """
    table = _table(network)
    given = table.respelt(network, _canonical(arrays))
    example = table.example(network, {name: array.shape for name, array in given.items()})
    template = _flatten(
        jax.eval_shape(lambda: network.init(jax.random.key(0), *_zeros(example), train=False))
    )
    layers = _layers(table, network, template)
    entries = _entries(layers, network, template)
    constants = table.constants(layers)
    given = {
        name: array
        for name, array in _without_instance_statistics(given, layers).items()
        if name not in constants
    }
    _check(
        type(network).__name__,
        {entry.name: _torch_shape(entry, template) for entry in entries},
        given,
    )
    leaves = {
        path: jnp.array(leaf, jnp.float32)
        for entry in entries
        for path, leaf in zip(entry.leaves, entry.read(given[entry.name]))
    }
    return traverse_util.unflatten_dict(leaves)


def to_state_dict(network: nn.Module, variables: Mapping[str, PyTree]) -> dict[str, np.ndarray]:
    """The inverse of `from_state_dict`: float32 arrays under the reference's names, which its `load_state_dict` takes (as tensors).

    Spectral norm is spelt `weight_orig`, `weight_u`, `weight_v`; `num_batches_tracked` is left out, and PyTorch does without it. Biases in front of
    an instance norm are zero, and running statistics that the reference keeps and does not read are fresh ones.

    Raises:
      ValueError: there is no table for the network, or the variables are not this network's.
    """
    leaves = _flatten(variables)
    table = _table(network)
    layers = _layers(table, network, leaves)
    entries = _entries(layers, network, leaves)
    written = {
        entry.name: entry.write(*(np.asarray(leaves[path], np.float32) for path in entry.leaves))
        for entry in entries
    }
    written |= _fresh_statistics(layers, leaves) | table.constants(layers)
    return {
        name: np.array(array, order="C") for name, array in written.items()
    }  # copies: writable and contiguous, as tensors must be


# --------------------------------------------------------------------------------------------------------------------- checks


def _table(network: nn.Module) -> Table:
    table = _TABLES.get(type(network))
    if table is None:
        known = ", ".join(sorted(module.__name__ for module in _TABLES))
        raise ValueError(
            f"PyTorch's names for {type(network).__name__} are not known; they are for {known}"
        )
    return table


def _canonical(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays that carry weights or statistics, spectral norm in its older spelling."""
    result: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        if name.endswith("num_batches_tracked"):
            continue
        for newer, older in _NEWER_SPECTRAL_NORM.items():
            name = name.removesuffix(newer) + older if name.endswith(newer) else name
        if name in result:
            raise ValueError(
                f"the state dict has {name} twice, in both of PyTorch's spellings of spectral norm; leave one out"
            )
        result[name] = np.asarray(array)
    return result


def _without_instance_statistics(
    arrays: Mapping[str, np.ndarray], layers: Layers
) -> dict[str, np.ndarray]:
    """The arrays without running statistics of instance norms: PyTorch before 0.4 stored them, StarGAN stores them, and nothing reads them."""
    kinds = ("instance_norm", "affine_instance_norm")
    norms = {
        f"{layer.name}.running_{name}"
        for layer in layers.values()
        if layer.kind in kinds
        for name in ("mean", "var")
    }
    return {name: array for name, array in arrays.items() if name not in norms}


def _fresh_statistics(layers: Layers, leaves: Mapping[Path, Any]) -> dict[str, np.ndarray]:
    """Running statistics as PyTorch starts them, of the instance norms for which its `load_state_dict` asks for them."""
    written: dict[str, np.ndarray] = {}
    for path, layer in layers.items():
        if layer.kind == "affine_instance_norm":
            shape = leaves["params", *path.split("/"), "scale"].shape
            written |= {
                f"{layer.name}.running_mean": np.zeros(shape, np.float32),
                f"{layer.name}.running_var": np.ones(shape, np.float32),
            }
    return written


def _check(
    network: str, expected: Mapping[str, tuple[int, ...]], given: Mapping[str, np.ndarray]
) -> None:
    """Raise ValueError, in one sentence, unless names and shapes agree."""
    missing = [name for name in expected if name not in given]
    unexpected = [name for name in given if name not in expected]
    misshaped = [
        f"{name} is {given[name].shape}, should be {shape}"
        for name, shape in expected.items()
        if name in given and given[name].shape != tuple(shape)
    ]
    problems = {"missing": missing, "unexpected": unexpected, "misshaped": misshaped}
    found = "; ".join(
        f"{problem}: {', '.join(names)}" for problem, names in problems.items() if names
    )
    if found:
        raise ValueError(f"the state dict does not fit this {network}: {found}")


def _torch_shape(entry: _Entry, template: Mapping[Path, Any]) -> tuple[int, ...]:
    return entry.write(
        *(np.broadcast_to(np.float32(0), template[path].shape) for path in entry.leaves)
    ).shape


def _zeros(example: tuple) -> list[jax.Array]:
    return [jnp.zeros(argument.shape, argument.dtype) for argument in example]


def _flatten(variables: Mapping[str, PyTree]) -> dict[Path, Any]:
    return traverse_util.flatten_dict(dict(variables))


# -------------------------------------------------------------------------------------------------------------------- entries


def _layers(table: Table, network: nn.Module, leaves: Mapping[Path, Any]) -> Layers:
    return table.layers(
        network,
        traverse_util.unflatten_dict(
            {path[1:]: leaf for path, leaf in leaves.items() if path[0] == "params"}
        ),
    )


def _entries(layers: Layers, network: nn.Module, leaves: Mapping[Path, Any]) -> list[_Entry]:
    """The entries of all layers. Raises ValueError if they are not exactly the leaves (or their shapes) of the network's variables."""
    entries = []
    for path, layer in layers.items():
        module = tuple(path.split("/"))
        own = {
            (leaf[0], leaf[-1]): value.shape
            for leaf, value in leaves.items()
            if leaf[1:-1] == module
        }
        entries += _layer_entries(layer, module, own)
    filled = {path for entry in entries for path in entry.leaves}
    odd = ["/".join(path) for path in [*(leaves.keys() - filled), *(filled - leaves.keys())]]
    if odd:
        raise ValueError(
            f"the variables are not those of this {type(network).__name__}; without a counterpart: {', '.join(sorted(odd))}"
        )
    return entries


def _layer_entries(
    layer: Layer, module: Path, shapes: Mapping[tuple[str, str], tuple[int, ...]]
) -> list[_Entry]:
    """The entries of one layer that has leaves (collection, name) of `shapes`."""

    def entry(
        name: str, collection: str, leaf: str, pair: tuple[Callable, Callable]
    ) -> list[_Entry]:
        read, write = pair
        present = (collection, leaf) in shapes
        return (
            [
                _Entry(
                    f"{layer.name}.{name}",
                    ((collection, *module, leaf),),
                    lambda array: [read(array)],
                    write,
                )
            ]
            if present
            else []
        )

    if layer.kind == "instance_norm":
        return []
    if layer.kind == "constant":
        return entry(
            "const",
            "params",
            "const",
            (lambda array: array.transpose(1, 2, 0), lambda const: const.transpose(2, 0, 1)),
        )
    if layer.kind == "noise":
        return [
            *entry("noise_strength", "params", "strength", _SAME),
            *entry("noise_const", "noise", "constant", _SAME),
        ]
    if layer.kind == "running_mean":
        return entry("w_avg", "average", "w", _SAME)
    if layer.kind in ("norm", "affine_instance_norm"):
        return [
            *entry("weight", "params", "scale", _SAME),
            *entry("bias", "params", "bias", _SAME),
            *entry("running_mean", "batch_stats", "mean", _SAME),
            *entry("running_var", "batch_stats", "var", _SAME),
        ]
    if layer.kind == "conditional_norm":
        both = (("params", *module, "scale"), ("params", *module, "bias"))
        return [
            _Entry(
                f"{layer.name}.embed.weight",
                both,
                lambda array: np.split(array, 2, axis=1),
                lambda *tables: np.concatenate(tables, axis=1),
            ),
            *entry("bn.running_mean", "batch_stats", "mean", _SAME),
            *entry("bn.running_var", "batch_stats", "var", _SAME),
        ]
    weight = "weight_orig" if ("spectral", "u") in shapes else "weight"
    if layer.kind == "embedding":
        return [
            *entry(weight, "params", "embedding", _SAME),
            *entry("weight_u", "spectral", "u", _SAME),
            *entry("weight_v", "spectral", "v", _SAME),
        ]
    outputs = _channels_last(layer.outputs)
    # The zeros need a shape, which variables of another network may not have; then `_entries` names the missing kernel.
    zeros = np.zeros(shapes.get(("params", "kernel"), (0,))[-1], np.float32)
    removed = (
        [_Entry(f"{layer.name}.bias", (), lambda array: [], lambda: zeros)]
        if layer.removed_bias
        else []
    )
    return [
        *entry(weight, "params", "kernel", _kernel(layer)),
        *removed,
        *entry("bias", "params", "bias", outputs),
        *entry("weight_u", "spectral", "u", outputs),
        *entry(
            "weight_v",
            "spectral",
            "v",
            _channels_last(
                shapes["params", "kernel"][:2] if layer.kind == "conv" else layer.inputs
            ),
        ),
    ]


# -------------------------------------------------------------------------------------------------------------------- layouts

_SAME: tuple[Callable, Callable] = (lambda array: array, lambda array: array)


def _kernel(layer: Layer) -> tuple[Callable, Callable]:
    """How a weight is read into our kernel, and written."""
    axes = _KERNEL_AXES[layer.kind]
    into, out_of = _channels_last(layer.inputs, axis=-2), _channels_last(layer.outputs, axis=-1)

    def read(weight: np.ndarray) -> np.ndarray:
        return out_of[0](into[0](weight.transpose(axes)))

    def write(kernel: np.ndarray) -> np.ndarray:
        return into[1](out_of[1](kernel)).transpose(np.argsort(axes))

    return read, write


def _channels_last(size: tuple[int, ...] | None, axis: int = -1) -> tuple[Callable, Callable]:
    """How an axis flattened from (C, *size) is read into one flattened from (*size, C), and written back; the identity without a size."""
    if size is None:
        return _SAME
    height, width = size

    def refold(array: np.ndarray, shape: tuple[int, ...], order: tuple[int, ...]) -> np.ndarray:
        last = np.moveaxis(array, axis, -1)
        folded = last.reshape(*last.shape[:-1], *shape)
        kept = range(array.ndim - 1)
        return np.moveaxis(
            folded.transpose(*kept, *(len(kept) + i for i in order)).reshape(last.shape), -1, axis
        )

    return (lambda array: refold(array, (-1, height, width), (1, 2, 0))), (
        lambda array: refold(array, (height, width, -1), (2, 0, 1))
    )
