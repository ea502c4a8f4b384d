"""The plain adversarial game: a generator from noise (and labels) against one discriminator. GAN, CGAN, DCGAN and ACGAN play it.

A family supplies a `Game`: two networks and the two players' losses. `play_round` is the algorithm.
Shapes: B examples per critic step on this device, n critic steps, Z latent size, H = W image size, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan import losses, optim, pool
from jaxgan.errors import require, require_choice
from jaxgan.games.checks import check_labels
from jaxgan.games.round import Draws, Loss, Round, logits_of, noisy
from jaxgan.games.stabilisers import (
    Stabilisers,
    augmentation,
    is_on,
    new_strengths,
    penalties,
    strengths,
)
from jaxgan.nn.initialisers import from_one_draw
from jaxgan.state import Batch, Metrics, Player, PyTree, State
from jaxgan.update import (
    apply_gradients,
    example_keys,
    example_streams,
    stream_key,
    uniform,
)

Judgement = Any
"""What a discriminator returns: logits [B], or logits [B] and class logits [B, K]."""


class Game(NamedTuple):
    """Two networks and their losses.

    generator: module (latents [B, Z], labels, keys, train=) -> images [B, H, W, C] in [-1, 1].
    discriminator: module (images, labels, keys, train=) -> `Judgement`.
    discriminator_loss: (judgement of real, judgement of fake, real labels, fake labels) -> float32 [], metrics.
    generator_loss: (judgement of fake, judgement of real or None, fake labels) -> float32 [], metrics. None unless the loss is relativistic.
    classes: number of classes both networks are told; 0 for none.
    """

    generator: nn.Module
    discriminator: nn.Module
    discriminator_loss: Callable[..., tuple[jax.Array, Metrics]]
    generator_loss: Callable[..., tuple[jax.Array, Metrics]]
    classes: int = 0


# ------------------------------------------------------------------------------------------------------------------ settings


def check_settings(config: Any) -> None:
    """Raise `ValueError` if the settings every plain family has do not fit together."""
    require_choice("loss", config.loss, losses.LOSSES)
    s: Stabilisers = config.stabilisers
    smooth = is_on(s.fake_target) or is_on(s.real_target, off=1)
    require(
        not smooth or config.loss in losses.SMOOTHABLE,
        f"the {config.loss!r} loss has no targets to smooth: leave real_target at 1 and fake_target at 0",
    )
    require(
        min(config.image_size) > 0, f"image_size must be (height, width), got {config.image_size}"
    )
    require(config.channels > 0, f"channels must be positive, got {config.channels}")


def check_widths(**widths: tuple[int, ...]) -> None:
    """Raise `ValueError` unless every layer of every named network has a feature map at least."""
    for name, layers in widths.items():
        require(
            layers and min(layers) >= 1,
            f"{name} must be layers of at least 1 feature, got {layers}",
        )


def image_shape(config: Any) -> tuple[int, int, int]:
    """(H, W, C) of a family's images."""
    return (*config.image_size, config.channels)


