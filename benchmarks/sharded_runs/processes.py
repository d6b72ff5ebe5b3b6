"""Processor time and private memory of processes, from /proc: so on Linux alone."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType

EVERY = 0.05
"""Seconds between two looks."""


def private_mib(pid: int) -> float:
    """Return the memory that no file stands behind, in MiB; 0 of a process that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    sizes = [int(line.split()[1]) for line in lines if line.startswith("RssAnon")]
    return sizes[0] / 1024 if sizes else 0.0


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used; 0 of one that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Watched:
    """What some processes use while the block of this context runs.

    Attributes
    ----------
    seconds : dict of int to float
        Processor time of each of them inside.
    peak : dict of int to float
        Largest private memory of each, in MiB, seen every 50 ms.
    own : float
        Processor time of this process.
    wall : float
        Time on the clock.
    """

    def __init__(self, pids: Callable[[], Collection[int]]) -> None:
        self._pids, self._over = pids, threading.Event()
        self._before: dict[int, float] = {}
        self.seconds: dict[int, float] = {}
        self.peak: dict[int, float] = {}
        self.own = self.wall = 0.0

    def __enter__(self) -> Watched:
        self._look()
        self._before, self.seconds = self.seconds, {}
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        self._begun = time.process_time(), time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.own, self.wall = (
            time.process_time() - self._begun[0],
            time.perf_counter() - self._begun[1],
        )
        self._look()
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(EVERY):
            self._look()

    def _look(self) -> None:
        for pid in list(self._pids()):
            used = processor_seconds(pid) - self._before.get(pid, 0.0)
            self.seconds[pid] = max(self.seconds.get(pid, 0.0), used)
            self.peak[pid] = max(self.peak.get(pid, 0.0), private_mib(pid))
