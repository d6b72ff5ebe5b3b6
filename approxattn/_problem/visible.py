"""Which keys a query may look at: order, window and segments as one record.

All three allow a query one run of keys. `key_mask` then hides some of them. For query i, with
offset o:

    causal                j <= i + o,
    window (l, r)         i + o - l <= j <= i + o + r,
    segments              the run of keys whose segment is that of the query.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray

Window: TypeAlias = tuple[int | None, int | None]
Run: TypeAlias = tuple[int, int, int]
"""A segment, its first token and one past its last."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Visibility:
    """What the order of tokens lets each query see.

    Attributes
    ----------
    n_q, n_k : int
        Numbers of queries and keys.
    causal : bool
        Whether query i is kept from keys after i + offset.
    offset : int
        Position of query 0 among the keys.
    window : (int or None, int or None) or None
        Keys before and after its own position that a query sees; None: no limit on that side.
    segments : (ndarray, ndarray) or None
        Segments of queries and keys, shapes (..., n_q) and (..., n_k), whole numbers.
    """

    n_q: int
    n_k: int
    causal: bool = False
    offset: int = 0
    window: Window | None = None
    segments: tuple[HostArray, HostArray] | None = None

    @property
    def plain(self) -> bool:
        """Whether every query sees all keys, or query i of the last n_q keys all up to its own."""
        if self.window is not None or self.segments is not None:
            return False
        return not self.causal or 0 <= self.offset == self.n_k - self.n_q

    @property
    def band(self) -> Window:
        """Least and largest j - i that causal order and window allow."""
        before, after = self.window or (None, None)
        low = None if before is None else self.offset - before
        high = None if after is None else self.offset + after
        if self.causal:
            high = self.offset if high is None else min(high, self.offset)
        return low, high

    @functools.cached_property
    def limits(self) -> tuple[HostArray, HostArray]:
        """First key that each query may see and one past the last, shapes (..., n_q); equal where
        there is none.
        """
        first, stop = limits_of(self.band, self.n_q, self.n_k)
        if self.segments is not None:
            begins, ends = _runs_of_queries(*self.segments)
            first, stop = np.maximum(first, begins), np.minimum(stop, ends)
        return first, np.maximum(first, stop)

    @functools.cached_property
    def seen_keys(self) -> HostArray:
        """Keys that some query may see, bool, shape (..., n_k)."""
        first, stop = self.limits
        lead = first.shape[:-1]
        change = np.zeros((*lead, self.n_k + 1), np.int64)
        some = np.asarray(stop > first, np.int64)
        for index in np.ndindex(*lead):
            np.add.at(change[index], first[index], some[index])
            np.subtract.at(change[index], stop[index], some[index])
        return np.asarray(np.cumsum(change, axis=-1)[..., :-1] > 0)

    def item(self, index: tuple[int, ...], batch: tuple[int, ...]) -> Visibility:
        """Return what holds for one leading index."""
        if self.segments is None:
            return self
        queries, keys = (np.broadcast_to(x, (*batch, x.shape[-1]))[index] for x in self.segments)
        return replace(self, segments=(queries, keys))

    def visible(self, key_mask: HostArray | None) -> HostArray:
        """Return how many keys each query sees, shape (..., n_q)."""
        return counted(self.limits, key_mask)


def limits_of(band: Window, n_q: int, n_k: int) -> tuple[HostArray, HostArray]:
    """Return the first key of each query and one past the last for low <= j - i <= high."""
    low, high = band
    rows = np.arange(n_q)
    first = np.zeros(n_q, np.int64) if low is None else np.clip(rows + low, 0, n_k)
    stop = np.full(n_q, n_k) if high is None else np.clip(rows + high + 1, 0, n_k)
    return first, np.maximum(first, stop)


def counted(limits: tuple[HostArray, HostArray], key_mask: HostArray | None) -> HostArray:
    """Return the number of keys between limits that the mask shows, shape (..., n_q)."""
    first, stop = limits
    if key_mask is None:
        return np.asarray(stop - first)
    sums = np.cumsum(key_mask, axis=-1, dtype=np.int64)
    sums = np.concatenate([np.zeros_like(sums[..., :1]), sums], axis=-1)
    shape = (*np.broadcast_shapes(first.shape[:-1], sums.shape[:-1]), first.shape[-1])
    sums = np.broadcast_to(sums, (*shape[:-1], sums.shape[-1]))
    ends = (np.broadcast_to(x, shape) for x in (stop, first))
    upto, before = (np.take_along_axis(sums, x, axis=-1) for x in ends)
    return np.asarray(upto - before)


def runs(ids: HostArray) -> list[Run]:
    """Return the runs of equal numbers in one row of segments."""
    if ids.size == 0:
        return []
    cuts = np.flatnonzero(ids[1:] != ids[:-1]) + 1
    starts, stops = np.append(0, cuts), np.append(cuts, ids.size)
    return [(int(ids[a]), int(a), int(b)) for a, b in zip(starts, stops, strict=True)]


def _runs_of_queries(queries: HostArray, keys: HostArray) -> tuple[HostArray, HostArray]:
    """Return the run of keys of each query's segment as first key and one past the last."""
    lead = np.broadcast_shapes(queries.shape[:-1], keys.shape[:-1])
    queries = np.broadcast_to(queries, (*lead, queries.shape[-1]))
    keys = np.broadcast_to(keys, (*lead, keys.shape[-1]))
    first = np.zeros(queries.shape, np.int64)
    stop = np.zeros(queries.shape, np.int64)
    for index in np.ndindex(*lead):
        places = {name: (a, b) for name, a, b in runs(keys[index])}
        for name, a, b in runs(queries[index]):
            first[(*index, slice(a, b))], stop[(*index, slice(a, b))] = places.get(name, (0, 0))
    return first, stop


def without_unseen(
    seen: Visibility, key_mask: Array | None, full: Array | None, batch: tuple[int, ...], k: Array
) -> tuple[Array | None, Array | None]:
    """Return the mask as given and in full, less the keys that no query sees."""
    if np.all(seen.seen_keys):
        return key_mask, full
    shown = _arrays.from_host(seen.seen_keys, k)
    if key_mask is None:
        host = np.broadcast_to(seen.seen_keys, (*batch, seen.n_k))
        return shown, _arrays.from_host(np.array(host), k)
    return key_mask & shown, full & shown
