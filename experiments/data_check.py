"""Look at a data source as training would see it, and say what is wrong with it.

    python -m experiments.data_check folder:photos --image-size 64 64 --channels 3

Decodes the set into its cache, as the first training run would, and writes nothing else.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import numpy as np

import jaxgan.data
from jaxgan.errors import DataError, JaxganError

_SHOWN, _NAMED = 20, 5


def report(data: jaxgan.data.Dataset) -> str:
    """Size, shape, type, range, balance of classes, attributes or ids, fingerprint, cache and skipped files of a set, one fact a line; of two domains, of
    each."""
    lines = [
        f"source       {data.name}",
        *(_image_lines(data) if "image" in data.arrays else _domain_lines(data)),
        f"fingerprint  {data.fingerprint}",
        f"cache        {data.cache or 'none: kept in memory'}",
        f"skipped      {len(data.skipped) or 'none'}",
        *(f"  {reason}" for reason in data.skipped),
    ]
    return "\n".join(lines)


def _image_lines(data: jaxgan.data.Dataset) -> list[str]:
    image = data.arrays["image"]
    described = (
        balance(data)
        if data.attributes
        else map_lines(data)
        if "layout" in data.arrays
        else _class_lines(data)
    )
    return [
        f"examples     {data.size}",
        f"images       {_shape(image)}",
        f"range        {_range(image)}",
        *described,
    ]


def _domain_lines(data: jaxgan.data.Dataset) -> list[str]:
    kind = (
        "unpaired: each domain is shuffled on its own"
        if data.independent
        else f"paired: {data.size} pairs"
    )
    return [
        f"kind         {kind}",
        *(
            f"domain {name}     {len(image)} images, {_shape(image)}, {_range(image)}"
            for name, image in data.images.items()
        ),
    ]


def _shape(image: np.ndarray) -> str:
    _, height, width, channels = image.shape
    return f"{height}x{width}, {channels} channel{'s' * (channels > 1)}, {image.dtype}"


def _range(image: np.ndarray) -> str:
    rows = max(
        1, 2**26 // image[0].nbytes
    )  # 64 MB at a time: the set may be larger than the memory
    parts = [image[start : start + rows] for start in range(0, len(image), rows)]
    return f"{min(part.min() for part in parts)} to {max(part.max() for part in parts)} of 0 to {np.iinfo(image.dtype).max}"


def _class_lines(data: jaxgan.data.Dataset) -> list[str]:
    if "label" not in data.arrays:
        return ["classes      none: no labels"]
    counts = np.bincount(data.arrays["label"], minlength=data.class_count)
    lines = [
        f"classes      {data.class_count}; the smallest has {counts.min()} examples, the largest {counts.max()}"
    ]
    lines += [
        f"  {label:>4} {name:<20} {count:>8}  {count / data.size:6.1%}"
        for label, (name, count) in enumerate(zip(data.classes[:_SHOWN], counts))
    ]
    lines += [f"  and {data.class_count - _SHOWN} more"] * (data.class_count > _SHOWN)
    absent = [name for name, number in zip(data.classes, counts) if not number]
    return lines + [
        f"  warning: no example is of the class {_some(absent)}, so nothing can be learnt of it"
    ] * bool(absent)


def _some(names: list[str]) -> str:
    """The first few of these, and how many more."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def map_lines(data: jaxgan.data.Dataset) -> list[str]:
    """Which share of the pixels each class of the label maps has, and how many images show it; one fact a line, the rest of the classes summed up."""
    layouts, count = data.arrays["layout"], data.class_count
    pixels, shown = np.zeros(count + 1, np.int64), np.zeros(count + 1, np.int64)
    for ids in layouts:
        found = np.bincount(ids.ravel(), minlength=count + 1)
        pixels += found
        shown += found > 0
    shares = pixels / pixels.sum()
    absent = [name for name, number in zip(data.classes, pixels) if not number]
    never = f", {len(absent)} of them in no pixel" if absent else ""
    lines = [
        f"label maps   {count} classes{never}; unknown in {shares[count]:.1%} of the pixels",
        f"instances    {_instances(data)}",
    ]
    rows = [*enumerate(data.classes[:_SHOWN])] + [(count, "unknown")] * bool(pixels[count])
    lines += [
        f"  {i:>4} {name:<20} {shares[i]:6.1%} of the pixels, in {shown[i]:>6} of {data.size} images"
        for i, name in rows
    ]
    lines += [f"  and {count - _SHOWN} more classes"] * (count > _SHOWN)
    lines += [
        f"  warning: no pixel is of the class {_some(absent)}: look whether the ids are those of the classes"
    ] * bool(absent)
    remedy = "if the id that counts as unknown is a class, give another ?unknown="
    return lines + [
        f"  warning: more than half of the pixels are of unknown class: {remedy}"
    ] * bool(shares[count] > 0.5)


