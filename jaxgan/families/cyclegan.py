"""CycleGAN (Zhu et al. 2017): image to image between two domains without pairs, held together by translating there and back.

    config = cyclegan.Config(image_size=(256, 256))
    state, metrics = cyclegan.train_step(config, state, {"a": ..., "b": ...}, key)
    photos = cyclegan.translate(config, state, maps, direction="b2a")

Two generators, a2b and b2a, share one optimiser, and so do the critics: a and b, which judge images of their domain, and, in the improved
variant (`improved`), cycle_a and cycle_b, which judge whether a pair of images is twice the same one.

Supports every stabiliser but critic_steps, generator_batch and dequantise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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
from jaxgan.games.stabilisers import Stabilisers, is_on, new_strengths
from jaxgan.games.translation import Critic, Side, batch_spec, domains
from jaxgan.optim import Optimizer
from jaxgan.settings import settle
from jaxgan.state import Batch, Metrics, Player, PyTree, State
from jaxgan.update import (
    example_keys,
    stream_key,
    update,
)

__all__ = [
    "Config",
    "batch_spec",
    "conditioning",
    "improved",
    "init",
    "preview",
    "train_step",
    "translate",
]

Images = dict[str, jax.Array]


@dataclass(frozen=True)
class Config:
    """Settings of CycleGAN; the defaults are those of the paper.

    The rest of its recipe depends on the data and is not here: batches of 1, images enlarged to 286, cropped to 256 and mirrored, and 200 epochs, in
    the second half of which the rate falls to zero (`constant_images` and `decay_images` of both optimisers).
    """

    image_size: tuple[int, int] = (256, 256)
    """Height and width in pixels; multiples of 4, for the U-Net of 2^depth."""
    channels_a: int = 3
    """Channels of the images of domain A."""
    channels_b: int = 3
    """Channels of the images of domain B."""
    generator: Literal["resnet", "unet", "densenet"] = "resnet"
    """Network that translates."""
    generator_width: int = 64
    """Feature maps of its first layer."""
    depth: int = 0
    """"unet": halvings down to the bottleneck; 0 for as many as the size allows."""
    blocks: int = 0
    """"resnet": residual blocks; 0 for 9 from 256 pixels on and 6 below, as the paper."""
    norm: Literal["instance", "batch", "none"] = "instance"
    """Normalisation in all networks."""
    dropout: float = 0.0
    """Share of features dropped in the generators."""
    upsampling: Literal["transposed", "resize"] = "transposed"
    """How the generators double sizes: transposed convolutions, or nearest neighbours and a convolution (no checkerboards; Odena et al. 2016)."""
    discriminator: Literal["patch", "pixel"] = "patch"
    """"patch": judges overlapping patches; "pixel": every pixel alone."""
    discriminator_width: int = 64
    """Feature maps of its first layer."""
    discriminator_layers: int = 3
    """"patch": strided layers; 1 to 6 judge patches of 16, 34, 70, 142, 286, 574 pixels."""
    cycle_weight: float = 10.0
    """Weight of the distance between an image of A, or of B, and what becomes of it there and back."""
    cycle_weight_a: float | None = field(default=None, kw_only=True)
    """That weight for images of A (a -> b -> a; the reference's --lambda_A); None takes `cycle_weight`."""
    cycle_weight_b: float | None = field(default=None, kw_only=True)
    """That weight for images of B (b -> a -> b; the reference's --lambda_B); None takes `cycle_weight`."""
    identity_weight: float = 0.5
    """Weight of leaving images alone that already are of the target domain, as a share of that domain's cycle weight; needs equal channels, 0 for off."""
    feature_cycle: float = 0.0
    """Share of the cycle loss that is measured in the last feature map of the domain's critic instead of pixels (Wang & Lin 2018: 0.5 to 0.99)."""
    cycle_critic: float = 0.0
    """Weight of the adversarial loss at the cycle critics; 0 with `cycle_critic_features` 0 leaves them out."""
    cycle_critic_features: float = 0.0
    """Weight of the distance between image and reconstruction in all feature maps of the cycle critics."""
    loss: str = "least-squares"
    """One of `jaxgan.losses.LOSSES`."""
    statistics: Literal["image", "running"] = "image"
    """With norm="batch": what it uses when translating, each image's own statistics or the running ones."""
    translation_dropout: bool = False
    """Whether dropout stays on when translating."""
    generator_optimizer: Optimizer = Optimizer()
    """Optimiser and schedule of both generators."""
    discriminator_optimizer: Optimizer = Optimizer()
    """Optimiser and schedule of all critics."""
    stabilisers: Stabilisers = Stabilisers(pool_size=50)
    """See `Stabilisers`; all but critic_steps, generator_batch and dequantise are supported. The default keeps 50 images of each domain."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the networks; parameters and losses are float32."""

    def __post_init__(self):
        settle(self)
        weights = ("cycle_weight", "cycle_weight_a", "cycle_weight_b", "identity_weight")
        for name in (*weights, "cycle_critic", "cycle_critic_features"):
            require_range(name, getattr(self, name), 0)
        require_range("feature_cycle", self.feature_cycle, 0, 1)
        translation.check_settings(self)
        same = self.channels_a == self.channels_b
        require(
            same or not is_on(self.identity_weight),
            f"identity_weight needs equal channels, got {self.channels_a} and {self.channels_b}: set it to 0",
        )


def improved(image_size: tuple[int, int] = (256, 256), **settings: Any) -> Config:
    """CycleGAN with cycle critics: consistency is judged by two further networks, and in their features, and weighs less in pixels.

    A critic cycle_a sees pairs: (x, x) for an image x of A is real, (x, its reconstruction) is not. The generators are asked to fool it, and to
    match its features of (x, x). The pairs are those of ALICE (Li et al. 2017, section 3.2, which replaces the pixel loss altogether); the
    feature distance is VAE-GAN's (Larsen et al. 2016), added because the adversarial term alone asks for no particular reconstruction once
    the critic fails to tell one, and a pixel loss, kept at a tenth of the usual weight, because features alone let colours drift.
    """
    settings = {
        "cycle_weight": 1.0,
        "identity_weight": 5.0,
        "cycle_critic": 1.0,
        "cycle_critic_features": 10.0,
        **settings,
    }
    return Config(image_size, **settings)


def _networks(config: Config, axis_name: str | None = None) -> tuple[dict[str, Any], Any]:
    """The generators by direction, and the module of every critic; batch statistics are averaged over `axis_name`."""
    channels = {"a2b": config.channels_b, "b2a": config.channels_a}
    generators = {
        direction: translation.generator(config, count, axis_name)
        for direction, count in channels.items()
    }
    return generators, translation.discriminator(config, axis_name)


def _has_cycle_critics(config: Config) -> bool:
    return is_on(config.cycle_critic) or is_on(config.cycle_critic_features)


def conditioning(config: Config) -> Conditioning:
    """What the model is told."""
    return Conditioning(
        "sides",
        sides=(config.channels_a, config.channels_b),
        directions=("a2b", "b2a"),
        random_translation=config.translation_dropout and is_on(config.dropout),
    )


def init(config: Config, key: jax.Array) -> State:
    """Fresh state. Call it under jit: `jax.jit(cyclegan.init, static_argnums=0)`. Does not consume `key`."""
    check_config(config, Config)
    channels = {"a": config.channels_a, "b": config.channels_b}
    generators, critic = _networks(config)
    players = {
        direction: (network, channels[domains(direction)[0]])
        for direction, network in generators.items()
    }
    critics = {domain: (critic, count) for domain, count in channels.items()}
    if _has_cycle_critics(config):
        critics |= {f"cycle_{domain}": (critic, 2 * count) for domain, count in channels.items()}
    g, d = translation.new_players(
        Side(players, config.generator_optimizer),
        Side(critics, config.discriminator_optimizer),
        config.image_size,
        key,
    )
    spec = {
        domain: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)
        for domain, leaf in batch_spec(config, 1).items()
    }
    size = config.stabilisers.pool_size
    extra = (
        {f"pool_{domain}": pool.create(size, example) for domain, example in spec.items()}
        if size
        else {}
    )
    extra |= new_strengths(config.stabilisers, tuple(critics))
    ema = jax.tree.map(jnp.copy, {"params": g.params, **g.stats})
    return State(jnp.int32(0), jnp.int32(0), {"generator": g, "discriminator": d}, ema, extra)


