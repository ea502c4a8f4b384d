"""SPADE, also called GauGAN (Park et al. 2019): images from layouts, by norms whose gain and bias are predicted from the layout at every pixel.

    config = spade.Config(classes=150)
    state, metrics = spade.train_step(config, state, {"image": ..., "layout": ...}, key)
    photos = spade.translate(config, state, layouts)

With `encoder`, an image's style is a vector, which an encoder learns beside the generator: one layout, many images.

Supports every stabiliser but critic_steps, generator_batch, dequantise, pool_size and spectral_norm (which the networks have anyway).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxgan import losses, optim
from jaxgan.errors import require, require_choice, require_range
from jaxgan.family import Conditioning
from jaxgan.games import layouts as maps
from jaxgan.games import translation
from jaxgan.games.checks import Contract, begin, check_config, check_range, check_sampler
from jaxgan.games.round import Draws, Round
from jaxgan.games.spade_losses import (
    LayoutCritic,
    feature_matching,
    kl_divergence,
    mean_over_scales,
    perceptual,
)
from jaxgan.games.stabilisers import Stabilisers, is_on, new_strengths
from jaxgan.games.translation import Side
from jaxgan.networks.spade import MultiscaleDiscriminator, SPADEGenerator, StyleEncoder
from jaxgan.optim import Optimizer
from jaxgan.perceptual import vgg_weights
from jaxgan.perceptual.vgg import LEAST, VGGFeatures
from jaxgan.settings import settle
from jaxgan.state import Batch, Metrics, Player, PyTree, State
from jaxgan.update import (
    example_keys,
    example_streams,
    uniform,
    update,
)

__all__ = [
    "Config",
    "batch_spec",
    "conditioning",
    "encode_style",
    "init",
    "preview",
    "train_step",
    "translate",
]

KL_EXAMPLES = 4
"""The reference sums the divergence over the batch of one GPU, which is this in its recipe; a mean times this does not depend on batch and devices."""


@dataclass(frozen=True)
class Config:
    """Settings of SPADE; the defaults are the paper's for ADE20K (batch 32; 200 epochs, the rates linear to zero over the last half).

    Of its recipe, mirrored images enlarged to 286 and cropped to 256 are not here, and the perceptual loss needs a file of weights.
    """

    image_size: tuple[int, int] = (256, 256)
    """Height and width in pixels; multiples of 2^(1 + up_blocks), twice or four times that for "more" or "most" upsampling."""
    channels: int = 3
    """Channels of the images; any number."""
    classes: int = 150
    """Classes of the layouts' pixels, numbered from 0."""
    unknown: bool = True
    """Whether a pixel may be of no known class: the number `classes`, with a plane of its own."""
    instance_edges: bool = False
    """Whether the networks see where one instance ends; batches then have `instance`."""
    generator_width: int = 64
    """Feature maps of the generator's last block and the encoder's first layer."""
    up_blocks: int = 4
    """Blocks of the generator that follow a doubling and halve the width; the reference's is 4, small images need fewer."""
    upsampling: Literal["normal", "more", "most"] = "normal"
    """"more" doubles once more (the paper's for 512 pixels), "most" twice."""
    norm_width: int = 128
    """Feature maps inside each norm, between the layout and gain and bias."""
    encoder: bool = False
    """Whether styles are learnt; the generator then begins with a style instead of the layout."""
    style_size: int = 256
    """Length Z of a style."""
    encoder_layers: int = 6
    """Strided layers of the encoder, which sees images resized to 4 * 2^encoder_layers pixels either way."""
    discriminator_width: int = 64
    """Feature maps of the discriminator's first layer."""
    discriminator_layers: int = 3
    """Strided layers of the discriminator at each scale."""
    discriminator_scales: int = 2
    """Scales of the discriminator, each half as large as the one before."""
    feature_weight: float = 10.0
    """Weight of the L1 distance between the discriminator's feature maps of generated and real images."""
    features: Literal["none", "vgg16", "vgg19"] = "none"
    """Network of the perceptual loss; the paper's is "vgg19"."""
    features_path: str = ""
    """File of that network's weights, torchvision's state dict; read once, when a run begins. Nothing is downloaded."""
    features_checksum: str = ""
    """How the file's SHA-256 begins, in hexadecimal digits; empty for torchvision's own file."""
    perceptual_weight: float = 10.0
    """Weight of the L1 distance between that network's feature maps of generated and real images."""
    kl_weight: float = 0.05
    """Weight of the divergence of an image's style from the normal distribution, summed over its Z numbers and over four examples."""
    loss: str = "hinge"
    """One of `jaxgan.losses.LOSSES`."""
    generator_optimizer: Optimizer = Optimizer(learning_rate=1e-4, beta1=0.0, beta2=0.9)
    """Optimiser and schedule of generator and encoder."""
    discriminator_optimizer: Optimizer = Optimizer(learning_rate=4e-4, beta1=0.0, beta2=0.9)
    """Optimiser and schedule of the discriminator: four times the generator's rate (Heusel et al. 2017)."""
    stabilisers: Stabilisers = Stabilisers()
    """See `Stabilisers`; all but critic_steps, generator_batch, dequantise, pool_size and spectral_norm are supported."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the networks; parameters and losses are float32."""

    def __post_init__(self):
        settle(self)
        require_choice("loss", self.loss, losses.LOSSES)
        widths = (
            "generator_width",
            "discriminator_width",
            "discriminator_layers",
            "discriminator_scales",
        )
        for name in (
            "channels",
            "classes",
            "up_blocks",
            "norm_width",
            "style_size",
            "encoder_layers",
            *widths,
        ):
            require_range(name, getattr(self, name), 1)
        for name in ("feature_weight", "perceptual_weight", "kl_weight"):
            require_range(name, getattr(self, name), 0)
        _check_size(self)
        s = self.stabilisers
        for name, off in (
            ("critic_steps", 1),
            ("generator_batch", 1),
            ("dequantise", 0),
            ("pool_size", 0),
        ):
            require(
                not is_on(getattr(s, name), off),
                f"spade does not support the stabiliser {name}: leave it at {off}",
            )
        require(
            not s.spectral_norm,
            "spade's networks have spectral norm anyway: leave the stabiliser spectral_norm at False",
        )
        smooth = is_on(s.fake_target) or is_on(s.real_target, off=1)
        require(
            not smooth or self.loss in losses.SMOOTHABLE,
            f"the {self.loss!r} loss has no targets to smooth: leave real_target at 1 and fake_target at 0",
        )


