"""The mapping of PyTorch's state dicts: closed forms, errors, round trips. Side by side with PyTorch: `test_side_by_side`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan.convert.names import Layer
from jaxgan.convert.pytorch import _layer_entries, from_state_dict, to_state_dict
from jaxgan.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from jaxgan.networks.mlp import MaxoutGenerator
from jaxgan.networks.resnet import ResNetDiscriminator, ResNetGenerator

LABELS = jnp.zeros(1, jnp.int32)


def _distinct(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def _variables(network, *inputs, seed: int = 0) -> dict:
    """Variables of the network's shapes, every leaf random."""
    shapes = jax.eval_shape(
        lambda: network.init(
            jax.random.key(0), *(jnp.zeros(shape) for shape in inputs), LABELS, train=False
        )
    )
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: random.standard_normal(leaf.shape, np.float32), dict(shapes))


# -------------------------------------------------------------------------------------------------------------------- layouts


def _entries(layer: Layer, **leaves: tuple[int, ...]) -> dict:
    """Name -> entry of a layer that has these leaves; `spectral_u` is leaf u of collection spectral, and so on."""
    collections = {"kernel": "params", "bias": "params", "u": "spectral", "v": "spectral"}
    return {
        entry.name: entry
        for entry in _layer_entries(
            layer, ("ours",), {(collections[leaf], leaf): shape for leaf, shape in leaves.items()}
        )
    }


def test_layout_of_convolutions():
    weight = _distinct((5, 3, 2, 4))
    conv = _entries(Layer("c", "conv"), kernel=(2, 4, 3, 5))["c.weight"]
    transpose = _entries(Layer("c", "conv_transpose"), kernel=(2, 4, 5, 3))["c.weight"]
    for kh, kw, i, o in np.ndindex(2, 4, 3, 5):
        assert conv.read(weight)[0][kh, kw, i, o] == weight[o, i, kh, kw]
        assert (
            transpose.read(weight)[0][kh, kw, o, i] == weight[o, i, kh, kw]
        )  # there, the first axis is the inputs
    np.testing.assert_array_equal(conv.write(*conv.read(weight)), weight)
    np.testing.assert_array_equal(transpose.write(*transpose.read(weight)), weight)


def test_layout_of_spectral_vectors():
    """u, v and the kernel keep their relation: u' W v is the same number on both sides."""
    random = np.random.default_rng(0)
    weight, u, v = (random.standard_normal(shape) for shape in [(5, 3, 2, 4), (5,), (24,)])
    entries = _entries(Layer("c", "conv"), kernel=(2, 4, 3, 5), u=(5,), v=(24,))
    assert set(entries) == {"c.weight_orig", "c.weight_u", "c.weight_v"}
    kernel, our_u, our_v = (
        entries[f"c.weight_{name}"].read(array)[0]
        for name, array in [("orig", weight), ("u", u), ("v", v)]
    )
    np.testing.assert_allclose(
        our_v @ kernel.reshape(24, 5) @ our_u, u @ weight.reshape(5, 24) @ v, rtol=1e-12
    )
    np.testing.assert_array_equal(entries["c.weight_v"].write(our_v), v)


