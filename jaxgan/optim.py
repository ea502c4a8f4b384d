"""Optimisers as settings: one frozen dataclass, turned into an optax chain at a given image count.

Schedules read the number of images shown (`State.images`), not a step count of their own: the optimiser's state holds none, and a changed
batch size leaves the recipe as it is. Every number may be a tracer (in meta-learning); only concrete ones are validated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.experimental.layout import Layout, with_layout_constraint

from jaxgan.errors import is_number, require, require_range
from jaxgan.settings import settle
from jaxgan.state import PyTree

NAMES = ("adam", "sgd", "rmsprop")

_FLOAT32_HALVINGS = 126
"""Halvings after which 1 is below the smallest normal number of float32, which devices round to zero."""
_ROOT_GUARD = 1e-36
"""Added under square roots: far below what float32 can see beside any epsilon in use, and it makes the root's derivative at 0 finite."""


@dataclass(frozen=True)
class Optimizer:
    """One player's optimiser and the schedule of its learning rate. Settings of other optimisers than `name` are ignored."""

    name: Literal["adam", "sgd", "rmsprop"] = "adam"
    """Which optimiser."""
    learning_rate: float = 2e-4
    """Learning rate at the start; at least 0."""
    beta1: float = 0.5
    """Adam: decay of the average gradient; 0.5 as DCGAN, in [0, 1)."""
    beta2: float = 0.999
    """Adam: decay of the average squared gradient; in [0, 1)."""
    epsilon: float = 1e-8
    """Adam, RMSProp: added to the root of the average squared gradient (outside the root, as PyTorch)."""
    momentum: float = 0.0
    """SGD: heavy-ball momentum; in [0, 1]."""
    final_momentum: float = 0.0
    """SGD: momentum reached linearly after `momentum_images` (Goodfellow et al. 2014: 0.5 to 0.7); 0 keeps `momentum`."""
    momentum_images: int = 0
    """SGD: span of the momentum ramp, in images."""
    decay: float = 0.99
    """RMSProp: decay of the average squared gradient; in [0, 1)."""
    clip_norm: float = 0.0
    """Largest global norm of the gradient, longer ones are scaled down to it before the optimiser sees them; 0 for no limit."""
    constant_images: int = 0
    """Images before the linear decay of the learning rate begins."""
    decay_images: int = 0
    """Images over which the learning rate then falls linearly to zero (CycleGAN); 0 for no linear decay."""
    half_life: float = 0.0
    """Images in which an exponential decay halves the learning rate; 0 for no exponential decay."""
    min_learning_rate: float = 0.0
    """The learning rate never falls below this; at most `learning_rate`."""

    def __post_init__(self):
        settle(self, schedule=("momentum_images", "constant_images", "decay_images"))
        for field in (
            "learning_rate",
            "epsilon",
            "momentum_images",
            "clip_norm",
            "constant_images",
            "decay_images",
            "half_life",
        ):
            require_range(field, getattr(self, field), 0)
        for field in ("beta1", "beta2", "decay"):
            value = getattr(self, field)
            require(
                not is_number(value) or 0 <= value < 1,
                f"{field} must be at least 0 and below 1, got {value!r}",
            )
        for field in ("momentum", "final_momentum"):
            require_range(field, getattr(self, field), 0, 1)
        require_range(
            "min_learning_rate",
            self.min_learning_rate,
            0,
            self.learning_rate if is_number(self.learning_rate) else float("inf"),
        )
        ramp_without_span = not _is_zero(self.final_momentum) and _is_zero(self.momentum_images)
        require(
            not ramp_without_span,
            "final_momentum needs momentum_images, the number of images over which it is reached",
        )


def as_float32(value: Any) -> Any:
    """A setting as arithmetic takes it: a plain number as it is, an array or tracer as float32."""
    return value if is_number(value) else jnp.asarray(value, jnp.float32)


def learning_rate(optimizer: Optimizer, images: jax.Array | int) -> jax.Array:
    """The learning rate after `images` images (int32 []), float32 [].

    learning_rate * 0.5^(images / half_life) * (1 - (images - constant_images) / decay_images), the last factor kept in [0, 1], and the
    whole at least min_learning_rate. CycleGAN's code decays by epochs and never quite reaches zero; here it does, at the end of the span.
    """
    images = jnp.asarray(images)
    rate = jnp.asarray(optimizer.learning_rate, jnp.float32)
    if not _is_zero(optimizer.half_life):
        rate = rate * 0.5 ** _quotient(images, optimizer.half_life)
    if not _is_zero(optimizer.decay_images):
        rate = rate * (1 - _progress(images - optimizer.constant_images, optimizer.decay_images))
    if not _is_zero(optimizer.min_learning_rate):
        rate = jnp.maximum(rate, optimizer.min_learning_rate)
    return rate.astype(jnp.float32)


def zero_from(optimizer: Optimizer) -> int | None:
    """Images from which on the learning rate is zero in float32; None if it never is, or is a tracer."""
    rate, minimum, linear = (
        optimizer.learning_rate,
        optimizer.min_learning_rate,
        (optimizer.constant_images, optimizer.decay_images),
    )
    if not all(map(is_number, (rate, minimum, *linear, optimizer.half_life))) or minimum > 0:
        return None
    if rate == 0:
        return 0
    ends = [sum(linear)] if optimizer.decay_images else []
    if optimizer.half_life:
        ends.append(
            math.ceil(optimizer.half_life * (_FLOAT32_HALVINGS + min(0.0, math.log2(rate))))
        )
    return max(0, int(min(ends))) if ends else None


