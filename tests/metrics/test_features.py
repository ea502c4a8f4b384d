"""Extraction: the same features however the images come; the cache of real ones; which networks there are; images to a network's size."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgan.errors import DataError
from jaxgan.metrics import FeatureNetwork, Features, Outputs, cached, extract, open_network
from jaxgan.metrics.inputs import as_grey, as_rgb, resize, resize_tf1
from jaxgan.parallel import data_mesh

IMAGES = np.random.default_rng(0).integers(0, 256, (37, 4, 5, 1)).astype(np.uint8)
WEIGHTS = np.random.default_rng(1).normal(size=(20, 3)).astype(np.float32)


def _network(traced: list | None = None, logits: bool = True) -> FeatureNetwork:
    """Features are a matrix times the pixels, and they are the logits too. `traced` gets the shape of each batch that a program is made for."""

    def apply(params, images):
        if traced is not None:
            traced.append(images.shape)
        features = images.reshape(len(images), -1) @ params["w"]
        return Outputs(features, features if logits else None)

    return FeatureNetwork("toy", "0123", "none", (), {"w": jnp.array(WEIGHTS)}, apply)


def _expected(images: np.ndarray) -> np.ndarray:
    return (images.reshape(len(images), -1) / 127.5 - 1) @ WEIGHTS


@pytest.mark.parametrize("devices", [1, 8])
def test_whole_and_in_parts(devices):
    """A last batch that is not full, parts of other lengths than a batch, one program for all."""
    traced: list = []
    network, mesh = _network(traced), data_mesh(jax.devices()[:devices])
    whole = extract(network, IMAGES, batch_size=16, mesh=mesh)
    np.testing.assert_allclose(whole.features, _expected(IMAGES), rtol=1e-5, atol=1e-5)
    powers = np.exp(_expected(IMAGES))
    np.testing.assert_allclose(
        whole.probabilities, powers / powers.sum(1, keepdims=True), rtol=1e-4, atol=1e-6
    )
    parts = extract(
        network, (part for part in np.split(IMAGES, [3, 3, 29])), batch_size=16, mesh=mesh
    )
    np.testing.assert_array_equal(parts.features, whole.features)
    assert traced == [(16, 4, 5, 1)]


def test_few_images_make_a_small_batch_which_splits_over_all_devices():
    traced: list = []
    features = extract(_network(traced, logits=False), IMAGES[:9])
    assert traced == [(16, 4, 5, 1)]
    assert features.features.shape == (9, 3)
    assert features.probabilities is None


def test_images_are_taken_at_eight_bits():
    """Floats near a level, and 16 bits near it, have that level's features; out of range is clipped."""
    expected = extract(_network(), IMAGES).features
    near = (
        IMAGES / np.float32(127.5)
        - 1
        + np.random.default_rng(2).uniform(-0.003, 0.003, IMAGES.shape).astype(np.float32)
    )
    np.testing.assert_array_equal(extract(_network(), near).features, expected)
    np.testing.assert_array_equal(extract(_network(), jnp.array(near)).features, expected)
    fine = (IMAGES.astype(np.int64) * 257 + 100).clip(0, 65535).astype(np.uint16)
    np.testing.assert_array_equal(extract(_network(), fine).features, expected)
    bright = extract(_network(), np.full((1, 4, 5, 1), 1.5)).features
    np.testing.assert_allclose(bright, _expected(np.full((1, 4, 5, 1), 255)), rtol=1e-5)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[:0], "at least one image"),
        ([], "at least one image"),
        (IMAGES[0], r"must be \[N, H, W, C\]"),
        ([IMAGES, IMAGES[:, :3]], r"one size, got \[3, 5, 1\] after \[4, 5, 1\]"),
        (np.full((2, 4, 5, 1), np.nan), "must be finite"),
        (IMAGES.astype(np.int64), "got int64"),
    ],
)
def test_refusals(images, message):
    with pytest.raises(ValueError, match=message):
        extract(_network(), images, batch_size=8)


def test_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path))
    made = []

    def make():
        made.append(1)
        return Features(np.full((2, 3), len(made), np.float32), None)

    def value(name="train", fingerprint="abc", **other):
        return cached(_network()._replace(**other), name, fingerprint, make).features[0, 0]

    assert [value(), value()] == [1, 1]
    assert [
        value(name="test"),
        value(fingerprint="abd"),
        value(checksum="9"),
        value(resize="other"),
    ] == [2, 3, 4, 5]
    assert value() == 1
    assert [
        value(fingerprint=""),
        value(fingerprint=""),
        value(checksum=""),
        value(checksum=""),
    ] == [6, 7, 8, 9]
    for path in (tmp_path / "features").iterdir():
        assert path.suffix == ".npz"
        path.write_bytes(path.read_bytes()[:100])
    assert [value(), value()] == [10, 10]
    monkeypatch.setenv(
        "JAXGAN_CACHE", str(next((tmp_path / "features").iterdir()))
    )  # a file, in which nothing can be made
    assert [value(), value()] == [11, 12]


