"""Units on a running Dask cluster: the same processes as on this machine, started by the cluster's
workers.

Results come back to the one process that writes. A unit whose Dask worker dies is given to another
one by the scheduler. Verdicts depend on the unit alone, so the evidence is that of a local run; a
worker with other source code or libraries is refused by its fingerprint. Dask is an optional
dependency and is imported only when a scheduler is named.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from multiprocessing.connection import wait
from typing import Any

from proofs_check.running.evidence import Unit
from proofs_check.running.unit_process import Done, OtherCodeError, UnitProcess
from proofs_check.statements.verdict import Verdict, inconclusive

__all__ = ["SchedulerError", "carry_out"]

_PATIENCE = 30.0
"""Seconds to wait for the scheduler, and for its first worker. *Chosen*."""

_AHEAD = 2
"""Units given to the cluster for every thread that it has: one at work, one waiting. *Chosen*."""


class SchedulerError(RuntimeError):
    """The cluster cannot be used; the message says what to do."""


def carry_out(
    units: Sequence[Unit],
    modules: Sequence[str],
    *,
    scheduler: str,
    limit: float,
    until: float = math.inf,
) -> Generator[Done]:
    """Yield (unit, verdict, finished) as they come.

    Parameters
    ----------
    units, modules, limit, until
        As in `proofs_check.running.local_workers.carry_out`.
    scheduler : str
        Address of the Dask scheduler, for example "tcp://10.0.0.1:8786".

    Raises
    ------
    SchedulerError
        When Dask is not installed, nobody answers at the address, or the cluster has no workers or
        cannot import this package.
    OtherCodeError
        When a worker runs other source code or libraries than the units were planned with.
    """
    client, todo, campaign = _connect(scheduler), deque(units), uuid.uuid4().hex
    running: dict[Any, Unit] = {}
    news: queue.SimpleQueue[Any] = queue.SimpleQueue()
    try:
        while (todo or running) and time.monotonic() < until:
            while todo and len(running) < max(1, _AHEAD * sum(client.nthreads().values())):
                unit = todo.popleft()
                name = f"{unit.theorem}-{unit.experiment}-{campaign}"
                future = client.submit(
                    _perform, unit, tuple(modules), limit, campaign, key=name, pure=False
                )
                running[future] = unit
                future.add_done_callback(news.put)
            for future in _finished(news, until):
                yield _result(future, running.pop(future))
    finally:
        with contextlib.suppress(Exception):  # a cluster that is gone has nothing left to dismiss
            client.cancel(list(running), force=True)
            client.run(_dismiss, campaign, on_error="ignore")
        client.close()


def _connect(scheduler: str) -> Any:
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError as error:
        msg = (
            f"scheduler(={scheduler!r}) needs the package distributed: pip install "
            "'approxattn[distributed]', here and on the cluster"
        )
        raise SchedulerError(msg) from error
    try:
        client = distributed.Client(scheduler, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        msg = (
            f"scheduler(={scheduler!r}) does not answer: start one with `dask scheduler` and give "
            "the address that it prints"
        )
        raise SchedulerError(msg) from error
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except TimeoutError as error:
        client.close()
        msg = f"scheduler(={scheduler!r}) has no workers: start some with `dask worker {scheduler}`"
        raise SchedulerError(msg) from error
    return client


def _finished(news: queue.SimpleQueue[Any], until: float) -> Iterator[Any]:
    """Futures that came to an end, after a second or less."""
    patience = max(0.0, min(1.0, until - time.monotonic())) + 0.01
    with contextlib.suppress(queue.Empty):
        yield news.get(timeout=patience)
        while True:
            yield news.get_nowait()


def _result(future: Any, unit: Unit) -> Done:
    try:
        written, finished = future.result()
    except OtherCodeError:
        raise
    except Exception as error:
        if type(error).__name__ == "KilledWorker":
            return (
                unit,
                inconclusive(f"one Dask worker after the other died of it: {error}"[:300]),
                False,
            )
        if future.cancelled():
            msg = (
                "the Dask scheduler is gone: start it again and run the same command, which does "
                "the rest"
            )
            raise SchedulerError(msg) from error
        msg = (
            f"a Dask worker could not carry out {unit.theorem} ({type(error).__name__}: {error}): "
            "install this package with its extra `verify` on every worker, in the same version"
        )
        raise SchedulerError(msg) from error
    return unit, Verdict.from_json(written), finished


# --- on a Dask worker -----------------------------------------------------------------------------
# A task thread has a process of its own do the work, so that an experiment may be killed when its
# time is over. Processes wait for the next unit of their campaign; a Dask worker that dies takes
# them along.

_LOCK = threading.Lock()
_IDLE: list[tuple[str, UnitProcess]] = []
_BUSY: list[tuple[str, UnitProcess]] = []


def _perform(unit: Unit, modules: Sequence[str], limit: float, campaign: str) -> tuple[str, bool]:
    """The verdict as text, and whether it was finished."""
    process = _take(modules, campaign)
    try:
        process.begin(unit, limit)
        done = process.step()
        while done is None:
            wait(
                [process.connection],
                timeout=max(0.0, min(1.0, process.deadline - time.monotonic())) + 0.01,
            )
            done = process.step()
    except BaseException:
        process.stop()
        raise
    finally:
        _give_back(process, campaign)
    return done[1].to_json(), done[2]


def _take(modules: Sequence[str], campaign: str) -> UnitProcess:
    with _LOCK:
        own = next((entry for entry in _IDLE if entry[0] == campaign), None)
        if own is not None:
            _IDLE.remove(own)
        entry = own or (campaign, UnitProcess(modules))
        _BUSY.append(entry)
        return entry[1]


def _give_back(process: UnitProcess, campaign: str) -> None:
    with _LOCK:
        _BUSY.remove((campaign, process))
        if process.worn:
            process.stop()
        else:
            _IDLE.append((campaign, process))


def _dismiss(campaign: str) -> None:
    """End the processes of a campaign that is over, those at work included."""
    with _LOCK:
        for entry in [e for e in _IDLE if e[0] == campaign]:
            _IDLE.remove(entry)
            entry[1].stop()
        for name, process in _BUSY:
            if name == campaign:
                process.kill()
