"""The translation networks: parameters and patches of the papers, sizes, dropout, options. Their numbers are compared in tests/golden and tests/convert."""

from __future__ import annotations

import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from flax.linen.initializers import constant

from jaxgan.networks import translator, unet
from jaxgan.networks.dcgan import dcgan_normal, dcgan_scale
from jaxgan.networks.patch import PatchDiscriminator, PixelDiscriminator
from jaxgan.networks.translator import DenseNetTranslator, ResNetTranslator
from jaxgan.networks.unet import UNet
from jaxgan.nn.padding import reflection_pad

SMALL = [
    ResNetTranslator(2, 2, 1),
    DenseNetTranslator(2, 2, 2, 3),
    UNet(2, 2, 3, "instance"),
]
CRITICS = [PatchDiscriminator(2, 1), PixelDiscriminator(2)]


def images(*shape):
    return np.random.default_rng(sum(shape)).uniform(-1, 1, shape).astype(np.float32)


def random_variables(network, x):
    """Without compiling `init`: kernels that keep the size of what goes through, the rest about 1."""
    draw = np.random.default_rng(0)

    def fill(leaf):
        scale = np.prod(leaf.shape[:-1]) ** -0.5 if leaf.ndim > 1 else 0.1
        return jnp.asarray(draw.normal(leaf.ndim == 1, scale, leaf.shape), jnp.float32)

    return jax.tree.map(fill, shapes(network, *x.shape))


def shapes(network, *shape):
    return jax.eval_shape(partial(network.init, train=False), jax.random.key(0), jnp.zeros(shape))


