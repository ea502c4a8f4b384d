"""The stabilisers of Pix2Pix and CycleGAN: what each does to the numbers, and that eight devices do the same.

The critics' first step is recomputed from the networks alone, with instance norm or none, so that no statistics are carried along.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import cyclegan, losses, parallel, pix2pix, pool
from jaxgan.games import translation
from jaxgan.games.stabilisers import Stabilisers
from jaxgan.nn.regularise import add_noise
from jaxgan.optim import Optimizer
from jaxgan.update import example_keys, example_streams, stream_key
from tests.contract.helpers import (
    BATCH,
    KEY,
    Played,
    assert_same_run,
    assert_trees_close,
    initial_state,
    make_batch,
    play,
    setting,
    step_with,
)
from tests.contract.test_keys import draws_of_two_steps

TRANSLATORS: dict[str, Any] = {"pix2pix": pix2pix, "cyclegan": cyclegan}
TRANSLATOR_CASES = ("pix2pix", pytest.param("cyclegan", marks=pytest.mark.slow))
CRITICS = {"pix2pix": ("d",), "cyclegan": ("a", "b")}
SGD = Optimizer("sgd", learning_rate=0.05)
TINY: dict[str, Any] = {
    "norm": "instance",
    "dropout": 0.0,
    "generator_width": 4,
    "discriminator_width": 4,
    "discriminator_layers": 1,
}
TINY |= {"generator_optimizer": SGD, "discriminator_optimizer": SGD}
CONFIGS: dict[str, Any] = {
    "pix2pix": pix2pix.Config((8, 8), 2, 1, depth=2, **TINY),
    "cyclegan": cyclegan.Config((8, 8), 2, 1, blocks=1, identity_weight=0.0, **TINY),
}
"""Domains of different depth, so that none can be taken for the other."""


def with_stabilisers(name: str, stabilisers: Stabilisers, **changes):
    return TRANSLATORS[name], dataclasses.replace(CONFIGS[name], stabilisers=stabilisers, **changes)


# ---------------------------------------------------------------------------------------------------------- everything at once

EVERYTHING = Stabilisers(
    instance_noise=0.1,
    instance_noise_images=1000,
    ema_half_life=100,
    ema_ramp=0.5,
    pool_size=20,
    r2=0.3,
    gradient_penalty=0.7,
    weight_clip=0.5,
)
"""All that do not exclude others."""


def everything(name: str):
    return TRANSLATORS[name], dataclasses.replace(
        setting(name, "sgd"), stabilisers=EVERYTHING, loss="relativistic-average", norm="instance"
    )


@functools.cache
def everything_run(name: str) -> Played:
    family, config = everything(name)
    return play(family, config, step_with(family, config), 3)


@pytest.mark.parametrize("name", ["pix2pix", pytest.param("cyclegan", marks=pytest.mark.slow)])
def test_everything_at_once_on_eight_devices(name):
    """Replay pools, noise, penalties and batch means inside the loss: the same as on one device."""
    family, config = everything(name)
    assert_same_run(
        play(family, config, parallel.pmap_step(family, config), 3), everything_run(name)
    )


@pytest.mark.parametrize("name", ["pix2pix"])
def test_each_stabiliser_shows_in_the_numbers(name):
    run = everything_run(name)
    assert {"r2", "gradient_penalty"} <= set(run.metrics)
    assert [int(state.extra["pool"].count) for state in run.states] == [0, BATCH, 20, 20]
    for state in run.states[1:]:
        assert max(
            np.abs(leaf).max() for leaf in jax.tree.leaves(state.players["discriminator"].params)
        ) <= np.float32(0.5)
    family, config = everything(name)
    for field in ("instance_noise", "gradient_penalty", "r2"):
        changed = play(family, config, step_with(family, config, {("stabilisers", field): 0.01}), 1)
        assert changed.metrics["d_loss"][0] != run.metrics["d_loss"][0], field


@pytest.mark.parametrize("family", TRANSLATORS.values(), ids=TRANSLATORS)
@pytest.mark.parametrize(
    ("field", "value"), [("critic_steps", 2), ("generator_batch", 2), ("dequantise", 0.1)]
)
def test_unsupported_stabilisers_are_refused(family, field, value):
    with pytest.raises(ValueError, match=f"does not support the stabiliser {field}"):
        family.Config(stabilisers=Stabilisers(**{field: value}))


# -------------------------------------------------------------------------------------------------------------- one step by hand

COUNT = 8
SEEN = 500
STEP = Stabilisers(
    instance_noise=0.2,
    instance_noise_images=1000,
    ema_half_life=100,
    ema_ramp=0.02,
    pool_size=6,
    r1=0.5,
    r2=0.3,
    gradient_penalty=0.7,
    weight_clip=0.05,
)


class Stepped(NamedTuple):
    """The state before and after one step and its metrics. recomputed: by critic, what `recompute` finds."""

    before: Any
    after: Any
    metrics: dict[str, jax.Array]
    recomputed: dict[str, dict[str, Any]]


def pool_name(critic: str) -> str:
    return "pool" if critic == "d" else f"pool_{critic}"


def seen_by_critics(family, config, state, batch) -> dict[str, tuple[jax.Array, jax.Array]]:
    """By critic: what is real, and what the generators make."""

    def made(name, channels, images):
        return translation.generator(config, channels).apply(
            {"params": state.players["generator"].params[name]}, images, train=True
        )

    a, b = batch["a"], batch["b"]
    if family is pix2pix:
        return {
            "d": (
                jnp.concatenate([a, b], -1),
                jnp.concatenate([a, made("g", config.channels_b, a)], -1),
            )
        }
    return {
        "a": (a, made("b2a", config.channels_a, b)),
        "b": (b, made("a2b", config.channels_b, a)),
    }


def recompute(family, config, state, batch) -> dict[str, dict[str, Any]]:
    """By critic: its logits of noisy images, real, replayed, and as made; the pool after the batch; the penalties on replayed and on made images."""
    found = {}
    keys = example_keys(stream_key(KEY, "examples", state.step), COUNT)
    for name, (real, fake) in seen_by_critics(family, config, state, batch).items():
        key = stream_key(KEY, "pool", state.step)
        after, shown = pool.query(
            state.extra[pool_name(name)], fake, key if name == "d" else stream_key(key, name)
        )

        def critic(images, name=name):
            return translation.discriminator(config).apply(
                {"params": state.players["discriminator"].params[name]}, images, train=True
            )

        def noisy(images, of, name=name, critic=critic):
            return critic(
                add_noise(images, 0.1, example_streams(keys, f"{name} {of}"), "instance noise")
            )

        alpha = jax.vmap(jax.random.uniform)(example_streams(keys, f"{name} alpha"))
        found[name] = {
            "pool": after,
            "shown": shown,
            "logits": {
                "real": noisy(real, "real"),
                "shown": noisy(shown, "fake"),
                "made": noisy(fake, "fake"),
            },
            "r1": losses.r1_penalty(critic, real),
            "r2": losses.r2_penalty(critic, shown),
            "gradient_penalty": losses.gradient_penalty(critic, real, shown, alpha),
        }
    return found


@functools.cache
def stepped(name: str) -> Stepped:
    """One step from a state whose pools are full, after SEEN images, with an average that is not the generator."""
    family, config = with_stabilisers(name, STEP)
    state, batch = initial_state(family, config), make_batch(family, config, COUNT)
    random = np.random.default_rng(1)
    extra = {
        key: pool.Pool(
            jnp.asarray(random.uniform(-1, 1, empty.items.shape), jnp.float32),
            jnp.int32(STEP.pool_size),
        )
        for key, empty in state.extra.items()
    }
    state = state.replace(
        images=jnp.int32(SEEN),
        ema={"params": jax.tree.map(lambda leaf: 0.5 * leaf, state.ema["params"])},
        extra=extra,
    )
    after, metrics = jax.jit(functools.partial(family.train_step, config))(state, batch, KEY)
    return Stepped(
        *jax.device_get(
            (
                state,
                after,
                metrics,
                jax.jit(functools.partial(recompute, family, config))(state, batch),
            )
        )
    )


def half_loss(config, real, fake, real_target=1.0, fake_target=0.0) -> float:
    """Half the adversarial loss of a critic with these logits, in NumPy."""
    real, fake = (np.asarray(logits, np.float64) for logits in (real, fake))
    if config.loss == "least-squares":
        return 0.5 * float(np.mean((real - real_target) ** 2) + np.mean((fake - fake_target) ** 2))
    assert config.loss == "non-saturating"

    def entropy(logits, target):
        return float(
            np.mean(target * np.logaddexp(0, -logits) + (1 - target) * np.logaddexp(0, logits))
        )

    return 0.5 * (entropy(real, real_target) + entropy(fake, fake_target))


def weighted(found: dict[str, Any]) -> float:
    return sum(
        getattr(STEP, penalty) * float(found[penalty])
        for penalty in ("r1", "r2", "gradient_penalty")
    )


def same_rows(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether each of `some` is, to rounding, one of the others."""
    return (
        np.abs(some[:, None] - others[None]).reshape(len(some), len(others), -1).max(axis=-1) < 1e-5
    ).any(axis=1)


