"""StyleGAN: lazy regularisation by hand, the penalties and the mean of w recomputed, style mixing, truncation, labels, recipes, settings refused."""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import optim, stylegan
from jaxgan.games import lazy, styles
from jaxgan.games.round import Round
from jaxgan.games.stabilisers import Stabilisers
from jaxgan.optim import Optimizer
from jaxgan.state import Player, State
from jaxgan.update import example_streams
from tests.contract.helpers import EVERY, KEY, initial_state, make_batch, setting, step_with

LABELS = EVERY["stylegan labels"].config

# -------------------------------------------------------------------------------------------------------- lazy regularisation


def test_corrected_optimizer():
    adam = Optimizer(learning_rate=0.002, beta1=0.0, beta2=0.99, min_learning_rate=0.001)
    c = 16 / 17
    assert lazy.corrected(adam, 16) == dataclasses.replace(
        adam, learning_rate=0.002 * c, beta2=0.99**c, min_learning_rate=0.001 * c
    )
    assert lazy.corrected(dataclasses.replace(adam, beta1=0.5), 4).beta1 == 0.5**0.8
    assert lazy.corrected(adam, 1) is adam


def learned(interval: int, step: int, penalty=True) -> tuple[float, float, dict]:
    """A number p that starts at 3, under SGD of rate 0.1, with loss p^2 and penalty p; p and what is kept after the round, metrics."""
    sgd = Optimizer("sgd", learning_rate=0.1)
    player = Player(
        {"p": jnp.float32(3)},
        {"passes": jnp.float32(0)},
        optim.build(sgd).init({"p": jnp.float32(3)}),
    )
    state = State(jnp.int32(step), jnp.int32(0), {}, {}, {"kept": jnp.float32(-1)})
    round = Round(None, {}, jnp.int32(0), None)

    def loss(params, stats):
        return params["p"] ** 2, ({"passes": stats["passes"] + 1}, {"seen": params["p"]})

    def cost(params, stats, extra):
        return params["p"], ({"passes": stats["passes"] + 10}, {"kept": params["p"]})

    run = jax.jit(
        lambda player, state: lazy.learn(
            round, state, player, sgd, loss, lazy.Penalty(cost, interval) if penalty else None
        )
    )
    player, extra, value, metrics = run(player, state)
    return (
        float(player.params["p"]),
        float(player.stats["passes"]),
        {"value": float(value), **extra, **metrics},
    )


def test_the_penalty_has_a_step_of_its_own_when_due():
    """p goes by 0.1 c 2 p, then by 0.1 c times the interval; c = interval / (interval + 1)."""
    c = 2 / 3
    first = 3 - 0.1 * c * 6
    p, passes, kept = learned(2, step=4)
    assert p == pytest.approx(first - 0.1 * c * 2)
    assert (passes, kept["value"], kept["seen"]) == (11, 9, 3)
    assert kept["kept"] == pytest.approx(first)
    p, passes, kept = learned(2, step=5)
    assert p == pytest.approx(first)
    assert (passes, kept["kept"]) == (1, -1)


def test_the_penalty_joins_the_loss_at_interval_one():
    p, passes, kept = learned(1, step=5)
    assert p == pytest.approx(3 - 0.1 * (6 + 1))
    assert (passes, kept["value"], kept["kept"]) == (11, 12, 3)
    assert learned(2, step=4, penalty=False)[0] == pytest.approx(3 - 0.1 * 6)


# ----------------------------------------------------------------------------------------------------------- one round, again


class StillRound(NamedTuple):
    """A round in which both rates are 0, so that every pass sees the first parameters; and its draws."""

    config: stylegan.Config
    before: State
    after: State
    metrics: dict
    batch: dict
    draws: dict


@pytest.fixture(scope="module")
def still() -> StillRound:
    config = setting("stylegan", "sgd")
    step = step_with(
        stylegan,
        config,
        {
            (f"{player}_optimizer", "learning_rate"): 0.0
            for player in ("generator", "discriminator")
        },
    )
    before, batch = initial_state(stylegan, config), make_batch(stylegan, config)
    after, metrics = step(before, batch, KEY)
    return StillRound(
        config, before, after, metrics, batch, stylegan._draw(config, before, KEY, 16, None)
    )


