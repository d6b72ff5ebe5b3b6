"""One process that carries out experiments, unit by unit: what crashes, hangs or eats memory there
takes nothing else along.

It is a fresh interpreter, so that no state comes along, and finds theorems by the names of their
modules. It leads a session of its own: an interrupt from the keyboard does not reach it, and
whatever it starts ends with it. It holds one end of a pipe into which nobody ever writes; when the
other end is gone, however the campaign ended (kill -9 included), it ends itself. Pipes handed down
by number need POSIX.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeAlias

from proofs_check import catalogue, checkers
from proofs_check.checkers.fresh import environment_of_children
from proofs_check.running.evidence import Unit, fingerprint
from proofs_check.statements.verdict import Verdict, inconclusive

__all__ = ["Done", "OtherCodeError", "UnitProcess", "serve"]

Done: TypeAlias = tuple[Unit, Verdict, bool]
"""A unit, its verdict, and whether it was finished: one that crashed or ran out of time is not."""

LATE, DIED = "not finished within", "the process died"
"""How the notes of verdicts on units begin that were not finished."""

_START_UP = 60.0
"""Seconds that a process may take to import the theorems. *Chosen*: a hundred times what
it takes.
"""

_MOST_UNITS, _MOST_BYTES = 50, 2**30
"""A process that has done so many units, or once held so much memory, is replaced. *Chosen*: caches
of SymPy and Hypothesis only grow.
"""


class OtherCodeError(RuntimeError):
    """The process would run other source code or libraries than the units were planned with."""


def serve(connection: int, lifeline: int) -> None:
    """Life of the process: say which code it runs, then answer unit by unit until the campaign
    hangs up.
    """
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    channel = Connection(connection)
    path, modules = channel.recv()
    sys.path[:] = path
    theorems = catalogue.load(modules)
    channel.send(fingerprint(modules))
    while True:
        try:
            unit = channel.recv()
        except EOFError:
            return
        experiment = theorems[unit.theorem].experiments[unit.experiment]
        verdict = checkers.check(experiment, rng_seed=unit.rng_seed, budget=unit.budget)
        try:
            written = verdict.to_json()
        except TypeError as error:
            written = inconclusive(
                f"the verdict cannot be written down: {error}", seconds=verdict.seconds
            ).to_json()
        channel.send((written, _most_memory()))


def _end_with(lifeline: int) -> None:
    """Wait for the end of whoever started this process, then end its whole group at once."""
    while os.read(lifeline, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _most_memory() -> int:
    """Bytes that this process held at most.

    Linux hands `ru_maxrss` of the process that started this one down to it, through exec; VmHWM
    begins anew.
    """
    with contextlib.suppress(OSError):
        for line in (
            Path("/proc/self/status").read_text(encoding="ascii", errors="replace").split("\n")
        ):
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


class UnitProcess:
    """A process, the unit it works on, and when its time is over.

    Parameters
    ----------
    modules : sequence of str
        Names of the modules with ``THEOREMS``.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self.connection, theirs = Pipe()
        lifeline, self._lifeline = os.pipe()
        code = (
            f"from proofs_check.running.unit_process import serve; serve({theirs.fileno()}, "
            f"{lifeline})"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            pass_fds=(theirs.fileno(), lifeline),
            env=environment_of_children(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        os.close(lifeline)
        self.unit: Unit | None = None
        self._ready, self._stopped, self._units, self._bytes = False, False, 0, 0
        self._limit, self.deadline = _START_UP, time.monotonic() + _START_UP
        self._send((sys.path, tuple(modules)))

    def _send(self, message: Any) -> None:
        with contextlib.suppress(OSError):  # a dead process is noticed when its answer is awaited
            self.connection.send(message)

    def begin(self, unit: Unit, limit: float) -> None:
        """Take on a unit; the clock of a process that is still starting begins when it is ready."""
        self.unit, self._limit = unit, limit
        self._send(unit)
        if self._ready:
            self.deadline = time.monotonic() + limit

    def step(self) -> Done | None:
        """What became of the unit, without waiting; None while it is being worked on.

        Raises
        ------
        OtherCodeError
            When the process runs other code than the unit was planned with.
        """
        unit = self.unit
        if unit is None:
            return None
        try:
            if self.connection.poll():
                verdict = self._receive(unit)
                return None if verdict is None else self._done(unit, verdict, finished=True)
        except (EOFError, OSError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=5)
            died = inconclusive(f"{DIED} (exit code {self._process.returncode})")
            return self._done(unit, died, finished=False)
        if time.monotonic() > self.deadline:
            late = inconclusive(f"{LATE} {self._limit:g} s", seconds=self._limit)
            return self._done(unit, late, finished=False)
        return None

    def _receive(self, unit: Unit) -> Verdict | None:
        """The verdict, or None when the process says that it is ready."""
        message = self.connection.recv()
        if isinstance(message, str):
            _check_code(message, unit)
            self._ready, self.deadline = True, time.monotonic() + self._limit
            return None
        written, self._bytes = message
        self._units += 1
        return Verdict.from_json(written)

    def _done(self, unit: Unit, verdict: Verdict, *, finished: bool) -> Done:
        self.unit = None
        if not finished:
            self.stop()
        return unit, verdict, finished

    @property
    def worn(self) -> bool:
        """Whether another process should take the next unit: this one is stopped, or has grown."""
        return self._stopped or self._units >= _MOST_UNITS or self._bytes > _MOST_BYTES

    def kill(self) -> None:
        """End the process and all that it started; who waits for its answer finds it dead.

        Safe to call from another thread.
        """
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """End the process and let go of all that belongs to it; more than once does no harm."""
        if self._stopped:
            return
        self._stopped = True
        self.kill()
        self._process.wait()
        self.connection.close()
        os.close(self._lifeline)


def _check_code(running: str, unit: Unit) -> None:
    if running != unit.fingerprint:
        msg = (
            f"fingerprint(={running[:12]}) of the code that a process runs is not the campaign's "
            f"({unit.fingerprint[:12]}): the source or a library was changed after the campaign "
            "began, or a worker has another version installed; begin the campaign anew with one "
            "version everywhere"
        )
        raise OtherCodeError(msg)
