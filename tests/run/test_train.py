"""The loop: what it computes, what it leaves behind, when it stops, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import types
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxgan import data, parallel
from jaxgan.errors import DataError, NonFiniteError, RunError
from jaxgan.optim import Optimizer, learning_rate, zero_from
from jaxgan.records import checkpoint
from jaxgan.records.log import Log
from jaxgan.records.rundir import RunDir, RunWarning
from jaxgan.run import compiling, loop, train
from tests import tiny_family

CONFIG = tiny_family.Config()
DATASET = data.from_arrays(
    "noise", np.random.default_rng(0).integers(0, 256, (50, 4, 4, 1)).astype(np.uint8)
)
CADENCES = {"log_every": 16, "sample_every": 80, "checkpoint_every": 80}


@pytest.fixture(autouse=True)
def without_tensorboard(monkeypatch):
    """Loading it takes longer than these runs; test_log has it."""
    monkeypatch.setattr("jaxgan.records.log._open_tensorboard", lambda *arguments: None)


def run(directory, images=160, config=CONFIG, dataset=DATASET, **options):
    options = {"batch_size": 8, "devices": 1, "progress": False, **CADENCES, **options}
    return train.run(
        options.pop("family", tiny_family), config, dataset, directory, images=images, **options
    )


def host(state):
    return jax.device_get(state)


def lines(directory):
    """metrics.jsonl without the times."""
    return [
        {**json.loads(line), "seconds": None}
        for line in (Path(directory) / "metrics.jsonl").read_text().splitlines()
    ]


def assert_same_state(a, b):
    for (path, x), (_, y) in zip(
        jax.tree_util.tree_leaves_with_path(host(a)),
        jax.tree_util.tree_leaves_with_path(host(b)),
        strict=True,
    ):
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes(), path


def assert_same_run(a, b):
    assert lines(a) == lines(b)
    samples = [
        {file.name: file.read_bytes() for file in (Path(directory) / "samples").iterdir()}
        for directory in (a, b)
    ]
    assert samples[0] == samples[1]
    assert (
        checkpoint.Checkpoints(Path(a) / "checkpoints").steps
        == checkpoint.Checkpoints(Path(b) / "checkpoints").steps
    )


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """(directory, final state) of a run that was never stopped."""
    directory = tmp_path_factory.mktemp("runs") / "straight"
    return directory, host(run(directory))


# --------------------------------------------------------------------------------------------------------------- what it computes


@pytest.mark.parametrize("steps", [1, 4])
def test_run_equals_a_loop_written_by_hand(tmp_path, steps):
    config = dataclasses.replace(CONFIG, critic_steps=2)
    options = {"log_every": 64, "sample_every": 128, "checkpoint_every": 128}
    trained = host(run(tmp_path / "run", 128, config, steps_per_call=steps, seed=5, **options))
    key = jax.random.key(5)
    state, step, losses = (
        jax.jit(tiny_family.init, static_argnums=0)(config, key),
        parallel.jit_step(tiny_family, config),
        [],
    )
    for number in range(8):
        rows = data.order(50, 16, 5, number)
        image = DATASET.arrays["image"][rows].astype(np.float32) / 127.5 - 1
        state, metrics = step(state, {"image": image}, key)
        losses.append(float(metrics["d_loss"]))
    assert (int(trained.step), int(trained.images)) == (8, 128)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-4), trained, host(state))
    logged = lines(tmp_path / "run")
    assert [(line["step"], line["images"]) for line in logged] == [(4, 64), (8, 128)]
    np.testing.assert_allclose(
        [line["metrics"]["d_loss"] for line in logged], [losses[3], losses[7]], rtol=1e-4
    )


@pytest.mark.parametrize(
    "options",
    [
        {"devices": 2},
        {"devices": 2, "parallel": "pmap"},
        {"steps_per_call": 5},
        {"devices": 4, "resident": False},
        {"devices": 2, "parallel": "pmap", "resident": False, "steps_per_call": 2},
        {"resident": False, "steps_per_call": 2},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_every_way_of_running_gives_the_same(tmp_path, options):
    sgd = dataclasses.replace(CONFIG, optimizer_name="sgd")
    cadences = {
        "log_every": 80,
        "sample_every": 80,
        "checkpoint_every": 80,
        "augment": data.Augment(flip=True, crop=2),
    }
    plain = run(tmp_path / "plain", 80, sgd, **cadences)
    other = run(tmp_path / "other", 80, sgd, **cadences, **options)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), host(other), host(plain))
    for a, b in zip(lines(tmp_path / "plain"), lines(tmp_path / "other"), strict=True):
        assert (a["images"], a["step"]) == (b["images"], b["step"])
        np.testing.assert_allclose([*a["metrics"].values()], [*b["metrics"].values()], rtol=1e-4)


# ------------------------------------------------------------------------------------------------------------ what it leaves behind


def test_directory_of_a_run(straight):
    directory, state = straight
    files = {
        "config.json",
        "environment.json",
        "metrics.jsonl",
        "samples",
        "checkpoints",
        "report.html",
    }
    assert {path.name for path in directory.iterdir()} >= files
    assert sorted(path.name for path in (directory / "samples").iterdir()) == [
        "00000080.png",
        "00000160.png",
    ]
    assert checkpoint.Checkpoints(directory / "checkpoints").steps == [0, 80, 160]
    assert [line["images"] for line in lines(directory)] == list(range(16, 161, 16))
    config = json.loads((directory / "config.json").read_text())
    assert config["family"] == tiny_family.__name__
    assert config["config"]["optimizer"]["learning_rate"] == 0.01
    assert (config["batch_size"], config["seed"], config["data"], config["fingerprint"]) == (
        8,
        0,
        "noise",
        DATASET.fingerprint,
    )
    assert config["augment"] == {
        "flip": False,
        "crop": 0,
        "rotate90": False,
        "rotation": 0.0,
        "scale": 0.0,
    }
    environment = json.loads((directory / "environment.json").read_text())
    assert environment["versions"]["jax"] == jax.__version__
    assert (environment["device_count"], environment["parallel"], environment["changes"]) == (
        1,
        "jit",
        [],
    )
    family, config, sampler = checkpoint.load(directory, family=tiny_family)
    assert (family, config) == (tiny_family, CONFIG)
    assert_same_state(sampler.ema, state.ema)


def test_says_parameters_and_memory_first(tmp_path, capsys):
    run(tmp_path / "run", 16)
    assert re.search(
        r"169 parameters \(discriminator 17, generator 152\); about [0-9.]+ MiB a device",
        capsys.readouterr().err,
    )


def test_default_cadences_are_whole_calls(tmp_path):
    nothing = dict.fromkeys(CADENCES)
    run(tmp_path / "run", 48 * 54, steps_per_call=6, **nothing)
    assert [line["images"] for line in lines(tmp_path / "run")] == [1296, 2592]


# -------------------------------------------------------------------------------------------------------------- stopping, resuming


def test_resumed_equals_straight(tmp_path, straight):
    run(tmp_path / "run", 80)
    assert_same_state(run(tmp_path / "run", 160), straight[1])
    assert_same_run(tmp_path / "run", straight[0])


def test_what_lies_past_the_checkpoint_is_redone(tmp_path, straight):
    """As after a kill: lines and samples of steps that the checkpoint does not know."""
    run(tmp_path / "run", 160)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "160")
    (tmp_path / "run" / "samples" / "00000120.png").write_bytes(b"x")
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"images": 170, "st')
    assert_same_state(run(tmp_path / "run", 160), straight[1])
    assert_same_run(tmp_path / "run", straight[0])


def test_damaged_checkpoint_costs_only_time(tmp_path, straight):
    run(tmp_path / "run", 160)
    for file in (tmp_path / "run" / "checkpoints" / "160" / "state").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:-1])
    with pytest.warns(
        checkpoint.CheckpointWarning, match=r"checkpoint 160 .* renamed 160\.damaged"
    ):
        assert_same_state(run(tmp_path / "run", 160), straight[1])
    assert lines(tmp_path / "run") == lines(straight[0])


def at_line(monkeypatch, images, action):
    """Do `action` when the line of `images` is logged."""
    write = Log.metrics

    def metrics(self, count, *arguments):
        write(self, count, *arguments)
        if count == images:
            action()

    monkeypatch.setattr(Log, "metrics", metrics)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_saves_and_the_same_call_goes_on(tmp_path, straight, monkeypatch, capsys, number):
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        at_line(patch, 32, lambda: os.kill(os.getpid(), number))
        state = run(tmp_path / "run")
    assert 32 <= int(state.images) <= 48
    assert checkpoint.Checkpoints(tmp_path / "run" / "checkpoints").steps == [0, int(state.images)]
    said = capsys.readouterr().err
    assert f"{number.name}: finishing this step and saving" in said
    assert f"stopped at {int(state.images)} of 160 images" in said
    assert signal.getsignal(number) is before
    assert_same_state(run(tmp_path / "run"), straight[1])
    assert lines(tmp_path / "run") == lines(straight[0])


def test_second_ctrl_c_stops_at_once(tmp_path, monkeypatch):
    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    at_line(monkeypatch, 32, twice)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run")
    assert checkpoint.Checkpoints(tmp_path / "run" / "checkpoints").steps == [0]


def test_already_done(tmp_path, straight, capsys):
    shutil.copytree(straight[0], tmp_path / "run")
    assert_same_state(run(tmp_path / "run", 80), straight[1])
    assert "has already seen 160 of 80 images: for more, raise images" in capsys.readouterr().err
    assert lines(tmp_path / "run") == lines(straight[0])


def test_other_circumstances_warn_and_are_recorded(tmp_path):
    run(tmp_path / "run", 80)
    with pytest.warns(
        RunWarning,
        match=r"continues under other circumstances \(device_count: 1 -> 2; steps_per_call: 1 -> 2\)",
    ):
        run(tmp_path / "run", 160, devices=2, steps_per_call=2)
    changes = json.loads((tmp_path / "run" / "environment.json").read_text())["changes"]
    assert changes == [
        {"images": 80, "changed": ["device_count: 1 -> 2", "steps_per_call: 1 -> 2"]}
    ]


def test_initialised_from_another_run(tmp_path, straight):
    state = run(tmp_path / "new", 8, seed=9, init_from=straight[0], log_every=8)
    fresh = jax.jit(tiny_family.init, static_argnums=0)(CONFIG, jax.random.key(9))
    start = fresh.replace(ema=straight[1].ema)
    start = start.replace(
        players={
            name: player.replace(opt=fresh.players[name].opt)
            for name, player in straight[1].players.items()
        }
    )
    batch = {"image": data.normalise(DATASET.arrays["image"][data.order(50, 8, 9, 0)])}
    expected, _ = tiny_family.train_step(CONFIG, start, batch, jax.random.key(9))
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), host(state), host(expected)
    )
    assert int(state.images) == 8


# --------------------------------------------------------------------------------------------------------------------- non-finite


@pytest.mark.parametrize("steps", [1, 5])
def test_non_finite_stops_and_names_the_step(tmp_path, steps):
    config = dataclasses.replace(CONFIG, fail_at=12)
    words = r"^g_loss became NaN or infinite at step 13 \(104 images\): .* checkpoint at 80 images is good, .*--rollback"
    with pytest.raises(NonFiniteError, match=words):
        run(tmp_path / "run", config=config, steps_per_call=steps, log_every=80)
    assert checkpoint.Checkpoints(tmp_path / "run" / "checkpoints").steps == [0, 80]
    assert int(checkpoint.load(tmp_path / "run", family=tiny_family)[2].images) == 80


def test_non_finite_state_is_not_saved(tmp_path):
    config = dataclasses.replace(CONFIG, fail_at=12, fail_state_only=True)
    with pytest.raises(
        NonFiniteError,
        match=r"the state's extra/real_mean became NaN or infinite at step 20 \(160 images\): the checkpoint at 80",
    ):
        run(tmp_path / "run", config=config)
    assert checkpoint.Checkpoints(tmp_path / "run" / "checkpoints").steps == [0, 80]


def test_rollback_goes_on_with_other_draws_and_data(tmp_path, straight, monkeypatch, capsys):
    config = dataclasses.replace(CONFIG, fail_at=12, fail_seed=0)
    with pytest.raises(NonFiniteError):
        run(tmp_path / "a", config=config)
    first = host(run(tmp_path / "a", config=config, rollback=True))
    assert "attempt 1 goes on from the checkpoint at 80 images" in capsys.readouterr().err
    assert int(first.images) == 160
    assert not np.array_equal(first.ema["params"]["out"], straight[1].ema["params"]["out"])
    assert not np.array_equal(first.extra["real_mean"], straight[1].extra["real_mean"])
    assert lines(tmp_path / "a")[:5] == lines(straight[0])[:5]
    # In one call; and stopped in the middle of the new attempt and resumed without asking for another.
    assert_same_state(run(tmp_path / "b", config=config, rollback=2), first)
    with pytest.raises(NonFiniteError):
        run(tmp_path / "c", config=config)
    with monkeypatch.context() as patch:
        at_line(patch, 96, lambda: os.kill(os.getpid(), signal.SIGTERM))
        run(tmp_path / "c", config=config, rollback=1)
    assert_same_state(run(tmp_path / "c", config=config), first)
    assert lines(tmp_path / "c") == lines(tmp_path / "a")


def test_rollback_is_not_endless(tmp_path):
    with pytest.raises(NonFiniteError):
        run(tmp_path / "run", config=dataclasses.replace(CONFIG, fail_at=12), rollback=2)
    assert json.loads((tmp_path / "run" / "attempts.json").read_text())["attempt"] == 2


# ------------------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"images": 100},
            "images must be a multiple of 8 images, one call (1 step of 8 images), got 100: the nearest is 96",
        ),
        (
            {"checkpoint_every": 100, "steps_per_call": 2, "sample_every": 16},
            "checkpoint_every must be a multiple of 16 images",
        ),
        (
            {"sample_every": 3},
            "sample_every must be a multiple of 8 images, one call (1 step of 8 images), got 3: the nearest is 8",
        ),
        ({"images": 0}, "images must be at least 1 image, got 0"),
        ({"steps_per_call": 0}, "steps_per_call must be at least 1, got 0"),
        ({"devices": 9}, "devices must be between 1 and 8, the devices there are, got 9"),
        (
            {"devices": 3},
            "a batch of 8 examples cannot be split evenly over 3 devices: use a multiple of 3, such as 9",
        ),
        ({"parallel": "threads"}, "parallel must be one of 'jit', 'pmap', got 'threads'"),
        ({"seed": -1}, "seed must be a whole number from 0 to 4294967295 (2**32 - 1), got -1"),
        ({"keep": 0}, "keep must be at least 1, got 0"),
    ],
)
def test_settings_out_of_range(tmp_path, options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        run(tmp_path / "run", **options)


def test_critic_steps_count_in_a_call(tmp_path):
    with pytest.raises(
        ValueError,
        match=r"images must be a multiple of 48 images, one call \(2 steps of 24 images\), got 160: the nearest is 144",
    ):
        run(tmp_path / "run", config=dataclasses.replace(CONFIG, critic_steps=3), steps_per_call=2)


def test_other_config_is_refused_with_what_differs(tmp_path, straight):
    shutil.copytree(straight[0], tmp_path / "run")
    other = dataclasses.replace(CONFIG, width=16, optimizer=tiny_family.Adam(beta1=0.9))
    with pytest.raises(RunError) as error:
        run(tmp_path / "run", config=other, seed=1)
    assert "config.optimizer.beta1: 0.5 -> 0.9; config.width: 8 -> 16; seed: 0 -> 1" in str(
        error.value
    )
    assert "batch_size" not in str(error.value)
    assert_same_run(tmp_path / "run", straight[0])


def test_settings_that_came_later_are_at_their_defaults(tmp_path, straight):
    """A run of a version whose Config had no such field goes on; not with another value than the default."""
    shutil.copytree(straight[0], tmp_path / "run")
    file = tmp_path / "run" / "config.json"
    stored = json.loads(file.read_text())
    default = {field.name: field.default for field in dataclasses.fields(CONFIG)}["ema_half_life"]
    assert stored["config"].pop("ema_half_life") == default == CONFIG.ema_half_life
    file.write_text(json.dumps(stored))
    run(tmp_path / "run")
    with pytest.raises(RunError, match=f"ema_half_life: {default} -> {default + 1}"):
        run(tmp_path / "run", config=dataclasses.replace(CONFIG, ema_half_life=default + 1))


def test_data_is_compared_by_content(tmp_path, straight):
    shutil.copytree(straight[0], tmp_path / "run")
    run(tmp_path / "run", dataset=dataclasses.replace(DATASET, name="moved"))
    changed = data.from_arrays("noise", DATASET.arrays["image"][::-1].copy())
    with pytest.raises(
        RunError,
        match=r"the data set has changed: 50 images before, 50 images now; .* add --data-changed to go on",
    ):
        run(tmp_path / "run", dataset=changed)


def test_data_that_does_not_fit_is_refused_before_a_directory_is_made(tmp_path):
    with pytest.raises(DataError, match="4x4"):
        run(tmp_path / "run", config=dataclasses.replace(CONFIG, image_size=(8, 8)))
    assert not (tmp_path / "run").exists()


def test_second_process_is_refused(tmp_path):
    with (
        RunDir(tmp_path / "run"),
        pytest.raises(RunError, match=r"another process is training in .*run: wait for it"),
    ):
        run(tmp_path / "run")
    run(tmp_path / "run", 8, log_every=8)


def test_directory_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        RunError, match=r"cannot write to the run directory .*file/run \(Not a directory\)"
    ):
        run(tmp_path / "file" / "run")


def test_damaged_config_file(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RunError, match=r"config\.json cannot be read"):
        run(tmp_path)
    (tmp_path / "config.json").write_text('{"format": 2}')
    with pytest.raises(RunError, match="has format 2, newer than this version reads"):
        run(tmp_path)


def test_checkpoints_of_nobody(tmp_path, straight):
    shutil.copytree(straight[0], tmp_path / "run")
    (tmp_path / "run" / "config.json").unlink()
    with pytest.raises(RunError, match=r"holds checkpoints but no config\.json"):
        run(tmp_path / "run")


def test_family_that_miscounts_is_refused(tmp_path):
    family = types.ModuleType("miscounting")
    family.__dict__.update(
        {
            name: getattr(tiny_family, name)
            for name in ("Config", "batch_spec", "init", "preview", "sample")
        }
    )

    def train_step(*arguments, **options):
        state, metrics = tiny_family.train_step(*arguments, **options)
        return state.replace(images=state.images - 1), metrics

    family.train_step = train_step
    with pytest.raises(
        RunError,
        match=r"miscounting counts \(step, images\) \(10, 70\) where \(10, 80\) were shown",
    ):
        run(tmp_path / "run", family=family)


LIMITED = """
import resource, signal, sys
from tests.run import test_train
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from jaxgan.records import checkpoint, log
log._open_tensorboard = lambda *arguments: None  # its threads would say more
start = checkpoint.Checkpoints._start
def limited(self, number, arguments):
    if number == 80:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    return start(self, number, arguments)
