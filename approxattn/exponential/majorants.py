"""Polynomials that stay above the error of P in the place of exp: what the moments of a row of
scores are weighed with (T5, `approxattn.bounds.moments`).

Symbols. P has the degree g, B > 0 is a half range, Q = sum_t q_t s^t is a *majorant* on [-B, B] if
Q(s) >= |P(s) - e^s| there. Delta(s) = P(s) - e^s = sum_t delta_t s^t. u is the unit roundoff of
float64, gamma_k as in `bounds.rounding`.

How Q is checked, on the whole interval (proved here).

1. [-B, B] is the union of closed intervals [m - r, m + r]. Whatever lies between two of them lies
   in one of them.
2. D = Q - Delta and D = Q + Delta must not be negative. With x = s - m, Taylor's theorem gives
   D(s) >= D(m) + D'(m) x + D''(m) x^2 / 2 - T r^3 / 6, T = max |D'''| over the interval.
3. T is at most sum_t t (t-1) (t-2) |d_t| (|m| + r)^(t-3).
4. The quadratic in x is least at an end of the interval or at its vertex.
5. Horner's rule for a polynomial of degree N is off by at most gamma_{2 N} sum_t |d_t| |m|^t;
   delta_t is off by a few u of |c_t| + 1/t!, and the terms beyond N add at most
   B^(N+1) e^B / (N+1)!.
6. Where the lower bound of 2 to 5 is negative, -c at the worst, Q + c has none.

So a candidate need not be right, only good: what is missing is added to its constant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.polynomial.polynomial import polyval

from approxattn._arrays import HostArray
from approxattn.bounds.rounding import U64, gamma, up

WIDEST = 32.0
"""Half range above which no majorant is made. *Chosen*: e^32 times anything bounds nothing."""

INFLATION = 2.0**-9
"""A candidate grows by this part before it is checked. *Chosen*: it pays for the remainders of
step 2, so that the constant of step 6 stays small beside the candidate's own values.
"""

SMALL = 2.0**-9
"""A missing constant that is this part of the candidate's least value does no harm. *Chosen*."""

ROUNDS, MOST_INTERVALS = 6, 2**14
"""How often intervals are quartered, and how many there may be. *Chosen*: some milliseconds."""

ROWS_AT_ONCE = 2**14
"""Rows that are weighed together. *Chosen*: some megabytes, so that few passes leave the cache."""

NEAREST = 2.0**-6
"""Part of B up to which intervals around 0 are equally long. *Chosen*: moments of scores that small
are below all others.
"""


