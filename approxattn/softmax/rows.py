"""A few rows of exact attention: what a whole output, or a whole problem, is judged by.

O(n d) work a row, in float64.

A library without float64 computes in its widest dtype; the rounding bound is that of the dtype
really computed in.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._problem import Problem
from approxattn._problem.bias import Bias, Span
from approxattn._problem.progress import Work
from approxattn.bounds.scores import score_bound
from approxattn.bounds.softmax import softmax_rounding
from approxattn.softmax.scores import SCORES_AT_ONCE, masked_scores

Limits: TypeAlias = tuple[HostArray, HostArray]

ROWS_AT_ONCE, KEY_BLOCK = 256, 1024
"""Rows and keys that meet at one time where sums over the keys are all that is needed. *Chosen*: 2
MiB of scores in float64.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Item:
    """The chosen rows of one leading batch index, with all its keys.

    Attributes
    ----------
    given : Problem
        The rows of q in float64, keys and values in the dtype they came in, without batch axes; no
        order holds in it: see `limits`.
    index : tuple of int
        The leading batch index.
    rows : ndarray of int, shape (r,)
        Row numbers within the index.
    limits : (ndarray, ndarray) or None
        First key that each row may look at and one past the last, shapes (r,); None: all keys.
    """

    given: Problem
    index: tuple[int, ...]
    rows: HostArray
    limits: Limits | None

    @cached_property
    def problem(self) -> Problem:
        """All in float64."""
        xp = self.given.xp
        return replace(
            self.given,
            k=_arrays.cast(self.given.k, "float64", xp),
            v=_arrays.cast(self.given.v, "float64", xp),
        )

    def everyone(self, rows: Span, keys: Span) -> bool:
        """Return whether each of these rows, numbered among the chosen, may look at each of these
        keys.
        """
        given, inside = self.given, True
        if self.limits is not None:
            first, stop = self.limits[0][slice(*rows)], self.limits[1][slice(*rows)]
            inside = bool((first <= keys[0]).all() and (stop >= keys[1]).all())
        return given.key_mask is None and given.bias is None and inside

    def take(self, x: Array) -> Array:
        """Return these rows of an array laid out like the output, shape (..., n_q, m) -> (r, m), in
        float64.
        """
        rows = self.given.xp.take(x[(*self.index, ...)], _arrays.from_host(self.rows, x), axis=0)
        return _arrays.cast(rows, "float64", self.given.xp)

    def rounding(self) -> HostArray:
        """Return the bound on the rounding error of recomputed rows, shape (r,).

        Keys that a row may not see make it larger at most; a row that sees none is 0, surely.
        """
        return softmax_rounding(self.given, score_bound(self.given), KEY_BLOCK)

    def recompute(self, work: Work) -> Rows:
        """Return exact attention up to `rounding`, and what else is known of the rows, keys and
        values widened block by block; `work` is told of each row.
        """
        parts = []
        for first in range(0, self.rows.size, ROWS_AT_ONCE):
            parts.append(_recompute(self, first))
            work.add(min(ROWS_AT_ONCE, self.rows.size - first))
        return Rows(
            *(self.given.xp.concat(list(column), axis=0) for column in zip(*parts, strict=True))
        )


class Rows(NamedTuple):
    """Recomputed rows: output and mean of the visible values, shapes (r, dv), 1/|p|^2 and number of
    visible keys, shapes (r, 1).
    """

    output: Array
    mean: Array
    effective: Array
    visible: Array


class _Sums(NamedTuple):
    """Sums over some keys of w v, w, w^2, v and 1, with w = e^{s - top}; the last two over the
    visible ones.
    """

    top: Array
    numerator: Array
    mass: Array
    squares: Array
    values: Array
    visible: Array


def _recompute(item: Item, first: int) -> Rows:
    problem, xp = item.given, item.given.xp
    last = min(first + ROWS_AT_ONCE, item.rows.size)
    total: _Sums | None = None
    for start in _met(item, first, last):
        part = _sums(item, first, last, start, min(start + KEY_BLOCK, problem.n_k))
        total = part if total is None else _merged(total, part, xp)
    assert total is not None  # noqa: S101 - there is a key
    if problem.sinks is not None:
        total = _merged(total, _of_sink(problem, total), xp)
    return Rows(
        output=total.numerator / _not_0(total.mass, xp),
        mean=total.values / _not_0(total.visible, xp),
        effective=total.mass**2 / _not_0(total.squares, xp),
        visible=total.visible,
    )


