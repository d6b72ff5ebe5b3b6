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

Soft caps and sinks (proved here). A product s is capped to t = c tanh(s / c).

1. |dt/ds| <= 1: what s is off by, t is off by at most, and never by more than 2 c.
2. x = s / c is off by a factor of at most 1 + 2 u, for c and the division, and x sech^2 x is at
   most tanh x. So t moves by 2 u |t| at most. tanh adds TANH_ULPS u |t|, and c, as it is stored,
   and the product with it u |t| each.
3. What underflows in s / c and tanh loses 2 w, times c.
4. A sink is one more key with the value 0, in a block of its own: B_i counts it, and so do n, N
   and osc(V). It and the bias were rounded once more where they came in another dtype.

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
from approxattn.bounds.perturbation import output_bound, tv_from_score_error
from approxattn.bounds.rounding import EXP_ULPS, TANH_ULPS, blocked_sum_terms, gamma, up
from approxattn.bounds.scores import product_bound, value_spread


def score_rounding(problem: Problem, bound: HostArray) -> HostArray:
    """Return the bound on the error of one computed score, shape (..., n_q), given B_i >= beta
    |q_i||k_j|.
    """
    tiny, u = _arrays.smallest_normal(problem.dtype), plain(problem.u)
    # of beta q, then of the products
    underflow = 4 * problem.d * tiny * max(1.0, problem.largest_key)
    # a bias and a sink are rounded to the dtype of the tokens, and added: within bound twice
    given = problem.bias is not None or problem.sinks is not None
    added = (2 * u + problem.rounded) * bound if given else 0.0
    plainly = problem.softcap is None and problem.sinks is None
    size = bound if plainly else product_bound(problem)
    found = gamma(problem.d + 3, problem.u, 1) * size + underflow
    if problem.softcap is not None:
        cap = problem.softcap
        of_cap = (TANH_ULPS + 5) * u * np.minimum(size, cap) + 4 * cap * tiny
        found = np.minimum(found, 2 * cap) + of_cap
    return up(found + added)


def slope_rounding(problem: Problem) -> HostArray | float:
    """Return the bound on the error of one computed 1 - tanh^2(s / c), shape (..., n_q), or 0.

    Proved here: its derivative in x = s / c is at most 1 in size, and so is |x| times that. x is
    off by the error of s over c, by 2 u |x| and by w; tanh by TANH_ULPS u, its square by twice
    that; square, difference and the product that follows round by u each.
    """
    cap, u = problem.softcap, plain(problem.u)
    if cap is None:
        return 0.0
    tiny = _arrays.smallest_normal(problem.dtype)
    underflow = 4 * problem.d * tiny * max(1.0, problem.largest_key)
    of_score = gamma(problem.d + 3, problem.u, 1) * product_bound(problem) + underflow
    with np.errstate(over="ignore"):
        found = of_score / cap + (2 * TANH_ULPS + 8) * u + 2 * tiny
    return np.minimum(up(found), 1.0)


def sink_blocks(problem: Problem) -> int:
    """Return the number of blocks that sinks add to those of the keys."""
    return 0 if problem.sinks is None else 1


def softmax_rounding(
    problem: Problem, bound: HostArray, key_block: int, blocks: int | None = None
) -> HostArray:
    """Return the bound on the rounding error of each row of a softmax output, shape (..., n_q), for
    keys taken in blocks of `key_block`, or in so many `blocks` of that length at most.
    """
    spread = value_spread(problem)
    u = problem.u
    blocks = -(-problem.n_k // key_block) if blocks is None else blocks
    eta = _exponent_rounding(problem, bound, blocks, u)
    terms = min(problem.n_k, key_block) + blocks + sink_blocks(problem)
    lost = 2 * (problem.n_k + 1) * _arrays.smallest_normal(problem.dtype)
    sums = (
        gamma(2 * terms + 4, u, 2) * spread.top[..., None]
        + lost * np.maximum(spread.top, 1.0)[..., None]
    )
    return up(output_bound(tv_from_score_error(eta), spread.osc) + sums)


def _exponent_rounding(problem: Problem, bound: HostArray, blocks: int, u: float) -> HostArray:
    """Return eta, shape (..., n_q), for keys in so many blocks."""
    blocks = blocks + sink_blocks(problem)
    exponents = plain(u) * (EXP_ULPS + 4 + 4 * bound) * (blocks + 1)
    return score_rounding(problem, bound) + exponents


def lse_rounding(problem: Problem, bound: HostArray, key_block: int) -> HostArray:
    """Return the bound on the rounding error of each log-sum-exp, shape (..., n_q)."""
    u = plain(problem.u)
    eta = _exponent_rounding(problem, bound, -(-problem.n_k // key_block), problem.u)
    sums = gamma(blocked_sum_terms(problem.n_k, key_block) + 4, u)
    lost = 2 * problem.n_k * _arrays.smallest_normal(problem.dtype)
    relative = sums + lost
    of_sum = relative / (1 - relative) if relative < 1 else np.inf
    size = bound + np.log(problem.n_k) + 1
    return up(eta + of_sum + (EXP_ULPS + 2) * u * size)