def count(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


# ------------------------------------------------------------------------------------------------------------- the papers' sizes


def test_resnet_has_the_reference_s_parameters_without_the_useless_biases():
    """11.378 million there."""
    useless = 64 + 128 + 256 + 9 * 2 * 256 + 128 + 64
    assert count(shapes(ResNetTranslator(3), 1, 256, 256, 3)) == 11_378_179 - useless


def test_unet_has_the_reference_s_parameters():
    """54.414 million for eight levels; kernels 4x4, two numbers per normalised channel, the last bias."""
    down = [3, 64, 128, 256, 512, 512, 512, 512, 512]
    ups = [(512, 512), *[(1024, 512)] * 3, (1024, 256), (512, 128), (256, 64), (128, 3)]
    kernels = sum(16 * a * b for a, b in [*zip(down, down[1:]), *ups])
    norms = 2 * (sum(down[2:-1]) + sum(b for _, b in ups[:-1]))
    assert count(shapes(UNet(3), 1, 256, 256, 3)) == kernels + norms + 3 == 54_413_955


@pytest.mark.parametrize(
    ("network", "channels", "expected"),
    [
        (PatchDiscriminator(norm="instance"), 3, 2_764_737 - 128 - 256 - 512),
        (PatchDiscriminator(), 6, 2_768_705),
    ],
)
def test_patch_discriminator_has_the_reference_s_parameters(network, channels, expected):
    assert count(shapes(network, 1, 256, 256, channels)) == expected


@pytest.mark.parametrize(("layers", "patch"), [(1, 16), (2, 34), (3, 70)])
def test_patches_have_the_size_of_the_papers(layers, patch):
    """How many rows and columns of the image one logit depends on."""
    network, x = PatchDiscriminator(1, layers, "none"), jnp.asarray(images(1, 96, 96, 1))
    positive = jax.tree.map(jnp.abs, random_variables(network, x))

    def middle(x):
        logits = network.apply(positive, x, train=False)
        return logits[0, logits.shape[1] // 2, logits.shape[2] // 2]

    seen = np.asarray(jax.jit(jax.grad(middle))(jnp.abs(x)))[0, :, :, 0] != 0
    assert (seen.any(0).sum(), seen.any(1).sum()) == (patch, patch)


# --------------------------------------------------------------------------------------------------------------- sizes and types


@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("network", SMALL, ids=lambda network: type(network).__name__)
def test_every_setting_keeps_the_size(network, norm, upsampling):
    network = network.clone(norm=norm, upsampling=upsampling, dtype=jnp.bfloat16)
    x = jnp.zeros((2, 16, 24, 5))
    variables = shapes(network, *x.shape)
    y = jax.eval_shape(partial(network.apply, train=True, mutable=["batch_stats"]), variables, x)[0]
    assert (y.shape, y.dtype) == ((2, 16, 24, 2), jnp.float32)
    assert ("batch_stats" in variables) == (norm == "batch")
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("network", "size", "words"),
    [
        (
            ResNetTranslator(3),
            (16, 18),
            "ResNetTranslator takes images with sides that are multiples of 4, got 16 x 18",
        ),
        (
            DenseNetTranslator(3),
            (10, 16),
            "DenseNetTranslator takes images with sides that are multiples of 4, got 10 x 16",
        ),
        (
            UNet(3, depth=4),
            (16, 24),
            "UNet takes images with sides that are multiples of 16, got 16 x 24",
        ),
        (
            PatchDiscriminator(),
            (64, 23),
            "of 3 layers takes images of at least 24 x 24, got 64 x 23",
        ),
        (
            PatchDiscriminator(layers=4),
            (47, 64),
            "of 4 layers takes images of at least 48 x 48, got 47 x 64",
        ),
        (
            ResNetTranslator(3, upsampling="nearest"),
            (16, 16),
            "upsampling must be one of 'transposed', 'resize', got 'nearest'",
        ),
        (UNet(3, depth=1), (16, 16), "depth must be at least 2, got 1"),
        (UNet(3, depth=2, norm="layer"), (16, 16), "norm must be one of"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(network, size, words):
    with pytest.raises(ValueError, match=words):
        shapes(network, 1, *size, 3)


@pytest.mark.parametrize(
    ("network", "multiple"),
    [
        (ResNetTranslator(3), 4),
        (DenseNetTranslator(3), 4),
        (UNet(3), 256),
        (UNet(3, depth=5), 32),
        *[(c, 1) for c in CRITICS],
    ],
)
def test_multiple(network, multiple):
    assert network.multiple == multiple


@pytest.mark.parametrize(("layers", "least"), [(1, 6), (3, 24), (5, 96)])
def test_the_smallest_image_has_one_patch(layers, least):
    network = PatchDiscriminator(2, layers)
    logits = jax.eval_shape(
        lambda key, x: network.init_with_output(key, x, train=False)[0],
        jax.random.key(0),
        jnp.zeros((3, least, least + 1, 1)),
    )
    assert logits.shape == (3, 1, 1)


# ----------------------------------------------------------------------------------------------------------------------- dropout


@pytest.mark.parametrize("network", SMALL, ids=lambda network: type(network).__name__)
def test_dropout_is_where_keys_are_and_each_example_has_its_own(network):
    network = network.clone(dropout=0.5)
    x, keys = images(1, 16, 8, 1).repeat(3, 0), jax.random.split(jax.random.key(1), 3)
    variables = random_variables(network, x)
    apply = partial(network.apply, train=False)
    compiled = jax.jit(apply)
    dropped, other = compiled(variables, x, keys), compiled(variables, x, keys[::-1])
    np.testing.assert_allclose(dropped, other[::-1], atol=1e-5)
    assert all(
        np.abs(a - b).max() > 1e-2 for a, b in [(dropped[0], dropped[1]), (dropped[1], dropped[2])]
    )
    assert "random" in str(jax.make_jaxpr(apply)(variables, x, keys))
    assert "random" not in str(jax.make_jaxpr(apply)(variables, x))


@pytest.mark.parametrize(
    ("depth", "where", "layers"),
    [
        (8, "paper", ["up7", "up6", "up5"]),
        (8, "port", ["up6", "up5", "up4"]),
        (9, "port", ["up7", "up6", "up5", "up4"]),
        (6, "port", ["up4"]),
        (5, "port", []),
        (3, "paper", ["up2", "up1"]),
        (2, "paper", ["up1"]),
        (2, "port", []),
    ],
)
def test_unet_drops_out_where_the_paper_or_its_port_does(depth, where, layers, monkeypatch):
    used = _record(monkeypatch, unet)
    shapes(UNet(1, 1, depth, dropout_layers=where), 1, 2**depth, 2**depth, 1)
    assert [name for name, rate in used if rate] == layers


@pytest.mark.parametrize(
    ("network", "layers"),
    [
        (ResNetTranslator(1, 1, 3, dropout=0.3), "block"),
        (DenseNetTranslator(1, 1, 3, 1, dropout=0.3), "dense"),
    ],
)
def test_every_layer_has_a_stream_of_its_own(network, layers, monkeypatch):
    used = _record(monkeypatch, translator)
    shapes(network, 1, 8, 8, 1)
    assert used == [(f"{layers}{i}", 0.3) for i in range(3)]


def _record(monkeypatch, module):
    used = []
    monkeypatch.setattr(
        module, "dropout", lambda x, rate, keys, name: used.append((name, rate)) or x
    )
    return used


# ----------------------------------------------------------------------------------------------------------------------- options


def test_starting_values_of_the_reference():
    """N(0, 0.02) and N(1, 0.02)."""
    kernels, gains = (start(jax.random.key(0), (100, 100)) for start in (dcgan_normal, dcgan_scale))
    np.testing.assert_allclose(
        [kernels.mean(), kernels.std(), gains.mean(), gains.std()], [0, 0.02, 1, 0.02], atol=1e-3
    )


@pytest.mark.parametrize("network", [*SMALL, *CRITICS], ids=lambda network: type(network).__name__)
def test_all_kernels_and_gains_start_so_and_no_norm_has_a_bias_in_front(network, monkeypatch):
    module = sys.modules[type(network).__module__]
    monkeypatch.setattr(module, "dcgan_normal", constant(3.0))
    monkeypatch.setattr(module, "dcgan_scale", constant(4.0))
    started = jax.jit(partial(network.clone(norm="batch").init, train=False))(
        jax.random.key(0), jnp.zeros((1, 16, 16, 3))
    )["params"]
    flat = traverse_util.flatten_dict(started, sep="/")
    values = {"kernel": 3, "scale": 4, "bias": 0}
    assert all((leaf == values[name.split("/")[-1]]).all() for name, leaf in flat.items())
    ends = {
        ResNetTranslator: {"output/bias"},
        DenseNetTranslator: {"output/bias"},
        UNet: {"up0/bias"},
        PatchDiscriminator: {"conv0/bias", "output/bias"},
        PixelDiscriminator: {"conv0/bias"},
    }[type(network)]
    assert {name for name in flat if name.endswith("bias") and "norm" not in name} == ends
    # An instance norm has nothing, and these are what no norm follows; with batch norm the reference goes without.
    unnormed = {UNet: {"down0/bias", "down2/bias"}, PixelDiscriminator: {"output/bias"}}.get(
        type(network), set()
    )
    instance = traverse_util.flatten_dict(
        shapes(network.clone(norm="instance"), 1, 16, 16, 3)["params"], sep="/"
    )
    assert {name for name in instance if not name.endswith("kernel")} == ends | unnormed


@pytest.mark.parametrize("network", CRITICS, ids=lambda network: type(network).__name__)
def test_features_are_those_behind_the_logits(network):
    x = images(2, 12, 10, 3)
    variables = random_variables(network, x)
    logits, maps = jax.jit(partial(network.apply, train=False, features=True))(variables, x)
    np.testing.assert_allclose(
        logits, jax.jit(partial(network.apply, train=False))(variables, x), atol=1e-6
    )
    sizes = (
        [(2, 6, 5, 2), (2, 5, 4, 4)]
        if isinstance(network, PatchDiscriminator)
        else [(2, 12, 10, 2), (2, 12, 10, 4)]
    )
    assert [m.shape for m in maps] == sizes
    assert logits.shape == ((2, 4, 3) if isinstance(network, PatchDiscriminator) else (2, 12, 10))
    assert all(
        (m < 0).any() and (m > 0).any() for m in maps
    )  # leaky: after the activation, and not only its positive side


@pytest.mark.parametrize("network", CRITICS, ids=lambda network: type(network).__name__)
def test_spectral_norm_takes_the_place_of_the_norm(network):
    network, x = network.clone(spectral_norm=True), images(2, 12, 10, 3)
    variables = random_variables(network, x)
    assert set(variables) == {"params", "spectral"}
    assert all("bias" in layer for layer in variables["params"].values())
    # Kernels of spectral norm 1 do not change with their scale.
    scaled = {
        **variables,
        "params": {
            k: {**layer, "kernel": 7 * layer["kernel"]} for k, layer in variables["params"].items()
        },
    }
    apply = jax.jit(partial(network.apply, train=False))
    np.testing.assert_allclose(apply(variables, x), apply(scaled, x), rtol=1e-4, atol=1e-6)


def test_batch_norm_is_over_all_devices():
    network = PatchDiscriminator(2, 1)
    x = images(4, 8, 16, 1)
    variables = random_variables(network, x)
    apply = partial(network.clone(axis_name="data").apply, train=True, mutable=["batch_stats"])
    parts, _ = jax.jit(jax.vmap(apply, (None, 0), axis_name="data"))(
        variables, x.reshape(2, 2, 8, 16, 1)
    )
    together, _ = jax.jit(partial(network.apply, train=True, mutable=["batch_stats"]))(variables, x)
    np.testing.assert_allclose(parts.reshape(together.shape), together, atol=1e-5)


@pytest.mark.parametrize("network", [*SMALL, *CRITICS], ids=lambda network: type(network).__name__)
def test_every_batch_norm_is_told_the_axis(network):
    network, x = network.clone(norm="batch", axis_name="data"), jnp.zeros((1, 8, 8, 1))
    variables = shapes(network, *x.shape)
    apply = partial(network.apply, train=True, mutable=["batch_stats"])
    means = str(jax.make_jaxpr(apply, axis_env=[("data", 2)])(variables, x)).count("= psum")
    assert means == len(jax.tree.leaves(variables["batch_stats"])) > 0  # a mean and a variance each


@pytest.mark.parametrize(("upsampling", "even"), [("resize", True), ("transposed", False)])
def test_resizing_leaves_no_checkerboard(upsampling, even):
    """A constant image stays constant, away from the zeros in front of the strided convolutions."""
    network, x = ResNetTranslator(1, 4, 0, "none", upsampling=upsampling), jnp.ones((1, 48, 48, 1))
    variables = random_variables(network, x)
    middle = np.asarray(jax.jit(partial(network.apply, train=False))(variables, x))[
        0, 20:28, 20:28, 0
    ]
    assert abs(middle.mean()) > 1e-3
    assert (middle.std() < 1e-5) == even
    assert even or middle.std() > 1e-4


@pytest.mark.parametrize(("size", "width"), [((5, 7), 3), ((2, 4), 1), ((1, 2), 1), ((3, 2), 4)])
def test_reflection_pad(size, width):
    x = images(2, *size, 3)
    np.testing.assert_array_equal(
        reflection_pad(x, width),
        np.pad(x, ((0, 0), (width, width), (width, width), (0, 0)), mode="reflect"),
    )
