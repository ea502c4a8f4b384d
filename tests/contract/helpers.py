"""What the contract tests share: settings, batches, and runs of a few steps that are compiled once and looked at by many tests.

A family is covered by being listed in `families_under_test.CASES`. `VARIANTS` are further architectures of the same families; what is cheap
is asked of them too, the rest in the slow tests.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import acgan, cgan, cyclegan, dcgan, gan, parallel, pix2pix
from jaxgan.families.stabilisers import Stabilisers
from jaxgan.optim import Optimizer
from tests.families_under_test import CASES, EMA, POOL, SMALL, Case

KEY = jax.random.key(11)
BATCH = 16
"""Global batch: two examples on each of eight devices."""
STEPS = 5
OTHER_NETWORKS = {"generator": "densenet", "discriminator": "pixel", "norm": "instance", "upsampling": "resize", "loss": "hinge"}
PROJECTION = Stabilisers(ema_half_life=100, spectral_norm=True, critic_steps=2, generator_batch=2)

VARIANTS = {
    "gan mlp": Case(gan, gan.Config((6, 10), 3, 8, "normal", "mlp", (16, 16), (8, 8), generator_optimizer=Optimizer(), stabilisers=EMA)),
    "cgan mlp": Case(cgan, cgan.Config((6, 10), 2, 5, 8, "normal", "mlp", (16, 16), (8, 8), dropout=0.4, stabilisers=EMA)),
    "cgan conv": Case(cgan, cgan.Config((16, 20), 1, 3, 8, "normal", "conv", width=4, stabilisers=EMA)),
    "dcgan labels": Case(dcgan, dcgan.Config((28, 28), 2, 3, 8, generator_width=4, discriminator_width=4, stabilisers=EMA)),
    "dcgan resnet": Case(dcgan, dcgan.Config((16, 24), 3, 3, 8, "resnet", 4, 4, "sum", "hinge", stabilisers=PROJECTION), rate=0.002),
    "acgan resnet": Case(acgan, acgan.Config((16, 16), 3, 4, 8, "resnet", (4,), (4,), stabilisers=EMA)),
    "pix2pix densenet": Case(pix2pix, pix2pix.Config((8, 12), 1, 2, "b2a", **OTHER_NETWORKS, **SMALL, stabilisers=POOL)),
    "cyclegan improved": Case(cyclegan, cyclegan.improved((16, 16), norm="batch", blocks=1, feature_cycle=0.5, **SMALL, stabilisers=POOL), rate=2e-5),
}
EVERY = CASES | VARIANTS

FAMILIES = tuple(CASES)
WITH_VARIANTS = (*CASES, *(pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS))
"""For tests that compile a step."""
SAME_GAME = ("cgan", "acgan")
"""They play the game of gan and dcgan, with labels: of these four, tests that take long leave these two to the slow suite."""
LONG = (*(pytest.param(name, marks=pytest.mark.slow) if name in SAME_GAME else name for name in FAMILIES), *WITH_VARIANTS[len(FAMILIES) :])

OFF = {"real_target": 1.0}
"""Settings that are off at another value than 0."""

Config = Any
Floats = dict[tuple[str, ...], Any]


@contextlib.contextmanager
def fast_compile():
    """Compile without the optimisations, three times as fast."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


# ------------------------------------------------------------------------------------------------------------------ settings


def players(config: Config) -> tuple[str, ...]:
    """The players, after the settings called <player>_optimizer."""
    return tuple(field.name.removesuffix("_optimizer") for field in dataclasses.fields(config) if field.name.endswith("_optimizer"))


def with_optimizers(config: Config, optimizer: Optimizer) -> Config:
    return dataclasses.replace(config, **{f"{player}_optimizer": optimizer for player in players(config)})


def setting(name: str, kind: str) -> Config:
    """The config of a case: as it is ("default"), or with every player on plain "sgd" or "adam"."""
    config, sgd = EVERY[name].config, Optimizer("sgd", learning_rate=EVERY[name].rate)
    return config if kind == "default" else with_optimizers(config, sgd if kind == "sgd" else Optimizer())


def float_fields(config: Config, path: tuple[str, ...] = ()) -> Floats:
    """Every float setting that is switched on, nested ones too, by its path."""
    found: Floats = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            found |= float_fields(value, (*path, field.name))
        elif isinstance(value, float) and value != OFF.get(field.name, 0.0):
            found[(*path, field.name)] = value
    return found


def with_floats(config: Config, floats: Floats) -> Config:
    """The config with these settings replaced; the values may be tracers."""
    for path, value in floats.items():
        config = _replaced(config, path, value)
    return config


def _replaced(config: Config, path: tuple[str, ...], value: Any) -> Config:
    inner = value if len(path) == 1 else _replaced(getattr(config, path[0]), path[1:], value)
    return dataclasses.replace(config, **{path[0]: inner})


# ---------------------------------------------------------------------------------------------------------------------- data


def make_batch(family, config: Config, size: int = BATCH, seed: int = 0) -> dict[str, np.ndarray]:
    """A random batch that fits `batch_spec`: uniform images, uniform labels."""
    random = np.random.default_rng(seed)

    def fill(spec):
        if jnp.issubdtype(spec.dtype, jnp.integer):
            return random.integers(0, config.classes, spec.shape).astype(spec.dtype)
        return random.uniform(-1, 1, spec.shape).astype(spec.dtype)

    return {name: fill(spec) for name, spec in family.batch_spec(config, size).items()}


def make_batches(family, config: Config, count: int = STEPS) -> list[dict[str, np.ndarray]]:
    return [make_batch(family, config, seed=seed) for seed in range(count)]


KERNEL_SCALE = {pix2pix: 5.0, cyclegan: 5.0}
"""Kernels of standard deviation 0.02 are meant for hundreds of features. In tiny networks they leave norms almost nothing, which these blow up."""


