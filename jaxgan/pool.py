"""The replay pool: a buffer of generated images that shows the discriminator older ones half of the time.

Source: Shrivastava et al. 2017, section 2.3, in the form of CycleGAN (Zhu et al. 2017, section 4).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from jaxgan.errors import require, require_range
from jaxgan.state import PyTree
from jaxgan.update import stream_key


class Pool(struct.PyTreeNode):
    """items: tree of arrays [size, ...], stored examples (zeros where none yet). count: int32 [], how many are stored."""

    items: PyTree
    count: jax.Array


def create(size: int, example: PyTree) -> Pool:
    """An empty pool of `size` examples; size 0 makes `query` return its items as they are.

    Args:
      example: tree of arrays or `jax.ShapeDtypeStruct` of *one* example, without a batch axis (say an image and its label).

    Raises:
      ValueError: negative size.
    """
    require_range("pool size", size, 0)
    return Pool(
        items=jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype), example),
        count=jnp.zeros((), jnp.int32),
    )


def query(pool: Pool, items: PyTree, key: jax.Array) -> tuple[Pool, PyTree]:
    """Exchange a batch with the pool: (the pool after it, a batch of the same shapes).

    One item after the other: while the pool has room, an item is stored and returned; then, with probability 1/2, it takes the place of a
    random stored item, which is returned instead; else it is returned and not stored. An item can so return one of its own batch.

    Args:
      items: tree of [B, ...], like the pool's. Under a mapped axis the *gathered* batch (`jaxgan.update.gather`) with the same key on
        every device: then the pool stays the same everywhere.
      key: consumed, by the streams "pool swap" and "pool slot".
    """
    count = jax.tree.leaves(items)[0].shape[0]
    return exchange(pool, items, *draw(key, count, _size(pool)))


def draw(key: jax.Array, count: int, size: int) -> tuple[jax.Array, jax.Array]:
    """The choices for `count` items and a pool of `size`: swap bool [count], slot int32 [count] in [0, size)."""
    swap = jax.random.bernoulli(stream_key(key, "pool swap"), jnp.float32(0.5), (count,))
    slot = jax.random.randint(stream_key(key, "pool slot"), (count,), 0, max(size, 1), jnp.int32)
    return swap, slot


def exchange(pool: Pool, items: PyTree, swap: jax.Array, slot: jax.Array) -> tuple[Pool, PyTree]:
    """`query` with the choices of `draw` given. Choices of items that fill the pool are ignored.

    Raises:
      ValueError: items unlike the pool's in structure, shape or dtype.
    """
    size = _size(pool)
    _check_items(pool, items)
    if size == 0:
        return pool, items

    # The turns are worked out on indices first and the items move once. A loop over the items that reads and writes the pool would copy
    # all of it in every turn.
    turn = jnp.arange(swap.size, dtype=jnp.int32)
    filling = pool.count + turn < size
    swap = swap & ~filling
    slot = jnp.where(filling, pool.count + turn, slot)
    previous, last = _writers(filling | swap, slot)

    def move(stored, new):
        old = stored[slot]
        returned = _rows(swap, _rows(previous < 0, old, new[previous]), new)
        # Every turn writes what its slot holds in the end, if need be what it held before: a write that depends on the read of the same
        # rows is done in place, where XLA would copy the pool for a read and a write that it could reorder.
        return stored.at[slot].set(_rows(last < 0, old, new[last])), returned

    moved = jax.tree.map(move, pool.items, items)
    stored, returned = jax.tree.transpose(
        jax.tree.structure(pool.items), jax.tree.structure((0, 0)), moved
    )
    return Pool(items=stored, count=jnp.minimum(pool.count + swap.size, size)), returned


def _writers(stores: jax.Array, slot: jax.Array) -> tuple[jax.Array, jax.Array]:
    """For each of B turns, of which some store their item in their slot: the latest *earlier* turn that stored in the same slot, and the
    latest of *all*. Both int32 [B], -1 where there is none.
    """
    turn = jnp.arange(slot.size, dtype=jnp.int32)
    row, column = turn[:, None], turn[None, :]
    same = (slot[:, None] == slot[None, :]) & stores[None, :]
    return jnp.max(jnp.where(same & (column < row), column, -1), axis=1), jnp.max(
        jnp.where(same, column, -1), axis=1
    )


def _rows(condition: jax.Array, yes: jax.Array, no: jax.Array) -> jax.Array:
    """`where` on the leading axis: condition [B], the others [B, ...]."""
    return jnp.where(condition.reshape(-1, *[1] * (yes.ndim - 1)), yes, no)


def _size(pool: Pool) -> int:
    return jax.tree.leaves(pool.items)[0].shape[0]


def _check_items(pool: Pool, items: PyTree) -> None:
    stored = jax.tree.map(lambda leaf: (leaf.shape[1:], str(leaf.dtype)), pool.items)
    given = jax.tree.map(lambda leaf: (leaf.shape[1:], str(leaf.dtype)), items)
    require(
        stored == given, f"the pool was created for items of (shape, dtype) {stored}, got {given}"
    )
