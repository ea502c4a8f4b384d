"""From a data set to the program of one call: `k` steps on rows of arrays that lie on the device, or on batches that are sent there.

Shapes: k steps per call, B examples per step over all devices, p processes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterator, Sequence
from types import ModuleType
from typing import Any

import jax
import numpy as np

from jaxgan import data, parallel
from jaxgan.state import Metrics, PyTree, State

RESIDENT_BYTES = 1 << 30
"""Sets up to this size are kept on the device whole."""


class Feed:
    """The batches of a run, in an order that is a pure function of (seed, attempt, step).

    Args:
      dataset: a `jaxgan.data.Dataset`.
      spec: what `family.batch_spec` returned: which arrays, and B.
      seed, attempt, steps_per_call: of the run.
      mesh: where the batch is cut by the compiler; None for one device or pmap.
      devices: those of pmap, which cuts batches itself; None under jit.
      resident: keep the arrays on the device; None: if they are small.
    """

    def __init__(self, dataset, spec, seed: int, attempt: int, steps_per_call: int, mesh=None, devices=None, resident: bool | None = None):
        self._arrays = {name: dataset.arrays[name] for name in spec}
        self._size, self._batch = dataset.size, next(iter(spec.values())).shape[0]
        self._seed = (seed, attempt) if attempt else seed
        self._steps, self._mesh, self._devices = steps_per_call, mesh, devices
        small = sum(array.nbytes for array in self._arrays.values()) <= RESIDENT_BYTES
        self.resident = small if resident is None else resident

    def arrays(self) -> PyTree:
        """What every call is given besides its rows: the whole set on each device, or {} where batches are sent."""
        if not self.resident:
            return {}
        whole = {name: np.asarray(array) for name, array in self._arrays.items()}
        if self._mesh is not None:
            return parallel.replicate(whole, self._mesh)
        if self._devices is not None:
            mine = [device for device in self._devices if device.process_index == jax.process_index()]
            return jax.device_put(whole, parallel.replicated(parallel.data_mesh(mine)))
        return jax.device_put(whole)

    def rows(self, step: int) -> np.ndarray:
        """int32 [k, B / p]: this process's rows for the call that starts at `step`."""
        share = {"process": jax.process_index(), "processes": jax.process_count()}
        steps = range(step, step + self._steps)
        return np.stack([data.order(self._size, self._batch, self._seed, s, **share) for s in steps]).astype(np.int32)

    def first_batch(self) -> dict[str, np.ndarray]:
        """The first batch of the run as its preview sees it, whatever the attempt: [B, ...], not augmented."""
        seed = self._seed[0] if isinstance(self._seed, tuple) else self._seed
        return data.batch(self._arrays, data.order(self._size, self._batch, seed, 0))

    def calls(self, step: int) -> Generator[PyTree, None, None]:
        """What the program takes for each call from `step` on, without end; made ahead in a thread."""
        yield from data.prefetch(self._calls(step))

    def _calls(self, step: int) -> Iterator[PyTree]:
        while True:
            rows = self.rows(step)
            yield self._place(rows if self.resident else data.batch(self._arrays, rows))
            step += self._steps

    def _place(self, inputs: PyTree) -> PyTree:
        """[k, B / p, ...] as the program takes it: cut over the mesh, or [devices, k, B / devices, ...] for pmap."""
        if self._mesh is not None:
            return parallel.shard_batch(inputs, self._mesh, axis=1)
        if self._devices is None:
            return inputs
        local = sum(device.process_index == jax.process_index() for device in self._devices)

        def cut(array):
            steps, count = array.shape[:2]
            return np.ascontiguousarray(np.moveaxis(array.reshape(steps, local, count // local, *array.shape[2:]), 1, 0))

        return jax.tree.map(cut, inputs)


Program = Callable[[State, PyTree, PyTree, jax.Array], tuple[State, Metrics]]


def program(family: ModuleType, config: Any, resident: bool, flip: bool, axis_name: str | None = None) -> Program:
    """The pure function of one call: (state, arrays, rows or batches [k, B, ...], key) -> (state, metrics, each [k]).

    A single step is not put into a loop, where convolution gradients on CPU are many times slower.
    """

    def one(state, arrays, rows, key):
        batch = {name: array[rows] for name, array in arrays.items()} if resident else rows
        batch = data.prepare(batch, key, state.step, flip=flip, axis_name=axis_name)
        return family.train_step(config, state, batch, key, axis_name=axis_name)

    def call(state, arrays, rows, key):
        if jax.tree.leaves(rows)[0].shape[0] == 1:
            state, metrics = one(state, arrays, jax.tree.map(lambda leaf: leaf[0], rows), key)
            return state, jax.tree.map(lambda metric: metric[None], metrics)
        return jax.lax.scan(lambda state, row: one(state, arrays, row, key), state, rows)

    return call


def compile_program(family: ModuleType, config: Any, resident: bool, flip: bool, mesh: Any, devices: Sequence[Any] | None, arguments: tuple) -> Any:
    """`program` compiled for `arguments`, the state donated; see `Feed` for mesh and devices.

    Its `memory_analysis` (absent for pmap across processes) tells what a call needs.
    """
    if devices is not None:
        pure = program(family, config, resident, flip, parallel.AXIS)
        mapped = functools.partial(jax.pmap, axis_name=parallel.AXIS, in_axes=(None, None, 0, None), out_axes=None, donate_argnums=0)
        compiled = mapped(pure, devices=None if len(devices) == len(jax.devices()) else devices)
        if jax.process_count() > 1:  # compiled ahead of time it would want the batches of all processes
            return compiled
    elif mesh is not None:
        whole = parallel.replicated(mesh)
        shardings = (whole, whole, parallel.split(mesh, axis=1), whole)
        compiled = jax.jit(program(family, config, resident, flip), donate_argnums=0, in_shardings=shardings, out_shardings=(whole, whole))
    else:
        compiled = jax.jit(program(family, config, resident, flip), donate_argnums=0)
    return compiled.lower(*arguments).compile()
