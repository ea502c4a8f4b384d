"""What is measured: the presets of the experiments, on random data of their shapes, with their steps in every mapping."""

from __future__ import annotations

import dataclasses
import importlib
import math
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import flops
from jaxgan import parallel
from jaxgan.errors import require, require_choice
from jaxgan.games.attributes import group_columns

FAMILIES = (
    "gan",
    "cgan",
    "dcgan",
    "acgan",
    "vaegan",
    "pix2pix",
    "cyclegan",
    "stargan",
    "spade",
    "stylegan",
)
SUITES = {
    "cpu": dict.fromkeys(FAMILIES, "digits"),
    "recipes": {
        "gan": "mnist", "cgan": "mnist", "dcgan": "cifar10", "acgan": "cifar10", "vaegan": "faces64",
        "pix2pix": "maps", "cyclegan": "horse2zebra", "stargan": "celeba", "spade": "ade20k", "stylegan": "paper256",
    },
}  # fmt: skip
"""Family -> preset. "cpu": what everybody can train; "recipes": one published recipe of each, for accelerators."""


class Case(NamedTuple):
    """name: "family preset", and the augmentation if it is another than the preset's. steps: per call, of the preset."""

    name: str
    family: ModuleType
    config: Any
    batch_size: int
    steps: int

    @property
    def images(self) -> int:
        """Real images of one step: the batch, times critic steps."""
        return next(iter(self.family.batch_spec(self.config, self.batch_size).values())).shape[0]


def presets(family: str) -> dict[str, Any]:
    """The presets of `experiments.FAMILY`. Raises `ValueError` for an unknown family."""
    require_choice("family", family, FAMILIES)
    return importlib.import_module(f"experiments.{family}").PRESETS


def case(
    family: str,
    preset: str = "digits",
    batch: int = 0,
    dtype: str = "",
    image_size: tuple[int, int] | None = None,
    augment: str = "",
) -> Case:
    """A preset with, where given, another batch size, dtype of the networks, size of the images, or kind of augmentation of what discriminators see.

    Raises `ValueError` where that is impossible.
    """
    found = presets(family)
    require_choice("preset", preset, found)
    require(batch >= 0, f"batch must be at least 1, got {batch}")
    changes: dict[str, Any] = {"dtype": dtype} if dtype else {}
    changes |= {"image_size": tuple(image_size)} if image_size else {}
    if augment:
        stabilisers = found[preset].config.stabilisers
        changes["stabilisers"] = dataclasses.replace(
            stabilisers, augment=dataclasses.replace(stabilisers.augment, kind=augment)
        )
    module = importlib.import_module(f"jaxgan.families.{family}")
    config = dataclasses.replace(found[preset].config, **changes)
    return Case(
        " ".join(filter(None, (family, preset, augment))),
        module,
        config,
        batch or found[preset].batch_size,
        found[preset].steps_per_call,
    )


def random_batch(case: Case, seed: int = 0) -> dict[str, jax.Array]:
    """A batch that fits `batch_spec`: images uniform in [-1, 1], uniform labels, one attribute of every group. On the default device."""
    random, config = np.random.default_rng(seed), case.config

    def fill(name: str, spec: jax.ShapeDtypeStruct) -> np.ndarray:
        if name == "attributes":
            columns = [
                np.eye(max(2, len(group)), dtype=np.float32)[:, -len(group) :]
                for group in group_columns(config)
            ]
            return np.concatenate(
                [each[random.integers(0, len(each), spec.shape[0])] for each in columns], axis=1
            )
        if jnp.issubdtype(spec.dtype, jnp.integer):
            values = len(config.known) if name == "set" else config.classes
            return random.integers(0, values, spec.shape).astype(spec.dtype)
        return random.uniform(-1, 1, spec.shape).astype(spec.dtype)

    return {
        name: jax.device_put(fill(name, spec))
        for name, spec in case.family.batch_spec(config, case.batch_size).items()
    }


