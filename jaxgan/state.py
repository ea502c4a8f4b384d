"""What training carries from step to step: arrays in two small dataclasses, and the names of the types around them."""

from __future__ import annotations

from typing import Any

import jax
from flax import struct

PyTree = Any
Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
"""Float32 scalars, already averaged over devices."""


class Player(struct.PyTreeNode):
    """The networks that one optimiser trains.

    params: the trained arrays. stats: every other collection of the networks (`batch_stats`, `spectral`), {} where there is none.
    opt: the optimiser's state.
    """

    params: PyTree
    stats: PyTree
    opt: PyTree


class State(struct.PyTreeNode):
    """Everything training changes, and nothing else: arrays only (no functions, no keys), the same on every device.

    step: int32 [], rounds completed; keys draws and lazy intervals, nothing else.
    images: int32 [], real images shown to the discriminator over all devices; the clock of every schedule.
    players: one `Player` per optimiser, by name. May be {} in a state that only samples.
    ema: the averaged generator's variables, as `sample` and `translate` use them.
    extra: what a family needs besides (replay pool, adaptive probabilities); {} where nothing is.
    """

    step: jax.Array
    images: jax.Array
    players: dict[str, Player]
    ema: PyTree
    extra: PyTree
