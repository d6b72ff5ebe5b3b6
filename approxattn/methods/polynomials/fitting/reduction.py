"""Scores made small by a shift of queries and keys.

Symbols. s_ij are the scores of shifted queries and keys (`shift`), w_j the weights of the keys, Z_i
= sum_j w_j exp(s_ij).

1. m is the mean of the queries, c the w-weighted mean of the keys.
2. So the w-weighted mean score of every row is 0, and by Jensen's inequality Z_i >= W = sum_j w_j.
3. Under a causal mask later keys must not weigh in, and w_j may underflow for all keys that an
   early row sees: there m = 0 and w = 1.

Shifted queries and keys are made where they are needed, some tokens at a time: in float64 all of
them would outweigh the input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.scores import key_centre
from approxattn.methods.polynomials.shift import shift_keys, slopes

TOKENS_AT_ONCE = 2**14
"""Tokens that are shifted together. *Chosen*: 2 MiB in float64 at a width of 16."""


@dataclass(frozen=True, kw_only=True)
class ReducedScores:
    """What the reduction makes of queries and keys, in float64 (or the library's widest dtype).

    Attributes
    ----------
    problem : Problem
        Where queries and keys come from.
    mean_key : array, shape (..., 1, d)
        The mean of the visible keys.
    weights : array, shape (..., n_k, 1)
        w_j; 0 for masked keys.
    middle, centre : array, shape (..., 1, d)
        m, and c less the mean of the visible keys.
    """

    problem: Problem
    mean_key: Array
    weights: Array
    middle: Array
    centre: Array

    @property
    def shifted(self) -> Array:
        """q_i - m, shape (..., n_q, d)."""
        q = _arrays.cast(self.problem.q, "float64", self.problem.xp)
        return q if self.problem.causal else q - self.middle

    @property
    def queries(self) -> Array:
        """beta (q_i - m): their products with the keys are the scores."""
        return self.shifted * self.problem.scale

    @property
    def keys(self) -> Array:
        """k_j less both its centres, shape (..., n_k, d)."""
        return self.problem.shown(shift_keys(self.problem, self.mean_key, "float64") - self.centre)

    def item(self, index: tuple[int, ...]) -> ReducedScores:
        """Return one leading index, without leading axes."""
        names = ("mean_key", "weights", "middle", "centre")
        parts = {name: getattr(self, name)[(*index, ...)] for name in names}
        return replace(self, problem=self.problem.item(index), **parts)

    def of_queries(self, rows: HostArray) -> ReducedScores:
        """Return some of the queries only, of a reduction without leading axes."""
        q = self.problem.q
        chosen = self.problem.xp.take(q, _arrays.from_host(rows, q), axis=0)
        return replace(self, problem=replace(self.problem, q=chosen))

    def of_keys(self, part: slice) -> ReducedScores:
        """Return some of the keys only."""
        weights = self.weights[..., part, :]
        return replace(self, problem=_some_keys(self.problem, part), weights=weights)

    def narrow(self, name: str) -> tuple[Array, Array]:
        """Return `shifted` and `keys` in a dtype, a part at a time."""
        xp, problem = self.problem.xp, self.problem
        shifted = [
            _arrays.cast(
                replace(self, problem=replace(problem, q=problem.q[..., part, :])).shifted, name, xp
            )
            for part in parts(problem.n_q)
        ]
        keys = [_arrays.cast(self.of_keys(part).keys, name, xp) for part in parts(problem.n_k)]
        return tuple(x[0] if len(x) == 1 else xp.concat(x, axis=-2) for x in (shifted, keys))


def reduce_scores(problem: Problem) -> ReducedScores:
    """Return the reduction."""
    xp = problem.xp
    mean_key = _arrays.cast(key_centre(problem), "float64", xp)
    if problem.causal:
        ones = xp.ones_like(_arrays.cast(problem.k[..., :1], "float64", xp))
        none = xp.zeros_like(mean_key)
        return ReducedScores(
            problem=problem,
            mean_key=mean_key,
            weights=problem.shown(ones),
            middle=none,
            centre=none,
        )
    middle = _mean_query(problem)
    logs = [
        slopes(part, shift_keys(part, mean_key, "float64"), middle) for part in _by_keys(problem)
    ]
    logs = logs[0] if len(logs) == 1 else xp.concat(logs, axis=-2)
    weights = xp.exp(logs - xp.max(logs, axis=-2, keepdims=True))
    found = ReducedScores(
        problem=problem,
        mean_key=mean_key,
        weights=weights,
        middle=middle,
        centre=xp.zeros_like(mean_key),
    )
    total = xp.sum(weights, axis=-2, keepdims=True)
    sums = _added(
        lambda part: xp.sum(part.weights * part.keys, axis=-2, keepdims=True),
        (found.of_keys(part) for part in parts(problem.n_k)),
    )
    return replace(found, centre=sums / total)


def parts(n: int, step: int = TOKENS_AT_ONCE) -> list[slice]:
    """Return 0..n-1 in slices, one at least."""
    return [slice(first, min(first + step, n)) for first in range(0, n, step)] or [slice(0, 0)]


def _mean_query(problem: Problem) -> Array:
    xp = problem.xp
    sums = _added(
        lambda part: xp.sum(
            _arrays.cast(problem.q[..., part, :], "float64", xp), axis=-2, keepdims=True
        ),
        iter(parts(problem.n_q)),
    )
    return sums / problem.n_q


def _added(take: Callable[[Any], Array], pieces: Iterator[Any]) -> Array:
    total: Array = None
    for piece in pieces:
        part = take(piece)
        total = part if total is None else total + part
    return total


def _by_keys(problem: Problem) -> Iterator[Problem]:
    return (_some_keys(problem, part) for part in parts(problem.n_k))


def _some_keys(problem: Problem, part: slice) -> Problem:
    mask = None if problem.key_mask is None else problem.key_mask[..., part]
    k, v = problem.k[..., part, :], problem.v[..., part, :]
    return replace(problem, k=k, v=v, key_mask=mask)
