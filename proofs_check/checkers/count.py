"""Cost formulas against counted operations: integers, so equality means equality."""

from __future__ import annotations

from fractions import Fraction

from proofs_check.checkers.budget import Budget
from proofs_check.statements.experiment import Count
from proofs_check.statements.verdict import Status, Verdict


def check(experiment: Count, *, rng_seed: int, budget: Budget) -> Verdict:
    """Count at every size; the first mismatch refutes."""
    del rng_seed, budget
    table: dict[str, tuple[int, Fraction]] = {}
    for size in experiment.sizes:
        counted, formula = experiment.measured(size), Fraction(experiment.formula(size))
        if isinstance(counted, bool) or not isinstance(counted, int):
            msg = f"measured({size}) returned {counted!r}: a count is an int"
            raise TypeError(msg)
        table[str(size)] = (counted, formula)
        if not (counted == formula if experiment.relation == "=" else counted <= formula):
            return Verdict(
                status=Status.REFUTED,
                grade="counted",
                scope=experiment.scope,
                tightness=_ratio(counted, formula),
                witness={"size": size, "counted": counted, "formula": formula},
                facts={"counts": table},
                note=f"size {size}: counted {counted}, the formula says {formula}",
            )
    sizes = ", ".join(map(str, experiment.sizes))
    ratios = [r for r in (_ratio(*row) for row in table.values()) if r is not None]
    return Verdict(
        status=Status.PROVED,
        grade="counted",
        scope=f"{experiment.scope}; sizes {sizes}",
        tightness=max(ratios, default=None),
        facts={"counts": table},
    )


def _ratio(counted: int, formula: Fraction) -> float | None:
    return float(Fraction(counted) / formula) if formula > 0 else None
