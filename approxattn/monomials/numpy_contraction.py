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
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np

from approxattn._arrays import HostArray
from approxattn.monomials.index import rank
from approxattn.monomials.numpy_dense import Triangle
from approxattn.monomials.numpy_features import plan
from approxattn.monomials.numpy_state import (
    State,
    Summation,
    arranged,
    canonical,
    joined,
    weigh,
    weights_of,
    within,
    zeros,
)
from approxattn.monomials.workers import gather, shares, worker_count

R = TypeVar("R")


def numpy_sums(
    x: HostArray,
    y: HostArray,
    values: HostArray,
    coefficients: tuple[float, ...],
    causal: bool,
    heads: int = 1,
) -> HostArray:
    """Return sum_j P(x_i . y_j) values_j, over j <= i + n_y - n_x if causal; shapes (..., n_x, d),
    (..., n_y, d), (..., n_y, m) -> (..., n_x, m).
    """
    return _sums(x, y, values, coefficients, causal, heads=heads)[0]


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
    initial: HostArray | None = None,
    heads: int = 1,
) -> tuple[HostArray, HostArray, HostArray | None]:
    """Return the sums, the parts of their last column that belong to those degrees, shape (...,
    n_x, degrees), and the weighted states of (y, values) if they are to be kept.

    `initial`, shape (..., r, m), is the weighted state that a causal sum starts from; with
    `heads`, x are so many runs of queries, one after the other.
    """
    states = _no_states(x, values, coefficients) if keep else None
    kept = None if states is None else flat(states)
    sums, parts = _sums(x, y, values, coefficients, causal, kept, degrees, initial, heads)
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
    initial: HostArray | None = None,
    heads: int = 1,
) -> tuple[HostArray, HostArray]:
    *batch, n_x, d = x.shape
    m, n_y = values.shape[-1], y.shape[-2]
    p = plan(d, m, len(coefficients) - 1, max(n_x // heads, n_y), causal)
    x, y, values = (flat(a) for a in (x, y, values))
    out = np.empty((x.shape[0], n_x, m), x.dtype)
    parts = np.empty((x.shape[0], len(degrees), n_x), x.dtype)  # each degree's in one run
    one = (n_x + n_y) * rank(d, p.degree) * m
    items = worker_count(one * x.shape[0], x.shape[0])

    def some(span: slice, threads: int) -> None:
        workers = [Summation(p, x.dtype, degrees, causal=causal) for _ in range(threads)]
        for i in range(span.start, span.stop):
            if causal:
                given = None if initial is None else arranged(p, flat(initial)[i])
                own = x[i], y[i], values[i], coefficients, out[i], parts[i], given, heads
                weighted = _causal(workers[0], *own, keep=states is not None)
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


def _causal(
    worker: Summation,
    x: HostArray,
    y: HostArray,
    values: HostArray,
    coefficients: tuple[float, ...],
    out: HostArray,
    parts: HostArray,
    initial: State | None,
    heads: int,
    *,
    keep: bool,
) -> State:
    """Take earlier chunks through the state, then the own chunks by their scores. What there is
    more of y comes before all of x, and the weighted state `initial` before that.

    Each of the `heads` runs of x reads the same states. Return the weighted state of (y, values),
    of all of these only if it is to be kept.
    """
    p, n = worker.plan, x.shape[0] // heads
    earlier = y.shape[0] - n
    weight, begun = weights_of(p, coefficients, x.dtype), initial is not None or earlier > 0
    state = total_state([worker], y[:earlier], values[:earlier])
    y, values = y[earlier:], values[earlier:]
    kept = [[np.empty_like(part) for part in state] for _ in range(-(-worker.loaded // p.chunk))]
    runs = [slice(g * n, (g + 1) * n) for g in range(heads)]
    own = [(x[run], out[run], parts[:, run]) for run in runs]
    for span in within(slice(0, n), worker.loaded):
        chunks = within(span, p.chunk)
        if span.start + p.chunk < n or keep:
            worker.held.load(y[span])
        for chunk, weighted in zip(chunks, kept, strict=False):
            if begun or chunk.start:
                for part, w, target in zip(state, weight, weighted, strict=True):
                    np.multiply(part, w, out=target)
                for target, more in zip(weighted, initial or (), strict=False):
                    target += more
            if chunk.stop < n or keep:
                worker.add_held(state, worker.held, _within(chunk, span), values[chunk])
        for tokens, target, split in own:
            if begun or span.stop > p.chunk:
                worker.held.load(tokens[span])
            for chunk, weighted in zip(chunks, kept, strict=False):
                if begun or chunk.start:
                    place = _within(chunk, span)
                    worker.read_held(weighted, worker.held, place, target[chunk], split[:, chunk])
                else:
                    target[chunk] = 0
                    split[:, chunk] = 0
    triangle = Triangle(p.chunk, x.dtype, -(-n // p.chunk))
    for tokens, target, split in own:
        _own_chunks(triangle, worker.degrees, tokens, y, values, coefficients, target, split)
    return weigh(state, weight) if keep else state


def _within(chunk: slice, span: slice) -> slice:
    return slice(chunk.start - span.start, chunk.stop - span.start)


def _own_chunks(
    triangle: Triangle,
    degrees: tuple[int, ...],
    x: HostArray,
    y: HostArray,
    values: HostArray,
    coefficients: tuple[float, ...],
    out: HostArray,
    parts: HostArray,
) -> None:
    """Add the sums over the keys of each query's own chunk."""
    for span, chunks in triangle.spans(x.shape[0]):
        own_x, own_y, own_values, own_out = (
            a[span].reshape(*chunks, a.shape[1]) for a in (x, y, values, out)
        )
        own_parts = parts[:, span].reshape(len(parts), *chunks)
        triangle.add_sums(own_x, own_y, own_values, coefficients, own_out, degrees, own_parts)
