"""What every kind of source is turned into before its images are decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

CACHE_NAME = ".jaxgan-cache"

Groups = tuple[tuple[str, int], ...]
"""Name and number of columns of each group of attributes."""


@dataclass(frozen=True)
class Source:
    """A set of images that have not been decoded yet.

    name: the spec, for messages.
    files: what to call each example in messages.
    read: index -> uint8 or uint16 [H, W, C] with 1, 3 or 4 channels, or where there are several parts a tuple of them, one per part; raises
      `images.BadImage`. Called from several threads.
    labels: int32 [N], or None. Some sources know them only once every example has been read.
    classes: their names; () without labels.
    stamp: JSON-able; changes when what was read changes (names, sizes and times of the files).
    home: where the cache of the decoded images would lie beside the source; None: a source so cheap that it is not cached.
    identity: what was read from there (kind, split, options), to tell the caches of one `home` apart.
    array: all images as one array [N, H, W, C], where the source is one.
    close: releases what `read` holds open.
    parts: what the images of an example are called: ("image",), or ("a", "b") where they are pairs, or ("image", "layout") or ("image", "layout",
      "instance") where they have maps of ids, uint8 or uint16 [H, W].
    attributes: uint8 [N, K] of 0 and 1, or None.
    attribute_names, groups: of its columns, as in `Dataset`.
    counted: the names of the classes, where reading the maps of ids must tell them.
    """

    name: str
    files: Sequence[str]
    read: Callable[[int], np.ndarray | tuple[np.ndarray, ...]]
    labels: np.ndarray | None
    classes: tuple[str, ...]
    stamp: Any
    home: Path | None
    identity: str = ""
    close: Callable[[], None] = lambda: None
    array: np.ndarray | None = None
    parts: tuple[str, ...] = ("image",)
    attributes: np.ndarray | None = None
    attribute_names: tuple[str, ...] = ()
    groups: Groups = ()
    counted: Callable[[], tuple[str, ...]] | None = None

    def class_names(self) -> tuple[str, ...]:
        """Names of the classes. Where they must be counted first, reads every map of ids; raises DataError where there is none of use."""
        return self.classes or (self.counted() if self.counted else ())


Found = Source | tuple[Source, Source]
"""What a spec names: one source, or the domains A and B, each a source of its own."""
