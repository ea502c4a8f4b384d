"""Configs as plain data: to JSON and back, and what differs between two."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any, TypeVar

T = TypeVar("T")

_ABSENT = object()


def to_dict(config: Any) -> Any:
    """A frozen config dataclass as JSON-able dicts, lists, numbers and strings; `from_dict` is the inverse.

    Raises `ValueError` naming the field if a value cannot be written as JSON (an array, a function).
    """
    return _plain(config, type(config).__name__)


def _plain(value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _plain(getattr(value, field.name), f"{where}.{field.name}")
            for field in dataclasses.fields(value)
        }
    if isinstance(value, dict):
        return {str(name): _plain(item, f"{where}.{name}") for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(
        f"{where} is {type(value).__name__}, which cannot be stored: a config holds numbers, strings, tuples and dataclasses of these"
    )


def from_dict(cls: type[T], data: dict[str, Any]) -> T:
    """A `cls` (frozen dataclass) from what `to_dict` wrote: nested dataclasses are rebuilt, lists become tuples.

    Fields that are absent take their default, so a config gains fields without losing old files. Raises `ValueError` naming a field that `cls`
    does not have, that has no default and is missing, or whose value `cls` refuses.
    """
    if not isinstance(data, dict):
        raise ValueError(
            f"a stored {cls.__name__} must be a mapping of fields, got {type(data).__name__}"
        )
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(fields))
    if unknown:
        raise ValueError(
            f"{cls.__name__} has no field {', '.join(unknown)}: it was stored by another version of the family"
        )
    hints = typing.get_type_hints(cls)
    values = {name: _rebuild(hints[name], value) for name, value in data.items()}
    missing = [name for name, field in fields.items() if name not in values and _required(field)]
    if missing:
        raise ValueError(f"a stored {cls.__name__} lacks {', '.join(missing)}")
    return cls(**values)


def completed(cls: type, data: Any) -> Any:
    """What `to_dict` wrote, with the defaults of fields that `cls` has gained since; as it is where it cannot be a `cls` any more."""
    try:
        return to_dict(from_dict(cls, data))
    except (ValueError, TypeError):
        return data


def _required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _rebuild(hint: Any, value: Any) -> Any:
    """`value` from JSON as the type `hint` asks for."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_dict(hint, value)
    arguments = typing.get_args(hint)
    if isinstance(value, dict):  # a union: the dataclass that has all these fields
        for option in arguments:
            if dataclasses.is_dataclass(option) and set(value) <= {
                field.name for field in dataclasses.fields(option)
            }:
                return from_dict(option, value)  # type: ignore[arg-type]
        return {name: _rebuild(Any, item) for name, item in value.items()}
    if isinstance(value, list):
        if (
            arguments and typing.get_origin(hint) is not tuple
        ):  # a union: the member that is a tuple
            hint = next(
                (option for option in arguments if typing.get_origin(option) is tuple), hint
            )
            arguments = typing.get_args(hint)
        uniform = len(arguments) == 2 and arguments[1] is Ellipsis
        items = [
            arguments[0] if uniform else arguments[i] if i < len(arguments) else Any
            for i in range(len(value))
        ]
        return tuple(_rebuild(item, element) for item, element in zip(items, value, strict=True))
    return value


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What changed between two stored configs: one "field: old -> new" each, nested names dotted; [] if nothing did."""
    before, after = _flat(old), _flat(new)
    names = sorted(set(before) | set(after))
    changed = [name for name in names if before.get(name, _ABSENT) != after.get(name, _ABSENT)]
    return [
        f"{name}: {_shown(before.get(name, _ABSENT))} -> {_shown(after.get(name, _ABSENT))}"
        for name in changed
    ]


def _shown(value: Any) -> str:
    return "(absent)" if value is _ABSENT else repr(value)


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, dict) and value:
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = list(value) if isinstance(value, tuple) else value
    return flat
