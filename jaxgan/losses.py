"""Adversarial losses as pure functions of logits, and the penalties on critics.

Shapes: logits are [B] or [B, ...patches], the discriminator's output before any sigmoid; every mean runs over all their elements.
Results are float32, whatever the logits' dtype. A loss of this file is the mean over the *local* batch: `jaxgan.update.update` averages it
over devices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgan.errors import is_number, require, require_choice
from jaxgan.state import PyTree
from jaxgan.update import device_mean

LOSSES = (
    "non-saturating",
    "saturating",
    "least-squares",
    "hinge",
    "wasserstein",
    "relativistic-average",
    "relativistic-pairing",
)
RELATIVISTIC = ("relativistic-average", "relativistic-pairing")
"""Losses whose generator needs the real logits too."""
SMOOTHABLE = ("non-saturating", "saturating", "least-squares")
"""Losses with targets, so that these can be smoothed."""

Critic = Callable[[jax.Array], jax.Array]

# -------------------------------------------------------------------------------------------------------------- discriminator


def discriminator_loss(
    name: str,
    real_logits: jax.Array,
    fake_logits: jax.Array,
    real_target: Any = 1.0,
    fake_target: Any = 0.0,
    *,
    axis_name: str | None = None,
) -> jax.Array:
    """The loss that the discriminator (critic) minimises: the sum of its real and its fake term, float32 [].

    - "non-saturating", "saturating": cross-entropy (Goodfellow et al. 2014, eq. 1). The two differ in the generator only.
    - "least-squares": (D(real) - 1)^2 + D(fake)^2 (Mao et al. 2017, eq. 9). Without the paper's factor 1/2, as CycleGAN's code has it;
      CycleGAN and pix2pix halve the discriminator's loss themselves.
    - "hinge": max(0, 1 - D(real)) + max(0, 1 + D(fake)) (Lim & Ye 2017; Miyato et al. 2018).
    - "wasserstein": D(fake) - D(real) (Arjovsky et al. 2017). The Lipschitz constraint is separate: `clip_weights` or `gradient_penalty`.
    - "relativistic-average": cross-entropy of D(real) - mean D(fake) against 1 and D(fake) - mean D(real) against 0
      (Jolicoeur-Martineau 2018, RaSGAN, section 4.2).
    - "relativistic-pairing": softplus(-(D(real) - D(fake))), example by example (Jolicoeur-Martineau 2018, RSGAN; Huang et al. 2024, R3GAN).

    Args:
      real_target, fake_target: targets of the losses in `SMOOTHABLE`; 0.9 for real is one-sided label smoothing (Salimans et al. 2016).
      axis_name: mapped axis over which "relativistic-average" takes its means; no effect on the others.

    Raises:
      ValueError: unknown name; smoothed targets for a loss without targets; "relativistic-pairing" with logits of unequal shapes.
    """
    require_choice("loss", name, LOSSES)
    _check_targets(name, real_target, fake_target)
    real, fake = _float32(real_logits), _float32(fake_logits)
    if name in ("non-saturating", "saturating"):
        return jnp.mean(_cross_entropy(real, real_target)) + jnp.mean(
            _cross_entropy(fake, fake_target)
        )
    if name == "least-squares":
        return jnp.mean(jnp.square(real - real_target)) + jnp.mean(jnp.square(fake - fake_target))
    if name == "hinge":
        return jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake))
    if name == "wasserstein":
        return jnp.mean(fake) - jnp.mean(real)
    if name == "relativistic-average":
        return _relativistic_average(real, fake, axis_name)
    return _relativistic_pairing(real, fake)


def decision_boundary(name: str) -> float:
    """The logit above which an image counts as taken for real: halfway between the targets for "least-squares", 0 for all others."""
    require_choice("loss", name, LOSSES)
    return 0.5 if name == "least-squares" else 0.0


# ------------------------------------------------------------------------------------------------------------------ generator


def generator_loss(
    name: str,
    fake_logits: jax.Array,
    real_logits: jax.Array | None = None,
    *,
    axis_name: str | None = None,
) -> jax.Array:
    """The loss that the generator minimises, float32 []. Sources as in `discriminator_loss`.

    - "non-saturating": -log D(fake) (Goodfellow et al. 2014, section 3). "saturating": log(1 - D(fake)) (eq. 1), whose gradient vanishes
      where the discriminator is sure.
    - "least-squares": (D(fake) - 1)^2. "hinge", "wasserstein": -D(fake).
    - "relativistic-average", "relativistic-pairing": the discriminator's loss with real and fake exchanged.

    Args:
      real_logits: needed by the losses in `RELATIVISTIC`, unused by the others. Part of the value only: gradients reach the generator
        through `fake_logits`.
      axis_name: as in `discriminator_loss`.

    Raises:
      ValueError: unknown name; no `real_logits` for a relativistic loss.
    """
    require_choice("loss", name, LOSSES)
    fake = _float32(fake_logits)
    if name == "non-saturating":
        return jnp.mean(_cross_entropy(fake, 1.0))
    if name == "saturating":
        return -jnp.mean(_cross_entropy(fake, 0.0))
    if name == "least-squares":
        return jnp.mean(jnp.square(fake - 1.0))
    if name in ("hinge", "wasserstein"):
        return -jnp.mean(fake)
    if real_logits is None:
        raise ValueError(
            f"the generator's {name!r} loss needs real_logits, the discriminator's logits of real images"
        )
    real = _float32(real_logits)
    if name == "relativistic-average":
        return _relativistic_average(fake, real, axis_name)
    return _relativistic_pairing(fake, real)


# ------------------------------------------------------------------------------------------------------------------ penalties


def r1_penalty(critic: Critic, real: jax.Array) -> jax.Array:
    """Half the mean squared norm of the critic's gradient at real images, float32 []; multiply by gamma.

    Args:
      critic: images [B, H, W, C] -> logits [B] (or [B, ...patches], then summed per image). Each image's logits must depend on that image
        only: with batch statistics inside, the cross terms would be counted too.
      real: [B, H, W, C].

    Source: Mescheder et al. 2018, eq. 9 (R1 with its factor 1/2, so gamma means what it means there and in StyleGAN).
    """
    return 0.5 * jnp.mean(_squared_gradient_norms(critic, real))


def r2_penalty(critic: Critic, fake: jax.Array) -> jax.Array:
    """Half the mean squared norm of the critic's gradient at generated images, float32 []. As `r1_penalty` (Mescheder et al. 2018, eq. 10)."""
    return 0.5 * jnp.mean(_squared_gradient_norms(critic, fake))


