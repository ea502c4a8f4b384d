"""The replay pool against a plain Python list that makes the same choices, and against the statistics of the paper's rule."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from jaxgan import pool as replay
from jaxgan.update import gather, local_part

EXAMPLE = {
    "image": jax.ShapeDtypeStruct((2, 3, 1), jnp.float32),
    "label": jax.ShapeDtypeStruct((), jnp.int32),
}


def batch(first, count):
    """`count` items that all carry their own number."""
    numbers = first + jnp.arange(count)
    return {
        "image": jnp.broadcast_to(numbers[:, None, None, None], (count, 2, 3, 1)).astype(
            jnp.float32
        ),
        "label": numbers,
    }


def reference(stored, size, numbers, swap, slot):
    """CycleGAN's rule, one item after the other, on a Python list."""
    returned = []
    for number, swaps, index in zip(numbers, swap, slot, strict=True):
        if len(stored) < size:
            stored.append(number)
            returned.append(number)
        elif swaps:
            returned.append(stored[index])
            stored[index] = number
        else:
            returned.append(number)
    return returned


def run(size, count, rounds, query=None, key=None):
    """Yields (pool, returned items, what the reference stored, what it returned) after each round."""
    key = jax.random.key(0) if key is None else key
    query = jax.jit(replay.query) if query is None else query
    pool, stored = replay.create(size, EXAMPLE), []
    for i in range(rounds):
        step_key = jax.random.fold_in(key, i)
        expected = reference(
            stored,
            size,
            range(i * count, (i + 1) * count),
            *map(np.asarray, replay.draw(step_key, count, size)),
        )
        pool, items = query(pool, batch(i * count, count), step_key)
        yield pool, items, list(stored), expected


@pytest.mark.parametrize(("size", "count"), [(1, 1), (5, 3), (4, 4), (3, 7), (50, 2)])
def test_equal_to_the_list(size, count):
    for pool, items, stored, expected in run(size, count, rounds=12):
        np.testing.assert_array_equal(items["label"], expected)
        np.testing.assert_array_equal(
            items["image"],
            np.broadcast_to(np.float32(expected)[:, None, None, None], (count, 2, 3, 1)),
        )
        assert int(pool.count) == len(stored)
        np.testing.assert_array_equal(pool.items["label"][: len(stored)], stored)
        np.testing.assert_array_equal(pool.items["image"][: len(stored), 1, 2, 0], stored)
        assert not np.any(pool.items["image"][len(stored) :])
        assert pool.count.dtype == jnp.int32


def test_an_item_can_come_back_within_its_own_batch():
    pool = replay.create(1, EXAMPLE)
    pool, items = replay.exchange(
        pool, batch(0, 4), jnp.array([False, True, True, False]), jnp.zeros(4, jnp.int32)
    )
    np.testing.assert_array_equal(items["label"], [0, 0, 1, 3])
    np.testing.assert_array_equal(pool.items["label"], [2])


def test_while_filling_items_pass_whatever_the_choices():
    pool, items = replay.exchange(
        replay.create(4, EXAMPLE), batch(10, 4), jnp.ones(4, bool), jnp.zeros(4, jnp.int32)
    )
    np.testing.assert_array_equal(items["label"], [10, 11, 12, 13])
    np.testing.assert_array_equal(pool.items["label"], [10, 11, 12, 13])


def test_statistics():
    size, count = 10, 1000
    *_, (_, items, _, _) = run(size, count, rounds=5)
    numbers = np.asarray(items["label"])
    passed = numbers == 4000 + np.arange(count)
    assert abs(passed.mean() - 0.5) < 4 * 0.5 / np.sqrt(count)
    # A stored item leaves with probability 1/(2 size) per turn, so returned ones are on average 2 * size turns old.
    age = (4000 + np.arange(count) - numbers)[~passed]
    assert abs(age.mean() - 2 * size) < 4 * 2 * size / np.sqrt(len(age))
    swap, slot = replay.draw(jax.random.key(1), 20000, size)
    assert abs(np.mean(swap) - 0.5) < 0.015
    np.testing.assert_allclose(np.bincount(slot, minlength=size) / 20000, 1 / size, atol=0.009)
    assert abs(np.corrcoef(swap, slot)[0, 1]) < 0.03


