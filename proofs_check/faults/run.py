"""Run faults, each in a fresh process with a time limit, several at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from proofs_check.faults.listed import FAULTS

GOAL = 0.95
"""Share of the faults that must be caught."""

CONTROL = "control"
"""Name of the run of all checks on the code as it is."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one fault; of the control, `check` is the one that raised a false alarm.

    Attributes
    ----------
    key : str
        The fault, or `CONTROL`.
    check, complaint : str
        The check that noticed and what it said; no check when it survived (then the complaint, if
        any, says what went wrong).
    seconds : float
        Time taken in its process.
    """

    key: str
    check: str
    complaint: str
    seconds: float

    @property
    def caught(self) -> bool:
        """Whether a check complained."""
        return bool(self.check)


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """All of them, in the order of the list, and the control."""

    faults: tuple[Outcome, ...]
    control: Outcome

    @property
    def share(self) -> float:
        """Share of faults caught."""
        return sum(o.caught for o in self.faults) / max(1, len(self.faults))

    @property
    def sound(self) -> bool:
        """Whether the control ran through without an alarm."""
        return not self.control.check and not self.control.complaint

    @property
    def ok(self) -> bool:
        """Whether enough were caught and nothing was where no fault is."""
        return self.sound and self.share >= GOAL

    @property
    def summary(self) -> str:
        """One line: how many were caught, and whether the control ran through."""
        caught = sum(o.caught for o in self.faults)
        alarm = "passed" if self.sound else f"{self.control.check} {self.control.complaint}"
        return f"{caught} of {len(self.faults)} caught; control: {alarm}"

    def as_data(self) -> dict[str, Any]:
        """Everything, for JSON."""
        rows = [
            {**asdict(o), "kind": FAULTS[o.key].kind, "module": FAULTS[o.key].module}
            for o in self.faults
        ]
        return {"ok": self.ok, "share": self.share, "control": asdict(self.control), "faults": rows}


def chosen(keys: Sequence[str]) -> tuple[str, ...]:
    """Return the keys given, all when none is; KeyError for one that is not in the list.

    A key that ends in a dot stands for all that begin with it.
    """
    names: list[str] = []
    for key in keys or ("",):
        meant = [k for k in FAULTS if k == key or (key[-1:] in ("", ".") and k.startswith(key))]
        if not meant:
            msg = (
                f"no fault {key!r}: docs/generated/faults.md lists all, and a key that ends in a "
                "dot stands for a group"
            )
            raise KeyError(msg)
        names += meant
    return tuple(dict.fromkeys(names))


def run(
    keys: Sequence[str], *, jobs: int = 1, limit: float = 600.0, control: bool = True
) -> Iterator[Outcome]:
    """Yield outcomes as they come, the control among them if wanted.

    Parameters
    ----------
    keys : sequence of str
        Faults.
    jobs : int
        Processes at a time.
    limit : float
        Seconds that a fault's process may take; one that takes longer counts as survived. The
        control, which runs every check, has ten times as long.
    control : bool
        Whether to run the checks on the code as it is too.

    Raises
    ------
    StaleFaultError
        Before anything runs, when a text does not occur exactly once in its module.
    """
    for key in keys:
        FAULTS[key].faulted_source()
    with ThreadPoolExecutor(jobs) as pool:
        names = [CONTROL, *keys] if control else list(keys)
        tasks = [
            pool.submit(_one, name, 10 * limit if name == CONTROL else limit) for name in names
        ]
        try:
            for task in as_completed(tasks):
                yield task.result()
        finally:
            for task in tasks:
                task.cancel()


def gathered(outcomes: Sequence[Outcome]) -> Outcomes:
    """Put outcomes in the order of the list."""
    by_key = {o.key: o for o in outcomes}
    control = by_key.pop(
        CONTROL, Outcome(key=CONTROL, check="", complaint="was not run", seconds=0.0)
    )
    return Outcomes(faults=tuple(by_key[key] for key in FAULTS if key in by_key), control=control)


def _one(name: str, limit: float) -> Outcome:
    key = "" if name == CONTROL else name
    command = [sys.executable, "-m", "proofs_check.faults.worker", *([key] if key else [])]
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=limit,
            env=_environment(),
        )
    except subprocess.TimeoutExpired:
        return Outcome(
            key=name, check="", complaint=f"not finished within {limit:g} s", seconds=limit
        )
    try:
        return Outcome(key=name, **json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, ValueError):
        last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        return Outcome(
            key=name, check="", complaint=f"the process failed: {last[0][:300]}", seconds=0.0
        )


def _environment() -> dict[str, str]:
    """The checks are small: one thread each."""
    root = str(Path(__file__).resolve().parent.parent.parent)
    inherited = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join(filter(None, (root, inherited)))
    return {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
