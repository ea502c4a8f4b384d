"""StyleGAN (Karras et al. 2019) and StyleGAN2 (Karras et al. 2020): a mapping of latents to styles, and a generator that the styles steer layer by layer.

    config = stylegan.auto((64, 64), batch_size=32)
    state, metrics = stylegan.train_step(config, state, {"image": ...}, key)
    faces = stylegan.sample(config, state, key, 16, truncation=0.7)

Recipes: `auto`, `paper256`, `cifar` of NVlabs/stylegan2-ada-pytorch, whose "stylegan2" are the defaults; `stylegan1` of the first paper.
Any size whose halves are even down to a base of at least 4 on the smaller side: 32x32 from 4x4, 64x96 from 4x6, 28x28 from 7x7. Optional label
conditioning.

Supports of the stabilisers r1, ema_half_life, ema_ramp, instance_noise, instance_noise_images and augment: with `Augmentation("ada")` it is
StyleGAN2-ADA (Karras et al. 2020a).
"""

from __future__ import annotations

from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgan import losses, optim
from jaxgan.errors import require, require_choice
from jaxgan.family import Conditioning
from jaxgan.games import adversarial, lazy, styles
from jaxgan.games.adversarial import image_shape
from jaxgan.games.adversarial import labelled_batch_spec as batch_spec
from jaxgan.games.checks import Contract, begin, check_config, check_labels, check_sampler
from jaxgan.games.round import Draws, Round, logit_metrics
from jaxgan.games.stabilisers import (
    augmentation,
    is_on,
    new_strengths,
    noise_level,
    strengths,
)
from jaxgan.games.stylegan_config import Config, auto, cifar, paper256, stylegan1
from jaxgan.networks.stylegan1 import StyleGAN1Discriminator, StyleGAN1Generator
from jaxgan.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator
from jaxgan.nn.initialisers import from_one_draw
from jaxgan.nn.regularise import add_noise
from jaxgan.nn.style import NOISES
from jaxgan.state import Batch, Metrics, Player, PyTree, State
from jaxgan.update import (
    example_keys,
    stream_key,
)

__all__ = [
    "Config",
    "auto",
    "batch_spec",
    "cifar",
    "conditioning",
    "generate",
    "init",
    "latents",
    "mix",
    "networks",
    "paper256",
    "preview",
    "sample",
    "stylegan1",
    "styles_of",
    "synthesise",
    "train_step",
]  # fmt: skip


def networks(config: Config, axis_name: str | None = None) -> tuple[Any, Any]:
    """The generator and the discriminator of these settings; `axis_name` is the axis that the mean of w and the batch's spread are taken over."""
    shared: dict[str, Any] = {
        "classes": config.classes,
        "channel_base": config.channel_base,
        "channel_max": config.channel_max,
        "axis_name": axis_name,
        "dtype": jnp.dtype(config.dtype),
    }
    group: dict[str, Any] = {"minibatch_std_group": config.minibatch_std_group}
    mapping: dict[str, Any] = {
        "style_size": config.style_size,
        "mapping_layers": config.mapping_layers,
    }
    mapping["average_decay"] = optim.as_float32(config.average_decay)
    if config.architecture == "stylegan1":
        return StyleGAN1Generator(image_shape(config), **mapping, **shared), StyleGAN1Discriminator(
            **group, **shared
        )
    shared["clamp"] = config.activation_clamp
    generator = StyleGAN2Generator(
        image_shape(config), **mapping, architecture=config.generator_architecture, **shared
    )
    return generator, StyleGAN2Discriminator(
        architecture=config.discriminator_architecture, **group, **shared
    )


def conditioning(config: Config) -> Conditioning:
    """What the model is told."""
    return Conditioning("class" if config.classes else "none", config.classes)


