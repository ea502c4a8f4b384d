"""The verbs of every train step: keys never collide, device helpers are exact, one step equals the global one in every mapping."""

from __future__ import annotations

import itertools
import re
import zlib
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jaxgan.update as verbs
from jaxgan.state import Player
from jaxgan.update import (
    device_count,
    device_mean,
    example_keys,
    example_streams,
    gather,
    local_part,
    moving_average,
    stream_key,
    update,
)

DEVICES = 8
KEY = jax.random.key(0)
DATA, REPLICATED = PartitionSpec("data"), PartitionSpec()
MAPPINGS = ["pmap", "shard_map, vma", "shard_map, no vma"]


def mapped(function, mapping, replicated=(), out=DATA):
    """`function` over eight devices: global arrays in and out, split on their leading axis except the `replicated` arguments."""
    mesh = Mesh(np.array(jax.devices()[:DEVICES]), ("data",))

    def call(*args):
        if mapping == "pmap":
            split = [
                a
                if i in replicated
                else jax.tree.map(lambda x: x.reshape(DEVICES, -1, *x.shape[1:]), a)
                for i, a in enumerate(args)
            ]
            axes = tuple(None if i in replicated else 0 for i in range(len(args)))
            result = jax.pmap(
                function, axis_name="data", in_axes=axes, out_axes=0 if out == DATA else None
            )(*split)
            return (
                jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), result)
                if out == DATA
                else result
            )
        specs = tuple(REPLICATED if i in replicated else DATA for i in range(len(args)))
        sharded = jax.shard_map(
            function,
            mesh=mesh,
            in_specs=specs,
            out_specs=out,
            check_vma=mapping == "shard_map, vma",
        )
        return jax.jit(sharded)(*args)

    return call


# ---------------------------------------------------------------------------------------------------------------------- keys


def raw(keys):
    return [tuple(row) for row in np.asarray(jax.random.key_data(keys)).reshape(-1, 2)]


def test_keys_of_streams_steps_and_examples_all_differ():
    keys = []
    for name, step in itertools.product(("init", "latents", "noise", "pool"), range(5)):
        stream = stream_key(KEY, name, step)
        examples = example_keys(stream, 6)
        keys += (
            raw(stream)
            + raw(examples)
            + raw(example_streams(examples, "crop"))
            + raw(example_streams(examples, "flip"))
        )
    # The trap that names avoid: split(key)[i] is fold_in(key, i).
    keys += raw(KEY) + raw(jax.random.split(KEY, 20))
    assert len(set(keys)) == len(keys) == 20 * 19 + 21


def test_stream_key_is_a_pure_function_of_its_arguments():
    assert raw(stream_key(KEY, "latents", 3)) == raw(
        jax.jit(lambda step: stream_key(KEY, "latents", step))(jnp.int32(3))
    )
    assert raw(stream_key(KEY, "latents")) == raw(stream_key(KEY, "latents", 0))
    # Pinned: a change here would change every run's draws.
    assert raw(stream_key(KEY, "latents", 3)) == raw(
        jax.random.fold_in(jax.random.fold_in(KEY, zlib.crc32(b"latents")), 3)
    )


def test_no_two_stream_names_in_the_library_hash_alike():
    source = "\n".join(
        path.read_text() for path in (Path(__file__).parent.parent / "jaxgan").rglob("*.py")
    )
    names = set(re.findall(r"(?:stream_key|example_streams)\([^\"\n]*\"([^\"]+)\"", source))
    assert {"pool swap", "pool slot"} <= names
    assert len({zlib.crc32(name.encode()) for name in names}) == len(names)


def test_example_keys_count_globally():
    keys = raw(example_keys(KEY, 16))
    assert keys == [raw(jax.random.fold_in(KEY, i))[0] for i in range(16)]
    assert raw(example_keys(KEY, 4, first=12)) == keys[12:]


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("first", [0, 5])
def test_example_keys_are_the_same_on_any_number_of_devices(mapping, first):
    def draw(x):
        return (
            jax.random.key_data(example_keys(KEY, x.shape[0], "data", first))
            + 0 * x.astype(jnp.uint32)[:, None]
        )

    np.testing.assert_array_equal(
        mapped(draw, mapping)(jnp.zeros(16)),
        jax.random.key_data(example_keys(KEY, 16, first=first)),
    )


# ------------------------------------------------------------------------------------------------------------------- devices

TREE = {
    "image": np.random.default_rng(0).normal(size=(16, 3, 2)).astype(np.float32),
    "label": np.arange(16, dtype=np.int32) - 7,
    "half": np.arange(16).astype(jnp.bfloat16),
}


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_gather_gives_every_device_the_global_arrays(mapping):
    everywhere = mapped(lambda tree: gather(tree, "data"), mapping, out=REPLICATED)(TREE)
    for name, array in TREE.items():
        assert everywhere[name].dtype == array.dtype
        np.testing.assert_array_equal(everywhere[name], array)
    # Each device's own copy, not only the first one's.
    copies = mapped(
        lambda tree: gather(tree, "data")["label"][None] + 0 * tree["label"][:1, None], mapping
    )(TREE)
    np.testing.assert_array_equal(copies, np.tile(TREE["label"], (DEVICES, 1)))


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_local_part_inverts_gather(mapping):
    back = mapped(lambda tree: local_part(gather(tree, "data"), "data"), mapping)(TREE)
    jax.tree.map(np.testing.assert_array_equal, back, TREE)


