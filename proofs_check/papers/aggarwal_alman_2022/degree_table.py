"""The least degree of a polynomial next to exp, in 132 cells, certified from both sides.

Citation and letters: `minimal_degree`.

For every cell two things are exhibited:

1. a polynomial of the degree whose error, enclosed at its critical points, is at most eps;
2. points on which no polynomial of one degree less comes within eps (de la Vallée Poussin).

`DEGREES` is the table itself, for whoever wants to plot it.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import Literal

from proofs_check.arithmetic import supnorm
from proofs_check.arithmetic.balls import Ball
from proofs_check.papers.aggarwal_alman_2022.source import CITATION
from proofs_check.statements.experiment import Comparison, Enclose
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

Kind = Literal["additive", "relative"]

HALF_WIDTHS = (Fraction(1, 2), Fraction(1), Fraction(2), Fraction(4), Fraction(8), Fraction(16))
"""B: the interval is [-B, B]."""

TOLERANCES = tuple(Fraction(1, 10**i) for i in range(2, 13))
"""eps = 1e-2, ..., 1e-12."""

DEGREES: dict[Kind, tuple[tuple[int, ...], ...]] = {
    "additive": (
        (2, 3, 4, 5, 5, 6, 7, 7, 8, 9, 9),
        (3, 4, 5, 6, 7, 8, 9, 9, 10, 11, 12),
        (5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
        (8, 9, 11, 12, 13, 14, 15, 16, 18, 19, 20),
        (14, 16, 17, 19, 20, 21, 23, 24, 25, 26, 27),
        (26, 28, 29, 31, 32, 34, 35, 37, 38, 40, 41),
    ),
    "relative": (
        (2, 3, 4, 5, 5, 6, 7, 7, 8, 9, 9),
        (3, 4, 5, 6, 7, 8, 9, 9, 10, 11, 12),
        (5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
        (7, 9, 10, 12, 13, 14, 15, 16, 17, 18, 19),
        (12, 14, 16, 17, 19, 20, 22, 23, 24, 26, 27),
        (21, 24, 26, 28, 30, 31, 33, 35, 36, 38, 39),
    ),
}
"""Rows by B, columns by eps. Additive: max |P - e^x|; relative: max |P e^-x - 1|."""


def _errors(kind: Kind, b: Fraction, degrees: set[int]) -> dict[int, tuple[Ball, Ball]]:
    """By degree: the error of the near-best polynomial, and what no polynomial of that degree can
    be below.
    """
    found = {}
    for g in degrees:
        coefficients, reference = supnorm.minimax(g, (-b, b), kind)
        found[g] = (
            supnorm.sup_error(coefficients, (-b, b), kind),
            supnorm.levelled_error(reference, kind),
        )
    return found


def _cells(
    _bits: int, *, kind: Kind, lowered: int = 0, rows: int = len(HALF_WIDTHS)
) -> list[Comparison]:
    comparisons = []
    for b, row in list(zip(HALF_WIDTHS, DEGREES[kind], strict=True))[:rows]:
        claimed = [g - lowered for g in row]
        errors = _errors(kind, b, {*claimed, *(g - 1 for g in claimed)})
        for eps, g in zip(TOLERANCES, claimed, strict=True):
            cell = f"{kind}, B = {b}, eps = {float(eps):g}"
            comparisons.append(Comparison(errors[g][0], eps, f"{cell}: degree {g} reaches eps"))
            comparisons.append(
                Comparison(eps, errors[g - 1][1], f"{cell}: degree {g - 1} misses eps")
            )
    return comparisons


_SCOPE = "B = 1/2, 1, 2, 4, 8, 16 and eps = 1e-2, ..., 1e-12: 66 cells"

TABLE = Theorem(
    key="aa22.minimal-degrees-table",
    title="least degrees in 132 cells, certified from both sides",
    statement=(
        "The least degree of a P with max over [-B, B] of |P - e^x| <= eps (additive) or |P e^-x "
        "- 1| <= eps (relative) is the one in the table, for B = 1/2, ..., 16 and eps = 1e-2, "
        "..., 1e-12; for example 27 and 27 at B = 8, 41 and 39 at B = 16, eps = 1e-12."
    ),
    source=Source(
        citation=CITATION,
        place="values of d_{B;δ} on [-B, B], which the paper gives up to constants",
        fidelity="ours",
    ),
    reading=(
        "real coefficients; a polynomial of that degree is exhibited, and points that no "
        "polynomial of one degree less serves"
    ),
    alternative_readings=(
        "For coefficients rounded to float64 some cells are false: at B = 16, eps = 1e-12, "
        "relative, the polynomial with rounded monomial coefficients has an error of 8.0e-4.",
    ),
    experiments=(
        Enclose(
            certify=partial(_cells, kind="additive"),
            bits=192,
            covers="statement",
            scope=f"additive, {_SCOPE}",
        ),
        Enclose(
            certify=partial(_cells, kind="relative"),
            bits=192,
            covers="statement",
            scope=f"relative, {_SCOPE}",
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_cells, kind="additive", lowered=1, rows=3),
        bits=192,
        covers="statement",
        scope="one degree less, B <= 2",
    ),
    uses=("aa22.minimax-bounds",),
    remarks=(
        "The Taylor polynomial needs 64 (additive) and 74 (relative) at B = 16, eps = 1e-12.",
    ),
)

THEOREMS = (TABLE,)
