"""What Pix2Pix and CycleGAN share: their networks by setting, a critic's judgement and loss, and translating images of any size.

Shapes: B examples on this device, H, W image size, C channels, h, w the patches a critic judges.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan import losses, optim
from jaxgan.augment import ONE_IMAGE, Parts
from jaxgan.errors import require, require_choice, require_range
from jaxgan.games.stabilisers import (
    Stabilisers,
    adapted,
    augmentation,
    is_on,
    noise_level,
    penalties,
    sign_metric,
    strengths,
)
from jaxgan.networks.patch import PatchDiscriminator, PixelDiscriminator
from jaxgan.networks.translator import DenseNetTranslator, ResNetTranslator
from jaxgan.networks.unet import UNet
from jaxgan.nn.initialisers import from_one_draw
from jaxgan.nn.regularise import add_noise
from jaxgan.state import Batch, Metrics, Player, PyTree, State
from jaxgan.update import example_keys, example_streams, stream_key, uniform

Draws = dict[str, Any]
GENERATORS = ("resnet", "unet", "densenet")
DISCRIMINATORS = ("patch", "pixel")
PREVIEW_ROWS = 8

# ------------------------------------------------------------------------------------------------------------------ settings


def check_settings(config: Any) -> None:
    """Raise `ValueError` if the settings both families have do not fit together."""
    require_choice("loss", config.loss, losses.LOSSES)
    require(
        config.statistics == "image" or config.norm == "batch",
        f"only batch norm has running statistics: with norm={config.norm!r} use statistics='image'",
    )
    require(
        min(config.image_size) > 0, f"image_size must be (height, width), got {config.image_size}"
    )
    values = vars(config)
    for name in (
        "channels_a",
        "channels_b",
        "generator_width",
        "discriminator_width",
        "discriminator_layers",
    ):
        require_range(name, values[name], 1)
    require_range("dropout", config.dropout, 0, 0.99)
    for name in ("depth", "blocks"):
        require_range(name, values[name], 0)
    _check_sizes(config)
    s: Stabilisers = config.stabilisers
    for name, off in (("critic_steps", 1), ("generator_batch", 1), ("dequantise", 0)):
        require(
            not is_on(getattr(s, name), off),
            f"translation does not support the stabiliser {name}: leave it at {off}",
        )
    smooth = is_on(s.fake_target) or is_on(s.real_target, off=1)
    require(
        not smooth or config.loss in losses.SMOOTHABLE,
        f"the {config.loss!r} loss has no targets to smooth: leave real_target at 1 and fake_target at 0",
    )


def _check_sizes(config: Any) -> None:
    """The networks take images of this size."""
    size = config.image_size
    if config.generator == "unet":
        depth = config.depth or _halvings(size)
        require(
            depth >= 2,
            f"a U-Net needs image_size in multiples of 4 at least, and depth 2, got {size} and depth {config.depth}",
        )
        deep = config.depth or depth >= 5 or min(size) < 64
        require(
            deep,
            f"image_size {size} halves only {depth} times, too few for a U-Net: use multiples of 32, or set depth if that is meant",
        )
    multiple = generator(config, config.channels_b).multiple
    require(
        all(side % multiple == 0 for side in size),
        f"image_size must be multiples of {multiple} for this {config.generator} generator, got {size}",
    )
    least = 3 << config.discriminator_layers if config.discriminator == "patch" else 1
    require(
        min(size) >= least,
        f"{config.discriminator_layers} discriminator_layers need images of at least {least} x {least}, got {size}",
    )


def batch_spec(config: Any, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """`a` and `b`: float32 [B, H, W, channels_a or channels_b] in [-1, 1]."""
    channels = {"a": config.channels_a, "b": config.channels_b}
    return {
        name: jax.ShapeDtypeStruct((batch_size, *config.image_size, count), jnp.float32)
        for name, count in channels.items()
    }


def domains(direction: str) -> tuple[str, str]:
    """ "a2b" -> ("a", "b"): where a translation starts and where it leads."""
    require_choice("direction", direction, ("a2b", "b2a"))
    return direction[0], direction[-1]


def generator(
    config: Any, channels: int, axis_name: str | None = None, dropout_layers: str = "paper"
) -> Any:
    """The network that makes images of `channels` channels; batch statistics are averaged over `axis_name`."""
    shared: dict[str, Any] = {
        "norm": config.norm,
        "upsampling": config.upsampling,
        "axis_name": axis_name,
        "dtype": jnp.dtype(config.dtype),
    }
    if config.generator == "unet":
        depth = config.depth or _halvings(config.image_size)
        return UNet(
            channels,
            config.generator_width,
            depth,
            dropout=config.dropout,
            dropout_layers=dropout_layers,
            **shared,
        )
    if config.generator == "resnet":
        blocks = config.blocks or (9 if min(config.image_size) >= 256 else 6)
        return ResNetTranslator(
            channels, config.generator_width, blocks, dropout=config.dropout, **shared
        )
    return DenseNetTranslator(channels, config.generator_width, dropout=config.dropout, **shared)


def discriminator(config: Any, axis_name: str | None = None) -> nn.Module:
    """The network that judges patches, or single pixels."""
    shared: dict[str, Any] = {
        "norm": config.norm,
        "spectral_norm": config.stabilisers.spectral_norm,
        "axis_name": axis_name,
        "dtype": jnp.dtype(config.dtype),
    }
    if config.discriminator == "patch":
        return PatchDiscriminator(config.discriminator_width, config.discriminator_layers, **shared)
    return PixelDiscriminator(config.discriminator_width, **shared)


def _halvings(image_size: tuple[int, int]) -> int:
    """How often both sides can be halved: 8 for 256 x 256, as the paper's U-Net does."""
    count = 1
    while all(side % 2 ** (count + 1) == 0 for side in image_size):
        count += 1
    return count


