"""Carry out experiments, and say what the whole of them shows.

Controls (statements whose answer is known) run with every campaign; if one comes out otherwise,
every verdict of the run is inconclusive. Statistical decisions count only at a level corrected for
all that are planned. A proof and a refutation of the same statement are an error of the checker,
and fail the run. A campaign may end early, by its time limit or by force: what it found is kept,
and the next run does the rest.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from proofs_check import catalogue
from proofs_check.arithmetic.statistics import campaign_decisions
from proofs_check.running import dask_workers
from proofs_check.running import local_workers as workers
from proofs_check.running.evidence import Evidence, Unit, fingerprint
from proofs_check.statements.experiment import Sample
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Contradiction, Status, Verdict, combine, inconclusive

__all__ = ["CAMPAIGN_LEVEL", "LIMITS", "Campaign", "Outcome", "Result", "conclude", "last_outcome"]

CAMPAIGN_LEVEL = 0.01
"""Probability, at most, that one or more statistical decisions of a campaign are wrong.
*Chosen*.
"""

LIMITS = {"quick": 120.0, "full": 1800.0}
"""Seconds for one experiment. *Chosen*."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a campaign says about one theorem.

    Parameters
    ----------
    theorem : Theorem
        The statement.
    verdict : Verdict
        Of all experiments together.
    verdicts : tuple of Verdict
        Of each experiment, in the order of ``theorem.experiments``.
    units : tuple of Unit
        Where each is found in the evidence.
    waiting : int
        Experiments, of this theorem and of the controls, that have not been carried out yet.
    """

    theorem: Theorem
    verdict: Verdict
    verdicts: tuple[Verdict, ...]
    units: tuple[Unit, ...]
    waiting: int = 0

    @property
    def as_expected(self) -> bool:
        """Whether the verdict is the one the catalogue vouches for."""
        return self.verdict.status is self.theorem.expected


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a whole campaign says.

    Parameters
    ----------
    results : tuple of Result
        One per theorem, controls first.
    failed_controls : tuple of str
        Keys of controls that came out otherwise; any makes all results inconclusive.
    contradictions : tuple of str
        Theorems both proved and refuted, with what was found.
    missing : int
        Experiments that have not been carried out yet.
    """

    results: tuple[Result, ...]
    failed_controls: tuple[str, ...]
    contradictions: tuple[str, ...]
    missing: int = 0

    @property
    def ok(self) -> bool:
        """Whether the run is complete and can be trusted and every verdict is the expected one."""
        return not self.missing and not self.wrong

    @property
    def wrong(self) -> bool:
        """Whether what was carried out shows that something is amiss, complete or not."""
        unexpected = any(not r.as_expected and not r.waiting for r in self.results)
        return bool(self.failed_controls or self.contradictions or unexpected)


class Campaign:
    """A set of experiments to carry out, resumable.

    Parameters
    ----------
    keys : iterable of str
        Theorems to check; none means all. Controls are always added.
    modules : sequence of str
        Names of the modules with ``THEOREMS``; those of the catalogue unless given, the timed ones
        with the full budget only.
    seed, budget
        User seed, and "quick" or "full".
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
    """

    def __init__(
        self,
        keys: Iterable[str] = (),
        *,
        modules: Sequence[str] = (),
        seed: int = 0,
        budget: str = "quick",
        jobs: int = 2,
        limit: float | None = None,
        scheduler: str | None = None,
    ) -> None:
        papers = (*catalogue.PAPERS, *catalogue.TIMED) if budget == "full" else catalogue.PAPERS
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
        if record:
            evidence.begin(self.units)
        if fresh:
            evidence.forget(self.units)
        stored = self.stored(evidence)
        for unit in self.units:
            verdict = evidence.get(unit) if unit in stored else None
            if verdict is not None:
                yield unit, verdict
        todo = [unit for unit in self.units if unit not in stored]
        if self.scheduler is None:
            found = workers.carry_out(
                todo, self.modules, jobs=self.jobs, limit=self.limit, until=until
            )
        else:
            found = dask_workers.carry_out(
                todo, self.modules, scheduler=self.scheduler, limit=self.limit, until=until
            )
        with contextlib.closing(found):  # whatever interrupts the campaign, its workers end at once
            for unit, verdict, finished in found:
                evidence.put(unit, verdict, finished=finished)
                yield unit, verdict

    def stored(self, evidence: Evidence) -> set[Unit]:
        """Units that need not be carried out any more."""
        return {unit for unit in self.units if evidence.get(unit) is not None}

    def conclude(self, evidence: Evidence) -> Outcome:
        """What the evidence says about this campaign's theorems."""
        return conclude(self.theorems, self.units, evidence)


def _select(found: Mapping[str, Theorem], keys: tuple[str, ...]) -> dict[str, Theorem]:
    for key in keys:
        if key not in found:
            matches = catalogue.close_matches(key, found)
            msg = f"no theorem {key!r}" + (
                f": did you mean {' or '.join(matches)}?" if matches else ""
            )
            raise KeyError(msg)
    controls = {k: t for k, t in found.items() if catalogue.is_control(k)}
    return controls | {k: t for k, t in found.items() if not keys or k in keys}


