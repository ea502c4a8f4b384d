"""What one round of any game needs everywhere, and how a round ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgan import losses, optim, pool
from jaxgan.games.stabilisers import Stabilisers, adapted, is_on, noise_level, sign_metric
from jaxgan.nn.regularise import add_noise
from jaxgan.optim import Optimizer
from jaxgan.state import Metrics, Player, PyTree, State
from jaxgan.update import (
    device_count,
    device_mean,
    example_streams,
    gather,
    local_part,
    moving_average,
    stream_key,
    update,
)

Draws = dict[str, Any]
"""Everything random in a round, by purpose: keys [B], one for each example, and what a game draws besides."""
Loss = Callable[[PyTree], tuple[jax.Array, tuple[PyTree, Metrics]]]
"""params -> loss float32 [], (statistics after the passes, metrics)."""


class Round(NamedTuple):
    """One round: the settings, what is drawn, how far training is, and the axis that examples are split over."""

    config: Any
    draws: Draws
    images_seen: jax.Array
    """`State.images` when the round begins, int32 []."""
    axis_name: str | None

    def logit_metrics(self, real: jax.Array, fake: jax.Array) -> Metrics:
        """`logit_metrics` with the edge of the config's loss."""
        edge = losses.decision_boundary(self.config.loss)
        return logit_metrics(self.stabilisers, edge, real, fake)

    @property
    def stabilisers(self) -> Stabilisers:
        settings: Stabilisers = self.config.stabilisers
        return settings

    def keys(self, purpose: str) -> Any:
        """A key [B] for each example, for this purpose alone; None where the round draws nothing for examples."""
        return example_streams(self.draws["keys"], purpose) if "keys" in self.draws else None

    def mean(self, tree: PyTree) -> PyTree:
        """The mean over devices."""
        return device_mean(tree, self.axis_name)

    def total(self, count: int) -> int:
        """How many examples all devices have, where each has `count`."""
        return count * device_count(self.axis_name)

    def step(
        self, player: Player, loss: Loss, optimizer: Optimizer
    ) -> tuple[Player, jax.Array, Metrics]:
        """A player after one step on its loss; the loss before it, over all devices; metrics of this one."""
        transformation = optim.build(optimizer, self.images_seen)
        player, value, (stats, metrics) = update(player, loss, transformation, self.axis_name)
        return player.replace(stats=stats), value, metrics

    def critic_step(self, player: Player, loss: Loss) -> tuple[Player, jax.Array, Metrics]:
        """The same for the discriminator, whose weights are clipped where that is on."""
        player, value, metrics = self.step(player, loss, self.config.discriminator_optimizer)
        return self.clipped(player), value, metrics

    def clipped(self, player: Player) -> Player:
        """The player with its weights clipped, where that is on."""
        clip = self.stabilisers.weight_clip
        if not is_on(clip):
            return player
        return player.replace(params=losses.clip_weights(player.params, clip))

    def replayed(
        self, extra: PyTree, name: str, fake: PyTree, stream: str = "", turn: int = 0
    ) -> tuple[PyTree, PyTree]:
        """`State.extra` after its pool `name` took generated images in, and the ones to show; without pools, the same images.

        Args:
          stream, turn: of the key "pool" among the draws, which is consumed; "" for the key itself.
        """
        if not self.stabilisers.pool_size:
            return extra, fake
        key = self.draws["pool"]
        key = stream_key(key, stream, turn) if stream else key
        replayed, shown = pool.query(extra[name], gather(fake, self.axis_name), key)
        return {**extra, name: replayed}, local_part(shown, self.axis_name)

    def adapted(self, extra: PyTree, metrics: Metrics, count: int) -> tuple[PyTree, Metrics]:
        """`State.extra` and metrics after the critics saw `count` real images each on this device: ADA's strengths move, and are metrics too."""
        if "augment" not in extra:
            return extra, metrics
        marks = {name: "" if name == "d" else f"d_{name}_" for name in extra["augment"]}
        signs = {name: self.mean(metrics[f"{mark}real_sign"]) for name, mark in marks.items()}
        extra = adapted(self.stabilisers, extra, signs, self.total(count))
        strengths = {f"{m}augment_p": extra["augment"][name].p for name, m in marks.items()}
        return extra, metrics | strengths

    def averaged(self, average: PyTree, variables: PyTree, count: int) -> PyTree:
        """The averaged generator after `count` images on this device; `variables`: {"params": ..., other collections} of the generator now."""
        s, count = self.stabilisers, self.total(count)
        return moving_average(
            average, variables, count, self.images_seen, s.ema_half_life, s.ema_ramp
        )

    def end(
        self, state: State, players: dict[str, Player], extra: PyTree, metrics: Metrics, count: int
    ) -> tuple[State, Metrics]:
        """The state and the metrics, over all devices, after a round of `count` images on this one."""
        generator = players["generator"]
        variables = {"params": generator.params, **generator.stats}
        ema = self.averaged(state.ema, variables, count)
        metrics = jax.tree.map(jnp.float32, self.mean(metrics))
        images = self.images_seen + self.total(count)
        return State(state.step + 1, images, players, ema, extra), metrics


def noisy(round: Round, images: jax.Array, purpose: str) -> jax.Array:
    """Images under the instance noise of this moment of training; the same images where it is off."""
    if not is_on(round.stabilisers.instance_noise):
        return images
    level = noise_level(round.stabilisers, round.images_seen)
    return add_noise(images, level, round.keys(purpose), "instance noise")


def logits_of(outputs: Any) -> jax.Array:
    """The real-or-fake logits among what a discriminator returns: logits, or logits and more."""
    logits: jax.Array = outputs[0] if isinstance(outputs, tuple) else outputs
    return logits


def logit_metrics(
    stabilisers: Stabilisers, edge: float, real: jax.Array, fake: jax.Array
) -> Metrics:
    """What a critic's logits of real and of generated images say of it: their means, and how many are on their side of the edge."""
    return {
        "real_logits": jnp.mean(real),
        "fake_logits": jnp.mean(fake),
        "real_accuracy": jnp.mean(real > edge, dtype=jnp.float32),
        "fake_accuracy": jnp.mean(fake < edge, dtype=jnp.float32),
        **sign_metric(stabilisers, real, edge),
    }
