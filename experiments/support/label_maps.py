"""What `experiments.translate` needs of a run that starts from label maps (spade): files of ids in, checked as in training, and colours to look at.

A map is int32 [H, W, 2]: each pixel's class, `classes` where it is unknown, and its instance, the class again where there are no files of instances.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

import numpy as np

from experiments.support import image_files
from jaxgan.data import images, layouts, listing
from jaxgan.data.images import BadImage, quiet
from jaxgan.errors import DataError, require
from jaxgan.pictures.images import to_uint8


def unknown_ids(run: Path, text: str | None) -> layouts.Ids:
    """The ids of no class: those of `text`, with commas, else of the run's data, else 255. Raises `ValueError` for a text that is none."""
    if text is None:
        try:
            query = json.loads((run / "config.json").read_text())["data"].partition("?")[2]
            options = dict(part.split("=", 1) for part in query.split("&") if "=" in part)
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            options = {}
        text = options.get("unknown", str(layouts.UNKNOWN))
    parts = text.split(",")
    require(
        all(part.strip().isdecimal() for part in parts),
        f"--unknown must be an id, or several with commas, got {text!r}",
    )
    return layouts.Ids(tuple(sorted({int(part) for part in parts})), None)


def reader(
    config: Any, run: Path, source: Path, unknown: str | None, instances: Path | None
) -> Callable[[Path], np.ndarray]:
    """A function that reads the map in a file at or below `source`; it raises `BadImage` for what is no map, or has ids that the run does not know.

    Args:
      unknown: see `unknown_ids`. instances: a file if `source` is one, else a folder of maps of the same names, with any ending.

    Raises `ValueError` for instances that do not go with the run, `DataError` if there are none.
    """
    require(
        instances is None or config.instance_edges,
        "this run was trained without instances: leave out --instances",
    )
    if instances is not None and not instances.exists():
        raise DataError(
            f"{instances} does not exist: name the map of instances, or the folder of them"
        )
    partners = None if instances is None else _partners(source, instances)
    masks = config.classes == 2 and not config.unknown and unknown is None
    return partial(_read, config, unknown_ids(run, unknown), masks, source, partners)


def _partners(source: Path, instances: Path) -> dict[str, Path]:
    """Files of instances by their name without its ending; "" for a single one."""
    if source.is_file():
        return {"": instances}
    return {_stem(name): file for name, file in image_files.find(instances)}


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _read(
    config: Any,
    ids: layouts.Ids,
    masks: bool,
    source: Path,
    partners: dict[str, Path] | None,
    path: Path,
) -> np.ndarray:
    """The map at `path`, see `reader`. masks: two classes without unknown pixels, so that masks of 0 and 255 show them."""
    found = _ids(path)
    white = layouts.white(layouts.present(found)) if masks else 0
    ids = layouts.Ids((), 2, white) if white else ids
    classes = ids.classes(found, config.classes, "give another --unknown")
    if not config.unknown and (classes == config.classes).any():
        row, column = np.argwhere(classes == config.classes)[0]
        raise BadImage(
            f"has a pixel of unknown class in row {row}, column {column}, and the run was trained without any: fill it, or give another --unknown"
        )
    instance = classes
    if partners is not None:
        partner = partners.get(
            "" if source.is_file() else _stem(path.relative_to(source).as_posix())
        )
        if partner is None:
            raise BadImage("has no map of instances of the same name")
        try:
            instance = _ids(partner)
        except BadImage as error:
            raise BadImage(f"has the map of instances {partner}, which {error}") from None
        if instance.shape != classes.shape:
            raise BadImage(
                f"is {_size(classes)}, but its map of instances {_size(instance)}: both must be of one size"
            )
    return np.stack([classes, instance], axis=-1).astype(np.int32)


def _size(array: np.ndarray) -> str:
    return f"{array.shape[0]}x{array.shape[1]}"


def _ids(path: Path) -> np.ndarray:
    """uint8 or uint16 [H, W] of one file. Raises `BadImage`."""
    if path.suffix.lower() == ".npy":
        raise BadImage("is an array: save the map as PNG, grey or with a palette")
    return images.decode_ids(listing.load(path, any_name=True))


def coloured(config: Any, map_: np.ndarray) -> np.ndarray:
    """A map as `_read` gives it -> uint8 [H, W, C], each class in a colour of its own."""
    import jax.numpy as jnp

    from jaxgan.games import layouts as maps

    return to_uint8(maps.coloured(config, jnp.asarray(map_[None, ..., 0]))[0])


def translation(
    family: ModuleType, config: Any, state: Any, style: Path | None
) -> Callable[..., Any]:
    """`family.translate` as it is of images: of maps [B, H, W, 2], in the style of the image at `style`, or in styles drawn by key and number.

    Raises `ValueError` if the run has no styles, `DataError` if the image cannot be used.
    """
    import jax

    require(
        style is None or config.encoder, "this run was trained without styles: leave out --style"
    )
    fixed: dict[str, Any] = {}
    if style is not None:
        with quiet():
            image = image_files.fitted(style, tuple(config.image_size), config.channels)
        fixed["style"] = jax.jit(partial(family.encode_style, config))(state, image[None])[0]

    def translate(config: Any, state: Any, pairs: Any, *, key: Any, first: Any) -> Any:
        instances = {"instances": pairs[..., 1]} if config.instance_edges else {}
        return family.translate(
            config, state, pairs[..., 0], **instances, **fixed, key=key, first=first
        )

    return translate
