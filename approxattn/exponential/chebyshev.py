"""The truncated Chebyshev series of exp on [-B, B]: coefficients and error in closed form, at a
higher degree than minimax needs.

With x = B cos(theta), e^x = I_0(B) + 2 sum_k I_k(B) cos(k theta): the generating function of the
modified Bessel functions at its unit circle, so

    e^x - P(x) = 2 sum_{k>g} I_k(B) T_k(x/B),   |e^x - P(x)| <= E = 2 sum_{k>g} I_k(B)   with
        equality at x = B, since |T_k| <= T_k(1) = 1,
    |e^x - P'(x)| <= E' = 2 sum_{k>g} I_k(B) k^2 / B                                     since
        |T_k'| <= k^2 (Markov).

(Proved here, as are the sums.) I_k(B) = sum_m (B/2)^{2m+k} / (m! (m+k)!) has positive terms only,
and comparing terms I_{k+1} <= I_k (B/2) / (k+1); once that ratio is 1/8 and k >= 4, the rest of
both sums is at most a quarter of their last term: ((k+1)/k)^2 / 8 <= 1/5. So E is a sum of positive
numbers, where e^B - P(B) would cancel.

Rounding the coefficients to float64 adds delta(b) = sum_t |c~_t - c_t| b^t on [-b, b]. There e^x >=
e^-b, so P e^-x is within eps(b) = (E + delta(b)) e^b of 1, and ln rho <= 2 artanh(eps(b)): the
row's own b counts. (Minimax in the relative error does better all the same: the series spreads its
error evenly, where e^-B of it weighs as much at one end as e^B at the other.) If eps(B) reaches 1
we cannot vouch for P > 0, and refuse.
"""

from __future__ import annotations

import decimal
import functools
import math
from decimal import Decimal

import numpy as np

from approxattn._arrays import HostArray
from approxattn.exponential.minimax import MAX_HALF_RANGE, MinimaxRefusedError, widened
from approxattn.exponential.polynomial import ExpPolynomial

# every float64 expression here has a few dozen roundings, all of positive numbers
_UP = 1 + 2.0**-40


class TooLowDegreeError(ValueError):
    """The truncated series may not be positive."""


def chebyshev(degree: int, half_range: float) -> ExpPolynomial:
    """Return the truncated Chebyshev series of exp on an interval.

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
        If its error reaches the least value of exp there, e^-B (a higher degree helps), or if
        float64 coefficients cannot hold it.

    Examples
    --------
    >>> p = chebyshev(6, 1.0)
    >>> p.degree, bool(p.relative_error(1.0) < 1e-4)
    (6, True)
    """
    if not half_range <= MAX_HALF_RANGE:
        msg = (
            f"no chebyshev polynomial for scores bounded by {half_range:.4g}: float64 coefficients "
            "cannot hold it; use basis='taylor'"
        )
        raise MinimaxRefusedError(msg)
    b = widened(half_range)
    found = _chebyshev(degree, b)
    if isinstance(found, ExpPolynomial):
        return found
    if found == "degree":
        msg = (
            f"degree(={degree}) of a chebyshev basis is too low for scores bounded by {b:.4g}: "
            "its error exceeds the smallest weight; use a higher degree, basis='minimax', or "
            "basis='taylor'"
        )
        raise TooLowDegreeError(msg)
    msg = (
        f"no chebyshev polynomial of degree {degree} for scores bounded by {b:.4g}: float64 "
        "coefficients cannot hold it; use basis='taylor'"
    )
    raise MinimaxRefusedError(msg)


@functools.lru_cache(maxsize=4096)
def _chebyshev(degree: int, b: float) -> ExpPolynomial | str:
    """Return the polynomial, or what is wrong: a value, so that the refusal is remembered too."""
    with decimal.localcontext() as context:
        context.prec = 40 + 2 * degree + math.ceil(2 * b)
        wide = Decimal(b)
        exact = _monomials([(2 if k else 1) * bessel(k, wide) for k in range(degree + 1)], wide)
        coefficients = tuple(float(c) for c in exact)
        error, slope = (float(x) * _UP for x in tails(degree, wide))
        off = tuple(
            float(abs(Decimal(c) - e)) * _UP for c, e in zip(coefficients, exact, strict=True)
        )
    if error * math.exp(b) * _UP >= 1:
        return "degree"
    rounding = sum(x * b**t for t, x in enumerate(off))
    if (error + rounding) * math.exp(b) * _UP >= 1:
        return "float64"
    return ExpPolynomial(
        basis="chebyshev",
        coefficients=coefficients,
        half_range=b,
        at_floor=rounding > error,
        log_ratio=functools.partial(_log_ratio, error, off),
        slope_error=functools.partial(_slope_error, error, slope, off),
    )


def bessel(k: int, b: Decimal) -> Decimal:
    """Return I_k(b), b > 0, to the precision of the context."""
    half = b / 2
    term = half**k / Decimal(math.factorial(k))
    total, m = term, 0
    while term > total.scaleb(-decimal.getcontext().prec):
        m += 1
        term *= half * half / (m * (m + k))
        total += term
    return total


def tails(degree: int, b: Decimal) -> tuple[Decimal, Decimal]:
    """Return upper bounds on E and E', within 1e-20 of them."""
    error = slope = Decimal(0)
    k = degree
    while True:
        k += 1
        size = 2 * bessel(k, b)
        error, slope = error + size, slope + size * k * k / b
        if k >= 4 and 4 * b <= k + 1 and size * k * k / b <= slope.scaleb(-20):
            grow = 1 + Decimal(10) ** -20
            return (error + size / 4) * grow, (slope + size * k * k / b / 4) * grow


def _monomials(series: list[Decimal], b: Decimal) -> list[Decimal]:
    """Return the coefficients of x^t in sum_k a_k T_k(x/b), by T_{k+1}(y) = 2 y T_k(y) -
    T_{k-1}(y).
    """
    size = len(series)
    total, before, now = [Decimal(0)] * size, [0] * size, [1] + [0] * (size - 1)
    for k, a in enumerate(series):
        total = [c + a * t for c, t in zip(total, now, strict=True)]
        shifted = [0, *now[:-1]]
        before, now = now, [(2 if k else 1) * s - p for s, p in zip(shifted, before, strict=True)]
    return [c / b**t for t, c in enumerate(total)]


def _relative(constant: float, off: tuple[float, ...], b: HostArray) -> HostArray:
    """Return (constant + sum_t off_t b^t) e^b, rounded up."""
    x = np.asarray(b, dtype=np.float64)
    total = np.zeros_like(x)
    for c in reversed(off):
        total = total * x + c
    return np.asarray((constant + total) * np.exp(x) * _UP)


def _log_ratio(error: float, off: tuple[float, ...], b: HostArray) -> HostArray:
    return np.asarray(2 * np.arctanh(np.minimum(_relative(error, off, b), 1.0 - 2.0**-52)) * _UP)


def _slope_error(error: float, slope: float, off: tuple[float, ...], b: HostArray) -> HostArray:
    """Return a bound on |P'/P - 1| <= (|P' - e^x| + |P - e^x|) e^b / (1 - eps(b))."""
    slopes = tuple(t * c for t, c in enumerate(off))[1:] or (0.0,)
    both = _relative(error + slope, off, b) + _relative(0.0, slopes, b)
    return np.asarray(both / (1 - np.minimum(_relative(error, off, b), 1.0 - 2.0**-52)) * _UP)