def _met(item: Item, first: int, last: int) -> range:
    """Return the first keys of the blocks that some of these rows may look at, of one at least."""
    low, high = 0, item.given.n_k
    if item.limits is not None:
        low = max(low, int(item.limits[0][first:last].min()))
        high = min(high, int(item.limits[1][first:last].max()))
    return range(low // KEY_BLOCK * KEY_BLOCK, high, KEY_BLOCK) if low < high else range(1)


def _of_sink(problem: Problem, like: _Sums) -> _Sums:
    """Return the sums of a sink: a key with the value 0, which counts as no visible one."""
    xp, none = problem.xp, like.numerator * 0
    one, zero = xp.ones_like(like.top), xp.zeros_like(like.top)
    top = zero + _arrays.cast(problem.sinks, "float64", xp)
    return _Sums(top, none, one, one, none, zero)


def _not_0(x: Array, xp: Namespace) -> Array:
    """Return x with 1 in the place of 0: a row that sees no key is a sum over nothing."""
    return xp.where(x == 0, xp.ones_like(x), x)


def _sums(item: Item, first: int, last: int, start: int, end: int) -> _Sums:
    problem, xp = item.given, item.given.xp
    k, v = (_arrays.cast(x[start:end, :], "float64", xp) for x in (problem.k, problem.v))
    mask = None if problem.key_mask is None else problem.key_mask[start:end]
    bias = _of_pairs(problem, (first, last), (start, end))
    part = replace(problem, q=problem.q[first:last, :], k=k, v=v, key_mask=mask, bias=bias)
    everyone = item.everyone((first, last), (start, end))
    limits = None if everyone else _cut(item.limits, first, last)
    scores = _scores(part, limits, start)
    top = xp.max(scores, axis=-1, keepdims=True)
    weights = xp.exp(scores - xp.where(xp.isfinite(top), top, xp.zeros_like(top)))
    if everyone:
        visible = xp.full_like(top, float(end - start))
        values = xp.broadcast_to(xp.sum(v, axis=0, keepdims=True), (last - first, problem.dv))
    else:
        seen = xp.astype(xp.isfinite(scores), scores.dtype)
        visible, values = xp.sum(seen, axis=-1, keepdims=True), xp.matmul(seen, v)
    squares = xp.sum(weights * weights, axis=-1, keepdims=True)
    return _Sums(
        top,
        xp.matmul(weights, v),
        xp.sum(weights, axis=-1, keepdims=True),
        squares,
        values,
        visible,
    )


def _of_pairs(problem: Problem, rows: Span, keys: Span) -> Bias | None:
    """Return the bias of some rows and keys of one leading index."""
    return None if problem.bias is None else problem.bias.pieces([(rows, keys)], ())


def _merged(a: _Sums, b: _Sums, xp: Namespace) -> _Sums:
    top = xp.maximum(a.top, b.top)
    finite = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    x, y = xp.exp(a.top - finite), xp.exp(b.top - finite)
    return _Sums(
        top,
        a.numerator * x + b.numerator * y,
        a.mass * x + b.mass * y,
        a.squares * x**2 + b.squares * y**2,
        a.values + b.values,
        a.visible + b.visible,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class RowBlock:
    """Some rows of one leading batch index, with all their scores.

    Attributes
    ----------
    problem : Problem
        These rows of q with all keys and values of the index, in float64, without batch axes; no
        order holds in it.
    index : tuple of int
        The leading batch index.
    scores : array, shape (r, n_k)
        beta q_i . k_j, capped and with the bias where there are such, -inf where row i may not
        look.
    """

    problem: Problem
    index: tuple[int, ...]
    scores: Array

    @cached_property
    def weights(self) -> Array:
        """The softmax weights, not normalised: the largest of each row, or that of the sink, is 1,
        shape (r, n_k).
        """
        xp = self.problem.xp
        return xp.exp(self.scores - self._top)

    @cached_property
    def of_sink(self) -> Array:
        """The weight of the sink in the same unit, 0 where there is none, shape (r, 1)."""
        sinks, xp = self.problem.sinks, self.problem.xp
        if sinks is None:
            return xp.zeros_like(self._top)
        return xp.exp(_arrays.cast(sinks, "float64", xp) - self._top)

    @cached_property
    def mass(self) -> Array:
        """What the weights are divided by, shape (r, 1)."""
        return self.problem.xp.sum(self.weights, axis=-1, keepdims=True) + self.of_sink

    @cached_property
    def _top(self) -> Array:
        """The largest score of each row, that of the sink among them, shape (r, 1)."""
        sinks, xp = self.problem.sinks, self.problem.xp
        top = xp.max(self.scores, axis=-1, keepdims=True)
        return top if sinks is None else xp.maximum(top, _arrays.cast(sinks, "float64", xp))

    def output(self) -> Array:
        """Return exact attention, shape (r, dv)."""
        return self.problem.xp.matmul(self.weights, self.problem.v) / self.mass


def choose(population: int, rows: int, rng: np.random.Generator | None) -> HostArray:
    """Return `rows` of `population` numbers without repetition, in order: drawn uniformly, or
    evenly spaced if rng is None; all if rows >= population.
    """
    if rows >= population:
        return np.arange(population)
    if rng is None:
        return (2 * np.arange(rows) + 1) * population // (2 * rows)
    return np.sort(rng.choice(population, rows, replace=False))


def items(problem: Problem, chosen: HostArray) -> Iterator[Item]:
    """Yield the chosen rows, numbers in range(batch size * n_q) in increasing order, by leading
    batch index.
    """
    if problem.n_q == 0:
        return
    numbers, rows = np.divmod(chosen, problem.n_q)
    for number in np.unique(numbers):
        index = tuple(int(i) for i in np.unravel_index(int(number), problem.batch))
        yield _item(problem, index, rows[numbers == number])


def row_blocks(problem: Problem, chosen: HostArray) -> Iterator[RowBlock]:
    """Yield the chosen rows in blocks of one leading batch index each."""
    step = max(1, SCORES_AT_ONCE // problem.n_k)
    for item in items(problem, chosen):
        for first in range(0, item.rows.size, step):
            last = min(first + step, item.rows.size)
            bias = _of_pairs(item.problem, (first, last), (0, problem.n_k))
            part = replace(item.problem, q=item.problem.q[first:last, :], bias=bias)
            scores = _scores(part, _cut(item.limits, first, last), 0)
            yield RowBlock(problem=part, index=item.index, scores=scores)


def _item(problem: Problem, index: tuple[int, ...], rows: HostArray) -> Item:
    xp, own = problem.xp, problem.item(index)
    q = xp.take(own.q, _arrays.from_host(rows, own.q), axis=0)
    q = _arrays.cast(q, "float64", xp)
    bias = None if own.bias is None else own.bias.rows(rows)
    given = replace(own, q=q, causal=False, band=None, bias=bias, visibility=None)
    limits = None if own.limits is None else (own.limits[0][rows], own.limits[1][rows])
    return Item(given=given, index=index, rows=rows, limits=limits)


def _cut(limits: Limits | None, first: int, last: int) -> Limits | None:
    return None if limits is None else (limits[0][first:last], limits[1][first:last])


def _scores(part: Problem, limits: Limits | None, start: int) -> Array:
    """Return the scores of these rows with the keys of `part`, numbered from `start` on, -inf where
    they may not look.
    """
    xp = part.xp
    scores = masked_scores(part, part.q * part.scale, 0, 0, part.n_k)
    if limits is None:
        return scores
    numbers = xp.arange(start, start + part.n_k, device=_arrays.device(part.q))[None, :]
    first, stop = (_arrays.from_host(end, part.q)[:, None] for end in limits)
    seen = (first <= numbers) & (numbers < stop)
    return xp.where(seen, scores, xp.full_like(scores, -xp.inf))


def population(problem: Problem) -> int:
    """Return the number of rows over all leading batch indices."""
    return math.prod(problem.batch) * problem.n_q
