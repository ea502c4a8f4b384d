"""Losses against NumPy in float64, penalties against closed forms, derivatives up to the third order."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, PartitionSpec

from jaxgan import losses
from jaxgan.state import Player
from jaxgan.update import update

RNG = np.random.default_rng(0)
REAL = RNG.normal(0.5, 2, (8, 3, 2)).astype(np.float32)
FAKE = RNG.normal(-0.5, 2, (8, 3, 2)).astype(np.float32)


def log_sigmoid(x):
    return -np.logaddexp(0, -np.asarray(x, np.float64))


def expected_discriminator_loss(name, real, fake, real_target=1.0, fake_target=0.0):
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    if name in ("non-saturating", "saturating"):
        bce = [
            -(t * log_sigmoid(x) + (1 - t) * log_sigmoid(-x))
            for x, t in ((real, real_target), (fake, fake_target))
        ]
        return bce[0].mean() + bce[1].mean()
    return {
        "least-squares": ((real - real_target) ** 2).mean() + ((fake - fake_target) ** 2).mean(),
        "hinge": np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean(),
        "wasserstein": fake.mean() - real.mean(),
        "relativistic-average": -log_sigmoid(real - fake.mean()).mean()
        - log_sigmoid(-(fake - real.mean())).mean(),
        "relativistic-pairing": -log_sigmoid(real - fake).mean(),
    }[name]


def expected_generator_loss(name, real, fake):
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    return {
        "non-saturating": -log_sigmoid(fake).mean(),
        "saturating": np.log1p(-1 / (1 + np.exp(-fake))).mean(),
        "least-squares": ((fake - 1) ** 2).mean(),
        "hinge": -fake.mean(),
        "wasserstein": -fake.mean(),
        "relativistic-average": -log_sigmoid(fake - real.mean()).mean()
        - log_sigmoid(-(real - fake.mean())).mean(),
        "relativistic-pairing": -log_sigmoid(fake - real).mean(),
    }[name]


# ------------------------------------------------------------------------------------------------------------------- players


@pytest.mark.parametrize("name", losses.LOSSES)
def test_discriminator_loss(name):
    loss = losses.discriminator_loss(name, REAL, FAKE)
    assert loss.shape == ()
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, expected_discriminator_loss(name, REAL, FAKE), rtol=1e-5)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_generator_loss(name):
    real = REAL if name in losses.RELATIVISTIC else None
    np.testing.assert_allclose(
        losses.generator_loss(name, FAKE, real),
        expected_generator_loss(name, REAL, FAKE),
        rtol=1e-5,
    )


@pytest.mark.parametrize("name", losses.LOSSES)
def test_losses_are_float32_means_of_half_precision_logits(name):
    real, fake = jnp.asarray(REAL, jnp.bfloat16), jnp.asarray(FAKE, jnp.bfloat16)
    loss = losses.discriminator_loss(name, real, fake)
    assert loss.dtype == jnp.float32
    assert losses.generator_loss(name, fake, real).dtype == jnp.float32
    np.testing.assert_allclose(
        loss, expected_discriminator_loss(name, np.float32(real), np.float32(fake)), rtol=1e-5
    )


@pytest.mark.parametrize("name", losses.SMOOTHABLE)
def test_smoothed_targets(name):
    loss = losses.discriminator_loss(name, REAL, FAKE, 0.9, 0.2)
    np.testing.assert_allclose(
        loss, expected_discriminator_loss(name, REAL, FAKE, 0.9, 0.2), rtol=1e-5
    )
    traced = jax.jit(partial(losses.discriminator_loss, name))(REAL, FAKE, 0.9, 0.2)
    np.testing.assert_allclose(traced, loss, rtol=1e-6)


@pytest.mark.parametrize("name", sorted(set(losses.LOSSES) - set(losses.SMOOTHABLE)))
@pytest.mark.parametrize("targets", [(0.9, 0.0), (1.0, 0.1)])
def test_losses_without_targets_refuse_smoothing(name, targets):
    with pytest.raises(ValueError, match=f"'{name}' loss has no targets to smooth"):
        losses.discriminator_loss(name, REAL, FAKE, *targets)


def test_unknown_loss_and_missing_real_logits_are_refused():
    with pytest.raises(
        ValueError, match=r"loss must be one of 'non-saturating', .*, got 'nonsaturating'"
    ):
        losses.discriminator_loss("nonsaturating", REAL, FAKE)
    with pytest.raises(ValueError, match=r"loss must be one of .*, got ''"):
        losses.generator_loss("", FAKE)
    for name in losses.RELATIVISTIC:
        with pytest.raises(ValueError, match="needs real_logits"):
            losses.generator_loss(name, FAKE)


def test_pairing_refuses_unequal_shapes_that_would_broadcast():
    with pytest.raises(ValueError, match="logits of one shape"):
        losses.discriminator_loss("relativistic-pairing", REAL, FAKE[:1])


def test_sure_discriminator_keeps_its_loss_and_the_generator_its_gradient():
    np.testing.assert_allclose(
        losses.discriminator_loss("non-saturating", jnp.full(2, 40.0), jnp.full(2, -40.0)),
        2 * np.exp(-40.0),
        rtol=1e-4,
    )
    gradient = {
        name: float(jax.grad(partial(losses.generator_loss, name))(jnp.full(1, -20.0))[0])
        for name in ("non-saturating", "saturating")
    }
    np.testing.assert_allclose(gradient["non-saturating"], -1.0, rtol=1e-6)
    np.testing.assert_allclose(gradient["saturating"], -np.exp(-20.0), rtol=1e-4)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_both_players_push_the_logits_their_way(name):
    for_real, for_fake = jax.grad(partial(losses.discriminator_loss, name), argnums=(0, 1))(
        jnp.full(4, 0.5), jnp.full(4, 0.5)
    )
    assert np.all(np.asarray(for_real) < 0)
    assert np.all(np.asarray(for_fake) > 0)
    assert np.all(
        np.asarray(
            jax.grad(partial(losses.generator_loss, name))(jnp.full(4, 0.5), jnp.full(4, 0.5))
        )
        < 0
    )


# ------------------------------------------------------------------------------------------------- relativistic mean over devices


LOGIT_INPUTS = [np.random.default_rng(i).normal(i, 1, (16, 2)).astype(np.float32) for i in range(2)]


def step_with(mapping, loss_name, devices=8):
    """One plain-SGD step of a two-weight discriminator whose loss needs global means, in the given mapping."""

    def step(weights, real, fake, axis_name=None):
        player = Player(params=weights, stats={}, opt=optax.sgd(0.1).init(weights))

        def loss_fn(weights):
            logits = [x @ weights for x in (real, fake)]
            return losses.discriminator_loss(loss_name, *logits, axis_name=axis_name), None

        player, loss, _ = update(player, loss_fn, optax.sgd(0.1), axis_name)
        return player.params, loss

    real, fake = LOGIT_INPUTS
    weights = jnp.array([0.3, -0.2])
    if mapping == "jit":
        return jax.jit(step)(weights, real, fake)
    mapped = partial(step, axis_name="data")
    if mapping == "pmap":
        split = [x.reshape(devices, -1, 2) for x in (real, fake)]
        return jax.pmap(mapped, axis_name="data", in_axes=(None, 0, 0), out_axes=None)(
            weights, *split
        )
    mesh = Mesh(np.array(jax.devices()[:devices]), ("data",))
    spec = PartitionSpec("data")
    vma = mapping == "shard_map, vma"
    sharded = jax.shard_map(
        mapped,
        mesh=mesh,
        in_specs=(PartitionSpec(), spec, spec),
        out_specs=PartitionSpec(),
        check_vma=vma,
    )
    return jax.jit(sharded)(weights, real, fake)


@pytest.mark.parametrize("mapping", ["pmap", "shard_map, vma", "shard_map, no vma"])
def test_relativistic_average_uses_global_means(mapping):
    weights, loss = step_with("jit", "relativistic-average")
    mapped_weights, mapped_loss = step_with(mapping, "relativistic-average")
    np.testing.assert_allclose(mapped_weights, weights, atol=1e-6)
    np.testing.assert_allclose(mapped_loss, loss, rtol=1e-6)
    real, fake = (x @ np.array([0.3, -0.2]) for x in LOGIT_INPUTS)
    np.testing.assert_allclose(
        loss, expected_discriminator_loss("relativistic-average", real, fake), rtol=1e-5
    )


# ----------------------------------------------------------------------------------------------------------------- penalties

IMAGES = RNG.normal(size=(4, 3, 3, 2)).astype(np.float32)
OTHERS = RNG.normal(size=(4, 3, 3, 2)).astype(np.float32)


def quadratic(images):
    """[B, H, W, C] -> [B] with gradient = the image itself."""
    return 0.5 * jnp.sum(jnp.square(images), axis=(1, 2, 3))


def cubic(images):
    return jnp.sum(images**3, axis=(1, 2, 3)) / 3


def test_r1_and_r2_are_half_the_mean_squared_gradient_norm():
    squares = (IMAGES.astype(np.float64) ** 2).sum((1, 2, 3))
    np.testing.assert_allclose(
        losses.r1_penalty(quadratic, IMAGES), 0.5 * squares.mean(), rtol=1e-5
    )
    np.testing.assert_allclose(
        losses.r2_penalty(cubic, IMAGES),
        0.5 * (IMAGES.astype(np.float64) ** 4).sum((1, 2, 3)).mean(),
        rtol=1e-5,
    )


def test_patch_logits_are_summed_per_image():
    penalty = losses.r1_penalty(
        lambda images: jnp.sum(images, axis=-1), IMAGES
    )  # [B, 3, 3] logits; every derivative 1
    np.testing.assert_allclose(penalty, 0.5 * IMAGES[0].size, rtol=1e-6)


def test_gradient_norms_and_penalty_at_the_mixed_images():
    alpha = np.array([0.0, 0.25, 0.5, 1.0], np.float32)
    mixed = alpha[:, None, None, None] * IMAGES + (1 - alpha[:, None, None, None]) * OTHERS
    norms = np.sqrt((mixed.astype(np.float64) ** 2).sum((1, 2, 3)))
    np.testing.assert_allclose(losses.gradient_norms(quadratic, mixed), norms, rtol=1e-5)
    np.testing.assert_allclose(
        losses.gradient_penalty(quadratic, IMAGES, OTHERS, jnp.asarray(alpha)),
        ((norms - 1) ** 2).mean(),
        rtol=1e-5,
    )


def test_penalty_weights_derivative_matches_the_closed_form():
    # critic s * quadratic: gradient norm s |x|, so d/ds mean (s |x| - 1)^2 = mean 2 |x| (s |x| - 1), and R1 is s^2 |x|^2 / 2.
    norms = np.sqrt((IMAGES.astype(np.float64) ** 2).sum((1, 2, 3)))
    slope = jax.grad(
        lambda s: losses.gradient_penalty(lambda x: s * quadratic(x), IMAGES, OTHERS, jnp.ones(4))
    )(0.7)
    np.testing.assert_allclose(slope, (2 * norms * (0.7 * norms - 1)).mean(), rtol=1e-5)
    slope = jax.grad(lambda s: losses.r1_penalty(lambda x: s * quadratic(x), IMAGES))(0.7)
    np.testing.assert_allclose(slope, (0.7 * norms**2).mean(), rtol=1e-5)


def test_zero_gradient_norm_gives_penalty_one_and_no_nan():
    def penalty(scale):
        return losses.gradient_penalty(lambda x: scale * quadratic(x), IMAGES, OTHERS, jnp.ones(4))

    value, slope = jax.value_and_grad(penalty)(0.0)
    assert (float(value), float(slope)) == (1.0, 0.0)
    assert float(jax.grad(jax.grad(penalty))(0.0)) == 0.0


def test_tiny_gradient_norms_are_exact():
    norms = losses.gradient_norms(lambda x: 1e-8 * quadratic(x), IMAGES)
    np.testing.assert_allclose(
        norms, 1e-8 * np.sqrt((IMAGES.astype(np.float64) ** 2).sum((1, 2, 3))), rtol=1e-5
    )


@pytest.mark.parametrize("penalty", ["r1", "gradient"])
def test_penalties_differentiate_to_third_order(penalty):
    def value(scale):
        def critic(x):
            return scale**2 * cubic(x)

        if penalty == "r1":
            return losses.r1_penalty(critic, IMAGES)
        return losses.gradient_penalty(critic, IMAGES, OTHERS, jnp.ones(4))

    fourth = (IMAGES.astype(np.float64) ** 4).sum((1, 2, 3))
    # R1 is a s^4 with a = mean |x^2|^2 / 2; the penalty is mean (n s^2 - 1)^2 = n^2 s^4 - 2 n s^2 + 1. Third derivative: 24 (..) s.
    expected = 24 * 0.9 * (fourth.mean() / 2 if penalty == "r1" else fourth.mean())
    np.testing.assert_allclose(jax.grad(jax.grad(jax.grad(value)))(0.9), expected, rtol=1e-4)


@pytest.mark.parametrize("vma", [True, False])
def test_penalties_average_over_devices_like_the_global_one(vma):
    images = RNG.normal(size=(8, 2, 2, 1)).astype(np.float32)

    def slope(scale, images, axis_name=None):
        player = Player(params=scale, stats={}, opt=optax.sgd(1.0).init(scale))
        loss = partial(lambda x, s: (losses.r1_penalty(lambda y: s * cubic(y), x), None), images)
        return update(player, loss, optax.sgd(1.0), axis_name)[0].params

    mesh = Mesh(np.array(jax.devices()), ("data",))
    specs = (PartitionSpec(), PartitionSpec("data"))
    sharded = jax.shard_map(
        partial(slope, axis_name="data"),
        mesh=mesh,
        in_specs=specs,
        out_specs=PartitionSpec(),
        check_vma=vma,
    )
    expected = 0.5 - 0.5 * (images.astype(np.float64) ** 4).sum((1, 2, 3)).mean()
    np.testing.assert_allclose(jax.jit(slope)(jnp.float32(0.5), images), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(sharded)(jnp.float32(0.5), images), expected, rtol=1e-5)


def test_clip_weights():
    clipped = losses.clip_weights(
        {"a": jnp.array([-1.0, 0.005, 2.0]), "b": {"c": jnp.array(-0.02)}}, 0.01
    )
    np.testing.assert_array_equal(clipped["a"], np.float32([-0.01, 0.005, 0.01]))
    np.testing.assert_array_equal(clipped["b"]["c"], np.float32(-0.01))


# ------------------------------------------------------------------------------------------------------------- classification


def test_softmax_cross_entropy():
    logits = RNG.normal(0, 5, (6, 4)).astype(np.float32)
    labels = np.array([0, 3, 1, 1, 2, 0], np.int32)
    exact = logits.astype(np.float64)
    expected = np.mean(
        [np.log(np.exp(row).sum()) - row[label] for row, label in zip(exact, labels, strict=True)]
    )
    np.testing.assert_allclose(losses.softmax_cross_entropy(logits, labels), expected, rtol=1e-5)
    np.testing.assert_allclose(
        losses.softmax_cross_entropy(logits + 1e4, labels), expected, atol=2e-3
    )
    assert np.isnan(losses.softmax_cross_entropy(logits, labels + 1))
