"""What `experiments.latent` walks through: the codes of a run, whichever family it is of, and straight lines and arcs between them.

Families that start from noise have `latents` and `generate`; one that encodes images has `decode`, and `encode` as well, and one with styles `styles_of` and
`synthesise`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np

from experiments import project
from experiments.support import image_files
from experiments.support.common import short_name
from jaxgan.data.images import quiet
from jaxgan.errors import DataError, require
from jaxgan.family import Encodes, Generates, Styled, conditioning

CHUNK = 64
"""Images encoded or decoded at once: bounds memory, changes nothing."""

Way = Literal["line", "arc"]


class Model(NamedTuple):
    """A run's codes, in NumPy: images float32 [N, H, W, C] in [-1, 1], codes float32 [N, D], labels int32 [N] or None without classes.

    sample: (seed, n, labels) -> n codes of those that the family draws. decode: (codes, labels) -> images.
    read: files -> their codes and images, to go between. encode: images -> codes, or None.
    path: what to take between samples. image_size: (H, W). channels: C.
    """

    sample: Callable[[int, int, np.ndarray | None], np.ndarray]
    decode: Callable[[np.ndarray, np.ndarray | None], np.ndarray]
    read: Callable[[Sequence[Path]], tuple[np.ndarray, np.ndarray]]
    encode: Callable[[np.ndarray], np.ndarray] | None
    path: Way
    image_size: tuple[int, int]
    channels: int


def prepare(
    family: ModuleType,
    config: Any,
    state: Any,
    space: str | None = None,
    truncation: float | None = None,
) -> Model:
    """The run's networks, compiled for whole chunks.

    Args:
      space: of a family with styles, "w" (None) or "z". truncation: of such a family, how far w goes from its mean; None is all the way.

    Raises `ValueError` if the family has no codes, or no styles where they are asked for.
    """
    import jax

    name, styled = short_name(family), isinstance(family, Styled)
    require(
        isinstance(family, Generates),
        f"{name} changes given images and has no codes to mix or move: give a run that draws images from noise",
    )
    for flag, value in (("--space", space), ("--truncation", truncation)):
        require(
            styled or value is None,
            f"{name} has no styles: leave out {flag}, which is for stylegan",
        )
    shape = {"image_size": tuple(config.image_size), "channels": config.channels}
    if styled and space != "z":
        return _styles(family, config, state, 1.0 if truncation is None else truncation, shape)
    options: dict[str, Any] = (
        {"truncation": 1.0 if truncation is None else truncation, "noise": "constant"}
        if styled
        else {}
    )
    decode = jax.jit(partial(family.generate, config, **options))
    encode = (
        jax.jit(lambda state, images: family.encode(config, state, images)[0])
        if isinstance(family, Encodes)
        else None
    )
    encoder = None if encode is None else lambda images: in_chunks(partial(encode, state), images)
    return Model(
        lambda seed, n, labels: np.asarray(family.latents(config, jax.random.key(seed), n)),
        lambda codes, labels: in_chunks(
            partial(decode, state), codes, *(() if labels is None else (labels,))
        ),
        partial(_encoded, name, encoder, **shape),
        encoder,
        "arc" if conditioning(family, config).latent_range is None else "line",
        **shape,
    )


def _encoded(
    name: str, encoder: Any, files: Sequence[Path], image_size: tuple[int, int], channels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Codes and pixels of images, fitted to the model's size."""
    require(
        encoder is not None,
        f"{name} cannot encode images: leave out --images to go between samples, or give a run of vaegan",
    )
    with quiet():
        images = np.stack([image_files.fitted(file, image_size, channels) for file in files])
    return encoder(images), images


