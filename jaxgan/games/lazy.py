"""Lazy regularisation (Karras et al. 2020, section 3.1): a costly penalty has a step of its own every so many rounds, with as much more weight."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxgan import optim
from jaxgan.errors import is_number
from jaxgan.games.round import Round
from jaxgan.optim import Optimizer
from jaxgan.state import Metrics, Player, PyTree, State
from jaxgan.update import update

Loss = Callable[[PyTree, PyTree], tuple[jax.Array, tuple[PyTree, Metrics]]]
"""(params, stats) -> loss float32 [], (stats after the pass, metrics)."""


class Penalty(NamedTuple):
    """A penalty that has a step of its own every `interval` rounds."""

    of: Callable[[PyTree, PyTree, PyTree], tuple[jax.Array, tuple[PyTree, PyTree]]]
    """(params, stats, extra) -> weighted penalty float32 [], (stats, extra) after it; `extra` the same on all devices."""
    interval: int


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
    round: Round,
    state: State,
    player: Player,
    optimizer: Optimizer,
    loss: Loss,
    penalty: Penalty | None,
) -> tuple[Player, PyTree, jax.Array, Metrics]:
    """A player's step on its loss and, every `interval` rounds, one on `interval` times its penalty; with interval 1, one step on the sum of both.

    Args:
      state: read for its `step` and `extra` only.
      optimizer: before its correction.

    Returns: the player, `extra`, the loss (mean over devices), metrics (local).
    """
    if penalty is None or penalty.interval == 1:
        return _step(round, player, optimizer, loss, penalty, state.extra)
    interval, rest = penalty.interval, corrected(optimizer, penalty.interval)

    def nothing(params: PyTree, stats: PyTree) -> tuple[float, tuple[PyTree, Metrics]]:
        return 0.0, (stats, {})

    def scaled(
        params: PyTree, stats: PyTree, extra: PyTree
    ) -> tuple[jax.Array, tuple[PyTree, PyTree]]:
        value, after = penalty.of(params, stats, extra)
        return interval * value, after

    def regularised(carry: tuple[Player, PyTree]) -> tuple[Player, PyTree]:
        alone = Penalty(scaled, 1)
        player, extra, _, _ = _step(round, carry[0], rest, nothing, alone, carry[1])
        return player, extra

    player, extra, value, metrics = _step(round, player, rest, loss, None, state.extra)
    player, extra = jax.lax.cond(
        state.step % interval == 0, regularised, lambda carry: carry, (player, extra)
    )
    return player, extra, value, metrics


def _step(
    round: Round,
    player: Player,
    optimizer: Optimizer,
    loss: Callable,
    penalty: Penalty | None,
    extra: PyTree,
) -> tuple[Player, PyTree, jax.Array, Metrics]:
    """One step of the optimiser on the loss and, if there is one, the penalty. Returns as `learn` does."""

    def total(params: PyTree) -> tuple[jax.Array, tuple[PyTree, PyTree, Metrics]]:
        value, (stats, metrics) = loss(params, player.stats)
        if penalty is None:
            return value, (stats, extra, metrics)
        more, (stats, kept) = penalty.of(params, stats, extra)
        return value + more, (stats, kept, metrics)

    transformation = optim.build(optimizer, round.images_seen)
    player, value, (stats, extra, metrics) = update(player, total, transformation, round.axis_name)
    return player.replace(stats=stats), extra, value, metrics
