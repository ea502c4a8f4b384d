"""VAE/GAN (Larsen et al. 2015): a variational autoencoder that measures reconstructions in the features of a GAN's discriminator.

    state, metrics = vaegan.train_step(config, state, {"image": ...}, key)
    mean, log_variance = vaegan.encode(config, state, images)
    images = vaegan.decode(config, state, codes)

Three players, each with losses of its own. The encoder: KL divergence and feature reconstruction. The generator, which is the decoder: gamma times
feature reconstruction, and the adversarial loss. The discriminator: the adversarial loss alone.

Supports every stabiliser but critic_steps, generator_batch, dequantise and pool_size. Batches: see `batch_spec`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxgan import optim
from jaxgan.errors import require, require_range
from jaxgan.family import Conditioning
from jaxgan.games import adversarial, translation
from jaxgan.games import vaegan_losses as terms
from jaxgan.games.adversarial import batch_spec
from jaxgan.games.checks import Contract, begin, check_config, check_sampler
from jaxgan.games.round import Draws, Round, noisy
from jaxgan.games.stabilisers import (
    Stabilisers,
    augmentation,
    is_on,
    new_strengths,
    penalties,
    strengths,
)
from jaxgan.networks.vaegan import VAEGANDecoder, VAEGANDiscriminator, VAEGANEncoder, strided_layers
from jaxgan.nn.initialisers import from_one_draw
from jaxgan.optim import Optimizer
from jaxgan.settings import settle
from jaxgan.state import Batch, Metrics, Player, PyTree, State
from jaxgan.update import (
    apply_gradients,
    device_mean,
    example_keys,
    example_streams,
    stream_key,
)

__all__ = [
    "Config",
    "batch_spec",
    "celeba",
    "conditioning",
    "decode",
    "encode",
    "generate",
    "init",
    "latents",
    "preview",
    "reconstruct",
    "sample",
    "train_step",
]

RMSPROP = Optimizer("rmsprop", learning_rate=3e-4, decay=0.9)
CROSS_ENTROPIES = ("saturating", "non-saturating")


@dataclass(frozen=True)
class Config:
    """Settings of a VAE/GAN; the defaults are the paper's algorithm 1 (batch 64) with the networks and gamma of its code. See `celeba` for its script."""

    image_size: tuple[int, int] = (64, 64)
    """Height and width in pixels; multiples of 4 and at least 16 (above 32 of 8, above 64 of 16, ...), or what `depth` says."""
    channels: int = 3
    """Channels of the images; any number."""
    latent_size: int = 128
    """Length Z of the codes; their prior is standard normal."""
    depth: int = 0
    """How often the networks halve an image, which needs sides in multiples of 2^depth; 0 for 3 at 64 pixels and as the size allows elsewhere."""
    encoder_width: int = 64
    """Feature maps of the encoder's first layer."""
    generator_width: int = 64
    """Unit of the generator's feature maps: 4 of them at the base, half of one at the end."""
    discriminator_width: int = 64
    """Unit of the discriminator's feature maps: half of one at the start, 4 at the end."""
    feature_layer: int = 0
    """Strided convolution of the discriminator, from 1 to depth, in whose output reconstructions are measured; 0 for the last, the code's choice."""
    gamma: float = 5e-5
    """Weight of the reconstruction loss for the generator, beside the adversarial loss; the code's default (its CelebA script: 1e-6)."""
    kl_weight: float = 1.0
    """Weight of the KL divergence for the encoder, beside the reconstruction loss."""
    prior_only: bool = False
    """Whether the discriminator judges, and the generator is judged by, images of prior samples alone, not reconstructions too."""
    margin: float = 0.0
    """If positive, a gate: the discriminator stands still while its cross-entropy on real or on generated images is below equilibrium - margin, the
    generator while one is above equilibrium + margin; where both would stand still, both move (CelebA script: 0.35)."""
    equilibrium: float = 0.68
    """The cross-entropy about which that margin lies."""
    loss: str = "saturating"
    """One of `jaxgan.losses.LOSSES`."""
    encoder_optimizer: Optimizer = RMSPROP
    """Optimiser and schedule of the encoder."""
    generator_optimizer: Optimizer = RMSPROP
    """Optimiser and schedule of the generator."""
    discriminator_optimizer: Optimizer = RMSPROP
    """Optimiser and schedule of the discriminator."""
    stabilisers: Stabilisers = Stabilisers()
    """See `Stabilisers`; all but critic_steps, generator_batch, dequantise and pool_size are supported. Penalties compare real images with prior samples."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the networks; parameters and losses are float32."""

    def __post_init__(self):
        settle(self)
        adversarial.check_settings(self)
        for name in ("latent_size", "encoder_width", "generator_width", "discriminator_width"):
            require_range(name, getattr(self, name), 1)
        for name in ("depth", "gamma", "kl_weight", "margin", "equilibrium"):
            require_range(name, getattr(self, name), 0)
        require_range(
            "feature_layer", self.feature_layer, 0, strided_layers(self.image_size, self.depth)
        )
        for name, off in (
            ("critic_steps", 1),
            ("generator_batch", 1),
            ("dequantise", 0),
            ("pool_size", 0),
        ):
            require(
                not is_on(getattr(self.stabilisers, name), off),
                f"vaegan does not support the stabiliser {name}: leave it at {off}",
            )
        gated = is_on(self.margin)
        require(
            not gated or self.loss in CROSS_ENTROPIES,
            f"margin compares cross-entropies, which the {self.loss!r} loss does not have: leave it at 0",
        )


