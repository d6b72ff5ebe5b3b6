"""How far attention to heavy keys and to means of the others is from attention.

Symbols, for query block c and key block b. k_b is the mean of block b, k_cb the mean of its m_cb
keys that are not heavy for c, both as computed. eta_i bounds the errors of the scores of query i,
and r_i is the weight that it gives to means.

Bound (proved here).

1. A block of m_cb keys has the weight m_cb e^{s_cb} on the mean of their values. So the weights are
   those of attention over all keys, with the keys that are not heavy replaced by k_cb.
2. A key j of block b is replaced by one at most |k_j - k_b| + |k_b - k_cb| away.
3. So, over the blocks with something left, the scores of these keys are off by at most

    eta_i = beta |q_i| R_c,    R_c = max_b (max_{j in b} |k_j - k_b| + |k_b - k_cb|),

4. The scores of heavy keys are exact.
5. TV is at most the bound of `perturbation.py` for tokens of approximate mass r_i.

Rounding (proved here).

1. The bound is on whatever k_b and k_cb were computed, so their rounding needs no analysis.
2. ln m_cb joins the scores as in `pooling_bounds.py`.
3. r_i is a softmax output itself, for values 0 and 1.
4. A mean of what is left is a difference of sums over at most l keys, each off by gamma_{2l+8} l
   max|V|, divided by m_cb. With rho = max_b l_b / m_cb, these add 3 gamma_{2l+8} rho max|V|.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.perturbation import output_bound, tv_from_partial_score_error
from approxattn.bounds.rounding import gamma, up
from approxattn.bounds.scores import row_norms, score_bound, value_spread
from approxattn.bounds.softmax import softmax_rounding
from approxattn.methods.low_rank.heavy_keys import HeavyAndMeans
from approxattn.softmax.biased import Reduced


@dataclass(frozen=True, kw_only=True)
class HeavyBound:
    """Terms of the bound, on the host, for queries laid out in their blocks, shapes (..., C, s).

    Attributes
    ----------
    eta : ndarray
        Bound on the change of the score of a key that is not heavy.
    share : ndarray
        Bound on the weight of these keys.
    rows : ndarray
        The bound.
    """

    eta: HostArray
    share: HostArray
    rows: HostArray


def heavy_bound(
    problem: Problem, keys: HeavyAndMeans, means: Array, reduced: Reduced, rest: Array
) -> HeavyBound:
    """Bound the error.

    Parameters
    ----------
    problem : Problem
        All queries and keys.
    keys : HeavyAndMeans
        How the keys were combined.
    means : array, shape (..., K, d)
        Means of the blocks of keys, as computed.
    reduced : Reduced
        The queries in blocks with what they meet.
    rest : array, shape (..., C, s, 1)
        The computed weight of what is not heavy.
    """
    part, u = reduced.problem, problem.u
    log_top = math.log(max(1, int(np.max(keys.pool.counts, initial=1))))
    radius = _radius(problem, keys, means, part.k[..., keys.heavy.shape[-1] :, :])  # (..., C)
    norms = row_norms(part.q, part.xp)
    eta = up(problem.scale * norms * radius[..., None])
    scores = score_bound(part) + log_top
    indicator = replace(part, v=_indicator(part, keys.heavy.shape[-1]))
    share = np.minimum(
        up(_arrays.to_host(rest[..., 0]) + softmax_rounding(indicator, scores, part.n_k)), 1.0
    )
    tv = tv_from_partial_score_error(eta + 4 * u * log_top, share)
    spread = value_spread(problem)
    rounding = (
        softmax_rounding(part, scores, part.n_k) + _mean_rounding(problem, keys)[..., None, None]
    )
    rows = up(output_bound(tv, np.broadcast_to(spread.osc[..., None], tv.shape[:-1])) + rounding)
    return HeavyBound(eta=eta, share=share, rows=rows)


def _indicator(part: Problem, width: int) -> Array:
    """Return 0 for heavy keys and 1 for means, shape (..., C, T + K, 1)."""
    xp = part.xp
    column = part.v[..., :1]
    return xp.concat(
        [xp.zeros_like(column[..., :width, :]), xp.ones_like(column[..., width:, :])], axis=-2
    )


def _radius(problem: Problem, keys: HeavyAndMeans, means: Array, rest: Array) -> HostArray:
    """Return R_c, shape (..., C)."""
    xp, slack = problem.xp, 1 + 4 * problem.u
    tiny = problem.d * _arrays.smallest_normal(problem.dtype)
    away = row_norms(keys.pool.deviations(problem.k, means), xp)
    away = np.max(
        np.reshape(away, (*means.shape[:-1], keys.pool.members.shape[-1])), axis=-1, initial=0.0
    )
    shift = row_norms(means[..., None, :, :] - rest, xp)  # (..., C, K)
    total = up((away[..., None, :] + shift) * slack + 2 * tiny)
    return np.asarray(np.max(np.where(keys.left > 0, total, 0.0), axis=-1, initial=0.0))


def _mean_rounding(problem: Problem, keys: HeavyAndMeans) -> HostArray:
    """Return the rounding error of the mean of what is left of a block of values, shape (...)."""
    counts = keys.pool.counts
    largest = int(np.max(counts, initial=1))
    ratio = np.where(keys.left > 0, counts[..., None, :] / np.maximum(keys.left, 1), 0.0)
    worst = np.max(ratio, axis=(-2, -1), initial=0.0)
    top = value_spread(problem).top
    return up(
        3 * gamma(2 * largest + 8, problem.u) * worst * top
        + 4 * largest * _arrays.smallest_normal(problem.dtype)
    )
