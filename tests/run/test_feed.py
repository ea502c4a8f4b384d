"""The feed: which rows of which array a call sees, and what the program makes of them."""

from __future__ import annotations

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import data
from jaxgan.data import Augment, order
from jaxgan.errors import DataError
from jaxgan.family import Conditioning
from jaxgan.parallel import data_mesh
from jaxgan.run import train
from jaxgan.run.feed import PREVIEW_EXAMPLES, Feed, program
from jaxgan.state import State
from tests import tiny_family
from tests.families_under_test import CASES

BATCH = 4


def pictures(count, seed, channels=1, size=4):
    return (
        np.random.default_rng(seed).integers(0, 256, (count, size, size, channels)).astype(np.uint8)
    )


def two_sides(a=10, b=7, independent=True, size=4):
    return data.from_domains(
        "sides", pictures(a, 1, size=size), pictures(b, 2, 3, size), independent=independent
    )


def two_sided_spec(batch=BATCH):
    return {
        "a": jax.ShapeDtypeStruct((batch, 4, 4, 1), jnp.float32),
        "b": jax.ShapeDtypeStruct((batch, 4, 4, 3), jnp.float32),
    }


def stream(feed, steps):
    """The rows of that many steps, by array, one after the other."""
    calls = [
        feed.rows(step) for step in range(0, steps, next(iter(feed.rows(0).values())).shape[0])
    ]
    return {name: np.concatenate([rows[name].ravel() for rows in calls]) for name in calls[0]}


def test_aligned_arrays_share_the_order_there_was_before():
    labelled = data.from_arrays("x", pictures(9, 0), np.arange(9))
    spec = {
        "image": jax.ShapeDtypeStruct((BATCH, 4, 4, 1), jnp.float32),
        "label": jax.ShapeDtypeStruct((BATCH,), jnp.int32),
    }
    for attempt, seed in ((0, 5), (2, (5, 2))):
        rows = Feed(labelled, spec, 5, attempt, 3).rows(6)
        expected = np.stack([order(9, BATCH, seed, step) for step in (6, 7, 8)])
        assert list(rows) == ["image", "label"]
        for each in rows.values():
            assert each.dtype == np.int32
            np.testing.assert_array_equal(each, expected)
    pairs = Feed(two_sides(7, 7, independent=False), two_sided_spec(), 5, 0, 1).rows(3)
    np.testing.assert_array_equal(pairs["a"], [order(7, BATCH, 5, 3)])
    np.testing.assert_array_equal(pairs["a"], pairs["b"])


