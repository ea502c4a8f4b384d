from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec
from PIL import Image

from jaxgan.data import Augment, normalise, prepare
from jaxgan.data.prepare import affine, enlarge
from jaxgan.update import example_keys, example_streams, stream_key

KEY = jax.random.key(3)


def images(count=8, height=6, width=6, channels=2, dtype=np.uint8, seed=0):
    return (
        np.random.default_rng(seed)
        .integers(0, np.iinfo(dtype).max + 1, (count, height, width, channels))
        .astype(dtype)
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_normalise_every_value(dtype):
    top = np.iinfo(dtype).max
    values = np.arange(top + 1).astype(dtype)
    result = np.asarray(jax.jit(normalise)(values))
    assert result.dtype == np.float32
    assert result[0] == -1
    assert result[-1] == 1
    assert np.all(np.diff(result) > 0)
    np.testing.assert_allclose(result, values / (top / 2) - 1, rtol=0, atol=1e-7)


def test_normalise_refuses_floats():
    with pytest.raises(ValueError, match="uint8 or uint16, got float32"):
        normalise(jnp.zeros(3))


def test_identity_by_default_and_other_arrays_untouched():
    batch = {
        "image": images(),
        "label": np.arange(8, dtype=np.int32),
        "map": np.ones((8, 6, 6, 1), np.float32),
    }
    result = prepare(batch, KEY, 0)
    np.testing.assert_array_equal(result["image"], normalise(batch["image"]))
    assert result["label"] is batch["label"]
    assert result["map"] is batch["map"]


def test_flip_mirrors_about_half():
    batch = {"image": images(256)}
    plain = np.asarray(normalise(batch["image"]))
    result = np.asarray(
        jax.jit(partial(prepare, augment=Augment(flip=True)))(batch, KEY, 0)["image"]
    )
    mirrored = np.array([np.array_equal(a, b[:, ::-1]) for a, b in zip(result, plain)])
    same = np.array([np.array_equal(a, b) for a, b in zip(result, plain)])
    np.testing.assert_array_equal(mirrored, ~same)
    assert 96 < mirrored.sum() < 160  # four standard deviations


def test_quarter_turns_are_all_four():
    batch = {"image": images(64)}
    plain = np.asarray(normalise(batch["image"]))
    result = np.asarray(prepare(batch, KEY, 0, Augment(rotate90=True))["image"])
    turns = [
        [k for k in range(4) if np.array_equal(a, np.rot90(b, k))] for a, b in zip(result, plain)
    ]
    assert {len(found) for found in turns} == {1}
    assert {found[0] for found in turns} == {0, 1, 2, 3}


@pytest.mark.parametrize("given", [6, 8], ids=["enlarged here", "larger by the margin"])
def test_crop_is_a_window_of_the_larger_image(given):
    batch = {"image": images(32, given, given)}
    result = np.asarray(prepare(batch, KEY, 0, Augment(crop=2), sizes={"image": (6, 6)})["image"])
    enlarged = np.asarray(enlarge(normalise(batch["image"]), 8, 8))
    found = set()
    for cut, whole in zip(result, enlarged):
        places = [
            (t, x)
            for t in range(3)
            for x in range(3)
            if np.allclose(cut, whole[t : t + 6, x : x + 6], atol=1e-6)
        ]
        assert len(places) == 1
        found.add(places[0])
    assert len(found) >= 7  # of 9 places, 32 draws


def test_affine_against_closed_forms():
    image = jnp.asarray(images(1, 7, 7, 2)[0], jnp.float32)
    np.testing.assert_allclose(affine(image, jnp.float32(0), jnp.float32(1)), image, atol=1e-3)
    np.testing.assert_allclose(
        affine(image, jnp.float32(np.pi / 2), jnp.float32(1)), np.rot90(image), atol=1e-2
    )
    ramp = jnp.broadcast_to(jnp.arange(9.0)[:, None, None], (9, 5, 1))
    np.testing.assert_allclose(
        affine(ramp, jnp.float32(0), jnp.float32(2)), 4 + (np.asarray(ramp) - 4) / 2, atol=1e-5
    )


def test_turn_and_zoom_stay_within_the_settings():
    ramp = np.broadcast_to(np.arange(9, dtype=np.uint8)[None, :, None, None] * 20, (64, 9, 9, 1))
    plain = np.asarray(normalise(ramp))
    result = np.asarray(prepare({"image": ramp}, KEY, 0, Augment(scale=1.0))["image"])
    step = 40 / 255
    factors = step / (
        result[:, 5, 4, 0] - result[:, 4, 4, 0]
    )  # the slope at the centre shrinks by the zoom
    assert 0.5 - 1e-4 <= factors.min() < 0.65
    assert 1.6 < factors.max() <= 2 + 1e-3
    turned = np.asarray(prepare({"image": ramp}, KEY, 0, Augment(rotation=30.0))["image"])
    sines = (turned[:, 4, 5, 0] - turned[:, 4, 4, 0]) / step
    assert 0.4 < np.abs(sines).max() <= 0.5 + 1e-4
    assert sines.min() < 0 < sines.max()
    np.testing.assert_allclose(turned[:, 4, 4], plain[:, 4, 4], atol=1e-5)


SETTINGS = Augment(flip=True, crop=2, rotate90=True, rotation=10.0, scale=0.1)


def test_draws_differ_between_examples_steps_and_runs_and_repeat():
    batch = {"image": np.broadcast_to(images(1), (8, 6, 6, 2))}
    one = np.asarray(prepare(batch, KEY, 0, SETTINGS)["image"])
    assert len(np.unique(one.reshape(8, -1), axis=0)) == 8
    np.testing.assert_array_equal(one, prepare(batch, KEY, 0, SETTINGS)["image"])
    assert not np.array_equal(one, prepare(batch, KEY, 1, SETTINGS)["image"])
    assert not np.array_equal(one, prepare(batch, jax.random.key(4), 0, SETTINGS)["image"])


def test_same_on_one_and_four_devices_and_in_parts():
    batch = {"image": images(8)}
    whole = np.asarray(jax.jit(partial(prepare, augment=SETTINGS))(batch, KEY, 5)["image"])
    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))
    spread = jax.shard_map(
        partial(prepare, axis_name="data", augment=SETTINGS),
        mesh=mesh,
        in_specs=(PartitionSpec("data"), PartitionSpec(), PartitionSpec()),
        out_specs=PartitionSpec("data"),
    )
    np.testing.assert_allclose(jax.jit(spread)(batch, KEY, jnp.int32(5))["image"], whole, atol=1e-5)
    second = prepare({"image": batch["image"][4:]}, KEY, 5, SETTINGS, first=4)["image"]
    np.testing.assert_allclose(second, whole[4:], atol=1e-5)


