"""Pix2Pix and CycleGAN: what each setting does to the numbers, translating, and how much arithmetic a step is."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import flops
from jaxgan import cyclegan, pix2pix
from jaxgan.games import translation
from jaxgan.games.stabilisers import Stabilisers
from jaxgan.optim import Optimizer
from tests.contract.helpers import CASES, KEY, initial_state, make_batch

SMALL = {"generator_width": 4, "discriminator_width": 4, "discriminator_layers": 1}

# ------------------------------------------------------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": (30, 32)}, r"multiples of 4 for this resnet generator, got \(30, 32\)"),
        (
            {"image_size": (24, 32), "generator": "unet", "depth": 4},
            r"multiples of 16 for this unet generator, got \(24, 32\)",
        ),
        ({"channels_a": 1}, "identity_weight needs equal channels, got 1 and 3"),
        ({"statistics": "running"}, "only batch norm has running statistics"),
        ({"loss": "hinge", "stabilisers": Stabilisers(real_target=0.9)}, "no targets to smooth"),
        ({"generator": "vgg"}, "generator must be one of"),
        ({"feature_cycle": 1.5}, "feature_cycle"),
    ],
)
def test_settings_that_do_not_fit(settings, message):
    with pytest.raises(ValueError, match=message):
        cyclegan.Config(**settings)


def test_depth_and_blocks_follow_the_size():
    """8 halvings for 256 x 256, 9 residual blocks from there on and 6 below: the paper's."""
    assert translation.generator(pix2pix.Config(), 3).depth == 8
    assert translation.generator(pix2pix.Config(image_size=(96, 64)), 3).depth == 5
    assert [
        translation.generator(cyclegan.Config(size), 3).blocks for size in ((256, 256), (128, 256))
    ] == [9, 6]


# ------------------------------------------------------------------------------------------------------------------ the losses


def losses_of(config: cyclegan.Config) -> tuple[dict, dict[str, jax.Array]]:
    """The metrics of a first step, and the images a, b and what the untrained networks make of them."""
    state, batch = initial_state(cyclegan, config), make_batch(cyclegan, config, 4)
    networks, _ = cyclegan._networks(config)
    made = dict(batch)

    def run(direction, images):
        variables = {"params": state.players["generator"].params[direction]}
        return networks[direction].apply(variables, images, train=True)

    for source, target, direction in (("a", "b", "a2b"), ("b", "a", "b2a")):
        made[f"fake_{target}"] = run(direction, batch[source])
        made[f"rec_{source}"] = run(direction[::-1], made[f"fake_{target}"])
        made[f"same_{target}"] = run(direction, batch[target])
    _, metrics = jax.jit(functools.partial(cyclegan.train_step, config))(state, batch, KEY)
    return metrics, made


def judged(config: cyclegan.Config, name: str, *images) -> tuple[jax.Array, list[jax.Array]]:
    """Logits and feature maps of one of the untrained critics."""
    state = initial_state(cyclegan, config)
    variables = {"params": state.players["discriminator"].params[name]}
    return translation.discriminator(config).apply(
        variables, jnp.concatenate(images, -1), train=True, features=True
    )


def l1(x, y) -> float:
    return float(np.abs(np.asarray(x, np.float64) - np.asarray(y, np.float64)).mean())


