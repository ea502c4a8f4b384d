"""What keeps a game of generator against discriminator stable: one dataclass of options that every plain family supports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxgan import augment, losses
from jaxgan.augment import ONE_IMAGE, Augmentation, Parts
from jaxgan.errors import is_number, require, require_range
from jaxgan.settings import settle
from jaxgan.state import Metrics, PyTree
from jaxgan.update import example_streams


@dataclass(frozen=True)
class Stabilisers:
    """Options that change how the two players are trained, not what they are. The defaults change nothing."""

    critic_steps: int = 1
    """Discriminator steps per generator step; a batch then holds that many times more real images (WGAN: 5)."""
    generator_batch: int = 1
    """The generator's batch as a multiple of the discriminator's (WGAN-GP and SNGAN on CIFAR: 2)."""
    real_target: float = 1.0
    """What the discriminator is asked to say of real images; 0.9 is one-sided label smoothing (Salimans et al. 2016)."""
    fake_target: float = 0.0
    """What it is asked to say of generated ones; above 0 the smoothing is two-sided."""
    instance_noise: float = 0.0
    """Standard deviation, at the start, of the noise on every image the discriminator sees (Sonderby et al. 2017)."""
    instance_noise_images: int = 0
    """Images over which that noise falls linearly to zero; 0 keeps it."""
    dequantise: float = 0.0
    """Real pixels get uniform noise in [0, this); WGAN-GP: 1/128."""
    ema_half_life: float = 0.0
    """Half-life, in images, of the averaged generator that samples; 0 samples from the generator itself."""
    ema_ramp: float = 0.0
    """If positive, that half-life is at most this share of the images seen so far (StyleGAN2-ADA: 0.05)."""
    spectral_norm: bool = False
    """Spectral normalisation of the discriminator's kernels, in place of its batch norm."""
    pool_size: int = 0
    """Generated images kept to be shown to the discriminator again (Shrivastava et al. 2017: 50); 0 for none."""
    r1: float = 0.0
    """Weight gamma of the zero-centred gradient penalty on real images, gamma/2 |grad|^2 (Mescheder et al. 2018)."""
    r2: float = 0.0
    """The same on generated images."""
    gradient_penalty: float = 0.0
    """Weight lambda of WGAN-GP's penalty lambda (|grad| - 1)^2 between real and generated images (Gulrajani et al. 2017: 10)."""
    weight_clip: float = 0.0
    """After each step the discriminator's weights are clipped to plus or minus this (Arjovsky et al. 2017: 0.01); 0 for no clipping."""
    augment: Augmentation = Augmentation()
    """Random changes of every image the discriminator sees, real or generated; off by default."""

    def __post_init__(self):
        settle(self, schedule=("instance_noise_images",))
        require_range("critic_steps", self.critic_steps, 1)
        require_range("generator_batch", self.generator_batch, 1)
        require_range("real_target", self.real_target, 0, 1.2)
        require_range("fake_target", self.fake_target, 0, 1)
        noise, average = (
            ("instance_noise", "instance_noise_images", "dequantise"),
            ("ema_half_life", "ema_ramp"),
        )
        for name in (*noise, *average, "pool_size", "r1", "r2", "gradient_penalty", "weight_clip"):
            require_range(name, getattr(self, name), 0)
        require(
            not is_on(self.instance_noise_images) or is_on(self.instance_noise),
            "instance_noise_images needs instance_noise, the level it anneals from",
        )


def is_on(value: Any, off: float = 0) -> bool:
    """False for the concrete number that switches a setting `off`. A tracer counts as on: its value is not known."""
    return not (is_number(value) and value == off)


def noise_level(stabilisers: Stabilisers, images: jax.Array) -> jax.Array:
    """Standard deviation of the instance noise after `images` (int32 []), float32 []: linear from the start's level to zero."""
    level = jnp.float32(stabilisers.instance_noise)
    if is_on(stabilisers.instance_noise_images):
        level = level * jnp.clip(
            1 - images.astype(jnp.float32) / stabilisers.instance_noise_images, 0, 1
        )
    return level


