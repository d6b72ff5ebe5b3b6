"""Exact softmax attention by streaming over key blocks: O(n) memory, any n, causal and key masks.

For one query block the keys pass in blocks; with running maximum m, denominator l and numerator o

    m' = max(m, max_j s_j),   l' = l e^{m - m'} + sum_j e^{s_j - m'},   o' = o e^{m - m'} + sum_j e^{s_j - m'} v_j,

and the output is o / l (Milakov & Gimelshein 2018; Rabe & Staats 2021).

The rounding of this recurrence is bounded in `scores.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from approxattn._arrays import Array
from approxattn._problem import Problem
from approxattn.certificate import SOFTMAX, Approximation, Certificate
from approxattn.score_bounds import score_bound
from approxattn.scores import masked_scores, rows_at_once, softmax_rounding

KEY_BLOCK = 1024
"""Keys a block. *Chosen*: scores of a query block stay in cache."""


@dataclass(frozen=True, kw_only=True)
class Exact:
    """Softmax attention itself; its certificate bounds the rounding."""

    randomised: ClassVar[bool] = False
    why_not_causal: ClassVar[str] = ""
    why_no_scale: ClassVar[str] = ""

    def compute(self, problem: Problem, rng: np.random.Generator | None = None) -> Approximation:  # noqa: ARG002 - protocol
        """Return the output, shape (..., n_q, dv), and the bound on its rounding error."""
        xp = problem.xp
        rows = rows_at_once(problem, min(KEY_BLOCK, problem.n_k))
        blocks = [_stream(problem, first, min(first + rows, problem.n_q)) for first in range(0, problem.n_q, rows)]
        return Approximation(value=xp.concat(blocks, axis=-2), certificate=_certificate(problem))


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


def _certificate(problem: Problem) -> Certificate:
    bound = score_bound(problem, problem.k)
    return Certificate(
        rows=softmax_rounding(problem, bound, KEY_BLOCK),
        target=SOFTMAX,
        theorem="ours.tanh",
        facts={"score bound": bound, "unit roundoff": problem.u},
    )