def momentum(optimizer: Optimizer, images: jax.Array | int) -> jax.Array:
    """The SGD momentum after `images` images (int32 []), float32 []: linear from `momentum` to `final_momentum`, then constant."""
    start = jnp.asarray(optimizer.momentum, jnp.float32)
    if _is_zero(optimizer.final_momentum):
        return start
    return start + (as_float32(optimizer.final_momentum) - start) * _progress(
        jnp.asarray(images), optimizer.momentum_images
    )


def build(optimizer: Optimizer, images: jax.Array | int = 0) -> optax.GradientTransformation:
    """The optimiser as it acts after `images` images; build it anew in every step, at `State.images`.

    Rate and momentum at that count are closed over, so the state has the same structure at every count and holds no schedule.

    - "adam": Kingma & Ba 2015, bias-corrected, epsilon outside the root; equal to `torch.optim.Adam` and `optax.adam`.
    - "sgd": velocity = momentum * velocity + gradient, params -= rate * velocity, as `torch.optim.SGD`. Goodfellow's pylearn2 puts the
      rate inside the velocity: the same at a constant rate, and while it decays ours forgets the larger rates at once.
    - "rmsprop": equal to `torch.optim.RMSprop`, epsilon outside the root.
    """
    parts = (
        []
        if _is_zero(optimizer.clip_norm)
        else [optax.clip_by_global_norm(as_float32(optimizer.clip_norm))]
    )
    epsilon = as_float32(optimizer.epsilon)
    if optimizer.name == "adam":
        parts.append(
            _scale_by_adam(as_float32(optimizer.beta1), as_float32(optimizer.beta2), epsilon)
        )
    elif optimizer.name == "rmsprop":
        parts.append(_scale_by_rms(as_float32(optimizer.decay), epsilon))
    elif not (_is_zero(optimizer.momentum) and _is_zero(optimizer.final_momentum)):
        parts.append(optax.trace(momentum(optimizer, images)))
    chain = optax.chain(*parts, optax.scale(-learning_rate(optimizer, images)))

    def update(grads: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        return chain.update(jax.tree.map(_row_major, grads), state, params)

    return optax.GradientTransformation(chain.init, update)


def _row_major(grad: jax.Array) -> jax.Array:
    """On CUDA, the gradient of a kernel laid out in memory as the kernel is.

    Convolutions there make it with outputs first. Left to itself, XLA updates parameters and averages in that layout, and so lays out three arrays anew on
    their way in and again on their way out, instead of one. Pix2Pix at batch 16, in turns on a busy H200: 5 % of the step.
    """
    if grad.ndim < 4:
        return grad
    rows = Layout(major_to_minor=tuple(range(grad.ndim)))
    return jax.lax.platform_dependent(
        grad, cuda=lambda grad: with_layout_constraint(grad, rows), default=lambda grad: grad
    )


def _scale_by_adam(beta1: Any, beta2: Any, epsilon: Any) -> optax.GradientTransformation:
    """`optax.scale_by_adam`, its state and its numbers, in a form that XLA's CPU compiler updates in place also at beta1 0.5."""
    reference = optax.scale_by_adam(beta1, beta2, epsilon, eps_root=_ROOT_GUARD)

    def update(grads, state, params=None):
        del params
        count = optax.safe_increment(state.count)
        # Written as a sum, 0.5 m + 0.5 g becomes 0.5 (m + g), which XLA takes for so cheap that the parameters' update computes it again from the old
        # m; that must then be copied first, every step. Measured in Pix2Pix at 128 x 128: a sixth of the whole step.
        mu = jax.tree.map(lambda mean, grad: (1 - beta1) * grad - (-beta1) * mean, state.mu, grads)
        nu = jax.tree.map(lambda mean, grad: (1 - beta2) * grad**2 + beta2 * mean, state.nu, grads)
        mu_scale, nu_scale = (1 - beta ** count.astype(jnp.float32) for beta in (beta1, beta2))
        scaled = jax.tree.map(
            lambda m, v: m / mu_scale / (jnp.sqrt(v / nu_scale + _ROOT_GUARD) + epsilon), mu, nu
        )
        return scaled, state._replace(count=count, mu=mu, nu=nu)

    return optax.GradientTransformation(reference.init, update)


class RmsState(NamedTuple):
    """The average squared gradient, like the parameters."""

    squares: PyTree


def _scale_by_rms(decay: float, epsilon: float) -> optax.GradientTransformation:
    """gradient / (sqrt(average squared gradient) + epsilon). Unlike optax's, its derivative is finite where a gradient was always 0."""

    def init(params):
        return RmsState(jax.tree.map(jnp.zeros_like, params))

    def update(grads, state, params=None):
        del params
        squares = jax.tree.map(
            lambda square, grad: decay * square + (1 - decay) * grad * grad, state.squares, grads
        )
        scaled = jax.tree.map(
            lambda grad, square: grad / (jnp.sqrt(square + _ROOT_GUARD) + epsilon), grads, squares
        )
        return scaled, RmsState(squares)

    return optax.GradientTransformation(init, update)


def _is_zero(value: Any) -> bool:
    """True for a setting switched off; a tracer is always on."""
    return is_number(value) and value == 0


def _quotient(images: jax.Array, span: Any) -> jax.Array:
    return images.astype(jnp.float32) / jnp.asarray(span, jnp.float32)


def _progress(images: jax.Array, span: Any) -> jax.Array:
    return jnp.clip(_quotient(images, span), 0.0, 1.0)