@pytest.mark.slow
def test_losses_of_the_improved_variant():
    """Every term of generators and critics, recomputed from the networks; the total is their weighted sum."""
    config = cyclegan.improved(
        (8, 8),
        channels_a=1,
        channels_b=1,
        blocks=1,
        feature_cycle=0.25,
        stabilisers=Stabilisers(),
        **SMALL,
    )
    metrics, made = losses_of(config)
    g_loss = d_loss = 0.0
    for domain, direction in (("a", "b2a"), ("b", "a2b")):
        image, back, fake = made[domain], made[f"rec_{domain}"], made[f"fake_{domain}"]
        of_fake, of_image, of_back = (
            judged(config, domain, images) for images in (fake, image, back)
        )
        of_twice, of_pair = (
            judged(config, f"cycle_{domain}", image, image),
            judged(config, f"cycle_{domain}", image, back),
        )
        expected = {
            f"{direction}_adversarial_loss": float(np.mean((of_fake[0] - 1) ** 2)),
            f"cycle_{domain}_loss": 0.75 * l1(back, image)
            + 0.25 * l1(of_back[1][-1], of_image[1][-1]),
            f"cycle_{domain}_critic_loss": float(np.mean((of_pair[0] - 1) ** 2)),
            f"cycle_{domain}_features_loss": float(
                np.mean([l1(x, y) for x, y in zip(of_pair[1], of_twice[1], strict=True)])
            ),
            f"identity_{domain}_loss": l1(made[f"same_{domain}"], image),
            f"d_{domain}_loss": 0.5
            * float(np.mean((of_image[0] - 1) ** 2) + np.mean(of_fake[0] ** 2)),
            f"d_cycle_{domain}_loss": 0.5
            * float(np.mean((of_twice[0] - 1) ** 2) + np.mean(of_pair[0] ** 2)),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(metrics[name], value, rtol=1e-4, err_msg=name)
        adversarial, cycle, critic, features, same, *critics = expected.values()
        g_loss += adversarial + cycle + critic + 10 * features + 5 * same
        d_loss += sum(critics)
    np.testing.assert_allclose(metrics["g_loss"], g_loss, rtol=1e-4)
    np.testing.assert_allclose(metrics["d_loss"], d_loss, rtol=1e-4)


# ------------------------------------------------------------------------------------------------------------------ translating


def test_any_size_is_padded_by_reflection_and_cut_back():
    config = dataclasses.replace(CASES["cyclegan"].config, channels_a=2, channels_b=2)
    state = initial_state(cyclegan, config)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 9, 14, 2)).astype(np.float32)
    padded = np.pad(images, ((0, 0), (1, 2), (1, 1), (0, 0)), "reflect")
    network, _ = cyclegan._networks(config)
    expected = network["b2a"].apply(translation.variables_of(state.ema, "b2a"), padded, train=False)
    actual = cyclegan.translate(config, state, images, direction="b2a")
    np.testing.assert_allclose(actual, expected[:, 1:10, 1:15], rtol=0, atol=1e-5)


def test_an_image_smaller_than_its_padding():
    config = CASES["pix2pix"].config
    assert pix2pix.translate(
        config, initial_state(pix2pix, config), np.zeros((1, 1, 2, 3), np.float32)
    ).shape == (1, 1, 2, 1)


def test_dropout_and_statistics_at_translation():
    """As in the paper the default is noisy and uses each image's statistics; both can be switched, and then the key changes nothing."""
    config = CASES["pix2pix"].config
    step = jax.jit(functools.partial(pix2pix.train_step, config))
    state = step(initial_state(pix2pix, config), make_batch(pix2pix, config), KEY)[0]
    images = make_batch(pix2pix, config, 2)["a"]

    def run(key, **changes):
        return np.asarray(
            pix2pix.translate(
                dataclasses.replace(config, **changes), state, images, key=jax.random.key(key)
            )
        )

    assert np.abs(run(0) - run(1)).max() > 1e-3
    still = {"translation_dropout": False}
    np.testing.assert_array_equal(run(0, **still), run(1, **still))
    assert np.abs(run(0, **still) - run(0, **still, statistics="running")).max() > 1e-3


def test_refusals():
    config = CASES["pix2pix"].config
    state = initial_state(pix2pix, config)
    with pytest.raises(ValueError, match="translates a2b only, not b2a"):
        pix2pix.translate(config, state, np.zeros((1, 8, 8, 3), np.float32), direction="b2a")
    with pytest.raises(ValueError, match="images of 3 channels are needed"):
        pix2pix.translate(config, state, np.zeros((1, 8, 8, 1), np.float32))
    config = CASES["cyclegan"].config
    state = initial_state(cyclegan, config)
    with pytest.raises(ValueError, match="direction must be one of"):
        cyclegan.translate(config, state, np.zeros((1, 8, 8, 1), np.float32), direction="a")


# ------------------------------------------------------------------------------------------------------------------ arithmetic


def conv_flops(
    size: int, kernel: int, inputs: int, outputs: int, stride: int = 1, padding: int = 0
) -> int:
    """Of a convolution of [size, size, inputs] images, multiplications with padding left out; its transpose and its gradients need as many."""
    made = (size + 2 * padding - kernel) // stride + 1
    pairs = sum(0 <= stride * i + u - padding < size for i in range(made) for u in range(kernel))
    return 2 * pairs**2 * inputs * outputs


