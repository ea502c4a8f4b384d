"""What every family says of a batch, config, state or labels that do not fit, before anything is drawn."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import acgan, cgan, dcgan, gan, losses, spade, stargan, stylegan
from jaxgan.games.checks import check_batch, label_ranges
from jaxgan.games.stabilisers import Stabilisers
from jaxgan.nn import labels as label_vectors
from jaxgan.optim import Optimizer
from tests.contract.helpers import VARIANTS, initial_state, make_batch
from tests.families_under_test import CASES, PROCESSES

SHAPE = jax.ShapeDtypeStruct
KEY = jax.eval_shape(lambda: jax.random.key(0))
EVERY = CASES | PROCESSES | {name: VARIANTS[name] for name in ("dcgan labels", "stylegan labels")}


@functools.cache
def fresh(name):
    family, config = EVERY[name].family, EVERY[name].config
    return jax.eval_shape(functools.partial(family.init, config), KEY)


def spec(name, count=4):
    return EVERY[name].family.batch_spec(EVERY[name].config, count)


def traced(name, batch, config=None, state=None):
    family = EVERY[name].family
    step = functools.partial(family.train_step, config or EVERY[name].config)
    return jax.eval_shape(step, state or fresh(name), batch, KEY)


def replaced(batch, name, shape=None, dtype=None):
    leaf = batch[name]
    return batch | {name: SHAPE(leaf.shape if shape is None else shape, dtype or leaf.dtype)}


def refused(message, call, *arguments, **options):
    with pytest.raises(ValueError, match=message) as error:
        call(*arguments, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", EVERY)
def test_batches_that_do_not_fit_are_refused(name):
    batch = spec(name)
    count = next(iter(batch.values())).shape[0]
    for entry, leaf in batch.items():
        where = rf"batch\['{entry}'\]"
        rest = {other: value for other, value in batch.items() if other != entry}
        refused(f"the batch lacks {entry}", traced, name, rest)
        refused(where, traced, name, replaced(batch, entry, (count, *leaf.shape[1:], 1)))
        axes = r", ".join(["B", *map(str, leaf.shape[1:])])
        for shape in ((), leaf.shape[1:]):
            message = rf"{where} must be of shape \[{axes}\] for B examples, got"
            refused(message, traced, name, replaced(batch, entry, shape))
        refused(message, check_batch, EVERY[name].family, EVERY[name].config, batch | {entry: None})
        if len(leaf.shape) > 1:
            refused(
                rf"{where} must be of shape",
                traced,
                name,
                replaced(batch, entry, (count, leaf.shape[1] + 1, *leaf.shape[2:])),
            )
        if len(batch) > 1:
            refused(
                "they must be as many",
                traced,
                name,
                replaced(batch, entry, (2 * count, *leaf.shape[1:])),
            )
        if len(leaf.shape) == 4:
            for dtype in (jnp.uint8, jnp.int32, jnp.bool_, jnp.complex64):
                refused(
                    f"{where} must be images of float32",
                    traced,
                    name,
                    replaced(batch, entry, dtype=dtype),
                )
        elif jnp.issubdtype(leaf.dtype, jnp.integer):
            for dtype in (jnp.float32, jnp.bool_):
                refused(
                    rf"{where} must be integers \(int32\)",
                    traced,
                    name,
                    replaced(batch, entry, dtype=dtype),
                )


@pytest.mark.parametrize("name", EVERY)
def test_batches_are_cast_and_further_entries_left_out(name):
    family, config, batch = EVERY[name].family, EVERY[name].config, spec(name)
    half = {
        entry: SHAPE(leaf.shape, jnp.bfloat16 if len(leaf.shape) == 4 else leaf.dtype)
        for entry, leaf in batch.items()
    }
    narrow = {
        entry: SHAPE(leaf.shape, jnp.uint8 if leaf.dtype == jnp.int32 else leaf.dtype)
        for entry, leaf in batch.items()
    }
    for other in (half, narrow, batch | {"name": SHAPE((3,), jnp.int32)}):
        assert check_batch(family, config, other) == batch
    arrays = {entry: np.zeros(leaf.shape, leaf.dtype) for entry, leaf in half.items()}
    assert {entry: leaf.dtype for entry, leaf in check_batch(family, config, arrays).items()} == {
        entry: leaf.dtype for entry, leaf in batch.items()
    }


@pytest.mark.parametrize("name", ["gan", "stargan", "dcgan"])
def test_batches_split_over_the_turns_of_the_critic(name):
    config = EVERY[name].config
    config = dataclasses.replace(
        config, stabilisers=dataclasses.replace(config.stabilisers, critic_steps=3)
    )
    family = EVERY[name].family
    batch = family.batch_spec(
        dataclasses.replace(
            config, stabilisers=dataclasses.replace(config.stabilisers, critic_steps=2)
        ),
        8,
    )
    message = "has 16 examples on each device, which do not split over the critic's 3 steps: give a multiple of 3, such as 15"
    refused(message, check_batch, family, config, batch)
    refused(
        message,
        traced,
        name,
        batch,
        config,
        jax.eval_shape(functools.partial(family.init, config), KEY),
    )


@pytest.mark.parametrize("name", CASES)
def test_configs_and_states_of_others_are_refused(name):
    other = "dcgan" if name != "dcgan" else "cgan"
    family, batch = EVERY[name].family, spec(name)
    refused(
        f"a {name}.Config is needed, got a {other}.Config",
        check_batch,
        family,
        EVERY[other].config,
        batch,
    )
    refused(
        f"a {name}.Config is needed, got a {other}.Config", traced, name, batch, EVERY[other].config
    )
    refused(f"the state does not fit this {name}.Config", traced, name, batch, None, fresh(other))
    refused(
        f"a jaxgan.State of {name}.init is needed, got a dict",
        traced,
        name,
        batch,
        None,
        {"step": SHAPE((), jnp.int32)},
    )
    refused(f"a {name}.Config is needed", family.init, EVERY[other].config, KEY)
    if hasattr(family, "latents"):
        refused(f"a {name}.Config is needed", family.latents, EVERY[other].config, KEY, 2)
    refused(
        f"a {name}.Config is needed", family.preview, EVERY[other].config, fresh(name), batch, KEY
    )
    refused(
        f"the state does not fit this {name}.Config",
        family.preview,
        EVERY[name].config,
        fresh(other),
        batch,
        KEY,
    )


def test_the_first_difference_of_a_state_is_named():
    config = dataclasses.replace(CASES["dcgan"].config, stabilisers=Stabilisers(pool_size=8))
    refused(r"extra\['pool'\].* is missing", traced, "dcgan", spec("dcgan"), config)
    pooled = jax.eval_shape(functools.partial(dcgan.init, config), KEY)
    refused(r"extra\['pool'\].* is not of it", traced, "dcgan", spec("dcgan"), None, pooled)
    wider = dataclasses.replace(CASES["dcgan"].config, generator_width=8)
    refused(r"kernel'\] is \[.*\], not \[", traced, "dcgan", spec("dcgan"), wider)


@pytest.mark.parametrize(
    "key",
    [
        0,
        None,
        "key",
        jnp.zeros(()),
        np.zeros(3, np.uint32),
        jnp.zeros(0, jnp.uint32),
        jax.random.split(jax.random.key(0), 2),
    ],
)
def test_what_is_no_key_is_refused(key):
    family, config = CASES["gan"].family, CASES["gan"].config
    refused("one key is needed, such as jax.random.key", family.init, config, key)
    refused(
        "one key is needed, such as jax.random.key",
        family.train_step,
        config,
        fresh("gan"),
        spec("gan"),
        key,
    )
    refused(
        "one key is needed, such as jax.random.key", family.sample, config, fresh("gan"), key, 1
    )


def test_states_are_compared_with_configs_that_hold_tracers():
    """Another optimiser than the state's, with a traced rate, is named and not met inside the optimiser."""
    config, state = CASES["gan"].config, fresh("gan")

    def loss(rate, name):
        changed = dataclasses.replace(config, generator_optimizer=Optimizer(name, rate))
        return jax.eval_shape(functools.partial(gan.train_step, changed), state, spec("gan"), KEY)[
            1
        ]["g_loss"]

    with pytest.raises(
        ValueError, match=r"the state does not fit this gan.Config \(players\['generator'\].opt"
    ):
        jax.jit(functools.partial(loss, name="rmsprop")).lower(1e-3)


