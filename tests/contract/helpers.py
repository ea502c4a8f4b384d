"""What the contract tests share: settings, batches, and runs of a few steps that are compiled once and looked at by many tests.

A family is covered by being listed in `families_under_test.CASES`. `VARIANTS` are further architectures of the same families; what is cheap
is asked of them too, the rest in the slow tests.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import (
    acgan,
    cgan,
    cyclegan,
    dcgan,
    gan,
    parallel,
    pix2pix,
    spade,
    stargan,
    stylegan,
    vaegan,
)
from jaxgan.augment import Augmentation
from jaxgan.games.attributes import group_columns
from jaxgan.games.stabilisers import Stabilisers
from jaxgan.optim import Optimizer
from tests.families_under_test import (
    CASES,
    EMA,
    MAPPED,
    POOL,
    SMALL,
    TINY_SPADE,
    TWO_SETS,
    WIDTHS,
    Case,
)

KEY = jax.random.key(11)
BATCH = 16
"""Global batch: two examples on each of eight devices."""
STEPS = 5
OTHER_NETWORKS = {
    "generator": "densenet",
    "discriminator": "pixel",
    "norm": "instance",
    "upsampling": "resize",
    "loss": "hinge",
}
RESIDUAL = {
    "generator_architecture": "resnet",
    "discriminator_architecture": "skip",
    "style_mixing": 0.0,
    "r1_interval": 1,
    "path_length_interval": 1,
}
FIRST_STYLEGAN = {"architecture": "stylegan1", "r1_interval": 1, "path_length_weight": 0.0}
R1 = Stabilisers(ema_half_life=100, r1=1.0)
FAST_ADA = Augmentation("ada", p=0.5, speed_images=500, interval=2)
NOISY = Stabilisers(
    ema_half_life=100, r1=1.0, instance_noise=0.1, instance_noise_images=100, augment=FAST_ADA
)
PROJECTION = Stabilisers(ema_half_life=100, spectral_norm=True, critic_steps=2, generator_batch=2)
SPECTRAL_POOL = Stabilisers(ema_half_life=100, spectral_norm=True, critic_steps=3, pool_size=12)
STYLES = {"encoder": True, "style_size": 6, "encoder_layers": 1}
ADA = Stabilisers(ema_half_life=100, critic_steps=2, r1=0.1, augment=FAST_ADA)
DIFFAUGMENT = Stabilisers(ema_half_life=100, pool_size=12, augment=Augmentation("diffaugment"))

# An instance norm of maps as small as 2x3 makes the rounding of its input a hundred times larger, and this network has eight of them there, behind
# dropout: hence larger images for it than for the others.
VARIANTS = {
    "gan mlp": Case(
        gan,
        gan.Config(
            (6, 10),
            3,
            8,
            "normal",
            "mlp",
            (16, 16),
            (8, 8),
            generator_optimizer=Optimizer(),
            stabilisers=EMA,
        ),
    ),
    "cgan mlp": Case(
        cgan,
        cgan.Config(
            (6, 10), 2, 5, 8, "normal", "mlp", (16, 16), (8, 8), dropout=0.4, stabilisers=EMA
        ),
    ),
    "cgan conv": Case(
        cgan, cgan.Config((16, 20), 1, 3, 8, "normal", "conv", width=4, stabilisers=EMA)
    ),
    "dcgan labels": Case(
        dcgan,
        dcgan.Config((28, 28), 2, 3, 8, generator_width=4, discriminator_width=4, stabilisers=EMA),
    ),
    "dcgan resnet": Case(
        dcgan,
        dcgan.Config((16, 24), 3, 3, 8, "resnet", 4, 4, "sum", "hinge", stabilisers=PROJECTION),
        rate=0.002,
    ),
    "dcgan ada": Case(
        dcgan,
        dcgan.Config((16, 16), 3, 0, 8, generator_width=4, discriminator_width=4, stabilisers=ADA),
        rate=0.01,
    ),
    "acgan resnet": Case(
        acgan, acgan.Config((16, 16), 3, 4, 8, "resnet", (4,), (4,), stabilisers=EMA)
    ),
    "pix2pix densenet": Case(
        pix2pix,
        pix2pix.Config((16, 24), 1, 2, "b2a", **OTHER_NETWORKS, **SMALL, stabilisers=POOL),
        rate=0.0005,
    ),
    "pix2pix diffaugment": Case(
        pix2pix, pix2pix.Config((8, 8), 3, 1, depth=2, **SMALL, stabilisers=DIFFAUGMENT), rate=0.02
    ),
    "cyclegan improved": Case(
        cyclegan,
        cyclegan.improved(
            (16, 16), norm="batch", blocks=1, feature_cycle=0.5, **SMALL, stabilisers=POOL
        ),
        rate=2e-5,
    ),
    "stargan sets": Case(
        stargan,
        stargan.Config(
            (8, 12), 1, **TWO_SETS, blocks=1, loss="hinge", **SMALL, stabilisers=SPECTRAL_POOL
        ),
        rate=0.0005,
    ),
    "spade styles": Case(
        spade,
        spade.Config(
            (16, 32), 1, 3, False, True, **TINY_SPADE, **STYLES, upsampling="most", stabilisers=EMA
        ),
        rate=0.002,
    ),
    "stylegan labels": Case(
        stylegan,
        stylegan.Config((8, 12), 3, 3, **MAPPED, **RESIDUAL, stabilisers=NOISY),
        rate=0.002,
    ),
    "stylegan first": Case(
        stylegan, stylegan.Config((8, 8), 1, **MAPPED, **FIRST_STYLEGAN, stabilisers=R1), rate=0.002
    ),
    "vaegan gate": Case(
        vaegan,
        vaegan.Config(
            (8, 12),
            3,
            6,
            2,
            feature_layer=1,
            prior_only=True,
            margin=0.3,
            **WIDTHS,
            stabilisers=EMA,
        ),
        rate=0.005,
    ),
}
EVERY = CASES | VARIANTS

FAMILIES = tuple(CASES)
WITH_VARIANTS = (*CASES, *(pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS))
"""For tests that compile a step."""
SAME_GAME = ("cgan", "acgan")
"""They play the game of gan and dcgan, with labels: of these four, tests that take long leave these two to the slow suite."""
LARGE = ("cyclegan", "stargan", "spade", "stylegan")
"""Their steps take long to compile: they are left to the slow suite as well, where a step is compiled in a further way."""
LONG = (
    *(
        pytest.param(name, marks=pytest.mark.slow) if name in SAME_GAME + LARGE else name
        for name in FAMILIES
    ),
    *WITH_VARIANTS[len(FAMILIES) :],
)

OFF = {"real_target": 1.0}
"""Settings that are off at another value than 0."""

Config = Any
Floats = dict[tuple[str, ...], Any]


# ------------------------------------------------------------------------------------------------------------------ settings


def players(config: Config) -> tuple[str, ...]:
    """The players, after the settings called <player>_optimizer."""
    return tuple(
        field.name.removesuffix("_optimizer")
        for field in dataclasses.fields(config)
        if field.name.endswith("_optimizer")
    )


def with_optimizers(config: Config, optimizer: Optimizer) -> Config:
    return dataclasses.replace(
        config, **{f"{player}_optimizer": optimizer for player in players(config)}
    )


def setting(name: str, kind: str) -> Config:
    """The config of a case: as it is ("default"), or with every player on plain "sgd" or "adam"."""
    config, sgd = EVERY[name].config, Optimizer("sgd", learning_rate=EVERY[name].rate)
    return (
        config
        if kind == "default"
        else with_optimizers(config, sgd if kind == "sgd" else Optimizer())
    )


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
    """A random batch that fits `batch_spec`: uniform images, uniform labels and attributes."""
    random = np.random.default_rng(seed)

    def fill(name, spec):
        if name == "attributes":
            return np.concatenate(
                [
                    random_group(random, len(columns), spec.shape[0])
                    for columns in group_columns(config)
                ],
                axis=1,
            )
        if jnp.issubdtype(spec.dtype, jnp.integer):
            return random.integers(0, numbers(config, name), spec.shape).astype(spec.dtype)
        return random.uniform(-1, 1, spec.shape).astype(spec.dtype)

    return {name: fill(name, spec) for name, spec in family.batch_spec(config, size).items()}


def numbers(config: Config, name: str) -> int:
    """How many values a leaf of whole numbers takes."""
    if name == "set":
        return len(config.known)
    return config.classes + (name == "layout" and config.unknown)


def random_group(random: np.random.Generator, columns: int, count: int) -> np.ndarray:
    """float32 [count, columns]: one binary attribute, or an exclusive group."""
    chosen = random.integers(0, max(columns, 2), (count, 1))
    return (chosen == (np.arange(columns) if columns > 1 else 1)).astype(np.float32)


def make_batches(family, config: Config, count: int = STEPS) -> list[dict[str, np.ndarray]]:
    return [make_batch(family, config, seed=seed) for seed in range(count)]


KERNEL_SCALE = {pix2pix: 5.0, cyclegan: 5.0, spade: 50.0}
"""Kernels of standard deviation 0.02 are meant for hundreds of features. In tiny networks they leave norms almost nothing, which these blow up."""


@functools.cache
def _initial(family, config: Config, seed: int) -> Any:
    state = jax.device_get(
        jax.jit(family.init, static_argnums=0)(config, jax.random.fold_in(KEY, seed))
    )
    scale = np.float32(KERNEL_SCALE.get(family, 1.0))
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: scale * leaf if "'kernel'" in jax.tree_util.keystr(path[-1:]) else leaf,
        state,
    )


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
    return Played(
        states, {name: np.array([metrics[name] for metrics in history]) for name in history[0]}
    )


@functools.cache
def traced_step(family, config: Config) -> Callable:
    """jit of (floats, state, batch, key): every float setting is an argument, so that one compilation serves many settings."""

    def step(floats, state, batch, key):
        paths = tuple(float_fields(config))
        return family.train_step(
            with_floats(config, dict(zip(paths, floats, strict=True))), state, batch, key
        )

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
    deleted: share of the old state's player leaves, of those that a step reads, whose buffers were taken over.
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
        old = [
            leaf
            for path, leaf in jax.tree_util.tree_leaves_with_path(state.players)
            if not unread(path)
        ]
        state, metrics = compiled(dataclasses.replace(config), state, batch, key)
        deleted.append(np.mean([leaf.is_deleted() for leaf in old]))
        distinct.append(own_buffers(state))
        return state, metrics

    played = play(family, config, step)
    return Donated(played, len(traces), distinct, deleted)


def unread(path: Any) -> bool:
    """Whether a leaf of the players is written by every step and read by none, so that it is no argument of the program: v of spectral norm."""
    return jax.tree_util.keystr(path[-1:]) == "['v']" and any(
        jax.tree_util.keystr((part,)) == "['spectral']" for part in path
    )


def own_buffers(state: Any) -> bool:
    """Whether no two leaves share memory."""
    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state) if leaf.size]
    return len(set(pointers)) == len(pointers)


def mapped_step(kind: str, family, config: Config) -> Callable:
    """The step over eight devices: "pmap" or "mesh"."""
    return (
        parallel.pmap_step(family, config)
        if kind == "pmap"
        else parallel.jit_step(family, config, parallel.data_mesh())
    )


# --------------------------------------------------------------------------------------------------------------- comparisons


def assert_trees_close(actual: Any, expected: Any, atol: float, what: str = "") -> None:
    """Same structure, and every element within `atol`; integers equal."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for (path, x), y in zip(
        jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(
            x,
            y,
            rtol=0,
            atol=atol if np.issubdtype(np.asarray(y).dtype, np.floating) else 0,
            err_msg=what + jax.tree_util.keystr(path),
        )


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
        np.testing.assert_allclose(
            actual.metrics[name], expected.metrics[name], rtol=1e-3, atol=edge, err_msg=name
        )
    assert_losses_close(actual.metrics, expected.metrics, 1e-4)
    assert_trees_close(actual.final.replace(extra={}), expected.final.replace(extra={}), 1e-5)
    assert_trees_close(actual.final.extra, expected.final.extra, 2e-4, ".extra")
