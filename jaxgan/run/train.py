"""The one training loop: from a family, a config and a data set to a run directory, resumable to the bit.

A call of the program is k steps; a step shows `batch_size` images to each critic turn. While the device works on one call, the metrics of the
call before it are fetched, checked and logged.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxgan import data
from jaxgan.data import naming as data_naming
from jaxgan.errors import DataError, NonFiniteError, RunError, require, require_choice, require_seed
from jaxgan.family import conditioning, short_name
from jaxgan.parallel import check_divisible
from jaxgan.records import checkpoint, naming
from jaxgan.records.checkpoint import Checkpoints
from jaxgan.records.config_io import to_dict
from jaxgan.records.log import Log
from jaxgan.records.notes import of_learning_rates
from jaxgan.records.rundir import RunDir, read_json
from jaxgan.run import compiling, evaluation
from jaxgan.run.loop import Loop, Plan, Session, say
from jaxgan.state import State

LOG_EVERY, SAMPLE_EVERY, CHECKPOINT_EVERY = 1_280, 12_800, 12_800
"""Images between log lines, sample grids and checkpoints, where nothing is said; rounded to whole calls."""

NO_AUGMENT = data.Augment()


def run(
    family: ModuleType,
    config: Any,
    dataset: data.Dataset | str,
    run_dir: str | Path,
    *,
    images: int,
    batch_size: int,
    seed: int = 0,
    augment: data.Augment = NO_AUGMENT,
    devices: int | None = None,
    parallel: str = "jit",
    steps_per_call: int = 1,
    log_every: int | None = None,
    sample_every: int | None = None,
    checkpoint_every: int | None = None,
    keep: int = 3,
    rollback: bool | int = False,
    init_from: str | Path | None = None,
    init_family: ModuleType | None = None,
    data_changed: bool = False,
    progress: bool = True,
    resident: bool | None = None,
    evaluate_every: int | None = None,
    metrics: Sequence[str] = (),
    network: Any = None,
    evaluate_samples: int | None = None,
    keep_best: str | None = None,
    patience: int | None = None,
    held_out: tuple[data.Dataset, str] | None = None,
) -> State:
    """Train until `images` real images were shown, in a new run directory or from the last checkpoint of an old one; returns the state.

    SIGTERM or SIGINT (ctrl-C) finishes the step, saves and returns the state it got to (`state.images < images`); a second ctrl-C raises
    `KeyboardInterrupt` at once. The same call again goes on from the checkpoint, and ends in the state of a run that never stopped, bit for bit
    (same versions, device kind and count, CPU threads: environment.json).

    Args:
      family, config: a family's module, or any module with the same functions, and its Config. Of two sides, one whose
        `conditioning` says `paired` refuses data whose arrays do not belong together; others take each in an order of its own.
      dataset: from `jaxgan.data.open`, or a spec for it, opened at the config's size.
      images: real images to train on, over all devices and sessions; a multiple of one call, which is steps_per_call x (images of a step).
      batch_size: images of one critic turn, over all devices.
      seed: from 0 to 2**32 - 1; decides initial weights, data order and every draw. Key of the run: `jax.random.key(seed)`, after a rollback
        `stream_key(jax.random.key(seed), "attempt", attempt)`.
      augment: random changes of the images. With a crop the data set may be larger than the config's size by that margin (as a spec is opened).
      devices: how many to use; None is all.
      parallel: "jit" (over several devices the compiler cuts the batch) or "pmap".
      steps_per_call: steps in one dispatch; for small networks more is faster.
      log_every, sample_every, checkpoint_every: in images, multiples of one call; None or 0 choose.
      keep: newest checkpoints kept.
      rollback: how often a run that meets, or has met, a non-finite value goes on from its last checkpoint with other draws and another order of
        data; False (0) raises instead, True is 1.
      init_from: directory of a run whose networks a new run starts from, with fresh optimisers. The data are numbered by its names of classes.
        Part of the run's settings: the same again resumes, another is refused.
      init_family: the module of that run's family, where it is neither the library's nor `family`.
      data_changed: go on with a data set of other content than the run was trained on so far, and record the change.
      progress: show a progress line.
      resident: keep the data set on the device; None: if it is small.
      evaluate_every: images between evaluations, a multiple of one call; None or 0: none. They change nothing of training.
      metrics: names of `jaxgan.metrics.table.METRICS`; () for those usual for the family.
      network: a `jaxgan.metrics` feature network, or what names one; None: that of the data, where it comes with the package.
      evaluate_samples: images made at each evaluation; None: 2,000.
      keep_best: the metric by which the best checkpoint is kept beside the newest, for `checkpoint.load(run, "best")`.
      patience: stop after so many evaluations without a better value of `keep_best`, else of the first metric; None or 0: never.
      held_out: real images that are not trained on, and the name of their split; None: those of a spec's source, if there are any; else the training images.

    Raises:
      ValueError: settings out of range; the message gives the nearest valid value.
      DataError: the data set does not fit the config.
      RunError: the directory is in use, cannot be written, or holds a run of other settings.
      CheckpointError: every checkpoint is damaged, or one cannot be saved.
      NonFiniteError: a metric or the state became NaN or infinite; the last good checkpoint stays.
    """
    require_choice("parallel", parallel, ("jit", "pmap"))
    seed = require_seed(seed)
    spec = family.batch_spec(config, batch_size)
    plan = _plan(
        images,
        next(iter(spec.values())).shape[0],
        steps_per_call,
        log_every,
        sample_every,
        checkpoint_every,
    )
    options = {"metrics": metrics, "network": network, "keep_best": keep_best, "patience": patience}
    evaluation.refuse_without(evaluate_every, evaluate_samples=evaluate_samples, **options)
    every = _whole("evaluate_every", evaluate_every, plan) if evaluate_every else 0
    chosen = _devices(devices, batch_size)
    named = isinstance(dataset, str)
    dataset = _as_named(_open(dataset, spec, augment.crop), spec, Path(run_dir), init_from)
    held_out = evaluation.held_out_of(dataset) if every and named and held_out is None else held_out
    if held_out is not None:
        held_out = (
            data_naming.matched(
                held_out[0], data_naming.names_of(dataset, spec), "the training data"
            ),
            held_out[1],
        )
    told = conditioning(family, config)
    data.check(dataset, spec, told, crop=augment.crop)
    for remark in data.remarks(dataset, spec):
        say(remark)
    if unused := data_naming.unused_classes(dataset, short_name(family), config, spec):
        say(unused)
    if (
        told.kind == "sides" and not told.paired
    ):  # each side in an order of its own, also where they belong together
        dataset = dataclasses.replace(dataset, independent=True)
    jax.eval_shape(
        functools.partial(family.init, config), jax.random.key(0)
    )  # settings that do not fit are refused before anything is written
    judged = (
        evaluation.plan(
            family, config, dataset, every, samples=evaluate_samples, held_out=held_out, **options
        )
        if every
        else None
    )
    notes = tuple(of_learning_rates(config, plan.total, plan.round))
    session = Session(
        family,
        config,
        dataset,
        spec,
        plan,
        seed,
        augment,
        chosen,
        parallel,
        progress,
        resident,
        judged,
        notes,
    )
    begin = (
        None
        if init_from is None
        else functools.partial(
            checkpoint.initialise_from, init_from, family=init_family, default=family
        )
    )
    for note in notes:
        say(f"note: {note}")
    with RunDir(run_dir) as directory:
        settings = {**_run_config(session, batch_size), "init_from": checkpoint.origin(init_from)}
        directory.settle_config(settings, type(config), dataset.record, data_changed)
        budget, rolled_back = int(rollback), False
        if budget and directory.failed():
            budget, rolled_back = budget - 1, True
        while True:
            try:
                return _attempt(session, directory, keep, rolled_back, begin)
            except NonFiniteError as error:
                if not budget:
                    raise
                budget, rolled_back = budget - 1, True
                say(str(error))
            except OSError as error:
                reason = error.strerror or str(error)
                raise RunError(
                    f"cannot go on writing to {directory.path} ({reason}): free space and run the same command again"
                ) from error


def _run_config(session: Session, batch_size: int) -> dict[str, Any]:
    family, dataset = session.family.__name__, session.dataset
    settings = {
        "family": family,
        "config": to_dict(session.config),
        "batch_size": batch_size,
        "seed": session.seed,
    }
    names = {naming.KEY: session.names.to_dict()} if any(session.names) else {}
    return {
        **settings,
        "augment": to_dict(session.augment),
        "data": dataset.name,
        "fingerprint": dataset.fingerprint,
        **names,
    }


def _as_named(
    dataset: data.Dataset,
    spec: dict[str, jax.ShapeDtypeStruct],
    run_dir: Path,
    init_from: str | Path | None,
) -> data.Dataset:
    """The data set, its classes and attributes numbered as by the run that training starts from, or goes on with."""
    if init_from is not None:
        dataset = data_naming.matched(
            dataset, naming.asked(checkpoint.names(init_from), spec), str(init_from)
        )
    own = naming.from_dict((read_json(run_dir / "config.json") or {}).get(naming.KEY))
    with contextlib.suppress(DataError):  # what differs is said with all other settings
        dataset = data_naming.matched(dataset, naming.asked(own, spec), str(run_dir))
    return dataset


def _open(
    dataset: data.Dataset | str, spec: dict[str, jax.ShapeDtypeStruct], crop: int
) -> data.Dataset:
    if not isinstance(dataset, str):
        return dataset
    shapes = [wanted.shape for wanted in spec.values() if len(wanted.shape) == 4]
    channels = (
        shapes[0][3] if len({shape[3] for shape in shapes}) == 1 else (shapes[0][3], shapes[1][3])
    )
    return data.open(
        dataset, image_size=(shapes[0][1] + crop, shapes[0][2] + crop), channels=channels
    )


def _devices(count: int | None, batch_size: int) -> list[jax.Device]:
    available = jax.devices()
    require(
        count is None or 1 <= count <= len(available),
        f"devices must be between 1 and {len(available)}, the devices there are, got {count}",
    )
    require(
        count is None or jax.process_count() == 1 or count == len(available),
        "several processes train on all their devices: leave devices out",
    )
    chosen = available[:count]
    check_divisible(batch_size, len(chosen))
    return chosen


def _plan(
    images: int, per_round: int, steps: int, log: int | None, sample: int | None, save: int | None
) -> Plan:
    """All cadences checked: each a whole number of calls, so that the program of a step depends on nothing but the step."""
    require(steps >= 1, f"steps_per_call must be at least 1, got {steps}")
    call = steps * per_round
    whole = functools.partial(_whole, plan=Plan(0, per_round, call, steps, 0, 0, 0))

    def cadence(name: str, value: int | None, default: int) -> int:
        return whole(name, value) if value else max(1, round(default / call)) * call

    total = whole("images", images)
    require(total < 2**31, f"images must be below 2**31, got {images}")
    logs, samples = (
        cadence("log_every", log, LOG_EVERY),
        cadence("sample_every", sample, SAMPLE_EVERY),
    )
    return Plan(
        total,
        per_round,
        call,
        steps,
        logs,
        samples,
        cadence("checkpoint_every", save, CHECKPOINT_EVERY),
    )


def _whole(name: str, value: int, plan: Plan) -> int:
    """`value` images, if that is a whole number of calls."""
    require(value >= 1, f"{name} must be at least 1 image, got {value}")
    nearest = max(plan.call, round(value / plan.call) * plan.call)
    parts = f"{plan.steps} step{'s' * (plan.steps > 1)} of {plan.round} images"
    require(
        value % plan.call == 0,
        f"{name} must be a multiple of {plan.call} images, one call ({parts}), got {value}: the nearest is {nearest}",
    )
    return value


# ------------------------------------------------------------------------------------------------------------------- one attempt


def _attempt(
    session: Session,
    directory: RunDir,
    keep: int,
    rolled_back: bool,
    begin: Callable[[State], State] | None,
) -> State:
    """Train from the last checkpoint to the end, a signal, or a non-finite value. begin: a fresh state -> the one to start from."""
    with Checkpoints(directory.path / "checkpoints", keep) as checkpoints:
        attempt = _agreed(
            directory.next_attempt()
            if rolled_back and jax.process_index() == 0
            else directory.attempt()
        )
        state, meta = _first_state(session, checkpoints, begin)
        attempt = max(attempt, meta.get("attempt", 0))
        with contextlib.ExitStack() as stack:
            log = (
                stack.enter_context(
                    Log(directory.path, int(state.images), progress=session.progress)
                )
                if jax.process_index() == 0
                else None
            )
            if int(state.images) >= session.plan.total:
                say(
                    f"{directory.path} has already seen {int(state.images)} of {session.plan.total} images: for more, raise images",
                    log,
                )
                return state
            if rolled_back:
                say(
                    f"attempt {attempt} goes on from the checkpoint at {int(state.images)} images with other draws and data order",
                    log,
                )
            return Loop(
                session, directory, checkpoints, log, attempt, state, fresh=not meta
            ).train()


def _agreed(value: int) -> int:
    """Process 0's value, in every process."""
    return (
        value
        if jax.process_count() == 1
        else int(multihost_utils.broadcast_one_to_all(np.int32(value)))
    )


def _first_state(
    session: Session, checkpoints: Checkpoints, begin: Callable[[State], State] | None
) -> tuple[State, dict[str, Any]]:
    """The newest checkpoint's (state, meta), else a fresh state and {}."""
    init = functools.partial(session.family.init, session.config)
    key = jax.random.key(session.seed)
    restored = checkpoints.restore(jax.eval_shape(init, key), session.place)
    if restored is not None:
        return restored
    with compiling.ticking("still making initial weights", say):
        state = jax.block_until_ready(jax.jit(init)(key))
    if begin is not None:
        state = begin(state)
    return session.place(state), {}
