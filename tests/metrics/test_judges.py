"""Judges: networks by hand, files that are whole or refused, readings of known logits, and the classifiers that are shipped."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import data
from jaxgan.errors import DataError
from jaxgan.metrics import judges
from jaxgan.metrics.classifier import SHIPPED, WEIGHTS, feature_network, open_classifier, shipped
from jaxgan.metrics.features import extract
from jaxgan.metrics.judges import Judge
from jaxgan.networks.judge import Classifier, Segmenter

META = {
    "kind": "classes",
    "image_size": [4, 4],
    "channels": 1,
    "network": {"widths": [2], "hidden": 3},
    "outputs": ["x", "y"],
    "groups": [],
}


def rounded(seed=0):
    """Parameters of META's network that float16 holds exactly."""
    network = judges.build(META)
    params = jax.jit(network.init)(jax.random.key(seed), jnp.zeros((1, 4, 4, 1)))["params"]
    return network, judges.stored(params)


def test_the_classifier_by_hand():
    network, params = rounded()
    images = np.random.default_rng(0).standard_normal((2, 4, 4, 1)).astype(np.float32)
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    kernel, bias = (
        params["conv0"]["kernel"],
        params["conv0"]["bias"] + np.array([0.5, -0.5], np.float32),
    )
    params = {**params, "conv0": {"kernel": kernel, "bias": bias}}
    maps = np.array(
        [
            [
                [
                    np.sum(x[i : i + 3, j : j + 3, :, None] * kernel, (0, 1, 2)) + bias
                    for j in range(4)
                ]
                for i in range(4)
            ]
            for x in padded
        ]
    )
    pooled = np.maximum(maps, 0).reshape(2, 2, 2, 2, 2, 2).max((2, 4))
    hidden = np.maximum(
        pooled.reshape(2, -1) @ params["hidden"]["kernel"] + params["hidden"]["bias"], 0
    )
    features, logits = jax.jit(network.apply)({"params": params}, images)
    np.testing.assert_allclose(features, hidden, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        logits, hidden @ params["logits"]["kernel"] + params["logits"]["bias"], rtol=1e-5, atol=1e-6
    )


def test_dropout_draws_only_with_keys_and_keeps_the_mean():
    network = Classifier((2,), 64, 3, dropout=0.5)
    images = jnp.ones((1, 4, 4, 1)).repeat(64, 0)
    variables, run = jax.jit(network.init)(jax.random.key(0), images[:1]), jax.jit(network.apply)
    plain = run(variables, images)[1]
    dropped = run(variables, images, jax.random.split(jax.random.key(1), 64))[1]
    assert np.ptp(np.asarray(plain), axis=0).max() < 1e-6
    assert np.ptp(np.asarray(dropped), axis=0).min() > 1e-3
    np.testing.assert_allclose(np.mean(dropped, 0), plain[0], atol=4 * np.std(dropped, 0).max() / 8)


def test_sides_that_do_not_halve_are_refused():
    with pytest.raises(ValueError, match="multiples of 4"):
        Classifier((2, 2), 3, 2).init(jax.random.key(0), jnp.zeros((1, 6, 4, 1)))
    with pytest.raises(ValueError, match="multiples of 2"):
        Segmenter((8, 8), 2).init(jax.random.key(0), jnp.zeros((1, 4, 5, 1)))


