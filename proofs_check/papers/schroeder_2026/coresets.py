"""Attention on a weighted few of the keys (Schröder & Mackey 2026): pivots and weights.

Read: the abstract, the first author's page on the method, and the authors' code (microsoft/wildcat,
wildcat.py and compresskv.py). K is the kernel matrix of the keys, K_ij = exp(<k_i, k_j>) up to
scaling; the coreset S is drawn by randomly pivoted Cholesky; W = K_SS^-1 K_S.

1. One pivot: s is drawn with probability K_ss / tr K. The residual K - K_:s K_s: / K_ss has
   the trace tr K - |K_:s|^2 / K_ss. Its mean is tr K - |K|_F^2 / tr K.
2. That is tr Phi(K), Phi(A) = A - A^2 / tr A. For two pivots the mean is at most tr Phi(Phi(K)),
   by the known analysis, which is not proved here.
3. K = (1 - c) I + c J of size 3 looks the same from every pivot. After two pivots the trace is
   (1 - c)(1 + c) - c^2 (1 - c) / (1 + c), and Phi keeps the form of K.
4. Weights: with features phi, |phi_l - sum_s W_sl phi_s|^2 = K_ll - 2 w.b + w^T G w, G = K_SS and
   b = K_Sl. It is K_ll - b^T G^-1 b + (w - G^-1 b)^T G (w - G^-1 b): least at w = G^-1 b.
5. Nothing keeps weights from being negative, so the normaliser sum_s exp(q k_s)(W 1)_s can be
   negative. The code hands the least and the largest value to the function that forms the output.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.schroeder_2026.source import CITATION
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

ONE = Fraction(1)


def _one_pivot(power: int = 2) -> Iterator[Identity]:
    from sympy import QQ, field

    for n in (2, 3, 4):
        names = [f"k{i}{j}" for i in range(n) for j in range(i, n)]
        _, *free = field(names, QQ)
        entries = dict(zip(names, free, strict=True))
        k = [[entries[f"k{min(i, j)}{max(i, j)}"] for j in range(n)] for i in range(n)]
        trace = sum((k[i][i] for i in range(1, n)), k[0][0])
        mean = 0 * trace
        for s in range(n):
            left = sum((k[i][i] - k[i][s] * k[s][i] / k[s][s] for i in range(n)), 0 * trace)
            mean += k[s][s] / trace * left
        squares = sum((x**power for row in k for x in row), 0 * trace)
        yield Identity(mean, trace - squares / trace, f"n = {n}")


# --- two pivots -----------------------------------------------------------------------------------


def _after_two(c: Any) -> Any:
    """Step 3, with the factor 1 - c > 0 taken out."""
    return 1 + c - c * c / (1 + c)


def _twice_phi(c: Any, part: Fraction = ONE) -> Any:
    """tr Phi(Phi(K)) / (1 - c) from the eigenvalues 1 + 2c, 1 - c, 1 - c of K.

    With a = 1 + 2c and b = 1 - c, Phi takes a to a (3 - a) / 3 = 2 a b / 3, b to b (2 + c) / 3, and
    the trace of Phi(K) is 2 b (1 + c).
    """
    a, b = 2 * (1 + 2 * c) / 3, (2 + c) / 3  # eigenvalues of Phi(K) / (1 - c), b twice
    trace = 2 * (1 + c)
    return ball(part) * (trace - (a * a + 2 * b * b) / trace)


def _two_pivots(part: Fraction = ONE) -> Enclose:
    return Enclose(
        lhs=_after_two,
        rhs=partial(_twice_phi, part=part),
        box=((Fraction(-2, 5), Fraction(19, 20)),),
        covers="statement",
        scope="K = (1 - c) I + c J of size 3, every c in [-2/5, 19/20]",
    )


def _forms() -> Iterator[Identity]:
    """The closed forms of step 3, from the matrices."""
    from sympy import QQ, field

    _, c = field("c", QQ)
    k = [[c**0 if i == j else c for j in range(3)] for i in range(3)]
    for s in (0, 1):
        pivot = k[s]
        k = [[k[i][j] - k[i][s] * pivot[j] / pivot[s] for j in range(3)] for i in range(3)]
    left = k[0][0] + k[1][1] + k[2][2]
    yield Identity(left, (1 - c) * (1 + c) - c**2 * (1 - c) / (1 + c), "after two pivots")
    values = [1 + 2 * c, 1 - c, 1 - c]
    for _ in range(2):
        trace = values[0] + values[1] + values[2]
        values = [x - x * x / trace for x in values]
    a, b, trace = 2 * (1 + 2 * c) / 3, (2 + c) / 3, 2 * (1 + c)
    closed = (1 - c) * (trace - (a * a + 2 * b * b) / trace)
    yield Identity(values[0] + values[1] + values[2], closed, "tr Phi(Phi(K))")


# --- weights --------------------------------------------------------------------------------------


def _best_weights(cross: int = 2) -> Iterator[Identity]:
    from sympy import QQ, field

    _, g00, g01, g11, b0, b1, k, w0, w1 = field("g00, g01, g11, b0, b1, k, w0, w1", QQ)
    error = k - 2 * (w0 * b0 + w1 * b1) + w0**2 * g00 + 2 * w0 * w1 * g01 + w1**2 * g11
    determinant = g00 * g11 - g01**2
    best = (g11 * b0 - g01 * b1) / determinant, (g00 * b1 - g01 * b0) / determinant
    e0, e1 = w0 - best[0], w1 - best[1]
    square = e0**2 * g00 + cross * e0 * e1 * g01 + e1**2 * g11
    yield Identity(error, k - b0 * best[0] - b1 * best[1] + square, "step 4")


_KEYS = (Fraction(-4, 30), Fraction(-1, 30), Fraction(5, 30))
"""Three keys of mean 0, of which the first two are kept."""


def _normaliser(_bits: int, most: Fraction = Fraction(-59, 10)) -> list[Comparison]:
    """The normaliser of the query -20, with the weights of step 4, against a negative number."""
    g = [[ball(a * b).exp() for b in _KEYS[:2]] for a in _KEYS[:2]]
    b = [ball(a * _KEYS[2]).exp() for a in _KEYS[:2]]
    determinant = g[0][0] * g[1][1] - g[0][1] * g[1][0]
    third = (
        (g[1][1] * b[0] - g[0][1] * b[1]) / determinant,
        (g[0][0] * b[1] - g[1][0] * b[0]) / determinant,
    )
    scores = [ball(-20 * key).exp() for key in _KEYS[:2]]
    total = sum((s * (1 + w) for s, w in zip(scores, third, strict=True)), ball(0))
    return [Comparison(total, most, "the weighted normaliser")]


def _source(place: str, *, read: bool = False) -> Source:
    return Source(
        citation=CITATION,
        place=place,
        fidelity="constants made explicit",
        wording_verified=read,
    )


THEOREMS = (
    Theorem(
        key="wildcat.one-pivot",
        title="what one random pivot leaves of the trace",
        statement="E tr(residual) = tr K - ‖K‖_F²/tr K, pivot s drawn with probability K_ss/tr K.",
        source=_source("randomly pivoted Cholesky, one step"),
        experiments=(
            Symbolic(
                identities=_one_pivot, covers="statement", scope="n = 2, 3, 4, all symmetric K"
            ),
        ),
        expected=Status.PROVED,
        mutant=Symbolic(
            identities=partial(_one_pivot, 1),
            covers="statement",
            scope="entries in place of squares",
        ),
    ),
    Theorem(
        key="wildcat.two-pivots",
        title="what two random pivots leave, against the bound by two steps of Φ",
        statement="E tr(residual after 2 pivots) <= tr Φ(Φ(K)), Φ(A) = A - A²/tr A.",
        source=_source("randomly pivoted Cholesky, the bound of its analysis for two steps"),
        reading="n = 3 and equal kernel values off the diagonal, where the pivots do not matter",
        experiments=(
            _two_pivots(),
            Symbolic(identities=_forms, covers="step", scope="both closed forms, all c"),
        ),
        expected=Status.PROVED,
        mutant=_two_pivots(Fraction(37, 50)),
        uses=("wildcat.one-pivot",),
        remarks=(
            "The ratio of both sides is at most 3/4, attained at c = 0: the bound is not sharp.",
        ),
    ),
    Theorem(
        key="wildcat.best-weights",
        title="the Nyström weights are the best ones",
        statement=(
            "‖φ_l - Σ_s w_s φ_s‖² = K_ll - bᵀ G⁻¹ b + (w - G⁻¹ b)ᵀ G (w - G⁻¹ b), G = K_SS, b = "
            "K_Sl."
        ),
        source=_source("W = K_SS⁻¹ K_S on the first author's page, optimal weights", read=True),
        reading="G positive definite makes the last term non-negative, and 0 at w = G⁻¹ b",
        experiments=(
            Symbolic(identities=_best_weights, covers="statement", scope="|S| = 2, all G, b, w"),
        ),
        expected=Status.PROVED,
        mutant=Symbolic(
            identities=partial(_best_weights, 1), covers="statement", scope="the cross term once"
        ),
    ),
    Theorem(
        key="wildcat.negative-normaliser",
        title="the weighted normaliser of a coreset can be negative",
        statement=(
            "Keys -4/30, -1/30, 5/30 of which the first two are kept, the best weights, the query "
            "-20: the normaliser is below -5.9."
        ),
        source=_source("weighted attention with W 1 in the normaliser, compresskv.py", read=True),
        reading="d = 1, kernel exp(k k'), no temperature; the keys have mean 0, as in the code",
        experiments=(Enclose(certify=_normaliser, covers="statement", scope="this instance"),),
        expected=Status.PROVED,
        mutant=Enclose(
            certify=partial(_normaliser, most=Fraction(-6)),
            covers="statement",
            scope="below -6",
        ),
        uses=("wildcat.best-weights",),
        remarks=(
            "So the output has to be held between the least and the largest value, which the code "
            "computes for the purpose: without that it may lie far outside. The two other coresets "
            "of these keys have positive weights.",
        ),
    ),
)
