"""StarGAN: its losses recomputed, its targets, translating, what settings do, and how much arithmetic a step is."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import flops
from jaxgan import parallel, stargan
from jaxgan.games import attributes as vectors
from jaxgan.games.round import Round
from jaxgan.games.stabilisers import Stabilisers
from jaxgan.games.translation import Critic
from jaxgan.optim import Optimizer
from tests.contract.helpers import (
    CASES,
    EVERY,
    KEY,
    assert_same_run,
    initial_state,
    make_batch,
    play,
    setting,
    step_with,
)
from tests.games.test_translation import conv_flops, passes

SETS = EVERY["stargan sets"].config
MIXED = dataclasses.replace(
    SETS,
    known=(),
    loss="wasserstein",
    stabilisers=Stabilisers(critic_steps=1, gradient_penalty=10.0),
)
EVERYTHING = Stabilisers(
    critic_steps=2, instance_noise=0.1, instance_noise_images=1000, ema_half_life=100, ema_ramp=0.5, pool_size=20, r1=0.2, r2=0.3,
    gradient_penalty=0.7, weight_clip=0.5, spectral_norm=True,
)  # fmt: skip
"""All that do not exclude others."""


# ------------------------------------------------------------------------------------------------------------------ the losses


def class_losses(config, logits, attributes, sets) -> np.ndarray:
    """Float64 [B]: of each example, the cross-entropies of the groups its data set tells."""
    found = np.zeros(len(logits))
    for i, (x, y) in enumerate(
        zip(np.asarray(logits, np.float64), np.asarray(attributes, np.float64), strict=True)
    ):
        for columns in vectors.group_columns(config):
            if config.known and not config.known[sets[i]][columns.start]:
                continue
            own, target = x[list(columns)], y[list(columns)]
            if len(columns) == 1:
                p = 1 / (1 + np.exp(-own[0]))
                found[i] -= np.log(p if target[0] else 1 - p)
            else:
                found[i] -= np.log(np.exp(own[target.argmax()]) / np.exp(own).sum())
    return found


@pytest.mark.parametrize("config", [MIXED, SETS], ids=["one set", "two sets"])
def test_class_loss(config):
    """Binary attributes and exclusive groups, and of two data sets only the attributes that the image's own one tells."""
    batch = make_batch(stargan, config, 8)
    logits, sets = (
        np.random.default_rng(1).normal(0, 3, batch["attributes"].shape).astype(np.float32),
        batch.get("set"),
    )
    loss, right = vectors.class_loss(config, logits, batch["attributes"], sets)
    np.testing.assert_allclose(
        loss, class_losses(config, logits, batch["attributes"], sets).mean(), rtol=1e-5
    )
    perfect = 20 * batch["attributes"] - 10
    np.testing.assert_allclose(vectors.class_loss(config, perfect, batch["attributes"], sets)[1], 1)
    assert 0 < right < 1
    if sets is not None:
        spoiled = np.where(np.array(config.known)[sets], logits, 99).astype(np.float32)
        np.testing.assert_array_equal(
            vectors.class_loss(config, spoiled, batch["attributes"], sets), (loss, right)
        )


