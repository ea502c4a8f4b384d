"""A data set in memory or mapped into it, and the one way to get it: `open(spec)`."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from jaxgan.data import cache, decoding, images, sources, streaming
from jaxgan.data.images import Form
from jaxgan.data.source import Found, Groups, Source
from jaxgan.errors import DataError, require, require_choice


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images, and labels, attributes or maps of ids where there are any; or images of two domains, A and B.

    name: the spec it was opened by.
    arrays: "image" uint8 or uint16 [N, H, W, C], and "label" int32 [N] where there are labels; or "a" and "b", uint8 or uint16 [N, H, W, C]
      each. "attributes" uint8 [N, K] of 0 and 1, and "set" int32 [N] where sets were combined.
      "layout" uint8 or uint16 [N, H, W], the class of each pixel, `class_count` where it is unknown; and "instance" uint16 [N, H, W], the number of
      the thing that each pixel shows, where it is known. Read-only, in memory or mapped from the cache; or `streaming.Streamed`.
    classes: names of the classes, by label or id; () without labels or label maps.
    fingerprint: hash of the content (pixels, labels, maps, class names, whether independent, attributes, their names and groups).
    skipped: one "FILE reason" per example that `skip_bad` left out.
    cache: the folder that holds the decoded images, or None where they are in memory.
    independent: whether "a" and "b" are of lengths of their own and each is shuffled on its own; otherwise row i of all arrays belongs together.
    attributes: names of the K columns of "attributes".
    groups: name and number of columns of each exclusive group (one of its columns is 1), in order; () where all columns are binary. Where there are
      both, a binary column is a group of one.
    known: of combined sets, one row for each and K columns: which attributes that set tells; the others are 0 there. () of a single set.
    files: names of the examples in the source, those that were skipped among them; () of arrays at hand.
    """

    name: str
    arrays: dict[str, np.ndarray]
    classes: tuple[str, ...] = ()
    fingerprint: str = ""
    skipped: tuple[str, ...] = ()
    cache: Path | None = None
    independent: bool = False
    attributes: tuple[str, ...] = ()
    groups: Groups = ()
    known: tuple[tuple[bool, ...], ...] = ()
    files: Sequence[str] = ()

    @property
    def images(self) -> dict[str, np.ndarray]:
        """The arrays of images: "image", or "a" and "b"."""
        return {name: array for name, array in self.arrays.items() if array.ndim == 4}

    @property
    def size(self) -> int:
        """Number of examples; of independent domains, that of the larger one."""
        return max(map(len, self.arrays.values()))

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width), in domain A where there are two."""
        height, width = next(iter(self.images.values())).shape[1:3]
        return height, width

    @property
    def channels(self) -> int:
        """1 grey, 3 RGB, 4 RGBA; in domain A where there are two."""
        return next(iter(self.images.values())).shape[3]

    @property
    def class_count(self) -> int:
        """Number of classes; 0 without labels or label maps."""
        return len(self.classes)

    @property
    def told(self) -> np.ndarray:
        """Which attributes are known of each example, bool [N, K]: all of them, unless sets were combined. The others are 0 in "attributes"."""
        if not self.known:
            return np.ones((self.size, len(self.attributes)), bool)
        return np.array(self.known, bool)[np.asarray(self.arrays["set"])]

    @functools.cached_property
    def unknown(self) -> bool:
        """Whether any pixel of the label maps is of no known class. Reads them all once."""
        return "layout" in self.arrays and any(bool((ids == self.class_count).any()) for ids in self.arrays["layout"])


def from_arrays(name: str, image: np.ndarray, label: np.ndarray | None = None, classes: tuple[str, ...] = ()) -> Dataset:
    """A data set of arrays at hand.

    Args:
      image: uint8 or uint16 [N, H, W, C] with 1, 3 or 4 channels.
      label: integers [N], from 0.
      classes: their names; numbers where none are given.

    Raises DataError where shapes, types or labels do not fit.
    """
    _require_images(name, image)
    others = {}
    if label is not None:
        if label.shape != image.shape[:1] or label.dtype.kind not in "ui" or label.min() < 0:
            raise DataError(f"{name}: labels must be {len(image)} integers from 0, got {label.dtype} {list(label.shape)}")
        classes = tuple(classes) or tuple(map(str, range(int(label.max()) + 1)))
        if label.max() >= len(classes):
            raise DataError(f"{name}: the label {label.max()} has no name among the {len(classes)} classes")
        others["label"] = label.astype(np.int32)
    fingerprint = decoding.Fingerprint()
    fingerprint.add(image)
    arrays = {"image": image.view(), **others}
    for array in arrays.values():
        array.setflags(write=False)
    return Dataset(name, arrays, tuple(classes), fingerprint.finish(others, classes, image.shape[1:], str(image.dtype)))


def with_attributes(data: Dataset, attributes: np.ndarray, names: Sequence[str], groups: Groups = ()) -> Dataset:
    """The set with an attribute vector for each image.

    Args:
      attributes: integers or booleans [N, K], 0 or 1.
      names: of the K columns, all different.
      groups: as in `Dataset`.

    Raises DataError: shapes or values that do not fit; a row with not exactly one 1 in an exclusive group.
    """
    names, groups = tuple(names), tuple((str(name), int(count)) for name, count in groups)
    shape = (data.size, len(names))
    if tuple(attributes.shape) != shape or not names or attributes.dtype.kind not in "uib" or not np.isin(attributes, (0, 1)).all():
        raise DataError(f"{data.name}: attributes must be 0 or 1 and {list(shape)}, got {attributes.dtype} {list(attributes.shape)}")
    if len(set(names)) < len(names):
        raise DataError(f"{data.name}: the attributes {', '.join(names)} must have different names")
    if groups and (sum(count for _, count in groups) != len(names) or min(count for _, count in groups) < 1):
        raise DataError(f"{data.name}: the groups {groups} must have the {len(names)} attributes as their columns")
    values, start = attributes.astype(np.uint8), 0
    for name, count in groups:
        wrong = values[:, start : start + count].sum(1) != 1
        if count > 1 and wrong.any():
            raise DataError(f"{data.name}: the attributes of the group {name} are exclusive, but example {wrong.argmax()} has not exactly one of them")
        start += count
    values.setflags(write=False)
    fingerprint = decoding.described(data.fingerprint, values, [names, groups])
    return replace(data, arrays={**data.arrays, "attributes": values}, fingerprint=fingerprint, attributes=names, groups=groups)


def from_domains(name: str, a: np.ndarray, b: np.ndarray, *, independent: bool) -> Dataset:
    """A data set of two domains, of arrays at hand.

    Args:
      a, b: uint8 or uint16 [N, H, W, C] with 1, 3 or 4 channels each.
      independent: False: a[i] and b[i] are a pair. True: no image of one has a partner in the other; the lengths may differ.

    Raises DataError: shapes or types that do not fit, pairs of other numbers of images, an independent domain of a single one.
    """
    domains = {"a": from_arrays(f"{name}, domain A", a), "b": from_arrays(f"{name}, domain B", b)}
    if not independent and len(a) != len(b):
        raise DataError(f"{name}: there must be as many images of A as of B to make pairs, got {len(a)} and {len(b)}")
    if independent:
        for domain, data in domains.items():
            _require_several(name, domain, data)
    arrays = {domain: data.arrays["image"] for domain, data in domains.items()}
    return Dataset(name, arrays, (), decoding.joined([data.fingerprint for data in domains.values()], independent), independent=independent)


def from_layouts(name: str, image: np.ndarray, layout: np.ndarray, classes: Sequence[str], instance: np.ndarray | None = None) -> Dataset:
    """A data set of images and label maps at hand.

    Args:
      image: uint8 or uint16 [N, H, W, C] with 1, 3 or 4 channels.
      layout: integers [N, H, W], the class of each pixel, or the number of classes where it is unknown.
      classes: their names.
      instance: integers [N, H, W] from 0 to 65535.

    Raises DataError where shapes, types or ids do not fit.
    """
    _require_images(name, image)
    maps = {"layout": (layout, len(classes))} | ({} if instance is None else {"instance": (instance, 65_535)})
    arrays, names = {"image": image.view()}, tuple(classes)
    for part, (array, top) in maps.items():
        if array.shape != image.shape[:3] or array.dtype.kind not in "ui" or array.min() < 0 or array.max() > top:
            have = f"{array.dtype} {list(array.shape)} from {array.min()} to {array.max()}"
            raise DataError(f"{name}: {part} must be integers {list(image.shape[:3])} from 0 to {top}, got {have}")
        arrays[part] = array.astype(np.uint8 if part == "layout" and top <= 255 else np.uint16)
    hashes = []
    for array in arrays.values():
        array.setflags(write=False)
        fingerprint = decoding.Fingerprint()
        fingerprint.add(array)
        hashes.append(fingerprint.finish({}, names, array.shape[1:], str(array.dtype)))
    return Dataset(name, arrays, names, decoding.joined(hashes))


def _require_images(name: str, image: np.ndarray) -> None:
    if image.dtype not in (np.uint8, np.uint16) or image.ndim != 4 or image.shape[3] not in images.CHANNELS or 0 in image.shape:
        raise DataError(f"{name}: images must be uint8 or uint16 [N, H, W, 1, 3 or 4] and at least one, got {image.dtype} {list(image.shape)}")


def _require_several(name: str, domain: str, data: Dataset) -> None:
    if data.size < 2:
        raise DataError(f"domain {domain.upper()} of {name} holds a single usable image: unpaired training needs at least two in each domain, so add more")


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
    form, where = _form(image_size, channels, resize), None if cache_dir is None else Path(cache_dir)
    if stream:
        streaming.require_grain()

    def one(spec: str) -> Dataset:
        return _open(spec, sources.find(spec, split), form, skip_bad, where, progress, stream)

    several = re.split(r"\+(?=attributes:)", spec)
    if len(several) == 1:
        return one(spec)
    if stream:
        raise DataError(f"{spec} joins several sets, which are kept decoded: leave out stream (--stream), or put all into one set")
    from jaxgan.data.combining import combine  # here, as it is made of Datasets

    return replace(combine([one(part) for part in several]), name=spec)


def _open(spec: str, found: Found, form: Form, skip_bad: bool, where: Path | None, progress: bool, stream: bool) -> Dataset:
    if isinstance(found, Source):
        two = isinstance(form.channels, tuple)
        require(not two or "b" in found.parts, f"channels {form.channels} are for images of two domains, A and B, which {spec} does not hold")
        return _load(found, form, skip_bad, where, progress, stream)
    try:
        a, b = (_load(source, replace(form, channels=form.channels_of(i)), skip_bad, where, progress, stream) for i, source in enumerate(found))
    finally:
        for source in found if not stream else ():
            source.close()
    return _independent(spec, a, b)


def _form(image_size: tuple[int, int] | None, channels: int | tuple[int, int] | None, resize: str) -> Form:
    size = None if image_size is None else (int(image_size[0]), int(image_size[1]))
    require(size is None or min(size) >= 1, f"image_size must be (height, width), both at least 1, got {image_size}")
    each = channels if isinstance(channels, tuple) else (channels, channels)
    known = len(each) == 2 and all(number is None or number in images.CHANNELS for number in each)
    require(known, f"channels must be 1 (grey), 3 (RGB) or 4 (RGBA), or two of these for A and B, got {channels}")
    require_choice("resize", resize, images.RESIZES)
    return Form(size, channels, resize)


def _load(source: Source, form: Form, skip_bad: bool, cache_dir: Path | None, progress: bool, stream: bool) -> Dataset:
    streams = False
    try:
        if source.array is not None and form.size in (None, source.array.shape[1:3]):
            channels = form.channels_of(0)
            converted = source.array if channels is None else images.convert_channels(source.array, channels)
            return _attributed(from_arrays(source.name, converted, source.labels, source.classes), source, slice(None))
        if source.home is None:
            return replace(_decode(source, form, skip_bad, progress), files=source.files)
        entry = cache.fetch(source, form, skip_bad, cache_dir, progress, stream)
        arrays = dict(entry.arrays)
        rows = arrays.pop("row", slice(None))
        if entry.parts:
            arrays, streams = streaming.streamed(source, form, np.asarray(rows), entry.parts) | arrays, True
        made = _attributed(Dataset(source.name, arrays, entry.classes, entry.fingerprint, entry.skipped, entry.folder), source, rows)
        made = replace(made, files=source.files)
        made.__dict__["unknown"] = entry.unknown  # as the property would find by reading, and of a streamed set decoding, all maps
        return made
    finally:
        if not streams:  # else it is read from as long as the set is used
            source.close()


def _attributed(data: Dataset, source: Source, rows: np.ndarray | slice) -> Dataset:
    """The set with the attributes of the source's examples `rows`, where it has any."""
    return data if source.attributes is None else with_attributes(data, source.attributes[rows], source.attribute_names, source.groups)


def _decode(source: Source, form: Form, skip_bad: bool, progress: bool) -> Dataset:
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
        made = _attributed(from_arrays(source.name, stacked[0], labels, source.classes), source, np.array(tally.kept))
    return replace(made, skipped=tuple(tally.bad))


def _independent(spec: str, a: Dataset, b: Dataset) -> Dataset:
    for domain, data in (("a", a), ("b", b)):
        _require_several(spec, domain, data)
    arrays = {"a": a.arrays["image"], "b": b.arrays["image"]}
    common = None if a.cache is None or b.cache is None else Path(os.path.commonpath([a.cache, b.cache]))
    files = tuple(f"{domain}: {name}" for domain, data in (("A", a), ("B", b)) for name in data.files)
    fingerprint = decoding.joined([a.fingerprint, b.fingerprint], True)
    return Dataset(spec, arrays, (), fingerprint, a.skipped + b.skipped, common, independent=True, files=files)
