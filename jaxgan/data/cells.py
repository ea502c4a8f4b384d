"""What the cells of tables mean: whole numbers, numbers, nothing, on and off."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

_WHOLE = re.compile(r"[+-]?\d{1,300}(?:\.0*|,0)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)

BINARY = ({"0": 0, "1": 1}, {"-1": 0, "1": 1}, {"false": 0, "true": 1}, {"no": 0, "yes": 1})
"""Words for off and on, in lower case; of one pair throughout an attribute."""

_MISSING = {"", "nan", "-nan", "<na>", "#n/a"}
_MISSING_AMONG_NUMBERS = {"na", "n/a", "null", "none"}


def whole(text: str) -> int | None:
    """Return the integer that a text stands for, 3 for "3", "03", "+3", "3.0" and "3,0"; None for others."""
    return int(re.split("[.,]", text)[0]) if _WHOLE.fullmatch(text) else None


def number(text: str) -> float | None:
    """Return the finite number that a text stands for, or None."""
    value = (
        float(text)
        if _NUMBER.fullmatch(text)
        else float(text[:-2])
        if _WHOLE.fullmatch(text)
        else math.inf
    )
    return value if math.isfinite(value) else None


def missing(values: Iterable[str]) -> set[str]:
    """Return those texts that stand for no value: "", NaN; "NA", "None", ... only among numbers."""
    texts = {text: text.lower() for text in values}
    surely = {text for text, low in texts.items() if low in _MISSING}
    perhaps = {text for text, low in texts.items() if low in _MISSING_AMONG_NUMBERS}
    rest = texts.keys() - surely - perhaps
    numbers = all(number(text) is not None or _is_binary(texts[text]) for text in rest)
    return surely | perhaps if rest and numbers else surely


def _is_binary(low: str) -> bool:
    return any(low in pair for pair in BINARY)


def word(text: str) -> str:
    """Return a text as `BINARY` has it: numbers without sign and point, words in lower case."""
    value = whole(text)
    return text.lower() if value is None else str(value)


def binary(values: Iterable[str]) -> dict[str, int] | None:
    """Return 0 or 1 for each text, if all are one pair of words for off and on; else None."""
    words = {text: word(text) for text in values}
    pair = next((pair for pair in BINARY if pair.keys() >= set(words.values())), None)
    return None if pair is None else {text: pair[words[text]] for text in words}
