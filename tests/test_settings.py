"""Settings dataclasses: what each field takes, how it is stored, and what may be a tracer."""

from __future__ import annotations

import dataclasses
import enum
import functools
import typing
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxgan import cyclegan, dcgan, optim
from jaxgan.augment import Augmentation, Strength, adapt
from jaxgan.data import Augment
from jaxgan.games.stabilisers import Stabilisers, noise_level
from jaxgan.optim import Optimizer
from jaxgan.projection import Settings as Search
from jaxgan.records.config_io import from_dict, to_dict
from jaxgan.settings import settle
from tests.contract.helpers import make_batch
from tests.families_under_test import CASES

SETTINGS = {
    **{name: case.config for name, case in CASES.items()},
    **{
        type(each).__name__: each
        for each in (Stabilisers(), Optimizer(), Augmentation(), Augment(), Search())
    },
}
SCHEDULES = {
    "Optimizer": {"momentum_images", "constant_images", "decay_images"},
    "Stabilisers": {"instance_noise_images"},
    "Augmentation": {"speed_images", "interval"},
}
"""Integers that may be tracers; none in any Config."""


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5


@dataclass(frozen=True)
class Outer:
    size: tuple[int, int] = (2, 3)
    widths: tuple[int, ...] = ()
    groups: tuple[tuple[str, int], ...] = ()
    count: int = 1
    weight: float = 0.0
    other: float | None = None
    on: bool = False
    kind: Literal["a", "b"] = "a"
    title: str = ""
    inner: Inner = Inner()

    def __post_init__(self):
        settle(self, schedule=("count",))


class Few(enum.IntEnum):
    ONE = 1


class Words(enum.StrEnum):
    B = "b"


@pytest.mark.parametrize(
    ("field", "given", "stored"),
    [
        ("size", [4, np.int64(5)], (4, 5)),
        ("widths", [], ()),
        ("widths", np.array([1, 2]).tolist(), (1, 2)),
        ("groups", [["a", 1], ("b", np.uint8(2))], (("a", 1), ("b", 2))),
        ("count", np.int32(7), 7),
        ("count", np.array(7), 7),
        ("weight", np.float32(0.5), 0.5),
        ("weight", np.float16(0.5), 0.5),
        ("weight", ml_dtypes.bfloat16(0.5), 0.5),
        ("weight", np.int64(3), 3),
        ("weight", jnp.float32(0.5), 0.5),
        ("other", None, None),
        ("other", np.float64(2), 2.0),
        ("on", np.True_, True),
        ("title", np.str_("x"), "x"),
        ("kind", np.str_("b"), "b"),
        ("count", Few.ONE, 1),
        ("weight", Few.ONE, 1),
        ("title", Words.B, "b"),
        ("kind", Words.B, "b"),
    ],
)
def test_values_are_stored_as_plain_python(field, given, stored):
    settings = Outer(**{field: given})
    value = getattr(settings, field)
    assert value == stored
    assert type(value) in (int, float, bool, str, tuple, type(None))
    assert (settings, hash(settings)) == (Outer(**{field: stored}), hash(Outer(**{field: stored})))
    assert from_dict(Outer, to_dict(settings)) == settings


@pytest.mark.parametrize(
    ("field", "given", "message"),
    [
        ("size", (4,), r"Outer.size must be a tuple of 2 \(an integer, an integer\), got \(4,\)"),
        ("size", 4, "Outer.size must be a tuple of 2"),
        ("size", "45", "Outer.size must be a tuple of 2"),
        ("size", (4, 5.0), r"Outer.size\[1\] must be an integer, got 5.0"),
        ("widths", {1, 2}, "Outer.widths must be a tuple, each element an integer"),
        ("groups", (("a", True),), r"Outer.groups\[0\]\[1\] must be an integer, got True"),
        ("count", 1.0, "Outer.count must be an integer, got 1.0"),
        ("count", np.float32(1), "Outer.count must be an integer, got 1.0"),
        ("count", True, "Outer.count must be an integer, got True"),
        ("count", np.True_, "Outer.count must be an integer, got "),
        ("count", "1", "Outer.count must be an integer, got '1'"),
        ("count", None, "Outer.count must be an integer, got None"),
        ("weight", True, "Outer.weight must be a number, got True"),
        ("weight", jnp.bool_(True), "Outer.weight must be a number, got "),
        ("weight", "0.1", "Outer.weight must be a number, got '0.1'"),
        ("weight", (0.1,), r"Outer.weight must be a number, got \(0.1,\)"),
        ("weight", None, "Outer.weight must be a number, got None"),
        ("weight", float("inf"), "Outer.weight must be finite .*, got inf"),
        ("weight", np.float32("nan"), "Outer.weight must be finite .*, got nan"),
        ("weight", np.ones(3), "Outer.weight must be a number, got array"),
        ("weight", 10**400, "Outer.weight must be finite"),
        ("weight", 1e39, r"Outer.weight must be finite \(in float32\), got 1e\+39"),
        ("weight", jax.random.key(0), "Outer.weight must be a number, got "),
        ("count", 2**40, r"Outer.count must be below 2\*\*31, got 1099511627776"),
        ("weight", np.timedelta64(1), "Outer.weight must be a number, got "),
        ("count", np.timedelta64(1), "Outer.count must be an integer, got "),
        ("weight", np.ma.masked, "Outer.weight must be a number, got masked"),
        ("weight", 1j, "Outer.weight must be a number, got 1j"),
        ("weight", np.complex64(1), "Outer.weight must be a number, got "),
        ("other", "x", "Outer.other must be a number or None, got 'x'"),
        ("on", 1, "Outer.on must be True or False, got 1"),
        ("kind", "c", "Outer.kind must be one of 'a', 'b', got 'c'"),
        ("kind", ["a"], "Outer.kind must be one of 'a', 'b', got "),
        ("title", 3, "Outer.title must be text, got 3"),
        ("inner", 0.5, "Outer.inner must be an Inner, got 0.5"),
        ("inner", Outer(), "Outer.inner must be an Inner, got Outer"),
    ],
)
def test_other_values_are_refused(field, given, message):
    with pytest.raises(ValueError, match=message) as error:
        Outer(**{field: given})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", SETTINGS)
