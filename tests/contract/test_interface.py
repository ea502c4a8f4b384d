"""Every family: the names, their signatures, what a batch and a state are, what sampling gives."""

from __future__ import annotations

import dataclasses
import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.state import Player, State
from tests.contract.helpers import (
    BATCH,
    EVERY,
    FAMILIES,
    KEY,
    LONG,
    STEPS,
    WITH_VARIANTS,
    default_run,
    initial_state,
    make_batch,
    own_buffers,
    setting,
)

SIGNATURES = {
    "conditioning": ["config"],
    "batch_spec": ["config", "batch_size"],
    "init": ["config", "key"],
    "train_step": ["config", "state", "batch", "key", "*axis_name"],
    "preview": ["config", "state", "batch", "key"],
}
FIRST = {
    "sample": (["config", "state", "key", "n"],),
    "translate": (["config", "state", "images"], ["config", "state", "layouts"]),
}
"""What families generate by, and its leading parameters: images or layouts are translated."""


def parameters(function) -> list[str]:
    found = inspect.signature(function).parameters.values()
    return [("*" if p.kind is p.KEYWORD_ONLY else "") + p.name for p in found]


@pytest.mark.parametrize("name", EVERY)
def test_names_and_signatures(name):
    family, config = EVERY[name].family, EVERY[name].config
    assert {
        function: parameters(getattr(family, function)) for function in SIGNATURES
    } == SIGNATURES
    assert inspect.signature(family.train_step).parameters["axis_name"].default is None
    generating = [function for function in FIRST if hasattr(family, function)]
    assert generating
    for function in generating:
        assert parameters(getattr(family, function))[: len(FIRST[function][0])] in FIRST[function]
        assert "*first" in parameters(getattr(family, function))
    public = {"Config", *SIGNATURES, *generating}
    assert public <= set(family.__all__)
    assert all(getattr(family, function).__doc__ for function in public)
    assert family.Config.__dataclass_params__.frozen
    assert hash(config) == hash(dataclasses.replace(config))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.image_size = (1, 1)


@pytest.mark.parametrize("name", EVERY)
def test_init_draws_once(name):
    """A draw for each parameter would be slow to compile; half a million of one draw are as quick as one."""
    family, config = EVERY[name].family, EVERY[name].config
    program = jax.jit(functools.partial(family.init, config)).lower(KEY).as_text()
    assert program.count("erf_inv") == 1


@pytest.mark.parametrize("name", EVERY)
def test_every_setting_is_explained(name):
    """Each field is followed by a docstring, which the command line shows."""
    lines = [line.strip() for line in inspect.getsource(EVERY[name].family.Config).splitlines()]
    for field in dataclasses.fields(EVERY[name].config):
        (at,) = (i for i, line in enumerate(lines) if line.startswith(f"{field.name}:"))
        assert lines[at + 1].startswith('"""'), field.name


@pytest.mark.parametrize("name", EVERY)
def test_batch_spec(name):
    family, config = EVERY[name].family, EVERY[name].config
    spec, twice = family.batch_spec(config, 3), family.batch_spec(config, 6)
    steps = config.stabilisers.critic_steps if hasattr(config, "stabilisers") else 1
    for leaf in spec:
        assert isinstance(spec[leaf], jax.ShapeDtypeStruct)
        assert spec[leaf].shape[0] == 3 * steps
        assert twice[leaf].shape == (6 * steps, *spec[leaf].shape[1:])
        assert spec[leaf].dtype in (jnp.float32, jnp.int32)
    if "image" in spec:
        assert spec["image"].shape[1:] == (*config.image_size, config.channels)
    assert ("label" in spec or "layout" in spec) == bool(getattr(config, "classes", 0))


