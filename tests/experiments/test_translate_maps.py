"""`experiments.translate` of a run that starts from label maps: ids in files, instances, styles, and one sentence for what cannot be."""

from __future__ import annotations

import functools
import json
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments.support import label_maps
from jaxgan import spade
from jaxgan.data.images import BadImage
from jaxgan.games import layouts
from jaxgan.pictures.images import to_uint8
from jaxgan.state import State
from tests.contract.helpers import EVERY
from tests.experiments.test_translate import go, pixels_of, put, refused

PLAIN, STYLES = EVERY["spade"].config, EVERY["spade styles"].config
"""8 x 8, 4 classes and unknown; 16 x 32, 3 classes, instance edges, styles."""
RNG = np.random.default_rng(0)


def filled(path, leaf):
    """Numbers that are not those of a fresh network, which makes grey of everything, and singular values that are not near 0."""
    name = jax.tree_util.keystr(path)
    if "spectral" in name:
        return np.full(leaf.shape, leaf.size**-0.5, np.float32)
    return (
        np.ones(leaf.shape, np.float32)
        if "var" in name
        else np.random.default_rng(zlib.crc32(name.encode()))
        .normal(0.1, 0.3, leaf.shape)
        .astype(np.float32)
    )


@pytest.fixture(scope="module")
def states():
    found = {}
    for config in (PLAIN, STYLES):
        state = jax.eval_shape(functools.partial(spade.init, config), jax.random.key(0))
        found[config] = State(
            jnp.int32(0), jnp.int32(0), {}, jax.tree.map_with_path(filled, state.ema), {}
        )
    return found


@pytest.fixture
def run(monkeypatch, tmp_path, states):
    """use(config, data) makes `tmp_path`/run a run of these settings."""
    import jaxgan.checkpoint

    def use(config, data="layout:somewhere"):
        monkeypatch.setattr(
            jaxgan.checkpoint, "load", lambda folder: (spade, config, states[config])
        )
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / "config.json").write_text(json.dumps({"data": data}))
        return states[config]

    return use


def translated(config, state, maps, **options):
    return np.asarray(
        jax.jit(lambda maps: spade.translate(config, state, maps, **options))(jnp.asarray(maps))
    )


def test_a_folder_of_maps(run, tmp_path):
    """Each by `spade.translate`; 255 is unknown; a palette's indices are ids; the page shows them in colours."""
    state = run(PLAIN)
    ids = RNG.integers(0, 4, (2, 8, 8)).astype(np.uint8)
    ids[0, 0, 0] = 255
    put(tmp_path / "in" / "a.png", ids[0][..., None])
    palette = Image.fromarray(ids[1], "P")
    palette.putpalette([9, 9, 9] * 256)
    palette.save(tmp_path / "in" / "b.png")
    assert go(tmp_path, "--batch", "2") == 0
    made = translated(PLAIN, state, np.where(ids == 255, 4, ids).astype(np.int32))
    assert np.ptp(made) > 0.1
    for i, name in enumerate("ab"):
        np.testing.assert_allclose(
            pixels_of(tmp_path / "out" / f"{name}.png"), to_uint8(made[i]), atol=1
        )
    assert (tmp_path / "out" / "index.html").stat().st_size > 1000
    shown = label_maps.coloured(PLAIN, np.stack([np.where(ids[0] == 255, 4, ids[0])] * 2, -1))
    np.testing.assert_array_equal(
        shown,
        to_uint8(layouts.coloured(PLAIN, jnp.asarray(np.where(ids[:1] == 255, 4, ids[:1])))[0]),
    )


def test_ids_count_as_in_the_runs_data(run, tmp_path):
    """With ?unknown=0, class 0 has the id 1; --unknown says otherwise."""
    run(PLAIN, "layout:somewhere?classes=4&unknown=0")
    ids = RNG.integers(1, 5, (8, 8)).astype(np.uint8)
    path = put(tmp_path / "in" / "a.png", ids[..., None])
    reader = label_maps.reader(PLAIN, tmp_path / "run", path, None, None)
    np.testing.assert_array_equal(reader(path)[..., 0], ids - 1)
    np.testing.assert_array_equal(reader(path)[..., 1], ids - 1)
    np.testing.assert_array_equal(
        label_maps.reader(PLAIN, tmp_path / "run", path, "9,4", None)(path)[..., 0], ids
    )