def test_pairs_stay_aligned():
    pair = images(8)
    result = prepare({"a": pair, "b": 255 - pair}, KEY, 0, SETTINGS)
    np.testing.assert_allclose(result["a"], -result["b"], atol=1e-5)


def test_independent_arrays_draw_on_their_own():
    pair = images(64)
    together = prepare({"a": pair, "b": pair}, KEY, 0, Augment(flip=True))
    apart = prepare({"a": pair, "b": pair}, KEY, 0, Augment(flip=True), aligned=False)
    np.testing.assert_array_equal(together["a"], together["b"])
    same = [
        sum(np.array_equal(x, y) for x, y in zip(one, other))
        for one, other in [apart.values(), (apart["a"], together["a"])]
    ]
    assert all(16 < count < 48 for count in same)  # of 64 mirrored or not, four standard deviations
    alone = prepare({"b": pair}, KEY, 0, Augment(flip=True), aligned=False)
    np.testing.assert_array_equal(alone["b"], apart["b"])


@pytest.mark.parametrize(("aligned", "domain"), [(True, ""), (False, " a")])
def test_draws_come_from_these_streams(aligned, domain):
    """Runs that exist can be resumed only as long as the names, and how they are drawn from, stay."""
    batch = {"a": images(8, 9, 9)}
    whole, keys = np.asarray(normalise(batch["a"])), example_keys(stream_key(KEY, "augment", 7), 8)
    result = prepare(
        batch,
        KEY,
        7,
        Augment(flip=True, crop=3, rotate90=True),
        sizes={"a": (6, 6)},
        aligned=aligned,
    )["a"]
    places = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, 4))(
        example_streams(keys, f"crop{domain}")
    )
    turns = jax.vmap(lambda key: jax.random.randint(key, (), 0, 4))(
        example_streams(keys, f"quarter turns{domain}")
    )
    mirrored = jax.vmap(jax.random.bernoulli)(example_streams(keys, f"flip{domain}"))
    for i, (top, left) in enumerate(np.asarray(places)):
        expected = np.rot90(whole[i, top : top + 6, left : left + 6], int(turns[i]))
        np.testing.assert_array_equal(result[i], expected[:, ::-1] if mirrored[i] else expected)
    turn, zoom = jax.vmap(lambda key: jax.random.uniform(key, (2,), minval=-1.0))(
        example_streams(keys, f"turn and zoom{domain}")
    ).T
    expected = jax.vmap(affine)(whole, jnp.deg2rad(10.0) * turn, 1.5**zoom)
    np.testing.assert_allclose(
        prepare(batch, KEY, 7, Augment(rotation=10.0, scale=0.5), aligned=aligned)["a"],
        expected,
        atol=1e-5,
    )


