"""Every background thread of a run is killed once. The run ends in further steps or in one of the library's errors, and the same command goes on from it."""

from __future__ import annotations

import concurrent.futures
import re
import threading
import time

import jax
import numpy as np
import pytest
from PIL import Image

from jaxgan import data
from jaxgan.errors import JaxganError
from jaxgan.records import threads
from jaxgan.run import loop, train
from tests import tiny_family

pytest.importorskip("grain")
pytest.importorskip("tensorboardX")

POOLS = {"asyncio", "metadata_store", "grain-prefetch", "jaxgan-decode"}
CASES = {
    "async_save",
    "save_finalize",
    "np_type_handler",
    "json_ch_save",
    "write_metadata_after_commits",
    "_target_setting_result",  # makes the folders of a checkpoint
    "jaxgan-prefetch",
    "jaxgan-supervised",
    "jaxgan-compiling",
    "tqdm_monitor",
    *POOLS,
}
pytestmark = pytest.mark.filterwarnings("ignore::jaxgan.checkpoint.CheckpointWarning")


def kind(thread):
    """A thread's name without its number; of those without a name, that of their function."""
    return re.sub(r"^Thread-\d+ \((.*)\)$", r"\1", thread.name).rstrip("0123456789").rstrip("_")


@pytest.fixture
def started(monkeypatch):
    """Kinds of the threads that were started."""
    jax.devices()  # JAX starts a timer the first time, which warns of slow starts
    kinds, start = set(), threading.Thread.start
    monkeypatch.setattr(
        threading.Thread, "start", lambda self: kinds.add(kind(self)) or start(self)
    )
    return kinds


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("threads") / "set"
    made.mkdir()
    for i, pixels in enumerate(
        np.random.default_rng(0).integers(0, 256, (24, 4, 4)).astype(np.uint8)
    ):
        Image.fromarray(pixels).save(made / f"{i:02}.png")
    return made


def run(folder, directory):
    dataset = data.open(f"folder:{folder}", channels=1, stream=True, cache_dir=directory / "cache")
    cadences = {"log_every": 8, "sample_every": 32, "checkpoint_every": 16}
    return train.run(
        tiny_family,
        tiny_family.Config(),
        dataset,
        directory / "run",
        images=32,
        batch_size=8,
        devices=1,
        **cadences,
    )


@pytest.fixture(scope="module")
def straight(folder, tmp_path_factory):
    return jax.device_get(run(folder, tmp_path_factory.mktemp("threads")))


def test_every_thread_of_a_run_has_a_case(folder, tmp_path, started, monkeypatch):
    alive, write = set(), loop.report.write
    monkeypatch.setattr(
        loop.report,
        "write",
        lambda path: alive.update(map(kind, threading.enumerate())) or write(path),
    )
    with concurrent.futures.ThreadPoolExecutor(1, "test") as pool:
        before = {kind(thread) for thread in threading.enumerate()}
        pool.submit(run, folder, tmp_path).result()
    assert (tmp_path / "run" / "report.html").exists()
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    assert "grain-prefetch" in alive
    assert (started | alive) - before - {"test"} <= CASES


def killing(monkeypatch, which, manner, spared):
    """From now on threads of that kind, but for the first `spared`, die: before they do anything, or with a piece of work in hand."""
    count, start = [], threading.Thread.start

    def dying(self):
        if kind(self) == which:
            count.append(self)
            if len(count) > spared:
                work = self._args[1] if which in POOLS else None
                self.run = work.get if manner == "with work in hand" else lambda: None
        start(self)

    monkeypatch.setattr(threading.Thread, "start", dying)
    return count


def within(seconds, action):
    """What `action` returns, or its error, if it ends in time."""
    outcome = []

    def work():
        try:
            outcome.append(action())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=work, name="test", daemon=True)
    thread.start()
    thread.join(seconds)
    assert outcome, f"hangs for {seconds} s"
    return outcome[0]


@pytest.fixture
def left_behind():
    """Names those that wait for a dead thread without end anew, so that other tests do not take them for theirs."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.name = "left behind"


MANNERS = [(name, "at once") for name in sorted(CASES)] + [
    (name, "with work in hand") for name in sorted(POOLS)
]


@pytest.mark.parametrize(("which", "manner"), MANNERS)
@pytest.mark.usefixtures("left_behind")
def test_a_dead_thread_ends_in_steps_or_an_error(
    folder, tmp_path, straight, monkeypatch, which, manner
):
    monkeypatch.setattr(threads, "LOOK_SECONDS", 0.05)
    if which == "tqdm_monitor":
        from tqdm import tqdm

        monkeypatch.setattr(tqdm, "monitor", None)
    with monkeypatch.context() as patch:
        killed = killing(patch, which, manner, spared=0)
        outcome = within(60, lambda: run(folder, tmp_path))
    assert killed
    if isinstance(outcome, BaseException):
        assert isinstance(outcome, JaxganError), outcome
        assert "\n" not in str(outcome)
        assert which in str(outcome) or "could not be written" in str(outcome)
    again = within(60, lambda: jax.device_get(run(folder, tmp_path)))
    jax.tree.map(np.testing.assert_array_equal, again, straight)


def test_a_pool_that_died_before_is_not_blamed(monkeypatch):
    """What a run left dead in this process does not end the next one, however long that takes."""
    monkeypatch.setattr(threads, "LOOK_SECONDS", 0.02)
    others = set(threads.dead_pools("orbax"))
    pool = concurrent.futures.ThreadPoolExecutor(1, "metadata_store")
    with monkeypatch.context() as patch:
        killed = killing(patch, "metadata_store", "at once", spared=0)
        pool.submit(time.sleep, 0)
    killed[0].join(5)
    dead = threads.dead_pools("orbax")
    assert {dead[pool] for pool in dead.keys() - others} == {"metadata_store"}

    def slow():
        time.sleep(0.5)
        return "done"

    assert threads.supervised(slow, "orbax", frozenset(dead)) == "done"
    with pytest.raises(threads.ThreadDied, match="metadata_store"):
        threads.supervised(slow, "orbax", frozenset(others))
    pool.shutdown(wait=False)
    assert set(threads.dead_pools("orbax")) <= others
