"""ADA's augmentations (Karras et al. 2020a): each with probability p, all geometric ones in one resampling, all colours in one matrix.

Source: sections 2 and 3 and appendix B of the paper; NVlabs/stylegan2-ada-pytorch, augment.py, whose names of operations and groups these are. Deviations:
mirroring and, of square images, quarter turns move whole pixels, where the reference resamples them with a filter that is not symmetric; of images with neither
one nor three channels (the reference takes no others) colours change by brightness and contrast alone.
Shapes: B examples, H, W image size, C channels.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.augment import filters, geometry
from jaxgan.augment.parts import ONE_IMAGE, Parts, each_image
from jaxgan.errors import require_choice
from jaxgan.update import example_streams

GROUPS = {
    "blit": ("xflip", "rotate90", "xint"),
    "geom": ("scale", "rotate", "aniso", "xfrac"),
    "color": ("brightness", "contrast", "lumaflip", "hue", "saturation"),
    "filter": ("imgfilter",),
    "corrupt": ("noise", "cutout"),
}
OPERATIONS = tuple(name for names in GROUPS.values() for name in names)
PIPE = ("blit", "geom", "color")
"""The pipe "bgc", which the paper uses."""
BANDS = tuple(f"imgfilter {band}" for band in range(filters.BANDS))
GATES = (*(name for name in OPERATIONS if name != "imgfilter"), "rotate after", *BANDS)
UNIFORMS = (
    "xflip",
    "rotate90",
    "xint x",
    "xint y",
    "rotate",
    "rotate after",
    "lumaflip",
    "hue",
    "cutout x",
    "cutout y",
)
NORMALS = (
    "scale",
    "aniso",
    "xfrac x",
    "xfrac y",
    "brightness",
    "contrast",
    "saturation",
    "noise",
    *BANDS,
)

Transform = dict[str, jax.Array]
"""flip bool [B], turns int32 [B]; where the pipe has them, inverse float32 [B, 3, 3] (see `geometry`), color [B, 3, 3], offset, contrast and lumaflip [B] (see
`recolour`), strengths [B, 4] (see `filters`), noise [B, H, W, C'], hole [B, 2], its middle as shares of the sides.
"""
Numbers = dict[str, jax.Array]


def operations(pipe: tuple[str, ...]) -> tuple[str, ...]:
    """The operations of a pipe of groups and operations by name. Raises `ValueError` for an unknown name."""
    for name in pipe:
        require_choice("pipe", name, (*GROUPS, *OPERATIONS))
    chosen = {operation for name in pipe for operation in GROUPS.get(name, (name,))}
    return tuple(name for name in OPERATIONS if name in chosen)


# -------------------------------------------------------------------------------------------------------------------- drawing


def draw(
    keys: jax.Array, shape: tuple[int, int, int], p: jax.Array | float, pipe: tuple[str, ...] = PIPE
) -> Transform:
    """What to do to each of B examples; keys [B] are consumed by their streams "ada" and "ada noise".

    Every operation has its own numbers whatever the pipe, so that leaving one out changes no other.

    Args:
      shape: (H, W, C) of one image.
      p: probability of each operation, a number or float32 []; of the two rotations, one before and one after the anisotropic scaling, that of either.
    """
    (height, width, _), chosen, p = shape, operations(pipe), jnp.asarray(p, jnp.float32)

    def one(key: jax.Array) -> Transform:
        gates, uniform, normal = _numbers(key)
        either = 1 - jnp.sqrt(jnp.clip(1 - p, 0, 1))
        on = {
            name: gate < 2 * (either if name in ("rotate", "rotate after") else p) - 1
            for name, gate in gates.items()
            if name.split()[0] in chosen
        }
        on = {name: on.get(name, jnp.bool_(False)) for name in GATES}
        found = _moves(on, uniform, normal, (height, width))
        if not {"xint", *GROUPS["geom"]} & set(chosen) and (
            height == width or "rotate90" not in chosen
        ):
            del found["inverse"]  # nothing to resample
        if set(chosen) & set(GROUPS["color"]):
            found |= _colours(on, uniform, normal)
        if "imgfilter" in chosen:
            found["strengths"] = jnp.stack(
                [jnp.where(on[band], 2 ** normal[band], 1.0) for band in BANDS]
            )
        if "noise" in chosen:
            found["noise"] = jnp.where(on["noise"], 0.1 * jnp.abs(normal["noise"]), 0.0)
        if "cutout" in chosen:
            middle = 0.5 + 0.5 * jnp.stack([uniform["cutout y"], uniform["cutout x"]])
            found["hole"] = jnp.where(on["cutout"], middle, 2.0)  # a hole outside hides nothing
        return found

    found: Transform = jax.vmap(one)(example_streams(keys, "ada"))
    if "noise" in chosen:
        noise = jax.vmap(lambda key: jax.random.normal(key, shape, jnp.float32))(
            example_streams(keys, "ada noise")
        )
        found["noise"] = found["noise"][:, None, None, None] * noise
    return found


def _numbers(key: jax.Array) -> tuple[Numbers, Numbers, Numbers]:
    """Of one example: for each gate a number in (-1, 1), uniform, which opens it below 2 p - 1; more of these; and standard normal ones. All in one draw."""
    least = np.nextafter(np.float32(-1), np.float32(0))  # as `jax.random.normal` draws
    drawn = jax.random.uniform(
        key, (len(GATES) + len(UNIFORMS) + len(NORMALS),), jnp.float32, minval=least
    )
    gates, uniform, normal = jnp.split(drawn, (len(GATES), len(GATES) + len(UNIFORMS)))
    normal = np.float32(np.sqrt(2)) * jax.scipy.special.erfinv(normal)
    return tuple(
        dict(zip(names, numbers, strict=True))
        for names, numbers in ((GATES, gates), (UNIFORMS, uniform), (NORMALS, normal))
    )  # type: ignore[return-value]


def _moves(on: Numbers, uniform: Numbers, normal: Numbers, size: tuple[int, int]) -> Transform:
    """Of one example: whole-pixel moves, and the inverse of all other geometric operations in their order."""
    height, width = size

    def gated(name: str, value: jax.Array, off: float = 0.0) -> jax.Array:
        return jnp.where(on[name], value, off)

    turns = jnp.where(on["rotate90"], jnp.floor(2 + 2 * uniform["rotate90"]).astype(jnp.int32), 0)
    inverse = jnp.eye(3, dtype=jnp.float32)
    if height != width:  # a half turn moves whole pixels; the odd quarter cannot
        inverse = _rotation(jnp.where(turns % 2 == 1, jnp.float32(np.pi / 2), jnp.float32(0)))
        turns = turns - turns % 2
    scale, aniso = (gated(name, 2 ** (0.2 * normal[name]), 1.0) for name in ("scale", "aniso"))
    whole = [
        gated("xint", jnp.round(uniform[f"xint {axis}"] * side / 8))
        for axis, side in (("x", width), ("y", height))
    ]
    part = [
        gated("xfrac", normal[f"xfrac {axis}"] * side / 8)
        for axis, side in (("x", width), ("y", height))
    ]
    steps = (
        _shift(*whole),
        _scaling(scale, scale),
        _rotation(gated("rotate", np.pi * uniform["rotate"])),
        _scaling(aniso, 1 / aniso),
        _rotation(gated("rotate after", np.pi * uniform["rotate after"])),
        _shift(*part),
    )
    for step in steps:
        inverse = jnp.matmul(inverse, step, precision="highest")
    return {"flip": on["xflip"] & (uniform["xflip"] >= 0), "turns": turns, "inverse": inverse}


def _matrix(*rows: tuple) -> jax.Array:
    return jnp.stack(
        [jnp.stack([jnp.asarray(entry, jnp.float32) for entry in row]) for row in rows]
    )


def _shift(x: jax.Array, y: jax.Array) -> jax.Array:
    """The inverse of a move by (x, y)."""
    return _matrix((1, 0, -x), (0, 1, -y), (0, 0, 1))


def _scaling(x: jax.Array, y: jax.Array) -> jax.Array:
    """The inverse of an enlargement by x and y."""
    return _matrix((1 / x, 0, 0), (0, 1 / y, 0), (0, 0, 1))


def _rotation(angle: jax.Array) -> jax.Array:
    """The inverse of a turn by `angle`, as `numpy.rot90` turns."""
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return _matrix((cos, -sin, 0), (sin, cos, 0), (0, 0, 1))


def _colours(on: Numbers, uniform: Numbers, normal: Numbers) -> Transform:
    """Of one example: the matrix and the offset of `recolour`."""
    offset = jnp.where(on["brightness"], 0.2 * normal["brightness"], 0.0)
    contrast = jnp.where(on["contrast"], 2 ** (0.5 * normal["contrast"]), 1.0)
    flip = jnp.where(on["lumaflip"] & (uniform["lumaflip"] >= 0), jnp.float32(1), jnp.float32(0))
    angle = jnp.where(on["hue"], np.pi * uniform["hue"], 0.0)
    saturation = jnp.where(on["saturation"], 2 ** normal["saturation"], 1.0)
    eye, luma = np.eye(3, dtype=np.float32), np.full((3, 3), 1 / 3, np.float32)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], np.float32) / np.float32(np.sqrt(3))
    # Written as the identity plus what changes, so that what is off is exactly the identity.
    turn: Any = eye + (jnp.cos(angle) - 1) * (eye - luma) + jnp.sin(angle) * cross
    turn = jnp.matmul(turn, eye - 2 * flip * luma, precision="highest")
    matrix = jnp.matmul(eye + (saturation - 1) * (eye - luma), turn, precision="highest")
    return {"color": contrast * matrix, "offset": offset, "contrast": contrast, "lumaflip": flip}


# ------------------------------------------------------------------------------------------------------------------- applying


def apply(transform: Transform, shown: jax.Array, parts: Parts = ONE_IMAGE) -> jax.Array:
    """Images [B, H, W, C] after all operations; a condition is only moved. Where none was drawn, unchanged to the bit."""
    shown = geometry.flip_and_turn(shown, transform["flip"], transform["turns"])
    if "inverse" in transform:
        shown = geometry.resample(shown, transform["inverse"])
    return each_image(lambda images: _change(transform, images), shown, parts)


def move_labels(transform: Transform, labels: jax.Array) -> jax.Array:
    """Arrays [B, H, W, ...] of any type moved as the images are, each place taking the nearest value."""
    labels = geometry.flip_and_turn(labels, transform["flip"], transform["turns"])
    return (
        geometry.resample_labels(labels, transform["inverse"]) if "inverse" in transform else labels
    )


def _change(transform: Transform, images: jax.Array) -> jax.Array:
    if "color" in transform:
        images = recolour(transform, images)
    if "strengths" in transform:
        images = filters.amplify(images, transform["strengths"])
    if "noise" in transform:
        images = images + transform["noise"]
    if "hole" in transform:
        places = [
            jnp.arange(side, dtype=jnp.int32).astype(jnp.float32)[None, :]
            for side in images.shape[1:3]
        ]
        shares = [(place + 0.5) / place.size for place in places]
        near = [
            jnp.abs(share - transform["hole"][:, axis, None]) < 0.25
            for axis, share in enumerate(shares)
        ]
        images = jnp.where(
            near[0][:, :, None, None] & near[1][:, None, :, None], jnp.zeros_like(images), images
        )
    return images


def recolour(transform: Transform, images: jax.Array) -> jax.Array:
    """RGB [B, H, W, 3]: color @ (pixel + offset). Grey [B, H, W, 1]: the same of equal channels. Others: brightness and contrast."""
    images = images + transform["offset"][:, None, None, None]
    if images.shape[-1] == 3:
        return jnp.einsum("bij,bhwj->bhwi", transform["color"], images, precision="highest")
    sign = 1 - 2 * transform["lumaflip"] if images.shape[-1] == 1 else 1.0
    return images * (sign * transform["contrast"])[:, None, None, None]
