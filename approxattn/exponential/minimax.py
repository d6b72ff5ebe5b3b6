"""The polynomial of least relative error to exp on [-B, B], by Remez exchange in decimal arithmetic
of the standard library.

Symbols. E(x) = P(x) e^{-x} - 1 is the error of a polynomial P of degree g, c_t its coefficients,
c~_t the same rounded to float64.

Where the extremes are.

1. The best P makes |E| equal and alternating at g + 2 points (Chebyshev; e^{-x} x^t is a Chebyshev
   system).
2. E' = (P' - P) e^{-x}. So the extremes of E inside the interval are the real roots of P' - P, of
   which there are at most g.
3. Between g + 2 alternating points E has g + 1 zeros, so E' has at least g.
4. By 2 and 3 there are exactly g: one between each two neighbouring zeros of E. The ends -B and B
   are the other two alternation points.
5. Every root is therefore bracketed before it is sought, and none can be missed.

What is certified is the polynomial used, with its coefficients rounded to float64.

1. If the signs of its P' - P still change g times, these are all its extremes: a polynomial of
   degree g has no more roots. Then max |E| is the largest of g + 2 values.
2. If they do not, rounding is larger than the error of the unrounded polynomial. The sum of both is
   the bound: max |E| + sum_t |c~_t - c_t| B^t e^B.
3. If that reaches 1, float64 cannot hold the polynomial, and we refuse.
"""

from __future__ import annotations

import decimal
import functools
import itertools
import math
from decimal import Decimal

import numpy as np

from approxattn._arrays import HostArray
from approxattn.exponential.polynomial import ExpPolynomial
from approxattn.exponential.remez import (
    Poly,
    bracket_in,
    error_at,
    remez,
    root_in,
    slope_at,
    value_at,
)

MAX_DEGREE = 60
MAX_HALF_RANGE = 20.0
"""*Chosen*: beyond, float64 holds none. The terms are e^2B larger than the smallest value, and what
rounding does to them, about 2^-55 e^2B, exceeds 1 from B = 19.1 on. No search is begun.
"""
# half ranges are rounded up to 2^(k/8), so that neighbouring inputs share one polynomial: at most 9
# % wider. *Chosen*.
_GRID = 8
_SMALLEST = 2.0**-10


class MinimaxRefusedError(ValueError):
    """Float64 coefficients cannot hold the polynomial asked for."""


def minimax(degree: int, half_range: float) -> ExpPolynomial:
    """Return the polynomial with the least relative error from exp on an interval.

    Parameters
    ----------
    degree : int
        Degree of the polynomial.
    half_range : float
        Bound on the size of the scores. The interval is [-B, B], B the next 2^(k/8) from there on.

    Returns
    -------
    ExpPolynomial
        The polynomial and what is known of its error.

    Raises
    ------
    ValueError
        If float64 coefficients cannot hold the polynomial (large B: the terms are e^{2B} larger
        than the smallest value).

    Examples
    --------
    >>> from approxattn.exponential import exp_polynomial
    >>> best, series = minimax(6, 1.0), exp_polynomial(6, 1.0, "chebyshev")
    >>> bool(best.relative_error(1.0) < series.relative_error(1.0))
    True
    """
    if not half_range <= MAX_HALF_RANGE:
        raise MinimaxRefusedError(_too_wide(degree, half_range))
    b = widened(half_range)
    polynomial = _minimax(degree, b)
    if polynomial is None:
        raise MinimaxRefusedError(_too_wide(degree, b))
    return polynomial


def widened(half_range: float) -> float:
    """Return the half range rounded up to the next 2^(k/8)."""
    b = 2.0 ** (math.ceil(_GRID * math.log2(max(half_range, _SMALLEST)) - 1e-9) / _GRID)
    return float(max(b, half_range))


def _too_wide(degree: int, half_range: float) -> str:
    return (
        f"no minimax polynomial of degree {degree} for scores bounded by {half_range:.4g}: "
        "float64 coefficients cannot hold it; use basis='taylor', which is positive for any "
        "scores, or scale the scores down"
    )


@functools.lru_cache(maxsize=4096)
def _minimax(degree: int, b: float) -> ExpPolynomial | None:
    """Return the polynomial, or None when float64 cannot hold it: a value, so that the refusal is
    remembered too.
    """
    with decimal.localcontext() as context:
        context.prec = _digits(degree, b)
        exact, zeros = remez(degree, b)
        coefficients = tuple(float(c) for c in exact)
        error, at_floor = _error_of_rounded(
            [Decimal(c) for c in coefficients], exact, zeros, Decimal(b)
        )
    if error >= 1:
        return None
    return ExpPolynomial(
        basis="minimax",
        coefficients=coefficients,
        half_range=b,
        at_floor=at_floor,
        log_ratio=functools.partial(_everywhere, 2 * math.atanh(error)),
        slope_error=functools.partial(_slope_error, degree, b, 1 - error),
    )


