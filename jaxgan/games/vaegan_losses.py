"""The VAE/GAN's losses and gate, from what its networks return.

Shapes: B images; batches of 3 B are real images, reconstructions, prior samples, in this order. Losses are float32 [], means over the local batch: the
family averages them over devices.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxgan import losses
from jaxgan.games.round import Round
from jaxgan.games.stabilisers import is_on
from jaxgan.state import Metrics


def kl_divergence(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """Of the normal posterior [B, Z] from the standard normal prior, summed over Z, mean over images (Kingma & Welling 2014, appendix B)."""
    return -0.5 * jnp.mean(
        jnp.sum(1 + log_variance - jnp.square(mean) - jnp.exp(log_variance), axis=1)
    )


def reconstruction_loss(features: jax.Array) -> tuple[jax.Array, Metrics]:
    """Half the squared distance of the reconstructions' features from the real images', summed over features, mean over images.

    That is the negative log-likelihood of a normal of variance 1 without its constant. The real images' features are the fixed target.
    """
    real, reconstructed, _ = jnp.split(features.astype(jnp.float32), 3)
    squares = jnp.square(reconstructed - jax.lax.stop_gradient(real))
    return 0.5 * jnp.mean(jnp.sum(squares.reshape(len(squares), -1), axis=1)), {}


def _shown(config: Any, logits: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
    """Logits [3 B] -> those of real images, and those of each source of generated images that counts."""
    real, reconstructed, prior = jnp.split(logits, 3)
    return real, [prior] if config.prior_only else [reconstructed, prior]


def discriminator_loss(round: Round, logits: jax.Array) -> tuple[jax.Array, Metrics]:
    """The adversarial loss against each source of generated images, averaged over these; metrics, with the gate also its two costs."""
    config, s = round.config, round.stabilisers
    real, fakes = _shown(config, logits)
    pairs = [
        losses.discriminator_loss(
            config.loss, real, fake, s.real_target, s.fake_target, axis_name=round.axis_name
        )
        for fake in fakes
    ]
    fake = jnp.concatenate(fakes)
    metrics = round.logit_metrics(real, fake)
    if is_on(config.margin):
        metrics |= {
            "real_cost": jnp.mean(jax.nn.softplus(-real)),
            "fake_cost": jnp.mean(jax.nn.softplus(fake)),
        }
    return sum(pairs, jnp.float32(0)) / len(pairs), metrics


def fooling_loss(round: Round, logits: jax.Array) -> tuple[jax.Array, Metrics]:
    """The generator's adversarial loss, added over the sources of generated images."""
    config, axis_name = round.config, round.axis_name
    real, fakes = _shown(config, logits)
    terms = [losses.generator_loss(config.loss, fake, real, axis_name=axis_name) for fake in fakes]
    return sum(terms, jnp.float32(0)), {}


def gate(config: Any, real_cost: jax.Array, fake_cost: jax.Array) -> dict[str, jax.Array]:
    """Which of generator and discriminator move, bool [] each, at these cross-entropies on real and on generated images.

    The discriminator does where neither is below equilibrium - margin, the generator where neither is above equilibrium + margin; and both do where
    else none would. Source: andersbll/autoencoding_beyond_pixels, model/aegan.py.
    """
    low, high = config.equilibrium - config.margin, config.equilibrium + config.margin
    discriminator = jnp.minimum(real_cost, fake_cost) >= low
    generator = jnp.maximum(real_cost, fake_cost) <= high
    neither = ~(generator | discriminator)
    return {"generator": generator | neither, "discriminator": discriminator | neither}