def celeba(image_size: tuple[int, int] = (64, 64), channels: int = 3) -> Config:
    """The CelebA script of the authors' code: prior samples alone are judged, gate 0.68 +- 0.35, gamma 1e-6; batch 64, 62,500 rounds.

    Source: andersbll/autoencoding_beyond_pixels, celeba_aegan.py; its rate 0.025 is of gradients summed over the batch, which for RMSProp means
    0.025 / 64. Deviation: the rate falls linearly, there as (rounds / 62,500)^0.75; no weight decay (1e-5, of summed gradients).
    """
    rmsprop = Optimizer(
        "rmsprop",
        learning_rate=0.025 / 64,
        decay=0.9,
        decay_images=62_500 * 64,
        min_learning_rate=1e-5 / 64,
    )
    optimizers: dict[str, Any] = {f"{player}_optimizer": rmsprop for player in Networks._fields}
    return Config(image_size, channels, gamma=1e-6, prior_only=True, margin=0.35, **optimizers)


Changes = dict[str, Callable[[jax.Array], jax.Array]]
"""What augmentation does to images, by what they are: "real", "reconstruction", "prior"."""


class Networks(NamedTuple):
    """The modules of a config."""

    encoder: VAEGANEncoder
    generator: VAEGANDecoder
    discriminator: VAEGANDiscriminator


def networks(config: Config, axis_name: str | None = None) -> Networks:
    """The networks of these settings; `axis_name` is the axis batch statistics are averaged over."""
    shared: dict[str, Any] = {
        "depth": strided_layers(config.image_size, config.depth),
        "axis_name": axis_name,
        "dtype": jnp.dtype(config.dtype),
    }
    return Networks(
        VAEGANEncoder(config.latent_size, config.encoder_width, **shared),
        VAEGANDecoder(adversarial.image_shape(config), config.generator_width, **shared),
        VAEGANDiscriminator(
            config.discriminator_width, spectral_norm=config.stabilisers.spectral_norm, **shared
        ),
    )


def conditioning(config: Config) -> Conditioning:
    """What the model is told."""
    return Conditioning()


