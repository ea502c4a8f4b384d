"""What there is to make and to compare, for each way in which a model is conditioned: one task for each direction, target domain, or for all images.

N images are made in parts of n. Programs are compiled once for a data set and serve every state.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.data.dataset import Dataset
from jaxgan.data.prepare import normalise
from jaxgan.errors import NonFiniteError, require
from jaxgan.family import Encodes
from jaxgan.games.attributes import group_columns, target_domains
from jaxgan.metrics import real, table
from jaxgan.metrics.real import Rows
from jaxgan.state import PyTree, State

PART_PIXELS, PART_MOST = 1 << 18, 128
"""Images are made in parts of so many pixels, and of so many images at most: bounds memory, changes nothing."""

Make = Callable[[State], Iterator[np.ndarray]]


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """Images to make, and the real ones that they should be like.

    subject: see `Result`. count: N. make: a state -> uint8 [n, H, W, C], in parts.
    array, index: which array of the data set the real images are in, and which of its rows; None for all.
    source: what is translated, or None. target: what should come out, uint8 [N, H, W, C], or None.
    labels: the class that each image is asked for, int [N], or None. layout: the map that it is to follow, or None.
    column, value: the attribute that all images are to show, and whether they are to show it.
    back: a state -> what comes of `origin` on the way there and back, in parts; None where there is no way back.
    """

    subject: str
    count: int
    make: Make
    array: str
    index: np.ndarray | None = None
    source: Rows | None = None
    target: Rows | None = None
    labels: np.ndarray | None = None
    layout: Rows | None = None
    column: int | None = None
    value: bool = True
    back: Make | None = None
    origin: Rows | None = None


def part_size(size: tuple[int, int], count: int) -> int:
    """Images made at once."""
    return max(1, min(PART_MOST, count, PART_PIXELS // (size[0] * size[1])))


def in_parts(
    program: Callable, state: State, rows: Sequence[Rows | np.ndarray], count: int, part: int
) -> Iterator[np.ndarray]:
    """uint8 [n, H, W, C] of program(state, first, *rows [part, ...]) -> float [part, H, W, C] in [-1, 1], until there are `count`.

    Raises NonFiniteError where an image has a NaN or an infinity.
    """
    for first in range(0, count, part):
        taken = [
            each.take(first, part, whole=True)
            if isinstance(each, Rows)
            else each[first : first + part]
            for each in rows
        ]
        filled = [
            np.concatenate([each, np.repeat(each[-1:], part - len(each), axis=0)])
            if len(each) < part
            else each
            for each in taken
        ]
        images, finite = program(state, first, *filled)
        if not finite:
            raise NonFiniteError(
                "the averaged generator makes images with NaN or infinite values: go on from an earlier checkpoint"
            )
        yield np.asarray(images)[: count - first]


def compiled(function: Callable[..., jax.Array]) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """(state, first, *rows) -> (uint8 images as they would be in a file, whether all were finite); images among the rows are given in [-1, 1]."""

    def program(state: State, first: jax.Array, *rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        images = function(
            state, first, *(normalise(each) if each.ndim == 4 else each for each in rows)
        )
        levels = jnp.rint((jnp.clip(images.astype(jnp.float32), -1, 1) + 1) * 127.5)
        return levels.astype(jnp.uint8), jnp.isfinite(images).all()

    return jax.jit(program)


def make_tasks(
    family: ModuleType,
    config: Any,
    dataset: Dataset,
    samples: int,
    seed: int,
    options: dict[str, Any],
    made: dict[str, np.ndarray] | None = None,
) -> list[Task]:
    """Every task of a model on these real images.

    Args:
      samples: images to make, at most; a translator makes one for each real image, of so many, drawn at random.
      seed: key of `sample` and `translate` is `jax.random.key(seed)`.
      options: of the family's `sample`.
      made: by subject, images that are there already, in place of the model's; see `measure.evaluator`. Raises ValueError where they are not those asked for.
    """
    how = table.mode(family, config, dataset)
    between = {
        "paired": _between_domains,
        "unpaired": _between_domains,
        "domains": _to_domains,
        "layout": _of_maps,
    }
    tasks = between.get(how, _from_noise)(family, config, dataset, samples, seed, options)
    return tasks if made is None else [_made(task, made) for task in tasks]


def _made(task: Task, made: dict[str, np.ndarray]) -> Task:
    """The task with its images from `made`."""
    images = made.get(task.subject, np.empty(0))
    require(
        len(images) == task.count,
        f"{task.count} images of {task.subject or 'the model'} are asked for, there are {len(images)}",
    )
    return dataclasses.replace(task, make=file_task(images).make, back=None, origin=None)


# --------------------------------------------------------------------------------------------------------------- from noise


def _from_noise(
    family: ModuleType,
    config: Any,
    dataset: Dataset,
    samples: int,
    seed: int,
    options: dict[str, Any],
) -> list[Task]:
    size, key = image_size(family, config, "image"), jax.random.key(seed)
    part = part_size(size, samples)
    images = Rows(dataset.arrays["image"], size)
    labels = (
        classes_asked(config, dataset, samples, seed)
        if "label" in family.batch_spec(config, 1)
        else None
    )

    def function(state: State, first: jax.Array, *labels: jax.Array) -> jax.Array:
        return family.sample(config, state, key, part, *labels, first=first, **options)

    program = compiled(function)
    make = partial(
        in_parts, program, rows=[] if labels is None else [labels], count=samples, part=part
    )
    back = None
    if isinstance(family, Encodes):
        origin = images.some(samples, seed)
        again = compiled(lambda state, first, given: family.reconstruct(config, state, given))
        back = partial(in_parts, again, rows=[origin], count=len(origin), part=part)
        return [Task("", samples, make, "image", labels=labels, back=back, origin=origin)]
    return [Task("", samples, make, "image", labels=labels)]


def classes_asked(config: Any, dataset: Dataset, count: int, seed: int) -> np.ndarray:
    """Classes in a random order, as often as the real images have them: int32 [count]."""
    known = dataset.arrays.get("label", np.arange(config.classes))
    return (
        np.random.default_rng(seed)
        .permutation(np.resize(known, max(count, len(known))))[:count]
        .astype(np.int32)
    )


def image_size(family: ModuleType, config: Any, name: str) -> tuple[int, int]:
    """(height, width) of an array of the family's batches."""
    height, width = family.batch_spec(config, 1)[name].shape[1:3]
    return height, width


