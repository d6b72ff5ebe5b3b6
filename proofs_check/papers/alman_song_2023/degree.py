"""The degree that Alman & Song allow for exp on [-R^2, R^2], as remembered and as it must be.

Citation: `attention_error`.

R           bound on the entries of Q and K, so that |q_i . k_j / d| <= R^2 = b
L           log(1/eps); eps is the relative error |P(x) - e^x| <= eps e^x on [-b, b]
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.arithmetic.balls import ball, hull
from proofs_check.papers.alman_song_2023.source import CITATION
from proofs_check.papers.shared.searches import search_by
from proofs_check.statements.experiment import Assumption, Comparison, Enclose, Instance
from proofs_check.statements.theorem import ByHand, Source, Theorem
from proofs_check.statements.verdict import Status

# What is necessary, E_n(b) being the least error of degree n on [-b, b] and M the printed maximum:
#
# 1. |P - e^x| <= eps e^x <= e^{b - L} on [-b, b], so E_n(b) <= e^{b - L}.
# 2. E_n(b) >= 2 I_{n+1}(b) >= 2 (b/2)^{n+1} / (n+1)! (aa22.minimax-bounds, first term of I_{n+1}).
# 3. E_n falls with n, and (b/2)^m / Gamma(m+1) falls with m >= b/2.
# 4. So no n <= C M is enough if 2 (b/2)^m / Gamma(m+1) > e^{b - L} at m = C M + 1 > b/2.
# 5. At L = R^2 ln R the printed M = max{L / ln(L/R), R^2} is R^2 (1 + o(1)).
# 6. There the left side of 4 is about e^{-C b (ln(2C) - 1)}: any C fails once
#        ln R > C (ln(2C) - 1) + 1.
#
# Numbers are kept small by the unit b: (2 (b/2)^m / (Gamma(m+1) e^{b-L}))^{1/b} is held against 1.


def _printed_maximum(radius: Any, accuracy: Any) -> Any:
    return (accuracy / (accuracy / radius).log()).max(radius**2)


def _least_error(instance: Instance, constant: int) -> tuple[Any, int]:
    """Least error over permitted error, to the power 1/b, for degree C M, R = 2^k, L = R^2 ln R;
    against 1.
    """
    radius = ball(2 ** instance["log2_radius"])
    b, accuracy = radius**2, radius**2 * radius.log()
    m = constant * _printed_maximum(radius, accuracy) + 1
    log_ratio = ball(2).log() + m * (b / 2).log() - (m + 1).lgamma() - b + accuracy
    return (log_ratio / b).exp(), 1


def _radii() -> Any:
    from hypothesis import strategies as st

    return st.fixed_dictionaries({"log2_radius": st.integers(1, 120)})


def _is_radius(instance: Instance) -> bool:
    return isinstance(instance["log2_radius"], int) and instance["log2_radius"] >= 1


_RADIUS = Assumption(
    text="R = 2^k, k >= 1, and ε = R^(-R²), so that L = R² ln R",
    predicate=_is_radius,
    generator=_radii,
)

DEGREE = Theorem(
    key="as23.degree",
    title="degree with R where R² belongs",
    statement=(
        "For every R >= 2 and ε some P of degree at most C max{L / log(L/R), R²} has |P(x) - e^x| "
        "<= ε e^x on [-R², R²]; L = log(1/ε), C = 10."
    ),
    source=Source(
        citation=CITATION,
        place="Lemma 3.4, g = O(max{log(1/ε) / log(log(1/ε)/R), R²})",
        fidelity="constants made explicit",
    ),
    reading=(
        "on the line L = R² ln R; the constant is chosen, and every C fails once ln R > C (ln 2C - "
        "1) + 1"
    ),
    alternative_readings=(
        "With R = o(sqrt(log n)) and ε = 1/poly(n), where the paper uses it, R and R² give the "
        "same order.",
    ),
    assumptions=(_RADIUS,),
    experiments=(
        search_by(
            partial(_least_error, constant=10),
            instances=_radii,
            assumptions=(_RADIUS,),
            examples=({"log2_radius": 40},),
            scope="R = 2^k, L = R² ln R: (least error / permitted error)^(1/R²) against 1",
        ),
    ),
    expected=Status.REFUTED,
    mutant=search_by(
        partial(_least_error, constant=4),
        instances=_radii,
        assumptions=(_RADIUS,),
        examples=({"log2_radius": 12},),
        scope="C = 4",
    ),
    uses=("aa22.minimax-bounds",),
    repaired_by="as23.degree-corrected",
    by_hand=ByHand(
        instance=(
            "R = 2⁴⁰, b = R², L = b ln R, ln R = 27.7: L / ln(L/R) = 0.89 b, so the maximum is b "
            "and degree 10 b is allowed."
        ),
        shows=(
            "No polynomial of degree n has an error below 2 (b/2)^(n+1)/(n+1)! on [-b, b], which "
            "is (e/20)^(10 b) at n = 10 b, up to factors whose b-th root is 1; permitted is at "
            "most e^(b - L) = (e/R)^b. But (e/20)^10 = 2.15e-9 and e/R = 2.47e-12."
        ),
    ),
    remarks=(
        "It refutes the degree, for any polynomial; a matrix of low rank close to exp may exist by "
        "other means.",
    ),
)

# --- the degree that is enough --------------------------------------------------------------------
# 1. |P_g - e^x| e^{-x} <= b^m e^b / m! with m = g + 1 (Lagrange's remainder).
# 2. b^m e^b / m! <= exp(b - m (ln(m/b) - 1)), since m! >= (m/e)^m.
# 3. So m (ln(m/b) - 1) >= b + L is enough; the left side grows for m >= b. Let y = L/b.
# 4. For y <= e take m = 6 b: it is enough that 6 (ln 6 - 1) >= 1 + e.
# 5. For y >= e take m = c L / ln y with c = 3, and u = 1 / ln y in (0, 1]. Divided by L, 3 reads
#        c (1 + u ln u + u (ln c - 1)) >= 1 + e^{-1/u}.
# 6. At u = 0 the enclosure uses that u ln u lies in [-1/e, 0] on [0, 1], and that e^{-1/u}
#    increases.


def _allowed(c: int, u: Any) -> Any:
    log_term = u * u.log() if u > 0 else hull(-(ball(-1).exp()), ball(0))
    return c * (1 + log_term + u * (ball(c).log() - 1))


def _needed(u: Any) -> Any:
    return 1 + ((-1 / u).exp() if u > 0 else hull(ball(0), (-1 / u.upper()).exp()))


def _flat_case(_bits: int) -> list[Comparison]:
    return [Comparison(1 + ball(1).exp(), 6 * (ball(6).log() - 1), "m = 6 b")]


_U = ((Fraction(0), Fraction(1)),)

DEGREE_CORRECTED = Theorem(
    key="as23.degree-corrected",
    title="a degree that is enough on [-R², R²]",
    statement=(
        "The Taylor polynomial of degree g, g + 1 >= 3 L / log(L/R²) if L >= e R² and g + 1 >= 6 "
        "R² otherwise, has |P_g(x) - e^x| <= ε e^x on [-R², R²]."
    ),
    source=Source(
        citation=CITATION,
        place="Lemma 3.4 with R² for R and explicit constants; proof ours",
        fidelity="corrected",
    ),
    reading="every R > 0 and 0 < ε < 1, L = log(1/ε)",
    experiments=(
        Enclose(
            lhs=_needed,
            rhs=partial(_allowed, 3),
            box=_U,
            scope="every L >= e R² (u = 1 / log(L/R²) in [0, 1])",
        ),
        Enclose(certify=_flat_case, scope="every L <= e R²"),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        lhs=_needed, rhs=partial(_allowed, 1), box=_U, scope="L / log(L/R²) without the 3"
    ),
    remarks=("The constants 3 and 6 are chosen for a short proof, not the least possible.",),
)

THEOREMS = (DEGREE, DEGREE_CORRECTED)
