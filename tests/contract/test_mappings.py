"""Every family: one train step gives the same under every transformation, to the tolerances of plain SGD and of the default optimiser."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import jaxgan
from benchmarks import scaling
from jaxgan import parallel, update
from jaxgan.families import stylegan
from jaxgan.games import adversarial, translation
from tests.contract.helpers import (
    BATCH,
    EVERY,
    FAMILIES,
    KEY,
    LARGE,
    LONG,
    SAME_GAME,
    STEPS,
    VARIANTS,
    Played,
    assert_losses_close,
    assert_same_run,
    assert_trees_close,
    default_run,
    initial_state,
    make_batch,
    make_batches,
    mapped_step,
    play,
    setting,
    sgd_run,
    step_with,
)


@pytest.mark.parametrize(
    "name",
    ["gan", *(pytest.param(name, marks=pytest.mark.slow) for name in EVERY if name != "gan")],
)
def test_eager_equals_jit(name):
    family, config = EVERY[name].family, setting(name, "sgd")
    state, metrics = family.train_step(
        config, initial_state(family, config), make_batch(family, config), KEY
    )
    expected = sgd_run(name)
    assert_trees_close(jax.device_get(state), expected.states[1], 1e-5)
    assert_losses_close(
        jax.device_get(metrics),
        {name: values[0] for name, values in expected.metrics.items()},
        1e-4,
    )


def later(kind, name):
    return name in (*VARIANTS, *SAME_GAME) or (kind == "mesh" and name in LARGE)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(kind, name, marks=pytest.mark.slow if later(kind, name) else ())
        for kind in ("pmap", "mesh")
        for name in EVERY
    ],
)
def test_eight_devices_equal_one(kind, name):
    family, config = EVERY[name].family, setting(name, "sgd")
    assert_same_run(play(family, config, mapped_step(kind, family, config)), sgd_run(name))


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("gan", "dcgan") else pytest.param(name, marks=pytest.mark.slow)
        for name in EVERY
    ],
)
def test_eight_devices_equal_one_with_the_default_optimizer(name):
    family, config = EVERY[name].family, setting(name, "default")
    eight = play(family, config, mapped_step("pmap", family, config))
    assert_losses_close(eight.metrics, default_run(name).played.metrics, 1e-3)


def share(name):
    """FLOPs of a step on one device over those of each of eight; 8 is perfect."""
    family, config = EVERY[name].family, setting(name, "sgd")
    one, each = (scaling.flops_per_device(family, config, BATCH, devices) for devices in (1, 8))
    return one / each


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in LARGE and name != "stylegan" else name
        for name in FAMILIES
    ],
)
def test_eight_devices_share_the_work(name):
    assert share(name) > 6.5


def test_devices_that_repeat_the_work_are_seen(monkeypatch):
    """The comparison above can fail: it does where latents are not split."""
    monkeypatch.setattr(update, "split_over_mesh", lambda tree: tree)
    assert share("dcgan") < 4


PACKAGE = Path(jaxgan.__file__).parent
MODULES = sorted(
    ".".join(("jaxgan", *path.relative_to(PACKAGE).with_suffix("").parts))
    for path in PACKAGE.rglob("*.py")
    if " device_mean(" in path.read_text()
)
"""The modules that average over devices."""


def dropped(monkeypatch, module):
    """Makes `device_mean` do nothing in one module."""
    monkeypatch.setattr(
        importlib.import_module(module), "device_mean", lambda tree, axis_name: tree
    )


@functools.cache
def averaging(name):
    """The modules that average over the devices in a step of this case."""
    found, device_mean = set(), update.device_mean

    def recorded(module):
        def mean(tree, axis_name):
            if axis_name == parallel.AXIS:
                found.add(module)
            return device_mean(tree, axis_name)

        return mean

    family, config = EVERY[name].family, setting(name, "sgd")
    with pytest.MonkeyPatch.context() as patch:
        for module in MODULES:
            patch.setattr(importlib.import_module(module), "device_mean", recorded(module))
        jax.eval_shape(
            checked(family, config), initial_state(family, config), make_batch(family, config), KEY
        )
    return frozenset(found)


@pytest.mark.parametrize("name", LONG[: len(FAMILIES)])
def test_a_forgotten_mean_is_seen(name, monkeypatch):
    """The comparison above can fail: without the mean of the gradients it does."""
    family, config = EVERY[name].family, setting(name, "sgd")
    dropped(monkeypatch, "jaxgan.update")
    with pytest.raises(AssertionError):
        assert_same_run(play(family, config, mapped_step("pmap", family, config)), sgd_run(name))


def proved(family, config):
    """Whether tracing finds the state and metrics of a step the same on every device, and whatever else has to be."""
    try:
        jax.eval_shape(
            checked(family, config), initial_state(family, config), make_batch(family, config), KEY
        )
    except (TypeError, ValueError) as error:
        if "out_specs" in str(error) or f"{{V:{parallel.AXIS}}}" in str(
            error
        ):  # JAX's sign for "differs along this axis"
            return False
        raise
    return True


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("name", EVERY)
def test_each_forgotten_mean_is_seen(name, module, monkeypatch):
    """By the proof of replication, which takes only tracing, or by the comparison of eight devices with one."""
    if module not in averaging(name):
        pytest.skip("nothing is averaged there in this family")
    family, config = EVERY[name].family, setting(name, "sgd")
    dropped(monkeypatch, module)
    if not proved(family, config):
        return
    with pytest.raises(AssertionError):
        assert_same_run(play(family, config, mapped_step("pmap", family, config)), sgd_run(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_keys_that_ignore_the_device_are_seen(name, monkeypatch):
    family, config = EVERY[name].family, setting(name, "sgd")
    for module in (adversarial, stylegan, translation):
        monkeypatch.setattr(
            module,
            "example_keys",
            lambda key, count, axis_name=None, first=0: update.example_keys(
                key, count, None, first
            ),
        )
    with pytest.raises(AssertionError):
        assert_same_run(play(family, config, mapped_step("pmap", family, config)), sgd_run(name))


def checked(family, config):
    """The step under `shard_map` with its replication checks, state and metrics declared the same everywhere."""
    step = functools.partial(family.train_step, config, axis_name=parallel.AXIS)
    specs = (P(), P(parallel.AXIS), P())
    return jax.shard_map(
        step, mesh=parallel.data_mesh(), in_specs=specs, out_specs=P(), check_vma=True
    )


@pytest.mark.parametrize("name", EVERY)
def test_shard_map_proves_the_state_replicated(name):
    family, config = EVERY[name].family, EVERY[name].config
    state = jax.eval_shape(functools.partial(family.init, config), KEY)
    after, _ = jax.eval_shape(checked(family, config), state, make_batch(family, config), KEY)
    assert jax.tree.structure(after) == jax.tree.structure(state)


@pytest.mark.parametrize("module", ["jaxgan.nn.norm", "jaxgan.games.round"])
def test_shard_map_refuses_what_differs_between_devices(module, monkeypatch):
    """The proof above can fail: without the mean of batch statistics or of metrics it does."""
    family, config = EVERY["dcgan"].family, EVERY["dcgan"].config
    dropped(monkeypatch, module)
    with pytest.raises(ValueError, match="out_specs"):
        jax.eval_shape(
            checked(family, config), initial_state(family, config), make_batch(family, config), KEY
        )


@pytest.mark.parametrize("name", LONG)
def test_scan_equals_single_steps(name):
    family, config = EVERY[name].family, setting(name, "sgd")
    step = parallel.scan_steps(functools.partial(family.train_step, config), STEPS)
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *make_batches(family, config))
    state, metrics = jax.device_get(step(initial_state(family, config), stacked, KEY))
    assert_same_run(Played([state], metrics), sgd_run(name))


OTHER_SEEDS = {"dcgan resnet": (0, 2, 3)}
"""Its seed 1 puts a unit on the edge of a ReLU or of the hinge: there a change of every weight by 1e-7 moves the loss after one step by 1e-3, too."""


@pytest.mark.parametrize("name", LONG)
def test_vmap_over_seeds_equals_one_by_one(name):
    family, config = EVERY[name].family, setting(name, "sgd")
    batch, step = make_batch(family, config), step_with(family, config)
    states = [initial_state(family, config, seed) for seed in OTHER_SEEDS.get(name, range(3))]
    keys = jax.random.split(KEY, 3)
    single = [
        jax.device_get(step(state, batch, key)) for state, key in zip(states, keys, strict=True)
    ]
    together = jax.jit(jax.vmap(functools.partial(family.train_step, config), in_axes=(0, None, 0)))
    state, metrics = jax.device_get(
        together(jax.tree.map(lambda *leaves: jnp.stack(leaves), *states), batch, keys)
    )
    for seed, (one_state, one_metrics) in enumerate(single):
        assert_losses_close(
            {name: value[seed] for name, value in metrics.items()}, one_metrics, 1e-4
        )
        assert_trees_close(jax.tree.map(lambda leaf, seed=seed: leaf[seed], state), one_state, 1e-5)
    assert single[0][1]["d_loss"] != single[1][1]["d_loss"]
