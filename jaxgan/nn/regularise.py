"""Layers that draw: dropout and noise, one key per example, so that a result does not depend on the devices it was computed on."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxgan.errors import is_number
from jaxgan.update import example_streams


def dropout(x: jax.Array, rate: jax.Array | float, keys: jax.Array | None, name: str) -> jax.Array:
    """Zero a share `rate` of x [B, ...] and scale the rest by 1 / (1 - rate) (Srivastava et al. 2014).

    Args:
      keys: one key per example, not consumed (the layer's stream `name` is); None turns dropout off.
    """
    if keys is None or (is_number(rate) and rate == 0):
        return x
    kept = jnp.asarray(1 - rate, jnp.float32)
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, kept, x.shape[1:]))(
        example_streams(keys, name)
    )
    return jnp.where(keep, x / kept.astype(x.dtype), jnp.zeros_like(x))


def add_noise(x: jax.Array, scale: jax.Array | float, keys: jax.Array, name: str) -> jax.Array:
    """x [B, ...] plus normal noise of standard deviation `scale` (a float32 [] or number), from each example's stream `name`."""
    noise = jax.vmap(lambda key: jax.random.normal(key, x.shape[1:], x.dtype))(
        example_streams(keys, name)
    )
    return x + jnp.asarray(scale, x.dtype) * noise
