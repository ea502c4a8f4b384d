"""What a family is handed, checked by shapes and dtypes when it is traced: config, state, batch, labels.

Every `train_step` begins with `begin`. Nothing here costs time in a compiled step, except that labels
which are not known until then make the loss NaN where they are out of range (see `nn.labels`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.errors import require
from jaxgan.family import Conditioning, Family, conditioning
from jaxgan.nn.labels import rows
from jaxgan.state import Batch, PyTree, State

BatchSpec = Callable[[Any, int], dict[str, jax.ShapeDtypeStruct]]
Init = Callable[[Any, jax.Array], State]


class Contract(NamedTuple):
    """The parts of a family that its arguments are checked against."""

    config: type
    init: Init
    batch_spec: BatchSpec
    conditioning: Callable[[Any], Conditioning]


def begin(contract: Contract, config: Any, state: State, batch: Batch) -> Batch:
    """Return the batch as `batch_spec` wants it, once config, state and batch are known to fit.

    Images of float16 and bfloat16 become float32, integers int32; keys that `batch_spec` does not name
    are left out. Labels out of range are refused where they are concrete; in a traced step they make the
    loss NaN: layouts here, through their images, all others where networks read them.

    Raises ValueError in one sentence for a config of another family, a state of another config, and a
    batch that `check_batch` refuses.
    """
    check_config(config, contract.config)
    check_state(contract.init, config, state)
    told = contract.conditioning(config)
    return _poisoned(told, _checked(contract.batch_spec, config, told, batch))


def check_batch(family: Family, config: Any, batch: Batch) -> Batch:
    """Return `batch` cast to the dtypes of `family.batch_spec`, without further keys, if it fits.

    Looks at shapes and dtypes, so takes arrays, tracers and `jax.ShapeDtypeStruct`s alike. The number
    of examples is free, but must split over the turns of a step (`critic_steps`).

    Raises ValueError naming the key and what was expected: a missing key; another dtype (float16 and
    bfloat16 images and integers of any width pass); another shape; numbers of examples that differ or
    do not split; concrete labels out of range.
    """
    check_config(config, family.Config)
    return _checked(family.batch_spec, config, conditioning(family, config), batch)


def check_config(config: Any, of: type) -> None:
    """Raise ValueError unless `config` is one of the class `of`, a family's Config."""
    wanted, got = (f"{_family(cls)}.{cls.__name__}" for cls in (of, type(config)))
    require(isinstance(config, of), f"a {wanted} is needed, got a {got}")


def _family(cls: type) -> str:
    return cls.__module__.rpartition(".")[2].removesuffix("_config")


# ------------------------------------------------------------------------------------------ batches


