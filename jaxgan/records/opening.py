"""Which code a run's files may ask for: a family of the fixed table, or the module that the caller passes.

Files of strangers name their family. A name is looked up here and never imported.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import jax

from jaxgan.errors import CheckpointError
from jaxgan.families import (
    acgan,
    cgan,
    cyclegan,
    dcgan,
    gan,
    pix2pix,
    spade,
    stargan,
    stylegan,
    vaegan,
)
from jaxgan.records.config_io import from_dict
from jaxgan.state import State

FAMILIES = {
    module.__name__: module
    for module in (acgan, cgan, cyclegan, dcgan, gan, pix2pix, spade, stargan, stylegan, vaegan)
}
"""The library's families by the name that runs store."""

MAIN = "__main__"
"""The name of a family that was trained by the script that defines it, which says nothing of the script."""


def family_of(
    meta: dict[str, Any], passed: ModuleType | None = None, default: ModuleType | None = None
) -> ModuleType:
    """Return the family that a checkpoint's meta names.

    Args:
      passed: the one family that the caller expects; None: one of the library's, or `default` where the run is of that.

    Raises `CheckpointError` if the run is of another family than `passed`, or of one that is not the library's and was not passed.
    """
    name = meta["family"]
    if passed is not None:
        if name not in (passed.__name__, MAIN):
            raise CheckpointError(
                f"the run is of the family {name[:200]}, not of {passed.__name__}: pass the module that it was trained with"
            )
        return passed
    if default is not None and name == default.__name__:
        return default
    if name not in FAMILIES:
        remedy = "pass its module, by load(run, family=module) or --family FILE.py, if you trust it"
        raise CheckpointError(
            f"the run's family {name[:200]} is none of this library's, and no module is imported because a file names it: {remedy}"
        )
    return FAMILIES[name]


def config_of(family: ModuleType, meta: dict[str, Any]) -> Any:
    """Return the family's Config as a checkpoint's meta holds it. Raises `CheckpointError` where it does not fit."""
    try:
        return from_dict(family.Config, meta["config"])
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise CheckpointError(
            f"the run's config does not fit {family.__name__} as installed: {_words(error)}"
        ) from error


def abstract(family: ModuleType, config: Any) -> State:
    """Return the shapes and dtypes of the family's state. Raises `CheckpointError` for a config that no network can be made of."""
    try:
        return jax.eval_shape(functools.partial(family.init, config), jax.random.key(0))
    except Exception as error:  # a stranger's numbers meet the networks here, which raise all kinds
        raise CheckpointError(
            f"no networks of {family.__name__} can be made by the run's config ({_words(error)}): take the run's own files"
        ) from error


def _words(error: BaseException) -> str:
    """The first line of an error, and what kind it is where it is not written for people."""
    text = (str(error).strip().splitlines() or [""])[0][:300]
    return (
        text
        if isinstance(error, ValueError) and text
        else f"{type(error).__name__}: {text}".rstrip(": ")
    )
