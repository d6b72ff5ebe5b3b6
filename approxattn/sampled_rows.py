"""A few rows of exact attention: what a whole output, or a whole problem, is judged by. O(n d) work a row, in float64.

A library without float64 computes in its widest dtype; the rounding bound is that of the dtype really computed in.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.score_bounds import score_bound
from approxattn.scores import masked_scores, softmax_rounding

SCORES_AT_ONCE = 2**20
"""Scores held at one time. *Chosen*: 8 MiB in float64."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RowBlock:
    """Some rows of one leading batch index.

    Attributes
    ----------
    problem : Problem
        These rows of q with all keys and values of the index, in float64, without batch axes; not causal: see `scores`.
    index : tuple of int
        The leading batch index.
    rows : ndarray of int, shape (r,)
        Row numbers within the index.
    scores : array, shape (r, n_k)
        beta q_i . k_j, -inf where row i may not look.
    """

    problem: Problem
    index: tuple[int, ...]
    rows: HostArray
    scores: Array

    def take(self, x: Array) -> Array:
        """Return these rows of an array laid out like the output, shape (..., n_q, m) -> (r, m), in float64."""
        rows = self.problem.xp.take(x[(*self.index, ...)], _arrays.from_host(self.rows, x), axis=0)
        return _arrays.cast(rows, "float64", self.problem.xp)

    def weights(self) -> Array:
        """Return the softmax weights, not normalised: the largest of each row is 1, shape (r, n_k)."""
        xp = self.problem.xp
        return xp.exp(self.scores - xp.max(self.scores, axis=-1, keepdims=True))

    def output(self) -> Array:
        """Return exact attention up to `rounding`, shape (r, dv)."""
        xp, weights = self.problem.xp, self.weights()
        return xp.matmul(weights, self.problem.v) / xp.sum(weights, axis=-1, keepdims=True)

    def mean_of_visible(self) -> Array:
        """Return the mean of the values that each row may look at, shape (r, dv)."""
        xp = self.problem.xp
        seen = xp.astype(xp.isfinite(self.scores), self.scores.dtype)
        return xp.matmul(seen, self.problem.v) / xp.sum(seen, axis=-1, keepdims=True)

    def rounding(self) -> HostArray:
        """Return the bound on the rounding error of `output`, shape (r,). Hidden keys and values make it larger at most."""
        return softmax_rounding(self.problem, score_bound(self.problem, self.problem.k), self.problem.n_k)


def choose(population: int, rows: int, rng: np.random.Generator | None) -> HostArray:
    """Return `rows` of `population` numbers without repetition, in order: drawn uniformly, or evenly spaced if rng is None; all if rows >= population."""
    if rows >= population:
        return np.arange(population)
    if rng is None:
        return (2 * np.arange(rows) + 1) * population // (2 * rows)
    return np.sort(rng.choice(population, rows, replace=False))


def row_blocks(problem: Problem, chosen: HostArray) -> Iterator[RowBlock]:
    """Yield the chosen rows, numbers in range(batch size * n_q) in increasing order, in blocks of one leading batch index each."""
    if problem.n_q == 0:
        return
    items, rows = np.divmod(chosen, problem.n_q)
    step = max(1, SCORES_AT_ONCE // problem.n_k)
    for item in np.unique(items):
        own = rows[items == item]
        index = tuple(int(i) for i in np.unravel_index(int(item), problem.batch))
        whole = _one_item(problem, index)
        for first in range(0, own.size, step):
            yield _block(problem, whole, index, own[first : first + step])


def _one_item(problem: Problem, index: tuple[int, ...]) -> Problem:
    """Return the problem of one leading batch index, in float64."""
    q, k, v = (_arrays.cast(x[(*index, ...)], "float64", problem.xp) for x in (problem.q, problem.k, problem.v))
    mask = None if problem.key_mask is None else problem.key_mask[(*index, ...)]
    return replace(problem, q=q, k=k, v=v, key_mask=mask, causal=False)


def _block(problem: Problem, whole: Problem, index: tuple[int, ...], rows: HostArray) -> RowBlock:
    xp = problem.xp
    number = _arrays.from_host(rows, problem.q)
    part = replace(whole, q=xp.take(whole.q, number, axis=0))
    scores = masked_scores(part, part.q * part.scale, 0, 0, part.n_k)
    if problem.causal:
        past = number[:, None] >= xp.arange(part.n_k, device=_arrays.device(problem.q))[None, :]
        scores = xp.where(past, scores, xp.full_like(scores, -xp.inf))
    return RowBlock(problem=part, index=index, rows=rows, scores=scores)


def population(problem: Problem) -> int:
    """Return the number of rows over all leading batch indices."""
    return math.prod(problem.batch) * problem.n_q
