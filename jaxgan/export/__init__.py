"""A trained generator for use without this library."""

from jaxgan.export.stablehlo import (
    PLATFORMS,
    PROGRAM,
    WEIGHTS,
    Exported,
    Input,
    Program,
    lower,
    program,
    require_packages,
    save,
)

__all__ = [
    "PLATFORMS",
    "PROGRAM",
    "WEIGHTS",
    "Exported",
    "Input",
    "Program",
    "lower",
    "program",
    "require_packages",
    "save",
]
