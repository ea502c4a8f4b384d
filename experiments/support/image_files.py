"""Image files in, image files out: what there is to read, where results go, and both file formats (pictures through Pillow, .npy arrays).

For tools that turn given images into others. Arrays are [H, W, C]: uint8, uint16, or float32 in [-1, 1].
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from jaxgan.data import filenames, listing
from jaxgan.data.images import CHANNELS, BadImage, convert_channels, decode, resize
from jaxgan.errors import DataError, RunError
from jaxgan.pictures.images import save_png, to_uint8, to_uint16, write_whole


class Item(NamedTuple):
    """One translation to make: the image's `number` in the sorted list, which `way`, `name` relative to INPUT, where it is and where the result goes."""

    number: int
    way: int
    name: str
    source: Path
    target: Path


# -------------------------------------------------------------------------------------------------------------- what and where


def find(path: Path) -> list[tuple[str, Path]]:
    """The images at or below `path`, sorted by name: (name relative to it, file), also those that cannot be read. Hidden ones are ignored, as in training.

    Raises `DataError` if there are none.
    """
    if path.is_file():
        return [(path.name, path)]
    if not path.is_dir():
        raise DataError(f"{path} does not exist: name an image or a folder of images")
    found = listing.walk(path).items()
    names = sorted(
        name
        for name, facts in found
        if filenames.is_image(name) or facts.problem or name.lower().endswith(".npy")
    )
    if not names:
        raise DataError(
            f"{path} holds no images (looked for {' '.join(filenames.SUFFIXES)} .npy, in sub-folders too): name another folder"
        )
    return [(name, path / name) for name in names]


def assign(
    sources: Sequence[tuple[str, Path]],
    source: Path,
    output: Path,
    channels: int,
    may_exist: bool,
    folders: Sequence[str] = (),
) -> list[Item]:
    """Gives each of the `sources` that `find(source)` found its file at or below `output`.

    Args:
      channels: of the results; those that no PNG holds become .npy.
      may_exist: results may be there already.
      folders: of each way to translate, where several are asked for at once: each source gets a file in each of these folders of `output`.

    Raises `RunError` if an input would be replaced, or (without `may_exist`) an output that is there, or if two would share a file.
    """
    names = [name for name, _ in sources]
    if source.is_dir() or folders:
        _refuse_folder(source, output, may_exist)
        targets = [
            [output / folder / name for folder in folders or ("",)]
            for name in _output_names(names, channels)
        ]
    else:
        targets = [[_single_target(output, names[0], channels)]]
    items = [
        Item(i, way, name, file, target)
        for i, (name, file) in enumerate(sources)
        for way, target in enumerate(targets[i])
    ]
    read, count = {file.resolve() for _, file in sources}, Counter(item.target for item in items)
    for item in items:
        if item.target.resolve() in read:
            raise RunError(
                f"{item.target} is one of the images to translate: choose another OUTPUT, so that it is not replaced"
            )
        if count[item.target] > 1:
            raise RunError(
                f"{item.name} and another image would both become {item.target}: rename one of them"
            )
        if item.target.is_dir():
            raise RunError(
                f"{item.target} is a folder where a translation is to be written: choose another OUTPUT"
            )
        if item.target.exists() and not may_exist:
            raise RunError(
                f"{item.target} is there already: give --overwrite to replace it, or another OUTPUT"
            )
    return items


def _output_names(names: Sequence[str], channels: int) -> list[str]:
    """Each name with the output's ending instead of its own; besides its own where two would be the same (a.jpg and a.png)."""

    def short(name: str) -> str:
        return str(PurePosixPath(name).with_suffix(_ending(name, channels)))

    count = Counter(map(short, names))
    return [
        short(name) if count[short(name)] == 1 else name + _ending(name, channels) for name in names
    ]


def _ending(name: str, channels: int) -> str:
    return ".npy" if name.lower().endswith(".npy") or channels not in CHANNELS else ".png"


