"""The loop of one attempt, from a placed state to the end, a signal, or a non-finite value. `train.run` is the way in."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from types import FrameType, ModuleType
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from jaxgan import data, parallel
from jaxgan.data.naming import names_of
from jaxgan.errors import JaxganError, NonFiniteError, RunError
from jaxgan.records import checkpoint, integrity, naming
from jaxgan.records.checkpoint import Checkpoints
from jaxgan.records.config_io import to_dict
from jaxgan.records.log import Log
from jaxgan.records.naming import Names
from jaxgan.records.notes import add_note
from jaxgan.records.rundir import RunDir, environment
from jaxgan.report import writing as report
from jaxgan.run import compiling
from jaxgan.run.evaluation import Evaluation
from jaxgan.run.evaluation import Plan as EvaluationPlan
from jaxgan.run.feed import Feed, lower_program, program
from jaxgan.state import PyTree, State
from jaxgan.update import stream_key


class Plan(NamedTuple):
    """The whole numbers of a run, in images, except `steps` (per call)."""

    total: int
    round: int
    """Images of one step."""
    call: int
    """Images of one call."""
    steps: int
    log: int
    sample: int
    checkpoint: int


class Session(NamedTuple):
    """What one process needs to train, once everything is checked: settings of the run, and where it goes."""

    family: ModuleType
    config: Any
    dataset: Any
    spec: dict[str, jax.ShapeDtypeStruct]
    plan: Plan
    seed: int
    augment: data.Augment
    devices: list[jax.Device]
    parallel: str
    progress: bool
    resident: bool | None
    evaluation: EvaluationPlan | None = None
    notes: tuple[str, ...] = ()
    """What was said of the settings, for the log and the report."""

    @property
    def names(self) -> Names:
        """What the numbers of the classes and attributes that are learnt mean."""
        return names_of(self.dataset, self.spec)

    @property
    def mesh(self) -> Any:
        """The mesh of jit over several devices; None under pmap or on one device."""
        return (
            parallel.data_mesh(self.devices)
            if self.parallel == "jit" and len(self.devices) > 1
            else None
        )

    @property
    def pmapped(self) -> list[jax.Device] | None:
        """The devices of pmap; None under jit."""
        return self.devices if self.parallel == "pmap" else None

    def place(self, tree: PyTree) -> PyTree:
        """Host or device arrays, as the program expects the state."""
        if self.mesh is not None:
            return parallel.replicate(tree, self.mesh)
        if self.pmapped is None:
            return jax.device_put(tree, self.devices[0])
        mine = [device for device in self.devices if device.process_index == jax.process_index()]
        return jax.device_put(tree, parallel.replicated(parallel.data_mesh(mine)))


def say(text: str, log: Log | None = None) -> None:
    """Show `text` once, through the log where there is one."""
    if log is not None:
        log.message(text)
    elif jax.process_index() == 0:
        print(text, flush=True)


class Loop:
    """The state of the loop: what is known about the call under way, and what was saved last."""

    def __init__(
        self,
        session: Session,
        directory: RunDir,
        checkpoints: Checkpoints,
        log: Log | None,
        attempt: int,
        state: State,
        fresh: bool,
    ):
        self.session, self.directory, self.checkpoints, self.log, self.attempt = (
            session,
            directory,
            checkpoints,
            log,
            attempt,
        )
        self.state, self.fresh = state, fresh
        self.step, self.images = int(state.step), int(state.images)
        self.saved = None if fresh else self.images
        key = jax.random.key(session.seed)
        self.key = stream_key(key, "attempt", attempt) if attempt else key
        self.feed = Feed(
            session.dataset,
            session.spec,
            session.seed,
            attempt,
            session.plan.steps,
            session.mesh,
            session.pmapped,
            session.resident,
        )
        self.pending: tuple[int, int, Any] | None = None
        self.evaluation = (
            Evaluation(session.evaluation, directory.path, log, checkpoints.steps)
            if session.evaluation is not None
            else None
        )
        if (
            self.evaluation is not None
            and self.evaluation.plan.keep_best
            and self.evaluation.best is not None
        ):
            checkpoints.protect(self.evaluation.best)
        self.clock = _Clock(
            log.seconds if log is not None else 0.0, self.images, session.plan.total
        )
        self.finite = jax.jit(
            lambda state: [
                jnp.isfinite(leaf).all()
                for leaf in jax.tree.leaves(state)
                if jnp.issubdtype(leaf.dtype, jnp.inexact)
            ]
        )

    def train(self) -> State:
        """Until the end, or a signal; returns the state. Raises `NonFiniteError`, and what `Checkpoints` and `Log` raise."""
        plan = self.session.plan
        if self._exhausted():
            return self.state
        with _stop_signals(self.log) as stop:
            arrays, calls = self.feed.arrays(), self.feed.calls(self.step)
            with contextlib.closing(calls):
                first = next(calls)
                say("compiling the training step", self.log)
                began = time.monotonic()
                with compiling.ticking("still tracing the training step", self._say):
                    lowered = self._lower(arrays, first)
                traced = time.monotonic() - began
                self._begin()
                compiled = compiling.compile_lowered(lowered, traced, self._say)
                self._say(self._sizes(compiled))
                while (
                    self.images < plan.total
                    and not self._stopping(stop)
                    and not (self.evaluation and self.evaluation.exhausted)
                ):
                    inputs, first = (self._next(calls) if first is None else first), None
                    self.state, metrics = compiled(self.state, arrays, inputs, self.key)
                    self._handle_pending()
                    self.step, self.images = self.step + plan.steps, self.images + plan.call
                    self.pending = (self.step, self.images, metrics)
                    self._milestones()
            self._handle_pending()
            if self.saved != self.images:
                self._save()
            self.checkpoints.wait()
            self._report()
            if self.images < plan.total and not self._exhausted():
                say(
                    f"stopped at {self.images} of {plan.total} images, all saved: the same command goes on from here",
                    self.log,
                )
        return self.state

    def _say(self, text: str) -> None:
        say(text, self.log)

    def _lower(self, arrays: Any, inputs: Any) -> Any:
        """The program of one call, traced. Raises what the family raises at settings that do not fit."""
        session = self.session
        prepare = functools.partial(
            data.prepare, augment=session.augment, sizes=self.feed.sizes, aligned=self.feed.aligned
        )
        pure = functools.partial(
            program, session.family, session.config, self.feed.resident, prepare
        )
        return lower_program(
            pure, session.mesh, session.pmapped, (self.state, arrays, inputs, self.key)
        )

    def _begin(self) -> None:
        """Write what belongs to the run from here on: settings, circumstances, notes, and of a new run the first checkpoint.

        Nothing is written before the step was traced, so that a run refused for its settings leaves none behind.
        """
        session = self.session
        changed = self.directory.commit(self.images)
        if changed is not None:
            changed = f"{changed}; training goes on with it from {self.images:,} images"
            self._say(changed)
        self.directory.settle_environment(
            environment(session.devices, session.parallel, session.plan.steps), self.images
        )
        if self.log is not None:
            for text in [*session.notes, *([changed] if changed else [])]:
                add_note(self.directory.path, self.images, text)
        if self.fresh:
            self._save()  # so that there is something to roll back to, and networks of other runs are read once

    def _sizes(self, compiled: Any) -> str:
        sizes = {
            name: sum(leaf.size for leaf in jax.tree.leaves(player.params))
            for name, player in self.state.players.items()
        }
        parts = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
        return f"{sum(sizes.values()):,} parameters ({parts}); {_memory(compiled)}"

    def _next(self, calls: Iterator[PyTree]) -> PyTree:
        """The next call's inputs. Where they cannot be had any more, what was trained until now is saved first."""
        try:
            return next(calls)
        except JaxganError:
            if jax.process_count() == 1:  # across processes the others do not know of it
                self._handle_pending()
                if self.saved != self.images:
                    self._save()
                self.checkpoints.wait()
            raise

    def _stopping(self, stop: threading.Event) -> bool:
        """Whether to stop here: told by a signal, which across processes all see at the same step."""
        if jax.process_count() == 1:
            return stop.is_set()
        return multihost_utils.reached_preemption_sync_point(self.step)

    def _milestones(self) -> None:
        """Grids and checkpoints that are due; log lines of the same count are written first."""
        plan = self.session.plan
        done = self.images >= plan.total
        judged = self.evaluation is not None and self.evaluation.due(self.images, plan.total)
        if done or judged or self.images % plan.sample == 0 or self.images % plan.checkpoint == 0:
            self._handle_pending()
        if done or self.images % plan.sample == 0:
            self._grid()
        better = judged and self._evaluate()
        if done or better or self.images % plan.checkpoint == 0:
            self._save()
            self._keep_best(better)
            self._report()

    def _exhausted(self) -> bool:
        """Whether evaluations have ceased to become better, which is said."""
        if self.evaluation is None or not self.evaluation.exhausted:
            return False
        say(self.evaluation.said(), self.log)
        return True

    def _evaluate(self) -> bool:
        """Evaluate; whether the checkpoint of this count is to be kept as the best."""
        assert self.evaluation is not None
        best = self.evaluation.best
        try:
            better = self.evaluation(
                self.state, self.step, self.images, self.clock.seconds()
            ) and bool(self.evaluation.plan.keep_best)
        except NonFiniteError:
            self._fail(self.step, self.images, ["the averaged generator's images"])
        if better:
            self.checkpoints.protect(self.images, instead_of=best)
        return better

    def _keep_best(self, better: bool) -> None:
        if better and self.evaluation is not None:
            self.checkpoints.wait()  # best.json names what is complete
            self.evaluation.record()

    def _handle_pending(self) -> None:
        """Fetch, check and log the metrics of the call before this one."""
        if self.pending is None:
            return
        (step, images, metrics), self.pending = self.pending, None
        values = {name: np.asarray(value) for name, value in jax.device_get(metrics).items()}
        plan = self.session.plan
        bad = {name: np.flatnonzero(~np.isfinite(value)) for name, value in values.items()}
        if any(len(where) for where in bad.values()):
            first = min(int(where[0]) for where in bad.values() if len(where))
            names = [name for name, where in bad.items() if len(where) and where[0] == first]
            later = plan.steps - 1 - first
            self._fail(step - later, images - later * plan.round, names)
        rate, eta = self.clock.tick(images)
        if self.log is not None:
            last = {name: float(value[-1]) for name, value in values.items()}
            if images % plan.log == 0:
                self.log.metrics(images, step, last, self.clock.seconds())
            if self.session.progress:
                judged = self.evaluation.latest if self.evaluation is not None else {}
                self.log.progress(
                    images, plan.total, foremost(last, self.state.players, judged), rate, eta
                )

    def _fail(self, step: int, images: int, names: list[str]) -> NoReturn:
        if jax.process_index() == 0:
            self.directory.record_failure(step, images, names)
        self.checkpoints.wait()
        good = max(self.checkpoints.steps, default=0)
        what = f"{', '.join(names)} became NaN or infinite"
        raise NonFiniteError(
            f"{what} at step {step} ({images} images): the checkpoint at {good} images is good, go on from it with --rollback"
        )

    def _save(self) -> None:
        """Start a checkpoint of the state, once it is known to be finite."""
        finite = np.asarray(jax.device_get(self.finite(self.state)))
        if not finite.all():
            inexact = [
                path
                for path, leaf in integrity.paths(self.state)
                if jnp.issubdtype(leaf.dtype, jnp.inexact)
            ]
            self._fail(
                self.step, self.images, [f"the state's {inexact[int(np.flatnonzero(~finite)[0])]}"]
            )
        if (int(self.state.step), int(self.state.images)) != (self.step, self.images):
            family, counted = (
                self.session.family.__name__,
                (int(self.state.step), int(self.state.images)),
            )
            raise RunError(
                f"{family} counts (step, images) {counted} where {(self.step, self.images)} were shown: its train_step must add them up"
            )
        session = self.session
        meta = {
            "family": session.family.__name__,
            "config": to_dict(session.config),
            "seed": session.seed,
            "attempt": self.attempt,
        }
        if any(session.names):
            meta[naming.KEY] = session.names.to_dict()
        if self.directory.data_changes:
            meta["data_changes"] = self.directory.data_changes
        self.checkpoints.save(
            self.state, checkpoint.sampler(self.state), {**meta, "jaxgan": _version()}
        )
        self.saved = self.images

    def _grid(self) -> None:
        if self.log is None:
            return
        part = State(self.state.step, self.state.images, {}, self.state.ema, {})
        local = jax.tree.map(
            lambda leaf: leaf.addressable_data(0), part
        )  # one device's copy: the grid is drawn by process 0 alone
        self.log.grid(self.images, self._preview(local))

    def _preview(self, state: State) -> np.ndarray:
        if not hasattr(self, "_drawer"):
            batch = jax.device_put(self.feed.first_batch())
            family, config, key = (
                self.session.family,
                self.session.config,
                stream_key(jax.random.key(self.session.seed), "preview"),
            )
            draw = jax.jit(
                lambda state, batch: family.preview(config, state, data.prepare(batch, key, 0), key)
            )
            self._drawer = functools.partial(draw, batch=batch)
        return np.asarray(jax.device_get(self._drawer(state)), np.float32)

    def _report(self) -> None:
        if self.log is not None:
            report.write(self.directory.path)


