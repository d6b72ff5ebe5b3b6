"""How near a theorem's mutant is to the theorem: by what factor it claims more.

A mutant shows that a checker can refute. It shows more the nearer it is: a bound ten times smaller
than a true one is refuted by many a checker that would let a factor 1.1 pass.

Where the mutant fails, its own measured / bound is above 1, and that of the theorem is at most 1.
Their quotient is by how much the mutant claims more at that place. It has a meaning for
inequalities and counts; an identity holds or does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from proofs_check.arithmetic.balls import ball, precision
from proofs_check.checkers import check, exact
from proofs_check.statements.experiment import (
    Comparison,
    Count,
    Enclose,
    Experiment,
    Falsify,
    Sample,
)
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status, Verdict

__all__ = ["Nearness", "nearness"]

_BITS = 256


@dataclass(frozen=True, kw_only=True)
class Nearness:
    """What became of a mutant.

    Parameters
    ----------
    verdict : Verdict
        Of the mutant; anything but refuted is a failure of the catalogue.
    exceeded : float or None
        measured / bound of the mutant where it fails.
    factor : float or None
        How many times more it claims there than the theorem; None where that has no meaning.
    """

    verdict: Verdict
    exceeded: float | None
    factor: float | None


def nearness(theorem: Theorem, *, rng_seed: int = 1) -> Nearness:
    """Carry the mutant out, and hold it against the theorem where it fails."""
    verdict = check(theorem.mutant, rng_seed=rng_seed)
    exceeded = _finite(verdict.tightness)
    if verdict.status is not Status.REFUTED or theorem.expected is Status.REFUTED:
        return Nearness(verdict=verdict, exceeded=exceeded, factor=None)
    if isinstance(theorem.mutant, Sample):
        return Nearness(verdict=verdict, exceeded=exceeded, factor=_by_target(theorem))
    reached = [r for e in theorem.experiments for r in _reached(e, verdict) if r is not None]
    there = max((r for r in reached if 0 < r <= 1), default=None)
    factor = exceeded / there if exceeded and there else None
    if factor is not None and isinstance(theorem.mutant, Count):
        factor = max(factor, 1 / factor)  # a count may miss its formula on either side
    return Nearness(verdict=verdict, exceeded=exceeded, factor=factor)


def _finite(x: float | None) -> float | None:
    return x if x is not None and math.isfinite(x) else None


def _by_target(theorem: Theorem) -> float | None:
    """Of two claims about the same draws: the quotient of what they claim, above 1."""
    mutant = theorem.mutant
    for e in theorem.experiments:
        if isinstance(e, Sample) and isinstance(mutant, Sample) and e.draw is mutant.draw:
            sides = sorted((abs(e.target), abs(mutant.target)))
            return sides[1] / sides[0] if sides[0] > 0 else None
    return None


def _reached(experiment: Experiment, verdict: Verdict) -> Iterator[float | None]:
    """measured / bound of one of the theorem's experiments where its mutant fails."""
    witness = dict(verdict.witness or {})
    try:
        if isinstance(experiment, Falsify) and "lhs" not in witness and "counted" not in witness:
            # a claim about our code carries the factor of its mutant in the instance
            instance = {**witness, **({"divisor": 1} if "divisor" in witness else {})}
            with precision(_BITS):
                yield exact.ratio(*experiment.confirm(instance))
        elif isinstance(experiment, Enclose) and experiment.relation == "<=":
            yield from _enclosed(experiment, witness)
        elif isinstance(experiment, Count) and "counted" in witness:
            size = witness["size"]
            yield exact.ratio(experiment.measured(size), experiment.formula(size))
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return  # the theorem's experiment speaks of other instances than the mutant


def _enclosed(experiment: Enclose, witness: dict[str, Any]) -> Iterator[float | None]:
    with precision(_BITS):
        if experiment.certify is not None:
            for c in experiment.certify(_BITS):
                comparison = Comparison(*c)
                if (comparison.label or "the only comparison") == witness.get("label"):
                    yield exact.ratio(comparison.lhs, comparison.rhs)
        elif experiment.lhs is not None and experiment.rhs is not None and "point" in witness:
            point = [ball(x) for x in witness["point"]]
            if len(point) == len(experiment.box):
                yield exact.ratio(experiment.lhs(*point), experiment.rhs(*point))