def _slope_error(degree: int, b: float, smallest_ratio: float, half_range: HostArray) -> HostArray:
    """Return a bound on |P'/P - 1| = |E'| / (P e^-x), rounded up, for every row."""
    return _everywhere(_largest_slope(degree, b) / smallest_ratio, half_range)


def _digits(degree: int, b: float) -> int:
    """Return the working precision: Vandermonde conditioning ~ 2.4^g, weights from e^-B to e^B, an
    error of (B/2)^{g+1} / (g+1)!.
    """
    error = (math.lgamma(degree + 2) - (degree + 1) * math.log(b / 2)) / math.log(10)
    return 40 + degree + math.ceil(2 * b) + math.ceil(max(0.0, error))


def _everywhere(value: float, half_range: HostArray) -> HostArray:
    """Return a bound that holds on the whole interval, rounded up, for every row."""
    return np.full(np.shape(half_range), value * (1 + 1e-14))


def _error_of_rounded(rounded: Poly, exact: Poly, zeros: Poly, b: Decimal) -> tuple[float, bool]:
    """Return an upper bound on max |P e^-x - 1| over [-B, B] for the coefficients used, and whether
    rounding dominates it; `zeros` are those of E before rounding.
    """
    error = _largest_error(rounded, zeros, b)
    at_floor = error is None
    if error is None:
        moved = sum(
            (abs(c - e) * b**t for t, (c, e) in enumerate(zip(rounded, exact, strict=True))),
            Decimal(0),
        )
        error = (_largest_error(exact, zeros, b) or Decimal("Infinity")) + moved * b.exp()
    return float(error) * (1 + 2.0**-51) + 1e-300, at_floor


def _largest_error(p: Poly, zeros: Poly, b: Decimal) -> Decimal | None:
    """Return an upper bound on max |E| over [-B, B]; None unless the slope changes its sign between
    all neighbouring zeros.

    On a bracket of width w around a root of E', E differs from its value at an end by at most w^2
    max|E''|, |E''| <= M e^B with M = sum_t |c_t| (t^2 + t + 1) B^t (1 + 1/B)^2.
    """
    largest = max(abs(error_at(p, -b)), abs(error_at(p, b)))
    size = (
        sum((abs(c) * (t * t + t + 1) * b**t for t, c in enumerate(p)), Decimal(0))
        * (1 + 1 / b) ** 2
        * b.exp()
    )
    for left, right in itertools.pairwise(zeros):
        if (slope_at(p, left) > 0) == (slope_at(p, right) > 0):
            return None
        low, high = bracket_in(functools.partial(slope_at, p), left, right, 60)
        largest = max(largest, abs(error_at(p, low)) + (high - low) ** 2 * size)
    return largest


@functools.lru_cache(maxsize=4096)
def _largest_slope(degree: int, half_range: float) -> float:
    """Return an upper bound on max |E'| over [-B, B], E' = W e^-x with W = P' - P for the rounded
    P; inf when the roots of W cannot be told apart.

    All g roots of W are real, so ln|W| - x is concave between neighbouring ones (proved here: its
    second derivative is -sum 1/(x - x_i)^2): one maximum a gap, found by bisection of W'/W - 1, and
    bounded from the left end of the last bracket by the tangent.
    """
    with decimal.localcontext() as context:
        context.prec = _digits(degree, half_range)
        exact, zeros = remez(degree, half_range)
        p, b = [Decimal(float(c)) for c in exact], Decimal(half_range)
        slope = functools.partial(slope_at, p)
        if any(
            (slope(left) > 0) == (slope(right) > 0) for left, right in itertools.pairwise(zeros)
        ):
            return math.inf
        roots = [root_in(slope, left, right, 60) for left, right in itertools.pairwise(zeros)]
        w = [(t + 1) * d - c for t, (c, d) in enumerate(zip(p, [*p[1:], Decimal(0)], strict=True))]
        largest = max(abs(slope(x)) * (-x).exp() for x in (-b, b))
        if roots:
            largest = max(
                largest,
                *(_highest(w, left, right) for left, right in itertools.pairwise([-b, *roots, b])),
            )
        return float(largest) * (1 + 1e-9)


def _highest(w: Poly, left: Decimal, right: Decimal) -> Decimal:
    """Return an upper bound on |W| e^-x between two neighbouring roots, where ln|W| - x is
    concave.
    """
    derivative = [t * c for t, c in enumerate(w)][1:]

    def climb(x: Decimal) -> Decimal:
        return value_at(derivative, x) / value_at(w, x) - 1

    inset = (right - left) * Decimal(2) ** -40
    left, right = left + inset, right - inset
    if climb(right) >= 0:  # still rising at the end, by less than 2^-40 of the gap further on
        low, high = right, right + inset
    elif climb(left) <= 0:
        low, high = left, left
    else:
        low, high = bracket_in(climb, left, right, 40)
    rise = max(Decimal(0), climb(low))
    return abs(value_at(w, low)) * (-low + rise * (high - low)).exp()