@functools.cache
def _initial(family, config: Config, seed: int) -> Any:
    state = jax.device_get(jax.jit(family.init, static_argnums=0)(config, jax.random.fold_in(KEY, seed)))
    scale = np.float32(KERNEL_SCALE.get(family, 1.0))
    return jax.tree_util.tree_map_with_path(lambda path, leaf: scale * leaf if "'kernel'" in jax.tree_util.keystr(path[-1:]) else leaf, state)


def initial_state(family, config: Config, seed: int = 0) -> Any:
    """A fresh state, each time in buffers of its own."""
    return jax.tree.map(jnp.array, _initial(family, config, seed))


# ---------------------------------------------------------------------------------------------------------------------- runs


def to_host(tree: Any) -> Any:
    """NumPy copies. Through a copy on the device: a NumPy view would hold on to the buffer, and donation would quietly copy it."""
    return jax.device_get(jax.tree.map(jnp.copy, tree))


class Played(NamedTuple):
    """states: the states after 0, 1, ... steps, on the host. metrics: by name, one value for each step."""

    states: list
    metrics: dict[str, np.ndarray]

    @property
    def final(self):
        return self.states[-1]


def play(family, config: Config, step: Callable, count: int = STEPS) -> Played:
    """`count` steps from the fresh state."""
    state = initial_state(family, config)
    states, history = [to_host(state)], []
    for batch in make_batches(family, config, count):
        state, metrics = step(state, batch, KEY)
        states.append(to_host(state))
        history.append(jax.device_get(metrics))
    return Played(states, {name: np.array([metrics[name] for metrics in history]) for name in history[0]})


@functools.cache
def traced_step(family, config: Config) -> Callable:
    """jit of (floats, state, batch, key): every float setting is an argument, so that one compilation serves many settings."""

    def step(floats, state, batch, key):
        paths = tuple(float_fields(config))
        return family.train_step(with_floats(config, dict(zip(paths, floats, strict=True))), state, batch, key)

    return jax.jit(step)


def step_with(family, config: Config, changes: Floats | None = None) -> Callable:
    """(state, batch, key) by `traced_step`, with some float settings changed."""
    floats = float_fields(config)
    assert set(changes or {}) <= set(floats)
    values = [float(value) for value in (floats | (changes or {})).values()]
    return functools.partial(traced_step(family, config), values)


@functools.cache
def sgd_run(name: str) -> Played:
    """The run that every other mapping is compared with: plain SGD, one device, jit, all float settings as tracers."""
    family, config = EVERY[name].family, setting(name, "sgd")
    return play(family, config, step_with(family, config))


class Donated(NamedTuple):
    """A run with donation. traces: how often the step was traced. distinct: whether, after each step, every leaf had its own buffer.
    deleted: share of the old state's player leaves whose buffers were taken over.
    """

    played: Played
    traces: int
    distinct: list[bool]
    deleted: list[float]


@functools.cache
def default_run(name: str) -> Donated:
    """The run of the default optimisers, as README shows it: static config (a new, equal object at every step), donated state."""
    family, config = EVERY[name].family, setting(name, "default")
    traces, distinct, deleted = [], [], []

    def counted(config, state, batch, key):
        traces.append(None)
        return family.train_step(config, state, batch, key)

    compiled = jax.jit(counted, static_argnums=0, donate_argnums=1)

    def step(state, batch, key):
        old = jax.tree.leaves(state.players)
        state, metrics = compiled(dataclasses.replace(config), state, batch, key)
        deleted.append(np.mean([leaf.is_deleted() for leaf in old]))
        distinct.append(own_buffers(state))
        return state, metrics

    played = play(family, config, step)
    return Donated(played, len(traces), distinct, deleted)


def own_buffers(state: Any) -> bool:
    """Whether no two leaves share memory."""
    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state) if leaf.size]
    return len(set(pointers)) == len(pointers)


def mapped_step(kind: str, family, config: Config) -> Callable:
    """The step over eight devices: "pmap" or "mesh"."""
    return parallel.pmap_step(family, config) if kind == "pmap" else parallel.jit_step(family, config, parallel.data_mesh())


# --------------------------------------------------------------------------------------------------------------- comparisons


def assert_trees_close(actual: Any, expected: Any, atol: float, what: str = "") -> None:
    """Same structure, and every element within `atol`; integers equal."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=atol if np.issubdtype(np.asarray(y).dtype, np.floating) else 0, err_msg=what + jax.tree_util.keystr(path))


def assert_losses_close(actual: dict, expected: dict, rtol: float) -> None:
    assert set(actual) == set(expected)
    for name in expected:
        if name.endswith("_loss"):
            np.testing.assert_allclose(actual[name], expected[name], rtol=rtol, err_msg=name)


def assert_same_run(actual: Played, expected: Played) -> None:
    """Equal to the tolerances of plain SGD: the state to 1e-5, losses relative to 1e-4, other metrics to 1e-3.

    A logit on the edge may fall on its other side, so accuracies may differ by two examples. Images in a pool are outputs of a network, whose norms
    enlarge rounding: they are held to what a forward pass is held to against a reference, 2e-4.
    """
    for name in expected.metrics:
        edge = 2 / BATCH if name.endswith("accuracy") else 1e-4
        np.testing.assert_allclose(actual.metrics[name], expected.metrics[name], rtol=1e-3, atol=edge, err_msg=name)
    assert_losses_close(actual.metrics, expected.metrics, 1e-4)
    assert_trees_close(actual.final.replace(extra={}), expected.final.replace(extra={}), 1e-5)
    assert_trees_close(actual.final.extra, expected.final.extra, 2e-4, ".extra")
