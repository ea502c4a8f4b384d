"""Pix2Pix (Isola et al. 2017): image to image from aligned pairs, a conditional discriminator beside an L1 loss.

    config = pix2pix.Config(image_size=(256, 256), direction="a2b")
    state, metrics = pix2pix.train_step(config, state, {"a": ..., "b": ...}, key)
    maps = pix2pix.translate(config, state, photos)

Supports every stabiliser but critic_steps, generator_batch and dequantise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxgan import optim, pool
from jaxgan.augment import Parts
from jaxgan.errors import require, require_range
from jaxgan.family import Conditioning
from jaxgan.games import translation
from jaxgan.games.checks import Contract, begin, check_config, check_sampler
from jaxgan.games.round import Draws, Round
from jaxgan.games.stabilisers import Stabilisers, new_strengths
from jaxgan.games.translation import Critic, Side, batch_spec, domains
from jaxgan.nn.channels import beside
from jaxgan.optim import Optimizer
from jaxgan.settings import settle
from jaxgan.state import Batch, Metrics, Player, PyTree, State
from jaxgan.update import (
    apply_gradients,
    example_keys,
)

__all__ = ["Config", "batch_spec", "conditioning", "init", "preview", "train_step", "translate"]


@dataclass(frozen=True)
class Config:
    """Settings of Pix2Pix; the defaults are those of the paper as in its PyTorch code.

    The rest of that recipe depends on the data and is not here: batches of 1, images enlarged to 286, cropped to 256 and mirrored, and 200 epochs, in
    the second half of which the rate falls to zero (`constant_images` and `decay_images` of both optimisers; the paper's own code keeps it).
    """

    image_size: tuple[int, int] = (256, 256)
    """Height and width in pixels; multiples of 2^depth for the U-Net, of 4 for the others."""
    channels_a: int = 3
    """Channels of the images A."""
    channels_b: int = 3
    """Channels of the images B."""
    direction: Literal["a2b", "b2a"] = "a2b"
    """Which of the pair is translated into the other."""
    generator: Literal["unet", "resnet", "densenet"] = "unet"
    """Network that translates."""
    generator_width: int = 64
    """Feature maps of its first layer."""
    depth: int = 0
    """"unet": halvings down to the bottleneck; 0 for as many as the size allows (8 for 256 x 256)."""
    blocks: int = 0
    """"resnet": residual blocks; 0 for 9 from 256 pixels on and 6 below."""
    norm: Literal["batch", "instance", "none"] = "batch"
    """Normalisation in both networks; with batches of one, batch norm is instance norm with gain and bias."""
    dropout: float = 0.5
    """Share of features dropped in the generator: the only noise there is, in layers of the U-Net's decoder or in every residual block."""
    dropout_layers: Literal["paper", "port"] = "paper"
    """"unet": the three innermost decoder layers, or, as in the PyTorch port of the paper's code, the depth - 5 that follow the innermost."""
    upsampling: Literal["transposed", "resize"] = "transposed"
    """How the generator doubles sizes: transposed convolutions, or nearest neighbours and a convolution (no checkerboards; Odena et al. 2016)."""
    discriminator: Literal["patch", "pixel"] = "patch"
    """"patch": judges overlapping patches; "pixel": every pixel alone."""
    discriminator_width: int = 64
    """Feature maps of its first layer."""
    discriminator_layers: int = 3
    """"patch": strided layers; 1 to 6 judge patches of 16, 34, 70, 142, 286, 574 pixels."""
    l1_weight: float = 100.0
    """Weight of the L1 distance to the true image."""
    loss: str = "non-saturating"
    """One of `jaxgan.losses.LOSSES`."""
    statistics: Literal["image", "running"] = "image"
    """What batch norm uses when translating: each image's own statistics (the paper, with batches of one), or the running ones, which fit better
    where training has larger batches."""
    translation_dropout: bool = True
    """Whether dropout stays on when translating (the paper), so that each key gives another translation."""
    generator_optimizer: Optimizer = Optimizer()
    """Optimiser and schedule of the generator."""
    discriminator_optimizer: Optimizer = Optimizer()
    """Optimiser and schedule of the discriminator."""
    stabilisers: Stabilisers = Stabilisers()
    """See `Stabilisers`; all but critic_steps, generator_batch and dequantise are supported."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the networks; parameters and losses are float32."""

    def __post_init__(self):
        settle(self)
        require_range("l1_weight", self.l1_weight, 0)
        translation.check_settings(self)


def _networks(config: Config, axis_name: str | None = None) -> tuple[Any, Any]:
    """Generator and discriminator; batch statistics are averaged over `axis_name`."""
    _, target = _channels(config)
    return translation.generator(
        config, target, axis_name, config.dropout_layers
    ), translation.discriminator(config, axis_name)


def _channels(config: Config) -> tuple[int, int]:
    """Channels of the source and of the target."""
    channels = (config.channels_a, config.channels_b)
    return channels if config.direction == "a2b" else channels[::-1]


def conditioning(config: Config) -> Conditioning:
    """What the model is told."""
    return Conditioning(
        "sides",
        sides=(config.channels_a, config.channels_b),
        directions=(config.direction,),
        paired=True,
        random_translation=config.translation_dropout,
    )


def init(config: Config, key: jax.Array) -> State:
    """Fresh state. Call it under jit: `jax.jit(pix2pix.init, static_argnums=0)`. Does not consume `key`."""
    check_config(config, Config)
    generator, discriminator = _networks(config)
    source, target = _channels(config)
    g, d = translation.new_players(
        Side({"g": (generator, source)}, config.generator_optimizer),
        Side({"d": (discriminator, source + target)}, config.discriminator_optimizer),
        config.image_size,
        key,
    )
    pair = jax.ShapeDtypeStruct((*config.image_size, source + target), jnp.float32)
    extra: PyTree = new_strengths(config.stabilisers, ("d",))
    if config.stabilisers.pool_size:
        extra["pool"] = pool.create(config.stabilisers.pool_size, pair)
    ema = jax.tree.map(jnp.copy, {"params": g.params, **g.stats})
    return State(jnp.int32(0), jnp.int32(0), {"generator": g, "discriminator": d}, ema, extra)


def train_step(
    config: Config, state: State, batch: Batch, key: jax.Array, *, axis_name: str | None = None
) -> tuple[State, Metrics]:
    """One round: a discriminator step, then a generator step against the updated discriminator.

    Args:
      batch: as `batch_spec`; this device's part when mapped over `axis_name`.
      key: the run's key, the same at every step and not consumed; draws depend on (key, state.step, example).

    Source: Isola et al. 2017, section 3, in the order and with the halved discriminator loss of junyanz/pytorch-CycleGAN-and-pix2pix. The
    translation is computed once: its backward pass waits until the discriminator has moved. Deviation: no bias in front of a norm.
    """
    batch = begin(CONTRACT, config, state, batch)
    return _round(
        config,
        state,
        batch,
        translation.draw(state, key, batch["a"].shape[0], axis_name),
        axis_name,
    )


def _round(
    config: Config, state: State, batch: Batch, draws: Draws, axis_name: str | None
) -> tuple[State, Metrics]:
    round = Round(config, draws, state.images, axis_name)
    translator, network = _networks(config, axis_name)
    generator, discriminator = state.players["generator"], state.players["discriminator"]
    source, target = (batch[domain] for domain in domains(config.direction))
    critic = Critic(network, round, parts=Parts(given=source.shape[-1]))

    fake, pull_back, generator = _generate(translator, generator, source, round)

    # The discriminator sees pairs: what was given, and what was made of it.
    real_pair, fake_pair = beside([source, target]), beside([source, fake])
    extra, shown = round.replayed(state.extra, "pool", fake_pair)

    def discriminator_loss(params: PyTree) -> tuple[jax.Array, tuple[PyTree, Metrics]]:
        return critic.loss(params, discriminator.stats, real_pair, shown)

    discriminator, d_loss, d_metrics = round.critic_step(discriminator, discriminator_loss)
    extra, d_metrics = round.adapted(extra, d_metrics, source.shape[0])

    def generator_loss(fake: jax.Array) -> tuple[jax.Array, tuple[Player, Metrics]]:
        adversarial, judged = critic.fooling(discriminator, beside([source, fake]), real_pair)
        distance = translation.l1(fake, target)
        loss = round.mean(adversarial + config.l1_weight * distance)
        metrics = {"g_loss": loss, "g_adversarial_loss": adversarial, "l1_loss": distance}
        return loss, (judged, metrics)

    gradient, (discriminator, g_metrics) = jax.grad(generator_loss, has_aux=True)(fake)
    (gradients,) = pull_back(gradient)
    optimizer = optim.build(config.generator_optimizer, state.images)
    generator = apply_gradients(generator, gradients, optimizer, axis_name)

    players = {"generator": generator, "discriminator": discriminator}
    metrics = {**d_metrics, "d_loss": d_loss, **g_metrics}
    metrics.pop("loss")
    return round.end(state, players, extra, metrics, source.shape[0])


def _generate(
    network: Any, generator: Player, source: jax.Array, round: Round
) -> tuple[jax.Array, Any, Player]:
    """Translations [B, H, W, C], the backward pass from their gradient to the parameters', and the player with the statistics of this pass."""
    keys = round.keys("generator")

    def forward(params: PyTree) -> tuple[jax.Array, PyTree]:
        stats = translation.variables_of(generator.stats, "g")
        return network.apply(
            {"params": params["g"], **stats}, source, keys, train=True, mutable=list(stats)
        )

    fake, pull_back, stats = jax.vjp(forward, generator.params, has_aux=True)
    return (
        fake,
        pull_back,
        generator.replace(stats=translation.with_stats(generator.stats, "g", dict(stats))),
    )


def translate(
    config: Config,
    state: State,
    images: jax.Array,
    *,
    direction: str | None = None,
    key: jax.Array | None = None,
    first: int = 0,
) -> jax.Array:
    """Images [B, H, W, C] in [-1, 1] of any size -> their translations [B, H, W, C'] in [-1, 1], by the averaged generator.

    Each image is translated alone, whatever `statistics` says, so chunks change nothing. The size is padded by reflection to the network's
    multiple and cropped back.

    Args:
      direction: the config's own, or None: a Pix2Pix translates one way.
      key: draws the dropout, for image i by `fold_in(key, first + i)`; None is `jax.random.key(0)`.

    Raises:
      ValueError: the other direction, or images of other channels than the source domain's.
    """
    check_sampler(CONTRACT, config, state)
    require(
        direction in (None, config.direction),
        f"this model translates {config.direction} only, not {direction}",
    )
    source, _ = _channels(config)
    require(
        images.shape[-1] == source,
        f"images of {source} channels are needed, got shape {images.shape}",
    )
    keys = None
    if config.translation_dropout:
        keys = example_keys(jax.random.key(0) if key is None else key, images.shape[0], first=first)
    network, _ = _networks(config)
    return translation.translate_images(
        network, translation.variables_of(state.ema, "g"), images, keys, config.statistics
    )


def preview(config: Config, state: State, batch: Batch, key: jax.Array) -> jax.Array:
    """A grid [rows, 3, H, W, C] in [-1, 1] of the batch's first examples (at most 8): what is given, the translation, the true image."""
    check_sampler(CONTRACT, config, state)
    pair = dict(zip("ab", translation.preview_batch(batch), strict=True))
    source, target = domains(config.direction)
    return translation.side_by_side(
        [pair[source], translate(config, state, pair[source], key=key), pair[target]]
    )


CONTRACT = Contract(Config, init, batch_spec, conditioning)
"""What arguments are checked against."""
