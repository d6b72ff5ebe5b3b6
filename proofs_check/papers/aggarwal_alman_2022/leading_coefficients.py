"""Degrees on long intervals and for small errors, next to the leading coefficients of the paper.

Citation and letters: `minimal_degree`. The abstract announces leading coefficients; here are
degrees of given cells, certified from both sides, beside the first-order formulas.

With b = B/2 and t = x - b in [-b, b]: e^x = e^b e^t and e^{-x} = e^{-b} e^{-t}. So the least error
on [0, B] is e^b E_n(b) for e^x and e^{-b} E_n(b) for e^{-x}.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.aggarwal_alman_2022.source import CITATION
from proofs_check.statements.experiment import Comparison, Enclose
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

# --- two bounds that all cells use ----------------------------------------------------------------
# 1. 2 I_{n+1}(b) <= E_n(b) <= 2 sum_{k > n} I_k(b) (aa22.minimax-bounds).
# 2. I_{k-1}(b) - I_{k+1}(b) = (2k/b) I_k(b), the recurrence of the I_k.
# 3. Summed over k > n: sum_{k > n} (2k/b) I_k = I_n + I_{n+1}, a telescope whose terms tend to 0.
# 4. So sum_{k > n} I_k <= (b/(2 (n + 1))) (I_n + I_{n+1}), and E_n <= (b/(n + 1)) (I_n + I_{n+1}).


def _log_least(length: int, n: int, sign: int) -> Any:
    """Logarithm of a lower bound of the least error on [0, length]; sign 1 for e^x."""
    b = ball(Fraction(length, 2))
    return (2 * b.bessel_i(ball(n + 1))).log() + sign * b


def _log_most(length: int, n: int, sign: int) -> Any:
    """Logarithm of an upper bound of the least error on [0, length]."""
    b = ball(Fraction(length, 2))
    both = b.bessel_i(ball(n)) + b.bessel_i(ball(n + 1))
    return (b / (n + 1) * both).log() + sign * b


def _at_least(length: int, accuracy: Any, n: int, sign: int, label: str) -> Comparison:
    """No polynomial of degree n - 1 reaches e^-accuracy."""
    excess = (_log_least(length, n - 1, sign) + accuracy).exp()
    return Comparison(1, excess, f"{label}: {n} is needed")


def _at_most(length: int, accuracy: Any, n: int, sign: int, label: str) -> Comparison:
    excess = (_log_most(length, n, sign) + accuracy).exp()
    return Comparison(excess, 1, f"{label}: {n} is enough")


def _source(place: str) -> Source:
    return Source(citation=CITATION, place=place, fidelity="ours", wording_verified=True)


_ANNOUNCED = "leading coefficients, which the abstract announces; worked out here"

# --- e^x on a long interval -----------------------------------------------------------------------
# 5. ln I_n(b) ~ b (sqrt(1 + mu^2) - mu asinh mu) at n = mu b, as b grows.
# 6. For B >> L both bounds of 1 and 4 lead to the same mu: sqrt(1 + mu^2) + 1 = mu asinh mu.
# 7. Its root is mu = 2.2334..., so the degree is mu B/2 ~ 1.1167 B.

LONG: tuple[tuple[int, int], ...] = ((100, 110), (1000, 1114), (10**4, 11164), (10**5, 111667))
"""B, and the least degree for e^x within 1/2 on [0, B]."""


def _long(_bits: int, *, lowered: int = 0) -> list[Comparison]:
    half = ball(2).log()
    comparisons = []
    for length, degree in LONG:
        label = f"B = {length}"
        comparisons.append(_at_least(length, half, degree - lowered, 1, label))
        comparisons.append(_at_most(length, half, degree - lowered, 1, label))
    return comparisons


def _root(_bits: int) -> list[Comparison]:
    """Ten digits of mu: the equation of 6 falls, as its derivative is -asinh mu."""

    def equation(mu: Fraction) -> Any:
        x = ball(mu)
        return (1 + x * x).sqrt() + 1 - x * x.asinh()

    low, high = Fraction(2233423063, 10**9), Fraction(2233423064, 10**9)
    return [
        Comparison(0, equation(low), "above 0 before the root"),
        Comparison(equation(high), 0, "below 0 behind it"),
    ]


LEADING = Theorem(
    key="aa22.leading-coefficient",
    title="least degrees for e^x on long intervals",
    statement=(
        "The least degree of a P with |P - e^x| <= 1/2 on [0, B] is 110, 1114, 11164 and 111667 "
        "for B = 100, 1000, 10⁴ and 10⁵."
    ),
    source=_source(_ANNOUNCED),
    reading="δ = 1/2; from both sides, by I_k(B/2)",
    experiments=(
        Enclose(certify=_long, covers="statement", scope="the four cells, δ = 1/2", bits=192),
        Enclose(certify=_root, covers="step", scope="ten digits of μ, for the remark", bits=192),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_long, lowered=1), covers="statement", scope="one degree less", bits=192
    ),
    uses=("aa22.minimax-bounds",),
    remarks=(
        "The quotients 1.1, 1.114, 1.1164, 1.11667 approach μ/2 = 1.116711..., μ the root of "
        "sqrt(1 + μ²) + 1 = μ asinh μ: the coefficient of B in d(e^x) as B/L grows, by the "
        "asymptotics of I_n. That limit is argued in the comment, not decided here.",
    ),
)

# --- e^-x on a long interval ----------------------------------------------------------------------
# 8. For sqrt(b) << n << b, ln I_n(b) = b - n^2/(2 b) + smaller terms.
# 9. So e^{-b} I_n(b) = e^{-L} at n^2 = 2 b L = B L, to leading order.

DECAYING: tuple[tuple[int, int], ...] = (
    (10**4, 100),
    (10**5, 1000),
    (10**6, 1000),
    (10**6, 10**4),
    (10**8, 10**4),
)
"""B and L with 1 << L << B."""


def _decaying(_bits: int, *, low: int = 97, high: int = 101) -> list[Comparison]:
    comparisons = []
    for length, accuracy in DECAYING:
        label, root = f"B = {length}, L = {accuracy}", math.isqrt(length * accuracy)
        comparisons.append(_at_least(length, accuracy, low * root // 100, -1, label))
        comparisons.append(_at_most(length, accuracy, high * (root + 1) // 100, -1, label))
    return comparisons


LEADING_DECAYING = Theorem(
    key="aa22.leading-coefficient-decaying",
    title="least degrees for e^-x on long intervals",
    statement=(
        "The least degree for e^-x within e^-L on [0, B] lies between 0.97 sqrt(B L) and 1.01 "
        "sqrt(B L) for (B, L) = (10⁴, 10²), (10⁵, 10³), (10⁶, 10³), (10⁶, 10⁴), (10⁸, 10⁴)."
    ),
    source=_source(_ANNOUNCED),
    reading="1 << L << B, where the abstract has d(e^-x) = Θ(sqrt(B L)): the coefficient is 1",
    experiments=(Enclose(certify=_decaying, covers="statement", scope="the five cells", bits=192),),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_decaying, low=101),
        covers="statement",
        scope="at least 1.01 sqrt(B L)",
        bits=192,
    ),
    uses=("aa22.minimax-bounds",),
    remarks=("That the quotient tends to 1 is argued in the comment, not decided here.",),
)

# --- small errors on a short interval -------------------------------------------------------------
# 10. For n >> b, ln I_n(b) = n ln(b/2) - ln n! + o(1), about -n (ln(2 n/b) - 1).
# 11. So n (ln(2 n/b) - 1) is about L, whose solution is (1 + o(1)) L/ln(L/B) as L/B grows.

SHORT: tuple[tuple[int, int, int, int], ...] = (
    (1, 10**3, 178, 178),
    (1, 10**5, 10379, 10379),
    (1, 10**8, 6237382, 6237382),
    (100, 10**5, 17941, 17926),
    (100, 10**8, 8518691, 8518683),
)
"""B and L with L >> B, and the least degrees for e^x and e^-x."""


def _short(_bits: int, *, lowered: int = 0) -> list[Comparison]:
    comparisons = []
    for length, accuracy, growing, decaying in SHORT:
        for degree, sign in ((growing, 1), (decaying, -1)):
            label = f"B = {length}, L = {accuracy}, sign {sign}"
            comparisons.append(_at_least(length, accuracy, degree - lowered, sign, label))
            comparisons.append(_at_most(length, accuracy, degree - lowered, sign, label))
    return comparisons


LEADING_SHORT = Theorem(
    key="aa22.leading-coefficient-short",
    title="least degrees for very small errors",
    statement=(
        "The least degrees for e^x and e^-x within e^-L on [0, B] are 178 and 178 at (B, L) = (1, "
        "10³); 10379 and 10379 at (1, 10⁵); 6237382 and 6237382 at (1, 10⁸); 17941 and 17926 at "
        "(100, 10⁵); 8518691 and 8518683 at (100, 10⁸)."
    ),
    source=_source(_ANNOUNCED),
    reading="L >> B, where the abstract has Θ(L / log(L/B)) for both functions",
    experiments=(Enclose(certify=_short, covers="statement", scope="the ten cells", bits=192),),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_short, lowered=1), covers="statement", scope="one degree less", bits=192
    ),
    uses=("aa22.minimax-bounds",),
    remarks=(
        "In units of L/ln(L/B) these are 1.23, 1.19, 1.15, 1.24 and 1.18: the coefficient tends "
        "to 1 so slowly that n (ln(4 n/B) - 1) = L is the better formula.",
    ),
)

THEOREMS = (LEADING, LEADING_DECAYING, LEADING_SHORT)
