"""Every stabiliser, in every family of the plain adversarial game: what it does to the numbers, and that eight devices do the same.

Three settings are compiled for each family and looked at from many sides: everything at once, the penalties, spectral normalisation.
The slow tests take each stabiliser and each loss alone.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import losses, parallel
from jaxgan.games import adversarial
from jaxgan.games.stabilisers import Stabilisers
from jaxgan.nn.regularise import add_noise
from jaxgan.optim import Optimizer
from jaxgan.update import example_streams
from tests.contract.helpers import (
    BATCH,
    CASES,
    EVERY,
    FAMILIES,
    KEY,
    SAME_GAME,
    STEPS,
    Played,
    assert_same_run,
    initial_state,
    make_batch,
    own_buffers,
    play,
    setting,
    step_with,
)

PLAIN = tuple(name for name in FAMILIES if hasattr(CASES[name].family, "game"))
PLAIN_CASES = tuple(
    pytest.param(name, marks=pytest.mark.slow) if name in SAME_GAME else name for name in PLAIN
)
FAST_ON_DEVICES = (PLAIN[0], *(pytest.param(name, marks=pytest.mark.slow) for name in PLAIN[1:]))
EVERYTHING = Stabilisers(
    critic_steps=2,
    generator_batch=2,
    instance_noise=0.1,
    instance_noise_images=1000,
    dequantise=0.01,
    ema_half_life=100,
    ema_ramp=0.5,
    pool_size=20,
    gradient_penalty=0.7,
    weight_clip=0.5,
)
"""All at once but those that exclude others (smoothed targets, spectral normalisation) and R1 and R2, which compile for long."""
PENALTIES = Stabilisers(
    real_target=0.9,
    fake_target=0.1,
    instance_noise=0.3,
    dequantise=0.02,
    r1=0.5,
    r2=0.3,
    gradient_penalty=0.7,
)
ALONE = {
    "critic_steps": 2,
    "generator_batch": 3,
    "real_target": 0.9,
    "fake_target": 0.1,
    "instance_noise": 0.5,
    "dequantise": 0.1,
    "ema_half_life": 50.0,
    "spectral_norm": True,
    "pool_size": 10,
    "r1": 2.0,
    "r2": 2.0,
    "gradient_penalty": 2.0,
    "weight_clip": 0.001,
}


def with_stabilisers(name: str, stabilisers: Stabilisers, loss: str = "non-saturating"):
    """The family and its plain-SGD config with these stabilisers and loss."""
    return CASES[name].family, dataclasses.replace(
        setting(name, "sgd"), stabilisers=stabilisers, loss=loss
    )


@functools.cache
def everything_run(name: str) -> Played:
    family, config = with_stabilisers(name, EVERYTHING, "relativistic-average")
    return play(family, config, step_with(family, config), 3)


# ---------------------------------------------------------------------------------------------------------- everything at once


@pytest.mark.parametrize("name", FAST_ON_DEVICES)
def test_everything_at_once_on_eight_devices(name):
    """Critic steps, replay pool, noise, penalties through batch statistics, batch means inside the loss: the same as on one device."""
    family, config = with_stabilisers(name, EVERYTHING, "relativistic-average")
    assert_same_run(
        play(family, config, parallel.pmap_step(family, config), 3), everything_run(name)
    )


@pytest.mark.parametrize("name", PLAIN_CASES)
def test_images_count_every_critic_step_and_the_pool_fills(name):
    run = everything_run(name)
    assert [int(state.images) for state in run.states] == [0, 2 * BATCH, 4 * BATCH, 6 * BATCH]
    pools = [state.extra["pool"] for state in run.states]
    assert [int(pool.count) for pool in pools] == [0, 20, 20, 20]
    filled = np.abs(pools[1].items["image"]).reshape(20, -1).max(axis=1)
    assert np.all((filled > 0) & (filled <= 1))
    same = np.all(pools[1].items["image"] == pools[2].items["image"], axis=(1, 2, 3))
    assert 0 < same.mean() < 1  # some were replaced, some kept
    if "label" in pools[1].items:
        shown = np.unique(make_batch(*with_stabilisers(name, EVERYTHING))["label"])
        assert set(pools[1].items["label"].tolist()) <= set(shown.tolist())


@pytest.mark.parametrize("name", PLAIN_CASES)
def test_weights_are_clipped(name):
    """The discriminator's parameters are within the limit after every step; tightened, some end up exactly at it."""
    for state in everything_run(name).states[1:]:
        assert max(
            np.abs(leaf).max() for leaf in jax.tree.leaves(state.players["discriminator"].params)
        ) <= np.float32(0.5)
    family, config = with_stabilisers(name, EVERYTHING, "relativistic-average")
    step = step_with(family, config, {("stabilisers", "weight_clip"): 0.001})
    state, _ = step(initial_state(family, config), make_batch(family, config), KEY)
    limits = [
        np.abs(leaf).max()
        for leaf in jax.tree.leaves(state.players["discriminator"].params)
        if leaf.ndim > 1
    ]
    np.testing.assert_array_equal(limits, np.float32(0.001))


