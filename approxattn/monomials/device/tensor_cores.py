"""Sums with features on tensor cores, where the user lets products of float32 be made in TF32.

Then `_arrays.precision` gives every product the error w and every addition u', and K of `kernel`
counts them. Rounding (proved here, from what `precision` assumes of one product): K holds.

1. A monomial has g - 1 roundings of float32, each below u'. Its rounding to TF32, by 2^-11 at most,
   is that of a factor, below v of `precision`; so is that of a value, and of an entry of the state.
2. One instruction adds 8 products to its accumulator: one addition of error u' for each of its
   terms. A block has 8 `chunk_length` keys at most, so at most `chunk_length` such additions follow
   each other, as in a chunk of the general way.
3. Blocks are added in float64, weighted there, rounded once: 3 of `contraction`.
4. Reading takes 2 instructions an item, one after the other. They are at most r + 4 (`serves`
   looks), where K counts r and 4 for the weight, which 3 has counted already with the blocks.
5. Monomials that stand in two items have weight 0 in one of them, exactly.

Underflow: TF32 has the exponents of float32.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace, cuda
from approxattn._arrays.precision import float32_products
from approxattn.monomials.contraction import chunk_length
from approxattn.monomials.index import rank

LARGEST_D = 128
LARGEST_COLUMNS = 136
DEGREES = range(2, 7)
"""*Chosen*: what fits the registers and the shared memory of an A100."""

REGISTERS = 150
"""For the sums and places of a warp's items. *Chosen*: nothing spills."""

WARPS, STAGE_TOKENS, STAGE_ITEMS, ITEM = 8, 32, 4, 16
"""As in the source."""

PARTS_AT_ONCE = 2**26
"""Entries of the sums of blocks held at one time. *Chosen*: 256 MiB."""


@dataclass(frozen=True)
class Table:
    """The items for one pair (d, g); the source says what they are.

    Attributes
    ----------
    parents : uint8 array, shape (tiles * 16, g - 1)
        Variables of the parents, 0 ... d.
    tiles, firsts : int32 and uint8 arrays, shape (items,)
        Tile and first variable of every item.
    factors : int array, shape (items * 16, g)
        Variables of every monomial, increasing.
    own : bool array, shape (items * 16,)
        Whether it stands here and in no other item.
    """

    parents: HostArray
    tiles: HostArray
    firsts: HostArray
    factors: HostArray
    own: HostArray

    @property
    def items(self) -> int:
        """Their number."""
        return len(self.tiles)


@functools.lru_cache(maxsize=32)
def table(d: int, degree: int) -> Table:
    """Return the items of d variables and a degree >= 2."""
    rows = list(itertools.combinations_with_replacement(range(d + 1), degree - 1))
    missing = -len(rows) % ITEM
    none = (0,) * (degree - 1)
    # what fills the first tile comes first: the tiles of large variables have the most items
    parents = np.array([none] * missing + rows, np.uint8)
    heads = parents[:, 0].reshape(-1, ITEM).max(axis=1).astype(int)
    tiles = np.repeat(np.arange(len(heads)), heads + 1)
    firsts = np.concatenate([np.arange(head + 1) for head in heads])
    of_item = parents.reshape(-1, ITEM, degree - 1)[tiles].reshape(-1, degree - 1)
    lead = np.repeat(firsts, ITEM)
    factors = np.concatenate([lead[:, None], of_item.astype(int)], axis=1)
    filled = np.arange(len(parents)).reshape(-1, ITEM)[tiles].ravel() < missing
    own = (lead <= of_item[:, 0]) & ~filled
    return Table(parents, tiles.astype(np.int32), firsts.astype(np.uint8), factors, own)


@functools.lru_cache(maxsize=32)
def item_weights(coefficients: tuple[float, ...], d: int) -> HostArray:
    """Return c_t t!/alpha! for every monomial of the items, 0 where it stands in another one too,
    float64, shape (items * 16,).
    """
    found = table(d, len(coefficients) - 1)
    degrees = np.count_nonzero(found.factors, axis=1)
    multiplicity = np.array([math.factorial(t) for t in range(len(coefficients))], float)[degrees]
    run = np.zeros(len(degrees))
    for k in range(found.factors.shape[1]):
        same = (found.factors[:, k] == found.factors[:, k - 1]) & (k > 0)
        run = np.where(same, run + 1, 1.0)
        multiplicity /= np.where(found.factors[:, k] > 0, run, 1.0)
    return np.asarray(np.where(found.own, np.asarray(coefficients)[degrees] * multiplicity, 0.0))


def serves(d: int, degree: int, columns: int, *arrays: Array) -> bool:
    """Return whether tensor cores may and can take these arrays and settings."""
    fits = degree in DEGREES and 1 <= d <= LARGEST_D and columns <= LARGEST_COLUMNS
    if not fits or any(_arrays.dtype_name(x) != "float32" for x in arrays):
        return False
    if not cuda.ready(*arrays) or float32_products(arrays[0]) != "tf32":
        return False
    short = 2 * table(d, degree).items <= rank(d, degree) + 4
    return short and cuda.tensor_cores_hold(arrays[0])