def train_step(
    config: Config, state: State, batch: Batch, key: jax.Array, *, axis_name: str | None = None
) -> tuple[State, Metrics]:
    """One round: one step of both generators together, then one step of all critics on the images just made, or older ones from the pools.

    `State.images` counts B for B images of each domain.

    Args:
      batch: as `batch_spec`; this device's part when mapped over `axis_name`. a and b need not belong together.
      key: the run's key, the same at every step and not consumed; draws depend on (key, state.step, example).

    Source: Zhu et al. 2017, section 3 and 4, in the order of junyanz/pytorch-CycleGAN-and-pix2pix (generators first; critics' losses halved; an
    identity loss also where the paper has none, between photographs). Deviations: no bias in front of an instance norm, which would remove it;
    the learning rate reaches zero at the very end of its decay, not one epoch later.
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
    generators, discriminators = state.players["generator"], state.players["discriminator"]

    def generator_loss(params: PyTree) -> tuple[jax.Array, Any]:
        return _generator_loss(round, params, generators.stats, discriminators, batch)

    optimizer = optim.build(config.generator_optimizer, state.images)
    generators, g_loss, (stats, discriminators, outputs, g_metrics) = update(
        generators, generator_loss, optimizer, axis_name
    )
    generators = generators.replace(stats=stats)

    extra, shown = state.extra, {}
    for domain in "ab":
        fake = outputs[f"fake_{domain}"]
        extra, shown[domain] = round.replayed(extra, f"pool_{domain}", fake, domain)

    def discriminator_loss(params: PyTree) -> tuple[jax.Array, tuple[PyTree, Metrics]]:
        return _discriminator_loss(round, params, discriminators.stats, batch, shown, outputs)

    discriminators, d_loss, d_metrics = round.critic_step(discriminators, discriminator_loss)
    extra, d_metrics = round.adapted(extra, d_metrics, batch["a"].shape[0])

    players = {"generator": generators, "discriminator": discriminators}
    metrics = {**d_metrics, **g_metrics, "d_loss": d_loss, "g_loss": g_loss}
    return round.end(state, players, extra, metrics, batch["a"].shape[0])


def _critics(round: Round) -> dict[str, Critic]:
    """The critics of images of a and b; with cycle critics also those of pairs."""
    _, network = _networks(round.config, round.axis_name)
    critics = {domain: Critic(network, round, domain) for domain in "ab"}
    if _has_cycle_critics(round.config):
        names = [f"cycle_{domain}" for domain in "ab"]
        critics |= {name: Critic(network, round, name, Parts(images=2)) for name in names}
    return critics


def _generator_loss(
    round: Round, params: PyTree, stats: PyTree, discriminators: Player, real: Batch
) -> tuple[jax.Array, tuple[PyTree, Player, Images, Metrics]]:
    """Both generators' loss; the statistics of generators and the discriminators after it; the images made, fake_a, rec_a, ...; metrics.

    Every translation is computed once, and serves the adversarial loss, the way back, and the critics' step.
    """
    config, critics = round.config, _critics(round)
    networks, _ = _networks(config, round.axis_name)
    outputs: Images = {}
    metrics: Metrics = {}

    def translated(direction: str, source: jax.Array, purpose: str) -> jax.Array:
        nonlocal stats
        variables = translation.variables_of(stats, direction)
        keys = round.keys(f"{direction} {purpose}")
        output, after = networks[direction].apply(
            {"params": params[direction], **variables},
            source,
            keys,
            train=True,
            mutable=list(variables),
        )
        stats = translation.with_stats(stats, direction, dict(after))
        return output

    outputs["fake_b"] = translated("a2b", real["a"], "fake")
    outputs["rec_a"] = translated("b2a", outputs["fake_b"], "back")
    outputs["fake_a"] = translated("b2a", real["b"], "fake")
    outputs["rec_b"] = translated("a2b", outputs["fake_a"], "back")

    loss = jnp.float32(0)
    for domain, direction in (("b", "a2b"), ("a", "b2a")):
        adversarial, discriminators = critics[domain].fooling(
            discriminators, outputs[f"fake_{domain}"], real[domain]
        )
        terms, discriminators = _cycle_terms(
            critics, discriminators, domain, real[domain], outputs[f"rec_{domain}"]
        )
        weight = _cycle_weight(config, domain)
        loss += adversarial + weight * terms["cycle"]
        loss += config.cycle_critic * terms.get("critic", 0.0)
        loss += config.cycle_critic_features * terms.get("features", 0.0)
        metrics[f"{direction}_adversarial_loss"] = adversarial
        for name, value in terms.items():
            kind = "" if name == "cycle" else f"_{name}"
            metrics[f"cycle_{domain}{kind}_loss"] = value
        if is_on(config.identity_weight):
            same = translation.l1(translated(direction, real[domain], "identity"), real[domain])
            metrics[f"identity_{domain}_loss"] = same
            loss += config.identity_weight * weight * same
    return loss, (stats, discriminators, outputs, metrics)


def _cycle_weight(config: Config, domain: str) -> float:
    """The weight of what becomes of images of `domain`: their cycle, and what the generator towards it does to them."""
    weight = config.cycle_weight_a if domain == "a" else config.cycle_weight_b
    return config.cycle_weight if weight is None else weight


def _cycle_terms(
    critics: dict[str, Critic], player: Player, domain: str, real: jax.Array, back: jax.Array
) -> tuple[dict[str, jax.Array], Player]:
    """The distance between images and what came back, before its weight, as `cycle`; `critic` and `features` of the cycle critic, if there is one."""
    critic = critics[domain]
    share, pixels = critic.round.config.feature_cycle, translation.l1(back, real)
    terms = {"cycle": pixels}
    if is_on(share):
        of_real, of_back = (critic.features(player, images)[-1] for images in (real, back))
        terms["cycle"] = (1 - share) * pixels + share * translation.l1(of_back, of_real)
    if f"cycle_{domain}" in critics:
        critic = critics[f"cycle_{domain}"]
        twice, pair = (jnp.concatenate([real, other], -1) for other in (real, back))
        terms["critic"], player = critic.fooling(player, pair, twice)
        maps = zip(critic.features(player, pair), critic.features(player, twice), strict=True)
        distances = [translation.l1(x, y) for x, y in maps]
        terms["features"] = sum(distances, jnp.float32(0)) / len(distances)
    return terms, player


def _discriminator_loss(
    round: Round, params: PyTree, stats: PyTree, real: Batch, shown: Images, outputs: Images
) -> tuple[jax.Array, tuple[PyTree, Metrics]]:
    """The sum of all critics' losses, their statistics after it, and metrics by critic."""
    pairs = {domain: (real[domain], shown[domain]) for domain in "ab"}
    for domain in "ab" if _has_cycle_critics(round.config) else "":
        others = (real[domain], outputs[f"rec_{domain}"])
        twice, pair = (jnp.concatenate([real[domain], other], -1) for other in others)
        pairs[f"cycle_{domain}"] = (twice, pair)
    total: jax.Array = jnp.float32(0)
    metrics: Metrics = {}
    for name, critic in _critics(round).items():
        loss, (stats, of_critic) = critic.loss(params, stats, *pairs[name])
        metrics |= {f"d_{name}_{metric}": value for metric, value in of_critic.items()}
        total += loss
    return total, (stats, metrics)