checkpoint.Checkpoints._start = limited
try:
    test_train.run(sys.argv[1])
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


def test_disk_that_fills_up_while_saving(tmp_path, straight):
    """Files of at most 5,000 bytes stand for a full disk; nothing but the one sentence is said, and the same command goes on afterwards."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }  # as here
    command = [sys.executable, "-W", "error", "-c", LIMITED, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert re.fullmatch(r"(Checkpoint|Run)Error: .*File too large.*\n", done.stdout), done
    assert "Traceback" not in done.stderr, done.stderr
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunWarning)
        assert_same_state(run(tmp_path / "run"), straight[1])
    assert lines(tmp_path / "run") == lines(straight[0])


# ------------------------------------------------------------------------------------------------- settings that may not change


def test_a_run_refused_for_its_settings_leaves_nothing_behind(tmp_path, monkeypatch):
    """What only tracing the step finds out: the corrected command then starts as if nothing had been."""

    def refusing(*arguments, **options):
        raise ValueError("a batch of 8 is not a multiple of 3")

    with monkeypatch.context() as patch:
        patch.setattr(tiny_family, "train_step", refusing)
        with pytest.raises(ValueError, match="not a multiple of 3"):
            run(tmp_path / "run")
    assert [
        path.name
        for path in (tmp_path / "run").rglob("*")
        if path.is_file() and path.name != "lock" and path.stat().st_size
    ] == []
    assert int(run(tmp_path / "run", 96, batch_size=16).images) == 96


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Two runs whose networks training can start from."""
    folder = tmp_path_factory.mktemp("others")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxgan.records.log._open_tensorboard", lambda *arguments: None)
        for seed, name in enumerate("ab"):
            run(folder / name, 80, seed=seed)
    return folder


