"""How parameters begin. Everything random is made of standard normal numbers, which one draw gives.

A random kernel of its own for each parameter would make `init` as slow to compile as a training
step. So no initialiser here draws by itself: `from_one_draw` draws all numbers that a network takes,
once, and they take theirs in the order in which they are called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr

Initialiser = Callable[..., jax.Array]
"""(key, shape, dtype) -> the first value of a parameter, float32."""
Made = TypeVar("Made")


class _Numbers:
    """Standard normal numbers, taken one after the other; without any, it only counts how many are asked for."""

    def __init__(self, numbers: jax.Array | None = None):
        self.numbers, self.taken = numbers, 0

    def take(self, shape: tuple[int, ...]) -> jax.Array:
        start = self.taken
        self.taken += prod(shape)
        if self.numbers is None:
            return jnp.zeros(shape, jnp.float32)
        return jax.lax.slice(self.numbers, (start,), (self.taken,)).reshape(shape)


_open: ContextVar[_Numbers | None] = ContextVar("numbers", default=None)


@contextmanager
def _from(numbers: _Numbers) -> Iterator[None]:
    token = _open.set(numbers)
    try:
        yield
    finally:
        _open.reset(token)


def from_one_draw(key: jax.Array, make: Callable[[], Made]) -> Made:
    """Return `make()`, in which all that initialisers draw is part of one normal draw.

    Args:
      key: consumed.
      make: makes variables, such as `lambda: network.init(key, x)`. It is traced twice, once to count.
    """
    count = _Numbers()
    with _from(count):
        jax.eval_shape(lambda: make())
    with _from(_Numbers(jax.random.normal(key, (count.taken,), jnp.float32))):
        return make()


def draw(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Standard normal numbers, float32: the next ones of `from_one_draw`, outside of it by `key`."""
    numbers = _open.get()
    return jax.random.normal(key, shape, jnp.float32) if numbers is None else numbers.take(shape)


def normal(deviation: float, mean: float = 0.0) -> Initialiser:
    """N(mean, deviation)."""

    def initialise(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return (mean + deviation * draw(key, shape)).astype(dtype)

    return initialise


def uniform(limit: float) -> Initialiser:
    """Uniform in [-limit, limit]."""

    def initialise(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return (limit * (2 * ndtr(draw(key, shape)) - 1)).astype(dtype)

    return initialise


def scaled(
    scale: float,
    mode: Literal["fan_in", "fan_out", "fan_avg"],
    distribution: Literal["normal", "uniform"] = "normal",
) -> Initialiser:
    """Of variance `scale` over the number of inputs, of outputs, or their mean.

    Kernels are [..., inputs, outputs]; the axes before are the receptive field and count for both.
    The variance scaling of `jax.nn.initializers`, without its truncation.
    """

    def initialise(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        field = prod(shape[:-2])
        inputs, outputs = field * shape[-2], field * shape[-1]
        fan = {"fan_in": inputs, "fan_out": outputs, "fan_avg": (inputs + outputs) / 2}[mode]
        deviation = (scale / fan) ** 0.5
        chosen = normal(deviation) if distribution == "normal" else uniform(3**0.5 * deviation)
        return chosen(key, shape, dtype)

    return initialise


lecun_normal = scaled(1.0, "fan_in")
he_normal = scaled(2.0, "fan_in")
