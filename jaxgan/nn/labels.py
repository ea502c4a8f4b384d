"""Labels as vectors. One that is out of range gives NaN, so that no loss or image made with it passes for good."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def one_hot(labels: jax.Array | None, classes: int) -> jax.Array:
    """Return labels, integers [...], as float32 [..., classes]; NaN everywhere for one outside [0, classes).

    Raises ValueError for labels of None.
    """
    return rows(jnp.eye(classes, dtype=jnp.float32), labels)


def rows(table: jax.Array, labels: jax.Array | None) -> jax.Array:
    """Return the rows of `table` [K, ...] that labels, integers [B], number: [B, ...]; NaN for one outside [0, K).

    By the fill value of a gather: a `where` with NaN would trip `jax_debug_nans` outside jit, and XLA
    simplifies 0 * inf away. Raises ValueError for labels of None.
    """
    labels = _given(labels)
    table, labels = jnp.asarray(table), jnp.asarray(labels)
    beyond = jnp.where(labels < 0, len(table), labels)  # a negative index would count from the end
    return table.at[beyond].get(mode="fill", fill_value=jnp.nan)


def _given(labels: jax.Array | None) -> jax.Array:
    if labels is None:
        raise ValueError("a class-conditional network needs labels, int32 [B]")
    return labels
