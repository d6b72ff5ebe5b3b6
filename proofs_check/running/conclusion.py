"""What the verdicts of a whole campaign show.

Controls are statements whose answer is known: if one comes out otherwise, every verdict of the run
is inconclusive. Statistical decisions count only at a level corrected for all that are planned. A
proof and a refutation of the same statement are an error of the checker, and fail the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from proofs_check import catalogue
from proofs_check.arithmetic.statistics import campaign_decisions
from proofs_check.running.database import trouble
from proofs_check.running.evidence import Evidence, Unit
from proofs_check.statements.experiment import Sample
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Contradiction, Status, Verdict, combine, inconclusive

__all__ = ["CAMPAIGN_LEVEL", "Outcome", "Result", "conclude", "last_outcome", "last_units"]

CAMPAIGN_LEVEL = 0.01
"""Probability, at most, that one or more statistical decisions of a campaign are wrong.
*Chosen*.
"""


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
        own = {unit: verdicts[unit] for unit in units if unit.theorem == key}
        try:
            verdict = combine(tuple(own.values()), theorem.covers)
        except Contradiction as error:
            verdict = inconclusive(str(error))
            contradictions.append(f"{key}: {error}")
        others = 0 if catalogue.is_control(key) else len(missing.intersection(own))
        results.append(
            Result(
                theorem=theorem,
                verdict=verdict,
                verdicts=tuple(own.values()),
                units=tuple(own),
                waiting=controls + others,
            )
        )
    failed = tuple(r.theorem.key for r in results if _failed(r, missing))
    return Outcome(
        results=_believed(results, failed, controls),
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


def _believed(
    results: Sequence[Result], failed: Sequence[str], controls: int
) -> tuple[Result, ...]:
    """The results as far as the controls allow, `controls` of whose experiments are missing."""
    if failed:
        names = ", ".join(failed)
        note = f"control {names} came out wrong: nothing in this run can be trusted"
    elif controls:
        note = (
            f"{controls} experiments of the controls have not been carried out: nothing in this "
            "run can be trusted yet"
        )
    else:
        return tuple(results)
    return tuple(
        r if r.theorem.key in failed else replace(r, verdict=_distrust(r.verdict, note))
        for r in results
    )


def last_units(evidence: Evidence) -> list[Unit]:
    """Units of the campaign begun last, all of which the catalogue must know.

    Raises
    ------
    LookupError
        When the evidence holds no campaign.
    EvidenceError
        When the plan names a theorem or an experiment that is not in the catalogue, or is about
        the catalogue of somebody else.
    """
    last = evidence.last_campaign()
    if last is None:
        msg = (
            f"evidence(={evidence.path}) holds no campaign: carry one out with `python -m "
            "proofs_check run`"
        )
        raise LookupError(msg)
    evidence.belongs_to("")
    theorems = catalogue.theorems(timed=True)
    for unit in last[0]:
        known = unit.theorem in theorems
        if known and 0 <= unit.experiment < len(theorems[unit.theorem].experiments):
            continue
        name = f"experiment {unit.experiment} of {unit.theorem}" if known else unit.theorem
        what = f"names {name[:100]}, which the catalogue does not have"
        raise trouble(evidence.path, what, "carry out `python -m proofs_check run` again")
    return last[0]


def last_outcome(evidence: Evidence) -> Outcome:
    """What the campaign begun last says about the theorems of the catalogue.

    Raises
    ------
    LookupError, EvidenceError
        As `last_units`.
    """
    units = last_units(evidence)
    wanted = {unit.theorem for unit in units}
    theorems = catalogue.theorems(timed=True)
    return conclude({key: t for key, t in theorems.items() if key in wanted}, units, evidence)


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
