"""From a spec to a data set: `open(spec)`."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from jaxgan.data import cache, decoding, images, sources, streaming
from jaxgan.data.cache import Reading
from jaxgan.data.combining import combine
from jaxgan.data.dataset import (
    Dataset,
    from_arrays,
    from_domains,
    from_layouts,
    require_several,
    with_attributes,
)
from jaxgan.data.images import Form
from jaxgan.data.source import Found, Source
from jaxgan.errors import DataError, require, require_choice


def open(
    spec: str,
    *,
    image_size: tuple[int, int] | None = None,
    channels: int | tuple[int, int] | None = None,
    split: str = "train",
    skip_bad: bool = False,
    cache_dir: Path | str | None = None,
    progress: bool = True,
    resize: Literal["cover", "stretch", "width"] = "cover",
    stream: bool = False,
) -> Dataset:
    """The data set that `spec` names, decoded on first use and found in a cache from then on.

    Args:
      spec: `digits` (scikit-learn's 1,797), `idx:DIR[?prefix=NAME]`, `folder:DIR`, `zip:FILE`, `tfds:NAME[/CONFIG][?data_dir=DIR]`.
        Pairs of two domains, A and B, aligned in arrays "a" and "b": `paired:DIR` (side by side in one image, A left; or sub-folders A and
        B with equal file names up to the extension); `paired:digits[?task=recolour|outline]` (see `digit_views.render`).
        Domains without pairs, independent arrays "a" and "b": `unpaired:DIR` (sub-folders trainA, trainB, testA, testB; or A and B);
        `unpaired:DIR_A,DIR_B`, any two folders; `unpaired:digits[?task=...]` (A draws one half of the digits, B the other);
        `tfds:cycle_gan/NAME`, whose splits trainA, trainB, ... alone are ordinary sets. A folder called digits is `paired:./digits`.
        Images with attributes, array "attributes": `attributes:PATH[?...]` of a folder or zip file, from sub-folders, a table or file names, see
        `jaxgan.data.attributes`; `attributes:digits` (each in one of three inks, see `digit_views.in_inks`). Several sets that tell different
        attributes are joined by +, `attributes:PATH[?...]+attributes:PATH[?...]`, see `combine`; each has the split.
        Images with label maps, arrays "layout" and perhaps "instance": `layout:DIR`, `layout:IMAGES,MAPS[,INSTANCES]`, both with `?unknown=ID` and
        `?classes=...`, see `jaxgan.data.layouts`; `layout:digits[?style=blue|inks]` (see `digit_views.painted`).
      image_size: (height, width) that images are brought to, as `resize` says; maps take the id at the centre of each pixel. None: as they are, which must
        be one size.
      channels: 1 grey, 3 RGB, 4 RGBA (see `images.convert_channels`); a tuple gives A's and B's. None: as they are.
      split: "train", "test", "val" or "all"; of `tfds:` any split it knows. Of the digits the first 1,500 are "train", the last 297 "test". Folders
        and archives have the splits that their sub-folders train/, val/, test/ make (or training, valid, validation, dev, testing, eval, in any case);
        without those, "train" and "all" are everything. A class has one number in all splits.
      skip_bad: leave unusable files out and list them in `Dataset.skipped`, instead of raising. Of a pair, both images are left out.
      cache_dir: where decoded images are kept. None: the folder JAXGAN_CACHE names, else `.jaxgan-cache` beside the source, else (where that
        cannot be written) ~/.cache/jaxgan. Digits, and IDX files at their own size, need none.
      progress: show a bar while decoding, on a terminal.
      resize: how images are brought to `image_size`, bicubic: "cover" (scale to cover it, keeping the shape, and cut at the centre), "stretch"
        (scale both sides), "width" (scale to its width, keeping the shape; its height does not count, but all must then have one).
      stream: keep no decoded images: look at all of them once, and from then on decode those that are asked for (`streaming.Streamed`). For sets too
        large to keep; sets that are in memory anyway stay there. Needs the extra [grain]. The images are the same to the bit.

    Raises:
      DataError: one sentence on what is missing, damaged or not alike, with the first offenders.
      ValueError: settings out of range.
    """
    form, where = (
        _form(image_size, channels, resize),
        None if cache_dir is None else Path(cache_dir),
    )
    if stream:
        streaming.require_grain()

    def one(spec: str) -> Dataset:
        return _open(
            spec, sources.find(spec, split), Reading(form, skip_bad, progress, stream), where
        )

    several = re.split(r"\+(?=attributes:)", spec)
    if len(several) == 1:
        return one(spec)
    if stream:
        raise DataError(
            f"{spec} joins several sets, which are kept decoded: leave out stream (--stream), or put all into one set"
        )
    return replace(combine([one(part) for part in several]), name=spec)


def _open(spec: str, found: Found, reading: Reading, where: Path | None) -> Dataset:
    form = reading.form
    if isinstance(found, Source):
        two = isinstance(form.channels, tuple)
        require(
            not two or "b" in found.parts,
            f"channels {form.channels} are for images of two domains, A and B, which {spec} does not hold",
        )
        return _load(found, reading, where)
    try:
        a, b = (
            _load(
                source,
                reading._replace(form=replace(form, channels=form.channels_of(i))),
                where,
            )
            for i, source in enumerate(found)
        )
    finally:
        for source in found if not reading.stream else ():
            source.close()
    return _independent(spec, a, b)


def _form(
    image_size: tuple[int, int] | None, channels: int | tuple[int, int] | None, resize: str
) -> Form:
    size = None if image_size is None else (int(image_size[0]), int(image_size[1]))
    require(
        size is None or min(size) >= 1,
        f"image_size must be (height, width), both at least 1, got {image_size}",
    )
    each = channels if isinstance(channels, tuple) else (channels, channels)
    known = len(each) == 2 and all(number is None or number in images.CHANNELS for number in each)
    require(
        known,
        f"channels must be 1 (grey), 3 (RGB) or 4 (RGBA), or two of these for A and B, got {channels}",
    )
    require_choice("resize", resize, images.RESIZES)
    return Form(size, channels, resize)


def _load(source: Source, reading: Reading, cache_dir: Path | None) -> Dataset:
    streams, form = False, reading.form
    try:
        if source.array is not None and form.size in (None, source.array.shape[1:3]):
            channels = form.channels_of(0)
            converted = (
                source.array
                if channels is None
                else images.convert_channels(source.array, channels)
            )
            return _attributed(
                from_arrays(source.name, converted, source.labels, source.classes),
                source,
                slice(None),
            )
        if source.home is None:
            return replace(_decode(source, reading), files=source.files)
        entry = cache.fetch(source, reading, cache_dir)
        arrays = dict(entry.arrays)
        rows = arrays.pop("row", slice(None))
        if entry.parts:
            arrays, streams = (
                streaming.streamed(source, form, np.asarray(rows), entry.parts) | arrays,
                True,
            )
        made = _attributed(
            Dataset(
                source.name, arrays, entry.classes, entry.fingerprint, entry.skipped, entry.folder
            ),
            source,
            rows,
        )
        made = replace(made, files=source.files)
        made.__dict__["unknown"] = (
            entry.unknown
        )  # as the property would find by reading, and of a streamed set decoding, all maps
        return made
    finally:
        if not streams:  # else it is read from as long as the set is used
            source.close()


def _attributed(data: Dataset, source: Source, rows: np.ndarray | slice) -> Dataset:
    """The set with the attributes of the source's examples `rows`, where it has any."""
    return (
        data
        if source.attributes is None
        else with_attributes(data, source.attributes[rows], source.attribute_names, source.groups)
    )


def _decode(source: Source, reading: Reading) -> Dataset:
    form, skip_bad, progress, _ = reading
    tally = decoding.Tally()
    examples = list(decoding.passed(source, form, progress, tally))
    decoding.settle(source, form, tally, skip_bad)
    stacked = [np.stack(part) for part in zip(*examples)]
    if "layout" in source.parts:
        made = from_layouts(source.name, stacked[0], stacked[1], source.class_names(), *stacked[2:])
    elif "b" in source.parts:
        made = from_domains(source.name, *stacked, independent=False)
    else:
        labels = None if source.labels is None else source.labels[tally.kept]
        made = _attributed(
            from_arrays(source.name, stacked[0], labels, source.classes),
            source,
            np.array(tally.kept),
        )
    return replace(made, skipped=tuple(tally.bad))


def _independent(spec: str, a: Dataset, b: Dataset) -> Dataset:
    for domain, data in (("a", a), ("b", b)):
        require_several(spec, domain, data)
    arrays = {"a": a.arrays["image"], "b": b.arrays["image"]}
    common = (
        None if a.cache is None or b.cache is None else Path(os.path.commonpath([a.cache, b.cache]))
    )
    files = tuple(
        f"{domain}: {name}" for domain, data in (("A", a), ("B", b)) for name in data.files
    )
    fingerprint = decoding.joined([a.fingerprint, b.fingerprint], True)
    return Dataset(
        spec, arrays, (), fingerprint, a.skipped + b.skipped, common, independent=True, files=files
    )
