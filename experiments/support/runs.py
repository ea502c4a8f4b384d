"""Open the run directory that a command was given, for all commands: its family, and what its classes are called."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from jaxgan.data.dataset import Dataset
from jaxgan.data.naming import matched
from jaxgan.errors import RunError, require
from jaxgan.records.naming import Names, listed

FAMILY_HELP = "module of the run's family where it is not the library's: FILE.py or my.module; it is run, so name one you trust"
NUMBER = "number:"
"""Before the number of a class, where a name could be meant."""


def add_family(parser: argparse.ArgumentParser) -> None:
    """Add the option `--family`, which `load` takes."""
    parser.add_argument("--family", default="", metavar="MODULE", help=FAMILY_HELP)


def load(run: Path, *which: str | int, family: str = "") -> tuple[ModuleType, Any, Any]:
    """`jaxgan.checkpoint.load` of a run whose family is the library's, or what `family` (see `module_of`) names."""
    import jaxgan.checkpoint

    passed: dict[str, Any] = {"family": module_of(family)} if family else {}
    return jaxgan.checkpoint.load(run, *which, **passed)


def module_of(text: str) -> ModuleType:
    """Import the family that a user names: a file of Python, or a module that Python finds. Raises `RunError` if it cannot be, or is no family."""
    path = Path(text).expanduser()
    try:
        found = _from_file(path) if path.suffix == ".py" else importlib.import_module(text)
    except RunError:
        raise
    except Exception as error:  # of the user's own code
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise RunError(
            f"--family {text} cannot be imported ({type(error).__name__}: {reason}): name a file FILE.py, or a module on the path"
        ) from error
    missing = [name for name in ("Config", "init") if not hasattr(found, name)]
    if missing:
        raise RunError(
            f"--family {text} is no family, as it has no {' and no '.join(missing)}: name the module that the run was trained with"
        )
    return found


def _from_file(path: Path) -> ModuleType:
    """The module in a file, under the name that it has when its program imports it: in a package, with the package's."""
    path = path.resolve()
    if not path.is_file():
        raise RunError(
            f"--family {path} does not exist: name the file of the run's family, or its module"
        )
    parts, root = ([] if path.stem == "__init__" else [path.stem]), path.parent
    while (root / "__init__.py").is_file():
        parts, root = [root.name, *parts], root.parent
    name = ".".join(parts)
    if str(root) not in sys.path:
        sys.path.append(str(root))  # for what it imports itself
    if len(parts) > 1 and name not in sys.modules:
        importlib.import_module(name.rpartition(".")[0])
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(
            spec
        )  # where dataclasses look for what annotations mean
        try:
            spec.loader.exec_module(sys.modules[name])
        except BaseException:
            del sys.modules[name]
            raise
    found = sys.modules[name]
    if Path(getattr(found, "__file__", None) or "").resolve() != path:
        raise RunError(f"--family {path} has the name of another module, {name}: rename the file")
    return found


# --------------------------------------------------------------------------------------------------------------------- classes


def names(run: Path, *which: str | int) -> Names:
    """What the run's classes and attributes are called, where it tells."""
    import jaxgan.checkpoint

    return jaxgan.checkpoint.names(run, *which)


def numbered(dataset: Dataset, config: Any, run: str) -> Dataset:
    """The data set, with the classes or attributes that `config` is for numbered as in a run. Raises `DataError` where they have other names."""
    found = names(Path(run))
    settings = vars(config)
    classes = found.classes if settings.get("classes") else ()
    attributes = found.attributes if "attributes" in settings else ()
    return matched(dataset, Names(classes, attributes), run)


def chosen_classes(
    words: Sequence[str], count: int, named: Sequence[str] = (), flag: str = "--labels"
) -> np.ndarray:
    """The classes that the user names, int32 [n]. [] and ["all"] mean every class in order.

    Args:
      words: names or numbers. Where names are numbers themselves, a number that is no name is refused, unless it is written as number:N.
      named: the classes' names; () where the run does not tell.

    Raises `ValueError` for a class that does not exist.
    """
    if list(words) in ([], ["all"]):
        return np.arange(count, dtype=np.int32)
    return np.array([_class(word, count, tuple(named), flag) for word in words], np.int32)


def _class(word: str, count: int, named: tuple[str, ...], flag: str) -> int:
    if word in named:
        return named.index(word)
    digits = word.removeprefix(NUMBER)
    inside = digits.isascii() and digits.isdecimal() and int(digits) < count
    known = f", which are {listed(named)}," if named else ""
    require(
        inside,
        f"{flag} takes 'all', names of classes{known} or numbers from 0 to {count - 1}, got {word!r}",
    )
    confusing = word == digits and any(name.isdecimal() for name in named)
    require(
        not confusing,
        f"{flag} {word} is no name of a class, and names are numbers here ({listed(named)}): give a name, or {NUMBER}{word}",
    )
    return int(digits)


def class_names(count: int, named: Sequence[str]) -> tuple[str, ...]:
    """A name for each class: the run's, or else its number."""
    return tuple(named) if len(named) == count else tuple(map(str, range(count)))