def _single_target(output: Path, name: str, channels: int) -> Path:
    asked, ending = output, _ending(name, channels)
    if output.is_dir() or not output.suffix:
        output = output / PurePosixPath(name).with_suffix(ending).name
    if output.suffix.lower() != ending:
        raise RunError(
            f"the translation of {name} is written as {ending}, so OUTPUT must end in that or be a folder, got {asked}"
        )
    return output


def _refuse_folder(source: Path, output: Path, may_exist: bool) -> None:
    if output.resolve().is_relative_to(source.resolve()):
        raise RunError(
            f"OUTPUT {output} lies in INPUT {source}, so translations would be translated again: choose a folder outside of it"
        )
    if output.exists() and not output.is_dir():
        raise RunError(f"OUTPUT {output} is a file, and several are to be written: name a folder")
    if output.is_dir() and any(output.iterdir()) and not may_exist:
        remedy = "give --resume to keep what it holds, --overwrite to replace it, or another folder"
        raise RunError(f"OUTPUT {output} is not empty: {remedy}")


# ----------------------------------------------------------------------------------------------------------------- read, write


def read(path: Path, channels: int | None = None) -> np.ndarray:
    """An image or .npy file -> uint8, uint16 or float32 [H, W, C]; `channels`: converted to so many, where both are grey, RGB or RGBA.

    Raises `BadImage`.
    """
    content = listing.load(path, any_name=True)
    pixels = _array(content) if path.suffix.lower() == ".npy" else decode(content)
    have = pixels.shape[-1]
    if channels in (None, have):
        return pixels
    if have not in CHANNELS or channels not in CHANNELS or pixels.dtype == np.float32:
        raise BadImage(
            f"has {have} channel{'s' * (have > 1)}, but the run takes {channels}: give it as .npy [H, W, {channels}]"
        )
    return convert_channels(pixels, channels)


def _array(content: bytes) -> np.ndarray:
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # NumPy raises ValueError, EOFError, SyntaxError, UnicodeDecodeError, ... on damaged files
        raise BadImage(
            f"is not a readable .npy file ({(str(error).splitlines() or [type(error).__name__])[0]})"
        ) from None
    if not isinstance(array, np.ndarray) or array.dtype not in (np.uint8, np.uint16, np.float32):
        raise BadImage(
            f"holds {getattr(array, 'dtype', 'several arrays')}, not uint8, uint16 or float32"
        )
    array = array[:, :, None] if array.ndim == 2 else array
    if array.ndim != 3 or 0 in array.shape:
        raise BadImage(f"must be one image [H, W, C], and has shape {list(array.shape)}")
    if array.dtype == np.float32 and not (np.abs(array) <= 1).all():
        raise BadImage("has values outside of [-1, 1]")
    return array


def fitted(path: Path, size: tuple[int, int], channels: int) -> np.ndarray:
    """An image or .npy file -> float32 [H, W, channels] in [-1, 1] of this size (H, W), scaled to cover it and cut; floats are not scaled.

    Raises `DataError`.
    """
    try:
        pixels = read(path, channels)
        if pixels.dtype == np.float32 and pixels.shape[:2] != size:
            raise BadImage(
                f"must be {size[0]}x{size[1]} pixels, as arrays of floats are not scaled"
            )
        return normalise(pixels if pixels.dtype == np.float32 else resize(pixels, size))
    except BadImage as error:
        raise DataError(f"{path} {error}: give another image") from None


def normalise(pixels: np.ndarray) -> np.ndarray:
    """As `jaxgan.data.prepare.normalise`, in NumPy; float32 passes unchanged."""
    if pixels.dtype == np.float32:
        return pixels
    top = np.float32(np.iinfo(pixels.dtype).max)
    return (2 * pixels.astype(np.float32) - top) / top


def write(path: Path, image: np.ndarray, kind: np.dtype, note: str) -> None:
    """Write float32 [H, W, C] in [-1, 1] whole, as `kind`: .npy or PNG (`note`: its comment)."""
    pixels = {"uint8": to_uint8, "uint16": to_uint16}.get(kind.name, np.asarray)(image)
    if path.suffix.lower() == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, pixels)
        write_whole(path, buffer.getvalue())
    else:
        save_png(path, pixels, note)
