"""Configs to JSON and back, and their differences."""

from __future__ import annotations

import dataclasses
import json

import jax.numpy as jnp
import pytest

from jaxgan.records.config_io import differences, from_dict, to_dict


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    sizes: tuple[int, ...] = (1, 2)


@dataclasses.dataclass(frozen=True)
class Outer:
    image_size: tuple[int, int] = (4, 6)
    name: str = "a"
    flag: bool = False
    inner: Inner = Inner()
    optional: Inner | None = None
    layers: tuple[Inner, ...] = ()
    maybe: tuple[int, int] | None = None


CONFIG = Outer((8, 2), "b", True, Inner(1e-7, (3,)), Inner(2.0), (Inner(), Inner(4.0)), (5, 6))


@pytest.mark.parametrize("config", [Outer(), CONFIG])
def test_round_trip_through_json(config):
    again = from_dict(Outer, json.loads(json.dumps(to_dict(config))))
    assert again == config
    assert hash(again) == hash(config)
    assert type(again.inner) is Inner
    assert isinstance(again.layers, tuple)


def test_absent_fields_take_defaults():
    assert from_dict(Outer, {"inner": {"rate": 3.0}}) == Outer(inner=Inner(rate=3.0))


def test_unknown_field_is_named():
    with pytest.raises(
        ValueError, match="Inner has no field momentum: it was stored by another version"
    ):
        from_dict(Outer, {"inner": {"momentum": 1}})


def test_required_field_is_named():
    @dataclasses.dataclass(frozen=True)
    class Needy:
        size: int

    with pytest.raises(ValueError, match="a stored Needy lacks size"):
        from_dict(Needy, {})


def test_array_is_refused_by_name():
    with pytest.raises(
        ValueError, match=r"Outer\.inner\.rate is ArrayImpl, which cannot be stored"
    ):
        to_dict(Outer(inner=Inner(rate=jnp.ones(2))))


def test_differences_are_dotted_old_to_new():
    new = dataclasses.replace(
        CONFIG, name="c", inner=dataclasses.replace(CONFIG.inner, rate=0.1), image_size=(8, 3)
    )
    assert differences(to_dict(CONFIG), to_dict(new)) == [
        "image_size: [8, 2] -> [8, 3]",
        "inner.rate: 1e-07 -> 0.1",
        "name: 'b' -> 'c'",
    ]
    assert differences(to_dict(CONFIG), json.loads(json.dumps(to_dict(CONFIG)))) == []
    assert differences({"a": 1}, {"b": {"c": 2}}) == ["a: 1 -> (absent)", "b.c: (absent) -> 2"]
