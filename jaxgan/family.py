"""What every family's module has, in types, and how to add one.

A family is a module of pure functions over one pytree. Tools ask what a module can do with
`isinstance(module, Samples)`, and what its model is told with `conditioning(family, config)`; they
know no family by name.

Adding a family:

1. `jaxgan/families/NAME.py` with the names of `Family`, those of `Samples` or `Translates`, and
   `conditioning(config)`; networks in `jaxgan/networks/`, what it shares with others in the rooms
   below. Read `families/gan.py` first, it is the shortest.
2. A line in `jaxgan/__init__.py`, which makes it `jaxgan.NAME` and lets runs of it be opened.
3. `experiments/NAME.py`: its presets, and one call of the shared command line.
4. A line in `tests/families_under_test.py` with a tiny setting, which puts it through the contract:
   the same result under jit, pmap, sharded jit, scan and vmap, resumed to the bit, and so on.

Nothing else names families. A family outside this package goes through the same functions, passed
as a module: `jaxgan.train.run(my_family, ...)`, `--family my_family.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import jax

from jaxgan.state import Batch, Metrics, State


class Family(Protocol):
    """What every family has. The other protocols say what some have besides."""

    __name__: str
    Config: type
    """Frozen dataclass of all static settings."""
    batch_spec: Callable[[Any, int], dict[str, jax.ShapeDtypeStruct]]
    """(config, batch size B) -> shape and dtype of each entry of a batch."""
    init: Callable[[Any, jax.Array], State]
    """(config, key) -> fresh state."""
    train_step: Callable[..., tuple[State, Metrics]]
    """(config, state, batch, key, *, axis_name=None) -> state and metrics after one round."""
    preview: Callable[[Any, State, Batch, jax.Array], jax.Array]
    """(config, state, batch, key) -> grid [rows, columns, H, W, C] in [-1, 1]."""


@runtime_checkable
class Conditioned(Protocol):
    """A family that says what its model is told."""

    conditioning: Callable[[Any], Conditioning]


@runtime_checkable
class Samples(Protocol):
    """A family that draws images from noise."""

    sample: Callable[..., jax.Array]
    """(config, state, key, n, *, first=0) -> images [n, H, W, C]; families with classes take labels [n] too."""


@runtime_checkable
class Generates(Protocol):
    """A family whose images can be made from latents that the caller has."""

    latents: Callable[..., jax.Array]
    """(config, key, n, *, first=0) -> the latents [n, Z] that `sample` draws."""
    generate: Callable[..., jax.Array]
    """(config, state, latents [B, Z]) -> images [B, H, W, C]; families with classes take labels [B] too."""


@runtime_checkable
class Translates(Protocol):
    """A family that makes images from images, or from label maps."""

    translate: Callable[..., jax.Array]
    """(config, state, images, ...) -> images [B, H, W, C]."""


@runtime_checkable
class Encodes(Protocol):
    """A family that finds the codes of images."""

    encode: Callable[..., Any]
    """(config, state, images [B, H, W, C]) -> mean and log variance of their codes, [B, Z] each."""
    decode: Callable[..., jax.Array]
    """(config, state, codes [B, Z]) -> images [B, H, W, C]."""
    reconstruct: Callable[..., jax.Array]
    """(config, state, images [B, H, W, C]) -> the images decoded from their mean codes."""


@runtime_checkable
class Styled(Protocol):
    """A family whose generator goes through styles."""

    styles_of: Callable[..., jax.Array]
    """(config, state, latents [B, Z], ...) -> styles [B, L, W] of the L layers."""
    synthesise: Callable[..., jax.Array]
    """(config, state, styles [B, L, W], ...) -> images [B, H, W, C]."""
    mix: Callable[..., jax.Array]
    """(config, state, ...) -> a grid of images with some layers' styles from other latents."""


@dataclass(frozen=True)
class Conditioning:
    """What a model is told besides noise, and between what it translates."""

    kind: Literal["none", "class", "sides", "attributes", "layout"] = "none"
    """Nothing, a label, an image of the other side, attributes, or a map of class ids."""
    classes: int = 0
    """"class", "layout": number of classes."""
    attributes: tuple[str, ...] = ()
    """"attributes": names of the columns."""
    groups: tuple[tuple[str, int], ...] = ()
    """"attributes": names and numbers of columns of the exclusive groups; () where all columns are binary."""
    known: tuple[tuple[bool, ...], ...] = ()
    """"attributes": of several sets, which columns each set tells; () of one set."""
    unknown: bool = False
    """"layout": whether a pixel may be of no known class, the number `classes`."""
    instances: bool = False
    """"layout": whether instance maps are used."""
    style_size: int = 0
    """"layout": length of the code of a style; 0 for none."""
    sides: tuple[int, int] = (0, 0)
    """"sides": channels of the images of a and b."""
    directions: tuple[str, ...] = ()
    """"sides": the ways the model translates, "a2b", "b2a"."""
    paired: bool = False
    """"sides": whether training needs images of a and b that belong together."""
    latent_range: tuple[float, float] | None = None
    """Range of uniform latents; None where they are standard normal, or there are none."""
    random_translation: bool = False
    """Whether a translation draws dropout from a key."""


def conditioning(family: Any, config: Any) -> Conditioning:
    """What the model of this family and config is told; of a family that does not say, nothing."""
    return family.conditioning(config) if isinstance(family, Conditioned) else Conditioning()


def short_name(family: Any) -> str:
    """ "dcgan" of `jaxgan.families.dcgan`."""
    name: str = family.__name__
    return name.rpartition(".")[2]