def test_without_an_axis_the_helpers_do_nothing():
    for helper in (gather, local_part, device_mean):
        assert helper(TREE, None) is TREE
    assert device_count(None) == 1


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_device_mean_and_count(mapping):
    x = jnp.arange(16.0)
    np.testing.assert_allclose(
        mapped(lambda x: device_mean(jnp.mean(x), "data"), mapping, out=REPLICATED)(x), 7.5
    )
    np.testing.assert_array_equal(
        mapped(lambda x: x + device_count("data"), mapping)(x), x + DEVICES
    )


# ------------------------------------------------------------------------------------------------------------------ learning

INPUTS = np.random.default_rng(1).normal(size=(16, 3)).astype(np.float32)
TARGETS = np.random.default_rng(2).normal(size=16).astype(np.float32)
WEIGHTS = np.array([0.5, -1.0, 2.0], np.float32)
RATE = 0.1


def step(weights, inputs, targets, axis_name=None):
    """One SGD step of least squares through the library's `update`."""
    optimizer = optax.sgd(RATE)
    player = Player(
        params={"w": weights}, stats={"kept": jnp.ones(2)}, opt=optimizer.init({"w": weights})
    )
    player, loss, aux = verbs.update(
        player, partial(squared_error, inputs=inputs, targets=targets), optimizer, axis_name
    )
    return player.params["w"], loss, aux, player.stats["kept"]


def squared_error(params, inputs, targets):
    errors = inputs @ params["w"] - targets
    return jnp.mean(errors**2), errors


def expected_step():
    errors = INPUTS.astype(np.float64) @ WEIGHTS - TARGETS
    return WEIGHTS - RATE * 2 * errors @ INPUTS / len(INPUTS), np.mean(errors**2), errors


def mapped_step(mapping):
    """(weights, loss) after one step in the mapping."""
    if mapping == "jit":
        return jax.jit(step)(WEIGHTS, INPUTS, TARGETS)[:2]
    if mapping == "jit, sharded":
        mesh = Mesh(np.array(jax.devices()), ("data",))
        split = [jax.device_put(x, NamedSharding(mesh, DATA)) for x in (INPUTS, TARGETS)]
        return jax.jit(step)(jax.device_put(WEIGHTS, NamedSharding(mesh, REPLICATED)), *split)[:2]
    if mapping == "vmap":
        split = [x.reshape(DEVICES, -1, *x.shape[1:]) for x in (INPUTS, TARGETS)]
        weights, loss, *_ = jax.vmap(
            partial(step, axis_name="data"), in_axes=(None, 0, 0), axis_name="data"
        )(WEIGHTS, *split)
        return weights[0], loss[0]
    return mapped(
        lambda *args: step(*args, axis_name="data")[:2], mapping, replicated=(0,), out=REPLICATED
    )(WEIGHTS, INPUTS, TARGETS)


@pytest.mark.parametrize("mapping", ["jit", "jit, sharded", "vmap", *MAPPINGS])
def test_update_equals_the_global_step(mapping):
    weights, loss = mapped_step(mapping)
    expected_weights, expected_loss, _ = expected_step()
    np.testing.assert_allclose(weights, expected_weights, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)


@pytest.mark.parametrize(
    ("dropped", "wrong"),
    [("loss", {"shard_map, vma"}), ("gradients", {"pmap", "shard_map, no vma", "vmap"})],
)
def test_dropping_one_mean_is_wrong_somewhere_and_noticed(monkeypatch, dropped, wrong):
    """The mutation test of the comparison above: without either mean, it fails in exactly these mappings."""

    def mutated(tree, axis_name):
        is_loss = not isinstance(tree, dict)
        return tree if is_loss == (dropped == "loss") else device_mean(tree, axis_name)

    monkeypatch.setattr(verbs, "device_mean", mutated)
    noticed = set()
    for mapping in ["jit", "vmap", *MAPPINGS]:
        if mapping in ("jit", "vmap"):
            weights = mapped_step(mapping)[0]
        else:
            take = mapped(
                lambda *args: step(*args, axis_name="data")[0],
                mapping,
                replicated=(0,),
                out=REPLICATED,
            )
            weights = take(WEIGHTS, INPUTS, TARGETS)
        if not np.allclose(weights, expected_step()[0], rtol=1e-5, atol=1e-6):
            noticed.add(mapping)
    assert noticed == wrong


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_update_differentiates_through_gather(mapping):
    """A loss over all pairs of the global batch, as minibatch statistics make it, with SGD: the gradient passes through `gather`."""

    def pairs_step(weights, inputs, axis_name=None):
        def loss_fn(params):
            outputs = inputs @ params
            return jnp.mean((outputs[:, None] - gather(outputs, axis_name)[None, :]) ** 4), None

        optimizer = optax.sgd(0.01)
        return update(
            Player(params=weights, stats={}, opt=optimizer.init(weights)),
            loss_fn,
            optimizer,
            axis_name,
        )[0].params

    differences = INPUTS[:, None, :].astype(np.float64) - INPUTS[None, :, :]
    expected = WEIGHTS - 0.01 * np.mean(
        4 * (differences @ WEIGHTS)[..., None] ** 3 * differences, axis=(0, 1)
    )
    np.testing.assert_allclose(pairs_step(WEIGHTS, INPUTS), expected, rtol=1e-4)
    result = mapped(
        lambda *args: pairs_step(*args, axis_name="data"), mapping, replicated=(0,), out=REPLICATED
    )(WEIGHTS, INPUTS)
    np.testing.assert_allclose(result, expected, rtol=1e-4)


