"""Moments of Gaussian matrices and of their inverses, on which the range finder's bounds rest.

Letters: `range_finder`. G is a Gaussian matrix of r rows and l = r + p columns.

1. E|S G R|_F^2 = |S|_F^2 |R|_F^2: only squares of entries of G survive, each with mean 1.
2. |G^+|_F^2 = tr (G G^T)^{-1}. The i-th diagonal entry is the inverse square of the distance of row
   i from the span of the others, for two rows 1/(|x|^2 - <x, y>^2/|y|^2).
3. That distance is the length of a Gaussian vector in l - (r - 1) = p + 1 dimensions: turn the
   span of the others to the first coordinates.
4. E 1/chi^2_{p+1} = 1/(p - 1), so E|G^+|_F^2 = r/(p - 1).
5. For r = 1 the tail of |G^+| is that of chi^2_{p+1} below: Pr(|G^+| >= t sqrt(3/(p + 1))) =
   Pr(chi^2_{p+1} <= (p + 1)/(3 t^2)).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from functools import partial

import numpy as np

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.halko_2011.source import CITATION
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status


def scaled(factor: Fraction = Fraction(1)) -> Iterator[Identity]:
    """Step 1, summed over the entries of G, for G of 2 x 2 and of 2 x 3."""
    from sympy import QQ, ring

    for rows, columns in ((2, 2), (2, 3)):
        names = [
            *(f"s{i}{j}" for i in range(2) for j in range(rows)),
            *(f"t{i}{j}" for i in range(columns) for j in range(2)),
        ]
        _, *s = ring(names, QQ)
        left = np.array(s[: 2 * rows], dtype=object).reshape(2, rows)
        right = np.array(s[2 * rows :], dtype=object).reshape(columns, 2)
        found = 0 * s[0]
        for a, b in itertools.product(range(rows), range(columns)):
            unit = np.zeros((rows, columns), dtype=int)
            unit[a, b] = 1
            found += np.sum((left @ unit @ right) ** 2)
        claimed = np.sum(left**2) * np.sum(right**2)
        scale = QQ(factor.numerator, factor.denominator)
        yield Identity(found, scale * claimed, f"G of {rows} x {columns}")


def _distances() -> Iterator[Identity]:
    """Step 2 for two rows."""
    from sympy import QQ, field

    for l in (2, 3, 4):
        _, *s = field([f"{x}{j}" for x in "xy" for j in range(l)], QQ)
        x, y = s[:l], s[l:]
        xx, xy, yy = (
            sum(p * q for p, q in zip(*pair, strict=True)) for pair in ((x, x), (x, y), (y, y))
        )
        away = [p - xy / yy * q for p, q in zip(x, y, strict=True)]
        # (M^-1)_11 = yy / (xx yy - xy^2)
        yield Identity((xx * yy - xy**2) / yy, sum(p * p for p in away), f"distance, l = {l}")


def inverse(shift: int = 1) -> Iterator[Identity]:
    """Steps 2 and 4."""
    import sympy as sp

    yield from _distances()
    x = sp.symbols("x", positive=True)
    for p in (2, 3, 5, 8):
        density = (
            x ** sp.Rational(p - 1, 2)
            * sp.exp(-x / 2)
            / (2 ** sp.Rational(p + 1, 2) * sp.gamma(sp.Rational(p + 1, 2)))
        )
        found = sp.simplify(sp.integrate(density / x, (x, 0, sp.oo)))
        yield Identity(found, sp.Rational(1, p - shift), f"E 1/chi^2_{p + 1}")


def _tails(_bits: int, part: Fraction = Fraction(1)) -> list[Comparison]:
    from flint import arb, fmpq

    comparisons = []
    halves = (2, 3, 4, 8)
    for p, t in itertools.product((4, 5, 8, 16), (Fraction(h, 2) for h in halves)):
        shape, at = arb(fmpq(p + 1, 2)), ball(Fraction(p + 1) / (6 * t**2))
        below = at.gamma_lower(shape, regularized=1)
        label = f"p = {p}, t = {t}"
        comparisons.append(Comparison(below, ball(part) / ball(t) ** p, label))
    return comparisons


THEOREMS = (
    Theorem(
        key="hmt.scaled-gaussian",
        title="second moment of a scaled Gaussian matrix",
        statement="E‖S G R‖_F² = ‖S‖_F² ‖R‖_F² for a Gaussian matrix G.",
        source=Source(
            citation=CITATION, place="Proposition 10.1", fidelity="constants made explicit"
        ),
        reading="the equality for the Frobenius norm; its bound for the spectral norm is left out",
        experiments=(
            Symbolic(
                identities=scaled,
                covers="statement",
                scope="G of 2 x 2 and 2 x 3, all S and R of two rows and two columns",
            ),
        ),
        expected=Status.PROVED,
        mutant=Symbolic(
            identities=partial(scaled, factor=Fraction(101, 100)),
            covers="statement",
            scope="1.01 times that",
        ),
    ),
    Theorem(
        key="hmt.inverse-gaussian",
        title="second moment of the inverse of a Gaussian matrix",
        statement="E‖G⁺‖_F² = r/(p - 1) for a Gaussian G of r rows and r + p columns, p >= 2.",
        source=Source(
            citation=CITATION, place="Proposition 10.2", fidelity="constants made explicit"
        ),
        reading="the equality for the Frobenius norm; its bound for the spectral norm is left out",
        experiments=(
            Symbolic(
                identities=inverse,
                covers="statement",
                scope="r = 1 and 2, p = 2, 3, 5, 8; (G Gᵀ)⁻¹ by distances for 2 to 4 columns",
            ),
        ),
        expected=Status.PROVED,
        mutant=Symbolic(
            identities=partial(inverse, shift=0),
            covers="statement",
            scope="r/p in place of r/(p - 1)",
        ),
        remarks=("That a distance is a chi variable of p + 1 degrees is by hand, in step 3.",),
    ),
    Theorem(
        key="hmt.inverse-gaussian-tail",
        title="tail of the inverse of a Gaussian matrix",
        statement="Pr(‖G⁺‖_F >= t sqrt(3r/(p + 1))) <= t^(-p) for p >= 4 and t >= 1.",
        source=Source(
            citation=CITATION, place="Proposition 10.4", fidelity="constants made explicit"
        ),
        reading="r = 1, where it is an exact chi-square probability",
        experiments=(
            Enclose(
                certify=_tails,
                covers="statement",
                scope="r = 1, p = 4, 5, 8, 16, t = 1, 3/2, 2, 4",
            ),
        ),
        expected=Status.PROVED,
        mutant=Enclose(
            certify=partial(_tails, part=Fraction(1, 10)),
            covers="statement",
            scope="a tenth of the bound: the largest tail is 0.107 of it",
        ),
        uses=("hmt.inverse-gaussian",),
    ),
)