def _checked(batch_spec: BatchSpec, config: Any, told: Conditioning, batch: Batch) -> Batch:
    one = batch_spec(config, 1)
    require(
        isinstance(batch, Mapping),
        f"a batch must be a dict of {', '.join(one)}, got {type(batch).__name__}",
    )
    missing = [name for name in one if name not in batch]
    require(
        not missing,
        f"the batch lacks {', '.join(missing)}: it needs {', '.join(one)}, got {', '.join(batch) or 'nothing'}",
    )
    count = _count(one, batch)
    wanted = batch_spec(config, count // next(iter(one.values())).shape[0])
    ranges = label_ranges(told)
    return {
        name: _entry(name, batch[name], leaf, ranges.get(name)) for name, leaf in wanted.items()
    }


def _count(one: dict[str, jax.ShapeDtypeStruct], batch: Batch) -> int:
    """Return the number of examples of a batch, the same for all entries and a whole number of steps."""
    for name, leaf in one.items():
        axes, shape = ", ".join(["B", *map(str, leaf.shape[1:])]), list(np.shape(batch[name]))
        fits = len(shape) == len(leaf.shape)
        require(fits, f"batch[{name!r}] must be of shape [{axes}] for B examples, got {shape}")
    counts = {name: np.shape(batch[name])[0] for name in one}
    first, count = next(iter(counts.items()))
    for name, other in counts.items():
        require(
            other == count,
            f"batch[{name!r}] has {other} examples and batch[{first!r}] {count}: they must be as many",
        )
    turns = one[first].shape[0]
    require(count > 0, f"batch[{first!r}] has no examples: its shape is {np.shape(batch[first])}")
    nearest = max(turns, round(count / turns) * turns)
    split = f"batch[{first!r}] has {count} examples on each device, which do not split over the critic's {turns} steps"
    require(count % turns == 0, f"{split}: give a multiple of {turns}, such as {nearest}")
    return count


def _entry(name: str, have: Any, wanted: jax.ShapeDtypeStruct, limit: int | None) -> Any:
    shape, dtype = np.shape(have), _dtype(have)
    fits = shape == wanted.shape
    require(fits, f"batch[{name!r}] must be of shape {list(wanted.shape)}, got {list(shape)}")
    if jnp.issubdtype(wanted.dtype, jnp.integer):
        whole = jnp.issubdtype(dtype, jnp.integer)
        require(whole, f"batch[{name!r}] must be integers (int32), got {dtype}")
        if limit is not None:
            check_range(f"batch[{name!r}]", have, limit)
    elif len(shape) == 4:
        floating = dtype in (jnp.float32, jnp.float16, jnp.bfloat16)
        remedy = (
            ": bring them to [-1, 1], as jaxgan.data.normalise does"
            if jnp.issubdtype(dtype, jnp.integer)
            else ""
        )
        require(
            floating, f"batch[{name!r}] must be images of float32 in [-1, 1], got {dtype}{remedy}"
        )
    else:
        number = jnp.issubdtype(dtype, jnp.number) or jnp.issubdtype(dtype, jnp.bool_)
        require(number, f"batch[{name!r}] must be numbers (float32), got {dtype}")
        check_unit(f"batch[{name!r}]", have)
    if dtype == wanted.dtype or isinstance(have, jax.ShapeDtypeStruct):
        return wanted if isinstance(have, jax.ShapeDtypeStruct) else have
    return jnp.asarray(have).astype(wanted.dtype)


def _dtype(array: Any) -> Any:
    return array.dtype if hasattr(array, "dtype") else np.asarray(array).dtype


def label_ranges(told: Conditioning) -> dict[str, int]:
    """Return, for each entry of a batch that numbers things, how many there are; it counts from 0."""
    ranges = {}
    if told.kind == "class":
        ranges["label"] = told.classes
    if told.kind == "layout":
        ranges["layout"] = told.classes + 1  # the last is unknown
    if told.known:
        ranges["set"] = len(told.known)
    return ranges


def _poisoned(told: Conditioning, batch: Batch) -> Batch:
    """Return the batch with NaN for the images of examples whose traced layouts are out of range."""
    layout = batch.get("layout")
    if not isinstance(layout, jax.core.Tracer):
        return batch
    inside = ((layout >= 0) & (layout < label_ranges(told)["layout"])).all(axis=(1, 2))
    zero_or_nan = rows(jnp.zeros(1, jnp.float32), jnp.where(inside, jnp.int32(0), jnp.int32(1)))
    return {**batch, "image": batch["image"] + zero_or_nan[:, None, None, None]}


# ------------------------------------------------------------------------------------------- labels


def check_labels(labels: Any, count: int, classes: int) -> jax.Array | None:
    """Return labels as int32 [count], or None for a model without classes.

    Args:
      labels: integers [count], an array, a list or a tracer; None without classes.

    Raises ValueError: labels missing or out of place, another shape, no integers, concrete ones outside
    [0, classes).
    """
    require((labels is not None) == bool(classes), "labels are needed with classes, and only then")
    if labels is None:
        return None
    shape, dtype = np.shape(labels), _dtype(labels)
    fits = shape == (count,) and (jnp.issubdtype(dtype, jnp.integer) or count == 0)
    require(fits, f"labels must be integers [{count}], got {dtype} of shape {list(shape)}")
    check_range("labels", labels, classes)
    return jnp.asarray(labels).astype(jnp.int32)


def check_range(name: str, labels: Any, limit: int) -> None:
    """Raise ValueError unless concrete integers are in [0, limit)."""
    if not _is_concrete(labels):
        return
    values = np.asarray(labels)
    outside = values[(values < 0) | (values >= limit)]
    require(
        not outside.size,
        f"{name} must be from 0 to {limit - 1}, got {outside[0] if outside.size else ''}",
    )


def check_unit(name: str, values: Any) -> None:
    """Raise ValueError unless concrete attributes are in [0, 1]."""
    if _is_concrete(values):
        outside = np.asarray(values, np.float32)
        outside = outside[~((outside >= 0) & (outside <= 1))]
        require(
            not outside.size,
            f"{name} must be from 0 (off) to 1 (on), got {outside[0] if outside.size else ''}",
        )


def _is_concrete(array: Any) -> bool:
    if isinstance(array, (jax.core.Tracer, jax.ShapeDtypeStruct)):
        return False
    return not isinstance(array, jax.Array) or array.is_fully_addressable


# ------------------------------------------------------------------------------------------- states


def check_state(
    init: Init, config: Any, state: State, parts: tuple[str, ...] = ("players", "ema", "extra")
) -> None:
    """Raise ValueError naming the first difference unless `state` is as `init(config, key)` makes it.

    By structure and shapes.

    Args:
      parts: fields of `State` to compare; ("ema",) for what only samples.
    """
    family = init.__module__.rpartition(".")[2]
    require(
        isinstance(state, State),
        f"a jaxgan.State of {family}.init is needed, got a {type(state).__name__}",
    )
    try:
        expected = _expected_of_constants(init, config)
    except TypeError:  # tracers cannot be hashed
        expected = _expected(init, config)
    for part in parts:
        difference = _difference(expected[part], _shapes(getattr(state, part)))
        remedy = f"make it by {family}.init, or load the config it was trained with"
        require(
            not difference,
            f"the state does not fit this {family}.Config ({part}{difference}): {remedy}",
        )


def check_sampler(contract: Contract, config: Any, state: State) -> None:
    """Raise ValueError unless `config` is the family's and the averaged networks in `state` are its own."""
    check_config(config, contract.config)
    check_state(contract.init, config, state, ("ema",))


@functools.lru_cache(maxsize=256)
def _expected_of_constants(init: Init, config: Any) -> dict[str, dict[str, tuple[int, ...]]]:
    return _expected(init, config)


def _expected(init: Init, config: Any) -> dict[str, dict[str, tuple[int, ...]]]:
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(functools.partial(init, config), key)
    return {part: _shapes(getattr(state, part)) for part in ("players", "ema", "extra")}


def _shapes(tree: PyTree) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): tuple(np.shape(leaf)) for path, leaf in leaves}


def _difference(expected: dict[str, tuple[int, ...]], got: dict[str, tuple[int, ...]]) -> str:
    """Return the first leaf that differs and how, or ""."""
    for path, shape in expected.items():
        if path not in got:
            return f"{path} is missing"
        if got[path] != shape:
            return f"{path} is {list(got[path])}, not {list(shape)}"
    further = [path for path in got if path not in expected]
    return f"{further[0]} is not of it" if further else ""
