"""The plain game's numbers: what each stabiliser does to one round, recomputed outside it."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import acgan, gan, losses
from jaxgan.games import adversarial
from jaxgan.games.stabilisers import Stabilisers, noise_level
from jaxgan.optim import Optimizer

SGD = Optimizer("sgd", learning_rate=0.1)
PLAIN = gan.Config(
    (4, 4),
    1,
    3,
    "normal",
    "mlp",
    (8, 8),
    (8,),
    generator_optimizer=SGD,
    discriminator_optimizer=SGD,
)
KEY = jax.random.key(5)


def with_(**options):
    return dataclasses.replace(PLAIN, stabilisers=Stabilisers(**options))


def batch(config, size=8, seed=0):
    rng = np.random.default_rng(seed)
    shape = gan.batch_spec(config, size)["image"].shape
    return {"image": jnp.asarray(rng.uniform(-1, 1, shape), jnp.float32)}


def start(config):
    return jax.jit(gan.init, static_argnums=0)(config, jax.random.key(0))


def play(config, state, data, draws=None):
    draws = (
        adversarial.draw(config, state, KEY, data["image"].shape[0], None)
        if draws is None
        else draws
    )
    return gan._round(config, state, data, draws, None)


def pieces(config, state, data, draws):
    """Generated images and both logits before any update, by applying the networks."""
    game = gan.game(config)
    generator, discriminator = state.players["generator"], state.players["discriminator"]
    variables = {"params": generator.params, **generator.stats}
    fake, _ = game.generator.apply(
        variables, draws["latents"], train=True, mutable=list(generator.stats)
    )

    def critic(image, params=discriminator.params):
        return game.discriminator.apply(
            {"params": params, **discriminator.stats}, image, train=True
        )

    return fake, critic


@pytest.mark.parametrize("loss", losses.LOSSES)
def test_round_reports_both_losses_of_the_networks(loss):
    """d_loss before the discriminator's step, g_loss after it and before the generator's."""
    config = dataclasses.replace(PLAIN, loss=loss)
    state, data = start(config), batch(config)
    draws = adversarial.draw(config, state, KEY, 8, None)
    fake, critic = pieces(config, state, data, draws)
    new, metrics = play(config, state, data, draws)
    real_logits, fake_logits = critic(data["image"]), critic(fake)
    assert float(metrics["d_loss"]) == pytest.approx(
        float(losses.discriminator_loss(loss, real_logits, fake_logits)), rel=1e-4
    )
    params = new.players["discriminator"].params
    expected = losses.generator_loss(loss, critic(fake, params), critic(data["image"], params))
    assert float(metrics["g_loss"]) == pytest.approx(float(expected), rel=1e-4)
    assert float(metrics["real_logits"]) == pytest.approx(
        float(real_logits.mean()), rel=1e-4, abs=1e-6
    )
    assert float(metrics["fake_accuracy"]) == pytest.approx(
        float((fake_logits < losses.decision_boundary(loss)).mean())
    )


def test_both_players_descend_their_own_loss():
    """One step of gradient descent, recomputed: parameters - rate x gradient."""
    state, data = start(PLAIN), batch(PLAIN)
    draws = adversarial.draw(PLAIN, state, KEY, 8, None)
    game, generator = gan.game(PLAIN), state.players["generator"]
    fake, critic = pieces(PLAIN, state, data, draws)
    new, _ = play(PLAIN, state, data, draws)

    old = state.players["discriminator"].params
    gradient = jax.grad(
        lambda params: losses.discriminator_loss(
            PLAIN.loss, critic(data["image"], params), critic(fake, params)
        )
    )(old)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, old, gradient)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        new.players["discriminator"].params,
        expected,
    )

    def fooling(params):
        variables = {"params": params, **generator.stats}
        images, _ = game.generator.apply(
            variables, draws["latents"], train=True, mutable=list(generator.stats)
        )
        return losses.generator_loss(PLAIN.loss, critic(images, expected))

    gradient = jax.grad(fooling)(generator.params)
    wanted = jax.tree.map(lambda p, g: p - 0.1 * g, generator.params, gradient)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        new.players["generator"].params,
        wanted,
    )


@pytest.mark.parametrize("name", ["r1", "r2", "gradient_penalty"])
def test_penalty_is_added_with_its_weight(name):
    config = with_(**{name: 3.0})
    state, data = start(config), batch(config)
    draws = adversarial.draw(config, state, KEY, 8, None)
    fake, critic = pieces(config, state, data, draws)
    _, metrics = play(config, state, data, draws)
    expected = {
        "r1": lambda: losses.r1_penalty(critic, data["image"]),
        "r2": lambda: losses.r2_penalty(critic, fake),
        "gradient_penalty": lambda: losses.gradient_penalty(
            critic, data["image"], fake, draws["alpha"]
        ),
    }[name]()
    assert float(metrics[name]) == pytest.approx(float(expected), rel=1e-4)
    plain = losses.discriminator_loss(config.loss, critic(data["image"]), critic(fake))
    assert float(metrics["d_loss"]) == pytest.approx(float(plain + 3 * expected), rel=1e-4)


def test_weights_are_clipped():
    config = with_(weight_clip=0.05)
    state, _ = play(config, start(config), batch(config))
    assert max(
        float(jnp.abs(leaf).max())
        for leaf in jax.tree.leaves(state.players["discriminator"].params)
    ) <= np.float32(0.05)
    assert (
        max(
            float(jnp.abs(leaf).max())
            for leaf in jax.tree.leaves(state.players["generator"].params)
        )
        > 0.05
    )


def test_average_follows_its_half_life():
    """After 8 images of a half-life of 8 the average is half the old and half the new; statistics are copied."""
    config = with_(ema_half_life=8.0)
    before = start(config)
    after, _ = play(config, before, batch(config))
    generator = after.players["generator"]
    expected = jax.tree.map(
        lambda old, new: 0.5 * old + 0.5 * new, before.ema["params"], generator.params
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.ema["params"], expected
    )
    jax.tree.map(
        np.testing.assert_array_equal, after.ema["batch_stats"], generator.stats["batch_stats"]
    )


def test_critic_steps_use_interleaved_parts_and_count_their_images():
    """Two critic steps are two discriminator updates, on the even and on the odd examples."""
    config, data = with_(critic_steps=2), batch(with_(critic_steps=2))
    assert data["image"].shape[0] == 16
    state = start(config)
    draws = adversarial.draw(config, state, KEY, 16, None)
    new, _ = play(config, state, data, draws)
    assert int(new.images) == 16
    single, by_hand = PLAIN, state
    for turn in range(2):
        part = {
            "latents": draws["latents"][turn::2],
            "keys": draws["keys"][turn::2],
            "pool": draws["pool"],
        }
        stepped, _ = play(single, by_hand, {"image": data["image"][turn::2]}, part)
        generator = by_hand.players["generator"].replace(stats=stepped.players["generator"].stats)
        by_hand = by_hand.replace(
            players={"generator": generator, "discriminator": stepped.players["discriminator"]}
        )
    mine, theirs = (s.players["discriminator"].params for s in (new, by_hand))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), mine, theirs)


def test_pool_keeps_generated_images():
    config = with_(pool_size=12)
    state = start(config)
    for i in range(2):
        data = batch(config, seed=i)
        draws = adversarial.draw(config, state, KEY, 8, None)
        fake, _ = pieces(config, state, data, draws)
        state, _ = play(config, state, data, draws)
        if i == 0:
            np.testing.assert_allclose(state.extra["pool"].items["image"][:8], fake, atol=1e-6)
    assert int(state.extra["pool"].count) == 12


def test_noise_anneals_linearly():
    s = Stabilisers(instance_noise=0.4, instance_noise_images=1000)
    levels = [float(noise_level(s, jnp.int32(images))) for images in (0, 250, 1000, 5000)]
    np.testing.assert_allclose(levels, [0.4, 0.3, 0, 0], atol=1e-7)


@pytest.mark.slow
def test_class_weights_of_acgan():
    """d_loss and g_loss are linear in the three class weights, with the class losses as slopes."""
    small = {
        "image_size": (12, 12),
        "channels": 1,
        "classes": 3,
        "latent_size": 4,
        "generator_widths": (4, 4),
        "discriminator_widths": (4, 4),
        "dropout": 0.0,
    }
    none = acgan.Config(
        **small, input_noise=0.0, real_class_weight=0, fake_class_weight=0, generator_class_weight=0
    )
    state = jax.jit(acgan.init, static_argnums=0)(none, jax.random.key(0))
    rng = np.random.default_rng(0)
    data = {
        "image": jnp.asarray(rng.uniform(-1, 1, (6, 12, 12, 1)), jnp.float32),
        "label": jnp.array([0, 1, 2, 0, 1, 2]),
    }
    _, plain = acgan.train_step(none, state, data, KEY)
    weighted = dataclasses.replace(none, real_class_weight=2.0, fake_class_weight=0.5)
    _, metrics = acgan.train_step(weighted, state, data, KEY)
    expected = plain["d_loss"] + 2 * plain["real_class_loss"] + 0.5 * plain["fake_class_loss"]
    assert float(metrics["d_loss"]) == pytest.approx(float(expected), rel=1e-4)
    _, metrics = acgan.train_step(
        dataclasses.replace(none, generator_class_weight=3.0), state, data, KEY
    )
    assert float(metrics["g_loss"]) == pytest.approx(
        float(plain["g_loss"] + 3 * plain["g_class_loss"]), rel=1e-4
    )
