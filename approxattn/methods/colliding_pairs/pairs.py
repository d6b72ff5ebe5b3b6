"""The pairs of queries and keys that collide, found without looking at the others, and the rows of
them in padded blocks.

1. Pairs are found on the host. The codes of all keys of a table are sorted once, and each query
   takes the run of its own code.
2. Rows with about as many pairs are taken together, padded to the next power of two. So at most
   twice the pairs are ever formed, and every array library can work on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from approxattn._arrays import HostArray

ENTRIES = 2**21
"""Numbers gathered at a time. *Chosen*: 16 MiB in float64."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Colliding pairs of one batch item, row by row.

    Attributes
    ----------
    starts : ndarray of int, shape (n_q + 1,)
        Where the keys of each query start and end.
    keys : ndarray of int
        Keys of query 0, then of query 1 ...; each once, in order.
    """

    starts: HostArray
    keys: HostArray

    @property
    def counts(self) -> HostArray:
        """Number of keys of each query."""
        return np.diff(self.starts)


@dataclass(frozen=True, kw_only=True)
class RowBlock:
    """Some rows, padded to the same number of keys.

    Attributes
    ----------
    rows : ndarray of int, shape (rows,)
        The queries.
    keys : ndarray of int, shape (rows, width)
        Their keys; 0 where there is none.
    present : ndarray of bool, shape (rows, width)
        Where there is one.
    """

    rows: HostArray
    keys: HostArray
    present: HostArray


def count_collisions(q_codes: HostArray, k_codes: HostArray) -> int:
    """Return the number of collisions, those of several tables counted each: (tables, n_q),
    (tables, n_k); O((n_q + n_k) log n_k) a table.
    """
    total = 0
    for queries, keys in zip(q_codes, k_codes, strict=True):
        start, end = _runs(queries, np.sort(keys))
        total += int(np.sum(end - start))
    return total


def colliding_pairs(
    q_codes: HostArray, k_codes: HostArray, shown: HostArray, *, causal: bool
) -> Pairs:
    """Return the visible pairs that share a code in some table; `shown`, int, lists the keys that
    k_codes (tables, len(shown)) belong to.
    """
    n_q, n_k = q_codes.shape[1], int(shown.max(initial=-1)) + 1
    names = []
    for table_q, table_k in zip(q_codes, k_codes, strict=True):
        order = np.argsort(table_k, kind="stable")
        start, end = _runs(table_q, table_k[order])
        counts = end - start
        rows = np.repeat(np.arange(n_q), counts)
        places = (
            np.arange(len(rows))
            - np.repeat(np.cumsum(counts) - counts, counts)
            + np.repeat(start, counts)
        )
        keys = shown[order[places]]
        if causal:
            rows, keys = rows[keys <= rows], keys[keys <= rows]
        names.append(rows * n_k + keys)
    # One table gives each pair once, in order: the stable sort keeps the keys of a bucket
    # ascending.
    pairs = names[0] if len(names) == 1 else _distinct(np.concatenate(names))
    rows, keys = (pairs // n_k, pairs % n_k) if n_k else (pairs, pairs)
    return Pairs(starts=np.searchsorted(rows, np.arange(n_q + 1)), keys=keys)


def _distinct(names: HostArray) -> HostArray:
    names = np.sort(names)
    return names[np.concatenate([[True], names[1:] != names[:-1]])] if len(names) else names


def _runs(codes: HostArray, ordered: HostArray) -> tuple[HostArray, HostArray]:
    """Return where the run of each code starts and ends among ordered ones."""
    start, end = (np.searchsorted(ordered, codes, side=side) for side in ("left", "right"))
    return start, end


def row_blocks(pairs: Pairs, columns: int) -> Iterator[RowBlock]:
    """Yield all rows that have a pair, in blocks of at most ENTRIES / columns padded pairs (one row
    at least).
    """
    counts = pairs.counts
    widths = np.where(counts > 0, 2 ** np.ceil(np.log2(np.maximum(counts, 1))).astype(np.int64), 0)
    for width in np.unique(widths[widths > 0]):
        same = np.flatnonzero(widths == width)
        step = max(1, ENTRIES // (int(width) * columns))
        for first in range(0, len(same), step):
            rows = same[first : first + step]
            places = np.arange(width)[None, :]
            present = places < counts[rows][:, None]
            keys = pairs.keys[np.where(present, pairs.starts[rows][:, None] + places, 0)]
            yield RowBlock(rows=rows, keys=np.where(present, keys, 0), present=present)
