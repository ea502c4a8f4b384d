"""One check for every settings dataclass: values as their annotations say, stored as plain Python values.

`settle(self)` is the first line of `__post_init__` of every Config and of what it nests. Ranges and
what fits together are then checked by the class itself, on plain numbers.

Which settings may be tracers (in meta-learning, where a Config is closed over):

- every float: learning rates, weights, half-lives, noise levels, rates of dropout. A tracer counts
  as switched on, whatever its value, and some add arrays to the state when they are on: `clip_norm`,
  VAE-GAN's `margin`, CycleGAN's `cycle_critic` and `cycle_critic_features`;
- integers that only a schedule reads, which their class names: `Optimizer` constant_images,
  decay_images, momentum_images; `Stabilisers` instance_noise_images; `Augmentation` speed_images and interval.

All others (other integers, booleans, text, tuples) shape the state or the program and are concrete.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Collection
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.errors import require

LARGEST = float(np.finfo(np.float32).max)


def settle(settings: Any, schedule: Collection[str] = (), traced: bool = True) -> None:
    """Check each field of a frozen dataclass by its annotation, and store it as a plain Python value.

    int: Python and NumPy integers. float: those, floats and NumPy scalars; finite. bool, str, Literal,
    None and nested dataclasses: as annotated. tuple: tuples and lists, of the annotated elements. A
    NumPy or JAX scalar becomes the Python number it holds, a member of an enum its value, a list a
    tuple. A tracer becomes float32 or int32, so that a state keeps its types.

    Args:
      schedule: names of int fields that may be tracers.
      traced: whether floats may be tracers.

    Raises ValueError naming the class, the field, and what it takes.
    """
    cls: Any = type(settings)
    for name, hint in _hints(cls).items():
        given = getattr(settings, name)
        tracer_allowed = name in schedule or (traced and hint is not int)
        value = _plain(f"{cls.__name__}.{name}", hint, given, tracer_allowed)
        if value is not given:
            object.__setattr__(settings, name, value)


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _plain(where: str, hint: Any, value: Any, traced: bool) -> Any:
    """Return `value` as the plain Python value of type `hint`."""
    options = _options(hint)
    if value is None:
        require(type(None) in options, f"{where} must be {_named(hint)}, got None")
        return None
    if len(options) > 1:
        return _first_fitting(
            where, hint, [each for each in options if each is not type(None)], value, traced
        )
    (kind,) = options
    if isinstance(value, str):
        value = str.__str__(value)
    if typing.get_origin(kind) is Literal:
        fits = any(
            type(value) is type(choice) and value == choice for choice in typing.get_args(kind)
        )
        require(fits, f"{where} must be {_named(kind)}, got {_shown(value)}")
        return value
    if typing.get_origin(kind) is tuple:
        return _elements(where, kind, value)
    if kind in (int, float):
        return _number(where, kind, value, traced)
    if kind is bool and isinstance(value, np.bool):
        return bool(value)
    require(
        isinstance(kind, type) and isinstance(value, kind),
        f"{where} must be {_named(kind)}, got {_shown(value)}",
    )
    return value


def _options(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the one type."""
    return (
        typing.get_args(hint)
        if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
        else (hint,)
    )


def _first_fitting(where: str, hint: Any, options: list[Any], value: Any, traced: bool) -> Any:
    for option in options:
        try:
            return _plain(where, option, value, traced)
        except ValueError:
            continue
    raise ValueError(f"{where} must be {_named(hint)}, got {_shown(value)}")


def _elements(where: str, kind: Any, value: Any) -> tuple[Any, ...]:
    arguments = typing.get_args(kind)
    repeated = len(arguments) == 2 and arguments[1] is Ellipsis
    fits = isinstance(value, (tuple, list)) and (repeated or len(value) == len(arguments))
    require(fits, f"{where} must be {_named(kind)}, got {_shown(value)}")
    hints = (arguments[0],) * len(value) if repeated else arguments
    elements = (
        _plain(f"{where}[{i}]", *pair, False)
        for i, pair in enumerate(zip(hints, value, strict=True))
    )
    return tuple(elements)


def _number(where: str, kind: type, value: Any, traced: bool) -> Any:
    if isinstance(value, jax.core.Tracer):
        require(
            traced,
            f"{where} must be concrete, for it shapes the state or the program; got a tracer",
        )
        number = jnp.issubdtype(value.dtype, jnp.integer) or (
            kind is float and jnp.issubdtype(value.dtype, jnp.floating)
        )
        require(number, f"{where} must be {_named(kind)}, got a tracer of {value.dtype}")
        require(value.ndim == 0, f"{where} must be a scalar, got a tracer of shape {value.shape}")
        return value.astype(jnp.int32 if kind is int else jnp.float32)
    if (
        isinstance(value, (np.generic, np.ndarray, jax.Array))
        and not isinstance(value, (np.timedelta64, np.ma.MaskedArray))
        and value.ndim == 0
        and jnp.issubdtype(value.dtype, jnp.number)
    ):
        value = value.item()
    wanted: tuple[type, ...] = (int,) if kind is int else (int, float)
    fits = isinstance(value, wanted) and not isinstance(value, bool)
    require(fits, f"{where} must be {_named(kind)}, got {_shown(value)}")
    value = int(value) if isinstance(value, int) else float(value)
    if kind is int:
        require(abs(value) < 2**31, f"{where} must be below 2**31, got {_shown(value)}")
    else:
        require(
            value == value and abs(value) <= LARGEST,
            f"{where} must be finite (in float32), got {_shown(value)}",
        )
    return value


def _shown(value: Any) -> str:
    """Return a value as one line of at most 80 characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


_NAMES = {
    int: "an integer",
    float: "a number",
    bool: "True or False",
    str: "text",
    type(None): "None",
}


def _named(hint: Any) -> str:
    """Return what a type asks for, in words."""
    options = _options(hint)
    if len(options) > 1:
        return " or ".join(map(_named, options))
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if typing.get_origin(hint) is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return f"a tuple, each element {_named(arguments[0])}"
        return f"a tuple of {len(arguments)} ({', '.join(map(_named, arguments))})"
    return _NAMES.get(hint) or f"{'an' if hint.__name__[0] in 'AEIO' else 'a'} {hint.__name__}"
