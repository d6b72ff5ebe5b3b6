"""Softmax attention to a few combined keys and values, each with a bias on its scores: forward and
gradient.

The gradient takes the bias as one more column of queries and keys: q' = c, k'_b = bias_b / (beta
c). So it is the streaming gradient of plain attention. The product of the norms bounds the scores;
the power of two c is chosen so that it is about beta max|q| max|k| + max|bias|.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array
from approxattn._problem import Problem
from approxattn._problem.input import max_abs
from approxattn.softmax.scores import masked_scores, row_softmax, rows_at_once
from approxattn.softmax.streaming import stream_gradient


@dataclass(frozen=True, kw_only=True)
class Reduced:
    """A problem whose keys and values stand for those of another.

    Attributes
    ----------
    problem : Problem
        The queries, and k combined keys and values; `key_mask` is False for combinations of
        nothing.
    bias : array, shape (..., 1, k), or None
        Added to the scores.
    """

    problem: Problem
    bias: Array | None = None


def attend(reduced: Reduced) -> Array:
    """Return the output in blocks of queries, shape (..., n_q, dv)."""
    problem, xp = reduced.problem, reduced.problem.xp
    step = rows_at_once(problem, problem.n_k)
    blocks = []
    for first in range(0, problem.n_q, step):
        q = problem.q[..., first : min(first + step, problem.n_q), :] * problem.scale
        scores = masked_scores(problem, q, first, 0, problem.n_k)
        scores = scores if reduced.bias is None else scores + reduced.bias
        weights = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
        # divided last: one division for each column of v, not for each key
        blocks.append(xp.matmul(weights, problem.v) / xp.sum(weights, axis=-1, keepdims=True))
    return xp.concat(blocks, axis=-2)


def weights(reduced: Reduced) -> Array:
    """Return the weights of all queries on all combinations, shape (..., n_q, k): for few
    queries.
    """
    problem, xp = reduced.problem, reduced.problem.xp
    scores = masked_scores(problem, problem.q * problem.scale, 0, 0, problem.n_k)
    scores = scores if reduced.bias is None else scores + reduced.bias
    return row_softmax(scores, xp)


def attend_gradient(reduced: Reduced, dout: Array) -> tuple[Array, Array, Array]:
    """Return the gradients with respect to queries, combined keys and combined values."""
    dq, dk, dv = stream_gradient(unbiased(reduced), dout)
    d = reduced.problem.d
    return dq[..., :d], dk[..., :d], dv


def unbiased(reduced: Reduced) -> Problem:
    """Return the plain problem with the same scores: the bias as one more column of queries and
    keys.
    """
    problem, bias, xp = reduced.problem, reduced.bias, reduced.problem.xp
    if bias is None:
        return problem
    c = _balance(problem, max_abs(bias, xp))
    column = xp.matrix_transpose(bias) / (problem.scale * c)  # (..., k, 1)
    column = xp.broadcast_to(column, (*problem.batch, problem.n_k, 1))
    keys = xp.concat([problem.k, column], axis=-1)
    queries = xp.concat([problem.q, xp.full_like(problem.q[..., :1], c)], axis=-1)
    return replace(problem, q=queries, k=keys)


def _balance(problem: Problem, top_bias: float) -> float:
    xp = problem.xp
    top_q, top_k = (max_abs(x, xp) for x in (problem.q, problem.k))
    if not (top_q > 0 and top_k > 0 and top_bias > 0):
        return 1.0
    power = (np.log2(top_q) + np.log2(top_bias) - np.log2(problem.scale) - np.log2(top_k)) / 2
    limit = math.log2(_arrays.largest(problem.dtype)) / 4
    return float(2.0 ** round(min(max(power, -limit), limit)))
