"""The evidence store: one SQLite file, written as evidence is produced, so that a killed campaign
resumes.

A unit is one experiment of one theorem at one seed and budget. Its key is the hash of all that can
change its verdict: these four, the source code and the versions of the libraries. Its seed follows
from theorem, experiment, user seed and budget alone (not from the source code), so that editing a
comment does not reshuffle every random number. Only one process writes; results of workers come to
it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from proofs_check.running.code_digest import code_digest
from proofs_check.running.database import (
    EvidenceError,
    explained,
    open_copy,
    open_in_memory,
    open_to_write,
    trouble,
)
from proofs_check.running.stored import Damaged, environment_of, plan_of, verdict_of
from proofs_check.statements import serial
from proofs_check.statements.verdict import Verdict

__all__ = ["READ_ONLY", "Evidence", "EvidenceError", "Unit", "environment", "fingerprint"]

_T = TypeVar("_T")

_LIBRARIES = (
    "numpy",
    "scipy",
    "sympy",
    "python-flint",
    "hypothesis",
    "array-api-compat",
    "cma",
)


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One experiment to carry out: theorem key, index of the experiment, user seed, budget,
    fingerprint of the code.
    """

    theorem: str
    experiment: int
    seed: int
    budget: str
    fingerprint: str

    @property
    def key(self) -> str:
        """Hash of everything that can change the verdict."""
        return hashlib.sha256(serial.dumps(vars(self)).encode()).hexdigest()

    @property
    def rng_seed(self) -> int:
        """128-bit seed of this unit's random numbers, independent of the order of the units and of
        the source code.
        """
        named = {
            "theorem": self.theorem,
            "experiment": self.experiment,
            "seed": self.seed,
            "budget": self.budget,
        }
        return int.from_bytes(hashlib.sha256(serial.dumps(named).encode()).digest()[:16], "big")


def fingerprint(modules: Iterable[str] = ()) -> str:
    """Hash of all that a verdict can depend on: code, data that come with it, library versions.

    The code is that of both packages and of the modules named, without the prose that
    `proofs_check.running.code_digest` lists: a statement may be worded better, and its evidence
    stays. Rooms that only write or examine, `READ_ONLY`, are left out as a whole.

    Parameters
    ----------
    modules : iterable of str
        Names of further modules with ``THEOREMS``; of a package every file counts.
    """
    root = Path(__file__).parents[2]
    digest = hashlib.sha256(json.dumps(_versions(), sort_keys=True).encode())
    for name, path in sorted(_covered(root, modules).items()):
        source = path.read_bytes()
        if path.suffix == ".py":
            inside = name.startswith(("approxattn/", "proofs_check/"))
            statements = not inside or name.startswith("proofs_check/papers/")
            source = code_digest(source, statements=statements)
        digest.update(name.encode() + b"\0" + source + b"\0")
    return digest.hexdigest()


READ_ONLY = ("__main__.py", "commands", "figures", "report", "kit", "faults")
"""No other room of `proofs_check` imports these, so that they cannot change a verdict. Nor does one
import `approxattn.testing`, which is left out with them.
"""


def _covered(root: Path, modules: Iterable[str]) -> dict[str, Path]:
    """Files by names that do not depend on where the packages lie."""
    package = root / "proofs_check"
    idle = {package / name for name in READ_ONLY} | {root / "approxattn" / "testing"}
    files = [f for f in package.rglob("*.py") if idle.isdisjoint({f, *f.parents})]
    files += [f for f in (root / "approxattn").rglob("*.py") if idle.isdisjoint(f.parents)]
    files += (root / "approxattn").rglob("*.npz")
    named = {file.relative_to(root).as_posix(): file for file in files}
    for name in modules:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.has_location and spec.origin is not None:
            origin = Path(spec.origin)
            if origin not in named.values():
                named[name] = origin
                named |= _rest_of_package(name, origin)
    return named


def _rest_of_package(name: str, origin: Path) -> dict[str, Path]:
    """The other files of a package that is not ours."""
    if origin.name != "__init__.py":
        return {}
    folder = origin.parent
    return {
        f"{name}/{path.relative_to(folder).as_posix()}": path
        for path in folder.rglob("*.py")
        if path != origin
    }


def _versions() -> dict[str, str]:
    installed = {d.name.lower(): d.version for d in importlib.metadata.distributions() if d.name}
    return {
        "python": platform.python_version(),
        **{name: installed.get(name, "absent") for name in _LIBRARIES},
    }


def environment() -> dict[str, Any]:
    """Versions and machine, as recorded with every campaign."""
    return {"versions": _versions(), "system": platform.platform(), "machine": platform.machine()}


