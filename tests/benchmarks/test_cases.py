"""Cases are presets on data that fits them, and their arithmetic is of an average step."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import cases, flops
from tests.families_under_test import CASES


def tiny(name, batch_size=16):
    return cases.Case(f"{name} tiny", CASES[name].family, CASES[name].config, batch_size, 1)


@pytest.mark.parametrize("name", cases.FAMILIES)
def test_random_batches_fit(name):
    case = cases.case(name, batch=8)
    spec, batch = case.family.batch_spec(case.config, 8), cases.random_batch(case)
    assert {leaf: (x.shape, x.dtype) for leaf, x in batch.items()} == {
        leaf: (x.shape, x.dtype) for leaf, x in spec.items()
    }
    for leaf, x in batch.items():
        if leaf == "attributes":
            np.testing.assert_array_equal(x.sum(axis=1), 1)
        elif jnp.issubdtype(x.dtype, jnp.integer):
            assert set(np.unique(x)) <= set(range(case.config.classes))
        else:
            assert -1 <= x.min() < -0.9 < 0.9 < x.max() <= 1


def test_the_kind_of_augmentation_can_be_another():
    case = cases.case("stylegan", "auto", augment="ada")
    assert case.name == "stylegan auto ada"
    assert case.config.stabilisers.augment.kind == "ada"
    assert (
        dataclasses.replace(
            case.config, stabilisers=cases.case("stylegan", "auto").config.stabilisers
        )
        == cases.case("stylegan", "auto").config
    )


def test_every_family_and_suite_is_there():
    assert set(cases.FAMILIES) == set(CASES)
    for suite in cases.SUITES.values():
        assert {name: cases.case(name, preset).name for name, preset in suite.items()} == {
            name: f"{name} {preset}" for name, preset in suite.items()
        }


def test_changes_of_a_case():
    case = cases.case("stargan", "digits", batch=4, dtype="bfloat16", image_size=(32, 48))
    assert (case.batch_size, case.config.dtype, case.config.image_size) == (4, "bfloat16", (32, 48))
    assert case.images == 4 * 5
    with pytest.raises(ValueError, match="preset must be one of 'digits'"):
        cases.case("stargan", "nothing")
    with pytest.raises(ValueError, match="family must be one of 'gan'"):
        cases.case("nothing")
    with pytest.raises(ValueError, match="devices must be between 1 and 8"):
        cases.mapped(case, "jit", 9)


def test_bytes_of_products():
    """Operands and results of a matrix product [2, 3] [3, 4], three times, and of a convolution."""

    def products(x, y):
        return jax.lax.scan(lambda carry, _: (carry + jnp.sum(x @ y), None), 0.0, None, length=3)[0]

    arrays = jax.ShapeDtypeStruct((2, 3), jnp.float32), jax.ShapeDtypeStruct((3, 4), jnp.float32)
    assert flops.moved(flops.trace(products, *arrays)) == 3 * 4 * (6 + 12 + 8)
    images, kernel = (
        jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.bfloat16),
        jax.ShapeDtypeStruct((3, 3, 3, 5), jnp.bfloat16),
    )
    conv = functools.partial(
        jax.lax.conv_general_dilated,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    assert flops.moved(flops.trace(conv, images, kernel)) == 2 * (2 * 64 * 3 + 27 * 5 + 2 * 64 * 5)


def test_arithmetic_of_a_step():
    case = tiny("gan")
    state, batch, key = cases.arguments(case)
    found = cases.arithmetic(case)
    assert (
        found["flops"]
        == found["most_flops"]
        == flops.count(functools.partial(case.family.train_step, case.config), state, batch, key)
        > 0
    )
    assert found["bytes"] > 2 * cases.tree_bytes(state) + cases.tree_bytes(batch)
    assert cases.tree_bytes(batch) == 16 * 8 * 8 * 4


def test_lazy_penalties_come_round():
    config = CASES["stylegan"].config
    assert cases.period(cases.case("stylegan", "paper256").config) == 16
    assert cases.period(config) == 2
    assert cases.period(CASES["gan"].config) == 1
    (every, r1), (often, lengths) = cases.lazy_penalties(config)
    assert (every, r1.stabilisers.r1, r1.path_length_weight) == (2, 1.0, 0.0)
    assert (often, lengths.stabilisers.r1, lengths.path_length_weight) == (2, 0.0, 2.0)
    ((often, lengths),) = cases.lazy_penalties(dataclasses.replace(config, r1_interval=1))
    assert (often, lengths.stabilisers.r1, lengths.path_length_weight) == (
        2,
        1.0,
        2.0,
    )  # what is taken in every step stays


@pytest.mark.slow
def test_arithmetic_of_lazy_penalties():
    case = tiny("stylegan")
    found = cases.arithmetic(case)
    step = functools.partial(case.family.train_step, case.config)
    assert found["most_flops"] == flops.count(step, *cases.arguments(case))
    plain = 2 * found["flops"] - found["most_flops"]
    assert 0.2 * found["most_flops"] < plain < found["flops"] < found["most_flops"]
