"""How the Lipschitz constant of self-attention grows with n (Castin et al. 2024).

Read: the abstract. On a compact set it is at most sqrt n times a constant, and this is the right
order as long as n is not too large for the set. Tokens in R, scores x_i x_j, n = N + 1.

1. Take x_1 = x and N tokens y. In the rows of the others P_i1 = e^(xy) / (e^(xy) + N e^(y^2)).
2. y = sqrt L and x = 2 sqrt L with L = ln N give xy - y^2 = L, so P_i1 = 1/2, and f_i = (x + y)/2.
3. d f_i / d x_1 = P_i1 (1 + y (x - f_i)) = (1 + L/2) / 2 for each of the N others.
4. So the Jacobian has norm at least sqrt N (1 + L/2) / 2, on [-R, R] with R = 2 sqrt(ln N).
5. Upper part: a matrix P of non-negative rows with sum 1 has |P|_F^2 <= n, since
   n - |P|_F^2 = sum_i sum_(j != l) p_ij p_il. Equality when all rows are one unit vector.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.castin_2024.source import CITATION
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

ONE = Fraction(1)


def _column(many: int) -> Any:
    """Norm of the first column of the Jacobian, by the quotient rule, row by row."""
    root = ball(many).log().sqrt()
    x, y = 2 * root, root
    own, share = (x * x).exp(), many * (x * y).exp()
    other, rest = (x * y).exp(), many * (y * y).exp()
    f, g = (own * x + share * y) / (own + share), (other * x + rest * y) / (other + rest)
    first = (own * (1 + 2 * x * (x - f)) + share * y * (y - f)) / (own + share)
    each = other * (1 + y * (x - g)) / (other + rest)
    return (first * first + many * each * each).sqrt()


def _lower_bound(many: int) -> Any:
    return ball(many).sqrt() * (1 + ball(many).log() / 2) / 2


def _grows(_bits: int, part: Fraction = ONE) -> list[Comparison]:
    return [
        Comparison(ball(part) * _lower_bound(2**m), _column(2**m), f"n = 2^{m} + 1")
        for m in range(1, 25)
    ]


def _slope_of_others() -> Iterator[Identity]:
    """Step 3 with free E = e^(xy) and F = N e^(y^2); only E moves with x, at the rate y."""
    from sympy import QQ, field

    _, e, f, x, y = field("E, F, x, y", QQ)
    total = e + f
    moved = ((e + y * e * x) * total - (e * x + f * y) * y * e) / total**2
    output = (e * x + f * y) / total
    yield Identity(moved, e / total * (1 + y * (x - output)), "step 3")


def _norm(part: Fraction = ONE) -> Iterator[Identity]:
    from sympy import QQ, ring

    share = QQ(part.numerator, part.denominator)
    for n in (2, 3, 4):
        _, *free = ring([f"p{i}_{j}" for i in range(n) for j in range(1, n)], QQ)
        rows = [free[i * (n - 1) : (i + 1) * (n - 1)] for i in range(n)]
        full = [[1 - sum(row[1:], row[0]), *row] for row in rows]
        squares = sum((p * p for row in full for p in row), 0 * free[0])
        mixed = sum(
            (row[j] * row[k] for row in full for j in range(n) for k in range(n) if j != k),
            0 * free[0],
        )
        yield Identity(share * n - squares, mixed, f"n = {n}")


THEOREMS = (
    Theorem(
        key="castin.growth",
        title="the Lipschitz constant of self-attention grows like the root of n",
        statement=(
            "For n = N + 1 tokens in [-R, R], R = 2 √(ln N), the Jacobian of f_i = Σ_j softmax(x_i "
            "x)_j x_j can have norm √N (1 + ln(N)/2)/2 or more."
        ),
        source=Source(
            citation=CITATION,
            place="abstract: √n up to a constant, tight for reasonable lengths",
            fidelity="constants made explicit",
            wording_verified=True,
        ),
        reading="d = 1, an explicit family of ours: one token against N equal ones",
        experiments=(
            Enclose(certify=_grows, covers="statement", scope="N = 2, 4, ..., 2^24"),
            Symbolic(identities=_slope_of_others, covers="step", scope="step 3, all inputs"),
        ),
        expected=Status.PROVED,
        mutant=Enclose(
            certify=partial(_grows, part=Fraction(21, 20)),
            covers="statement",
            scope="21/20 of the norm",
        ),
        remarks=(
            "R grows with n here. For a fixed R this family ends at N = e^(R²/4). "
            "Beyond lies what the paper calls the mean-field regime.",
        ),
    ),
    Theorem(
        key="castin.stochastic-norm",
        title="weights that sum to one stretch by at most the root of n",
        statement="‖P‖_F² <= n for every n x n matrix of non-negative rows with sum 1.",
        source=Source(citation=CITATION, place="where √n comes from", fidelity="ours"),
        reading="so ‖P‖ <= √n, attained when every token attends to the same one",
        experiments=(
            Symbolic(
                identities=_norm,
                covers="statement",
                scope="n = 2, 3, 4: n - ‖P‖_F² is a sum of products of weights",
            ),
        ),
        expected=Status.PROVED,
        mutant=Symbolic(
            identities=partial(_norm, Fraction(99, 100)), covers="statement", scope="99/100 of n"
        ),
    ),
)