def init(config: Config, key: jax.Array) -> State:
    """Fresh state. Call it under jit: `jax.jit(vaegan.init, static_argnums=0)`. Does not consume `key`.

    `ema` holds encoder and generator, side by side in each collection. With the gate, `extra["moved"]` counts the rounds in which generator and
    discriminator moved, int32 [] each.
    """
    check_config(config, Config)
    image, code = (
        jnp.zeros((1, *adversarial.image_shape(config)), jnp.float32),
        jnp.zeros((1, config.latent_size), jnp.float32),
    )
    key, nets = stream_key(key, "init"), networks(config)

    def begin() -> list[PyTree]:
        examples = zip(nets, (image, code, image), strict=True)
        return [dict(network.init(key, example, train=False)) for network, example in examples]

    players = {}
    for name, stats in zip(Networks._fields, from_one_draw(key, begin), strict=True):
        params = stats.pop("params")
        players[name] = Player(params, stats, optim.build(_optimizers(config)[name]).init(params))
    extra: PyTree = (
        {"moved": {"generator": jnp.int32(0), "discriminator": jnp.int32(0)}}
        if is_on(config.margin)
        else {}
    )
    extra |= new_strengths(config.stabilisers, ("d",))
    return State(
        jnp.int32(0), jnp.int32(0), players, jax.tree.map(jnp.copy, _averaged(players)), extra
    )


def _optimizers(config: Config) -> dict[str, Optimizer]:
    """The settings of each player's optimiser."""
    return {
        "encoder": config.encoder_optimizer,
        "generator": config.generator_optimizer,
        "discriminator": config.discriminator_optimizer,
    }


def _averaged(players: dict[str, Player]) -> PyTree:
    """The variables that are averaged: collection -> player -> arrays."""
    both = {
        name: {"params": players[name].params, **players[name].stats}
        for name in ("encoder", "generator")
    }
    return {
        collection: {name: variables[collection] for name, variables in both.items()}
        for collection in both["generator"]
    }


# ------------------------------------------------------------------------------------------------------------------- the game