@pytest.mark.parametrize("name", PLAIN_CASES)
def test_the_average_is_the_recurrence(name):
    """ema <- d ema + (1 - d) params with d = 1/2 ^ (images of the round / min(half-life, ramp * images seen))."""
    states = everything_run(name).states
    for before, after in zip(states[:-1], states[1:], strict=True):
        shown = int(after.images) - int(before.images)
        decay = 0.5 ** (shown / min(100.0, 0.5 * int(after.images)))

        def check(old, average, new, decay=decay):
            np.testing.assert_allclose(average, decay * old + (1 - decay) * new, rtol=0, atol=1e-6)

        jax.tree.map(
            check, before.ema["params"], after.ema["params"], after.players["generator"].params
        )


# --------------------------------------------------------------------------------------------------------------- the penalties


def recomputed(family, config, state, batch):
    """The discriminator's first step by the definitions: its loss without penalties, and each penalty from the whole Jacobian."""
    game = family.game(config)
    latent = family._latent(config) if hasattr(family, "_latent") else jax.random.normal
    draws = adversarial.draw(config, state, KEY, batch["image"].shape[0], None, latent)
    keys, labels, s = draws["keys"], batch.get("label"), config.stabilisers
    generator, discriminator = state.players["generator"], state.players["discriminator"]

    def apply(module, player, *args):
        return module.apply(
            {"params": player.params, **player.stats}, *args, train=True, mutable=list(player.stats)
        )[0]

    fake = apply(
        game.generator, generator, draws["latents"], labels, example_streams(keys, "generator")
    )
    noise = [
        jax.random.uniform(key, fake.shape[1:], maxval=s.dequantise)
        for key in example_streams(keys, "dequantise")
    ]
    real = batch["image"] + jnp.stack(noise)

    def judged(images, stream):
        streams = example_streams(keys, stream)
        return apply(
            game.discriminator,
            discriminator,
            add_noise(images, s.instance_noise, streams, "instance noise"),
            labels,
            streams,
        )

    loss, _ = game.discriminator_loss(judged(real, "real"), judged(fake, "fake"), labels, labels)

    def squared_norms(images):
        jacobian = jax.jacrev(
            lambda x: adversarial.logits_of(
                apply(game.discriminator, discriminator, x, labels, None)
            )
        )(images)
        return jnp.sum(jacobian.sum(axis=0) ** 2, axis=(1, 2, 3))

    alpha = draws["alpha"].reshape(-1, 1, 1, 1)
    between = alpha * real + (1 - alpha) * fake
    penalties = {
        "r1": squared_norms(real).mean() / 2,
        "r2": squared_norms(fake).mean() / 2,
        "gradient_penalty": ((jnp.sqrt(squared_norms(between)) - 1) ** 2).mean(),
    }
    return loss, penalties


