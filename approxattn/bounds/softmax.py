"""What rounding does to a softmax over blocks of scores.

Rounding (proved here). A computed score differs from the true one by at most eta_s = gamma_{d+2}
B_i, B_i >= |beta q_i||k_j|: one rounding for beta q, d for the dot product. The exponent s - m then
rounds by 2 u B_i at most, exp itself by EXP_ULPS u, and each rescaling by e^{m - m'} once more: N =
number of key blocks rescalings telescope in exact arithmetic and leave N (EXP_ULPS + 4) u + 2 u B_i
N in the log. All these act like a score error eta common to numerator and denominator, so they move
the output by at most tanh(eta/2) osc(V). The two sums, of t = block + N terms, and the division add
gamma_{2t+2} max|V|. Weights that underflow lose at most n * tiny of a sum >= 1.
"""

from __future__ import annotations

import numpy as np

from approxattn import _arrays
from approxattn._arrays import HostArray
from approxattn._problem import Problem
from approxattn.bounds.perturbation import output_bound, tv_from_score_error
from approxattn.bounds.rounding import EXP_ULPS, blocked_sum_terms, gamma, up
from approxattn.bounds.scores import value_spread


def score_rounding(problem: Problem, bound: HostArray) -> HostArray:
    """Return the bound on the error of one computed score, shape (..., n_q), given B_i >= beta
    |q_i||k_j|.
    """
    xp, tiny = problem.xp, _arrays.smallest_normal(problem.dtype)
    # of beta q, then of the products
    underflow = 4 * problem.d * tiny * max(1.0, float(xp.max(xp.abs(problem.k))))
    return up(gamma(problem.d + 3, problem.u) * bound + underflow)


def softmax_rounding(problem: Problem, bound: HostArray, key_block: int) -> HostArray:
    """Return the bound on the rounding error of each row of a softmax output, shape (..., n_q), for
    keys taken in blocks of `key_block`.
    """
    spread = value_spread(problem)
    blocks = -(-problem.n_k // key_block)
    u = problem.u
    eta = score_rounding(problem, bound) + u * (EXP_ULPS + 4 + 4 * bound) * (blocks + 1)
    terms = blocked_sum_terms(problem.n_k, key_block)
    lost = 2 * problem.n_k * _arrays.smallest_normal(problem.dtype)
    sums = (
        gamma(2 * terms + 4, u) * spread.top[..., None]
        + lost * np.maximum(spread.top, 1.0)[..., None]
    )
    return up(output_bound(tv_from_score_error(eta), spread.osc) + sums)
