"""StarGAN (Choi et al. 2018): one generator for all translations between many domains, told the target as a vector of attributes.

    config = stargan.Config(attributes=("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young"))
    state, metrics = stargan.train_step(config, state, {"image": ..., "attributes": ...}, key)
    faces = stargan.translate(config, state, images, attributes)

The critic also says which attributes it sees; what was translated is translated back. Several data sets that tell different attributes train one
model: see `Config.known`.

Supports every stabiliser but generator_batch and dequantise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxgan import losses, optim, pool
from jaxgan.errors import require, require_choice, require_range
from jaxgan.family import Conditioning
from jaxgan.games import attributes as vectors
from jaxgan.games import translation
from jaxgan.games.attributes import target_domains
from jaxgan.games.checks import (
    Contract,
    begin,
    check_config,
    check_range,
    check_sampler,
    check_unit,
)
from jaxgan.games.round import Draws, Round
from jaxgan.games.stabilisers import (
    Stabilisers,
    is_on,
    new_strengths,
    penalties,
    strengths,
)
from jaxgan.games.translation import Critic, Side
from jaxgan.networks.stargan import StarGANDiscriminator, StarGANGenerator, with_planes
from jaxgan.optim import Optimizer
from jaxgan.settings import settle
from jaxgan.state import Batch, Metrics, Player, PyTree, State
from jaxgan.update import (
    apply_gradients,
    example_streams,
    uniform,
)

__all__ = [
    "Config",
    "batch_spec",
    "conditioning",
    "init",
    "preview",
    "target_domains",
    "train_step",
    "translate",
]

ADAM = Optimizer(learning_rate=1e-4)
HAIR = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")


@dataclass(frozen=True)
class Config:
    """Settings of StarGAN; the defaults are the paper's for CelebA (batch 16; 200,000 critic steps, mirrored, the rate linear to zero over the last half)."""

    image_size: tuple[int, int] = (128, 128)
    """Height and width in pixels; multiples of 4, at least 2^discriminator_layers."""
    channels: int = 3
    """Channels of the images; any number."""
    attributes: tuple[str, ...] = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")
    """Names of the K attributes, the columns of a batch's vectors of 0 and 1."""
    groups: tuple[tuple[str, int], ...] = ()
    """Name and number of columns of each group, in order: of one column, a binary attribute; of more, exclusive domains, one of them 1. () is all binary."""
    known: tuple[tuple[bool, ...], ...] = ()
    """With several data sets at once: for each, which of the K attributes it tells. Its images are translated to these alone, and judged by them."""
    alternatives: tuple[tuple[str, ...], ...] = (HAIR,)
    """Binary attributes of which a target domain has one at a time; for `target_domains` alone, and names that are not there do not count."""
    generator_width: int = 64
    """Feature maps of the generator's first layer."""
    blocks: int = 6
    """Residual blocks of the generator."""
    discriminator_width: int = 64
    """Feature maps of the discriminator's first layer; they double with each."""
    discriminator_layers: int = 6
    """Strided layers of the discriminator."""
    class_weight: float = 1.0
    """Weight of the attributes' loss: on real images for the discriminator, on translated ones for the generator."""
    reconstruction_weight: float = 10.0
    """Weight of the L1 distance between an image and what comes back from its translation."""
    loss: str = "wasserstein"
    """One of `jaxgan.losses.LOSSES`."""
    generator_optimizer: Optimizer = ADAM
    """Optimiser and schedule of the generator."""
    discriminator_optimizer: Optimizer = ADAM
    """Optimiser and schedule of the discriminator."""
    stabilisers: Stabilisers = Stabilisers(critic_steps=5, gradient_penalty=10.0)
    """See `Stabilisers`; all but generator_batch and dequantise are supported. The default is WGAN-GP's."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the networks; parameters and losses are float32."""

    def __post_init__(self):
        settle(self)
        require_choice("loss", self.loss, losses.LOSSES)
        for name in ("channels", "generator_width", "discriminator_width", "discriminator_layers"):
            require_range(name, getattr(self, name), 1)
        for name in ("blocks", "class_weight", "reconstruction_weight"):
            require_range(name, getattr(self, name), 0)
        _check_size(self)
        vectors.check_settings(self)
        s = self.stabilisers
        for name, off in (("generator_batch", 1), ("dequantise", 0)):
            require(
                not is_on(getattr(s, name), off),
                f"stargan does not support the stabiliser {name}: leave it at {off}",
            )
        smooth = is_on(s.fake_target) or is_on(s.real_target, off=1)
        require(
            not smooth or self.loss in losses.SMOOTHABLE,
            f"the {self.loss!r} loss has no targets to smooth: leave real_target at 1 and fake_target at 0",
        )


