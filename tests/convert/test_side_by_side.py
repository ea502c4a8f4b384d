"""Networks of many sizes side by side with PyTorch's, on weights that are converted both ways. Skipped where PyTorch is not installed."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from jaxgan.convert.pytorch import from_state_dict, to_state_dict
from jaxgan.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from jaxgan.networks.resnet import ResNetDiscriminator, ResNetGenerator

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from benchmarks.torch_models import networks as theirs  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*spectral_norm.*:FutureWarning", "ignore:.*spectral_norm.*:DeprecationWarning"
)
BATCH, CLASSES = 3, 5


def _randomise(network: Any, seed: int) -> None:
    """Running statistics and norms' gains away from 0 and 1, so that a mistake in their place shows."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if "running" in name or (tensor.ndim == 1 and not name.endswith(("_u", "_v"))):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)


def _numpy(network: Any) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}


def _assert_close(ours: Any, reference: Any) -> None:
    assert ours.shape == reference.shape
    assert np.max(np.abs(ours - reference)) <= 2e-4 * np.max(np.abs(reference))


def _channels_first(array: np.ndarray) -> np.ndarray:
    return np.moveaxis(np.asarray(array), -1, 1) if array.ndim == 4 else np.asarray(array)


def _compare(
    ours: Any, reference: Any, inputs: np.ndarray, seed: int, labelled: bool = True
) -> None:
    """Evaluation, a training pass with the statistics and spectral vectors it leaves, and the way back into a network of PyTorch."""
    _randomise(reference, seed)
    variables = from_state_dict(ours, _numpy(reference))
    labels = np.arange(BATCH, dtype=np.int32)
    given = (
        torch.from_numpy(_channels_first(inputs).copy()),
        *((torch.from_numpy(labels),) if labelled else ()),
    )
    for train in (False, True):
        reference.train(train)
        with torch.no_grad(), jax.default_matmul_precision("highest"):
            # Inputs are cloned: activations in place must not reach the next pass.
            expected = reference(*(tensor.clone() for tensor in given))
            outputs, changed = ours.apply(
                variables,
                inputs,
                labels,
                train=train,
                mutable=[name for name in variables if name != "params"],
            )
        jax.tree.map(lambda a, b: _assert_close(_channels_first(a), b.numpy()), outputs, expected)
        variables = {**variables, **changed}
        state = to_state_dict(ours, variables)
        for name, tensor in reference.state_dict().items():
            if name in state:
                _assert_close(state[name], tensor.numpy())
    reference.load_state_dict(
        {name: torch.from_numpy(array) for name, array in state.items()}, strict=True
    )
    for name, array in state.items():
        np.testing.assert_array_equal(reference.state_dict()[name].numpy(), array)


@pytest.fixture
def seed(request) -> int:
    """Seeds PyTorch, from the test's own name."""
    value = sum(map(ord, request.node.name))
    torch.manual_seed(value)
    return value


def _normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


SIZES = [
    ((28, 28), (7, 7), 2),
    ((32, 32), (4, 4), 3),
    ((64, 32), (8, 4), 3),
    ((48, 80), (6, 10), 3),
    ((128, 128), (4, 4), 5),
]
"""Image size, base, halvings."""


@pytest.mark.parametrize(("size", "base", "count"), SIZES)
def test_dcgan_generator(size, base, count, seed):
    reference = theirs.dcgan_generator(7, base, count, 3, 2)
    _compare(
        DCGANGenerator((*size, 2), 3), reference, _normal(seed, BATCH, 7), seed, labelled=False
    )


@pytest.mark.parametrize(("size", "base", "count"), SIZES)
def test_dcgan_discriminator(size, base, count, seed):
    reference = theirs.dcgan_discriminator(base, count, 3, 2)
    _compare(DCGANDiscriminator(3), reference, _normal(seed, BATCH, *size, 2), seed, labelled=False)


@pytest.mark.parametrize(("size", "base", "count"), SIZES[:3])
def test_dcgan_discriminator_with_spectral_norm(size, base, count, seed):
    reference = theirs.dcgan_discriminator(base, count, 3, 4, torch.nn.utils.spectral_norm)
    _compare(
        DCGANDiscriminator(3, spectral_norm=True),
        reference,
        _normal(seed, BATCH, *size, 4),
        seed,
        labelled=False,
    )


def test_newer_spelling_of_spectral_norm(seed):
    reference = theirs.dcgan_discriminator(
        (4, 4), 2, 3, 1, torch.nn.utils.parametrizations.spectral_norm
    ).eval()
    images = _normal(seed, BATCH, 16, 16, 1)
    ours = DCGANDiscriminator(3, spectral_norm=True)
    with torch.no_grad(), jax.default_matmul_precision("highest"):
        logits = ours.apply(from_state_dict(ours, _numpy(reference)), images, train=False)
        _assert_close(logits, reference(torch.from_numpy(_channels_first(images).copy())).numpy())


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("classes", [0, CLASSES])
@pytest.mark.parametrize(("size", "base", "count"), SIZES[:3])
def test_resnet_generator(size, base, count, classes, mode, seed):
    reference = theirs.ResNetGenerator(7, base, count, 6, 2, classes, mode)
    _compare(
        ResNetGenerator((*size, 2), 6, classes, mode), reference, _normal(seed, BATCH, 7), seed
    )


@pytest.mark.parametrize("head", ["", "projection", "class"])
@pytest.mark.parametrize("spectral", [False, True])
@pytest.mark.parametrize(
    ("side", "count", "pool", "in_place"),
    [(16, 1, "mean", False), (32, 2, "sum", True), (48, 3, "mean", True), (64, 3, "sum", False)],
)
def test_resnet_discriminator(side, count, pool, in_place, spectral, head, seed):
    wrap = torch.nn.utils.spectral_norm if spectral else None
    reference = theirs.ResNetDiscriminator(count, 6, 2, pool, in_place, head, CLASSES, wrap)
    classes = CLASSES if head else 0
    ours = ResNetDiscriminator(
        6, classes, head == "class", pool, spectral, activated_shortcut=in_place
    )
    _compare(ours, reference, _normal(seed, BATCH, side, side, 2), seed)
