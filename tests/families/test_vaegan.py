"""The VAE/GAN: its losses recomputed, whose gradients reach whom, the gate, codes, sizes, and how much arithmetic a step is."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import flops
from jaxgan import losses, parallel, vaegan
from jaxgan.games import vaegan_losses as terms
from jaxgan.games.stabilisers import Stabilisers
from jaxgan.networks.vaegan import strided_layers
from jaxgan.optim import Optimizer
from tests.contract.helpers import (
    CASES,
    EVERY,
    KEY,
    assert_same_run,
    initial_state,
    make_batch,
    play,
    setting,
    step_with,
)
from tests.games.test_translation import conv_flops, passes

SMALL = setting("vaegan", "sgd")
GATE = setting("vaegan gate", "adam")
EVERYTHING = Stabilisers(
    real_target=0.9, fake_target=0.1, instance_noise=0.1, instance_noise_images=1000, ema_half_life=100, ema_ramp=0.5, spectral_norm=True,
    r1=0.2, r2=0.3, gradient_penalty=0.7, weight_clip=0.5,
)  # fmt: skip
"""All that are supported."""


# ------------------------------------------------------------------------------------------------------------------ the losses


def outputs(config, state, batch, params=None):
    """What the networks return in the first round, in one pass each: mean, log-variance, features and logits of the three batches. Any layer's."""
    nets, draws = (
        vaegan.networks(config),
        vaegan._draw(config, state, KEY, len(batch["image"]), None),
    )
    params = {name: player.params for name, player in state.players.items()} | (params or {})

    def apply(name, *inputs):
        stats = state.players[name].stats
        return getattr(nets, name).apply(
            {"params": params[name], **stats}, *inputs, train=True, mutable=list(stats)
        )[0]

    mean, log_variance = apply("encoder", batch["image"])
    codes = mean + jnp.exp(log_variance / 2) * draws["noise"]
    generated = apply("generator", jnp.concatenate([codes, draws["latents"]]))
    logits, features = apply("discriminator", jnp.concatenate([batch["image"], generated]))
    return mean, log_variance, features[config.feature_layer - 1], logits


def thirds(array) -> list[np.ndarray]:
    return np.split(np.asarray(array, np.float64), 3)


@pytest.mark.parametrize("name", ["vaegan", "vaegan gate"])
def test_losses_of_a_step(name):
    """Every term of the first round by NumPy in float64; in the variant, features of the first layer, and prior samples alone."""
    config = {"vaegan": SMALL, "vaegan gate": GATE}[name]
    state, batch = initial_state(vaegan, config), make_batch(vaegan, config)
    _, metrics = step_with(vaegan, config)(state, batch, KEY)
    mean, log_variance, features, logits = jax.jit(functools.partial(outputs, config))(state, batch)
    m, v = np.asarray(mean, np.float64), np.exp(np.asarray(log_variance, np.float64))
    kl = 0.5 * (m**2 + v - 1 - np.log(v)).sum(axis=1).mean()
    real, reconstructed, _ = thirds(features)
    distance = 0.5 * ((reconstructed - real) ** 2).reshape(len(real), -1).sum(axis=1).mean()
    of_real, *of_fakes = thirds(logits)
    of_fakes = of_fakes[1:] if config.prior_only else of_fakes
    real_cost = np.log1p(np.exp(-of_real)).mean()
    fake_costs = [np.log1p(np.exp(fake)).mean() for fake in of_fakes]
    adversarial = -sum(fake_costs)  # saturating: log(1 - D)
    expected = {
        "kl_loss": kl,
        "reconstruction_loss": distance,
        "e_loss": config.kl_weight * kl + distance,
        "g_adversarial_loss": adversarial,
        "g_loss": config.gamma * distance + adversarial,
        "d_loss": real_cost + np.mean(fake_costs),
        "real_logits": of_real.mean(),
        "fake_logits": np.mean(of_fakes),
    }
    if config.margin:
        expected |= {"real_cost": real_cost, "fake_cost": fake_costs[0]}
    for metric, value in expected.items():
        np.testing.assert_allclose(metrics[metric], value, rtol=1e-4, atol=1e-6, err_msg=metric)
    assert len(of_fakes) == (1 if config.prior_only else 2)


