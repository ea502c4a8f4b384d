"""SPADE against NVlabs', on given weights: generator, every feature map of the discriminator, encoder, and the losses; without and with styles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import losses, spade
from jaxgan.convert.pytorch import from_state_dict, to_state_dict
from jaxgan.games import layouts, spade_losses
from jaxgan.games.stabilisers import Stabilisers
from jaxgan.state import Player, State

Arrays = dict[str, np.ndarray]


class Reference(NamedTuple):
    """The file's arrays, images with channels last; our settings; our networks' variables, by their letter there; the layout's planes."""

    case: Arrays
    config: spade.Config
    variables: dict[str, Any]
    planes: jax.Array

    @property
    def real(self) -> np.ndarray:
        return self.case["inputs/real"]

    @property
    def networks(self) -> dict[str, Any]:
        return dict(zip("GDE", spade._networks(self.config), strict=True))


def weights(case: Arrays, network: str) -> Arrays:
    prefix = f"weights/{network}/"
    return {
        name.removeprefix(prefix): array for name, array in case.items() if name.startswith(prefix)
    }


@pytest.fixture(scope="module", params=["spade", "spade_vae"])
def reference(golden: Path, request: pytest.FixtureRequest) -> Reference:
    with np.load(golden / f"{request.param}.npz") as file:
        case = {
            name: np.moveaxis(array, 1, -1)
            if array.ndim == 4 and not name.startswith("weights")
            else array
            for name, array in file.items()
        }
    meta = json.loads(str(case["meta"]))
    config = spade.Config(
        case["inputs/real"].shape[1:3],
        classes=meta["label_nc"],
        unknown=meta["contain_dontcare_label"],
        instance_edges=not meta["no_instance"],
        generator_width=meta["ngf"],
        discriminator_width=meta["ndf"],
        discriminator_layers=meta["n_layers_D"] - 1,
        discriminator_scales=meta["num_D"],
        upsampling=meta["num_upsampling_layers"],
        encoder=meta["use_vae"],
        style_size=256,
    )
    assert config.feature_weight == meta["lambda_feat"]
    networks = zip("GDE", spade._networks(config), strict=True)
    variables = {
        name: from_state_dict(network, weights(case, name))
        for name, network in networks
        if config.encoder or name != "E"
    }
    return Reference(
        case,
        config,
        variables,
        layouts.encoded(config, jnp.asarray(case["inputs/label"].astype(np.int32))),
    )


def check_forward(ours: Any, expected: np.ndarray) -> None:
    """The tolerance of forward passes."""
    assert ours.shape == expected.shape
    assert np.max(np.abs(ours - expected)) <= 2e-4 * np.max(np.abs(expected))


def averages(variables: dict[str, Any]) -> Any:
    """`State.ema` of these networks."""
    named = {"GDE"[i]: name for i, name in enumerate("gde")}
    collections = {collection for own in variables.values() for collection in own}
    return {
        collection: {
            named[name]: own[collection] for name, own in variables.items() if collection in own
        }
        for collection in collections
    }


def state_of(reference: Reference) -> State:
    return State(
        jnp.int32(0),
        jnp.int32(0),
        {},
        averages({name: reference.variables[name] for name in "GE" if name in reference.variables}),
        {},
    )


def judged(reference: Reference, images: Any) -> list:
    network = reference.networks["D"]
    with jax.default_matmul_precision("highest"):
        return jax.jit(lambda x: network.apply(reference.variables["D"], x, train=False))(
            jnp.concatenate([reference.planes, images], -1)
        )


def test_translating(reference):
    style = jnp.asarray(reference.case["inputs/z"]) if reference.config.encoder else None
    layout = reference.case["inputs/label"].astype(np.int32)
    with jax.default_matmul_precision("highest"):
        fake = jax.jit(
            lambda: spade.translate(reference.config, state_of(reference), layout, style=style)
        )()
    check_forward(fake, reference.case["outputs/fake"])


def test_every_feature_map_of_the_discriminator(reference):
    scales = judged(reference, reference.real)
    assert len(scales) == 2
    for scale, (logits, maps) in enumerate(scales):
        assert len(maps) == 3
        for layer, ours in enumerate([*maps, logits[..., None]]):
            check_forward(ours, reference.case[f"outputs/D_real/{scale}/{layer}"])


