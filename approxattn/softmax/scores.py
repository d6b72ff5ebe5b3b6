"""Blocks of masked scores.

The softmax over them is the streaming one of `streaming`; over a single key block it is the usual
one.
"""

from __future__ import annotations

import math

from approxattn import _arrays
from approxattn._arrays import Array, Namespace, portions
from approxattn._problem import Problem
from approxattn.softmax.variants import capped

SCORES_AT_ONCE = 2**20
"""Scores held at one time on a host, over all batch items. *Chosen*: 8 MiB in float64."""

COPIES = 12
"""Numbers held for each score on a device, at most: of angles and their slopes, in Yoso."""


def rows_at_once(problem: Problem, keys: int) -> int:
    """Return how many queries to take at a time when each meets `keys` keys."""
    row = max(1, math.prod(problem.batch)) * keys
    return portions.at_once(problem.q, max(1, SCORES_AT_ONCE // row), COPIES * row)


def row_softmax(scores: Array, xp: Namespace) -> Array:
    """Return softmax over the last axis; -inf gives weight 0, a row of -inf alone gives NaN."""
    weights = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
    return weights / xp.sum(weights, axis=-1, keepdims=True)


def masked_scores(problem: Problem, scaled_q: Array, first: int, start: int, end: int) -> Array:
    """Return beta q_i . k_j for the given query rows (from `first` on) and keys start..end-1,
    capped and with the bias where there are such, -inf where the query may not look.
    """
    xp = problem.xp
    scores = xp.matmul(scaled_q, xp.matrix_transpose(problem.k[..., start:end, :]))
    scores = capped(problem, scores)
    if problem.bias is not None:
        last = first + scaled_q.shape[-2]
        scores = scores + problem.bias.block((first, last), (start, end))
    keep = visible_block(problem, scores, first, start, end)
    return scores if keep is None else xp.where(keep, scores, xp.full_like(scores, -xp.inf))


def visible_block(problem: Problem, like: Array, first: int, start: int, end: int) -> Array | None:
    """Return which (query, key) pairs of a block may look at each other, bool and broadcastable to
    `like`; None when all may.
    """
    keep = None if problem.key_mask is None else problem.key_mask[..., None, start:end]
    last = first + like.shape[-2]
    low, high = (None, problem.earlier) if problem.causal else problem.band or (None, None)
    if high is not None and end > first + high + 1:
        rows, keys = _numbers(problem, first, last, start, end)
        keep = _both(keep, rows + high >= keys)
    if low is not None and start < last - 1 + low:
        rows, keys = _numbers(problem, first, last, start, end)
        keep = _both(keep, rows + low <= keys)
    return keep


def _numbers(problem: Problem, first: int, last: int, start: int, end: int) -> tuple[Array, Array]:
    """Return the numbers of queries, shape (rows, 1), and of keys, shape (1, keys)."""
    xp, where = problem.xp, {"device": _arrays.device(problem.q)}
    rows, keys = xp.arange(first, last, **where), xp.arange(start, end, **where)
    return rows[:, None], keys[None, :]


def _both(one: Array | None, other: Array) -> Array:
    return other if one is None else one & other
