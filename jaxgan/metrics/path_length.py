"""Perceptual path length: how much an image changes for a small step between two latents. Small where the latent space is smooth."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.errors import require, require_choice
from jaxgan.metrics.features import FeatureNetwork
from jaxgan.state import PyTree
from jaxgan.update import uniform

Generate = Callable[[PyTree, jax.Array, jax.Array], jax.Array]


def path_length(
    network: FeatureNetwork,
    generate: Generate,
    variables: PyTree,
    starts: np.ndarray,
    ends: np.ndarray,
    *,
    key: jax.Array,
    space: str = "w",
    sampling: str = "full",
    epsilon: float = 1e-4,
    batch_size: int = 32,
) -> tuple[float, float]:
    """Mean squared distance of features over `epsilon`^2, between the images of two points `epsilon` apart on the way from each start to its end; and its
    standard error. The largest and smallest hundredth of the distances are left out.

    Source: Karras et al. 2019, "A Style-Based Generator Architecture for Generative Adversarial Networks", section 4.1. Published figures are of LPIPS with
    VGG16, 100,000 pairs in W, without truncation, with constant noise, faces cropped first. Deviation: distances of the features of `network`, over the
    whole image, so that values are comparable under one network only.

    Args:
      generate: (variables, latents [B, ...], rows int32 [B]) -> images [B, H, W, C] in [-1, 1]; pure. `rows` are the pairs' numbers, for labels or noise,
        which must be the same at both points. Compiled once for the same function, whatever the variables.
      variables: of the generator.
      starts, ends: [N, ...] latents: of W, or of Z.
      key: of the place on each way; pair i draws from `fold_in(key, i)`.
      space: "w", straight lines; "z", great circles, over the last axis.
      sampling: "full", anywhere on the way; "end", at its start.

    Raises ValueError: unlike shapes, fewer than 2 pairs, other names, an `epsilon` that is not positive.
    """
    starts, ends = np.asarray(starts, np.float32), np.asarray(ends, np.float32)
    fits = starts.shape == ends.shape and starts.ndim >= 2 and len(starts) >= 2
    require(
        fits,
        f"starts and ends must be of one shape [N, ...], N at least 2, got {starts.shape} and {ends.shape}",
    )
    require_choice("space", space, ("w", "z"))
    require_choice("sampling", sampling, ("full", "end"))
    require(epsilon > 0, f"epsilon must be positive, got {epsilon}")
    batch_size = min(batch_size, len(starts))
    run = _compiled(network.apply, generate, space, sampling, epsilon)
    found = []
    for first in range(0, len(starts), batch_size):
        rows = np.minimum(
            np.arange(first, first + batch_size), len(starts) - 1
        )  # the last batch is filled up, so that one program does
        found.append(
            np.asarray(
                run(network.params, variables, starts[rows], ends[rows], rows.astype(np.int32), key)
            )
        )
    distances = np.concatenate(found)[: len(starts)].astype(np.float64)
    low, high = (
        np.percentile(distances, 1, method="lower"),
        np.percentile(distances, 99, method="higher"),
    )
    kept = distances[(distances >= low) & (distances <= high)]
    return float(kept.mean()), float(kept.std(ddof=1) / np.sqrt(len(kept))) if len(
        kept
    ) > 1 else float("nan")


@lru_cache(maxsize=4)
def _compiled(
    apply: Callable, generate: Generate, space: str, sampling: str, epsilon: float
) -> Callable:
    return jax.jit(partial(_distances, apply, generate, space, sampling, epsilon))


def _distances(
    apply: Callable,
    generate: Generate,
    space: str,
    sampling: str,
    epsilon: float,
    params: PyTree,
    variables: PyTree,
    starts: jax.Array,
    ends: jax.Array,
    rows: jax.Array,
    key: jax.Array,
) -> jax.Array:
    """[B] squared distances over epsilon^2."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
    places = uniform(keys) if sampling == "full" else jnp.zeros(len(rows), jnp.float32)
    between = slerp if space == "z" else lerp
    with jax.default_matmul_precision(
        "highest"
    ):  # the difference is small against what accelerators round to
        first, second = (
            apply(params, generate(variables, between(starts, ends, place), rows)).features
            for place in (places, places + epsilon)
        )
    return jnp.sum((first - second) ** 2, axis=1) / epsilon**2


def lerp(a: jax.Array, b: jax.Array, t: jax.Array) -> jax.Array:
    """a, b [B, ...], t [B] -> a + t (b - a)."""
    return a + t.reshape(-1, *(1,) * (a.ndim - 1)) * (b - a)


def slerp(a: jax.Array, b: jax.Array, t: jax.Array) -> jax.Array:
    """a, b [B, ..., D], t [B] -> the point t of the way along the great circle through a and b, over the last axis; its length is that of `lerp`'s lengths.

    The lengths are kept for generators that do not normalise their latents.
    """
    t = t.reshape(-1, *(1,) * (a.ndim - 1))
    length_a, length_b = (jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
    a, b = a / length_a, b / length_b
    cosine = jnp.sum(a * b, axis=-1, keepdims=True)
    across = b - cosine * a
    across = across / jnp.maximum(jnp.linalg.norm(across, axis=-1, keepdims=True), 1e-12)
    angle = t * jnp.arccos(jnp.clip(cosine, -1.0, 1.0))
    return (a * jnp.cos(angle) + across * jnp.sin(angle)) * (length_a + t * (length_b - length_a))