@pytest.mark.parametrize("name", EVERY)
def test_state_is_arrays_and_keeps_its_form(name):
    """Structure, shapes and dtypes are the same after a step, so that it can be scanned; metrics are float32 scalars; nothing is weakly typed."""
    family, config = EVERY[name].family, EVERY[name].config
    state = jax.eval_shape(functools.partial(family.init, config), KEY)
    assert isinstance(state, State)
    assert all(isinstance(player, Player) for player in state.players.values())
    assert not any(
        jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in jax.tree.leaves(state)
    )
    assert (state.step.shape, state.step.dtype, state.images.shape, state.images.dtype) == (
        (),
        jnp.int32,
        (),
        jnp.int32,
    )
    batch = family.batch_spec(config, 4)
    after, metrics = jax.eval_shape(functools.partial(family.train_step, config), state, batch, KEY)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    same = jax.tree.map(
        lambda x, y: (x.shape, x.dtype, x.weak_type) == (y.shape, y.dtype, y.weak_type),
        state,
        after,
    )
    assert all(jax.tree.leaves(same)), same
    assert {"d_loss", "g_loss"} <= set(metrics)
    assert {(leaf.shape, leaf.dtype) for leaf in metrics.values()} == {((), jnp.dtype("float32"))}


@pytest.mark.parametrize("name", LONG[: len(FAMILIES)])
def test_one_trace_for_equal_configs(name):
    assert default_run(name).traces == 1


@pytest.mark.parametrize("name", FAMILIES)
def test_donation_twice_in_a_row(name):
    """Every buffer of the players is taken over at every step, and no two leaves share one."""
    run = default_run(name)
    assert run.distinct == [True] * STEPS
    assert run.deleted == [1.0] * STEPS
    family, config = EVERY[name].family, setting(name, "default")
    assert own_buffers(jax.jit(family.init, static_argnums=0)(config, KEY))


@pytest.mark.parametrize("name", FAMILIES)
def test_counters(name):
    family, config = EVERY[name].family, EVERY[name].config
    shown = next(iter(family.batch_spec(config, BATCH).values())).shape[0]
    states = default_run(name).played.states
    assert [int(state.step) for state in states] == list(range(STEPS + 1))
    assert [int(state.images) for state in states] == [shown * i for i in range(STEPS + 1)]


# ------------------------------------------------------------------------------------------------------------------ pictures


def sampler(name):
    """(state, key, n, first, labels) -> images, compiled; and the labels to use for n images, () if unconditional."""
    family, config = EVERY[name].family, EVERY[name].config
    classes = getattr(config, "classes", 0)

    @functools.partial(jax.jit, static_argnums=2)
    def run(state, key, n, first, labels):
        return family.sample(config, state, key, n, *([labels] if classes else []), first=first)

    return run, jnp.arange(6) % classes if classes else jnp.zeros(6)


@pytest.mark.parametrize("name", WITH_VARIANTS)
def test_sampling(name):
    """In chunks or at once the same images, in [-1, 1], all different, from a state without players."""
    family, config = EVERY[name].family, EVERY[name].config
    if not hasattr(family, "sample"):
        pytest.skip("this family translates")
    state = default_run(name).played.final if name in FAMILIES else initial_state(family, config)
    state = state.replace(players={})
    run, labels = sampler(name)
    whole = run(state, KEY, 6, 0, labels)
    chunks = jnp.concatenate([run(state, KEY, 3, 0, labels[:3]), run(state, KEY, 3, 3, labels[3:])])
    assert (whole.shape, whole.dtype) == ((6, *config.image_size, config.channels), jnp.float32)
    np.testing.assert_allclose(chunks, whole, rtol=0, atol=1e-6)
    assert np.abs(whole).max() <= 1
    distances = np.abs(whole[:, None] - whole[None]).max(axis=(2, 3, 4))
    assert distances[~np.eye(6, dtype=bool)].min() > 1e-4
    assert np.abs(run(state, jax.random.key(0), 3, 0, labels[:3]) - whole[:3]).max() > 1e-4