def _styles(
    family: ModuleType, config: Any, state: Any, truncation: float, shape: dict[str, Any]
) -> Model:
    """Codes are w [W], or of projections w and all planes of noise [W + pixels of noise]; straight lines, as a generator of styles wants."""
    import jax
    import jax.numpy as jnp

    planes, tree = jax.tree.flatten(state.ema["noise"])
    ends = list(np.cumsum([plane.size for plane in planes]))
    width, layers = config.style_size, family.networks(config)[0].layers

    @jax.jit
    def draw(state: Any, latents: jax.Array, *labels: jax.Array) -> jax.Array:
        w: jax.Array = family.styles_of(config, state, latents, *labels, truncation=truncation)[
            :, 0
        ]
        return w

    @jax.jit
    def decode(state: Any, codes: jax.Array) -> jax.Array:
        def one(code: jax.Array) -> jax.Array:
            ema = state.ema
            if code.size > width:
                parts = [_standardised(part) for part in jnp.split(code[width:], ends[:-1])]
                ema = {
                    **ema,
                    "noise": jax.tree.unflatten(
                        tree,
                        [
                            part.reshape(plane.shape)
                            for part, plane in zip(parts, planes, strict=True)
                        ],
                    ),
                }
            image: jax.Array = family.synthesise(
                config, state.replace(ema=ema), jnp.broadcast_to(code[:width], (1, layers, width))
            )[0]
            return image

        return jax.lax.map(one, codes, batch_size=8)

    def sample(seed: int, n: int, labels: np.ndarray | None) -> np.ndarray:
        return np.asarray(
            draw(
                state,
                family.latents(config, jax.random.key(seed), n),
                *(() if labels is None else (labels,)),
            )
        )

    def read(files: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
        found = []
        for file in files:
            if file.suffix.lower() != ".npz":
                raise DataError(
                    f"{file} is no projection (.npz): make one of it by python -m experiments.project, and give that"
                )
            w, noise = project.load(file, state)
            found.append(np.concatenate([w, *(leaf.ravel() for leaf in jax.tree.leaves(noise))]))
        codes = np.stack(found)
        return codes, in_chunks(partial(decode, state), codes)

    return Model(
        sample,
        lambda codes, labels: in_chunks(partial(decode, state), codes),
        read,
        None,
        "line",
        **shape,
    )


def _standardised(plane: Any) -> Any:
    """Mean 0 and variance 1, which a plane between two others has not."""
    centred = plane - plane.mean()
    return centred / ((centred**2).mean() + 1e-8) ** 0.5


def in_chunks(function: Callable[..., Any], *rows: np.ndarray) -> np.ndarray:
    """`function` of all rows, always of `CHUNK` at once, so that one program serves all; the last part is filled up and cut back."""
    parts = []
    for start in range(0, len(rows[0]), CHUNK):
        taken = [array[start : start + CHUNK] for array in rows]
        filled = [
            np.concatenate([part, np.repeat(part[-1:], CHUNK - len(part), axis=0)])
            for part in taken
        ]
        parts.append(np.asarray(function(*filled), np.float32)[: len(taken[0])])
    return np.concatenate(parts)


def between(starts: np.ndarray, ends: np.ndarray, shares: np.ndarray, path: Way) -> np.ndarray:
    """Codes [N, D] and [N, D] -> [N, len(shares), D] on the way, at shares from 0 to 1.

    "line": evenly on a straight line. "arc": evenly in angle and in length, so that what is between two normal codes is as long as they (slerp, after
    White 2016, section 2.1); a line where they point the same way, opposite ones, or nowhere.
    """
    first, second = (array[:, None].astype(np.float64) for array in (starts, ends))
    share = np.asarray(shares, np.float64)[None, :, None]
    straight = (1 - share) * first + share * second
    if path == "arc":
        lengths = [np.linalg.norm(array, axis=-1, keepdims=True) for array in (first, second)]
        cosine = np.sum(first * second, axis=-1, keepdims=True) / np.maximum(
            lengths[0] * lengths[1], 1e-12
        )
        angle = np.arccos(np.clip(cosine, -1, 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            bent = (
                np.sin((1 - share) * angle) * first / lengths[0]
                + np.sin(share * angle) * second / lengths[1]
            ) / np.sin(angle)
        bent *= (1 - share) * lengths[0] + share * lengths[1]
        straight = np.where(
            (np.abs(cosine) > 0.9999) | (lengths[0] * lengths[1] < 1e-12), straight, bent
        )
    return straight.astype(np.float32)
