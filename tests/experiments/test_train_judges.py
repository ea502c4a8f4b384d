"""Training judges on views of the digits: held-out accuracy that the file reproduces, splits that do not overlap, palettes that are found."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from experiments import colour_layouts, train_classifier, train_segmenter
from experiments.support import judge_training
from experiments.support.judge_training import Recipe, accuracy, split_off, train
from jaxgan import data
from jaxgan.data import Augment
from jaxgan.errors import DataError, NonFiniteError
from jaxgan.metrics import judges
from jaxgan.metrics.fit import fit

TINY = {
    "attributes": ("attributes:digits", {"widths": (8,), "hidden": 8, "normalise": True}, 0.95),
    "layout": ("layout:digits", {"widths": (16, 16)}, 0.95),
}


@pytest.mark.parametrize("kind", ["attributes", pytest.param("layout", marks=pytest.mark.slow)])
def test_a_judge_learns_and_its_file_says_how_well(kind, tmp_path):
    spec, network, least = TINY[kind]
    held_out = data.open(spec, split="test")
    recipe = Recipe(
        (16, 16),
        network,
        epochs=1 if kind == "attributes" else 2,
        batch_size=16,
        learning_rate=5e-3,
        augment=Augment(crop=2),
    )
    lines = []
    judge = train(
        kind, recipe, data.open(spec), held_out, 0, tmp_path / "judge.npz", "test", lines.append
    )
    opened = judges.open_judge(tmp_path / "judge.npz")
    found = accuracy(opened, held_out)
    assert {name: opened.meta["held_out"][name] for name in found} == found
    assert min(found.values()) > least
    assert opened.checksum == judge.checksum
    assert opened.checksum[:16] in lines[-1]
    assert opened.meta["training"]["examples"] == 1500
    assert opened.meta["outputs"] == list(held_out.attributes or held_out.classes)


def test_sets_without_the_truth_are_refused(tmp_path):
    digits = data.open("digits", image_size=(16, 16))
    with pytest.raises(DataError, match="has no layout for each image"):
        train(
            "layout",
            train_segmenter.recipe((16, 16), 1, False),
            digits,
            digits,
            0,
            tmp_path / "x.npz",
            "test",
        )


def test_an_eighth_is_split_off_at_random():
    digits = data.open("digits")
    rest, held = split_off(digits)
    assert (rest.size, held.size) == (1313, 187)
    pictures = [
        {image.tobytes() for image in part.arrays["image"]} for part in (rest, held, digits)
    ]
    assert pictures[0] | pictures[1] == pictures[2]
    np.testing.assert_array_equal(split_off(digits)[1].arrays["label"], held.arrays["label"])
    alternating = data.from_arrays("alternating", digits.arrays["image"][:800], np.arange(800) % 8)
    counts = np.bincount(split_off(alternating)[1].arrays["label"], minlength=8)
    assert counts.min() > 3, "kinds that take turns are all held out; every eighth would be of one"
    assert len({rest.fingerprint, held.fingerprint, digits.fingerprint}) == 3
    with pytest.raises(DataError, match="too few"):
        split_off(data.from_arrays("few", digits.arrays["image"][:7]))


def test_the_split_that_is_there_is_held_out():
    train_set, held_out, split = judge_training.open_split("digits", (8, 8))
    assert (train_set.size, held_out.size, split) == (1500, 297, "test")


def test_a_damaged_split_is_not_taken_for_one_that_is_not_there(tmp_path):
    """It was passed over in silence, and an eighth of the training images held out instead."""
    for split in ("train", "test"):
        for i in range(8):
            (tmp_path / split / str(i % 2)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8), i, np.uint8)).save(
                tmp_path / split / str(i % 2) / f"{i}.png"
            )
    (tmp_path / "test" / "0" / "0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"0\.png"):
        judge_training.open_split(f"folder:{tmp_path}", (8, 8))


def test_networks_are_as_deep_as_the_size_allows():
    assert judge_training.by_size((64, 64), 1, True).network["widths"] == (16, 32, 64, 128)
    assert judge_training.by_size((16, 16), 1, True).network["widths"] == (16, 32)
    assert train_segmenter.recipe((96, 128), 1, True).network["widths"] == (8, 16, 32, 64, 96)
    assert train_segmenter.recipe((16, 16), 1, True).network["widths"] == (8, 16, 32)


def test_what_is_unknown_does_not_count():
    """Pixels of the id after the last: their loss has no gradient, so logits there stay where they were."""

    class Table:
        def apply(self, variables, images, keys):
            return None, variables["params"]

    import jax
    import jax.numpy as jnp

    loss = judge_training._loss("layout", Table(), data.open("digits"))
    truth = jnp.array([[[0, 2], [1, 2]]])
    logits = jnp.zeros((1, 2, 2, 2))
    value, slope = jax.value_and_grad(loss)(logits, {"image": None, "layout": truth}, None)
    np.testing.assert_allclose(value, np.log(2), rtol=1e-6)
    np.testing.assert_allclose(slope[0, :, 1], 0)
    np.testing.assert_allclose(slope[0, 0, 0], [-0.25, 0.25])


def two_sets(count=160):
    """Grey squares: of one set it is told whether they are bright, of the other which half is."""
    random = np.random.default_rng(3)
    bright, side = random.integers(0, 2, count), random.integers(0, 2, count)
    plain = np.broadcast_to((40 + 160 * bright)[:, None, None, None], (count, 8, 8, 1)).astype(
        np.uint8
    )
    halves = np.where((np.arange(8) >= 4)[None, None, :] == side[:, None, None], 230, 20)[
        :, [0] * 8, :, None
    ].astype(np.uint8)
    a = data.with_attributes(data.from_arrays("a", plain), bright[:, None], ("bright",))
    b = data.with_attributes(
        data.from_arrays("b", halves),
        np.eye(2, dtype=np.uint8)[side],
        ("left", "right"),
        (("side", 2),),
    )
    return a, b


def test_a_judge_of_several_sets_is_measured_by_what_each_tells(tmp_path):
    """What a set did not tell was learnt as off, and counted as wrong: 0.5 where each set alone gives 1."""
    both = data.combine(two_sets())
    rest, held = split_off(both)
    bright, side = (int(count) for count in held.told.sum(0)[:2])
    assert (held.size, bright + side) == (40, 40)
    recipe = Recipe(
        (8, 8),
        {"widths": (8,), "hidden": 8, "normalise": False},
        epochs=12,
        batch_size=16,
        learning_rate=1e-2,
    )
    lines = []
    judge = train(
        "attributes", recipe, rest, held, 0, tmp_path / "judge.npz", "every eighth", lines.append
    )
    assert accuracy(judge, held) == {"bright": 1.0, "side": 1.0}
    assert judge.meta["held_out"]["counts"] == {"bright": bright, "side": side}
    assert f"bright 1.0000 of {bright}, side 1.0000 of {side} of 40 held-out" in lines[-1]
    with pytest.raises(DataError, match="not the same ones in its held-out part"):
        train("attributes", recipe, rest, two_sets()[0], 0, tmp_path / "judge.npz", "a")


def test_what_a_set_does_not_tell_has_no_gradient():
    import jax
    import jax.numpy as jnp

    class Table:
        def apply(self, variables, images, keys):
            return None, variables["params"]

    both = data.combine(two_sets(4))
    loss = judge_training._loss("attributes", Table(), both)
    batch = {
        "image": None,
        "attributes": jnp.asarray(both.arrays["attributes"]),
        "set": jnp.asarray(both.arrays["set"]),
    }
    slope = jax.grad(loss)(jnp.ones((8, 3)), batch, None)
    np.testing.assert_array_equal(np.asarray(slope) != 0, both.told)


def test_fit_finds_a_mean_and_reports_a_nan():
    digits = data.open("digits")
    mean = float(digits.arrays["label"].mean())

    def loss(params, batch, keys):
        return ((params["x"] - batch["label"]) ** 2).mean()

    settings = {"batch_size": 500, "seed": 0, "augment": Augment()}
    found = fit(loss, {"x": np.float32(0)}, digits, epochs=60, learning_rate=0.1, **settings)
    assert abs(float(found["x"]) - mean) < 0.1
    with pytest.raises(NonFiniteError, match="lower the learning rate"):
        fit(
            lambda *given: loss(*given) * np.nan,
            {"x": np.float32(0)},
            digits,
            epochs=1,
            learning_rate=0.1,
            **settings,
        )
    with pytest.raises(ValueError, match="must be above 0"):
        fit(loss, {"x": np.float32(0)}, digits, epochs=0, learning_rate=0.1, **settings)


def test_palettes_are_found_and_read():
    colours = np.array([[250, 250, 250], [170, 218, 255], [10, 120, 30]], np.uint8)
    ids = np.random.default_rng(0).choice(3, (4, 8, 8), p=[0.6, 0.3, 0.1])
    maps = colours[ids]
    names = colour_layouts.palette(maps, 3)
    assert names == ("#fafafa", "#aadaff", "#0a781e")
    np.testing.assert_array_equal(colour_layouts.read(maps, names), ids)
    noisy = np.clip(maps + np.random.default_rng(1).integers(-9, 10, maps.shape), 0, 255).astype(
        np.uint8
    )
    np.testing.assert_array_equal(colour_layouts.read(noisy, names), ids)
    pairs = data.from_domains("pairs", np.zeros_like(maps), maps, independent=False)
    made = colour_layouts.of_pairs(pairs, names)
    assert made.classes == names
    np.testing.assert_array_equal(made.arrays["layout"], np.concatenate([ids, ids]))
    np.testing.assert_array_equal(made.arrays["image"], np.concatenate([np.zeros_like(maps), maps]))
    with pytest.raises(DataError, match="use a paired: source"):
        colour_layouts.of_pairs(data.from_arrays("plain", maps))


def test_shipped_recipes_keep_their_size(tmp_path):
    with pytest.raises(ValueError, match="choose another name"):
        train_classifier.run("digits", image_size=(32, 32), out=tmp_path / "x.npz")
