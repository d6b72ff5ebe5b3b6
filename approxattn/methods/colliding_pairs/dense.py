"""Scores of BERT-LSH in blocks of queries: which pairs are seen, which of them collided, and the
logits of the authors' code below the diagonal.
"""

from __future__ import annotations

from approxattn import _arrays
from approxattn._arrays import Array, Namespace
from approxattn._problem import Problem
from approxattn.softmax.scores import visible_block


def block_scores(problem: Problem, first: int, last: int, stop: int) -> tuple[Array, Array]:
    """Return beta q_i . k_j for queries first..last-1 and keys 0..stop-1, and which pairs are
    visible.
    """
    xp = problem.xp
    scores = xp.matmul(
        problem.q[..., first:last, :] * problem.scale, xp.matrix_transpose(problem.k[..., :stop, :])
    )
    return scores, all_seen(problem, scores, first, stop)


def all_seen(problem: Problem, like: Array, first: int, stop: int) -> Array:
    """Return which pairs are visible, bool, of the shape of `like`."""
    everything = problem.xp.ones_like(like, dtype=problem.xp.bool)
    seen = visible_block(problem, like, first, 0, stop)
    return everything if seen is None else everything & seen


def collided(q_codes: Array, k_codes: Array) -> Array:
    """Return which pairs share a code in any table: (tables, ..., rows), (tables, ..., keys) ->
    bool (..., rows, keys).
    """
    met = q_codes[0, ..., :, None] == k_codes[0, ..., None, :]
    for t in range(1, q_codes.shape[0]):
        met = met | (q_codes[t, ..., :, None] == k_codes[t, ..., None, :])
    return met


def upper_triangle(like: Array, first: int, xp: Namespace) -> Array:
    """Return whether query index <= key index, shape (rows, keys), for rows from `first` on."""
    where = {"device": _arrays.device(like)}
    rows = xp.arange(first, first + like.shape[-2], **where)
    return rows[:, None] <= xp.arange(like.shape[-1], **where)[None, :]


def mirrored(
    problem: Problem, q_codes: Array, k_codes: Array, first: int, met: Array, scores: Array
) -> tuple[Array, Array]:
    """Return collisions and logits with those of (j, i) in place of (i, j) below the diagonal: beta
    k_i . q_j.
    """
    xp = problem.xp
    last = first + scores.shape[-2]
    below = xp.matmul(problem.k[..., first:last, :], xp.matrix_transpose(problem.q * problem.scale))
    met_below = collided(k_codes[..., first:last], q_codes)
    upper = upper_triangle(scores, first, xp)
    return xp.where(upper, met, met_below), xp.where(upper, scores, below)


def count(flags: Array, xp: Namespace) -> int:
    """Return how many flags are set."""
    return int(xp.sum(xp.astype(flags, xp.int64)))
