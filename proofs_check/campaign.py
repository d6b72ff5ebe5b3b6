"""Carry out experiments, and say what the whole of them shows.

Controls (statements whose answer is known) run with every campaign; if one comes out otherwise, every verdict of the run is
inconclusive. Statistical decisions count only at a level corrected for all of them. A proof and a refutation of
the same statement are an error of the checker, and fail the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from proofs_check import catalogue
from proofs_check.evidence import Evidence, Unit, fingerprint
from proofs_check.statistics import campaign_threshold
from proofs_check.theorem import Theorem
from proofs_check.verdict import Contradiction, Status, Verdict, combine, inconclusive
from proofs_check.workers import carry_out

__all__ = ["CAMPAIGN_LEVEL", "LIMITS", "Campaign", "Outcome", "Result", "conclude", "last_outcome"]

CAMPAIGN_LEVEL = 0.01
"""Probability, at most, that one or more statistical decisions of a campaign are wrong. *Chosen*."""

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
    """

    theorem: Theorem
    verdict: Verdict
    verdicts: tuple[Verdict, ...]
    units: tuple[Unit, ...]

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
    """

    results: tuple[Result, ...]
    failed_controls: tuple[str, ...]
    contradictions: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the run can be trusted and every verdict is the expected one."""
        return not self.failed_controls and not self.contradictions and all(r.as_expected for r in self.results)


class Campaign:
    """A set of experiments to carry out, resumable.

    Parameters
    ----------
    keys : iterable of str
        Theorems to check; none means all. Controls are always added.
    modules : sequence of str
        Names of the modules with ``THEOREMS``; those of the catalogue unless given, the timed ones with the full budget only.
    seed, budget
        User seed, and "quick" or "full".
    jobs : int
        Worker processes.
    limit : float or None
        Seconds for one experiment; `LIMITS` of the budget unless given.

    Raises
    ------
    KeyError
        When a key is unknown; the message names close matches.
    """

    def __init__(
        self, keys: Iterable[str] = (), *, modules: Sequence[str] = (), seed: int = 0, budget: str = "quick", jobs: int = 2,
        limit: float | None = None,
    ) -> None:  # fmt: skip
        papers = (*catalogue.PAPERS, *catalogue.TIMED) if budget == "full" else catalogue.PAPERS
        self.modules = tuple(modules) or tuple(paper.__name__ for paper in papers)
        self.theorems = _select(catalogue.load(self.modules), tuple(keys))
        self.jobs, self.limit = jobs, LIMITS[budget] if limit is None else limit
        code = fingerprint(self.modules)
        self.units = [
            Unit(theorem=key, experiment=i, seed=seed, budget=budget, fingerprint=code)
            for key, theorem in self.theorems.items()
            for i in range(len(theorem.experiments))
        ]

    def run(self, evidence: Evidence, *, fresh: bool = False, record: bool = True) -> Iterator[tuple[Unit, Verdict]]:
        """Yield units and verdicts as they come, those already in the evidence first.

        Parameters
        ----------
        evidence : Evidence
            Where they are written before they are yielded.
        fresh : bool
            Forget what the evidence holds of these units.
        record : bool
            Whether this counts as the last campaign, the one that is reported.
        """
        if record:
            evidence.begin(self.units)
        if fresh:
            evidence.forget(self.units)
        stored = {unit: evidence.get(unit) for unit in self.units}
        for unit, verdict in stored.items():
            if verdict is not None:
                yield unit, verdict
        todo = [unit for unit, verdict in stored.items() if verdict is None]
        for unit, verdict, finished in carry_out(todo, self.modules, jobs=self.jobs, limit=self.limit):
            evidence.put(unit, verdict, finished=finished)
            yield unit, verdict

    def conclude(self, evidence: Evidence) -> Outcome:
        """What the evidence says about this campaign's theorems."""
        return conclude(self.theorems, self.units, evidence)


def _select(found: Mapping[str, Theorem], keys: tuple[str, ...]) -> dict[str, Theorem]:
    for key in keys:
        if key not in found:
            matches = catalogue.close_matches(key, found)
            msg = f"no theorem {key!r}" + (f": did you mean {' or '.join(matches)}?" if matches else "")
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
    verdicts = {unit: evidence.get(unit, finished_only=False) or inconclusive("not carried out") for unit in units}
    verdicts = _correct(verdicts)
    results, contradictions = [], []
    for key, theorem in theorems.items():
        own = tuple(unit for unit in units if unit.theorem == key)
        parts = tuple(verdicts[unit] for unit in own)
        try:
            verdict = combine(parts)
        except Contradiction as error:
            verdict = inconclusive(str(error))
            contradictions.append(f"{key}: {error}")
        results.append(Result(theorem=theorem, verdict=verdict, verdicts=parts, units=own))
    failed = tuple(r.theorem.key for r in results if catalogue.is_control(r.theorem.key) and not r.as_expected)
    if failed:
        note = f"control {', '.join(failed)} came out wrong: nothing in this run can be trusted"
        results = [r if r.theorem.key in failed else replace(r, verdict=_distrust(r.verdict, note)) for r in results]
    return Outcome(results=tuple(results), failed_controls=failed, contradictions=tuple(contradictions))


def last_outcome(evidence: Evidence) -> Outcome:
    """What the campaign begun last says about the theorems of the catalogue.

    Raises
    ------
    LookupError
        When the evidence holds no campaign.
    """
    last = evidence.last_campaign()
    if last is None:
        msg = f"evidence(={evidence.path}) holds no campaign: carry one out with `python -m proofs_check run`"
        raise LookupError(msg)
    units = last[0]
    wanted = {unit.theorem for unit in units}
    return conclude({key: t for key, t in catalogue.theorems(timed=True).items() if key in wanted}, units, evidence)


def _distrust(verdict: Verdict, note: str) -> Verdict:
    return inconclusive(note, facts={"without the control": str(verdict.status)}, seconds=verdict.seconds)


def _correct(verdicts: Mapping[Unit, Verdict]) -> dict[Unit, Verdict]:
    """Make statistical decisions inconclusive that do not count among so many."""
    experiments = sum("p_support" in verdict.facts for verdict in verdicts.values())
    corrected = {}
    for unit, verdict in verdicts.items():
        corrected[unit] = verdict
        if verdict.grade != "statistical":
            continue
        p = verdict.facts["p_refute" if verdict.status is Status.REFUTED else "p_support"]
        threshold = campaign_threshold(experiments, CAMPAIGN_LEVEL)
        if p > threshold:
            note = (
                f"p = {p:.3g} is above {threshold:.3g}, the level corrected for {experiments} statistical experiments"
            )
            corrected[unit] = inconclusive(
                note, facts=verdict.facts, tightness=verdict.tightness, seconds=verdict.seconds
            )
    return corrected
