"""The verbs every `train_step` is written in: keys, means over devices, one optimiser step, the moving average.

Shapes: B is the local batch. `axis_name` is the mapped axis (pmap, shard_map), or None under plain jit, where arrays are global.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan.errors import is_number, require
from jaxgan.state import Player, PyTree

# ---------------------------------------------------------------------------------------------------------------------- keys


def stream_key(key: jax.Array, name: str, step: jax.Array | int = 0) -> jax.Array:
    """The key of one named purpose ("init", "latents", ...) at one step. Does not consume `key`.

    Named, because `split(key)[i]` and `fold_in(key, i)` are the same key: without a name, init and the first steps would share theirs.
    """
    require_key(key)
    return jax.random.fold_in(jax.random.fold_in(key, zlib.crc32(name.encode())), step)


def require_key(key: Any) -> None:
    """Raise ValueError unless `key` is one key, typed or of the older kind, concrete or traced."""
    shape, dtype = (
        jnp.shape(key) if isinstance(key, (jax.Array, np.ndarray)) else None,
        getattr(key, "dtype", None),
    )
    typed = shape == () and dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    older = dtype == jnp.uint32 and shape == jax.eval_shape(jax.random.PRNGKey, 0).shape
    found = f"{dtype} of shape {list(shape)}" if shape is not None else repr(key)[:80]
    require(typed or older, f"one key is needed, such as jax.random.key(0), got {found}")


def example_keys(
    key: jax.Array, count: int, axis_name: str | None = None, first: int = 0
) -> jax.Array:
    """[count] keys, one per example of the local batch: `fold_in(key, global index)`, so an example draws the same on any device.

    Args:
      first: global index of the first example (for drawing in chunks).
    """
    require_key(key)
    offset = jnp.asarray(first, jnp.int32)
    if axis_name is not None:
        offset = offset + jax.lax.axis_index(axis_name) * count
    keys = jax.vmap(partial(jax.random.fold_in, key))(offset + jnp.arange(count, dtype=jnp.int32))
    return keys if axis_name is not None else split_over_mesh(keys)


def uniform(keys: jax.Array) -> jax.Array:
    """[B] keys -> float32 [B], uniform in [0, 1), one number from each key."""
    return jax.vmap(lambda key: jax.random.uniform(key, (), jnp.float32))(keys)


def example_streams(keys: jax.Array, name: str) -> jax.Array:
    """[B] keys -> [B] keys of one named purpose."""
    return jax.vmap(lambda key: stream_key(key, name))(keys)


# ------------------------------------------------------------------------------------------------------------------- devices


def device_mean(tree: PyTree, axis_name: str | None) -> PyTree:
    """Mean over the mapped axis; the identity where there is none."""
    return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


AXIS = "data"
"""Name of the axis over which a batch is split, in meshes and in pmap."""


def split_over_mesh(tree: PyTree) -> PyTree:
    """Split arrays [B, ...] along B over the current mesh, if it has an axis `AXIS` that XLA partitions.

    Examples that exist before any data does (keys, and so latents) carry no sharding. Without this
    constraint XLA computes everything that follows from them in full on every device.
    `parallel.jit_step` sets the mesh; in a jit of your own, `jax.set_mesh(mesh)` does.
    The identity without such a mesh, and for a B that does not divide evenly.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if AXIS not in mesh.auto_axes or mesh.shape[AXIS] == 1:
        return tree

    def split(array: jax.Array) -> jax.Array:
        if array.shape[0] % mesh.shape[AXIS]:
            return array
        return jax.lax.with_sharding_constraint(array, jax.sharding.PartitionSpec(AXIS))

    return jax.tree.map(split, tree)


def device_count(axis_name: str | None) -> int:
    """Size of the mapped axis; 1 where there is none."""
    return 1 if axis_name is None else jax.lax.axis_size(axis_name)


