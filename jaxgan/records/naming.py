"""Names of classes and attributes. They stay with a run, for they say what its numbers mean; see `jaxgan.data.naming`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

KEY = "names"
"""Where names are in config.json, in a checkpoint's meta and in the description of an export."""
SHOWN = 30
"""Names that a sentence lists at most."""


class Names(NamedTuple):
    """What a run's numbers mean: classes by label or id, attributes by column; () where there are none, or none are known."""

    classes: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, list[str]]:
        """JSON-able, without what is empty; `from_dict` is the inverse."""
        return {name: list(values) for name, values in self._asdict().items() if values}


def from_dict(content: Any) -> Names:
    """Names as `Names.to_dict` wrote them. Anything else, such as the None of an older run, has none."""
    stored = content if isinstance(content, Mapping) else {}
    found = {name: stored.get(name, ()) for name in Names._fields}
    good = {
        name: isinstance(values, list) and all(isinstance(one, str) for one in values)
        for name, values in found.items()
    }
    return Names(**{name: tuple(values) for name, values in found.items() if good[name]})


def asked(names: Names, spec: Mapping[str, Any]) -> Names:
    """Those of a run's names that batches of `spec` rely on."""
    numbered = "label" in spec or "layout" in spec
    return Names(
        names.classes if numbered else (), names.attributes if "attributes" in spec else ()
    )


def listed(names: Sequence[str]) -> str:
    """Names with commas between, the first `SHOWN` of many."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "none") + more
