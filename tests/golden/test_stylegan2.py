"""StyleGAN2 against NVlabs/stylegan2-ada-pytorch on given weights: mapping, truncation, synthesis, discriminator, R1, path lengths, in three architectures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import losses
from jaxgan.convert.pytorch import from_state_dict, to_state_dict
from jaxgan.families import stylegan
from jaxgan.games import styles
from jaxgan.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator

Arrays = dict[str, np.ndarray]


class Reference(NamedTuple):
    """The file's arrays, images with channels last; its settings; our networks and their variables."""

    case: Arrays
    meta: dict[str, Any]
    generator: StyleGAN2Generator
    discriminator: StyleGAN2Discriminator
    g: dict
    d: dict

    def synthesise(self, styles: jax.Array, noise: str) -> jax.Array:
        images: Any = self.generator.apply(self.g, styles, noise=noise, method="synthesise")
        return images

    def weights(self, network: str) -> Arrays:
        prefix = f"weights/{network}/"
        return {
            name.removeprefix(prefix): array
            for name, array in self.case.items()
            if name.startswith(prefix)
        }


@pytest.fixture(scope="module", params=["skip_resnet", "resnet_skip", "orig_orig"])
def reference(golden: Path, request) -> Reference:
    with np.load(golden / f"stylegan2_{request.param}.npz") as file:
        case = {
            name: np.moveaxis(array, 1, -1)
            if array.ndim == 4 and not name.startswith("weights")
            else array
            for name, array in file.items()
        }
    meta = json.loads(str(case["meta"]))
    config = stylegan.Config(
        image_size=(meta["resolution"],) * 2,
        latent_size=meta["z_dim"],
        style_size=meta["w_dim"],
        mapping_layers=meta["mapping_layers"],
        channel_base=meta["channel_base"],
        channel_max=meta["channel_max"],
        generator_architecture=meta["G_architecture"],
        discriminator_architecture=meta["D_architecture"],
        minibatch_std_group=meta["mbstd_group_size"],
    )
    generator, discriminator = stylegan.networks(config)
    loaded = Reference(case, meta, generator, discriminator, {}, {})
    return loaded._replace(
        g=from_state_dict(generator, loaded.weights("G")),
        d=from_state_dict(discriminator, loaded.weights("D")),
    )


def check(ours: Any, expected: np.ndarray, tolerance: float = 2e-4) -> None:
    ours = np.asarray(ours)
    assert ours.shape == expected.shape
    assert np.max(np.abs(ours - expected)) <= tolerance * np.max(np.abs(expected))


@pytest.fixture(autouse=True)
def _highest():
    with jax.default_matmul_precision("highest"):
        yield


def test_mapping_and_truncation(reference):
    w = reference.generator.apply(reference.g, reference.case["inputs/z"], method="styles")
    check(
        styles.truncated(reference.generator, reference.g, w, 1.0, None),
        reference.case["outputs/ws"],
    )
    check(
        styles.truncated(
            reference.generator, reference.g, w, reference.meta["truncation_psi"], None
        ),
        reference.case["outputs/ws_truncated"],
    )


@pytest.mark.parametrize("noise", ["constant", "none"])
def test_synthesis(reference, noise):
    expected = reference.case[
        "outputs/image_const_noise" if noise == "constant" else "outputs/image_no_noise"
    ]
    check(
        jax.jit(reference.synthesise, static_argnums=1)(
            jnp.asarray(reference.case["outputs/ws"]), noise
        ),
        expected,
    )


def test_discriminator_and_r1(reference):
    """Logits, and the squared norm of their gradient for each image; our penalty is half of the mean of these."""

    def critic(images: jax.Array) -> jax.Array:
        logits: Any = reference.discriminator.apply(reference.d, images)
        return logits

    images, expected = jnp.asarray(reference.case["inputs/x"]), reference.case["outputs/r1_penalty"]
    check(jax.jit(critic)(images), reference.case["outputs/D_logits"][:, 0])
    np.testing.assert_allclose(
        jax.jit(lambda x: losses.gradient_norms(critic, x) ** 2)(images), expected, rtol=1e-4
    )


def test_path_lengths(reference):
    """The reference's were taken without noise in the layers."""
    w, directions = (
        jnp.asarray(reference.case["outputs/ws"]),
        jnp.asarray(reference.case["inputs/path_length_noise"]),
    )
    lengths = jax.jit(
        lambda w: losses.path_lengths(lambda w: reference.synthesise(w, "none"), w, directions)
    )(w)
    np.testing.assert_allclose(lengths, reference.case["outputs/path_lengths"], rtol=1e-4)


def test_weights_are_written_as_they_were_read(reference):
    """All of them, and the low-pass filters that the reference stores beside."""
    for network, variables, name in (
        (reference.generator, reference.g, "G"),
        (reference.discriminator, reference.d, "D"),
    ):
        written, given = to_state_dict(network, variables), reference.weights(name)
        assert written.keys() == given.keys()
        for key, array in written.items():
            np.testing.assert_array_equal(array, given[key], err_msg=key)


def test_other_weights_are_seen(reference):
    """The comparison can fail: with another strength of noise, or one kernel of the discriminator scaled, results are others."""
    stronger = {
        **reference.g,
        "params": jax.tree.map(
            lambda leaf: leaf + 0.01 if leaf.ndim == 0 else leaf, reference.g["params"]
        ),
    }
    images = jax.jit(reference._replace(g=stronger).synthesise, static_argnums=1)(
        jnp.asarray(reference.case["outputs/ws"]), "constant"
    )
    with pytest.raises(AssertionError):
        check(images, reference.case["outputs/image_const_noise"])
    scaled = jax.tree_util.tree_map_with_path(
        lambda path, leaf: 1.01 * leaf if "conv0" in str(path) else leaf, reference.d
    )
    with pytest.raises(AssertionError):
        check(
            jax.jit(reference.discriminator.apply)(scaled, reference.case["inputs/x"]),
            reference.case["outputs/D_logits"][:, 0],
        )