@pytest.mark.parametrize("name", PLAIN_CASES)
def test_penalties_noise_and_targets_are_their_definitions(name):
    family, config = with_stabilisers(name, PENALTIES)
    state, batch = initial_state(family, config), make_batch(family, config)
    after, metrics = step_with(family, config)(state, batch, KEY)
    loss, penalties = jax.jit(functools.partial(recomputed, family, config))(state, batch)
    for penalty, value in penalties.items():
        np.testing.assert_allclose(metrics[penalty], value, rtol=1e-3, err_msg=penalty)
    weighted = sum(getattr(PENALTIES, penalty) * value for penalty, value in penalties.items())
    np.testing.assert_allclose(metrics["d_loss"], loss + weighted, rtol=1e-4)
    before, after = (
        jax.tree.leaves(each.players["discriminator"].params) for each in (state, after)
    )
    assert all(np.any(old != new) for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("name", PLAIN_CASES)
def test_a_penalty_lowers_the_gradient_norm(name):
    """Ten times the weight of R1, everything else equal: the norm it measures is smaller afterwards."""
    family, config = with_stabilisers(name, PENALTIES)
    norms = []
    for weight in (0.5, 20.0):
        step, state = (
            step_with(family, config, {("stabilisers", "r1"): weight}),
            initial_state(family, config),
        )
        for _ in range(8):
            state, metrics = step(state, make_batch(family, config), KEY)
        norms.append(float(metrics["r1"]))
    assert norms[1] < norms[0]


# ------------------------------------------------------------------------------------------------------- spectral normalisation


@pytest.mark.parametrize("name", PLAIN_CASES)
def test_spectral_norm(name):
    """Divided by the estimate v^T W u each kernel has norm near 1 by NumPy's SVD; no batch norm is left; RMSProp and hinge train on top.

    The average has half-life 0 here, a plain copy, which must still be a copy.
    """
    family, config = with_stabilisers(
        name, Stabilisers(spectral_norm=True, critic_steps=3), "hinge"
    )
    slow = Optimizer("rmsprop", learning_rate=1e-4)
    config = dataclasses.replace(config, generator_optimizer=slow, discriminator_optimizer=slow)
    step, state = parallel.jit_step(family, config), initial_state(family, config)
    for seed in range(4):
        state, metrics = step(state, make_batch(family, config, seed=seed), KEY)
        assert own_buffers(state)
    jax.tree.map(
        np.testing.assert_array_equal, state.ema["params"], state.players["generator"].params
    )
    discriminator = state.players["discriminator"]
    assert set(discriminator.stats) == {"spectral"}
    assert np.isfinite(metrics["d_loss"])
    assert 0 < metrics["d_loss"] < 10
    checked = 0
    for path, vectors in _layers(discriminator.stats["spectral"]):
        kernel = functools.reduce(lambda tree, key: tree[key], path, discriminator.params)["kernel"]
        matrix = np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1])
        sigma = np.asarray(vectors["v"], np.float64) @ matrix @ np.asarray(vectors["u"], np.float64)
        assert 0.999 < np.linalg.svd(matrix, compute_uv=False)[0] / sigma < 1.1, path
        checked += 1
    assert checked == sum(leaf.ndim > 1 for leaf in jax.tree.leaves(discriminator.params))


def _layers(tree, path=()):
    """(path, {"u", "v"}) of each normalised layer."""
    if "u" in tree:
        yield path, tree
        return
    for key, inner in tree.items():
        yield from _layers(inner, (*path, key))


# ------------------------------------------------------------------------------------------------------------------ schedules