class Evidence:
    """The store; use it in a `with` block.

    Parameters
    ----------
    path : path
        The SQLite file, made when absent, with its folder.
    copy : bool
        Read the file into memory and leave it alone: it may lie where nothing can be written, and
        what is put into the copy is gone at the end. The file must exist.

    Raises
    ------
    EvidenceError
        When the file cannot be used, now or in any method: it is damaged, belongs to another
        program, is held by another process, or its disk is full. What it held is kept.
    """

    def __init__(self, path: str | Path, *, copy: bool = False) -> None:
        self.path = Path(path)
        self._db = open_copy(self.path) if copy else open_to_write(self.path)

    @classmethod
    def of_nothing(cls) -> Evidence:
        """Return an empty store in memory."""
        store = cls.__new__(cls)
        store.path, store._db = Path("nowhere"), open_in_memory()
        return store

    def __enter__(self) -> Evidence:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._db.close()

    def get(self, unit: Unit, *, finished_only: bool = True) -> Verdict | None:
        """Verdict of the unit, if there is one.

        A time-out or crash is not finished, and is tried again.
        """
        rows = self._rows("SELECT verdict, finished FROM unit WHERE key = ?", (unit.key,))
        if not rows or (finished_only and not rows[0][1]):
            return None
        return self._read(verdict_of, rows[0][0])

    def usual_seconds(self, units: Iterable[Unit]) -> dict[Unit, float]:
        """Seconds that the same experiments took last; unknown ones are left out.

        The budget is the same, the seed and the state of the code may be others.
        """
        seconds: dict[tuple[str, int, str], float] = {}
        for theorem, experiment, budget, verdict in self._rows(
            "SELECT theorem, experiment, budget, verdict FROM unit ORDER BY rowid"
        ):
            seconds[theorem, experiment, budget] = self._read(verdict_of, verdict).seconds
        names = {unit: (unit.theorem, unit.experiment, unit.budget) for unit in units}
        return {unit: seconds[name] for unit, name in names.items() if name in seconds}

    def put(self, unit: Unit, verdict: Verdict, *, finished: bool = True) -> None:
        """Write a verdict durably before returning."""
        values = (
            unit.key,
            unit.theorem,
            unit.experiment,
            unit.seed,
            unit.budget,
            unit.fingerprint,
            verdict.to_json(),
            finished,
        )
        self._rows("INSERT OR REPLACE INTO unit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def forget(self, units: Iterable[Unit]) -> None:
        """Remove the units, so that they are carried out anew."""
        with explained(self.path):
            self._db.executemany("DELETE FROM unit WHERE key = ?", [(unit.key,) for unit in units])

    def begin(self, units: Iterable[Unit], *, catalogue: str = "") -> None:
        """Record a campaign and where it runs.

        Parameters
        ----------
        units : iterable of Unit
            What it plans.
        catalogue : str
            Whose theorems; empty for ours.

        Raises
        ------
        EvidenceError
            When the store holds campaigns about another catalogue.
        """
        self.belongs_to(catalogue)
        plan = serial.dumps([vars(unit) for unit in units])
        whose = {"catalogue": catalogue} if catalogue else {}
        self._rows(
            "INSERT INTO campaign (plan, environment) VALUES (?, ?)",
            (plan, serial.dumps(environment() | whose)),
        )

    def belongs_to(self, catalogue: str) -> None:
        """Raise `EvidenceError` when the store holds campaigns about another catalogue."""
        last = self.last_campaign()
        held = catalogue if last is None else str(last[1].get("catalogue", ""))
        if held != catalogue:
            named = [f"the catalogue {name}" if name else "ours" for name in (held, catalogue)]
            what = f"holds the verdicts of {named[0]}, which are kept apart from {named[1]}"
            raise trouble(self.path, what, "name another file with --evidence")

    def last_campaign(self) -> tuple[list[Unit], dict[str, Any]] | None:
        """Units and environment of the campaign begun last."""
        rows = self._rows("SELECT plan, environment FROM campaign ORDER BY id DESC LIMIT 1")
        if not rows:
            return None
        plan, where = rows[0]
        units = [Unit(**entry) for entry in self._read(plan_of, plan)]
        return units, self._read(environment_of, where)

    def digest(self, units: Iterable[Unit]) -> str:
        """Hash of all verdicts of the units, the time spent left out.

        Equal runs have equal digests.
        """
        lines = []
        for unit in units:
            verdict = self.get(unit, finished_only=False)
            text = "" if verdict is None else replace(verdict, seconds=0.0).to_json()
            lines.append(f"{unit.key} {text}\n")
        return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()

    def _rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with explained(self.path):
            return self._db.execute(statement, values).fetchall()

    def _read(self, read: Callable[[Any], _T], text: Any) -> _T:
        try:
            return read(text)
        except Damaged as error:
            raise trouble(self.path, f"is damaged: it holds {error}") from error
