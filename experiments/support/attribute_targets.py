"""Which target domains `--attributes` and `--grid` of `experiments.translate` mean, for a run that translates between attributes.

K attributes, D target domains. A config has the fields that `jaxgan.games.attributes` reads.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxgan.errors import require
from jaxgan.games.attributes import group_columns, target_domains


class Targets(NamedTuple):
    """titles: of the D domains. told: by argument of the family's `translate`, "attributes" float32 [D, K] and, with several data sets, "sets" int32 [D]."""

    titles: tuple[str, ...]
    told: dict[str, np.ndarray]

    @property
    def folders(self) -> tuple[str, ...]:
        """The titles as names of folders, all different."""
        names = [re.sub(r"[^\w+-]+", "_", title) for title in self.titles]
        return tuple(
            name if names.count(name) == 1 else f"{name}_{i}" for i, name in enumerate(names)
        )


def targets(config: Any, text: str | None, grid: bool) -> Targets:
    """The domain that `text` names, or with `grid` all domains of an image that shows what it names.

    Args:
      text: attributes that are on, with commas between. All others are off, but of each exclusive group one must be named. With several data sets,
        the first is meant that tells all of the named. None: not given; of a grid that is enough where the targets do not depend on it, so that
        there is a single exclusive group.

    Raises `ValueError` in one sentence that lists what is known: unknown names, two of one group, none of a group, names that no data set tells together,
    no names.
    """
    if grid:
        return _grid(config, text)
    require(
        text is not None,
        f"--attributes must say what to translate to: names with commas between, of {described(config)}",
    )
    row, number = named(config, str(text))
    title = ", ".join(name for name, value in zip(config.attributes, row, strict=True) if value)
    return Targets(
        (title or "nothing",),
        {"attributes": row[None]}
        | ({} if number is None else {"sets": np.array([number], np.int32)}),
    )


def _grid(config: Any, text: str | None) -> Targets:
    number = 0 if config.known else None
    if text is not None:
        return _domains(config, *named(config, text))
    off, on = (
        _domains(config, np.full(len(config.attributes), value, np.float32), number)
        for value in (0, 1)
    )
    same = np.array_equal(off.told["attributes"], on.told["attributes"])
    require(
        same,
        f"--grid changes one attribute and keeps the others, so say by --attributes which the images show, of {described(config)}",
    )
    return off


def _domains(config: Any, row: np.ndarray, number: int | None) -> Targets:
    """All target domains of an image with these attributes, of this data set."""
    titles, rows, sets = [], [], []
    own = None if number is None else jnp.array([number])
    for column, (name, values, meant) in enumerate(
        target_domains(config, jnp.asarray(row[None]), own)
    ):
        vector = np.asarray(values[0])
        titles.append(name if vector[column] else f"not {name}")
        sets += [] if meant is None else [int(meant[0])]
        rows.append(vector * np.array(config.known[sets[-1]], np.float32) if sets else vector)
    return Targets(
        tuple(titles),
        {"attributes": np.stack(rows)} | ({"sets": np.array(sets, np.int32)} if sets else {}),
    )


def named(config: Any, text: str) -> tuple[np.ndarray, int | None]:
    """The attributes, float32 [K] of 0 and 1, and the data set that `text` means, None where there is one; see `targets`."""
    names = (
        [text]
        if text in config.attributes
        else [name.strip() for name in text.split(",") if name.strip()]
    )  # a folder's name may have a comma
    for name in names:
        require(
            name in config.attributes,
            f"--attributes has the unknown {name!r}: this run knows {described(config)}",
        )
    on = [name in names for name in config.attributes]
    groups = [columns for columns in group_columns(config) if len(columns) > 1]
    for columns in groups:
        both = [config.attributes[column] for column in columns if on[column]]
        require(
            len(both) < 2,
            f"--attributes has {' and '.join(both)}, of which an image has one only: name one of {_names(config, columns)}",
        )
    every = [True] * len(on)
    sets = [
        (number, known)
        for number, known in enumerate(config.known or [every])
        if all(map(np.less_equal, on, known))
    ]
    require(
        bool(sets),
        f"--attributes has {' and '.join(names)}, which no data set tells together: this run knows {described(config)}",
    )
    whole = [
        number
        for number, known in sets
        if all(any(on[i] for i in columns) for columns in groups if known[columns.start])
    ]
    missing = [
        _names(config, columns)
        for columns in groups
        if sets[0][1][columns.start] and not any(on[i] for i in columns)
    ]
    require(
        bool(whole),
        f"--attributes says nothing of {'; '.join(missing)}: name one of {'each' if len(missing) > 1 else 'these'} too",
    )
    return np.array(on, np.float32), whole[0] if config.known else None


def described(config: Any) -> str:
    """The attributes in words, those of an exclusive group together; of several data sets one by one."""
    parts = [(columns, _names(config, columns)) for columns in group_columns(config)]
    if not config.known:
        return "; ".join(words for _, words in parts)
    return "; ".join(
        f"set {i}: " + "; ".join(words for columns, words in parts if row[columns.start])
        for i, row in enumerate(config.known)
    )


def _names(config: Any, columns: range) -> str:
    names = [config.attributes[column] for column in columns]
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else "".join(names)
