from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxgan.data
from jaxgan.data import idx

RNG = np.random.default_rng(1)


# ------------------------------------------------------------------------------------------------------------------- digits


def test_digits_against_scikit_learn():
    from sklearn.datasets import load_digits

    bunch = load_digits()
    data = jaxgan.data.open("digits", split="all")
    assert data.arrays["image"].shape == (1797, 8, 8, 1)
    np.testing.assert_allclose(data.arrays["image"][..., 0], bunch.images * 255 / 16, atol=0.5)
    np.testing.assert_array_equal(data.arrays["label"], bunch.target)
    assert data.classes == tuple("0123456789")
    assert (data.size, data.image_size, data.channels, data.class_count) == (1797, (8, 8), 1, 10)


def test_digits_splits_are_disjoint_and_whole(failure):
    train, test, every = (
        jaxgan.data.open("digits", split=split) for split in ("train", "test", "all")
    )
    assert (train.size, test.size) == (1500, 297)
    for name in ("image", "label"):
        np.testing.assert_array_equal(
            np.concatenate([train.arrays[name], test.arrays[name]]), every.arrays[name]
        )
    assert len({train.fingerprint, test.fingerprint, every.fingerprint}) == 3
    assert "train, test, all" in failure("digits", split="val")


def test_digits_enlarged_and_coloured():
    small, data = (
        jaxgan.data.open("digits"),
        jaxgan.data.open("digits", image_size=(16, 16), channels=3),
    )
    image = data.arrays["image"]
    assert image.shape == (1500, 16, 16, 3)
    np.testing.assert_array_equal(image[..., 0], image[..., 2])
    means = small.arrays["image"].mean((1, 2, 3)), image.mean((1, 2, 3))
    np.testing.assert_allclose(means[1], means[0], rtol=0.1, atol=2)
    assert data.cache is None
    with pytest.raises(ValueError, match="read-only"):
        image[0] = 0


def packed(content: bytes) -> bytes:
    """Gzipped, always to the same bytes: test runners compare the names of the cases, which hold them."""
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("paintings:x", "digits, idx:DIR, folder:DIR, zip:FILE, tfds:NAME[/CONFIG]"),
        ("", "digits, idx:DIR"),
        ("/some/folder", "folder:DIR"),
        ("folder:", "write folder:DIR"),
        ("digits:8", "write digits"),
    ],
)
def test_unknown_specs_list_the_known(spec, told, failure):
    assert told in failure(spec)


@pytest.mark.parametrize("settings", [{"channels": 2}, {"image_size": (0, 8)}])
def test_settings_out_of_range(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        jaxgan.data.open("digits", **settings)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"channels": (3, 2)},
            r"channels must be 1 \(grey\), 3 \(RGB\) or 4 \(RGBA\), or two of these for A and B, got \(3, 2\)",
        ),
        ({"channels": (3,)}, "or two of these"),
        ({"resize": "fill"}, "resize must be one of 'cover', 'stretch', 'width', got 'fill'"),
    ],
)
def test_settings_of_two_domains_out_of_range(options, told):
    with pytest.raises(ValueError, match=told):
        jaxgan.data.open("paired:digits", **options)


def test_two_numbers_of_channels_need_two_domains():
    with pytest.raises(
        ValueError,
        match=r"channels \(1, 3\) are for images of two domains, A and B, which digits does not hold",
    ):
        jaxgan.data.open("digits", channels=(1, 3))


# ---------------------------------------------------------------------------------------------------------------------- IDX


@settings(max_examples=30)
@given(st.data(), st.booleans())
def test_idx_round_trip(tmp_path_factory, draw, packed):
    shape = tuple(draw.draw(st.lists(st.integers(0, 5), min_size=1, max_size=4)))
    array = np.frombuffer(
        draw.draw(st.binary(min_size=(n := int(np.prod(shape))), max_size=n)), np.uint8
    ).reshape(shape)
    path = tmp_path_factory.mktemp("idx") / ("file.gz" if packed else "file")
    idx.write(path, array)
    result = idx.read(path)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, array)


def test_idx_other_types_are_big_endian(tmp_path):
    (tmp_path / "x").write_bytes(struct.pack(">HBBI3i", 0, 0x0C, 1, 3, 1, -2, 70000))
    np.testing.assert_array_equal(idx.read(tmp_path / "x"), [1, -2, 70000])