@pytest.mark.parametrize("name", TRANSLATOR_CASES)
def test_critics_learn_from_replayed_images(name):
    """d_loss is that of the images `pool.query` returns for the step's key, which are partly old, and not that of the images just made."""
    run, (_, config) = stepped(name), with_stabilisers(name, STEP)
    assert tuple(run.recomputed) == CRITICS[name]
    replayed = unreplayed = 0.0
    for critic, found in run.recomputed.items():
        old = run.before.extra[pool_name(critic)].items
        assert 0 < same_rows(found["shown"], old).sum() < COUNT
        assert_trees_close(run.after.extra[pool_name(critic)], found["pool"], 1e-5)
        assert 0 < same_rows(old, run.after.extra[pool_name(critic)].items).sum() < STEP.pool_size
        logits = found["logits"]
        replayed += half_loss(config, logits["real"], logits["shown"]) + weighted(found)
        unreplayed += half_loss(config, logits["real"], logits["made"]) + weighted(found)
    np.testing.assert_allclose(run.metrics["d_loss"], replayed, rtol=1e-4)
    assert abs(run.metrics["d_loss"] - unreplayed) > 2e-3 * unreplayed


@pytest.mark.parametrize("name", TRANSLATOR_CASES)
def test_penalties_and_noise_are_their_definitions(name):
    """Each critic's penalties as reported, and d_loss holds them with their weights. The noise is half gone after half its images."""
    run, (_, config) = stepped(name), with_stabilisers(name, STEP)
    total = 0.0
    for critic, found in run.recomputed.items():
        prefix = "" if critic == "d" else f"d_{critic}_"
        for penalty in ("r1", "r2", "gradient_penalty"):
            assert found[penalty] > 1e-4, penalty
            np.testing.assert_allclose(
                run.metrics[prefix + penalty], found[penalty], rtol=1e-4, err_msg=penalty
            )
        logits = found["logits"]
        loss = half_loss(config, logits["real"], logits["shown"])
        if prefix:
            np.testing.assert_allclose(run.metrics[f"{prefix}loss"], loss, rtol=1e-4)
        np.testing.assert_allclose(
            run.metrics[f"{prefix}real_logits"], logits["real"].mean(), rtol=1e-3
        )
        np.testing.assert_allclose(
            run.metrics[f"{prefix}fake_logits"], logits["shown"].mean(), rtol=1e-3
        )
        total += loss + weighted(found)
    np.testing.assert_allclose(run.metrics["d_loss"], total, rtol=1e-4)


