"""Carry out experiments, resumably.

A campaign may end early, by its time limit or by force: what it found is kept, and the next run
does the rest. Controls, statements whose answer is known, run with every campaign.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Generator, Iterable, Mapping, Sequence

from proofs_check import catalogue
from proofs_check.running import dask_workers, local_workers
from proofs_check.running.conclusion import (
    CAMPAIGN_LEVEL,
    Outcome,
    Result,
    conclude,
    last_outcome,
    last_units,
)
from proofs_check.running.evidence import Evidence, Unit, fingerprint
from proofs_check.running.unit_process import Done
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Verdict

__all__ = [
    "CAMPAIGN_LEVEL",
    "LIMITS",
    "Campaign",
    "Outcome",
    "Result",
    "conclude",
    "last_outcome",
    "last_units",
]

LIMITS = {"quick": 120.0, "full": 1800.0}
"""Seconds for one experiment. *Chosen*."""


class Campaign:
    """A set of experiments to carry out, resumable.

    Parameters
    ----------
    keys : iterable of str
        Theorems to check, or beginnings of their keys; none means all. Controls are always added.
    modules : sequence of str
        Names of the modules with ``THEOREMS``; those of the catalogue unless given, the timed ones
        with the full budget only.
    catalogue_name : str
        Whose theorems they are, when not ours: their evidence is kept apart.
    seed, budget
        User seed, below 2^63 in size, and "quick" or "full".
    jobs : int
        Worker processes.
    limit : float or None
        Seconds for one experiment; `LIMITS` of the budget unless given.
    scheduler : str or None
        Address of a Dask scheduler whose workers carry out the units in place of processes here.

    Raises
    ------
    KeyError
        When a key is unknown; the message names close matches.
    ValueError
        When the seed is too large.
    """

    def __init__(
        self,
        keys: Iterable[str] = (),
        *,
        modules: Sequence[str] = (),
        catalogue_name: str = "",
        seed: int = 0,
        budget: str = "quick",
        jobs: int = 2,
        limit: float | None = None,
        scheduler: str | None = None,
    ) -> None:
        if not -(2**63) <= seed < 2**63:
            msg = f"seed(={seed}) must lie below 2^63 in size: the store has no room for more"
            raise ValueError(msg)
        papers = (*catalogue.PAPERS, *catalogue.TIMED) if budget == "full" else catalogue.PAPERS
        self.catalogue_name = catalogue_name
        self.modules = tuple(modules) or tuple(paper.__name__ for paper in papers)
        self.theorems = _select(catalogue.load(self.modules), tuple(keys))
        self.jobs, self.limit, self.scheduler = (
            jobs,
            LIMITS[budget] if limit is None else limit,
            scheduler,
        )
        code = fingerprint(self.modules)
        self.units = [
            Unit(theorem=key, experiment=i, seed=seed, budget=budget, fingerprint=code)
            for key, theorem in self.theorems.items()
            for i in range(len(theorem.experiments))
        ]

    def run(
        self,
        evidence: Evidence,
        *,
        fresh: bool = False,
        record: bool = True,
        time_limit: float = math.inf,
    ) -> Generator[tuple[Unit, Verdict]]:
        """Yield units and verdicts as they come, those already in the evidence first.

        Parameters
        ----------
        evidence : Evidence
            Where they are written before they are yielded.
        fresh : bool
            Forget what the evidence holds of these units.
        record : bool
            Whether this counts as the last campaign, the one that is reported.
        time_limit : float
            Seconds after which to end: units in the middle are given up, and a later run carries
            them out.
        """
        until = time.monotonic() + time_limit
        evidence.belongs_to(self.catalogue_name)
        if record:
            evidence.begin(self.units, catalogue=self.catalogue_name)
        if fresh:
            evidence.forget(self.units)
        stored = self.stored(evidence)
        for unit in self.units:
            verdict = evidence.get(unit) if unit in stored else None
            if verdict is not None:
                yield unit, verdict
        todo = [unit for unit in self.units if unit not in stored]
        # Whatever interrupts the campaign, its workers end at once.
        with contextlib.closing(self._carry_out(todo, until)) as done:
            for unit, verdict, finished in done:
                evidence.put(unit, verdict, finished=finished)
                yield unit, verdict

    def _carry_out(self, units: Sequence[Unit], until: float) -> Generator[Done]:
        if self.scheduler is None:
            return local_workers.carry_out(
                units, self.modules, jobs=self.jobs, limit=self.limit, until=until
            )
        return dask_workers.carry_out(
            units, self.modules, scheduler=self.scheduler, limit=self.limit, until=until
        )

    def stored(self, evidence: Evidence) -> set[Unit]:
        """Units that need not be carried out any more."""
        return {unit for unit in self.units if evidence.get(unit) is not None}

    def conclude(self, evidence: Evidence) -> Outcome:
        """What the evidence says about this campaign's theorems."""
        return conclude(self.theorems, self.units, evidence)


def _select(theorems: Mapping[str, Theorem], keys: tuple[str, ...]) -> dict[str, Theorem]:
    controls = {k: t for k, t in theorems.items() if catalogue.is_control(k)}
    return controls | catalogue.select(theorems, keys)
