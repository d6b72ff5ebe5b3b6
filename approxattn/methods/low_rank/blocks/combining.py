"""What one block of tokens adds to the combinations that Linformer attends to.

Random combinations are drawn for DRAWN tokens at a time, each of these from a stream of its own:
any block of tokens can be drawn alone, and the draws do not depend on how the tokens are cut. They
are other draws than those of a call in memory, from the same distribution. Sampled rows and pooled
blocks are the same as there.

Sums are taken in float64, whatever the dtype of the tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from approxattn._arrays import HostArray
from approxattn.methods.low_rank.combinations import DRAWS
from approxattn.sketching import CountSketch, Dense

DRAWN = 2**10
"""Tokens whose draws come from one stream. *Chosen*: few streams, and little drawn in vain."""

OF_TOKENS, OF_ROWS = 1, 2
"""Last words of the seeds of streams: a seed that ends in zeros is the seed without them, so a
stream of tokens could be that of the rows.
"""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Random combinations of n tokens; `kind` is a name of `DRAWS`."""

    kind: str
    rank: int
    n: int
    seed: int

    def __post_init__(self) -> None:
        if self.kind == "srht":
            self._hadamard_rows()

    def add(self, first: int, x: HostArray) -> HostArray:
        """Return what tokens from `first` on add, shapes (..., n, m) -> (..., rank, m)."""
        last, total = first + x.shape[-2], np.zeros((*x.shape[:-2], self.rank, x.shape[-1]))
        for block in range(first // DRAWN, -(-last // DRAWN)):
            start = block * DRAWN
            own = slice(max(first, start), min(last, start + DRAWN))
            inside = slice(own.start - start, own.stop - start)
            part = x[..., own.start - first : own.stop - first, :]
            total += self._columns(block, inside).apply(part.astype(np.float64))
        return total

    def merge(self, a: HostArray, b: HostArray) -> HostArray:
        """Return what two blocks add together."""
        return a + b

    def _columns(self, block: int, inside: slice) -> Dense | CountSketch:
        """Return some columns of one block."""
        rng = np.random.default_rng((self.seed, block, OF_TOKENS))
        if self.kind == "srht":
            signs = 2.0 * rng.integers(0, 2, DRAWN)[inside] - 1
            tokens = np.arange(block * DRAWN, (block + 1) * DRAWN)[inside]
            # H_ij is -1 to the number of common binary ones of i and j
            odd = np.bitwise_count(self._hadamard_rows()[:, None] & tokens) % 2
            return Dense(matrix=(1.0 - 2.0 * odd) * signs * self.rank**-0.5)
        drawn = DRAWS[self.kind](DRAWN, self.rank, rng)
        if isinstance(drawn, CountSketch):
            own = drawn.draws(np.empty(0))[inside]
            return CountSketch(draws=lambda _: own, size=self.rank)
        return Dense(matrix=drawn.matrix[:, inside])

    def _hadamard_rows(self) -> HostArray:
        length = 1 << max(0, self.n - 1).bit_length()
        if self.rank > length:
            msg = (
                f"rank(={self.rank}) exceeds the {length} rows of the Hadamard transform of "
                f"{self.n} tokens: take a smaller rank"
            )
            raise ValueError(msg)
        rng = np.random.default_rng((self.seed, 0, OF_ROWS))
        return np.sort(rng.choice(length, self.rank, replace=False))


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """Tokens drawn uniformly with replacement: those that `row_sample` draws from the same seed."""

    rank: int
    n: int
    seed: int

    def add(self, first: int, x: HostArray) -> HostArray:
        """Return the rows that are among these tokens, and 0 for the others."""
        seed = int(np.random.default_rng(self.seed).integers(2**63))
        index = np.random.default_rng((seed, self.n)).integers(0, self.n, self.rank) - first
        here = (index >= 0) & (index < x.shape[-2])
        rows = np.zeros((*x.shape[:-2], self.rank, x.shape[-1]))
        rows[..., here, :] = x[..., index[here], :]
        return rows

    def merge(self, a: HostArray, b: HostArray) -> HostArray:
        """Return the rows of both."""
        return a + b


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """Sums, or largest entries, of contiguous blocks: those of `mean_pool`."""

    rank: int
    n: int
    largest: bool = False

    @property
    def edges(self) -> HostArray:
        """First token of each block, and n."""
        blocks = min(self.rank, self.n)
        return np.arange(blocks + 1) * self.n // blocks

    @property
    def counts(self) -> HostArray:
        """Tokens of each block."""
        return np.diff(self.edges)

    def add(self, first: int, x: HostArray) -> HostArray:
        """Return the sums, or the largest entries, over these tokens; 0 or -inf without any."""
        edges, last = self.edges, first + x.shape[-2]
        met = np.flatnonzero((edges[:-1] < last) & (edges[1:] > first))
        starts = np.maximum(edges[met], first) - first
        none = -np.inf if self.largest else 0.0
        found = np.full((*x.shape[:-2], len(edges) - 1, x.shape[-1]), none)
        fold = np.maximum if self.largest else np.add
        found[..., met, :] = fold.reduceat(x.astype(np.float64), starts, axis=-2)
        return found

    def merge(self, a: HostArray, b: HostArray) -> HostArray:
        """Return that over the tokens of both."""
        return np.maximum(a, b) if self.largest else a + b

    def block_of(self, first: int, last: int) -> HostArray:
        """Return the block of each token, shape (last - first,)."""
        return np.searchsorted(self.edges, np.arange(first, last), side="right") - 1


Combining = Drawn | Sampled | Pooled