def test_kl_divergence_is_the_integral():
    """One-dimensional posteriors, the definition integrated on a grid; of several dimensions the sum, of several images the mean."""
    mean, variance = np.array([[0.0, 1.5], [-0.7, 0.2]]), np.array([[1.0, 0.3], [2.5, 0.05]])
    x = np.linspace(-12, 12, 240_001)

    def density(m, v):
        return np.exp(-((x - m) ** 2) / (2 * v)) / np.sqrt(2 * np.pi * v)

    def integral(m, v):
        q = density(m, v)
        ratio = -((x - m) ** 2) / (2 * v) - 0.5 * np.log(v) + x**2 / 2
        return (q * ratio).sum() * (x[1] - x[0])

    each = [
        [integral(m, v) for m, v in zip(*rows, strict=True)]
        for rows in zip(mean, variance, strict=True)
    ]
    found = terms.kl_divergence(jnp.float32(mean), jnp.float32(np.log(variance)))
    np.testing.assert_allclose(found, np.sum(each, axis=1).mean(), rtol=1e-5)
    assert each[0][0] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", ["vaegan", pytest.param("vaegan gate", marks=pytest.mark.slow)])
def test_every_player_learns_from_its_own_losses_alone(name):
    """Its step of plain SGD is the gradient of its loss with everything else held: no adversarial term for the encoder, no reconstruction term for the
    discriminator, and none of the encoder's for the generator, though all of them come from one pass.
    """
    config = setting(name, "sgd")
    state, batch = initial_state(vaegan, config), make_batch(vaegan, config)
    after, _ = step_with(vaegan, config, {("margin",): 100.0} if config.margin else None)(
        state, batch, KEY
    )  # so wide that all move

    target = jnp.split(jax.jit(functools.partial(outputs, config))(state, batch)[2], 3)[0]

    def distance(features):
        return 0.5 * jnp.sum((jnp.split(features, 3)[1] - target) ** 2) / len(target)

    def encoder_loss(params):
        mean, log_variance, features, _ = outputs(config, state, batch, {"encoder": params})
        kl = 0.5 * jnp.sum(mean**2 + jnp.exp(log_variance) - 1 - log_variance) / len(mean)
        return config.kl_weight * kl + distance(features)

    def generator_loss(params):
        _, _, features, logits = outputs(config, state, batch, {"generator": params})
        _, reconstructed, prior = jnp.split(logits, 3)
        fakes = [prior] if config.prior_only else [reconstructed, prior]
        return config.gamma * distance(features) - sum(
            jnp.mean(jax.nn.softplus(fake)) for fake in fakes
        )

    def discriminator_loss(params):
        real, reconstructed, prior = jnp.split(
            outputs(config, state, batch, {"discriminator": params})[3], 3
        )
        fakes = [prior] if config.prior_only else [reconstructed, prior]
        return jnp.mean(jax.nn.softplus(-real)) + sum(
            jnp.mean(jax.nn.softplus(fake)) for fake in fakes
        ) / len(fakes)

    for player, loss in (
        ("encoder", encoder_loss),
        ("generator", generator_loss),
        ("discriminator", discriminator_loss),
    ):
        before = state.players[player].params
        expected = jax.jit(jax.grad(loss))(before)
        rate = getattr(config, f"{player}_optimizer").learning_rate
        moved = jax.tree.map(
            lambda new, old, rate=rate: (new - old) / -rate, after.players[player].params, before
        )
        largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
        assert largest > 1e-3
        for (path, ours), theirs in zip(
            jax.tree_util.tree_leaves_with_path(moved), jax.tree.leaves(expected), strict=True
        ):
            # (new - old) / rate has the rounding of parameters of about 1, divided by the rate
            np.testing.assert_allclose(
                ours,
                theirs,
                rtol=0,
                atol=1e-3 * largest + 2.4e-7 / rate,
                err_msg=player + jax.tree_util.keystr(path),
            )


def test_gamma_is_the_generators_and_the_kl_weight_the_encoders():
    """Bit for bit: another gamma moves the generator elsewhere and nobody else, another weight of the KL divergence the encoder."""
    state, batch = initial_state(vaegan, SMALL), make_batch(vaegan, SMALL)
    base, _ = step_with(vaegan, SMALL)(state, batch, KEY)
    for field, value, whose in (("gamma", 1.0, "generator"), ("kl_weight", 3.0, "encoder")):
        other, _ = step_with(vaegan, SMALL, {(field,): value})(state, batch, KEY)
        for name, player in other.players.items():
            same = jax.tree.map(np.array_equal, player.params, base.players[name].params)
            assert all(jax.tree.leaves(same)) == (name != whose), (field, name)


