"""Spectral normalisation (Miyato et al. 2018) of one kernel."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.nn.initialisers import draw


def _unit(vector: jax.Array, epsilon: float = 1e-12) -> jax.Array:
    return vector / jnp.maximum(jnp.linalg.norm(vector), epsilon)


def power_iteration(matrix: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
    """One step towards the leading singular vectors of matrix [rows, O] from u [O]: (u [O], v [rows])."""
    v = _unit(matrix @ u)
    return _unit(v @ matrix), v


def spectrally_normalised(
    module: nn.Module, kernel: jax.Array, train: bool, eval_iterations: int
) -> jax.Array:
    """`kernel` [..., O] divided by its largest singular value, estimated by u and v in the module's `spectral` collection.

    A training forward makes one power iteration and stores it where the collection is mutable. Otherwise `eval_iterations` are made (0: the
    stored vectors as they are, as PyTorch's layer does) and nothing is stored. Gradients flow through sigma, not through u and v.
    """
    matrix = kernel.reshape(-1, kernel.shape[-1])
    frozen = jax.lax.stop_gradient(matrix)

    start: tuple[jax.Array, ...] = ()
    if module.is_initializing():
        start = power_iteration(
            frozen,
            _unit(draw(module.make_rng("params"), (kernel.shape[-1],))),
        )
    u = module.variable("spectral", "u", lambda: start[0])
    v = module.variable("spectral", "v", lambda: start[1])
    new_u, new_v = u.value, v.value
    for _ in range(1 if train else eval_iterations):
        new_u, new_v = power_iteration(frozen, new_u)
    if train and not module.is_initializing() and module.is_mutable_collection("spectral"):
        u.value, v.value = new_u, new_v
    return kernel / (new_v @ matrix @ new_u)
