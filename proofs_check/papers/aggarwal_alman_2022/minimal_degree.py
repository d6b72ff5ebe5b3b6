"""A. Aggarwal and J. Alman: how small can the degree of a polynomial next to exp be?

"Optimal-Degree Polynomial Approximations for Exponentials and Gaussian Kernel Density Estimation",
CCC 2022. The paper determines, up to constants and in all regimes, the least degree that
approximates e^x or e^{-x} on [0, B] within delta. It draws consequences for batch Gaussian kernel
density estimation.

Here: the exact error of the classical Chebyshev truncation, and bounds of the best error from both
sides, with constants. Further, degrees certified to be minimal.

Read: the abstract, word for word; the bodies of the theorems were not at hand.

    paper                here
    d_{B; delta}(f)      least degree of a P with |P - f| <= delta on [0, B];
                         for f = e^{-x} on [0, B] read e^x on [-B, 0]
    L = log(1/delta)     the same
    (none)               E_n(B): least max |P - e^x| on [-B, B] for degree n;
                         I_k: modified Bessel functions
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.arithmetic import supnorm
from proofs_check.arithmetic.balls import as_fraction, ball, hull
from proofs_check.papers.aggarwal_alman_2022.source import CITATION
from proofs_check.statements.experiment import Comparison, Enclose
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

_CELLS = tuple((Fraction(b), n) for b in (Fraction(1, 2), 1, 2, 4, 8) for n in (2, 4, 8, 12, 16))

# --- the Chebyshev truncation ---------------------------------------------------------------------
# 1. On [-B, B], e^x = I_0(B) + 2 sum_{k >= 1} I_k(B) T_k(x/B) (generating function of the I_k).
# 2. The truncation S_n keeps k <= n, so |e^x - S_n(x)| <= 2 sum_{k > n} I_k(B), since |T_k| <= 1.
# 3. It is attained at x = B, since T_k(1) = 1 and I_k(B) > 0.


def _bessel(k: int, b: Fraction) -> Any:
    return ball(b).bessel_i(ball(k))


def _sum_from(first: int, step: int, b: Fraction, count: int = 60) -> Any:
    """Enclose sum_m I_{first + m step}(b).

    The terms fall at least by half from k >= b on, and I_k(b) <= (b/2)^k e^{b^2/(4k+4)} / k!.
    """
    last = first + step * count
    if last < b:
        msg = (
            f"count(={count}) is too small for b(={b}): the remainder is bounded only beyond k = b"
        )
        raise ValueError(msg)
    total = sum((_bessel(first + m * step, b) for m in range(count)), ball(0))
    rest = 2 * ball(b / 2) ** last * ball(b * b / (4 * last + 4)).exp() / math.factorial(last)
    return total + hull(ball(0), rest)


def _tail(b: Fraction, n: int) -> Any:
    return 2 * _sum_from(n + 1, 1, b)


def truncation(b: Fraction, n: int) -> tuple[list[Fraction], Any]:
    """Monomial coefficients of a rational polynomial next to S_n, and how far from S_n it can be on
    [-b, b].
    """
    from flint import fmpq, fmpq_poly

    scale = fmpq_poly([0, fmpq(b.denominator, b.numerator)])
    before, current = fmpq_poly([1]), scale
    total, away = fmpq_poly([0]), ball(0)
    for k in range(n + 1):
        c = _bessel(k, b) * (1 if k == 0 else 2)
        mantissa, exponent = c.mid().man_exp()
        rounded = Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
        away += abs(c - ball(rounded))
        total += before * fmpq(rounded.numerator, rounded.denominator)
        before, current = current, 2 * scale * current - before
    return [as_fraction(c) for c in total.coeffs()], away


def _truncations(bits: int, skipped: int = 0) -> list[Comparison]:
    comparisons = []
    for b, n in _CELLS:
        coefficients, away = truncation(b, n)
        measured = supnorm.sup_error(coefficients, (-b, b), "additive", bits=max(bits, 192)) + hull(
            -away, away
        )
        value = sum((c * b**k for k, c in enumerate(coefficients)), Fraction(0))
        at_end = ball(b).exp() - ball(value) + hull(-away, away)
        claimed = _tail(b, n + skipped)
        comparisons.append(Comparison(measured, claimed, f"largest error, B = {b}, n = {n}"))
        comparisons.append(Comparison(at_end, claimed, f"error at x = B, B = {b}, n = {n}"))
    return comparisons


_EXACT: dict[str, Any] = {"relation": "=", "radius": Fraction(1, 2**64), "bits": 192}

CHEBYSHEV_TAIL = Theorem(
    key="aa22.chebyshev-tail",
    title="exact error of the Chebyshev truncation of exp",
    statement=(
        "max over [-B, B] of |e^x - S_n(x)| = 2 Σ_{k>n} I_k(B), attained at x = B, for S_n = "
        "I_0(B) + 2 Σ_{k<=n} I_k(B) T_k(x/B)."
    ),
    source=Source(
        citation=CITATION,
        place="not a quotation: Chebyshev expansion of exp, classical",
        fidelity="ours",
    ),
    reading=(
        "equality, every B > 0 and n >= 0; proved in the comment for all of them, certified "
        "independently for the cells listed"
    ),
    experiments=(
        Enclose(
            certify=_truncations,
            covers="statement",
            scope=(
                "B = 1/2, 1, 2, 4, 8 and n = 2, 4, 8, 12, 16: largest error by its certified "
                "critical points"
            ),
            **_EXACT,
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_truncations, skipped=1),
        covers="statement",
        scope="the tail from n + 2 on",
        **_EXACT,
    ),
)

# --- the best error -------------------------------------------------------------------------------
# 1. Let N = n + 1 and take (1/N) sum''_{j=0..N} (-1)^j F(B cos(j pi/N)) of a continuous F on
#    [-B, B], where the first and the last term are halved. This functional has norm 1.
# 2. It vanishes on T_k(x/B), unless k is an odd multiple of N, where it is 1.
# 3. So it vanishes on polynomials of degree n, and E_n(B) is at least its value at e^x.
# 4. By the series of e^x above, that value is 2 sum_m I_{(2m+1)N}(B).
# 5. Above, E_n(B) is at most the error of the truncation.


def _best_errors(bits: int, factor: Fraction = Fraction(1)) -> list[Comparison]:
    comparisons = []
    for b, n in _CELLS:
        coefficients, reference = supnorm.minimax(n, (-b, b), "additive", bits=max(bits, 192))
        least = supnorm.levelled_error(reference, "additive", bits=max(bits, 192))
        most = supnorm.sup_error(coefficients, (-b, b), "additive", bits=max(bits, 192))
        lower = 2 * _sum_from(n + 1, 2 * (n + 1), b, count=8) * ball(factor)
        comparisons.append(
            Comparison(lower, least if factor == 1 else most, f"lower bound, B = {b}, n = {n}")
        )
        comparisons.append(Comparison(most, _tail(b, n), f"upper bound, B = {b}, n = {n}"))
    return comparisons


MINIMAX_BOUNDS = Theorem(
    key="aa22.minimax-bounds",
    title="best error of a polynomial of given degree, from both sides",
    statement="2 Σ_{m>=0} I_{(2m+1)(n+1)}(B) <= E_n(B) <= 2 Σ_{k>n} I_k(B).",
    source=Source(
        citation=CITATION,
        place="not a quotation: bounds with constants where the paper has Θ",
        fidelity="ours",
    ),
    reading=(
        "additive error on [-B, B]; proved in the comment for all B > 0, n >= 0; the cells certify "
        "it against the best polynomial itself"
    ),
    experiments=(
        Enclose(
            certify=_best_errors,
            bits=192,
            covers="statement",
            scope=(
                "B = 1/2, 1, 2, 4, 8 and n = 2, 4, 8, 12, 16: E_n enclosed by a polynomial and by "
                "its reference points"
            ),
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_best_errors, factor=Fraction(21, 20)),
        bits=192,
        covers="statement",
        scope="the lower bound times 1.05",
    ),
    uses=("aa22.chebyshev-tail",),
)

# --- minimal degrees ------------------------------------------------------------------------------

_DEGREES: tuple[tuple[str, Any, Fraction, int], ...] = (
    ("e^x on [0, 4]", ((0, 4), "additive"), Fraction(1, 10**4), 8),
    ("e^-x on [0, 4]", ((-4, 0), "additive"), Fraction(1, 10**4), 6),
    ("e^x on [0, 16]", ((0, 16), "additive"), Fraction(1, 10**4), 22),
    ("e^-x on [0, 16]", ((-16, 0), "additive"), Fraction(1, 10**4), 11),
    ("e^x on [-1, 1]", ((-1, 1), "additive"), Fraction(1, 10**4), 5),
    ("e^x on [-8, 8]", ((-8, 8), "additive"), Fraction(1, 10**6), 20),
    ("e^x on [-2, 2], relative", ((-2, 2), "relative"), Fraction(1, 10**3), 6),
    ("e^x on [-4, 4], relative", ((-4, 4), "relative"), Fraction(1, 10**4), 10),
    ("e^x on [-8, 8], relative", ((-8, 8), "relative"), Fraction(1, 10**4), 16),
)
"""What is approximated, on which interval and in which sense, within what, and the least degree."""


def _degrees(bits: int, lowered: int = 0) -> list[Comparison]:
    comparisons = []
    for name, (interval, kind), delta, degree in _DEGREES:
        coefficients, _ = supnorm.minimax(degree - lowered, interval, kind, bits=max(bits, 192))
        reached = supnorm.sup_error(coefficients, interval, kind, bits=max(bits, 192))
        missed = supnorm.minimax_lower_bound(degree - 1, interval, kind, bits=max(bits, 192))
        comparisons.append(
            Comparison(reached, delta, f"{name}: degree {degree - lowered} reaches {delta}")
        )
        comparisons.append(Comparison(delta, missed, f"{name}: degree {degree - 1} misses {delta}"))
    return comparisons


MINIMAL_DEGREE = Theorem(
    key="aa22.minimal-degree",
    title="least degrees, certified from both sides",
    statement="The least degree is, "
    + "; ".join(f"{name} within {float(delta):g}: {degree}" for name, _, delta, degree in _DEGREES)
    + ".",
    source=Source(
        citation=CITATION,
        place="values of d_{B;δ}, which the paper gives up to constants",
        fidelity="ours",
    ),
    reading=(
        "a polynomial of that degree is exhibited, and no polynomial of one degree less can do it"
    ),
    experiments=(
        Enclose(certify=_degrees, bits=192, covers="statement", scope="the cells of the statement"),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_degrees, lowered=1), bits=192, covers="statement", scope="one degree less"
    ),
)

THEOREMS = (CHEBYSHEV_TAIL, MINIMAX_BOUNDS, MINIMAL_DEGREE)