def generator_of(game: StillRound):
    network, params = stylegan.networks(game.config)[0], game.before.players["generator"].params

    @functools.partial(jax.jit, static_argnums=1)
    def apply(arguments, method, noise="random"):
        options = {"noise": noise} if method == "synthesise" else {}
        return network.apply(
            {"params": params, **game.before.players["generator"].stats},
            *arguments,
            method=method,
            **options,
        )

    return apply


def mixed(own, w, others):
    """One w for each of the four layers, the other latent's from the drawn layer on."""
    return jnp.where(
        jnp.arange(4)[None, :, None] < own["first_mixed"][:, None, None],
        w[:, None],
        others[:, None],
    )


def test_mean_of_w(still):
    """0.995 of the old and 0.005 of a batch's mean for each pass: the generator's, the path lengths' (half a batch), the discriminator's."""
    apply, mean = generator_of(still), np.zeros(8)
    for turn, count in (("generator", 16), ("path length", 8), ("discriminator", 16)):
        w = np.asarray(apply((still.draws[turn]["latents"],), "styles"))
        assert w.shape == (count, 8)
        mean = 0.995 * mean + 0.005 * w.mean(0)
    for kept in (still.after.players["generator"].stats, still.after.ema):
        np.testing.assert_allclose(kept["average"]["mapping"]["w"], mean, rtol=1e-5, atol=1e-7)


def test_penalties(still):
    """R1 and the path lengths as their definitions say, from the round's draws; the mean path length moves by a hundredth."""
    critic, params = (
        stylegan.networks(still.config)[1],
        still.before.players["discriminator"].params,
    )
    gradient = jax.jit(jax.grad(lambda images: critic.apply({"params": params}, images).sum()))(
        still.batch["image"]
    )
    np.testing.assert_allclose(
        still.metrics["r1"], 0.5 * np.mean(np.sum(np.square(gradient), (1, 2, 3))), rtol=1e-4
    )

    apply, own = generator_of(still), still.draws["path length"]
    latents, others = (apply((own[name],), "styles") for name in ("latents", "other_latents"))
    w = mixed(own, latents, others)
    streams = example_streams(own["keys"], "path direction")
    directions = jax.vmap(lambda key: jax.random.normal(key, (8, 8, 1)))(streams)
    _, pull_back = jax.vjp(lambda w: apply((w, own["keys"]), "synthesise"), w)
    (moved,) = pull_back(directions / 8)
    lengths = np.sqrt(np.mean(np.sum(np.square(np.asarray(moved, np.float64)), axis=2), axis=1))
    assert lengths.shape == (8,)
    np.testing.assert_allclose(still.metrics["path_length"], lengths.mean(), rtol=1e-4)
    np.testing.assert_allclose(still.metrics["path_length_mean"], 0.01 * lengths.mean(), rtol=1e-4)
    np.testing.assert_allclose(
        still.metrics["path_length_penalty"],
        np.mean((lengths - 0.01 * lengths.mean()) ** 2),
        rtol=1e-4,
    )


def test_losses(still):
    """Softplus of the logits: of the generator's own fakes, of other ones for the discriminator, and of the real images."""
    apply, critic = generator_of(still), stylegan.networks(still.config)[1]
    judge = jax.jit(
        lambda images: critic.apply(
            {"params": still.before.players["discriminator"].params}, images
        )
    )

    def logits(turn):
        own = still.draws[turn]
        w = mixed(own, *(apply((own[name],), "styles") for name in ("latents", "other_latents")))
        return np.asarray(judge(apply((w, own["keys"]), "synthesise")), np.float64)

    np.testing.assert_allclose(
        still.metrics["g_loss"], np.mean(np.logaddexp(0, -logits("generator"))), rtol=1e-4
    )
    real, fake = np.asarray(judge(still.batch["image"]), np.float64), logits("discriminator")
    np.testing.assert_allclose(
        still.metrics["d_loss"],
        np.mean(np.logaddexp(0, -real)) + np.mean(np.logaddexp(0, fake)),
        rtol=1e-4,
    )
    np.testing.assert_allclose(still.metrics["fake_logits"], fake.mean(), rtol=1e-4)


# -------------------------------------------------------------------------------------------------------------------- styles


