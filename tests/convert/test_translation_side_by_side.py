"""Translation networks of many sizes side by side with PyTorch's, on weights that are converted both ways. Skipped where PyTorch is not installed."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from jaxgan.convert.pytorch import from_state_dict, to_state_dict
from jaxgan.networks.patch import PatchDiscriminator, PixelDiscriminator
from jaxgan.networks.translator import DenseNetTranslator, ResNetTranslator
from jaxgan.networks.unet import UNet

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from benchmarks.torch_models import translation_networks as theirs  # noqa: E402

NORMS = ("batch", "instance")


def _numpy(network: Any) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}


def _assert_close(ours: Any, reference: Any) -> None:
    assert ours.shape == reference.shape
    assert np.max(np.abs(ours - reference)) <= 2e-4 * np.max(np.abs(reference))


def _is_removed(name: str, state: dict[str, np.ndarray], given: dict[str, np.ndarray]) -> bool:
    return name.endswith("bias") and not state[name].any() and bool(given[name].any())


def _channels_last(tensor: Any) -> np.ndarray:
    return np.moveaxis(tensor.numpy(), 1, -1) if tensor.ndim == 4 else tensor.numpy()


def _compare(ours: Any, reference: Any, images: np.ndarray, removed: int) -> None:
    """Evaluation, a training pass with the statistics it leaves, and the way back. removed: how many biases an instance norm makes useless."""
    generator = torch.Generator().manual_seed(images.size)
    for name, tensor in reference.state_dict().items():
        if "running" in name or tensor.ndim == 1:
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    given, x = _numpy(reference), torch.from_numpy(np.moveaxis(images, -1, 1).copy())
    variables = from_state_dict(ours, given)

    @jax.jit
    def both(variables: Any, images: jax.Array) -> Any:
        evaluated = ours.apply(variables, images, train=False)
        # Without running statistics, training is the same computation.
        return evaluated, ours.apply(
            variables, images, train=True, mutable=["batch_stats"]
        ) if "batch_stats" in variables else (evaluated, {})

    with torch.no_grad(), jax.default_matmul_precision("highest"):
        evaluated, (trained, changed) = both(variables, images)
        _assert_close(evaluated, _channels_last(reference.eval()(x)))
        # Dropout, where there is any, stays off: that it is in its place shows in the names.
        reference.train().apply(
            lambda module: module.eval() if isinstance(module, torch.nn.Dropout) else None
        )
        _assert_close(trained, _channels_last(reference(x)))
        state, after = to_state_dict(ours, {**variables, **changed}), _numpy(reference)
        assert state.keys() == {name for name in after if not name.endswith("num_batches_tracked")}
        zeroed = {name for name in state if _is_removed(name, state, given)}
        assert len(zeroed) == removed
        for name in state.keys() - zeroed:
            _assert_close(state[name], after[name])
        expected = _channels_last(reference.eval()(x))
        reference.load_state_dict(
            {name: torch.from_numpy(array) for name, array in state.items()}, strict=True
        )
        _assert_close(_channels_last(reference(x)), expected)


@pytest.fixture(autouse=True)
def _seed(request) -> None:
    torch.manual_seed(sum(map(ord, request.node.name)))


def _images(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape, np.float32)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    ("size", "inputs", "channels", "width", "blocks", "dropout"),
    [((12, 20), 1, 3, 3, 2, 0.0), ((16, 8), 4, 2, 2, 1, 0.5)],
)
def test_resnet_translator(size, inputs, channels, width, blocks, dropout, norm):
    reference = theirs.ResNetTranslator(inputs, channels, width, blocks, norm, dropout)
    ours = ResNetTranslator(channels, width, blocks, norm, dropout)
    _compare(
        ours, reference, _images(2, *size, inputs), 5 + 2 * blocks if norm == "instance" else 0
    )


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    ("size", "inputs", "channels", "width", "depth"), [((8, 4), 3, 2, 3, 2), ((16, 32), 2, 1, 2, 4)]
)
def test_unet(size, inputs, channels, width, depth, norm):
    reference = theirs.UNet(inputs, channels, width, depth, norm)
    ours = UNet(channels, width, depth, norm)
    _compare(ours, reference, _images(2, *size, inputs), 2 * depth - 3 if norm == "instance" else 0)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    ("size", "inputs", "width", "layers"), [((9, 14), 2, 3, 1), ((50, 48), 6, 2, 4)]
)
def test_patch_discriminator(size, inputs, width, layers, norm):
    reference = theirs.PatchDiscriminator(inputs, width, layers, norm)
    _compare(
        PatchDiscriminator(width, layers, norm),
        reference,
        _images(2, *size, inputs),
        layers if norm == "instance" else 0,
    )


@pytest.mark.parametrize("norm", NORMS)
def test_pixel_discriminator(norm):
    _compare(
        PixelDiscriminator(3, norm),
        theirs.PixelDiscriminator(4, 3, norm),
        _images(2, 5, 7, 4),
        1 if norm == "instance" else 0,
    )


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("ours", "reference"), [(0.0, 0.5), (0.5, 0.0)])
def test_weights_with_and_without_dropout_fit_each_other(ours, reference, norm):
    """Dropout moves the names of the second convolution. They are read either way, and written as this network's setting has them."""
    without, with_dropout = (ResNetTranslator(3, 2, 2, norm, rate) for rate in (0.0, 0.5))
    given = _numpy(theirs.ResNetTranslator(3, 3, 2, 2, norm, reference))
    read = from_state_dict(with_dropout if ours else without, given)
    same = from_state_dict(with_dropout if reference else without, given)
    jax.tree.map(np.testing.assert_array_equal, read, same)
    written = to_state_dict(with_dropout if ours else without, read)
    other = theirs.ResNetTranslator(3, 3, 2, 2, norm, ours)
    other.load_state_dict(
        {name: torch.from_numpy(array) for name, array in written.items()}, strict=True
    )


