"""Identities by computer algebra: normal forms decide, heuristics do not."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from proofs_check.checkers.budget import Budget, generator
from proofs_check.statements.experiment import Identity, Symbolic
from proofs_check.statements.verdict import Status, Verdict, inconclusive

_POINTS = {"quick": 1, "full": 4}
"""How often identity testing draws its points. *Chosen*.

A false identity passes all with the product of the probabilities, as they are independent.
"""


def check(experiment: Symbolic, *, rng_seed: int, budget: Budget) -> Verdict:
    """Decide every identity; one that is false refutes, one that is undecided leaves all
    undecided.
    """
    testing = experiment.grade.startswith("pit")
    if testing:
        rng, points = generator(rng_seed), _POINTS[budget]
        given: Iterable[Any] = itertools.chain.from_iterable(
            experiment.identities(rng) for _ in range(points)
        )
        error = int(experiment.grade.removeprefix("pit(2^-").removesuffix(")"))
        experiment = replace(experiment, grade=f"pit(2^-{error * points})")
    else:
        given = experiment.identities()
    number, open_ones = 0, []
    for identity in _flatten(given):
        number += 1
        label = identity.label or f"identity {number}"
        residue = _difference(identity)
        vanishes = _vanishes(residue, exact_rational=experiment.grade == "exact-rational")
        if vanishes is False:
            return _refuted(experiment, label, residue, rng_seed)
        if vanishes is None:
            open_ones.append(label)
    if not number:
        return inconclusive("the experiment produced no identity to decide")
    if open_ones:
        return inconclusive(
            f"could not decide {', '.join(open_ones[:5])}", facts={"identities": number}
        )
    return Verdict(
        status=Status.PROVED,
        grade=experiment.grade,
        scope=experiment.scope,
        facts={"identities": number},
    )


def _flatten(given: Any) -> Iterator[Identity]:
    for item in given:
        identity = (
            item
            if isinstance(item, Identity)
            else Identity(*item)
            if isinstance(item, tuple)
            else Identity(item)
        )
        # a matrix: entry by entry
        if hasattr(identity.lhs, "tolist") and hasattr(identity.lhs, "shape"):
            difference = (
                identity.lhs - identity.rhs if not isinstance(identity.rhs, int) else identity.lhs
            )
            for entry in np.asarray(difference.tolist(), dtype=object).ravel():
                yield Identity(entry, 0, identity.label)
        else:
            yield identity


def _difference(identity: Identity) -> Any:
    import sympy

    lhs, rhs = (
        sympy.Rational(x.numerator, x.denominator) if isinstance(x, Fraction) else x
        for x in (identity.lhs, identity.rhs)
    )
    if isinstance(rhs, int) and rhs == 0:
        return lhs
    return lhs - rhs


def _vanishes(residue: Any, *, exact_rational: bool) -> bool | None:
    """True or False only where a normal form decides."""
    import sympy

    if isinstance(residue, float):
        msg = f"float {residue!r} decides no identity: use exact numbers"
        raise TypeError(msg)
    # int, flint number or polynomial, SymPy ring or field element: canonical
    if not isinstance(residue, sympy.Basic):
        return bool(residue == 0)
    if residue.has(sympy.Float):
        msg = "the identity contains floating-point numbers: use exact ones"
        raise TypeError(msg)
    if residue.is_Rational:
        return bool(residue == 0)
    if exact_rational:
        return None
    if residue.is_rational_function(*residue.free_symbols) and not residue.atoms(
        sympy.Function, sympy.NumberSymbol
    ):
        return bool(sympy.cancel(sympy.together(residue)) == 0)
    return True if sympy.simplify(residue) == 0 else None


def _refuted(experiment: Symbolic, label: str, residue: Any, seed: int) -> Verdict:
    witness: dict[str, Any] = {"identity": label, "lhs - rhs": str(residue)[:400]}
    if experiment.grade.startswith("pit"):
        witness["seed"] = seed
    point = _nonzero_point(residue)
    if point:
        witness |= point
    return Verdict(
        status=Status.REFUTED,
        grade=experiment.grade,
        scope=experiment.scope,
        witness=witness,
        note=f"{label}: the two sides differ by {str(residue)[:120]}",
    )


def _nonzero_point(residue: Any) -> dict[str, Any] | None:
    """Small integers at which the difference is not zero, for the reader; a polynomial of low
    degree has some nearby.
    """
    import sympy

    expression = residue.as_expr() if hasattr(residue, "as_expr") else residue
    if not isinstance(expression, sympy.Expr) or not expression.free_symbols:
        return None
    symbols = sorted(expression.free_symbols, key=str)
    rng = np.random.default_rng(0)
    for reach in (1, 2, 3, 5, 10) * 4:
        values = rng.integers(-reach, reach + 1, size=len(symbols)).tolist()
        value = expression.subs(dict(zip(symbols, values, strict=True)))
        if value.is_Rational and value != 0:
            point = {str(s): x for s, x in zip(symbols, values, strict=True)}
            return {"point": point, "value": Fraction(int(value.p), int(value.q))}
    return None
