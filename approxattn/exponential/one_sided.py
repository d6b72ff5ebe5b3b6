"""The polynomial midway between the best ones below and above exp, for normally distributed scores.

Symbols. mu is a distribution on [-B, B], g the degree. U >= e^s and L <= e^s on [-B, B] have the
degree g; P = (U + L)/2 and Q = (U - L)/2. Double nodes are those where a polynomial meets exp with
its slope.

1. |P - e^s| <= Q on [-B, B] is the same as L <= e^s <= U. So P and a majorant of its error are
   chosen together by choosing L and U (T5, `approxattn.bounds.moments`).
2. Hermite's remainder of the interpolant H of exp at nodes x_0 ... x_g, in any of which values may
   repeat, is e^s - H(s) = e^xi / (g+1)! prod_k (s - x_k). Only the product has a sign.
3. So double nodes inside give L <= e^s for odd g. For even g, -B as a single node more does.
4. Likewise U >= e^s: B as a single node more for even g; -B and B for odd g.
5. Least E_mu Q is what the double nodes of Gauss's quadrature for mu give, of Radau's with -B or B,
   of Lobatto's with both. Such a quadrature with the nodes of U is exact for polynomials up to
   degree g. So E_mu U' = sum_k w_k U'(x_k) >= sum_k w_k e^(x_k) = E_mu U for any U' >= exp: no
   other U' has a smaller mean. The same holds for L (Markov and Stieltjes; proved here).
6. The double nodes are the Gauss nodes of mu times (s + B), (B - s) or B^2 - s^2.

mu is normal with standard deviation sigma, cut off at -B and B, on a fine grid: any mu is allowed,
only the means of step 5 depend on it. Both B and sigma are rounded up to a grid of their own, so
that P stays the same for nearly the same tokens.

Float64 does not solve for L and U exactly; what it makes is checked on the whole interval
(`majorants.certified`), and this check alone is what bounds rest on.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from approxattn._arrays import HostArray
from approxattn.exponential.majorants import (
    WIDEST,
    Majorants,
    certified,
    difference,
    largest_ratio,
)
from approxattn.exponential.polynomial import ExpPolynomial, MomentBound
from approxattn.exponential.running import Running

MAX_DEGREE = 24
"""*Chosen*: float64 loses the double nodes of higher degrees."""

STEPS_AN_OCTAVE = 8
"""Half ranges and deviations are rounded up to powers of 2^(1/8). *Chosen*: 9 % at most."""

POINTS = 2001
"""Of the grid that stands for the normal distribution. *Chosen*: many times the nodes."""


def one_sided(degree: int, half_range: float, deviation: float) -> ExpPolynomial:
    """Return the polynomial for scores that are normally distributed, by their deviation.

    It is the one midway between the best polynomials below and above exp.

    Parameters
    ----------
    degree : int
        Degree of the polynomial, 0 to 24.
    half_range : float
        Bound on the size of the scores, at most 32.
    deviation : float
        Standard deviation of the scores.

    Returns
    -------
    ExpPolynomial
        The polynomial and what is known of its error.

    Raises
    ------
    ValueError
        If the degree is not in [0, 24] or the half range above 32.

    Examples
    --------
    >>> one_sided(6, 3.0, 0.5).basis
    'one-sided'
    """
    if not 0 <= degree <= MAX_DEGREE:
        msg = (
            f"degree(={degree}) of basis='one-sided' must be in [0, {MAX_DEGREE}]: float64 loses "
            "the nodes of higher ones; use basis='minimax' or 'taylor'"
        )
        raise ValueError(msg)
    if not half_range <= WIDEST:
        msg = (
            f"scores are bounded by {half_range:.4g}; basis='one-sided' serves up to {WIDEST:g}: "
            "scale the scores down, or use basis='taylor' or Exact()"
        )
        raise ValueError(msg)
    return _one_sided(degree, *on_the_grid(half_range, deviation))


def on_the_grid(half_range: float, deviation: float) -> tuple[float, float]:
    """Return B <= WIDEST and sigma, rounded up to their grids; sigma is between B / 64 and B.

    A half range that is larger or unknown (NaN) becomes WIDEST, a deviation becomes B.
    """
    wide = min(rounded_up(half_range), WIDEST) if half_range <= WIDEST else WIDEST
    if not deviation <= wide:
        return wide, wide
    return wide, min(rounded_up(max(deviation, wide / 64)), wide)


def rounded_up(x: float) -> float:
    """Return the next power of 2^(1/8)."""
    step = math.ceil(math.log2(max(x, 2.0**-40)) * STEPS_AN_OCTAVE)
    return float(2.0 ** (step / STEPS_AN_OCTAVE) * (1 + 2.0**-44))


@functools.lru_cache(maxsize=256)
def _one_sided(degree: int, half_range: float, deviation: float) -> ExpPolynomial:
    coefficients, majorants = with_majorant(degree, half_range, deviation)
    log_ratio = _log_ratio(*largest_ratio(majorants.table[0], half_range))
    return ExpPolynomial(
        basis="one-sided",
        coefficients=coefficients,
        half_range=half_range,
        at_floor=False,
        log_ratio=log_ratio.at,
        slope_error=_no_slope,
        moments=MomentBound(degrees=tuple(range(1, degree + 1)), weigh=majorants.weigh),
    )


def with_majorant(
    degree: int, half_range: float, deviation: float
) -> tuple[tuple[float, ...], Majorants]:
    """Return the coefficients of P and its majorant Q, for B and sigma as they are."""
    below, above = (_interpolant(n, half_range) for n in _nodes(degree, deviation / half_range))
    powers = half_range ** np.arange(degree + 1.0)
    middle, half = (above + below) / 2 / powers, (above - below) / 2 / powers
    coefficients = tuple(float(c) for c in middle)
    table = certified(half[None], half_range, difference(coefficients, half_range))
    table.setflags(write=False)
    return coefficients, Majorants(half_range=half_range, table=table)


def _no_slope(half_range: HostArray) -> HostArray:
    return np.full(np.shape(half_range), np.inf)


def _log_ratio(ends: HostArray, error: HostArray) -> Running:
    """Return ln rho <= 2 artanh(max Q e^-s) over [-b, b], from its running maximum."""
    safe = np.where(error < 1, error, 0.0)
    return Running.of(ends, np.where(error < 1, 2 * np.arctanh(safe) * (1 + 1e-12), np.inf))


def _nodes(degree: int, deviation: float) -> tuple[list[float], list[float]]:
    """Return the nodes of L and of U on [-1, 1], double ones twice."""
    x = np.linspace(-1.0, 1.0, POINTS)
    weight = np.exp(-0.5 * (x / deviation) ** 2)
    m = degree // 2
    if degree % 2:
        below = 2 * _gauss(x, weight, m + 1)
        above = [-1.0, 1.0, *2 * _gauss(x, weight * (1 - x) * (1 + x), m)]
    else:
        below = [-1.0, *2 * _gauss(x, weight * (1 + x), m)]
        above = [1.0, *2 * _gauss(x, weight * (1 - x), m)]
    return sorted(below), sorted(above)


def _gauss(x: HostArray, weight: HostArray, count: int) -> list[float]:
    """Return the nodes of the Gauss quadrature of a discrete distribution (Stieltjes' procedure,
    then the eigenvalues of its Jacobi matrix).
    """
    if count == 0:
        return []
    diagonal, side = np.zeros(count), np.zeros(count)
    before, now = np.zeros_like(x), np.ones_like(x) / math.sqrt(float(np.sum(weight)))
    for k in range(count):
        diagonal[k] = float(np.sum(weight * x * now * now))
        following = (x - diagonal[k]) * now - side[k - 1] * before * (k > 0)
        side[k] = math.sqrt(float(np.sum(weight * following * following)))
        if not side[k] > 0:
            break
        before, now = now, following / side[k]
    matrix = np.diag(diagonal) + np.diag(side[:-1], 1) + np.diag(side[:-1], -1)
    return [float(node) for node in np.linalg.eigvalsh(matrix)]


def _interpolant(nodes: list[float], half_range: float) -> HostArray:
    """Return the Hermite interpolant of e^(B u) at nodes in [-1, 1], as coefficients in u.

    1. With y = u + 1 >= 0, e^(B u) = e^-B sum_n (B y)^n / n!.
    2. The divided difference of y^n at y_0 ... y_k is the sum of all monomials of degree n - k in
       them, h_{n-k}. So those of exp are sums of positive terms: nothing cancels.
    3. h_m(y_0 ... y_k) = h_m(y_0 ... y_{k-1}) + y_k h_{m-1}(y_0 ... y_k).
    """
    count = len(nodes) + 40 + math.ceil(6 * half_range)
    n = np.arange(count)
    size = np.exp(n * math.log(half_range) - np.array([math.lgamma(t + 1.0) for t in n]))
    symmetric = [0.0] * count
    total, newton = np.zeros(len(nodes)), np.zeros(len(nodes))
    newton[0] = 1.0
    for k, node in enumerate(nodes):
        symmetric = _homogeneous(symmetric, node + 1.0, first=k == 0)
        difference_k = float(np.sum(size[k:] * symmetric[: count - k])) * math.exp(-half_range)
        total += difference_k * newton
        newton = np.concatenate([[0.0], newton[:-1]]) - node * newton
    return total


def _homogeneous(before: list[float], y: float, *, first: bool) -> list[float]:
    """Return h_m with one more variable, m = 0, 1 ..."""
    found, last = [], 0.0
    for m, h in enumerate(before):
        last = (1.0 if first and m == 0 else h) + y * last
        found.append(last)
    return found
