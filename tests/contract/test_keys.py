"""Every family: no two draws of a run use the same key.

`split(key)[i]` and `fold_in(key, i)` are the same key, and JAX's own check (`jax_debug_key_reuse`) does not see such collisions. So the keys
themselves are collected, where JAX turns them into bits.
"""

from __future__ import annotations

import contextlib
import functools

import jax
import numpy as np
import pytest
from jax._src.random import prng

from tests.contract.helpers import EVERY, KEY, LONG, make_batch


@contextlib.contextmanager
def collected_keys():
    """A list that receives every key drawn from, one entry for each draw, in the functions compiled inside.

    All of `jax.random`, linen's initialisers and dropout end in `random_bits`; the callback runs once for each element under vmap.
    """
    keys: list[tuple[int, ...]] = []
    original = prng.random_bits

    def recording(key, *args, **kwargs):
        jax.debug.callback(
            lambda data: keys.extend(map(tuple, np.asarray(data).reshape(-1, 2).tolist())),
            jax.random.key_data(key),
        )
        return original(key, *args, **kwargs)

    jax.clear_caches()
    prng.random_bits = recording
    try:
        yield keys
    finally:
        prng.random_bits = original
        jax.clear_caches()


def draws_of_two_steps(family, config):
    """The keys of init and of the first two steps, in three lists."""
    batch = make_batch(family, config, 4)
    with collected_keys() as keys:
        state = jax.jit(functools.partial(family.init, config))(KEY)
        jax.effects_barrier()
        parts, done = [keys.copy()], len(keys)
        step = jax.jit(functools.partial(family.train_step, config))
        for _ in range(2):
            state, _ = step(state, batch, KEY)
            jax.effects_barrier()
            parts.append(keys[done:])
            done = len(keys)
    return parts


@pytest.mark.parametrize("name", LONG)
def test_no_two_draws_share_a_key(name):
    family, config = EVERY[name].family, EVERY[name].config
    init, first, second = draws_of_two_steps(family, config)
    assert len(init) == 1  # of all parameters
    assert len(first) >= 4  # one for each example
    lazy = getattr(config, "r1_interval", 1) > 1 or (
        getattr(config, "path_length_weight", 0.0) > 0 and config.path_length_interval > 1
    )
    assert (
        4 <= len(second) < len(first) if lazy else len(second) == len(first)
    )  # a lazy penalty is due in the first round alone
    every = [*init, *first, *second]
    assert len(set(every)) == len(every)


def test_a_shared_key_is_seen():
    """The collection can fail: a draw from `split(key)[0]` and one from `fold_in(key, 0)`, under vmap and jit, are the same two keys."""

    @jax.jit
    def draw(keys):
        split = jax.vmap(lambda key: jax.random.normal(jax.random.split(key)[0]))(keys)
        return split, jax.vmap(lambda key: jax.random.bernoulli(jax.random.fold_in(key, 0)))(keys)

    with collected_keys() as keys:
        draw(jax.random.split(KEY, 3))
        jax.effects_barrier()
    assert len(keys) == 6
    assert len(set(keys)) == 3