def test_losses_of_a_step():
    """Every term of the first step, from the networks; the norm of the critic's gradient one image at a time."""
    state, batch = initial_state(stargan, MIXED), make_batch(stargan, MIXED, 4)
    draws = stargan._draw(state, KEY, 4, None)
    _, metrics = jax.jit(functools.partial(stargan._round, MIXED, axis_name=None))(
        state, batch, draws
    )
    target = vectors.permuted(batch, draws["order"], None)
    params, (_, critic) = state.players["generator"].params, stargan._networks(MIXED)
    generate = jax.jit(functools.partial(stargan._generate, MIXED))
    fake = generate(params, batch["image"], target)
    back = generate(params, fake, batch["attributes"])
    judged = jax.jit(
        lambda images: critic.apply(
            {"params": state.players["discriminator"].params["d"]}, images, train=True
        )
    )

    (real_logits, real_classes), (fake_logits, _) = judged(batch["image"]), judged(fake)
    alpha = np.asarray(draws["alpha"])[:, None, None, None]
    between = alpha * batch["image"] + (1 - alpha) * np.asarray(fake)
    gradient = jax.jit(jax.grad(lambda image: judged(image[None])[0].sum()))
    norms = [np.linalg.norm(gradient(image)) for image in between]
    penalty = np.mean((np.array(norms) - 1) ** 2)
    class_loss = class_losses(MIXED, real_classes, batch["attributes"], None).mean()
    np.testing.assert_allclose(metrics["gradient_penalty"], penalty, rtol=1e-4)
    np.testing.assert_allclose(metrics["d_class_loss"], class_loss, rtol=1e-4)
    np.testing.assert_allclose(
        metrics["d_loss"],
        np.mean(fake_logits) - np.mean(real_logits) + class_loss + 10 * penalty,
        rtol=1e-4,
    )
    distance = np.abs(np.asarray(back) - batch["image"]).mean()
    np.testing.assert_allclose(metrics["reconstruction_loss"], distance, rtol=1e-4)
    total = (
        metrics["g_adversarial_loss"]
        + metrics["g_class_loss"]
        + 10 * metrics["reconstruction_loss"]
    )
    np.testing.assert_allclose(metrics["g_loss"], total, rtol=1e-5)


@pytest.mark.slow
def test_the_generator_learns_through_both_translations():
    """Its step is the gradient of its whole loss, though the first translation's backward pass is apart from the second's."""
    config = dataclasses.replace(setting("stargan", "sgd"), stabilisers=Stabilisers())
    config = dataclasses.replace(
        config, discriminator_optimizer=Optimizer("sgd", learning_rate=0.0)
    )
    state, batch = initial_state(stargan, config), make_batch(stargan, config, 4)
    draws = stargan._draw(state, KEY, 4, None)
    after, _ = jax.jit(functools.partial(stargan._round, config, axis_name=None))(
        state, batch, draws
    )
    target = vectors.permuted(batch, draws["order"], None)
    critic = Critic(stargan._networks(config)[1], Round(config, draws, jnp.int32(0), None))

    def loss(params):
        fake = stargan._generate(config, params, batch["image"], target)
        player = state.players["discriminator"]
        return stargan._generator_loss(critic, player, batch, target, params, fake)[0]

    before = state.players["generator"].params
    moved = jax.tree.map(
        lambda new, old: (new - old) / -config.generator_optimizer.learning_rate,
        after.players["generator"].params,
        before,
    )
    for ours, expected in zip(
        jax.tree.leaves(moved), jax.tree.leaves(jax.jit(jax.grad(loss))(before)), strict=True
    ):
        np.testing.assert_allclose(
            ours, expected, rtol=0, atol=2e-3 * np.abs(expected).max() + 2e-4
        )


# ------------------------------------------------------------------------------------------------------------------ the targets


def test_targets_are_a_permutation_within_each_data_set():
    count, sets = 500, np.random.default_rng(0).integers(0, 2, 500).astype(np.int32)
    batch = {"attributes": np.arange(count, dtype=np.float32)[:, None], "set": sets}
    order = np.random.default_rng(1).uniform(size=count).astype(np.float32)
    targets = np.asarray(vectors.permuted(batch, order, None))[:, 0].astype(int)
    assert sorted(targets) == list(range(count))
    np.testing.assert_array_equal(sets[targets], sets)
    assert np.mean(targets == np.arange(count)) < 0.02
    alone = np.asarray(vectors.permuted({"attributes": batch["attributes"]}, order, None))[:, 0]
    np.testing.assert_array_equal(alone, np.argsort(order))


def test_every_permutation_is_as_likely():
    orders = np.random.default_rng(0).uniform(size=(6000, 3)).astype(np.float32)
    batch = {"attributes": jnp.eye(3)}
    found = jax.jit(jax.vmap(lambda order: vectors.permuted(batch, order, None)))(orders)
    _, counts = np.unique(np.asarray(found).reshape(6000, 9), axis=0, return_counts=True)
    assert len(counts) == 6
    assert np.abs(counts - 1000).max() < 150  # five standard deviations