class Doubled:
    """Stands for a generator of five layers whose w is twice the latent, and their mean 1."""

    layers = 5

    def apply(self, variables, *arguments, method, mutable=None):
        if method == "average":
            return jnp.ones(2)
        w = 2 * arguments[0]
        return (w, {"average": "new"}) if mutable else w


def test_style_mixing():
    draws = styles.draw(jax.random.split(KEY, 8000), 2, 0.9, 5)
    first = np.asarray(draws["first_mixed"])
    np.testing.assert_allclose(
        np.bincount(first, minlength=6) / 8000, [0, 0.225, 0.225, 0.225, 0.225, 0.1], atol=0.02
    )
    assert np.abs(np.corrcoef(draws["latents"][:, 0], draws["other_latents"][:, 0])[0, 1]) < 0.05
    assert set(styles.draw(jax.random.split(KEY, 3), 2, 0.0, 5)) == {"keys", "latents"}
    w, stats = styles.styles(Doubled(), {}, {}, draws, None)
    for i in range(50):
        np.testing.assert_array_equal(
            w[i, : first[i]], np.tile(2 * draws["latents"][i], (first[i], 1))
        )
        np.testing.assert_array_equal(
            w[i, first[i] :], np.tile(2 * draws["other_latents"][i], (5 - first[i], 1))
        )
    assert stats == {"average": "new"}


def test_truncation():
    w = jnp.array([[3.0, 5.0]])
    np.testing.assert_allclose(
        styles.truncated(Doubled(), {}, w, 0.5, None), np.tile([2.0, 3.0], (1, 5, 1))
    )
    mixed = styles.truncated(Doubled(), {}, w, 0.5, 2)
    np.testing.assert_allclose(mixed, [[[2, 3], [2, 3], [3, 5], [3, 5], [3, 5]]])


def test_sampling_with_truncation_labels_and_noise():
    """At truncation 0 without noise all images are one; the label decides; constant noise is that of the state."""
    config, state = LABELS, initial_state(stylegan, LABELS).replace(players={})
    louder = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf + 0.5 if "strength" in str(path) else leaf, state.ema["params"]
    )
    state = state.replace(ema=state.ema | {"params": louder})
    labels = jnp.array([0, 0, 1])
    draw = jax.jit(
        functools.partial(stylegan.sample, config),
        static_argnums=2,
        static_argnames=("truncation", "noise"),
    )
    same = draw(state, KEY, 3, labels, truncation=0.0, noise="none")
    np.testing.assert_allclose(same[1:], np.stack([same[0], same[0]]), atol=1e-6)
    plain = draw(state, KEY, 3, labels, noise="none")
    assert np.abs(plain[0] - plain[1]).max() > 1e-3
    relabelled = draw(state, KEY, 3, jnp.array([2, 0, 1]), noise="none")
    np.testing.assert_array_equal(relabelled[1:], plain[1:])
    assert np.abs(relabelled[0] - plain[0]).max() > 1e-3
    constant = draw(state, KEY, 3, labels, noise="constant")
    assert np.abs(constant - plain).max() > 1e-3
    silent = state.replace(
        ema=state.ema | {"noise": jax.tree.map(jnp.zeros_like, state.ema["noise"])}
    )
    np.testing.assert_array_equal(draw(silent, KEY, 3, labels, noise="constant"), plain)
    with pytest.raises(ValueError, match="labels are needed"):
        stylegan.sample(config, state, KEY, 3)


def test_a_grid_of_mixed_styles():
    """With all layers taken a column is one image, with none but the last almost the row's own; the borders are the sources alone."""
    config = EVERY["stylegan"].config
    state = initial_state(stylegan, config).replace(players={})
    grid, late = (
        np.asarray(
            jax.jit(lambda state, layers=layers: stylegan.mix(config, state, KEY, 2, layers))(state)
        )
        for layers in ((0, 4), (3, 4))
    )
    assert grid.shape == (3, 3, 8, 8, 1)
    assert np.all(grid[0, 0] == -1)
    np.testing.assert_allclose(grid[1:, 1:], np.stack([grid[0, 1:]] * 2), atol=1e-5)
    np.testing.assert_array_equal(grid[0], late[0])
    np.testing.assert_array_equal(grid[:, 0], late[:, 0])
    assert 1e-4 < np.abs(late[1, 1] - late[1, 0]).mean() < np.abs(late[0, 1] - late[1, 0]).mean()
    with pytest.raises(ValueError, match="0 <= first < last <= 4"):
        stylegan.mix(config, state, KEY, 2, (2, 5))


