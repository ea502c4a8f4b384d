"""Upsampling and pooling against jax.image.resize and NumPy; dropout's share and independence of devices."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.nn.regularise import add_noise, dropout
from jaxgan.nn.resample import average_pool, upsample

X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 6, 3)), jnp.float32)


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_upsampling_is_that_of_jax_image(method):
    np.testing.assert_allclose(
        upsample(X, method), jax.image.resize(X, (2, 8, 12, 3), method), atol=1e-6
    )


def test_unknown_upsampling_names_the_choices():
    with pytest.raises(ValueError, match="'nearest', 'bilinear'"):
        upsample(X, "cubic")


def test_average_pool_is_the_mean_of_squares():
    expected = np.asarray(X).reshape(2, 2, 2, 3, 2, 3).mean((2, 4))
    np.testing.assert_allclose(average_pool(X), expected, atol=1e-6)


def test_dropout_drops_its_share_and_keeps_the_mean():
    keys = jax.random.split(jax.random.key(0), 64)
    x = jnp.ones((64, 500))
    y = np.asarray(dropout(x, 0.3, keys, "layer"))
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.7)}
    np.testing.assert_array_equal(dropout(x, 0.3, None, "layer"), x)
    np.testing.assert_array_equal(dropout(x[8:16], 0.3, keys[8:16], "layer"), y[8:16])
    assert (np.asarray(dropout(x, 0.3, keys, "another layer")) != y).any()


def test_noise_has_its_scale():
    keys = jax.random.split(jax.random.key(0), 64)
    y = np.asarray(add_noise(jnp.full((64, 500), 2.0), 0.5, keys, "layer"))
    assert y.mean() == pytest.approx(2, abs=0.02)
    assert y.std() == pytest.approx(0.5, abs=0.01)