def train_step(
    config: Config, state: State, batch: Batch, key: jax.Array, *, axis_name: str | None = None
) -> tuple[State, Metrics]:
    """One round: all three players step at once, from one forward pass of each network.

    Args:
      batch: as `batch_spec`; this device's part when mapped over `axis_name`.
      key: the run's key, the same at every step and not consumed; draws depend on (key, state.step, example).

    Source: Larsen et al. 2015, algorithm 1, in the form of andersbll/autoencoding_beyond_pixels: the discriminator's losses on generated images are
    averaged over their sources, the generator's are added. Deviations: each network makes one pass over all of its batches, so that they share batch
    statistics, where the reference makes one for the reconstruction loss and one for the adversarial one; cross-entropies are of logits, without the
    reference's 0.001 inside the logarithm; the generator's loss does not include the judgement of real images.
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
    """Draws of the plain families, whose `latents` are the prior's; and the posterior's `noise` [count, Z]."""
    draws = adversarial.draw(config, state, key, count, axis_name)
    draws |= strengths(state.extra)
    return draws | {
        "noise": jax.vmap(lambda k: jax.random.normal(k, (config.latent_size,), jnp.float32))(
            example_streams(draws["keys"], "posterior")
        )
    }


def _round(
    config: Config, state: State, batch: Batch, draws: Draws, axis_name: str | None
) -> tuple[State, Metrics]:
    round, players = Round(config, draws, state.images, axis_name), state.players
    nets, real = networks(config, axis_name), batch["image"]
    changes = _changes(round, real.shape)

    # Forward, once for everybody. The way back, from gradients of what came out to those of what went in, waits in the `pull_` functions.
    (codes, kl), pull_encoder, encoder_stats = _encode(
        nets, players["encoder"], real, draws["noise"], axis_name
    )
    generated, pull_generator, generator_stats = _decode(
        nets, players["generator"], codes, draws["latents"]
    )
    judged = _judge(round, nets, players["discriminator"], real, generated, changes)
    (features, logits), pull_discriminator, discriminator_stats = judged

    # The three losses that start at the discriminator, each with its gradient in the features or the logits, and in nothing else.
    (distance, _), of_distance = _with_gradient(terms.reconstruction_loss, features, axis_name)
    (d_loss, metrics), of_d = _with_gradient(
        partial(terms.discriminator_loss, round), logits, axis_name
    )
    (fooling, _), of_g = _with_gradient(partial(terms.fooling_loss, round), logits, axis_name)

    # Each player's gradients: to the discriminator from d_loss alone, to the encoder from the distance alone, to the generator from both others.
    no_features, no_logits = jnp.zeros_like(features), jnp.zeros_like(logits)
    d_gradients, _ = pull_discriminator((no_features, of_d))
    _, distance_images = pull_discriminator((of_distance, no_logits))
    _, fooling_images = pull_discriminator((no_features, of_g))
    g_gradients, _ = pull_generator(
        optim.as_float32(config.gamma) * distance_images + fooling_images
    )
    _, distance_codes = pull_generator(distance_images)
    (e_gradients,) = pull_encoder((distance_codes, jnp.asarray(config.kl_weight, jnp.float32)))
    penalised = _penalty(round, nets, players["discriminator"], real, generated, changes)
    penalty, penalty_gradients, penalty_metrics = penalised
    d_gradients = jax.tree.map(jnp.add, d_gradients, penalty_gradients)

    def step(name: str, gradients: PyTree, stats: PyTree) -> Player:
        optimizer = optim.build(_optimizers(config)[name], state.images)
        return apply_gradients(players[name], gradients, optimizer, axis_name).replace(
            stats=dict(stats)
        )

    encoder, generator = (
        step("encoder", e_gradients, encoder_stats),
        step("generator", g_gradients, generator_stats),
    )
    discriminator = step("discriminator", d_gradients, discriminator_stats)
    discriminator = round.clipped(discriminator)
    after = {"encoder": encoder, "generator": generator, "discriminator": discriminator}
    metrics |= {
        "kl_loss": kl,
        "reconstruction_loss": distance,
        "g_adversarial_loss": fooling,
        "d_loss": d_loss + penalty,
        **penalty_metrics,
    }
    metrics |= {
        "e_loss": config.kl_weight * kl + distance,
        "g_loss": config.gamma * distance + fooling,
    }
    metrics = jax.tree.map(jnp.float32, round.mean(metrics))
    after, extra, metrics = _gated(config, state, after, metrics)
    extra, metrics = round.adapted(extra, metrics, real.shape[0])

    ema = round.averaged(state.ema, _averaged(after), real.shape[0])
    images = state.images + round.total(real.shape[0])
    return State(state.step + 1, images, after, ema, extra), metrics


def _encode(
    nets: Networks, encoder: Player, real: jax.Array, noise: jax.Array, axis_name: str | None
) -> tuple[tuple[jax.Array, jax.Array], Callable, PyTree]:
    """(codes [B, Z] drawn from the posterior, its KL divergence []), the way back to the parameters, statistics after the pass."""

    def forward(params: PyTree) -> tuple[tuple[jax.Array, jax.Array], PyTree]:
        (mean, log_variance), stats = nets.encoder.apply(
            {"params": params, **encoder.stats}, real, train=True, mutable=list(encoder.stats)
        )
        codes = mean + jnp.exp(0.5 * log_variance) * noise
        return (codes, device_mean(terms.kl_divergence(mean, log_variance), axis_name)), stats

    outputs, pull_back, stats = jax.vjp(forward, encoder.params, has_aux=True)
    return outputs, pull_back, stats


def _decode(
    nets: Networks, generator: Player, codes: jax.Array, latents: jax.Array
) -> tuple[jax.Array, Callable, PyTree]:
    """[2 B, H, W, C], reconstructions and then prior samples; the way back to (parameters, codes); statistics after the pass."""

    def forward(params: PyTree, codes: jax.Array) -> tuple[jax.Array, PyTree]:
        both = jnp.concatenate([codes, latents])
        return nets.generator.apply(
            {"params": params, **generator.stats}, both, train=True, mutable=list(generator.stats)
        )

    generated, pull_back, stats = jax.vjp(forward, generator.params, codes, has_aux=True)
    return generated, pull_back, stats


def _judge(
    round: Round,
    nets: Networks,
    discriminator: Player,
    real: jax.Array,
    generated: jax.Array,
    changes: Changes,
) -> tuple[tuple[jax.Array, jax.Array], Callable, PyTree]:
    """(features [3 B, ...], logits [3 B]) of real images, reconstructions, prior samples; the way back to (parameters, generated); statistics after."""

    def forward(params: PyTree, generated: jax.Array) -> tuple[tuple[jax.Array, jax.Array], PyTree]:
        parts = zip(
            ("real", "reconstruction", "prior"), (real, *jnp.split(generated, 2)), strict=True
        )
        shown = jnp.concatenate([noisy(round, changes[name](part), name) for name, part in parts])
        variables = {"params": params, **discriminator.stats}
        (logits, features), stats = nets.discriminator.apply(
            variables, shown, train=True, mutable=list(discriminator.stats)
        )
        return (features[round.config.feature_layer - 1], logits), stats

    outputs, pull_back, stats = jax.vjp(forward, discriminator.params, generated, has_aux=True)
    return outputs, pull_back, stats


def _changes(round: Round, shape: tuple[int, ...]) -> Changes:
    """What augmentation does to real images, to reconstructions the same, so that their features stay comparable, and to prior samples."""
    real, prior = (
        augmentation(round.stabilisers, round.draws, "d", name, shape) for name in ("real", "prior")
    )
    return {"real": real, "reconstruction": real, "prior": prior}


def _with_gradient(
    loss_fn: Callable[[PyTree], tuple[jax.Array, Metrics]], at: PyTree, axis_name: str | None
) -> tuple[tuple[jax.Array, Metrics], PyTree]:
    """((loss, metrics), gradient) of `loss_fn` at `at`, the loss averaged over devices inside the differentiated function, as `jaxgan.update.update` does."""

    def global_loss(x: PyTree) -> tuple[jax.Array, Metrics]:
        loss, metrics = loss_fn(x)
        return device_mean(loss, axis_name), metrics

    return jax.value_and_grad(global_loss, has_aux=True)(at)


def _penalty(
    round: Round,
    nets: Networks,
    discriminator: Player,
    real: jax.Array,
    generated: jax.Array,
    changes: Changes,
) -> tuple[jax.Array, PyTree, Metrics]:
    """The penalties that are on, between real images and prior samples, without instance noise; their gradients in the discriminator's parameters."""
    prior = jnp.split(generated, 2)[1]

    def loss_fn(params: PyTree) -> tuple[jax.Array, Metrics]:
        def critic(shown: jax.Array) -> jax.Array:
            variables = {"params": params, **discriminator.stats}
            (logits, _), _ = nets.discriminator.apply(
                variables, shown, train=True, mutable=list(discriminator.stats)
            )
            return logits

        def of(name: str) -> Callable[[jax.Array], jax.Array]:
            return lambda shown: critic(changes[name](shown))

        alpha = round.draws.get("alpha")
        return penalties(round.stabilisers, of("real"), of("prior"), real, prior, alpha)

    (penalty, metrics), gradients = _with_gradient(loss_fn, discriminator.params, round.axis_name)
    return penalty, gradients, metrics


