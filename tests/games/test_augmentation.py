"""Augmentation in the families: everything a discriminator sees passes it, gradients reach the generator through it, and ADA's control follows the logits."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import augment, losses, parallel
from jaxgan.augment import Augmentation, Parts
from jaxgan.games import adversarial, stabilisers
from jaxgan.games.stabilisers import Stabilisers
from jaxgan.update import example_keys
from tests.contract.helpers import (
    BATCH,
    EVERY,
    FAMILIES,
    KEY,
    Played,
    assert_same_run,
    initial_state,
    make_batch,
    play,
    setting,
    step_with,
    to_host,
)

ADA = Augmentation("ada", p=0.7, speed_images=200, interval=3)
DIFFAUGMENT = Augmentation("diffaugment")


def with_augmentation(name: str, settings: Augmentation, kind: str = "sgd", **others):
    family, config = EVERY[name].family, setting(name, kind)
    return family, dataclasses.replace(
        config, stabilisers=dataclasses.replace(config.stabilisers, augment=settings, **others)
    )


# ------------------------------------------------------------------------------------------------------------ who passes it

PASSES = {
    "gan": 3,
    "cgan": 3,
    "dcgan": 3,
    "acgan": 3,
    "pix2pix": 3,
    "cyclegan": 6,
    "stargan": 2 * 2 + 1,
    "cyclegan improved": 12,
}
PASSES |= {"vaegan": 2, "spade": 2, "stylegan": 4}
"""Real, generated, and generated again in the generator's turn, for each critic. StarGAN's critic makes two steps here, StyleGAN's a penalty's, too.

