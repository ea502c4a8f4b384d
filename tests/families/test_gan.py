"""The 2014 GAN: its schedule, its latents, its sizes."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import cgan, gan, optim
from jaxgan.games import adversarial

KEY = jax.random.key(2)


@pytest.mark.parametrize(
    ("family", "factor", "least"), [(gan, 1.000004, 1e-6), (cgan, 1.00004, 1e-6)]
)
def test_official_learning_rate(family, factor, least):
    """0.1 divided by the factor at every update of 100 images, not below 1e-6; momentum 0.5 to 0.7 over 250 epochs of 50,000."""
    optimizer = family.Config().generator_optimizer
    assert optimizer == family.Config().discriminator_optimizer
    for updates in (0, 1000, 50_000, 200_000, 10_000_000):
        expected = max(0.1 * factor**-updates, least)
        assert float(optim.learning_rate(optimizer, 100 * updates)) == pytest.approx(
            expected, rel=1e-4
        )
    momenta = [
        float(optim.momentum(optimizer, images)) for images in (0, 6_250_000, 12_500_000, 10**9)
    ]
    np.testing.assert_allclose(momenta, [0.5, 0.6, 0.7, 0.7], rtol=1e-6)


@pytest.mark.parametrize(
    ("config", "low", "high", "mean", "variance"),
    [
        (gan.Config(latent_size=50), -(3**0.5), 3**0.5, 0, 1),
        (gan.Config(latent_size=50, latent="normal"), -10, 10, 0, 1),
        (cgan.Config(latent_size=50), 0, 1, 0.5, 1 / 12),
    ],
)
def test_latents(config, low, high, mean, variance):
    """Range, mean and variance of what a step draws for 512 examples, and no two alike."""
    family = {gan.Config: gan, cgan.Config: cgan}[type(config)]
    state = jax.eval_shape(functools.partial(family.init, config), KEY).replace(step=jnp.int32(4))
    latents = np.asarray(
        adversarial.draw(config, state, KEY, 512, None, family._latent(config))["latents"]
    )
    assert latents.shape == (512, 50)
    assert latents.min() >= low
    assert latents.max() <= high
    assert latents.max() > low + 0.95 * (min(high, 2) - low)
    assert latents.mean() == pytest.approx(mean, abs=0.03)
    assert latents.var() == pytest.approx(variance, rel=0.03)
    assert len(np.unique(latents)) > 0.99 * latents.size


@pytest.mark.parametrize("architecture", ["maxout", "mlp"])
@pytest.mark.parametrize(("size", "channels"), [((28, 28), 1), ((5, 9), 2), ((8, 8), 3)])
def test_any_size(size, channels, architecture):
    config = gan.Config(
        size,
        channels,
        4,
        architecture=architecture,
        generator_hidden=(6, 6),
        discriminator_hidden=(5, 5),
    )
    state = jax.eval_shape(functools.partial(gan.init, config), KEY)
    output = state.players["generator"].params["output"]["kernel"]
    assert output.shape == (6, size[0] * size[1] * channels)
    assert jax.eval_shape(
        lambda state, key: gan.sample(config, state, key, 3), state, KEY
    ).shape == (3, *size, channels)
    after, _ = jax.eval_shape(
        functools.partial(gan.train_step, config), state, gan.batch_spec(config, 4), KEY
    )
    assert jax.tree.structure(after) == jax.tree.structure(state)
