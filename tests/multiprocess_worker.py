"""One of several processes of a run: `python multiprocess_worker.py JSON`, started by test_multiprocess.

The settings: `case` ("tiny" or a name in KNOWN), `process`, `processes`, `port` (of process 0 on this machine), `run`, `options` of
`train.run` (`augment` by its fields).
"""

from __future__ import annotations

import dataclasses
import json
import sys

import jax

if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    if settings["processes"] > 1:
        jax.distributed.initialize(
            f"127.0.0.1:{settings['port']}", settings["processes"], settings["process"]
        )

import numpy as np

from jaxgan import data
from jaxgan.games.attributes import group_columns
from jaxgan.optim import Optimizer
from jaxgan.records import checkpoint, log
from jaxgan.run import train
from tests import tiny_family
from tests.contract.helpers import EVERY
from tests.families_under_test import PROCESSES

KNOWN = EVERY | PROCESSES


def noise(*shape):
    return np.random.default_rng(len(shape) + shape[0]).integers(0, 256, shape).astype(np.uint8)


def dataset():
    return data.from_arrays("noise", noise(50, 4, 4, 1))


CONFIG = tiny_family.Config(optimizer_name="sgd", optimizer=tiny_family.Adam(learning_rate=0.1))


def of_case(case):
    """(family, config, data set) of a case: the tiny family, or another with plain SGD."""
    if case == "tiny":
        return tiny_family, CONFIG, dataset()
    family, config = KNOWN[case].family, KNOWN[case].config
    sgd = Optimizer("sgd", learning_rate=KNOWN[case].rate)
    players = [
        field.name for field in dataclasses.fields(config) if field.name.endswith("_optimizer")
    ]
    config = dataclasses.replace(config, **dict.fromkeys(players, sgd))
    return (
        family,
        config,
        pictures(config, family.batch_spec(config, 1), KNOWN[case].data.startswith("paired")),
    )


def pictures(config, spec, paired):
    """20 images of noise, and what else a batch has: another domain of 13 images (20 if `paired`), attributes, label maps, labels."""
    if "a" in spec:
        a, b = (
            noise(20, *config.image_size, config.channels_a),
            noise(20 if paired else 13, *config.image_size, config.channels_b),
        )
        return data.from_domains("noise", a, b, independent=not paired)
    if "attributes" in spec:
        return with_attributes(config)
    images = noise(20, *config.image_size, config.channels)
    if "layout" in spec:
        ids = noise(20, *config.image_size)
        return data.from_layouts(
            "noise",
            images,
            ids % config.classes,
            [str(i) for i in range(config.classes)],
            ids if "instance" in spec else None,
        )
    return data.from_arrays(
        "noise", images, np.arange(20) % config.classes if "label" in spec else None
    )


def with_attributes(config):
    """20 images of noise in a single set, or 20, 21, ... in each of several that tell what the config says."""
    groups, sets = config.groups or tuple((name, 1) for name in config.attributes), []
    for number, known in enumerate(config.known or ((True,) * len(config.attributes),)):
        told = [
            (name, columns)
            for (name, _), columns in zip(groups, group_columns(config), strict=True)
            if known[columns.start]
        ]
        count = 20 + number
        parts = [
            np.eye(max(len(columns), 2), dtype=np.uint8)[np.arange(count) % max(len(columns), 2)][
                :, : len(columns)
            ]
            for _, columns in told
        ]
        names = [config.attributes[column] for _, columns in told for column in columns]
        images = data.from_arrays("noise", noise(count, *config.image_size, config.channels))
        sets.append(
            data.with_attributes(
                images,
                np.concatenate(parts, axis=1),
                names,
                [(name, len(columns)) for name, columns in told],
            )
        )
    return data.combine(sets) if len(sets) > 1 else sets[0]


if __name__ == "__main__":
    log._open_tensorboard = lambda *arguments: None  # slow to load
    assert jax.process_count() == settings["processes"]
    options = {**settings["options"], "augment": data.Augment(**settings["options"]["augment"])}
    case = of_case(settings["case"])
    state = train.run(*case, settings["run"], progress=False, **options)
    if jax.process_index() == 0:  # alone, as what is done once after training
        assert int(checkpoint.load(settings["run"], family=case[0])[2].images) == int(state.images)
    leaves = [
        float(np.abs(np.asarray(leaf.addressable_data(0), np.float64)).sum())
        for leaf in jax.tree.leaves(state)
    ]
    print("RESULT " + json.dumps({"images": int(state.images), "leaves": leaves}), flush=True)