# ------------------------------------------------------------------------------------------------------------------- players


class Side(NamedTuple):
    """One player to be: its networks, each with the channels of its input, and its optimiser."""

    networks: dict[str, tuple[nn.Module, int]]
    optimizer: optim.Optimizer


def new_players(
    generator: Side, discriminator: Side, image_size: tuple[int, int], key: jax.Array
) -> tuple[Player, Player]:
    """The players, whose networks' variables lie side by side under their names. Does not consume `key`."""
    key = stream_key(key, "init")

    def begin() -> list[dict[str, PyTree]]:
        return [
            {
                name: module.init(
                    key, jnp.zeros((1, *image_size, channels), jnp.float32), train=False
                )
                for name, (module, channels) in side.networks.items()
            }
            for side in (generator, discriminator)
        ]

    g, d = from_one_draw(key, begin)
    return _player(g, generator.optimizer), _player(d, discriminator.optimizer)


def _player(variables: dict[str, PyTree], optimizer: optim.Optimizer) -> Player:
    params = {name: own["params"] for name, own in variables.items()}
    stats: PyTree = {}
    for name, own in variables.items():
        others = {collection: leaf for collection, leaf in own.items() if collection != "params"}
        stats = with_stats(stats, name, others)
    return Player(params, stats, optim.build(optimizer).init(params))


def variables_of(stats: PyTree, name: str) -> PyTree:
    """The collections of one network, those that it has: out of a player's statistics, or its variables out of `State.ema`."""
    return {
        collection: networks[name] for collection, networks in stats.items() if name in networks
    }


def with_stats(stats: PyTree, name: str, new: PyTree) -> PyTree:
    """A player's collections with those of one network replaced."""
    return {
        **stats,
        **{
            collection: {**stats.get(collection, {}), name: leaf}
            for collection, leaf in new.items()
        },
    }


# ------------------------------------------------------------------------------------------------------------------- the game