def init(config: Config, key: jax.Array) -> State:
    """Fresh state. Call it under jit: `jax.jit(stylegan.init, static_argnums=0)`. Does not consume `key`.

    `ema` holds the averaged generator's params, the running mean of w ("average") and the constant noise of each layer ("noise"). `extra` holds the mean
    path length and what the penalties were when last taken, and ADA's strength.
    """
    check_config(config, Config)
    generator, discriminator = networks(config)
    key, labels = stream_key(key, "init"), jnp.zeros(1, jnp.int32)
    latent = jnp.zeros((1, config.latent_size), jnp.float32)
    image = jnp.zeros((1, *image_shape(config)), jnp.float32)

    def begin() -> tuple[PyTree, PyTree]:
        variables = dict(generator.init(key, latent, labels))
        return variables, discriminator.init(key, image, labels)["params"]

    ema, judge = from_one_draw(key, begin)
    players = {
        "generator": Player(
            ema["params"],
            {"average": ema["average"]},
            optim.build(config.generator_optimizer).init(ema["params"]),
        ),
        "discriminator": Player(judge, {}, optim.build(config.discriminator_optimizer).init(judge)),
    }
    kept = ["r1"] * is_on(config.stabilisers.r1) + [
        "path_length",
        "path_length_mean",
        "path_length_penalty",
    ] * is_on(config.path_length_weight)
    extra: PyTree = {name: jnp.float32(0) for name in kept} | new_strengths(
        config.stabilisers, ("d",)
    )
    return State(jnp.int32(0), jnp.int32(0), players, ema, extra)


# ------------------------------------------------------------------------------------------------------------------- the game


def train_step(
    config: Config, state: State, batch: Batch, key: jax.Array, *, axis_name: str | None = None
) -> tuple[State, Metrics]:
    """One round: the generator's step, then the discriminator's, each on latents of its own and, where its penalty is due, followed by a step on that alone.

    Generated images carry the labels of the batch. The metrics of penalties are those of the last round they were taken in.

    Args:
      batch: as `batch_spec`; this device's part when mapped over `axis_name`.
      key: the run's key, the same at every step and not consumed; draws depend on (key, state.step, example).

    Raises:
      ValueError: the batch is not a multiple of `path_length_shrink` on each device, or of `minibatch_std_group` over all.

    Source: Karras et al. 2020 as in NVlabs/stylegan2-ada-pytorch. Deviations: style mixing is drawn for each image, not for each batch; the batch's
    spread and the mean path length are taken over all devices; gradients that are not finite are not replaced.
    """
    batch = begin(CONTRACT, config, state, batch)
    return _round(
        config,
        state,
        batch,
        _draw(config, state, key, batch["image"].shape[0], axis_name),
        axis_name,
    )


def _draw(config: Config, state: State, key: jax.Array, count: int, axis_name: str | None) -> Draws:
    """For each of the turns "generator", "discriminator" and "path length": one key for each example, latents, with style mixing where it begins, ADA's p."""
    counts = {"generator": count, "discriminator": count}
    if is_on(config.path_length_weight):
        fits = count % config.path_length_shrink == 0
        require(
            fits,
            f"the batch on each device ({count}) must be a multiple of path_length_shrink ({config.path_length_shrink})",
        )
        counts["path length"] = count // config.path_length_shrink
    keys = jnp.concatenate(
        [
            example_keys(stream_key(key, turn, state.step), n, axis_name)
            for turn, n in counts.items()
        ]
    )
    draws = styles.draw(keys, config.latent_size, config.style_mixing, networks(config)[0].layers)
    ends = list(accumulate(counts.values()))
    turns: Draws = {
        turn: {name: leaf[end - counts[turn] : end] for name, leaf in draws.items()}
        for turn, end in zip(counts, ends, strict=True)
    }
    return {turn: own | strengths(state.extra) for turn, own in turns.items()}


