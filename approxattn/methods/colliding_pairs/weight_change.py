"""How far the weights of a row move when its scores s become logits l, or some of its keys are
dropped.

Certificate (proved here, surely, for the hashes drawn). Scores and logits are both known, and so is
t_j = l_j - s_j. TV is the total variation between the two sets of weights.

1. By T1 of `perturbation.py`, TV <= tanh(osc_j t / 4) over the visible keys.
2. With fill = -inf the kept weights are softmax weights renormalised. TV is then exactly the
   softmax mass of the dropped keys.
3. A row without collision has the logits 0, so t_j = -s_j.

Rounding of the dropped mass (proved here). It is computed from the same scores, n in number. Let r
be their range, at most 800 because e^-800 underflows, and tiny the smallest normal number.

1. exp and the shift change a term by a factor of at most exp((EXP_ULPS + 2 + r) u), the sums above
   and below the line by 1 +- gamma_{n+2}.
2. So the true mass is below exp(2 (EXP_ULPS + 2 + r) u) (1 + gamma_{n+2})/(1 - gamma_{n+2}) times
   the computed one, plus 2 n tiny for underflow.
"""

from __future__ import annotations

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.perturbation import tv_from_log_ratio
from approxattn.bounds.rounding import EXP_ULPS, gamma, up


def oscillation_change(logits: Array, scores: Array, seen: Array, problem: Problem) -> HostArray:
    """Bound TV by the oscillation of l - s over the visible keys, shape (..., rows)."""
    xp = problem.xp
    change, edge = logits - scores, xp.full_like(scores, xp.inf)
    high = _arrays.to_float64(xp.max(xp.where(seen, change, -edge), axis=-1))
    low = _arrays.to_float64(xp.min(xp.where(seen, change, edge), axis=-1))
    return tv_from_log_ratio(high - low + 2 * problem.u * (np.abs(high) + np.abs(low)))


def dropped_mass(scores: Array, met: Array, seen: Array, problem: Problem) -> HostArray:
    """Bound the softmax mass, under the computed scores, of the visible keys that did not collide,
    shape (..., rows).
    """
    xp, u, n = problem.xp, problem.u, problem.n_k
    visible = xp.where(seen, scores, xp.full_like(scores, -xp.inf))
    top = xp.max(visible, axis=-1, keepdims=True)
    weights = xp.exp(visible - top)
    dropped = xp.sum(xp.where(met, xp.zeros_like(weights), weights), axis=-1) / xp.sum(
        weights, axis=-1
    )
    spread = _arrays.to_host(top[..., 0] - xp.min(xp.where(seen, scores, top), axis=-1)).astype(
        np.float64
    )
    sums = gamma(n + 2, u)
    if sums >= 1:
        return np.ones(spread.shape)
    factor = np.exp(2 * u * (EXP_ULPS + 2 + np.minimum(spread, 800.0))) * (1 + sums) / (1 - sums)
    lost = 2 * n * _arrays.smallest_normal(problem.dtype)
    return up(np.minimum(_arrays.to_float64(dropped) * factor + lost, 1.0))
