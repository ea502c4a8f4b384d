"""Three training iterations of CycleGAN and of Pix2Pix against the reference's, from given weights and images."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from jaxgan import cyclegan, optim, pix2pix
from jaxgan.convert.pytorch import from_state_dict, to_state_dict
from jaxgan.games import translation
from jaxgan.games.stabilisers import Stabilisers
from jaxgan.state import Player, State

Arrays = dict[str, np.ndarray]
NO_POOL = Stabilisers(pool_size=0)
CYCLEGAN = cyclegan.Config(
    (32, 32), generator_width=8, discriminator_width=8, blocks=6, stabilisers=NO_POOL
)
PIX2PIX = pix2pix.Config(
    (128, 128), generator_width=4, discriminator_width=8, dropout=0.0, stabilisers=NO_POOL
)
CYCLE_NETWORKS = {
    "generator": {"a2b": "G_A", "b2a": "G_B"},
    "discriminator": {"b": "D_A", "a": "D_B"},
}
"""The reference names a generator by where it starts, and a critic by the generator it judges."""
PIX_NETWORKS = {"generator": {"g": "G"}, "discriminator": {"d": "D"}}


class Run(NamedTuple):
    case: Arrays
    config: Any
    metrics: dict[str, np.ndarray]
    state: State


def part(case: Arrays, prefix: str) -> Arrays:
    return {
        name.removeprefix(prefix): array for name, array in case.items() if name.startswith(prefix)
    }


def module(config: Any, player: str) -> Any:
    return (
        translation.generator(config, 3)
        if player == "generator"
        else translation.discriminator(config)
    )


def start(
    family: ModuleType, config: Any, case: Arrays, networks: dict[str, dict[str, str]]
) -> State:
    """A fresh state with the reference's weights and statistics."""
    state = jax.jit(family.init, static_argnums=0)(config, jax.random.key(0))
    players = {}
    for player, names in networks.items():
        made = Player({}, {}, ())
        for ours, theirs in names.items():
            variables = from_state_dict(module(config, player), part(case, f"weights/{theirs}/"))
            stats = {
                collection: leaf for collection, leaf in variables.items() if collection != "params"
            }
            made = Player(
                {**made.params, ours: variables["params"]},
                translation.with_stats(made.stats, ours, stats),
                (),
            )
        players[player] = made.replace(
            opt=optim.build(config.generator_optimizer).init(made.params)
        )
    assert jax.tree.structure(players) == jax.tree.structure(state.players)
    return state.replace(players=players)


def train(
    golden: Path, name: str, family: ModuleType, config: Any, networks: dict[str, dict[str, str]]
) -> Run:
    with np.load(golden / f"{name}.npz") as file:
        case = dict(file)
    settings = json.loads(str(case["meta"]))
    assert (settings["ngf"], settings["ndf"], settings["pool_size"]) == (
        config.generator_width,
        config.discriminator_width,
        0,
    )
    state, history = start(family, config, case, networks), []
    keys = {
        "keys": jax.random.split(jax.random.key(0), case["inputs/A"].shape[1]),
        "pool": jax.random.key(1),
    }
    step = jax.jit(lambda state, batch: family._round(config, state, batch, keys, None))
    with jax.default_matmul_precision("highest"):
        for a, b in zip(case["inputs/A"], case["inputs/B"], strict=True):
            state, metrics = step(
                state, {"a": a.transpose(0, 2, 3, 1), "b": b.transpose(0, 2, 3, 1)}
            )
            history.append(jax.device_get(metrics))
    return Run(
        case,
        config,
        {metric: np.array([one[metric] for one in history]) for metric in history[0]},
        state,
    )


@pytest.fixture(scope="module")
def cycle_run(golden: Path) -> Run:
    return train(golden, "cyclegan_train", cyclegan, CYCLEGAN, CYCLE_NETWORKS)


@pytest.fixture(scope="module")
def pix_run(golden: Path) -> Run:
    return train(golden, "pix2pix_train", pix2pix, PIX2PIX, PIX_NETWORKS)


CYCLE_LOSSES = {
    "G_A": (1, "a2b_adversarial_loss"),
    "G_B": (1, "b2a_adversarial_loss"),
    "cycle_A": (10, "cycle_a_loss"),
    "cycle_B": (10, "cycle_b_loss"),
    "idt_A": (5, "identity_b_loss"),
    "idt_B": (5, "identity_a_loss"),
    "D_A": (1, "d_b_loss"),
    "D_B": (1, "d_a_loss"),
}
"""The reference's loss -> its weight, which it prints with it, and our metric."""


