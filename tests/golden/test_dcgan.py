"""Three training iterations of DCGAN against pytorch/examples, from given weights, latents and images."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import optim
from jaxgan.convert.pytorch import from_state_dict, to_state_dict
from jaxgan.families import dcgan
from jaxgan.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from jaxgan.state import Player, State

Arrays = dict[str, np.ndarray]

CONFIG = dcgan.Config(
    image_size=(64, 64), channels=3, latent_size=20, generator_width=4, discriminator_width=4
)
GENERATOR = DCGANGenerator((64, 64, 3), 4)
DISCRIMINATOR = DCGANDiscriminator(4)


class Run(NamedTuple):
    case: Arrays
    losses: dict[str, list[float]]
    metrics: list[dict[str, jax.Array]]
    state: State


def _part(case: Arrays, prefix: str) -> Arrays:
    return {
        name.removeprefix(prefix): array for name, array in case.items() if name.startswith(prefix)
    }


def _variables(player: Player) -> dict:
    return {"params": player.params, **player.stats}


def _start(case: Arrays) -> State:
    """A fresh state with the reference's weights and statistics."""
    state = jax.jit(dcgan.init, static_argnums=0)(CONFIG, jax.random.key(0))
    generator = from_state_dict(GENERATOR, _part(case, "weights/G/"))
    discriminator = from_state_dict(DISCRIMINATOR, _part(case, "weights/D/"))

    def player(variables: dict, optimizer: optim.Optimizer) -> Player:
        return Player(
            variables["params"],
            {"batch_stats": variables["batch_stats"]},
            optim.build(optimizer).init(variables["params"]),
        )

    players = {
        "generator": player(generator, CONFIG.generator_optimizer),
        "discriminator": player(discriminator, CONFIG.discriminator_optimizer),
    }
    assert jax.tree.structure(players) == jax.tree.structure(state.players)
    return state.replace(players=players, ema=generator)


def _pieces(
    before: State, after: State, latents: jax.Array, images: jax.Array
) -> dict[str, jax.Array]:
    """What the reference prints at each step, from the networks before and after it: the losses' parts and mean probabilities."""

    def judge(state: State, images: jax.Array) -> jax.Array:
        return DISCRIMINATOR.apply(
            _variables(state.players["discriminator"]), images, train=True, mutable=["batch_stats"]
        )[0]

    fake, _ = GENERATOR.apply(
        _variables(before.players["generator"]), latents, train=True, mutable=["batch_stats"]
    )
    real_logits, fake_logits, fooling_logits = (
        judge(before, images),
        judge(before, fake),
        judge(after, fake),
    )
    return {
        "D_real": jnp.mean(jax.nn.softplus(-real_logits)),
        "D_fake": jnp.mean(jax.nn.softplus(fake_logits)),
        "G": jnp.mean(jax.nn.softplus(-fooling_logits)),
        "D_x": jnp.mean(jax.nn.sigmoid(real_logits)),
        "D_G_z1": jnp.mean(jax.nn.sigmoid(fake_logits)),
        "D_G_z2": jnp.mean(jax.nn.sigmoid(fooling_logits)),
    }


@pytest.fixture(scope="module")
def run(golden: Path) -> Run:
    with np.load(golden / "dcgan_train.npz") as file:
        case = dict(file)
    state, metrics, pieces = _start(case), [], []
    step = jax.jit(
        lambda state, images, latents: dcgan._round(
            CONFIG, state, {"image": images}, {"latents": latents}, None
        )
    )
    inspect = jax.jit(_pieces)
    with jax.default_matmul_precision("highest"):
        for latents, images in zip(
            case["inputs/z"], case["inputs/images"].transpose(0, 1, 3, 4, 2)
        ):
            after, metric = step(state, images, latents)
            pieces.append(inspect(state, after, latents, images))
            metrics.append(metric)
            state = after
    losses = {name: [float(piece[name]) for piece in pieces] for name in pieces[0]}
    return Run(case, losses, metrics, state)


@pytest.mark.parametrize("name", ["D_real", "D_fake", "G", "D_x", "D_G_z1", "D_G_z2"])
def test_every_loss_at_every_step(run, name):
    np.testing.assert_allclose(run.losses[name], run.case[f"outputs/loss/{name}"], rtol=1e-3)


def test_metrics_are_the_reference_losses(run):
    expected = run.case["outputs/loss/D_real"] + run.case["outputs/loss/D_fake"]
    np.testing.assert_allclose([metric["d_loss"] for metric in run.metrics], expected, rtol=1e-3)
    np.testing.assert_allclose(
        [metric["g_loss"] for metric in run.metrics], run.case["outputs/loss/G"], rtol=1e-3
    )


@pytest.mark.parametrize(
    ("network", "player"),
    [(DISCRIMINATOR, "discriminator"), (GENERATOR, "generator")],
    ids=["D", "G"],
)
def test_final_weights_and_statistics(run, network, player):
    """After three steps: convolution weights and batch norm's gains, biases and running statistics. All have moved by more than is allowed."""
    letter = "D" if network is DISCRIMINATOR else "G"
    start, reference = (
        _part(run.case, f"{prefix}/{letter}/") for prefix in ("weights", "outputs/final")
    )
    ours = to_state_dict(network, _variables(run.state.players[player]))
    assert ours.keys() == {name for name in reference if not name.endswith("num_batches_tracked")}
    for name, array in ours.items():
        limit = 2e-4 if "running" not in name else 1e-3 * np.max(np.abs(reference[name]))
        assert (
            np.max(np.abs(array - reference[name]))
            <= limit
            < np.max(np.abs(start[name] - reference[name]))
        ), name


def test_averaged_generator_is_the_generator(run):
    jax.tree.map(
        np.testing.assert_array_equal, run.state.ema, _variables(run.state.players["generator"])
    )


def test_outputs_at_evaluation(run):
    with jax.default_matmul_precision("highest"):
        fake = GENERATOR.apply(run.state.ema, run.case["inputs/z"][0], train=False)
        images = run.case["inputs/images"][0].transpose(0, 2, 3, 1)
        probability = jax.nn.sigmoid(
            DISCRIMINATOR.apply(_variables(run.state.players["discriminator"]), images, train=False)
        )
    for ours, reference in [
        (fake, run.case["outputs/fake_eval"].transpose(0, 2, 3, 1)),
        (probability, run.case["outputs/D_eval_probability"]),
    ]:
        difference = np.abs(ours - reference)
        assert np.mean(difference) <= 1e-3
        assert np.max(difference) <= 1e-2
