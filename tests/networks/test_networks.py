"""Sizes of the networks: parameter counts from the papers' tables, shapes, and errors that name the multiple."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from jaxgan import acgan, dcgan, gan
from jaxgan.networks.dcgan import halvings


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def shapes(family, config):
    return jax.eval_shape(lambda key: family.init(config, key), jax.random.key(0))


def test_dcgan_has_the_parameters_of_pytorch_examples():
    """Convolutions 4x4 without bias, two numbers per batch-norm channel."""
    widths = [512, 256, 128, 64]
    generator = (
        100 * 512 * 16
        + sum(a * b * 16 for a, b in zip(widths, widths[1:]))
        + 64 * 3 * 16
        + 2 * sum(widths)
    )
    discriminator = (
        3 * 64 * 16
        + sum(a * b * 16 for a, b in zip(widths, widths[1:]))
        + 512 * 16
        + 2 * (128 + 256 + 512)
    )
    state = shapes(dcgan, dcgan.Config())
    assert count(state.players["generator"].params) == generator == 3_576_704
    assert count(state.players["discriminator"].params) == discriminator == 2_765_568


def test_gan_has_the_parameters_of_2014():
    generator = 100 * 1200 + 1200 + 1200 * 1200 + 1200 + 1200 * 784 + 784
    discriminator = 784 * 1200 + 1200 + 240 * 1200 + 1200 + 240 + 1
    state = shapes(gan, gan.Config())
    assert count(state.players["generator"].params) == generator
    assert count(state.players["discriminator"].params) == discriminator


def test_acgan_discriminator_has_the_paper_s_convolutions():
    widths = [3, 16, 32, 64, 128, 256, 512]
    convolutions = sum(9 * a * b for a, b in zip(widths, widths[1:])) + 16 + 2 * sum(widths[2:])
    heads = 4 * 4 * 512 * 11 + 11
    assert (
        count(shapes(acgan, acgan.Config()).players["discriminator"].params) == convolutions + heads
    )


@pytest.mark.parametrize(
    ("size", "halved"),
    [
        ((64, 64), 4),
        ((28, 28), 2),
        ((32, 32), 3),
        ((16, 16), 2),
        ((48, 64), 3),
        ((128, 128), 5),
        ((96, 64), 4),
    ],
)
def test_halvings(size, halved):
    assert halvings(size) == halved


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: dcgan.Config(image_size=(30, 30)), "multiples of 4 and at least 16"),
        (lambda: dcgan.Config(image_size=(12, 12)), "multiples of 4 and at least 16"),
        (lambda: acgan.Config(image_size=(30, 32)), "multiples of 4 and at least 12"),
        (lambda: dcgan.Config(loss="hing"), "'hinge'"),
        (lambda: dcgan.Config(channels=0), "channels must be positive"),
        (lambda: dcgan.Config(dtype="float16"), "'bfloat16'"),
        (lambda: gan.Config(architecture="maxot"), "'maxout', 'mlp'"),
    ],
)
def test_bad_settings_say_what_would_do(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("size", [(28, 28), (16, 24), (32, 16)])
@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("architecture", ["dcgan", "resnet"])
def test_any_size_that_halves_and_any_channels(size, channels, architecture):
    config = dcgan.Config(size, channels, 0, 4, architecture, 2, 2)
    state = shapes(dcgan, config)
    sampled = jax.eval_shape(
        lambda state, key: dcgan.sample(config, state, key, 3), state, jax.random.key(0)
    )
    assert sampled.shape == (3, *size, channels)
    assert sampled.dtype == jnp.float32
    game = dcgan.game(config)
    variables = {
        "params": state.players["discriminator"].params,
        **state.players["discriminator"].stats,
    }
    logits = jax.eval_shape(
        lambda v, x: game.discriminator.apply(v, x, train=False), variables, sampled
    )
    assert logits.shape == (3,)
