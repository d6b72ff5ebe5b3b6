"""Balanced coordinates: queries and keys with equal, diagonal moments, largest first, so that the
first coordinates carry the scores.

S and R are those of `metric`; x = sqrt(beta) S q and y = sqrt(beta) R k up to a power of two, so
that x . y = beta q . k where S^T R = I.

Rounding (proved here). The coordinates are computed in float64 from queries and keys centred in
float64; with E = I - S^T R as it is, and u', gamma' of float64, scores move by at most beta (|E| +
4 gamma'_{d+6} |S| |R| + 4 u') |q| |k|.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.rounding import gamma, up
from approxattn.bounds.scores import row_norms, visible_max
from approxattn.methods.polynomials.centring import CentredScores
from approxattn.methods.polynomials.metric import balancing, moment

FLOOR = 1e-10
"""Least eigenvalue of a moment over its largest: as in `metric`, for float64."""


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


def coordinates(problem: Problem, scores: CentredScores) -> Coordinates | None:
    """Return balanced coordinates of the centred queries and keys; None where they vanish."""
    xp, wide = problem.xp, 2.0**-53
    q, k, m, c = (
        _arrays.cast(a, "float64", xp)
        for a in (problem.q, problem.k, scores.middle, scores.key_shift)
    )
    q, k = q - m, k - c
    if problem.key_mask is not None:
        k = xp.where(problem.key_mask[..., None], k, xp.zeros_like(k))
    lengths, key_lengths = row_norms(q, xp), row_norms(k, xp)
    found = (
        balancing(moment(q, lengths, xp), moment(k, key_lengths, xp), FLOOR)
        if problem.n_q
        else None
    )
    if found is None:
        return None
    sizes = [np.linalg.norm(t, axis=(-2, -1))[..., None] for t in found]
    miss = np.linalg.norm(
        np.eye(problem.d) - np.swapaxes(found[0], -1, -2) @ found[1], axis=(-2, -1)
    )[..., None]
    miss = up(miss + 4 * gamma(problem.d + 6, wide) * sizes[0] * sizes[1] + 4 * wide)
    turned = [
        xp.matmul(a, xp.matrix_transpose(_arrays.from_host(t, a)))
        for a, t in zip((q, k), found, strict=True)
    ]
    tops = [_arrays.to_host(xp.max(xp.abs(a), axis=(-2, -1))) for a in turned]
    power = np.exp2(np.round(np.log2(tops[1] / tops[0]) / 2))[
        ..., None, None
    ]  # exact, and makes both about equally large
    root = math.sqrt(problem.scale)
    powers = root * power, root / power
    x, y = (a * _arrays.from_host(p, a) for a, p in zip(turned, powers, strict=True))
    radius = visible_max(key_lengths, problem)[..., None]
    return Coordinates(
        x=_arrays.cast(x, problem.dtype, xp),
        y=_arrays.cast(y, problem.dtype, xp),
        score_error=up(problem.scale * miss * lengths * radius),
        miss=miss,
        to_x=powers[0] * found[0],
        to_y=powers[1] * found[1],
    )