def draw(state: State, key: jax.Array, count: int, axis_name: str | None) -> Draws:
    """All that one round draws from: keys [count], from which dropout, noise, augmentation and penalties have their streams; pool, one key; `strengths`."""
    keys = example_keys(stream_key(key, "examples", state.step), count, axis_name)
    return {"keys": keys, "pool": stream_key(key, "pool", state.step)} | strengths(state.extra)


def judge(
    network: nn.Module,
    config: Any,
    params: PyTree,
    stats: PyTree,
    images: jax.Array,
    noise: Callable,
    **options: Any,
) -> tuple[Any, PyTree]:
    """What the critic says of images in training, after `noise`: logits [B, h, w] (with features=True also its feature maps); its statistics after."""
    judgement, stats = network.apply(
        {"params": params, **stats}, noise(images), train=True, mutable=list(stats), **options
    )
    return judgement, dict(stats)


def instance_noise(
    config: Any, keys: jax.Array, images: jax.Array, name: str
) -> Callable[[jax.Array], jax.Array]:
    """The noise on what a critic sees in its pass `name`, after `images` images of training; the identity where it is off."""
    if not is_on(config.stabilisers.instance_noise):
        return lambda x: x
    return lambda x: add_noise(
        x, noise_level(config.stabilisers, images), example_streams(keys, name), "instance noise"
    )


def critic_loss(
    network: nn.Module,
    config: Any,
    params: PyTree,
    stats: PyTree,
    real: jax.Array,
    fake: jax.Array,
    draws: Draws,
    name: str,
    images: jax.Array,
    axis_name: Any,
    parts: Parts = ONE_IMAGE,
) -> tuple[jax.Array, PyTree, Metrics]:
    """Half the adversarial loss of one critic, plus the penalties that are on; its statistics after both passes; metrics.

    Half, as both papers slow the discriminator down. Generated images come first, as in the reference; it matters to running statistics alone.
    """
    s, keys = config.stabilisers, draws["keys"]
    change_fake, change_real = (
        augmentation(s, draws, name, of, real.shape, parts) for of in ("fake", "real")
    )
    fake_logits, stats = judge(
        network,
        config,
        params,
        stats,
        change_fake(fake),
        instance_noise(config, keys, images, f"{name} fake"),
    )
    real_logits, stats = judge(
        network,
        config,
        params,
        stats,
        change_real(real),
        instance_noise(config, keys, images, f"{name} real"),
    )
    loss = 0.5 * losses.discriminator_loss(
        config.loss, real_logits, fake_logits, s.real_target, s.fake_target, axis_name=axis_name
    )
    edge = losses.decision_boundary(config.loss)
    metrics = {
        "loss": loss,
        "real_logits": jnp.mean(real_logits),
        "fake_logits": jnp.mean(fake_logits),
        "real_accuracy": jnp.mean(real_logits > edge, dtype=jnp.float32),
        "fake_accuracy": jnp.mean(fake_logits < edge, dtype=jnp.float32),
        **sign_metric(s, real_logits, edge),
    }

    def critic(change: Callable) -> Callable[[jax.Array], jax.Array]:
        return lambda x: judge(network, config, params, stats, x, change)[0]

    alpha = uniform(example_streams(keys, f"{name} alpha")) if is_on(s.gradient_penalty) else None
    penalty, penalty_metrics = penalties(
        s, critic(change_real), critic(change_fake), real, fake, alpha
    )
    return loss + penalty, stats, metrics | penalty_metrics


def fooling_loss(
    network: nn.Module,
    config: Any,
    critic: Player,
    of: str,
    fake: jax.Array,
    real: jax.Array,
    draws: Draws,
    images: jax.Array,
    axis_name: Any,
    parts: Parts = ONE_IMAGE,
) -> tuple[jax.Array, PyTree]:
    """The generator's adversarial loss at the critic called `of`, and all the critics' statistics after the pass."""
    s, keys, stats = config.stabilisers, draws["keys"], variables_of(critic.stats, of)
    shown = augmentation(s, draws, of, "fooling", fake.shape, parts)(fake)
    logits, stats = judge(
        network,
        config,
        critic.params[of],
        stats,
        shown,
        instance_noise(config, keys, images, f"{of} fooling"),
    )
    real_logits = None
    if config.loss in losses.RELATIVISTIC:
        shown = augmentation(s, draws, of, "fooling real", real.shape, parts)(real)
        real_logits, stats = judge(
            network,
            config,
            critic.params[of],
            stats,
            shown,
            instance_noise(config, keys, images, f"{of} fooling real"),
        )
    return losses.generator_loss(config.loss, logits, real_logits, axis_name=axis_name), with_stats(
        critic.stats, of, stats
    )