def _round(
    config: Config, state: State, batch: Batch, draws: Draws, axis_name: str | None
) -> tuple[State, Metrics]:
    round, labels = Round(config, draws, state.images, axis_name), batch.get("label")
    generator, extra, g_metrics = _generator_turn(round, state, labels)
    state = state.replace(extra=extra)
    discriminator, generator, extra, d_metrics = _discriminator_turn(
        round, state, generator, batch["image"], labels
    )
    extra, d_metrics = round.adapted(extra, d_metrics, batch["image"].shape[0])
    kept = {name: jnp.float32(value) for name, value in extra.items() if name != "augment"}
    players = {"generator": generator, "discriminator": discriminator}
    after, metrics = round.end(
        state, players, extra, g_metrics | d_metrics, batch["image"].shape[0]
    )
    return after.replace(ema=after.ema | {"noise": state.ema["noise"]}), metrics | kept


class _Critic(NamedTuple):
    """The discriminator in one turn, whose draws `round` holds."""

    round: Round
    labels: jax.Array | None

    def logits(self, params: PyTree, images: jax.Array, of: str) -> jax.Array:
        """Logits [B] of images [B, H, W, C] in the pass `of`: all that the discriminator sees comes by here."""
        round, s = self.round, self.round.stabilisers
        _, network = networks(round.config, round.axis_name)
        images = augmentation(s, round.draws, "d", of, images.shape)(images)
        if is_on(s.instance_noise):
            level, keys = noise_level(s, round.images_seen), round.draws["keys"]
            images = add_noise(images, level, keys, f"instance noise {of}")
        logits: Any = network.apply({"params": params}, images, self.labels)
        return logits


def _of_turn(round: Round, turn: str) -> Round:
    """The round with what is drawn for one of its turns."""
    return round._replace(draws=round.draws[turn])


def _generator_turn(
    round: Round, state: State, labels: jax.Array | None
) -> tuple[Player, PyTree, Metrics]:
    """The generator after its step (and, where due, the path-length penalty's), what is kept in `State.extra`, metrics."""
    config, network = round.config, networks(round.config, round.axis_name)[0]
    turn, judge = _of_turn(round, "generator"), state.players["discriminator"].params
    critic = _Critic(turn, labels)

    def main(params: PyTree, stats: PyTree) -> tuple[jax.Array, PyTree]:
        fake, stats = styles.generate(network, params, stats, turn.draws, labels)
        logits = critic.logits(judge, fake, "fooling")
        return losses.generator_loss("non-saturating", logits), (stats, {})

    of_paths = partial(_path_length_penalty, round, labels)
    penalty = lazy.Penalty(of_paths, config.path_length_interval)
    generator, extra, loss, _ = lazy.learn(
        round,
        state,
        state.players["generator"],
        config.generator_optimizer,
        main,
        penalty if is_on(config.path_length_weight) else None,
    )
    return generator, extra, {"g_loss": loss}


def _discriminator_turn(
    round: Round, state: State, generator: Player, real: jax.Array, labels: jax.Array | None
) -> tuple[Player, Player, PyTree, Metrics]:
    """The discriminator after its step (and, where due, the R1 penalty's); the generator with the mean of w after its pass; `State.extra`, metrics."""
    config, s, network = (
        round.config,
        round.stabilisers,
        networks(round.config, round.axis_name)[0],
    )
    turn = _of_turn(round, "discriminator")
    critic = _Critic(turn, labels)
    fake, average = styles.generate(network, generator.params, generator.stats, turn.draws, labels)

    def main(params: PyTree, stats: PyTree) -> tuple[jax.Array, PyTree]:
        real_logits = critic.logits(params, real, "real")
        fake_logits = critic.logits(params, fake, "fake")
        loss = losses.discriminator_loss("non-saturating", real_logits, fake_logits)
        return loss, (stats, logit_metrics(s, 0.0, real_logits, fake_logits))

    def of_real(
        params: PyTree, stats: PyTree, extra: PyTree
    ) -> tuple[jax.Array, tuple[PyTree, PyTree]]:
        r1 = losses.r1_penalty(lambda images: critic.logits(params, images, "r1"), real)
        return s.r1 * r1, (stats, extra | {"r1": round.mean(r1)})

    discriminator, extra, loss, metrics = lazy.learn(
        round,
        state,
        state.players["discriminator"],
        config.discriminator_optimizer,
        main,
        lazy.Penalty(of_real, config.r1_interval) if is_on(s.r1) else None,
    )
    return discriminator, generator.replace(stats=average), extra, metrics | {"d_loss": loss}