def ranges(case):
    return label_ranges(case.family.conditioning(case.config))


NUMBERED = [
    (name, entry) for name, case in EVERY.items() for entry in ranges(case) if entry in spec(name)
]


@pytest.mark.parametrize(("name", "entry"), NUMBERED)
@pytest.mark.parametrize("beside", [-1, 0])
def test_concrete_labels_out_of_range_are_refused(name, entry, beside):
    family, config = EVERY[name].family, EVERY[name].config
    batch, limit = make_batch(family, config, 4), ranges(EVERY[name])[entry]
    check_batch(family, config, batch)
    batch[entry].flat[-1] = beside if beside else limit
    message = rf"batch\['{entry}'\] must be from 0 to {limit - 1}, got {beside or limit}"
    refused(message, check_batch, family, config, batch)
    refused(message, check_batch, family, config, batch | {entry: jnp.array(batch[entry])})


@pytest.mark.parametrize(
    ("name", "entry"),
    [pair for pair in NUMBERED if pair[0] in ("cgan", "spade", "stylegan labels", "stargan sets")],
)
def test_traced_labels_out_of_range_never_give_a_finite_loss(name, entry):
    family, config = EVERY[name].family, EVERY[name].config
    step = jax.jit(functools.partial(family.train_step, config))
    state, batch = initial_state(family, config), make_batch(family, config, 4)
    fine = step(state, batch, jax.random.key(0))[1]
    for label in (-1, ranges(EVERY[name])[entry]):
        wrong = {other: leaf.copy() for other, leaf in batch.items()}
        wrong[entry].flat[-1] = label
        metrics = step(state, wrong, jax.random.key(0))[1]
        assert not np.isfinite([metrics["d_loss"], metrics["g_loss"]]).any()
    assert np.isfinite([fine["d_loss"], fine["g_loss"]]).all()


