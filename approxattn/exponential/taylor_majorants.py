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


_FIRST = round(np.log2(LEAST) * STEPS_AN_OCTAVE)
_WIDTHS = 2.0 ** (np.arange(_FIRST, np.log2(WIDEST) * STEPS_AN_OCTAVE + 1) / STEPS_AN_OCTAVE) * (
    1 + 2.0**-44
)
_PER_WIDTH = np.append(1 / _WIDTHS, 0.0) * (1 + 8 * U64)
"""Half ranges and their reciprocals, rounded up; 0 for rows beyond them."""


def degrees_used(degree: int) -> tuple[int, ...]:
    """Return the degrees above 0 of the moments that the majorants weigh."""
    pairs = {t for pair in even_pairs(degree) for t in pair}
    odd = {1, 3} if has_odd(degree) else set()
    return tuple(sorted((pairs | odd | {degree}) - {0}))


def weigh_taylor(degree: int, bound: HostArray, moments: HostArray, slack: HostArray) -> HostArray:
    """Return the bound of `MomentBound` for the Taylor polynomial of an even degree.

    Each row is scaled from the next half range at which majorants are made; rows that share one
    lie next to each other for one product with all its majorants.
    """
    flat, terms = bound.ravel(), moments.shape[-1]
    m, s = (np.moveaxis(x, -1, 0).reshape(terms, flat.size) for x in (moments, slack))
    step = _steps(flat)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        rows = _scaled(degree, np.minimum(flat * _PER_WIDTH[step], 1.0), m, s)
        found = np.full(flat.shape, np.inf)
        if flat.size and np.min(step) == np.max(step):
            found = _least(degree, int(step[0]), rows)
        elif flat.size:
            order = np.argsort(step, kind="stable")  # of small whole numbers: by counting
            rows, counts = np.take(rows, order, axis=1), np.bincount(step)
            ends = np.cumsum(counts)
            for i in np.flatnonzero(counts):
                own = slice(ends[i] - counts[i], ends[i])
                found[order[own]] = _least(degree, int(i), rows[:, own])
        total = up(found).reshape(bound.shape)
    return np.where(np.isfinite(total), total, np.inf)


def _steps(bound: HostArray) -> HostArray:
    """Return the place in `_WIDTHS` of the next half range, the last one where there is none."""
    with np.errstate(invalid="ignore"):
        step = np.ceil(np.log2(np.maximum(bound, LEAST)) * STEPS_AN_OCTAVE) - _FIRST
    return np.asarray(np.fmin(step, _WIDTHS.size).astype(np.int16))


def _scaled(degree: int, ratio: HostArray, m: HostArray, s: HostArray) -> HostArray:
    """Return what majorants are multiplied with, shape (2 e + 1, rows): the scaled moments, what
    they may be off by, sums and products included, and the largest m_0.
    """
    used = (0, *degrees_used(degree))
    rows = np.empty((2 * len(used) + 1, ratio.size))
    for i, t in enumerate(used):
        power, off = whole_power(ratio, degree + 1 - t), rows[len(used) + i]
        np.multiply(m[i], power, out=rows[i])
        np.abs(rows[i], out=off)
        off *= 64 * U64
        power *= s[i]
        power *= 1 + 64 * U64
        off += power
    np.add(m[0], s[0], out=rows[-1])
    return rows


def _least(degree: int, step: int, rows: HostArray) -> HostArray:
    """Return the least of the sums over the majorants at a half range, shape (rows,)."""
    if step == _WIDTHS.size:
        return np.full(rows.shape[1], np.inf)
    # 0 times inf is no bound, and no matter
    each = _weights_at(degree, float(_WIDTHS[step])) @ rows
    return np.asarray(np.maximum(np.fmin.reduce(each, axis=0), 0.0))


@functools.lru_cache(maxsize=256)
def _weights_at(degree: int, half_range: float) -> HostArray:
    """Return [Q, |Q|, c] for the degrees used, shape (k, 2 e + 1). The float64 coefficients of P
    are off by u / t!, together by c = u e^B at most.
    """
    table = majorants_at(degree, half_range)[:, (0, *degrees_used(degree))]
    off = np.full((len(table), 1), 1.01 * U64 * np.exp(half_range) if degree > 2 else 0.0)
    return np.concatenate([table, np.abs(table), off], axis=1)


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
