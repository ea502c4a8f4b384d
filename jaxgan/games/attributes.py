"""Vectors of attributes as StarGAN has them: K columns of 0 and 1, binary ones and exclusive groups, of one data set or of several with a mask.

A config has the fields `attributes` (names of the columns), `groups`, `known` and `alternatives`; see `jaxgan.families.stargan.Config`.
Shapes: B examples on this device, K attributes, S data sets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.errors import require
from jaxgan.nn.labels import one_hot
from jaxgan.state import Batch
from jaxgan.update import gather, local_part


def check_settings(config: Any) -> None:
    """Raise `ValueError` if names, groups and what each data set tells do not fit together."""
    names, count = config.attributes, len(config.attributes)
    require(
        count > 0 and len(set(names)) == count,
        f"attributes must be different names, at least one, got {names}",
    )
    fits = not config.groups or (
        sum(size for _, size in config.groups) == count
        and min(size for _, size in config.groups) > 0
    )
    require(
        fits,
        f"groups must divide the {count} attributes into groups of at least one, got {config.groups}",
    )
    rows = len(config.known) != 1 and all(len(row) == count and any(row) for row in config.known)
    require(
        rows,
        f"known must say for each of several data sets which of the {count} attributes it tells, got {config.known}",
    )
    for (name, _), columns in zip(config.groups, group_columns(config), strict=False):
        whole = all(len({row[column] for column in columns}) == 1 for row in config.known)
        require(
            whole,
            f"known must be the same for all attributes of the group {name}: a data set tells all of them or none",
        )


def group_columns(config: Any) -> list[range]:
    """The columns of each group; a binary attribute is a group of one."""
    sizes = [size for _, size in config.groups] or [1] * len(config.attributes)
    ends = np.cumsum(sizes).tolist()
    return [range(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def _told(config: Any, sets: jax.Array | None, count: int) -> jax.Array:
    """float32 [count, K]: 1 for the attributes that each example's data set tells."""
    if sets is None:
        return jnp.ones((count, len(config.attributes)), jnp.float32)
    return jnp.asarray(config.known, jnp.float32)[sets]


def condition(config: Any, attributes: jax.Array, sets: jax.Array | None) -> jax.Array:
    """What a generator is told, float32 [B, K + S]: the attributes, 0 where the data set does not tell them, and which data set it is.

    With a single data set (`sets` None) the attributes [B, K] as they are. Source: Choi et al. 2018, section 3.3 (the mask vector).
    """
    if sets is None:
        return attributes
    return jnp.concatenate(
        [attributes * _told(config, sets, len(sets)), one_hot(sets, len(config.known))], axis=-1
    )


def class_loss(
    config: Any, logits: jax.Array, attributes: jax.Array, sets: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """The loss of logits [B, K] against attributes [B, K], float32 [], and the share of groups that are right, float32 [].

    Per example the sum over the groups that its data set tells, of softmax cross-entropies of exclusive groups and sigmoid ones of binary attributes.
    """
    told = _told(config, sets, len(logits))
    loss, right, count = jnp.float32(0), jnp.float32(0), jnp.float32(0)
    columns = group_columns(config)
    binary = np.array([group.start for group in columns if len(group) == 1], np.int32)
    if binary.size:
        x, y, weight = (array[:, binary] for array in (logits, attributes, told))
        loss += jnp.sum(weight * (y * jax.nn.softplus(-x) + (1 - y) * jax.nn.softplus(x)), axis=-1)
        right += jnp.sum(weight * ((x > 0) == (y > 0.5)).astype(jnp.float32), axis=-1)
        count += jnp.sum(weight, axis=-1)
    for group in columns:
        if len(group) > 1:
            x, y, weight = (
                array[:, group.start : group.stop] for array in (logits, attributes, told)
            )
            loss -= jnp.sum(weight * y * jax.nn.log_softmax(x), axis=-1)
            right += weight[:, 0] * (jnp.argmax(x, axis=-1) == jnp.argmax(y, axis=-1)).astype(
                jnp.float32
            )
            count += weight[:, 0]
    return jnp.mean(loss), jnp.mean(right / count)


def permuted(real: Batch, order: jax.Array, axis_name: str | None) -> jax.Array:
    """Targets [B, K] for a batch: its own attributes, permuted over all devices as the uniform draws `order` (float32 [B]) say.

    Among the examples of one data set, so that an image is translated to what its own set tells.
    """
    attributes, order = gather((real["attributes"], order), axis_name)
    sets = gather(real["set"], axis_name) if "set" in real else jnp.zeros(len(order), jnp.int32)
    # Both sorts put the examples of one set at the same places.
    into, out_of = jnp.argsort(sets, stable=True), jnp.lexsort((order, sets))
    targets: jax.Array = local_part(
        jnp.zeros_like(attributes).at[into].set(attributes[out_of]), axis_name
    )
    return targets


def target_domains(
    config: Any, attributes: jax.Array, sets: jax.Array | None = None
) -> Iterator[tuple[str, jax.Array, jax.Array | None]]:
    """Every target domain of images with these attributes [B, K]: (name of an attribute, attributes float32 [B, K], sets int32 [B] or None), K times.

    In an exclusive group, or among `Config.alternatives`, the attribute is the only one; otherwise it is turned into its opposite. All others
    stay. With several data sets, the set meant is the image's own if it tells the attribute, else the first that does; what the own did not tell is 0.

    Args:
      sets: the data sets that the images are from, int32 [B].
    """
    attributes = attributes.astype(jnp.float32) * _told(config, sets, len(attributes))
    exclusive = [list(group) for group in group_columns(config) if len(group) > 1]
    exclusive += [
        [config.attributes.index(name) for name in names if name in config.attributes]
        for names in config.alternatives
    ]
    for column, name in enumerate(config.attributes):
        others = next(
            (np.array(group) for group in exclusive if column in group and len(group) > 1), None
        )
        if others is None:
            changed = attributes.at[:, column].set(1 - attributes[:, column])
        else:
            changed = attributes.at[:, others].set(0.0).at[:, column].set(1.0)
        if sets is None:
            yield name, changed, None
        else:
            telling = jnp.array([row[column] for row in config.known])
            yield (
                name,
                changed,
                jnp.where(telling[sets], sets, jnp.argmax(telling).astype(sets.dtype)).astype(
                    jnp.int32
                ),
            )
