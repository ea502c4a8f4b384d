"""The translation networks against junyanz's, on given weights: outputs, and the running statistics after a training pass."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

from jaxgan.convert.pytorch import from_state_dict, to_state_dict
from jaxgan.networks.patch import PatchDiscriminator, PixelDiscriminator
from jaxgan.networks.translator import ResNetTranslator
from jaxgan.networks.unet import UNet

Arrays = dict[str, np.ndarray]
NETWORKS = {
    "cyclegan_resnet_generator": ResNetTranslator(3, 8, 3),
    "pix2pix_unet_generator_eval": UNet(3, 8, 5, dropout=0.5),
    "patch_discriminator_instance": PatchDiscriminator(8, 3, "instance"),
    "patch_discriminator_batch": PatchDiscriminator(8, 3, "batch"),
    "pixel_discriminator_batch": PixelDiscriminator(8, "batch"),
}


def _load(golden: Path, name: str) -> tuple[Arrays, np.ndarray, np.ndarray]:
    """Weights, and input and output with channels last."""
    with np.load(golden / f"{name}.npz") as file:
        weights = {
            key.removeprefix("weights/"): file[key] for key in file if key.startswith("weights/")
        }
        x, y = (np.moveaxis(file[key], 1, -1) for key in ("inputs/x", "outputs/y"))
        return weights, x, y


def _assert_forward(ours: jax.Array, reference: np.ndarray) -> None:
    """The tolerance of forward passes."""
    assert ours.shape == reference.shape
    assert np.max(np.abs(ours - reference)) <= 2e-4 * np.max(np.abs(reference))


@pytest.mark.parametrize("name", NETWORKS)
def test_forward_at_evaluation(golden, name):
    weights, x, y = _load(golden, name)
    network = NETWORKS[name]
    variables = from_state_dict(network, weights)
    with jax.default_matmul_precision("highest"):
        ours = jax.jit(lambda v, x: network.apply(v, x, train=False))(variables, x)
    _assert_forward(ours if ours.ndim == y.ndim else ours[..., None], y)


def test_unet_in_training_uses_and_stores_the_statistics_of_the_batch(golden):
    """The files have the same weights: one the running statistics before the pass, the other those after it."""
    network = UNet(3, 8, 5, dropout=0.0)
    before, x, _ = _load(golden, "pix2pix_unet_generator_eval")
    after, same_x, y = _load(golden, "pix2pix_unet_generator_train")
    np.testing.assert_array_equal(x, same_x)
    variables = from_state_dict(network, before)
    with jax.default_matmul_precision("highest"):
        ours, changed = jax.jit(
            lambda v, x: network.apply(v, x, train=True, mutable=["batch_stats"])
        )(variables, x)
    _assert_forward(ours, y)
    state = to_state_dict(network, {**variables, **changed})
    running = [name for name in after if "running" in name]
    assert len(running) == 14
    for name in running:
        _assert_forward(state[name], after[name])
        assert not np.allclose(state[name], before[name], rtol=1e-2)
