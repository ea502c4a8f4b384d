"""StarGAN against yunjey's, on given weights: both networks, the reconstruction, the gradient penalty, and both players' losses."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import stargan
from jaxgan.convert.pytorch import from_state_dict, to_state_dict
from jaxgan.games.round import Round
from jaxgan.games.translation import Critic
from jaxgan.networks.stargan import with_planes
from jaxgan.state import Player, State

Arrays = dict[str, np.ndarray]


class Reference(NamedTuple):
    """The file's arrays, images with channels last; our settings; our players with the reference's weights; draws with the given `alpha`."""

    case: Arrays
    config: stargan.Config
    players: dict[str, Player]
    draws: dict[str, jax.Array]

    @property
    def real(self) -> Arrays:
        return {"image": self.case["inputs/x"], "attributes": self.case["inputs/label"]}


def weights(case: Arrays, network: str) -> Arrays:
    prefix = f"weights/{network}/"
    return {
        name.removeprefix(prefix): array for name, array in case.items() if name.startswith(prefix)
    }


@pytest.fixture(scope="module")
def reference(golden: Path) -> Reference:
    with np.load(golden / "stargan.npz") as file:
        case = {
            name: np.moveaxis(array, 1, -1)
            if array.ndim == 4 and not name.startswith("weights")
            else array
            for name, array in file.items()
        }
    meta = json.loads(str(case["meta"]))
    config = stargan.Config(
        (meta["image_size"],) * 2,
        attributes=tuple("abcde"),
        generator_width=meta["conv_dim"],
        discriminator_width=meta["conv_dim"],
        blocks=meta["G_repeat"],
        discriminator_layers=meta["D_repeat"],
    )
    assert (
        config.class_weight,
        config.reconstruction_weight,
        config.stabilisers.gradient_penalty,
    ) == (1, 10, 10)
    assert (meta["lambda_cls"], meta["lambda_rec"], meta["lambda_gp"]) == (1, 10, 10)
    generator, discriminator = (
        from_state_dict(network, weights(case, name))
        for network, name in zip(stargan._networks(config), "GD", strict=True)
    )
    players = {
        "g": Player({"g": generator["params"]}, {}, ()),
        "d": Player({"d": discriminator["params"]}, {}, ()),
    }
    return Reference(
        case,
        config,
        players,
        {
            "keys": jax.random.split(jax.random.key(0), 3),
            "alpha": jnp.asarray(case["inputs/alpha"].reshape(3)),
        },
    )


def check_forward(ours: Any, expected: np.ndarray) -> None:
    """The tolerance of forward passes."""
    assert ours.shape == expected.shape
    assert np.max(np.abs(ours - expected)) <= 2e-4 * np.max(np.abs(expected))


def generated(reference: Reference, images: Any, attributes: np.ndarray) -> jax.Array:
    with jax.default_matmul_precision("highest"):
        return jax.jit(
            lambda images: stargan._generate(
                reference.config, reference.players["g"].params, images, attributes
            )
        )(images)


def test_generator_and_reconstruction(reference):
    fake = generated(reference, reference.case["inputs/x"], reference.case["inputs/target"])
    check_forward(fake, reference.case["outputs/fake"])
    check_forward(
        generated(reference, fake, reference.case["inputs/label"]),
        reference.case["outputs/reconstruction"],
    )


def test_discriminator(reference):
    _, network = stargan._networks(reference.config)
    judge = jax.jit(
        lambda images: network.apply(
            {"params": reference.players["d"].params["d"]}, images, train=True
        )
    )
    with jax.default_matmul_precision("highest"):
        patches, classes = judge(reference.case["inputs/x"])
        of_fake, _ = judge(reference.case["outputs/fake"])
    check_forward(patches[..., None], reference.case["outputs/D_src"])
    check_forward(classes, reference.case["outputs/D_cls"])
    check_forward(of_fake[..., None], reference.case["outputs/D_fake_src"])


def critic(reference):
    _, network = stargan._networks(reference.config)
    return Critic(network, Round(reference.config, reference.draws, jnp.int32(0), None))


def test_discriminator_loss_and_gradient_penalty(reference):
    player, fake = reference.players["d"], reference.case["outputs/fake"]
    loss_of = partial(stargan._discriminator_loss, critic(reference), player, reference.real, fake)
    with jax.default_matmul_precision("highest"):
        loss, (_, metrics) = jax.jit(loss_of)(player.params)
    np.testing.assert_allclose(
        metrics["gradient_penalty"], reference.case["outputs/gradient_penalty"], rtol=1e-4
    )
    np.testing.assert_allclose(
        metrics["d_class_loss"], reference.case["outputs/classification_loss"], rtol=1e-4
    )
    np.testing.assert_allclose(loss, reference.case["outputs/D_loss"], rtol=1e-4)


def test_generator_loss(reference):
    params, target = reference.players["g"].params, reference.case["inputs/target"]
    fake = generated(reference, reference.case["inputs/x"], target)
    with jax.default_matmul_precision("highest"):
        loss, _ = jax.jit(
            partial(
                stargan._generator_loss,
                critic(reference),
                reference.players["d"],
                reference.real,
                target,
            )
        )(params, fake)
    np.testing.assert_allclose(loss, reference.case["outputs/G_loss"], rtol=1e-4)


def test_translating(reference):
    """`translate` reads the average, and does what the generator does."""
    state = State(jnp.int32(0), jnp.int32(0), {}, {"params": reference.players["g"].params}, {})
    with jax.default_matmul_precision("highest"):
        fake = stargan.translate(
            reference.config, state, reference.case["inputs/x"], reference.case["inputs/target"]
        )
    check_forward(fake, reference.case["outputs/fake"])


@pytest.mark.parametrize("name", "GD")
def test_weights_are_written_as_they_were_read(reference, name):
    """All of them, but for the running statistics: the reference's own code never reads these, and they are written as it starts them."""
    network, given = (
        stargan._networks(reference.config)["GD".index(name)],
        weights(reference.case, name),
    )
    written = to_state_dict(network, from_state_dict(network, given))
    assert written.keys() == {key for key in given if not key.endswith("num_batches_tracked")}
    for key, array in written.items():
        expected = (
            np.zeros_like(array)
            if key.endswith("running_mean")
            else np.ones_like(array)
            if key.endswith("running_var")
            else given[key]
        )
        np.testing.assert_array_equal(array, expected, err_msg=key)


def test_a_wrong_border_is_seen(reference):
    """The comparison can fail: padded by reflection, as CycleGAN's generator does it, the images are others."""
    generator, _ = stargan._networks(reference.config)
    planes = with_planes(
        jnp.asarray(reference.case["inputs/x"]), jnp.asarray(reference.case["inputs/target"])
    )
    padded = jnp.pad(planes, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="reflect")
    fake = generator.apply({"params": reference.players["g"].params["g"]}, padded, train=False)[
        :, 4:-4, 4:-4
    ]
    with pytest.raises(AssertionError):
        check_forward(fake, reference.case["outputs/fake"])
