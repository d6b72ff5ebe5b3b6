"""The contractions of `contraction` on NumPy arrays: the same sums, several times faster.

What is gained: every temporary is allocated once and stays in cache; the highest degree is never
formed where that pays (`numpy_features`); tokens or leading indices are shared among threads
(`workers`). States are kept in parts, as the scheme leaves them, and weighted when they are read.

Rounding (proved here): a term takes no more roundings than `kernel` counts. Let N chunks hold the
keys, T threads share them, r be the number of monomials, d the width, g the degree.

1. "top" takes the same products in another order. It adds the d blocks of degree g one after the
   other, and C(d + g - 1, g) >= d of the r terms are counted.
2. Keys are shared in whole chunks among at most as many threads as there are chunks. Then ceil(N /
   T) + T - 1 <= N additions join N chunks.
3. With two products a chunk there are N of them in C = ceil(N / 2) chunks, and 2 ceil(C / T) + T -
   1 <= N for 2 <= T <= C as well.
4. Products are over equally many keys, at most `chunk_tokens`. They are at most one more than
   chunks of that length: k n / N' < n / L + 1 for k = ceil(N' / L) chunks of the longer side N', n
   the shorter.
5. 2 g + 6 + r roundings are counted besides sums over keys, and at most 2 g + 3 + r occur. These
   are g - 1 for each monomial, 3 for the weight, 1 for each of two products, r - 1 additions, and 1
   for the own chunk under a causal mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy as np

from approxattn._arrays import HostArray
from approxattn.monomials.contraction import weights
from approxattn.monomials.index import rank, suffix_length
from approxattn.monomials.numpy_dense import Triangle
from approxattn.monomials.numpy_features import (
    COORDINATES_AT_ONCE,
    TILE_ROWS,
    Monomials,
    Plan,
    Scratch,
    built,
    plan,
)
from approxattn.monomials.workers import gather, shares, worker_count

R = TypeVar("R")
State = list[HostArray]
"""sum_j phi(y_j) values_j^T without weights, in parts: shapes (rows, m), or (rows, coordinates m)
for the groups of "top".
"""


class Summation:
    """Sums over features by a plan, with the memory they need; one for each thread."""

    def __init__(self, plan: Plan, dtype: np.dtype[Any]) -> None:
        d, m, chunk = plan.d, plan.m, plan.chunk
        self.plan = plan
        self.held = Monomials(d, plan.depth, chunk, dtype)
        self.values, self.sums, self.more = (Scratch(m * chunk, dtype) for _ in range(3))
        self.tile = Scratch(TILE_ROWS * chunk if plan.scheme == "tiled" else 0, dtype)
        self.scaled = Scratch(COORDINATES_AT_ONCE * m * chunk if plan.scheme == "top" else 0, dtype)
        self.product = Scratch(max(part.size for part in self.zeros(dtype)), dtype)

    def zeros(self, dtype: np.dtype[Any]) -> State:
        """Return the state of no tokens."""
        p = self.plan
        base = rank(p.d, p.depth)
        if p.scheme != "top":
            return [np.zeros((rank(p.d, p.degree), p.m), dtype)]
        return [np.zeros((base, p.m), dtype)] + [
            np.zeros((_suffix(p, first), (last - first) * p.m), dtype) for first, last in groups(p)
        ]

    def add(self, state: State, y: HostArray, values: HostArray) -> None:
        """Add a chunk of tokens to a state, shapes (tokens, d), (tokens, m)."""
        self.held.load(y)
        self._accumulate(state[0][: self.held.rows.shape[0]], self.held.rows, values)
        if self.plan.scheme == "tiled":
            for rows, tile in built(self.held, self.plan.degree, self.tile):
                self._accumulate(state[0][rows], tile, values)
        elif self.plan.scheme == "top":
            turned = self.values.shaped(self.plan.m, y.shape[0])
            turned[...] = values.T
            for part, (first, last) in zip(state[1:], groups(self.plan), strict=True):
                scaled = self.scaled.shaped(last - first, *turned.shape)
                np.multiply(self.held.columns[first:last, None], turned, out=scaled)
                flattened = scaled.reshape(part.shape[1], y.shape[0])
                self._accumulate(part, self.held.rows[-part.shape[0] :], flattened.T)

    def read(self, weighted: State, x: HostArray, out: HostArray) -> None:
        """Set out, shape (tokens, m), to phi(x)^T S for a chunk of tokens."""
        self.held.load(x)
        rows, m, n = self.held.rows, self.plan.m, x.shape[0]
        if self.plan.scheme == "top":
            total = self.sums.shaped(m, n)
            np.matmul(weighted[0].T, rows, out=total)
            for part, (first, last) in zip(weighted[1:], groups(self.plan), strict=True):
                blocks = self.scaled.shaped(last - first, m, n)
                np.matmul(part.T, rows[-part.shape[0] :], out=blocks.reshape(part.shape[1], n))
                blocks *= self.held.columns[first:last, None]
                for block in blocks:
                    total += block
            out[...] = total.T
            return
        np.matmul(rows.T, weighted[0][: rows.shape[0]], out=out)
        if self.plan.scheme == "tiled":
            more = self.more.shaped(n, m)
            for span, tile in built(self.held, self.plan.degree, self.tile):
                np.matmul(tile.T, weighted[0][span], out=more)
                out += more

    def _accumulate(self, state: HostArray, left: HostArray, right: HostArray) -> None:
        product = self.product.shaped(*state.shape)
        for part in within(slice(0, right.shape[0]), self.plan.summed):
            np.matmul(left[:, part], right[part], out=product)
            state += product


def groups(p: Plan) -> list[tuple[int, int]]:
    """Return the runs of coordinates that share one product in "top"."""
    return [(i, min(p.d, i + COORDINATES_AT_ONCE)) for i in range(0, p.d, COORDINATES_AT_ONCE)]


def _suffix(p: Plan, i: int) -> int:
    return suffix_length(p.d, i, p.degree - 1)


def weights_of(p: Plan, coefficients: tuple[float, ...], dtype: np.dtype[Any]) -> State:
    """Return the weights of every entry of a state, 0 for the entries of "top" that stand for no
    monomial.
    """
    w = weights(coefficients, p.d).astype(dtype)
    if p.scheme != "top":
        return [w[:, None]]
    start = rank(p.d, p.depth)
    found = [w[:start, None]]
    for first, last in groups(p):
        part = np.zeros((_suffix(p, first), last - first), dtype)
        for i in range(first, last):
            length = _suffix(p, i)
            part[-length:, i - first] = w[start : start + length]
            start += length
        found.append(np.repeat(part, p.m, axis=1))
    return found


def canonical(p: Plan, state: State) -> HostArray:
    """Return a state in the order of `index`, shape (r, m)."""
    if p.scheme != "top":
        return state[0]
    blocks = [state[0]]
    for part, (first, last) in zip(state[1:], groups(p), strict=True):
        blocks += [
            part[-_suffix(p, i) :, (i - first) * p.m :][:, : p.m] for i in range(first, last)
        ]
    return np.concatenate(blocks)


def weigh(state: State, weight: State) -> State:
    """Return the state times the weights."""
    return [part * w for part, w in zip(state, weight, strict=True)]


def numpy_sums(
    x: HostArray, y: HostArray, values: HostArray, coefficients: tuple[float, ...], causal: bool
) -> HostArray:
    """Return sum_j P(x_i . y_j) values_j, over j <= i if causal; shapes (..., n_x, d), (..., n_y,
    d), (..., n_y, m) -> (..., n_x, m).
    """
    return _sums(x, y, values, coefficients, causal, None)


def numpy_sums_and_states(
    x: HostArray, y: HostArray, values: HostArray, coefficients: tuple[float, ...]
) -> tuple[HostArray, HostArray]:
    """Return the sums over all j and the weighted states of (y, values), shape (..., r, m), for the
    gradient.
    """
    shape = (*x.shape[:-2], rank(x.shape[-1], len(coefficients) - 1), values.shape[-1])
    states = np.empty(shape, x.dtype)
    return _sums(x, y, values, coefficients, False, flat(states)), states


def _sums(
    x: HostArray,
    y: HostArray,
    values: HostArray,
    coefficients: tuple[float, ...],
    causal: bool,
    states: HostArray | None,
) -> HostArray:
    *batch, n_x, d = x.shape
    m, n_y = values.shape[-1], y.shape[-2]
    p = plan(d, m, len(coefficients) - 1, max(n_x, n_y), causal)
    x, y, values = (flat(a) for a in (x, y, values))
    out = np.empty((x.shape[0], n_x, m), x.dtype)
    one = (n_x + n_y) * rank(d, p.degree) * m
    items = worker_count(one * x.shape[0], x.shape[0])

    def some(span: slice, threads: int) -> None:
        workers = [Summation(p, x.dtype) for _ in range(threads)]
        for i in range(span.start, span.stop):
            if causal:
                _causal(workers[0], x[i], y[i], values[i], coefficients, out[i])
            else:
                weighted = _whole(workers, x[i], y[i], values[i], coefficients, out[i])
                if states is not None:
                    states[i] = canonical(p, weighted)

    inner = worker_count(one, -(-min(n_x, n_y) // p.chunk)) if items == 1 and not causal else 1
    gather([partial(some, span, inner) for span in shares(x.shape[0], items)])
    return out.reshape(*batch, n_x, m)


def _whole(
    workers: list[Summation],
    x: HostArray,
    y: HostArray,
    values: HostArray,
    coefficients: tuple[float, ...],
    out: HostArray,
) -> State:
    """Set out to the sums and return the weighted state."""
    p = workers[0].plan
    weighted = weigh(total_state(workers, y, values), weights_of(p, coefficients, x.dtype))

    def read(worker: Summation, span: slice) -> None:
        for chunk in within(span, p.chunk):
            worker.read(weighted, x[chunk], out[chunk])

    share(workers, x.shape[0], read)
    return weighted


def total_state(workers: list[Summation], y: HostArray, values: HostArray) -> State:
    """Return the state of all tokens."""
    chunk = workers[0].plan.chunk

    def add(worker: Summation, span: slice) -> State:
        state = worker.zeros(y.dtype)
        for part in within(span, chunk):
            worker.add(state, y[part], values[part])
        return state

    return joined(share(workers, y.shape[0], add))


def joined(states: list[State]) -> State:
    """Return the sum of the states, in the memory of the first."""
    total, *others = states
    for other in others:
        for part, more in zip(total, other, strict=True):
            part += more
    return total


def share(workers: list[Summation], n: int, task: Callable[[Summation, slice], R]) -> list[R]:
    """Run a task on whole chunks of n tokens, divided among the workers."""
    spans = shares(n, len(workers), workers[0].plan.chunk)
    return gather(
        [partial(task, worker, span) for worker, span in zip(workers, spans, strict=False)]
    )


def flat(a: HostArray) -> HostArray:
    """Return a with one leading axis."""
    return a.reshape(math.prod(a.shape[:-2]), *a.shape[-2:])


def within(span: slice, step: int) -> list[slice]:
    """Return a run of tokens in slices of `step`."""
    return [
        slice(start, min(start + step, span.stop)) for start in range(span.start, span.stop, step)
    ]


def _causal(
    worker: Summation,
    x: HostArray,
    y: HostArray,
    values: HostArray,
    coefficients: tuple[float, ...],
    out: HostArray,
) -> None:
    """Take earlier chunks through the state, the own chunk by its scores."""
    weight = weights_of(worker.plan, coefficients, x.dtype)
    state = worker.zeros(x.dtype)
    weighted = [np.empty_like(part) for part in state]
    triangle = Triangle(worker.plan.chunk, x.dtype)
    for chunk in within(slice(0, x.shape[0]), worker.plan.chunk):
        if chunk.start:
            for part, w, target in zip(state, weight, weighted, strict=True):
                np.multiply(part, w, out=target)
            worker.read(weighted, x[chunk], out[chunk])
        else:
            out[chunk] = 0
        triangle.add_sums(x[chunk], y[chunk], values[chunk], coefficients, out[chunk])
        if chunk.stop < x.shape[0]:
            worker.add(state, y[chunk], values[chunk])
