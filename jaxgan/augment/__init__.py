"""Random changes of everything a discriminator sees, real and generated alike, so that it cannot learn few images by heart: DiffAugment and ADA.

    images = diff_augment(images, keys)
    images = ada(images, keys, p=0.3)

Pure functions of keys, differentiable in the images to any order. A drawn `Transform` can be applied several times: to images, to the conditions they
belong to (see `Parts`), to label maps. In a family they are switched on by `Stabilisers.augment`, an `Augmentation`.

Shapes: B examples, H, W image size, C channels; images are float32 in [-1, 1], and may leave it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct

from jaxgan.augment import diff as _diff
from jaxgan.augment import pipe as _pipe
from jaxgan.augment.parts import ONE_IMAGE, Parts, image_depth
from jaxgan.errors import is_number, require, require_choice, require_range
from jaxgan.settings import settle

__all__ = [
    "ONE_IMAGE",
    "Augmentation",
    "Parts",
    "Strength",
    "Transform",
    "ada",
    "adapt",
    "apply",
    "diff_augment",
    "draw",
    "move_labels",
    "new_strength",
]

Transform = dict[str, jax.Array]
"""What one augmentation does to each of B examples, [B, ...]; see `jaxgan.augment.diff` and `jaxgan.augment.pipe`."""


@dataclass(frozen=True)
class Augmentation:
    """How the images a discriminator sees are changed at random. The default changes nothing."""

    kind: Literal["none", "diffaugment", "ada"] = "none"
    """"diffaugment": every change, always (Zhao et al. 2020). "ada": each with a probability p that adapts to overfitting (Karras et al. 2020a)."""
    policy: tuple[str, ...] = _diff.POLICY
    """"diffaugment": its changes, in order; "color", "translation", "cutout"."""
    pipe: tuple[str, ...] = _pipe.PIPE
    """"ada": groups "blit", "geom", "color", "filter", "corrupt", or single operations (xflip, rotate90, xint, scale, rotate, aniso, xfrac, brightness,
    contrast, lumaflip, hue, saturation, imgfilter, noise, cutout). Leave out what must not leak into the images: digits should not be mirrored."""
    p: float = 0.0
    """"ada": the probability at the start."""
    target: float = 0.6
    """"ada": p grows while the mean sign of the discriminator's logits of real images is above this, and falls while it is below."""
    speed_images: int = 500_000
    """"ada": real images shown while p grows from 0 to 1 (100,000 for fine-tuning); 0 keeps p."""
    interval: int = 4
    """"ada": batches over which the sign is averaged before p moves."""

    def __post_init__(self):
        settle(self, schedule=("speed_images", "interval"))
        for name in self.policy:
            require_choice("augment.policy", name, _diff.POLICY)
        _pipe.operations(self.pipe)
        require(
            self.policy and self.pipe,
            "augment.policy and augment.pipe need an entry at least: to change nothing, use kind='none'",
        )
        require_range("augment.p", self.p, 0, 1)
        require_range("augment.target", self.target, -1, 1)
        require_range("augment.speed_images", self.speed_images, 0)
        require_range("augment.interval", self.interval, 1)


# ---------------------------------------------------------------------------------------------------------------- in one call


def diff_augment(
    images: jax.Array,
    keys: jax.Array,
    policy: tuple[str, ...] = _diff.POLICY,
    parts: Parts = ONE_IMAGE,
) -> jax.Array:
    """Images [B, H, W, C] -> the same, after DiffAugment: shifts of brightness, saturation and contrast, a translation, a square cut out.

    keys [B] are consumed by their stream "diffaugment". Raises `ValueError` for an unknown name in `policy`.
    """
    return _at_once(Augmentation("diffaugment", policy=tuple(policy)), images, keys, 1.0, parts)


def ada(
    images: jax.Array,
    keys: jax.Array,
    p: jax.Array | float,
    pipe: tuple[str, ...] = _pipe.PIPE,
    parts: Parts = ONE_IMAGE,
) -> jax.Array:
    """Images [B, H, W, C] -> the same, after the operations of `pipe`, each with probability p (a number or float32 []). At p = 0 the same bits.

    keys [B] are consumed by their streams "ada ...". Raises `ValueError` for an unknown name in `pipe`.
    """
    return _at_once(Augmentation("ada", pipe=tuple(pipe)), images, keys, p, parts)