# ------------------------------------------------------------------------------------------------------------- from images


def _drawing(family: ModuleType, seed: int) -> Callable[[jax.Array], dict[str, Any]]:
    """The arguments of `translate` that say what is drawn, from the number of the first image on."""
    takes = inspect.signature(family.translate).parameters
    key = jax.random.key(seed)
    return lambda first: {
        name: value for name, value in {"key": key, "first": first}.items() if name in takes
    }


def _between_domains(
    family: ModuleType,
    config: Any,
    dataset: Dataset,
    samples: int,
    seed: int,
    options: dict[str, Any],
) -> list[Task]:
    ways, draws = table.directions(family, config), _drawing(family, seed)
    tasks = []
    for direction in ways:
        start, end = direction[0], direction[-1]
        source = Rows(dataset.arrays[start], image_size(family, config, start)).some(samples, seed)
        count = len(source)
        part = part_size(source.size, count)

        def there(
            state: State, first: jax.Array, images: jax.Array, direction: str = direction
        ) -> jax.Array:
            return family.translate(config, state, images, direction=direction, **draws(first))

        def and_back(
            state: State,
            first: jax.Array,
            images: jax.Array,
            there: Callable = there,
            direction: str = direction,
        ) -> jax.Array:
            return family.translate(
                config,
                state,
                there(state, first, images),
                direction=direction[::-1],
                **draws(first),
            )

        back = (
            partial(in_parts, compiled(and_back), rows=[source], count=count, part=part)
            if len(ways) > 1
            else None
        )
        make = partial(in_parts, compiled(there), rows=[source], count=count, part=part)
        true = (
            None
            if dataset.independent
            else Rows(dataset.arrays[end], image_size(family, config, end), source.index)
        )
        tasks.append(
            Task(direction, count, make, end, source=source, target=true, back=back, origin=source)
        )
    return tasks