def test_where_a_run_starts_from_is_one_of_its_settings(tmp_path, others):
    begun = {"init_from": others / "a"}
    run(tmp_path / "run", 80, **begun)
    assert int(run(tmp_path / "run", 160, **begun).images) == 160
    for other in ({"init_from": others / "b"}, {}):
        with pytest.raises(RunError, match=r"is a run of other settings \(init_from: "):
            run(tmp_path / "run", 240, **other)
    shutil.copytree(others / "a", tmp_path / "moved")  # the same run in another place
    assert int(run(tmp_path / "run", 240, init_from=tmp_path / "moved").images) == 240


def test_training_goes_on_with_a_changed_data_set_if_that_is_said(tmp_path, straight):
    shutil.copytree(straight[0], tmp_path / "run")
    names = tuple(f"{i:02d}.png" for i in range(53))
    more = np.concatenate([DATASET.arrays["image"], DATASET.arrays["image"][:3]])
    grown = dataclasses.replace(data.from_arrays("noise", more), files=names)
    run(tmp_path / "before", 80, dataset=dataclasses.replace(DATASET, files=names[:50]))
    with pytest.raises(
        RunError,
        match=r"50 images before, 53 images now; new: 50.png, 51.png, 52.png; .*before was trained on the set as it was",
    ):
        run(tmp_path / "before", 160, dataset=grown)
    state = run(tmp_path / "before", 160, dataset=grown, data_changed=True)
    assert int(state.images) == 160
    said = "the data set has changed: 50 images before, 53 images now; new: 50.png, 51.png, 52.png"
    assert said in (tmp_path / "before" / "report.html").read_text()
    assert said in (tmp_path / "before" / "notes.jsonl").read_text()
    changes = json.loads(
        (tmp_path / "before" / "checkpoints" / "160" / "meta" / "metadata").read_text()
    )["data_changes"]
    assert [(change["images"], change["new"], change["removed"]) for change in changes] == [
        (80, 3, 0)
    ]
    assert (
        int(run(tmp_path / "before", 240, dataset=grown).images) == 240
    )  # from now on this is the set


