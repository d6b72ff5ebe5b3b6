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
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from proofs_check.statements import serial
from proofs_check.statements.verdict import Verdict

__all__ = ["Evidence", "Unit", "environment", "fingerprint"]

_LIBRARIES = (
    "numpy",
    "scipy",
    "sympy",
    "python-flint",
    "hypothesis",
    "statsmodels",
    "array-api-compat",
    "cma",
)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS unit (
    key TEXT PRIMARY KEY, theorem TEXT NOT NULL, experiment INTEGER NOT NULL,
    seed INTEGER NOT NULL, budget TEXT NOT NULL, fingerprint TEXT NOT NULL,
    verdict TEXT NOT NULL, finished INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS campaign (
    id INTEGER PRIMARY KEY AUTOINCREMENT, started TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    plan TEXT NOT NULL, environment TEXT NOT NULL
);
"""


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
    """Hash of the sources of both packages and of the modules named, and of the versions of the
    libraries.
    """
    digest = hashlib.sha256(json.dumps(_versions(), sort_keys=True).encode())
    here = Path(__file__).parents[1]
    files = [*here.rglob("*.py"), *(here.parent / "approxattn").rglob("*.py")]
    for name in modules:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            files.append(Path(spec.origin))
    cannot_change_a_verdict = {here / name for name in ("__main__.py", "report", "kit", "faults")}
    for path in sorted({f for f in files if cannot_change_a_verdict.isdisjoint({f, *f.parents})}):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


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
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(self.path, timeout=30.0, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)

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
        """Verdict of the unit, if there is one; a time-out or crash is not finished, and is tried
        again.
        """
        row = self._db.execute(
            "SELECT verdict, finished FROM unit WHERE key = ?", (unit.key,)
        ).fetchone()
        return Verdict.from_json(row[0]) if row and (row[1] or not finished_only) else None

    def usual_seconds(self, units: Iterable[Unit]) -> dict[Unit, float]:
        """Seconds that the same experiments took last, at the same budget, whatever the seed and
        the state of the code; unknown ones left out.
        """
        units = list(units)
        found: dict[tuple[str, int, str], float] = {}
        for theorem, experiment, budget, verdict in self._db.execute(
            "SELECT theorem, experiment, budget, verdict FROM unit ORDER BY rowid"
        ):
            found[theorem, experiment, budget] = Verdict.from_json(verdict).seconds
        names = {unit: (unit.theorem, unit.experiment, unit.budget) for unit in units}
        return {unit: found[name] for unit, name in names.items() if name in found}

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
        self._db.execute("INSERT OR REPLACE INTO unit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def forget(self, units: Iterable[Unit]) -> None:
        """Remove the units, so that they are carried out anew."""
        self._db.executemany("DELETE FROM unit WHERE key = ?", [(unit.key,) for unit in units])

    def begin(self, units: Iterable[Unit]) -> None:
        """Record a campaign and where it runs."""
        plan = serial.dumps([vars(unit) for unit in units])
        self._db.execute(
            "INSERT INTO campaign (plan, environment) VALUES (?, ?)",
            (plan, serial.dumps(environment())),
        )

    def last_campaign(self) -> tuple[list[Unit], dict[str, Any]] | None:
        """Units and environment of the campaign begun last."""
        row = self._db.execute(
            "SELECT plan, environment FROM campaign ORDER BY id DESC LIMIT 1"
        ).fetchone()
        return (
            ([Unit(**plan) for plan in serial.loads(row[0])], serial.loads(row[1])) if row else None
        )

    def digest(self, units: Iterable[Unit]) -> str:
        """Hash of all verdicts of the units, the time spent left out: equal runs have equal
        digests.
        """
        lines = []
        for unit in units:
            verdict = self.get(unit, finished_only=False)
            text = "" if verdict is None else replace(verdict, seconds=0.0).to_json()
            lines.append(f"{unit.key} {text}\n")
        return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