def gather(tree: PyTree, axis_name: str | None) -> PyTree:
    """Local arrays [B, ...] -> global arrays [B * devices, ...], the same on every device and known to be so.

    A sum of zero-padded parts rather than `all_gather`: its result is typed as replicated, so `shard_map(check_vma=True)` accepts
    what is computed from it as part of the state. For numbers; keys and booleans are not gathered.
    """
    if axis_name is None:
        return tree

    def gather_array(local):
        count = local.shape[0]
        padded = jnp.zeros((count * jax.lax.axis_size(axis_name), *local.shape[1:]), local.dtype)
        padded = jax.lax.pcast(padded, axis_name, to="varying")
        return jax.lax.psum(
            jax.lax.dynamic_update_slice_in_dim(
                padded, local, jax.lax.axis_index(axis_name) * count, axis=0
            ),
            axis_name,
        )

    return jax.tree.map(gather_array, tree)


def local_part(tree: PyTree, axis_name: str | None) -> PyTree:
    """The inverse of `gather`: this device's [B, ...] of global arrays [B * devices, ...]."""
    if axis_name is None:
        return tree

    def slice_array(array):
        count = array.shape[0] // jax.lax.axis_size(axis_name)
        return jax.lax.dynamic_slice_in_dim(
            array, jax.lax.axis_index(axis_name) * count, count, axis=0
        )

    return jax.tree.map(slice_array, tree)


# ------------------------------------------------------------------------------------------------------------------ learning


def apply_gradients(
    player: Player, grads: PyTree, optimizer: optax.GradientTransformation, axis_name: str | None
) -> Player:
    """One optimiser step from the gradients of a loss that was already averaged over devices (see `update`)."""
    updates, opt = optimizer.update(device_mean(grads, axis_name), player.opt, player.params)
    return player.replace(params=optax.apply_updates(player.params, updates), opt=opt)


def update(
    player: Player,
    loss_fn: Callable[[PyTree], tuple[jax.Array, Any]],
    optimizer: optax.GradientTransformation,
    axis_name: str | None,
) -> tuple[Player, jax.Array, Any]:
    """One optimiser step of one player.

    The loss is averaged over devices *inside* the differentiated function and the gradients are averaged again: right under jit, pmap,
    vmap and shard_map alike, where either mean alone is silently wrong in one of them.

    Args:
      loss_fn: params -> (float32 [], aux). What the loss needs from other players is closed over, so no gradient can reach them.

    Returns: the player after the step (its `stats` unchanged), the loss before it (mean over devices), aux (local).
    """

    def global_loss(params):
        loss, aux = loss_fn(params)
        return device_mean(loss, axis_name), aux

    (loss, aux), grads = jax.value_and_grad(global_loss, has_aux=True)(player.params)
    return apply_gradients(player, grads, optimizer, axis_name), loss, aux


def moving_average(
    average: PyTree,
    variables: PyTree,
    step_images: int,
    images: jax.Array,
    half_life: float,
    ramp: float = 0.0,
) -> PyTree:
    """The averaged generator after a round: its `params` move towards the new ones, every other collection is copied.

    Args:
      average, variables: {"params": ..., other collections}.
      step_images: images this round showed; images: shown before it (int32 []).
      half_life: in images; 0 keeps a plain copy.
      ramp: if positive, the half-life is at most `ramp * images seen`, so that the average forgets the start of training quickly.

    Source: Karras et al. 2018/2020 (half-life in images, ramp-up).
    """
    if is_number(half_life) and half_life == 0:
        return variables
    seen = (images + step_images).astype(jnp.float32)
    span = jnp.asarray(half_life, jnp.float32)
    if not (is_number(ramp) and ramp == 0):
        span = jnp.minimum(span, jnp.asarray(ramp, jnp.float32) * seen)
    decay = 0.5 ** (step_images / jnp.maximum(span, 1e-8))
    params = jax.tree.map(
        lambda old, new: decay * old + (1 - decay) * new, average["params"], variables["params"]
    )
    return {**variables, "params": params}
