"""SPADE: its norm and losses recomputed, what the networks see of a layout, styles, translating, what settings do, and the perceptual loss's weights."""

from __future__ import annotations

import dataclasses
import functools
import hashlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import parallel, spade
from jaxgan.errors import DataError
from jaxgan.games import layouts, spade_losses
from jaxgan.games.round import Round
from jaxgan.games.stabilisers import Stabilisers
from jaxgan.networks.spade import MultiscaleDiscriminator, SPADEGenerator, StyleEncoder
from jaxgan.networks.spade_block import SPADE, hidden_maps
from jaxgan.nn.convolution import Symbols
from jaxgan.nn.resample import overlapping_average_pool, upsample_nearest
from jaxgan.optim import Optimizer
from jaxgan.perceptual import vgg_weights
from jaxgan.perceptual.vgg import STAGES, WIDTHS, VGGFeatures
from tests.contract.helpers import (
    CASES,
    KEY,
    assert_same_run,
    initial_state,
    make_batch,
    play,
    setting,
    step_with,
    with_optimizers,
)

CONFIG = CASES["spade"].config
STYLES = dataclasses.replace(
    CONFIG,
    unknown=False,
    instance_edges=True,
    encoder=True,
    style_size=6,
    encoder_layers=1,
    stabilisers=Stabilisers(),
)
EVERYTHING = Stabilisers(
    instance_noise=0.1,
    instance_noise_images=1000,
    ema_half_life=100,
    ema_ramp=0.5,
    r1=0.2,
    r2=0.3,
    gradient_penalty=0.7,
    weight_clip=0.5,
)
"""All that do not exclude others."""


# ------------------------------------------------------------------------------------------------------------------ networks


def conv3(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """A 3x3 convolution with zeros around, tap by tap, in float64."""
    _, height, width, _ = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return sum(
        padded[:, u : u + height, v : v + width] @ kernel[u, v] for u in range(3) for v in range(3)
    )


class Alone(nn.Module):
    """One SPADE with its first layer."""

    hidden: int
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, layout, train):
        norm = SPADE(self.hidden, axis_name=self.axis_name, name="alone")
        (maps,) = hidden_maps([norm], layout, x.shape[1:3])
        return norm(x, maps, train)


def test_norm_by_hand():
    """Batch statistics, then gain and bias of every pixel from the layout's nearest one; and running statistics after."""
    random = np.random.default_rng(0)
    x, layout = (
        random.normal(3, 2, (4, 3, 2, 5)).astype(np.float32),
        random.normal(0, 1, (4, 12, 4, 3)).astype(np.float32),
    )
    norm = Alone(hidden=6)
    variables = norm.init(KEY, x, layout, False)
    variables = {
        **variables,
        "params": jax.tree.map(
            lambda leaf: jnp.asarray(random.normal(0, 0.5, leaf.shape), jnp.float32),
            variables["params"],
        ),
    }
    ours, stats = jax.jit(lambda v: norm.apply(v, x, layout, True, mutable=["batch_stats"]))(
        variables
    )

    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"]["alone"])
    seen = layout[:, [0, 4, 8]][:, :, [0, 2]].astype(np.float64)
    shared = np.maximum(conv3(seen, params["shared"]["kernel"]) + params["shared"]["bias"], 0)
    gamma, beta = (
        conv3(shared, params[name]["kernel"]) + params[name]["bias"] for name in ("gamma", "beta")
    )
    mean, var = x.astype(np.float64).mean((0, 1, 2)), x.astype(np.float64).var((0, 1, 2))
    expected = (x - mean) / np.sqrt(var + 1e-5) * (1 + gamma) + beta
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    np.testing.assert_allclose(stats["batch_stats"]["alone"]["norm"]["mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(
        stats["batch_stats"]["alone"]["norm"]["var"], 0.9 + 0.1 * var * 24 / 23, rtol=1e-5
    )


def test_a_mixture_after_the_norm():
    """What a 1x1 convolution makes of a norm's result, with beta mixed in its kernel."""
    random = np.random.default_rng(0)
    x, maps, mix = (
        jnp.asarray(random.normal(size=shape), jnp.float32)
        for shape in ((2, 4, 3, 5), (2, 4, 3, 6), (5, 3))
    )
    norm = SPADE(6)
    variables = jax.tree.map(
        lambda leaf: leaf + 0.1 * random.normal(size=leaf.shape).astype(np.float32),
        norm.init(KEY, x, maps, False),
    )

    def made(variables, mix, within):
        y, _ = norm.apply(
            variables, x, maps, True, mix if within else None, mutable=["batch_stats"]
        )
        return y if within else y @ mix

    np.testing.assert_allclose(
        made(variables, mix, True), made(variables, mix, False), rtol=0, atol=1e-5
    )
    slopes = [
        jax.grad(lambda *given, within=within: jnp.sum(jnp.sin(made(*given, within))), (0, 1))(
            variables, mix
        )
        for within in (True, False)
    ]
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(
            one, other, rtol=0, atol=1e-5 * max(1, np.abs(other).max())
        ),
        *slopes,
    )


