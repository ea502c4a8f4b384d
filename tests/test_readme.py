"""The commands of README.md exist, with the flags and presets that it gives them, and so do the files and sections that it links to."""

from __future__ import annotations

import dataclasses
import importlib
import re
import shlex
from pathlib import Path

import pytest

from experiments.support import common

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"python -m ((?:experiments|benchmarks)\.[^\n`]*)", TEXT)
OPTIONS = {field.name for field in dataclasses.fields(common.Options)}


def name_of(flag: str) -> str:
    return flag.removeprefix("--").removeprefix("no-").replace("-", "_")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_what_is_asked_of_it(command):
    module, *words = shlex.split(command, comments=True)
    source = ROOT / f"{module.replace('.', '/')}.py"
    assert source.is_file()
    flags = [word for word in words if word.startswith("--") and word != "--help"]
    presets = (
        getattr(importlib.import_module(module), "PRESETS", None)
        if module.startswith("experiments.")
        else None
    )
    if presets is None:
        for flag in flags:
            assert (
                f'"{flag}"' in source.read_text() or f"    {name_of(flag)}: " in source.read_text()
            ), flag
        return
    chosen = presets[
        words[words.index("--preset") + 1] if "--preset" in words else next(iter(presets))
    ]
    for flag in flags:
        if not flag.startswith("--config."):
            assert name_of(flag) in OPTIONS, flag
            continue
        at = chosen.config
        for part in flag.removeprefix("--config.").split("."):
            at = getattr(at, name_of(part))


def test_links_lead_somewhere():
    titles = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^## (.*)$", TEXT, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert target[1:] in titles if target.startswith("#") else (ROOT / target).exists(), target
