"""Spectral norm against NumPy's singular values, and when u and v are stored."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.nn.layers import Conv, Dense

X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 6, 3)), jnp.float32)


def test_kernel_is_divided_by_its_largest_singular_value():
    layer = Conv(5, 3, 1, 1, use_bias=False, spectral_norm=True)
    variables = layer.init(jax.random.key(0), X)
    for _ in range(50):
        y, new = layer.apply(variables, X, train=True, mutable=["spectral"])
        variables = {**variables, **new}
    kernel = np.asarray(variables["params"]["kernel"])
    sigma = np.linalg.svd(kernel.reshape(-1, 5), compute_uv=False)[0]
    plain = Conv(5, 3, 1, 1, use_bias=False).apply({"params": {"kernel": kernel / sigma}}, X)
    np.testing.assert_allclose(y, plain, rtol=1e-4, atol=1e-5)


def test_one_iteration_per_training_pass_and_none_stored_at_evaluation():
    layer = Dense(4, spectral_norm=True)
    x = X.reshape(2, -1)
    variables = layer.init(jax.random.key(0), x)
    kernel, u = np.asarray(variables["params"]["kernel"]), np.asarray(variables["spectral"]["u"])
    v = kernel @ u / np.linalg.norm(kernel @ u)
    u = v @ kernel / np.linalg.norm(v @ kernel)
    _, new = layer.apply(variables, x, train=True, mutable=["spectral"])
    np.testing.assert_allclose(new["spectral"]["u"], u, rtol=1e-5)
    np.testing.assert_allclose(new["spectral"]["v"], v, rtol=1e-4, atol=1e-6)
    _, same = layer.apply(variables, x, train=False, mutable=["spectral"])
    np.testing.assert_array_equal(same["spectral"]["u"], variables["spectral"]["u"])


def test_gradient_flows_through_sigma_only():
    """d/dW f(W / sigma) is orthogonal to W: the loss does not change with the scale of W."""
    layer = Dense(4, use_bias=False, spectral_norm=True)
    x = X.reshape(2, -1)
    variables = layer.init(jax.random.key(0), x)
    for _ in range(50):
        variables = {**variables, **layer.apply(variables, x, train=True, mutable=["spectral"])[1]}

    def loss(kernel):
        return jnp.sum(layer.apply({**variables, "params": {"kernel": kernel}}, x) ** 2)

    kernel = variables["params"]["kernel"]
    gradient = jax.grad(loss)(kernel)
    assert float(jnp.linalg.norm(gradient)) > 1e-3
    assert abs(float(jnp.vdot(gradient, kernel))) < 1e-4 * float(
        jnp.linalg.norm(gradient) * jnp.linalg.norm(kernel)
    )
