"""The conditional GAN: both networks are told the class, in all three architectures."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import cgan, dcgan

KEY = jax.random.key(2)
CONDITIONAL = {
    "maxout": (
        cgan,
        cgan.Config((4, 6), 2, 3, 4, generator_hidden=(8,), discriminator_hidden=(8,)),
    ),
    "mlp": (cgan, cgan.Config((4, 6), 2, 3, 4, "normal", "mlp", (8, 8), (8,))),
    "conv": (cgan, cgan.Config((16, 16), 2, 3, 4, "normal", "conv", width=2)),
    "dcgan": (dcgan, dcgan.Config((16, 16), 2, 3, 4, generator_width=2, discriminator_width=2)),
    "resnet": (dcgan, dcgan.Config((16, 16), 2, 3, 4, "resnet", 2, 2)),
}


def trained(family, config):
    """A state in which every parameter is away from its start, so that nothing is 0 by construction."""
    state = jax.jit(family.init, static_argnums=0)(config, KEY)
    random = np.random.default_rng(0)
    spread = jax.tree.map(
        lambda leaf: leaf + random.normal(0, 0.3, leaf.shape).astype(np.float32),
        (state.players, state.ema["params"]),
    )
    return state.replace(players=spread[0], ema={**state.ema, "params": spread[1]})


@pytest.mark.parametrize("name", CONDITIONAL)
def test_the_label_reaches_the_images(name):
    """Same latents: other labels give other images, equal labels equal ones."""
    family, config = CONDITIONAL[name]
    state = trained(family, config)
    sample = jax.jit(lambda labels: family.sample(config, state, KEY, 4, labels))
    first, again, other = (
        sample(jnp.array([0, 1, 2, 0])),
        sample(jnp.array([0, 1, 2, 0])),
        sample(jnp.array([0, 1, 0, 1])),
    )
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first[:2], other[:2], rtol=0, atol=1e-6)
    assert np.abs(first[2:] - other[2:]).max(axis=(1, 2, 3)).min() > 1e-3


@pytest.mark.parametrize("name", CONDITIONAL)
def test_the_label_reaches_the_judgement(name):
    """The same image is judged differently with each label, and the image matters too."""
    family, config = CONDITIONAL[name]
    player = trained(family, config).players["discriminator"]
    images = np.random.default_rng(1).uniform(-1, 1, (2, *config.image_size, 2)).astype(np.float32)
    module = family.game(config).discriminator

    @jax.jit
    def judge(images, label):
        return module.apply(
            {"params": player.params, **player.stats}, images, jnp.full(2, label), train=False
        )

    logits = np.stack([judge(images, label) for label in range(3)])
    assert logits.shape == (3, 2)
    differences = [
        abs(logits[0] - logits[1]),
        abs(logits[0] - logits[2]),
        abs(logits[1] - logits[2]),
        abs(logits[:, 0] - logits[:, 1]),
    ]
    assert min(difference.min() for difference in differences) > 1e-4


def test_without_labels_one_sentence():
    family, config = CONDITIONAL["dcgan"]
    state = jax.eval_shape(lambda: family.init(config, KEY))
    with pytest.raises(ValueError, match="labels are needed with classes, and only then"):
        family.sample(config, state, KEY, 2)
    config = dcgan.Config((16, 16))
    state = jax.eval_shape(lambda: dcgan.init(config, KEY))
    with pytest.raises(ValueError, match="labels are needed with classes, and only then"):
        dcgan.sample(config, state, KEY, 2, jnp.zeros(2, jnp.int32))


@pytest.mark.parametrize("size", [(30, 30), (12, 16)])
def test_sizes_that_do_not_fit_name_the_multiple(size):
    with pytest.raises(
        ValueError, match=r"image_size must be multiples of 4 and at least 16, got \("
    ):
        cgan.Config(size, architecture="conv")
    cgan.Config(size)  # the fully connected networks take any
