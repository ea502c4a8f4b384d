"""jaxgan: generative adversarial networks in JAX. A family is a module of pure functions over one pytree.

    from jaxgan import dcgan
    state = jax.jit(dcgan.init, static_argnums=0)(config, key)
    state, metrics = dcgan.train_step(config, state, batch, key)

Everything else by its module: `jaxgan.train`, `jaxgan.data`, `jaxgan.checkpoint`, `jaxgan.parallel`, `jaxgan.losses`, ...
"""

from jaxgan.families import (
    acgan,
    cgan,
    cyclegan,
    dcgan,
    gan,
    pix2pix,
    spade,
    stargan,
    stylegan,
    vaegan,
)
from jaxgan.state import Player, State

__all__ = [
    "Player",
    "State",
    "acgan",
    "cgan",
    "cyclegan",
    "dcgan",
    "gan",
    "pix2pix",
    "spade",
    "stargan",
    "stylegan",
    "vaegan",
]