def test_the_condition_hides_what_is_not_told():
    attributes, sets = np.ones((2, 5), np.float32), np.array([0, 1], np.int32)
    expected = [[1, 1, 1, 1, 0, 1, 0], [1, 0, 0, 0, 1, 0, 1]]
    np.testing.assert_array_equal(vectors.condition(SETS, attributes, sets), expected)
    np.testing.assert_array_equal(vectors.condition(MIXED, attributes, None), attributes)


def test_target_domains():
    """Binary attributes are turned, exclusive ones chosen; hair colours are binary, but one at a time."""
    config = stargan.Config(attributes=("Male", "Black_Hair", "Blond_Hair"))
    found = {
        name: np.asarray(values).tolist()
        for name, values, _ in stargan.target_domains(config, jnp.array([[1, 1, 0], [0, 0, 1]]))
    }
    assert found == {
        "Male": [[0, 1, 0], [1, 0, 1]],
        "Black_Hair": [[1, 1, 0], [0, 1, 0]],
        "Blond_Hair": [[1, 0, 1], [0, 0, 1]],
    }
    attributes, sets = jnp.array([[1, 0, 1, 0, 0], [0, 0, 0, 0, 1]], jnp.float32), jnp.array([0, 1])
    found = {
        name: (np.asarray(values).tolist(), np.asarray(meant).tolist())
        for name, values, meant in stargan.target_domains(SETS, attributes, sets)
    }
    assert found["a"] == ([[0, 0, 1, 0, 0], [1, 0, 0, 0, 1]], [0, 1])
    assert found["b"] == ([[1, 1, 0, 0, 0], [0, 1, 0, 0, 1]], [0, 0])
    assert found["e"] == ([[1, 0, 1, 0, 1], [0, 0, 0, 0, 0]], [1, 1])


# ------------------------------------------------------------------------------------------------------------------ translating


def test_any_size_is_padded_by_reflection_and_cut_back():
    config = CASES["stargan"].config
    state, network = initial_state(stargan, config), stargan._networks(config)[0]
    random = np.random.default_rng(0)
    images, attributes = (
        random.uniform(-1, 1, (2, 9, 14, 3)).astype(np.float32),
        np.eye(3, dtype=np.float32)[:2],
    )
    planes = np.broadcast_to(attributes[:, None, None, :], (2, 12, 16, 3))
    padded = np.concatenate(
        [np.pad(images, ((0, 0), (1, 2), (1, 1), (0, 0)), "reflect"), planes], axis=-1
    )
    expected = jax.jit(
        lambda x: network.apply({"params": state.ema["params"]["g"]}, x, train=False)
    )(padded)[:, 1:10, 1:15]
    run = jax.jit(functools.partial(stargan.translate, config, state))
    np.testing.assert_allclose(run(images, attributes), expected, rtol=0, atol=1e-5)
    assert run(images[:, :1, :2], attributes).shape == (2, 1, 2, 3)


def test_the_attributes_change_the_image():
    config = SETS
    state, images = initial_state(stargan, config), make_batch(stargan, config, 1)["image"][:1]
    one, other = np.eye(5, dtype=np.float32)[:2]
    run = jax.jit(
        functools.partial(stargan.translate, config, state, images), static_argnames="sets"
    )
    assert np.abs(run(one, sets=0) - run(other, sets=0)).max() > 1e-3
    assert np.abs(run(one, sets=0) - run(one, sets=1)).max() > 1e-3
    np.testing.assert_array_equal(
        run(one, sets=1), run(np.array([1, 1, 1, 1, 0]), sets=1)
    )  # the second set does not tell b, c and d


def test_the_preview_shows_every_domain():
    config = SETS
    state, batch = initial_state(stargan, config), make_batch(stargan, config, 4)
    grid = np.asarray(jax.jit(functools.partial(stargan.preview, config))(state, batch, KEY))
    translate = jax.jit(functools.partial(stargan.translate, config))
    assert grid.shape == (8, 6, 8, 12, 1)
    np.testing.assert_array_equal(grid[:, 0], batch["image"][:8])
    for column, (_, values, meant) in enumerate(
        stargan.target_domains(config, batch["attributes"][:8], batch["set"][:8]), start=1
    ):
        expected = translate(state, batch["image"][:8], values, sets=meant)
        np.testing.assert_allclose(grid[:, column], expected, rtol=0, atol=1e-5)