def test_annealed_noise_is_gone_at_the_end():
    """At the end of its span the step equals one whose noise is of level 0, and before it does not."""
    family, config = with_stabilisers(
        "gan", Stabilisers(instance_noise=0.5, instance_noise_images=160)
    )
    batch = make_batch(family, config)

    def d_loss(images, level):
        state = initial_state(family, config).replace(images=jnp.int32(images))
        return float(
            step_with(family, config, {("stabilisers", "instance_noise"): level})(
                state, batch, KEY
            )[1]["real_logits"]
        )

    assert d_loss(160, 0.5) == d_loss(160, 0.0)
    assert abs(d_loss(80, 0.5) - d_loss(80, 0.0)) > 1e-8
    np.testing.assert_allclose(d_loss(80, 0.5), d_loss(0, 0.25), rtol=1e-6)


@pytest.mark.parametrize("name", PLAIN_CASES)
def test_bad_settings_are_one_sentence(name):
    config = CASES[name].config

    def message(**changes):
        with pytest.raises(ValueError) as error:
            dataclasses.replace(config, **changes)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "loss must be one of 'non-saturating'" in message(loss="hingy")
    assert "dtype must be one of 'float32', 'bfloat16'" in message(dtype="float16")
    assert "the 'hinge' loss has no targets to smooth" in message(
        loss="hinge", stabilisers=Stabilisers(real_target=0.9)
    )
    assert "channels must be positive" in message(channels=0)
    assert "latent_size must be at least 1" in message(latent_size=0)
    with pytest.raises(ValueError, match="critic_steps must be at least 1, got 0"):
        Stabilisers(critic_steps=0)
    with pytest.raises(ValueError, match="instance_noise_images needs instance_noise"):
        Stabilisers(instance_noise_images=10)


# ------------------------------------------------------------------------------------------------------------- one by one, slow


def gentle(name: str, **changes):
    """Among these settings some are wild: at a fifth of the case's rate none blows rounding up."""
    optimizer = Optimizer("sgd", learning_rate=EVERY[name].rate / 5)
    return dataclasses.replace(
        EVERY[name].config,
        generator_optimizer=optimizer,
        discriminator_optimizer=optimizer,
        **changes,
    )


@functools.cache
def run_without(name: str) -> Played:
    """The run with no stabiliser."""
    family, config = (
        EVERY[name].family,
        gentle(name, stabilisers=Stabilisers(), loss="non-saturating"),
    )
    return play(family, config, parallel.jit_step(family, config), 3)


@pytest.mark.slow
@pytest.mark.parametrize("field", ALONE)
@pytest.mark.parametrize("name", [*PLAIN, "dcgan resnet"])
def test_each_stabiliser_alone(name, field):
    """It trains, eight devices equal one, and it changes the run."""
    family, without = EVERY[name].family, run_without(name)
    config = gentle(name, stabilisers=Stabilisers(**{field: ALONE[field]}), loss="non-saturating")
    run = play(family, config, step_with(family, config), 3)
    assert_same_run(play(family, config, parallel.pmap_step(family, config), 3), run)
    if field == "ema_half_life":
        changed = jax.tree.leaves(
            jax.tree.map(
                lambda a, b: np.any(a != b), run.final.ema["params"], without.final.ema["params"]
            )
        )
        assert all(changed)
    else:
        assert set(run.metrics) != set(without.metrics) or any(
            np.any(run.metrics[key] != without.metrics[key]) for key in run.metrics
        )


@pytest.mark.slow
@pytest.mark.parametrize("loss", losses.LOSSES)
@pytest.mark.parametrize("name", PLAIN_CASES)
def test_each_loss(name, loss):
    """It trains, and eight devices equal one."""
    family, config = EVERY[name].family, gentle(name, loss=loss)
    run = play(family, config, step_with(family, config), STEPS)
    assert_same_run(play(family, config, parallel.pmap_step(family, config), STEPS), run)
    before, after = (state.players["generator"].params for state in (run.states[0], run.final))
    for (
        layer
    ) in before:  # its bias at least: gradients of tiny kernels can be less than their rounding
        moved = jax.tree.map(lambda a, b: np.any(a != b), before[layer], after[layer])
        assert any(jax.tree.leaves(moved)), layer