def test_the_discriminator_reads_the_label():
    """By projection: the logits of another class are others, and of each example only by its own label."""
    state, batch = initial_state(stylegan, LABELS), make_batch(stylegan, LABELS, 4)
    critic = dataclasses.replace(stylegan.networks(LABELS)[1], minibatch_std_group=0)
    params = state.players["discriminator"].params
    params = {
        **params,
        "conv": {**params["conv"], "kernel": params["conv"]["kernel"][:, :, :-1]},
    }  # without the spread's input
    judge = jax.jit(lambda labels: critic.apply({"params": params}, batch["image"], labels))
    logits = [judge(jnp.array(labels)) for labels in ([0, 1, 2, 0], [1, 1, 2, 0])]
    np.testing.assert_array_equal(logits[0][1:], logits[1][1:])
    assert abs(logits[0][0] - logits[1][0]) > 1e-2 * abs(logits[0][0])


# ------------------------------------------------------------------------------------------------------------------- settings


def test_the_automatic_rule():
    """As the table of stylegan2-ada-pytorch's "auto" gives it for 256 and batch 64, and for 1024 and batch 4."""
    config = stylegan.auto((256, 256), batch_size=64)
    s, adam = config.stabilisers, config.generator_optimizer
    assert (
        config.mapping_layers,
        config.channel_base,
        config.minibatch_std_group,
        adam.learning_rate,
    ) == (2, 16384, 4, 0.0025)
    assert (s.r1, s.ema_half_life, s.ema_ramp) == (pytest.approx(0.2048), 20_000, 0.05)
    assert (adam.beta1, adam.beta2, adam.epsilon, config.discriminator_optimizer) == (
        0,
        0.99,
        1e-8,
        adam,
    )
    large = stylegan.auto((1024, 768), batch_size=4)
    assert (large.channel_base, large.generator_optimizer.learning_rate, large.stabilisers.r1) == (
        32768,
        0.002,
        pytest.approx(52.4288),
    )


def test_channels_and_sizes():
    """512 feature maps up to 64x64 and half as many at each doubling after; a base of 4x6 for 64x96, of 7x7 for 28x28."""
    state = jax.eval_shape(functools.partial(stylegan.init, stylegan.auto((256, 256))), KEY)
    params = state.players["generator"].params
    assert [params[f"block{i}"]["conv1"]["kernel"].shape[-1] for i in range(7)] == [
        512,
        512,
        512,
        512,
        256,
        128,
        64,
    ]
    assert state.players["discriminator"].params["dense"]["kernel"].shape == (512 * 16, 512)
    for size, base, levels in (((64, 96), (4, 6), 5), ((28, 28), (7, 7), 3)):
        params = jax.eval_shape(functools.partial(stylegan.init, stylegan.auto(size)), KEY).ema[
            "params"
        ]
        assert params["block0"]["const"].shape == (*base, 512)
        assert f"block{levels - 1}" in params
        assert f"block{levels}" not in params


@pytest.mark.parametrize(("changes", "message"), [
    ({"stabilisers": Stabilisers(spectral_norm=True)}, "does not support the stabiliser spectral_norm: leave it at False"),
    ({"stabilisers": Stabilisers(critic_steps=2)}, "does not support the stabiliser critic_steps: leave it at 1"),
    ({"generator_architecture": "dense"}, "generator_architecture must be one of 'orig', 'skip', 'resnet'"),
    ({"image_size": (2, 8)}, "at least 4"),
    ({"r1_interval": 0}, "r1_interval must be at least 1"),
    ({"style_mixing": 1.5}, "style_mixing must be between 0 and 1"),
])  # fmt: skip
def test_settings_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        stylegan.Config(**changes)


@pytest.mark.parametrize(
    ("count", "message"),
    [(3, "multiple of path_length_shrink"), (6, "multiple of minibatch_std_group")],
)
def test_batches_that_do_not_fit(count, message):
    config = EVERY["stylegan"].config
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(
            functools.partial(stylegan.train_step, config),
            initial_state(stylegan, config),
            make_batch(stylegan, config, count),
            KEY,
        )