def test_layout_of_a_linear_layer_between_feature_maps():
    """Flatten a map [C, H, W], apply the layer, fold into a map of another size: the same on channels-last maps."""
    random = np.random.default_rng(0)
    weight, bias, image = (
        random.standard_normal(shape) for shape in [(5 * 2 * 3, 4 * 6 * 7), (30,), (4, 6, 7)]
    )
    reference = (weight @ image.reshape(-1) + bias).reshape(5, 2, 3)
    entries = _entries(
        Layer("l", "linear", inputs=(6, 7), outputs=(2, 3)), kernel=(168, 30), bias=(30,)
    )
    (kernel,), (our_bias,) = entries["l.weight"].read(weight), entries["l.bias"].read(bias)
    ours = (image.transpose(1, 2, 0).reshape(-1) @ kernel + our_bias).reshape(2, 3, 5)
    np.testing.assert_allclose(ours.transpose(2, 0, 1), reference, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(entries["l.weight"].write(kernel), weight)
    np.testing.assert_array_equal(entries["l.bias"].write(our_bias), bias)


# ------------------------------------------------------------------------------------------------------------- round trips, errors


@st.composite
def _networks(draw):
    """A network and the shape of its first argument."""
    width, channels, classes = (
        draw(st.integers(1, 3)),
        draw(st.integers(1, 4)),
        draw(st.sampled_from([0, 3])),
    )
    size = draw(st.sampled_from([(16, 16), (28, 28), (32, 16), (24, 32)]))
    kind = draw(
        st.sampled_from([DCGANGenerator, DCGANDiscriminator, ResNetGenerator, ResNetDiscriminator])
    )
    if kind in (DCGANGenerator, ResNetGenerator):
        return kind((*size, channels), width, classes), (1, draw(st.integers(1, 5)))
    options = {"classes": classes, "spectral_norm": draw(st.booleans())}
    if kind is ResNetDiscriminator:
        side = draw(st.sampled_from([16, 32, 48]))
        return kind(width, class_head=bool(classes) and draw(st.booleans()), **options), (
            1,
            side,
            side,
            channels,
        )
    return kind(width, **options), (1, *size, channels)


@settings(max_examples=25, deadline=None)
@given(_networks(), st.integers(0, 2**32 - 1))
def test_round_trip_is_exact(case, seed):
    network, shape = case
    variables = _variables(network, shape, seed=seed)
    arrays = to_state_dict(network, variables)
    assert sum(array.size for array in arrays.values()) == sum(
        leaf.size for leaf in jax.tree.leaves(variables)
    )
    jax.tree.map(np.testing.assert_array_equal, from_state_dict(network, arrays), variables)


@pytest.fixture
def small():
    """A generator and its state dict."""
    network = DCGANGenerator((16, 16, 3), 2)
    return network, to_state_dict(network, _variables(network, (1, 5)))


def test_names_of_a_small_generator(small):
    _, arrays = small
    norm = {"weight": (4,), "bias": (4,), "running_mean": (4,), "running_var": (4,)}
    expected = {
        "main.0.weight": (5, 4, 4, 4),
        "main.3.weight": (4, 2, 4, 4),
        "main.6.weight": (2, 3, 4, 4),
    }
    expected |= {f"main.1.{name}": shape for name, shape in norm.items()} | {
        f"main.4.{name}": (2,) for name in norm
    }
    assert {name: array.shape for name, array in arrays.items()} == expected


def test_given_arrays_are_copied_and_cast(small):
    network, arrays = small
    arrays = {name: array.astype(np.float64) for name, array in arrays.items()}
    variables = from_state_dict(network, arrays)
    before = arrays["main.1.bias"].copy()
    arrays["main.1.bias"][:] = 7
    assert variables["params"]["norm0"]["bias"].dtype == jnp.float32
    np.testing.assert_array_equal(variables["params"]["norm0"]["bias"], before.astype(np.float32))


def test_count_of_batches_is_ignored(small):
    network, arrays = small
    counted = arrays | {"main.1.num_batches_tracked": np.int64(3)}
    jax.tree.map(
        np.testing.assert_array_equal,
        from_state_dict(network, counted),
        from_state_dict(network, arrays),
    )


def test_missing_unexpected_and_misshaped_names_are_told(small):
    network, arrays = small
    del arrays["main.4.bias"]
    arrays["extra.weight"] = np.zeros(2)
    arrays["main.3.weight"] = np.zeros((9, 2, 4, 4))
    message = (
        r"^the state dict does not fit this DCGANGenerator: missing: main\.4\.bias; unexpected: extra\.weight; "
        r"misshaped: main\.3\.weight is \(9, 2, 4, 4\), should be \(4, 2, 4, 4\)$"
    )
    with pytest.raises(ValueError, match=message):
        from_state_dict(network, arrays)


def test_a_state_dict_of_another_width_is_refused(small):
    _, arrays = small
    with pytest.raises(
        ValueError, match=r"misshaped: main\.0\.weight is \(5, 4, 4, 4\), should be \(5, 6, 4, 4\)"
    ):
        from_state_dict(DCGANGenerator((16, 16, 3), 3), arrays)


@pytest.mark.parametrize(
    "network",
    [
        DCGANGenerator((16, 16, 3)),
        DCGANDiscriminator(),
        ResNetGenerator((16, 16, 3)),
        ResNetDiscriminator(),
    ],
)
@pytest.mark.parametrize("arrays", [{}, {"weight": np.zeros(3)}])
def test_a_foreign_state_dict_is_refused(network, arrays):
    with pytest.raises(
        ValueError, match=r"^the state dict has no (main\.0|l1|block1\.c1)\.weight \(nor "
    ):
        from_state_dict(network, arrays)


def test_a_weight_of_another_rank_is_refused(small):
    network, arrays = small
    with pytest.raises(ValueError, match=r"^main\.0\.weight must have 4 axes, got shape \(5, 4\)$"):
        from_state_dict(network, arrays | {"main.0.weight": np.zeros((5, 4))})


def test_two_spellings_of_one_name_are_refused():
    network = DCGANDiscriminator(2, spectral_norm=True)
    arrays = to_state_dict(network, _variables(network, (1, 16, 16, 3)))
    with pytest.raises(ValueError, match=r"main\.0\.weight_orig twice"):
        from_state_dict(
            network,
            arrays | {"main.0.parametrizations.weight.original": arrays["main.0.weight_orig"]},
        )


def test_a_network_without_table_is_refused():
    with pytest.raises(
        ValueError,
        match=r"names for MaxoutGenerator are not known; they are for DCGANDiscriminator, DCGANGenerator, MultiscaleDiscriminator",
    ):
        from_state_dict(MaxoutGenerator((8, 8, 1)), {})


def test_variables_of_another_network_are_refused(small):
    network, arrays = small
    variables = from_state_dict(network, arrays)
    del variables["batch_stats"]["norm1"]
    variables["params"]["odd"] = {"kernel": jnp.zeros((2, 2))}
    with pytest.raises(ValueError, match=r"without a counterpart: params/odd/kernel$"):
        to_state_dict(network, variables)
