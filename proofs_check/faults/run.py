"""Run faults, each in a fresh process with a time limit, several at a time.

The control runs every check on the code as it is, each in a process of its own too. With a store,
what was done for this very code (`depends`) is not done again: a campaign that was killed goes on
where it was.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from typing import Any

from proofs_check.faults.depends import CONTROL, ROOT, control_names, digest_of
from proofs_check.faults.listed import FAULTS
from proofs_check.hunt.store import Store

GOAL = 0.95
"""Share of the faults that must be caught."""

FORM = "approxattn faults 1"
"""What each line of a store of outcomes says that it is."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one fault; of the control, `check` is the one that raised a false alarm.

    Attributes
    ----------
    key : str
        The fault, `CONTROL`, or `CONTROL`, a colon and a check.
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
    keys: Sequence[str],
    *,
    jobs: int = 1,
    limit: float = 600.0,
    control: bool = True,
    store: Store | None = None,
) -> Iterator[Outcome]:
    """Yield outcomes: those of the store first, then others as they come, with those of the control
    if wanted.

    Parameters
    ----------
    keys : sequence of str
        Faults.
    jobs : int
        Processes at a time.
    limit : float
        Seconds that a process may take; a fault that takes longer counts as survived, a check of
        the control as an alarm.
    control : bool
        Whether to run the checks on the code as it is too.
    store : Store, optional
        Where outcomes are kept, and looked up as long as what they depend on is the same.

    Raises
    ------
    StaleFaultError
        Before anything runs, when a text does not occur exactly once in its module.
    """
    for key in keys:
        FAULTS[key].faulted_source()
    names = [*keys, *(control_names() if control else ())]
    codes, done = {name: digest_of(name) for name in names}, {}
    for record in store.records if store is not None else ():
        if record["code"] == codes.get(record["key"]):
            fields = ("key", "check", "complaint", "seconds")
            done[record["key"]] = Outcome(**{name: record[name] for name in fields})
    yield from done.values()
    with ThreadPoolExecutor(jobs) as pool:
        tasks = [pool.submit(_one, name, limit) for name in names if name not in done]
        try:
            for task in as_completed(tasks):
                outcome = task.result()
                # what ended without an answer may have one the next time
                if store is not None and (outcome.caught or not outcome.complaint):
                    store.add({"code": codes[outcome.key], **asdict(outcome)})
                yield outcome
        finally:
            for task in tasks:
                task.cancel()


def gathered(outcomes: Sequence[Outcome]) -> Outcomes:
    """Put outcomes in the order of the list, and the runs of the control into one."""
    by_key = {o.key: o for o in outcomes}
    return Outcomes(
        faults=tuple(by_key[key] for key in FAULTS if key in by_key), control=_control(by_key)
    )


def _control(by_key: dict[str, Outcome]) -> Outcome:
    """Return the first alarm; none when all checks were run and said nothing."""
    runs = [by_key.get(name) for name in control_names()]
    found = [o for o in runs if o is not None]
    alarm = next((o for o in found if o.check or o.complaint), None)
    seconds = sum(o.seconds for o in found)
    if alarm is not None:
        check = alarm.check or alarm.key.partition(":")[2]
        return Outcome(key=CONTROL, check=check, complaint=alarm.complaint, seconds=seconds)
    missing = "" if len(found) == len(runs) else "was not run"
    return Outcome(key=CONTROL, check="", complaint=missing, seconds=seconds)


def _one(name: str, limit: float) -> Outcome:
    command = [sys.executable, "-m", "proofs_check.faults.worker", name]
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
    root = str(ROOT)
    inherited = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join(filter(None, (root, inherited)))
    return {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
