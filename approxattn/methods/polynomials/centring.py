"""Scores made small without changing attention: the shift of `shift` with means for m and c.

c is the mean of the visible keys. m is the mean of the queries where that shortens the longest
query, 0 elsewhere, for each leading index. Weights that spread over more than SPREAD in the log
would strain float32 (a causal row may see light keys only): there m = 0 too.

Symbols. s_ij = beta (q_i - m) . (k_j - c) are the centred scores, P(s) stands for exp(s). u is the
unit roundoff of the dtype computed in, u' and gamma' are those of float64. w is the smallest normal
number, and L = beta |m| max|k_j - c|.

T1 with weights (proved here).

1. Row i has the exact weights w_j exp(s_ij) and the approximate ones w_j P(s_ij).
2. Their ratios are P(s_ij) / exp(s_ij) whatever w is. So T1 and T2 hold with s for the scores.

Computed weights (proved here).

1. beta m . (k_j - c) is taken in float64 from keys centred in the dtype computed in.
2. Those keys are off by u in each entry, and so are the means that they are compared with: the
   exponent is off by at most L (2 u + gamma'_{d+6}).
3. Subtracting the largest exponent and exp itself add (EXP_ULPS + 2 + 4 L) u'; rounding the weight
   to the dtype computed in adds 2 u.
4. So |ln(w~_j / w_j)| <= eta, the sum of 2 and 3. That is like scores off by eta: it adds 2 eta to
   ln rho.
5. Where a library flushes small numbers to 0, an entry of q, k, q - m or k - c loses at most w.
   That moves a score by at most 2 beta d w (max|q_i - m| + max|k_j - c|), ln rho by twice that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.rounding import EXP_ULPS, U64, gamma, up
from approxattn.bounds.scores import key_centre, query_norms, row_norms, visible_max
from approxattn.methods.polynomials.metric import score_bounds_of
from approxattn.methods.polynomials.shift import log_weights, shift_keys

CENTRES = ("both", "keys", "none")

GAIN = 0.95
"""Longest centred query over longest query below which queries are centred. *Chosen*: weights cost
a little, so they must gain something.
"""

SPREAD = 20.0
"""*Chosen*: e^-20 is far from underflow in float32, also where sums are divided by it."""


@dataclass(frozen=True, kw_only=True)
class CentredScores:
    """Queries and keys with small scores, and what they are bounded by.

    Attributes
    ----------
    queries, keys : array, shapes (..., n_q, d), (..., n_k, d)
        q - m and k - c; keys that take no part are 0.
    weights : array, shape (..., n_k, 1), or None
        w_j / max w, in the dtype computed in; None when all are 1.
    key_shift, middle : array, shape (..., 1, d)
        c and m.
    keys_centred : bool
        Whether c is the mean of the visible keys; 0 otherwise.
    centred : ndarray of bool, shape (...)
        Where m is the mean of the queries.
    lengths, radius, middle_length : ndarray, shapes (..., n_q), (..., 1), (..., 1)
        Bounds on |q_i - m|, max|k_j - c| and |m|, on the host.
    bound : ndarray, shape (..., n_q)
        B_i >= |s_ij|, on the host.
    size : ndarray, shape (..., n_q)
        R_i >= beta |q_i - m| max|k_j - c| >= B_i: what the terms of a score may add up to.
    total : ndarray, shape (..., n_q)
        Sum of the weights that each query sees, rounded up.
    log_error : ndarray, shape (..., 1)
        What steps 4 and 5 add to ln rho.
    """

    queries: Array
    keys: Array
    weights: Array | None
    key_shift: Array
    middle: Array
    keys_centred: bool
    centred: HostArray
    lengths: HostArray
    radius: HostArray
    middle_length: HostArray
    bound: HostArray
    size: HostArray
    total: HostArray
    log_error: HostArray


@dataclass(frozen=True, kw_only=True)
class _Queries:
    """Queries less their mean where that pays, and the weights of the keys, as in
    `CentredScores`.
    """

    queries: Array
    middle: Array
    centred: HostArray
    weights: Array | None
    lengths: HostArray


def centre_scores(problem: Problem, centre: str = "both") -> CentredScores:
    """Return the centred scores; `centre` "keys" leaves the queries as they are, "none" the keys
    too.
    """
    shift = key_centre(problem)
    shift = problem.xp.zeros_like(shift) if centre == "none" else shift
    keys = shift_keys(problem, shift, problem.dtype)
    chosen = _centred_queries(problem, keys) if centre == "both" else _queries_as_given(problem)
    key_lengths = row_norms(keys, problem.xp)
    radius = visible_max(key_lengths, problem)[..., None]
    middle_length = np.zeros_like(radius)
    if np.any(chosen.centred):
        middle_length = row_norms(chosen.middle, problem.xp)
    bound, size = (
        up(x * (1 + 6 * problem.u))
        for x in score_bounds_of(chosen.queries, keys, problem, chosen.lengths, key_lengths)
    )  # centring rounds both
    return CentredScores(
        queries=chosen.queries,
        keys=keys,
        weights=chosen.weights,
        key_shift=shift,
        middle=chosen.middle,
        keys_centred=centre != "none",
        centred=chosen.centred,
        lengths=chosen.lengths,
        radius=radius,
        middle_length=middle_length,
        bound=bound,
        size=size,
        total=_totals(problem, chosen.weights),
        log_error=up(
            np.where(chosen.centred[..., None], _weight_error(problem, middle_length, radius), 0.0)
            + _flushed(problem, chosen.lengths, radius)
        ),
    )


def _queries_as_given(problem: Problem) -> _Queries:
    return _Queries(
        queries=problem.q,
        middle=problem.xp.zeros_like(problem.k[..., :1, :]),
        centred=np.zeros(problem.batch, bool),
        weights=None,
        lengths=query_norms(problem),
    )


def _centred_queries(problem: Problem, keys: Array) -> _Queries:
    """Centre the queries of the leading indices where that pays."""
    xp, queries, given = problem.xp, problem.q, _queries_as_given(problem)
    mean = _arrays.mean_of_rows(queries, xp)
    shifted = queries - mean
    lengths = row_norms(shifted, xp)
    logs = log_weights(problem, keys, mean)
    shorter = np.max(lengths, axis=-1) < GAIN * np.max(given.lengths, axis=-1)
    centred = np.asarray(shorter & _narrow(problem, logs))
    if not np.any(centred):
        return given
    on = _arrays.from_host(centred[..., None, None], queries)
    plain = xp.zeros_like(logs)
    if problem.key_mask is not None:
        plain = xp.where(problem.key_mask[..., None], plain, xp.full_like(logs, -xp.inf))
    return _Queries(
        queries=xp.where(on, shifted, queries),
        middle=xp.where(on, mean, given.middle),
        centred=centred,
        weights=_arrays.cast(xp.exp(xp.where(on, logs, plain)), problem.dtype, xp),
        lengths=np.where(centred[..., None], lengths, given.lengths),
    )


def _narrow(problem: Problem, logs: Array) -> HostArray:
    """Tell for which leading indices the weights spread little enough, shape (...)."""
    seen = logs if problem.key_mask is None else problem.shown(logs)
    lowest = _arrays.to_host(problem.xp.min(seen, axis=-2))[..., 0]
    return np.asarray(lowest >= -SPREAD)


def _weight_error(problem: Problem, middle_length: HostArray, radius: HostArray) -> HostArray:
    """Return 2 eta of step 4, shape (..., 1)."""
    size, u = problem.scale * middle_length * radius, problem.u
    eta = size * (2 * u + gamma(problem.d + 6, U64)) + (EXP_ULPS + 2 + 4 * size) * U64 + 2 * u
    return up(2 * eta)


def _flushed(problem: Problem, lengths: HostArray, radius: HostArray) -> HostArray:
    """Return what step 5 adds to ln rho, shape (..., 1)."""
    longest = np.max(lengths, axis=-1, keepdims=True)
    tiny = _arrays.smallest_normal(problem.dtype)
    return up(4 * problem.scale * problem.d * tiny * (longest + radius))


def _totals(problem: Problem, weights: Array | None) -> HostArray:
    if weights is None:
        return problem.visible_keys.astype(np.float64)
    of_keys = _arrays.to_host(weights[..., 0]).astype(np.float64)
    grow = 1 + gamma(problem.n_k, U64)
    if problem.causal:
        return up(np.cumsum(of_keys, axis=-1) * grow)
    total = np.sum(of_keys, axis=-1, keepdims=True) * grow
    return np.broadcast_to(up(total), (*problem.batch, problem.n_q))