def translate(
    config: Config,
    state: State,
    images: jax.Array,
    *,
    direction: str = "a2b",
    key: jax.Array | None = None,
    first: int = 0,
) -> jax.Array:
    """Images [B, H, W, C] in [-1, 1] of any size -> their translations [B, H, W, C'] in [-1, 1], by the averaged generator.

    Each image is translated alone, so chunks change nothing. The size is padded by reflection to the network's multiple and cropped back.

    Args:
      direction: "a2b" or "b2a".
      key: draws the dropout, where `translation_dropout` is on, for image i by `fold_in(key, first + i)`; None is `jax.random.key(0)`.

    Raises:
      ValueError: an unknown direction, or images of other channels than the source domain's.
    """
    check_sampler(CONTRACT, config, state)
    source, _ = domains(direction)
    count = config.channels_a if source == "a" else config.channels_b
    require(
        images.shape[-1] == count,
        f"images of {count} channels are needed for {direction}, got shape {images.shape}",
    )
    keys = None
    if config.translation_dropout and is_on(config.dropout):
        keys = example_keys(jax.random.key(0) if key is None else key, images.shape[0], first=first)
    networks, _ = _networks(config)
    return translation.translate_images(
        networks[direction],
        translation.variables_of(state.ema, direction),
        images,
        keys,
        config.statistics,
    )


def preview(config: Config, state: State, batch: Batch, key: jax.Array) -> jax.Array:
    """A grid [rows, 6, H, W, C] in [-1, 1] of the batch's first examples (at most 8): A, its translation, A reconstructed; B and the same."""
    check_sampler(CONTRACT, config, state)
    columns = []
    for direction, images in zip(("a2b", "b2a"), translation.preview_batch(batch), strict=True):
        there = translate(
            config, state, images, direction=direction, key=stream_key(key, direction)
        )
        back = translate(
            config,
            state,
            there,
            direction=direction[::-1],
            key=stream_key(key, f"{direction} back"),
        )
        columns += [images, there, back]
    return translation.side_by_side(columns)


CONTRACT = Contract(Config, init, batch_spec, conditioning)
"""What arguments are checked against."""