def gradient_penalty(
    critic: Critic, real: jax.Array, fake: jax.Array, alpha: jax.Array
) -> jax.Array:
    """Mean (norm - 1)^2 of the critic's gradient between real and generated images, float32 []; multiply by lambda.

    Args:
      critic: as in `r1_penalty`.
      real, fake: [B, H, W, C].
      alpha: [B], uniform in [0, 1), drawn by the caller; the point is alpha * real + (1 - alpha) * fake.

    Source: Gulrajani et al. 2017 (WGAN-GP), algorithm 1. Nothing is added under the root; see `gradient_norms`.
    """
    weight = alpha.reshape(-1, *[1] * (real.ndim - 1)).astype(real.dtype)
    return jnp.mean(jnp.square(gradient_norms(critic, weight * real + (1 - weight) * fake) - 1.0))


def gradient_norms(critic: Critic, images: jax.Array) -> jax.Array:
    """[B, H, W, C] -> float32 [B]: Euclidean norm of the gradient of each image's logit with respect to the image.

    Where the norm is exactly 0 its own derivative is taken as 0, not NaN; values are never changed.
    """
    return _root(_squared_gradient_norms(critic, images))


def path_lengths(
    generate: Callable[[jax.Array], jax.Array], styles: jax.Array, directions: jax.Array
) -> jax.Array:
    """float32 [B]: how far each image moves in a random direction of pixels per step of its styles; 0 has derivative 0, as in `gradient_norms`.

    The root mean square, over layers, of the gradient's norm of sum(image * direction) / sqrt(H W).

    Args:
      generate: styles [B, L, W] -> images [B, H, W, C], each of its own styles only.
      styles: [B, L, W], one for each layer.
      directions: [B, H, W, C], standard normal, drawn by the caller.

    Source: Karras et al. 2020, section 3.2, as in NVlabs/stylegan2-ada-pytorch.
    """
    scale = (directions.shape[1] * directions.shape[2]) ** -0.5
    grads = jax.grad(lambda w: jnp.sum(_float32(generate(w)) * directions) * scale)(styles)
    return _root(jnp.mean(jnp.sum(jnp.square(_float32(grads)), axis=2), axis=1))