def _path_length_penalty(
    round: Round, labels: jax.Array | None, params: PyTree, stats: PyTree, extra: PyTree
) -> tuple[jax.Array, tuple[PyTree, PyTree]]:
    """The weighted mean square of path lengths about their running mean, which this batch has moved; the mean of w and `State.extra` after it."""
    config, turn = round.config, _of_turn(round, "path length")
    network, _ = networks(config, round.axis_name)
    labels = None if labels is None else labels[:: config.path_length_shrink]
    w, stats = styles.styles(network, params, stats, turn.draws, labels)

    def generate(w: jax.Array) -> jax.Array:
        images: Any = network.apply({"params": params}, w, turn.draws["keys"], method="synthesise")
        return images

    directions = jax.vmap(lambda key: jax.random.normal(key, image_shape(config), jnp.float32))(
        turn.keys("path direction")
    )
    lengths = losses.path_lengths(generate, w, directions)
    length, before = round.mean(jnp.mean(lengths)), extra["path_length_mean"]
    mean = before + optim.as_float32(config.path_length_decay) * (length - before)
    value = jnp.mean(jnp.square(lengths - mean))
    kept = {
        "path_length": length,
        "path_length_mean": mean,
        "path_length_penalty": round.mean(value),
    }
    return config.path_length_weight * value, (stats, extra | kept)


# ------------------------------------------------------------------------------------------------------------------- pictures


def sample(
    config: Config,
    state: State,
    key: jax.Array,
    n: int,
    labels: jax.Array | None = None,
    *,
    first: int = 0,
    truncation: jax.Array | float = 1.0,
    truncation_layers: int | None = None,
    noise: str = "random",
) -> jax.Array:
    """`n` images [n, H, W, C] in [-1, 1] from the averaged generator, of the classes `labels` (int32 [n]) if conditional.

    Image i uses `fold_in(key, first + i)`, so chunks change nothing.

    Args:
      truncation: how far w goes from its mean to what the latent says: below 1 images are more alike and more usual, at 0 all the same.
      truncation_layers: only in so many first layers (Karras et al. 2019: 8); None for all.
      noise: "random", "constant" (the same for all images) or "none".

    Raises:
      ValueError: labels missing or out of place, or another noise.
    """
    keys = example_keys(key, n, first=first)
    options: dict[str, Any] = {
        "truncation": truncation,
        "truncation_layers": truncation_layers,
        "noise": noise,
    }
    return generate(config, state, latents(config, key, n, first=first), labels, keys, **options)


def generate(
    config: Config,
    state: State,
    latents: jax.Array,
    labels: jax.Array | None = None,
    keys: jax.Array | None = None,
    *,
    truncation: jax.Array | float = 1.0,
    truncation_layers: int | None = None,
    noise: str = "random",
) -> jax.Array:
    """Images [B, H, W, C] in [-1, 1] of latents [B, Z], standard normal, from the averaged generator; classes `labels` (int32 [B]) if conditional.

    `sample` draws image i's latent from `fold_in(key, first + i)`, which is its key here too.

    Args:
      keys: one for each image [B], not consumed, for random noise.
      truncation, truncation_layers, noise: as in `sample`; truncation also [B, 1, 1], for each image.

    Raises:
      ValueError: latents of another length, labels missing or out of place, another noise, random noise without keys.
    """
    require_choice("noise", noise, NOISES)
    fits = latents.ndim == 2 and latents.shape[1] == config.latent_size
    require(fits, f"latents must be [B, {config.latent_size}], got shape {latents.shape}")
    w = styles_of(
        config, state, latents, labels, truncation=truncation, truncation_layers=truncation_layers
    )
    return synthesise(config, state, w, keys, noise=noise)