def test_images_come_to_a_judges_size_and_channels():
    rgb = np.random.default_rng(0).uniform(-1, 1, (2, 4, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(
        judges.as_input(rgb, (4, 4), 1)[..., 0], rgb @ np.array([0.299, 0.587, 0.114]), atol=1e-6
    )
    np.testing.assert_array_equal(
        judges.as_input(rgb[..., :1], (4, 4), 3), rgb[..., :1].repeat(3, -1)
    )
    np.testing.assert_allclose(
        judges.as_input(np.full((1, 8, 6, 1), 0.25, np.float32), (4, 4), 1), 0.25, atol=1e-6
    )
    step = np.where(np.arange(8) < 4, -1, 1).astype(np.float32).reshape(1, 1, 8, 1).repeat(8, 1)
    assert (
        np.abs(judges.as_input(step, (16, 16), 1)).max() == 1
    )  # cubic overshoots at edges, and is cut
    clear = np.concatenate([rgb, np.full((2, 4, 4, 1), -1, np.float32)], axis=-1)
    np.testing.assert_allclose(
        judges.as_input(clear, (4, 4), 1), 1, atol=1e-6
    )  # opacity is resolved over white
    np.testing.assert_array_equal(judges.as_input(clear, (4, 4), 4), clear)
    with pytest.raises(ValueError, match=r"takes images \[B, H, W, 4\]"):
        judges.as_input(rgb, (4, 4), 4)
    with pytest.raises(ValueError, match="1 to 4"):
        judges.as_input(np.zeros((1, 4, 4, 5), np.float32), (4, 4), 1)


def test_a_file_holds_the_judge(tmp_path):
    _, params = rounded()
    checksum = judges.save(tmp_path / "one.npz", params, META)
    judge = judges.open_judge(tmp_path / "one.npz")
    assert (judge.kind, judge.checksum) == ("classes", checksum)
    assert judge.meta == {**META, "format": judges.FORMAT, "storage": "float16"}
    jax.tree.map(np.testing.assert_array_equal, judge.params, params)
    images = np.random.default_rng(0).integers(0, 256, (judges.BATCH + 3, 4, 4, 1)).astype(np.uint8)
    expected = jax.jit(judge.network.apply)({"params": params}, images / np.float32(127.5) - 1)[1]
    np.testing.assert_allclose(judges.logits(judge, images), expected, atol=1e-5)
    np.testing.assert_array_equal(judges.classify(judge, images), np.argmax(expected, -1))
    with pytest.raises(ValueError, match="'layout'"):
        judges.segment(judge, images)


def test_files_that_are_no_judges_are_refused(tmp_path):
    _, params = rounded()
    good = tmp_path / "good.npz"
    judges.save(good, params, META)
    content = good.read_bytes()
    flipped = bytearray(content)
    flipped[content.index(b"meta.npy") + 60] ^= 1
    stream = io.BytesIO()
    np.savez(stream, a=np.zeros(3))
    for name, wrong in {
        "torn": content[: len(content) // 2],
        "flipped": bytes(flipped),
        "other": stream.getvalue(),
        "text": b"hello",
        "empty": b"",
    }.items():
        (tmp_path / name).write_bytes(wrong)
        with pytest.raises(DataError, match="is no judge, or damaged"):
            judges.open_judge(tmp_path / name)
    judges.save(tmp_path / "later", params, {**META, "kind": "tastes"})
    with pytest.raises(DataError, match="update jaxgan"):
        judges.open_judge(tmp_path / "later")
    judges.save(tmp_path / "unlike", params, {**META, "outputs": ["x", "y", "z"]})
    with pytest.raises(DataError, match="other arrays than its description"):
        judges.open_judge(tmp_path / "unlike")
    with pytest.raises(DataError, match="there is no file"):
        judges.open_judge(tmp_path / "none")


def test_attributes_by_hand(monkeypatch):
    """A group of three, a binary attribute, a group of two: K = 6; the first image is wrong in the group of two, the second in the binary one."""
    groups = [["ink", 3], ["bold", 1], ["side", 2]]
    judge = Judge(
        "attributes", "", None, None, {**META, "outputs": list("abcdef"), "groups": groups}
    )
    values = np.array(
        [[1.0, 2.0, -1.0, 0.5, -3.0, -2.0], [-1.0, -2.0, -3.0, -0.5, 0.0, -1.0]], np.float32
    )
    monkeypatch.setattr(judges, "logits", lambda judge, images: values)
    np.testing.assert_array_equal(
        judges.attributes(judge, np.zeros(2)), [[0, 1, 0, 1, 0, 1], [1, 0, 0, 0, 1, 0]]
    )
    wanted = np.array([[0, 1, 0, 1, 1, 0], [1, 0, 0, 1, 1, 0]])
    assert judges.attribute_accuracy(judge, np.zeros(2), wanted) == {
        "ink": 1.0,
        "bold": 0.5,
        "side": 0.5,
    }
    told = np.array([[1, 1, 1, 1, 0, 0], [0, 0, 0, 1, 0, 0]], bool)
    assert judges.attribute_accuracy(judge, np.zeros(2), wanted * told, told) == {
        "ink": 1.0,
        "bold": 0.5,
    }, "no image tells the side"
    with pytest.raises(ValueError, match="wanted must be"):
        judges.attribute_accuracy(judge, np.zeros(2), wanted[:, :5])


# --------------------------------------------------------------------------------------------------------------- what is shipped

SPECS = {"digits": "digits", "mnist": "idx:{}/mnist", "fashion_mnist": "idx:{}/fashion-mnist"}
LEAST = {"digits": 0.96, "mnist": 0.99, "fashion_mnist": 0.91}


def check(name, spec):
    """The accuracy that the file states, on the images it states, as the feature network reads them; and the bar it was trained for."""
    judge, network = shipped(name), open_classifier(name)
    held_out = data.open(spec, split="test", image_size=tuple(judge.meta["image_size"]))
    stated = judge.meta["held_out"]
    assert (held_out.fingerprint, held_out.size) == (stated["fingerprint"], stated["count"])
    assert network.classes == held_out.classes
    assert network.checksum == judge.checksum[:16]
    found = extract(network, held_out.arrays["image"])
    assert found.features.shape == (held_out.size, judge.meta["network"]["hidden"])
    accuracy = np.mean(found.probabilities.argmax(1) == held_out.arrays["label"])
    assert abs(accuracy - stated["accuracy"]) <= 2 / held_out.size  # rounding may turn a tie
    assert accuracy >= LEAST[name]
    return judge


def test_the_digits_classifier_is_as_good_as_it_says():
    judge = check("digits", "digits")
    assert data.open("digits", image_size=(16, 16)).fingerprint == judge.meta["fingerprint"]
    plain = data.open("digits", split="test")  # at their own size, 8x8, it enlarges them itself
    assert (
        np.mean(judges.classify(judge, plain.arrays["image"]) == plain.arrays["label"])
        >= LEAST["digits"]
    )


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_other_classifiers_are_as_good_as_they_say(name, real_data):
    check(name, SPECS[name].format(real_data))


def test_shipped_files_are_small_and_say_where_they_come_from():
    assert sorted(path.stem for path in WEIGHTS.glob("*.npz")) == sorted(SHIPPED)
    for name in SHIPPED:
        assert (WEIGHTS / f"{name}.npz").stat().st_size < 2**20
        meta = shipped(name).meta
        assert {"data", "fingerprint", "split", "training", "versions", "storage"} <= set(meta)
        assert "/" not in meta["data"]
        assert meta["training"]["seed"] == 0
    with pytest.raises(ValueError, match="'digits', 'mnist', 'fashion_mnist'"):
        open_classifier("cifar10")


def test_a_built_package_has_the_weights(monkeypatch):
    setuptools = pytest.importorskip("setuptools")
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of setuptools, about its own future
        distribution = setuptools.Distribution({"script_name": "setup.py"})
        distribution.parse_config_files()
        build = distribution.get_command_obj("build_py")
        build.ensure_finalized()
        files = {
            Path(package.replace(".", "/")) / name
            for package, _, _, names in build.data_files
            for name in names
        }
    assert {Path("jaxgan/metrics/weights") / f"{name}.npz" for name in SHIPPED} <= files


def test_judges_of_pixels_have_features_but_no_classes():
    network = Segmenter((8,), 3)
    params = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    meta = {
        "kind": "layout",
        "image_size": [8, 8],
        "channels": 3,
        "network": {"widths": [8]},
        "outputs": list("abc"),
    }
    opened = feature_network(Judge("layout", "f" * 64, network, params, meta), "strokes")
    found = extract(
        opened, np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3)).astype(np.uint8)
    )
    assert found.features.shape == (5, 8)
    assert found.probabilities is None
    assert (opened.classes, opened.checksum) == ((), "f" * 16)
    assert json.dumps(opened.resize) == '"cubic, antialiased to 8x8"'
