"""jit, mesh, pmap, scan: one result; donation; errors."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import parallel, update
from tests import tiny_family

CONFIG = tiny_family.Config(optimizer_name="sgd", optimizer=tiny_family.Adam(learning_rate=0.1))
KEY = jax.random.key(3)


def fresh_state(config=CONFIG):
    return jax.jit(tiny_family.init, static_argnums=0)(config, KEY)


def batches(count=5, size=8):
    images = np.random.default_rng(0).uniform(-1, 1, (count, size, 4, 4, 1)).astype(np.float32)
    return [{"image": image} for image in images]


def train(step, config=CONFIG, count=5, size=8):
    state, history = fresh_state(config), []
    for batch in batches(count, size):
        state, metrics = step(state, batch, KEY)
        history.append(jax.device_get(metrics))
    return jax.device_get(state), {
        name: np.array([metrics[name] for metrics in history]) for name in history[0]
    }


def assert_same(a, b, parameters=1e-5, losses=1e-4):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=parameters, rtol=0), a[0], b[0])
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=losses), a[1], b[1])


@pytest.fixture(scope="module")
def eager():
    """Five steps without any transformation."""
    return train(partial(tiny_family.train_step, CONFIG))


@pytest.mark.parametrize("count", [1, 2, 8])
@pytest.mark.parametrize("kind", ["jit", "pmap"])
def test_mapped_equals_eager(eager, kind, count):
    devices = jax.devices()[:count]
    if kind == "pmap":
        step = parallel.pmap_step(tiny_family, CONFIG, devices)
    else:
        step = parallel.jit_step(
            tiny_family, CONFIG, parallel.data_mesh(devices) if count > 1 else None
        )
    assert_same(train(step), eager)


def test_without_device_means_differs(eager, monkeypatch):
    """The comparison above can fail: one forgotten mean is seen."""
    monkeypatch.setattr(tiny_family, "device_mean", lambda tree, axis_name: tree)
    step = parallel.pmap_step(
        tiny_family, dataclasses.replace(CONFIG, ema_half_life=32.0), jax.devices()[:2]
    )
    with pytest.raises(AssertionError):
        assert_same(train(step), eager)


@pytest.mark.parametrize("kind", ["pure", "jit", "mesh", "pmap"])
def test_scan_equals_eager(eager, kind):
    step = {
        "pure": lambda: partial(tiny_family.train_step, CONFIG),
        "jit": lambda: parallel.jit_step(tiny_family, CONFIG),
        "mesh": lambda: parallel.jit_step(
            tiny_family, CONFIG, parallel.data_mesh(jax.devices()[:2])
        ),
        "pmap": lambda: parallel.pmap_step(tiny_family, CONFIG, jax.devices()[:2]),
    }[kind]()
    stacked = jax.tree.map(lambda *x: np.stack(x), *batches())
    state, metrics = parallel.scan_steps(step, 5)(fresh_state(), stacked, KEY)
    assert metrics["d_loss"].shape == (5,)
    assert_same((jax.device_get(state), jax.device_get(metrics)), eager)


def test_scan_with_batch_at(eager):
    images = jnp.asarray(np.stack([batch["image"] for batch in batches()]))
    step = parallel.scan_steps(
        partial(tiny_family.train_step, CONFIG), 5, batch_at=lambda step: {"image": images[step]}
    )
    state, metrics = step(fresh_state(), None, KEY)
    assert_same((jax.device_get(state), jax.device_get(metrics)), eager)


@pytest.mark.parametrize("kind", ["jit", "mesh", "pmap"])
def test_donates_the_state(kind):
    mesh = parallel.data_mesh(jax.devices()[:2])
    if kind == "pmap":
        step = parallel.pmap_step(tiny_family, CONFIG, jax.devices()[:2])
    else:
        step = parallel.jit_step(tiny_family, CONFIG, mesh if kind == "mesh" else None)
    state, _ = step(fresh_state(), batches()[0], KEY)
    before = jax.tree.leaves(
        state.players
    )  # the averaged statistics are overwritten unread, so jit drops that argument
    step(state, batches()[1], KEY)
    assert all(leaf.is_deleted() for leaf in before)


@pytest.mark.parametrize(
    "make",
    [
        lambda: parallel.pmap_step(tiny_family, CONFIG, jax.devices()[:4]),
        lambda: parallel.jit_step(tiny_family, CONFIG, parallel.data_mesh(jax.devices()[:4])),
    ],
)
def test_indivisible_batch_is_one_sentence(make):
    with pytest.raises(
        ValueError,
        match="a batch of 10 examples cannot be split evenly over 4 devices: use a multiple of 4, such as 8",
    ) as error:
        make()(fresh_state(), batches(1, 10)[0], KEY)
    assert "\n" not in str(error.value)


def test_state_moves_between_mappings(eager):
    """A state from one mapping is accepted by the others, with the same result."""
    mesh = parallel.data_mesh(jax.devices()[:2])
    steps = [
        parallel.pmap_step(tiny_family, CONFIG, jax.devices()[:4]),
        parallel.jit_step(tiny_family, CONFIG, mesh),
        parallel.pmap_step(tiny_family, CONFIG, jax.devices()[:2]),
        parallel.jit_step(tiny_family, CONFIG, parallel.data_mesh()),
        parallel.pmap_step(tiny_family, CONFIG),
    ]
    state, losses = fresh_state(), []
    for step, batch in zip(steps, batches(), strict=True):
        state, metrics = step(state, batch, KEY)
        losses.append(float(metrics["d_loss"]))
    np.testing.assert_allclose(losses, eager[1]["d_loss"], rtol=1e-4)


def test_mesh_keeps_state_whole_and_cuts_batch():
    mesh = parallel.data_mesh(jax.devices()[:4])
    assert mesh.axis_names == ("data",)
    assert mesh.axis_types == (jax.sharding.AxisType.Auto,)
    state, _ = parallel.jit_step(tiny_family, CONFIG, mesh)(fresh_state(), batches()[0], KEY)
    assert all(
        leaf.sharding.is_fully_replicated and len(leaf.sharding.device_set) == 4
        for leaf in jax.tree.leaves(state)
    )
    cut = parallel.shard_batch(batches()[0], mesh)["image"]
    assert [shard.data.shape[0] for shard in cut.addressable_shards] == [2, 2, 2, 2]


def test_scan_refuses_wrong_depth():
    step = parallel.scan_steps(partial(tiny_family.train_step, CONFIG), 3)
    with pytest.raises(
        ValueError, match=r"needs batches stacked \[3, B, \.\.\.\], got a first axis of \[8\]"
    ):
        step(fresh_state(), batches()[0], KEY)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        parallel.scan_steps(partial(tiny_family.train_step, CONFIG), 0)


def drawn(key):
    return jax.vmap(partial(jax.random.normal, shape=(3,)))(update.example_keys(key, 8))


def constraints(function):
    return str(jax.make_jaxpr(function)(KEY)).count("sharding_constraint")


def test_draws_are_split_over_the_current_mesh():
    """On `jit_step`'s mesh, and in a jit of one's own under `jax.set_mesh`."""
    mesh = parallel.data_mesh(jax.devices()[:4])
    assert constraints(parallel.on_mesh(drawn, mesh)) == 1
    with jax.set_mesh(mesh):
        latents = jax.jit(drawn)(KEY)
    assert latents.sharding.shard_shape(latents.shape) == (2, 3)
    np.testing.assert_array_equal(latents, drawn(KEY))


def test_draws_are_left_alone_where_nothing_is_to_split():
    """Without a mesh, on one device, for counts that do not divide, on axes of other names and in a mapped function."""
    mesh = parallel.data_mesh(jax.devices()[:4])
    other = jax.sharding.Mesh(np.array(jax.devices()[:4]), ("model",))
    assert constraints(drawn) == 0
    assert constraints(parallel.on_mesh(drawn, parallel.data_mesh(jax.devices()[:1]))) == 0
    assert constraints(parallel.on_mesh(lambda key: update.example_keys(key, 6), mesh)) == 0
    assert constraints(parallel.on_mesh(drawn, other)) == 0
    specs = {"in_specs": jax.P(), "out_specs": jax.P("data")}
    mapped = jax.shard_map(lambda key: update.example_keys(key, 2, "data"), mesh=mesh, **specs)
    assert constraints(mapped) == 0
