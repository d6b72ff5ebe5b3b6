"""Bounds of errors and scores, and the residual step, of Liang et al. 2024.

Citation and letters: `gradient`.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.papers.liang_2024.source import CITATION
from proofs_check.papers.shared import softmax_gradient as layer
from proofs_check.papers.shared.certificates import Product, bounded_sum
from proofs_check.papers.shared.searches import search_by
from proofs_check.statements.experiment import Falsify, Identity, Instance, Symbolic
from proofs_check.statements.theorem import ByHand, Source, Theorem
from proofs_check.statements.verdict import Status

# --- from the error of f to the error of s --------------------------------------------------------
# An entry of (f~ - f) h is a sum of n products x_j y_j with |x_j| <= X and |y_j| <= Y.


def _products(n: int, count: int | None = None) -> Iterator[Identity]:
    from sympy import QQ, ring

    _, *s = ring([*(f"x{j}" for j in range(n)), *(f"y{j}" for j in range(n)), "X", "Y"], QQ)
    x, y, top_x, top_y = s[:n], s[n : 2 * n], s[-2], s[-1]
    value = sum((a * c for a, c in zip(x, y, strict=True)), 0 * top_x)
    products: list[Product] = [((a, top_x), (c, top_y)) for a, c in zip(x, y, strict=True)]
    bound = (n if count is None else count) * top_x * top_y
    yield from bounded_sum(value, bound, products, f"{n} tokens")


OUTPUT_ERROR = Theorem(
    key="lss24.output-error",
    title="from the error of the attention matrix to that of the output",
    statement="‖(f̃ - f) h‖∞ <= n ‖f̃ - f‖∞ ‖h‖∞, with equality for constant matrices.",
    source=Source(
        citation=CITATION, place="C.14", fidelity="constants made explicit", wording_verified=True
    ),
    experiments=(
        Symbolic(
            identities=partial(_products, 2), covers="statement", scope="2 tokens, all entries"
        ),
        Symbolic(
            identities=partial(_products, 12), covers="statement", scope="12 tokens, all entries"
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_products, 12, 11), covers="statement", scope="11 for n = 12"
    ),
    remarks=("For f̃ with rows that sum to 1 the sharp form is ours.hilbert, which has no n.",),
)

# --- scores without the factor 1/d ----------------------------------------------------------------


def _squares() -> Any:
    return layer.integer_matrices({"x": "nd", "w": "dd"}, max_tokens=2, max_width=3)


def _largest_score(
    instance: Instance, *, divided: bool = False, share: Fraction = Fraction(1)
) -> tuple[Fraction, Fraction]:
    """The largest |X W X^T|, divided by d or not, against R^2, R the largest of |X W| and |X|."""
    x, w = (np.asarray(instance[name], dtype=int) for name in ("x", "w"))
    r = max(int(np.max(np.abs(x @ w))), int(np.max(np.abs(x))))
    score = Fraction(int(np.max(np.abs(x @ w @ x.T))), len(w) if divided else 1)
    return score, share * r * r


_ONES: tuple[Instance, ...] = ({"x": np.ones((2, 2)), "w": np.eye(2)},)


def _scores(scope: str, **variant: Any) -> Falsify:
    return search_by(
        partial(_largest_score, **variant),
        instances=_squares,
        examples=_ONES,
        tries=100,
        scope=scope,
    )


SCORES = Theorem(
    key="lss24.score-bound-printed",
    title="note: size of a score without the factor 1/d",
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
    experiments=(_scores("n <= 2, d <= 3, whole matrices: the largest score against R²"),),
    expected=Status.REFUTED,
    mutant=_scores("divided by d, and 0.95 R²", divided=True, share=Fraction(19, 20)),
    repaired_by="as23.score-bound",
    repaired=_scores("divided by d", divided=True),
    kind="implied",
    defence=(
        "C.6 drops 1/d for the sake of the calculus, and with d = O(log n) and R = o(sqrt(log n)) "
        "a reader may put it back. C.13 keeps R = o(sqrt(log n)) without it, which would need d R² "
        "= o(log n); nowhere is |X W Xᵀ| <= R² printed, so this is a note."
    ),
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
            covers="statement",
            scope="two coordinates, a cubic H and a cubic L with free coefficients",
        ),
    ),
    expected=Status.PROVED,
    bookkeeping=True,
    mutant=Symbolic(
        identities=partial(_residual, dropped=True), covers="statement", scope="without I"
    ),
)

THEOREMS: tuple[Any, ...] = (OUTPUT_ERROR, SCORES, RESIDUAL)