def clip_weights(params: PyTree, limit: float) -> PyTree:
    """Every parameter clipped to [-limit, limit], after each critic step (Arjovsky et al. 2017, algorithm 1)."""
    return jax.tree.map(lambda param: jnp.clip(param, -limit, limit).astype(param.dtype), params)


# ------------------------------------------------------------------------------------------------------------- classification


def softmax_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross-entropy of class logits [B, K] against int labels [B] in [0, K), float32 []. Any other label gives NaN."""
    labels = jnp.where(
        labels < 0, logits.shape[-1], labels
    )  # a negative index would count from the end
    picked = jnp.take_along_axis(jax.nn.log_softmax(_float32(logits)), labels[:, None], axis=-1)
    return -jnp.mean(picked)


# -------------------------------------------------------------------------------------------------------------------- pieces


def _float32(logits: jax.Array) -> jax.Array:
    return jnp.asarray(logits, jnp.float32)


def _cross_entropy(logits: jax.Array, target: Any) -> jax.Array:
    # Two softplus rather than softplus(x) - target * x: the latter cancels to 0 where the discriminator is sure.
    return target * jax.nn.softplus(-logits) + (1 - target) * jax.nn.softplus(logits)


def _relativistic_average(higher: jax.Array, lower: jax.Array, axis_name: str | None) -> jax.Array:
    """Small where `higher` exceeds the mean of `lower`, and `lower` stays below the mean of `higher`."""
    higher_mean, lower_mean = device_mean((jnp.mean(higher), jnp.mean(lower)), axis_name)
    return jnp.mean(jax.nn.softplus(lower_mean - higher)) + jnp.mean(
        jax.nn.softplus(lower - higher_mean)
    )


def _relativistic_pairing(higher: jax.Array, lower: jax.Array) -> jax.Array:
    require(
        higher.shape == lower.shape,
        f"relativistic-pairing compares logits of one shape, got {higher.shape} and {lower.shape}",
    )
    return jnp.mean(jax.nn.softplus(lower - higher))


def _squared_gradient_norms(critic: Critic, images: jax.Array) -> jax.Array:
    """[B, H, W, C] -> float32 [B]."""
    grads = jax.grad(lambda x: jnp.sum(_float32(critic(x))))(images)
    return jnp.sum(jnp.square(_float32(grads)), axis=tuple(range(1, images.ndim)))


def _root(squares: jax.Array) -> jax.Array:
    """Square roots, where 0 has derivative 0, not infinity."""
    positive = squares > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1.0)), 0.0)


def _check_targets(name: str, real_target: Any, fake_target: Any) -> None:
    plain = (
        is_number(real_target)
        and is_number(fake_target)
        and (real_target, fake_target) == (1.0, 0.0)
    )
    require(
        plain or name in SMOOTHABLE,
        f"the {name!r} loss has no targets to smooth: leave real_target at 1 and fake_target at 0",
    )
