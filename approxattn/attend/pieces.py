"""What a mask splits into.

A piece is some queries in a row and some keys in a row, all of which meet, in full or in causal
order. Symbols: a run of queries has the segment of a run of m keys; query t of it, counted in the
run, sees keys 0..t + o of it under causal order, o its offset; f is the first key not hidden.

1. t < f - o: the query sees no key.
2. f - o <= t < m - o: it sees keys f..t + o. As one piece, the last query sees all its keys.
3. t >= m - o: it sees keys f..m - 1.

Batch items whose masks split in the same way are a group.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import HostArray
from approxattn._problem import Problem
from approxattn._problem.visible import Run, Visibility, Window, runs


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Queries rows[0]..rows[1]-1 with keys keys[0]..keys[1]-1.

    Attributes
    ----------
    rows, keys : (int, int)
        First one and one past the last.
    causal : bool
        Whether each query sees one key more than the one before; the last one sees all.
    band : (int or None, int or None) or None
        Least and largest j - i of a query i and key j of the piece; queries may see no key then.
    """

    rows: tuple[int, int]
    keys: tuple[int, int]
    causal: bool = False
    band: Window | None = None

    @property
    def form(self) -> tuple[int, int, bool, Window | None]:
        """What pieces have in common that are computed together."""
        n_q, n_k = self.rows[1] - self.rows[0], self.keys[1] - self.keys[0]
        return n_q, n_k, self.causal, self.band


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Batch items that are split in the same way.

    Attributes
    ----------
    items : ndarray of int, shape (m,), or None
        Their numbers among all leading indices; None: all of them, in their shape.
    pieces : tuple of Piece
        Sets of queries that do not overlap; who is in none sees no key.
    """

    items: HostArray | None
    pieces: tuple[Piece, ...]

    @property
    def bundles(self) -> list[list[Piece]]:
        """Pieces of one form together, in the order in which the forms come."""
        found: dict[object, list[Piece]] = {}
        for piece in self.pieces:
            found.setdefault(piece.form, []).append(piece)
        return list(found.values())


def split(problem: Problem) -> list[Group]:
    """Return the groups of a problem whose `visibility` is not None."""
    seen = problem.visibility
    assert seen is not None  # noqa: S101 - a plain problem is not split
    mask = None if problem.key_mask is None else _arrays.to_host(problem.key_mask)
    items = math.prod(problem.batch)
    if items == 0:
        return []
    layouts = _layouts(seen, problem.batch)
    firsts = _first_shown(seen, mask, layouts, problem.batch)
    labels: dict[tuple[int, tuple[int, ...] | None], list[int]] = {}
    for number in range(items):
        layout = 0 if len(layouts.of_item) == 1 else int(layouts.of_item[number])
        first = firsts[number] if firsts is not None else None
        labels.setdefault((layout, first), []).append(number)
    return [
        Group(
            items=None if len(labels) == 1 else np.asarray(numbers),
            pieces=tuple(_pieces(seen, layouts.runs[layout], first)),
        )
        for (layout, first), numbers in labels.items()
    ]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Layouts:
    """The different ways to lay out segments, and which of them each batch item has."""

    runs: list[list[tuple[Run, Run]]]
    of_item: HostArray


def _layouts(seen: Visibility, batch: tuple[int, ...]) -> _Layouts:
    if seen.segments is None:
        whole = [((0, 0, seen.n_q), (0, 0, seen.n_k))]
        return _Layouts(runs=[whole], of_item=np.zeros(1, int))
    queries, keys = (x.reshape(-1, x.shape[-1]) for x in _alike(seen, batch))
    rows = np.concatenate([queries, keys], axis=-1)
    different, of_item = np.unique(rows, axis=0, return_inverse=True)
    pairs = [_pairs(row[: seen.n_q], row[seen.n_q :]) for row in different]
    of_item = of_item.reshape(-1)
    return _Layouts(runs=pairs, of_item=of_item if len(pairs) > 1 else np.zeros(1, int))


def _alike(seen: Visibility, batch: tuple[int, ...]) -> Iterator[HostArray]:
    """Yield the segments of queries and keys over all leading indices."""
    assert seen.segments is not None  # noqa: S101 - asked for segments only
    for ids in seen.segments:
        yield np.broadcast_to(ids, (*batch, ids.shape[-1]))


def _pairs(queries: HostArray, keys: HostArray) -> list[tuple[Run, Run]]:
    """Return runs of queries, each with the run of keys of its segment."""
    of_key = {run[0]: run for run in runs(keys)}
    return [(run, of_key[run[0]]) for run in runs(queries) if run[0] in of_key]


def _first_shown(
    seen: Visibility, mask: HostArray | None, layouts: _Layouts, batch: tuple[int, ...]
) -> list[tuple[int, ...]] | None:
    """Return for each item the first key shown of each run of keys, counted in the run, the length
    of the run if there is none; None where no mask leaves a query without keys.
    """
    if mask is None or seen.window is not None or np.all(seen.visible(mask) > 0):
        return None
    flat = np.broadcast_to(mask, (*batch, seen.n_k)).reshape(-1, seen.n_k)
    found = []
    for number, row in enumerate(flat):
        layout = layouts.runs[0 if len(layouts.of_item) == 1 else int(layouts.of_item[number])]
        found.append(tuple(_first(row[start:stop]) for _, (_, start, stop) in layout))
    return found


def _first(shown: HostArray) -> int:
    return int(np.argmax(shown)) if np.any(shown) else int(shown.size)


def _pieces(
    seen: Visibility, layout: list[tuple[Run, Run]], first: tuple[int, ...] | None
) -> Iterator[Piece]:
    firsts = first or (0,) * len(layout)
    for ((_, a, b), (_, c, e)), f in zip(layout, firsts, strict=True):
        if f < e - c:
            yield from _of_run(seen, (a, b), (c, e), f)


def _of_run(
    seen: Visibility, rows: tuple[int, int], keys: tuple[int, int], f: int
) -> Iterator[Piece]:
    """Yield the pieces of one run of queries and its keys, of which f..m - 1 are shown."""
    (a, b), (c, e) = rows, keys
    if seen.window is not None:
        low, high = seen.band
        shift = a - c
        band = (None if low is None else low + shift, None if high is None else high + shift)
        yield Piece(rows=rows, keys=keys, band=band)
        return
    if not seen.causal:
        yield Piece(rows=rows, keys=(c + f, e))
        return
    n, m, o = b - a, e - c, seen.offset + a - c
    start = min(max(0, f - o), n)
    full = min(max(m - o, start), n)
    if full > start:
        stop = full + o
        causal = full - start > 1
        yield Piece(rows=(a + start, a + full), keys=(c + f, c + stop), causal=causal)
    if n > full:
        yield Piece(rows=(a + full, b), keys=(c + f, e))