def test_doubled_behind_the_norm():
    """With maps twice as large: as of the doubled features, and so are slopes and running statistics."""
    random = np.random.default_rng(0)
    x, maps = (
        jnp.asarray(random.normal(2, 3, shape), jnp.float32)
        for shape in ((2, 3, 4, 5), (2, 6, 8, 6))
    )
    norm = SPADE(6)
    variables = jax.tree.map(
        lambda leaf: leaf + 0.1 * random.normal(size=leaf.shape).astype(np.float32),
        norm.init(KEY, x, maps, False),
    )

    def made(x, maps, before):
        return norm.apply(
            variables, upsample_nearest(x) if before else x, maps, True, mutable=["batch_stats"]
        )

    slopes = [
        jax.grad(lambda *given, before=before: jnp.sum(jnp.sin(made(*given, before)[0])), (0, 1))(
            x, maps
        )
        for before in (False, True)
    ]
    for late, early in ((made(x, maps, False), made(x, maps, True)), slopes):
        jax.tree.map(
            lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5),
            late,
            early,
        )


def test_batch_norm_is_that_of_all_devices():
    x, layout = (
        np.random.default_rng(0).normal(1, 2, (8, 2, 2, 3)).astype(np.float32),
        np.ones((8, 4, 4, 2), np.float32),
    )
    variables = Alone(hidden=4).init(KEY, x, layout, False)

    def run(axis_name):
        return lambda x, layout: Alone(hidden=4, axis_name=axis_name).apply(
            variables, x, layout, True, mutable=["batch_stats"]
        )

    whole, stats = run(None)(x, layout)
    parts, part_stats = jax.vmap(run("data"), axis_name="data")(
        x.reshape(4, 2, 2, 2, 3), layout.reshape(4, 2, 4, 4, 2)
    )
    np.testing.assert_allclose(parts.reshape(x.shape), whole, rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        part_stats["batch_stats"]["alone"]["norm"]["mean"][2],
        stats["batch_stats"]["alone"]["norm"]["mean"],
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("upsampling", "blocks", "multiple"),
    [("normal", 4, 32), ("more", 4, 64), ("most", 4, 128), ("most", 1, 16)],
)
def test_up_steps(upsampling, blocks, multiple):
    """Sizes of the reference's three settings, not square; every block but the last ones takes its place in the sequence of widths."""
    network = SPADEGenerator(2, 4, blocks, upsampling)
    assert network.multiple == multiple
    layout = jax.ShapeDtypeStruct((1, multiple, 2 * multiple, 3), jnp.float32)
    images, variables = jax.eval_shape(
        lambda x: network.init_with_output(KEY, x, train=False), layout
    )
    assert images.shape == (1, multiple, 2 * multiple, 2)
    widths = {
        name: leaf["conv1"]["kernel"].shape[-1]
        for name, leaf in variables["params"].items()
        if "conv1" in leaf
    }
    expected = {
        "head": 4 << blocks,
        "middle0": 4 << blocks,
        "middle1": 4 << blocks,
        **{f"up{i}": 4 << (blocks - 1 - i) for i in range(blocks)},
    }
    assert widths == expected | ({f"up{blocks}": 2} if upsampling == "most" else {})
    with pytest.raises(
        ValueError, match=f"multiples of {multiple}, got {multiple // 2} x {multiple}"
    ):
        jax.eval_shape(
            lambda x: network.init(KEY, x, train=False),
            jax.ShapeDtypeStruct((1, multiple // 2, multiple, 3), jnp.float32),
        )


def critic_of(config, layout):
    round = Round(config, {}, jnp.int32(0), None)
    return spade_losses.LayoutCritic(spade._networks(config)[1], round, layout)


@pytest.mark.slow
def test_no_constant_in_front_of_a_norm():
    """With batch statistics, biases of the reference that we leave out would change nothing: those there are all have a gradient."""
    config = dataclasses.replace(CONFIG, stabilisers=Stabilisers())
    state, batch = initial_state(spade, config), make_batch(spade, config, 4)
    layout = layouts.told(config, jnp.asarray(batch["layout"]))
    critic = critic_of(config, layout)

    def loss(params):
        stats = state.players["generator"].stats
        fake, _, _ = spade._generate(critic, params, stats, batch["image"], None)
        return jnp.mean(fake * batch["image"]) + jnp.mean(fake)

    gradient = jax.jit(jax.grad(loss))(state.players["generator"].params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.abs(leaf).max() > 1e-6, jax.tree_util.keystr(path)


@pytest.mark.parametrize("size", [(1, 2), (4, 5), (7, 6)])
def test_overlapping_average_pool(size):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    ours = np.asarray(overlapping_average_pool(x))
    assert ours.shape == (2, (size[0] + 1) // 2, (size[1] + 1) // 2, 3)
    for i in range(ours.shape[1]):
        for j in range(ours.shape[2]):
            square = x[:, max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 2]
            np.testing.assert_allclose(ours[:, i, j], square.mean((1, 2)), rtol=1e-5, atol=1e-6)


def test_scales_of_the_discriminator():
    """The second critic sees the halved images; the first and the last convolution have a bias and no spectral norm."""
    network, x = (
        MultiscaleDiscriminator(4, 2, 2),
        np.random.default_rng(0).normal(size=(2, 16, 12, 3)).astype(np.float32),
    )
    variables = network.init(KEY, x, train=False)
    assert set(variables["spectral"]["scale0"]) == {"conv1", "conv2"}
    assert {name for name, leaf in variables["params"]["scale0"].items() if "bias" in leaf} == {
        "conv0",
        "output",
    }
    (logits, maps), (small_logits, small_maps) = network.apply(variables, x, train=False)
    assert [leaf.shape[1:] for leaf in maps] == [(9, 7, 4), (5, 4, 8), (6, 5, 16)]
    assert (logits.shape, small_logits.shape) == ((2, 7, 6), (2, 5, 5))
    one = MultiscaleDiscriminator(4, 2, 1)
    second = {collection: {"scale0": leaf["scale1"]} for collection, leaf in variables.items()}
    ((expected, expected_maps),) = one.apply(second, overlapping_average_pool(x), train=False)
    np.testing.assert_allclose(small_logits, expected, rtol=1e-5, atol=1e-6)
    assert len(small_maps) == len(expected_maps) == 3


def test_layouts_beside_images_or_apart():
    """The discriminator's judgements, and their slopes in parameters and images, with planes in every image or apart, for two images each in turn."""
    random = np.random.default_rng(0)
    symbols = Symbols(jnp.asarray(random.integers(0, 4, (3, 16, 11)), jnp.int32), jnp.eye(4))
    layout, images = (
        symbols.vectors[symbols.numbers],
        jnp.asarray(random.normal(size=(6, 16, 11, 3)), jnp.float32),
    )
    network, beside = (
        MultiscaleDiscriminator(4, 2, 2),
        lambda x: jnp.concatenate([jnp.repeat(layout, 2, axis=0), x], -1),
    )
    variables = network.init(KEY, beside(images), train=False)

    def slopes(judge):
        weighted = lambda v, x: sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(judge(v, x)))  # noqa: E731
        return jax.jit(judge)(variables, images), jax.jit(jax.grad(weighted, (0, 1)))(
            variables, images
        )

    whole = slopes(lambda v, x: network.apply(v, beside(x), train=False))
    for given in (None, symbols):
        apart = slopes(
            lambda v, x, given=given: network.apply(v, x, layout=layout, symbols=given, train=False)
        )
        jax.tree.map(
            lambda one, other: np.testing.assert_allclose(
                one, other, rtol=0, atol=2e-5 * max(1, np.abs(other).max())
            ),
            apart,
            whole,
        )


def test_encoder_takes_any_size():
    """What is of its own size is not resized; a constant image resized is the same constant image."""
    network = StyleEncoder(5, 4, 2)
    image = np.broadcast_to(np.array([0.2, -0.4, 0.9], np.float32), (1, 16, 16, 3))
    variables = network.init(KEY, image, train=False)
    mean, log_variance = network.apply(variables, image, train=False)
    again, _ = network.apply(variables, image[:, :5, :9], train=False)
    assert (mean.shape, log_variance.shape) == ((1, 5), (1, 5))
    np.testing.assert_allclose(again, mean, rtol=0, atol=1e-5)


# ------------------------------------------------------------------------------------------------------------------- layouts


def test_edges_by_hand():
    """Both sides of a border, left and right, above and below; not across corners."""
    instance = jnp.array([[[1, 1, 2], [1, 1, 2], [3, 1, 1]]])
    np.testing.assert_array_equal(layouts.edges(instance)[0], [[0, 1, 1], [1, 1, 1], [1, 1, 1]])
    np.testing.assert_array_equal(
        layouts.edges(jnp.zeros((2, 3, 4), jnp.int32)), np.zeros((2, 3, 4))
    )


def test_planes():
    config = dataclasses.replace(CONFIG, classes=3, unknown=True, instance_edges=True)
    layout, instance = jnp.array([[[0, 2], [3, 7]]]), jnp.array([[[5, 5], [5, 6]]])
    expected = [[[1, 0, 0, 0, 0], [0, 0, 1, 0, 1]], [[0, 0, 0, 1, 1], [0, 0, 0, 0, 1]]]
    np.testing.assert_array_equal(layouts.encoded(config, layout, instance)[0], expected)
    assert layouts.planes(config) == 5
    without = dataclasses.replace(config, unknown=False, instance_edges=False)
    np.testing.assert_array_equal(
        layouts.encoded(without, layout)[0, 1], np.zeros((2, 3))
    )  # the unknown pixel, and one of no class
    for given, *arrays in ((config, layout, instance), (without, layout), (without, -layout)):
        symbols = layouts.symbols(given, *arrays)
        np.testing.assert_array_equal(
            symbols.vectors[symbols.numbers], layouts.encoded(given, *arrays)
        )
    with pytest.raises(ValueError, match="instances are needed"):
        layouts.encoded(config, layout)
    with pytest.raises(ValueError, match="instances are not used"):
        layouts.encoded(without, layout, instance)
    with pytest.raises(ValueError, match="layouts must be whole numbers"):
        layouts.encoded(without, layout.astype(jnp.float32))


def test_colours():
    """Those of PASCAL VOC; all different; unknown is white."""
    colours = np.round((layouts.palette(256) + 1) * 127.5).astype(int)
    assert colours[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert len(np.unique(colours, axis=0)) == 256
    assert not (colours == 255).all(axis=1).any()
    for channels, white in ((1, [1]), (2, [1, 1]), (4, [1, 1, 1, 1])):
        shown = layouts.coloured(
            dataclasses.replace(CONFIG, channels=channels), jnp.array([[[0, 1, 4]]])
        )
        assert shown.shape == (1, 1, 3, channels)
        assert shown[0, 0, 2].tolist() == white
        assert np.abs(shown[0, 0, 0] - shown[0, 0, 1]).max() > 0.1


# -------------------------------------------------------------------------------------------------------------------- losses


def test_divergence():
    """Closed form, and a Monte-Carlo estimate of E[log q - log p]."""
    mean, log_variance = (
        np.array([[0.0, 0.0], [1.0, -2.0]]),
        np.array([[0.0, 0.0], [np.log(4.0), 0.0]]),
    )
    ours = spade_losses.kl_divergence(mean, log_variance)
    np.testing.assert_allclose(ours, [0.0, 0.5 * (4 + 1 - 1 - np.log(4.0)) + 2.0], rtol=1e-6)
    scale, z = np.exp(0.5 * log_variance[1]), np.random.default_rng(0).normal(size=(400_000, 2))
    x = mean[1] + scale * z
    estimate = (-0.5 * z**2 - np.log(scale) + 0.5 * x**2).sum(axis=1)
    np.testing.assert_allclose(
        ours[1], estimate.mean(), rtol=0, atol=6 * estimate.std() / np.sqrt(len(z))
    )


def test_feature_matching():
    """A sum over layers, a mean over scales and elements, without the logits; the real images' maps are fixed."""
    random = np.random.default_rng(0)

    def judgements():
        return [
            (
                jnp.ones((2, 1, 1)),
                [
                    jnp.asarray(random.normal(size=shape), jnp.float32)
                    for shape in ((2, 4, 4, 3), (2, 2, 2, 5))
                ],
            )
            for _ in range(2)
        ]

    fake, real = judgements(), judgements()
    scales = zip(fake, real, strict=True)
    expected = np.mean(
        [
            sum(np.abs(np.asarray(x) - np.asarray(y)).mean() for x, y in zip(f, r, strict=True))
            for (_, f), (_, r) in scales
        ]
    )
    np.testing.assert_allclose(spade_losses.feature_matching(fake, real), expected, rtol=1e-5)
    of_fake, of_real = jax.grad(spade_losses.feature_matching, (0, 1))(fake, real)
    assert all(np.abs(leaf).max() > 0 for _, maps in of_fake for leaf in maps)
    assert not any(np.abs(leaf).max() for leaf in jax.tree.leaves(of_real))


def test_losses_of_a_step():
    """Every term of the first step, from the networks in training: hinge over both scales, features, divergence, in the reference's order."""
    config = with_optimizers(STYLES, Optimizer("sgd", learning_rate=0.002))
    state, batch = initial_state(spade, config), make_batch(spade, config, 4)
    draws = spade._draw(config, state, KEY, 4, None)
    after, metrics = jax.jit(functools.partial(spade._round, config, axis_name=None))(
        state, batch, draws
    )
    layout = layouts.told(config, jnp.asarray(batch["layout"]), jnp.asarray(batch["instance"]))
    generator, d, (_, network, _) = (
        state.players["generator"],
        state.players["discriminator"],
        spade._networks(config),
    )
    generate = jax.jit(
        lambda params, stats, noise: spade._generate(
            critic_of(config, layout), params, stats, batch["image"], noise
        )
    )

    def judged(stats, fake):
        """Real and generated images apart: no norm of the discriminator mixes them."""

        def one(images):
            own = {"params": d.params["d"], "spectral": stats}
            return network.apply(
                own, jnp.concatenate([layout.planes, images], -1), train=True, mutable=["spectral"]
            )

        (of_real, new), (of_fake, _) = one(batch["image"]), one(fake)
        return of_real, of_fake, new["spectral"]

    judged = jax.jit(judged)
    fake, (mean, log_variance), g_stats = generate(
        generator.params, generator.stats, draws["style"]
    )
    of_real, of_fake, d_stats = judged(d.stats["spectral"]["d"], fake)
    adversarial = -np.mean([np.mean(logits) for logits, _ in of_fake])
    features = np.mean(
        [
            sum(np.abs(x - y).mean() for x, y in zip(f, r, strict=True))
            for (_, f), (_, r) in zip(of_fake, of_real, strict=True)
        ]
    )
    divergence = np.mean(-0.5 * np.sum(1 + log_variance - mean**2 - np.exp(log_variance), axis=1))
    for name, expected in {
        "g_adversarial_loss": adversarial,
        "feature_matching_loss": features,
        "kl_loss": divergence,
    }.items():
        np.testing.assert_allclose(metrics[name], expected, rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(
        metrics["g_loss"], adversarial + 10 * features + 0.05 * 4 * divergence, rtol=1e-4
    )

    shown, _, _ = generate(after.players["generator"].params, g_stats, draws["shown_style"])
    of_real, of_fake, _ = judged(d_stats, shown)
    hinge = np.mean(
        [
            np.maximum(1 - r, 0).mean() + np.maximum(1 + f, 0).mean()
            for (r, _), (f, _) in zip(of_real, of_fake, strict=True)
        ]
    )
    np.testing.assert_allclose(metrics["d_loss"], hinge, rtol=1e-4)


def everything(loss: str = "relativistic-average"):
    config = dataclasses.replace(setting("spade", "sgd"), stabilisers=EVERYTHING, loss=loss)
    return config, play(spade, config, step_with(spade, config), 2)


@pytest.mark.slow
def test_everything_at_once_on_eight_devices():
    config, run = everything()
    assert_same_run(play(spade, config, parallel.pmap_step(spade, config), 2), run)


@pytest.mark.slow
def test_each_stabiliser_shows_in_the_numbers():
    config, run = everything()
    assert {"r1", "r2", "gradient_penalty"} <= set(run.metrics)
    for state in run.states[1:]:
        assert max(
            np.abs(leaf).max() for leaf in jax.tree.leaves(state.players["discriminator"].params)
        ) <= np.float32(0.5)
    for field in ("instance_noise", "gradient_penalty", "r1", "r2"):
        changed = play(spade, config, step_with(spade, config, {("stabilisers", field): 0.01}), 1)
        assert changed.metrics["d_loss"][0] != run.metrics["d_loss"][0], field


# --------------------------------------------------------------------------------------------------------------- translating


def test_any_size_is_padded_by_its_border_and_cut_back():
    state, network = initial_state(spade, CONFIG), spade._networks(CONFIG)[0]
    layout = np.random.default_rng(0).integers(0, 5, (2, 9, 14), np.int32)
    padded = np.pad(layout, ((0, 0), (0, 3), (0, 2)), "edge")
    variables = {
        "params": state.ema["params"]["g"],
        "batch_stats": state.ema["batch_stats"]["g"],
        "spectral": state.ema["spectral"]["g"],
    }
    expected = jax.jit(
        lambda: network.apply(variables, layouts.encoded(CONFIG, padded), train=False)
    )()[:, :9, :14]
    np.testing.assert_allclose(
        jax.jit(functools.partial(spade.translate, CONFIG, state))(layout),
        expected,
        rtol=0,
        atol=1e-5,
    )


@pytest.mark.slow
def test_styles():
    """Given, drawn by key and place, or that of an image; each style another image."""
    state, batch = initial_state(spade, STYLES), make_batch(spade, STYLES, 3)
    run = functools.partial(
        spade.translate, STYLES, state, batch["layout"], instances=batch["instance"]
    )
    encode = jax.jit(functools.partial(spade.encode_style, STYLES, state))
    mean, drawn = encode(batch["image"]), encode(batch["image"], key=KEY)
    assert mean.shape == (3, 6)
    assert np.abs(drawn - mean).min() > 0
    np.testing.assert_allclose(
        spade.encode_style(STYLES, state, batch["image"][1:], key=KEY, first=1),
        drawn[1:],
        rtol=0,
        atol=1e-5,
    )
    encoder = {collection: state.ema[collection]["e"] for collection in ("params", "spectral")}
    _, log_variance = jax.jit(
        lambda: spade._networks(STYLES)[2].apply(encoder, batch["image"], train=False)
    )()
    normal = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(KEY, i), (6,)))(jnp.arange(3))
    np.testing.assert_allclose(drawn, mean + np.exp(0.5 * log_variance) * normal, rtol=0, atol=1e-5)
    in_style = jax.jit(lambda style: run(style=style))
    made = in_style(normal)
    np.testing.assert_allclose(jax.jit(lambda key: run(key=key))(KEY), made, rtol=0, atol=1e-6)
    other = in_style(jnp.broadcast_to(normal[0], (3, 6)))
    np.testing.assert_allclose(other[0], made[0], rtol=0, atol=1e-6)
    assert np.abs(other[1:] - made[1:]).max() > 1e-3
    assert jax.eval_shape(lambda style: run(style=style), normal[0]).shape == made.shape


def test_the_preview_shows_the_layout_the_images_and_the_truth():
    state, batch = initial_state(spade, STYLES), make_batch(spade, STYLES, 3)
    grid = np.asarray(jax.jit(functools.partial(spade.preview, STYLES))(state, batch, KEY))
    made = jax.jit(
        functools.partial(
            spade.translate, STYLES, state, batch["layout"], instances=batch["instance"]
        )
    )
    own = jax.jit(functools.partial(spade.encode_style, STYLES, state))(batch["image"])
    expected = [
        layouts.coloured(STYLES, batch["layout"]),
        made(style=own),
        made(key=KEY),
        batch["image"],
    ]
    np.testing.assert_allclose(grid, np.stack(expected, axis=1), rtol=0, atol=1e-5)


def test_refusals():
    state, layout = (
        jax.eval_shape(functools.partial(spade.init, CONFIG), KEY),
        np.zeros((2, 8, 8), np.int32),
    )
    with pytest.raises(ValueError, match="trained with encoder=True"):
        spade.translate(CONFIG, state, layout, style=np.zeros((2, 6)))
    with pytest.raises(ValueError, match="trained with encoder=True"):
        spade.encode_style(CONFIG, state, np.zeros((2, 8, 8, 3)))
    with pytest.raises(
        ValueError, match=r"layouts must be whole numbers \[B, H, W\], got int32 of shape \(8, 8\)"
    ):
        spade.translate(CONFIG, state, layout[0])
    state, layout = (
        jax.eval_shape(functools.partial(spade.init, STYLES), KEY),
        np.zeros((2, 8, 8), np.int32),
    )
    with pytest.raises(
        ValueError, match=r"style must be \[2, 6\], or \[6\] for all, got shape \(5,\)"
    ):
        spade.translate(STYLES, state, layout, instances=layout, style=jnp.zeros(5))
    with pytest.raises(ValueError, match="made for images of 8 x 8, got 8 x 4"):
        spade.translate(STYLES, state, layout[:, :, :4], instances=layout[:, :, :4])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"image_size": (100, 128)},
            r"multiples of 32 with these up-steps, got \(100, 128\): choose other sides",
        ),
        (
            {"image_size": (16, 16)},
            r"multiples of 32 with these up-steps, got \(16, 16\): lower up_blocks",
        ),
        ({"classes": 0}, "classes must be at least 1"),
        ({"upsampling": "much"}, "upsampling must be one of"),
        ({"upsampling": "most", "generator_width": 1}, "must be at least 2"),
        ({"features": "vgg19"}, "needs features_path"),
        ({"features": "vgg19", "channels": 4}, "1 or 3 channels"),
        ({"features": "alexnet"}, "features must be one of"),
        (
            {"stabilisers": Stabilisers(critic_steps=2)},
            "does not support the stabiliser critic_steps",
        ),
        ({"stabilisers": Stabilisers(pool_size=2)}, "does not support the stabiliser pool_size"),
        ({"stabilisers": Stabilisers(spectral_norm=True)}, "spectral norm anyway"),
        ({"stabilisers": Stabilisers(real_target=0.9)}, "no targets to smooth"),
        ({"kl_weight": -1.0}, "kl_weight"),
    ],
)
def test_settings_that_do_not_fit(settings, message):
    with pytest.raises(ValueError, match=message):
        spade.Config(**settings)