@pytest.mark.parametrize("name", TRANSLATOR_CASES)
def test_weights_are_clipped_and_moved(name):
    run = stepped(name)
    before, after = (state.players["discriminator"].params for state in (run.before, run.after))
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert np.abs(new).max() <= np.float32(0.05)
        assert np.all(new != np.clip(old, -0.05, 0.05), where=np.abs(new) < np.float32(0.05))
        if new.ndim > 1:
            assert np.abs(new).max() == np.float32(0.05)


@pytest.mark.parametrize("name", TRANSLATOR_CASES)
def test_the_average_is_the_stated_mix(name):
    """ema <- d ema + (1 - d) params with d = 1/2 ^ (images of the step / min(half-life, ramp * images seen))."""
    run = stepped(name)
    decay = 0.5 ** (COUNT / min(100, 0.02 * (SEEN + COUNT)))
    assert 0.5 < decay < 0.6

    def mix(old, new):
        return (decay * old + (1 - decay) * new).astype(np.float32)

    new = run.after.players["generator"].params
    assert_trees_close(
        run.after.ema["params"], jax.tree.map(mix, run.before.ema["params"], new), 1e-6
    )
    moved = [
        np.abs(x - y).max()
        for x, y in zip(
            jax.tree.leaves(new),
            jax.tree.leaves(run.before.players["generator"].params),
            strict=True,
        )
    ]
    assert max(moved) > 1e-4  # or the mix could be of the old parameters


# ------------------------------------------------------------------------------------- spectral normalisation and smooth targets