def adapt_strengths(
    config: Any, extra: PyTree, metrics: Metrics, count: int
) -> tuple[PyTree, Metrics]:
    """`State.extra` and metrics (of all devices) after a step of the critics on `count` real images each: ADA's strengths move, and are metrics too."""
    marks = {name: "" if name == "d" else f"d_{name}_" for name in extra.get("augment", {})}
    extra = adapted(
        config.stabilisers,
        extra,
        {name: metrics[f"{mark}real_sign"] for name, mark in marks.items()},
        count,
    )
    return extra, metrics | {
        f"{mark}augment_p": extra["augment"][name].p for name, mark in marks.items()
    }


def l1(x: jax.Array, y: jax.Array) -> jax.Array:
    """Mean absolute difference, float32 []."""
    return jnp.mean(jnp.abs(x.astype(jnp.float32) - y.astype(jnp.float32)))


# ------------------------------------------------------------------------------------------------------------------- pictures


def translate_images(
    network: Any, variables: PyTree, images: jax.Array, keys: jax.Array | None, statistics: str
) -> jax.Array:
    """Images [B, H, W, C] in [-1, 1] of any size, translated to [B, H, W, C'] in [-1, 1].

    The size is padded by reflection to the network's multiple and cropped back.

    Args:
      keys: [B], for dropout; None: without.
      statistics: "image": every normalisation uses the statistics of each image alone, as training does with batches of one; "running": batch norm
        uses its running statistics.
    """
    require(images.ndim == 4, f"images must be [B, H, W, C], got shape {images.shape}")
    require(
        jnp.issubdtype(images.dtype, jnp.floating),
        f"images must be floats in [-1, 1], got {images.dtype}: see jaxgan.data.normalise",
    )
    height, width = images.shape[1:3]
    pads = [divmod(-side % network.multiple, 2) for side in (height, width)]
    (top, rows), (left, columns) = ((half, half + odd) for half, odd in pads)
    mode = "reflect" if rows < height and columns < width else "edge"
    padded = jnp.pad(images, ((0, 0), (top, rows), (left, columns), (0, 0)), mode)
    if statistics == "running":
        translated = network.apply(variables, padded, keys, train=False)
    else:

        def one(image: jax.Array, key: jax.Array | None) -> jax.Array:
            result: jax.Array = network.apply(
                variables, image[None], None if key is None else key[None], train=True
            )[0]
            return result

        translated = jax.vmap(one)(padded, keys)
    return translated[:, top : top + height, left : left + width]


def side_by_side(columns: list[jax.Array]) -> jax.Array:
    """Images [rows, H, W, C_i] -> a grid [rows, columns, H, W, C] with the channels of the richest: grey is repeated, opacity opaque."""
    most = max(column.shape[-1] for column in columns)

    def fill(images: jax.Array) -> jax.Array:
        if images.shape[-1] == 1:
            images = jnp.repeat(images, min(most, 3), axis=-1)
        return jnp.concatenate(
            [images, jnp.ones((*images.shape[:-1], most - images.shape[-1]), images.dtype)], axis=-1
        )

    return jnp.stack([fill(column) for column in columns], axis=1)


def preview_batch(batch: Batch) -> tuple[jax.Array, jax.Array]:
    """The examples a preview shows: the first of both domains."""
    return batch["a"][:PREVIEW_ROWS], batch["b"][:PREVIEW_ROWS]
