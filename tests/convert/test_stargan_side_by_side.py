"""StarGAN's networks of many sizes side by side with PyTorch's, on weights that are converted both ways. Skipped where PyTorch is not installed."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from jaxgan.convert.pytorch import from_state_dict, to_state_dict
from jaxgan.networks.stargan import StarGANDiscriminator, StarGANGenerator

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from benchmarks.torch_models.stargan_networks import StarGANDiscriminator as _Discriminator  # noqa: E402
from benchmarks.torch_models.stargan_networks import StarGANGenerator as _Generator  # noqa: E402


def _numpy(network: Any) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}


def _compare(ours: Any, reference: Any, images: np.ndarray) -> None:
    """Its outputs, in training mode as the reference's own code leaves it, and the way back: the reference computes the same from what we write."""
    generator = torch.Generator().manual_seed(images.size)
    for tensor in reference.state_dict().values():
        if tensor.ndim == 1:
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    variables = from_state_dict(ours, _numpy(reference))
    with torch.no_grad(), jax.default_matmul_precision("highest"):
        x = torch.from_numpy(np.moveaxis(images, -1, 1).copy())
        expected = reference(x)
        made = jax.jit(lambda variables, images: ours.apply(variables, images, train=False))(
            variables, images
        )
        for one, other in zip(
            jax.tree.leaves(made),
            expected if isinstance(expected, tuple) else (expected,),
            strict=True,
        ):
            other = np.moveaxis(other.numpy(), 1, -1) if other.ndim == 4 else other.numpy()
            assert one.shape == other.shape
            assert np.max(np.abs(one - other)) <= 2e-4 * np.max(np.abs(other))
        written = to_state_dict(ours, variables)
        for tensor in reference.state_dict().values():
            tensor.zero_()
        reference.load_state_dict(
            {name: torch.from_numpy(array) for name, array in written.items()}, strict=True
        )
        for one, other in zip(
            jax.tree.leaves(reference(x)), jax.tree.leaves(expected), strict=True
        ):
            np.testing.assert_array_equal(one, other)


@pytest.fixture(autouse=True)
def _seed(request) -> None:
    torch.manual_seed(sum(map(ord, request.node.name)))


def _images(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape, np.float32)


@pytest.mark.parametrize(
    ("size", "inputs", "channels", "width", "blocks"),
    [((12, 20), 5, 1, 3, 0), ((8, 8), 10, 3, 2, 3)],
)
def test_generator(size, inputs, channels, width, blocks):
    _compare(
        StarGANGenerator(channels, width, blocks),
        _Generator(inputs, channels, width, blocks, running=True),
        _images(2, *size, inputs),
    )


@pytest.mark.parametrize(
    ("size", "channels", "attributes", "width", "layers"),
    [((8, 8), 3, 5, 2, 3), ((20, 9), 1, 2, 3, 2), ((16, 8), 4, 1, 2, 1)],
)
def test_discriminator(size, channels, attributes, width, layers):
    reference = _Discriminator(size, channels, attributes, width, layers)
    _compare(
        StarGANDiscriminator(attributes, width, layers), reference, _images(2, *size, channels)
    )


def test_files_with_and_without_running_statistics_are_the_same():
    given = _numpy(_Generator(5, 3, 2, 1, running=True))
    without = {name: array for name, array in given.items() if "running" not in name}
    assert len(without) < len(given)
    jax.tree.map(
        np.testing.assert_array_equal,
        from_state_dict(StarGANGenerator(3, 2, 1), given),
        from_state_dict(StarGANGenerator(3, 2, 1), without),
    )


def test_what_does_not_fit_is_named():
    with pytest.raises(
        ValueError, match=r"missing: .*main\.18\.weight.*; unexpected: .*main\.17\.weight"
    ):
        from_state_dict(StarGANGenerator(3, 2, 3), _numpy(_Generator(5, 3, 2, 2)))
    state = _numpy(_Discriminator((8, 8), 3, 5, 2, 2))
    with pytest.raises(
        ValueError, match=r"misshaped: conv2\.weight is \(5, 4, 2, 2\), should be \(4, 4, 2, 2\)"
    ):
        from_state_dict(StarGANDiscriminator(4, 2, 2), state)
    with pytest.raises(ValueError, match=r"the state dict has no conv2\.weight"):
        from_state_dict(
            StarGANDiscriminator(5, 2, 2),
            {name: array for name, array in state.items() if name != "conv2.weight"},
        )
