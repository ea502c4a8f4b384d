"""Metrics on given features, and Inception on given images, against torch-fidelity."""

from __future__ import annotations

import hashlib
import json
import runpy
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxgan.errors import DataError
from jaxgan.metrics import FeatureNetwork, extract, frechet, open_network
from jaxgan.metrics.inception_score import inception_score
from jaxgan.metrics.kernel import kid
from jaxgan.metrics.manifold import precision_recall
from jaxgan.parallel import data_mesh
from jaxgan.perceptual import inception_weights

Arrays = dict[str, np.ndarray]
FIRST = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3")


def _case(golden: Path, name: str) -> Arrays:
    with np.load(golden / f"{name}.npz") as file:
        return dict(file)


def test_metrics(golden):
    """The second set is the real one there."""
    case = _case(golden, "metrics")
    fake, real = case["inputs/features_1"], case["inputs/features_2"]
    expected = {
        name.removeprefix("outputs/"): float(value)
        for name, value in case.items()
        if name.startswith("outputs/")
    }
    np.testing.assert_allclose(
        frechet.distance(frechet.moments(real), frechet.moments(fake)),
        expected["frechet_inception_distance"],
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        kid(real, fake, subset_size=600)[0], expected["kernel_inception_distance_mean"], rtol=1e-6
    )
    np.testing.assert_allclose(
        precision_recall(real, fake), (expected["precision"], expected["recall"]), rtol=1e-6
    )
    powers = np.exp(case["inputs/logits"].astype(np.float64))
    probabilities = powers / powers.sum(1, keepdims=True)
    np.testing.assert_allclose(
        inception_score(probabilities),
        (expected["inception_score_mean"], expected["inception_score_std"]),
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        inception_score(probabilities, 1)[0], expected["inception_score_mean_1_split"], rtol=1e-6
    )


def _network(
    golden: Path, case: Arrays, folder: Path, layer: str, starts: tuple[str, ...] = ("",)
) -> FeatureNetwork:
    """Inception from a file of the weights that the case names, of which only those are made whose names start so."""
    shapes = {
        name: tuple(shape)
        for name, shape in json.loads(str(case["meta"]))["state_dict"].items()
        if name.startswith(starts)
    }
    path = folder / "weights.npz"
    np.savez(path, **runpy.run_path(str(golden / "weights_by_name.py"))["weights_by_name"](shapes))
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    network = open_network(f"inception:{path}?checksum={checksum[:10]}&features={layer}")
    assert network.checksum == checksum[:16]
    return network


def _assert_forward(ours: np.ndarray, reference: np.ndarray) -> None:
    """Far inside the tolerance of forward passes, which is 2e-4."""
    assert ours.shape == reference.shape
    assert np.max(np.abs(ours - reference)) <= 1e-5 * np.max(np.abs(reference))


def test_first_layers_of_inception(golden, tmp_path):
    """Resizing, the range of levels, folded batch norms, the first maximum: all that is particular about the input."""
    case = _case(golden, "inception_v3")
    network = _network(golden, case, tmp_path, "64", FIRST)
    assert (network.name, network.resize) == ("inception-64", "TensorFlow 1 bilinear to 299")
    found = extract(network, case["inputs/x"], mesh=data_mesh(jax.devices()[:1]))
    assert found.probabilities is None
    _assert_forward(found.features, case["outputs/64"])


@pytest.mark.slow
def test_inception(golden, tmp_path):
    """Every layer's features, and the classes of the score."""
    case = _case(golden, "inception_v3")
    for layer in ("192", "768", "2048"):
        found = extract(
            _network(golden, case, tmp_path, layer),
            case["inputs/x"],
            mesh=data_mesh(jax.devices()[:1]),
        )
        _assert_forward(found.features, case[f"outputs/{layer}"])
    assert found.probabilities is not None
    logits = case["outputs/logits_unbiased"].astype(np.float64)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    _assert_forward(found.probabilities, powers / powers.sum(1, keepdims=True))


def test_inception_from_another_file():
    """torchvision's Inception lacks the parts by these names, and has fewer classes."""
    with pytest.raises(
        DataError,
        match=r"the state dict has no Conv2d_1a_3x3\.conv\.weight: name a state dict of FID's Inception",
    ):
        inception_weights.from_arrays("64", {"features.0.weight": np.zeros((1, 1, 1, 1))})
    with pytest.raises(
        DataError,
        match=r"Conv2d_1a_3x3\.conv\.weight in the state dict has shape \(32, 1, 3, 3\), where .* has \(32, 3, 3, 3\)",
    ):
        inception_weights.from_arrays("64", {"Conv2d_1a_3x3.conv.weight": np.zeros((32, 1, 3, 3))})
