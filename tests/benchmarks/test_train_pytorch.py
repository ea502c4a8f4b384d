"""Training in PyTorch by the flags of the experiments: the same order of examples and schedule as ours, and what it writes. Skipped without PyTorch."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from benchmarks import train_pytorch  # noqa: E402
from jaxgan import cyclegan, data, dcgan, optim, pix2pix  # noqa: E402
from jaxgan.data import Augment  # noqa: E402
from jaxgan.games.stabilisers import Stabilisers  # noqa: E402
from jaxgan.run import feed  # noqa: E402


def _numbered(count: int, first: int = 0) -> np.ndarray:
    """Images that tell their row, and in their pixels where they were cut and whether they are mirrored."""
    images = np.arange(first, first + count, dtype=np.uint8)[:, None, None, None] + np.zeros(
        (1, 10, 12, 3), np.uint8
    )
    images[..., 1], images[..., 2] = np.arange(10)[:, None], np.arange(12)
    return images


@pytest.mark.parametrize("family", [pix2pix, cyclegan])
def test_examples_come_in_the_order_of_our_own_runs(family):
    dataset = data.from_domains("numbered", _numbered(9), _numbered(9, 100), independent=False)
    config = family.Config(
        (8, 8), generator="resnet", generator_width=2, discriminator_width=2, discriminator_layers=1
    )
    options, rows = SimpleNamespace(batch_size=4, seed=3), []
    for step in range(4):
        batch = train_pytorch.batch_of(
            dataset, config, Augment(crop=2), options, step, np.random.default_rng(step)
        )
        rows.append(
            {
                name: np.rint((array[:, 0, 0, 0] + 1) * 127.5).astype(int)
                for name, array in batch.items()
            }
        )
    assert all(
        (one["b"] == one["a"] + 100).all() == family.conditioning(config).paired for one in rows
    )
    aligned = family.conditioning(config).paired
    for step, one in enumerate(rows):
        seeds = {"a": 3, "b": 3} if aligned else {"a": (3, 1), "b": (3, 2)}
        for name, seed in seeds.items():
            np.testing.assert_array_equal(
                one[name], data.order(9, 4, seed, step) + (100 if name == "b" else 0)
            )


def test_order_is_that_of_the_feed():
    """Of an independent set, by the loop's own feed."""
    dataset = data.from_domains(
        "numbered", _numbered(9)[:, :10, :10], _numbered(7, 100)[:, :10, :10], independent=True
    )
    source = feed.Feed(
        dataset,
        cyclegan.batch_spec(
            cyclegan.Config(
                (12, 12), generator_width=2, discriminator_layers=1, discriminator_width=2
            ),
            3,
        ),
        5,
        0,
        1,
    )
    order = source._order((5,), 2, 3)
    np.testing.assert_array_equal(order["a"], data.order(9, 3, (5, 1), 2))
    np.testing.assert_array_equal(order["b"], data.order(7, 3, (5, 2), 2))


def test_pairs_are_cropped_and_mirrored_alike():
    dataset = data.from_domains("numbered", _numbered(40), _numbered(40, 100), independent=False)
    config, options = (
        pix2pix.Config((8, 8), generator="resnet", discriminator_layers=1),
        SimpleNamespace(batch_size=40, seed=0),
    )
    batch = train_pytorch.batch_of(
        dataset, config, Augment(crop=2, flip=True), options, 0, np.random.default_rng(0)
    )
    # Columns 8 to 11 are cut away: the margin is 2 of a height of 10, and a width of 12 keeps its left 10.
    a, b = (np.rint((batch[name][..., 1:] + 1) * 127.5).astype(int) for name in "ab")
    np.testing.assert_array_equal(a, b)
    assert {int(top) for top in a[:, 0, 0, 0]} == {0, 1, 2}
    mirrored = a[:, 0, 0, 1] > a[:, 0, 1, 1]
    assert 8 < mirrored.sum() < 32


@pytest.mark.parametrize("images", [0, 10, 15, 19, 20, 50])
def test_rate_is_ours(images):
    settings = optim.Optimizer(constant_images=10, decay_images=10)
    assert train_pytorch.rate(settings, images) == pytest.approx(
        float(optim.learning_rate(settings, images)), abs=1e-9
    )
    assert train_pytorch.rate(optim.Optimizer(), images) == 2e-4


@pytest.mark.parametrize(
    ("family", "config", "sentence"),
    [
        ("dcgan", dcgan.Config(stabilisers=Stabilisers(r1=1.0)), "have no stabilisers"),
        ("dcgan", dcgan.Config(classes=3), "no classes"),
        ("pix2pix", pix2pix.Config(upsampling="resize"), "transposed"),
        ("cyclegan", cyclegan.improved(), "no cycle critics"),
    ],
)
def test_what_the_games_have_not_is_refused(family, config, sentence):
    with pytest.raises(ValueError, match=sentence):
        train_pytorch.check_settings(family, config, Augment())


SMALL = ["--config.generator-width", "4", "--config.discriminator-width", "4"]


@pytest.mark.parametrize(
    ("family", "flags", "made"),
    [
        (
            "dcgan",
            [
                "--data",
                "digits",
                "--preset",
                "mnist",
                "--config.image-size",
                "16",
                "16",
                "--batch-size",
                "8",
            ],
            ["image"],
        ),
        pytest.param(
            "pix2pix",
            ["--config.direction", "b2a", "--batch-size", "4"],
            ["b2a"],
            marks=pytest.mark.slow,
        ),
        (
            "cyclegan",
            ["--batch-size", "4", "--config.stabilisers.ema-half-life", "0"],
            ["a2b", "b2a"],
        ),
    ],
)
def test_a_short_training_writes_images(family, flags, made, tmp_path, capsys):
    arguments = [
        family,
        *flags,
        *SMALL,
        "--images",
        "16",
        "--seconds",
        "60",
        "--samples",
        "5",
        "--out",
        str(tmp_path / "run"),
    ]
    train_pytorch.main(arguments)
    with np.load(tmp_path / "run" / "generated.npz") as file:
        images = dict(file)
    assert list(images) == made
    for array in images.values():
        assert array.dtype == np.uint8
        assert array.shape[:3] == (5, 16, 16)
        assert array.std() > 0
    told = json.loads((tmp_path / "run" / "run.json").read_text())
    assert told["images"] == 16
    assert all(np.isfinite(value) for value in told["losses"].values())
    assert "16 images in" in capsys.readouterr().out