def _check_size(config: Config) -> None:
    require(
        len(config.image_size) == 2 and min(config.image_size) > 0,
        f"image_size must be (height, width), got {config.image_size}",
    )
    multiple, least = _networks(config)[0].multiple, 1 << config.discriminator_layers
    require(
        all(side % multiple == 0 for side in config.image_size),
        f"image_size must be multiples of {multiple}, got {config.image_size}",
    )
    fits = min(config.image_size) >= least
    require(
        fits,
        f"image_size must be at least {least} for {config.discriminator_layers} discriminator_layers, got {config.image_size}",
    )


def batch_spec(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """`image`: float32 [n * B, H, W, C] in [-1, 1]; `attributes`: float32 [n * B, K] of 0 and 1; `set`: int32 [n * B], with several data sets.

    n: critic steps.
    """
    count = config.stabilisers.critic_steps * batch_size
    spec = {
        "image": jax.ShapeDtypeStruct((count, *config.image_size, config.channels), jnp.float32),
        "attributes": jax.ShapeDtypeStruct((count, len(config.attributes)), jnp.float32),
    }
    return spec | {"set": jax.ShapeDtypeStruct((count,), jnp.int32)} if config.known else spec


def _networks(config: Config) -> tuple[StarGANGenerator, StarGANDiscriminator]:
    dtype = jnp.dtype(config.dtype)
    spectral_norm, count = config.stabilisers.spectral_norm, len(config.attributes)
    discriminator = StarGANDiscriminator(
        count, config.discriminator_width, config.discriminator_layers, spectral_norm, dtype
    )
    return StarGANGenerator(
        config.channels, config.generator_width, config.blocks, dtype
    ), discriminator


def conditioning(config: Config) -> Conditioning:
    """What the model is told."""
    return Conditioning(
        "attributes", attributes=config.attributes, groups=config.groups, known=config.known
    )


def init(config: Config, key: jax.Array) -> State:
    """Fresh state. Call it under jit: `jax.jit(stargan.init, static_argnums=0)`. Does not consume `key`."""
    check_config(config, Config)
    generator, discriminator = _networks(config)
    inputs = config.channels + len(config.attributes) + len(config.known)
    g, d = translation.new_players(
        Side({"g": (generator, inputs)}, config.generator_optimizer),
        Side({"d": (discriminator, config.channels)}, config.discriminator_optimizer),
        config.image_size,
        key,
    )
    example = jax.ShapeDtypeStruct((*config.image_size, config.channels), jnp.float32)
    extra: PyTree = new_strengths(config.stabilisers, ("d",))
    if config.stabilisers.pool_size:
        extra["pool"] = pool.create(config.stabilisers.pool_size, example)
    ema = jax.tree.map(jnp.copy, {"params": g.params, **g.stats})
    return State(jnp.int32(0), jnp.int32(0), {"generator": g, "discriminator": d}, ema, extra)


# ------------------------------------------------------------------------------------------------------------------- the game


def train_step(
    config: Config, state: State, batch: Batch, key: jax.Array, *, axis_name: str | None = None
) -> tuple[State, Metrics]:
    """One round: n discriminator steps, each on B other images, then one generator step against the updated discriminator on the last of them.

    Targets are the batch's own attributes, permuted over all devices.

    Args:
      batch: as `batch_spec`; this device's part when mapped over `axis_name`. Attributes may be of any number type.
      key: the run's key, the same at every step and not consumed; draws depend on (key, state.step, example).

    Source: Choi et al. 2018, section 3, in the order of yunjey/stargan. Deviations: with several data sets a batch mixes them, where the
    reference takes a batch of each in turn; the critic judges real and translated images in one pass, which gives the same, except that
    spectral norm's vectors are renewed once a step instead of twice.
    """
    batch = begin(CONTRACT, config, state, batch)
    return _round(
        config, state, batch, _draw(state, key, batch["image"].shape[0], axis_name), axis_name
    )


def _draw(state: State, key: jax.Array, count: int, axis_name: str | None) -> Draws:
    """Draws of the translation families, and for each example `alpha`, of the gradient penalty, and `order`, of the targets, both in [0, 1)."""
    draws = translation.draw(state, key, count, axis_name)
    return draws | {
        name: uniform(example_streams(draws["keys"], name)) for name in ("alpha", "order")
    }


def _round(
    config: Config, state: State, batch: Batch, draws: Draws, axis_name: str | None
) -> tuple[State, Metrics]:
    batch = batch | {"attributes": batch["attributes"].astype(jnp.float32)}
    n, extra, (_, network) = config.stabilisers.critic_steps, state.extra, _networks(config)
    generator, discriminator = state.players["generator"], state.players["discriminator"]

    for turn in range(n):
        # Interleaved, so that a turn is the same on any number of devices.
        real = {name: leaf[turn::n] for name, leaf in batch.items()}
        drawn: Draws = {name: draws[name][turn::n] for name in ("keys", "alpha", "order")}
        drawn["pool"] = draws["pool"]
        round = Round(config, drawn | strengths(extra), state.images, axis_name)
        target = vectors.permuted(real, drawn["order"], axis_name)
        condition = vectors.condition(config, target, real.get("set"))
        fake, pull_back = jax.vjp(
            lambda params, real=real, condition=condition: _generate(
                config, params, real["image"], condition
            ),
            generator.params,
        )
        extra, shown = round.replayed(extra, "pool", fake, "turn", turn)
        loss = partial(_discriminator_loss, Critic(network, round), discriminator, real, shown)
        discriminator, d_loss, d_metrics = round.critic_step(discriminator, loss)
        extra, d_metrics = round.adapted(extra, d_metrics, fake.shape[0])

    # The last translation serves the generator, too: its backward pass waited until the discriminator had moved.
    round = round._replace(draws=round.draws | strengths(extra))
    loss = partial(_generator_loss, Critic(network, round), discriminator, real, target)
    (gradients, image_gradient), (discriminator, g_metrics) = jax.grad(loss, (0, 1), has_aux=True)(
        generator.params, fake
    )
    (through_fake,) = pull_back(image_gradient)
    gradients = jax.tree.map(jnp.add, gradients, through_fake)
    optimizer = optim.build(config.generator_optimizer, state.images)
    generator = apply_gradients(generator, gradients, optimizer, axis_name)

    players = {"generator": generator, "discriminator": discriminator}
    metrics = d_metrics | {"d_loss": d_loss} | g_metrics
    return round.end(state, players, extra, metrics, batch["image"].shape[0])


def _generate(config: Config, params: PyTree, image: jax.Array, condition: jax.Array) -> jax.Array:
    generator, _ = _networks(config)
    images: Any = generator.apply(
        {"params": params["g"]}, with_planes(image, condition), train=True
    )
    return images


def _discriminator_loss(
    critic: Critic, discriminator: Player, real: Batch, fake: jax.Array, params: PyTree
) -> tuple[jax.Array, tuple[PyTree, Metrics]]:
    """The adversarial loss, the attributes' loss of the real images, and the penalties (eq. 5); statistics after the pass; metrics.

    Nothing in this critic depends on the other images of a batch. So one pass judges real and translated ones: at small batches its weights, 45 million at
    128x128, are most of what a step reads and writes.
    """
    round, config, s = critic.round, critic.round.config, critic.round.stabilisers
    change_real, change_fake = (critic.augmentation(of, fake.shape) for of in ("real", "fake"))
    shown = [
        critic.noisy(change_real(real["image"]), "real"),
        critic.noisy(change_fake(fake), "fake"),
    ]
    (logits, classes), stats = critic.judge(params, discriminator.stats, jnp.concatenate(shown))
    (real_logits, fake_logits), (classes, _) = jnp.split(logits, 2), jnp.split(classes, 2)
    adversarial = losses.discriminator_loss(
        config.loss,
        real_logits,
        fake_logits,
        s.real_target,
        s.fake_target,
        axis_name=round.axis_name,
    )
    class_loss, class_accuracy = vectors.class_loss(
        config, classes, real["attributes"], real.get("set")
    )
    metrics = {
        "d_adversarial_loss": adversarial,
        "d_class_loss": class_loss,
        "real_class_accuracy": class_accuracy,
        **round.logit_metrics(real_logits, fake_logits),
    }

    def logits_after(change: Callable) -> Callable[[jax.Array], jax.Array]:
        return lambda images: critic.judge(params, stats, change(images))[0][0]

    penalty, penalty_metrics = penalties(
        s,
        logits_after(change_real),
        logits_after(change_fake),
        real["image"],
        fake,
        round.draws["alpha"],
    )
    loss = adversarial + config.class_weight * class_loss + penalty
    return loss, (stats, metrics | penalty_metrics)


def _generator_loss(
    critic: Critic,
    discriminator: Player,
    real: Batch,
    target: jax.Array,
    params: PyTree,
    fake: jax.Array,
) -> tuple[jax.Array, tuple[Player, Metrics]]:
    """The adversarial loss, the attributes' loss against the targets, and the reconstruction loss (eq. 6); the discriminator after the pass; metrics."""
    round, config = critic.round, critic.round.config
    adversarial, (_, classes), discriminator = critic.fooling_outputs(
        discriminator, fake, real["image"]
    )
    class_loss, class_accuracy = vectors.class_loss(config, classes, target, real.get("set"))
    condition = vectors.condition(config, real["attributes"], real.get("set"))
    distance = translation.l1(_generate(config, params, fake, condition), real["image"])
    loss = round.mean(
        adversarial + config.class_weight * class_loss + config.reconstruction_weight * distance
    )
    metrics = {
        "g_loss": loss,
        "g_adversarial_loss": adversarial,
        "g_class_loss": class_loss,
        "reconstruction_loss": distance,
        "fake_class_accuracy": class_accuracy,
    }
    return loss, (discriminator, metrics)


# ------------------------------------------------------------------------------------------------------------------- pictures


def translate(
    config: Config,
    state: State,
    images: jax.Array,
    attributes: jax.Array,
    *,
    sets: jax.Array | int | None = None,
    key: jax.Array | None = None,
    first: int = 0,
) -> jax.Array:
    """Images [B, H, W, C] in [-1, 1] of any size -> the same with these attributes, [B, H, W, C] in [-1, 1], by the averaged generator.

    Each image is translated alone, so chunks change nothing. The size is padded by reflection to a multiple of 4 and cropped back.

    Args:
      attributes: the whole target, not what changes: numbers [B, K] of 0 and 1, or [K] for all images; `Config.attributes` names the columns.
      sets: with several data sets, whose attributes are meant, int [B] or one number; those that it does not tell do not count.
      key, first: nothing is drawn; they are there as in every family that translates.

    Raises:
      ValueError: images of other channels, attributes of other columns, `sets` missing or out of place.
    """
    check_sampler(CONTRACT, config, state)
    require(
        images.ndim == 4 and images.shape[-1] == config.channels,
        f"images [B, H, W, {config.channels}] are needed, got shape {images.shape}",
    )
    check_unit("attributes", attributes)
    attributes, count = jnp.asarray(attributes, jnp.float32), len(config.attributes)
    fits = attributes.shape in ((count,), (len(images), count))
    require(
        fits,
        f"attributes must be [{len(images)}, {count}], columns {', '.join(config.attributes)}, got shape {attributes.shape}",
    )
    several = (
        f"one of the {len(config.known)} data sets whose attributes are meant"
        if config.known
        else "nothing, as there is one data set"
    )
    require((sets is None) == (not config.known), f"sets must be {several}, got {sets}")
    attributes = jnp.broadcast_to(attributes, (len(images), count))
    if sets is not None:
        check_range("sets", sets, len(config.known))
        sets = jnp.broadcast_to(jnp.asarray(sets, jnp.int32), (len(images),))
    generator, _ = _networks(config)
    planes = with_planes(images, vectors.condition(config, attributes, sets))
    return translation.translate_images(
        generator, translation.variables_of(state.ema, "g"), planes, None, "running"
    )


def preview(config: Config, state: State, batch: Batch, key: jax.Array) -> jax.Array:
    """A grid [rows, 1 + K, H, W, C] in [-1, 1] of the batch's first examples (at most 8): the image, and its translation to every target domain."""
    check_sampler(CONTRACT, config, state)
    image, attributes, *rest = (
        batch[name][: translation.PREVIEW_ROWS]
        for name in ("image", "attributes", "set")
        if name in batch
    )
    _, targets, meant = zip(*target_domains(config, attributes, *rest), strict=True)

    def one(target: tuple[jax.Array, Any]) -> jax.Array:
        return translate(config, state, image, target[0], sets=target[1])

    translated = jax.lax.map(one, (jnp.stack(targets), jnp.stack(meant) if rest else None))
    return jnp.concatenate([image[:, None], jnp.moveaxis(translated, 0, 1)], axis=1)


CONTRACT = Contract(Config, init, batch_spec, conditioning)
"""What arguments are checked against."""