VAE-GAN changes reconstructions as the images, for all players at once; SPADE real and generated images alike, as their features are compared.
"""
WIDE = {"pix2pix": Parts(given=3), "cyclegan improved": Parts(images=2), "spade": Parts(given=5)}
"""What the parts are where they are not one image; the improved CycleGAN has critics of both kinds."""


LATER = ("cgan", "acgan", "cyclegan improved", "stylegan")
WITH_ADA = [
    pytest.param(name, "ada", marks=pytest.mark.slow if name in LATER else ()) for name in PASSES
]


@pytest.mark.parametrize(("name", "kind"), [*WITH_ADA, ("pix2pix", "diffaugment")])
def test_every_pass_is_augmented_by_draws_of_its_own(name, kind, monkeypatch):
    """One draw for each pass, from keys that differ; each applied once for the pass, and again by penalties alone."""
    family, config = with_augmentation(name, Augmentation(kind))
    drawn, applied, draw, apply = [], [], augment.draw, augment.apply

    def counted_draw(settings, keys, *rest):
        drawn.append(rest[-1])
        return draw(settings, keys, *rest)

    def counted_apply(settings, transform, shown, parts):
        applied.append((id(transform), parts))
        return apply(settings, transform, shown, parts)

    monkeypatch.setattr(augment, "draw", counted_draw)
    monkeypatch.setattr(augment, "apply", counted_apply)
    state = jax.eval_shape(functools.partial(family.init, config), KEY)
    jax.eval_shape(
        functools.partial(family.train_step, config), state, make_batch(family, config, 4), KEY
    )
    assert len(drawn) == PASSES[name]
    assert len({transform for transform, _ in applied}) == PASSES[name]
    assert WIDE.get(name, Parts()) in drawn
    assert set(drawn) <= {Parts(), WIDE.get(name, Parts())}
    assert ("augment" in state.extra) == (kind == "ada")


def test_streams_of_passes_differ():
    """Real and generated images are changed differently in one step, and alike where everything that names the draw is alike."""
    settings, keys = Stabilisers(augment=DIFFAUGMENT), example_keys(KEY, 4)
    x = np.random.default_rng(0).uniform(-1, 1, (4, 8, 8, 3)).astype(np.float32)

    @functools.partial(jax.jit, static_argnums=(0, 1))
    def changed(critic, of):
        return stabilisers.augmentation(settings, {"keys": keys}, critic, of, x.shape)(x)

    names = [("d", "real"), ("d", "fake"), ("d", "fooling"), ("d", "fooling real"), ("a", "real")]
    results = [np.asarray(changed(*name)) for name in names]
    for i in range(len(names)):
        assert all(np.any(results[i] != results[j]) for j in range(i))
    np.testing.assert_array_equal(changed("d", "real"), results[0])


@pytest.mark.parametrize("kind", ["ada", "diffaugment"])
def test_real_and_generated_images_get_the_same_distribution(kind):
    """The same image as real and as fake, 3,000 times: equal means, spreads and correlations of pixels, to their standard errors."""
    count = 3000
    image = np.random.default_rng(1).uniform(-1, 1, (1, 6, 6, 1)).astype(np.float32)
    settings = Stabilisers(augment=Augmentation(kind, p=0.5))
    draws = {"keys": example_keys(KEY, count), "strengths": {"d": jnp.float32(0.5)}}

    @functools.partial(jax.jit, static_argnums=0)
    def changed(of):
        shown = jnp.broadcast_to(image, (count, 6, 6, 1))
        return stabilisers.augmentation(settings, draws, "d", of, shown.shape)(shown)

    real, fake = (np.asarray(changed(of)).reshape(count, -1) for of in ("real", "fake"))
    assert np.any(real != fake)
    assert real.std(axis=0).min() > 0.1
    for statistic in (
        lambda x: x,
        np.square,
        lambda x: x * np.roll(x, 1, axis=1),
        lambda x: x > 0.5,
    ):
        a, b = statistic(real).astype(np.float64), statistic(fake).astype(np.float64)
        error = np.sqrt((a.var(axis=0) + b.var(axis=0)) / count)
        assert np.abs((a.mean(axis=0) - b.mean(axis=0)) / error).max() < 4.5


ADVERSARIAL_ONLY = {
    "pix2pix": {"l1_weight": 0.0},
    "cyclegan": {"cycle_weight": 0.0, "identity_weight": 0.0},
    "stargan": {"class_weight": 0.0, "reconstruction_weight": 0.0},
    "acgan": {"generator_class_weight": 0.0},
    "spade": {"feature_weight": 0.0},
    "vaegan": {"gamma": 0.0},
    "stylegan": {"path_length_weight": 0.0},
}
LEARNING = [
    *[
        ("gan", ADA),
        ("dcgan", ADA),
        ("pix2pix", DIFFAUGMENT),
        ("stargan", ADA),
        ("cyclegan", DIFFAUGMENT),
        ("cgan", DIFFAUGMENT),
        ("acgan", ADA),
    ],
    *[("spade", DIFFAUGMENT), ("vaegan", DIFFAUGMENT), ("stylegan", ADA)],
]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        pytest.param(*case, marks=pytest.mark.slow if i not in (0, 2) else ())
        for i, case in enumerate(LEARNING)
    ],
)
def test_gradients_reach_the_generator_through_it(name, settings):
    """With no loss but the adversarial one, every leaf of the generator moves; not at all if what the discriminator sees is cut off from the images."""
    assert {case for case, _ in LEARNING} == set(FAMILIES)
    # Steps of SGD are lost in rounding where weights are large, as in StyleGAN's mapping, or
    # gradients tiny, as behind the small weights of GAN's discriminator.
    kind = "adam" if name in ("stylegan", "gan") else "sgd"
    family, config = with_augmentation(
        name,
        settings,
        kind,
        **({"critic_steps": 1, "gradient_penalty": 0.0} if name == "stargan" else {}),
    )
    config = dataclasses.replace(config, **ADVERSARIAL_ONLY.get(name, {}))
    apply = augment.apply

    def moved(share):
        """Which leaves move if `share` of the images' gradient passes."""
        before = initial_state(family, config)
        after, _ = step(share, before, make_batch(family, config), KEY)
        pairs = zip(
            jax.tree.leaves(before.players["generator"].params),
            jax.tree.leaves(after.players["generator"].params),
            strict=True,
        )
        return [bool(np.any(old != new)) for old, new in pairs]

    @jax.jit
    def step(share, state, batch, key):
        def partly(settings, transform, shown, parts):
            through = share * shown + (1 - share) * jax.lax.stop_gradient(shown)
            return apply(settings, transform, through, parts)

        augment.apply = partly
        try:
            return family.train_step(config, state, batch, key)
        finally:
            augment.apply = apply

    assert all(moved(1.0))
    assert not any(moved(0.0))


# ------------------------------------------------------------------------------------------------------------------- control


SIGNS: list[float] = []
"""The mean sign of every batch of real images that `ada_step` has seen."""


@functools.cache
def ada_step():
    """A step of the GAN with ADA and two critic steps, compiled; it appends to `SIGNS`."""
    family, config = with_augmentation("gan", ADA, critic_steps=2)
    adapt = augment.adapt

    def recorded(settings, strength, sign, images):
        jax.debug.callback(lambda sign: SIGNS.append(float(sign)), sign, ordered=True)
        return adapt(settings, strength, sign, images)

    def step(state, batch, key):
        augment.adapt = recorded
        try:
            return family.train_step(config, state, batch, key)
        finally:
            augment.adapt = adapt

    return jax.jit(step)