SPECTRAL = Stabilisers(spectral_norm=True, real_target=0.9, fake_target=0.2)


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def normalised(params: dict, vectors: dict, iterations: int) -> tuple[dict, dict]:
    """A critic's kernels divided by v^T W u after `iterations` power iterations, and all u and v then. In NumPy."""
    divided, after = {}, {}
    for layer, leaves in params.items():
        matrix = np.asarray(leaves["kernel"], np.float64).reshape(-1, leaves["kernel"].shape[-1])
        u, v = vectors[layer]["u"], vectors[layer]["v"]
        for _ in range(iterations):
            v = unit(matrix @ u)
            u = unit(v @ matrix)
        divided[layer] = {
            **leaves,
            "kernel": (leaves["kernel"] / (v @ matrix @ u)).astype(np.float32),
        }
        after[layer] = {"u": u.astype(np.float32), "v": v.astype(np.float32)}
    return divided, after


@pytest.mark.parametrize("name", TRANSLATOR_CASES)
def test_spectral_norm_with_smooth_targets(name):
    """d_loss of the first of two steps by hand: each pass makes a power iteration. Every leaf of the critics moves, and so do u and v."""
    family, config = with_stabilisers(name, SPECTRAL)
    run = play(family, config, jax.jit(functools.partial(family.train_step, config)), 2)
    start, first, final = (state.players["discriminator"] for state in run.states)
    plain = translation.discriminator(
        dataclasses.replace(config, norm="none", stabilisers=Stabilisers())
    )
    judged = jax.jit(lambda params, images: plain.apply({"params": params}, images, train=True))
    seen = jax.jit(functools.partial(seen_by_critics, family, config))(
        run.states[0], make_batch(family, config)
    )
    fooled_before = family is cyclegan  # whose generators come first
    d_loss = 0.0
    for critic, (real, fake) in seen.items():
        params, vectors = start.params[critic], start.stats["spectral"][critic]
        of_fake, _ = normalised(params, vectors, 1 + fooled_before)
        of_real, after = normalised(params, vectors, 2 + fooled_before)
        d_loss += half_loss(config, judged(of_real, real), judged(of_fake, fake), 0.9, 0.2)
        if not fooled_before:
            _, after = normalised(first.params[critic], after, 1)
        assert_trees_close(first.stats["spectral"][critic], after, 1e-5)
    np.testing.assert_allclose(run.metrics["d_loss"][0], d_loss, rtol=1e-4)
    for before, after in ((start, first), (first, final)):
        assert all(
            jax.tree.leaves(jax.tree.map(lambda x, y: np.any(x != y), before.params, after.params))
        )
    for critic in seen:
        for layer, vectors in final.stats["spectral"][critic].items():
            for vector in (
                ("u", "v") if layer != "output" else ("v",)
            ):  # one logit: its u is 1 or -1
                assert (
                    np.abs(vectors[vector] - start.stats["spectral"][critic][layer][vector]).max()
                    > 1e-6
                ), (critic, layer, vector)


# ------------------------------------------------------------------------------------------------------------------------ keys

DRAWING = Stabilisers(instance_noise=0.1, pool_size=6, gradient_penalty=0.7)


@pytest.mark.parametrize("name", ["cyclegan", pytest.param("pix2pix", marks=pytest.mark.slow)])
def test_no_two_draws_share_a_key(name):
    """Noise, points of the penalty, dropout and pools all draw, each example in each pass from a key of its own. (Clears caches: last.)"""
    family, config = with_stabilisers(name, DRAWING, dropout=0.3, loss="relativistic-average")
    init, *steps = draws_of_two_steps(family, config)
    for step, drawn in enumerate(steps):
        keys, found = example_keys(stream_key(KEY, "examples", step), 4), set(drawn)
        for critic in CRITICS[name]:
            streams = [example_streams(keys, f"{critic} alpha")]
            for purpose in ("fake", "real", "fooling", "fooling real"):
                streams.append(
                    example_streams(example_streams(keys, f"{critic} {purpose}"), "instance noise")
                )
            assert set(map(tuple, jax.random.key_data(jnp.concatenate(streams)).tolist())) <= found
            key = stream_key(KEY, "pool", step)
            swap = stream_key(key if critic == "d" else stream_key(key, critic), "pool swap")
            assert tuple(jax.random.key_data(swap).tolist()) in found
    every = [*init, *steps[0], *steps[1]]
    assert (
        len(steps[0]) == len(steps[1]) >= (5 * 4 + 2) * len(CRITICS[name]) + 4
    )  # 4 at least for dropout
    assert len(set(every)) == len(every)
