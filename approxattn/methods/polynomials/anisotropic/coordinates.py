"""Balanced coordinates: queries and keys with equal, diagonal moments, largest first, so that the
first coordinates carry the scores.

Symbols. S and R are those of `metric`, E = I - S^T R as it is; u' and gamma' are those of float64.
x = sqrt(beta) S q and y = sqrt(beta) R k, up to a power of two that makes both equally large.

1. Where S^T R = I, x . y = beta q . k.
2. Queries and keys are centred in float64 and multiplied there, each with an error of gamma'_{d+6}
   of its length times |S| or |R|, and 4 u' for what is rounded besides.
3. So scores move by at most beta (|E| + 4 gamma'_{d+6} |S| |R| + 4 u') |q| |k| (proved here).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._arrays.crossing import fetched
from approxattn._problem import Problem
from approxattn.bounds.rounding import U64, gamma, up
from approxattn.bounds.scores import row_norms, visible_max
from approxattn.methods.polynomials.centring import CentredScores
from approxattn.methods.polynomials.metric import balancing, frobenius, moment
from approxattn.methods.polynomials.shift import shift_keys

FLOOR = 1e-10
"""Least eigenvalue of a moment over its largest: as in `metric`, for float64."""

LARGEST_POWER = 1000
"""Of the power of two of step 1. *Chosen*: 2^1000 and its inverse are normal numbers."""


@dataclass(frozen=True, kw_only=True)
class Coordinates:
    """Balanced coordinates of queries and keys.

    Attributes
    ----------
    x, y : array, shapes (..., n_q, d), (..., n_k, d)
        sqrt(beta) S q and sqrt(beta) R k, in the dtype computed in.
    score_error : ndarray, shape (..., n_q)
        Bound on |x_i . y_j - s_ij|, rounding to the dtype apart.
    miss : ndarray, shape (..., 1)
        |E| and what computing the coordinates costs, relative to beta |q| |k|.
    to_x, to_y : ndarray, shapes (..., d, d)
        sqrt(beta) S and sqrt(beta) R.
    """

    x: Array
    y: Array
    score_error: HostArray
    miss: HostArray
    to_x: HostArray
    to_y: HostArray


def coordinates_of(problem: Problem, scores: CentredScores) -> Coordinates | None:
    """Return balanced coordinates of the centred queries and keys; None where they vanish."""
    xp = problem.xp
    q, middle, shift = (
        _arrays.cast(a, "float64", xp) for a in (problem.q, scores.middle, scores.key_shift)
    )
    q, k = q - middle, shift_keys(problem, shift, "float64")
    lengths, key_lengths = row_norms(q, xp), row_norms(k, xp)
    if not problem.n_q:
        return None
    moments = fetched(moment(q, lengths, xp), moment(k, key_lengths, xp))
    both = balancing(moments[0], moments[1], FLOOR)
    if both is None:
        return None
    s, r = both
    x, y = (xp.matmul(a, xp.matrix_transpose(_arrays.from_host(t, a))) for a, t in ((q, s), (k, r)))
    power = _power(x, y, problem)
    root = math.sqrt(problem.scale)
    x, y = (x * _arrays.from_host(root * power, x), y * _arrays.from_host(root / power, y))
    miss = _miss(s, r, problem.d)
    radius = visible_max(key_lengths, problem)[..., None]
    return Coordinates(
        x=_arrays.cast(x, problem.dtype, xp),
        y=_arrays.cast(y, problem.dtype, xp),
        score_error=up(problem.scale * miss * lengths * radius),
        miss=miss,
        to_x=root * power * s,
        to_y=root / power * r,
    )


def _miss(s: HostArray, r: HostArray, d: int) -> HostArray:
    """Return |E| + 4 gamma'_{d+6} |S| |R| + 4 u', shape (..., 1)."""
    size_s, size_r = (frobenius(t)[..., None] for t in (s, r))
    off = frobenius(np.eye(d) - np.swapaxes(s, -1, -2) @ r)[..., None]
    return up(off + 4 * gamma(d + 6, U64) * size_s * size_r + 4 * U64)


def _power(x: Array, y: Array, problem: Problem) -> HostArray:
    """Return the power of two that makes x and y / power about equally large, shape (..., 1, 1)."""
    with np.errstate(divide="ignore"):
        top_x, top_y = (
            np.log2(_arrays.to_host(_arrays.largest_size(a, problem.xp)).astype(np.float64))
            for a in (x, y)
        )
    both = np.isfinite(top_x) & np.isfinite(top_y)
    exponent = np.round((np.where(both, top_y, 0.0) - np.where(both, top_x, 0.0)) / 2)
    return np.exp2(np.clip(exponent, -LARGEST_POWER, LARGEST_POWER))[..., None, None]