@dataclass(frozen=True, kw_only=True)
class Majorants:
    """Majorants on [-half_range, half_range], shape (k, number of degrees): coefficients of the
    degrees that `weigh` gets the moments of.
    """

    half_range: float
    table: HostArray

    def weigh(self, bound: HostArray, moments: HostArray, slack: HostArray) -> HostArray:
        """Return min over majorants of sum_t q_t m_t + |q_t| slack_t, shape (...), where the scores
        lie in [-B, B] (`bound` <= B), inf elsewhere.
        """
        terms, shape = self.table.shape[-1], bound.shape
        m, s = (np.moveaxis(x, -1, 0).reshape(terms, bound.size) for x in (moments, slack))
        best = np.empty(bound.size)
        for first in range(0, bound.size, ROWS_AT_ONCE):
            part = slice(first, first + ROWS_AT_ONCE)
            best[part] = self._least(m[:, part], s[:, part])
        best = best.reshape(shape)
        known = (bound <= self.half_range) & np.isfinite(best)
        return np.asarray(np.where(known, np.maximum(best, 0.0), np.inf))

    def _least(self, m: HostArray, s: HostArray) -> HostArray:
        """Return that minimum for some rows, moments and slack of shape (terms, rows)."""
        terms, size = m.shape
        rows = np.empty((2 * terms, size))
        rows[:terms], off = m, rows[terms:]
        with np.errstate(over="ignore", invalid="ignore"):
            np.abs(m, out=off)
            off *= 8 * terms * U64  # of the sums and products
            off += s
            each = np.hstack([self.table, np.abs(self.table)]) @ rows
            return up(np.min(each, axis=0, initial=np.inf))


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Delta, with what its coefficients may be off by.

    Attributes
    ----------
    coefficients, slack : ndarray, shape (N + 1,)
        delta_t, and bounds on their errors.
    tail : float
        Bound on what the terms beyond N add on [-B, B].
    """

    coefficients: HostArray
    slack: HostArray
    tail: float


def difference(coefficients: tuple[float, ...], half_range: float) -> Difference:
    """Return P - e^s for P given by its coefficients, on [-B, B], B <= WIDEST."""
    terms = _terms(half_range, len(coefficients))
    inverse = np.cumprod(np.concatenate([[1.0], 1 / np.arange(1.0, terms + 1)]))  # 1/t!
    p = np.zeros(terms + 1)
    p[: len(coefficients)] = coefficients
    slack = (2 * np.arange(terms + 1) + 2) * U64 * inverse + 2 * U64 * np.abs(p - inverse)
    return Difference(
        coefficients=p - inverse, slack=slack, tail=_tail(half_range, terms + 1) * (1 + 1e-9)
    )


def remainder(degree: int, half_range: float, shrink: float = 1.0) -> Difference:
    """Return -R(r s) / r^(g+1) for 0 <= r <= 1, R(s) = sum_{t > g} s^t / t!: what the Taylor
    polynomial with real coefficients lacks, on intervals shrunk by r; -s^(g+1) / (g+1)! for r = 0.
    """
    whole = difference((0.0,) * (degree + 1), half_range)
    t = np.arange(whole.slack.size)
    beyond = t > degree
    with np.errstate(under="ignore"):
        factor = np.where(beyond, shrink ** np.maximum(t - degree - 1.0, 0.0), 0.0)
    return Difference(
        coefficients=whole.coefficients * factor,
        slack=(whole.slack + 4 * U64 * np.abs(whole.coefficients)) * np.where(beyond, 1.0, 0.0),
        tail=whole.tail,
    )


def _terms(half_range: float, least: int) -> int:
    """Return N: beyond it, less than 2^-80 of everything is left."""
    t = max(least, math.ceil(half_range))
    while _tail(half_range, t + 1) > 2.0**-80:
        t += 1
    return t


def _tail(half_range: float, first: int) -> float:
    """Return a bound on sum_{t >= first} B^t / t!."""
    if half_range == 0:
        return 0.0
    log = first * math.log(half_range) + half_range - math.lgamma(first + 1)
    return math.exp(max(log, -700.0))


def certified(candidates: HostArray, half_range: float, *deltas: Difference) -> HostArray:
    """Return majorants of every |Delta| from candidates, both of shape (k, g + 1); see the
    module.
    """
    grown = candidates * (1 + INFLATION)
    missing = np.max([_missing(grown, delta, half_range) for delta in deltas], axis=0)
    grown[:, 0] = np.nextafter(grown[:, 0] + missing, np.inf)
    return grown


def _missing(candidates: HostArray, delta: Difference, half_range: float) -> HostArray:
    """Return c of step 6 for each candidate, shape (k,)."""
    centres, radii = intervals(half_range, candidates.shape[1])
    margins = _least_margin(candidates, delta, centres, radii)
    enough = SMALL * np.min(np.abs(values_at(candidates, centres)), axis=-1)
    found = [
        _refined(candidate, delta, (centres, radii), margin, float(small))
        for candidate, margin, small in zip(candidates, margins, enough, strict=True)
    ]
    return np.array(found) * (1 + 4 * U64)


def _refined(
    candidate: HostArray,
    delta: Difference,
    cells: tuple[HostArray, HostArray],
    margin: HostArray,
    enough: float,
) -> float:
    """Return c of one candidate, given the bounds on each interval. Intervals on which c comes from
    the remainder are cut into quarters, as long as that is worth it: c is above `enough`, and
    falls.
    """
    missing, before = 0.0, math.inf
    for turn in range(ROUNDS + 1):
        open_, worst = -margin > enough, float(np.max(-margin))
        last = turn == ROUNDS or 4 * int(np.sum(open_)) > MOST_INTERVALS
        last, before = last or worst > (1 - SMALL) * before, worst
        missing = max(missing, float(np.max(-margin if last else -margin[~open_], initial=0.0)))
        if last or not np.any(open_):
            break
        cells = _quartered(cells[0][open_], cells[1][open_])
        margin = _least_margin(candidate[None], delta, *cells)[0]
    return missing


def _least_margin(
    candidates: HostArray, delta: Difference, centres: HostArray, radii: HostArray
) -> HostArray:
    """Return the lower bound of steps 2 to 5 on each interval, of both signs, shape (k,
    intervals).
    """
    of_delta = _Local.of(delta.coefficients[None], centres, radii)
    of_q = _Local.of(candidates, centres, radii)
    lost = values_at(delta.slack[None], np.abs(centres) + radii)[0] + delta.tail
    both = [(of_q + of_delta.times(sign)).least(radii) for sign in (1.0, -1.0)]
    least = np.minimum(*both) - lost
    return np.where(np.isnan(least), -np.inf, least)  # of coefficients that overflow


def _quartered(centres: HostArray, radii: HostArray) -> tuple[HostArray, HostArray]:
    """Return four intervals for each, which overlap by rounding."""
    steps = np.array([-0.75, -0.25, 0.25, 0.75])
    reach = np.abs(centres) + radii
    middles = (centres[:, None] + radii[:, None] * steps).ravel()
    return middles, np.repeat(radii / 4 * (1 + 8 * U64) + 8 * U64 * reach, 4)


def largest_ratio(majorant: HostArray, half_range: float) -> tuple[HostArray, HostArray]:
    """Return b_0 < b_1 < ... = B and bounds on max Q(s) e^-s over [-b_k, b_k]."""
    centres, radii = intervals(half_range, majorant.size)
    of_q = _Local.of(-majorant[None], centres, radii)
    high = -of_q.least(radii)[0] * np.exp(radii - centres) * (1 + 16 * U64)
    middle = centres.size // 2
    both = np.maximum(high[middle:], high[:middle][::-1])
    return centres[middle:] + radii[middle:], np.maximum.accumulate(both)


def intervals(half_range: float, coefficients: int) -> tuple[HostArray, HostArray]:
    """Return centres and radii of intervals that cover [-B, B], the shorter the nearer to 0."""
    ratio = 1 + 1 / (8 * max(coefficients, 4))
    count = math.ceil(-math.log(NEAREST) / math.log(ratio))
    outer = half_range * np.exp2(math.log2(NEAREST) * np.arange(count, -1.0, -1.0) / count)
    ends = np.concatenate([np.linspace(0.0, outer[0], 9)[:-1], outer[:-1], [half_range]])
    middle, half = (ends[1:] + ends[:-1]) / 2, (ends[1:] - ends[:-1]) / 2
    radii = half * (1 + 8 * U64) + 4 * U64 * half_range  # neighbours overlap
    return np.concatenate([-middle[::-1], middle]), np.concatenate([radii[::-1], radii])


@dataclass(frozen=True, kw_only=True)
class _Local:
    """Taylor's theorem on each interval: value and two derivatives at the centre, the remainder,
    and what rounding makes of all that; shapes (k, intervals).
    """

    value: HostArray
    slope: HostArray
    curvature: HostArray
    error: HostArray

    @classmethod
    def of(cls, coefficients: HostArray, centres: HostArray, radii: HostArray) -> _Local:
        """Return it for polynomials, shape (k, N + 1)."""
        derivatives = [coefficients]
        for _ in range(3):
            last = derivatives[-1]
            slopes = last[:, 1:] * np.arange(1.0, last.shape[1])
            derivatives.append(slopes if slopes.size else np.zeros_like(last))
        reach = np.abs(centres) + radii
        sizes = [values_at(np.abs(d), reach) for d in derivatives]
        rounding = gamma(2 * coefficients.shape[1] + 8, U64)
        of_values = sizes[0] + sizes[1] * radii + sizes[2] * radii**2 / 2
        value, slope, curvature = (values_at(d, centres) for d in derivatives[:3])
        error = rounding * of_values + sizes[3] * radii**3 / 6 * (1 + rounding)
        return cls(value=value, slope=slope, curvature=curvature, error=error)

    def times(self, sign: float) -> _Local:
        """Return it for the polynomials times 1 or -1."""
        return _Local(
            value=sign * self.value,
            slope=sign * self.slope,
            curvature=sign * self.curvature,
            error=self.error,
        )

    def __add__(self, other: _Local) -> _Local:
        return _Local(
            value=self.value + other.value,
            slope=self.slope + other.slope,
            curvature=self.curvature + other.curvature,
            error=self.error + other.error,
        )

    def least(self, radii: HostArray) -> HostArray:
        """Return a lower bound on each interval."""
        bend = np.minimum(self.curvature, 0.0) * radii**2 / 2
        ends = self.value - np.abs(self.slope) * radii + self.curvature * radii**2 / 2
        safe = np.where(self.curvature > 0, self.curvature, 1.0)
        inside = (self.curvature > 0) & (np.abs(self.slope) < self.curvature * radii)
        vertex = self.value - self.slope * (self.slope / (2 * safe))
        straight = self.value - np.abs(self.slope) * radii + bend
        found = np.where(inside, vertex, np.where(self.curvature > 0, ends, straight))
        size = np.abs(self.value) + np.abs(self.slope) * radii
        size = size + np.abs(self.curvature) * radii**2
        return np.asarray(found - self.error * (1 + 8 * U64) - 16 * U64 * size)


def values_at(coefficients: HostArray, x: HostArray) -> HostArray:
    """Return polynomials, shape (..., N + 1), at points, shape (points,): (..., points); by
    Horner's rule.
    """
    return np.asarray(polyval(x, np.moveaxis(coefficients, -1, 0)))
