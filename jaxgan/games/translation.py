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
from jaxgan.games.round import Draws, Round, logits_of, noisy
from jaxgan.games.stabilisers import (
    Stabilisers,
    augmentation,
    is_on,
    penalties,
    strengths,
)
from jaxgan.networks.patch import PatchDiscriminator, PixelDiscriminator
from jaxgan.networks.translator import DenseNetTranslator, ResNetTranslator
from jaxgan.networks.unet import UNet
from jaxgan.nn.initialisers import from_one_draw
from jaxgan.state import Batch, Metrics, Player, PyTree, State
from jaxgan.update import example_keys, stream_key, uniform

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


class Critic(NamedTuple):
    """A discriminator of images in one round: its network, and what is done to all that it sees.

    name: of the network among the player's, of its strength of ADA and its streams of keys.
    parts: which channels of what it sees belong together.
    """

    network: nn.Module
    round: Round
    name: str = "d"
    parts: Parts = ONE_IMAGE

    def judge(
        self, params: PyTree, stats: PyTree, images: jax.Array, **options: Any
    ) -> tuple[Any, PyTree]:
        """Logits [B, h, w] of images [B, H, W, C] in training (with features=True also the feature maps); the player's statistics after.

        Args:
          params, stats: of the whole player.
        """
        variables = variables_of(stats, self.name)
        outputs, after = self.network.apply(
            {"params": params[self.name], **variables},
            images,
            train=True,
            mutable=list(variables),
            **options,
        )
        return outputs, with_stats(stats, self.name, dict(after))

    def loss(
        self, params: PyTree, stats: PyTree, real: jax.Array, fake: jax.Array
    ) -> tuple[jax.Array, tuple[PyTree, Metrics]]:
        """Half the adversarial loss, plus the penalties that are on; the player's statistics after both passes; metrics.

        Half, as both papers slow the discriminator down. Generated images come first, as in the reference; it matters to running statistics alone.
        """
        round, s = self.round, self.round.stabilisers
        change_fake, change_real = (self.augmentation(of, real.shape) for of in ("fake", "real"))
        fake_logits, stats = self.judge(params, stats, self.noisy(change_fake(fake), "fake"))
        real_logits, stats = self.judge(params, stats, self.noisy(change_real(real), "real"))
        loss = 0.5 * losses.discriminator_loss(
            round.config.loss,
            real_logits,
            fake_logits,
            s.real_target,
            s.fake_target,
            axis_name=round.axis_name,
        )
        metrics = {"loss": loss, **round.logit_metrics(real_logits, fake_logits)}

        def logits_after(change: Callable) -> Callable[[jax.Array], jax.Array]:
            return lambda images: self.judge(params, stats, change(images))[0]

        alpha = uniform(round.keys(f"{self.name} alpha")) if is_on(s.gradient_penalty) else None
        penalty, penalty_metrics = penalties(
            s, logits_after(change_real), logits_after(change_fake), real, fake, alpha
        )
        return loss + penalty, (stats, metrics | penalty_metrics)

    def fooling(self, player: Player, fake: jax.Array, real: jax.Array) -> tuple[jax.Array, Player]:
        """The generator's adversarial loss, and the player with the statistics of this pass."""
        loss, _, player = self.fooling_outputs(player, fake, real)
        return loss, player

    def fooling_outputs(
        self, player: Player, fake: jax.Array, real: jax.Array
    ) -> tuple[jax.Array, Any, Player]:
        """The same, and in between all that the network says of the generated images."""
        config, stats = self.round.config, player.stats
        outputs, stats = self._fooling_pass(player.params, stats, fake, "fooling")
        real_logits = None
        if config.loss in losses.RELATIVISTIC:
            of_real, stats = self._fooling_pass(player.params, stats, real, "fooling real")
            real_logits = logits_of(of_real)
        loss = losses.generator_loss(
            config.loss, logits_of(outputs), real_logits, axis_name=self.round.axis_name
        )
        return loss, outputs, player.replace(stats=stats)

    def features(self, player: Player, images: jax.Array) -> list[jax.Array]:
        """Feature maps of images as they are; the statistics of this pass are not kept."""
        (_, maps), _ = self.judge(player.params, player.stats, images, features=True)
        found: list[jax.Array] = maps
        return found

    def _fooling_pass(
        self, params: PyTree, stats: PyTree, images: jax.Array, of: str
    ) -> tuple[jax.Array, PyTree]:
        changed = self.augmentation(of, images.shape)(images)
        return self.judge(params, stats, self.noisy(changed, of))

    def augmentation(self, of: str, shape: tuple[int, ...]) -> Callable[[jax.Array], jax.Array]:
        """What augmentation does to images of this shape in the pass `of`."""
        s, draws = self.round.stabilisers, self.round.draws
        return augmentation(s, draws, self.name, of, shape, self.parts)

    def noisy(self, images: jax.Array, of: str) -> jax.Array:
        """Images under the instance noise of the pass `of`, where that is on."""
        return noisy(self.round, images, f"{self.name} {of}")


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
