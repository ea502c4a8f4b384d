"""Projection into StyleGAN: the schedules and the regularisation by hand, and images that the generator made are found again."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import projection, stylegan
from jaxgan.perceptual.vgg import VGGFeatures
from jaxgan.state import State
from jaxgan.update import stream_key
from tests.contract.helpers import EVERY, KEY

CONFIG = EVERY["stylegan"].config


def noisy_state() -> State:
    """What a fresh run leaves for sampling, with some use for noise, which a fresh generator has none for."""
    variables = jax.jit(stylegan.networks(CONFIG)[0].init)(
        jax.random.key(0), jnp.zeros((1, CONFIG.latent_size))
    )
    ema = jax.tree.map_with_path(
        lambda path, leaf: jnp.full_like(leaf, 0.1) if "strength" in str(path) else leaf,
        dict(variables),
    )
    return State(jnp.int32(0), jnp.int32(0), {}, ema, {})


def test_rate_by_hand():
    settings = projection.Settings(steps=1000)
    expected = {0: 0, 25: 0.05, 50: 0.1, 400: 0.1, 750: 0.1, 875: 0.05, 1000: 0}
    for step, value in expected.items():
        np.testing.assert_allclose(
            projection.rate(settings, step), value, atol=1e-7, err_msg=str(step)
        )


def test_correlation_of_noise():
    """By NumPy over both scales of 16 x 16; and next to nothing for white noise, much for a slope."""
    plane = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    halved = plane.reshape(8, 2, 8, 2).mean((1, 3)) * 2
    expected = sum(
        np.mean(x * np.roll(x, 1, axis)) ** 2 for x in (plane, halved) for axis in (0, 1)
    )
    np.testing.assert_allclose(
        projection.correlation({"a": jnp.asarray(plane)}), expected, rtol=1e-4
    )
    slope = jnp.broadcast_to(jnp.linspace(-1.7, 1.7, 16)[None], (16, 16))
    assert projection.correlation([slope]) > 10 * expected
    odd = np.random.default_rng(1).normal(size=(9, 12)).astype(np.float32)  # not halved
    expected = sum(np.mean(odd * np.roll(odd, 1, axis)) ** 2 for axis in (0, 1))
    np.testing.assert_allclose(projection.correlation([jnp.asarray(odd)]), expected, rtol=1e-4)


def test_distances_of_the_pyramid():
    """Mean squared errors of 8 x 12 and of 4 x 6, which is not halved again."""
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, 1, 8, 12, 3)).astype(np.float32)
    small = [image.reshape(1, 4, 2, 6, 2, 3).mean((2, 4)) for image in (x, y)]
    expected = np.mean((x - y) ** 2) + np.mean((small[0] - small[1]) ** 2)
    of_x, of_y = projection.pyramid(jnp.asarray(x)), projection.pyramid(jnp.asarray(y))
    np.testing.assert_allclose(
        sum(jnp.sum((a - b) ** 2) for a, b in zip(of_x, of_y, strict=True)), expected, rtol=1e-5
    )


SETTINGS = projection.Settings(steps=150, latents=500)


@pytest.fixture(scope="module")
def found():
    """The generator, six images that it made of latents and random noise, and their projections."""
    state = noisy_state()
    images = jax.jit(functools.partial(stylegan.sample, CONFIG), static_argnums=2)(
        state, jax.random.key(5), 6
    )
    search = jax.vmap(
        lambda state, image: projection.project(CONFIG, state, image, jax.random.key(1), SETTINGS),
        in_axes=(None, 0),
    )
    return state, images, jax.jit(search)(state, images)


def test_its_own_images_are_found_again(found):
    """Distances fall to less than a tenth on average; the last is that of the image returned; the noise stays white and standardised."""
    _, images, result = found
    distances = np.asarray(result.distances)
    assert distances.shape == (6, 150)
    assert distances[:, -1].mean() < 0.1 * distances[:, 0].mean()
    assert (distances[:, -1] < 0.25 * distances[:, 0]).all()
    pairs = zip(projection.pyramid(result.image), projection.pyramid(images), strict=True)
    own = sum(6 * np.sum((x - y) ** 2, axis=(1, 2, 3)) for x, y in pairs)
    assert (own < 1.01 * distances[:, -1]).all()  # what is clipped can only be nearer
    for plane in jax.tree.leaves(result.noise):
        np.testing.assert_allclose(np.mean(plane, axis=(1, 2)), 0, atol=1e-4)
        np.testing.assert_allclose(np.mean(plane**2, axis=(1, 2)), 1, atol=1e-4)
    assert jax.vmap(projection.correlation)(result.noise).max() < 1e-3


def test_the_image_is_that_of_w_and_noise(found):
    state, _, result = found
    noise = jax.tree.map(lambda leaf: leaf[0], result.noise)
    synthesise = jax.jit(functools.partial(stylegan.synthesise, CONFIG))
    w = jnp.broadcast_to(
        result.w[:1, None], (1, stylegan.networks(CONFIG)[0].layers, CONFIG.style_size)
    )
    np.testing.assert_allclose(
        synthesise(state.replace(ema={**state.ema, "noise": noise}), w)[0],
        result.image[0],
        atol=1e-5,
    )
    assert np.abs(synthesise(state, w)[0] - result.image[0]).max() > 0.05, (
        "the noise changes nothing"
    )


def test_the_start_is_the_mean_of_w(found):
    state, settings = found[0], projection.Settings(latents=300)
    search = jax.jit(functools.partial(projection.begin, CONFIG, settings=settings))(state, KEY)
    z = np.asarray(stylegan.latents(CONFIG, stream_key(KEY, "spread"), 300))
    w = np.asarray(
        jax.jit(functools.partial(stylegan.networks(CONFIG)[0].apply, method="styles"))(
            state.ema, z
        )
    )
    np.testing.assert_allclose(search.point["w"], w.mean(0), atol=1e-5)
    np.testing.assert_allclose(
        search.spread, np.sqrt(((w - w.mean(0)) ** 2).sum(1).mean()), rtol=1e-4
    )


def test_features_of_a_network_are_of_unit_length():
    """Each pixel's; pixels count as well; grey is made RGB; larger images are halved to 256."""
    shapes = jax.eval_shape(VGGFeatures("vgg16").init, KEY, jnp.zeros((1, 16, 16, 3)))["params"]
    params = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.01, np.float32), shapes)
    image = jnp.asarray(np.random.default_rng(0).uniform(0.5, 1, (1, 16, 16, 1)), jnp.float32)
    run = jax.jit(functools.partial(projection.vgg, "vgg16"))
    maps = run(params, image)
    assert [leaf.shape[1:] for leaf in maps] == [
        (16, 16, 1),
        (8, 8, 1),
        (4, 4, 1),
        (16, 16, 64),
        (8, 8, 128),
        (4, 4, 256),
        (2, 2, 512),
        (1, 1, 512),
    ]
    np.testing.assert_allclose([jnp.sum(leaf**2) for leaf in maps[3:]], np.ones(5), rtol=1e-3)
    large = jax.eval_shape(run, params, jax.ShapeDtypeStruct((1, 512, 1024, 3), jnp.float32))
    assert large[-5].shape == (1, 128, 256, 64)


def test_what_cannot_be_projected_is_refused():
    labelled = EVERY["stylegan labels"].config
    states = [
        jax.eval_shape(functools.partial(stylegan.init, config), KEY)
        for config in (CONFIG, labelled)
    ]
    with pytest.raises(ValueError, match=r"the image must be \[8, 8, 1\]"):
        projection.project(CONFIG, states[0], jnp.zeros((8, 8, 3)), KEY)
    with pytest.raises(ValueError, match="labels are needed with classes"):
        jax.eval_shape(functools.partial(projection.begin, labelled), states[1], KEY)
    with pytest.raises(ValueError, match="steps must be"):
        projection.Settings(steps=0)


def test_features_of_images_with_opacity_are_refused():
    with pytest.raises(ValueError, match="vgg16 takes images of 1 or 3 channels, got 4"):
        projection.vgg("vgg16", {}, jnp.zeros((1, 32, 32, 4)))
