"""Exact attention and its gradient when keys, or queries, arrive piece by piece.

The sums are those of `streaming`. What a block of queries has seen so far is carried from one piece
of keys to the next; nothing else of the keys is kept. The gradient takes up what the forward pass
left of each query: the largest score, the denominator, kappa.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from approxattn import _arrays
from approxattn._arrays import Array, Namespace
from approxattn.softmax.streaming import KEY_BLOCK

SCORES = 2**20
"""Scores held at one time, over all leading indices. *Chosen*: 8 MiB in float64."""


class Carried(NamedTuple):
    """What queries have seen: the largest score, shape (..., n, 1), and the sums of e^{s - top}
    [v, 1], shape (..., n, dv + 1).
    """

    top: Array
    sums: Array

    @property
    def value(self) -> Array:
        """The output so far."""
        return self.sums[..., :-1] / self.sums[..., -1:]

    def merge(self, other: Carried) -> Carried:
        """Return what the same queries have seen of both sets of keys."""
        xp = _arrays.namespace(top=self.top)
        top = xp.maximum(self.top, other.top)
        finite = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
        shrunk = [x.sums * xp.exp(x.top - finite) for x in (self, other)]
        return Carried(top, shrunk[0] + shrunk[1])


class Rows(NamedTuple):
    """Queries times beta, and the number of the first one; or keys, with `values`."""

    tokens: Array
    first: int
    values: Array


class Finished(NamedTuple):
    """What the forward pass left of queries for the gradient, shapes (..., n, 1): the largest
    score, the denominator, and kappa.
    """

    top: Array
    denominator: Array
    kappa: Array

    def merge(self, other: Finished) -> Finished:
        """Return that of these queries and later ones."""
        xp = _arrays.namespace(top=self.top)
        pairs = zip(self, other, strict=True)
        return Finished(*(xp.concat([a, b], axis=-2) for a, b in pairs))

    def rows(self, first: int, last: int) -> Finished:
        """Return that of some queries."""
        return Finished(*(x[..., first:last, :] for x in self))


def nothing_seen(queries: Rows, dv: int, xp: Namespace) -> Carried:
    """Return what queries have seen before the first key."""
    *batch, n, _ = queries.tokens.shape
    x = queries.tokens
    like = {"dtype": x.dtype, "device": _arrays.device(x)}
    top = xp.full((*batch, n, 1), -xp.inf, **like)
    return Carried(top, xp.zeros((*batch, n, dv + 1), **like))


def see(seen: Carried, queries: Rows, keys: Rows, causal: bool, xp: Namespace) -> Carried:
    """Return what queries have seen when these keys are added."""
    ones = xp.ones_like(keys.values[..., :1])
    right = xp.concat([keys.values, ones], axis=-1)
    tops, sums = [], []
    for first, last in _row_blocks(queries.tokens, keys.tokens):
        top, total = seen.top[..., first:last, :], seen.sums[..., first:last, :]
        for start, end in _key_blocks(queries, keys, last, causal):
            scores = _scores(queries, keys, (first, last), (start, end), causal, xp)
            new = xp.maximum(top, xp.max(scores, axis=-1, keepdims=True))
            finite = xp.where(xp.isfinite(new), new, xp.zeros_like(new))
            part = xp.matmul(xp.exp(scores - finite), right[..., start:end, :])
            total, top = total * xp.exp(top - finite) + part, new
        tops.append(top)
        sums.append(total)
    return Carried(xp.concat(tops, axis=-2), xp.concat(sums, axis=-2))


def query_gradient(
    queries: Rows, dout: Array, done: Finished, keys: Rows, causal: bool, xp: Namespace
) -> Array:
    """Return what these keys add to sum_j P_ij k_j, shape (..., n_q, d)."""
    out = []
    for first, last in _row_blocks(queries.tokens, keys.tokens):
        total = xp.zeros_like(queries.tokens[..., first:last, :])
        for start, end in _key_blocks(queries, keys, last, causal):
            _, p = _weights(queries, dout, done, keys, (first, last), (start, end), causal, xp)
            total = total + xp.matmul(p, keys.tokens[..., start:end, :])
        out.append(total)
    return xp.concat(out, axis=-2)


def key_gradients(
    queries: Rows, dout: Array, done: Finished, keys: Rows, causal: bool, xp: Namespace
) -> tuple[Array, Array]:
    """Return what these queries add to dk and dv, shapes (..., n_k, d), (..., n_k, dv)."""
    turn = xp.matrix_transpose
    dk, dv = [], []
    n_k = keys.tokens.shape[-2]
    for start in range(0, n_k, KEY_BLOCK):
        end = min(start + KEY_BLOCK, n_k)
        of_k = xp.zeros_like(keys.tokens[..., start:end, :])
        of_v = xp.zeros_like(keys.values[..., start:end, :])
        for first, last in _row_blocks(queries.tokens, keys.tokens):
            if causal and queries.first + last <= keys.first + start:
                continue
            f, p = _weights(queries, dout, done, keys, (first, last), (start, end), causal, xp)
            of_k = of_k + xp.matmul(turn(p), queries.tokens[..., first:last, :])
            of_v = of_v + xp.matmul(turn(f), dout[..., first:last, :])
        dk.append(of_k)
        dv.append(of_v)
    return xp.concat(dk, axis=-2), xp.concat(dv, axis=-2)


def _weights(
    queries: Rows,
    dout: Array,
    done: Finished,
    keys: Rows,
    rows: tuple[int, int],
    columns: tuple[int, int],
    causal: bool,
    xp: Namespace,
) -> tuple[Array, Array]:
    """Return f and P = f (z - kappa) of a block of pairs."""
    own, (start, end) = done.rows(*rows), columns
    scores = _scores(queries, keys, rows, columns, causal, xp)
    f = xp.exp(scores - own.top) / own.denominator
    values = keys.values[..., start:end, :]
    z = xp.matmul(dout[..., rows[0] : rows[1], :], xp.matrix_transpose(values))
    return f, f * (z - own.kappa)


def _scores(
    queries: Rows,
    keys: Rows,
    rows: tuple[int, int],
    columns: tuple[int, int],
    causal: bool,
    xp: Namespace,
) -> Array:
    """Return the scores of a block, -inf where the key comes after the query."""
    (first, last), (start, end) = rows, columns
    q, k = queries.tokens[..., first:last, :], keys.tokens[..., start:end, :]
    scores = xp.matmul(q, xp.matrix_transpose(k))
    if not causal or keys.first + end <= queries.first + first + 1:
        return scores
    where = {"device": _arrays.device(q)}
    of_rows = xp.arange(queries.first + first, queries.first + last, **where)
    of_columns = xp.arange(keys.first + start, keys.first + end, **where)
    seen = of_columns[None, :] <= of_rows[:, None]
    return xp.where(seen, scores, xp.full_like(scores, -xp.inf))


def _row_blocks(q: Array, k: Array) -> Iterator[tuple[int, int]]:
    """Yield first and last query of each block: a number that depends on shapes alone."""
    *batch, n, _ = q.shape
    step = max(1, SCORES // (max(1, math.prod(batch)) * min(KEY_BLOCK, k.shape[-2])))
    return ((first, min(first + step, n)) for first in range(0, n, step))


def _key_blocks(queries: Rows, keys: Rows, last: int, causal: bool) -> Iterator[tuple[int, int]]:
    """Yield start and end of each block of keys that one of the queries before `last` may see."""
    n = keys.tokens.shape[-2]
    stop = min(n, max(0, queries.first + last - keys.first)) if causal else n
    return ((start, min(start + KEY_BLOCK, stop)) for start in range(0, stop, KEY_BLOCK))
