"""Processes of this machine, side by side: an experiment may crash, hang or exhaust memory without
taking the campaign along.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Generator, Sequence
from multiprocessing.connection import wait

from proofs_check.running.evidence import Unit
from proofs_check.running.unit_process import Done, UnitProcess

__all__ = ["carry_out"]


def carry_out(
    units: Sequence[Unit],
    modules: Sequence[str],
    *,
    jobs: int,
    limit: float,
    until: float = math.inf,
) -> Generator[Done]:
    """Yield (unit, verdict, finished) as they come.

    Parameters
    ----------
    units : sequence of Unit
        What to do.
    modules : sequence of str
        Names of the modules with ``THEOREMS``.
    jobs : int
        Number of processes.
    limit : float
        Seconds for one experiment. A process over its time is killed; its unit is inconclusive and
        not finished.
    until : float
        Reading of `time.monotonic` at which to end: no unit is begun any more, those in the middle
        are given up and not yielded.
    """
    todo, workers = deque(units), [UnitProcess(modules) for _ in range(min(jobs, len(units)))]
    try:
        for worker in workers:
            worker.begin(todo.popleft(), limit)
        while any(w.unit is not None for w in workers) and time.monotonic() < until:
            for i, worker in enumerate(workers):
                done = worker.step()
                if done is None:
                    continue
                yield done
                if todo and time.monotonic() < until:
                    if worker.worn:
                        worker.stop()
                        workers[i] = UnitProcess(modules)
                    workers[i].begin(todo.popleft(), limit)
            _sleep_until_news([w for w in workers if w.unit is not None], until)
    finally:
        for worker in workers:
            worker.stop()


def _sleep_until_news(workers: Sequence[UnitProcess], until: float) -> None:
    if workers:
        soonest = min(until, *(w.deadline for w in workers)) - time.monotonic()
        wait([w.connection for w in workers], timeout=max(0.0, min(soonest, 1.0)) + 0.01)
