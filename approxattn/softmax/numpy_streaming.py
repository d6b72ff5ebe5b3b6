"""Exact attention of NumPy arrays: the sums of `streaming`, in place and in blocks that stay in
cache.

What is gained: scores are written over by their weights; the denominator is one more column of the
product with the values, [V, 1]; hidden keys have rows of 0 there; only what lies on the diagonal is
masked; and where no weight can overflow or underflow, scores are not shifted by their maximum, so
there is nothing to rescale.

Rounding (proved here): the statement of `bounds.softmax` covers it. Symbols as there, b >= |s_ij|
for all computed scores, T = max|v| of an item.

1. With shifts the sums are those of `streaming`, over the same blocks of keys; the denominator is
   added up in the order of a matrix product, any of which is covered.
2. Without, steps 2 and 3 of the statement do not occur: exp alone errs, by EXP_ULPS u.
3. Weights lie in [e^-b, e^b] up to that error, and sums of them times values are at most
   2 n e^b max(1, T): nothing overflows where that is a sixteenth of the largest number.
4. A product w v that underflows loses w_0, the smallest normal number, and so does the sum that it
   joins. The denominator is at least e^-b / 2, so an output loses at most 4 n w_0 e^b.
5. Where 8 n w_0 e^b <= u T that is below u T, and gamma_(2 t + 4) in the place of gamma_(2 t + 2)
   covers it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np

from approxattn import _arrays
from approxattn._arrays import HostArray
from approxattn._arrays.precision import plain
from approxattn._problem import Problem
from approxattn._problem.progress import reported
from approxattn._problem.time_needed import exact_seconds
from approxattn.bounds.scores import score_bound, value_spread
from approxattn.bounds.softmax import score_rounding

Block = TypeVar("Block")

ROWS, SCORES = 256, 2**18
"""Queries a block, and scores held at one time unless one block has more. *Chosen*: with 1,024 keys
256 KiB in float32, half of a usual second cache.
"""


class _Items(NamedTuple):
    """Some leading indices, on one axis."""

    q: HostArray
    k: HostArray
    values: HostArray
    """[V, 1], with rows of 0 for hidden keys."""
    mask: HostArray | None
    out: HostArray


class _Way(NamedTuple):
    """How the sums are taken: keys a block, whether scores are shifted, and room for scores."""

    key_block: int
    shifted: bool
    space: HostArray


def attend(problem: Problem, key_block: int) -> HostArray:
    """Return exact attention, shape (..., n_q, dv), of a problem without bias and band."""
    out = np.empty((*problem.batch, problem.n_q, problem.dv), problem.q.dtype)
    last = problem.batch[-1] if problem.batch else 1
    block, at_once = held(problem.n_q, min(problem.n_k, key_block), last)
    space = np.empty(block * at_once, problem.q.dtype)
    way = _Way(key_block, not _stays_in_range(problem), space)
    rows = (
        (items, first, min(first + ROWS, problem.n_q))
        for items in _items(problem, out, at_once)
        for first in range(0, problem.n_q, ROWS)
    )
    for items, first, last in exact_blocks(rows, problem, lambda x: len(x[0].q) * (x[2] - x[1])):
        _write_rows(problem, items, way, first, last)
    return out


def exact_blocks(
    blocks: Iterable[Block], problem: Problem, rows: Callable[[Block], float], times: float = 1.0
) -> Iterator[Block]:
    """Yield blocks of exact attention, telling how far the work is; `rows` counts the rows of one,
    and the work takes `times` that of the output.
    """
    what = f"exact attention of {problem.n_q} queries and {problem.n_k} keys"
    total = float(math.prod((*problem.batch, problem.n_q)))
    return reported(blocks, what, times * exact_seconds(problem), total, rows)


def held(n_q: int, keys: int, items: int) -> tuple[int, int]:
    """Return the scores of a block of one item, and how many items are taken at a time."""
    block = min(n_q, ROWS) * keys
    return block, min(max(1, SCORES // max(1, block)), items)


def _stays_in_range(problem: Problem) -> bool:
    """Return whether weights that are not shifted meet steps 3 and 5."""
    bound = score_bound(problem)
    reach = float(np.max(bound + score_rounding(problem, bound), initial=0.0))
    most = _arrays.largest(problem.dtype)
    if not reach < math.log(most):
        return False
    size, tops = problem.n_k * math.exp(reach), value_spread(problem).top
    if not 32 * size * max(1.0, float(np.max(tops))) <= most:
        return False
    # items whose values are all 0 lose nothing
    lost, least = (
        8 * size * _arrays.smallest_normal(problem.dtype),
        np.min(tops[tops > 0], initial=1),
    )
    return bool(lost <= plain(problem.u) * least)


def _items(problem: Problem, out: HostArray, at_once: int) -> Iterator[_Items]:
    """Yield all leading indices, so many of the last axis at a time; only values are copied."""
    whole, mask = [problem.q, problem.k, problem.v, out], problem.key_mask
    if not problem.batch:
        whole = [x[None] for x in whole]
        mask = None if mask is None else mask[None]
    *outer, last = whole[0].shape[:-2]
    for index in np.ndindex(*outer):
        for first in range(0, last, at_once):
            at = (*index, slice(first, first + at_once))
            q, k, v, rows = (x[at] for x in whole)
            shown = None if mask is None else mask[at]
            values = np.concatenate([v, np.ones((*v.shape[:-1], 1), v.dtype)], axis=-1)
            if shown is not None:
                values *= shown[..., None]
            yield _Items(q, k, values, shown, rows)


def _write_rows(problem: Problem, items: _Items, way: _Way, first: int, last: int) -> None:
    """Write the output rows first..last-1."""
    q = items.q[:, first:last] * problem.scale
    stop = last + problem.earlier if problem.causal else problem.n_k
    total: HostArray | None = None
    top: HostArray | None = None
    for start in range(0, stop, way.key_block):
        end = min(start + way.key_block, stop)
        shape = (*q.shape[:-1], end - start)
        scores = way.space[: math.prod(shape)].reshape(shape)
        np.matmul(q, items.k[:, start:end].swapaxes(-1, -2), out=scores)
        if problem.causal:
            _hide_later(scores, first + problem.earlier - start)
        if way.shifted:
            top, shrink = _shift(scores, top, items.mask, start, end)
            total = total if total is None else total * shrink
        np.exp(scores, out=scores)
        part = np.matmul(scores, items.values[:, start:end])
        total = part if total is None else np.add(total, part, out=total)
    assert total is not None  # noqa: S101 - there is a key
    np.divide(total[..., :-1], total[..., -1:], out=items.out[:, first:last])


def _hide_later(scores: HostArray, seen: int) -> None:
    """Write -inf where row r looks beyond key r + seen of the block."""
    rows, keys = scores.shape[-2:]
    start = min(max(seen + 1, 0), keys)
    later = np.arange(start, keys) > np.arange(rows)[:, None] + seen
    np.copyto(scores[..., start:], -np.inf, where=later)


def _shift(
    scores: HostArray, top: HostArray | None, mask: HostArray | None, start: int, end: int
) -> tuple[HostArray, HostArray]:
    """Subtract the largest score so far; return it, and the factor of what was summed before."""
    if mask is not None:
        np.copyto(scores, -np.inf, where=~mask[:, None, start:end])
    found = np.max(scores, axis=-1, keepdims=True)
    found = found if top is None else np.maximum(top, found)
    # a row that has seen no key yet has no largest score: its weights are e^-inf
    finite = np.where(np.isfinite(found), found, 0)
    np.subtract(scores, finite, out=scores)
    return found, np.ones_like(found) if top is None else np.exp(top - finite)