# ---------------------------------------------------------------------------------------------------------- perceptual loss


def vgg_arrays(kind: str) -> dict[str, np.ndarray]:
    """A state dict as torchvision's, with small random weights, and a classifier that nothing reads."""
    random, arrays, number, inputs = np.random.default_rng(0), {}, 0, 3
    for count, width in zip(
        {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}[kind], WIDTHS, strict=True
    ):
        for _ in range(count):
            arrays[f"features.{number}.weight"] = random.normal(
                0, (2 / (9 * inputs)) ** 0.5, (width, inputs, 3, 3)
            ).astype(np.float32)
            arrays[f"features.{number}.bias"] = random.normal(0, 0.1, width).astype(np.float32)
            number, inputs = number + 2, width
        number += 1
    return arrays | {"classifier.0.weight": np.zeros((2, 2), np.float32)}


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory):
    """(path, SHA-256) of a file of VGG16's weights."""
    path = tmp_path_factory.mktemp("vgg") / "vgg16.npz"
    np.savez(path, **vgg_arrays("vgg16"))
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def test_weights_by_checksum(vgg_file, tmp_path):
    path, checksum = vgg_file
    params = vgg_weights.read("vgg16", path, checksum[:12].upper())
    shapes = jax.eval_shape(
        lambda: VGGFeatures("vgg16").init(KEY, jnp.zeros((1, 16, 16, 3)))["params"]
    )
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
    np.testing.assert_array_equal(
        params["conv2_1"]["kernel"], vgg_arrays("vgg16")["features.12.weight"].transpose(2, 3, 1, 0)
    )
    with pytest.raises(
        DataError,
        match=f"is not the expected file of vgg16: its SHA-256 begins {checksum[:16]}, not 397923af",
    ):
        vgg_weights.read("vgg16", path)
    with pytest.raises(DataError, match=r"features\.14 in .* has|has no features"):
        vgg_weights.read("vgg19", path, checksum)
    with pytest.raises(DataError, match="never downloaded"):
        vgg_weights.read("vgg19", tmp_path / "absent.pth")