def _gated(
    config: Config, state: State, after: dict[str, Player], metrics: Metrics
) -> tuple[dict[str, Player], PyTree, Metrics]:
    """The players after the gate, which takes back the whole step of those that are to stand still; `State.extra`; metrics with its decisions."""
    if not is_on(config.margin):
        return after, state.extra, metrics
    moved = terms.gate(config, metrics["real_cost"], metrics["fake_cost"])
    after = dict(after)
    for name, moves in moved.items():
        after[name] = jax.tree.map(
            lambda new, old, moves=moves: jnp.where(moves, new, old),
            after[name],
            state.players[name],
        )
    counts = {
        name: state.extra["moved"][name] + moves.astype(jnp.int32) for name, moves in moved.items()
    }
    return (
        after,
        {**state.extra, "moved": counts},
        metrics | {f"{name}_moved": moves.astype(jnp.float32) for name, moves in moved.items()},
    )


# ------------------------------------------------------------------------------------------------------------------- pictures


def encode(config: Config, state: State, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Images [B, H, W, C] in [-1, 1] -> mean and log-variance of their codes, float32 [B, Z] each, by the averaged encoder; each image alone.

    Raises:
      ValueError: images of another size, other channels or integers.
    """
    check_sampler(CONTRACT, config, state)
    shape = adversarial.image_shape(config)
    fits = (
        images.ndim == 4
        and images.shape[1:] == shape
        and jnp.issubdtype(images.dtype, jnp.floating)
    )
    wanted = f"floats [B, {', '.join(map(str, shape))}] in [-1, 1]"
    require(
        fits,
        f"images must be {wanted}, got {images.dtype} {images.shape}: resize them, and see jaxgan.data.normalise",
    )
    codes: Any = networks(config).encoder.apply(
        translation.variables_of(state.ema, "encoder"), images, train=False
    )
    return codes


def decode(config: Config, state: State, codes: jax.Array) -> jax.Array:
    """Codes [B, Z] -> images [B, H, W, C] in [-1, 1] by the averaged generator; each code alone. Raises ValueError for codes of another length."""
    check_sampler(CONTRACT, config, state)
    require(
        codes.ndim == 2 and codes.shape[1] == config.latent_size,
        f"codes must be [B, {config.latent_size}], got shape {codes.shape}",
    )
    images: Any = networks(config).generator.apply(
        translation.variables_of(state.ema, "generator"), codes, train=False
    )
    return images


def generate(config: Config, state: State, latents: jax.Array) -> jax.Array:
    """Images [B, H, W, C] in [-1, 1] of latents [B, Z]: `decode`, by the name it has in other families."""
    return decode(config, state, latents)


def reconstruct(config: Config, state: State, images: jax.Array) -> jax.Array:
    """Images [B, H, W, C] in [-1, 1] -> what the averaged networks make of the means of their codes, the same shape. Errors as `encode`."""
    return decode(config, state, encode(config, state, images)[0])


def sample(config: Config, state: State, key: jax.Array, n: int, *, first: int = 0) -> jax.Array:
    """`n` images [n, H, W, C] in [-1, 1] of codes from the prior. Image i uses `fold_in(key, first + i)`, so chunks change nothing."""
    return decode(config, state, latents(config, key, n, first=first))


def latents(config: Config, key: jax.Array, n: int, *, first: int = 0) -> jax.Array:
    """Codes [n, Z] of the prior, those of `sample`: code i uses `fold_in(key, first + i)`."""
    check_config(config, Config)
    return jax.vmap(lambda k: jax.random.normal(k, (config.latent_size,), jnp.float32))(
        example_keys(key, n, first=first)
    )


def preview(config: Config, state: State, batch: Batch, key: jax.Array) -> jax.Array:
    """A grid [rows, 8, H, W, C] in [-1, 1]: of the batch's first examples (at most 8), the image and its reconstruction; beside them 6 samples."""
    check_sampler(CONTRACT, config, state)
    image = batch["image"][: translation.PREVIEW_ROWS]
    samples = sample(config, state, key, 6 * len(image)).reshape(len(image), 6, *image.shape[1:])
    return jnp.concatenate(
        [image[:, None], reconstruct(config, state, image)[:, None], samples], axis=1
    )


CONTRACT = Contract(Config, init, batch_spec, conditioning)
"""What arguments are checked against."""
