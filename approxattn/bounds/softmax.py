"""What rounding does to a softmax over blocks of scores.

Symbols. B_i >= beta |q_i| |k_j| for all visible keys, u the unit roundoff, N the number of key
blocks, t = block + N the terms of one sum, w the smallest normal number.

Rounding (proved here). Everything in steps 1 to 4 acts like an error of the scores that numerator
and denominator share; eta is its size.

1. A computed score is off by at most gamma_(d+2) B_i: one rounding for beta q, d for the product.
   A bias that is added rounds by u B_i, and so did the bias before.
2. The exponent s - m rounds by at most 2 u B_i, and exp itself by EXP_ULPS u.
3. Each rescaling by e^(m - m') does so once more. The N of them telescope in exact arithmetic and
   leave N (EXP_ULPS + 4) u + 2 u B_i N in the logarithm.
4. A score loses at most 2 w in each of its d products, times max(1, max|k|), to underflow.
5. By the tanh lemma the output moves by at most tanh(eta / 2) osc(V).
6. The two sums and the division add at most gamma_(2 t + 2) max|V|.
7. Weights that underflow lose at most n w of a sum that is at least 1.

The logarithm of the denominator (proved here). L_i = m + ln l is what `log_sum_exp` computes.

1. ln sum_j e^{s_j} moves by at most eta when each s_j does.
2. The sum of t positive terms is off by a factor of at most 1 + gamma_t, and by n w.
3. ln rounds by EXP_ULPS u of its size, which is at most ln n + B_i in any way to shift the scores,
   and the sum with m by u |L_i|.
"""

from __future__ import annotations

import numpy as np

from approxattn import _arrays
from approxattn._arrays import HostArray
from approxattn._arrays.precision import plain
from approxattn._problem import Problem
from approxattn._problem.input import max_abs
from approxattn.bounds.perturbation import output_bound, tv_from_score_error
from approxattn.bounds.rounding import EXP_ULPS, blocked_sum_terms, gamma, up
from approxattn.bounds.scores import value_spread


def score_rounding(problem: Problem, bound: HostArray) -> HostArray:
    """Return the bound on the error of one computed score, shape (..., n_q), given B_i >= beta
    |q_i||k_j|.
    """
    xp, tiny = problem.xp, _arrays.smallest_normal(problem.dtype)
    # of beta q, then of the products
    underflow = 4 * problem.d * tiny * max(1.0, max_abs(problem.k, xp))
    # a bias is rounded to the dtype computed in, and added: within bound twice
    added = 0.0 if problem.bias is None else 3 * plain(problem.u) * bound
    return up(gamma(problem.d + 3, problem.u, 1) * bound + underflow + added)


def softmax_rounding(problem: Problem, bound: HostArray, key_block: int) -> HostArray:
    """Return the bound on the rounding error of each row of a softmax output, shape (..., n_q), for
    keys taken in blocks of `key_block`.
    """
    spread = value_spread(problem)
    u = problem.u
    eta = _exponent_rounding(problem, bound, key_block, u)
    terms = blocked_sum_terms(problem.n_k, key_block)
    lost = 2 * problem.n_k * _arrays.smallest_normal(problem.dtype)
    sums = (
        gamma(2 * terms + 4, u, 2) * spread.top[..., None]
        + lost * np.maximum(spread.top, 1.0)[..., None]
    )
    return up(output_bound(tv_from_score_error(eta), spread.osc) + sums)


def _exponent_rounding(problem: Problem, bound: HostArray, key_block: int, u: float) -> HostArray:
    """Return eta, shape (..., n_q)."""
    blocks = -(-problem.n_k // key_block)
    exponents = plain(u) * (EXP_ULPS + 4 + 4 * bound) * (blocks + 1)
    return score_rounding(problem, bound) + exponents


def lse_rounding(problem: Problem, bound: HostArray, key_block: int) -> HostArray:
    """Return the bound on the rounding error of each log-sum-exp, shape (..., n_q)."""
    u = plain(problem.u)
    eta = _exponent_rounding(problem, bound, key_block, problem.u)
    sums = gamma(blocked_sum_terms(problem.n_k, key_block) + 4, u)
    lost = 2 * problem.n_k * _arrays.smallest_normal(problem.dtype)
    relative = sums + lost
    of_sum = relative / (1 - relative) if relative < 1 else np.inf
    size = bound + np.log(problem.n_k) + 1
    return up(eta + of_sum + (EXP_ULPS + 2) * u * size)
