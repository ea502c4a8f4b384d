"""The fully connected networks against NumPy: maxout and its derivative, the range of images, dropout's place."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.networks.mlp import MaxoutDense, MaxoutDiscriminator, MaxoutGenerator, MLPGenerator

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(6, 5)).astype(np.float32)


def maxout_in_numpy(x, kernel, bias, pieces):
    """x [B, I] -> (largest pieces [B, units], the index of each)."""
    y = (x @ kernel + bias).reshape(len(x), -1, pieces)
    return y.max(-1), y.argmax(-1)


def test_maxout_and_its_gradient():
    """Value: the largest piece. Gradient of the sum: x at the columns of the largest pieces, 0 elsewhere."""
    layer = MaxoutDense(3, 4)
    kernel, bias = (
        RANDOM.normal(size=(5, 12)).astype(np.float32),
        RANDOM.normal(size=12).astype(np.float32),
    )

    def total(kernel):
        return jnp.sum(
            layer.apply({"params": {"Dense_0": {"kernel": kernel, "bias": bias}}}, X, True)
        )

    value, index = maxout_in_numpy(X, kernel, bias, 4)
    np.testing.assert_allclose(total(kernel), value.sum(), rtol=1e-5)
    expected = np.zeros((5, 3, 4), np.float32)
    for example in range(6):
        for unit in range(3):
            expected[:, unit, index[example, unit]] += X[example]
    np.testing.assert_allclose(jax.grad(total)(kernel), expected.reshape(5, 12), atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_maxout_of_equal_pieces_has_a_finite_gradient(dtype):
    layer = MaxoutDense(3, 4, dtype=dtype)
    params = {"Dense_0": {"kernel": jnp.ones((5, 12)), "bias": jnp.zeros(12)}}
    gradient = jax.grad(
        lambda params: jnp.sum(layer.apply({"params": params}, X, True).astype(jnp.float32))
    )(params)
    np.testing.assert_allclose(gradient["Dense_0"]["bias"].reshape(3, 4).sum(-1), 6)


def test_maxout_keeps_a_nan():
    """What is not finite must reach the loss, where training stops."""
    y = MaxoutDense(1, 2).apply(
        {"params": {"Dense_0": {"kernel": jnp.ones((5, 2)), "bias": jnp.array([0.0, jnp.nan])}}},
        X,
        True,
    )
    assert np.all(np.isnan(y))


def test_maxout_discriminator():
    """Images to [0, 1], two maxout layers, a linear output; without keys no dropout."""
    module = MaxoutDiscriminator(((4, 2), (3, 2)))
    images = RANDOM.uniform(-1, 1, (6, 2, 3, 1)).astype(np.float32)
    params = jax.tree.map(
        lambda leaf: leaf * 100, module.init(jax.random.key(0), images, train=False)["params"]
    )
    x = (images.reshape(6, -1) + 1) / 2
    for layer in ("hidden0", "hidden1"):
        dense = params[layer]["Dense_0"]
        x, _ = maxout_in_numpy(x, np.asarray(dense["kernel"]), np.asarray(dense["bias"]), 2)
    expected = x @ np.asarray(params["output"]["kernel"]) + np.asarray(params["output"]["bias"])
    np.testing.assert_allclose(
        module.apply({"params": params}, images, train=True), expected[:, 0], rtol=1e-4
    )
    keys = jax.random.split(jax.random.key(1), 6)
    dropped = module.apply({"params": params}, images, None, keys, train=True)
    assert np.abs(dropped - expected[:, 0]).max() > 1e-3
    np.testing.assert_allclose(
        module.apply({"params": params}, images, None, keys, train=False), expected[:, 0], rtol=1e-4
    )


def test_generators_stay_in_range():
    """A sigmoid mapped to [-1, 1], and tanh: both ends are reached and not passed."""
    latents = 1000 * RANDOM.normal(size=(8, 4)).astype(np.float32)
    for module in (MaxoutGenerator((3, 3, 1), (16,)), MLPGenerator((3, 3, 1), (16,))):
        variables = module.init(jax.random.key(0), latents, train=False)
        images = module.apply(variables, latents, train=False)
        assert images.shape == (8, 3, 3, 1)
        assert float(images.max()) == pytest.approx(1, abs=1e-3)
        assert float(images.min()) == pytest.approx(-1, abs=1e-3)


def test_no_bias_in_front_of_a_norm():
    params = MLPGenerator((3, 3, 1), (8, 8, 8)).init(jax.random.key(0), X, train=False)["params"]
    assert [name for name in params if "bias" not in params[name]] == ["hidden1", "hidden2"]
    assert {"norm1", "norm2"} <= set(params)