def test_size_zero_returns_the_items():
    pool, items = jax.jit(replay.query)(replay.create(0, EXAMPLE), batch(3, 2), jax.random.key(0))
    np.testing.assert_array_equal(items["label"], [3, 4])
    assert int(pool.count) == 0


def test_scan_and_eager_equal_single_calls():
    rounds, size, count, key = 6, 4, 3, jax.random.key(7)
    *_, (last, items, _, _) = run(size, count, rounds, key=key)

    def body(pool, i):
        return replay.query(pool, batch(i * count, count), jax.random.fold_in(key, i))

    scanned, all_items = jax.jit(lambda pool: jax.lax.scan(body, pool, jnp.arange(rounds)))(
        replay.create(size, EXAMPLE)
    )
    jax.tree.map(np.testing.assert_array_equal, scanned, last)
    np.testing.assert_array_equal(all_items["label"][-1], items["label"])
    *_, (eager, _, _, _) = run(size, count, rounds, query=replay.query, key=key)
    jax.tree.map(np.testing.assert_array_equal, eager, last)


def test_vmap_over_seeds_equals_single_runs():
    keys = jax.random.split(jax.random.key(3), 4)
    pool = replay.create(2, EXAMPLE)
    pools, items = jax.jit(jax.vmap(replay.query, in_axes=(None, None, 0)))(pool, batch(0, 9), keys)
    for i, key in enumerate(keys):
        single, single_items = replay.query(pool, batch(0, 9), key)
        jax.tree.map(
            np.testing.assert_array_equal,
            jax.tree.map(lambda x, i=i: x[i], (pools, items)),
            (single, single_items),
        )
    assert len({tuple(np.asarray(row)) for row in items["label"]}) > 1


@pytest.mark.parametrize("vma", [True, False])
def test_same_on_eight_devices(vma):
    def sharded_query(pool, items, key):
        pool, items = replay.query(pool, gather(items, "data"), key)
        return pool, local_part(items, "data")

    mesh = Mesh(np.array(jax.devices()), ("data",))
    spec, replicated = PartitionSpec("data"), PartitionSpec()
    sharded = jax.shard_map(
        sharded_query,
        mesh=mesh,
        in_specs=(replicated, spec, replicated),
        out_specs=(replicated, spec),
        check_vma=vma,
    )
    for pool, items, stored, expected in run(6, 16, rounds=3, query=jax.jit(sharded)):
        np.testing.assert_array_equal(items["label"], expected)
        np.testing.assert_array_equal(pool.items["label"], stored)


def test_the_pool_is_updated_in_place():
    """Donated, the compiled exchange needs room for a few items, not for a copy of the pool."""
    pool = replay.create(256, jax.ShapeDtypeStruct((32, 32, 3), jnp.float32))
    items = jnp.zeros((4, 32, 32, 3))
    memory = (
        jax.jit(replay.query, donate_argnums=0)
        .lower(pool, items, jax.random.key(0))
        .compile()
        .memory_analysis()
    )
    assert memory.temp_size_in_bytes < 4 * items.nbytes < pool.items.nbytes
    assert memory.alias_size_in_bytes >= pool.items.nbytes


def test_wrong_items_and_sizes_are_refused():
    pool = replay.create(2, EXAMPLE)
    with pytest.raises(ValueError, match="the pool was created for items of"):
        replay.query(pool, {**batch(0, 2), "image": jnp.zeros((2, 3, 3, 1))}, jax.random.key(0))
    with pytest.raises(ValueError, match="float16"):
        replay.query(
            pool, {**batch(0, 2), "image": jnp.zeros((2, 2, 3, 1), jnp.float16)}, jax.random.key(0)
        )
    with pytest.raises(ValueError, match="pool size must be at least 0, got -1"):
        replay.create(-1, EXAMPLE)