@pytest.mark.parametrize(
    ("ours", "reference", "norms"),
    [
        (ResNetTranslator(3, 2, 1), lambda: theirs.ResNetTranslator(3, 3, 2, 1, "instance"), 7),
        (UNet(3, 2, 3, "instance"), lambda: theirs.UNet(3, 3, 2, 3, "instance"), 3),
        (
            PatchDiscriminator(2, 2, "instance"),
            lambda: theirs.PatchDiscriminator(3, 2, 2, "instance"),
            2,
        ),
    ],
)
def test_old_files_have_statistics_of_instance_norms(ours, reference, norms):
    network = reference()
    given, old = _numpy(network), _numpy(network)
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.InstanceNorm2d):
            old |= {
                f"{name}.running_mean": np.ones(module.num_features),
                f"{name}.running_var": np.ones(module.num_features),
            }
    assert len(old) == len(given) + 2 * norms
    jax.tree.map(
        np.testing.assert_array_equal, from_state_dict(ours, old), from_state_dict(ours, given)
    )
    with pytest.raises(ValueError, match=r"unexpected: model\.99\.running_mean"):
        from_state_dict(ours, {**old, "model.99.running_mean": np.ones(2)})


def test_what_the_reference_does_not_have_is_refused():
    state = _numpy(theirs.ResNetTranslator(3, 3, 2, 1, "instance"))
    with pytest.raises(ValueError, match="no counterpart of upsampling='resize'"):
        from_state_dict(ResNetTranslator(3, 2, 1, upsampling="resize"), state)
    with pytest.raises(ValueError, match="names for DenseNetTranslator are not known"):
        from_state_dict(DenseNetTranslator(3, 2), state)
    with pytest.raises(
        ValueError,
        match=r"does not fit this ResNetTranslator: missing: .*model\.19\.weight.*; unexpected: model\.11\.weight",
    ):
        from_state_dict(ResNetTranslator(3, 2, 2), state)
    with pytest.raises(ValueError, match=r"the state dict has no net\.0\.weight"):
        from_state_dict(PixelDiscriminator(2), state)
