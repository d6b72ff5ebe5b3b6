"""Majorants of the even Taylor polynomial's error, from the even moments 0, 2 and g alone.

Symbols. g is even, F(s) = sum_{t > g} |s|^t / t! >= |P_g(s) - e^s|. For B > 0 and 0 < x < B, Q_x =
q_0 + q_2 s^2 + q_g s^g is the one with Q_x(B) = F(B), Q_x(x) = F(x), Q_x'(x) = F'(x). The *simple*
one is F(B) (s / B)^g.

Q_x >= F on [-B, B] (proved here).

1. Both sides are even: let s > 0. Q_x - F is a sum of powers of s whose coefficients are, in the
   order of the powers, q_0, q_2, q_g and then all negative.
2. So their signs change at most three times. By Descartes' rule, which holds for power series, too,
   Q_x - F has at most three positive zeros, counted with multiplicity.
3. There are three: twice x, and B. So q_0 > 0, and Q_x - F changes its sign at B only.
4. It is negative beyond B, where F has the higher powers. So it is not negative on [0, B].

The simple one is case 1 to 4 without x: F(s) (B / s)^g grows with s.

Scaling (proved here). Let 0 < lambda <= 1.

1. F(lambda s) <= lambda^{g+1} F(s), power by power.
2. So if Q majorises F on [-B, B], sum_t q_t lambda^{g+1-t} s^t does on [-lambda B, lambda B].

Of several x, a row takes the one that is best for its moments. Float64 does not solve for Q_x
exactly: `majorants.certified` checks it.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from approxattn._arrays import HostArray
from approxattn.bounds.rounding import U64, up, whole_power
from approxattn.exponential.majorants import WIDEST, certified, remainder

TOUCHING = (0.08, 0.11, 0.15, 0.2, 0.27, 0.36, 0.48, 0.64)
"""x / B. *Chosen*: neighbours differ by a third, so a row loses a few per cent to its best."""

STEPS_AN_OCTAVE = 4
"""Half ranges at which majorants are made. *Chosen*: scaling makes up for what lies between."""

LEAST = 0.25
"""The smallest of them. *Chosen*: rows below it are scaled from there, which makes their bounds
larger by a factor of at most e^(1/4); scores of many sizes need few majorants.
"""


def degrees_used(degree: int) -> tuple[int, ...]:
    """Return the degrees above 0 of the moments that the majorants weigh."""
    return (2, degree) if degree >= 4 else (degree,) if degree else ()


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
    found = certified(_candidates(degree, half_range), remainder(degree, half_range), half_range)
    found.setflags(write=False)
    return found


def _candidates(degree: int, half_range: float) -> HostArray:
    """Return the simple one and Q_x for the x of `TOUCHING`, shape (k, g + 1)."""
    g, powers = degree, np.arange(degree + 1)
    end = _lacking(g, np.array([half_range]))
    simple = np.zeros(g + 1)
    simple[g] = end[0][0]
    if g < 4:
        return simple[None] / half_range**powers
    unit = np.asarray(TOUCHING)
    value, slope = _lacking(g, unit * half_range)
    used = np.array([0, 2, g])
    system = np.empty((unit.size, 3, 3))
    system[:, 0] = 1.0
    system[:, 1] = unit[:, None] ** used
    system[:, 2] = used * unit[:, None] ** np.maximum(used - 1, 0)
    sides = np.stack([np.full(unit.size, end[0][0]), value, slope * half_range], axis=-1)
    solved = np.linalg.solve(system, sides[..., None])[..., 0]
    found = np.zeros((unit.size + 1, g + 1))
    found[:-1, used] = solved
    found[-1] = simple
    return found / half_range**powers


def _lacking(degree: int, s: HostArray) -> tuple[HostArray, HostArray]:
    """Return F and F' at s > 0, by their series of positive terms."""
    term = np.exp((degree + 1) * np.log(s) - math.lgamma(degree + 2))
    value, slope = np.zeros_like(s), np.zeros_like(s)
    for t in range(degree + 1, degree + 1 + 40 + int(4 * np.max(s))):
        value, slope = value + term, slope + term * t / s
        term = term * s / (t + 1)
    return value, slope