def test_refusals():
    config = CASES["stargan"].config
    state, images, attributes = (
        initial_state(stargan, config),
        np.zeros((2, 8, 8, 3), np.float32),
        np.eye(3)[:2],
    )
    with pytest.raises(ValueError, match=r"images \[B, H, W, 3\] are needed"):
        stargan.translate(config, state, images[..., :1], attributes)
    with pytest.raises(
        ValueError,
        match=r"attributes must be \[2, 3\], columns red, green, blue, got shape \(2, 4\)",
    ):
        stargan.translate(config, state, images, np.zeros((2, 4)))
    with pytest.raises(ValueError, match="sets must be nothing, as there is one data set, got 0"):
        stargan.translate(config, state, images, attributes, sets=0)
    state, images = initial_state(stargan, SETS), np.zeros((1, 8, 8, 1), np.float32)
    with pytest.raises(
        ValueError, match="sets must be one of the 2 data sets whose attributes are meant, got None"
    ):
        stargan.translate(SETS, state, images, np.zeros(5))
    with pytest.raises(ValueError, match="sets must be from 0 to 1, got 2"):
        stargan.translate(SETS, state, images, np.zeros(5), sets=2)


# ------------------------------------------------------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": (126, 128)}, r"multiples of 4, got \(126, 128\)"),
        ({"image_size": (32, 128)}, "at least 64 for 6 discriminator_layers"),
        ({"attributes": ()}, "at least one"),
        ({"attributes": ("x", "x")}, "different names"),
        ({"groups": (("hair", 3),)}, "groups must divide the 5 attributes"),
        ({"known": ((True,) * 5,)}, "each of several data sets"),
        ({"known": ((True,) * 4, (True,) * 4)}, "which of the 5 attributes"),
        (
            {
                "groups": (("x", 2), ("y", 3)),
                "known": ((True,) * 5, (True, False, True, True, True)),
            },
            "same for all attributes of the group x",
        ),
        (
            {"stabilisers": Stabilisers(generator_batch=2)},
            "does not support the stabiliser generator_batch",
        ),
        (
            {"stabilisers": Stabilisers(dequantise=0.1)},
            "does not support the stabiliser dequantise",
        ),
        ({"stabilisers": Stabilisers(real_target=0.9)}, "no targets to smooth"),
        ({"class_weight": -1.0}, "class_weight"),
        ({"loss": "huge"}, "loss must be one of"),
    ],
)
def test_settings_that_do_not_fit(settings, message):
    with pytest.raises(ValueError, match=message):
        stargan.Config(**settings)


@pytest.mark.slow
def test_attributes_of_any_number_type():
    """As the data sets have them, uint8."""
    config = CASES["stargan"].config
    state, batch = initial_state(stargan, config), make_batch(stargan, config, 2)
    config = dataclasses.replace(config, stabilisers=Stabilisers())
    batch = {name: leaf[::2] for name, leaf in batch.items()}
    whole = batch | {"attributes": batch["attributes"].astype(np.uint8)}
    step = jax.jit(functools.partial(stargan.train_step, config))
    assert step(state, whole, KEY)[1]["g_loss"] == step(state, batch, KEY)[1]["g_loss"]


def everything(loss: str = "relativistic-average"):
    config = dataclasses.replace(setting("stargan sets", "sgd"), stabilisers=EVERYTHING, loss=loss)
    return config, play(stargan, config, step_with(stargan, config), 2)


@pytest.mark.slow
def test_everything_at_once_on_eight_devices():
    config, run = everything()
    assert_same_run(play(stargan, config, parallel.pmap_step(stargan, config), 2), run)