def test_losses(reference):
    """The generated images are the file's, so that a difference is one of this loss."""
    of_fake, of_real = (
        judged(reference, images) for images in (reference.case["outputs/fake"], reference.real)
    )
    values = {
        "hinge_D_real": spade_losses.mean_over_scales(
            lambda f, r: losses.discriminator_loss("hinge", r, jnp.full_like(r, -2)),
            of_fake,
            of_real,
        ),
        "hinge_D_fake": spade_losses.mean_over_scales(
            lambda f, r: losses.discriminator_loss("hinge", jnp.full_like(f, 2), f),
            of_fake,
            of_real,
        ),
        "hinge_G": spade_losses.mean_over_scales(
            lambda f, r: losses.generator_loss("hinge", f), of_fake, of_real
        ),
        "feature_matching": reference.config.feature_weight
        * spade_losses.feature_matching(of_fake, of_real),
    }
    for name, value in values.items():
        np.testing.assert_allclose(
            value, np.squeeze(reference.case[f"outputs/{name}"]), rtol=1e-4, err_msg=name
        )


def test_encoder(reference):
    if not reference.config.encoder:
        pytest.skip("this case has no styles")
    network = reference.networks["E"]
    with jax.default_matmul_precision("highest"):
        # In one program: a GPU may choose other algorithms for each.
        (mean, log_variance), style = jax.jit(
            lambda x: (
                network.apply(reference.variables["E"], x, train=False),
                spade.encode_style(reference.config, state_of(reference), x),
            )
        )(reference.real)
    check_forward(mean, reference.case["outputs/mu"])
    check_forward(log_variance, reference.case["outputs/logvar"])
    np.testing.assert_array_equal(style, mean)
    np.testing.assert_allclose(
        np.sum(spade_losses.kl_divergence(mean, log_variance)),
        reference.case["outputs/kld"],
        rtol=1e-4,
    )


def test_weights_are_written_as_they_were_read(reference):
    """All of them, but for constants that a norm removes: they are zero, and the norm's running mean lacks them."""
    for name, variables in reference.variables.items():
        given = {
            key: array
            for key, array in weights(reference.case, name).items()
            if not key.endswith("num_batches_tracked")
        }
        written = to_state_dict(reference.networks[name], variables)
        assert written.keys() == given.keys()
        for key, array in written.items():
            moved = name == "G" and (
                key.endswith("running_mean") or (key.endswith("bias") and not array.any())
            )
            if moved:
                assert array.shape == given[key].shape
            else:
                np.testing.assert_array_equal(array, given[key], err_msg=key)
        again = from_state_dict(reference.networks[name], written)
        jax.tree.map(np.testing.assert_array_equal, again, variables)


def test_constants_that_are_dropped_without_their_norm_are_seen(reference):
    """The comparison can fail: with the reference's running means and without its constants, the images are others."""
    given = weights(reference.case, "G")
    means = {key: array for key, array in given.items() if key.endswith("running_mean")}
    written = to_state_dict(reference.networks["G"], reference.variables["G"]) | means
    spoiled = reference._replace(
        variables={**reference.variables, "G": from_state_dict(reference.networks["G"], written)}
    )
    with pytest.raises(AssertionError):
        test_translating(spoiled)


@pytest.mark.slow
def test_a_step_trains_on_these_weights(reference):
    """One round from the reference's networks: its first adversarial loss and feature distance are near those of the file, whose pass is in evaluation."""
    config, case = reference.config, reference.case
    state = jax.eval_shape(lambda key: spade.init(config, key), jax.random.key(0))
    ema = averages({name: own for name, own in reference.variables.items() if name != "D"})
    d = averages({"D": reference.variables["D"]})
    players = {}
    for name, variables in (("generator", ema), ("discriminator", d)):
        opt = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state.players[name].opt)
        stats = {collection: own for collection, own in variables.items() if collection != "params"}
        players[name] = Player(variables["params"], stats, opt)
    state = State(jnp.int32(0), jnp.int32(0), players, ema, {})
    config = type(config)(**{**vars(config), "stabilisers": Stabilisers()})
    draws = {"keys": jax.random.split(jax.random.key(0), 2)}
    if config.encoder:
        draws |= {name: jnp.asarray(case["inputs/z"]) for name in ("style", "shown_style")}
    batch = {"image": reference.real, "layout": case["inputs/label"].astype(np.int32)}
    _, metrics = jax.jit(
        lambda state, batch, draws: spade._round(config, state, batch, draws, None)
    )(state, batch, draws)
    assert all(np.isfinite(value) for value in metrics.values())
    np.testing.assert_allclose(
        metrics["feature_matching_loss"], case["outputs/feature_matching"] / 10, rtol=0.3
    )
    np.testing.assert_allclose(
        metrics["d_adversarial_loss"],
        np.squeeze(case["outputs/hinge_D_real"] + case["outputs/hinge_D_fake"]),
        rtol=0.2,
    )
