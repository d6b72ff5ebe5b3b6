"""A hunt: which chunk comes next, in how many processes, until when.

Work goes to the cell with the smallest share of its target done; of equal cells to the one whose
name has the smallest hash, so that a hunt cut short has looked everywhere a little. What counts is
the list of chunks in the store: a hunt that was killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from proofs_check.hunt.chunk import cell_of, examine
from proofs_check.hunt.methods import ROWS, Cell
from proofs_check.hunt.store import Store

PROBLEMS = {"quick": 20_000, "full": 300_000}
"""Problems of a budget, all cells together."""

SECONDS = {"quick": 55.0, "full": math.inf}
"""Time that a budget takes at most: the quick one ends when it is over, done or not."""


def _share(cell: Cell) -> float:
    """Return how many problems a cell gets, beside others. *Chosen*: now and then a call of a
    costly row takes seconds, and the gradient of a network always takes some hundredths.
    """
    if ROWS[cell.row].costly:
        return 1 / 2
    return 1 / 4 if cell.mode == "network-gradient" else 1.0


@dataclass(kw_only=True)
class Progress:
    """Where a cell stands: problems done, the next chunk, the chunks that are in the store."""

    done: int = 0
    next: int = 0
    stored: set[int] = field(default_factory=set)


class Hunt:
    """A campaign over some cells.

    Parameters
    ----------
    cells : sequence of Cell
        Where to hunt.
    seed : int
        All problems follow from it.
    problems : int
        Target for all cells together; each gets its share, and whole chunks.
    each : int
        Target for every single cell, whatever its share.
    store : Store
        What was done before, and where records go.
    """

    def __init__(
        self, cells: Sequence[Cell], *, seed: int, problems: int = 1, each: int = 0, store: Store
    ) -> None:
        if problems < 1:
            msg = f"problems(={problems}) must be at least 1: no problem proves nothing"
            raise ValueError(msg)
        self.cells, self.seed, self.store = list(cells), seed, store
        unit = problems / sum(_share(cell) for cell in self.cells)
        self.targets = {c: max(each, math.ceil(unit * _share(c))) for c in self.cells}
        self.progress = {cell: Progress() for cell in self.cells}
        for record in store.records:
            if record["seed"] == seed and (cell := cell_of(record)) in self.progress:
                self.progress[cell].stored.add(record["index"])
                self.progress[cell].done += record["problems"]
        self._waiting = [(*self._rank(cell), cell) for cell in self.cells]
        heapq.heapify(self._waiting)

    def _rank(self, cell: Cell) -> tuple[float, str]:
        done = self.progress[cell].done / self.targets[cell]
        return done, hashlib.sha256(str(cell).encode()).hexdigest()

    @property
    def left(self) -> int:
        """Number of cells that have not met their target."""
        return sum(not self._met(cell) for cell in self.cells)

    def _met(self, cell: Cell) -> bool:
        return self.progress[cell].done >= self.targets[cell]

    def run(self, *, time_limit: float = math.inf, jobs: int = 1) -> Iterator[dict[str, Any]]:
        """Carry out chunks and yield their records, until all targets are met or time is over."""
        end = time.monotonic() + time_limit
        if jobs == 1:
            while time.monotonic() < end and (task := self._next()) is not None:
                yield self._finish(task[0], examine(task[0], seed=self.seed, index=task[1]))
            return
        yield from self._in_processes(end, jobs)

    def _in_processes(self, end: float, jobs: int) -> Iterator[dict[str, Any]]:
        running: dict[Future[dict[str, Any]], Cell] = {}
        with ProcessPoolExecutor(jobs) as pool:
            while True:
                while time.monotonic() < end and len(running) < 2 * jobs:
                    if (task := self._next()) is None:
                        break
                    cell, index = task
                    running[pool.submit(examine, cell, seed=self.seed, index=index)] = cell
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield self._finish(running.pop(future), future.result())

    def _next(self) -> tuple[Cell, int] | None:
        """Return the next chunk; its cell waits until `_finish`."""
        while self._waiting:
            cell = heapq.heappop(self._waiting)[-1]
            state = self.progress[cell]
            if self._met(cell):
                continue
            while state.next in state.stored:
                state.next += 1
            state.next += 1
            return cell, state.next - 1
        return None

    def _finish(self, cell: Cell, record: dict[str, Any]) -> dict[str, Any]:
        self.store.add(record)
        self.progress[cell].done += record["problems"]
        heapq.heappush(self._waiting, (*self._rank(cell), cell))
        return record


def improbable(records: Sequence[dict[str, Any]], level: float = 1e-3) -> list[dict[str, Any]]:
    """Return the rows whose certificates failed more often than they allow themselves.

    One exact binomial test for each row and allowed probability, one-sided, at `level` divided by
    their number (Bonferroni). Each call is one trial: items of a call share their draws.

    Returns
    -------
    list of dict
        Row, allowed probability, calls, failures and p-value of each test that rejects.
    """
    counts: dict[tuple[str, str], list[int]] = {}
    for record in records:
        for allowed, (tried, failed) in record["trials"].items():
            entry = counts.setdefault((record["row"], allowed), [0, 0])
            entry[0] += tried
            entry[1] += failed
    found = []
    for (row, allowed), (tried, failed) in counts.items():
        p = _p_value(failed, tried, float(allowed))
        if p < level / len(counts):
            found.append(
                {"kind": "improbable", "row": row, "allowed": float(allowed)}
                | {"calls": tried, "failed": failed, "p": p}
            )
    return found


def _p_value(failed: int, tried: int, allowed: float) -> float:
    from scipy.stats import binom

    return float(binom.sf(failed - 1, tried, min(allowed, 1.0)))


def findings_of(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return all findings of the records, the worst kinds first, then by ratio."""
    order = ("violation", "nan", "written", "dtype", "crash", "warning")
    lines = [f for record in records for f in record["findings"]]
    return sorted(lines, key=lambda f: (order.index(f["kind"]), -f["ratio"]))


def summary(records: Sequence[dict[str, Any]], left: int = 0) -> dict[str, Any]:
    """Return totals of a hunt, as `hunt --json` prints them."""
    lines, odd = findings_of(records), improbable(records)
    totals = {
        name: sum(record[name] for record in records)
        for name in ("problems", "refused", "rows", "unbounded", "undecided")
    }
    kinds: dict[str, int] = {}
    for f in lines:
        kinds[f["kind"]] = kinds.get(f["kind"], 0) + 1
    return {
        "ok": not lines and not odd,
        **totals,
        "cells left": left,
        "kinds": kinds,
        "improbable": odd,
        "findings": lines,
        "rows of the table": len(ROWS),
    }
