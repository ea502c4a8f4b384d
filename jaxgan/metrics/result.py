"""A figure with everything it depends on, as a line of JSON; and what it takes to compare two of them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxgan.errors import RunError
from jaxgan.records.log import RESULTS_FILE

__all__ = [
    "COMPARED",
    "RESULTS_FILE",
    "SECONDS",
    "Result",
    "append_results",
    "compare",
    "read_results",
]

SECONDS = "evaluation_seconds"
"""Name of the result that says how long an evaluation took."""
COMPARED = (
    "metric",
    "network",
    "checksum",
    "resize",
    "real",
    "generated",
    "split",
    "seed",
    "truncation",
    "fingerprint",
    "fitted",
)
"""Fields that must be equal before a difference of two values says anything."""


@dataclass(frozen=True)
class Result:
    """One figure of one model, and how it was measured."""

    metric: str
    """Its name, such as "fid"."""
    value: float
    standard_error: float | None = None
    """Of the value, where it is known."""
    subject: str = ""
    """What it is about: "" for all images, "a2b" a direction, "class 3", "to red" a target domain."""
    floor: float | None = None
    """The same figure of real images instead of generated ones: of training images where the set has other ones to compare with, else of two halves."""
    network: str = ""
    """Name of the feature network; "" where none is needed."""
    checksum: str = ""
    """Of its weights."""
    resize: str = ""
    """How it brings images to its size, in words."""
    real: int = 0
    """Real images."""
    generated: int = 0
    """Generated images."""
    split: str = ""
    """Of the real images."""
    seed: int = 0
    """Decides the generated images."""
    truncation: float | None = None
    """Of the styles, where the family knows it and it was given."""
    data: str = ""
    """Spec of the real images."""
    fingerprint: str = ""
    """Hash of their content."""
    family: str = ""
    """Module of the model; "" for images from files."""
    checkpoint: int | None = None
    """Real images that the model was trained on."""
    versions: dict[str, str] = field(default_factory=dict)
    """Of the packages that the value depends on."""
    floor_counts: tuple[int, ...] = ()
    """Of a distance's floor, the images on either side. Fewer than `real` and `generated` make it higher: see `frechet.distance`."""
    fitted: str = ""
    """How many images, and the hash of which set, a classifier was fitted to for this figure; "" for none."""

    @property
    def floor_compares(self) -> bool:
        """Whether the floor is of about as many images as the value, or of more: fewer of them raise every distance but KID."""
        pairs = list(zip(self.floor_counts, (self.real, self.generated)))
        return self.metric == "kid" or (
            len(pairs) == 2 and all(floor > 0.75 * count for floor, count in pairs)
        )

    def to_json(self) -> str:
        """One line. Values that are not finite are written as strings, which JSON has no numbers for."""
        return json.dumps(
            {name: _written(value) for name, value in dataclasses.asdict(self).items()},
            allow_nan=False,
        )

    @staticmethod
    def from_json(line: str) -> Result:
        """The result in a line of `to_json`; fields that it does not know are passed over. Raises ValueError for anything else."""
        try:
            content = json.loads(line)
            known = {
                name: content[name]
                for name in (one.name for one in dataclasses.fields(Result))
                if name in content
            }
            numbers = {
                name: float(known[name])
                for name in ("value", "standard_error", "floor")
                if known.get(name) is not None
            }
            result = Result(
                **{**known, **numbers, "floor_counts": tuple(known.get("floor_counts", ()))}
            )
            _check_types(result)
            return result
        except (TypeError, KeyError, ValueError, OverflowError, RecursionError) as error:
            raise ValueError(
                f"{line[:80]!r} is no result of an evaluation ({error}): give lines that experiments.evaluate or training wrote"
            ) from None


def _check_types(result: Result) -> None:
    """Raise TypeError naming the first field that is not of its type."""
    count, optional = (int,), (int, float, type(None))
    kinds: dict[str, tuple[type, ...]] = dict.fromkeys(("real", "generated", "seed"), count)
    kinds |= {
        "truncation": optional,
        "checkpoint": (int, type(None)),
        "versions": (dict,),
        "floor_counts": (tuple,),
    }
    for one in dataclasses.fields(result):
        if one.name in ("value", "standard_error", "floor"):
            continue
        given, wanted = getattr(result, one.name), kinds.get(one.name, (str,))
        if not isinstance(given, wanted) or isinstance(given, bool):
            raise TypeError(f"{one.name} is {type(given).__name__}")
    if not all(
        isinstance(each, int) and not isinstance(each, bool) for each in result.floor_counts
    ):
        raise TypeError("floor_counts are no counts")


def _written(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def compare(a: Result, b: Result) -> float:
    """How much higher b's value is than a's, where both were measured in the same way; subject, family and checkpoint may differ.

    Raises ValueError naming every field of `COMPARED`, and the version of jaxgan, that differs.
    """
    mine, theirs = (
        dataclasses.asdict(one) | {"jaxgan": one.versions.get("jaxgan", "")} for one in (a, b)
    )
    unlike = [
        f"{name} {mine[name]!r} and {theirs[name]!r}"
        for name in (*COMPARED, "jaxgan")
        if mine[name] != theirs[name]
    ]
    if unlike:
        raise ValueError(
            f"these figures were not measured alike ({'; '.join(unlike)}): evaluate both again with the same settings"
        )
    return b.value - a.value


def append_results(path: Path, results: Iterable[Result]) -> None:
    """Add results to a file of lines, made if it does not exist. Raises RunError if it cannot be written."""
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write("".join(one.to_json() + "\n" for one in results))
    except OSError as error:
        raise RunError(
            f"cannot write {path} ({error.strerror or error}): free space or name another file"
        ) from error


def read_results(path: Path) -> list[Result]:
    """The results in a file, in its order; no file, no results. What is not such a line (a torn end) is passed over."""
    results = []
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    for line in text.splitlines():
        try:
            results.append(Result.from_json(line))
        except ValueError:
            continue
    return results
