"""One of several processes of a run: `python multiprocess_worker.py JSON`, started by test_multiprocess.

The settings: `case` ("tiny" or a name in CASES), `process`, `processes`, `port` (of process 0 on this machine), `run`, `options` of
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
        jax.distributed.initialize(f"127.0.0.1:{settings['port']}", settings["processes"], settings["process"])

import numpy as np

from jaxgan import data, log, train
from jaxgan.optim import Optimizer
from tests import tiny_family
from tests.families_under_test import CASES


def noise(*shape):
    return np.random.default_rng(len(shape) + shape[0]).integers(0, 256, shape).astype(np.uint8)


def dataset():
    return data.from_arrays("noise", noise(50, 4, 4, 1))


CONFIG = tiny_family.Config(optimizer_name="sgd", optimizer=tiny_family.Adam(learning_rate=0.1))


def of_case(case):
    """(family, config, data set) of a case: the tiny family, or a translator with plain SGD."""
    if case == "tiny":
        return tiny_family, CONFIG, dataset()
    family, config, paired = CASES[case].family, CASES[case].config, CASES[case].data.startswith("paired")
    sgd = Optimizer("sgd", learning_rate=CASES[case].rate)
    a, b = noise(20, *config.image_size, config.channels_a), noise(20 if paired else 13, *config.image_size, config.channels_b)
    config = dataclasses.replace(config, generator_optimizer=sgd, discriminator_optimizer=sgd)
    return family, config, data.from_domains("noise", a, b, independent=not paired)


if __name__ == "__main__":
    log._open_tensorboard = lambda *arguments: None  # slow to load
    assert jax.process_count() == settings["processes"]
    options = {**settings["options"], "augment": data.Augment(**settings["options"]["augment"])}
    state = train.run(*of_case(settings["case"]), settings["run"], progress=False, **options)
    leaves = [float(np.abs(np.asarray(leaf.addressable_data(0), np.float64)).sum()) for leaf in jax.tree.leaves(state)]
    print("RESULT " + json.dumps({"images": int(state.images), "leaves": leaves}), flush=True)
