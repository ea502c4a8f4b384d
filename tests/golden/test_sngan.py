"""The residual networks against mimicry's SNGAN 32, on given weights."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

from jaxgan.convert.pytorch import from_state_dict
from jaxgan.networks.resnet import ResNetDiscriminator, ResNetGenerator

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def case(golden: Path) -> Arrays:
    with np.load(golden / "sngan32.npz") as file:
        return dict(file)


def _weights(case: Arrays, player: str) -> Arrays:
    prefix = f"weights/{player}/"
    return {
        name.removeprefix(prefix): array for name, array in case.items() if name.startswith(prefix)
    }


def _assert_forward(ours: jax.Array, reference: np.ndarray) -> None:
    """The tolerance of forward passes."""
    assert ours.shape == reference.shape
    assert np.max(np.abs(ours - reference)) <= 2e-4 * np.max(np.abs(reference))


def test_generator_with_batch_and_running_statistics(case):
    generator = ResNetGenerator((32, 32, 3), 8, upsampling="bilinear")
    variables = from_state_dict(generator, _weights(case, "G"))
    with jax.default_matmul_precision("highest"):
        batch_statistics, _ = jax.jit(
            lambda v, z: generator.apply(v, z, train=True, mutable=["batch_stats"])
        )(variables, case["inputs/z"])
        running_statistics = jax.jit(lambda v, z: generator.apply(v, z, train=False))(
            variables, case["inputs/z"]
        )
    _assert_forward(batch_statistics, case["outputs/fake_batch_statistics"].transpose(0, 2, 3, 1))
    _assert_forward(
        running_statistics, case["outputs/fake_running_statistics"].transpose(0, 2, 3, 1)
    )


def test_discriminator_at_evaluation(case):
    """mimicry uses PyTorch's spectral norm (stored vectors at evaluation), and its in-place ReLU reaches the shortcuts."""
    discriminator = ResNetDiscriminator(8, pool="sum", spectral_norm=True, activated_shortcut=True)
    variables = from_state_dict(discriminator, _weights(case, "D"))
    with jax.default_matmul_precision("highest"):
        logits = jax.jit(lambda v, x: discriminator.apply(v, x, train=False))(
            variables, case["inputs/images"].transpose(0, 2, 3, 1)
        )
    _assert_forward(logits, case["outputs/D_logits"][:, 0])
