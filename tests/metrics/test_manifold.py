"""Precision, recall, density and coverage by loops, and where they must be 0 or 1."""

from __future__ import annotations

import numpy as np
import pytest

from jaxgan.metrics import manifold
from jaxgan.metrics.manifold import density_coverage, precision_recall


def _by_loops(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[float, float, float, float]:
    def radius(i, features):
        return sorted(np.linalg.norm(features[i] - x) for j, x in enumerate(features) if j != i)[
            k - 1
        ]

    def balls(point, centres, radii):
        return sum(np.linalg.norm(point - centre) <= r for centre, r in zip(centres, radii))

    of_real, of_fake = (
        [radius(i, real) for i in range(len(real))],
        [radius(i, fake) for i in range(len(fake))],
    )
    held = [balls(x, real, of_real) for x in fake]
    covered = [
        any(np.linalg.norm(centre - x) <= r for x in fake) for centre, r in zip(real, of_real)
    ]
    return (
        float(np.mean(np.array(held) > 0)),
        float(np.mean([balls(x, fake, of_fake) > 0 for x in real])),
        sum(held) / (k * len(fake)),
        float(np.mean(covered)),
    )


@pytest.mark.parametrize("block", [2**23, 50])
@pytest.mark.parametrize("k", [1, 3])
def test_against_loops(k, block, monkeypatch):
    """Also where a block is a single row, or a few."""
    monkeypatch.setattr(manifold, "_BLOCK", block)
    generator = np.random.default_rng(k)
    real, fake = generator.normal(size=(23, 2)), generator.normal(0.7, 0.8, (17, 2))
    found = (*precision_recall(real, fake, k), *density_coverage(real, fake, k))
    np.testing.assert_allclose(found, _by_loops(real, fake, k), rtol=1e-12)
    assert min(found) > 0
    assert found[0] != found[1]


def test_equal_sets():
    x = np.random.default_rng(0).normal(5, 1, (100, 8)).astype(np.float32)
    assert precision_recall(x, x) == (1.0, 1.0)
    density, coverage = density_coverage(x, x)
    assert coverage == 1.0
    assert 0.8 < density < 1.5


def test_far_sets():
    x = np.random.default_rng(0).normal(size=(50, 8))
    assert precision_recall(x, x + 100) == (0.0, 0.0)
    assert density_coverage(x, x + 100) == (0.0, 0.0)


def test_a_collapsed_generator_is_precise_and_covers_nothing():
    """Copies of one real image: precision 1, recall of that image alone, coverage of those it is near to."""
    real = np.random.default_rng(0).normal(1000, 1, (200, 16))
    fake = np.repeat(real[:1], 50, axis=0)
    assert precision_recall(real, fake) == (1.0, 1 / 200)
    assert density_coverage(real, fake)[1] < 0.2


def test_one_outlier():
    """It makes a ball as large as all, so that precision is 1 for anything near; density hardly changes."""
    generator = np.random.default_rng(0)
    real, fake = (
        np.concatenate([generator.normal(size=(200, 2)), [[1000.0, 0.0]]]),
        generator.normal(300, 1, (200, 2)),
    )
    assert precision_recall(real, fake, 3)[0] == 1.0
    np.testing.assert_allclose(density_coverage(real, fake, 5)[0], 0.2)


@pytest.mark.parametrize("measure", [precision_recall, density_coverage])
def test_refusals(measure):
    with pytest.raises(ValueError, match="smaller than either set, got 3 for 3 and 5"):
        measure(np.zeros((3, 2)), np.zeros((5, 2)), 3)
    with pytest.raises(ValueError, match="cannot be compared"):
        measure(np.zeros((9, 2)), np.zeros((9, 3)))