# -------------------------------------------------------------------------------------------------------------------- what is said


def test_a_learning_rate_that_reaches_zero_is_said_before_the_first_step(tmp_path, capsys):
    optimizer = Optimizer(constant_images=40, decay_images=40)

    @dataclasses.dataclass(frozen=True)
    class Scheduled(tiny_family.Config):
        schedule: Optimizer = optimizer

    said = "the learning rate of schedule reaches zero at 80 images, so that 80 of 160 images train nothing with it"
    run(tmp_path / "run", config=Scheduled())
    shown = capsys.readouterr()
    assert said in shown.out
    assert "compiling the training step" in shown.out + shown.err
    assert said in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize(
    ("settings", "end"),
    [
        ({}, None),
        ({"decay_images": 100}, 100),
        ({"constant_images": 30, "decay_images": 100}, 130),
        ({"decay_images": 100, "min_learning_rate": 1e-5}, None),
        ({"learning_rate": 0.0}, 0),
        ({"learning_rate": 1.0, "half_life": 10.0}, 1260),
    ],
)
def test_where_a_schedule_reaches_zero(settings, end):
    optimizer = Optimizer(**settings)
    assert zero_from(optimizer) == end
    if end:
        assert float(learning_rate(optimizer, end + 300)) == 0
        assert float(learning_rate(optimizer, end - 1)) > 0


