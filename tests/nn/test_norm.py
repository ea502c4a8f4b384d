"""Batch norm against NumPy: global statistics, unbiased running variance, conditional gains. Instance norm, and the choice between the two."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxgan.nn.norm import BatchNorm, InstanceNorm, _mean_axis_by_axis, norm_layer, standardise

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
    np.testing.assert_allclose(
        new["batch_stats"]["var"], 0.9 + 0.1 * var * count / (count - 1), rtol=1e-5
    )


def test_evaluation_uses_the_running_statistics():
    layer = BatchNorm()
    variables = layer.init(jax.random.key(0), X, train=False)
    stats = {"mean": jnp.array([1.0, 2, 3, 4]), "var": jnp.array([4.0, 3, 2, 1])}
    y = layer.apply({"params": variables["params"], "batch_stats": stats}, X, train=False)
    np.testing.assert_allclose(
        y, expected(X, np.array([1, 2, 3, 4]), np.array([4, 3, 2, 1])), atol=1e-5
    )


def test_statistics_are_of_the_batch_on_all_devices():
    layer = BatchNorm(axis_name="data")
    variables = layer.init(jax.random.key(0), X, train=True)
    apply = partial(layer.apply, train=True, mutable=["batch_stats"])
    y, new = jax.pmap(apply, axis_name="data", in_axes=(None, 0))(
        variables, X.reshape(8, 2, 3, 5, 4)
    )
    whole, stats = BatchNorm().apply(variables, X, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(y.reshape(X.shape), whole, atol=1e-5)
    for name in ("mean", "var"):
        np.testing.assert_allclose(
            new["batch_stats"][name][3], stats["batch_stats"][name], rtol=1e-5
        )


def test_conditional_gains_are_those_of_the_label():
    layer = BatchNorm(classes=3)
    labels = jnp.array([0, 1, 2, 1] * 4)
    variables = layer.init(jax.random.key(0), X, train=False, labels=labels)
    scale, bias = RNG.normal(size=(2, 3, 4)).astype(np.float32)
    variables = {**variables, "params": {"scale": scale, "bias": bias}}
    y, _ = layer.apply(variables, X, train=True, labels=labels, mutable=["batch_stats"])
    normalised = expected(X, X.mean((0, 1, 2)), X.var((0, 1, 2)))
    picked = np.asarray(labels)
    np.testing.assert_allclose(
        y, normalised * scale[picked][:, None, None] + bias[picked][:, None, None], atol=1e-5
    )


def test_bfloat16_keeps_float32_statistics():
    layer = BatchNorm(dtype=jnp.bfloat16)
    y, variables = layer.init_with_output(jax.random.key(0), X.astype(jnp.bfloat16), train=True)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_instance_norm_normalises_each_channel_of_each_example():
    y, variables = InstanceNorm().init_with_output(jax.random.key(0), X)
    assert variables == {}
    mean, var = X.mean((1, 2), keepdims=True), X.var((1, 2), keepdims=True)
    np.testing.assert_allclose(y, expected(X, mean, var), atol=1e-5)


def test_instance_norm_is_exact_far_from_zero_and_constant_where_there_is_one_pixel():
    """A variance of one pass, E[x^2] - E[x]^2, would be noise at a mean of 10,000."""
    far = (X.astype(np.float64) + 1e4).astype(np.float32)
    exact = expected(
        far.astype(np.float64),
        far.mean((1, 2), keepdims=True, dtype=np.float64),
        far.var((1, 2), keepdims=True, dtype=np.float64),
    )
    np.testing.assert_allclose(InstanceNorm().apply({}, far), exact, atol=2e-3)
    np.testing.assert_array_equal(
        InstanceNorm().apply({}, X[:, :1, :1]), np.zeros_like(X[:, :1, :1])
    )


def test_instance_norm_in_bfloat16_has_float32_statistics():
    rounded = jnp.asarray(X, jnp.bfloat16)
    y = InstanceNorm(dtype=jnp.bfloat16).apply({}, rounded)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(
        y, InstanceNorm().apply({}, rounded.astype(jnp.float32)).astype(jnp.bfloat16)
    )


def plain(x, axes):
    """The same by single operations, each with its own gradient."""
    centred = x - jnp.mean(x, axes, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(centred**2, axes, keepdims=True) + 1e-5)


def derivatives(function):
    """The gradient of a loss, and that of the gradient's norm as in a gradient penalty."""
    weights = jnp.arange(1.0, 5.0).reshape(1, 1, 1, 4)

    def loss(x):
        return jnp.sum(jnp.sin(function(x) * weights) + function(x) ** 3)

    def penalty(x):
        return jnp.sum(jnp.square(jax.grad(loss)(x)))

    return jax.grad(loss)(X), jax.grad(penalty)(X)


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2)])
def test_the_written_gradient_is_that_of_the_operations_to_second_order(axes):
    for found, wanted in zip(
        derivatives(lambda x: standardise(x, axes, 1e-5)[0]),
        derivatives(lambda x: plain(x, axes)),
        strict=True,
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=3e-5 * np.abs(wanted).max())


def test_the_gradient_reads_its_input_once():
    """Both sums of the gradient are there before anything that depends on one of them: no third pass."""
    assert sums_of("cpu") == 4, "two sums of the forward pass and two of the gradient"


def sums_of(platform):
    """How many sums an instance norm and its gradient have, lowered for a platform."""
    both = jax.jit(lambda x: jax.vjp(lambda x: InstanceNorm().apply({}, x), x)[1](x))
    return both.trace(X).lower(lowering_platforms=(platform,)).as_text().count("stablehlo.reduce(")


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_off_the_cpu_means_are_of_one_axis_after_the_other(platform):
    assert sums_of(platform) == 2 * sums_of("cpu")


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2)])
def test_means_axis_by_axis_are_the_means(axes):
    np.testing.assert_allclose(
        _mean_axis_by_axis(X, axes),
        np.mean(np.asarray(X, np.float64), axes, keepdims=True),
        rtol=1e-6,
        atol=1e-7,
    )


class Chosen(nn.Module):
    kind: str

    @nn.compact
    def __call__(self, x, train):
        return norm_layer(self.kind, "norm7", scale_init=nn.initializers.constant(2.0))(x, train)


@pytest.mark.parametrize(("kind", "axes"), [("batch", (0, 1, 2)), ("instance", (1, 2))])
def test_norm_layer_is_the_norm_of_its_name(kind, axes):
    variables = Chosen(kind).init(jax.random.key(0), X, False)
    y, _ = Chosen(kind).apply(variables, X, True, mutable=["batch_stats"])
    gain = 2 if kind == "batch" else 1
    np.testing.assert_allclose(
        y, gain * expected(X, X.mean(axes, keepdims=True), X.var(axes, keepdims=True)), atol=2e-5
    )
    assert list(variables.get("params", {})) == (["norm7"] if kind == "batch" else [])


def test_norm_layer_none_is_the_identity_and_others_are_refused():
    np.testing.assert_array_equal(Chosen("none").apply({}, X, True), X)
    with pytest.raises(
        ValueError, match="norm must be one of 'batch', 'instance', 'none', got 'layer'"
    ):
        Chosen("layer").apply({}, X, True)
