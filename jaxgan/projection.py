"""Projection (Karras et al. 2020, appendix D): the w and the noise of which a trained StyleGAN's generator makes a given image.

    found = jax.jit(projection.project, static_argnums=(0, 4))(config, state, image, key, projection.Settings())
    found.image                                 # what the averaged generator makes of found.w and found.noise

Shapes: H, W, C the image's; Z length of w; L layers that take one. `state` needs `ema` only. Everything here is for one image: `vmap` it for several.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxgan.errors import require, require_range
from jaxgan.families import stylegan
from jaxgan.nn.resample import average_pool
from jaxgan.perceptual.vgg import LEAST, VGGFeatures
from jaxgan.settings import settle
from jaxgan.state import PyTree, State
from jaxgan.update import stream_key

Features = Callable[[jax.Array], list[jax.Array]]
"""Images [B, H, W, C] -> arrays whose squared differences, summed, are the distance. Under jit a pytree: `jax.tree_util.Partial`."""

LARGEST = 256
"""Images with longer sides are halved to at most this before a network of features sees them."""
VGG_MEAN, VGG_SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pixels in [0, 1], by which torchvision's networks want theirs normalised."""
REFERENCE = 8
"""Maps of noise are regularised at every scale down to this side."""


@dataclass(frozen=True)
class Settings:
    """How to search; the defaults are the paper's. Spans are shares of all steps."""

    steps: int = 1000
    learning_rate: float = 0.1
    """Of Adam, at its highest."""
    warm_up: float = 0.05
    """Span over which the rate rises from 0, linearly."""
    cool_down: float = 0.25
    """Span at the end over which it falls to 0, as half a cosine."""
    style_noise: float = 0.05
    """Standard deviation of what is added to w at first, as a multiple of that of w."""
    style_noise_span: float = 0.75
    """Span after which nothing is added; it falls to 0 as a parabola."""
    noise_weight: float = 1e5
    """Weight of `correlation`."""
    latents: int = 10_000
    """Latents of which the mean and the standard deviation of w are taken."""

    def __post_init__(self):
        settle(self)
        for name in ("steps", "latents"):
            require_range(name, getattr(self, name), 1)
        for name in ("learning_rate", "style_noise", "noise_weight"):
            require_range(name, getattr(self, name), 0)
        for name in ("warm_up", "cool_down", "style_noise_span"):
            require_range(name, getattr(self, name), 0, 1)


class Search(NamedTuple):
    """Where a search stands. point: {"w": [Z], "noise": a plane for each layer}; moments: Adam's; spread: standard deviation of w, []."""

    step: jax.Array
    point: PyTree
    moments: PyTree
    spread: jax.Array
    key: jax.Array


class Projection(NamedTuple):
    """What was found: w [Z], noise (the collection `noise` of the generator), the image [H, W, C] in [-1, 1], distances float32 [steps]."""

    w: jax.Array
    noise: PyTree
    image: jax.Array
    distances: jax.Array


def project(
    config: stylegan.Config,
    state: State,
    image: jax.Array,
    key: jax.Array,
    settings: Settings = Settings(),
    features: Features | None = None,
    label: jax.Array | None = None,
) -> Projection:
    """Search w and noise for an image [H, W, C] in [-1, 1].

    Args:
      key: of all that is drawn; not consumed.
      features: what distances are taken in; None is `pyramid`.
      label: int32 [], the class whose mean of w to begin at, if conditional.

    Raises ValueError for an image of another shape, and for a label missing or out of place.

    Source: Karras et al. 2020, appendix D; its schedules as in NVlabs/stylegan2-ada-pytorch. Deviation: the distance, LPIPS there, is by `features`.
    """
    shape = (*config.image_size, config.channels)
    require(
        image.shape == shape,
        f"the image must be [{', '.join(map(str, shape))}], as the generator's, got shape {list(image.shape)}",
    )
    features = jax.tree_util.Partial(pyramid) if features is None else features
    wanted = features(image[None])

    def step(search: Search, _: None) -> tuple[Search, jax.Array]:
        return advance(config, state, search, wanted, settings, features)

    search, distances = jax.lax.scan(
        step, begin(config, state, key, settings, label), None, settings.steps
    )
    return Projection(
        search.point["w"],
        search.point["noise"],
        render(config, state, search.point["w"], search.point["noise"]),
        distances,
    )


def begin(
    config: stylegan.Config,
    state: State,
    key: jax.Array,
    settings: Settings = Settings(),
    label: jax.Array | None = None,
) -> Search:
    """The start: the mean of w over many latents (of one class, if conditional), and normal noise. Arguments and errors as in `project`."""
    z = stylegan.latents(config, stream_key(key, "spread"), settings.latents)
    labels = None if label is None else jnp.full(settings.latents, label, jnp.int32)
    w = stylegan.styles_of(config, state, z, labels)[:, 0]
    mean = jnp.mean(w, axis=0)
    spread = jnp.sqrt(jnp.mean(jnp.sum((w - mean[None]) ** 2, axis=1)))
    planes, tree = jax.tree.flatten(state.ema["noise"])
    drawn = [
        jax.random.normal(stream_key(key, "noise", i), plane.shape, jnp.float32)
        for i, plane in enumerate(planes)
    ]
    point = {"w": mean, "noise": _standardised(jax.tree.unflatten(tree, drawn))}
    return Search(jnp.int32(0), point, _adam(settings).init(point), spread, key)


