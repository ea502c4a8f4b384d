"""One pure `train_step`, mapped over devices and steps: jit (with or without a mesh), pmap, scan.

Every function here takes the global batch and gives the same result to rounding: a family draws per example and averages over devices
itself. Shapes: B is the global batch (what `batch_spec` describes), n the number of devices, k the steps of one dispatch.

Across several processes (`jax.distributed.initialize()` before anything else) each process passes its own contiguous part of the batch,
[B / processes, ...], and the same state and key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxgan.state import Batch, Metrics, PyTree, State
from jaxgan.update import AXIS

Step = Callable[[State, Any, jax.Array], tuple[State, Metrics]]


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A one-dimensional mesh with axis "data" over `devices` (default: all of them, over all processes); axis type Auto."""
    return Mesh(
        np.array(jax.devices() if devices is None else list(devices)),
        (AXIS,),
        axis_types=(AxisType.Auto,),
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of the state: whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """The sharding of a batch: cut along `axis`, the global batch axis (1 for [k, B, ...])."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))


def check_divisible(count: int, devices: int) -> None:
    """Raise `ValueError` unless a batch of `count` examples splits evenly over `devices`."""
    if count % devices:
        nearest = max(devices, round(count / devices) * devices)
        raise ValueError(
            f"a batch of {count} examples cannot be split evenly over {devices} devices: use a multiple of {devices}, such as {nearest}"
        )


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """The same arrays, whole on every device of `mesh`; also where the mesh spans processes (each passes equal values)."""
    sharding = replicated(mesh)
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def place(leaf):
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(place, tree)


def shard_batch(batch: PyTree, mesh: Mesh, axis: int = 0) -> PyTree:
    """A global batch cut along `axis` over `mesh`, from the whole batch (one process) or each process's contiguous part of it.

    Raises `ValueError` if the batch does not split evenly.
    """
    for leaf in jax.tree.leaves(batch):
        check_divisible(leaf.shape[axis] * jax.process_count(), mesh.size)
    sharding = split(mesh, axis)
    if jax.process_count() == 1:
        return jax.device_put(batch, sharding)

    def place(leaf):
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:  # it is global already
            return leaf
        return jax.make_array_from_process_local_data(sharding, np.asarray(leaf))

    return jax.tree.map(place, batch)


def _on(tree: PyTree, mesh: Mesh) -> bool:
    """Whether `tree` already lies whole on every device of `mesh` (or is being traced, where placing is the compiler's business)."""
    leaves = jax.tree.leaves(tree)
    wanted = replicated(mesh)
    return all(
        isinstance(x, jax.core.Tracer) or (isinstance(x, jax.Array) and x.sharding == wanted)
        for x in leaves[:1]
    )


def on_mesh(function: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
    """Return `function` as it is traced with `mesh` current, so that what it draws per example is split as its batch is.

    For functions that are jitted with shardings of `mesh`; see `update.split_over_mesh`.
    """

    def traced(*arguments: Any) -> Any:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return function(*arguments)

    return traced


def jit_step(family: ModuleType, config: Any, mesh: Mesh | None = None) -> Step:
    """`family.train_step` compiled: (state, batch [B, ...], key) -> (state, metrics). The state is donated.

    Args:
      mesh: from `data_mesh`; the state is kept whole on every device, the batch is cut along its first axis, and the compiler inserts the
        communication. None runs on one device.

    Raises `ValueError` if the batch does not split evenly over the mesh.
    """
    step = partial(family.train_step, config)
    if mesh is None:
        return jax.jit(step, donate_argnums=0)
    whole, cut = replicated(mesh), split(mesh)
    compiled = jax.jit(
        on_mesh(step, mesh),
        donate_argnums=0,
        in_shardings=(whole, cut, whole),
        out_shardings=(whole, whole),
    )

    def mesh_step(state: State, batch: Batch, key: jax.Array) -> tuple[State, Metrics]:
        if _on(state, mesh) and isinstance(jax.tree.leaves(state)[0], jax.core.Tracer):
            return compiled(state, batch, key)
        return compiled(
            state if _on(state, mesh) else replicate(state, mesh), shard_batch(batch, mesh), key
        )

    return mesh_step


def pmap_step(family: ModuleType, config: Any, devices: Sequence[jax.Device] | None = None) -> Step:
    """`family.train_step` under `jax.pmap`: (state, batch [B, ...], key) -> (state, metrics). The state is donated.

    The state has no device axis, neither going in nor coming out, so it is the same pytree as under jit and goes into the same checkpoints.
    The batch is cut into [n, B / n, ...] here.

    Args:
      devices: default all of them; across processes this process passes the part of its own devices.

    Raises `ValueError` if the batch does not split evenly over the devices.
    """
    local = (
        jax.local_device_count()
        if devices is None
        else sum(device.process_index == jax.process_index() for device in devices)
    )
    mesh = data_mesh(devices)
    step = partial(family.train_step, config, axis_name=AXIS)
    mapped = jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, 0, None),
        out_axes=None,
        donate_argnums=0,
        devices=devices,
    )

    def per_device_step(state: State, batch: Batch, key: jax.Array) -> tuple[State, Metrics]:
        for leaf in jax.tree.leaves(batch):
            check_divisible(leaf.shape[0], local)
        if not _on(
            state, mesh
        ):  # the first state: left where it lies, it would cost a compilation that no later step can use
            state = replicate(state, mesh)
        return mapped(
            state,
            jax.tree.map(lambda x: x.reshape(local, x.shape[0] // local, *x.shape[1:]), batch),
            key,
        )

    return per_device_step


def scan_steps(step: Step, k: int, batch_at: Callable[[jax.Array], Batch] | None = None) -> Step:
    """`k` steps in one dispatch: (state, batches [k, B, ...], key) -> (state, metrics, each stacked [k]). The state is donated.

    Saves the time between steps, which is most of the time of a tiny model.

    Args:
      step: from `jit_step` or `pmap_step`, or any pure (state, batch, key) -> (state, metrics).
      batch_at: pure function of `state.step` (int32 []) -> batch, used instead of the `batch` argument (pass None there).

    Raises `ValueError` if `k` is not positive or the batches are not stacked k deep.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")

    def run(state, batches, key):
        if batch_at is None:
            depths = {leaf.shape[0] for leaf in jax.tree.leaves(batches)}
            if depths != {k}:
                raise ValueError(
                    f"scan_steps over {k} steps needs batches stacked [{k}, B, ...], got a first axis of {sorted(depths)}"
                )
        return jax.lax.scan(
            lambda state, batch: step(state, batch_at(state.step) if batch_at else batch, key),
            state,
            batches,
            length=k,
        )

    return jax.jit(run, donate_argnums=0)
