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
from jaxgan.games.stabilisers import (
    Stabilisers,
    adapted,
    augmentation,
    is_on,
    new_strengths,
    noise_level,
    penalties,
    sign_metric,
    strengths,
)
from jaxgan.nn.initialisers import from_one_draw
from jaxgan.nn.regularise import add_noise
from jaxgan.state import Batch, Metrics, Player, PyTree, State
from jaxgan.update import (
    apply_gradients,
    device_count,
    device_mean,
    example_keys,
    example_streams,
    gather,
    local_part,
    moving_average,
    stream_key,
    uniform,
    update,
)

Draws = dict[str, Any]
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


def play_round(
    game: Game, config: Any, state: State, batch: Batch, draws: Draws, axis_name: str | None
) -> tuple[State, Metrics]:
    """n discriminator steps, then one generator step against the updated discriminator, on the last step's generated images.

    Generated images carry the labels of the real ones they are compared with, so that both have the data's class frequencies. One forward
    pass of the generator serves both players: its backward pass waits in `pull_back`. The discriminator keeps the batch statistics of every
    pass it makes, as the reference implementations do.
    """
    s: Stabilisers = config.stabilisers
    n = s.critic_steps
    generator, discriminator, extra = (
        state.players["generator"],
        state.players["discriminator"],
        state.extra,
    )

    for turn in range(n):
        real = {
            name: leaf[turn::n] for name, leaf in batch.items()
        }  # interleaved, so that a turn is the same on any number of devices
        own = {
            name: leaf[turn::n]
            for name, leaf in draws.items()
            if name in ("latents", "keys", "alpha")
        } | strengths(extra)
        fake, pull_back, generator = _generate(
            game, generator, own["latents"], real.get("label"), own.get("keys")
        )
        shown = real | {"image": fake}
        if s.pool_size:
            replayed, shown = pool.query(
                extra["pool"], gather(shown, axis_name), stream_key(draws["pool"], "turn", turn)
            )
            extra, shown = {**extra, "pool": replayed}, local_part(shown, axis_name)
        discriminator, d_metrics = _discriminator_step(
            game, config, discriminator, real, shown, own, state.images, axis_name
        )
        if "augment" in extra:
            sign = device_mean(d_metrics["real_sign"], axis_name)
            extra = adapted(s, extra, {"d": sign}, real["image"].shape[0] * device_count(axis_name))
            d_metrics["augment_p"] = extra["augment"]["d"].p

    labels = real.get("label")
    if s.generator_batch > 1:
        labels = None if labels is None else jnp.repeat(labels, s.generator_batch)
        real = {name: jnp.repeat(leaf, s.generator_batch, axis=0) for name, leaf in real.items()}
        own["keys"] = draws["generator_keys"]
        fake, pull_back, generator = _generate(
            game, generator, draws["generator_latents"], labels, own["keys"]
        )
    image_gradient, discriminator, g_metrics = _fool(
        game,
        config,
        discriminator,
        fake,
        labels,
        real,
        own | strengths(extra),
        state.images,
        axis_name,
    )
    (gradients,) = pull_back(image_gradient)
    generator = apply_gradients(
        generator, gradients, optim.build(config.generator_optimizer, state.images), axis_name
    )

    shown_images = batch["image"].shape[0] * device_count(axis_name)
    variables = {"params": generator.params, **generator.stats}
    ema = moving_average(
        state.ema, variables, shown_images, state.images, s.ema_half_life, s.ema_ramp
    )
    metrics = jax.tree.map(jnp.float32, device_mean(d_metrics | g_metrics, axis_name))
    players = {"generator": generator, "discriminator": discriminator}
    return State(state.step + 1, state.images + shown_images, players, ema, extra), metrics


def _generate(
    game: Game, generator: Player, latents: jax.Array, labels: Any, keys: Any
) -> tuple[jax.Array, Callable, Player]:
    """Fakes [B, H, W, C], the backward pass from their gradient to the parameters', and the player with the statistics of this pass."""
    keys = None if keys is None else example_streams(keys, "generator")

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


def _judge(
    game: Game,
    config: Any,
    params: PyTree,
    stats: PyTree,
    shown: Batch,
    keys: Any,
    name: str,
    images: jax.Array,
    change: Callable,
) -> tuple[Judgement, PyTree]:
    """The discriminator's judgement of a batch in training, augmented by `change` and under instance noise; and its statistics after the pass."""
    image = change(shown["image"])
    keys = None if keys is None else example_streams(keys, name)
    if is_on(config.stabilisers.instance_noise):
        image = add_noise(image, noise_level(config.stabilisers, images), keys, "instance noise")
    judgement, stats = game.discriminator.apply(
        {"params": params, **stats},
        image,
        shown.get("label"),
        keys,
        train=True,
        mutable=list(stats),
    )
    return judgement, dict(stats)