def resnet_layers(size: int, channels: int, width: int, blocks: int) -> list[int]:
    """A forward pass of the residual translator, layer by layer. Reflection pads by 3 and 1."""
    half, quarter = size // 2, size // 4
    down = [
        conv_flops(size, 3, width, 2 * width, 2, 1),
        conv_flops(half, 3, 2 * width, 4 * width, 2, 1),
    ]
    middle = [conv_flops(quarter + 2, 3, 4 * width, 4 * width)] * 2 * blocks
    return [
        conv_flops(size + 6, 7, channels, width),
        *down,
        *middle,
        *down[::-1],
        conv_flops(size + 6, 7, width, channels),
    ]


def unet_layers(size: int, channels: int, width: int, depth: int) -> list[int]:
    """Going up, all layers but the innermost see the feature maps of the way down, too."""
    widths = [channels, *(width * min(2**i, 8) for i in range(depth))]
    down = [conv_flops(size >> i, 4, widths[i], widths[i + 1], 2, 1) for i in range(depth)]
    return [*down, down[-1], *(2 * one for one in down[-2::-1])]


def patch_layers(size: int, channels: int, width: int, layers: int) -> list[int]:
    found, inputs = [], channels
    for i in range(layers + 1):
        stride, outputs = (2 if i < layers else 1), width * min(2**i, 8)
        found.append(conv_flops(size, 4, inputs, outputs, stride, 1))
        size, inputs = (size - 2) // stride + 1, outputs
    return [*found, conv_flops(size, 4, inputs, 1, 1, 1)]


def passes(
    layers: list[int], forward: int = 0, learnt: int = 0, learnt_through: int = 0, through: int = 0
) -> int:
    """forward: passes of a network. Backward ones: to its parameters (learnt), to parameters and input (learnt_through), to its input (through)."""
    whole = sum(layers)
    return (
        forward * whole
        + learnt * (2 * whole - layers[0])
        + learnt_through * 2 * whole
        + through * whole
    )


def cyclegan_table(size: int) -> int:
    """Six translations: there, back, and identity, each of both domains. Critics: fooled once each, then shown real and fake."""
    generator, critic = resnet_layers(size, 3, 8, 6), patch_layers(size, 3, 8, 3)
    generators = passes(generator, forward=6, learnt=4, learnt_through=2)
    return generators + passes(critic, forward=2, through=2) + passes(critic, forward=4, learnt=4)


def pix2pix_table(size: int) -> int:
    """One translation. The discriminator is shown real and fake, then fooled."""
    generator, critic = unet_layers(size, 3, 8, 5), patch_layers(size, 6, 8, 3)
    return (
        passes(generator, forward=1, learnt=1)
        + passes(critic, forward=2, learnt=2)
        + passes(critic, forward=1, through=1)
    )


ADAM = {"generator_optimizer": Optimizer(), "discriminator_optimizer": Optimizer()}
ARITHMETIC = {
    "cyclegan": (
        cyclegan,
        cyclegan.Config((32, 32), generator_width=8, discriminator_width=8, **ADAM),
        cyclegan_table,
    ),
    "pix2pix": (
        pix2pix,
        pix2pix.Config((32, 32), generator_width=8, discriminator_width=8, **ADAM),
        pix2pix_table,
    ),
}


def counted(family, config, batch_size=1) -> int:
    state = jax.eval_shape(functools.partial(family.init, config), KEY)
    return flops.count(
        functools.partial(family.train_step, config),
        state,
        family.batch_spec(config, batch_size),
        KEY,
    )


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_of_a_step(name):
    """Convolutions in the step's jaxpr, against a table of passes written by hand: every translation is computed once."""
    family, config, table = ARITHMETIC[name]
    np.testing.assert_allclose(counted(family, config, 2), 2 * table(32), rtol=0.01)


@pytest.mark.parametrize("name", ["pix2pix", pytest.param("cyclegan", marks=pytest.mark.slow)])
def test_one_more_forward_pass_is_seen(name, monkeypatch):
    family, config, table = ARITHMETIC[name]
    network, critic_loss = translation.generator(config, 3), translation.Critic.loss
    variables = network.init(KEY, jnp.zeros((1, 32, 32, 3)), train=False)
    calls = []

    def wasteful(critic, params, stats, real, fake):
        if not calls:
            fake = fake + 0 * jnp.sum(network.apply(variables, real[..., :3], train=False))
        calls.append(None)
        return critic_loss(critic, params, stats, real, fake)

    monkeypatch.setattr(translation.Critic, "loss", wasteful)
    assert counted(family, config) > 1.05 * table(32)
