"""Monomials of a chunk of tokens in NumPy arrays that are allocated once, and the three ways to
bring the highest degree into a product.

    full    all monomials are held, one product a chunk;
    tiled   those of degree g - 1 are held; degree g is built some rows at a time, small enough for
        the nearest caches, and used at once;
    top     degree g is never formed: its block for coordinate i is x_i times a suffix of degree g -
        1 (`index`), so that

        sum_j (y_ji suffix(y_j)) v_j^T = sum_j suffix(y_j) (y_ji v_j)^T,     (x_i suffix(x))^T S_i =
            x_i (suffix(x)^T S_i),

            which scales d m numbers a token instead of C(d + g - 1, g). A few coordinates share one
            product, with the longest of their suffixes: the entries that belong to none of the
            shorter ones get weight 0.

Measured on one core, top wins once C(d + g - 1, g) > 2 d m, for degrees 3 and more; tiles matter
only where the features outgrow the caches.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from approxattn._arrays import HostArray
from approxattn.monomials.index import rank, suffix_length

FEATURES_HELD = 2**21
"""Monomials of a chunk held at one time. *Chosen*: 8 MiB in float32."""

LARGEST_CHUNK = 1024
CAUSAL_CHUNK = 256, 512
"""Tokens of a causal chunk, for degrees up to 2 and above: longer ones cost more scores, shorter
ones more products with the state.
"""

SMALLEST_CHUNK = 64
TILE_ROWS = 256
COORDINATES_AT_ONCE = 2


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the sums over features of degree <= g in d variables with m columns of values are taken.

    Monomials are made for `chunk` tokens at a time; a product sums over `summed` of them at most.
    """

    d: int
    m: int
    degree: int
    scheme: str
    chunk: int
    summed: int

    @property
    def depth(self) -> int:
        """Degree of the monomials held."""
        return self.degree if self.scheme == "full" else self.degree - 1


def chunk_tokens(d: int, degree: int, causal: bool) -> int:
    """Return the largest number of tokens that one product sums over."""
    longest = CAUSAL_CHUNK[degree > 2] if causal else LARGEST_CHUNK
    return max(SMALLEST_CHUNK, min(longest, FEATURES_HELD // rank(d, max(degree - 1, 0))))


def plan(d: int, m: int, degree: int, n: int, causal: bool, together: int = 1) -> Plan:
    """Return the plan for sums over n tokens, with at most `together` sums a chunk."""
    summed = -(-n // -(-n // chunk_tokens(d, degree, causal))) if n else 1  # as equal as can be
    fit = FEATURES_HELD // (rank(d, max(degree - 1, 0)) * summed)
    chunk = summed * max(1, min(together, fit))
    return Plan(
        d=d, m=m, degree=degree, scheme=scheme_for(d, m, degree, chunk), chunk=chunk, summed=summed
    )


def scheme_for(d: int, m: int, degree: int, chunk: int) -> str:
    """Return the name of the cheapest scheme."""
    if degree > 2 and suffix_length(d, 0, degree) > 2 * d * m:
        return "top"
    return "full" if degree < 2 or rank(d, degree) * chunk <= FEATURES_HELD else "tiled"


LINE = 64
"""Bytes of a cache line. NumPy begins an array anywhere among them; sums at (16, 4) whose scratch
does not begin with one take up to a tenth longer.
"""


class Scratch:
    """An array allocated once and lent in any smaller shape, always contiguous and from the start
    of a cache line on.
    """

    def __init__(self, size: int, dtype: np.dtype[Any]) -> None:
        needed = size * dtype.itemsize
        bytes_ = np.empty(needed + LINE, np.uint8)
        start = -bytes_.ctypes.data % LINE
        self._flat = bytes_[start : start + needed].view(dtype)

    def shaped(self, *shape: int) -> HostArray:
        """Return it in a shape of at most its size."""
        return self._flat[: math.prod(shape)].reshape(shape)


class Monomials:
    """The monomials of degree <= depth of one chunk of tokens, in the order of `index`."""

    def __init__(self, d: int, depth: int, chunk: int, dtype: np.dtype[Any]) -> None:
        self.d, self.depth = d, depth
        self._rows = Scratch(max(rank(d, depth), 1 + d) * chunk, dtype)
        self.columns = self.rows = np.empty((0, 0), dtype)
        self._products: list[tuple[HostArray, HostArray, HostArray]] = []

    def load(self, x: HostArray) -> None:
        """Set `columns`, (d, tokens), and `rows`, (rank, tokens), to those of x, shape
        (tokens, d).
        """
        if x.shape[0] != self.columns.shape[-1]:
            self._arrange(x.shape[0])
        self.columns[...] = x.T
        for left, right, out in self._products:
            np.multiply(left, right, out=out)

    def _arrange(self, n: int) -> None:
        """Find the places of all products for chunks of n tokens: most chunks are equally long, and
        finding them costs as much as short products.
        """
        held = self._rows.shaped(max(rank(self.d, self.depth), 1 + self.d), n)
        held[0] = 1
        self.columns, self.rows = held[1 : self.d + 1], held[: rank(self.d, self.depth)]
        self._products = [
            (held[source], held[1 + i], held[target])
            for i, source, target in products(self.d, self.depth)
        ]


@functools.lru_cache(maxsize=64)
def products(d: int, degree: int) -> tuple[tuple[int, slice, slice], ...]:
    """Return what makes degrees 2 ... g: rows `target` are coordinate i times rows `source`, as (i,
    source, target).
    """
    found = []
    for t in range(2, degree + 1):
        end = to = rank(d, t - 1)
        for i in range(d):
            length = suffix_length(d, i, t - 1)
            found.append((i, slice(end - length, end), slice(to, to + length)))
            to += length
    return tuple(found)


@dataclass(frozen=True)
class Piece:
    """Rows `rows` of a tile: coordinate i times rows `source` of the monomials held."""

    i: int
    source: slice
    rows: slice


@functools.lru_cache(maxsize=64)
def tiles(d: int, degree: int, height: int) -> tuple[tuple[Piece, ...], ...]:
    """Return the block of a degree >= 1 cut into tiles of `height` rows (the last may be lower)."""
    end = rank(d, degree - 1)
    found: list[tuple[Piece, ...]] = []
    pieces: list[Piece] = []
    filled = 0
    for i in range(d):
        first = end - suffix_length(d, i, degree - 1)
        while first < end:
            take = min(end - first, height - filled)
            pieces.append(Piece(i, slice(first, first + take), slice(filled, filled + take)))
            first, filled = first + take, filled + take
            if filled == height:
                found.append(tuple(pieces))
                pieces, filled = [], 0
    return (*found, tuple(pieces)) if pieces else tuple(found)


def built(held: Monomials, degree: int, scratch: Scratch) -> Iterator[tuple[slice, HostArray]]:
    """Build the tiles of the degree above those held, one after the other in one place; yield each
    with its rows among all monomials.
    """
    start = held.rows.shape[0]
    for pieces in tiles(held.d, degree, TILE_ROWS):
        height = pieces[-1].rows.stop
        tile = scratch.shaped(height, held.rows.shape[1])
        for piece in pieces:
            np.multiply(held.rows[piece.source], held.columns[piece.i], out=tile[piece.rows])
        yield slice(start, start + height), tile
        start += height
