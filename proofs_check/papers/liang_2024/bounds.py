"""Bounds of errors and scores, and the residual step, of Liang et al. 2024.

Citation and letters: `gradient`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from proofs_check.papers.liang_2024.source import CITATION
from proofs_check.statements.experiment import Identity, Symbolic
from proofs_check.statements.theorem import ByHand, Source, Theorem
from proofs_check.statements.verdict import Status

# --- from the error of f to the error of s --------------------------------------------------------
# 1. For |x| <= X and |y| <= Y, and s = 1 or -1,
#        2 (X Y - s x y) = (X - s x)(Y + y) + (X + s x)(Y - y) >= 0.
# 2. So |sum_j x_j y_j| <= n X Y. An entry of (f~ - f) h is such a sum of n products.


def _products(count: int = 0) -> Iterator[Identity]:
    from sympy import QQ, ring

    for n in (1, 2, 5):
        _, *s = ring([*(f"x{j}" for j in range(n)), *(f"y{j}" for j in range(n)), "X", "Y"], QQ)
        x, y, top_x, top_y = s[:n], s[n : 2 * n], s[-2], s[-1]
        for sign in (1, -1):
            whole = 2 * (
                (n - count) * top_x * top_y
                - sign * sum((a * b for a, b in zip(x, y, strict=True)), 0 * top_x)
            )
            parts = sum(
                (
                    (top_x - sign * a) * (top_y + b) + (top_x + sign * a) * (top_y - b)
                    for a, b in zip(x, y, strict=True)
                ),
                0 * top_x,
            )
            yield Identity(whole, parts, f"{n} tokens, sign {sign}")


OUTPUT_ERROR = Theorem(
    key="lss24.output-error",
    title="from the error of the attention matrix to that of the output",
    statement="‖(f̃ - f) h‖∞ <= n ‖f̃ - f‖∞ ‖h‖∞, with equality for constant matrices.",
    source=Source(
        citation=CITATION, place="C.14", fidelity="constants made explicit", wording_verified=True
    ),
    experiments=(Symbolic(identities=_products, scope="1, 2 and 5 tokens, all entries"),),
    expected=Status.PROVED,
    mutant=Symbolic(identities=partial(_products, count=1), scope="n - 1 in place of n"),
    remarks=("For f̃ with rows that sum to 1 the sharp form is ours.hilbert, which has no n.",),
)

# --- scores without the factor 1/d ----------------------------------------------------------------


def _no_factor(*, kept: bool = False) -> Iterator[Identity]:
    """|X W|, |X| <= R = 1 and the largest score of d = 2 columns."""
    x, w = np.ones((2, 2), dtype=int), np.array([[1, 0], [0, 1]])
    bounded = bool(np.max(np.abs(x @ w)) <= 1 and np.max(np.abs(x)) <= 1)
    top = int(np.max(x @ w @ x.T))
    within = top <= 2 if kept else top <= 1
    yield Identity(
        int(bounded and not within), 1 if kept else 0, f"d = 2, all entries 1: a score of {top}"
    )


SCORES = Theorem(
    key="lss24.score-bound-printed",
    title="size of a score without the factor 1/d",
    statement="‖X W‖∞ <= R and ‖X‖∞ <= R imply |X W Xᵀ| <= R², entry by entry.",
    source=Source(
        citation=CITATION,
        place="C.6 and C.13, which leave out the 1/d of Definition 1.2",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading="what the (ε, r)-approximation of exp(X W Xᵀ) needs of its scores",
    alternative_readings=(
        "exp(X W Xᵀ / d), as in Definition 1.2: true, as23.score-bound.",
        "d R² in place of R²: true, and what C.13 then needs is d R² = o(log n).",
    ),
    experiments=(
        Symbolic(
            identities=_no_factor, grade="exact-rational", scope="n = d = 2, R = 1: one witness"
        ),
    ),
    expected=Status.REFUTED,
    mutant=Symbolic(
        identities=partial(_no_factor, kept=True),
        grade="exact-rational",
        scope="the same matrices have a score above d R²",
    ),
    repaired_by="as23.score-bound",
    by_hand=ByHand(
        instance="n = d = 2, R = 1, X all ones, W the unit matrix.",
        shows=(
            "|X W| = |X| = 1, and every entry of X W Xᵀ is 2, above R² = 1; divided by d it is 1."
        ),
    ),
    remarks=("The degree of the polynomial follows the largest score, d R² in place of R².",),
)

# --- the residual connection ----------------------------------------------------------------------
# Y = X + H(X): dL/dX = dL/dY + (dH/dX)^T dL/dY, for every polynomial map, here with a quadratic L.


def _residual(*, dropped: bool = False) -> Iterator[Identity]:
    from sympy import symbols

    x, y, a, b, c, u, v = symbols("x y a b c u v")
    h = (a * x**2 * y + b * y, c * x * y**2 + a * x**3)
    out = (x + h[0], y + h[1])
    loss = (u * out[0] ** 2 + v * out[0] * out[1] + out[1] ** 3).expand()
    g0, g1 = symbols("g0 g1")
    outer = u * g0**2 + v * g0 * g1 + g1**3
    back = [outer.diff(s).subs({g0: out[0], g1: out[1]}) for s in (g0, g1)]
    for i, s in enumerate((x, y)):
        own = 0 if dropped else back[i]
        claimed = own + h[0].diff(s) * back[0] + h[1].diff(s) * back[1]
        yield Identity(loss.diff(s).expand(), claimed.expand(), f"coordinate {i}")


RESIDUAL = Theorem(
    key="lss24.residual",
    title="gradient through a residual connection",
    statement="For Y = X + H(X): dL/dX = dL/dY (I + dH/dX), an extra O(n d).",
    source=Source(
        citation=CITATION,
        place="appendix J",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading="the product with the transposed Jacobian of H",
    experiments=(
        Symbolic(
            identities=_residual,
            scope="two coordinates, a cubic H and a cubic L with free coefficients",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(identities=partial(_residual, dropped=True), scope="without I"),
)

THEOREMS: tuple[Any, ...] = (OUTPUT_ERROR, SCORES, RESIDUAL)