def test_the_progress_line_begins_with_the_losses_of_the_players():
    metrics = {"accuracy": 0.5, "a_loss": 3.0, "d_loss": 2.0, "g_loss": 1.0}
    found = loop.foremost(metrics, ("generator", "discriminator"), {"fid": 9.0})
    assert list(found) == ["g_loss", "d_loss", "fid", "a_loss", "accuracy"]
    assert list(loop.foremost({"accuracy": 0.5, "loss": 1.0}, ("model",), {})) == [
        "loss",
        "accuracy",
    ]


def test_compilation_says_how_long_it_takes_and_what_a_cache_saves(monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(compiling, "TICK_SECONDS", 0.02)
        said = []
        with compiling.ticking("still compiling", said.append):
            time.sleep(0.2)
        count = len(said)
        assert count >= 2
        assert said[0] == "still compiling: 0 s so far"
        time.sleep(0.1)
        assert len(said) == count
    assert compiling.in_words(1.0, 30.0, [25.0]).endswith("which saved 25.0 s")
    monkeypatch.setattr(compiling, "FOLDER", "jax_platforms")  # an option that holds nothing here
    assert compiling.in_words(1.0, 30.0, []).startswith("compiled in 31.0 s: ")
    assert "keeps only what XLA takes" in compiling.in_words(0.1, 0.0, [])
