"""The processes of a comparison with PyTorch: starting them, one by one or beside each other, and letting them work in turns."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from benchmarks import record, timing
from jaxgan.errors import JaxganError

if TYPE_CHECKING:
    from benchmarks.pytorch_cases import Case

Kinds = Sequence[tuple[int | None, int]]
COMPILING = ("jaxgan", "pytorch-compiled")
"""Sides whose first steps take long, on the CPU's cores."""
ROUND_S = {"cpu": 1.5, "cuda": 0.3}
"""Seconds of a round. On a CPU a first step after the turns of the others takes longer than later ones (566 and 537 ms were seen), and a training has no such
pauses; a GPU's steps are short enough for many in a round.
"""


class Rival:
    """A process of `benchmarks.rivals`: one side, ready to work when asked. Raises JaxganError where the process ends, or has not begun after `patience`
    seconds (0: any time).
    """

    def __init__(
        self, side: str, case: Case, device: str, dtype: str, cores: int = 0, patience: float = 0.0
    ):
        self.side, self.round_s, self.first_s, self.count = side, ROUND_S[device], 0.0, 0
        command = [
            sys.executable,
            "-m",
            "benchmarks.rivals",
            side,
            case.family,
            "--size",
            str(case.size),
            "--batch",
            str(case.batch),
        ]
        environment = {
            **os.environ,
            "JAX_PLATFORMS": device,
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        if side == "pytorch-spinning":
            del environment["OMP_WAIT_POLICY"]
        command += ["--device", device, "--dtype", dtype, "--cores", str(cores)]
        self.process = subprocess.Popen(
            command,
            cwd=record.ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            with self._killed_after(patience):
                self.provenance: dict[str, Any] = self._answer()["ready"]
        except BaseException:
            self.close()
            raise

    def ask(self, **request: Any) -> Any:
        """The answer to a request."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died: `_answer` says so
            print(json.dumps(request), file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise JaxganError(
                f"the process of {self.side} stopped with status {self.process.wait()}: what it printed above says why"
            )
        return json.loads(line)

    @contextlib.contextmanager
    def _killed_after(self, seconds: float) -> Iterator[None]:
        if not seconds:
            yield
            return
        timer = threading.Timer(seconds, self.process.kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def begin(self, kinds: Kinds, patience: float = 0.0) -> None:
        """Make the first steps of every kind, unless they were made: sets `first_s`, the seconds that they take longer than later ones, and `count`, steps
        of a round.
        """
        if self.count:
            return
        with self._killed_after(patience):
            first = sum(self.ask(kind=kind, count=1)["seconds"] for kind, _ in kinds)
            again = [self.ask(kind=kind, count=1)["seconds"] for kind, _ in kinds]
        self.first_s, self.count = (
            max(0.0, first - sum(again)),
            max(1, min(200, round(self.round_s / max(again)))),
        )

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


@contextlib.contextmanager
def started(
    sides: Sequence[str], case: Case, device: str, dtype: str, cores: int
) -> Iterator[list[Rival]]:
    """The processes of a case, started one after another."""
    rivals: list[Rival] = []
    try:
        for side in sides:
            rivals.append(Rival(side, case, device, dtype, cores))
        yield rivals
    finally:
        for rival in rivals:
            rival.close()


@contextlib.contextmanager
def started_together(
    wanted: Sequence[tuple[Case, Sequence[str], Kinds]],
    device: str,
    dtype: str,
    cores: int,
    at_once: int,
    patience: float,
) -> Iterator[dict[Case, list[Rival]]]:
    """The processes of all cases, `at_once` starting and compiling beside each other; yielded when all are ready, so that they are timed undisturbed.

    Those that compile for long have made their first steps then. A side that fails, or is not ready after `patience` seconds (0: any time), is named and
    left out.
    """
    begin = time.perf_counter()
    ready: list[Rival] = []

    def start(side: str, case: Case, kinds: Kinds) -> Rival:
        def left() -> float:
            return max(0.1, patience - (time.perf_counter() - begin)) if patience else 0.0

        rival = Rival(side, case, device, dtype, cores, left())
        ready.append(rival)
        if side in COMPILING:
            rival.begin(kinds, left())
        return rival

    try:
        with ThreadPoolExecutor(at_once) as pool:
            jobs = [(case, side, kinds) for case, sides, kinds in wanted for side in sides]
            jobs.sort(
                key=lambda job: job[1] not in COMPILING
            )  # a stable sort: the order of cases stays
            futures = [
                (case, side, pool.submit(start, side, case, kinds)) for case, side, kinds in jobs
            ]
        found: dict[Case, list[Rival]] = {case: [] for case, _, _ in wanted}
        for case, side, future in futures:
            if (rival := _result(case, side, future)) is not None:
                found[case].append(rival)
        yield found
    finally:
        for rival in ready:
            rival.close()


def _result(case: Case, side: str, future: Future[Rival]) -> Rival | None:
    try:
        return future.result()
    except JaxganError as error:
        print(f"{case.name}: left out: {error}", file=sys.stderr, flush=True)
        return None


def rounds(rivals: Sequence[Rival], kinds: Kinds, seconds: float) -> dict[str, list[float]]:
    """By side: seconds of a mean step, round by round, in turns. No new round begins after `seconds`, but three are made."""
    for rival in rivals:
        rival.begin(kinds)
    total = sum(weight for _, weight in kinds)
    times: dict[str, list[float]] = {rival.side: [] for rival in rivals}
    begin, done = time.perf_counter(), 0
    while done < 3 or (done < timing.REPETITIONS and time.perf_counter() - begin < seconds):
        for rival in rivals:
            mean = (
                sum(
                    weight * rival.ask(kind=kind, count=rival.count)["seconds"]
                    for kind, weight in kinds
                )
                / total
            )
            times[rival.side].append(mean)
        done += 1
    return times
