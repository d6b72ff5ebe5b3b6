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
6. A product cut into pieces of r_1 + ... + r_p = r rows, each r_i >= 1, takes at most max(r_i) - 1
   + p - 1 <= r - 1 additions.
7. The part of a degree t is a product over its own rows, at most r of them: 2 to 5 hold for it, and
   what is off is relative to |c_t| (|x_i| |y_j|)^t |v_j| alone. No part is a difference.
8. The highest degree of "top" and "tiled" is added up from 0 in the last column, which is exact,
   and joins the rest by one addition: no chain is longer than when each of its terms did.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import numpy as np

from approxattn._arrays import HostArray
from approxattn.monomials.index import rank
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
from approxattn.monomials.numpy_state import (
    State,
    canonical,
    groups,
    joined,
    weigh,
    weights_of,
    zeros,
)
from approxattn.monomials.parts.cuts import cuts
from approxattn.monomials.workers import gather, shares, worker_count

R = TypeVar("R")


class Summation:
    """Sums over features by a plan, with the memory they need; one for each thread.

    `degrees` are those whose parts of the last column's sum are asked for.
    """

    def __init__(self, plan: Plan, dtype: np.dtype[Any], degrees: tuple[int, ...] = ()) -> None:
        d, m, chunk = plan.d, plan.m, plan.chunk
        self.plan = plan
        self.degrees, self.cuts = degrees, cuts(d, m, plan.depth, degrees)
        self.highest = plan.degree > plan.depth and plan.degree in degrees
        self.held = Monomials(d, plan.depth, chunk, dtype)
        self.values, self.sums, self.more = (Scratch(m * chunk, dtype) for _ in range(3))
        self.tile = Scratch(TILE_ROWS * chunk if plan.scheme == "tiled" else 0, dtype)
        self.scaled = Scratch(COORDINATES_AT_ONCE * m * chunk if plan.scheme == "top" else 0, dtype)
        self.product = Scratch(max(part.size for part in zeros(plan, dtype)), dtype)

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

    def read(
        self, weighted: State, x: HostArray, out: HostArray, parts: HostArray | None = None
    ) -> None:
        """Set out, shape (tokens, m), to phi(x)^T S for a chunk of tokens, and parts, shape
        (degrees, tokens), to what those degrees add to its last column.
        """
        self.held.load(x)
        rows, m, n = self.held.rows, self.plan.m, x.shape[0]
        if self.plan.scheme == "top":
            total = self.sums.shaped(m, n)
            self._read_held(weighted[0], total.T, self.more.shaped(m, n).T, parts)
            with self._apart(total[-1:], parts):
                for part, (first, last) in zip(weighted[1:], groups(self.plan), strict=True):
                    blocks = self.scaled.shaped(last - first, m, n)
                    np.matmul(part.T, rows[-part.shape[0] :], out=blocks.reshape(part.shape[1], n))
                    blocks *= self.held.columns[first:last, None]
                    for block in blocks:
                        total += block
            out[...] = total.T
            return
        more = self.more.shaped(n, m)
        self._read_held(weighted[0], out, more, parts)
        if self.plan.scheme == "tiled":
            with self._apart(out.T[-1:], parts):
                for span, tile in built(self.held, self.plan.degree, self.tile):
                    np.matmul(tile.T, weighted[0][span], out=more)
                    out += more

    def _read_held(
        self, weighted: HostArray, total: HostArray, more: HostArray, parts: HostArray | None
    ) -> None:
        """Set total, shape (tokens, m), to what the monomials held give, and their parts.

        Degrees that are cut out get a product of their own, which joins the total.
        """
        rows = self.held.rows
        for span, k in self.cuts.pieces:
            target = more if span.start else total
            np.matmul(rows[span].T, weighted[span], out=target)
            if parts is not None and k is not None:
                parts[k] = target[:, -1]
            if span.start:
                total += more
        if parts is not None:
            for span, k in self.cuts.thin:
                np.matmul(weighted[span, -1], rows[span], out=parts[k])

    @contextmanager
    def _apart(self, last: HostArray, parts: HostArray | None) -> Iterator[None]:
        """Let what is added to the last column inside start from 0: it is the part of the highest
        degree, which joins the column in the end.
        """
        if parts is None or not self.highest:
            yield
            return
        before = last.copy()
        last[...] = 0
        yield
        parts[-1] = last[0]
        last += before

    def _accumulate(self, state: HostArray, left: HostArray, right: HostArray) -> None:
        product = self.product.shaped(*state.shape)
        for part in within(slice(0, right.shape[0]), self.plan.summed):
            np.matmul(left[:, part], right[part], out=product)
            state += product


def numpy_sums(
    x: HostArray, y: HostArray, values: HostArray, coefficients: tuple[float, ...], causal: bool
) -> HostArray:
    """Return sum_j P(x_i . y_j) values_j, over j <= i if causal; shapes (..., n_x, d), (..., n_y,
    d), (..., n_y, m) -> (..., n_x, m).
    """
    return _sums(x, y, values, coefficients, causal)[0]


