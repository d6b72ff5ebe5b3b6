"""Sums over keys kept in parts, as the schemes of `numpy_features` leave them, and what adds to
them and reads them.

"full" and "tiled" have one part, in the order of `index`. "top" has the monomials held, and one
part for each group of coordinates that share a product.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from approxattn._arrays import HostArray
from approxattn.monomials.contraction import weights
from approxattn.monomials.index import rank, suffix_length
from approxattn.monomials.numpy_features import (
    COORDINATES_AT_ONCE,
    TILE_ROWS,
    Monomials,
    Plan,
    Scratch,
    built,
)
from approxattn.monomials.parts.cuts import cuts

LOADED = 2**17
"""Monomials of causal chunks made at one time. *Chosen*: 512 KiB in float32; half and twice as many
took longer.
"""

State = list[HostArray]
"""sum_j phi(y_j) values_j^T without weights, in parts: shapes (rows, m), or (rows, coordinates m)
for the groups of "top".
"""


def zeros(p: Plan, dtype: np.dtype[Any]) -> State:
    """Return the state of no tokens."""
    base = rank(p.d, p.depth)
    if p.scheme != "top":
        return [np.zeros((rank(p.d, p.degree), p.m), dtype)]
    return [np.zeros((base, p.m), dtype)] + [
        np.zeros((_suffix(p, first), (last - first) * p.m), dtype) for first, last in groups(p)
    ]


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


def arranged(p: Plan, whole: HostArray) -> State:
    """Return a weighted state in the order of `index`, shape (r, m), as the plan lays it out."""
    if p.scheme != "top":
        return [whole]
    state, start = zeros(p, whole.dtype), rank(p.d, p.depth)
    state[0][...] = whole[:start]
    for part, (first, last) in zip(state[1:], groups(p), strict=True):
        for i in range(first, last):
            length = _suffix(p, i)
            columns = slice((i - first) * p.m, (i - first + 1) * p.m)
            part[-length:, columns] = whole[start : start + length]
            start += length
    return state


def weigh(state: State, weight: State) -> State:
    """Return the state times the weights."""
    return [part * w for part, w in zip(state, weight, strict=True)]


def joined(states: list[State]) -> State:
    """Return the sum of the states, in the memory of the first."""
    total, *others = states
    for other in others:
        for part, more in zip(total, other, strict=True):
            part += more
    return total


class Summation:
    """Sums over features by a plan, with the memory they need; one for each thread.

    `degrees` are those whose parts of the last column's sum are asked for. Causal sums need the
    monomials of keys and then those of queries: `held` takes those of `loaded` tokens.
    """

    def __init__(
        self,
        plan: Plan,
        dtype: np.dtype[Any],
        degrees: tuple[int, ...] = (),
        *,
        causal: bool = False,
    ) -> None:
        d, m, chunk = plan.d, plan.m, plan.chunk
        self.plan = plan
        self.degrees, self.cuts = degrees, cuts(d, m, plan.depth, degrees)
        self.highest = plan.degree > plan.depth and plan.degree in degrees
        self.loaded = chunk * (_chunks_loaded(plan) if causal else 1)
        self.held = Monomials(d, plan.depth, self.loaded, dtype)
        self.values, self.sums, self.more = (Scratch(m * chunk, dtype) for _ in range(3))
        self.tile = Scratch(TILE_ROWS * chunk if plan.scheme == "tiled" else 0, dtype)
        self.scaled = Scratch(COORDINATES_AT_ONCE * m * chunk if plan.scheme == "top" else 0, dtype)
        self.product = Scratch(max(part.size for part in zeros(plan, dtype)), dtype)

    def add(self, state: State, y: HostArray, values: HostArray) -> None:
        """Add a chunk of tokens to a state, shapes (tokens, d), (tokens, m)."""
        self.held.load(y)
        self.add_held(state, self.held, slice(0, y.shape[0]), values)

    def add_held(self, state: State, held: Monomials, own: slice, values: HostArray) -> None:
        """Add those of the tokens loaded that `own` names; all of them for "tiled"."""
        rows, n = held.rows[:, own], values.shape[0]
        self._accumulate(state[0][: rows.shape[0]], rows, values)
        if self.plan.scheme == "tiled":
            for span, tile in built(held, self.plan.degree, self.tile):
                self._accumulate(state[0][span], tile, values)
        elif self.plan.scheme == "top":
            turned = self.values.shaped(self.plan.m, n)
            turned[...] = values.T
            for part, (first, last) in zip(state[1:], groups(self.plan), strict=True):
                scaled = self.scaled.shaped(last - first, *turned.shape)
                np.multiply(held.columns[first:last, None, own], turned, out=scaled)
                flattened = scaled.reshape(part.shape[1], n)
                self._accumulate(part, rows[-part.shape[0] :], flattened.T)

    def read(
        self, weighted: State, x: HostArray, out: HostArray, parts: HostArray | None = None
    ) -> None:
        """Set out, shape (tokens, m), to phi(x)^T S for a chunk of tokens, and parts, shape
        (degrees, tokens), to what those degrees add to its last column.
        """
        self.held.load(x)
        self.read_held(weighted, self.held, slice(0, x.shape[0]), out, parts)

    def read_held(
        self,
        weighted: State,
        held: Monomials,
        own: slice,
        out: HostArray,
        parts: HostArray | None = None,
    ) -> None:
        """Read with those of the tokens loaded that `own` names; all of them for "tiled"."""
        rows, m, n = held.rows[:, own], self.plan.m, out.shape[0]
        if self.plan.scheme == "top":
            total = self.sums.shaped(m, n)
            self._read_rows(rows, weighted[0], total.T, self.more.shaped(m, n).T, parts)
            with self._apart(total[-1:], parts):
                for part, (first, last) in zip(weighted[1:], groups(self.plan), strict=True):
                    blocks = self.scaled.shaped(last - first, m, n)
                    np.matmul(part.T, rows[-part.shape[0] :], out=blocks.reshape(part.shape[1], n))
                    blocks *= held.columns[first:last, None, own]
                    for block in blocks:
                        total += block
            out[...] = total.T
            return
        more = self.more.shaped(n, m)
        self._read_rows(rows, weighted[0], out, more, parts)
        if self.plan.scheme == "tiled":
            with self._apart(out.T[-1:], parts):
                for span, tile in built(held, self.plan.degree, self.tile):
                    np.matmul(tile.T, weighted[0][span], out=more)
                    out += more

    def _read_rows(
        self,
        rows: HostArray,
        weighted: HostArray,
        total: HostArray,
        more: HostArray,
        parts: HostArray | None,
    ) -> None:
        """Set total, shape (tokens, m), to what the monomials held give, and their parts.

        Degrees that are cut out get a product of their own, which joins the total.
        """
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


def _chunks_loaded(plan: Plan) -> int:
    """Return how many causal chunks get their monomials at once: those of a short chunk take as
    long to ask for as to multiply.
    """
    if plan.scheme == "tiled":
        return 1
    return max(1, LOADED // (rank(plan.d, plan.depth) * plan.chunk))


def within(span: slice, step: int) -> list[slice]:
    """Return a run of tokens in slices of `step`."""
    return [
        slice(start, min(start + step, span.stop)) for start in range(span.start, span.stop, step)
    ]
