"""Which generator a state dict belongs to: from names and shapes alone; and its weights against PyTorch's outputs."""

from __future__ import annotations

import importlib.util
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.convert.infer import Architecture, architecture, load, network, unwrapped
from jaxgan.convert.pytorch import to_state_dict
from jaxgan.networks.patch import PatchDiscriminator, PixelDiscriminator
from jaxgan.networks.translator import ResNetTranslator
from jaxgan.networks.unet import UNet

Arrays = dict[str, np.ndarray]


def state_dict(module: Any, inputs: int, side: int = 32) -> Arrays:
    """A reference's state dict for `module`, by our tables, every array distinct."""
    shapes = jax.eval_shape(
        lambda: module.init(jax.random.key(0), jnp.zeros((1, side, side, inputs)), train=False)
    )
    random = np.random.default_rng(0)
    return to_state_dict(
        module,
        jax.tree.map(lambda leaf: random.standard_normal(leaf.shape, np.float32), dict(shapes)),
    )


def resnet(
    width: int, inputs: int, outputs: int, norm: str, blocks: int, dropout: bool = False
) -> tuple[Architecture, Arrays]:
    module = ResNetTranslator(outputs, width, blocks, norm, 0.5 if dropout else 0.0)
    return Architecture(
        "resnet", width, inputs, outputs, norm, blocks=blocks, dropout=dropout
    ), state_dict(module, inputs)


def unet(
    width: int, inputs: int, outputs: int, norm: str, depth: int
) -> tuple[Architecture, Arrays]:
    return Architecture("unet", width, inputs, outputs, norm, depth=depth), state_dict(
        UNet(outputs, width, depth, norm), inputs, 2**depth
    )


CASES = {
    "resnet, instance": resnet(3, 3, 3, "instance", 6),
    "resnet, batch": resnet(2, 1, 4, "batch", 1),
    "resnet, dropout": resnet(5, 4, 1, "instance", 2, dropout=True),
    "resnet, batch, dropout": resnet(2, 2, 3, "batch", 12, dropout=True),
    "unet, batch": unet(2, 3, 1, "batch", 5),
    "unet, instance": unet(3, 1, 3, "instance", 7),
    "unet, two layers": unet(2, 4, 2, "batch", 2),
}


@pytest.mark.parametrize("name", CASES)
def test_architecture_and_weights(name):
    expected, arrays = CASES[name]
    found = architecture(arrays)
    assert found == expected
    back = to_state_dict(_with_dropout(found), load(found, arrays))
    assert back.keys() == arrays.keys()
    for key, array in back.items():
        np.testing.assert_array_equal(array, arrays[key])


def _with_dropout(found: Architecture) -> Any:
    """The module with the names that dropout gives it."""
    return network(found).clone(dropout=0.5) if found.dropout else network(found)


@pytest.mark.parametrize("name", ["resnet, dropout", "unet, batch"])
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_wrapped_networks(name, prefix):
    expected, arrays = CASES[name]
    wrapped = {prefix + key: array for key, array in arrays.items()}
    assert unwrapped(wrapped).keys() == arrays.keys() == unwrapped(arrays).keys()
    assert architecture(unwrapped(wrapped)) == expected


def test_a_prefix_that_not_all_names_have_stays():
    arrays = {"module.a": np.zeros(1), "b": np.zeros(1)}
    assert unwrapped(arrays).keys() == arrays.keys()
    assert unwrapped({}) == {}


@pytest.mark.parametrize("name", ["resnet, instance", "unet, instance"])
def test_statistics_of_old_files_do_not_make_batch_norm(name):
    expected, arrays = CASES[name]
    place = {"resnet": "model.2", "unet": "model.model.1.model.2"}[expected.generator]
    old = {
        **arrays,
        f"{place}.running_mean": np.ones(6, np.float32),
        f"{place}.running_var": np.ones(6, np.float32),
    }
    assert architecture(old) == expected
    jax.tree.map(np.testing.assert_array_equal, load(expected, old), load(expected, arrays))


@pytest.mark.parametrize(
    "expected",
    [
        Architecture("resnet", 2, 3, 1, "none", blocks=1, dropout=True),
        Architecture("unet", 2, 1, 3, "none", depth=3),
    ],
)
def test_without_norm_the_reference_has_no_biases(expected):
    """But for the last layer, which is not normalised anyway; ours has them all, and they are zero then."""
    complete = state_dict(_with_dropout(expected), expected.inputs)
    last = {"resnet": f"model.{17 + expected.blocks}.bias", "unet": "model.model.3.bias"}[
        expected.generator
    ]
    arrays = {
        name: array for name, array in complete.items() if name.endswith("weight") or name == last
    }
    assert architecture(arrays) == expected
    back = to_state_dict(_with_dropout(expected), load(expected, arrays))
    assert back.keys() == complete.keys()
    for name, array in back.items():
        np.testing.assert_array_equal(array, arrays.get(name, np.zeros(complete[name].shape)))


