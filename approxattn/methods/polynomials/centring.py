"""Scores made small without changing attention: keys and queries minus a centre each, with a weight
for every key.

For any vectors m, c (proved here; exact)

    exp(beta q_i . k_j) = exp(beta q_i . c) exp(beta m . (k_j - c)) exp(beta (q_i - m) . (k_j - c)),

whose first factor depends on i only, so that the division removes it: attention is that of q - m
and k - c with key j weighted by

    w_j = exp(beta m . (k_j - c)),    and any common factor of the w_j.

T1 with weights (proved here). The approximate weights of row i are w_j P(s_ij), the exact ones w_j
exp(s_ij): their ratios are P(s_ij) / exp(s_ij) whatever w is, so T1 and T2 hold as they stand, with
s the centred scores. Computed weights w~_j with |ln(w~_j / w_j)| <= eta are like scores off by eta:
they add 2 eta to ln rho. Here the products beta m . (k_j - c) are taken in float64 from keys
centred in the dtype computed in, of unit roundoff u, so that

    eta = beta |m| max|k_j - c| (2 u + gamma'_{d+6}) + (EXP_ULPS + 2 + 4 beta |m| max|k_j - c|) u' +
        2 u,    u' and gamma' those of float64.

c is the mean of the visible keys; m is the mean of the queries where that shortens the longest
query, 0 elsewhere, for each leading index. Weights that spread over more than SPREAD in the log
would strain float32 (a causal row may see light keys only): there m = 0 too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.rounding import EXP_ULPS, gamma, up
from approxattn.bounds.scores import key_centre, row_norms, visible_max
from approxattn.methods.polynomials.metric import score_bounds_of

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
    bound : ndarray, shape (..., n_q)
        B_i >= |s_ij|, on the host.
    size : ndarray, shape (..., n_q)
        R_i >= beta |q_i - m| max|k_j - c| >= B_i: what the terms of a score may add up to.
    total : ndarray, shape (..., n_q)
        Sum of the weights that each query sees, rounded up.
    log_error : ndarray, shape (..., 1)
        2 eta.
    """

    queries: Array
    keys: Array
    weights: Array | None
    key_shift: Array
    middle: Array
    keys_centred: bool
    centred: HostArray
    bound: HostArray
    size: HostArray
    total: HostArray
    log_error: HostArray


def centre_scores(problem: Problem, centre: str = "both") -> CentredScores:
    """Return the centred scores; `centre` "keys" leaves the queries as they are, "none" the keys
    too.
    """
    xp, queries = problem.xp, problem.q
    shift = key_centre(problem)
    shift = xp.zeros_like(shift) if centre == "none" else shift
    keys = shifted_keys(problem, shift)
    middle, centred = xp.zeros_like(keys[..., :1, :]), np.zeros(problem.batch, bool)
    weights, log_error = None, np.zeros((*problem.batch, 1))
    lengths = row_norms(queries, xp)
    if centre == "both" and problem.n_q:
        mean = _arrays.mean_of_rows(queries, xp)
        shifted = queries - mean
        shorter = row_norms(shifted, xp)
        slopes = _slopes(problem, keys, mean)
        centred = np.asarray(np.max(shorter, axis=-1) < GAIN * np.max(lengths, axis=-1)) & _narrow(
            slopes
        )
    if np.any(centred):
        on = _arrays.from_host(centred[..., None, None], queries)
        middle, queries = xp.where(on, mean, middle), xp.where(on, shifted, queries)
        lengths = np.where(centred[..., None], shorter, lengths)
        shown = np.where(
            centred[..., None],
            slopes - np.max(slopes, axis=-1, keepdims=True),
            np.where(np.isinf(slopes), slopes, 0.0),
        )
        weights = _arrays.cast(
            _arrays.from_host(np.exp(shown)[..., None], queries), problem.dtype, xp
        )
        log_error = np.where(centred[..., None], _log_error(problem, keys, middle), 0.0)
    bound, size = (
        up(x * (1 + 6 * problem.u)) for x in score_bounds_of(queries, keys, problem, lengths)
    )  # centring rounds both
    return CentredScores(
        queries=queries,
        keys=keys,
        weights=weights,
        key_shift=shift,
        middle=middle,
        keys_centred=centre != "none",
        centred=centred,
        bound=bound,
        size=size,
        total=_totals(problem, weights),
        log_error=log_error,
    )


def shifted_keys(problem: Problem, shift: Array) -> Array:
    """Return keys minus `shift`, shape (..., n_k, d); keys that take no part become 0."""
    centred = problem.k - shift
    if problem.key_mask is None:
        return centred
    return problem.xp.where(problem.key_mask[..., None], centred, problem.xp.zeros_like(centred))


def _slopes(problem: Problem, keys: Array, middle: Array) -> HostArray:
    """Return beta m . k_j in float64 on the host, shape (..., n_k), -inf for keys that take no
    part.
    """
    xp = problem.xp
    wide = [_arrays.cast(x, "float64", xp) for x in (keys, middle)]
    slopes = (
        problem.scale * _arrays.to_host(xp.matmul(wide[0], xp.matrix_transpose(wide[1])))[..., 0]
    )
    return (
        slopes
        if problem.key_mask is None
        else np.where(_arrays.to_host(problem.key_mask), slopes, -np.inf)
    )


def _narrow(slopes: HostArray) -> HostArray:
    """Tell for which leading indices the weights spread little enough, shape (...)."""
    lowest = np.min(np.where(np.isfinite(slopes), slopes, np.inf), axis=-1)
    return np.asarray(np.max(slopes, axis=-1) - lowest <= SPREAD)


def _log_error(problem: Problem, keys: Array, middle: Array) -> HostArray:
    """Return 2 eta, shape (..., 1)."""
    radius = visible_max(row_norms(keys, problem.xp), problem)[..., None]
    size, wide = problem.scale * row_norms(middle, problem.xp) * radius, 2.0**-53
    eta = (
        size * (2 * problem.u + gamma(problem.d + 6, wide))
        + (EXP_ULPS + 2 + 4 * size) * wide
        + 2 * problem.u
    )
    return up(2 * eta)


def _totals(problem: Problem, weights: Array | None) -> HostArray:
    if weights is None:
        return problem.visible_keys.astype(np.float64)
    own = _arrays.to_host(weights[..., 0]).astype(np.float64)
    if problem.causal:
        return up(np.cumsum(own, axis=-1) * (1 + gamma(problem.n_k, 2.0**-53)))
    total = np.sum(own, axis=-1, keepdims=True) * (1 + gamma(problem.n_k, 2.0**-53))
    return np.broadcast_to(up(total), (*problem.batch, problem.n_q))
