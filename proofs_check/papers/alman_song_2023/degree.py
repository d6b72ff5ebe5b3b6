"""The degree that Alman & Song allow for exp on [-R^2, R^2], as remembered and as it must be.

Citation: `attention_error`.

R           bound on the entries of Q and K, so that |q_i . k_j / d| <= R^2 = b
L           log(1/eps); eps is the relative error |P(x) - e^x| <= eps e^x on [-b, b]
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.arithmetic import supnorm
from proofs_check.arithmetic.balls import ball, hull
from proofs_check.papers.alman_song_2023.source import CITATION, RESTATED
from proofs_check.papers.shared.searches import search_by
from proofs_check.statements.experiment import (
    Assumption,
    Comparison,
    Enclose,
    Falsify,
    Instance,
)
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


def least_over_permitted(log2_radius: int, constant: int) -> float:
    """Return that number as a float, for a figure."""
    return float(_least_error({"log2_radius": log2_radius}, constant)[0].mid())


def _enough(instance: Instance) -> tuple[Any, int]:
    """The same for the degree that as23.degree-corrected names, against 1."""
    radius = ball(2 ** instance["log2_radius"])
    b, quotient = radius**2, radius.log()
    steep = ball(Fraction(11, 5)) * b * quotient / quotient.log()
    m = steep if quotient >= ball(1).exp() else ball(Fraction(11, 2)) * b
    log_ratio = ball(2).log() + m * (b / 2).log() - (m + 1).lgamma() - b + b * quotient
    return (log_ratio / b).exp(), 1


_EXAMPLES: tuple[Instance, ...] = ({"log2_radius": 40},)


def _search(confirm: Any, scope: str) -> Falsify:
    return search_by(
        confirm,
        instances=_radii,
        assumptions=(_RADIUS,),
        examples=_EXAMPLES,
        scope=scope,
    )


DEGREE = Theorem(
    key="as23.degree",
    title="degree with R where R² belongs",
    statement=(
        "For every R >= 2 and ε some P of degree at most C max{L / log(L/R), R²} has |P(x) - e^x| "
        "<= ε e^x on [-R², R²]; L = log(1/ε), C = 10."
    ),
    source=Source(
        citation=RESTATED,
        place="Lemma I.1 (Lemma 3.4 there), g = O(max{log(1/ε) / log(log(1/ε)/R), R²})",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading=(
        "on the line L = R² ln R; the constant is chosen, and every C fails once ln R > C (ln 2C - "
        "1) + 1"
    ),
    alternative_readings=(
        "With R = o(sqrt(log n)) and ε = 1/poly(n), where the paper uses it, R and R² both give a "
        "degree of o(log n), which is all that is needed there. The orders differ even so: with R² "
        "= L/ω² the two formulas have the quotient ln(L/R)/ln(L/R²), 2.5 at L = 10⁸, ω = 10, and "
        "50 at L = 10⁴⁰⁰, ω = 100.",
        "R as a bound of the scores in place of the entries: true up to constants, as "
        "as23.degree-corrected with R for R².",
    ),
    assumptions=(_RADIUS,),
    experiments=(
        _search(
            partial(_least_error, constant=10),
            "R = 2^k, L = R² ln R: (least error / permitted error)^(1/R²) against 1",
        ),
    ),
    expected=Status.REFUTED,
    mutant=_search(partial(_least_error, constant=11), "C = 11"),
    uses=("aa22.minimax-bounds",),
    repaired_by="as23.degree-corrected",
    repaired=_search(_enough, "the degree of as23.degree-corrected: the lower bound of its error"),
    kind="printed",
    defence=(
        "The O hides a constant, and the theorem of the paper needs only o(log n), which is true "
        "with R as with R². But no constant mends the formula, and the lemma is stated for all ε "
        "and R. It claims a matrix of low rank, not a polynomial: that such a matrix exists by "
        "other means is not excluded."
    ),
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
)

# --- the degree that is enough --------------------------------------------------------------------
# 1. |P_g - e^x| e^{-x} <= b^m e^b / m! with m = g + 1 (Lagrange's remainder).
# 2. b^m e^b / m! <= exp(b - m (ln(m/b) - 1)), since m! >= (m/e)^m.
# 3. So m (ln(m/b) - 1) >= b + L is enough; the left side grows for m >= b. Let y = L/b.
# 4. For y <= e take m = 11 b/2: it is enough that (11/2) (ln(11/2) - 1) >= 1 + e.
# 5. For y >= e take m = c L / ln y with c = 11/5, and u = 1 / ln y in (0, 1]. Divided by L, 3 reads
#        c (1 + u ln u + u (ln c - 1)) >= 1 + e^{-1/u}.
# 6. At u = 0 the enclosure uses that u ln u lies in [-1/e, 0] on [0, 1], and that e^{-1/u}
#    increases.
# 7. Both constants are nearly the least for this argument: 5 fails at c = 2.15, 4 at 5.42.

_STEEP, _FLAT = Fraction(11, 5), Fraction(11, 2)


def _allowed(u: Any, c: Fraction) -> Any:
    log_term = u * u.log() if u > 0 else hull(-(ball(-1).exp()), ball(0))
    return ball(c) * (1 + log_term + u * (ball(c).log() - 1))


def _needed(u: Any) -> Any:
    return 1 + ((-1 / u).exp() if u > 0 else hull(ball(0), (-1 / u.upper()).exp()))


def _flat_case(_bits: int) -> list[Comparison]:
    flat = ball(_FLAT)
    return [Comparison(1 + ball(1).exp(), flat * (flat.log() - 1), "m = 11 b/2")]


_CELLS = ((1, 3), (1, 12), (2, 6), (4, 4), (4, 20), (8, 8), (8, 40))
"""b = R^2 and L."""


def _taylor_errors(bits: int) -> list[Comparison]:
    """The largest |P_g e^-x - 1| on [-b, b], by its certified critical points, against e^-L."""
    comparisons = []
    for b, accuracy in _CELLS:
        steep = accuracy >= b * ball(1).exp()
        quotient = ball(Fraction(accuracy, b)).log()
        m = ball(_STEEP * accuracy) / quotient if steep else ball(_FLAT * b)
        degree = int(m.ceil().unique_fmpz()) - 1
        coefficients = [Fraction(1, math.factorial(k)) for k in range(degree + 1)]
        error = supnorm.sup_error(coefficients, (-b, b), "relative", bits=max(bits, 192))
        cell = f"R² = {b}, L = {accuracy}, degree {degree}"
        comparisons.append(Comparison(error, ball(-accuracy).exp(), cell))
    return comparisons


_BOX: dict[str, Any] = {"lhs": _needed, "box": ((Fraction(0), Fraction(1)),)}

DEGREE_CORRECTED = Theorem(
    key="as23.degree-corrected",
    title="a degree that is enough on [-R², R²]",
    statement=(
        "The Taylor polynomial of degree g, g + 1 >= (11/5) L / log(L/R²) if L >= e R² and g + 1 "
        ">= (11/2) R² otherwise, has |P_g(x) - e^x| <= ε e^x on [-R², R²]."
    ),
    source=Source(
        citation=CITATION,
        place="Lemma 3.4 with R² for R and explicit constants; proof ours",
        fidelity="corrected",
    ),
    reading="every R > 0 and 0 < ε < 1, L = log(1/ε)",
    experiments=(
        Enclose(
            certify=_taylor_errors,
            covers="statement",
            bits=192,
            scope="(R², L) = " + ", ".join(map(str, _CELLS)),
        ),
        Enclose(
            rhs=partial(_allowed, c=_STEEP),
            covers="step",
            scope="every L >= e R² (u = 1 / log(L/R²) in [0, 1])",
            **_BOX,
        ),
        Enclose(certify=_flat_case, covers="step", scope="every L <= e R²"),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        rhs=partial(_allowed, c=Fraction(21, 10)),
        covers="statement",
        scope="21/10 in place of 11/5, in the inequality for every L >= e R²",
        **_BOX,
    ),
)

THEOREMS = (DEGREE, DEGREE_CORRECTED)