@pytest.mark.slow
def test_features_against_torch():
    """The first maps of VGG19's five stages, side by side, on an odd size."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    arrays, image = (
        vgg_arrays("vgg19"),
        np.random.default_rng(1).uniform(-1, 1, (1, 3, 35, 18)).astype(np.float32),
    )
    x, expected, number = torch.from_numpy(image), [], 0
    for stage, count in enumerate(STAGES["vgg19"]):
        x = torch.nn.functional.max_pool2d(x, 2) if stage else x
        for i in range(count):
            weight, bias = (
                torch.from_numpy(arrays[f"features.{number}.{name}"]) for name in ("weight", "bias")
            )
            x = torch.relu(torch.nn.functional.conv2d(x, weight, bias, padding=1))
            expected += [x.numpy().transpose(0, 2, 3, 1)] if i == 0 else []
            number += 2
        number += 1
    params = {
        f"conv{stage}_{i}": {
            "kernel": arrays[f"features.{n}.weight"].transpose(2, 3, 1, 0),
            "bias": arrays[f"features.{n}.bias"],
        }
        for (stage, i), (n, _) in vgg_weights._convolutions(STAGES["vgg19"]).items()
    }
    maps = jax.jit(lambda x: VGGFeatures("vgg19").apply({"params": params}, x))(
        image.transpose(0, 2, 3, 1)
    )
    assert [leaf.shape for leaf in maps] == [leaf.shape for leaf in expected]
    for ours, theirs in zip(maps, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-4 * np.abs(theirs).max())


@pytest.mark.slow
def test_perceptual_loss(vgg_file):
    """Weighted L1 distances; gradients reach the generated images alone; grey is repeated; init reads the file and keeps it in the state, untrained."""
    path, checksum = vgg_file
    params = vgg_weights.read("vgg16", path, checksum)
    fake, real = np.random.default_rng(0).uniform(-1, 1, (2, 2, 16, 16, 1)).astype(np.float32)
    network = jax.jit(functools.partial(VGGFeatures("vgg16").apply, {"params": params}))
    pairs = zip(*(network(np.repeat(x, 3, -1)) for x in (fake, real)), strict=True)
    expected = sum(
        weight * np.abs(x - y).mean()
        for weight, (x, y) in zip((1 / 32, 1 / 16, 1 / 8, 1 / 4, 1), pairs, strict=True)
    )
    value, gradients = jax.jit(
        jax.value_and_grad(functools.partial(spade_losses.perceptual, "vgg16"), (0, 1, 2))
    )(params, fake, real)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    assert np.abs(gradients[1]).max() > 0
    assert not any(np.abs(leaf).max() for leaf in jax.tree.leaves((gradients[0], gradients[2])))

    config = dataclasses.replace(
        CONFIG,
        image_size=(16, 16),
        features="vgg16",
        features_path=str(path),
        features_checksum=checksum,
    )
    state = jax.jit(spade.init, static_argnums=0)(config, KEY)
    jax.tree.map(np.testing.assert_array_equal, state.extra["features"], params)
    absent = dataclasses.replace(config, features_path="absent.pth")
    assert jax.eval_shape(functools.partial(spade.init, absent), KEY).extra.keys() == {
        "features"
    }  # restoring a run needs no file
    after, metrics = jax.eval_shape(
        functools.partial(spade.train_step, config), state, spade.batch_spec(config, 2), KEY
    )
    assert "perceptual_loss" in metrics
    assert jax.tree.structure(after) == jax.tree.structure(state)
