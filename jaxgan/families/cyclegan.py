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

from jaxgan import losses, optim, pool
from jaxgan.augment import Parts
from jaxgan.errors import require, require_range
from jaxgan.family import Conditioning
from jaxgan.games import translation
from jaxgan.games.checks import Contract, begin, check_sampler
from jaxgan.games.stabilisers import Stabilisers, is_on, new_strengths
from jaxgan.games.translation import Draws, Side, batch_spec, domains
from jaxgan.optim import Optimizer
from jaxgan.settings import settle
from jaxgan.state import Batch, Metrics, Player, PyTree, State
from jaxgan.update import (
    device_count,
    device_mean,
    example_keys,
    example_streams,
    gather,
    local_part,
    moving_average,
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
    s, images = config.stabilisers, state.images
    generator, critics, extra = (
        state.players["generator"],
        state.players["discriminator"],
        state.extra,
    )

    def generator_loss(params: PyTree) -> tuple[jax.Array, Any]:
        return _generator_loss(
            config, params, generator.stats, critics, batch, draws, images, axis_name
        )

    optimizer = optim.build(config.generator_optimizer, images)
    generator, g_loss, (g_stats, critic_stats, made, g_metrics) = update(
        generator, generator_loss, optimizer, axis_name
    )
    generator, critics = generator.replace(stats=g_stats), critics.replace(stats=critic_stats)

    shown = {domain: made[f"fake_{domain}"] for domain in "ab"}
    if s.pool_size:
        for domain in "ab":
            key = stream_key(draws["pool"], domain)
            extra, replayed = _replay(extra, f"pool_{domain}", shown[domain], key, axis_name)
            shown[domain] = replayed

    def critics_loss(params: PyTree) -> tuple[jax.Array, Any]:
        return _critics_loss(
            config, params, critics.stats, batch, shown, made, draws, images, axis_name
        )

    optimizer = optim.build(config.discriminator_optimizer, images)
    critics, d_loss, (stats, d_metrics) = update(critics, critics_loss, optimizer, axis_name)
    params = (
        losses.clip_weights(critics.params, s.weight_clip)
        if is_on(s.weight_clip)
        else critics.params
    )
    critics = critics.replace(params=params, stats=stats)

    count = batch["a"].shape[0] * device_count(axis_name)
    ema = moving_average(
        state.ema,
        {"params": generator.params, **generator.stats},
        count,
        images,
        s.ema_half_life,
        s.ema_ramp,
    )
    metrics = {**d_metrics, **g_metrics, "d_loss": d_loss, "g_loss": g_loss}
    metrics = jax.tree.map(jnp.float32, device_mean(metrics, axis_name))
    extra, metrics = translation.adapt_strengths(config, extra, metrics, count)
    return State(
        state.step + 1,
        images + count,
        {"generator": generator, "discriminator": critics},
        ema,
        extra,
    ), metrics


def _replay(
    extra: PyTree, name: str, fake: jax.Array, key: jax.Array, axis_name: str | None
) -> tuple[PyTree, jax.Array]:
    """The pools after one of them took part in a batch, and the batch a critic is shown."""
    replayed, shown = pool.query(extra[name], gather(fake, axis_name), key)
    return {**extra, name: replayed}, local_part(shown, axis_name)


def _generator_loss(
    config: Config,
    params: PyTree,
    stats: PyTree,
    critics: Player,
    real: Batch,
    draws: Draws,
    images: jax.Array,
    axis_name: str | None,
) -> tuple[jax.Array, tuple[PyTree, PyTree, Images, Metrics]]:
    """Both generators' loss; the statistics of generators and critics after it; the images made, fake_a, rec_a, ...; metrics.

    Every translation is computed once, and serves the adversarial loss, the way back, and the critics' step.
    """
    networks, critic = _networks(config, axis_name)
    made: Images = {}
    metrics: Metrics = {}

    def translated(direction: str, source: jax.Array, purpose: str) -> jax.Array:
        nonlocal stats
        keys, own = (
            example_streams(draws["keys"], f"{direction} {purpose}"),
            translation.variables_of(stats, direction),
        )
        result, own = networks[direction].apply(
            {"params": params[direction], **own}, source, keys, train=True, mutable=list(own)
        )
        stats = translation.with_stats(stats, direction, dict(own))
        return result

    made["fake_b"] = translated("a2b", real["a"], "fake")
    made["rec_a"] = translated("b2a", made["fake_b"], "back")
    made["fake_a"] = translated("b2a", real["b"], "fake")
    made["rec_b"] = translated("a2b", made["fake_a"], "back")

    loss = jnp.float32(0)
    for domain, direction in (("b", "a2b"), ("a", "b2a")):
        adversarial, critic_stats = translation.fooling_loss(
            critic,
            config,
            critics,
            domain,
            made[f"fake_{domain}"],
            real[domain],
            draws,
            images,
            axis_name,
        )
        critics = critics.replace(stats=critic_stats)
        cycle, critics = _cycle_loss(
            config,
            critic,
            critics,
            domain,
            real[domain],
            made[f"rec_{domain}"],
            draws,
            images,
            axis_name,
        )
        metrics |= {
            f"{direction}_adversarial_loss": adversarial,
            f"cycle_{domain}_loss": cycle["cycle"],
        }
        metrics |= {
            f"cycle_{domain}_{name}_loss": value for name, value in cycle.items() if name != "cycle"
        }
        loss += adversarial + _cycle_weight(config, domain) * cycle["cycle"]
        loss += config.cycle_critic * cycle.get(
            "critic", 0.0
        ) + config.cycle_critic_features * cycle.get("features", 0.0)
        if is_on(config.identity_weight):
            same = translation.l1(translated(direction, real[domain], "identity"), real[domain])
            metrics[f"identity_{domain}_loss"] = same
            loss += config.identity_weight * _cycle_weight(config, domain) * same
    return loss, (stats, critics.stats, made, metrics)


def _cycle_weight(config: Config, domain: str) -> float:
    """The weight of what becomes of images of `domain`: their cycle, and what the generator towards it does to them."""
    weight = config.cycle_weight_a if domain == "a" else config.cycle_weight_b
    return config.cycle_weight if weight is None else weight


def _cycle_loss(
    config: Config,
    critic: Any,
    critics: Player,
    domain: str,
    real: jax.Array,
    back: jax.Array,
    draws: Draws,
    images: jax.Array,
    axis_name: str | None,
) -> tuple[dict[str, jax.Array], Player]:
    """The distance between images and what came back, before its weight, as `cycle`; `critic` and `features` of the cycle critic, if there is one."""
    share, pixels = config.feature_cycle, translation.l1(back, real)
    terms = {"cycle": pixels}
    if is_on(share):
        (_, of_real), _ = _features(config, critic, critics, domain, real)
        (_, of_back), _ = _features(config, critic, critics, domain, back)
        terms["cycle"] = (1 - share) * pixels + share * translation.l1(of_back[-1], of_real[-1])
    if _has_cycle_critics(config):
        name = f"cycle_{domain}"
        twice, pair = jnp.concatenate([real, real], -1), jnp.concatenate([real, back], -1)
        terms["critic"], stats = translation.fooling_loss(
            critic, config, critics, name, pair, twice, draws, images, axis_name, Parts(images=2)
        )
        critics = critics.replace(stats=stats)
        (_, of_twice), _ = _features(config, critic, critics, name, twice)
        (_, of_pair), _ = _features(config, critic, critics, name, pair)
        terms["features"] = sum(
            (translation.l1(x, y) for x, y in zip(of_pair, of_twice, strict=True)), jnp.float32(0)
        ) / len(of_pair)
    return terms, critics


def _features(config: Config, critic: Any, critics: Player, name: str, shown: jax.Array) -> Any:
    """A critic's (logits, feature maps) without noise, and its statistics, which nobody keeps."""
    return translation.judge(
        critic,
        config,
        critics.params[name],
        translation.variables_of(critics.stats, name),
        shown,
        lambda x: x,
        features=True,
    )


def _critics_loss(
    config: Config,
    params: PyTree,
    stats: PyTree,
    real: Batch,
    shown: Images,
    made: Images,
    draws: Draws,
    images: jax.Array,
    axis_name: str | None,
) -> tuple[jax.Array, tuple[PyTree, Metrics]]:
    """The sum of all critics' losses, their statistics after it, and metrics by critic."""
    _, critic = _networks(config, axis_name)
    pairs = {domain: (real[domain], shown[domain]) for domain in "ab"}
    if _has_cycle_critics(config):
        for domain in "ab":
            twice, pair = (
                jnp.concatenate([real[domain], other], -1)
                for other in (real[domain], made[f"rec_{domain}"])
            )
            pairs[f"cycle_{domain}"] = (twice, pair)
    total: jax.Array = jnp.float32(0)
    metrics: Metrics = {}
    for name, (true, fake) in pairs.items():
        own, parts = (
            translation.variables_of(stats, name),
            Parts(images=2 if name.startswith("cycle") else 1),
        )
        loss, own, found = translation.critic_loss(
            critic, config, params[name], own, true, fake, draws, name, images, axis_name, parts
        )
        stats = translation.with_stats(stats, name, own)
        metrics |= {f"d_{name}_{metric}": value for metric, value in found.items()}
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