@pytest.fixture
def mnist(tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    for part, count in (("train", 7), ("t10k", 3)):
        idx.write(
            folder / f"{part}-images-idx3-ubyte.gz",
            RNG.integers(0, 256, (count, 4, 5)).astype(np.uint8),
        )
        idx.write(folder / f"{part}-labels-idx1-ubyte", np.arange(count, dtype=np.uint8))
    return folder


def test_idx_folder(mnist):
    train, test, every = (
        jaxgan.data.open(f"idx:{mnist}", split=split) for split in ("train", "test", "all")
    )
    np.testing.assert_array_equal(
        train.arrays["image"][..., 0], idx.read(mnist / "train-images-idx3-ubyte.gz")
    )
    np.testing.assert_array_equal(train.arrays["label"], np.arange(7))
    assert (test.size, every.size, test.class_count, every.class_count) == (3, 10, 7, 7)
    assert train.arrays["image"].shape == (7, 4, 5, 1)


def test_idx_without_labels_and_with_prefix(mnist, failure):
    for file in list(mnist.iterdir()):
        file.rename(mnist / f"letters-{file.name}")
    (mnist / "letters-train-labels-idx1-ubyte").unlink()
    data = jaxgan.data.open(f"idx:{mnist}?prefix=letters-")
    assert set(data.arrays) == {"image"}
    assert data.class_count == 0
    assert "letters-train-images-idx3-ubyte" not in failure(f"idx:{mnist}")
    assert "known here: prefix" in failure(f"idx:{mnist}?postfix=x")


def test_idx_resized_is_cached_beside_it(mnist):
    data = jaxgan.data.open(f"idx:{mnist}", image_size=(8, 8), progress=False)
    assert data.cache.parent == mnist / ".jaxgan-cache"
    assert data.arrays["image"].shape == (7, 8, 8, 1)
    np.testing.assert_array_equal(data.arrays["label"], np.arange(7))


IMAGES = "train-images-idx3-ubyte.gz"
LABELS = "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        (
            LABELS,
            b"\x01\x02\x08\x01\0\0\0\x07" + bytes(7),
            "is not an IDX file: it begins with bytes 01 02 08 01",
        ),
        (LABELS, b"", "is not an IDX file"),
        (LABELS, b"\0\0\x08\x01\0\0", "truncated within its IDX header"),
        (
            LABELS,
            b"\0\0\x08\x01\0\0\0\x07" + bytes(6),
            "promises 7 bytes of values, but it holds only 6",
        ),
        (
            LABELS,
            b"\0\0\x08\x01\0\0\0\x07" + bytes(8),
            "promises 7 bytes of values, but it holds more",
        ),
        (
            LABELS,
            b"\0\0\x08\x01\0\0\0\x06" + bytes(6),
            "holds 6 labels, but train-images-idx3-ubyte.gz holds 7 images",
        ),
        (LABELS, b"\0\0\x09\x01\0\0\0\x07" + b"\xff" * 7, "label -1"),
        (LABELS, b"\0\0\x08\x02\0\0\0\x07\0\0\0\x01" + bytes(7), "not labels"),
        (IMAGES, b"not gzip at all", "damaged or truncated gzip"),
        (
            IMAGES,
            packed(b"\0\0\x08\x03\xff\xff\xff\xff\0\0\0\x04\0\0\0\x05" + bytes(100)),
            "promises 85899345900 bytes",
        ),
        (IMAGES, packed(b"\0\0\x08\x01\0\0\0\x07" + bytes(7)), "not images"),
        (IMAGES, packed(b"\0\0\x08\x03\0\0\0\0\0\0\0\x04\0\0\0\x05"), "holds no images"),
        (
            IMAGES,
            packed(b"\0\0\x0d\x03\0\0\0\x01\0\0\0\x01\0\0\0\x01" + bytes(4)),
            "float32 values",
        ),
        (IMAGES, None, "holds neither train-images-idx3-ubyte nor train-images-idx3-ubyte.gz"),
    ],
)
def test_idx_damage_is_named(mnist, file, content, told, failure):
    path = mnist / file
    path.unlink() if content is None else path.write_bytes(content)
    message = failure(f"idx:{mnist}")
    assert told in message
    assert str(path if content is not None else mnist) in message


def test_idx_truncated_gzip(mnist, failure):
    path = mnist / IMAGES
    path.write_bytes(path.read_bytes()[:-30])
    message = failure(f"idx:{mnist}")
    assert str(path) in message
    assert "truncated gzip" in message


def test_idx_missing_folder(tmp_path, failure):
    assert "not a folder" in failure(f"idx:{tmp_path / 'nowhere'}")


def test_real_mnist(real_data):
    data = jaxgan.data.open(f"idx:{real_data / 'mnist'}")
    assert data.arrays["image"].shape == (60000, 28, 28, 1)
    assert np.bincount(data.arrays["label"]).tolist() == [
        5923,
        6742,
        5958,
        6131,
        5842,
        5421,
        5918,
        6265,
        5851,
        5949,
    ]
    assert (
        abs(data.arrays["image"].mean() / 255 - 0.1307) < 1e-4
    )  # the mean everyone normalises MNIST by
