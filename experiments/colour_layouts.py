"""Label maps read off coloured maps: as a command, files of ids for `layout:`; of pairs, what a judge of map and photograph is trained on.

    python -m experiments.colour_layouts city/colours city/labels                            each colour becomes an id
    python -m experiments.colour_layouts camvid/annot camvid/labels --palette colours.txt    ids in the order of the palette's lines
    python -m experiments.colour_layouts scans labels --colours 5                            of JPEG maps: five colours, and each pixel the nearest

A palette is a text file with one class a line: its name and its colour, as #rrggbb or as three numbers, in either order. Classes called unknown or void
become 255. Without a palette, colours are numbered from the darkest (by red, then green, then blue); maps of grey levels in RGB keep these as ids. OUT gets
the maps as PNG files under their names, and `classes.txt` for `layout:...?classes=`.

In memory a palette is written as names of classes, "#aadaff", so that a judge's file carries it.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from experiments.support import image_files
from jaxgan.data import Dataset, from_layouts
from jaxgan.data.images import BadImage, quiet
from jaxgan.errors import DataError, RunError, require
from jaxgan.pictures.images import save_png, write_whole

COLOURS = 5
SAMPLE = 50_000
BLOCK = 16
UNKNOWN = 255
VOID = ("unknown", "void", "unlabelled", "unlabeled", "ignore")
"""Names of no class, in a palette file."""


class Palette(NamedTuple):
    """What colours mean: RGB colours packed into one number each (int64 [K]), the ids they become (int64 [K]), and the names of the classes."""

    colours: np.ndarray
    ids: np.ndarray
    classes: tuple[str, ...]


def palette(images: np.ndarray, count: int = COLOURS) -> tuple[str, ...]:
    """The centres of `count` clusters of pixels, by k-means on a random sample, most frequent first: names "#rrggbb". Images uint8 [N, H, W, 3].

    Raises ValueError for other images.
    """
    fits = images.ndim == 4 and images.shape[-1] == 3 and images.dtype == np.uint8
    require(fits, f"images must be uint8 [N, H, W, 3], got {images.dtype} {list(images.shape)}")
    return _centres(_sample(images.reshape(-1, 3), SAMPLE), count)


def _sample(pixels: np.ndarray, count: int) -> np.ndarray:
    return (
        pixels
        if len(pixels) <= count
        else pixels[np.random.default_rng(0).choice(len(pixels), count, replace=False)]
    )


def _centres(pixels: np.ndarray, count: int) -> tuple[str, ...]:
    from sklearn.cluster import KMeans

    found = KMeans(count, n_init=3, random_state=0).fit(pixels.astype(np.float64))
    order = np.argsort(-np.bincount(found.labels_, minlength=count), kind="stable")
    return tuple(
        "#" + "".join(f"{round(level):02x}" for level in found.cluster_centers_[i]) for i in order
    )


def read(images: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """The nearest colour of a palette: uint8 [N, H, W, 3] -> uint8 [N, H, W]."""
    colours = np.array(
        [[int(name[i : i + 2], 16) for i in (1, 3, 5)] for name in names], np.float32
    )
    maps = np.empty(images.shape[:3], np.uint8)
    for start in range(0, len(images), BLOCK):  # [n, H, W, K, 3] at once
        part = images[start : start + BLOCK, :, :, None].astype(np.float32)
        maps[start : start + BLOCK] = np.square(part - colours[None, None, None]).sum(-1).argmin(-1)
    return maps


def of_pairs(pairs: Dataset, names: tuple[str, ...] | None = None) -> Dataset:
    """Pairs of photographs (A) and drawn maps (B) as images with label maps: both sides, with the classes of B's pixels.

    names: the palette; None: that of these maps. Raises DataError for a set without pairs.
    """
    if (
        pairs.independent
        or "b" not in pairs.arrays
        or pairs.arrays["a"].shape != pairs.arrays["b"].shape
    ):
        raise DataError(
            f"{pairs.name} has no pairs of equal size and channels to read label maps off: use a paired: source"
        )
    a, b = (np.asarray(pairs.arrays[name]) for name in ("a", "b"))
    names = names or palette(b)
    maps = read(b, names)
    return from_layouts(
        f"{pairs.name} by colour", np.concatenate([a, b]), np.concatenate([maps, maps]), names
    )


# ------------------------------------------------------------------------------------------------------------------- the command


def run(maps: Path, out: Path, palette: Path | None = None, colours: int | None = None) -> None:
    """Convert coloured label maps to maps of ids.

    Args:
        maps: Coloured map, or folder of them.
        out: Folder to write to; it must be new or empty.
        palette: Text file with a class a line: its name and its colour.
        colours: For maps with noise in their colours, such as JPEG: how many colours there are; every pixel gets the nearest. With --palette not needed:
            give 0 to take the palette's nearest.
    """
    require(
        colours is None or 0 <= colours <= UNKNOWN,
        f"--colours must be 0 to {UNKNOWN}, got {colours}",
    )
    require(
        colours != 0 or palette is not None,
        "--colours 0 takes the nearest colour of a palette: give --palette",
    )
    sources = image_files.find(maps)
    targets = _targets(maps, out, [name for name, _ in sources])
    with quiet():
        files = [file for _, file in sources]
        chosen = (
            _from_file(palette)
            if palette
            else _nearest_of(files, colours)
            if colours
            else _all_of(files)
        )
        for file, target in zip(files, targets, strict=True):
            save_png(target, _converted(file, chosen, nearest=colours is not None))
    if chosen.classes:
        write_whole(out / "classes.txt", "".join(f"{name}\n" for name in chosen.classes).encode())
    told = (
        f"{len(chosen.classes)} classes: {', '.join(chosen.classes)}"
        if chosen.classes
        else "grey levels, which stay as they are"
    )
    unknown = (
        f"&unknown={UNKNOWN}" if UNKNOWN in chosen.ids and len(chosen.classes) < UNKNOWN else ""
    )
    print(f"{out}: {len(files)} maps of {told}")
    if chosen.classes:
        print(f"use them as 'layout:IMAGES,{out}?classes={out / 'classes.txt'}{unknown}'")


def _targets(maps: Path, out: Path, names: list[str]) -> list[Path]:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(
            f"OUT {out} is {'not empty' if out.is_dir() else 'a file'}: name a new folder"
        )
    if maps.is_dir() and out.resolve().is_relative_to(maps.resolve()):
        raise RunError(f"OUT {out} lies in MAPS {maps}: choose a folder outside of it")
    targets = [str(PurePosixPath(name).with_suffix(".png")) for name in names]
    twice = (
        next((name for name in targets if targets.count(name) > 1), None)
        if len(set(targets)) < len(targets)
        else None
    )
    if twice:
        raise RunError(f"two maps would become {twice}: rename one of them")
    return [out / target for target in targets]


def _pixels(file: Path) -> np.ndarray:
    """uint8 [H, W, 3] of a map. Raises DataError."""
    try:
        pixels = image_files.read(file)
        if pixels.dtype != np.uint8:
            raise BadImage(f"has {pixels.dtype} pixels, and colours of 8 bits are needed")
        if pixels.shape[2] == 4 and (pixels[..., 3] < 255).any():
            raise BadImage("has transparent pixels, whose class is unclear")
    except BadImage as error:
        raise DataError(f"{file} {error}: repair it, or take it out") from None
    return (
        np.broadcast_to(pixels, (*pixels.shape[:2], 3)) if pixels.shape[2] == 1 else pixels[..., :3]
    )


def _packed(pixels: np.ndarray) -> np.ndarray:
    """RGB [..., 3] -> one number each, int64 [...]."""
    return pixels.astype(np.int64) @ np.array([65536, 256, 1])


def _name(colour: int) -> str:
    return f"#{colour:06x}"


def _all_of(files: list[Path]) -> Palette:
    """Every colour of the maps, from the darkest; grey levels as ids. Raises DataError: more than 255, or a JPEG."""
    found: set[int] = set()
    for file in files:
        pixels = _pixels(file)
        if file.read_bytes()[:3] == b"\xff\xd8\xff":
            raise DataError(
                f"{file} is a JPEG, whose compression changes colours: give --colours N, as many as there were, or --palette FILE --colours 0"
            )
        found |= set(np.unique(_packed(pixels)).tolist())
        if len(found) > UNKNOWN and any(colour % 65793 for colour in found):  # 65793 is #010101
            remedy = (
                "give --colours N if compression or smoothing has changed them, or --palette FILE"
            )
            raise DataError(
                f"{file} and those before it have more than {UNKNOWN} colours, too many for classes: {remedy}"
            )
    colours = np.array(sorted(found))
    if not (colours % 65793).any():
        return Palette(colours, colours // 65793, ())
    # At most 255, so that none of them becomes UNKNOWN.
    return Palette(colours, np.arange(len(colours)), tuple(map(_name, colours)))


def _nearest_of(files: list[Path], count: int) -> Palette:
    """The centres of `count` clusters of the maps' colours, most frequent first."""
    pixels = np.concatenate(
        [_sample(_pixels(file).reshape(-1, 3), max(1, SAMPLE // len(files))) for file in files]
    )
    distinct = len(np.unique(_packed(pixels)))
    if distinct < count:
        raise DataError(
            f"the maps have {distinct} colours, fewer than --colours {count}: leave it out"
        )
    names = _centres(pixels, count)
    return Palette(np.array([int(name[1:], 16) for name in names]), np.arange(count), names)


def _from_file(path: Path) -> Palette:
    """The palette that a text file describes. Raises DataError."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise DataError(
            f"cannot read the palette {path} ({getattr(error, 'strerror', None) or error}): name a text file"
        ) from None
    colours: list[int] = []
    ids: list[int] = []
    classes: list[str] = []
    for number, line in enumerate(lines, 1):
        colour, name = _parsed(line)
        if not line.strip():
            continue
        if colour is None or colour in colours:
            what = (
                "repeats a colour"
                if colour is not None
                else "is no class: write a name and a colour, such as sky #80c0ff or 128 192 255 sky"
            )
            raise DataError(f"{path}, line {number}, {what}")
        colours.append(colour)
        ids.append(UNKNOWN if name.lower() in VOID else len(classes))
        classes += [] if ids[-1] == UNKNOWN else [name or _name(colour)]
    if not 0 < len(classes) < UNKNOWN:
        raise DataError(
            f"{path} has {len(classes)} classes: there must be 1 to {UNKNOWN - 1}, one a line"
        )
    return Palette(np.array(colours), np.array(ids), tuple(classes))


def _parsed(line: str) -> tuple[int | None, str]:
    """The colour and the name in a line of a palette file; None where there is no colour."""
    three = r"(\d+)[\s,;:]+(\d+)[\s,;:]+(\d+)"
    ways = (r"#([0-9a-fA-F]{6})\b", rf"^\s*{three}(?![^\s,;:])", rf"(?<![^\s,;:]){three}\s*$")
    match = next((found for way in ways if (found := re.search(way, line))), None)
    if match is None:
        return None, ""
    name = re.sub(r"^[\s,;:]+|[\s,;:]+$", "", line[: match.start()] + " " + line[match.end() :])
    if match.re.groups == 1:
        return int(match[1], 16), name
    levels = [int(level) for level in match.groups()]
    return (None, "") if max(levels) > 255 else (int(_packed(np.array(levels))), name)


def _converted(file: Path, chosen: Palette, nearest: bool) -> np.ndarray:
    """uint8 [H, W], the ids of a map's pixels. Raises DataError: a colour that the palette lacks, unless the nearest is to be taken."""
    pixels = _pixels(file)
    if nearest:
        return chosen.ids[read(pixels[None], tuple(map(_name, chosen.colours)))[0]].astype(np.uint8)
    order = np.argsort(chosen.colours)
    packed, known = _packed(pixels), chosen.colours[order]
    place = np.minimum(np.searchsorted(known, packed), len(known) - 1)
    wrong = known[place] != packed
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        colour = _name(packed[row, column])
        raise DataError(
            f"{file} has the colour {colour} in row {row}, column {column}, which the palette lacks: add it, or take the nearest with --colours 0"
        )
    return chosen.ids[order][place].astype(np.uint8)


if __name__ == "__main__":
    import tyro

    from experiments.support.common import one_sentence_errors

    with one_sentence_errors():
        tyro.cli(
            run,
            prog="python -m experiments.colour_layouts",
            description=__doc__,
            config=(tyro.conf.PositionalRequiredArgs,),
        )