def batch_spec(config: Any, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """`image`: float32 [n * B, H, W, C] in [-1, 1]. n: critic steps."""
    count = config.stabilisers.critic_steps * batch_size
    return {"image": jax.ShapeDtypeStruct((count, *image_shape(config)), jnp.float32)}


def labelled_batch_spec(config: Any, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """`image`: float32 [n * B, H, W, C] in [-1, 1]; with classes `label`: int32 [n * B] in [0, classes). n: critic steps."""
    images = batch_spec(config, batch_size)
    if not config.classes:
        return images
    return images | {"label": jax.ShapeDtypeStruct(images["image"].shape[:1], jnp.int32)}


# ------------------------------------------------------------------------------------------------------------------- the game


def adversarial_losses(config: Any, axis_name: str | None) -> tuple[Callable, Callable]:
    """The two losses of a game whose discriminator returns logits alone, for `Game`."""

    def discriminator_loss(
        real: jax.Array, fake: jax.Array, real_labels: Any, fake_labels: Any
    ) -> tuple[jax.Array, Metrics]:
        s = config.stabilisers
        return losses.discriminator_loss(
            config.loss, real, fake, s.real_target, s.fake_target, axis_name=axis_name
        ), {}

    def generator_loss(
        fake: jax.Array, real: jax.Array | None, fake_labels: Any
    ) -> tuple[jax.Array, Metrics]:
        return losses.generator_loss(config.loss, fake, real, axis_name=axis_name), {}

    return discriminator_loss, generator_loss


def init_state(game: Game, config: Any, key: jax.Array) -> State:
    """Fresh state. Call it under jit, so that no two leaves share a buffer and the state can be donated. Does not consume `key`."""
    key, labels = stream_key(key, "init"), jnp.zeros(1, jnp.int32)
    latent = jnp.zeros((1, config.latent_size), jnp.float32)
    image = jnp.zeros((1, *image_shape(config)), jnp.float32)

    def begin() -> tuple[PyTree, PyTree]:
        generator = game.generator.init(key, latent, labels, train=False)
        return dict(generator), dict(game.discriminator.init(key, image, labels, train=False))

    generator, discriminator = from_one_draw(key, begin)

    def player(variables: PyTree, optimizer: optim.Optimizer) -> Player:
        params = variables["params"]
        return Player(params, _stats(variables), optim.build(optimizer).init(params))

    players = {
        "generator": player(generator, config.generator_optimizer),
        "discriminator": player(discriminator, config.discriminator_optimizer),
    }
    extra: PyTree = new_strengths(config.stabilisers, ("d",))
    if config.stabilisers.pool_size:
        spec = labelled_batch_spec(config, 1) if game.classes else batch_spec(config, 1)
        example = {
            name: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype) for name, leaf in spec.items()
        }
        extra["pool"] = pool.create(config.stabilisers.pool_size, example)
    return State(jnp.int32(0), jnp.int32(0), players, generator, extra)


def draw(
    config: Any,
    state: State,
    key: jax.Array,
    count: int,
    axis_name: str | None,
    latent: Callable = jax.random.normal,
) -> Draws:
    """All that one round draws, for `count` = n * B local examples.

    latents [n * B, Z]; keys [n * B], from which dropout and noise have their streams; alpha [n * B] for the gradient penalty; pool, one key;
    generator_latents and generator_keys where the generator's batch is larger.

    Args:
      latent: (key, shape, dtype) -> one latent.
    """
    s: Stabilisers = config.stabilisers

    def latents(keys: jax.Array) -> jax.Array:
        return jax.vmap(lambda k: latent(k, (config.latent_size,), jnp.float32))(
            example_streams(keys, "latents")
        )

    keys = example_keys(stream_key(key, "examples", state.step), count, axis_name)
    draws = {"latents": latents(keys), "keys": keys, "pool": stream_key(key, "pool", state.step)}
    if is_on(s.gradient_penalty):
        draws["alpha"] = uniform(example_streams(keys, "alpha"))
    if s.generator_batch > 1:
        generator_keys = example_keys(
            stream_key(key, "generator examples", state.step),
            count // s.critic_steps * s.generator_batch,
            axis_name,
        )
        draws |= {"generator_keys": generator_keys, "generator_latents": latents(generator_keys)}
    return draws


OF_EXAMPLES = ("latents", "keys", "alpha")
"""Draws that each turn takes its part of."""


def play_round(
    game: Game, config: Any, state: State, batch: Batch, draws: Draws, axis_name: str | None
) -> tuple[State, Metrics]:
    """n discriminator steps, then one generator step against the updated discriminator, on the last step's generated images.

    Generated images carry the labels of the real ones they are compared with, so that both have the data's class frequencies. One forward
    pass of the generator serves both players: its backward pass waits in `pull_back`. The discriminator keeps the batch statistics of every
    pass it makes, as the reference implementations do.
    """
    n, extra = config.stabilisers.critic_steps, state.extra
    generator, discriminator = state.players["generator"], state.players["discriminator"]

    for turn in range(n):
        # Interleaved, so that a turn is the same on any number of devices.
        real = {name: leaf[turn::n] for name, leaf in batch.items()}
        drawn: Draws = {name: leaf[turn::n] for name, leaf in draws.items() if name in OF_EXAMPLES}
        drawn |= {name: leaf for name, leaf in draws.items() if name == "pool"}
        round = Round(config, drawn | strengths(extra), state.images, axis_name)
        labels = real.get("label")
        fake, pull_back, generator = _generate(game, generator, round, drawn["latents"], labels)
        extra, shown = round.replayed(extra, "pool", real | {"image": fake}, "turn", turn)
        loss = Critic(game, round).loss(discriminator, real, shown)
        discriminator, d_loss, d_metrics = round.critic_step(discriminator, loss)
        extra, d_metrics = round.adapted(extra, d_metrics, real["image"].shape[0])

    drawn = round.draws | strengths(extra)
    if (times := config.stabilisers.generator_batch) > 1:
        real = {name: jnp.repeat(leaf, times, axis=0) for name, leaf in real.items()}
        drawn |= {"keys": draws["generator_keys"], "latents": draws["generator_latents"]}
        round, labels = round._replace(draws=drawn), real.get("label")
        fake, pull_back, generator = _generate(game, generator, round, drawn["latents"], labels)
    critic = Critic(game, round._replace(draws=drawn))
    gradient, (discriminator, g_metrics) = critic.fooling(discriminator, fake, real)
    (gradients,) = pull_back(gradient)
    optimizer = optim.build(config.generator_optimizer, state.images)
    generator = apply_gradients(generator, gradients, optimizer, axis_name)

    players = {"generator": generator, "discriminator": discriminator}
    metrics = d_metrics | {"d_loss": d_loss} | g_metrics
    return round.end(state, players, extra, metrics, batch["image"].shape[0])


def _generate(
    game: Game, generator: Player, round: Round, latents: jax.Array, labels: jax.Array | None
) -> tuple[jax.Array, Callable, Player]:
    """Fakes [B, H, W, C], the backward pass from their gradient to the parameters', and the player with the statistics of this pass."""
    keys = round.keys("generator")

    def forward(params: PyTree) -> tuple[jax.Array, PyTree]:
        return game.generator.apply(
            {"params": params, **generator.stats},
            latents,
            labels,
            keys,
            train=True,
            mutable=list(generator.stats),
        )

    fake, pull_back, stats = jax.vjp(forward, generator.params, has_aux=True)
    return fake, pull_back, generator.replace(stats=dict(stats))


Change = Callable[[jax.Array], jax.Array]
"""A function of images [B, H, W, C]."""


class Critic(NamedTuple):
    """The discriminator of a game in one turn, whose draws `round` holds, and what is done to all that it sees.

    What it sees are batches: {"image": [B, H, W, C]}, with classes also "label" [B].
    """

    game: Game
    round: Round

    def judge(
        self, params: PyTree, stats: PyTree, shown: Batch, of: str, change: Change
    ) -> tuple[Judgement, PyTree]:
        """The judgement of a batch in training, after `change` and under instance noise; and the statistics after the pass."""
        image = noisy(self.round, change(shown["image"]), of)
        return self._apply(params, stats, image, shown.get("label"), self.round.keys(of))

    def loss(self, player: Player, real: Batch, fake: Batch) -> Loss:
        """The loss as a function of the parameters, on real and on generated images in separate passes, plus the penalties that are on."""
        round, real = self.round, self._dequantised(real)
        change_real, change_fake = (self._augmentation(of, real) for of in ("real", "fake"))

        def loss(params: PyTree) -> tuple[jax.Array, tuple[PyTree, Metrics]]:
            of_real, stats = self.judge(params, player.stats, real, "real", change_real)
            of_fake, stats = self.judge(params, stats, fake, "fake", change_fake)
            value, metrics = self.game.discriminator_loss(
                of_real, of_fake, real.get("label"), fake.get("label")
            )
            metrics |= round.logit_metrics(logits_of(of_real), logits_of(of_fake))

            def logits_after(change: Change, labels: jax.Array | None) -> Change:
                """Without dropout and instance noise, which penalties are taken without."""
                return lambda x: logits_of(self._apply(params, stats, change(x), labels)[0])

            penalty, penalty_metrics = penalties(
                round.stabilisers,
                logits_after(change_real, real.get("label")),
                logits_after(change_fake, fake.get("label")),
                real["image"],
                fake["image"],
                round.draws.get("alpha"),
            )
            return value + penalty, (stats, metrics | penalty_metrics)

        return loss

    def fooling(
        self, player: Player, fake: jax.Array, real: Batch
    ) -> tuple[jax.Array, tuple[Player, Metrics]]:
        """The gradient of the generator's loss in the generated images [B, H, W, C]; the player after the pass, metrics.

        Generated images carry the labels of the real ones.
        """
        relativistic = self.round.config.loss in losses.RELATIVISTIC
        change = self._augmentation("fooling", real)
        change_real = self._augmentation("fooling real", real) if relativistic else change

        def loss(image: jax.Array) -> tuple[jax.Array, tuple[Player, Metrics]]:
            params, stats = player.params, player.stats
            shown = real | {"image": image}
            of_fake, stats = self.judge(params, stats, shown, "fooling", change)
            of_real = None
            if relativistic:
                of_real, stats = self.judge(params, stats, real, "fooling real", change_real)
            value, metrics = self.game.generator_loss(of_fake, of_real, real.get("label"))
            value = self.round.mean(value)
            return value, (player.replace(stats=stats), metrics | {"g_loss": value})

        gradient: tuple[jax.Array, tuple[Player, Metrics]] = jax.grad(loss, has_aux=True)(fake)
        return gradient

    def _apply(
        self,
        params: PyTree,
        stats: PyTree,
        image: jax.Array,
        labels: jax.Array | None,
        keys: jax.Array | None = None,
    ) -> tuple[Judgement, PyTree]:
        judgement, after = self.game.discriminator.apply(
            {"params": params, **stats}, image, labels, keys, train=True, mutable=list(stats)
        )
        return judgement, dict(after)

    def _augmentation(self, of: str, shown: Batch) -> Change:
        shape = shown["image"].shape
        return augmentation(self.round.stabilisers, self.round.draws, "d", of, shape)

    def _dequantised(self, real: Batch) -> Batch:
        """Real images with uniform noise below one level, where that is on."""
        level, shape = self.round.stabilisers.dequantise, real["image"].shape[1:]
        if not is_on(level):
            return real
        noise = jax.vmap(lambda key: jax.random.uniform(key, shape, jnp.float32, maxval=level))(
            self.round.keys("dequantise")
        )
        return real | {"image": real["image"] + noise}


def _stats(variables: PyTree) -> PyTree:
    return {name: collection for name, collection in variables.items() if name != "params"}


# ------------------------------------------------------------------------------------------------------------------- pictures


def sample_latents(
    config: Any, key: jax.Array, count: int, first: int, latent: Callable = jax.random.normal
) -> jax.Array:
    """The latents [count, Z] that samples are made of: latent i uses `fold_in(key, first + i)`."""
    return jax.vmap(lambda k: latent(k, (config.latent_size,), jnp.float32))(
        example_keys(key, count, first=first)
    )


def images_of(
    game: Game, config: Any, state: State, latents: jax.Array, labels: jax.Array | None
) -> jax.Array:
    """Images [B, H, W, C] in [-1, 1] of latents [B, Z] from the averaged generator. Raises ValueError for latents of another length."""
    fits = latents.ndim == 2 and latents.shape[1] == config.latent_size
    require(fits, f"latents must be [B, {config.latent_size}], got shape {latents.shape}")
    labels = check_labels(labels, latents.shape[0], game.classes)
    latents = jnp.asarray(latents, jnp.float32)
    images: Any = game.generator.apply(state.ema, latents, labels, train=False)
    return images


def preview_grid(
    sample: Callable[..., jax.Array], config: Any, state: State, key: jax.Array, classes: int
) -> jax.Array:
    """Samples as a grid [8, columns, H, W, C]: eight columns, or one column for each of the first ten classes."""
    columns = min(classes, 10) if classes else 8
    labels = {"labels": jnp.tile(jnp.arange(columns, dtype=jnp.int32), 8)} if classes else {}
    images = partial(sample, config, state, key, 8 * columns)(**labels)
    return images.reshape(8, columns, *image_shape(config))
