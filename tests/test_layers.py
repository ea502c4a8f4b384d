"""The floors of the house: imports run downwards, those inside functions included, and never in a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.families_under_test import CASES

FLOORS = (
    (
        "errors",
        "settings",
        "state",
        "losses",
        "optim",
        "update",
        "pool",
        "parallel",
        "family",
        "pictures",
    ),
    ("nn",),
    ("networks", "augment"),
    ("convert",),
    ("perceptual",),
    ("games",),
    ("families",),
    ("records", "projection"),
    ("data", "metrics"),
    ("export", "run", "report"),
    ("checkpoint", "train"),
)
"""Rooms of jaxgan/, from the ground up; the last are names under which things of rooms are imported."""
LEVEL = {room: level for level, floor in enumerate(FLOORS) for room in floor}
TOOLS = {"examples": len(FLOORS), "experiments": len(FLOORS), "benchmarks": len(FLOORS) + 1}
FILES = sorted(path for folder in ("jaxgan", *TOOLS) for path in (ROOT / folder).rglob("*.py"))
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in FILES
}
TABLE = "jaxgan.records.opening"
"""The one module below the tools that knows the families: runs may name no other."""


def level(module: str) -> int:
    """The floor of "jaxgan.nn.layers", 1, or of a tool."""
    package, _, rest = module.partition(".")
    return TOOLS[package] if package in TOOLS else LEVEL[rest.split(".")[0]]


def imported(source: str) -> set[str]:
    """All modules of this project that the source imports; `from jaxgan import optim` is jaxgan.optim."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{name.name}" for name in node.names]
            found |= {name if name in MODULES else node.module for name in names}
    return {name for name in found if name in MODULES and name != "jaxgan"}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_run_downwards(module):
    if module == "jaxgan":
        return
    below = imported(MODULES[module].read_text())
    upwards = {name for name in below if level(name) > level(module)}
    assert not upwards, f"{module} imports {upwards} from above"
    if LEVEL["families"] < level(module) < min(TOOLS.values()) and module not in (
        TABLE,
        "jaxgan.projection",
    ):
        families = {f"jaxgan.families.{name}" for name in CASES}
        assert not families & below, f"{module} must know no particular family"


def circles(graph: dict[str, set[str]]) -> list[str]:
    """What is left of a graph once everything that imports nothing has been taken away, again and again."""
    graph = {name: set(below) & set(graph) - {name} for name, below in graph.items()}
    while ends := {name for name, below in graph.items() if not below}:
        graph = {name: below - ends for name, below in graph.items() if name not in ends}
    return sorted(graph)


def test_no_modules_import_each_other_in_a_circle():
    assert circles({name: imported(path.read_text()) for name, path in MODULES.items()}) == []


def test_no_rooms_import_each_other_in_a_circle():
    rooms: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        if name != "jaxgan":
            below = {
                other.split(".")[1]
                for other in imported(path.read_text())
                if other.startswith("jaxgan.")
            }
            rooms.setdefault(
                name.split(".")[1] if name.startswith("jaxgan.") else name, set()
            ).update(below)
    assert circles({name: below for name, below in rooms.items() if name in LEVEL}) == []


def test_the_top_level_is_small():
    assert len(list((ROOT / "jaxgan").glob("*.py"))) <= 14
    assert {
        path.name for path in (ROOT / "jaxgan").iterdir() if (path / "__init__.py").exists()
    } <= set(LEVEL)


def test_circles_and_imports_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": set(), "d": {"a"}}) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]
    source = "import jaxgan.train\nfrom jaxgan import nn, pool\ndef f():\n    from jaxgan.convert import files\n    import numpy\n"
    assert imported(source) == {"jaxgan.train", "jaxgan.nn", "jaxgan.pool", "jaxgan.convert.files"}
    wanted = {
        "jaxgan.errors": 0,
        "jaxgan.nn.layers": 1,
        "jaxgan.families.gan": 6,
        "jaxgan.run.train": 9,
        "experiments.gan": 11,
    }
    assert {name: level(name) for name in wanted} == wanted
    assert Path(MODULES["jaxgan.records"]).name == "__init__.py"