@pytest.mark.slow
def test_each_stabiliser_shows_in_the_numbers():
    config, run = everything()
    assert {"r1", "r2", "gradient_penalty"} <= set(run.metrics)
    assert [int(state.extra["pool"].count) for state in run.states] == [0, 20, 20]
    for state in run.states[1:]:
        assert max(
            np.abs(leaf).max() for leaf in jax.tree.leaves(state.players["discriminator"].params)
        ) <= np.float32(0.5)
    for field in ("instance_noise", "gradient_penalty", "r1", "r2"):
        changed = play(
            stargan, config, step_with(stargan, config, {("stabilisers", field): 0.01}), 1
        )
        assert changed.metrics["d_loss"][0] != run.metrics["d_loss"][0], field


# ------------------------------------------------------------------------------------------------------------------ arithmetic


def generator_layers(size: int, inputs: int, channels: int, width: int, blocks: int) -> list[int]:
    half, quarter = size // 2, size // 4
    down = [
        conv_flops(size, 4, width, 2 * width, 2, 1),
        conv_flops(half, 4, 2 * width, 4 * width, 2, 1),
    ]
    middle = [conv_flops(quarter, 3, 4 * width, 4 * width, 1, 1)] * 2 * blocks
    return [
        conv_flops(size, 7, inputs, width, 1, 3),
        *down,
        *middle,
        *down[::-1],
        conv_flops(size, 7, width, channels, 1, 3),
    ]


def discriminator_layers(
    size: int, channels: int, width: int, layers: int, attributes: int
) -> tuple[list[int], int, int]:
    """The strided layers, the patches' head, the attributes' head."""
    widths = [channels, *(width << i for i in range(layers))]
    trunk = [conv_flops(size >> i, 4, widths[i], widths[i + 1], 2, 1) for i in range(layers)]
    last = size >> layers
    return (
        trunk,
        conv_flops(last, 3, widths[-1], 1, 1, 1),
        conv_flops(last, last, widths[-1], attributes),
    )


def table(size: int, turns: int) -> int:
    """For one image a turn. A translation in each; the last one is translated back, and both teach the generator.

    A critic step: real images with both heads, fakes with one. The penalty: what the layers see, the way back to the image, and the derivatives of
    that way by kernels and by what runs back.
    """
    generator = generator_layers(size, 3 + 3, 3, 8, 2)
    trunk, patches, classes = discriminator_layers(size, 3, 8, 3, 3)
    generated = passes(generator, forward=turns + 1, learnt=1, learnt_through=1)
    judged = passes([*trunk, patches, classes], forward=1, learnt=1) + passes(
        [*trunk, patches], forward=1, learnt=1
    )
    penalty = 4 * sum(trunk) + 2 * patches
    return (
        generated
        + turns * (judged + penalty)
        + passes([*trunk, patches, classes], forward=1, through=1)
    )


ARITHMETIC = stargan.Config(
    (32, 32), attributes=("red", "green", "blue"), groups=(("ink", 3),), generator_width=8, discriminator_width=8, discriminator_layers=3, blocks=2,
    stabilisers=Stabilisers(critic_steps=2, gradient_penalty=10.0),
)  # fmt: skip


def counted(config, batch_size: int = 1) -> int:
    state = jax.eval_shape(functools.partial(stargan.init, config), KEY)
    return flops.count(
        functools.partial(stargan.train_step, config),
        state,
        stargan.batch_spec(config, batch_size),
        KEY,
    )


def test_arithmetic_of_a_step():
    """Convolutions in the step's jaxpr, against a table of passes written by hand: no translation is computed twice."""
    np.testing.assert_allclose(counted(ARITHMETIC, 2), 2 * table(32, 2), rtol=0.01)


def test_one_more_forward_pass_is_seen(monkeypatch):
    generator_loss = stargan._generator_loss

    def wasteful(critic, discriminator, real, target, params, fake):
        again = stargan._generate(critic.round.config, params, real["image"], target)
        fake = fake + 0 * jnp.sum(jax.lax.stop_gradient(again))
        return generator_loss(critic, discriminator, real, target, params, fake)

    monkeypatch.setattr(stargan, "_generator_loss", wasteful)
    assert counted(ARITHMETIC) > 1.03 * table(32, 2)
