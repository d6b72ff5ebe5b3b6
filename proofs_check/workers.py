"""Worker processes: an experiment may crash, hang or exhaust memory without taking the campaign along.

Each worker is a fresh interpreter (spawned, not forked: no state comes along) that finds theorems by the names of their modules.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from proofs_check import catalogue, checkers
from proofs_check.evidence import Unit
from proofs_check.verdict import Verdict, inconclusive

__all__ = ["carry_out"]

_START_UP = 60.0
"""Seconds that a worker may take to import the theorems. *Chosen*: a hundred times what it takes."""


def _serve(connection: Connection, modules: Sequence[str]) -> None:
    """Life of a worker: say ready, then answer unit by unit until the campaign hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupted campaign stops its workers itself
    theorems = catalogue.load(modules)
    connection.send(None)
    while True:
        try:
            unit = connection.recv()
        except EOFError:
            return
        experiment = theorems[unit.theorem].experiments[unit.experiment]
        verdict = checkers.check(experiment, rng_seed=unit.rng_seed, budget=unit.budget)
        try:
            connection.send(verdict.to_json())
        except TypeError as error:
            connection.send(
                inconclusive(f"the verdict cannot be written down: {error}", seconds=verdict.seconds).to_json()
            )


class _Worker:
    """A process, the unit it works on, and when its time is over."""

    def __init__(self, modules: Sequence[str]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, modules), daemon=True)
        self.process.start()
        theirs.close()
        self.unit: Unit | None = None
        self.ready = False
        self.limit = _START_UP
        self.deadline = time.monotonic() + _START_UP

    def begin(self, unit: Unit, limit: float) -> None:
        """Take on a unit; the clock of a worker that is still starting begins when it is ready."""
        self.unit, self.limit = unit, limit
        with contextlib.suppress(OSError):  # a dead worker is noticed, and replaced, when its answer is awaited
            self.connection.send(unit)
        if self.ready:
            self.deadline = time.monotonic() + limit

    def receive(self) -> Verdict | None:
        """The verdict, or None for the message that the worker is ready. EOFError or OSError when the process is dead."""
        message = self.connection.recv()
        if message is None:
            self.ready, self.deadline = True, time.monotonic() + self.limit
            return None
        return Verdict.from_json(message)

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def carry_out(
    units: Sequence[Unit], modules: Sequence[str], *, jobs: int, limit: float
) -> Iterator[tuple[Unit, Verdict, bool]]:  # fmt: skip
    """Yield (unit, verdict, finished) as they come.

    Parameters
    ----------
    units : sequence of Unit
        What to do.
    modules : sequence of str
        Names of the modules with ``THEOREMS``.
    jobs : int
        Number of worker processes.
    limit : float
        Seconds for one experiment. A worker over its time is killed; its unit is inconclusive and not finished.
    """
    todo, workers = deque(units), []
    try:
        for _ in range(min(jobs, len(todo))):
            workers.append(_Worker(modules))
            workers[-1].begin(todo.popleft(), limit)
        while any(w.unit is not None for w in workers):
            for i, worker in enumerate(workers):
                done = _step(worker) if worker.unit is not None else None
                if done is None:
                    continue
                yield done
                if not done[2]:
                    worker.stop()
                    workers[i] = worker = _Worker(modules)
                worker.unit = None
                if todo:
                    worker.begin(todo.popleft(), limit)
            _sleep_until_news([w for w in workers if w.unit is not None])
    finally:
        for worker in workers:
            worker.stop()


def _step(worker: _Worker) -> tuple[Unit, Verdict, bool] | None:
    """What became of a worker's unit, without waiting."""
    unit: Any = worker.unit
    try:
        if worker.connection.poll():
            verdict = worker.receive()
            return None if verdict is None else (unit, verdict, True)
    except (EOFError, OSError):
        worker.process.join(timeout=5)
        return unit, inconclusive(f"the process died (exit code {worker.process.exitcode})"), False
    if time.monotonic() > worker.deadline:
        return unit, inconclusive(f"not finished within {worker.limit:g} s", seconds=worker.limit), False
    return None


def _sleep_until_news(workers: Sequence[_Worker]) -> None:
    if workers:
        soonest = min(w.deadline for w in workers) - time.monotonic()
        wait([w.connection for w in workers], timeout=max(0.0, min(soonest, 1.0)) + 0.01)
