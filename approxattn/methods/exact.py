"""Exact softmax attention by streaming over key blocks: O(n) memory, any n, causal and key masks.

For one query block the keys pass in blocks; with running maximum m, denominator l and numerator o

    m' = max(m, max_j s_j),   l' = l e^{m - m'} + sum_j e^{s_j - m'},   o' = o e^{m - m'} + sum_j e^{s_j - m'} v_j,

and the output is o / l (Milakov & Gimelshein 2018; Rabe & Staats 2021).

Rounding (proved here). A computed score differs from the true one by at most eta_s = gamma_{d+2} B_i, B_i >= |beta q_i||k_j|: one rounding
for beta q, d for the dot product. The exponent s - m then rounds by 2 u B_i at most, exp itself by EXP_ULPS u, and each rescaling by
e^{m - m'} once more: N = number of key blocks rescalings telescope in exact arithmetic and leave N (EXP_ULPS + 4) u + 2 u B_i N in the log.
All these act like a score error eta common to numerator and denominator, so they move the output by at most tanh(eta/2) osc(V). The two
sums, of t = block + N terms, and the division add gamma_{2t+2} max|V|. Weights that underflow lose at most n * tiny of a sum >= 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.certificate import SOFTMAX, Approximation, Certificate
from approxattn.perturbation import output_bound, tv_from_score_error
from approxattn.rounding import EXP_ULPS, blocked_sum_terms, gamma, up
from approxattn.score_bounds import score_bound, value_spread

KEY_BLOCK = 1024
"""Keys a block. *Chosen*: scores of a query block stay in cache."""

SCORES_AT_ONCE = 2**20
"""Scores held at one time, over all batch items. *Chosen*: 8 MiB in float64."""


@dataclass(frozen=True, kw_only=True)
class Exact:
    """Softmax attention itself; its certificate bounds the rounding."""

    randomised: ClassVar[bool] = False
    why_not_causal: ClassVar[str] = ""
    why_no_scale: ClassVar[str] = ""

    def compute(self, problem: Problem, rng: np.random.Generator | None = None) -> Approximation:  # noqa: ARG002 - protocol
        """Return the output, shape (..., n_q, dv), and the bound on its rounding error."""
        xp = problem.xp
        rows = _query_block(problem)
        blocks = [_stream(problem, first, min(first + rows, problem.n_q)) for first in range(0, problem.n_q, rows)]
        return Approximation(value=xp.concat(blocks, axis=-2), certificate=_certificate(problem))


def _query_block(problem: Problem) -> int:
    items = max(1, int(np.prod(problem.batch)))
    return max(1, SCORES_AT_ONCE // (items * min(KEY_BLOCK, problem.n_k)))


def _stream(problem: Problem, first: int, last: int) -> Array:
    """Return the output rows first..last-1, shape (..., last - first, dv)."""
    xp = problem.xp
    q = problem.q[..., first:last, :] * problem.scale
    top: Array | None = None
    numerator: Array = None
    denominator: Array = None
    stop = last if problem.causal else problem.n_k
    for start in range(0, stop, KEY_BLOCK):
        end = min(start + KEY_BLOCK, stop)
        scores = masked_scores(problem, q, first, start, end)  # (..., rows, keys)
        block_top = xp.max(scores, axis=-1, keepdims=True)
        new_top = block_top if top is None else xp.maximum(top, block_top)
        finite_top = xp.where(
            xp.isfinite(new_top), new_top, xp.zeros_like(new_top)
        )  # no key seen yet: every weight is e^-inf = 0
        weights = xp.exp(scores - finite_top)
        part = xp.matmul(weights, problem.v[..., start:end, :])
        mass = xp.sum(weights, axis=-1, keepdims=True)
        if top is None:
            numerator, denominator = part, mass
        else:
            shrink = xp.exp(top - finite_top)
            numerator, denominator = numerator * shrink + part, denominator * shrink + mass
        top = new_top
    return numerator / denominator


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


def softmax_rounding(problem: Problem, bound: HostArray) -> HostArray:
    """Return the row-wise rounding bound of a softmax over computed scores, streamed in key blocks: the block comment above."""
    spread = value_spread(problem)
    blocks = -(-problem.n_k // KEY_BLOCK)
    u = problem.u
    eta = score_rounding(problem, bound) + u * (EXP_ULPS + 4 + 4 * bound) * (blocks + 1)
    terms = blocked_sum_terms(problem.n_k, KEY_BLOCK)
    lost = 2 * problem.n_k * _arrays.smallest_normal(problem.dtype)
    sums = gamma(2 * terms + 4, u) * spread.top[..., None] + lost * np.maximum(spread.top, 1.0)[..., None]
    return up(output_bound(tv_from_score_error(eta), spread.osc) + sums)


def _certificate(problem: Problem) -> Certificate:
    bound = score_bound(problem, problem.k)
    return Certificate(
        rows=softmax_rounding(problem, bound),
        target=SOFTMAX,
        theorem="ours.tanh",
        facts={"score bound": bound, "unit roundoff": problem.u},
    )