def conclude(theorems: Mapping[str, Theorem], units: Sequence[Unit], evidence: Evidence) -> Outcome:
    """Put the verdicts of all units together.

    Parameters
    ----------
    theorems : mapping
        By key; units of other theorems are left out.
    units : sequence of Unit
        All units of the campaign: the statistical ones among them are corrected for together.
    evidence : Evidence
        Where their verdicts are.
    """
    units = [unit for unit in units if unit.theorem in theorems]
    stored = {unit: evidence.get(unit, finished_only=False) for unit in units}
    missing = {unit for unit, verdict in stored.items() if verdict is None}
    verdicts = _correct(
        {u: v or inconclusive("not carried out") for u, v in stored.items()}, theorems
    )
    controls = sum(catalogue.is_control(unit.theorem) for unit in missing)
    results, contradictions = [], []
    for key, theorem in theorems.items():
        own = tuple(unit for unit in units if unit.theorem == key)
        parts = tuple(verdicts[unit] for unit in own)
        waiting = (
            controls if catalogue.is_control(key) else controls + len(missing.intersection(own))
        )
        try:
            verdict = combine(parts)
        except Contradiction as error:
            verdict = inconclusive(str(error))
            contradictions.append(f"{key}: {error}")
        results.append(
            Result(theorem=theorem, verdict=verdict, verdicts=parts, units=own, waiting=waiting)
        )
    failed = tuple(r.theorem.key for r in results if _failed(r, missing))
    note = (
        (f"control {', '.join(failed)} came out wrong: nothing in this run can be trusted")
        if failed
        else ""
    )
    if controls and not failed:
        note = (
            f"{controls} experiments of the controls have not been carried out: nothing in this "
            "run can be trusted yet"
        )
    if note:
        results = [
            r if r.theorem.key in failed else replace(r, verdict=_distrust(r.verdict, note))
            for r in results
        ]
    return Outcome(
        results=tuple(results),
        failed_controls=failed,
        contradictions=tuple(contradictions),
        missing=len(missing),
    )


def _failed(result: Result, missing: set[Unit]) -> bool:
    """Whether a control was carried out wholly and came out otherwise."""
    return (
        catalogue.is_control(result.theorem.key)
        and not missing.intersection(result.units)
        and not result.as_expected
    )


def last_outcome(evidence: Evidence) -> Outcome:
    """What the campaign begun last says about the theorems of the catalogue.

    Raises
    ------
    LookupError
        When the evidence holds no campaign.
    """
    last = evidence.last_campaign()
    if last is None:
        msg = (
            f"evidence(={evidence.path}) holds no campaign: carry one out with `python -m "
            "proofs_check run`"
        )
        raise LookupError(msg)
    units = last[0]
    wanted = {unit.theorem for unit in units}
    return conclude(
        {key: t for key, t in catalogue.theorems(timed=True).items() if key in wanted},
        units,
        evidence,
    )


def _distrust(verdict: Verdict, note: str) -> Verdict:
    return inconclusive(
        note, facts={"without the control": str(verdict.status)}, seconds=verdict.seconds
    )


def _correct(
    verdicts: Mapping[Unit, Verdict], theorems: Mapping[str, Theorem]
) -> dict[Unit, Verdict]:
    """Make statistical decisions inconclusive that do not count among so many: all that the
    campaign plans, carried out or not.
    """
    family = [
        unit for unit, verdict in verdicts.items() if _is_statistical(unit, verdict, theorems)
    ]
    refuting = {unit: theorems[unit.theorem].expected is Status.REFUTED for unit in family}
    support = [float(verdicts[unit].facts.get("p_support", 1.0)) for unit in family]
    refute = [float(verdicts[unit].facts.get("p_refute", 1.0)) for unit in family]
    expected = [
        r if refuting[unit] else s for unit, s, r in zip(family, support, refute, strict=True)
    ]
    other = [s if refuting[unit] else r for unit, s, r in zip(family, support, refute, strict=True)]
    as_expected, otherwise = campaign_decisions(expected, other, CAMPAIGN_LEVEL)
    corrected = dict(verdicts)
    for i, unit in enumerate(family):
        verdict = verdicts[unit]
        if verdict.grade != "statistical":
            continue
        is_expected = (verdict.status is Status.REFUTED) == refuting[unit]
        if not (as_expected[i] if is_expected else otherwise[i]):
            p = expected[i] if is_expected else other[i]
            note = (
                f"p = {p:.3g} does not count, corrected for {len(family)} statistical experiments"
            )
            corrected[unit] = inconclusive(
                note, facts=verdict.facts, tightness=verdict.tightness, seconds=verdict.seconds
            )
    return corrected


def _is_statistical(unit: Unit, verdict: Verdict, theorems: Mapping[str, Theorem]) -> bool:
    # evidence of older code may name an experiment that is no more
    experiments = theorems[unit.theorem].experiments
    planned = unit.experiment < len(experiments) and isinstance(
        experiments[unit.experiment], Sample
    )
    return planned or "p_support" in verdict.facts