@pytest.mark.parametrize("name", FAMILIES)
def test_sampling_reads_the_average(name):
    """Other averaged parameters, other images; the players' are not looked at."""
    family = EVERY[name].family
    if not hasattr(family, "sample"):
        pytest.skip("this family translates")
    run, labels = sampler(name)
    state = default_run(name).played.final
    spoiled = state.replace(players=jax.tree.map(lambda leaf: leaf * 0, state.players))
    doubled = state.replace(
        ema={**state.ema, "params": jax.tree.map(lambda leaf: 2 * leaf, state.ema["params"])}
    )
    images = [run(given, KEY, 3, 0, labels[:3]) for given in (state, spoiled, doubled)]
    np.testing.assert_array_equal(images[0], images[1])
    assert np.abs(images[0] - images[2]).max() > 1e-3


@pytest.mark.parametrize("name", WITH_VARIANTS)
def test_preview(name):
    family, config = EVERY[name].family, EVERY[name].config
    state = initial_state(family, config).replace(players={})
    grid = jax.jit(functools.partial(family.preview, config))(
        state, make_batch(family, config), KEY
    )
    assert grid.ndim == 5
    channels = (
        config.channels
        if hasattr(config, "channels")
        else max(config.channels_a, config.channels_b)
    )
    assert grid.shape[2:] == (*config.image_size, channels)
    assert np.abs(grid).max() <= 1
    if hasattr(family, "sample"):
        assert grid.shape[:2] == (8, min(getattr(config, "classes", 0), 10) or 8)


def translator(name):
    """(state, images, first) -> translations, compiled; and images (or layouts) to translate, of no convenient size."""
    family, config = EVERY[name].family, EVERY[name].config
    if not hasattr(family, "translate"):
        pytest.skip("this family samples")
    if "layout" in family.batch_spec(config, 1):
        size = config.image_size if config.encoder else (11, 14)
        layouts = np.random.default_rng(0).integers(0, config.classes, (4, *size), np.int32)
        edges = config.instance_edges
        return jax.jit(
            lambda state, layouts, first: family.translate(
                config, state, layouts, instances=layouts if edges else None, key=KEY, first=first
            )
        ), layouts
    channels, target = getattr(config, "channels", None), {}
    if channels is None:
        channels = (
            config.channels_b if getattr(config, "direction", "a2b") == "b2a" else config.channels_a
        )
    if hasattr(config, "attributes"):
        target = {
            "attributes": np.eye(len(config.attributes), dtype=np.float32)[0],
            "sets": 0 if config.known else None,
        }
    images = np.random.default_rng(0).uniform(-1, 1, (4, 11, 14, channels)).astype(np.float32)
    return jax.jit(
        lambda state, images, first: family.translate(
            config, state, images, **target, key=KEY, first=first
        )
    ), images


@pytest.mark.parametrize("name", WITH_VARIANTS)
def test_translating(name):
    """In chunks or at once the same images, in [-1, 1], of the size they had, from a state without players; another image, another translation."""
    run, images = translator(name)
    state = initial_state(EVERY[name].family, EVERY[name].config).replace(players={})
    whole = run(state, images, 0)
    assert (whole.shape[:3], whole.dtype) == (images.shape[:3], jnp.float32)
    np.testing.assert_allclose(
        np.concatenate([run(state, images[:2], 0), run(state, images[2:], 2)]),
        whole,
        rtol=0,
        atol=1e-5,
    )
    assert np.abs(whole).max() <= 1
    assert np.abs(whole[:2] - whole[2:]).max() > 1e-4


@pytest.mark.parametrize("name", FAMILIES)
def test_translating_reads_the_average(name):
    """Other averaged parameters, other images; the players' are not looked at."""
    run, images = translator(name)
    state = default_run(name).played.final
    spoiled = state.replace(players=jax.tree.map(lambda leaf: leaf * 0, state.players))
    doubled = state.replace(
        ema={**state.ema, "params": jax.tree.map(lambda leaf: 2 * leaf, state.ema["params"])}
    )
    translated = [run(given, images, 0) for given in (state, spoiled, doubled)]
    np.testing.assert_array_equal(translated[0], translated[1])
    assert np.abs(translated[0] - translated[2]).max() > 1e-3
