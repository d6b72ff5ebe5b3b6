"""Heavy keys and summaries of some blocks of queries, found in one pass over the keys.

Symbols as in `chunk_keys`. Far keys come run by run; of those so far, each block holds the T with
the largest f_j, and of each piece p the sums over all the others

    M_p = sum_j e^{f_j - t_p},   S_p = sum_j e^{f_j - t_p} [k_j, v_j],   t_p = max_j f_j.

1. A run offers its largest scores. An entry that is above the least of the T takes its place; what
   it pushes out is added to the sums of its own piece. So no key is counted twice or left out, and
   at the end the T are the largest of all.
2. A sum whose t_p grows to t' is multiplied by e^{t_p - t'} first. Sums only ever grow: nothing is
   taken out of them.
3. Of runs of length L a block is offered about T L / n keys that stay: T ln(n / L) are pushed out
   in all, few beside n.

Scores are of the dtype computed in; sums over runs are in float64. Everything is NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from approxattn._arrays import HostArray
from approxattn.methods.selected_keys.arrays import take_largest
from approxattn.methods.selected_keys.chunk_keys import Choice
from approxattn.methods.selected_keys.layout import Chunk

AT_ONCE = 2**20
"""Scores of a run. *Chosen*: 4 MiB in float32, and products that are long enough."""


class Pushed(NamedTuple):
    """Keys that are no longer among the heavy ones: number of their block, place, score and [k, v],
    shapes (E,), (E,), (E,), (E, m).
    """

    block: HostArray
    place: HostArray
    score: HostArray
    tokens: HostArray


class Far:
    """The far keys of some blocks of queries.

    Parameters
    ----------
    chunks : sequence of Chunk
        Where the blocks are.
    mean : ndarray, shape (C, d)
        Their mean queries, scale included.
    choice : Choice
        How many keys of each kind.
    width : int
        d + dv.

    Attributes
    ----------
    score, place, tokens : ndarray, shapes (C, T), (C, T), (C, T, width)
        The heavy keys so far; the score of a place that is empty is -inf.
    top, mass, sums : ndarray, shapes (C, G), (C, G), (C, G, width)
        The sums of the pieces.
    runs : int
        Runs that have passed: each sum was multiplied, and added to, at most so often.
    """

    def __init__(
        self, chunks: Sequence[Chunk], mean: HostArray, choice: Choice, width: int
    ) -> None:
        count, pieces = len(mean), choice.summaries
        self._mean, self._sinks = mean, choice.sinks
        self._edges = np.concatenate([_edges(chunk, pieces) for chunk in chunks])
        self._last = last = max(chunk.far for chunk in chunks)
        windows = [chunk.window(block) for chunk in chunks for block in range(chunk.count)]
        # in causal order nothing behind the window is far
        self._windows = [(a, last if chunks[0].causal else b) for a, b in windows]
        self.score = np.full((count, choice.heavy), -np.inf, mean.dtype)
        self.place = np.zeros((count, choice.heavy), np.int64)
        self.tokens = np.zeros((count, choice.heavy, width), mean.dtype)
        self.top = np.full((count, pieces), -np.inf)
        self.mass = np.zeros((count, pieces))
        self.sums = np.zeros((count, pieces, width))
        self.runs = 0

    def add(self, first: int, tokens: HostArray) -> None:
        """Add the keys from `first` on, [k, v] of shape (m, width)."""
        if not self.score.shape[1] + self.top.shape[1]:
            return
        step = max(1, AT_ONCE // len(self._mean))
        for start in range(0, min(len(tokens), self._last - first), step):
            self._add(first + start, tokens[start : min(start + step, self._last - first)])

    def heaviest(self, own: slice, count: int) -> tuple[HostArray, HostArray, HostArray]:
        """Return place, score and [k, v] of the `count` heaviest of some blocks, in no order."""
        score = self.score[own]
        heavy = score.shape[1]
        if count == heavy:
            return self.place[own], score, self.tokens[own]
        order = np.argsort(score, axis=1)[:, heavy - count :]
        place, score = (np.take_along_axis(x, order, axis=1) for x in (self.place[own], score))
        return place, score, np.take_along_axis(self.tokens[own], order[..., None], axis=1)

    def _add(self, first: int, tokens: HostArray) -> None:
        self.runs += 1
        scores = self._mean @ tokens[:, : self._mean.shape[1]].T
        scores[:, : max(0, self._sinks - first)] = -np.inf
        for row, (start, stop) in zip(scores, self._windows, strict=True):
            row[max(0, start - first) : max(0, stop - first)] = -np.inf
        pushed = self._select(scores, first, tokens)
        if self.top.shape[1]:
            self._sum(scores, first, tokens)
            if pushed is not None:
                self._sum_pushed(pushed)

    def _select(self, scores: HostArray, first: int, tokens: HostArray) -> Pushed | None:
        """Let the largest scores in, which become -inf; return what they push out."""
        heavy = self.score.shape[1]
        least = np.min(self.score, axis=1, keepdims=True, initial=np.inf)
        offered = min(heavy, int(np.max(np.count_nonzero(scores > least, axis=1))))
        if not offered:
            return None
        places, found, _ = take_largest(scores, offered, np)
        both = np.concatenate([self.score, found], axis=1)
        out = np.zeros(both.shape, bool)
        np.put_along_axis(out, np.argpartition(both, offered - 1, axis=1)[:, :offered], True, 1)
        # in each row as many old ones go as new ones come
        old, new = out[:, :heavy], ~out[:, heavy:]
        row, column = np.nonzero(~new)  # those that are offered in vain stay with the others
        scores[row, places[row, column]] = found[row, column]
        block = np.nonzero(old)[0]
        pushed = Pushed(block, self.place[old], self.score[old], self.tokens[old])
        self.score[old], self.place[old] = found[new], places[new] + first
        self.tokens[old] = tokens[places[new]]
        return pushed

    def _sum(self, scores: HostArray, first: int, tokens: HostArray) -> None:
        """Add all that are not -inf; the scores are used up."""
        edges = np.clip(self._edges - first, 0, scores.shape[1])
        for piece in range(self.top.shape[1]):
            start, stop = edges[:, piece], edges[:, piece + 1]
            some = start < stop
            if not np.any(some):
                continue
            low, high = int(np.min(start[some])), int(np.max(stop[some]))
            part = scores[:, low:high]
            if not np.all((start == low) & (stop == high)):
                columns = np.arange(low, high)
                inside = (columns >= start[:, None]) & (columns < stop[:, None])
                part = np.where(inside, part, -np.inf)  # another piece needs the others
            top = self._raised(piece, np.max(part, axis=1))
            np.subtract(part, top[:, None].astype(part.dtype), out=part)
            np.exp(part, out=part)
            self.mass[:, piece] += np.sum(part, axis=1)
            self.sums[:, piece] += part @ tokens[low:high]

    def _raised(self, piece: int, found: HostArray) -> HostArray:
        """Let the sums of a piece be relative to no less than `found`, shape (C,); return to what,
        0 where there is nothing yet.
        """
        new = np.maximum(self.top[:, piece], found)
        safe = np.where(np.isfinite(new), new, 0.0)
        factor = np.exp(self.top[:, piece] - safe)
        self.top[:, piece] = new
        self.mass[:, piece] *= factor
        self.sums[:, piece] *= factor[:, None]
        return safe

    def _sum_pushed(self, pushed: Pushed) -> None:
        """Add single keys, those of one block and piece together."""
        there = np.isfinite(pushed.score)
        if not np.any(there):
            return
        block, place, score, tokens = (x[there] for x in pushed)
        piece = np.sum(place[:, None] >= self._edges[block, 1:-1], axis=1)
        for one in np.unique(piece):
            own = piece == one
            rows, starts = np.unique(block[own], return_index=True)  # blocks are in order
            found = np.full(len(self._mean), -np.inf)
            found[rows] = np.maximum.reduceat(score[own], starts)
            top = self._raised(int(one), found)
            weight = np.exp(score[own] - top[block[own]])
            self.mass[rows, one] += np.add.reduceat(weight, starts)
            self.sums[rows, one] += np.add.reduceat(weight[:, None] * tokens[own], starts)


def _edges(chunk: Chunk, pieces: int) -> HostArray:
    """Return where the pieces of each block of a chunk begin, and the end of all, shape (C, G + 1);
    what is missing is empty.
    """
    ends = [0, *(stop for _, stop in chunk.pieces(pieces))]
    ends += [chunk.far] * (pieces + 1 - len(ends))
    return np.broadcast_to(np.array(ends, np.int64), (chunk.count, pieces + 1))