@pytest.mark.parametrize("size", [(9, 13), (12, 8), (14, 16)])
def test_enlarging_is_pillows(size):
    """To the last digit where nothing is rounded (mode F), within its two roundings where it works on bytes, overshoot at sharp edges included."""
    smooth = np.random.default_rng(1).uniform(-0.5, 0.5, (9, 8)).astype(np.float32)
    result = np.asarray(enlarge(jnp.asarray(smooth)[None, :, :, None], *size))[0, :, :, 0]
    np.testing.assert_allclose(
        result,
        Image.fromarray(smooth).resize(size[::-1], Image.Resampling.BICUBIC),
        rtol=0,
        atol=1e-6,
    )
    sharp = np.random.default_rng(2).choice(np.array([0, 10, 245, 255], np.uint8), (9, 8, 3))
    result = (np.asarray(enlarge(normalise(sharp)[None], *size))[0] + 1) * 127.5
    assert result.min() >= 0
    assert result.max() <= 255
    np.testing.assert_allclose(
        result,
        np.asarray(Image.fromarray(sharp).resize(size[::-1], Image.Resampling.BICUBIC)),
        rtol=0,
        atol=1.25,
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": -1}, "crop must be at least 0, got -1"),
        ({"crop": 1.5}, "Augment.crop must be an integer, got 1.5"),
        ({"rotation": 200.0}, r"rotation \(degrees\) must be between 0 and 180, got 200.0"),
        ({"scale": -0.1}, r"scale \(zoom\) must be at least 0, got -0.1"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        Augment(**settings)


@pytest.mark.parametrize(
    ("augment", "sizes", "message"),
    [
        (Augment(rotate90=True), None, "rotate90 needs square images, image is 4x6"),
        (Augment(), {"image": (4, 4)}, "image must be 4x4, got 4x6"),
        (Augment(crop=3), {"image": (2, 4)}, "image must be 2x4 or, with crop=3, 5x7, got 4x6"),
    ],
)
def test_sizes_that_do_not_fit(augment, sizes, message):
    with pytest.raises(ValueError, match=message):
        prepare({"image": images(2, 4, 6)}, KEY, 0, augment, sizes=sizes)
