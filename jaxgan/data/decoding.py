"""All images of a source, decoded in order by a few threads, and what was wrong with those that cannot be used."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxgan.data import images
from jaxgan.data.source import Source
from jaxgan.errors import DataError
from jaxgan.records import threads

NAMED = 5
"""How many offenders an error names."""


Images = tuple[np.ndarray, ...]
"""The images [H, W, C] and maps of ids [H, W] of one example, one for each of the source's parts."""

Kind = tuple[tuple[tuple[int, ...], str], ...]
"""Shape and type of each of them."""


@dataclass
class Tally:
    """What a pass over a source met: `kept` indices; `bad`, why the others are unusable; the kinds of examples and where each came first."""

    kept: list[int] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    kinds: dict[Kind, tuple[int, str]] = field(default_factory=dict)

    def add(self, example: Images, file: str) -> bool:
        """Count an example; True if it is like the first one."""
        kind = tuple((image.shape, str(image.dtype)) for image in example)
        count, first = self.kinds.get(kind, (0, file))
        self.kinds[kind] = (count + 1, first)
        return kind == next(iter(self.kinds))


def passed(source: Source, form: images.Form, progress: bool, tally: Tally) -> Iterator[Images]:
    """Yield the usable examples, in order, counting everything in `tally`. Those unlike the first are counted, not yielded."""
    with (
        images.quiet(),
        tqdm(
            total=len(source.files),
            desc=f"decoding {source.name}",
            unit=" images",
            disable=None if progress else True,
            delay=0.5,
        ) as bar,
    ):
        for i, result in enumerate(_results(source, form)):
            bar.update()
            if isinstance(result, images.BadImage):
                tally.bad.append(f"{source.files[i]} {result}")
            elif tally.add(result, source.files[i]):
                tally.kept.append(i)
                yield result


def _results(source: Source, form: images.Form) -> Iterator[Any]:
    def work(i: int):
        try:
            return one(source, form, i)
        except images.BadImage as error:
            return error

    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers, thread_name_prefix="jaxgan-decode") as pool:
        waiting: deque[Any] = deque()
        try:
            for i in range(len(source.files)):
                waiting.append(pool.submit(work, i))
                if len(waiting) >= 8 * workers:  # bounds the memory that decoded images take
                    yield threads.result(waiting.popleft(), pool)
            while waiting:
                yield threads.result(waiting.popleft(), pool)
        finally:
            for future in waiting:
                future.cancel()


def one(source: Source, form: images.Form, i: int) -> Images:
    """Example `i` of a source, all its parts, in the form asked for. Raises BadImage."""
    found = source.read(i)
    parts = found if isinstance(found, tuple) else (found,)
    return tuple(
        images.fit(part, form.size, form.channels_of(p), form.resize)
        for p, part in enumerate(parts)
    )


def offenders(reasons: list[str]) -> str:
    """The first few, and how many more."""
    more = len(reasons) - NAMED
    return "; ".join(reasons[:NAMED]) + (f"; and {more} more" if more > 0 else "")


def refuse_bad(name: str, bad: list[str], total: int) -> None:
    """Raise DataError if there are bad images."""
    if bad:
        raise DataError(
            f"{len(bad)} of {total} images of {name} cannot be used: {offenders(bad)}: repair or remove them, or pass skip_bad (--skip-bad)"
        )


def settle(source: Source, form: images.Form, tally: Tally, skip_bad: bool) -> None:
    """Raise DataError unless the images that were met form one set: usable ones only (or `skip_bad`), all of one size and type."""
    if not skip_bad:
        refuse_bad(source.name, tally.bad, len(source.files))
    if not tally.kinds:
        raise DataError(
            f"none of the {len(source.files)} images of {source.name} can be used: {offenders(tally.bad)}"
        )
    if len(tally.kinds) == 1:
        return
    sizes = {tuple(shape[:2] for shape, _ in kind) for kind in tally.kinds}
    channels = {tuple(shape[2:] for shape, _ in kind) for kind in tally.kinds}
    remedies = []
    if len(sizes) > 1 and form.size is not None:
        remedies.append(
            'choose resize="cover" or "stretch" (--resize), since scaled to one width they keep heights of their own'
        )
    elif len(sizes) > 1:
        remedies.append(
            "give image_size HEIGHT WIDTH (--image-size in data_check; --config.image-size in training) to scale and cut them to one"
        )
    if len(channels) > 1:
        flags = "--channels in data_check; --config.channels, or --config.channels-a and -b, in training"
        remedies.append(f"give channels 1, 3 or 4 ({flags}) to convert them to one number")
    if len({tuple(dtype for _, dtype in kind) for kind in tally.kinds}) > 1:
        remedies.append("convert the files to one bit depth")
    kinds = [_kind(kind, count, first) for kind, (count, first) in tally.kinds.items()]
    raise DataError(
        f"the images of {source.name} are not alike: {offenders(kinds)}: {' and '.join(remedies)}"
    )


def _kind(kind: Kind, count: int, first: str) -> str:
    each = []
    for (height, width, *rest), dtype in kind:
        channels = (
            f" with {rest[0]} channel{'s' * (rest[0] > 1)}{'' if dtype == 'uint8' else ' 16-bit'}"
            if rest
            else " of ids"
        )
        each.append(f"{height}x{width}{channels}")
    others = f" and {count - 1} more" if count > 1 else ""
    return f"{' beside '.join(each)} ({first}{others})"


class Fingerprint:
    """Hash of a set's content: pixels, labels, class names; the same wherever and however the set is stored."""

    def __init__(self):
        self._hash = hashlib.blake2b(digest_size=16)

    def add(self, pixels: np.ndarray) -> None:
        self._hash.update(np.ascontiguousarray(pixels).data)

    def finish(
        self,
        arrays: dict[str, np.ndarray],
        classes: tuple[str, ...],
        image_shape: tuple[int, ...],
        dtype: str,
    ) -> str:
        """Args: arrays: all but the images, which were added."""
        for name in sorted(arrays):
            self._hash.update(name.encode())
            self._hash.update(np.ascontiguousarray(arrays[name]).data)
        self._hash.update(json.dumps([image_shape, dtype, classes]).encode())
        return self._hash.hexdigest()


def joined(fingerprints: Sequence[str], independent: bool = False) -> str:
    """The fingerprint of a set of several arrays of images, from those of each; of a single one, its own."""
    if len(fingerprints) == 1:
        return fingerprints[0]
    return hashlib.blake2b(
        json.dumps([*fingerprints, independent]).encode(), digest_size=16
    ).hexdigest()


def described(fingerprint: str, attributes: np.ndarray, description: Any) -> str:
    """The fingerprint of a set with attributes, uint8 [N, K], from that of the set without; `description` is JSON-able."""
    hashed = hashlib.blake2b(json.dumps([fingerprint, description]).encode(), digest_size=16)
    hashed.update(np.ascontiguousarray(attributes).data)
    return hashed.hexdigest()