def test_cache_keeps_probabilities(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path))
    first, second = (
        cached(_network(), "train", "abc", lambda: extract(_network(), IMAGES)) for _ in range(2)
    )
    np.testing.assert_array_equal(first.features, second.features)
    np.testing.assert_array_equal(first.probabilities, second.probabilities)
    assert second.features.dtype == np.float32


@pytest.mark.parametrize("spec", ["resnet", "inception", "inception:", "digits:x"])
def test_unknown_networks(spec):
    with pytest.raises(
        ValueError,
        match=r"the kinds are digits, mnist, fashion_mnist, inception:FILE, vgg16:FILE, vgg19:FILE, judge:FILE",
    ):
        open_network(spec)


def test_a_judge_s_file_is_a_network():
    """The shipped classifier by its file: the same features under another name."""
    from jaxgan.metrics.classifier import WEIGHTS

    named, own = open_network("digits"), open_network(f"judge:{WEIGHTS / 'digits.npz'}")
    assert (own.name, own.checksum, own.classes) == (
        "judge of classes",
        named.checksum,
        named.classes,
    )
    np.testing.assert_array_equal(extract(own, IMAGES).features, extract(named, IMAGES).features)
    with pytest.raises(DataError, match=r"there is no file nowhere\.npz"):
        open_network("judge:nowhere.npz")


@pytest.mark.parametrize("kind", ["inception", "vgg16", "vgg19"])
def test_files_of_networks(kind, tmp_path):
    with pytest.raises(DataError, match="which are never downloaded"):
        open_network(f"{kind}:{tmp_path / 'absent.pth'}")
    path = tmp_path / "odd?name.npz"
    path.write_bytes(b"something else")
    with pytest.raises(
        DataError,
        match=f"is not the expected file of .*its SHA-256 begins .*, not {'6726825d' if kind == 'inception' else ''}",
    ):
        open_network(f"{kind}:{path}")
    with pytest.raises(DataError, match="not 00ff; take the original"):
        open_network(f"{kind}:{path}?checksum=00FF")
    with pytest.raises(ValueError, match=r"options that are not known: write FILE\?checksum"):
        open_network(f"{kind}:{path}?sum=00")
    with pytest.raises(
        ValueError,
        match="'768', '2048', got '3'" if kind == "inception" else "known here: checksum",
    ):
        open_network(f"{kind}:{path}?features=3")


# ------------------------------------------------------------------------------------------------------------------ sizes


def test_resize_is_pillows():
    image = np.random.default_rng(0).uniform(-1, 1, (9, 14)).astype(np.float32)
    for size in ((5, 6), (20, 10)):
        expected = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
        np.testing.assert_allclose(
            jax.jit(resize, static_argnums=1)(image[None, :, :, None], size)[0, :, :, 0],
            expected,
            atol=2e-6,
        )


@pytest.mark.parametrize("size", [(3, 4), (17, 29)])
def test_tf1_resize_by_loops(size):
    image = np.random.default_rng(0).uniform(-1, 1, (9, 14))
    expected = np.zeros(size)
    for i, j in np.ndindex(size):
        y, x = i * 9 / size[0], j * 14 / size[1]
        top, left = int(y), int(x)
        bottom, right, v, u = min(top + 1, 8), min(left + 1, 13), y - top, x - left
        expected[i, j] = (1 - v) * ((1 - u) * image[top, left] + u * image[top, right]) + v * (
            (1 - u) * image[bottom, left] + u * image[bottom, right]
        )
    found = jax.jit(resize_tf1, static_argnums=1)(image.astype(np.float32)[None, :, :, None], size)
    np.testing.assert_allclose(found[0, :, :, 0], expected, atol=2e-6)


def test_channels():
    """Grey is repeated; clear is white, solid its colour, half clear between."""
    grey = np.float32([[-1.0, 0.5]]).reshape(1, 1, 2, 1)
    np.testing.assert_array_equal(as_rgb(grey), np.repeat(grey, 3, -1))
    assert as_grey(grey) is grey
    clear, half, solid = np.float32([[0.2, -0.4, 0.6, opacity] for opacity in (-1, 0, 1)])
    colours = jax.jit(as_rgb)(np.stack([clear, half, solid]).reshape(1, 3, 1, 4)).reshape(3, 3)
    np.testing.assert_allclose(colours, [[1, 1, 1], [0.6, 0.3, 0.8], [0.2, -0.4, 0.6]], rtol=1e-5)
    luma = jax.jit(as_grey)(solid.reshape(1, 1, 1, 4))
    np.testing.assert_allclose(luma.ravel(), [0.299 * 0.2 - 0.587 * 0.4 + 0.114 * 0.6], rtol=1e-5)
    with pytest.raises(ValueError, match="1 to 4"):
        as_rgb(jnp.zeros((1, 2, 2, 5)))