@pytest.mark.parametrize("name", CYCLE_LOSSES)
def test_every_loss_of_cyclegan(cycle_run, name):
    weight, metric = CYCLE_LOSSES[name]
    np.testing.assert_allclose(
        weight * cycle_run.metrics[metric], cycle_run.case[f"outputs/loss/{name}"], rtol=1e-3
    )


def test_total_losses_of_cyclegan(cycle_run):
    expected = {name: cycle_run.case[f"outputs/loss/{name}"] for name in CYCLE_LOSSES}
    d_loss = expected["D_A"] + expected["D_B"]
    np.testing.assert_allclose(cycle_run.metrics["d_loss"], d_loss, rtol=1e-3)
    np.testing.assert_allclose(
        cycle_run.metrics["g_loss"], sum(expected.values()) - d_loss, rtol=1e-3
    )


def test_every_loss_of_pix2pix(pix_run):
    expected, ours = part(pix_run.case, "outputs/loss/"), pix_run.metrics
    np.testing.assert_allclose(ours["g_adversarial_loss"], expected["G_GAN"], rtol=1e-3)
    np.testing.assert_allclose(100 * ours["l1_loss"], expected["G_L1"], rtol=1e-3)
    np.testing.assert_allclose(
        ours["d_loss"], (expected["D_real"] + expected["D_fake"]) / 2, rtol=1e-3
    )
    np.testing.assert_allclose(ours["g_loss"], expected["G_GAN"] + expected["G_L1"], rtol=1e-3)


def check_image(image: jax.Array, expected: np.ndarray) -> None:
    difference = np.abs(np.asarray(image).transpose(0, 3, 1, 2) - expected)
    assert np.mean(difference) <= 1e-3
    assert np.max(difference) <= 1e-2


def test_images_of_cyclegan_after_the_last_update(cycle_run):
    a, b = (cycle_run.case[f"inputs/{domain}"][-1].transpose(0, 2, 3, 1) for domain in "AB")
    with jax.default_matmul_precision("highest"):
        fake_b = cyclegan.translate(cycle_run.config, cycle_run.state, a, direction="a2b")
        fake_a = cyclegan.translate(cycle_run.config, cycle_run.state, b, direction="b2a")
        rec_a = cyclegan.translate(cycle_run.config, cycle_run.state, fake_b, direction="b2a")
    for image, name in ((fake_b, "fake_B"), (fake_a, "fake_A"), (rec_a, "rec_A")):
        check_image(image, cycle_run.case[f"outputs/{name}"])


def test_images_of_pix2pix_after_the_last_update(pix_run):
    """With the statistics of the batch, as the reference computed them."""
    a = pix_run.case["inputs/A"][-1].transpose(0, 2, 3, 1)
    variables = translation.variables_of(pix_run.state.ema, "g")
    with jax.default_matmul_precision("highest"):
        fake_b, _ = module(pix_run.config, "generator").apply(
            variables, a, train=True, mutable=["batch_stats"]
        )
    check_image(fake_b, pix_run.case["outputs/fake_B"])


@pytest.mark.parametrize("which", ["cyclegan", "pix2pix"])
def test_final_discriminators(request, which):
    """Convolution weights within the bound; every one has moved by more than that. Pix2Pix's running statistics and gains too."""
    run = request.getfixturevalue("cycle_run" if which == "cyclegan" else "pix_run")
    networks = (CYCLE_NETWORKS if which == "cyclegan" else PIX_NETWORKS)["discriminator"]
    player = run.state.players["discriminator"]
    for ours, theirs in networks.items():
        variables = {"params": player.params[ours], **translation.variables_of(player.stats, ours)}
        state_dict = to_state_dict(module(run.config, "discriminator"), variables)
        expected, before = (
            part(run.case, f"outputs/final/{theirs}/"),
            part(run.case, f"weights/{theirs}/"),
        )
        assert state_dict.keys() == {
            name for name in expected if not name.endswith("num_batches_tracked")
        }
        for name, array in state_dict.items():
            if array.ndim == 4:
                assert (
                    np.max(np.abs(array - expected[name]))
                    <= 2e-4
                    < np.max(np.abs(before[name] - expected[name]))
                ), name
            elif which == "pix2pix":
                np.testing.assert_allclose(
                    array, expected[name], rtol=1e-3, atol=1e-3, err_msg=name
                )