# ------------------------------------------------------------------------------------------------------------------ the gate


@pytest.mark.parametrize(
    ("real", "fake"), list(itertools.product([0.1, 0.32, 0.34, 0.68, 1.02, 1.04, 3.0], repeat=2))
)
def test_the_gate(real, fake):
    """The reference's rule, written as there: either cost below stops the discriminator, either above the generator, and never both."""
    discriminator = generator = True
    if real < 0.68 - 0.35 or fake < 0.68 - 0.35:
        discriminator = False
    if real > 0.68 + 0.35 or fake > 0.68 + 0.35:
        generator = False
    if not discriminator and not generator:
        discriminator = generator = True
    found = terms.gate(vaegan.celeba(), jnp.float32(real), jnp.float32(fake))
    assert {name: bool(moves) for name, moves in found.items()} == {
        "generator": generator,
        "discriminator": discriminator,
    }


def test_the_four_cases_of_the_gate_are_there():
    cases = [(0.7, 0.7), (0.7, 0.1), (1.5, 0.7), (0.1, 1.5)]
    found = [
        tuple(map(bool, terms.gate(vaegan.celeba(), jnp.float32(real), jnp.float32(fake)).values()))
        for real, fake in cases
    ]
    assert found == [(True, True), (True, False), (False, True), (True, True)]


@pytest.mark.parametrize(
    ("equilibrium", "margin", "still"),
    [
        (0.68, 100.0, ()),
        (9.0, 0.3, ("discriminator",)),
        (-9.0, 0.3, ("generator",)),
        (0.68, -9.0, ()),
    ],
    ids=["both move", "discriminator still", "generator still", "both would stand still"],
)
def test_a_player_that_stands_still_keeps_every_bit(equilibrium, margin, still):
    """Parameters, batch statistics and optimiser; the encoder and the other one move, and `extra` and metrics say so."""
    step = step_with(vaegan, GATE, {("equilibrium",): equilibrium, ("margin",): margin})
    before = initial_state(vaegan, GATE)
    state, metrics = step(before, make_batch(vaegan, GATE), KEY)
    for name, player in state.players.items():
        for (path, new), old in zip(
            jax.tree_util.tree_leaves_with_path(player),
            jax.tree.leaves(before.players[name]),
            strict=True,
        ):
            assert np.array_equal(new, old) == (name in still), name + jax.tree_util.keystr(path)
    moved = {name: int(name not in still) for name in ("generator", "discriminator")}
    assert {name: int(count) for name, count in state.extra["moved"].items()} == moved
    assert {name: int(metrics[f"{name}_moved"]) for name in moved} == moved
    state, _ = step(state, make_batch(vaegan, GATE, seed=1), KEY)
    assert {name: int(count) for name, count in state.extra["moved"].items()} == {
        name: 2 * count for name, count in moved.items()
    }


def test_without_a_margin_there_is_no_gate():
    state, metrics = step_with(vaegan, SMALL)(
        initial_state(vaegan, SMALL), make_batch(vaegan, SMALL), KEY
    )
    assert state.extra == {}
    assert not any("moved" in name for name in metrics)


# ------------------------------------------------------------------------------------------------------------------ the stabilisers


@functools.cache
def everything():
    config = dataclasses.replace(SMALL, stabilisers=EVERYTHING, loss="non-saturating")
    return config, play(vaegan, config, step_with(vaegan, config), 2)