@pytest.mark.parametrize("name", ["cgan", "acgan", "dcgan labels", "stylegan labels"])
def test_samples_refuse_labels_out_of_range(name):
    family, config, state = EVERY[name].family, EVERY[name].config, fresh(name)
    latents = SHAPE((2, config.latent_size), jnp.float32)
    last = config.classes - 1
    for wrong in ([0, last + 1], np.array([-1, 0]), jnp.array([0, 99])):
        refused(
            f"labels must be from 0 to {last}",
            family.sample,
            config,
            state,
            jax.random.key(0),
            2,
            labels=wrong,
        )
        refused(
            f"labels must be from 0 to {last}",
            family.generate,
            config,
            state,
            latents,
            labels=wrong,
        )
    for wrong in ([0.0, 1.0], [True, False], [0], [[0, 1]], 0):
        refused(
            r"labels must be integers \[2\]",
            family.sample,
            config,
            state,
            jax.random.key(0),
            2,
            labels=wrong,
        )
    refused(
        "labels are needed with classes, and only then",
        family.sample,
        config,
        state,
        jax.random.key(0),
        2,
        labels=None,
    )


def test_traced_labels_out_of_range_give_no_image():
    config = CASES["cgan"].config
    images = jax.jit(
        lambda labels: cgan.sample(
            config, initial_state(cgan, config), jax.random.key(0), 3, labels
        )
    )
    made = images(jnp.array([0, -1, config.classes]))
    np.testing.assert_array_equal(np.isfinite(made).all(axis=(1, 2, 3)), [True, False, False])


def test_attributes_are_from_0_to_1():
    config, state = CASES["stargan"].config, fresh("stargan")
    images = jnp.zeros((1, 8, 8, 3))
    for wrong in (7, -1, float("nan")):
        refused(
            "attributes must be from 0",
            stargan.translate,
            config,
            state,
            images,
            jnp.array([1.0, 0.0, wrong]),
        )
    batch = make_batch(stargan, config, 2)
    batch["attributes"][0, 0] = 7
    refused(r"batch\['attributes'\] must be from 0", check_batch, stargan, config, batch)


def test_layouts_and_sets_out_of_range():
    config = CASES["spade"].config
    refused(
        "layouts must be from 0 to 4",
        spade.translate,
        config,
        fresh("spade"),
        np.full((1, 8, 8), 5),
    )
    config = EVERY["stargan sets"].config
    attributes = np.zeros(len(config.attributes))
    refused(
        "sets must be from 0 to 1",
        stargan.translate,
        config,
        fresh("stargan sets"),
        jnp.zeros((1, 8, 12, 1)),
        attributes,
        sets=[2],
    )


def test_vectors_of_labels():
    table, labels = jnp.arange(6.0).reshape(3, 2), jnp.array([0, 2, -1, 3])
    nan = np.nan
    np.testing.assert_array_equal(
        label_vectors.one_hot(labels, 3), [[1, 0, 0], [0, 0, 1], [nan] * 3, [nan] * 3]
    )
    np.testing.assert_array_equal(
        label_vectors.rows(table, labels), [[0, 1], [4, 5], [nan] * 2, [nan] * 2]
    )
    assert np.isnan(losses.softmax_cross_entropy(jnp.zeros((2, 3)), jnp.array([0, -1])))
    assert np.isnan(losses.softmax_cross_entropy(jnp.zeros((2, 3)), jnp.array([3, 0])))


def test_unconditional_families_take_no_labels():
    refused(
        "labels are needed with classes, and only then",
        dcgan.sample,
        CASES["dcgan"].config,
        fresh("dcgan"),
        jax.random.key(0),
        1,
        labels=[0],
    )
    assert ranges(CASES["gan"]) == {}
    assert {gan, acgan, stylegan} <= {case.family for case in CASES.values()}
