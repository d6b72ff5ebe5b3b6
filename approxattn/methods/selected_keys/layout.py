"""Which keys each block of queries meets in its window, and which are far: numbers only.

Block c holds the queries from `first` on. In causal order, with p earlier keys, its window is

    [first + p - recent, first + p + rows),

of which each query sees the part up to its own key. Without order it is the block's own keys and
`recent` ones on either side where there are as many queries as keys; else queries have no places
among the keys, and there is no window. All keys outside are far.

Blocks that have windows of one width are taken together, so that a chunk of them is one product.
The far range of a chunk is cut into pieces of about equal length.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from approxattn.softmax.scores import SCORES_AT_ONCE

BLOCKS_AT_ONCE, FAR_AT_ONCE = 64, 4 * SCORES_AT_ONCE
"""Most blocks of a chunk, and most scores of their mean queries. *Chosen*: products are as fast as
larger ones, and the scores stay at 16 MiB in float32.
"""


class Counts(Protocol):
    """Numbers of queries and keys, and their order: a problem has them."""

    @property
    def n_q(self) -> int:
        """Number of queries."""
        ...

    @property
    def n_k(self) -> int:
        """Number of keys."""
        ...

    @property
    def causal(self) -> bool:
        """Whether no query sees later keys."""
        ...

    @property
    def earlier(self) -> int:
        """Keys before that of query 0, under causal order."""
        ...


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Neighbouring blocks of queries.

    Attributes
    ----------
    first, count, rows : int
        First query, number of blocks, queries in each.
    start, width : int
        First key of the window of the first block, which may be outside the keys only where width
        is 0, and keys of each window; windows move on by `rows` keys.
    causal : bool
        Whether the last `rows` keys of a window are those of the block, seen up to the diagonal.
    far : int
        Keys 0..far-1 are far for some block, but for those of its window.
    """

    first: int
    count: int
    rows: int
    start: int
    width: int
    causal: bool
    far: int

    @property
    def last(self) -> int:
        """One past the last query."""
        return self.first + self.count * self.rows

    def window(self, block: int) -> tuple[int, int]:
        """Return first and last key of the window of a block."""
        start = self.start + block * self.rows
        return start, start + self.width

    def outside(self, n_k: int) -> int:
        """Return the most far keys of a block."""
        return self.far if self.causal else n_k - self.width

    def pieces(self, summaries: int) -> list[tuple[int, int]]:
        """Return first and last key of each piece of the far range; none is empty."""
        number = min(summaries, self.far)
        ends = [self.far * piece // max(number, 1) for piece in range(number + 1)]
        return list(itertools.pairwise(ends))


def chunks(problem: Counts, block: int, recent: int, holding: int = 0) -> Iterator[Chunk]:
    """Yield all queries, chunk by chunk, from a chunk on that is at or before query `holding`.

    Where it begins (proved here): in causal order the blocks whose windows begin before the first
    key are chunks of their own. From then on chunks have `most` blocks, but near the end shorter
    ones, and behind a shorter one only chunks of one block follow. So every `most`-th block begins
    a chunk.
    """
    n_q, n_k = problem.n_q, problem.n_k
    near = SCORES_AT_ONCE // (block + recent) // block
    most = max(1, min(BLOCKS_AT_ONCE, FAR_AT_ONCE // n_k, near))
    first = _begin(problem, block, recent, holding, most)
    while first < n_q:
        rows = min(block, n_q - first)
        start, stop, inside = _window(problem, first, rows, recent)
        count = 1
        while inside and count < most and first + (count + 1) * rows <= n_q:
            if problem.causal or stop + count * rows <= n_k:
                count += 1
            else:
                break
        far = start + (count - 1) * rows if problem.causal else n_k
        yield Chunk(
            first=first,
            count=count,
            rows=rows,
            start=start,
            width=stop - start,
            causal=problem.causal,
            far=far,
        )
        first += count * rows


def _begin(problem: Counts, block: int, recent: int, holding: int, most: int) -> int:
    """Return where a chunk at or before that of query `holding` begins."""
    windowless = not problem.causal and problem.n_q != problem.n_k
    alone = 0 if windowless else -(-max(0, recent - problem.earlier) // block)
    blocks = holding // block
    if blocks > alone:
        blocks -= (blocks - alone) % most
    return blocks * block


def _window(problem: Counts, first: int, rows: int, recent: int) -> tuple[int, int, bool]:
    """Return first and last key of the window of one block, and whether the next may have one of
    the same width.
    """
    n_q, n_k = problem.n_q, problem.n_k
    if problem.causal:
        start, stop = first + problem.earlier - recent, first + problem.earlier + rows
        return max(start, 0), stop, start >= 0
    if n_q != n_k:
        return 0, 0, True
    start, stop = first - recent, first + rows + recent
    return max(start, 0), min(stop, n_k), start >= 0 and stop <= n_k


def all_met(problem: Counts, block: int, recent: int, heavy: int) -> bool:
    """Return whether no block has more far keys than it takes exactly."""
    return all(c.outside(problem.n_k) <= heavy for c in chunks(problem, block, recent))