@pytest.mark.slow
def test_each_stabiliser_shows_in_the_numbers():
    """The penalties in d_loss with their weights, R1 by the gradient of each image alone, clipped weights, smoothed targets, noise."""
    config, run = everything()
    state, batch = initial_state(vaegan, config), make_batch(vaegan, config)
    changed = functools.partial(step_with, vaegan, config)
    off = {
        ("stabilisers", name): 1e-12 for name in ("instance_noise", "r1", "r2", "gradient_penalty")
    }
    off |= {("stabilisers", "real_target"): 1.0, ("stabilisers", "fake_target"): 0.0}
    _, plain = changed(off)(state, batch, KEY)
    _, only = changed(
        off
        | {
            ("stabilisers", name): getattr(EVERYTHING, name)
            for name in ("r1", "r2", "gradient_penalty")
        }
    )(state, batch, KEY)
    weighted = 0.2 * only["r1"] + 0.3 * only["r2"] + 0.7 * only["gradient_penalty"]
    np.testing.assert_allclose(only["d_loss"] - plain["d_loss"], weighted, rtol=1e-3)
    player = state.players["discriminator"]

    @jax.jit
    @jax.vmap
    @jax.grad
    def slopes(image):
        variables = {"params": player.params, **player.stats}
        (logits, _), _ = vaegan.networks(config).discriminator.apply(
            variables, image[None], train=True, mutable=list(player.stats)
        )
        return logits[0]

    norms = (np.asarray(slopes(batch["image"]), np.float64) ** 2).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(only["r1"], 0.5 * norms.mean(), rtol=1e-3)
    for name in ("real_target", "fake_target", "instance_noise"):
        _, other = changed(off | {("stabilisers", name): getattr(EVERYTHING, name)})(
            state, batch, KEY
        )
        assert other["d_loss"] != plain["d_loss"], name
    for after in run.states[1:]:
        assert max(
            np.abs(leaf).max() for leaf in jax.tree.leaves(after.players["discriminator"].params)
        ) <= np.float32(0.5)


@pytest.mark.slow
def test_everything_at_once_on_eight_devices():
    config, run = everything()
    assert_same_run(play(vaegan, config, parallel.pmap_step(vaegan, config), 2), run)


@pytest.mark.slow
@pytest.mark.parametrize("loss", losses.LOSSES)
def test_every_loss(loss):
    """It trains all three players, and eight devices do as one."""
    config = dataclasses.replace(SMALL, loss=loss)
    run = play(vaegan, config, step_with(vaegan, config), 2)
    assert_same_run(play(vaegan, config, parallel.pmap_step(vaegan, config), 2), run)
    for name, player in run.final.players.items():
        for new, old in zip(
            jax.tree.leaves(player), jax.tree.leaves(run.states[0].players[name]), strict=True
        ):
            assert np.isfinite(new).all()
            assert np.any(new != old) or new.size == 1, (
                name
            )  # the bias of the logits cancels in losses of differences


# ------------------------------------------------------------------------------------------------------------------ codes


def test_codes_and_images():
    """Reconstructions are decoded means, each image is encoded alone, and only the averages are read: the encoder's and the generator's."""
    config = EVERY["vaegan gate"].config
    batch = make_batch(vaegan, config, 8)
    state = initial_state(vaegan, config)
    ema = jax.tree.map(
        lambda leaf: 8 * leaf if leaf.ndim > 1 else leaf, state.ema
    )  # else fresh running statistics let little through
    state = state.replace(players={}, extra={}, ema=ema)
    encode = jax.jit(functools.partial(vaegan.encode, config))
    reconstruct, decode = (
        jax.jit(functools.partial(function, config))
        for function in (vaegan.reconstruct, vaegan.decode)
    )
    mean, log_variance = encode(state, batch["image"])
    assert (mean.shape, log_variance.shape, mean.dtype, log_variance.dtype) == (
        (8, 6),
        (8, 6),
        jnp.float32,
        jnp.float32,
    )
    np.testing.assert_allclose(encode(state, batch["image"][3:4])[0], mean[3:4], rtol=0, atol=1e-5)
    images = reconstruct(state, batch["image"])
    assert (images.shape, images.dtype) == (batch["image"].shape, jnp.float32)
    np.testing.assert_allclose(images, decode(state, mean), rtol=0, atol=1e-5)
    assert np.abs(images[0] - images[1]).max() > 1e-4
    for name in ("encoder", "generator"):
        params = state.ema["params"] | {
            name: jax.tree.map(lambda leaf: 2 * leaf, state.ema["params"][name])
        }
        changed = state.replace(ema=state.ema | {"params": params})
        assert np.abs(reconstruct(changed, batch["image"]) - images).max() > 1e-3
        assert np.array_equal(encode(changed, batch["image"])[0], mean) == (name == "generator")
    keys = jax.vmap(lambda i: jax.random.fold_in(KEY, i))(jnp.arange(3, 7))
    codes = jax.vmap(lambda key: jax.random.normal(key, (6,)))(keys)
    sample = jax.jit(functools.partial(vaegan.sample, config), static_argnums=2)
    np.testing.assert_allclose(
        sample(state, KEY, 4, first=3), decode(state, codes), rtol=0, atol=1e-6
    )


