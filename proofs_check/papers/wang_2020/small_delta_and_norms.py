"""Four smaller statements of Wang et al. 2020, from norms of projections to the choice of k.

Citation and letters: `theorem_1`.

They are the norm of a projected vector, one matrix for all columns, the limit of small delta, and
four different k.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.arithmetic.balls import ball, softmax
from proofs_check.papers.wang_2020.row_submatrix import determinant as minor
from proofs_check.papers.wang_2020.source import CITATION
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

# --- norms of projections -------------------------------------------------------------------------
# 1. |Rx|^2 k / |x|^2 is chi^2_k.
# 2. Chernoff's bound: Pr(chi^2_k > k a) <= exp(-(k/2)(a - 1 - ln a)) for a > 1.
# 3. With a = (1 + e)^2 that is exp(-k h(e)), h(e) = e + e^2/2 - ln(1 + e).
# 4. g = h - (e^2 - e^3)/4 has g(0) = 0 and (1 + e) g' = e (6 + 5 e + 3 e^2)/4 >= 0.
# 5. So h >= (e^2 - e^3)/4 for all e >= 0.
# 6. h - (e^2 - e^3/3) vanishes at 0 and has the derivative e^3/(1 + e) >= 0.
# 7. h = e^2 - e^3/3 + e^4/4 - ...: the printed rate is a quarter of it at small e.


def _rate() -> Iterator[Identity]:
    from sympy import Rational, diff, expand, log, simplify, symbols

    e = symbols("e", positive=True)
    h = e + e**2 / 2 - log(1 + e)
    sharper = h - e**2 + e**3 / 3
    yield Identity(sharper.subs(e, 0), 0, "step 6 at 0")
    yield Identity(simplify(diff(sharper, e) * (1 + e)), e**3, "step 6")
    g = h - (e**2 - e**3) / 4
    yield Identity(g.subs(e, 0), 0, "g(0)")
    yield Identity(
        expand(simplify(diff(g, e) * (1 + e))),
        expand(e * (6 + 5 * e + 3 * e**2) * Rational(1, 4)),
        "(1 + e) g', all of whose terms are >= 0",
    )


def _exact_rate(e: Any) -> Any:
    return e + e * e / 2 - (1 + e).log()


def _series(e: Any, cubic: int = 3) -> Any:
    return e * e - e * e * e / cubic


def _norm_tails(_bits: int) -> list[Comparison]:
    """Pr(chi^2_k > k (1 + e)^2) against exp(-k h(e))."""
    from flint import arb, fmpq

    comparisons = []
    for k in (1, 4, 16, 64, 256, 1024):
        for e in (Fraction(1, 10), Fraction(1, 2), Fraction(1), Fraction(2)):
            shape = arb(fmpq(k, 2))
            tail = (shape * ball((1 + e) ** 2)).gamma_upper(shape, regularized=1)
            bound = (-k * _exact_rate(ball(e))).exp()
            comparisons.append(Comparison(tail, bound, f"k = {k}, epsilon = {e}"))
    return comparisons


NORM = Theorem(
    key="linformer.lemma-1-norm",
    title="norm of a projected vector",
    statement=(
        "Pr(‖Rx‖ <= (1 + ε)‖x‖) >= 1 - exp(-k (ε + ε²/2 - ln(1 + ε))) >= 1 - exp(-(ε² - ε³)k/4) "
        "for all ε > 0, k >= 1, x."
    ),
    source=Source(
        citation=CITATION,
        place="Lemma 1, eq. (11)",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading=(
        "R of independent N(0, 1/k) entries; Chernoff's bound of a χ² variable, and the comparison "
        "of the two rates"
    ),
    experiments=(
        Enclose(
            certify=_norm_tails,
            covers="statement",
            scope="the first bound: k = 1, 4, ..., 1024, four ε, by exact chi-square tails",
        ),
        Symbolic(
            identities=_rate,
            covers="statement",
            scope=(
                "the second bound: the derivative of the difference of the rates has positive "
                "coefficients, all ε > 0"
            ),
        ),
        Enclose(
            lhs=_series,
            rhs=_exact_rate,
            box=((Fraction(1, 8), 2),),
            covers="statement",
            scope="the rate is at least ε² - ε³/3, ε in [1/8, 2]",
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        lhs=partial(_series, cubic=4),
        rhs=_exact_rate,
        box=((Fraction(1, 16), Fraction(1, 4)),),
        covers="statement",
        scope="a rate of ε² - ε³/4, ε in [1/16, 1/4]",
    ),
    remarks=(
        "The rate without its lower bound is ε² - ε³/3 + ε⁴/4 - ...: the exponent of (11) is a "
        "quarter of it at small ε. At ε = 0.1 the rates are 0.00969 and 0.00225, at 0.01 they are "
        "9.967e-5 and 2.475e-5.",
    ),
)

# --- one matrix for all columns -------------------------------------------------------------------
# 1. P~ = U V^T of rank below n has a w != 0 with V^T w = 0, so P~ w = 0.
# 2. The error is |P w|, which is not below eps |P w| for eps <= 1, unless P w = 0.
# 3. There are invertible P: scores (ln 2) 1 give P = [[2, 1], [1, 2]]/3.


def _null_vector(sign: int = 1) -> Iterator[Identity]:
    """Step 1 for rank n - 1, w made of the signed minors of V; `sign` is that of its last entry."""
    from sympy import QQ, ring

    for n in (2, 3, 4):
        names = [f"{x}{i}{j}" for x in "uv" for i in range(n) for j in range(n - 1)]
        _, *s = ring(names, QQ)
        u, v = (
            [s[k + i * (n - 1) : k + (i + 1) * (n - 1)] for i in range(n)] for k in (0, n * (n - 1))
        )
        w = [(-1) ** i * minor([row for j, row in enumerate(v) if j != i]) for i in range(n)]
        w[-1] = sign * w[-1]
        seen = [
            sum((row[c] * x for row, x in zip(v, w, strict=True)), 0 * s[0]) for c in range(n - 1)
        ]
        for i in range(n):
            out = sum((x * y for x, y in zip(u[i], seen, strict=True)), 0 * s[0])
            yield Identity(out, 0 * s[0], f"row {i} of P~ w, n = {n}")
    p = [[Fraction(2, 3), Fraction(1, 3)], [Fraction(1, 3), Fraction(2, 3)]]
    yield Identity(
        p[0][0] * p[1][1] - p[0][1] * p[1][0],
        Fraction(1, 3),
        "determinant of softmax of the scores (ln 2) 1",
    )


ONE_MATRIX = Theorem(
    key="linformer.one-matrix-for-all",
    title="one low-rank matrix for all columns",
    statement=(
        "If P is invertible and P~ has rank below n, some w ≠ 0 has P~ w = 0, and ‖P~ w - P w‖ < ε "
        "‖P w‖ fails for it at every ε <= 1; softmax matrices may be invertible."
    ),
    source=Source(
        citation=CITATION,
        place="Theorem 1, read with one P~ for all w",
        fidelity="ours",
        wording_verified=True,
    ),
    reading="rank n - 1, which contains every lower rank",
    alternative_readings=(
        "P~ may depend on w: trivially true, linformer.theorem-1-existence.",
        "P~ = P RᵀR for the w at hand: refuted, linformer.theorem-1.",
    ),
    experiments=(
        Symbolic(
            identities=_null_vector,
            covers="statement",
            scope="n = 2, 3, 4 and rank n - 1, all factors; P of n = 2 exactly",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_null_vector, sign=-1),
        covers="statement",
        scope="the last entry of w with the other sign",
    ),
    uses=("linformer.theorem-1-existence",),
)

# --- small delta ----------------------------------------------------------------------------------
# softmax(delta y) against softmax(0) = 1/k: the scores change by delta y, of oscillation delta osc
# y (ours.oscillation).


# Balls carry their precision.
def _small_delta(_bits: int, divisor: Fraction = Fraction(1)) -> list[Comparison]:
    comparisons = []
    for y in ((0, 1), (-1, 2, 0), (3, -1, 4, 1, -5)):
        osc = max(y) - min(y)
        for exponent in (0, 3, 10, 30):
            delta = Fraction(1, 2**exponent)
            away = sum(
                (abs(p - ball(Fraction(1, len(y)))) for p in softmax([ball(delta * x) for x in y])),
                ball(0),
            )
            comparisons.append(
                Comparison(
                    away,
                    2 * (ball(delta * osc) / 4).tanh() / ball(divisor),
                    f"scores {y}, delta = 2^-{exponent}",
                )
            )
    return comparisons


def _two_projected_keys() -> Iterator[Identity]:
    """K = 2, s = tanh(delta osc/4): the left side is tanh(delta osc/2) = 2 s/(1 + s^2)."""
    from sympy import QQ, field

    _, e = field("e", QQ)  # e = exp(delta osc/2)
    s, weights = (e - 1) / (e + 1), (e**2 / (e**2 + 1), 1 / (e**2 + 1))
    away = weights[0] - weights[1]
    yield Identity(away, 2 * s / (1 + s**2), "sum of both distances from 1/2")
    yield Identity(2 * s - away, 2 * s**3 / (1 + s**2), "the bound less that")


SMALL_DELTA = Theorem(
    key="linformer.delta-limit",
    title="the construction forgets queries and keys as δ -> 0",
    statement=(
        "‖softmax(δ w Rᵀ) - 1/k‖₁ <= 2 tanh(δ osc(w Rᵀ)/4): with δ = 2⁻ⁿ the output is e^{-δ} "
        "(1/k) 1ᵀR V up to that, whatever Q and K are."
    ),
    source=Source(
        citation=CITATION,
        place="appendix B, E = δR, F = e^{-δ}R with δ = 1/2ⁿ",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading="for every k it is the corollary of ours.oscillation, with the change δ w Rᵀ",
    experiments=(
        Symbolic(
            identities=_two_projected_keys, covers="statement", scope="k = 2, all scores and δ"
        ),
        Enclose(
            certify=_small_delta,
            covers="statement",
            scope="three rows of projected scores, δ = 1, 2⁻³, 2⁻¹⁰, 2⁻³⁰",
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_small_delta, divisor=Fraction(101, 100)),
        covers="statement",
        scope="the bound divided by 1.01",
    ),
    uses=("ours.oscillation", "ours.projection-ceiling"),
)

# --- four k ---------------------------------------------------------------------------------------


def _four(_bits: int, factor: Fraction = Fraction(1)) -> list[Comparison]:
    """At n = 512, d = 64, eps = 1/2 the values of k that the paper gives, in increasing order, a
    factor 1.02 apart at least.
    """
    n, d, e = 512, 64, Fraction(1, 2)
    cubic = ball(e * e - e**3)
    k = {
        "d/eps^2 (text)": ball(d / e**2),
        "5 log n/(eps^2 - eps^3) (Theorem 1)": 5 * ball(n).log() / cubic,
        "5 log(nd)/(eps^2 - eps^3) (appendix B)": 5 * ball(n * d).log() / cubic,
        "9 d log d/eps^2 (Theorem 2)": 9 * d * ball(d).log() / ball(e * e),
    }
    ordered = sorted(k.items(), key=lambda item: float(item[1].mid()))
    pairs = itertools.pairwise(ordered)
    return [
        Comparison(a * ball(Fraction(51, 50) * factor), b, f"{x} < {y}") for (x, a), (y, b) in pairs
    ]


FOUR = Theorem(
    key="linformer.four-k",
    title="the k of the text, the theorem and the appendix differ",
    statement=(
        "At n = 512, d = 64, ε = 1/2 the paper's k are about 250 (5 ln n/(ε² - ε³)), 256 (d/ε²), "
        "416 (5 ln(nd)/(ε² - ε³)) and 9582 (9 d ln d/ε²), all different."
    ),
    source=Source(
        citation=CITATION,
        place="Theorem 2, the text before it, and appendix B",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading="constants of Θ and O read as 1; natural logarithms",
    experiments=(Enclose(certify=_four, covers="statement", scope="n = 512, d = 64, ε = 1/2"),),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_four, factor=Fraction(101, 100)),
        covers="statement",
        scope="a factor 1.03 apart",
    ),
    bookkeeping=True,
)

THEOREMS: tuple[Any, ...] = (NORM, ONE_MATRIX, SMALL_DELTA, FOUR)
