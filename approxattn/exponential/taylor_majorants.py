"""Majorants of the even Taylor polynomial's error, from a few moments.

Symbols as in `taylor_candidates`: R = exp - P_g, F, N_r, B. The candidates made there are checked
on the whole of [-B, B] by `majorants.certified`; Q below is what it returns. So q_0 = Q(0) >= 0,
and m_0 may be too large.

Rows with scores in [-lambda B, lambda B], lambda <= 1, use Q on [-B, B] (proved here).

1. F(lambda s) <= lambda^(g+1) F(s), power by power. So if an even Q majorises |R| on [-B, B], and
   thereby F, then sum_t q_t lambda^(g+1-t) s^t does on [-lambda B, lambda B].
2. R(lambda s) <= lambda^(g+1) R(s) for s > 0 likewise.
3. For x > 0, |R(-lambda x)| = lambda^(g+1) N_lambda(x), and N_r(x) = (x^(g+1) / g!) int_0^1 (1 -
   u)^g e^(-u r x) du falls with r; N_0 = x^(g+1) / (g+1)!.
4. So for r <= lambda <= 1 step 1 holds for any Q >= |R| and Q(s) >= |R(r s)| / r^(g+1) on [-B, B],
   whatever its parity. On the side of s > 0 the second is below R by step 2.

A row takes the majorant that is best for its moments, whose errors count with |q_t|.
"""

from __future__ import annotations

import functools

import numpy as np

from approxattn._arrays import HostArray
from approxattn.bounds.rounding import U64, up, whole_power
from approxattn.exponential.majorants import WIDEST, certified, remainder
from approxattn.exponential.taylor_candidates import (
    even_candidates,
    even_pairs,
    has_odd,
    odd_candidates,
)

STEPS_AN_OCTAVE = 4
"""Half ranges at which majorants are made. *Chosen*: scaling makes up for what lies between."""

LEAST = 0.25
"""The smallest of them. *Chosen*: rows below it are scaled from there, which makes their bounds
larger by a factor of at most e^(1/4); scores of many sizes need few majorants.
"""

SHRINK = 2 ** (-1 / STEPS_AN_OCTAVE) * (1 - 2.0**-40)
"""r of step 4, but 0 at the smallest half range. No row is scaled by less; float64 logarithms are
off by less than that margin.
"""


def degrees_used(degree: int) -> tuple[int, ...]:
    """Return the degrees above 0 of the moments that the majorants weigh."""
    pairs = {t for pair in even_pairs(degree) for t in pair}
    odd = {1, 3} if has_odd(degree) else set()
    return tuple(sorted((pairs | odd | {degree}) - {0}))


def weigh_taylor(degree: int, bound: HostArray, moments: HostArray, slack: HostArray) -> HostArray:
    """Return the bound of `MomentBound` for the Taylor polynomial of an even degree.

    Each row is scaled from the next half range at which majorants are made. The float64
    coefficients are off by u / t!, together at most u e^b.
    """
    used = (0, *degrees_used(degree))
    flat = bound.ravel()
    m, s = (np.moveaxis(x, -1, 0).reshape(len(used), flat.size) for x in (moments, slack))
    result = np.full(flat.shape, np.inf)
    steps = np.ceil(np.log2(np.maximum(flat, LEAST)) * STEPS_AN_OCTAVE)
    inside = flat <= WIDEST
    for step in np.unique(steps[inside]):
        rows = np.flatnonzero((steps == step) & inside)
        here = slice(None) if rows.size == flat.size else rows
        wide = 2.0 ** (step / STEPS_AN_OCTAVE) * (1 + 2.0**-44)
        ratio = np.minimum(flat[here] / wide * (1 + 4 * U64), 1.0)
        powers = np.stack([whole_power(ratio, degree + 1 - t) for t in used])
        result[here] = _least(
            majorants_at(degree, wide)[:, used], m[:, here] * powers, s[:, here] * powers
        )
    with np.errstate(over="ignore", invalid="ignore"):
        of_coefficients = np.exp(np.minimum(flat, WIDEST)) * (m[0] + s[0])
        total = up(result + 2 * U64 * of_coefficients).reshape(bound.shape)
    return np.where(np.isfinite(total), total, np.inf)


def _least(majorants: HostArray, moments: HostArray, slack: HostArray) -> HostArray:
    """Return the least of the sums sum_t q_t m_t + |q_t| slack_t over majorants, shapes (k, e),
    (e, rows), (e, rows) -> (rows,), rounded up.
    """
    with np.errstate(invalid="ignore", over="ignore"):  # 0 times inf is no bound, and no matter
        off = slack + 64 * U64 * (np.abs(moments) + slack)  # of the sums and the products
        each = majorants @ moments + np.abs(majorants) @ off
        return np.asarray(np.maximum(np.fmin.reduce(each, axis=0), 0.0))


@functools.lru_cache(maxsize=256)
def majorants_at(degree: int, half_range: float) -> HostArray:
    """Return the majorants on [-half_range, half_range], shape (k, g + 1), read-only."""
    rest = remainder(degree, half_range)
    found = certified(even_candidates(degree, half_range), half_range, rest)
    if has_odd(degree):
        shrink = SHRINK if half_range > LEAST * (1 + 2.0**-40) else 0.0
        more = remainder(degree, half_range, shrink)
        odd = odd_candidates(-rest.coefficients, -more.coefficients, half_range)
        found = np.concatenate([found, certified(odd, half_range, rest, more)])
    found.setflags(write=False)
    return found