def foremost(
    metrics: Mapping[str, float], players: Iterable[str], judged: Mapping[str, float]
) -> dict[str, float]:
    """The metrics in the order in which the progress line shows them: the players' losses, evaluation's first figure, other losses, the rest.

    Args:
      players: names, such as "generator", whose loss is called `generator_loss` or `g_loss`.
      judged: the newest figure of evaluation by name; {} for none.
    """
    names = [f"{prefix}_loss" for player in players for prefix in (player, player[:1])]
    losses = {name: metrics[name] for name in names if name in metrics}
    others = {name: value for name, value in metrics.items() if name.endswith("loss")}
    return {**losses, **judged, **others, **metrics} if losses else {**others, **judged, **metrics}


class _Clock:
    """Training time over all sessions, and the speed of this one."""

    def __init__(self, before: float, images: int, total: int):
        self.before, self.images, self.total = before, images, total
        self.started = time.monotonic()
        self.first: tuple[float, int] | None = None

    def seconds(self) -> float:
        """Since the run began."""
        return self.before + time.monotonic() - self.started

    def tick(self, images: int) -> tuple[float, float | None]:
        """(images per second, seconds left); compiling is not counted, so the first call has no speed yet."""
        now = time.monotonic()
        if self.first is None:
            self.first = (now, images)
            return 0.0, None
        rate = (images - self.first[1]) / max(now - self.first[0], 1e-9)
        return rate, (self.total - images) / rate if rate else None


@contextlib.contextmanager
def _stop_signals(log: Log | None) -> Iterator[threading.Event]:
    """An event that SIGTERM or the first SIGINT sets; the second SIGINT interrupts. Only where this is the main thread of a single process."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread() or jax.process_count() > 1:
        yield stop  # across processes JAX itself listens for SIGTERM
        return

    def handler(number: int, frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()
        say(
            f"{signal.Signals(number).name}: finishing this step and saving; ctrl-C again stops at once",
            log,
        )

    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _memory(compiled: Any) -> str:
    """What one call needs on each device, in words."""
    analysis = compiled.memory_analysis() if hasattr(compiled, "memory_analysis") else None
    if analysis is None:
        return "no memory estimate here"
    needed = (
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        - analysis.alias_size_in_bytes
        + analysis.temp_size_in_bytes
    )
    return f"about {needed / 2**20:,.1f} MiB a device, {analysis.temp_size_in_bytes / 2**20:,.1f} of it while a step runs"


def _version() -> str:
    try:
        return importlib.metadata.version("jaxgan")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
