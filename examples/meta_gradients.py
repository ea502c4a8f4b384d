"""A learning rate found by its gradient: a validation loss differentiated through several training steps.

    python -m examples.meta_gradients

`train_step` is a function like any other, so `jax.grad` goes through it; a tracer may stand in the settings where they are closed over.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from examples.population import CONFIG
from jaxgan import cgan, data, losses
from jaxgan.state import State


def validation_loss(
    learning_rate: Any, state: State, batches: dict, held_out: dict, key: jax.Array
) -> jax.Array:
    """How well the discriminator, trained at `learning_rate` on `batches` (leaves [steps, B, ...]), tells held-out digits from generated ones.

    Returns: the non-saturating loss, float32 [], after as many rounds as there are batches. `key` is the run's key and is not consumed.
    """
    optimizer = replace(CONFIG.discriminator_optimizer, learning_rate=learning_rate)
    config = replace(CONFIG, discriminator_optimizer=optimizer)
    state, _ = jax.lax.scan(
        lambda state, batch: cgan.train_step(config, state, batch, key), state, batches
    )
    labels = held_out["label"]
    fakes = cgan.sample(config, state, jax.random.fold_in(key, 1), len(labels), labels)
    return losses.discriminator_loss(
        "non-saturating", _judge(state, held_out["image"], labels), _judge(state, fakes, labels)
    )


def _judge(state: State, images: jax.Array, labels: jax.Array) -> Any:
    discriminator = cgan.game(CONFIG).discriminator
    return discriminator.apply(
        {"params": state.players["discriminator"].params}, images, labels, train=False
    )


def digit_batches(steps: int, batch_size: int = 64) -> tuple[dict, dict]:
    """Training batches with leaves [steps, B, ...] and one held-out batch [B, ...] of the embedded digits."""
    digits = data.open("digits")
    indices = jnp.stack(
        [jnp.asarray(data.order(digits.size, batch_size, 0, step)) for step in range(steps + 1)]
    )
    images, labels = (
        data.normalise(jnp.asarray(digits.arrays["image"])),
        jnp.asarray(digits.arrays["label"]),
    )
    batches = {"image": images[indices], "label": labels[indices]}
    return {name: leaf[:-1] for name, leaf in batches.items()}, {
        name: leaf[-1] for name, leaf in batches.items()
    }


def main():
    """Descend the validation loss in the logarithm of the discriminator's learning rate, ten steps."""
    key = jax.random.key(0)
    batches, held_out = digit_batches(steps=8)
    state = jax.jit(cgan.init, static_argnums=0)(CONFIG, key)
    slope = jax.jit(
        jax.value_and_grad(
            lambda log_rate: validation_loss(jnp.exp(log_rate), state, batches, held_out, key)
        )
    )
    log_rate = jnp.log(1e-4)
    for _ in range(10):
        loss, gradient = slope(log_rate)
        print(
            f"learning rate {jnp.exp(log_rate):.2e}  validation loss {loss:.4f}  d loss / d log rate {gradient:+.4f}"
        )
        log_rate = log_rate - 0.5 * jnp.sign(gradient)


if __name__ == "__main__":
    main()
