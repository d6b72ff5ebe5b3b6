"""Selected keys and summaries over blocks of tokens: queries pass by all keys they may see.

1. Two passes find the extent of keys and values, the mean key, and how far keys are from it: what
   the bound knows of the keys in memory.
2. The queries of a piece are as many blocks as in memory, with the same windows and pieces of far
   keys (`layout`). All keys go by once; `far` keeps heavy keys and summaries, and the first keys
   and those of the windows are kept as they are.
3. Then each chunk is what it is in memory, and so are its output and bound, but for the order of
   sums (`bounds`, step 6 of the rounding).

A task holds T + G + 1 keys and values for each block of its queries; work is that in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.elsewhere import Extent, beside, extent_of, keys_alone
from approxattn.bounds.rounding import up
from approxattn.bounds.scores import row_norms
from approxattn.bounds.values import range_bound
from approxattn.certificate import SOFTMAX, Approximation, Certificate
from approxattn.methods.selected_keys import bounds, forward
from approxattn.methods.selected_keys.arrays import windows
from approxattn.methods.selected_keys.chunk_keys import (
    Choice,
    ChunkKeys,
    Summaries,
    order_bias,
    sinks_of,
)
from approxattn.methods.selected_keys.layout import BLOCKS_AT_ONCE, Chunk, chunks
from approxattn.methods.selected_keys.sharding.far import Far
from approxattn.methods.sharded import Answer, Answers, Call, Known, Pass, Tokens


class Seen(NamedTuple):
    """Extent of keys and values, and the sum of the keys, shape (..., 1, d)."""

    extent: Extent
    keys: HostArray

    def merge(self, other: Seen) -> Seen:
        """Return that of both."""
        return Seen(self.extent.merge(other.extent), self.keys + other.keys)


class Farthest(NamedTuple):
    """Largest distance of a key from the mean, shape (...)."""

    length: HostArray

    def merge(self, other: Farthest) -> Farthest:
        """Return the larger one."""
        return Farthest(np.asarray(np.maximum(self.length, other.length)))


class Counts(NamedTuple):
    """Numbers of tokens, as `layout` asks for them."""

    n_q: int
    n_k: int
    causal: bool
    earlier: int = 0


def counts_of(call: Call) -> Counts:
    """Return those of a call."""
    return Counts(call.queries, call.keys, call.causal)


@dataclass(frozen=True, kw_only=True)
class SummaryShards:
    """One call of `SelectedSummaries` with `choice`, of which some block has more far keys than
    heavy ones.
    """

    call: Call
    choice: Choice
    block: int
    recent: int

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The extent and the mean of the keys, and how far they are from it."""
        return (
            Pass(name="keys", takes=("k", "v"), fold=self.look),
            Pass(name="farthest", takes=("k",), fold=self.measure),
        )

    @property
    def answers(self) -> tuple[Answer, ...]:
        """The output."""
        give = Answer(
            name="out", takes=("q",), give=self.output, across=("k", "v"), multiple=self.block
        )
        return (give,)

    scan = None

    def look(self, known: Known, first: int, k: Array, v: Array) -> Seen:
        """Return what some keys and values add."""
        del known, first
        problem = keys_alone(k, v)
        total = np.sum(_arrays.to_float64(problem.k), axis=-2, keepdims=True)
        return Seen(extent_of(problem), np.asarray(total))

    def measure(self, known: Known, first: int, k: Array) -> Farthest:
        """Return how far some keys are from the mean."""
        del first
        problem = keys_alone(k, k[..., :1])
        away = problem.k - _arrays.from_host(self._centre(known), problem.k)
        lengths = np.max(row_norms(away, problem.xp), axis=-1) * (1 + 4 * problem.u)
        return Farthest(up(lengths + 2 * problem.d * _arrays.smallest_normal(problem.dtype)))

    def output(self, known: Known, first: int, q: Array, whole: Tokens) -> Answers:
        """Return the output of some queries."""
        problem = beside(q, known["keys"].extent, self.call.scale)
        items = list(np.ndindex(*problem.batch))
        parts = [_Item(self, problem.item(index), first) for index in items]
        stop = first + problem.n_q if self.call.causal else None
        for start, tokens in map(_together, whole.pieces(stop)):
            for index, part in zip(items, parts, strict=True):
                part.add(start, tokens[index])
        centre, radius = self._centre(known), known["farthest"].length
        done = [
            part.done(bounds.Reach(centre[index], float(radius[index])))
            for index, part in zip(items, parts, strict=True)
        ]
        value, rows, shares = (
            np.reshape(np.stack(found), (*problem.batch, problem.n_q, *found[0].shape[1:]))
            for found in zip(*done, strict=True)
        )
        value = _arrays.from_host(value, problem.q)
        certificate = Certificate(
            rows=np.fmin(rows, range_bound(value, problem)),
            target=SOFTMAX,
            theorem="ours.tanh-part",
            facts={
                "heavy": self.choice.heavy,
                "summaries": self.choice.summaries,
                "weight of summaries": shares,
            },
        )
        return {"value": Approximation(value=value, certificate=certificate)}

    def _centre(self, known: Known) -> HostArray:
        """Return the mean of the keys, shape (..., 1, d), in the dtype computed in."""
        found: HostArray = (known["keys"].keys / self.call.keys).astype(self.call.dtype)
        return found