def test_update_keeps_stats_and_returns_aux_and_the_loss_before_the_step():
    _, loss, aux, kept = step(WEIGHTS, INPUTS, TARGETS)
    _, expected_loss, errors = expected_step()
    np.testing.assert_allclose(aux, errors, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    np.testing.assert_array_equal(kept, np.ones(2))
    local = mapped(
        lambda *args: step(*args, axis_name="data")[2], "shard_map, vma", replicated=(0,)
    )(WEIGHTS, INPUTS, TARGETS)
    np.testing.assert_allclose(local, errors, rtol=1e-5, atol=1e-5)


def test_update_advances_the_optimiser_of_this_player_only():
    optimizer = optax.sgd(1.0, momentum=0.9)
    players = [
        Player(params=jnp.float32(p), stats={}, opt=optimizer.init(jnp.float32(p)))
        for p in (2.0, 3.0)
    ]

    def product(param):
        return param * players[1].params, None

    after, loss, _ = update(players[0], product, optimizer, None)
    assert (float(loss), float(after.params), float(players[1].params)) == (6.0, -1.0, 3.0)
    after, loss, _ = update(after, product, optimizer, None)  # velocity 0.9 * 3 + 3
    np.testing.assert_allclose([loss, after.params], [-3.0, -1.0 - 5.7], rtol=1e-6)


# ------------------------------------------------------------------------------------------------------------- moving average


def average_of(rounds, step_images, half_life, ramp=0.0):
    """The average after `rounds` towards params 1 from 0, as NumPy."""
    average = {"params": {"w": jnp.zeros(2)}, "batch_stats": {"mean": jnp.zeros(2)}}
    for i in range(rounds):
        variables = {"params": {"w": jnp.ones(2)}, "batch_stats": {"mean": jnp.full(2, float(i))}}
        average = moving_average(
            average, variables, step_images, jnp.int32(i * step_images), half_life, ramp
        )
    return average


@pytest.mark.parametrize(("rounds", "step_images"), [(1, 640), (10, 64), (640, 1)])
def test_after_one_half_life_half_is_new_whatever_the_batch_size(rounds, step_images):
    np.testing.assert_allclose(
        average_of(rounds, step_images, 640.0)["params"]["w"], 0.5, rtol=1e-4
    )


def test_after_two_half_lives_a_quarter_is_old():
    np.testing.assert_allclose(average_of(20, 64, 640.0)["params"]["w"], 0.75, rtol=1e-4)


def test_ramp_bounds_the_half_life_by_the_images_seen():
    old = 1.0
    for i in range(12):
        old *= 0.5 ** (50 / min(400.0, 0.5 * (i + 1) * 50))
    average = average_of(12, 50, 400.0, ramp=0.5)
    np.testing.assert_allclose(average["params"]["w"], 1 - old, rtol=1e-5)
    # Round n of the ramp alone keeps 0.5^(1 / (ramp n)): after the first, a quarter.
    np.testing.assert_allclose(average_of(1, 50, 400.0, ramp=0.5)["params"]["w"], 0.75, rtol=1e-6)
    # Past the ramp (images * ramp > half-life) it is the plain average.
    plain = moving_average({"params": 0.0}, {"params": 1.0}, 50, jnp.int32(10_000), 400.0, 0.5)[
        "params"
    ]
    np.testing.assert_allclose(plain, 1 - 0.5 ** (50 / 400), rtol=1e-5)


def test_other_collections_are_copied_and_half_life_zero_copies_all():
    np.testing.assert_array_equal(average_of(7, 64, 640.0)["batch_stats"]["mean"], 6.0)
    np.testing.assert_array_equal(average_of(1, 64, 0.0)["params"]["w"], 1.0)


def test_half_life_may_be_a_tracer_and_has_a_derivative():
    def new_share(half_life):
        return moving_average({"params": 0.0}, {"params": 1.0}, 100, jnp.int32(0), half_life)[
            "params"
        ]

    # 1 - 2^(-s / h): derivative -2^(-s / h) ln 2 s / h^2
    np.testing.assert_allclose(
        jax.grad(new_share)(200.0), -(0.5**0.5) * np.log(2) * 100 / 200**2, rtol=1e-5
    )