def _of_maps(
    family: ModuleType,
    config: Any,
    dataset: Dataset,
    samples: int,
    seed: int,
    options: dict[str, Any],
) -> list[Task]:
    spec, draws = family.batch_spec(config, 1), _drawing(family, seed)
    names = [name for name in ("layout", "instance") if name in spec]
    rows = {
        name: Rows(dataset.arrays[name], image_size(family, config, name)).some(samples, seed)
        for name in ("image", *names)
    }
    count = len(rows["image"])
    part = part_size(rows["image"].size, count)

    def function(
        state: State, first: jax.Array, layout: jax.Array, *instance: jax.Array
    ) -> jax.Array:
        told = {"instances": instance[0].astype(jnp.int32)} if instance else {}
        return family.translate(config, state, layout.astype(jnp.int32), **told, **draws(first))

    make = partial(
        in_parts, compiled(function), rows=[rows[name] for name in names], count=count, part=part
    )
    return [Task("", count, make, "image", target=rows["image"], layout=rows["layout"])]


def _to_domains(
    family: ModuleType,
    config: Any,
    dataset: Dataset,
    samples: int,
    seed: int,
    options: dict[str, Any],
) -> list[Task]:
    """To each attribute, from the images that do not have it; and of binary ones without alternatives away from it, from those that have it."""
    own = dataset.arrays["attributes"].astype(np.float32)
    sets = dataset.arrays.get("set") if config.known else None
    size, programs = image_size(family, config, "image"), _domain_programs(family, config)
    targets = list(
        target_domains(config, jnp.asarray(own), *([] if sets is None else [jnp.asarray(sets)]))
    )
    single = {columns.start for columns in group_columns(config) if len(columns) == 1}
    part, tasks = part_size(size, min(samples, len(own))), []
    for column, (name, wanted, meant) in enumerate(targets):
        told = (
            np.ones(len(own), bool) if sets is None else np.array(config.known, bool)[sets, column]
        )
        for value in (True, False):
            index = np.flatnonzero(
                told & (own[:, column] != value) & (np.asarray(wanted)[:, column] == value)
            )
            like = np.flatnonzero(told & (own[:, column] == value))
            if len(index) == 0 or len(like) < 2 or (not value and column not in single):
                continue
            index = index[real.drawn(len(index), samples, seed)]
            rows = Rows(dataset.arrays["image"], size, index)
            told_rows = [np.asarray(wanted)[index], own[index]] + (
                [] if sets is None else [np.asarray(meant)[index], np.asarray(sets)[index]]
            )
            there, back = (
                partial(in_parts, each, rows=[rows, *told_rows], count=len(index), part=part)
                for each in programs
            )
            true = real.true_inks(dataset, name, rows) if value else None
            subject = f"to {name}" if value else f"to not {name}"
            target = None if true is None else Rows(true, size)
            tasks.append(
                Task(
                    subject,
                    len(index),
                    there,
                    "image",
                    like,
                    rows,
                    target,
                    column=column,
                    value=value,
                    back=back,
                    origin=rows,
                )
            )
    return tasks


def _domain_programs(family: ModuleType, config: Any) -> tuple[Callable, Callable]:
    """The way there, and the way there and back."""

    def there(
        state: State,
        first: jax.Array,
        images: jax.Array,
        wanted: jax.Array,
        own: jax.Array,
        *sets: jax.Array,
    ) -> jax.Array:
        return family.translate(
            config, state, images, wanted, **({"sets": sets[0]} if sets else {})
        )

    def and_back(
        state: State,
        first: jax.Array,
        images: jax.Array,
        wanted: jax.Array,
        own: jax.Array,
        *sets: jax.Array,
    ) -> jax.Array:
        made = there(state, first, images, wanted, own, *sets)
        return family.translate(config, state, made, own, **({"sets": sets[1]} if sets else {}))

    return compiled(there), compiled(and_back)


# --------------------------------------------------------------------------------------------------------------- from files


def file_task(images: np.ndarray) -> Task:
    """Images that are there already, [N, H, W, C]: the state is not used."""
    rows = Rows(images, images.shape[1:3])

    def make(state: PyTree) -> Iterator[np.ndarray]:
        yield from rows.blocks()

    return Task("", len(images), make, "image")