def _instances(data: jaxgan.data.Dataset) -> str:
    if "instance" not in data.arrays:
        return "none: no instance maps"
    return f"{np.mean([len(np.unique(ids)) for ids in data.arrays['instance']]):.1f} in an image on average"


def balance(data: jaxgan.data.Dataset) -> list[str]:
    """How often each attribute is 1, by group, among the examples of the sets that tell it; one fact a line, with a warning where it is constant."""
    values = data.arrays["attributes"]
    sets = data.arrays.get("set", np.zeros(data.size, np.int32))
    known = np.array(data.known or [[True] * len(data.attributes)])
    lines = [
        f"attributes   {len(data.attributes)}"
        + (
            f" in {len(data.groups)} group{'s' * (len(data.groups) > 1)}"
            if data.groups
            else ", each 0 or 1"
        )
    ]
    lines += [
        f"  set {i}: {(sets == i).sum()} examples, {row.sum()} attributes"
        for i, row in enumerate(known)
        if data.known
    ]
    starts = {
        sum(count for _, count in data.groups[:i]): group for i, group in enumerate(data.groups)
    }
    for column, name in enumerate(data.attributes):
        group, members = starts.get(column, ("", 1))
        lines += [f"  {group}: one of {members}"] if members > 1 else []
        told = data.told[:, column]
        count, total = int(values[told, column].sum()), int(told.sum())
        constant = (
            f"  warning: {'always' if count else 'never'} 1, so nothing can be learnt of it"
            if count in (0, total)
            else ""
        )
        lines.append(f"    {name:<28} {count:>8}  {count / total:6.1%}{constant}")
    return lines


def check(
    spec: str,
    image_size: tuple[int, int] | None = None,
    channels: int | tuple[int, int] | None = None,
    split: str = "train",
    skip_bad: bool = False,
    cache_dir: Path | None = None,
    resize: Literal["cover", "stretch", "width"] = "cover",
    verify: bool = False,
) -> None:
    """Print what a data source holds; exit with 2 and one sentence if it cannot be used.

    Args:
        spec: digits, idx:DIR, folder:DIR, zip:FILE, tfds:NAME[/CONFIG], paired:DIR, paired:digits, unpaired:DIR, unpaired:DIR_A,DIR_B, unpaired:digits,
            'attributes:PATH[?table=FILE|names=PATTERN]', attributes:digits, several of these joined by +, 'layout:DIR[?classes=...&unknown=ID]',
            layout:IMAGES,MAPS[,INSTANCES] or layout:digits.
        image_size: Height and width to bring the images to; otherwise they must all be of one size.
        channels: 1 grey, 3 RGB, 4 RGBA, or two of these for domains A and B; otherwise they must all have the same.
        split: train, test, val or all, where the source has it.
        skip_bad: Leave unusable files out, and list them.
        cache_dir: Where decoded images are kept; otherwise JAXGAN_CACHE, beside the source, or ~/.cache/jaxgan.
        resize: How to bring them there: scale to cover the size and cut at the centre, stretch both sides, or scale to the width.
        verify: Compare every decoded image in the cache with its checksum, and decode a damaged cache again. Otherwise only caches of up to 2 GB are
            checked when they are opened; larger ones as training reads them.
    """

    def opened() -> jaxgan.data.Dataset:
        return jaxgan.data.open(
            spec,
            image_size=image_size,
            channels=channels,
            split=split,
            skip_bad=skip_bad,
            cache_dir=cache_dir,
            resize=resize,
        )

    data = opened()
    if verify:
        try:
            read_whole(data)
        except DataError:  # the cache has been given up: it is decoded again now
            data = opened()
            read_whole(data)
    print(report(data))
    if verify and data.cache is not None:
        print(
            f"verified     all {sum(array.nbytes for array in data.arrays.values()):,} bytes match their checksums"
        )


def read_whole(data: jaxgan.data.Dataset) -> None:
    """Read and check what was not checked when the set was opened. Raises DataError if it is damaged."""
    for array in data.arrays.values():
        np.asarray(array)


def main(arguments: list[str] | None = None) -> None:
    import tyro

    try:
        tyro.cli(
            check,
            prog="python -m experiments.data_check",
            args=arguments,
            config=(tyro.conf.PositionalRequiredArgs, tyro.conf.FlagCreatePairsOff),
        )
    except (JaxganError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
