"""How parameters begin: distributions, one draw for all, and the same numbers however `init` is run."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.nn import initialisers
from jaxgan.nn.initialisers import draw, from_one_draw
from jaxgan.nn.layers import Dense

KEY = jax.random.key(3)
SHAPE = (4, 3, 50, 200)
"""600 inputs, 2,400 outputs."""


@pytest.mark.parametrize(
    ("initialise", "mean", "deviation"),
    [
        (initialisers.normal(0.02), 0, 0.02),
        (initialisers.normal(0.02, mean=1.0), 1, 0.02),
        (initialisers.uniform(0.05), 0, 0.05 / 3**0.5),
        (initialisers.scaled(1 / 3, "fan_in", "uniform"), 0, (1 / 3 / 600) ** 0.5),
        (initialisers.scaled(1.0, "fan_in"), 0, (1 / 600) ** 0.5),
        (initialisers.scaled(2.0, "fan_out"), 0, (2 / 2400) ** 0.5),
        (initialisers.scaled(1.0, "fan_avg", "uniform"), 0, (1 / 1500) ** 0.5),
    ],
)
def test_moments(initialise, mean, deviation):
    values = np.asarray(initialise(KEY, SHAPE, jnp.float32))
    assert values.dtype == np.float32
    np.testing.assert_allclose(values.mean(), mean, atol=5 * deviation / values.size**0.5)
    np.testing.assert_allclose(values.std(), deviation, rtol=0.01)


def test_uniform_fills_its_range_evenly():
    values = np.sort(np.asarray(initialisers.uniform(2.0)(KEY, (100_000,))))
    assert -2 <= values[0] < -1.999
    assert 1.999 < values[-1] <= 2
    np.testing.assert_allclose(values, np.linspace(-2, 2, len(values)), atol=0.02)


def test_normal_has_the_tails_of_a_normal():
    values = np.abs(np.asarray(initialisers.normal(1.0)(KEY, (200_000,))))
    np.testing.assert_allclose((values > 2).mean(), 0.0455, rtol=0.05)
    assert values.max() > 4


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        return Dense(7, name="b")(Dense(5, spectral_norm=True, name="a")(x, train=False))


def begin(key=KEY):
    return from_one_draw(key, lambda: Net().init(key, jnp.zeros((1, 3))))


def test_all_numbers_are_parts_of_one_draw():
    variables = begin()
    first, second = (variables["params"][name]["kernel"] for name in "ab")
    numbers = jax.random.normal(KEY, (15 + 5 + 35,), jnp.float32)
    np.testing.assert_allclose(first, numbers[:15].reshape(3, 5) / 3**0.5, rtol=1e-6)
    np.testing.assert_allclose(second, numbers[20:].reshape(5, 7) / 5**0.5, rtol=1e-6)
    assert jax.jit(begin).lower(KEY).as_text().count("erf_inv") == 1


def test_the_same_however_it_is_run():
    plain = begin()
    keys = jnp.stack([jax.random.key(8), KEY])
    many = jax.tree.map(lambda leaf: leaf[1], jax.vmap(begin)(keys))
    for other in (jax.jit(begin)(KEY), many):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), plain, other)
    assert jax.tree.map(jnp.shape, plain) == jax.tree.map(jnp.shape, jax.eval_shape(begin))


def test_outside_of_one_draw_each_key_draws_its_own():
    assert np.array_equal(draw(KEY, (3,)), jax.random.normal(KEY, (3,)))
    begin()
    with pytest.raises(ZeroDivisionError):
        from_one_draw(KEY, lambda: draw(KEY, (2,)) / (1 // 0))
    assert np.array_equal(draw(KEY, (3,)), jax.random.normal(KEY, (3,)))
