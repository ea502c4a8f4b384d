"""VGG16 as a feature network against PyTorch's operations, and its file."""

from __future__ import annotations

import hashlib

import jax
import numpy as np
import pytest

from jaxgan.errors import DataError
from jaxgan.metrics import extract, open_network
from jaxgan.parallel import data_mesh
from jaxgan.perceptual import vgg_weights
from jaxgan.perceptual.vgg import WHOLE, WIDTHS


def _arrays(kind: str) -> dict[str, np.ndarray]:
    """A state dict as torchvision's, of random weights that keep the size of activations."""
    random, shapes, number, inputs = np.random.default_rng(0), {}, 0, 3
    for count, width in zip(WHOLE[kind], WIDTHS, strict=True):
        for _ in range(count):
            shapes[f"features.{number}"] = (width, inputs, 3, 3)
            number, inputs = number + 2, width
        number += 1
    shapes |= {
        "classifier.0": (4096, 25088),
        "classifier.3": (4096, 4096),
        "classifier.6": (1000, 4096),
    }
    arrays = {}
    for name, shape in shapes.items():
        arrays[f"{name}.weight"] = random.standard_normal(shape, np.float32) * np.float32(
            (2 / np.prod(shape[1:])) ** 0.5
        )
        arrays[f"{name}.bias"] = np.float32(0.1) * random.standard_normal(shape[:1], np.float32)
    return arrays


@pytest.mark.slow
def test_vgg16_against_torch(tmp_path):
    """From the file to features and classes of grey images of another size; then what a file of another network, or without its end, is told."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    arrays, path = _arrays("vgg16"), tmp_path / "vgg16.npz"
    np.savez(path, **arrays)
    with open(path, "rb") as stream:
        checksum = hashlib.file_digest(stream, "sha256").hexdigest()
    network = open_network(f"vgg16:{path}?checksum={checksum[:8]}")
    assert (network.name, network.checksum, network.resize) == (
        "vgg16",
        checksum[:16],
        "antialiased bilinear to 224",
    )

    images = np.random.default_rng(1).integers(0, 256, (2, 30, 300, 1)).astype(np.uint8)
    found = extract(network, images, mesh=data_mesh(jax.devices()[:1]))
    functional, tensors = (
        torch.nn.functional,
        {name: torch.from_numpy(array) for name, array in arrays.items()},
    )
    x = torch.from_numpy(images.transpose(0, 3, 1, 2) / np.float32(255)).expand(-1, 3, -1, -1)
    x = functional.interpolate(
        x, size=(224, 224), mode="bilinear", antialias=True, align_corners=False
    )
    x = (x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor(
        [0.229, 0.224, 0.225]
    )[:, None, None]
    number = 0
    for count in WHOLE["vgg16"]:
        for _ in range(count):
            x, number = (
                torch.relu(
                    functional.conv2d(
                        x,
                        tensors[f"features.{number}.weight"],
                        tensors[f"features.{number}.bias"],
                        padding=1,
                    )
                ),
                number + 2,
            )
        x, number = functional.max_pool2d(x, 2), number + 1
    x = x.flatten(1)
    for i in (0, 3):
        x = torch.relu(
            functional.linear(x, tensors[f"classifier.{i}.weight"], tensors[f"classifier.{i}.bias"])
        )
    classes = torch.softmax(
        functional.linear(x, tensors["classifier.6.weight"], tensors["classifier.6.bias"]), 1
    )
    np.testing.assert_allclose(found.features, x.numpy(), rtol=0, atol=2e-4 * float(x.abs().max()))
    np.testing.assert_allclose(
        found.probabilities, classes.numpy(), rtol=0, atol=2e-4 * float(classes.max())
    )

    with pytest.raises(DataError, match=r"features\.14 in .* has|has no features"):
        vgg_weights.read_whole("vgg19", path, checksum)
    np.savez(path, **{name: array for name, array in arrays.items() if name.startswith("features")})
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DataError, match=r"has no classifier\.0\.weight"):
        vgg_weights.read_whole("vgg16", path, checksum)