def advance(
    config: stylegan.Config,
    state: State,
    search: Search,
    wanted: list[jax.Array],
    settings: Settings,
    features: Features,
) -> tuple[Search, jax.Array]:
    """One step of Adam towards an image whose features are `wanted`; the distance, float32 [], that it started from (of w with what is added to it)."""
    share = search.step.astype(jnp.float32) / settings.steps
    left = jnp.maximum(0, 1 - share / max(settings.style_noise_span, 1e-8)) ** 2
    noise = jax.random.normal(
        stream_key(search.key, "style noise", search.step), search.point["w"].shape, jnp.float32
    )
    added = settings.style_noise * search.spread * left * noise

    def loss(point: PyTree) -> tuple[jax.Array, jax.Array]:
        made = features(_unclipped(config, state, point["w"] + added, point["noise"])[None])
        distance = sum(
            (jnp.sum((x - y) ** 2) for x, y in zip(made, wanted, strict=True)), jnp.float32(0)
        )
        return distance + settings.noise_weight * correlation(point["noise"]), distance

    (_, distance), gradients = jax.value_and_grad(loss, has_aux=True)(search.point)
    with jax.numpy_dtype_promotion("standard"):  # optax mixes its count with fractions
        updates, moments = _adam(settings).update(gradients, search.moments)
    point: Any = optax.apply_updates(search.point, updates)
    return search._replace(
        step=search.step + 1,
        point=point | {"noise": _standardised(point["noise"])},
        moments=moments,
    ), distance


def render(config: stylegan.Config, state: State, w: jax.Array, noise: PyTree) -> jax.Array:
    """The image [H, W, C] in [-1, 1] of one w [Z] in all layers and noise as in `Projection`."""
    return jnp.clip(_unclipped(config, state, w, noise), -1, 1)


def rate(settings: Settings, step: jax.Array) -> jax.Array:
    """The learning rate at a step, float32 []."""
    share = jnp.asarray(step, jnp.float32) / settings.steps
    falling = jnp.minimum(1, (1 - share) / max(settings.cool_down, 1e-8))
    rising = jnp.minimum(1, share / max(settings.warm_up, 1e-8))
    return settings.learning_rate * (0.5 - 0.5 * jnp.cos(jnp.pi * falling)) * rising


def correlation(noise: PyTree) -> jax.Array:
    """How much each plane [h, w] of noise is like itself one pixel further, float32 []: 0 for noise without structure to hide an image in.

    The squared mean products of neighbours, both ways and around the edges, summed over the planes and over scales: halved, and brought back to unit
    variance, while sides are even and above 8. Source: Karras et al. 2020, appendix D.
    """
    total = jnp.float32(0)
    for plane in jax.tree.leaves(noise):
        while True:
            for axis in (0, 1):
                total += jnp.mean(plane * jnp.roll(plane, 1, axis)) ** 2
            if min(plane.shape) <= REFERENCE or plane.shape[0] % 2 or plane.shape[1] % 2:
                break
            plane = 2 * average_pool(plane[None, :, :, None])[0, :, :, 0]
    return total


# ------------------------------------------------------------------------------------------------------------------ features


def pyramid(images: jax.Array) -> list[jax.Array]:
    """Images [B, H, W, C], halved while sides are even and at least 4 remain, so that differences count pixel by pixel and as a whole.

    Scaled so that squared differences, summed, are the levels' mean squared errors.
    """
    levels = []
    while True:
        levels.append(images / sqrt(images.size))
        height, width = images.shape[1:3]
        if height % 2 or width % 2 or min(height, width) < 8:
            return levels
        images = average_pool(images)


def vgg(kind: str, params: PyTree, images: jax.Array) -> list[jax.Array]:
    """`pyramid`, and five feature maps of `VGGFeatures(kind)`, each pixel's features of unit length: LPIPS (Zhang et al. 2018) without its learned weights.

    As `features`: `jax.tree_util.Partial(functools.partial(projection.vgg, "vgg16"), params)`, by `jaxgan.perceptual.vgg_weights.read`.

    Raises ValueError for images that are neither grey nor RGB.
    """
    require(
        images.shape[-1] in (1, 3),
        f"{kind} takes images of 1 or 3 channels, got {images.shape[-1]}: project by the pyramid alone (leave out --features)",
    )
    shown = (images + 1) / 2 if images.shape[-1] == 3 else jnp.repeat((images + 1) / 2, 3, axis=-1)
    while (
        max(shown.shape[1:3]) > LARGEST
        and min(shown.shape[1:3]) >= 2 * LEAST
        and not (shown.shape[1] % 2 or shown.shape[2] % 2)
    ):
        shown = average_pool(shown)
    mean, spread = (
        jnp.array(values, jnp.float32).reshape(1, 1, 1, 3) for values in (VGG_MEAN, VGG_SPREAD)
    )
    maps: Any = VGGFeatures(kind).apply({"params": params}, (shown - mean) / spread)
    lengths = [jnp.sqrt(jnp.sum(x**2, axis=-1, keepdims=True) + 1e-8) for x in maps]
    return pyramid(images) + [
        x / length * sqrt(x.shape[-1] / x.size) for x, length in zip(maps, lengths, strict=True)
    ]


# -------------------------------------------------------------------------------------------------------------------- parts


def _adam(settings: Settings) -> optax.GradientTransformation:
    return optax.adam(lambda step: rate(settings, step))


def _standardised(noise: PyTree) -> PyTree:
    """Every plane at mean 0 and variance 1."""

    def one(plane: jax.Array) -> jax.Array:
        centred = plane - jnp.mean(plane)
        return centred * jax.lax.rsqrt(jnp.mean(centred**2) + 1e-8)

    return jax.tree.map(one, noise)


def _unclipped(config: stylegan.Config, state: State, w: jax.Array, noise: PyTree) -> jax.Array:
    network, _ = stylegan.networks(config)
    layers = jnp.broadcast_to(w, (1, network.layers, *w.shape))
    images: Any = network.apply(
        {**state.ema, "noise": noise}, layers, None, noise="constant", method="synthesise"
    )
    return images[0]
