"""DCGAN's defaults and the two recipes of the residual pair, WGAN-GP and SNGAN: settings and sizes from the papers' tables."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

from jaxgan import dcgan, optim

KEY = jax.random.key(2)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def conv(size, inputs, outputs):
    """Parameters of a convolution with bias."""
    return size * size * inputs * outputs + outputs


def test_defaults_are_those_of_the_reference():
    """pytorch/examples dcgan: 64 x 64 x 3, 100 latents, 64 feature maps, Adam 2e-4 with beta1 0.5 and beta2 0.999, epsilon 1e-8."""
    config = dcgan.Config()
    assert (
        config.image_size,
        config.channels,
        config.latent_size,
        config.generator_width,
        config.discriminator_width,
    ) == ((64, 64), 3, 100, 64, 64)
    for optimizer in (config.generator_optimizer, config.discriminator_optimizer):
        assert (
            optimizer.name,
            optimizer.learning_rate,
            optimizer.beta1,
            optimizer.beta2,
            optimizer.epsilon,
        ) == ("adam", 2e-4, 0.5, 0.999, 1e-8)


def test_initial_weights_are_those_of_the_paper():
    """Kernels N(0, 0.02), gains N(1, 0.02), offsets 0."""
    state = jax.jit(dcgan.init, static_argnums=0)(
        dcgan.Config((32, 32), generator_width=32, discriminator_width=32), KEY
    )
    for player in state.players.values():
        for path, leaf in jax.tree_util.tree_leaves_with_path(player.params):
            name = path[-1].key
            if name == "kernel" and leaf.size > 10_000:
                assert float(leaf.std()) == pytest.approx(0.02, rel=0.03)
                assert float(leaf.mean()) == pytest.approx(0, abs=0.001)
            elif name == "scale":
                assert float(leaf.mean()) == pytest.approx(1, abs=0.02)
                assert float(leaf.std()) == pytest.approx(0.02, rel=0.6)
            elif name == "bias":
                assert not np.any(leaf)


@pytest.mark.parametrize(
    ("recipe", "width_g", "classes"),
    [(dcgan.wgan_gp, 128, 0), (dcgan.sngan, 256, 0), (dcgan.sngan, 256, 10)],
)
def test_residual_networks_have_the_parameters_of_their_tables(recipe, width_g, classes):
    """CIFAR: three generator blocks of one width from 4 x 4; four critic blocks of width 128, the first two halving."""
    state = jax.eval_shape(functools.partial(dcgan.init, recipe(classes=classes)), KEY)
    norm = 2 * width_g * max(classes, 1)
    block = 2 * norm + 2 * conv(3, width_g, width_g) + conv(1, width_g, width_g)
    generator = 129 * 16 * width_g + 3 * block + 2 * width_g + conv(3, width_g, 3)
    first = conv(3, 3, 128) + conv(3, 128, 128) + conv(1, 3, 128)
    critic = (
        first
        + (2 * conv(3, 128, 128) + conv(1, 128, 128))
        + 4 * conv(3, 128, 128)
        + 129
        + 128 * classes
    )
    assert count(state.players["generator"].params) == generator
    assert count(state.players["discriminator"].params) == critic


@pytest.mark.parametrize(
    ("recipe", "rounds", "loss"),
    [(dcgan.wgan_gp, 100_000, "wasserstein"), (dcgan.sngan, 50_000, "hinge")],
)
def test_recipes(recipe, rounds, loss):
    """Five critic steps of 64, a generator batch of 128, Adam 2e-4 with betas 0 and 0.9, the rate 0 after the last round."""
    config = recipe()
    assert (config.loss, config.stabilisers.critic_steps, config.stabilisers.generator_batch) == (
        loss,
        5,
        2,
    )
    assert dcgan.batch_spec(config, 64)["image"].shape == (320, 32, 32, 3)
    optimizer = config.generator_optimizer
    assert (optimizer.beta1, optimizer.beta2) == (0.0, 0.9)
    rates = [
        float(optim.learning_rate(optimizer, int(share * rounds) * 320)) for share in (0, 0.25, 1)
    ]
    np.testing.assert_allclose(rates, [2e-4, 1.5e-4, 0], atol=1e-10)
    assert config.stabilisers.gradient_penalty == (10 if loss == "wasserstein" else 0)
    assert config.stabilisers.spectral_norm == (loss == "hinge")


@pytest.mark.parametrize("architecture", ["dcgan", "resnet"])
@pytest.mark.parametrize(
    ("size", "base"),
    [((28, 28), (7, 7)), ((64, 64), (4, 4)), ((48, 32), (6, 4)), ((20, 16), (5, 4))],
)
def test_base_of_the_generator(architecture, size, base):
    """The size is halved while even and at least 4 remain."""
    params = (
        jax.eval_shape(
            functools.partial(dcgan.init, dcgan.Config(size, 1, 0, 3, architecture, 2, 2)), KEY
        )
        .players["generator"]
        .params
    )
    if architecture == "dcgan":
        assert params["conv0"]["kernel"].shape[:2] == base
    else:
        assert params["input"]["kernel"].shape == (3, base[0] * base[1] * 2)
