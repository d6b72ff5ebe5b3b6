"""The logits of BERT-LSH in blocks of queries, from all scores: which pairs are seen, which of them
collided, and what the authors' code puts below the diagonal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from approxattn import _arrays
from approxattn._arrays import Array, Namespace
from approxattn._problem import Problem
from approxattn.softmax.scores import visible_block


class Block(NamedTuple):
    """Some rows over the keys they may see, all of shape (..., rows, keys) but `empty`, (..., rows,
    1).

    `scores` are beta q_i . k_j; `seen` and `met` say which pairs are visible, and which of these
    collided; `empty` says which rows met nothing; `logits` are those of visible pairs.
    """

    scores: Array
    seen: Array
    met: Array
    empty: Array
    logits: Array

    def hidden(self, xp: Namespace) -> Array:
        """Return the logits with -inf for what is not seen."""
        return xp.where(self.seen, self.logits, xp.full_like(self.logits, -xp.inf))


@dataclass(frozen=True, kw_only=True, eq=False)
class DenseLogits:
    """How logits come from codes.

    Attributes
    ----------
    problem : Problem
        The problem.
    q_codes, k_codes : array of int64, shapes (tables, ..., n_q), (tables, ..., n_k)
        Their codes.
    mirror : bool
        Whether the pair (j, i) stands in the place of (i, j) below the diagonal.
    filled : bool
        Whether pairs that did not collide have the logit 0; otherwise none, but a row that met
        nothing has the logit 0 throughout.
    """

    problem: Problem
    q_codes: Array
    k_codes: Array
    mirror: bool
    filled: bool

    def block(self, first: int, last: int) -> Block:
        """Return what queries first..last-1 meet."""
        problem, xp = self.problem, self.problem.xp
        stop = last if problem.causal else problem.n_k
        scores, seen = block_scores(problem, first, last, stop)
        met, logits = collided(self.q_codes[..., first:last], self.k_codes[..., :stop]), scores
        if self.mirror:
            met, logits = mirrored(problem, self.q_codes, self.k_codes, first, met, scores)
        met = met & seen
        empty = ~xp.any(met, axis=-1, keepdims=True)
        zero, never = xp.zeros_like(scores), xp.full_like(scores, -xp.inf)
        logits = xp.where(met, logits, zero if self.filled else xp.where(empty, zero, never))
        return Block(scores, seen, met, empty, logits)


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