@functools.cache
def ada_run() -> tuple[Played, list[float]]:
    """Four rounds, and the signs of their eight batches."""
    SIGNS.clear()
    played = play(*with_augmentation("gan", ADA, critic_steps=2), ada_step(), 4)
    jax.effects_barrier()
    return played, SIGNS.copy()


def test_p_follows_the_logits_of_every_critic_step():
    """The recurrence, in NumPy: with every third batch up or down by its images over `speed_images`."""
    run, signs = ada_run()
    assert len(signs) == 8
    p, waiting, expected = 0.7, [], []
    for i, sign in enumerate(signs):
        waiting.append(sign)
        if len(waiting) == 3:
            p = np.clip(p + np.sign(np.mean(waiting) - 0.6) * 3 * BATCH / 200, 0, 1)
            waiting = []
        if i % 2:
            expected.append((p, sum(waiting), len(waiting)))
    found = [state.extra["augment"]["d"] for state in run.states[1:]]
    np.testing.assert_allclose(
        [(float(one.p), float(one.signs), int(one.batches)) for one in found], expected, atol=1e-5
    )
    assert {expected[0][0], expected[1][0]} <= {0.7, 0.7 - 0.24, 0.7 + 0.24}
    assert expected[1][0] != 0.7
    np.testing.assert_allclose(run.metrics["augment_p"], [one[0] for one in expected], atol=1e-6)
    np.testing.assert_allclose(run.metrics["real_sign"], signs[1::2], atol=1e-6)


def test_eight_devices_equal_one():
    """p to the bit: the signs are averaged over devices."""
    family, config = with_augmentation("gan", ADA, critic_steps=2)
    run = play(family, config, parallel.pmap_step(family, config), 4)
    assert_same_run(run, ada_run()[0])
    for one, eight in zip(ada_run()[0].states, run.states, strict=True):
        np.testing.assert_array_equal(one.extra["augment"]["d"].p, eight.extra["augment"]["d"].p)


def test_a_stored_state_goes_on_to_the_bit():
    """p, and what was counted towards its next move, are in the state: stopped after two rounds and read back, the run is the same."""
    family, config = with_augmentation("gan", ADA, critic_steps=2)
    run, _ = ada_run()
    assert int(run.states[2].extra["augment"]["d"].batches) == 1
    state = jax.tree.map(jnp.array, run.states[2])
    for seed in (2, 3):
        state, _ = ada_step()(state, make_batch(family, config, seed=seed), KEY)
    jax.tree.map(np.testing.assert_array_equal, to_host(state), run.final)


@pytest.mark.slow
def test_pix2pix_on_eight_devices_equals_one():
    """Pairs, of which the condition is moved alone."""
    family, config = with_augmentation("pix2pix", DIFFAUGMENT)
    assert_same_run(
        play(family, config, parallel.pmap_step(family, config), 2),
        play(family, config, step_with(family, config), 2),
    )


def test_the_control_counts_from_the_decision_boundary():
    """Least squares asks for 1 and 0: a logit of 0.4 is taken for generated."""
    logits = jnp.array([[0.4, 0.4], [0.6, 0.5]])
    settings = Stabilisers(augment=ADA)
    for loss, sign in (("least-squares", -1 / 4), ("non-saturating", 1.0)):
        metric = stabilisers.sign_metric(settings, logits, losses.decision_boundary(loss))
        np.testing.assert_allclose(metric["real_sign"], sign)
    assert stabilisers.sign_metric(Stabilisers(augment=DIFFAUGMENT), logits, 0.0) == {}


def test_r1_is_taken_through_the_augmentation():
    """At p = 1: half the squared norm of the gradient of D(T(x)) at x, from the Jacobian."""
    family, config = with_augmentation(
        "gan", dataclasses.replace(ADA, p=1.0, pipe=("blit", "contrast", "brightness")), r1=0.5
    )
    state, batch = initial_state(family, config), make_batch(family, config, 4)
    _, metrics = step_with(family, config)(state, batch, KEY)

    @jax.jit
    def penalty(state, x):
        draws = adversarial.draw(config, state, KEY, 4, None) | stabilisers.strengths(state.extra)
        change = stabilisers.augmentation(config.stabilisers, draws, "d", "real", x.shape)
        network, player = family.game(config).discriminator, state.players["discriminator"]
        jacobian = jax.jacrev(
            lambda x: network.apply(
                {"params": player.params, **player.stats}, change(x), None, train=True
            )
        )(x)
        return 0.5 * jnp.sum(jacobian.sum(axis=0) ** 2, axis=(1, 2, 3)).mean()

    np.testing.assert_allclose(metrics["r1"], penalty(state, batch["image"]), rtol=1e-4)
