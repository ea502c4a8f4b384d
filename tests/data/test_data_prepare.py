from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from jaxgan.data import normalise, prepare
from jaxgan.data.prepare import affine

KEY = jax.random.key(3)


def images(count=8, height=6, width=6, channels=2, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (count, height, width, channels)).astype(dtype)


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
    batch = {"image": images(), "label": np.arange(8, dtype=np.int32), "map": np.ones((8, 6, 6, 1), np.float32)}
    result = prepare(batch, KEY, 0)
    np.testing.assert_array_equal(result["image"], normalise(batch["image"]))
    assert result["label"] is batch["label"]
    assert result["map"] is batch["map"]


def test_flip_mirrors_about_half():
    batch = {"image": images(256)}
    plain = np.asarray(normalise(batch["image"]))
    result = np.asarray(jax.jit(partial(prepare, flip=True))(batch, KEY, 0)["image"])
    mirrored = np.array([np.array_equal(a, b[:, ::-1]) for a, b in zip(result, plain)])
    same = np.array([np.array_equal(a, b) for a, b in zip(result, plain)])
    np.testing.assert_array_equal(mirrored, ~same)
    assert 96 < mirrored.sum() < 160  # four standard deviations


def test_quarter_turns_are_all_four():
    batch = {"image": images(64)}
    plain = np.asarray(normalise(batch["image"]))
    result = np.asarray(prepare(batch, KEY, 0, rotate90=True)["image"])
    turns = [[k for k in range(4) if np.array_equal(a, np.rot90(b, k))] for a, b in zip(result, plain)]
    assert {len(found) for found in turns} == {1}
    assert {found[0] for found in turns} == {0, 1, 2, 3}


def test_crop_is_a_window_of_the_enlarged_image():
    batch = {"image": images(32)}
    result = np.asarray(prepare(batch, KEY, 0, crop=2)["image"])
    enlarged = np.asarray(jax.image.resize(normalise(batch["image"]), (32, 8, 8, 2), "bilinear"))
    found = set()
    for cut, whole in zip(result, enlarged):
        places = [(t, x) for t in range(3) for x in range(3) if np.allclose(cut, whole[t : t + 6, x : x + 6], atol=1e-6)]
        assert len(places) == 1
        found.add(places[0])
    assert len(found) >= 7  # of 9 places, 32 draws


def test_affine_against_closed_forms():
    image = jnp.asarray(images(1, 7, 7, 2)[0], jnp.float32)
    np.testing.assert_allclose(affine(image, jnp.float32(0), jnp.float32(1)), image, atol=1e-3)
    np.testing.assert_allclose(affine(image, jnp.float32(np.pi / 2), jnp.float32(1)), np.rot90(image), atol=1e-2)
    ramp = jnp.broadcast_to(jnp.arange(9.0)[:, None, None], (9, 5, 1))
    np.testing.assert_allclose(affine(ramp, jnp.float32(0), jnp.float32(2)), 4 + (np.asarray(ramp) - 4) / 2, atol=1e-5)


def test_turn_and_zoom_stay_within_the_settings():
    ramp = np.broadcast_to(np.arange(9, dtype=np.uint8)[None, :, None, None] * 20, (64, 9, 9, 1))
    plain = np.asarray(normalise(ramp))
    result = np.asarray(prepare({"image": ramp}, KEY, 0, scale=1.0)["image"])
    step = 40 / 255
    factors = step / (result[:, 5, 4, 0] - result[:, 4, 4, 0])  # the slope at the centre shrinks by the zoom
    assert 0.5 - 1e-4 <= factors.min() < 0.65
    assert 1.6 < factors.max() <= 2 + 1e-3
    turned = np.asarray(prepare({"image": ramp}, KEY, 0, rotation=30.0)["image"])
    sines = (turned[:, 4, 5, 0] - turned[:, 4, 4, 0]) / step
    assert 0.4 < np.abs(sines).max() <= 0.5 + 1e-4
    assert sines.min() < 0 < sines.max()
    np.testing.assert_allclose(turned[:, 4, 4], plain[:, 4, 4], atol=1e-5)


SETTINGS = {"flip": True, "crop": 2, "rotate90": True, "rotation": 10.0, "scale": 0.1}


def test_draws_differ_between_examples_steps_and_runs_and_repeat():
    batch = {"image": np.broadcast_to(images(1), (8, 6, 6, 2))}
    one = np.asarray(prepare(batch, KEY, 0, **SETTINGS)["image"])
    assert len(np.unique(one.reshape(8, -1), axis=0)) == 8
    np.testing.assert_array_equal(one, prepare(batch, KEY, 0, **SETTINGS)["image"])
    assert not np.array_equal(one, prepare(batch, KEY, 1, **SETTINGS)["image"])
    assert not np.array_equal(one, prepare(batch, jax.random.key(4), 0, **SETTINGS)["image"])


def test_same_on_one_and_four_devices_and_in_parts():
    batch = {"image": images(8)}
    whole = np.asarray(jax.jit(partial(prepare, **SETTINGS))(batch, KEY, 5)["image"])
    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))
    spread = jax.shard_map(
        partial(prepare, axis_name="data", **SETTINGS),
        mesh=mesh,
        in_specs=(PartitionSpec("data"), PartitionSpec(), PartitionSpec()),
        out_specs=PartitionSpec("data"),
    )
    np.testing.assert_allclose(jax.jit(spread)(batch, KEY, jnp.int32(5))["image"], whole, atol=1e-5)
    second = prepare({"image": batch["image"][4:]}, KEY, 5, first=4, **SETTINGS)["image"]
    np.testing.assert_allclose(second, whole[4:], atol=1e-5)


def test_pairs_stay_aligned():
    pair = images(8)
    result = prepare({"a": pair, "b": 255 - pair}, KEY, 0, **SETTINGS)
    np.testing.assert_allclose(result["a"], -result["b"], atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"crop": -1}, "crop"), ({"rotation": 200.0}, "rotation"), ({"scale": -0.1}, "scale"), ({"rotate90": True}, "square")],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        prepare({"image": images(2, 4, 6)}, KEY, 0, **settings)