def _at_once(
    augmentation: Augmentation,
    images: jax.Array,
    keys: jax.Array,
    p: jax.Array | float,
    parts: Parts,
) -> jax.Array:
    return apply(augmentation, draw(augmentation, keys, images.shape, p, parts), images, parts)


# --------------------------------------------------------------------------------------------------- drawn once, applied often


def draw(
    augmentation: Augmentation,
    keys: jax.Array,
    shape: tuple[int, ...],
    p: jax.Array | float,
    parts: Parts = ONE_IMAGE,
) -> Transform:
    """What to do to B examples of `shape` = ([B,] H, W, C), of which C are as `parts` says. Keys [B] are consumed by streams of their own.

    Args:
      p: the probability of each operation of "ada"; unused by "diffaugment".
    """
    height, width, channels = shape[-3:]
    if augmentation.kind == "diffaugment":
        return _diff.draw(keys, (height, width))
    require(augmentation.kind == "ada", "nothing is drawn with augment.kind='none'")
    return _pipe.draw(keys, (height, width, image_depth(channels, parts)), p, augmentation.pipe)


def apply(
    augmentation: Augmentation, transform: Transform, shown: jax.Array, parts: Parts = ONE_IMAGE
) -> jax.Array:
    """Images [B, H, W, C] changed as drawn. Conditions (see `Parts`) take part in the geometry alone; alone, pass them as `Parts(given=C, images=0)`."""
    if augmentation.kind == "diffaugment":
        return _diff.apply(transform, shown, augmentation.policy, parts)
    return _pipe.apply(transform, shown, parts)


def move_labels(
    augmentation: Augmentation, transform: Transform, labels: jax.Array, fill: int = 0
) -> jax.Array:
    """Label maps [B, H, W] or [B, H, W, C] of any type, moved as the images were: by nearest neighbours, so that no new labels appear.

    Args:
      fill: what a translation of "diffaugment" brings in. "ada" reflects.
    """
    if augmentation.kind == "diffaugment":
        return (
            _diff.translate(transform, labels, fill)
            if "translation" in augmentation.policy
            else labels
        )
    return _pipe.move_labels(transform, labels)


# -------------------------------------------------------------------------------------------------------------- how much of it


class Strength(struct.PyTreeNode):
    """The state of ADA's control: p float32 []; signs float32 [] and batches int32 [], the sum of mean signs since p last moved, and of how many batches."""

    p: jax.Array
    signs: jax.Array
    batches: jax.Array


def new_strength(augmentation: Augmentation) -> Strength:
    """The state at the start."""
    return Strength(jnp.asarray(augmentation.p, jnp.float32), jnp.float32(0), jnp.int32(0))


def adapt(augmentation: Augmentation, strength: Strength, sign: jax.Array, images: int) -> Strength:
    """The state after a batch of `images` real images, over all devices, on whose logits the discriminator had the mean sign `sign` (float32 []).

    Every `interval` batches p moves by their images / `speed_images`, up where the mean of their signs is above `target`, down where below, within [0, 1].

    Source: Karras et al. 2020a, section 3, r_t; NVlabs/stylegan2-ada-pytorch, training_loop.py. Deviation: there p has no upper
    bound, though above 1 it does what 1 does.
    """
    signs, batches = strength.signs + sign, strength.batches + 1
    summed = batches.astype(jnp.float32)
    due = batches >= augmentation.interval
    still = is_number(augmentation.speed_images) and augmentation.speed_images == 0
    step = 0.0 if still else summed * (images / augmentation.speed_images)
    moved = jnp.clip(
        strength.p + jnp.sign(signs / summed - augmentation.target) * step, 0, 1
    ).astype(jnp.float32)
    p = jnp.where(due, moved, strength.p)
    return Strength(p, jnp.where(due, 0.0, signs), jnp.where(due, 0, batches))