# --------------------------------------------------------------------------------------------------------------- augmentation


def augmentation(
    stabilisers: Stabilisers,
    draws: dict[str, Any],
    critic: str,
    of: str,
    shape: tuple[int, ...],
    parts: Parts = ONE_IMAGE,
) -> Callable:
    """What augmentation does to images [B, H, W, C] of `shape` in one pass of a discriminator; the identity where it is off. Drawn here, once.

    Args:
      draws: keys [B], whose stream "augment {critic} {of}" is consumed, and the strengths of ADA, by critic; see `strengths`.
      critic, of: which discriminator, and what it is shown.
      parts: which of the C channels belong together.
    """
    settings = stabilisers.augment
    if settings.kind == "none":
        return lambda images: images
    p = draws["strengths"][critic] if settings.kind == "ada" else 1.0
    transform = augment.draw(
        settings, example_streams(draws["keys"], f"augment {critic} {of}"), shape, p, parts
    )
    return lambda images: augment.apply(settings, transform, images, parts)


def new_strengths(stabilisers: Stabilisers, critics: tuple[str, ...]) -> PyTree:
    """For `State.extra`: {"augment": the strength for each discriminator} with ADA, else {}."""
    return (
        {"augment": {name: augment.new_strength(stabilisers.augment) for name in critics}}
        if stabilisers.augment.kind == "ada"
        else {}
    )


def strengths(extra: PyTree) -> dict[str, dict[str, jax.Array]]:
    """For draws: {"strengths": ADA's p for each discriminator}; {} without ADA."""
    return (
        {"strengths": {name: strength.p for name, strength in extra["augment"].items()}}
        if "augment" in extra
        else {}
    )


def adapted(
    stabilisers: Stabilisers, extra: PyTree, signs: dict[str, jax.Array], images: int
) -> PyTree:
    """`State.extra` after a step of the discriminators on `images` real images of which their logits had these mean signs, over all devices."""
    if "augment" not in extra:
        return extra
    return {
        **extra,
        "augment": {
            name: augment.adapt(stabilisers.augment, old, signs[name], images)
            for name, old in extra["augment"].items()
        },
    }


def sign_metric(stabilisers: Stabilisers, logits: jax.Array, boundary: float) -> Metrics:
    """With ADA `real_sign`, the mean sign of real images' logits [B, ...], counted from the boundary between real and generated."""
    return (
        {"real_sign": jnp.mean(jnp.sign(logits.astype(jnp.float32) - boundary))}
        if stabilisers.augment.kind == "ada"
        else {}
    )


# ------------------------------------------------------------------------------------------------------------------ penalties


def penalties(
    stabilisers: Stabilisers,
    critic_of_real: Callable,
    critic_of_fake: Callable,
    real: jax.Array,
    fake: jax.Array,
    alpha: jax.Array | None,
) -> tuple[jax.Array, Metrics]:
    """The weighted sum of the gradient penalties that are on, float32 [], and each one before its weight.

    With augmentation the critics include it, and the gradient is taken at the images before it, as in StyleGAN2-ADA's code.
    Under batch norm an image's logit depends on its neighbours, and the gradient includes that; for the penalty of the papers use a critic
    without it.

    Args:
      critic_of_real, critic_of_fake: images [B, H, W, C] -> logits, with the conditions of the real, of the generated images.
      alpha: [B] in [0, 1), for WGAN-GP's penalty.
    """
    s, total, metrics = stabilisers, jnp.float32(0), {}
    if is_on(s.r1):
        metrics["r1"] = losses.r1_penalty(critic_of_real, real)
        total += s.r1 * metrics["r1"]
    if is_on(s.r2):
        metrics["r2"] = losses.r2_penalty(critic_of_fake, fake)
        total += s.r2 * metrics["r2"]
    if is_on(s.gradient_penalty) and alpha is not None:
        metrics["gradient_penalty"] = losses.gradient_penalty(critic_of_real, real, fake, alpha)
        total += s.gradient_penalty * metrics["gradient_penalty"]
    return total, metrics