def latents(config: Config, key: jax.Array, n: int, *, first: int = 0) -> jax.Array:
    """The latents [n, Z], standard normal, of which `sample` makes its images; latent i uses `fold_in(key, first + i)`."""
    check_config(config, Config)
    drawn: jax.Array = jax.vmap(
        lambda own: jax.random.normal(own, (config.latent_size,), jnp.float32)
    )(example_keys(key, n, first=first))
    return drawn


def styles_of(
    config: Config,
    state: State,
    latents: jax.Array,
    labels: jax.Array | None = None,
    *,
    truncation: jax.Array | float = 1.0,
    truncation_layers: int | None = None,
) -> jax.Array:
    """w for each layer [B, L, W] of latents [B, Z], by the averaged generator; the other arguments and errors as in `sample`."""
    check_sampler(CONTRACT, config, state)
    labels = check_labels(labels, latents.shape[0], config.classes)
    generator, _ = networks(config)
    w: Any = generator.apply(state.ema, latents, labels, method="styles")
    return styles.truncated(generator, state.ema, w, truncation, truncation_layers)


def synthesise(
    config: Config,
    state: State,
    w: jax.Array,
    keys: jax.Array | None = None,
    *,
    noise: str = "constant",
) -> jax.Array:
    """Images [B, H, W, C] in [-1, 1] of w [B, L, W], by the averaged generator. keys: one for each example, for random noise."""
    check_sampler(CONTRACT, config, state)
    images: Any = networks(config)[0].apply(state.ema, w, keys, noise=noise, method="synthesise")
    return jnp.clip(images, -1, 1)


def mix(
    config: Config,
    state: State,
    key: jax.Array,
    n: int,
    layers: tuple[int, int],
    labels: jax.Array | None = None,
    *,
    truncation: jax.Array | float = 1.0,
) -> jax.Array:
    """A grid [n + 1, n + 1, H, W, C] in [-1, 1]: each image of the first column with each one's of the first row styles in the layers first <= i < last.

    The sources, image i of row and column, use `fold_in(key, i)` and `fold_in(key, n + i)`, and the class labels[i] (int32 [2 n]) if conditional. The
    noise is constant; the corner is black. Early layers say pose and shape, late ones colours (Karras et al. 2019, figure 3).

    Raises:
      ValueError: layers that the generator does not have; labels missing or out of place.
    """
    (low, high), count = layers, networks(config)[0].layers
    require(
        0 <= low < high <= count,
        f"layers must be (first, last) with 0 <= first < last <= {count}, got {layers}",
    )
    sources = styles_of(config, state, latents(config, key, 2 * n), labels, truncation=truncation)
    top, left = sources[:n], sources[n:]
    layer = jnp.arange(count, dtype=jnp.int32)
    taken = (layer >= low) & (layer < high)

    def row(own: jax.Array) -> jax.Array:
        return synthesise(config, state, jnp.where(taken[None, :, None], top, own[None]))

    alone = synthesise(config, state, sources)
    above = jnp.concatenate([jnp.full_like(alone[:1], -1), alone[:n]])[None]
    below = jnp.concatenate([alone[n:][:, None], jax.lax.map(row, left)], axis=1)
    return jnp.concatenate([above, below])


def preview(config: Config, state: State, batch: Batch, key: jax.Array) -> jax.Array:
    """A grid [8, columns, H, W, C] of samples in [-1, 1]: 8 columns, or one for each of the first ten classes; the batch is not used."""
    check_sampler(CONTRACT, config, state)
    return adversarial.preview_grid(sample, config, state, key, config.classes)


CONTRACT = Contract(Config, init, batch_spec, conditioning)
"""What arguments are checked against."""
