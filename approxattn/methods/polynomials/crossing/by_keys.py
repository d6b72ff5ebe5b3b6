"""The sums over queries that the bounds of dk and dv rest on: they need queries and keys, so they
are taken at the call; the rest of these bounds waits until a certificate is read.

On a device (proved here). Each query counts with (rho_i - 1) and TV_i, which follow from ln rho_i,
a function of B_i that never falls (`ExpPolynomial.log_ratio`) and that only the host knows.

1. The host finds it at LEVELS_AN_OCTAVE levels an octave below the half range, and at the half
   range. A row takes the value of the next level that is not below its B_i: at least its own.
2. tanh(x / 4) <= min(x / 4, 1).
3. Float64's exponential on a device is off by a few units of its last place: a factor of 1 + 2^-40
   covers them, and the few operations around it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._arrays.crossing import at_hand, far, placed, space
from approxattn.bounds.rounding import outward
from approxattn.bounds.scores import query_lengths, value_spread
from approxattn.methods.polynomials.forward import Forward
from approxattn.methods.polynomials.gradient_error import (
    columns_of_truncation,
    lost_quotients,
    truncation_noise,
    truncation_of_keys,
)

LEVELS_AN_OCTAVE, OCTAVES = 512, 9
"""*Chosen*: 0.14 % of B_i, the cells of `exponential.running`, down to scores of no account; 74 KB
go to the device.
"""


class KeySums(NamedTuple):
    """Sums over queries for every key, at hand.

    Attributes
    ----------
    columns : array, shape (..., n_q, 2)
        What each query adds to the bounds of dk and dv times the weight it gives to a key.
    sums : array, shape (..., n_k, 2)
        Sums of the columns, divided by their largest entries, with these weights.
    """

    columns: Array
    sums: Array


def sums_by_keys(run: Forward, known: Forward, size: Array) -> KeySums | None:
    """Return the sums of a pass, given what is `kept` of it and the lengths of the cotangent, at
    hand; None where no weights are known to be positive.

    1. |f - f~|_ij <= (rho_i - 1) f~_ij.
    2. |P - P~|_ij <= (rho_i - 1 + TV_i) omega_i f~_ij.

    Against the sums over all queries of `gradient_bounds` this counts each query by the weight it
    gives to the key, at one more kernel sum. Where weights may be negative this says nothing.
    """
    columns = _columns_far(known, size) if far(size) else _columns(known, size)
    if columns is None:
        return None
    problem, own = run.problem, space(columns)
    with np.errstate(over="ignore", invalid="ignore"):
        top = _top(columns)
        unit = own.where((top > 0) & own.isfinite(top), columns / top, own.zeros_like(columns))
    device = _arrays.cast(placed(unit, problem.q), problem.dtype, problem.xp)
    sums = at_hand(run.kernel.transposed_sums(run.queries, run.keys, device / run.denominator))
    if run.scores.weights is not None:
        sums = sums * at_hand(run.scores.weights)
    return KeySums(columns, sums)


def bounds_by_keys(run: Forward, found: KeySums | None) -> tuple[HostArray, HostArray]:
    """Return T3 key by key, shapes (..., n_k), from the computed weights."""
    problem = run.problem
    if found is None:
        nothing = np.full((*problem.batch, problem.n_k), np.inf)
        return nothing, nothing
    columns, sums = (_arrays.to_host(x) for x in found)
    noise = truncation_noise(run, columns)
    known = np.all(run.positive, axis=-1)
    below = lost_quotients(run)
    bounds = truncation_of_keys(sums, _top(columns), noise, below, known, problem.u)
    return bounds[..., 0], bounds[..., 1]


def _top(columns: Array) -> Array:
    """Return the largest entries, shape (..., 1, 2): sums are taken of columns with a largest
    entry of 1.
    """
    return space(columns).max(columns, axis=-2, keepdims=True)


def _columns(run: Forward, size: HostArray) -> HostArray | None:
    if not np.any(np.all(run.positive, axis=-1)):
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        return columns_of_truncation(run, size)


def _columns_far(run: Forward, size: Array) -> Array | None:
    """Return the columns without a look at any row."""
    scores, xp = run.scores, space(size)
    levels = _levels(run)
    if levels is None:
        return None
    ends, log_ratios = (placed(x, size) for x in levels)
    bound = scores.reach.bound
    place = xp.searchsorted(ends, xp.reshape(bound, (-1,)))
    log_ratio = xp.reshape(xp.take(log_ratios, place), bound.shape) + scores.reach.log_error
    most, grow = float(np.finfo(np.float64).max), 1 + 2.0**-40
    excess = xp.expm1(log_ratio) * grow
    excess = xp.where(excess < most, excess, xp.full_like(excess, most))
    quarter = log_ratio * (grow / 4)
    tv = xp.where(quarter < 1, quarter, xp.ones_like(quarter))
    omega = outward(size * placed(value_spread(run.problem).osc[..., None], size))
    moved = outward(outward(run.problem.scale * query_lengths(run.problem)) * omega)
    return xp.stack([(excess + tv) * moved, excess * size], axis=-1)


def _levels(run: Forward) -> tuple[HostArray, HostArray] | None:
    """Return increasing levels, up to the half range, and ln rho at each; None where it is not
    known for all rows of any item.
    """
    widest, log_ratio = run.scores.widest[0], run.polynomial.log_ratio
    known = widest[np.isfinite(log_ratio(widest))]
    if not known.size:
        return None
    down = np.arange(LEVELS_AN_OCTAVE * OCTAVES, -1, -1) / LEVELS_AN_OCTAVE
    ends = np.append(np.max(known) * np.exp2(-down), run.scores.half_range)
    return ends, np.asarray(log_ratio(ends), dtype=np.float64)
