"""Channels beside each other and apart against jnp.concatenate and jnp.split, and their gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.nn.channels import apart, beside


@pytest.mark.parametrize("widths", [(3,), (1, 4), (2, 1, 3)])
@pytest.mark.parametrize("shape", [(5,), (2, 4, 3)])
def test_beside_is_a_concatenation(widths, shape):
    parts = [
        jax.random.normal(jax.random.key(i), (*shape, width)) for i, width in enumerate(widths)
    ]
    np.testing.assert_array_equal(beside(parts), jnp.concatenate(parts, -1))
    weights = jax.random.normal(jax.random.key(9), (*shape, sum(widths)))
    found = jax.grad(lambda parts: jnp.sum(weights * beside(parts) ** 2))(parts)
    wanted = jax.grad(lambda parts: jnp.sum(weights * jnp.concatenate(parts, -1) ** 2))(parts)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_beside_keeps_what_is_not_finite_in_its_place():
    made = np.asarray(
        beside([jnp.array([[jnp.nan, 1.0]]), jnp.array([[jnp.inf]]), jnp.array([[2.0, -jnp.inf]])])
    )
    np.testing.assert_array_equal(made, [[np.nan, 1.0, np.inf, 2.0, -np.inf]])


def test_beside_has_the_dtype_of_a_concatenation():
    parts = [jnp.ones((2, 3), jnp.bfloat16), jnp.ones((2, 1), jnp.float32)]
    assert beside(parts).dtype == jnp.concatenate(parts, -1).dtype == jnp.float32
    assert beside(parts[:1]).dtype == jnp.bfloat16


@pytest.mark.parametrize("count", [1, 2, 3])
def test_apart_is_a_split_whose_gradient_is_a_sum_of_padded_arrays(count):
    x = jax.random.normal(jax.random.key(0), (2, 5, 6))
    for one, other in zip(
        apart(x, [x.shape[-1] // count] * count), jnp.split(x, count, -1), strict=True
    ):
        np.testing.assert_array_equal(one, other)

    def weighted(split, x):
        return sum((i + 1) * jnp.sum(part**3) for i, part in enumerate(split(x)))

    gradient = jax.grad(lambda x: weighted(lambda x: apart(x, [x.shape[-1] // count] * count), x))
    np.testing.assert_array_equal(
        gradient(x), jax.grad(lambda x: weighted(lambda x: jnp.split(x, count, -1), x))(x)
    )
    assert "concatenate" not in str(jax.make_jaxpr(gradient)(x))
