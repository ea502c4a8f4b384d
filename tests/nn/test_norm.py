"""Batch norm against NumPy: global statistics, unbiased running variance, conditional gains."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.nn.norm import BatchNorm

RNG = np.random.default_rng(0)
X = RNG.normal(3, 2, (16, 3, 5, 4)).astype(np.float32)


def expected(x, mean, var):
    return (x - mean) / np.sqrt(var + 1e-5)


def test_training_normalises_and_moves_the_running_statistics():
    layer = BatchNorm()
    variables = layer.init(jax.random.key(0), X, train=False)
    y, new = layer.apply(variables, X, train=True, mutable=["batch_stats"])
    mean, var = X.mean((0, 1, 2)), X.var((0, 1, 2))
    np.testing.assert_allclose(y, expected(X, mean, var), atol=1e-5)
    count = X.size // 4
    np.testing.assert_allclose(new["batch_stats"]["mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["var"], 0.9 + 0.1 * var * count / (count - 1), rtol=1e-5)


def test_evaluation_uses_the_running_statistics():
    layer = BatchNorm()
    variables = layer.init(jax.random.key(0), X, train=False)
    stats = {"mean": jnp.array([1.0, 2, 3, 4]), "var": jnp.array([4.0, 3, 2, 1])}
    y = layer.apply({"params": variables["params"], "batch_stats": stats}, X, train=False)
    np.testing.assert_allclose(y, expected(X, np.array([1, 2, 3, 4]), np.array([4, 3, 2, 1])), atol=1e-5)


def test_statistics_are_of_the_batch_on_all_devices():
    layer = BatchNorm(axis_name="data")
    variables = layer.init(jax.random.key(0), X, train=True)
    apply = partial(layer.apply, train=True, mutable=["batch_stats"])
    y, new = jax.pmap(apply, axis_name="data", in_axes=(None, 0))(variables, X.reshape(8, 2, 3, 5, 4))
    whole, stats = BatchNorm().apply(variables, X, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(y.reshape(X.shape), whole, atol=1e-5)
    for name in ("mean", "var"):
        np.testing.assert_allclose(new["batch_stats"][name][3], stats["batch_stats"][name], rtol=1e-5)


def test_conditional_gains_are_those_of_the_label():
    layer = BatchNorm(classes=3)
    labels = jnp.array([0, 1, 2, 1] * 4)
    variables = layer.init(jax.random.key(0), X, train=False, labels=labels)
    scale, bias = RNG.normal(size=(2, 3, 4)).astype(np.float32)
    variables = {**variables, "params": {"scale": scale, "bias": bias}}
    y, _ = layer.apply(variables, X, train=True, labels=labels, mutable=["batch_stats"])
    normalised = expected(X, X.mean((0, 1, 2)), X.var((0, 1, 2)))
    picked = np.asarray(labels)
    np.testing.assert_allclose(y, normalised * scale[picked][:, None, None] + bias[picked][:, None, None], atol=1e-5)


def test_bfloat16_keeps_float32_statistics():
    layer = BatchNorm(dtype=jnp.bfloat16)
    y, variables = layer.init_with_output(jax.random.key(0), X.astype(jnp.bfloat16), train=True)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