def _together(piece: tuple[int, Sequence[Array]]) -> tuple[int, HostArray]:
    """Return the first token of a piece of keys and values, and [k, v] on the host."""
    problem = keys_alone(*piece[1])
    return piece[0], np.concatenate([_arrays.to_host(x) for x in (problem.k, problem.v)], axis=-1)


class _Item:
    """Some queries without leading axes, on the host, while the keys go by.

    Parameters
    ----------
    shards : SummaryShards
        The call.
    problem : Problem
        The queries, beside the extent of the keys.
    first : int
        The number of the first one.
    """

    def __init__(self, shards: SummaryShards, problem: Problem, first: int) -> None:
        q, k, v = (_arrays.to_host(x) for x in (problem.q, problem.k, problem.v))
        self._shards, self._choice, self._first = shards, shards.choice, first
        self._problem = replace(problem, q=q, k=k, v=v, xp=np)
        self._q = q * problem.scale
        width = problem.d + problem.dv
        self._groups = list(self._grouped())
        self._far = [
            Far(group, np.concatenate([self._mean(c)[:, 0] for c in group]), shards.choice, width)
            for group in self._groups
        ]
        every = [chunk for group in self._groups for chunk in group]
        self._low = min(chunk.start for chunk in every)
        high = max(chunk.window(chunk.count - 1)[1] for chunk in every)
        self._near = np.zeros((max(0, high - self._low), width), q.dtype)
        self._sinks = np.zeros((min(shards.choice.sinks, shards.call.keys), width), q.dtype)

    def _grouped(self) -> Iterator[list[Chunk]]:
        """Yield the chunks of these queries, as many at a time as a chunk may have blocks."""
        shards, first, last = self._shards, self._first, self._first + self._problem.n_q
        group: list[Chunk] = []
        for chunk in chunks(counts_of(shards.call), shards.block, shards.recent, first):
            if chunk.first >= last:
                break
            begin = max(0, first - chunk.first) // chunk.rows
            end = min(chunk.count, -(-(last - chunk.first) // chunk.rows))
            if end <= begin:
                continue
            own = replace(
                chunk,
                first=chunk.first + begin * chunk.rows,
                start=chunk.start + begin * chunk.rows,
                count=end - begin,
            )
            if group and sum(c.count for c in group) + own.count > BLOCKS_AT_ONCE:
                yield group
                group = []
            group.append(own)
        yield group

    def _queries(self, chunk: Chunk) -> HostArray:
        """Return the queries of a chunk, shape (C, b, d)."""
        own = self._q[chunk.first - self._first : chunk.last - self._first]
        return own.reshape(chunk.count, chunk.rows, -1)

    def _mean(self, chunk: Chunk) -> HostArray:
        found: HostArray = np.mean(self._queries(chunk), axis=1, keepdims=True)
        return found

    def add(self, first: int, tokens: HostArray) -> None:
        """Let keys and values from `first` on pass, shape (m, d + dv)."""
        for kept, low in ((self._sinks, 0), (self._near, self._low)):
            start, stop = max(first, low), min(first + len(tokens), low + len(kept))
            if start < stop:
                kept[start - low : stop - low] = tokens[start - first : stop - first]
        for far in self._far:
            far.add(first, tokens)

    def done(self, ball: bounds.Reach) -> tuple[HostArray, HostArray, HostArray]:
        """Return the output, shape (n, dv), the bounds of its rows and the weight of the summaries,
        shapes (n,).
        """
        values, found = [], []
        n_k, choice = self._shards.call.keys, self._choice
        for group, far in zip(self._groups, self._far, strict=True):
            begin = 0
            for chunk in group:
                keys = self._meet(chunk, far, slice(begin, begin + chunk.count))
                begin += chunk.count
                weights = forward.weights(keys, np)
                value = forward.output(keys, weights, np)
                values.append(value.reshape(-1, value.shape[-1]))
                left = not choice.summaries and chunk.outside(n_k) > choice.heavy
                share = forward.share(keys, weights, np)
                of_chunk = bounds.terms(
                    self._problem, keys, share, ball, left=left, multiplied=2 * far.runs
                )
                found.append(of_chunk)
        rows, shares = bounds.rows(self._problem, found)
        return np.concatenate(values), rows, shares

    def _meet(self, chunk: Chunk, far: Far, own: slice) -> ChunkKeys:
        """Return what a chunk meets; queries are counted from the first of these."""
        q, mean, d = self._queries(chunk), self._mean(chunk), self._problem.d
        sink_places, sink_bias = sinks_of(chunk, np.arange(len(self._sinks)), q)
        summaries = _summaries(far, own, mean) if self._choice.summaries and chunk.far else None
        place, score, heavy = far.heaviest(own, min(self._choice.heavy, chunk.far))
        tokens = np.concatenate([self._sinks[sink_places], heavy], axis=1)
        biases = [sink_bias, np.where(np.isfinite(score), 0, score).astype(q.dtype)]
        bias = np.concatenate(biases, axis=1)[:, None]
        k, v = tokens[..., :d], tokens[..., d:]
        if summaries is not None:
            k, v = np.concatenate([k, summaries.k], 1), np.concatenate([v, summaries.v], 1)
            bias = np.concatenate([bias, summaries.bias], axis=2)
        near = windows(
            self._near, chunk.start - self._low, chunk.count, chunk.rows, chunk.width, np
        )
        return ChunkKeys(
            chunk=replace(chunk, first=chunk.first - self._first),
            q=q,
            mean=mean,
            window_k=near[..., :d],
            window_v=near[..., d:],
            window_bias=order_bias(self._problem, chunk, q),
            places=np.concatenate([sink_places, place], axis=1),
            k=k,
            v=v,
            bias=bias,
            summaries=summaries,
        )


def _summaries(far: Far, own: slice, mean: HostArray) -> Summaries:
    """Return the summary keys of some blocks."""
    mass, top, sums, d = far.mass[own], far.top[own], far.sums[own], mean.shape[-1]
    some = mass > 0
    means = (sums / np.where(some, mass, 1.0)[..., None]).astype(mean.dtype)
    log = np.where(some, top + np.log(np.where(some, mass, 1.0)), -np.inf)
    there = np.einsum("cid,cgd->cg", mean, means[..., :d], dtype=np.float64)
    bias = (log - there).astype(mean.dtype)[:, None, :]
    return Summaries(means[..., :d], means[..., d:], bias, [])
