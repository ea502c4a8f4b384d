"""The errors a user can cause, each one clear sentence; and the checks that raise them."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any


class JaxganError(Exception):
    """Base of every error this library raises about a user's files, data or run. The message is one sentence that names the remedy."""

    def __init__(self, message: object = ""):
        super().__init__(one_line(str(message)))


class DataError(JaxganError, ValueError):
    """A data source is missing, damaged or does not fit the request."""


class RunError(JaxganError, RuntimeError):
    """A run directory cannot be used as asked: other settings, in use, not writable, disk full."""


class CheckpointError(JaxganError, RuntimeError):
    """A checkpoint is missing or damaged, or could not be saved."""


class NonFiniteError(JaxganError, FloatingPointError):
    """Training produced a NaN or an infinity."""


def one_line(text: str) -> str:
    """Return the text with every character that is not printable escaped: names that strangers gave may hold any."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    return (
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
    )


def require(condition: Any, message: str) -> None:
    """Raise `ValueError(message)` unless `condition`. For settings: data and runs have errors of their own."""
    if not condition:
        raise ValueError(one_line(message))


def require_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise `ValueError` unless `value` is one of `choices`; the message lists them."""
    choices = tuple(choices)
    require(
        value in choices, f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}"
    )


def is_number(value: Any) -> bool:
    """True for a concrete Python number. Settings may also be tracers (in meta-learning), which cannot be checked."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def require_range(
    name: str, value: Any, low: float = float("-inf"), high: float = float("inf")
) -> None:
    """Raise `ValueError` unless low <= value <= high. Values that are not concrete numbers (tracers) pass."""
    if is_number(value) and not low <= value <= high:
        bounds = (
            f"at least {low:g}"
            if high == float("inf")
            else f"at most {high:g}"
            if low == float("-inf")
            else f"between {low:g} and {high:g}"
        )
        raise ValueError(f"{name} must be {bounds}, got {value!r}")


MAX_SEED = 2**32 - 1
"""Largest seed: a key of JAX's is made of 32 bits, so that larger ones would draw what smaller ones draw."""


def require_seed(value: Any, name: str = "seed") -> int:
    """Return `value` as a Python int. Raise `ValueError` unless it is a whole number from 0 to `MAX_SEED`."""
    try:
        seed = None if isinstance(value, bool) else operator.index(value)
    except TypeError:  # a word, a fraction, None
        seed = None
    if seed is None or not 0 <= seed <= MAX_SEED:
        raise ValueError(
            f"{name} must be a whole number from 0 to {MAX_SEED} (2**32 - 1), got {value!r}"
        )
    return seed