def test_every_settings_class_checks_every_field(name):
    """No field of a Config, or of what it nests, takes an object of another kind."""
    for field in dataclasses.fields(SETTINGS[name]):
        with pytest.raises(ValueError, match=rf"\.{field.name} must be"):
            dataclasses.replace(SETTINGS[name], **{field.name: object()})


def scalars(settings, kind):
    hints = typing.get_type_hints(type(settings))
    return [
        field.name
        for field in dataclasses.fields(settings)
        if hints[field.name] in (kind, kind | None)
    ]


def accepts_tracer(settings, field, dtype):
    refused = []

    def replaced(value):
        try:
            dataclasses.replace(settings, **{field: value})
        except ValueError as error:
            refused.append("shapes the state or the program" in str(error))
        return value

    jax.eval_shape(replaced, jax.ShapeDtypeStruct((), dtype))
    return refused != [True]


@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "Augment"])
def test_which_settings_may_be_tracers(name):
    settings = SETTINGS[name]
    assert {
        field
        for field in scalars(settings, float)
        if not accepts_tracer(settings, field, jnp.float32)
    } == set()
    traced = {
        field for field in scalars(settings, int) if accepts_tracer(settings, field, jnp.int32)
    }
    assert traced == SCHEDULES.get(type(settings).__name__, set())


def test_data_is_augmented_by_concrete_settings_only():
    assert not any(accepts_tracer(Augment(), field, jnp.float32) for field in ("rotation", "scale"))


def test_tracers_are_scalars():
    with pytest.raises(
        ValueError, match=r"Optimizer.learning_rate must be a scalar, got a tracer of shape \(3,\)"
    ):
        jax.eval_shape(
            lambda rate: Optimizer(learning_rate=rate) and rate,
            jax.ShapeDtypeStruct((3,), jnp.float32),
        )


@pytest.mark.parametrize("dtype", ["bfloat16", "float64", "int8", "uint32", "int64"])
def test_tracers_become_float32_and_int32(dtype):
    """A bfloat16 span would round the images of a schedule; 64 bits would widen a state."""
    stored = []

    def make(value):
        stored.append(Stabilisers(instance_noise=value).instance_noise.dtype)
        if jnp.issubdtype(dtype, jnp.integer):
            settings = Stabilisers(instance_noise=1, instance_noise_images=value)
            stored.append(settings.instance_noise_images.dtype)
        return value

    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        jax.eval_shape(make, jax.ShapeDtypeStruct((), dtype))
    assert stored == [jnp.float32, jnp.int32][: len(stored)]


def test_schedules_of_traced_integers_equal_concrete_ones():
    images = jnp.int32(30)

    def rate(constant, decay):
        return optim.learning_rate(Optimizer(constant_images=constant, decay_images=decay), images)

    def noise(span):
        return noise_level(Stabilisers(instance_noise=0.5, instance_noise_images=span), images)

    def strength(speed):
        old = Strength(jnp.float32(0.5), jnp.float32(3), jnp.int32(3))
        return adapt(Augmentation("ada", speed_images=speed), old, jnp.float32(1), 16).p

    assert float(jax.jit(rate)(10, 40)) == float(rate(10, 40)) == pytest.approx(1e-4)
    assert float(jax.jit(noise)(60)) == float(noise(60)) == 0.25
    assert float(jax.jit(strength)(640)) == float(strength(640)) == pytest.approx(0.6)


def test_zero_is_off_in_every_type():
    """The program of a step is that of a Python zero."""
    config = dataclasses.replace(
        CASES["dcgan"].config,
        stabilisers=Stabilisers(r1=np.float32(0), ema_half_life=jnp.float32(0)),
    )
    assert config == dataclasses.replace(config, stabilisers=Stabilisers())


def test_weights_of_the_two_cycles():
    """`cycle_weight_a` weighs a -> b -> a and what b2a does to images of a; unset, both are `cycle_weight`."""
    config, state = CASES["cyclegan"].config, None
    batch, key = make_batch(cyclegan, config, 2), jax.random.key(0)

    @jax.jit
    def losses(a, b, identity):
        weighed = dataclasses.replace(
            config, cycle_weight_a=a, cycle_weight_b=b, identity_weight=identity
        )
        return cyclegan.train_step(weighed, state, batch, key)[1]

    state = jax.jit(functools.partial(cyclegan.init, config))(key)
    got = {name: float(value) for name, value in losses(3.0, 7.0, 0.5).items()}
    adversarial = got["a2b_adversarial_loss"] + got["b2a_adversarial_loss"]
    cycles = 3 * got["cycle_a_loss"] + 7 * got["cycle_b_loss"]
    identities = 0.5 * (3 * got["identity_a_loss"] + 7 * got["identity_b_loss"])
    assert got["g_loss"] == pytest.approx(adversarial + cycles + identities, rel=1e-5)
    unset = cyclegan.train_step(config, state, batch, key)[1]["g_loss"]
    assert float(unset) == pytest.approx(float(losses(10.0, 10.0, 0.5)["g_loss"]), rel=1e-4)


def test_widths_are_positive():
    with pytest.raises(ValueError, match="generator_width must be at least 1, got 0"):
        dcgan.Config(generator_width=0)
