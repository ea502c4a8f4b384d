"""One of several processes of a run: `python multiprocess_worker.py JSON`, started by test_multiprocess.

The settings: `process`, `processes`, `port` (of process 0 on this machine), `run`, `options` of `train.run`. Prints the final state's losses.
"""

from __future__ import annotations

import json
import sys

import jax

if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    if settings["processes"] > 1:
        jax.distributed.initialize(f"127.0.0.1:{settings['port']}", settings["processes"], settings["process"])

import numpy as np

from jaxgan import data, log, train
from tests import tiny_family


def dataset():
    return data.from_arrays("noise", np.random.default_rng(0).integers(0, 256, (50, 4, 4, 1)).astype(np.uint8))


CONFIG = tiny_family.Config(optimizer_name="sgd", optimizer=tiny_family.Adam(learning_rate=0.1))


if __name__ == "__main__":
    log._open_tensorboard = lambda *arguments: None  # slow to load
    assert jax.process_count() == settings["processes"]
    state = train.run(tiny_family, CONFIG, dataset(), settings["run"], progress=False, **settings["options"])
    leaves = [float(np.abs(np.asarray(leaf.addressable_data(0), np.float64)).sum()) for leaf in jax.tree.leaves(state)]
    print("RESULT " + json.dumps({"images": int(state.images), "leaves": leaves}), flush=True)
