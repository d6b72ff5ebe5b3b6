"""Our own statements about polynomials next to exp: Taylor, Chebyshev, positive coefficients.

They are the error of the Taylor polynomial exactly, truncated Chebyshev series below zero, and
near-best polynomials with positive coefficients.

P_g           the Taylor polynomial of degree g
S_n           the truncated Chebyshev series on [-B, B]
E_T(B, g)     max over [-B, B] of |P_g e^-x - 1|
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.arithmetic import supnorm
from proofs_check.arithmetic.balls import Ball, ball
from proofs_check.papers.aggarwal_alman_2022.degree_table import HALF_WIDTHS, TOLERANCES
from proofs_check.papers.aggarwal_alman_2022.minimal_degree import (
    truncation as chebyshev_truncation,
)
from proofs_check.papers.shared import softmax_gradient as layer
from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

_HERE = here(__name__, "approxattn.exponential.taylor")

_CELLS = tuple((Fraction(b), g) for b in (Fraction(1, 2), 1, 4, 8) for g in (0, 1, 2, 5, 8, 16))


def _taylor(g: int) -> list[Fraction]:
    return [Fraction(1, math.factorial(k)) for k in range(g + 1)]


# --- the relative error, exactly ------------------------------------------------------------------
# 1. (P_g e^-x - 1)' = (P_{g-1} - P_g) e^-x = -x^g e^-x / g!.
# 2. So at x = -B the error is (-1)^g times
#        int_0^B t^g e^t dt / g! = (B^{g+1}/g!) int_0^1 u^g e^{uB} du.
# 3. At x = B it is int_0^B t^g e^-t / g! dt in size, which is smaller.
# 4. int_0^1 u^g e^{uB} du = sum_m B^m / (m! (g + 1 + m)).
# 5. It lies between e^{B (g+1)/(g+2)} / (g+1) (Jensen) and e^B / (g+1).


def _integral(b: Fraction, g: int, terms: int = 200) -> Ball:
    """Enclose (B^{g+1}/g!) int_0^1 u^g e^{uB} du by its series; the terms beyond the last fall
    faster than by half.
    """
    total, term = Fraction(0), Fraction(1)
    for m in range(terms):
        total += term / (g + 1 + m)
        term = term * b / (m + 1)
    factor = b ** (g + 1) / math.factorial(g)
    return ball(factor * total).union(ball(factor * (total + 2 * term)))


def _taylor_errors(_bits: int, shift: int = 0) -> list[Comparison]:
    return [
        Comparison(
            supnorm.sup_error(_taylor(g), (-b, b), "relative"),
            _integral(b, g + shift),
            f"B = {b}, g = {g}",
        )
        for b, g in _CELLS
    ]


def _elementary(_bits: int) -> list[Comparison]:
    comparisons = []
    for b, g in _CELLS:
        error, size = _integral(b, g), ball(b ** (g + 1) / math.factorial(g + 1))
        comparisons.append(
            Comparison(error, size * ball(b).exp(), f"upper bound, B = {b}, g = {g}")
        )
        comparisons.append(
            Comparison(
                size * ball(b * Fraction(g + 1, g + 2)).exp(),
                error,
                f"lower bound, B = {b}, g = {g}",
            )
        )
    return comparisons


_EXACT: dict[str, Any] = {"relation": "=", "radius": Fraction(1, 2**60), "bits": 256}

TAYLOR_ERROR = Theorem(
    key="ours.taylor-error",
    title="relative error of the Taylor polynomial, exactly",
    statement=(
        "E_T(B, g) = (B^(g+1)/g!) ∫₀¹ u^g e^(uB) du, attained at x = -B; it lies between B^(g+1) "
        "e^(B(g+1)/(g+2))/(g+1)! and B^(g+1) e^B/(g+1)!."
    ),
    source=_HERE,
    reading=(
        "equality for every B > 0 and g >= 0, proved in the comment; the cells certify it against "
        "the enclosed maximum"
    ),
    experiments=(
        Enclose(
            certify=_taylor_errors,
            covers="statement",
            scope=(
                "B = 1/2, 1, 4, 8 and g = 0, 1, 2, 5, 8, 16: maximum by certified critical points"
            ),
            **_EXACT,
        ),
        Enclose(
            certify=_elementary, covers="statement", scope="the elementary bounds in the same cells"
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_taylor_errors, shift=1),
        covers="statement",
        scope="the error of degree g + 1",
        **_EXACT,
    ),
    uses=("ours.even-taylor",),
)

# --- Poisson tail ---------------------------------------------------------------------------------


def _poisson(g: int, shift: int = 0) -> Iterator[Identity]:
    """d/dx of both sides, as multiples of e^-x, and the value at 0: sum_{k > g} x^k/k! e^-x is 1 -
    P_g e^-x because exp is its series.
    """
    from sympy import QQ, ring

    _, x = ring("x", QQ)
    taylor = sum((x**k / math.factorial(k) for k in range(g + 1)), 0 * x)
    # of the sum of g + 1 exponential waiting times, times e^x
    density = x ** (g + shift) / math.factorial(g + shift)
    yield Identity(taylor - taylor.diff(x), density, f"(1 - P_{g} e^-x)' = x^{g} e^-x / {g}!")
    yield Identity(1 - taylor.evaluate([(x, 0)]), 0, f"P_{g}(0) = 1")


def _poisson_cases(shift: int = 0) -> Iterator[Identity]:
    for g in (0, 1, 2, 5, 12):
        yield from _poisson(g, shift)


POISSON = Theorem(
    key="ours.taylor-poisson",
    title="the relative error as a Poisson tail",
    statement=(
        "1 - P_g(x) e^-x = Pr[Poisson(x) > g] for x >= 0, with derivative x^g e^-x/g!: so 0 <= 1 - "
        "P_g e^-x < 1 there, for odd and even g."
    ),
    source=_HERE,
    reading=(
        "Pr[Poisson(x) <= g] = Σ_{k<=g} e^-x x^k/k! by definition; the identity decided is that of "
        "the derivative, and the value at 0"
    ),
    experiments=(
        Symbolic(identities=_poisson_cases, covers="statement", scope="g = 0, 1, 2, 5, 12, all x"),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_poisson_cases, 1),
        covers="statement",
        scope="derivative x^(g+1) e^-x/(g+1)!",
    ),
)

# --- smallest Taylor degrees ----------------------------------------------------------------------

TAYLOR_DEGREES: tuple[tuple[int, ...], ...] = (
    (3, 4, 5, 6, 7, 8, 8, 9, 10, 11, 11),
    (5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (8, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20),
    (15, 17, 19, 20, 21, 23, 24, 25, 26, 28, 29),
    (30, 31, 33, 34, 36, 37, 39, 40, 42, 43, 44),
    (58, 60, 62, 63, 65, 66, 68, 70, 71, 73, 74),
)
"""Least g with E_T(B, g) <= eps; rows by B, columns by eps, as in `degree_table`."""


def _degrees(_bits: int, lowered: int = 0) -> list[Comparison]:
    """Every smaller degree is excluded by itself: below B the error rises with g before it
    falls.
    """
    comparisons = []
    for b, row in zip(HALF_WIDTHS, TAYLOR_DEGREES, strict=True):
        errors = [_integral(b, g) for g in range(max(row) + 1)]
        for eps, g in zip(TOLERANCES, (g - lowered for g in row), strict=True):
            cell = f"B = {b}, eps = {float(eps):g}"
            comparisons.append(Comparison(errors[g], eps, f"{cell}: degree {g} reaches eps"))
            comparisons.extend(
                Comparison(eps, errors[h], f"{cell}: degree {h} misses eps") for h in range(g)
            )
    return comparisons


DEGREES = Theorem(
    key="ours.taylor-degrees",
    title="smallest Taylor degrees in 66 cells",
    statement=(
        "The least g with E_T(B, g) <= eps is the one in the table: 74 at B = 16, eps = 1e-12, "
        "where 39 is the least of any polynomial."
    ),
    source=_HERE,
    reading="every smaller degree is excluded, since E_T rises with g before it falls",
    experiments=(
        Enclose(
            certify=_degrees,
            bits=192,
            covers="statement",
            scope="B = 1/2, 1, 2, 4, 8, 16 and eps = 1e-2, ..., 1e-12",
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_degrees, lowered=1), bits=192, covers="statement", scope="one degree less"
    ),
    uses=("ours.taylor-error", "aa22.minimal-degrees-table"),
)

# --- truncated Chebyshev series below zero --------------------------------------------------------

_LAST_NEGATIVE = ((2, 2), (4, 6), (8, 15), (12, 24))
"""B, and the largest n for which S_n is not positive on all of [-B, B]."""


def _value(coefficients: list[Fraction], x: Fraction) -> Fraction:
    return sum((c * x**k for k, c in enumerate(coefficients)), Fraction(0))


def _negative(_bits: int, shift: int = 0) -> list[Comparison]:
    """At some rational point S_n <= 0, for every n up to the last; from the next on the relative
    error is below 1.
    """
    comparisons = []
    for b, last in _LAST_NEGATIVE:
        for n in range(1, last + shift + 1):
            coefficients, away = chebyshev_truncation(Fraction(b), n)
            # on [-B, -B/2]
            lowest = min(_value(coefficients, Fraction(-b * i, 256)) for i in range(128, 257))
            comparisons.append(
                Comparison(ball(lowest) + away, 0, f"S_{n} <= 0 somewhere on [-{b}, {b}]")
            )
    return comparisons


def _positive(_bits: int) -> list[Comparison]:
    """S_n >= (1 - e) e^x > 0 when its relative error e is below 1; `away` is its distance from the
    rational polynomial enclosed.
    """
    comparisons = []
    for b, last in _LAST_NEGATIVE:
        for n in range(last + 1, last + 4):
            coefficients, away = chebyshev_truncation(Fraction(b), n)
            error = (
                supnorm.sup_error(coefficients, (-b, b), "relative", bits=256)
                + away * ball(b).exp()
            )
            comparisons.append(Comparison(error, 1, f"S_{n} > 0 on [-{b}, {b}]"))
    return comparisons


CHEBYSHEV_SIGN = Theorem(
    key="ours.chebyshev-positivity",
    title="where a truncated Chebyshev series of exp is positive",
    statement=(
        "S_n takes a value <= 0 on [-B, B] for 1 <= n <= 2 (B = 2), 6 (B = 4), 15 (B = 8), 24 (B = "
        "12), and is positive there for the next three n."
    ),
    source=here(__name__, how="why the bases of approxattn.Polynomial are Taylor and minimax"),
    reading="a point with S_n <= 0 is exhibited; positivity by a relative error below 1",
    experiments=(
        Enclose(
            certify=_negative,
            bits=256,
            covers="statement",
            scope="every n up to the last, B = 2, 4, 8, 12",
        ),
        Enclose(
            certify=_positive,
            bits=256,
            covers="statement",
            scope="the next three n, B = 2, 4, 8, 12",
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_negative, shift=1), bits=256, covers="statement", scope="one n further"
    ),
    uses=("aa22.chebyshev-tail",),
)

# --- positive coefficients ------------------------------------------------------------------------

_GRID = tuple((Fraction(b), g) for b in (1, 2, 4, 8) for g in range(2, 17, 2))


def _positive_coefficients(_bits: int, least: Fraction = Fraction(0)) -> list[Comparison]:
    """Coefficients above `least` times those of exp, and the error next to the best."""
    comparisons = []
    for b, g in _GRID:
        coefficients, reference = supnorm.minimax(g, (-b, b), "relative")
        error = supnorm.sup_error(coefficients, (-b, b), "relative")
        best = supnorm.levelled_error(reference, "relative")
        share = min(c * math.factorial(t) for t, c in enumerate(coefficients))
        comparisons.append(Comparison(least, share, f"coefficients, B = {b}, g = {g}"))
        comparisons.append(
            Comparison(
                error,
                best * ball(1 + Fraction(1, 10**6)),
                f"within a millionth of the best, B = {b}, g = {g}",
            )
        )
    return comparisons


POSITIVE = Theorem(
    key="ours.positive-coefficients",
    title="near-best polynomials with positive coefficients",
    statement=(
        "For B = 1, 2, 4, 8 and g = 2, 4, ..., 16 there is a polynomial with all coefficients "
        "positive whose relative error on [-B, B] is within a factor 1 + 1e-6 of the least "
        "possible, so that symmetric features sqrt(c_α) q^α serve."
    ),
    source=here(__name__, "approxattn.exponential.minimax"),
    reading="in the cells; for all B and g it is an observation that we cannot prove",
    experiments=(
        Enclose(
            certify=_positive_coefficients,
            bits=192,
            covers="statement",
            scope="B = 1, 2, 4, 8 and g = 2, 4, ..., 16",
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_positive_coefficients, least=Fraction(1, 220)),
        bits=192,
        covers="statement",
        scope="coefficients above 1/220 of those of exp: the least share is 1/231",
    ),
)

# --- the kernel of one degree more ----------------------------------------------------------------
# 1. P'_{g+1} = P_g, so the gradient in q of sum_j P_{g+1}(q . k_j) (G . h_j) is
#        sum_j P_g(q . k_j) (G . h_j) k_j.
# 2. Degree 3 g + 3 + 2 in all: for g <= 5 identity testing would err with probability below 2^-56.


def _degree_raising(n: int, d: int, g: int, raised: int = 1) -> Iterator[Identity]:
    source = layer.indeterminates({"q": (1, d), "k": (n, d), "z": (n, 1)})
    q, k, z = source("q", 1, d)[0], source("k", n, d), source("z", n, 1)[:, 0]
    scores = [np.sum(q * row) for row in k]
    total = sum((w * _series(s, g + raised) for w, s in zip(z, scores, strict=True)), 0 * q[0])
    for c in range(d):
        claimed = sum(
            (w * _series(s, g) * row[c] for w, s, row in zip(z, scores, k, strict=True)), 0 * q[0]
        )
        yield Identity(total.diff(q[c]), claimed, f"derivative in q_{c}")


def _series(s: Any, g: int) -> Any:
    return sum((s**t / math.factorial(t) for t in range(1, g + 1)), 0 * s + 1)


def _raised(raised: int = 1) -> Iterator[Identity]:
    return itertools.chain(_degree_raising(3, 2, 2, raised), _degree_raising(2, 1, 5, raised))


RAISING = Theorem(
    key="ours.degree-raising",
    title="gradients from the features of one degree more",
    statement=(
        "Σ_j P_g(q·k_j) z_j k_j = ∇_q Σ_j P_{g+1}(q·k_j) z_j, z_j = G·h_j: the plug-in gradient in "
        "O(n r d) without a product of width r d."
    ),
    source=here(__name__, "approxattn.methods.polynomials.gradient"),
    experiments=(
        Symbolic(
            identities=_raised,
            covers="statement",
            scope="n = 3, d = 2, g = 2, and n = 2, d = 1, g = 5, all inputs",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_raised, 2), covers="statement", scope="P_{g+2} in place of P_{g+1}"
    ),
    uses=("as23.low-rank",),
)

THEOREMS = (TAYLOR_ERROR, POISSON, DEGREES, CHEBYSHEV_SIGN, POSITIVE, RAISING)
