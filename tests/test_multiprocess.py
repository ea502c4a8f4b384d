"""Two real processes on this machine, two devices each, against one: the same result, one directory, one readable checkpoint."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxgan import data
from jaxgan.records import checkpoint
from jaxgan.records.checkpoint import Checkpoints
from jaxgan.run import train
from tests import tiny_family
from tests.multiprocess_worker import CONFIG, dataset, of_case

pytestmark = pytest.mark.multiprocess

HOME = Path(__file__).resolve().parent
OPTIONS = {
    "batch_size": 8,
    "seed": 4,
    "augment": {"flip": True},
    "log_every": 8,
    "sample_every": 40,
    "checkpoint_every": 40,
}
HERE = {**OPTIONS, "augment": data.Augment(**OPTIONS["augment"])}
"""OPTIONS for `train.run` in this process; the others get them as JSON."""


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def start(run, processes=2, case="tiny", **options):
    port = free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": str(HOME.parent),
        "JAX_NUM_CPU_DEVICES": "2",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    started = []
    for process in range(processes):
        settings = {
            "case": case,
            "process": process,
            "processes": processes,
            "port": port,
            "run": str(run),
            "options": {**OPTIONS, **options},
        }
        command = [sys.executable, str(HOME / "multiprocess_worker.py"), json.dumps(settings)]
        started.append(
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
            )
        )
    return started


def results(started):
    """What each process printed as its result; all have to end well."""
    try:
        outputs = [process.communicate(timeout=240) for process in started]
    finally:
        for process in started:
            process.kill()
    for process, (_, errors) in zip(started, outputs, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return [
        json.loads(line.removeprefix("RESULT "))
        for out, _ in outputs
        for line in out.splitlines()
        if line.startswith("RESULT ")
    ]


def stored(run, family=tiny_family, config=CONFIG):
    with Checkpoints(run / "checkpoints") as checkpoints:
        return jax.device_get(
            checkpoints.restore(jax.eval_shape(partial(family.init, config), jax.random.key(0)))[0]
        )


def lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """A run of 80 images in this process, on one device."""
    run = tmp_path_factory.mktemp("single") / "run"
    train.run(tiny_family, CONFIG, dataset(), run, images=80, devices=1, progress=False, **HERE)
    return run


def check_same(run, single):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), stored(run), stored(single)
    )
    assert [line["images"] for line in lines(run)] == [line["images"] for line in lines(single)]
    for a, b in zip(lines(run), lines(single), strict=True):
        np.testing.assert_allclose([*a["metrics"].values()], [*b["metrics"].values()], rtol=1e-4)
    assert Checkpoints(run / "checkpoints").steps == [0, 40, 80]
    assert {path.name for path in (run / "samples").iterdir()} == {"00000040.png", "00000080.png"}
    assert int(checkpoint.load(run, family=tiny_family)[2].images) == 80


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{}, {"parallel": "pmap", "steps_per_call": 1}, {"resident": False}],
    ids=["jit", "pmap", "sent"],
)
def test_two_processes_equal_one(tmp_path, single, options):
    first, second = results(start(tmp_path / "run", images=80, **options))
    assert first == second
    assert first["images"] == 80
    check_same(tmp_path / "run", single)


def test_two_processes_resume_what_one_began(tmp_path, single):
    train.run(
        tiny_family,
        CONFIG,
        dataset(),
        tmp_path / "run",
        images=40,
        devices=1,
        progress=False,
        **HERE,
    )
    assert [result["images"] for result in results(start(tmp_path / "run", images=80))] == [80, 80]
    check_same(tmp_path / "run", single)


LATER = (
    "cyclegan",
    "stargan",
    "stargan sets",
    "acgan",
    "dcgan ada",
    "spade",
    "spade styles",
    "stylegan",
    "stylegan labels",
    "vaegan",
    "vaegan gate",
)


@pytest.mark.parametrize(
    "case", ["pix2pix", *(pytest.param(name, marks=pytest.mark.slow) for name in LATER)]
)
def test_two_processes_train_as_one(tmp_path, case):
    """Domains or data sets of unequal length, each domain in its own order, replay pools, dropout, attributes permuted over processes, the probability
    of ADA, means of path lengths and styles, statistics of batches and gates: as in one process.
    """
    family, config, pictures = of_case(case)
    call = 8 * config.stabilisers.critic_steps
    cadences = {
        "images": 3 * call,
        "log_every": call,
        "sample_every": 3 * call,
        "checkpoint_every": 3 * call,
    }
    train.run(
        family, config, pictures, tmp_path / "one", devices=1, progress=False, **(HERE | cadences)
    )
    first, second = results(start(tmp_path / "two", case=case, **cadences))
    assert first == second
    one, two = (stored(tmp_path / name, family, config) for name in ("one", "two"))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), one, two)
    for a, b in zip(lines(tmp_path / "one"), lines(tmp_path / "two"), strict=True):
        for name, value in a["metrics"].items():
            edge = 0.02 if name.endswith("accuracy") else 1e-5
            np.testing.assert_allclose(
                value, b["metrics"][name], rtol=1e-4, atol=edge, err_msg=name
            )


@pytest.mark.slow
def test_two_processes_pass_over_a_damaged_checkpoint_together(tmp_path, single):
    results(start(tmp_path / "run", images=80))
    for file in (tmp_path / "run" / "checkpoints" / "80" / "state").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:-1])
    assert [result["images"] for result in results(start(tmp_path / "run", images=80))] == [80, 80]
    assert (tmp_path / "run" / "checkpoints" / "80.damaged").is_dir()
    check_damaged_aside(tmp_path / "run", single)


def check_damaged_aside(run, single):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), stored(run), stored(single)
    )
    assert Checkpoints(run / "checkpoints").steps == [0, 40, 80]


@pytest.mark.slow
def test_signal_to_one_process_stops_both_at_the_same_step(tmp_path, single):
    started = start(
        tmp_path / "run", images=80_000, log_every=8, checkpoint_every=8000, sample_every=8000
    )
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and not (tmp_path / "run" / "metrics.jsonl").exists():
        time.sleep(0.1)
    while (
        time.monotonic() < deadline
        and len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) < 3
    ):
        time.sleep(0.1)
    started[1].send_signal(signal.SIGTERM)
    first, second = results(started)
    assert first == second
    assert 24 <= first["images"] < 80_000
    assert Checkpoints(tmp_path / "run" / "checkpoints").steps[-1] == first["images"]
