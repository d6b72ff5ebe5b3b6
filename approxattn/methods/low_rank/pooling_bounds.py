"""How far attention to block means is from attention, and its gradient from the gradient.

Output (proved here). Blocks b of keys with means k_b, v_b and sizes m_b: weights m_b e^{s_b} on
v_b. That is exact attention over all keys with k_j replaced by the mean of its block, so by the
tanh lemma TV <= tanh(eta_i / 2), eta_i = beta |q_i| max_j |k_j - k_b(j)|. The bound is on whatever
k_b was computed, so its rounding needs no analysis. Rounding of the rest: a weight is exp of s_b +
ln m_b, a score of size B_i + L, L = max ln m_b; adding the logarithm is one rounding, rounding it
to the dtype at most 2 u L; the means of the values are sums of at most l = max m_b terms and a
division, so they are off by gamma_{l+1} max|V|.

Gradient (proved here, with T3 of `approxattn.bounds.gradients`). Spread the weight of a block over
its keys: f~_j = w_b / m_b, so ln rho_i <= 2 eta_i, and let P~_j = f~_j (z_j - kappa~), kappa~ =
sum_j f~_j z_j. Since z_b is the mean of z over the block, the gradients of the pooled output are

    dq~ = beta sum_j P~_j k_b(j),    dk~_j = beta sum_i q_i f~_ij (z_ib - kappa~_i),    dv~_j =
        sum_i f~_ij G_i.

They differ from beta sum_j P~_j k_j, beta sum_i q_i P~_ij and sum_i f~_ij G_i, which T3 compares
with the exact ones, by at most

    beta (omega_i / 2) max_j |k_j - k_b(j)|,    beta sum_i |q_i| omega_i (m - 1) / m^2,    0:

half the oscillation bounds the mean absolute deviation of z; f~_ij <= 1/m, and an entry differs
from the mean of m by at most (m - 1)/m of their oscillation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn.bounds.gradients import (
    GradientBounds,
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
    u = problem.u
    eta, log_top, spread = _eta(combined), _log_top(pool), value_spread(problem)
    tv = tv_from_score_error(eta + 4 * u * log_top)
    rounding = softmax_rounding(pooled, score_bound(pooled) + log_top, pooled.n_k)
    rounding = rounding + _mean_rounding(combined)[..., None]
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
        dout,
        problem.k,
        log_ratio=up(2 * eta),
        weight_noise=np.zeros_like(eta),
        pair_noise=pair,
    )
    rounding = exact_gradient_rounding(unbiased(combined.reduced), dout, KEY_BLOCK)
    omega = size * value_spread(problem).osc[..., None]
    # beta |q_i| max |k_j - k_b(j)| is eta_i over the length of the query
    radius = np.max(_deviation_norms(combined), axis=-1)[..., None]
    dq = up(truncation.dq + problem.scale * omega / 2 * radius + rounding.dq)
    spread = problem.scale * np.sum(query_norms(problem) * omega, axis=-1, keepdims=True)
    count = pool.tokens_in_block()
    inside = up(spread * (count - 1) / count**2)
    sizes = (_largest(x) * 4 * problem.u for x in gradient[1:])
    dk, dv = (
        up(own + np.max(noise, axis=-1, keepdims=True) + more + extra)
        for own, noise, more, extra in zip(
            (truncation.dk, truncation.dv),
            (rounding.dk, rounding.dv),
            sizes,
            (inside, 0.0),
            strict=True,
        )
    )
    return GradientBounds(dq=dq, dk=dk, dv=dv)


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
    return _arrays.to_host(xp.max(xp.abs(x), axis=-1)).astype(np.float64)
