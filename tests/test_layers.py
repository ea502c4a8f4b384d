"""Imports run downwards only, those inside functions included: ground floor <- nn, checks <- networks <- convert <- families <- the rest <- tools."""

from __future__ import annotations

import ast

import pytest

from tests.conftest import ROOT
from tests.families_under_test import CASES

GROUND = ("errors", "settings", "state", "update", "losses", "pool", "augment", "optim", "family")
FLOORS = (
    *((name, 0) for name in GROUND),
    ("nn", 1),
    ("checks", 1),
    ("networks", 2),
    ("convert", 3),
    ("families", 4),
)
TOOLS = {"experiments": 6, "benchmarks": 7}
FILES = sorted(path for folder in ("jaxgan", *TOOLS) for path in (ROOT / folder).rglob("*.py"))


def floor(module: str) -> int:
    """Of "jaxgan.nn.conv", 1; of what is named nowhere above, such as jaxgan.train, 5."""
    package, _, rest = module.partition(".")
    return TOOLS.get(package, dict(FLOORS).get(rest.split(".")[0], 5))


def imported(source: str) -> set[str]:
    """All modules of this project that the source imports; `from jaxgan import optim` is jaxgan.optim."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= (
                {f"{node.module}.{name.name}" for name in node.names}
                if node.module in ("jaxgan", "jaxgan.families", *TOOLS)
                else {node.module}
            )
    return {name for name in found if name.split(".")[0] in ("jaxgan", *TOOLS) and name != "jaxgan"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downwards(path):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    if module == "jaxgan.__init__":
        return
    upwards = {name for name in imported(path.read_text()) if floor(name) > floor(module)}
    assert not upwards, f"{module} imports {upwards} from above"
    if (
        floor(module) == 5 and module != "jaxgan.opening"
    ):  # the table of families that runs may name
        families = {f"jaxgan.families.{name}" for name in CASES} | {
            f"jaxgan.{name}" for name in CASES
        }
        assert not families & imported(path.read_text()), f"{module} must know no particular family"


def test_imports_are_found():
    source = "import jaxgan.train\nfrom jaxgan import nn, gan\ndef f():\n    from jaxgan.convert import files\n    import numpy\n"
    assert imported(source) == {"jaxgan.train", "jaxgan.nn", "jaxgan.gan", "jaxgan.convert"}
    assert [
        floor(name)
        for name in (
            "jaxgan.errors",
            "jaxgan.convert",
            "jaxgan.families.gan",
            "jaxgan.train",
            "experiments.gan",
        )
    ] == [0, 3, 4, 5, 6]