def test_independent_arrays_have_orders_of_their_own():
    feed = Feed(two_sides(), two_sided_spec(), 5, 0, 2)
    seen = stream(feed, 40)
    for domain, (name, size) in enumerate({"a": 10, "b": 7}.items(), start=1):
        np.testing.assert_array_equal(
            seen[name],
            np.concatenate([order(size, BATCH, (5, domain), step) for step in range(40)]),
        )
        for epoch in range(4 * 40 // size):
            np.testing.assert_array_equal(
                np.sort(seen[name][epoch * size : (epoch + 1) * size]), np.arange(size)
            )
    same = stream(Feed(two_sides(10, 10), two_sided_spec(), 5, 0, 1), 40)
    again = stream(Feed(two_sides(10, 10), two_sided_spec(), 5, 1, 1), 40)
    for x, y in (
        (same["a"], same["b"]),
        (same["a"], again["a"]),
        (same["b"], again["b"]),
        (same["b"], again["a"]),
    ):
        assert np.mean(x == y) < 0.25  # a tenth by chance, of 160


@pytest.mark.parametrize("independent", [True, False])
def test_processes_share_the_rows(monkeypatch, independent):
    make = lambda: Feed(two_sides(9, 9, independent), two_sided_spec(), 3, 1, 2).rows(4)  # noqa: E731
    whole, parts = make(), []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for process in range(2):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        parts.append(make())
    for name in whole:
        np.testing.assert_array_equal(
            np.concatenate([part[name] for part in parts], axis=1), whole[name]
        )


def test_first_batch_is_cut_at_the_centre_whatever_the_attempt():
    sides = two_sides(size=7)
    for attempt in (0, 2):
        batch = Feed(sides, two_sided_spec(), 5, attempt, 3).first_batch()
        for domain, name in enumerate(("a", "b"), start=1):
            rows = order(len(sides.arrays[name]), PREVIEW_EXAMPLES, (5, domain), 0)
            np.testing.assert_array_equal(batch[name], sides.arrays[name][rows, 1:5, 1:5])


# --------------------------------------------------------------------------------------------------------------------- programs


def echo_step(config, state, batch, key, *, axis_name=None):
    """Nothing is learnt; the metrics are the batch."""
    return state.replace(step=state.step + 1), batch


ECHO = types.SimpleNamespace(train_step=echo_step)
AUGMENT = Augment(flip=True, crop=3)


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("independent", [True, False])
@pytest.mark.parametrize("steps", [1, 3])
def test_a_call_sees_its_rows_prepared(resident, independent, steps):
    sides = two_sides(9, 9, independent, size=7)
    feed = Feed(sides, two_sided_spec(), 5, 0, steps, resident=resident)
    prepare = functools.partial(
        data.prepare, augment=AUGMENT, sizes=feed.sizes, aligned=feed.aligned
    )
    state, key = State(jnp.int32(6), jnp.int32(0), {}, {}, {}), jax.random.key(1)
    _, seen = jax.jit(program(ECHO, None, resident, prepare))(
        state, feed.arrays(), next(feed.calls(6)), key
    )
    rows = feed.rows(6)
    for i in range(steps):
        batch = {name: array[rows[name][i]] for name, array in sides.arrays.items()}
        expected = data.prepare(
            batch, key, 6 + i, AUGMENT, sizes={"a": (4, 4), "b": (4, 4)}, aligned=not independent
        )
        for name, array in expected.items():
            assert array.shape == (BATCH, 4, 4, batch[name].shape[3])
            np.testing.assert_allclose(seen[name][i], array, atol=1e-6)


def test_streamed_batches_are_laid_out_for_devices():
    sides, devices = two_sides(), jax.devices()[:2]
    rows = Feed(sides, two_sided_spec(), 0, 0, 3).rows(0)
    sent = next(Feed(sides, two_sided_spec(), 0, 0, 3, devices=devices, resident=False).calls(0))
    cut = next(
        Feed(sides, two_sided_spec(), 0, 0, 3, mesh=data_mesh(devices), resident=False).calls(0)
    )
    for name, array in sides.arrays.items():
        assert sent[name].shape[:3] == (2, 3, 2)
        np.testing.assert_array_equal(np.concatenate(sent[name], axis=1), array[rows[name]])
        np.testing.assert_array_equal(cut[name], array[rows[name]])
        assert {shard.data.shape[:2] for shard in cut[name].addressable_shards} == {(3, 2)}


# ------------------------------------------------------------------------------------------------------------------------ runs


def two_sided_family():
    """The tiny family, shown images half A and half grey B."""
    family = types.ModuleType("two_sided")
    family.__dict__.update(
        {name: getattr(tiny_family, name) for name in ("Config", "init", "preview", "sample")}
    )
    family.batch_spec = lambda config, batch_size: two_sided_spec(batch_size)

    def train_step(config, state, batch, key, *, axis_name=None):
        both = 0.5 * batch["a"] + 0.5 * batch["b"].mean(axis=3, keepdims=True)
        return tiny_family.train_step(config, state, {"image": both}, key, axis_name=axis_name)

    family.train_step = train_step
    return family


@pytest.mark.parametrize(
    "options",
    [
        {"devices": 2, "parallel": "pmap", "steps_per_call": 2},
        {"devices": 4, "resident": False},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_every_way_of_running_shows_the_same_two_sides(tmp_path, options, monkeypatch, plain_run):
    monkeypatch.setattr("jaxgan.records.log._open_tensorboard", lambda *arguments: None)
    other = run_two_sides(tmp_path / "run", **options)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), jax.device_get(other), plain_run
    )


def run_two_sides(directory, **options):
    config = tiny_family.Config(optimizer_name="sgd")
    options = {
        "devices": 1,
        "progress": False,
        "log_every": 16,
        "sample_every": 32,
        "checkpoint_every": 32,
        **options,
    }
    return train.run(
        two_sided_family(),
        config,
        two_sides(size=6),
        directory,
        images=32,
        batch_size=8,
        seed=3,
        augment=Augment(flip=True, crop=2),
        **options,
    )


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory):
    """The final state of a run on one device, checked against a loop written by hand."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxgan.records.log._open_tensorboard", lambda *arguments: None)
        final = jax.device_get(run_two_sides(tmp_path_factory.mktemp("runs") / "plain"))
    config, key, sides, family = (
        tiny_family.Config(optimizer_name="sgd"),
        jax.random.key(3),
        two_sides(size=6),
        two_sided_family(),
    )
    state, step = (
        tiny_family.init(config, key),
        jax.jit(functools.partial(family.train_step, config)),
    )
    for number in range(4):
        batch = {
            name: sides.arrays[name][order(len(sides.arrays[name]), 8, (3, i), number)]
            for i, name in ((1, "a"), (2, "b"))
        }
        batch = data.prepare(
            batch,
            key,
            number,
            Augment(flip=True, crop=2),
            sizes={"a": (4, 4), "b": (4, 4)},
            aligned=False,
        )
        state, _ = step(state, batch, key)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), final, jax.device_get(state)
    )
    return final


@pytest.mark.parametrize("kind", ["paired", "unpaired"])
def test_a_spec_is_opened_as_the_family_wants_it_plus_the_margin(kind):
    opened = train._open(f"{kind}:digits", two_sided_spec(), crop=2)
    assert [opened.arrays[name].shape[1:] for name in "ab"] == [(6, 6, 1), (6, 6, 3)]
    assert opened.independent == (kind == "unpaired")
    data.check(opened, two_sided_spec(), Conditioning("sides", paired=kind == "paired"), crop=2)
    grey = train._open(f"{kind}:digits", two_sided_spec() | {"b": two_sided_spec()["a"]}, crop=0)
    assert [grey.arrays[name].shape[1:] for name in "ab"] == [(4, 4, 1), (4, 4, 1)]


def test_families_of_pairs_refuse_independent_arrays(tmp_path):
    family = two_sided_family()
    family.conditioning = lambda config: Conditioning("sides", paired=True)
    with pytest.raises(DataError, match="10 images A and 7 images B that are no pairs"):
        train.run(
            family,
            tiny_family.Config(),
            two_sides(),
            tmp_path / "run",
            images=8,
            batch_size=8,
            devices=1,
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["pix2pix", "cyclegan"])
def test_a_family_without_pairs_takes_each_domain_of_pairs_in_its_own_order(
    name, monkeypatch, tmp_path
):
    sessions = []
    monkeypatch.setattr(train, "_attempt", lambda session, *rest: sessions.append(session))
    family, config = CASES[name].family, CASES[name].config
    height, width = config.image_size
    size = {"image_size": (height, width), "channels": (config.channels_a, config.channels_b)}
    train.run(
        family,
        config,
        data.open("paired:digits", **size),
        tmp_path / "run",
        images=8,
        batch_size=4,
        devices=1,
    )
    feed = Feed(sessions[0].dataset, sessions[0].spec, 0, 0, 1)
    rows = feed.rows(0)
    assert np.array_equal(rows["a"], rows["b"]) == (name == "pix2pix")


def test_a_preview_has_eight_examples_though_a_batch_has_fewer():
    feed = Feed(two_sides(), two_sided_spec(), 5, 0, 1)
    first, rows = feed.first_batch(), feed.rows(0)
    assert [len(array) for array in first.values()] == [8, 8]
    np.testing.assert_array_equal(first["a"][:BATCH], two_sides().arrays["a"][rows["a"][0]])