def test_the_preview_shows_images_beside_their_reconstructions():
    config = CASES["vaegan"].config
    state, batch = initial_state(vaegan, config), make_batch(vaegan, config, 10)
    grid = np.asarray(jax.jit(functools.partial(vaegan.preview, config))(state, batch, KEY))
    assert grid.shape == (8, 8, 8, 8, 1)
    np.testing.assert_array_equal(grid[:, 0], batch["image"][:8])
    np.testing.assert_allclose(
        grid[:, 1],
        jax.jit(functools.partial(vaegan.reconstruct, config))(state, batch["image"][:8]),
        rtol=0,
        atol=1e-5,
    )
    samples = jax.jit(functools.partial(vaegan.sample, config), static_argnums=2)(state, KEY, 48)
    np.testing.assert_allclose(grid[:, 2:].reshape(samples.shape), samples, rtol=0, atol=1e-5)


def test_refusals():
    config = CASES["vaegan"].config
    state = initial_state(vaegan, config)
    for images in (
        np.zeros((2, 8, 10, 1), np.float32),
        np.zeros((2, 8, 8, 3), np.float32),
        np.zeros((2, 8, 8, 1), np.uint8),
    ):
        with pytest.raises(ValueError, match=r"images must be floats \[B, 8, 8, 1\]"):
            vaegan.encode(config, state, images)
    with pytest.raises(ValueError, match=r"codes must be \[B, 8\]"):
        vaegan.decode(config, state, np.zeros((2, 7), np.float32))


# ------------------------------------------------------------------------------------------------------------------ settings and sizes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"image_size": (100, 100)},
            r"multiples of 16 and at least 64, got \(100, 100\): change it, or set depth",
        ),
        ({"image_size": (30, 32)}, "multiples of 4 and at least 16"),
        ({"image_size": (20, 32), "depth": 3}, r"multiples of 8 for depth 3, got \(20, 32\)"),
        ({"feature_layer": 4}, "feature_layer must be between 0 and 3"),
        ({"latent_size": 0}, "latent_size"),
        ({"gamma": -1.0}, "gamma"),
        (
            {"margin": 0.3, "loss": "hinge"},
            "margin compares cross-entropies, which the 'hinge' loss does not have",
        ),
        ({"loss": "huge"}, "loss must be one of"),
        ({"loss": "hinge", "stabilisers": Stabilisers(real_target=0.9)}, "no targets to smooth"),
        (
            {"stabilisers": Stabilisers(critic_steps=2)},
            "does not support the stabiliser critic_steps",
        ),
        (
            {"stabilisers": Stabilisers(generator_batch=2)},
            "does not support the stabiliser generator_batch",
        ),
        (
            {"stabilisers": Stabilisers(dequantise=0.1)},
            "does not support the stabiliser dequantise",
        ),
        ({"stabilisers": Stabilisers(pool_size=9)}, "does not support the stabiliser pool_size"),
    ],
)
def test_settings_that_do_not_fit(settings, message):
    with pytest.raises(ValueError, match=message):
        vaegan.Config(**settings)


@pytest.mark.parametrize(
    ("size", "depth"),
    [
        ((64, 64), 3),
        ((32, 32), 3),
        ((28, 28), 2),
        ((16, 16), 2),
        ((128, 128), 4),
        ((256, 256), 5),
        ((48, 64), 3),
        ((16, 40), 2),
    ],
)
def test_depth_follows_the_size(size, depth):
    assert strided_layers(size) == depth
    assert strided_layers(size, 1) == 1


