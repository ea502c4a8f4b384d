"""Path length of maps whose derivative is known."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from jaxgan.metrics.features import FeatureNetwork, Outputs
from jaxgan.metrics.path_length import path_length, slerp

KEY = jax.random.key(0)
PIXELS = FeatureNetwork(
    "pixels",
    "",
    "none",
    (),
    {},
    lambda params, images: Outputs(images.reshape(len(images), -1), None),
)
STARTS, ENDS = np.random.default_rng(0).normal(size=(2, 250, 4)).astype(np.float32)


def _images(variables: None, latents: jax.Array, rows: jax.Array) -> jax.Array:
    return latents.reshape(-1, 2, 2, 1)


def _trimmed(distances: np.ndarray) -> tuple[float, float]:
    """Without the two largest and two smallest of 250, which lie beyond the 1st and 99th percentile's neighbours."""
    kept = np.sort(distances)[2:-2]
    return kept.mean(), kept.std(ddof=1) / np.sqrt(len(kept))


@pytest.mark.parametrize(("sampling", "batch_size"), [("full", 64), ("end", 250)])
def test_straight_lines(sampling, batch_size):
    """An identity moves by |end - start| for each step of 1, anywhere on the way; the last batch is filled up and does not count twice."""
    found = path_length(
        PIXELS,
        _images,
        None,
        STARTS,
        ENDS,
        key=KEY,
        sampling=sampling,
        epsilon=1e-2,
        batch_size=batch_size,
    )
    np.testing.assert_allclose(found, _trimmed(np.sum((ENDS - STARTS) ** 2, 1)), rtol=1e-3)


def test_great_circles():
    """Between unit vectors every step is the angle between them (for small steps, along the chord)."""
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (STARTS, ENDS))
    found = path_length(PIXELS, _images, None, a, b, key=KEY, space="z", epsilon=1e-2)
    np.testing.assert_allclose(found, _trimmed(np.arccos(np.sum(a * b, 1)) ** 2), rtol=1e-3)


def test_ends_and_length_of_great_circles():
    between = jax.jit(slerp)
    ends = [between(STARTS, ENDS, np.full(250, t, np.float32)) for t in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(ends[0], STARTS, atol=1e-5)
    np.testing.assert_allclose(ends[2], ENDS, atol=1e-5)
    lengths = [np.linalg.norm(x, axis=1) for x in ends]
    np.testing.assert_allclose(lengths[1], (lengths[0] + lengths[2]) / 2, rtol=1e-5)


def test_place_on_the_way_and_rows():
    """x^2 moves at 2 x: at the start by `end`, anywhere by `full`; a factor looked up by row reaches both points."""

    def squares(variables, latents, rows):
        return (latents**2 * rows[:, None].astype(np.float32)).reshape(-1, 1, 1, 1)

    zeros, ones = np.zeros((250, 1), np.float32), np.ones((250, 1), np.float32)
    at_start = path_length(
        PIXELS, squares, None, zeros, ones, key=KEY, sampling="end", epsilon=1e-2
    )
    np.testing.assert_allclose(at_start, _trimmed((np.arange(250) * 1e-2) ** 2), rtol=1e-3)
    places = np.asarray(
        jax.jit(jax.vmap(lambda i: jax.random.uniform(jax.random.fold_in(KEY, i))))(np.arange(250))
    )
    full = path_length(PIXELS, squares, None, zeros, ones, key=KEY, epsilon=1e-2, batch_size=77)
    np.testing.assert_allclose(
        full, _trimmed((np.arange(250) * (2 * places + 1e-2)) ** 2), rtol=1e-2
    )


def test_refusals():
    with pytest.raises(ValueError, match="of one shape"):
        path_length(PIXELS, _images, None, STARTS, ENDS[:3], key=KEY)
    with pytest.raises(ValueError, match="sampling must be one of 'full', 'end'"):
        path_length(PIXELS, _images, None, STARTS, ENDS, key=KEY, sampling="half")
    with pytest.raises(ValueError, match="space must be one of"):
        path_length(PIXELS, _images, None, STARTS, ENDS, key=KEY, space="x")
    with pytest.raises(ValueError, match="epsilon must be positive"):
        path_length(PIXELS, _images, None, STARTS, ENDS, key=KEY, epsilon=0)
