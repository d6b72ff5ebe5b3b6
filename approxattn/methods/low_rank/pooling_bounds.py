"""How far attention to block means is from attention, and its gradient from the gradient.

Symbols. Block b has m_b keys with the means k_b and v_b of keys and values; b(j) is the block of
key j. eta_i = beta |q_i| max_j |k_j - k_b(j)|. L = max ln m_b, l = max m_b, and B_i bounds the
scores.

Output (proved here).

1. The weights m_b e^{s_b} on v_b are exact attention over all keys, with k_j replaced by the mean
   of its block.
2. So the scores are off by at most eta_i, and TV <= tanh(eta_i / 2) by the tanh lemma. This holds
   for whatever k_b was computed, so its rounding needs no analysis.
3. A weight is exp of s_b + ln m_b, a score of size B_i + L. Adding the logarithm is one rounding;
   rounding it to the dtype moves it by at most 2 u L.
4. The means of the values are sums of at most l terms and a division: off by gamma_{l+1} max|V|.

Gradient (proved here, with T3 of `bounds/gradients.py`). G is the cotangent, z_j = G_i . v_j and
omega_i its oscillation.

1. Spread the weight of a block over its keys: f~_j = w_b / m_b, so ln rho_i <= 2 eta_i.
2. Let P~_j = f~_j (z_j - kappa~), kappa~ = sum_j f~_j z_j. z_b is the mean of z over the block. So
   the gradients of the pooled output are

    dq~ = beta sum_j P~_j k_b(j),
    dk~_j = beta sum_i q_i f~_ij (z_ib - kappa~_i),
    dv~_j = sum_i f~_ij G_i.

3. T3 compares beta sum_j P~_j k_j, beta sum_i q_i P~_ij and sum_i f~_ij G_i with the exact ones.
4. dq~ differs from the first by at most beta (omega_i / 2) max_j |k_j - k_b(j)|: half of the
   oscillation bounds the mean absolute deviation of z.
5. dk~_j differs from the second by at most beta sum_i |q_i| omega_i (m - 1) / m^2: f~_ij <= 1/m,
   and an entry differs from the mean of m by at most (m - 1)/m of their oscillation.
6. dv~ is the third.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.gradients import (
    GradientBounds,
    GradientNoise,
    cotangent_size,
    exact_gradient_rounding,
    gradient_bounds,
)
from approxattn.bounds.perturbation import output_bound, tv_from_score_error
from approxattn.bounds.rounding import gamma, up
from approxattn.bounds.scores import (
    query_norms,
    row_norms,
    score_bound,
    score_bound_of,
    value_spread,
)
from approxattn.bounds.softmax import softmax_rounding
from approxattn.methods.low_rank.combinations import Combined
from approxattn.sketching import MeanPool
from approxattn.softmax.biased import unbiased
from approxattn.softmax.streaming import KEY_BLOCK


@dataclass(frozen=True, kw_only=True)
class PoolingBound:
    """Terms of the bound on the output, on the host.

    Attributes
    ----------
    eta : ndarray, shape (..., n_q)
        Bound on the change of a score, without rounding.
    tv : ndarray, shape (..., n_q)
        Total variation, with the rounding of the logarithms.
    rounding : ndarray, shape (..., n_q)
        What rounding adds to the output.
    rows : ndarray, shape (..., n_q)
        The bound.
    """

    eta: HostArray
    tv: HostArray
    rounding: HostArray
    rows: HostArray


def pooling_bound(combined: Combined) -> PoolingBound:
    """Bound the error of the output of attention to block means."""
    problem, pooled, pool = combined.original, combined.reduced.problem, combined.keys
    return bound_of_means(problem, pooled, _eta(combined), _log_top(pool), _mean_rounding(combined))


def bound_of_means(
    problem: Problem, pooled: Problem, eta: HostArray, log_top: float, of_means: HostArray
) -> PoolingBound:
    """Return it for eta, shape (..., n_q), L, and the rounding of a mean of values, shape (...)."""
    spread = value_spread(problem)
    tv = tv_from_score_error(eta + 4 * problem.u * log_top)
    rounding = softmax_rounding(pooled, score_bound(pooled) + log_top, pooled.n_k)
    rounding = rounding + of_means[..., None]
    return PoolingBound(
        eta=eta, tv=tv, rounding=rounding, rows=up(output_bound(tv, spread.osc) + rounding)
    )


def pooling_gradient_bound(
    combined: Combined, dout: Array, gradient: tuple[Array, Array, Array]
) -> GradientBounds:
    """Bound the errors of the gradient of that output, given as computed, shapes of q, k, v."""
    problem, pool, xp = combined.original, combined.keys, combined.original.xp
    size = cotangent_size(dout, xp)
    eta = _eta(combined) + 4 * problem.u * _log_top(pool)
    pair = up(size * _mean_rounding(combined)[..., None])
    truncation = gradient_bounds(
        problem,
        size,
        log_ratio=up(2 * eta),
        noise=GradientNoise(weights=np.zeros_like(eta), pairs=pair),
    )
    rounding = exact_gradient_rounding(unbiased(combined.reduced), size, KEY_BLOCK)
    omega = size * value_spread(problem).osc[..., None]
    # beta |q_i| max |k_j - k_b(j)| is eta_i over the length of the query
    radius = np.max(_deviation_norms(combined), axis=-1)[..., None]
    dq = up(truncation.dq + problem.scale * omega / 2 * radius + rounding.dq)
    spread = problem.scale * np.sum(query_norms(problem) * omega, axis=-1, keepdims=True)
    count = pool.tokens_in_block()
    inside = up(spread * (count - 1) / count**2)
    # each key shares the gradient of its block: a division and a product
    dk, dv = (4 * problem.u * _largest(x) for x in gradient[1:])
    return GradientBounds(
        dq=dq,
        dk=up(truncation.dk + np.max(rounding.dk, axis=-1, keepdims=True) + dk + inside),
        dv=up(truncation.dv + np.max(rounding.dv, axis=-1, keepdims=True) + dv),
    )


def _eta(combined: Combined) -> HostArray:
    problem = combined.original
    everyone = replace(problem, key_mask=None)  # the deviations are those of visible keys already
    eta = score_bound_of(everyone, combined.keys.deviations(problem.k, combined.reduced.problem.k))
    return up(eta * (1 + 4 * problem.u) + problem.d * _arrays.smallest_normal(problem.dtype))


def _deviation_norms(combined: Combined) -> HostArray:
    """Return |k_j - k_b(j)|, rounded up, in the order of the blocks, shape (..., k * largest
    block).
    """
    problem = combined.original
    norms = row_norms(combined.keys.deviations(problem.k, combined.reduced.problem.k), problem.xp)
    return up(norms * (1 + 4 * problem.u) + problem.d * _arrays.smallest_normal(problem.dtype))


def _log_top(pool: MeanPool) -> float:
    return math.log(max(1, int(np.max(pool.counts))))


def _mean_rounding(combined: Combined) -> HostArray:
    """Return the rounding error of a mean of values, shape (...)."""
    problem, largest = combined.original, combined.keys.members.shape[-1]
    spread = value_spread(problem)
    return up(gamma(largest + 3, problem.u) * spread.top + _arrays.smallest_normal(problem.dtype))


def _largest(x: Array) -> HostArray:
    """Return the largest absolute entry of each row, shape (..., n, m) -> (..., n)."""
    xp = _arrays.namespace(x=x)
    return _arrays.to_float64(xp.max(xp.abs(x), axis=-1))