def test_the_networks_have_the_parameters_of_the_code():
    """At 64 x 64, no bias in front of a norm, two numbers for each of its channels: architectures.py, img64x64."""
    params = {
        name: player.params
        for name, player in jax.eval_shape(
            functools.partial(vaegan.init, vaegan.Config()), KEY
        ).players.items()
    }

    def convolutions(*widths):
        return sum(25 * a * b for a, b in itertools.pairwise(widths)) + 2 * sum(widths[1:])

    base = 8 * 8 * 256
    table = {
        "encoder": convolutions(3, 64, 128, 256) + base * 1024 + 2 * 1024 + 2 * (1024 * 128 + 128),
        "generator": 128 * base + 2 * base + convolutions(256, 256, 128, 32) + 25 * 32 * 3 + 3,
        "discriminator": 25 * 3 * 32
        + 32
        + convolutions(32, 128, 256, 256)
        + base * 512
        + 2 * 512
        + 512
        + 1,
    }
    assert {
        name: sum(leaf.size for leaf in jax.tree.leaves(tree)) for name, tree in params.items()
    } == table


def test_the_script_of_the_code():
    """Its rate is of gradients summed over 64 images; RMSProp does not see the factor, but the rate was divided by it."""
    config = vaegan.celeba()
    assert (
        config.gamma,
        config.prior_only,
        config.margin,
        config.equilibrium,
        config.latent_size,
    ) == (1e-6, True, 0.35, 0.68, 128)
    for player in ("encoder", "generator", "discriminator"):
        optimizer = getattr(config, f"{player}_optimizer")
        assert (
            optimizer.name,
            optimizer.decay,
            optimizer.learning_rate * 64,
            optimizer.decay_images,
        ) == ("rmsprop", 0.9, 0.025, 250 * 250 * 64)
    assert vaegan.Config().encoder_optimizer == Optimizer("rmsprop", learning_rate=3e-4, decay=0.9)


# ------------------------------------------------------------------------------------------------------------------ arithmetic


def table(size: int, channels: int, width: int, codes: int) -> int:
    """For one image. The encoder sees it; the generator makes two, and is gone back through for itself and for the encoder; the discriminator sees
    three, and is gone back through for itself, for the distance and for the generator. Depth 2.
    """
    half, quarter = size // 2, size // 4
    base = quarter**2 * 4 * width
    down = [conv_flops(size, 5, channels, width, 2, 2), conv_flops(half, 5, width, 2 * width, 2, 2)]
    encoder = [*down, 2 * quarter**2 * 2 * width * 16 * width, 2 * 2 * 16 * width * codes]
    up = [
        conv_flops(half, 5, 2 * width, 4 * width, 2, 2),
        conv_flops(size, 5, width // 2, 2 * width, 2, 2),
    ]
    generator = [2 * codes * base, *up, conv_flops(size, 5, width // 2, channels, 1, 2)]
    strided = [
        conv_flops(size, 5, width // 2, 2 * width, 2, 2),
        conv_flops(half, 5, 2 * width, 4 * width, 2, 2),
    ]
    discriminator = [
        conv_flops(size, 5, channels, width // 2, 1, 2),
        *strided,
        2 * base * 8 * width,
        2 * 8 * width,
    ]
    encoded, generated = (
        passes(encoder, forward=1, learnt=1),
        2 * passes(generator, forward=1, learnt=1, through=1),
    )
    return encoded + generated + 3 * passes(discriminator, forward=1, learnt=1, through=2)


ARITHMETIC = vaegan.Config(
    (32, 32), latent_size=16, depth=2, encoder_width=8, generator_width=8, discriminator_width=8
)


def counted(config, batch_size: int) -> int:
    state = jax.eval_shape(functools.partial(vaegan.init, config), KEY)
    return flops.count(
        functools.partial(vaegan.train_step, config),
        state,
        vaegan.batch_spec(config, batch_size),
        KEY,
    )


def test_arithmetic_of_a_step():
    """Convolutions and matrix products in the step's jaxpr, against a table of passes written by hand: nothing is computed twice, penalties off are free."""
    np.testing.assert_allclose(counted(ARITHMETIC, 2), 2 * table(32, 3, 8, 16), rtol=0.01)


def test_one_more_forward_pass_is_seen(monkeypatch):
    judge = vaegan._judge

    def wasteful(round, nets, discriminator, real, generated, changes):
        (features, logits), pull_back, stats = judge(
            round, nets, discriminator, real, generated, changes
        )
        (_, again), _, _ = judge(round, nets, discriminator, real, generated + 1, changes)
        return (features, logits + 0 * again), pull_back, stats

    monkeypatch.setattr(vaegan, "_judge", wasteful)
    assert counted(ARITHMETIC, 2) > 1.03 * 2 * table(32, 3, 8, 16)