def _check_size(config: Config) -> None:
    size, multiple = config.image_size, _networks(config)[0].multiple
    require(len(size) == 2 and min(size) > 0, f"image_size must be (height, width), got {size}")
    remedy = "lower up_blocks for small images" if min(size) < multiple else "choose other sides"
    require(
        all(side % multiple == 0 for side in size),
        f"image_size must be multiples of {multiple} with these up-steps, got {size}: {remedy}",
    )
    require(
        config.upsampling != "most" or config.generator_width > 1,
        "upsampling 'most' halves generator_width, which must be at least 2",
    )
    if config.features != "none":
        fits = config.channels in (1, 3) and min(size) >= LEAST
        require(
            fits,
            f"{config.features} takes images of 1 or 3 channels and at least {LEAST} x {LEAST}, got {size} and {config.channels} channels",
        )
        require(
            config.features_path,
            f"features={config.features!r} needs features_path, the file of its weights; features='none' does without",
        )


def batch_spec(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """`image`: float32 [B, H, W, C] in [-1, 1]; `layout`: int32 [B, H, W] of classes, or `classes` for unknown; `instance`: int32 [B, H, W] if edges."""
    spec = {
        "image": jax.ShapeDtypeStruct(
            (batch_size, *config.image_size, config.channels), jnp.float32
        )
    }
    names = ("layout", "instance") if config.instance_edges else ("layout",)
    return spec | {
        name: jax.ShapeDtypeStruct((batch_size, *config.image_size), jnp.int32) for name in names
    }


def _networks(
    config: Config, axis_name: str | None = None
) -> tuple[SPADEGenerator, MultiscaleDiscriminator, StyleEncoder]:
    """Generator, discriminator, encoder; batch statistics are averaged over `axis_name`."""
    dtype = jnp.dtype(config.dtype)
    sizes = (
        config.channels,
        config.generator_width,
        config.up_blocks,
        config.upsampling,
        config.style_size if config.encoder else 0,
        config.image_size,
    )
    generator = SPADEGenerator(*sizes, hidden=config.norm_width, axis_name=axis_name, dtype=dtype)
    discriminator = MultiscaleDiscriminator(
        config.discriminator_width,
        config.discriminator_layers,
        config.discriminator_scales,
        dtype=dtype,
    )
    return (
        generator,
        discriminator,
        StyleEncoder(config.style_size, config.generator_width, config.encoder_layers, dtype=dtype),
    )


def conditioning(config: Config) -> Conditioning:
    """What the model is told."""
    return Conditioning(
        "layout",
        config.classes,
        unknown=config.unknown,
        instances=config.instance_edges,
        style_size=config.style_size if config.encoder else 0,
    )


def init(config: Config, key: jax.Array) -> State:
    """Fresh state. Call it under jit: `jax.jit(spade.init, static_argnums=0)`. Does not consume `key`.

    With `features`, the file is read when this runs, not when it is traced; see `jaxgan.perceptual.vgg_weights.read` for what can be wrong with it.
    """
    check_config(config, Config)
    generator, discriminator, encoder = _networks(config)
    planes = maps.planes(config)
    networks: dict[str, tuple[Any, int]] = {"g": (generator, planes)}
    if config.encoder:
        networks["e"] = (encoder, config.channels)
    g, d = translation.new_players(
        Side(networks, config.generator_optimizer),
        Side({"d": (discriminator, planes + config.channels)}, config.discriminator_optimizer),
        config.image_size,
        key,
    )
    extra: PyTree = {} if config.features == "none" else {"features": _read_features(config)}
    extra |= new_strengths(config.stabilisers, ("d",))
    ema = jax.tree.map(jnp.copy, {"params": g.params, **g.stats})
    return State(jnp.int32(0), jnp.int32(0), {"generator": g, "discriminator": d}, ema, extra)


def _read_features(config: Config) -> PyTree:
    """Parameters of the perceptual loss's network. By a callback: restoring a run traces `init`, and must not need the file."""
    example = jnp.zeros((1, LEAST, LEAST, 3), jnp.float32)
    shapes = jax.eval_shape(
        lambda: VGGFeatures(config.features).init(jax.random.key(0), example)["params"]
    )

    def read() -> PyTree:
        return vgg_weights.read(
            config.features, Path(config.features_path), config.features_checksum
        )

    return jax.pure_callback(read, shapes)


# ------------------------------------------------------------------------------------------------------------------- the game


def train_step(
    config: Config, state: State, batch: Batch, key: jax.Array, *, axis_name: str | None = None
) -> tuple[State, Metrics]:
    """One round: a step of the generator (and encoder), then one of the discriminator on images that the new generator makes.

    Args:
      batch: as `batch_spec`; this device's part when mapped over `axis_name`. Layouts and instances may be of any whole type.
      key: the run's key, the same at every step and not consumed; draws depend on (key, state.step, example).

    Source: Park et al. 2019, section 3 and appendix A, in the order of NVlabs/SPADE. Deviation: the divergence of styles does not grow with the batch.
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
    """Draws of the translation families; normal [B, Z] `style` of the generator's step and `shown_style` of the discriminator's; `alpha` [B]."""
    draws = translation.draw(state, key, count, axis_name)
    for name in ("style", "shown_style") if config.encoder else ():
        draws[name] = _normal(config, example_streams(draws["keys"], name))
    if is_on(config.stabilisers.gradient_penalty):
        draws["alpha"] = uniform(example_streams(draws["keys"], "alpha"))
    return draws


def _normal(config: Config, keys: jax.Array) -> jax.Array:
    styles: jax.Array = jax.vmap(
        lambda key: jax.random.normal(key, (config.style_size,), jnp.float32)
    )(keys)
    return styles


def _round(
    config: Config, state: State, batch: Batch, draws: Draws, axis_name: str | None
) -> tuple[State, Metrics]:
    round, real = Round(config, draws, state.images, axis_name), batch["image"]
    instances = batch["instance"] if config.instance_edges else None
    layout = maps.told(config, batch["layout"], instances)
    generator, discriminator = state.players["generator"], state.players["discriminator"]
    _, network, _ = _networks(config)
    critic = LayoutCritic(network, round, layout)

    def generator_loss(params: PyTree) -> tuple[jax.Array, tuple[PyTree, Player, Metrics]]:
        noise = draws.get("style")
        fake, style, stats = _generate(critic, params, generator.stats, real, noise)
        loss, judged, metrics = _generator_loss(critic, state, fake, style, real)
        return loss, (stats, judged, metrics)

    optimizer = optim.build(config.generator_optimizer, state.images)
    generator, g_loss, (stats, discriminator, g_metrics) = update(
        generator, generator_loss, optimizer, axis_name
    )

    # The discriminator is shown other images than it was asked about: those of the generator it made.
    noise = draws.get("shown_style")
    fake, _, stats = _generate(critic, generator.params, stats, real, noise)
    generator = generator.replace(stats=stats)

    def discriminator_loss(params: PyTree) -> tuple[jax.Array, tuple[PyTree, Metrics]]:
        return critic.loss(params, discriminator.stats, fake, real)

    discriminator, d_loss, d_metrics = round.critic_step(discriminator, discriminator_loss)
    extra, d_metrics = round.adapted(state.extra, d_metrics, real.shape[0])

    players = {"generator": generator, "discriminator": discriminator}
    metrics = g_metrics | d_metrics | {"g_loss": g_loss, "d_loss": d_loss}
    return round.end(state, players, extra, metrics, real.shape[0])


def _generate(
    critic: LayoutCritic,
    params: PyTree,
    stats: PyTree,
    real: jax.Array,
    noise: jax.Array | None,
) -> tuple[jax.Array, Any, PyTree]:
    """Images [B, H, W, C] for the layout in the styles of real ones; the styles' mean and log variance, or None; the player's statistics after."""
    round, layout = critic.round, critic.layout
    generator, _, encoder = _networks(round.config, round.axis_name)
    style, latents = None, None
    if noise is not None:
        variables = translation.variables_of(stats, "e")
        style, after = encoder.apply(
            {"params": params["e"], **variables}, real, train=True, mutable=list(variables)
        )
        stats = translation.with_stats(stats, "e", dict(after))
        latents = style[0] + jnp.exp(0.5 * style[1]) * noise
    variables = translation.variables_of(stats, "g")
    fake, after = generator.apply(
        {"params": params["g"], **variables},
        layout.planes,
        latents,
        layout.symbols,
        train=True,
        mutable=list(variables),
    )
    return fake, style, translation.with_stats(stats, "g", dict(after))


def _generator_loss(
    critic: LayoutCritic, state: State, fake: jax.Array, style: Any, real: jax.Array
) -> tuple[jax.Array, Player, Metrics]:
    """The adversarial loss, the distance in the discriminator's features, in those of the perceptual loss, and the styles' divergence."""
    round, config, player = critic.round, critic.round.config, state.players["discriminator"]
    change = critic.augmentation("fooling", real)
    of_fake, of_real, stats = critic.judge(
        player.params, player.stats, (fake, real), "fooling", change
    )
    adversarial = mean_over_scales(
        lambda f, r: losses.generator_loss(config.loss, f, r, axis_name=round.axis_name),
        of_fake,
        of_real,
    )
    matching = feature_matching(of_fake, of_real)
    metrics: Metrics = {"g_adversarial_loss": adversarial, "feature_matching_loss": matching}
    loss = adversarial + config.feature_weight * matching
    if config.features != "none":
        distance = perceptual(config.features, state.extra["features"], fake, real)
        metrics["perceptual_loss"] = distance
        loss += config.perceptual_weight * distance
    if style is not None:
        metrics["kl_loss"] = jnp.mean(kl_divergence(*style))
        loss += config.kl_weight * KL_EXAMPLES * metrics["kl_loss"]
    return loss, player.replace(stats=stats), metrics


# ------------------------------------------------------------------------------------------------------------------- pictures


def translate(
    config: Config,
    state: State,
    layouts: jax.Array,
    *,
    instances: jax.Array | None = None,
    style: jax.Array | None = None,
    key: jax.Array | None = None,
    first: int = 0,
) -> jax.Array:
    """Layouts, int [B, H, W], of any size -> images [B, H, W, C] in [-1, 1], by the averaged generator and running statistics.

    The size is padded, by repeating the border, to the generator's multiple and cropped back. With `encoder` it must then be the config's.

    Args:
      instances: int [B, H, W], with `instance_edges`.
      style: [B, Z], or [Z] for all, as `encode_style` gives it; None draws them.
      key: draws the styles, for layout i by `fold_in(key, first + i)`; None is `jax.random.key(0)`.

    Raises:
      ValueError: other shapes, instances missing or out of place, styles without `encoder` or of another length, a size that does not fit.
    """
    check_sampler(CONTRACT, config, state)
    check_range("layouts", layouts, config.classes + 1)
    layouts, instances = jnp.asarray(layouts), None if instances is None else jnp.asarray(instances)
    planes, symbols, (network, _, _) = (
        maps.encoded(config, layouts, instances),
        maps.symbols(config, layouts, instances),
        _networks(config),
    )
    (count, height, width), multiple = layouts.shape, network.multiple
    latents = None
    if config.encoder:
        length, keys = (
            config.style_size,
            example_keys(jax.random.key(0) if key is None else key, count, first=first),
        )
        style = _normal(config, keys) if style is None else style
        require(
            style.shape in ((count, length), (length,)),
            f"style must be [{count}, {length}], or [{length}] for all, got shape {style.shape}",
        )
        latents = jnp.broadcast_to(style, (count, length))
    else:
        require(style is None, "style needs a generator that was trained with encoder=True")
    around = ((0, 0), (0, -height % multiple), (0, -width % multiple))
    padded, symbols = (
        jnp.pad(planes, (*around, (0, 0)), "edge"),
        symbols._replace(numbers=jnp.pad(symbols.numbers, around, "edge")),
    )
    images: Any = network.apply(
        translation.variables_of(state.ema, "g"), padded, latents, symbols, train=False
    )
    return images[:, :height, :width]


def encode_style(
    config: Config, state: State, images: jax.Array, *, key: jax.Array | None = None, first: int = 0
) -> jax.Array:
    """Images [B, H, W, C] in [-1, 1] of any size -> their styles [B, Z], by the averaged encoder: the mean, or with `key` a draw around it, as in training.

    Args:
      key: for image i, `fold_in(key, first + i)`.

    Raises:
      ValueError: the config has no encoder, or images of other channels.
    """
    check_sampler(CONTRACT, config, state)
    require(config.encoder, "styles are encoded by a model that was trained with encoder=True")
    require(
        images.ndim == 4 and images.shape[-1] == config.channels,
        f"images [B, H, W, {config.channels}] are needed, got shape {images.shape}",
    )
    result: Any = _networks(config)[2].apply(
        translation.variables_of(state.ema, "e"), images, train=False
    )
    mean, log_variance = result
    if key is None:
        return mean
    return mean + jnp.exp(0.5 * log_variance) * _normal(
        config, example_keys(key, len(images), first=first)
    )


def preview(config: Config, state: State, batch: Batch, key: jax.Array) -> jax.Array:
    """A grid [rows, 3, H, W, C] in [-1, 1] of the batch's first examples (at most 8): the layout in colours, the image made of it, the real one.

    With `encoder` the image made has the real one's style, and a fourth column, before the real one, has random styles.
    """
    check_sampler(CONTRACT, config, state)
    shown = {name: leaf[: translation.PREVIEW_ROWS] for name, leaf in batch.items()}
    image, layout, instance = shown["image"], shown["layout"], shown.get("instance")
    styles = [encode_style(config, state, image), None] if config.encoder else [None]
    made = [
        translate(
            config,
            state,
            layout,
            instances=instance if config.instance_edges else None,
            style=style,
            key=key,
        )
        for style in styles
    ]
    return jnp.stack([maps.coloured(config, layout), *made, image], axis=1)


CONTRACT = Contract(Config, init, batch_spec, conditioning)
"""What arguments are checked against."""
