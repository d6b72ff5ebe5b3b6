"""The even Taylor polynomial of exp: positive everywhere, so it never fails; its ratio to exp is
known exactly.

T2 (proved here). For even g, r(x) = ln P_g(x) - x is defined on the whole line and decreasing,
because r' = -x^g / (g! P_g) <= 0. So on [-b, b] it falls by exactly ln rho = r(-b) - r(b), with

    r(-b) = ln(1 + eps),   eps = (b^{g+1} / g!) int_0^1 u^g e^{u b} du = sum_m b^{g+1+m} / (g! m!
        (g+1+m)),
    r(b)  = ln(1 - Q),     Q = e^{-b} sum_{m > g} b^m / m!  (the chance that a Poisson(b) variable
        exceeds g).

Both series have positive terms only, so float64 sums them without cancellation.

Slope (proved here). P' / P - 1 = -x^g / (g! P_g), and P_g >= e^x for x <= 0, P_g >= 1 for x >= 0:
at most b^g e^b / g! on [-b, b].
"""

from __future__ import annotations

import functools
import math

import numpy as np

from approxattn._arrays import HostArray
from approxattn.exponential.polynomial import ExpPolynomial, MomentBound
from approxattn.exponential.taylor_majorants import degrees_used, weigh_taylor

MAX_DEGREE = 150
"""*Chosen*: 1/150! is still a normal float64."""

_SERIES_LIMIT, _SMALLEST, _CELLS = 300.0, 1e-12, 1000
_FIRST = math.ceil(math.log(_SMALLEST) * _CELLS)
# the sums below have at most a thousand positive terms, each with fewer than 200 roundings
_SLACK = 1 + 1e-12


@functools.lru_cache(maxsize=64)
def taylor(degree: int) -> ExpPolynomial:
    """Return the Taylor polynomial of an even degree, usable on any interval.

    Parameters
    ----------
    degree : int
        Degree of the polynomial, even, 0 to 150.

    Returns
    -------
    ExpPolynomial
        The polynomial and what is known of its error.

    Raises
    ------
    ValueError
        If the degree is odd (P_g has a negative tail), negative or above 150.

    Examples
    --------
    >>> taylor(2).coefficients
    (1.0, 1.0, 0.5)
    """
    if degree < 0 or degree % 2 or degree > MAX_DEGREE:
        msg = (
            f"degree(={degree}) of a Taylor basis must be even and in [0, {MAX_DEGREE}]: odd "
            f"Taylor polynomials of exp turn negative; use degree {max(0, degree + degree % 2)} "
            "or basis='minimax'"
        )
        raise ValueError(msg)
    coefficients = tuple(1 / math.factorial(t) for t in range(degree + 1))
    return ExpPolynomial(
        basis="taylor",
        coefficients=coefficients,
        half_range=math.inf,
        at_floor=False,
        log_ratio=functools.partial(_log_ratio, degree),
        slope_error=functools.partial(_slope_error, degree),
        moments=MomentBound(
            degrees=degrees_used(degree), weigh=functools.partial(weigh_taylor, degree)
        ),
    )


def _slope_error(degree: int, half_range: HostArray) -> HostArray:
    b = np.asarray(half_range, dtype=np.float64)
    with np.errstate(divide="ignore", over="ignore"):
        power = degree * np.log(b) if degree else np.zeros_like(b)
        return np.exp(power + b - math.lgamma(degree + 1)) * _SLACK


def _log_ratio(degree: int, half_range: HostArray) -> HostArray:
    """Return ln rho = r(-b) - r(b) of T2, rounded up.

    b is rounded up on a grid 0.1 % wide (r is monotone), whose values are kept.
    """
    b, table = np.asarray(half_range, dtype=np.float64), _kept(degree)
    with np.errstate(invalid="ignore"):
        cell = np.ceil(np.log(np.maximum(b, _SMALLEST)) * _CELLS) - _FIRST
    place = np.fmin(cell, table.size - 1).astype(np.intp)  # the last one stays NaN
    result = np.asarray(table[place])
    if np.isnan(np.sum(result)):
        for i in np.unique(place[np.isnan(result)]):
            if i < table.size - 1:
                table[i] = _log_ratio_at(degree, math.exp((i + _FIRST) / _CELLS) * _SLACK)
        # P_g(-b) <= P_g(b), so ln rho <= 2 b always
        result = np.where(place < table.size - 1, table[place], 2 * b * _SLACK)
    return np.where(b == 0, 0.0, result)


@functools.lru_cache(maxsize=64)
def _kept(_degree: int) -> HostArray:
    """Return ln rho on the grid, NaN where nobody has asked yet."""
    return np.full(math.ceil(math.log(_SERIES_LIMIT) * _CELLS) - _FIRST + 1, np.nan)


def _log_ratio_at(degree: int, b: float) -> float:
    # P_g(-b) <= P_g(b), so ln rho <= 2 b always; beyond the limit, where the series would overflow,
    # that is nearly all of it.
    if b > _SERIES_LIMIT:
        return 2 * b * _SLACK
    eps = _series(b, degree + 1, lambda m: degree + 1 + m, math.lgamma(degree + 1))
    tail = _series(b, degree + 1, None, math.lgamma(degree + 2)) * math.exp(-b)
    below = -math.log1p(-tail) if tail < 0.5 else b - math.log(_partial_sum(degree, b))
    return min((math.log1p(eps) + below) * _SLACK + 1e-300, 2 * b * _SLACK)


def _series(b: float, power: int, divisor: object, log_factorial: float) -> float:
    """Return sum_m b^{power+m} / (g! m!

    (g+1+m)) when a divisor is given, else sum_m b^{power+m} / (power+m)!.
    """
    total, m = 0.0, 0
    term = math.exp(power * math.log(b) - log_factorial) if b > 0 else 0.0
    while True:
        contribution = term / divisor(m) if callable(divisor) else term
        total += contribution
        if m > b and contribution <= 1e-18 * total:
            return total
        m += 1
        term *= b / m if callable(divisor) else b / (power + m)


def _partial_sum(degree: int, b: float) -> float:
    total, term = 1.0, 1.0
    for t in range(1, degree + 1):
        term *= b / t
        total += term
    return total
