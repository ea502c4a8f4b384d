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
from jaxgan.errors import JaxganError

_SHOWN = 20


def report(data: jaxgan.data.Dataset) -> str:
    """Size, shape, type, range, classes and balance, fingerprint, cache and skipped files of a set, one fact a line; of two domains, of each."""
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
    return [f"examples     {data.size}", f"images       {_shape(image)}", f"range        {_range(image)}", *_class_lines(data)]


def _domain_lines(data: jaxgan.data.Dataset) -> list[str]:
    kind = "unpaired: each domain is shuffled on its own" if data.independent else f"paired: {data.size} pairs"
    return [f"kind         {kind}", *(f"domain {name}     {len(image)} images, {_shape(image)}, {_range(image)}" for name, image in data.images.items())]


def _shape(image: np.ndarray) -> str:
    _, height, width, channels = image.shape
    return f"{height}x{width}, {channels} channel{'s' * (channels > 1)}, {image.dtype}"


def _range(image: np.ndarray) -> str:
    rows = max(1, 2**26 // image[0].nbytes)  # 64 MB at a time: the set may be larger than the memory
    parts = [image[start : start + rows] for start in range(0, len(image), rows)]
    return f"{min(part.min() for part in parts)} to {max(part.max() for part in parts)} of 0 to {np.iinfo(image.dtype).max}"


def _class_lines(data: jaxgan.data.Dataset) -> list[str]:
    if "label" not in data.arrays:
        return ["classes      none: no labels"]
    counts = np.bincount(data.arrays["label"], minlength=data.class_count)
    lines = [f"classes      {data.class_count}; the smallest has {counts.min()} examples, the largest {counts.max()}"]
    lines += [f"  {label:>4} {name:<20} {count:>8}  {count / data.size:6.1%}" for label, (name, count) in enumerate(zip(data.classes[:_SHOWN], counts))]
    return lines + [f"  and {data.class_count - _SHOWN} more"] * (data.class_count > _SHOWN)


def check(
    spec: str,
    image_size: tuple[int, int] | None = None,
    channels: int | tuple[int, int] | None = None,
    split: str = "train",
    skip_bad: bool = False,
    cache_dir: Path | None = None,
    resize: Literal["cover", "stretch", "width"] = "cover",
) -> None:
    """Print what a data source holds; exit with 2 and one sentence if it cannot be used.

    Args:
        spec: digits, idx:DIR, folder:DIR, zip:FILE, tfds:NAME[/CONFIG], paired:DIR, paired:digits, unpaired:DIR, unpaired:DIR_A,DIR_B or unpaired:digits.
        image_size: Height and width to bring the images to; otherwise they must all be of one size.
        channels: 1 grey, 3 RGB, 4 RGBA, or two of these for domains A and B; otherwise they must all have the same.
        split: train, test, val or all, where the source has it.
        skip_bad: Leave unusable files out, and list them.
        cache_dir: Where decoded images are kept; otherwise JAXGAN_CACHE, beside the source, or ~/.cache/jaxgan.
        resize: How to bring them there: scale to cover the size and cut at the centre, stretch both sides, or scale to the width.
    """
    data = jaxgan.data.open(spec, image_size=image_size, channels=channels, split=split, skip_bad=skip_bad, cache_dir=cache_dir, resize=resize)
    print(report(data))


def main(arguments: list[str] | None = None) -> None:
    import tyro

    try:
        tyro.cli(check, prog="python -m experiments.data_check", args=arguments, config=(tyro.conf.PositionalRequiredArgs, tyro.conf.FlagCreatePairsOff))
    except (JaxganError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
