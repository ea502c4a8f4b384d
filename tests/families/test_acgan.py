"""The auxiliary-classifier GAN: its sizes from the paper's table, what it classifies, and the numbers it reports."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import acgan
from jaxgan.games import adversarial

KEY = jax.random.key(2)
SMALL = {
    "odena": acgan.Config(
        (12, 16),
        2,
        3,
        4,
        generator_widths=(6, 4),
        discriminator_widths=(4, 4, 6),
        dropout=0.0,
        input_noise=0.0,
    ),
    "resnet": acgan.Config((16, 16), 2, 3, 4, "resnet", (4,), (4,)),
}


def test_generator_has_the_parameters_of_the_paper():
    """CIFAR-10: 110 inputs to 4 x 4 x 384, transposed 5x5 convolutions to 192, 96 and 3; two numbers per batch-norm channel."""
    params = (
        jax.eval_shape(functools.partial(acgan.init, acgan.Config()), KEY)
        .players["generator"]
        .params
    )
    table = 110 * 16 * 384 + 16 * 384 + 25 * (384 * 192 + 192 * 96 + 96 * 3) + 3 + 2 * (192 + 96)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == table


@pytest.mark.parametrize("architecture", SMALL)
def test_the_label_reaches_the_images_but_not_the_judgement(architecture):
    config = SMALL[architecture]
    state = jax.jit(acgan.init, static_argnums=0)(config, KEY)
    # Conditional gains start equal for all classes: they must be moved apart to see which is used.
    random = np.random.default_rng(0)
    ema = {
        **state.ema,
        "params": jax.tree.map(
            lambda leaf: leaf + random.normal(0, 0.3, leaf.shape).astype(np.float32),
            state.ema["params"],
        ),
    }
    sample = jax.jit(lambda labels: acgan.sample(config, state.replace(ema=ema), KEY, 3, labels))
    images, others = sample(jnp.array([0, 1, 2])), sample(jnp.array([0, 2, 1]))
    np.testing.assert_allclose(images[0], others[0], rtol=0, atol=1e-6)
    assert np.abs(images[1:] - others[1:]).max(axis=(1, 2, 3)).min() > 1e-3
    player = state.players["discriminator"]
    module, variables = acgan.game(config).discriminator, {"params": player.params, **player.stats}
    judge = jax.jit(lambda images, labels: module.apply(variables, images, labels, train=False))
    logits, classes = judge(images, jnp.array([0, 1, 2]))
    assert (logits.shape, classes.shape) == ((3,), (3, 3))
    np.testing.assert_array_equal(classes, judge(images, jnp.array([2, 2, 2]))[1])


def test_class_metrics_are_those_of_the_judgements():
    """Losses and accuracies of one step against NumPy, from the networks' outputs before it."""
    config = SMALL["odena"]
    state = jax.jit(acgan.init, static_argnums=0)(config, KEY)
    random = np.random.default_rng(0)
    labels = np.arange(8) % 3
    batch = {
        "image": random.uniform(-1, 1, (8, 12, 16, 2)).astype(np.float32),
        "label": labels.astype(np.int32),
    }
    game, (generator, discriminator) = (
        acgan.game(config),
        (state.players["generator"], state.players["discriminator"]),
    )
    latents = adversarial.draw(config, state, KEY, 8, None)["latents"]

    @jax.jit
    def judgements():
        def apply(module, player, *inputs):
            return module.apply(
                {"params": player.params, **player.stats},
                *inputs,
                train=True,
                mutable=list(player.stats),
            )[0]

        fake = apply(game.generator, generator, latents, batch["label"])
        return [
            apply(game.discriminator, discriminator, images) for images in (batch["image"], fake)
        ]

    _, metrics = jax.jit(functools.partial(acgan.train_step, config))(state, batch, KEY)
    adversarial_loss = 0.0
    for side, sign, (logits, classes) in zip(("real", "fake"), (-1, 1), judgements(), strict=True):
        classes = np.asarray(classes, np.float64)
        log_probabilities = classes - np.log(np.exp(classes).sum(-1, keepdims=True))
        assert float(metrics[f"{side}_class_loss"]) == pytest.approx(
            -log_probabilities[np.arange(8), labels].mean(), rel=1e-4
        )
        assert float(metrics[f"{side}_class_accuracy"]) == (classes.argmax(-1) == labels).mean()
        adversarial_loss += np.log1p(np.exp(sign * np.asarray(logits, np.float64))).mean()
    expected = (
        adversarial_loss + float(metrics["real_class_loss"]) + float(metrics["fake_class_loss"])
    )
    assert float(metrics["d_loss"]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("size", "base"),
    [((32, 32), (4, 4)), ((28, 28), (7, 7)), ((24, 40), (3, 5)), ((12, 20), (3, 5))],
)
def test_sizes(size, base):
    """Three doublings where the base stays at least 3, else two."""
    config = acgan.Config(size, 1, 3, 2, generator_widths=(8, 6, 4))
    kernel = (
        jax.eval_shape(functools.partial(acgan.init, config), KEY)
        .players["generator"]
        .params["input"]["kernel"]
    )
    doublings = 3 if size[0] // base[0] == 8 else 2
    assert kernel.shape == (2 + 3, base[0] * base[1] * (8, 6)[3 - doublings])


@pytest.mark.parametrize(
    ("size", "architecture", "words"),
    [
        ((30, 32), "odena", "multiples of 4 and at least 12"),
        ((8, 8), "odena", "multiples of 4 and at least 12"),
        ((12, 12), "resnet", "multiples of 4 and at least 16"),
    ],
)
def test_sizes_that_do_not_fit_name_the_multiple(size, architecture, words):
    with pytest.raises(ValueError, match=words):
        acgan.Config(size, architecture=architecture)
