"""Every family under JAX's global switches: states keep their types, draws their values, and no step is refused.

`jax_enable_x64` widens every number whose type is not named: a state would change its types, and a key would draw other numbers. Strict promotion refuses
what mixes types. Under leak checking, `jax_debug_nans` and `disable_jit` a step runs as without them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import augment, cgan, dcgan, gan, pool, projection, stylegan
from jaxgan.augment import Augmentation
from jaxgan.augment.pipe import GROUPS
from jaxgan.data.prepare import Augment, prepare
from jaxgan.games.stabilisers import Stabilisers
from jaxgan.nn.regularise import add_noise, dropout
from jaxgan.optim import Optimizer
from tests.contract.helpers import (
    EVERY,
    FAMILIES,
    KEY,
    WITH_VARIANTS,
    float_fields,
    make_batch,
    traced_step,
    with_optimizers,
)
from tests.families_under_test import CASES

WIDE = ("float64", "uint64", "complex128")
"""Types that nothing here computes in. int64 occurs where arrays are indexed."""


@contextlib.contextmanager
def switched() -> Iterator[None]:
    """64-bit types are allowed, and implicit promotion is refused."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        yield


def types(tree: Any) -> list[tuple[str, tuple[int, ...], str]]:
    """Every leaf by name, with its shape and its type."""
    return [
        (jax.tree_util.keystr(path), leaf.shape, str(leaf.dtype))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def wide_operations(jaxpr: Any) -> list[str]:
    """The operations of a jaxpr, and of all jaxprs in it, that return a type of `WIDE`."""
    found = []
    for equation in jaxpr.eqns:
        found += [
            f"{equation.primitive}: {out.aval}"
            for out in equation.outvars
            if str(getattr(out.aval, "dtype", "")) in WIDE
        ]
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            found += wide_operations(inner)
    return found


def programs(family: Any, config: Any) -> dict[str, tuple[Callable, tuple]]:
    """What a family computes, each with abstract arguments. Its preview samples, translates or encodes."""
    state = jax.eval_shape(functools.partial(family.init, config), KEY)
    given = (state, family.batch_spec(config, 4), KEY)
    return {
        name: (
            functools.partial(getattr(family, name), config),
            (KEY,) if name == "init" else given,
        )
        for name in ("init", "train_step", "preview")
    }


def assert_unchanged(function: Callable, arguments: tuple, expected: Any) -> None:
    """Under the switches `function` is traced, returns what it does without them, and computes in no wide type."""
    with switched():
        jaxpr, actual = jax.make_jaxpr(function, return_shape=True)(*arguments)
    assert types(actual) == types(expected)
    assert wide_operations(jaxpr.jaxpr) == []


@pytest.mark.parametrize("name", WITH_VARIANTS)
def test_types_under_the_switches(name):
    given = programs(EVERY[name].family, EVERY[name].config)
    init, (state, *_) = given["init"], given["train_step"][1]
    assert_unchanged(*init, state)
    function, arguments = given["train_step"]
    with switched():
        jaxpr, (after, metrics) = jax.make_jaxpr(function, return_shape=True)(*arguments)
    assert wide_operations(jaxpr.jaxpr) == []
    assert types(after) == types(state)  # what a step returns it takes again
    assert {str(metric.dtype) for metric in metrics.values()} == {"float32"}


@pytest.mark.parametrize(
    "name",
    ["gan", *(pytest.param(name, marks=pytest.mark.slow) for name in EVERY if name != "gan")],
)
def test_previews_under_the_switches(name):
    function, arguments = programs(EVERY[name].family, EVERY[name].config)["preview"]
    assert_unchanged(function, arguments, jax.eval_shape(function, *arguments))


def test_a_wide_type_is_seen():
    """The walk can fail: it looks into loops, and a draw of 64 bits is one of its findings."""
    with jax.enable_x64(True):
        inner = jax.make_jaxpr(lambda x: jax.lax.map(lambda y: y + jnp.ones(()), x))(
            jnp.zeros(3, jnp.float32)
        )
        draw = jax.make_jaxpr(lambda key: jax.random.normal(key, (2,)))(KEY)
    assert any(found.startswith("add: float64") for found in wide_operations(inner.jaxpr))
    assert any("uint64" in found for found in wide_operations(draw.jaxpr))


# -------------------------------------------------------------------------------------------------------------------- options

EVERYTHING = Augmentation("ada", p=0.5, pipe=tuple(GROUPS), speed_images=500, interval=2)
SCHEDULE = {
    "constant_images": 10,
    "decay_images": 100,
    "half_life": 50.0,
    "min_learning_rate": 1e-6,
    "clip_norm": 1.0,
}
STABILISERS = {
    "averages": {"ema_half_life": 100.0, "ema_ramp": 0.05},
    "noise": {
        "instance_noise": 0.1,
        "instance_noise_images": 100,
        "dequantise": 1 / 128,
        "real_target": 0.9,
    },
    "penalties": {
        "r1": 1.0,
        "r2": 2,
        "gradient_penalty": 10.0,
        "critic_steps": 2,
        "generator_batch": 2,
    },
    "limits": {"spectral_norm": True, "weight_clip": 0.01, "pool_size": 3},
    "ada": {"augment": EVERYTHING, "r1": 0.1},
    "ada that keeps p": {"augment": dataclasses.replace(EVERYTHING, speed_images=0)},
    "diffaugment": {"augment": Augmentation("diffaugment")},
}
OPTIMIZERS = {
    "adam": Optimizer(**SCHEDULE),
    "sgd": Optimizer("sgd", momentum=0.5, final_momentum=0.7, momentum_images=100),
    "rmsprop": Optimizer("rmsprop", half_life=50.0),
}
PLAIN = gan.Config((6, 10), 3, 4, "normal", "mlp", (4,), (4,))
OPTIONS = {
    **{
        name: dataclasses.replace(PLAIN, stabilisers=Stabilisers(**options))
        for name, options in STABILISERS.items()
    },
    **{name: with_optimizers(PLAIN, optimizer) for name, optimizer in OPTIMIZERS.items()},
    **{
        loss: dataclasses.replace(PLAIN, loss=loss)
        for loss in ("least-squares", "hinge", "relativistic-average", "relativistic-pairing")
    },
    "bfloat16": dataclasses.replace(
        PLAIN,
        dtype="bfloat16",
        stabilisers=Stabilisers(augment=EVERYTHING, instance_noise=0.1, pool_size=3),
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_under_the_switches(name):
    function, arguments = programs(gan, OPTIONS[name])["train_step"]
    assert_unchanged(function, arguments, jax.eval_shape(function, *arguments))


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_bfloat16_under_the_switches(name):
    function, arguments = programs(
        EVERY[name].family, dataclasses.replace(EVERY[name].config, dtype="bfloat16")
    )["train_step"]
    assert_unchanged(function, arguments, jax.eval_shape(function, *arguments))


# ---------------------------------------------------------------------------------------------------------------------- draws

KEYS = jax.random.split(KEY, 4)
IMAGES = np.linspace(-1, 1, 4 * 8 * 8 * 3, dtype=np.float32).reshape(4, 8, 8, 3)
LARGER = {
    "image": np.arange(4 * 10 * 10 * 3, dtype=np.uint8).reshape(4, 10, 10, 3),
    "layout": np.arange(400, dtype=np.uint8).reshape(4, 10, 10) % 7,
}
AUGMENT = Augment(crop=2, flip=True, rotation=10.0, scale=0.1, rotate90=True)
DRAWS = {
    "latents of dcgan": lambda: dcgan.latents(dcgan.Config(image_size=(16, 16)), KEY, 3),
    "latents of gan": lambda: gan.latents(gan.Config(), KEY, 3),
    "latents of cgan": lambda: cgan.latents(cgan.Config(), KEY, 3),
    "latents of stylegan": lambda: stylegan.latents(CASES["stylegan"].config, KEY, 3, first=5),
    "parameters of gan": lambda: gan.init(PLAIN, KEY),
    "pool": lambda: pool.draw(KEY, 9, 5),
    "dropout": lambda: dropout(jnp.asarray(IMAGES), 0.3, KEYS, "layer"),
    "noise": lambda: add_noise(jnp.asarray(IMAGES), 0.3, KEYS, "layer"),
    "ada": lambda: augment.ada(jnp.asarray(IMAGES), KEYS, 0.5, tuple(GROUPS)),
    "diffaugment": lambda: augment.diff_augment(jnp.asarray(IMAGES), KEYS),
    "prepared data": lambda: prepare(
        LARGER, KEY, 3, AUGMENT, sizes={"image": (8, 8), "layout": (8, 8)}
    ),
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws_do_not_depend_on_x64(name):
    expected = jax.jit(DRAWS[name])()
    with jax.enable_x64(True):
        actual = jax.jit(DRAWS[name])()
    assert types(actual) == types(expected)
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(one, other)


def test_numbers_of_64_bits_as_labels_and_first():
    """What `jnp.array([0, 1])` and `jnp.array(5)` are under x64."""
    config = dataclasses.replace(CASES["cgan"].config, stabilisers=Stabilisers())
    state = jax.eval_shape(functools.partial(cgan.init, config), KEY)

    def sample(state, labels, first):
        return cgan.sample(config, state, KEY, 2, labels, first=first)

    with switched():
        made = jax.eval_shape(sample, state, jnp.array([0, 1]), jnp.array(5))
        later = cgan.latents(config, KEY, 2, first=jnp.array(5))
    assert made.dtype == jnp.float32
    np.testing.assert_array_equal(later, cgan.latents(config, KEY, 7)[5:])


def test_projection_under_the_switches():
    config = CASES["stylegan"].config
    state = jax.eval_shape(functools.partial(stylegan.init, config), KEY)
    settings = projection.Settings(steps=3, latents=4)
    function, arguments = (
        functools.partial(projection.project, config, settings=settings),
        (state, jnp.zeros((8, 8, 1), jnp.float32), KEY),
    )
    expected = jax.eval_shape(function, *arguments)
    with switched():
        assert types(jax.eval_shape(function, *arguments)) == types(expected)


def test_moved_labels_under_the_switches():
    for settings in (EVERYTHING, Augmentation("diffaugment")):

        def moved(labels, settings=settings):
            return augment.move_labels(
                settings, augment.draw(settings, KEYS, (8, 12, 3), 0.5), labels
            )

        labels = jax.ShapeDtypeStruct((4, 8, 12), jnp.int32)
        assert_unchanged(moved, (labels,), labels)


# ---------------------------------------------------------------------------------------------------------------------- steps


def assert_same_step(actual: Any, expected: Any) -> None:
    """Two results of a step, equal to rounding."""
    assert types(actual) == types(expected)
    for (path, one), other in zip(
        jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(
            one, other, rtol=2e-4, atol=2e-4, err_msg=jax.tree_util.keystr(path)
        )


def started(family: Any, config: Any) -> tuple[Callable, tuple]:
    """A step, and its arguments."""
    batch = {name: jnp.asarray(array) for name, array in make_batch(family, config, 4).items()}
    return functools.partial(family.train_step, config), (
        jax.jit(family.init, static_argnums=0)(config, KEY),
        batch,
        KEY,
    )


def test_a_step_under_x64_is_the_same_and_feeds_the_next():
    function, (state, batch, key) = started(gan, PLAIN)
    expected = jax.jit(function)(state, batch, key)
    with jax.enable_x64(True):
        step = jax.jit(function)
        actual = step(state, batch, key)
        compiled = step._cache_size()
        step(actual[0], batch, key)
        assert step._cache_size() == compiled
    assert_same_step(actual, expected)


def assert_runs_outside_jit(family: Any, config: Any) -> None:
    """`disable_jit` runs a step operation by operation, so that `jax_debug_nans` sees every intermediate value."""
    function, arguments = started(family, config)
    with jax.disable_jit(), jax.debug_nans(True), jax.numpy_dtype_promotion("strict"):
        state, metrics = function(*arguments)
    assert types(state) == types(arguments[0])
    assert all(np.isfinite(metric) for metric in metrics.values())


def test_a_step_outside_jit():
    assert_runs_outside_jit(gan, PLAIN)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_of_every_family_outside_jit(name):
    assert_runs_outside_jit(EVERY[name].family, EVERY[name].config)


def test_no_tracer_leaks():
    function, arguments = programs(gan, OPTIONS["penalties"])["train_step"]
    with jax.checking_leaks():
        jax.eval_shape(function, *arguments)


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_no_tracer_leaks_of_every_family(name):
    with jax.checking_leaks():
        for function, arguments in programs(EVERY[name].family, EVERY[name].config).values():
            jax.eval_shape(function, *arguments)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_of_every_family_under_x64_and_debug_nans(name):
    function, arguments = started(EVERY[name].family, EVERY[name].config)
    expected = jax.jit(function)(*arguments)
    with jax.enable_x64(True), jax.debug_nans(True):
        actual = jax.jit(function)(*arguments)
    assert types(actual) == types(expected)
    for metric in expected[1]:
        if metric.endswith("_loss"):
            np.testing.assert_allclose(
                actual[1][metric], expected[1][metric], rtol=1e-4, err_msg=metric
            )


KEEPING = ("gan", "vaegan", "stylegan")
"""Of these the state, or a gradient, depends on settings beside those that all families share."""


@pytest.mark.parametrize(
    "name",
    [name if name in KEEPING else pytest.param(name, marks=pytest.mark.slow) for name in EVERY],
)
def test_settings_of_any_width_leave_the_state_as_it_is(name):
    """A population or a meta-learner passes arrays as settings: under x64 float64 by default."""
    family, config = EVERY[name].family, EVERY[name].config
    _, (state, batch, key) = programs(family, config)["train_step"]
    with switched():
        widths = itertools.cycle((jnp.float64, jnp.bfloat16, jnp.int32))
        settings = [jax.ShapeDtypeStruct((), next(widths)) for _ in float_fields(config)]
        after, metrics = jax.eval_shape(traced_step(family, config), settings, state, batch, key)
    assert types(after) == types(state)
    assert {str(metric.dtype) for metric in metrics.values()} == {"float32"}


@pytest.mark.parametrize("name", ["gan", "dcgan labels"])
def test_latents_of_64_bits_make_the_same_images(name):
    family, config = EVERY[name].family, EVERY[name].config
    state = jax.eval_shape(functools.partial(family.init, config), KEY)
    labels = {"labels": [0, 1]} if getattr(config, "classes", 0) else {}
    generate = functools.partial(family.generate, config, **labels)
    with switched():
        latents = jax.ShapeDtypeStruct((2, config.latent_size), jnp.float64)
        jaxpr, images = jax.make_jaxpr(generate, return_shape=True)(state, latents)
    assert images.dtype == jnp.float32
    assert wide_operations(jaxpr.jaxpr) == []
