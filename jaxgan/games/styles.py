"""Latents to styles and styles to images, as StyleGAN's training and sampling share them: draws, style mixing, truncation.

Shapes: B local examples, Z latent size, W style size, L layers of the generator that take a style of their own.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxgan.games.stabilisers import is_on
from jaxgan.optim import as_float32
from jaxgan.state import PyTree
from jaxgan.update import example_streams, uniform

Draws = dict[str, Any]


def draw(keys: jax.Array, latent_size: int, mixing: jax.Array | float, layers: int) -> Draws:
    """From one key per example [B]: keys, those; latents [B, Z]; with style mixing, other_latents [B, Z] and first_mixed int32 [B], where they begin.

    first_mixed is uniform in 1 ... layers - 1 with probability `mixing`, else `layers`, which is nowhere.
    """
    mixed = is_on(mixing)
    latents = jax.vmap(lambda key: jax.random.normal(key, (1 + mixed, latent_size), jnp.float32))(
        example_streams(keys, "latents")
    )
    draws = {"keys": keys, "latents": latents[:, 0]}
    if mixed:
        chance = uniform(example_streams(keys, "mixing")) / jnp.maximum(
            jnp.asarray(mixing, jnp.float32), 1e-8
        )
        first = 1 + jnp.floor(chance * (layers - 1)).astype(
            jnp.int32
        )  # below 1, the chance is uniform: one number is enough
        draws |= {"other_latents": latents[:, 1], "first_mixed": jnp.minimum(first, layers)}
    return draws


def styles(
    network: Any, params: PyTree, stats: PyTree, draws: Draws, labels: jax.Array | None
) -> tuple[jax.Array, PyTree]:
    """w for each layer [B, L, W], mixed as drawn; and the running mean of w after this pass, in which mixed-in ones do not count."""
    variables = {"params": params, **stats}
    w, after = network.apply(
        variables, draws["latents"], labels, method="styles", mutable=["average"]
    )
    result = _for_layers(network, w)
    if "other_latents" in draws:
        other = network.apply(variables, draws["other_latents"], labels, method="styles")
        before = (
            jnp.arange(network.layers, dtype=jnp.int32)[None, :] < draws["first_mixed"][:, None]
        )
        result = jnp.where(before[..., None], result, other[:, None])
    return result, dict(after)


def generate(
    network: Any, params: PyTree, stats: PyTree, draws: Draws, labels: jax.Array | None
) -> tuple[jax.Array, PyTree]:
    """Images [B, H, W, C] of one turn's draws, under random noise, and the running mean of w after them."""
    w, stats = styles(network, params, stats, draws, labels)
    return network.apply({"params": params}, w, draws["keys"], method="synthesise"), stats


def truncated(
    network: Any, variables: PyTree, w: jax.Array, truncation: jax.Array | float, layers: int | None
) -> jax.Array:
    """w [B, W] -> one for each layer [B, L, W]; in the first `layers` (None: in all), `truncation` of the way from the mean of w to w."""
    mean = network.apply(variables, method="average")[None, None]
    result = _for_layers(network, w)
    first = jnp.arange(network.layers, dtype=jnp.int32)[None, :, None] < (
        network.layers if layers is None else layers
    )
    return jnp.where(first, mean + as_float32(truncation) * (result - mean), result)


def _for_layers(network: Any, w: jax.Array) -> jax.Array:
    return jnp.broadcast_to(w[:, None], (w.shape[0], network.layers, w.shape[1]))