def initial_state(family: Any, config: Any) -> Any:
    """`family.init` from seed 0. A GPU draws by JAX's ready-made kernel, the same numbers as otherwise, where its compiler would take up to half a minute."""
    option = "jax_threefry_gpu_kernel_lowering"
    before = getattr(jax.config, option)
    jax.config.update(option, True)
    try:
        return jax.jit(family.init, static_argnums=0)(config, jax.random.key(0))
    finally:
        jax.config.update(option, before)


def mapped(case: Case, kind: str, devices: int = 1, steps: int = 1) -> parallel.Step:
    """The step under "jit" (over several devices: a mesh), "pmap" or "scan" of `steps` (one device). Raises `ValueError` if it does not split."""
    require_choice("parallel", kind, ("jit", "pmap", "scan"))
    chosen = jax.devices()
    require(
        1 <= devices <= len(chosen),
        f"devices must be between 1 and {len(chosen)}, the devices there are, got {devices}",
    )
    require(kind != "scan" or devices == 1, "scan is measured on one device: leave devices out")
    parallel.check_divisible(case.batch_size, devices)
    if kind == "pmap":
        return parallel.pmap_step(case.family, case.config, chosen[:devices])
    step = parallel.jit_step(
        case.family, case.config, parallel.data_mesh(chosen[:devices]) if devices > 1 else None
    )
    return parallel.scan_steps(step, steps) if kind == "scan" else step


def period(config: Any) -> int:
    """After how many steps the work repeats: the least common multiple of the intervals of lazy regularisation."""
    return math.lcm(*(interval for interval, _ in lazy_penalties(config)))


def lazy_penalties(config: Any) -> list[tuple[int, Any]]:
    """Of every penalty with a step of its own: its interval, and the config with no other of these."""
    plain = _without_lazy_penalties(config)
    found = []
    if plain.stabilisers != config.stabilisers:
        found.append(
            (config.r1_interval, dataclasses.replace(plain, stabilisers=config.stabilisers))
        )
    if vars(plain).get("path_length_weight") != vars(config).get("path_length_weight"):
        found.append(
            (
                config.path_length_interval,
                dataclasses.replace(plain, path_length_weight=config.path_length_weight),
            )
        )
    return found


def _without_lazy_penalties(config: Any) -> Any:
    """A penalty of every step stays."""
    changes: dict[str, Any] = {}
    if vars(config).get("r1_interval", 1) > 1 and config.stabilisers.r1:
        changes["stabilisers"] = dataclasses.replace(config.stabilisers, r1=0.0)
    if vars(config).get("path_length_interval", 1) > 1:
        changes["path_length_weight"] = 0.0
    return dataclasses.replace(config, **changes)


def arguments(case: Case) -> tuple[Any, Any, Any]:
    """(state, batch, key) of one step as shapes only."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    return (
        jax.eval_shape(lambda key: case.family.init(case.config, key), key),
        case.family.batch_spec(case.config, case.batch_size),
        key,
    )


def arithmetic(case: Case) -> dict[str, int]:
    """What a step asks for, whatever a compiler makes of it, on average over `period` steps.

    Returns:
      flops: of convolutions and matrix products (see `benchmarks.flops`). bytes: the least that moves, which is the state read and written, the batch read,
      and operands and results of these products once each. most_flops, most_bytes: of a step with all of its lazy penalties.
    """

    def count(config: Any) -> np.ndarray:
        inputs = arguments(case._replace(config=config))
        ends = 2 * tree_bytes(inputs[0]) + tree_bytes(inputs[1])
        jaxpr = flops.trace(_step(case, config), *inputs)
        return np.array([flops.operations(jaxpr), flops.moved(jaxpr) + ends])

    penalties = lazy_penalties(case.config)
    plain = count(_without_lazy_penalties(case.config))
    more = [(interval, count(config) - plain) for interval, config in penalties]
    mean, most = (
        plain + sum(cost // interval for interval, cost in more),
        plain + sum(cost for _, cost in more),
    )
    return {
        "flops": int(mean[0]),
        "bytes": int(mean[1]),
        "most_flops": int(most[0]),
        "most_bytes": int(most[1]),
    }


def _step(case: Case, config: Any) -> Any:
    return lambda state, batch, key: case.family.train_step(config, state, batch, key)


def tree_bytes(tree: Any) -> int:
    """Bytes of all leaves, arrays or shapes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