def test_words():
    assert (
        str(CASES["resnet, dropout"][0])
        == "resnet of width 5, 2 blocks, 4 -> 1 channels, instance norm, dropout"
    )
    assert str(CASES["unet, batch"][0]) == "unet of width 2, depth 5, 3 -> 1 channels, batch norm"


# ------------------------------------------------------------------------------------------------------------------------- errors


def moved(arrays: Arrays, by: int) -> Arrays:
    return {
        f"model.{int(name.split('.')[1]) + by}.{name.split('.', 2)[2]}": array
        for name, array in arrays.items()
    }


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        (
            {"conv1.weight": np.zeros((2, 2))},
            r"names \(conv1.weight, ...\) are of an unknown network: known are those of ResnetGenerator and UnetGenerator",
        ),
        (state_dict(PatchDiscriminator(2, 2, "batch"), 6), "are a discriminator's"),
        (state_dict(PixelDiscriminator(2, "batch"), 6), "are a discriminator's"),
        (moved(CASES["resnet, dropout"][1], 2), r"blocks are model.\[12, 13\] instead of model.10"),
        (
            {
                name: array
                for name, array in CASES["resnet, dropout"][1].items()
                if name != "model.1.weight"
            },
            "has no model.1.weight",
        ),
        (
            {
                name: array
                for name, array in CASES["unet, batch"][1].items()
                if name != "model.model.3.weight"
            },
            "has no model.model.3.weight",
        ),
        (
            {
                name: array
                for name, array in CASES["unet, batch"][1].items()
                if name in ("model.model.0.weight", "model.model.3.weight")
            },
            "U-Net of one layer",
        ),
    ],
)
def test_unknown_networks(arrays, reason):
    with pytest.raises(ValueError, match=reason):
        architecture(arrays)


def test_shapes_that_do_not_fit():
    found, arrays = CASES["resnet, instance"]
    with pytest.raises(
        ValueError, match=r"misshaped: model.4.weight is \(6, 3, 5, 5\), should be \(6, 3, 3, 3\)"
    ):
        load(found, {**arrays, "model.4.weight": np.zeros((6, 3, 5, 5))})
    with pytest.raises(ValueError, match=r"missing: model.4.weight"):
        load(found, {name: array for name, array in arrays.items() if name != "model.4.weight"})


# ------------------------------------------------------------------------------------------------------------------------ PyTorch


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
@pytest.mark.parametrize(
    ("kind", "settings", "expected"),
    [
        (
            "ResNetTranslator",
            (2, 3, 3, 2, "batch", 0.5),
            Architecture("resnet", 3, 2, 3, "batch", blocks=2, dropout=True),
        ),
        (
            "ResNetTranslator",
            (1, 4, 2, 1, "instance"),
            Architecture("resnet", 2, 1, 4, "instance", blocks=1),
        ),
        ("UNet", (3, 2, 2, 4, "batch"), Architecture("unet", 2, 3, 2, "batch", depth=4)),
        ("UNet", (1, 3, 3, 3, "instance"), Architecture("unet", 3, 1, 3, "instance", depth=3)),
    ],
)
def test_outputs_of_inferred_networks(kind, settings, expected):
    import torch

    from benchmarks.torch_models import translation_networks

    torch.manual_seed(settings[0])
    theirs = getattr(translation_networks, kind)(*settings).eval()
    for name, tensor in theirs.state_dict().items():
        if "running" in name or tensor.ndim == 1:
            tensor.copy_(torch.rand(tensor.shape) + 0.5)
    arrays = {f"module.{name}": tensor.numpy() for name, tensor in theirs.state_dict().items()}
    found = architecture(unwrapped(arrays))
    assert found == expected
    images = np.random.default_rng(0).standard_normal((2, 16, 16, expected.inputs), np.float32)
    with torch.no_grad():
        outputs = theirs(torch.from_numpy(np.moveaxis(images, -1, 1).copy())).numpy()
    with jax.default_matmul_precision("highest"):
        ours = jax.jit(lambda variables, x: network(found).apply(variables, x, train=False))(
            load(found, unwrapped(arrays)), images
        )
    assert np.max(np.abs(np.moveaxis(outputs, 1, -1) - ours)) <= 2e-4 * np.max(np.abs(outputs))
