"""From a data set to the program of one call: `k` steps on rows of arrays that lie on the device, or on batches that are sent there.

Shapes: k steps per call, B examples per step over all devices, p processes.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import jax
import numpy as np

from jaxgan import data, parallel
from jaxgan.data import streaming
from jaxgan.data.checked import Checked
from jaxgan.data.streaming import Streamed
from jaxgan.state import Metrics, PyTree, State

RESIDENT_BYTES = 1 << 30
"""Sets up to this size are kept on the device whole."""
PREVIEW_EXAMPLES = 8


class Feed:
    """The batches of a run, in an order that is a pure function of (seed, attempt, step).

    `sizes` and `aligned` are what `jaxgan.data.prepare` has to know of these batches.

    Args:
      dataset: a `jaxgan.data.Dataset`. Where its arrays are independent, each has an order of its own, and an epoch is that of the largest: the
        others begin again, in another order, whenever they are through.
      spec: what `family.batch_spec` returned: which arrays, and B.
      seed, attempt, steps_per_call: of the run.
      mesh: where the batch is cut by the compiler; None for one device or pmap.
      devices: those of pmap, which cuts batches itself; None under jit.
      resident: keep the arrays on the device; None: if they are small. Those that are streamed never are.
    """

    def __init__(
        self,
        dataset,
        spec,
        seed: int,
        attempt: int,
        steps_per_call: int,
        mesh=None,
        devices=None,
        resident: bool | None = None,
    ):
        given = {name: dataset.arrays[name] for name in spec}
        self._streams = any(isinstance(array, Streamed) for array in given.values())
        self._arrays = {
            name: array if isinstance(array, (Checked, Streamed)) else np.asarray(array)
            for name, array in given.items()
        }
        self._batch = next(iter(spec.values())).shape[0]
        self.sizes = {
            name: wanted.shape[1:3] for name, wanted in spec.items() if len(wanted.shape) >= 3
        }
        self.aligned = not dataset.independent
        self._seed, self._attempt = (seed,), (attempt,) if attempt else ()
        self._steps, self._mesh, self._devices = steps_per_call, mesh, devices
        small = sum(array.nbytes for array in self._arrays.values()) <= RESIDENT_BYTES
        self.resident = not self._streams and (small if resident is None else resident)

    def arrays(self) -> PyTree:
        """What every call is given besides its rows: the whole set on each device, or {} where batches are sent."""
        if not self.resident:
            return {}
        arrays = {name: np.asarray(array) for name, array in self._arrays.items()}
        if self._mesh is not None:
            return parallel.replicate(arrays, self._mesh)
        if self._devices is not None:
            mine = [
                device for device in self._devices if device.process_index == jax.process_index()
            ]
            return jax.device_put(arrays, parallel.replicated(parallel.data_mesh(mine)))
        return jax.device_put(arrays)

    def rows(self, step: int) -> dict[str, np.ndarray]:
        """int32 [k, B / p] by array: this process's rows for the call that starts at `step`; of aligned arrays all the same."""
        share = {"process": jax.process_index(), "processes": jax.process_count()}
        each = [
            self._order((*self._seed, *self._attempt), s, self._batch, **share)
            for s in range(step, step + self._steps)
        ]
        return {
            name: np.stack([rows[name] for rows in each]).astype(np.int32) for name in self._arrays
        }

    def _order(
        self, seed: tuple[int, ...], step: int, count: int, **share: int
    ) -> dict[str, np.ndarray]:
        """The rows of one step, by array."""
        if not self.aligned:  # no two of one run collide: the last part is never 0, see `order`
            domains = enumerate(self._arrays.items(), start=1)
            return {
                name: data.order(len(array), count, (*seed, domain), step, **share)
                for domain, (name, array) in domains
            }
        size = len(next(iter(self._arrays.values())))
        return dict.fromkeys(self._arrays, data.order(size, count, seed, step, **share))

    def first_batch(self) -> dict[str, np.ndarray]:
        """The first examples of the run as its preview sees them, whatever the attempt: one batch, at least 8, not augmented, larger ones cut at the centre."""
        batch = _gather(
            self._arrays, self._order(self._seed, 0, max(self._batch, PREVIEW_EXAMPLES))
        )
        return {
            name: _centre(array, self.sizes[name]) if name in self.sizes else array
            for name, array in batch.items()
        }

    def calls(self, step: int) -> Generator[PyTree, None, None]:
        """What the program takes for each call from `step` on, without end; made ahead in a thread."""
        yield from data.prefetch(self._calls(step))

    def _calls(self, step: int) -> Iterator[PyTree]:
        if self._streams:
            batches = streaming.calls(
                self._arrays, lambda call: self.rows(step + call * self._steps)
            )
            with contextlib.closing(batches):
                for batch in batches:
                    yield self._place(batch)
        while True:
            rows = self.rows(step)
            yield self._place(rows if self.resident else _gather(self._arrays, rows))
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
            return np.ascontiguousarray(
                np.moveaxis(array.reshape(steps, local, count // local, *array.shape[2:]), 1, 0)
            )

        return jax.tree.map(cut, inputs)


def _gather(arrays: Mapping[str, Any], rows: Mapping[str, Any]) -> dict[str, Any]:
    """Rows [...] of each array -> [..., H, W, C] and the like. On the host mapped files are read here; traced arrays stay on the device."""
    return {name: array[rows[name]] for name, array in arrays.items()}


def _centre(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[B, h, w, C] -> [B, *size, C]; maps of ids [B, h, w] -> [B, *size]."""
    top, left = (images.shape[1] - size[0]) // 2, (images.shape[2] - size[1]) // 2
    return images[:, top : top + size[0], left : left + size[1]]


Program = Callable[[State, PyTree, PyTree, jax.Array], tuple[State, Metrics]]


def program(
    family: ModuleType, config: Any, resident: bool, prepare: Callable, axis_name: str | None = None
) -> Program:
    """The pure function of one call: (state, arrays, rows or batches [k, B, ...] by array, key) -> (state, metrics, each [k]).

    A single step is not put into a loop, where convolution gradients on CPU are many times slower.

    Args:
      prepare: `jaxgan.data.prepare` with what to augment.
    """

    def one(state, arrays, rows, key):
        batch = prepare(
            _gather(arrays, rows) if resident else rows, key, state.step, axis_name=axis_name
        )
        return family.train_step(config, state, batch, key, axis_name=axis_name)

    def call(state, arrays, rows, key):
        if jax.tree.leaves(rows)[0].shape[0] == 1:
            state, metrics = one(state, arrays, jax.tree.map(lambda leaf: leaf[0], rows), key)
            return state, jax.tree.map(lambda metric: metric[None], metrics)
        return jax.lax.scan(lambda state, row: one(state, arrays, row, key), state, rows)

    return call


def compile_program(
    pure: Callable[..., Program], mesh: Any, devices: Sequence[Any] | None, arguments: tuple
) -> Any:
    """`lower_program`, compiled. Its `memory_analysis` (absent for pmap across processes) tells what a call needs."""
    lowered = lower_program(pure, mesh, devices, arguments)
    return lowered.compile() if hasattr(lowered, "compile") else lowered


def lower_program(
    pure: Callable[..., Program], mesh: Any, devices: Sequence[Any] | None, arguments: tuple
) -> Any:
    """`program` traced and lowered for `arguments`, the state donated; see `Feed` for mesh and devices.

    Settings that a step refuses are refused here. For pmap across processes the jitted function itself, which compiles when it is first called.

    Args:
      pure: `program` with all its arguments but the axis.
    """
    if devices is not None:
        mapped = functools.partial(
            jax.pmap,
            axis_name=parallel.AXIS,
            in_axes=(None, None, 0, None),
            out_axes=None,
            donate_argnums=0,
        )
        compiled = mapped(
            pure(parallel.AXIS), devices=None if len(devices) == len(jax.devices()) else devices
        )
        if (
            jax.process_count() > 1
        ):  # compiled ahead of time it would want the batches of all processes
            return compiled
    elif mesh is not None:
        whole = parallel.replicated(mesh)
        shardings = (whole, whole, parallel.split(mesh, axis=1), whole)
        compiled = jax.jit(
            parallel.on_mesh(pure(), mesh),
            donate_argnums=0,
            in_shardings=shardings,
            out_shardings=(whole, whole),
        )
    else:
        compiled = jax.jit(pure(), donate_argnums=0)
    return compiled.lower(*arguments)
