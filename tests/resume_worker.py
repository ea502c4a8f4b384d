"""One process of a run that is going to be killed: `python resume_worker.py JSON`, started by test_resume.

The settings: `case` (a name in PROCESSES, or "tiny"), `run`, `data`, `options` of `train.run` (`augment` by its fields), and `kill`: null or
[phase, number, delay].

Phases, in each of which the process sends itself SIGKILL, having appended a line (phase, images or files) to `run`.kills:
  cache   while the data set's cache is built, at its `number`-th image
  first   before the first checkpoint is begun
  step    `delay` seconds after the call that ends at `number` images was dispatched
  saving  `delay` seconds after files of checkpoint `number` begin to appear, or at its commit, the renaming of its folder, if that comes first
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import jax

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")

# After the settings of JAX:
from jaxgan import data  # noqa: E402
from jaxgan.data import decoding  # noqa: E402
from jaxgan.records import checkpoint  # noqa: E402
from jaxgan.run import loop, train  # noqa: E402


def die(phase, number):
    with open(SETTINGS["run"] + ".kills", "a") as file:
        file.write(json.dumps([phase, number]) + "\n")
    os.kill(os.getpid(), signal.SIGKILL)


def kill_in_cache(number):
    add, seen = decoding.Fingerprint.add, []

    def counted(self, pixels):
        seen.append(0)
        if len(seen) == number:
            die("cache", number)
        return add(self, pixels)

    decoding.Fingerprint.add = counted


def kill_before_first():
    checkpoint.Checkpoints.save = lambda self, state, sampler, meta: die("first", int(state.images))


def kill_in_step(number, delay):
    handle = loop.Loop._handle_pending  # called once the next call was dispatched

    def handled(self):
        if self.images + self.session.plan.call == number:
            time.sleep(delay)
            die("step", number)
        handle(self)

    loop.Loop._handle_pending = handled


def kill_while_saving(number, delay):
    start = checkpoint.Checkpoints._start

    def watch(directory, left_over):
        while not set(directory.glob(f"{number}.*")) - left_over:
            time.sleep(0.0005)
        time.sleep(delay)
        die("saving", number)

    rename = os.rename

    def renamed(source, target, **options):
        if Path(target).name == str(number):
            die("saving", number)
        rename(source, target, **options)

    os.rename = renamed

    def started(self, images, arguments):
        if images == number:
            left_over = set(self.directory.glob(f"{number}.*"))  # by a process killed before
            threading.Thread(target=watch, args=(self.directory, left_over), daemon=True).start()
        return start(self, images, arguments)

    checkpoint.Checkpoints._start = started


def main():
    phase, number, delay = SETTINGS["kill"] or (None, 0, 0)
    if phase == "cache":
        kill_in_cache(number)
    elif phase == "first":
        kill_before_first()
    elif phase == "step":
        kill_in_step(number, delay)
    elif phase == "saving":
        kill_while_saving(number, delay)
    if SETTINGS["case"] == "tiny":
        from tests import tiny_family as family

        config = family.Config()
    else:
        from tests.families_under_test import PROCESSES

        family, config = PROCESSES[SETTINGS["case"]].family, PROCESSES[SETTINGS["case"]].config
    options = {**SETTINGS["options"], "augment": data.Augment(**SETTINGS["options"]["augment"])}
    train.run(family, config, SETTINGS["data"], Path(SETTINGS["run"]), progress=False, **options)


if __name__ == "__main__":
    SETTINGS = json.loads(sys.argv[1])
    main()