class Items:
    """The kernels for one pair (d, g), with their tables on the device."""

    def __init__(self, like: Array, coefficients: tuple[float, ...], xp: Namespace) -> None:
        self.d, self.degree, self.xp = int(like.shape[1]), len(coefficients) - 1, xp
        self._host = table(self.d, self.degree)
        self._weights = item_weights(coefficients, self.d)
        self.items = self._host.items
        own = (self._host.parents, self._host.tiles, self._host.firsts, self._weights)
        *self._table, self._on_device = (_arrays.from_host(np.array(x), like) for x in own)
        self._where: dict[str, Any] = {"device": _arrays.device(like)}

    def state_of(self, y: Array, values: Array) -> Array:
        """Return the weighted state of the keys, float32, shape (items * 16, m)."""
        n, m = values.shape
        width, launch = _width(m), self._launcher(y, m)
        length = 8 * chunk_length(self.d, self.degree)
        rows = self.items * ITEM
        carry = self.xp.zeros((rows, width), dtype=self.xp.float64, **self._where)
        together = max(1, PARTS_AT_ONCE // (rows * width)) * length
        for first in range(0, n, together):
            tokens = slice(first, min(first + together, n))
            self._add(launch, carry, y[tokens, :], values[tokens, :], length)
        return self.xp.astype((carry * self._on_device[:, None])[:, :m], y.dtype)

    def _add(
        self, launch: cuda.Launcher, carry: Array, y: Array, values: Array, length: int
    ) -> None:
        n, m = values.shape
        rows, width = carry.shape
        blocks = cuda.cells(n, length)
        parts = self.xp.empty((blocks, rows, width), dtype=y.dtype, **self._where)
        stage = STAGE_TOKENS + 4
        shared = 4 * ((self.d + 1) * stage + STAGE_TOKENS * _stride(width))
        grid = blocks, cuda.cells(self.items, WARPS * items_a_warp(self.degree, m))
        arguments = y, values, *self._table, np.int32(self.items), n, length, parts
        launch("aa_accumulate", grid, 32 * WARPS, *arguments, shared=shared)
        sums = cuda.launcher("monomials", y, DEGREE=self.degree)
        numbers = blocks, rows * width, width, self._on_device, carry, None
        sums("aa_running_sum", (cuda.cells(rows * width),), cuda.THREADS, parts, *numbers)

    def read(self, x: Array, state: Array) -> Array:
        """Return the sums for the queries, shapes (n, d), (items * 16, m) -> (n, m)."""
        n, m = x.shape[0], state.shape[1]
        width = _width(m)
        if width > m:
            shape = state.shape[0], width - m
            none = self.xp.zeros(shape, dtype=state.dtype, **self._where)
            state = self.xp.concat([state, none], axis=1)
        out = self.xp.empty((n, m), dtype=x.dtype, **self._where)
        tokens = WARPS * 16 * token_tiles(self.d)
        shared = 4 * ((self.d + 1) * (tokens + 8) + STAGE_ITEMS * ITEM * _stride(width))
        state = _arrays.contiguous(state)
        arguments = x, state, *self._table, np.int32(self.items), n, out
        launch, grid = self._launcher(x, m), (cuda.cells(n, tokens),)
        launch("aa_read_out", grid, 32 * WARPS, *arguments, shared=shared)
        return out

    def widened(self, state: Array, asked: tuple[int, ...]) -> Array:
        """Return the state with one more column for each degree asked for: the last one, 0 but for
        the monomials of that degree.
        """
        if not asked:
            return state
        degrees = np.count_nonzero(self._host.factors, axis=1)
        own = (degrees[:, None] == np.asarray(asked)).astype(np.float32)
        return self.xp.concat([state, state[:, -1:] * _arrays.from_host(own, state)], axis=1)

    def _launcher(self, like: Array, m: int) -> cuda.Launcher:
        constants = {"D": self.d, "DEGREE": self.degree, "M": m}
        constants |= {"ITEMS_A_WARP": items_a_warp(self.degree, m)}
        return cuda.launcher("tensor_cores", like, **constants, TOKEN_TILES=token_tiles(self.d))


def contract(
    x: Array,
    y: Array,
    values: Array,
    coefficients: tuple[float, ...],
    xp: Namespace,
    asked: tuple[int, ...],
) -> Array:
    """Return what `contraction.contract` does without a causal mask."""
    x, y, values = (_arrays.contiguous(array) for array in (x, y, values))
    items = Items(x, coefficients, xp)
    return items.read(x, items.widened(items.state_of(y, values), asked))


def items_a_warp(degree: int, m: int) -> int:
    """Return how many items a warp accumulates: sums and places of all lie in registers."""
    return max(1, REGISTERS // (4 * (_width(m) // 8) + 2 * (degree - 1) + 1))


def token_tiles(d: int) -> int:
    """Return the tiles of 16 tokens that a warp reads: as many as shared memory has room for."""
    return 2 if d <= 80 else 1


def _width(m: int) -> int:
    return -(-m // 8) * 8


def _stride(width: int) -> int:
    return width if width % 16 else width + 8