def _discriminator_step(
    game: Game,
    config: Any,
    discriminator: Player,
    real: Batch,
    fake: Batch,
    draws: Draws,
    images: jax.Array,
    axis_name: str | None,
) -> tuple[Player, Metrics]:
    """One step of the discriminator on real and on generated images, in separate passes."""
    s, keys = config.stabilisers, draws.get("keys")
    if is_on(s.dequantise):
        keys_of_noise, shape = example_streams(draws["keys"], "dequantise"), real["image"].shape[1:]
        noise = jax.vmap(lambda k: jax.random.uniform(k, shape, jnp.float32, maxval=s.dequantise))(
            keys_of_noise
        )
        real = real | {"image": real["image"] + noise}
    change_real, change_fake = (
        augmentation(s, draws, "d", of, real["image"].shape) for of in ("real", "fake")
    )

    def loss_fn(params: PyTree) -> tuple[jax.Array, tuple[PyTree, Metrics]]:
        real_judgement, stats = _judge(
            game, config, params, discriminator.stats, real, keys, "real", images, change_real
        )
        fake_judgement, stats = _judge(
            game, config, params, stats, fake, keys, "fake", images, change_fake
        )
        loss, metrics = game.discriminator_loss(
            real_judgement, fake_judgement, real.get("label"), fake.get("label")
        )
        real_logits, fake_logits = logits_of(real_judgement), logits_of(fake_judgement)
        edge = losses.decision_boundary(config.loss)
        metrics |= {
            "real_logits": jnp.mean(real_logits),
            "fake_logits": jnp.mean(fake_logits),
            "real_accuracy": jnp.mean(real_logits > edge, dtype=jnp.float32),
            "fake_accuracy": jnp.mean(fake_logits < edge, dtype=jnp.float32),
        }
        metrics |= sign_metric(s, real_logits, edge)
        penalty, penalty_metrics = _penalties(
            game, s, params, stats, real, fake, draws, (change_real, change_fake)
        )
        return loss + penalty, (stats, metrics | penalty_metrics)

    optimizer = optim.build(config.discriminator_optimizer, images)
    discriminator, loss, (stats, metrics) = update(discriminator, loss_fn, optimizer, axis_name)
    params = (
        losses.clip_weights(discriminator.params, s.weight_clip)
        if is_on(s.weight_clip)
        else discriminator.params
    )
    return discriminator.replace(params=params, stats=stats), metrics | {"d_loss": loss}


def _penalties(
    game: Game,
    s: Stabilisers,
    params: PyTree,
    stats: PyTree,
    real: Batch,
    fake: Batch,
    draws: Draws,
    changes: tuple[Callable, Callable],
) -> tuple[jax.Array, Metrics]:
    """The penalties that are on, taken without dropout and instance noise, through the augmentations of real and fake; see `stabilisers.penalties`."""

    def critic(label_source: Batch, change: Callable) -> Callable[[jax.Array], jax.Array]:
        def logits(image: jax.Array) -> jax.Array:
            label = label_source.get("label")
            judgement, _ = game.discriminator.apply(
                {"params": params, **stats}, change(image), label, train=True, mutable=list(stats)
            )
            return logits_of(judgement)

        return logits

    return penalties(
        s,
        critic(real, changes[0]),
        critic(fake, changes[1]),
        real["image"],
        fake["image"],
        draws.get("alpha"),
    )


def _fool(
    game: Game,
    config: Any,
    discriminator: Player,
    fake: jax.Array,
    labels: Any,
    real: Batch,
    draws: Draws,
    images: jax.Array,
    axis_name: str | None,
) -> tuple[jax.Array, Player, Metrics]:
    """The generator's loss: its gradient with respect to the generated images, the discriminator's statistics after the pass, metrics."""
    shown = {"image": fake} if labels is None else {"image": fake, "label": labels}
    s, keys = config.stabilisers, draws.get("keys")
    change = augmentation(s, draws, "d", "fooling", fake.shape)

    def loss_fn(image: jax.Array) -> tuple[jax.Array, tuple[PyTree, Metrics]]:
        params, stats = discriminator.params, discriminator.stats
        judgement, stats = _judge(
            game, config, params, stats, shown | {"image": image}, keys, "fooling", images, change
        )
        real_judgement = None
        if config.loss in losses.RELATIVISTIC:
            change_real = augmentation(s, draws, "d", "fooling real", fake.shape)
            real_judgement, stats = _judge(
                game, config, params, stats, real, keys, "fooling real", images, change_real
            )
        loss, metrics = game.generator_loss(judgement, real_judgement, labels)
        loss = device_mean(loss, axis_name)
        return loss, (stats, metrics | {"g_loss": loss})

    (_, (stats, metrics)), gradient = jax.value_and_grad(loss_fn, has_aux=True)(fake)
    return gradient, discriminator.replace(stats=stats), metrics


def logits_of(judgement: Judgement) -> jax.Array:
    """The real-or-fake logits [B] of a discriminator's output."""
    return judgement[0] if isinstance(judgement, tuple) else judgement


def _stats(variables: PyTree) -> PyTree:
    return {name: collection for name, collection in variables.items() if name != "params"}


# ------------------------------------------------------------------------------------------------------------------- pictures


def sample_images(
    game: Game,
    config: Any,
    state: State,
    key: jax.Array,
    count: int,
    labels: jax.Array | None,
    first: int,
    latent: Callable = jax.random.normal,
) -> jax.Array:
    """`count` images [count, H, W, C] in [-1, 1] from the averaged generator; image i uses `fold_in(key, first + i)`."""
    return images_of(game, config, state, sample_latents(config, key, count, first, latent), labels)


def sample_latents(
    config: Any, key: jax.Array, count: int, first: int, latent: Callable = jax.random.normal
) -> jax.Array:
    """The latents [count, Z] of `sample_images`: latent i uses `fold_in(key, first + i)`."""
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
