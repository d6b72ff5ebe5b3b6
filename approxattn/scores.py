"""Blocks of masked scores, and what rounding does to a softmax over them.

The softmax is the streaming one of `methods/exact.py`; over a single key block it is the usual one.

Rounding (proved here). A computed score differs from the true one by at most eta_s = gamma_{d+2} B_i, B_i >= |beta q_i||k_j|: one rounding
for beta q, d for the dot product. The exponent s - m then rounds by 2 u B_i at most, exp itself by EXP_ULPS u, and each rescaling by
e^{m - m'} once more: N = number of key blocks rescalings telescope in exact arithmetic and leave N (EXP_ULPS + 4) u + 2 u B_i N in the log.
All these act like a score error eta common to numerator and denominator, so they move the output by at most tanh(eta/2) osc(V). The two
sums, of t = block + N terms, and the division add gamma_{2t+2} max|V|. Weights that underflow lose at most n * tiny of a sum >= 1.
"""

from __future__ import annotations

import math

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.perturbation import output_bound, tv_from_score_error
from approxattn.rounding import EXP_ULPS, blocked_sum_terms, gamma, up
from approxattn.score_bounds import value_spread

SCORES_AT_ONCE = 2**20
"""Scores held at one time, over all batch items. *Chosen*: 8 MiB in float64."""


def rows_at_once(problem: Problem, keys: int) -> int:
    """Return how many queries to take at a time when each meets `keys` keys."""
    items = max(1, math.prod(problem.batch))
    return max(1, SCORES_AT_ONCE // (items * keys))


def masked_scores(problem: Problem, scaled_q: Array, first: int, start: int, end: int) -> Array:
    """Return beta q_i . k_j for the given query rows (from `first` on) and keys start..end-1, -inf where the query may not look."""
    xp = problem.xp
    scores = xp.matmul(scaled_q, xp.matrix_transpose(problem.k[..., start:end, :]))
    keep = visible_block(problem, scores, first, start, end)
    return scores if keep is None else xp.where(keep, scores, xp.full_like(scores, -xp.inf))


def visible_block(problem: Problem, like: Array, first: int, start: int, end: int) -> Array | None:
    """Return which (query, key) pairs of a block may look at each other, bool and broadcastable to `like`; None when all may."""
    xp = problem.xp
    keep = None if problem.key_mask is None else problem.key_mask[..., None, start:end]
    if problem.causal and end > first + 1:
        where = {"device": _arrays.device(like)}
        rows, keys = xp.arange(first, first + like.shape[-2], **where), xp.arange(start, end, **where)
        past = rows[:, None] >= keys[None, :]
        keep = past if keep is None else keep & past
    return keep


def score_rounding(problem: Problem, bound: HostArray) -> HostArray:
    """Return the bound on the error of one computed score, shape (..., n_q), given B_i >= beta |q_i||k_j|."""
    xp, tiny = problem.xp, _arrays.smallest_normal(problem.dtype)
    underflow = 4 * problem.d * tiny * max(1.0, float(xp.max(xp.abs(problem.k))))  # of beta q, then of the products
    return up(gamma(problem.d + 3, problem.u) * bound + underflow)


def softmax_rounding(problem: Problem, bound: HostArray, key_block: int) -> HostArray:
    """Return the bound on the rounding error of each row of a softmax output, shape (..., n_q), for keys taken in blocks of `key_block`."""
    spread = value_spread(problem)
    blocks = -(-problem.n_k // key_block)
    u = problem.u
    eta = score_rounding(problem, bound) + u * (EXP_ULPS + 4 + 4 * bound) * (blocks + 1)
    terms = blocked_sum_terms(problem.n_k, key_block)
    lost = 2 * problem.n_k * _arrays.smallest_normal(problem.dtype)
    sums = gamma(2 * terms + 4, u) * spread.top[..., None] + lost * np.maximum(spread.top, 1.0)[..., None]
    return up(output_bound(tv_from_score_error(eta), spread.osc) + sums)