def numpy_sums_and_states(
    x: HostArray, y: HostArray, values: HostArray, coefficients: tuple[float, ...]
) -> tuple[HostArray, HostArray]:
    """Return the sums over all j and the weighted states of (y, values), shape (..., r, m), for the
    gradient.
    """
    states = _no_states(x, values, coefficients)
    return _sums(x, y, values, coefficients, False, flat(states))[0], states


def numpy_sums_with_parts(
    x: HostArray,
    y: HostArray,
    values: HostArray,
    coefficients: tuple[float, ...],
    causal: bool,
    degrees: tuple[int, ...],
    keep: bool = False,
) -> tuple[HostArray, HostArray, HostArray | None]:
    """Return the sums, the parts of their last column that belong to those degrees, shape (...,
    n_x, degrees), and the states if they are to be kept and there is no mask.
    """
    states = _no_states(x, values, coefficients) if keep and not causal else None
    kept = None if states is None else flat(states)
    sums, parts = _sums(x, y, values, coefficients, causal, kept, degrees)
    return sums, parts, states


def _no_states(x: HostArray, values: HostArray, coefficients: tuple[float, ...]) -> HostArray:
    shape = (*x.shape[:-2], rank(x.shape[-1], len(coefficients) - 1), values.shape[-1])
    return np.empty(shape, x.dtype)


def _sums(
    x: HostArray,
    y: HostArray,
    values: HostArray,
    coefficients: tuple[float, ...],
    causal: bool,
    states: HostArray | None = None,
    degrees: tuple[int, ...] = (),
) -> tuple[HostArray, HostArray]:
    *batch, n_x, d = x.shape
    m, n_y = values.shape[-1], y.shape[-2]
    p = plan(d, m, len(coefficients) - 1, max(n_x, n_y), causal)
    x, y, values = (flat(a) for a in (x, y, values))
    out = np.empty((x.shape[0], n_x, m), x.dtype)
    parts = np.empty((x.shape[0], len(degrees), n_x), x.dtype)  # each degree's in one run
    one = (n_x + n_y) * rank(d, p.degree) * m
    items = worker_count(one * x.shape[0], x.shape[0])

    def some(span: slice, threads: int) -> None:
        workers = [Summation(p, x.dtype, degrees) for _ in range(threads)]
        for i in range(span.start, span.stop):
            if causal:
                _causal(workers[0], x[i], y[i], values[i], coefficients, out[i], parts[i])
            else:
                weighted = _whole(workers, x[i], y[i], values[i], coefficients, out[i], parts[i])
                if states is not None:
                    states[i] = canonical(p, weighted)

    inner = worker_count(one, -(-min(n_x, n_y) // p.chunk)) if items == 1 and not causal else 1
    gather([partial(some, span, inner) for span in shares(x.shape[0], items)])
    split = parts.reshape(*batch, len(degrees), n_x)
    return out.reshape(*batch, n_x, m), np.swapaxes(split, -1, -2)


def _whole(
    workers: list[Summation],
    x: HostArray,
    y: HostArray,
    values: HostArray,
    coefficients: tuple[float, ...],
    out: HostArray,
    parts: HostArray,
) -> State:
    """Set out to the sums, parts to those of their last column; return the weighted state."""
    p = workers[0].plan
    weighted = weigh(total_state(workers, y, values), weights_of(p, coefficients, x.dtype))

    def read(worker: Summation, span: slice) -> None:
        for chunk in within(span, p.chunk):
            worker.read(weighted, x[chunk], out[chunk], parts[:, chunk])

    share(workers, x.shape[0], read)
    return weighted


def total_state(workers: list[Summation], y: HostArray, values: HostArray) -> State:
    """Return the state of all tokens."""
    chunk = workers[0].plan.chunk

    def add(worker: Summation, span: slice) -> State:
        state = zeros(worker.plan, y.dtype)
        for part in within(span, chunk):
            worker.add(state, y[part], values[part])
        return state

    return joined(share(workers, y.shape[0], add))


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
    parts: HostArray,
) -> None:
    """Take earlier chunks through the state, the own chunk by its scores."""
    weight = weights_of(worker.plan, coefficients, x.dtype)
    state = zeros(worker.plan, x.dtype)
    weighted = [np.empty_like(part) for part in state]
    triangle = Triangle(worker.plan.chunk, x.dtype)
    for chunk in within(slice(0, x.shape[0]), worker.plan.chunk):
        if chunk.start:
            for part, w, target in zip(state, weight, weighted, strict=True):
                np.multiply(part, w, out=target)
            worker.read(weighted, x[chunk], out[chunk], parts[:, chunk])
        else:
            out[chunk] = 0
            parts[:, chunk] = 0
        own = (x[chunk], y[chunk], values[chunk])
        triangle.add_sums(*own, coefficients, out[chunk], worker.degrees, parts[:, chunk])
        if chunk.stop < x.shape[0]:
            worker.add(state, y[chunk], values[chunk])