def test_instances_and_styles(run, tmp_path):
    """Maps of instances by name; the style of an image, or one drawn for each number."""
    state = run(STYLES)
    ids, instances = (
        RNG.integers(0, 3, (2, 16, 32)).astype(np.uint8),
        RNG.integers(0, 60_000, (2, 16, 32)).astype(np.uint16),
    )
    image = put(
        tmp_path / "dusk.png", RNG.integers(0, 256, (16, 32, STYLES.channels)).astype(np.uint8)
    )
    for i in range(2):
        put(tmp_path / "in" / "deep" / f"{i}.png", ids[i][..., None])
        put(tmp_path / "instances" / "deep" / f"{i}.png", instances[i][..., None])
    told = {"instances": jnp.asarray(instances, jnp.int32)}
    style = jax.jit(lambda image: spade.encode_style(STYLES, state, image))(
        pixels_of(image).reshape(1, 16, 32, -1).astype(np.float32) / 127.5 - 1
    )
    assert go(tmp_path, "--instances", str(tmp_path / "instances"), "--style", str(image)) == 0
    assert (
        go(tmp_path, "--instances", str(tmp_path / "instances"), "--seed", "3", target="drawn") == 0
    )
    expected = {
        "out": translated(STYLES, state, ids, style=style[0], **told),
        "drawn": translated(STYLES, state, ids, key=jax.random.key(3), **told),
    }
    for folder, made in expected.items():
        for i in range(2):
            np.testing.assert_allclose(
                pixels_of(tmp_path / folder / "deep" / f"{i}.png"),
                to_uint8(made[i]),
                atol=1,
                err_msg=folder,
            )
    assert np.abs(expected["out"] - expected["drawn"]).max() > 0.02


def test_maps_that_are_none_are_left_out(run, tmp_path, capsys):
    run(STYLES)
    put(tmp_path / "in" / "high.png", np.full((16, 32, 1), 3, np.uint8))
    put(tmp_path / "in" / "unknown.png", np.full((16, 32, 1), 255, np.uint8))
    put(tmp_path / "in" / "colours.png", np.zeros((16, 32, 3), np.uint8))
    put(tmp_path / "in" / "array.npy", np.zeros((16, 32), np.uint8))
    put(tmp_path / "in" / "alone.png", np.zeros((16, 32, 1), np.uint8))
    put(tmp_path / "instances" / "high.png", np.zeros((16, 32, 1), np.uint8))
    assert go(tmp_path, "--instances", str(tmp_path / "instances")) == 1
    error = capsys.readouterr().err
    assert (
        "high.png has the id 3 in row 0, column 0, but ids are 0 to 2, and 255 where unknown: repair it, or give another --unknown"
        in error
    )
    assert (
        "unknown.png has a pixel of unknown class in row 0, column 0, and the run was trained without any"
        in error
    )
    assert "colours.png has colours (RGB) in place of ids" in error
    assert "array.npy is an array: save the map as PNG" in error
    assert "alone.png has no map of instances of the same name" in error


def test_requests_that_are_refused(run, tmp_path, capsys):
    put(tmp_path / "in" / "a.png", np.zeros((8, 8, 1), np.uint8))
    run(PLAIN)
    for flags, message in {
        ("--direction", "a2b"): "makes images of label maps: leave out --direction",
        ("--grid",): "makes images of label maps: leave out --grid",
        ("--style", "x.png"): "this run was trained without styles: leave out --style",
        ("--instances", "x"): "this run was trained without instances: leave out --instances",
        ("--unknown", "none"): "--unknown must be an id, or several with commas, got 'none'",
    }.items():
        assert message in refused(tmp_path, capsys, *flags)
    run(STYLES)
    assert "does not exist: name the map of instances" in refused(
        tmp_path, capsys, "--instances", "nowhere"
    )
    assert "x.png cannot be read" in refused(tmp_path, capsys, "--style", "x.png")


@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65_535)])
def test_masks_of_two_levels_show_two_classes(tmp_path, dtype, white):
    """Of a run of two classes without unknown pixels, as such masks make one; 255 stays unknown where the run knows that or the flag says so."""
    import types

    two = types.SimpleNamespace(classes=2, unknown=False, instance_edges=False)
    mask = RNG.integers(0, 2, (6, 8)).astype(dtype)
    for name, pixels in (
        ("mask", mask * white),
        ("white", np.full_like(mask, white)),
        ("ids", mask),
    ):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    read = label_maps.reader(two, tmp_path, tmp_path, None, None)
    np.testing.assert_array_equal(read(tmp_path / "mask.png"), np.stack([mask] * 2, axis=-1))
    np.testing.assert_array_equal(read(tmp_path / "ids.png"), np.stack([mask] * 2, axis=-1))
    assert (read(tmp_path / "white.png") == 1).all()
    with pytest.raises(BadImage, match="has a pixel of unknown class"):
        label_maps.reader(two, tmp_path, tmp_path, str(white), None)(tmp_path / "mask.png")
    partly = types.SimpleNamespace(classes=2, unknown=True, instance_edges=False)
    if white == 255:
        np.testing.assert_array_equal(
            label_maps.reader(partly, tmp_path, tmp_path, None, None)(tmp_path / "mask.png")[
                ..., 0
            ],
            2 * mask,
        )
