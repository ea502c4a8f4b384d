"""Lazy regularisation (Karras et al. 2020, section 3.1): a costly penalty has a step of its own every so many rounds, with as much more weight."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from jaxgan import optim
from jaxgan.errors import is_number
from jaxgan.optim import Optimizer
from jaxgan.state import Metrics, Player, PyTree, State
from jaxgan.update import update

Loss = Callable[[PyTree, PyTree], tuple[jax.Array, tuple[PyTree, Metrics]]]
"""(params, stats) -> loss float32 [], (stats after the pass, metrics)."""
Penalty = Callable[[PyTree, PyTree, PyTree], tuple[jax.Array, tuple[PyTree, PyTree]]]
"""(params, stats, extra) -> weighted penalty float32 [], (stats, extra) after it; `extra` the same on all devices."""


def corrected(optimizer: Optimizer, interval: int) -> Optimizer:
    """The optimiser of a player that makes interval + 1 steps in `interval` rounds: rate times c, Adam's decays to the power c = interval / (interval + 1).

    So that a round moves the parameters as far as without the additional step (Karras et al. 2020, appendix B). At interval 1 there is none.
    """
    if interval == 1:
        return optimizer
    c = interval / (interval + 1)
    rates: dict[str, Any] = {
        "learning_rate": c * optimizer.learning_rate,
        "min_learning_rate": c * optimizer.min_learning_rate,
    }
    decays: dict[str, Any] = {
        name: value if is_number(value := getattr(optimizer, name)) and value == 0 else value**c
        for name in ("beta1", "beta2")
    }
    return dataclasses.replace(optimizer, **rates, **decays)


def learn(
    player: Player,
    optimizer: Optimizer,
    loss: Loss,
    penalty: Penalty | None,
    interval: int,
    state: State,
    extra: PyTree,
    axis_name: str | None,
) -> tuple[Player, PyTree, jax.Array, Metrics]:
    """A player's step on its loss and, every `interval` rounds, one on `interval` times its penalty; with interval 1, one step on the sum of both.

    Args:
      optimizer: before its correction.
      penalty: None for none.
      state: read for its `step` and `images` only.
      extra: what the penalty keeps from one time to the next.

    Returns: the player, `extra`, the loss (mean over devices), metrics (local).
    """
    if penalty is None or interval == 1:
        return _step(player, optimizer, loss, penalty, state.images, extra, axis_name)
    optimizer = corrected(optimizer, interval)

    def regularised(carry: tuple[Player, PyTree]) -> tuple[Player, PyTree]:
        def nothing(params: PyTree, stats: PyTree) -> tuple[float, tuple[PyTree, Metrics]]:
            return 0.0, (stats, {})

        def scaled(
            params: PyTree, stats: PyTree, extra: PyTree
        ) -> tuple[jax.Array, tuple[PyTree, PyTree]]:
            value, after = penalty(params, stats, extra)
            return interval * value, after

        player, extra, _, _ = _step(
            carry[0], optimizer, nothing, scaled, state.images, carry[1], axis_name
        )
        return player, extra

    player, extra, value, metrics = _step(
        player, optimizer, loss, None, state.images, extra, axis_name
    )
    player, extra = jax.lax.cond(
        state.step % interval == 0, regularised, lambda carry: carry, (player, extra)
    )
    return player, extra, value, metrics


def _step(
    player: Player,
    optimizer: Optimizer,
    loss: Callable,
    penalty: Penalty | None,
    images: jax.Array,
    extra: PyTree,
    axis_name: str | None,
) -> tuple[Player, PyTree, jax.Array, Metrics]:
    """One step of the optimiser on the loss and, if there is one, the penalty. Returns as `learn` does."""

    def total(params: PyTree) -> tuple[jax.Array, tuple[PyTree, PyTree, Metrics]]:
        value, (stats, metrics) = loss(params, player.stats)
        if penalty is None:
            return value, (stats, extra, metrics)
        more, (stats, kept) = penalty(params, stats, extra)
        return value + more, (stats, kept, metrics)

    player, value, (stats, extra, metrics) = update(
        player, total, optim.build(optimizer, images), axis_name
    )
    return player.replace(stats=stats), extra, value, metrics
