"""Examine a theorem object: does its own evidence bear it out, can its checker fail, can its
witness be replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from approxattn.testing.findings import Examination, Finding
from proofs_check.checkers import Budget, check
from proofs_check.checkers.fresh import confirm_in_fresh_process
from proofs_check.statements import serial
from proofs_check.statements.experiment import Falsify, Instance
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Contradiction, Status, Verdict, combine


def check_claim(theorem: Theorem, *, seed: int = 0, budget: Budget = "quick") -> Examination:
    """Examine a theorem, one's own or one of the catalogue.

    Parameters
    ----------
    theorem : Theorem
        The statement with its experiments and its mutant.
    seed : int
        All randomness follows from it.
    budget : {"quick", "full"}
        How long to search.

    Returns
    -------
    Examination
        Whether each experiment decides or says why not, the verdicts agree with each other and with
        the expected one, a second run gives the same, a witness survives a fresh process, the
        checker refutes the mutant, and the hypotheses are such that instances satisfy them.
    """
    verdicts = [
        check(experiment, rng_seed=seed, budget=budget) for experiment in theorem.experiments
    ]
    findings = [*_experiments(theorem, verdicts), *_together(theorem, verdicts, seed, budget)]
    findings += [
        *_witnesses(theorem, verdicts),
        *_mutant(theorem, seed, budget),
        *_assumptions(theorem),
    ]
    return Examination(subject=f"{theorem.key}: {theorem.title}", findings=tuple(findings))


def _experiments(theorem: Theorem, verdicts: Sequence[Verdict]) -> Iterator[Finding]:
    for i, (experiment, verdict) in enumerate(zip(theorem.experiments, verdicts, strict=True)):
        name = f"experiment {i} ({type(experiment).__name__})"
        crashed = verdict.status is Status.INCONCLUSIVE and not isinstance(experiment, Falsify)
        detail = (
            f"{verdict.status}"
            + (f", {verdict.scope}" if verdict.scope else "")
            + (f"; {verdict.note}" if verdict.note else "")
        )
        yield Finding(name=name, held=not crashed, detail=detail)


def _together(
    theorem: Theorem, verdicts: Sequence[Verdict], seed: int, budget: Budget
) -> Iterator[Finding]:
    try:
        whole = combine(verdicts, theorem.covers)
    except Contradiction as error:
        yield Finding(name="experiments agree", held=False, detail=str(error))
        return
    yield Finding(name="experiments agree", held=True)
    found = f"{whole.status}, expected {theorem.expected}"
    yield Finding(
        name="verdict is the expected one", held=whole.status is theorem.expected, detail=found
    )
    again = [check(experiment, rng_seed=seed, budget=budget) for experiment in theorem.experiments]
    timed = [v.grade == "timed" for v in verdicts]
    same = all(
        t or (a.status is b.status and _written(a) == _written(b))
        for t, a, b in zip(timed, verdicts, again, strict=True)
    )
    yield Finding(name="a second run says the same", held=same)


def _written(verdict: Verdict) -> str:
    return "" if verdict.witness is None else serial.dumps(verdict.witness)


def _witnesses(theorem: Theorem, verdicts: Sequence[Verdict]) -> Iterator[Finding]:
    for i, (experiment, verdict) in enumerate(zip(theorem.experiments, verdicts, strict=True)):
        if (
            verdict.status is Status.REFUTED
            and isinstance(experiment, Falsify)
            and verdict.witness is not None
        ):
            confirmation = confirm_in_fresh_process(experiment, verdict.witness)
            yield Finding(
                name=f"witness of experiment {i} in a fresh process",
                held=confirmation.violated,
                detail=confirmation.reason,
            )


def _mutant(theorem: Theorem, seed: int, budget: Budget) -> Iterator[Finding]:
    verdict = check(theorem.mutant, rng_seed=seed + 1, budget=budget)
    yield Finding(
        name="the mutant is refuted", held=verdict.status is Status.REFUTED, detail=verdict.note
    )
    kinds = {type(experiment) for experiment in theorem.experiments}
    yield Finding(
        name="the mutant goes through a checker of the theorem",
        held=type(theorem.mutant) in kinds,
    )


def _assumptions(theorem: Theorem) -> Iterator[Finding]:
    """Generators and predicates come from one place and must not drift apart."""
    for assumption in theorem.assumptions:
        if assumption.predicate is not None and assumption.generator is not None:
            bad = _first_violation(assumption.generator, assumption.predicate)
            yield Finding(name=f"instances satisfy: {assumption.text}", held=not bad, detail=bad)


def _first_violation(generator: Callable[[], Any], predicate: Callable[[Instance], bool]) -> str:
    """The first of fifty instances of the generator that the predicate denies, as text."""
    import hypothesis
    from hypothesis import HealthCheck

    bad: list[str] = []

    @hypothesis.settings(
        max_examples=50,
        database=None,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(generator())
    def satisfied(instance: Instance) -> None:
        if not predicate(instance):
            bad.append(str(instance)[:120])

    satisfied()
    return bad[0] if bad else ""
