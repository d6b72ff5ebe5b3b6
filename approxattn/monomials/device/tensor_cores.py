"""Sums with features on tensor cores, in one product of TF32 factors or in three.

Symbols as in `_arrays.precision` and `kernel`: w and u' of a format, u of float32. An instruction
adds 8 products to its accumulator.

One product a pair of factors, where the user lets float32 be multiplied in TF32. Rounding (proved
here, from what `precision` assumes of one product): K holds with its w and u'.

1. A monomial has g - 1 roundings of float32, each below u'. Its rounding to TF32, by 2^-11 at most,
   is that of a factor, below v of `precision`; so is that of a value, and of an entry of the state.
2. The accumulator gets one addition of error u' for each 8 terms. A block has 8 `chunk_length` keys
   at most, so at most `chunk_length` such additions follow each other, as in a chunk of the general
   way.
3. Blocks are added in float64, weighted there, rounded once: 3 of `contraction`.
4. Reading takes 2 instructions an item, one after the other. They are at most r + 4 (`serves`
   looks), where K counts r and 4 for the weight, which 3 has counted already with the blocks.
5. Monomials that stand in two items have weight 0 in one of them, exactly.

Three products, where it multiplies in float32 (proved here from the same assumption, w and u' being
those of "tf32x3"): K of float32 holds, with u itself.

1. Let S be the sum of |a_i b_i| over 8 terms. The parts of the factors leave out w S.
2. Their three products start from 0. Those with a rest are below 2^-8 S together, so the three
   accumulations err by at most (1 + 2^-7) (1 + w) u' S.
3. So 8 products are right up to e S, e = w + 1.01 (1 + w) u' < (1 + u)^E - 1 for E >= e / u.
4. They are added to the sum outside of the tensor core, in float32: one rounding u for each 8 keys
   of a block, and for each 8 monomials when reading, 2 an item.
5. By 3 and 4 and, as above, 2 g for the monomials and 3 for the blocks, a term is off by (1 + u)^k,
   k = `three_roundings`. The kernel is used only where k <= K: then K is true of it.
6. u' is assumed, not documented. So in k it is SLACK times as large: devices whose tensor cores
   were so much less exact than the probe found would still keep to K.

Underflow: TF32 has the exponents of float32; `kernel` counts what the parts lose.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, Namespace, cuda
from approxattn._arrays.precision import FORMATS, float32_products
from approxattn.monomials.contraction import chunk_length
from approxattn.monomials.device.items import ITEM, item_weights, table
from approxattn.monomials.index import rank

LARGEST_D = 128
LARGEST_COLUMNS = 136
DEGREES = range(2, 7)
"""*Chosen*: what fits the registers, and the shared memory of an A100; others are asked."""

REGISTERS = {1: 150, 3: 130}, 165
"""For the sums and places of a warp's items, by passes; for these and the values of three passes.
*Chosen*: nothing spills.
"""

SLACK = 10
"""*Chosen*; step 6."""

WARPS, STAGE_TOKENS, STAGE_ITEMS = 8, 32, 4
"""As in the source."""

PARTS_AT_ONCE = 2**26
"""Entries of the sums of blocks held at one time. *Chosen*: 256 MiB."""


def serves(d: int, degree: int, columns: int, keys: int, limit: int, *arrays: Array) -> bool:
    """Return whether tensor cores may and can take these arrays and settings; sums go over so many
    keys, and `limit` is K.
    """
    fits = degree in DEGREES and 1 <= d <= LARGEST_D and columns <= LARGEST_COLUMNS
    if not fits or any(_arrays.dtype_name(x) != "float32" for x in arrays):
        return False
    if not cuda.ready(*arrays, shared=shared_bytes(d, columns, 1)):
        return False
    number = passes(arrays[0])
    if number == 1:
        exact = 2 * table(d, degree).items <= rank(d, degree) + 4
    else:
        exact = number == 3 and three_roundings(d, degree, keys) <= limit
    return exact and cuda.tensor_cores_hold(arrays[0])


def passes(like: Array) -> int:
    """Return how many products of TF32 factors stand for one of float32; 0 if they cannot."""
    return {"tf32": 1, "float32": 3}.get(float32_products(like), 0)


def three_roundings(d: int, degree: int, keys: int, slack: float = SLACK) -> int:
    """Return k of the module's rounding analysis."""
    (w, step), u = FORMATS["tf32x3"], FORMATS["float32"][1]
    of_product = math.ceil((w + 1.01 * (1 + w) * slack * step) / u)
    longest = -(-min(keys, block_length(d, degree)) // 8)
    return 2 * degree + 3 + 2 * of_product + longest + 2 * table(d, degree).items


def block_length(d: int, degree: int) -> int:
    """Return the number of keys whose sums are taken in one go."""
    return 8 * chunk_length(d, degree)


class Items:
    """The kernels for one pair (d, g), with their tables on the device."""

    def __init__(self, like: Array, coefficients: tuple[float, ...], xp: Namespace) -> None:
        self.d, self.degree, self.xp = int(like.shape[1]), len(coefficients) - 1, xp
        self.passes, self._room = passes(like), cuda.shared_memory(like)
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
        length = block_length(self.d, self.degree)
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
        shared = _accumulating(self.d, m)
        of_warp = items_a_warp(self.degree, m, self.passes)
        grid = blocks, cuda.cells(self.items, WARPS * of_warp)
        arguments = y, values, *self._table, np.int32(self.items), n, np.int32(m), length, parts
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
        tiles = token_tiles(self.d, m, self.passes, self._room)
        tokens, shared = WARPS * 16 * tiles, _reading(self.d, m, tiles)
        state = _arrays.contiguous(state)
        arguments = x, state, *self._table, np.int32(self.items), n, np.int32(m), out
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
        defined = constants(self.d, self.degree, m, self.passes, self._room)
        return cuda.launcher("tensor_cores", like, **defined)


def contract(
    x: Array,
    y: Array,
    values: Array,
    coefficients: tuple[float, ...],
    causal: bool,
    xp: Namespace,
    asked: tuple[int, ...] = (),
) -> Array:
    """Return what `contraction.contract` does, without a causal mask."""
    del causal  # there is none
    x, y, values = (_arrays.contiguous(array) for array in (x, y, values))
    items = Items(x, coefficients, xp)
    return items.read(x, items.widened(items.state_of(y, values), asked))


def constants(d: int, degree: int, m: int, number: int, room: int) -> dict[str, int]:
    """Return what the source is compiled with, for m columns, so many passes, and so many bytes of
    shared memory for a block.
    """
    return {
        "D": d,
        "DEGREE": degree,
        "COLUMN_TILES": _width(m) // 8,
        "PASSES": number,
        "ITEMS_A_WARP": items_a_warp(degree, m, number),
        "TOKEN_TILES": token_tiles(d, m, number, room),
    }


def items_a_warp(degree: int, m: int, number: int) -> int:
    """Return how many items a warp accumulates: sums and places of all lie in registers."""
    tiles, (of_items, whole) = _width(m) // 8, REGISTERS
    room = min(of_items[number], whole - 4 * tiles) if number == 3 else of_items[number]
    return max(1, room // (4 * tiles + 2 * (degree - 1) + 1))


def token_tiles(d: int, m: int, number: int, room: int) -> int:
    """Return the tiles of 16 tokens that a warp reads: as many as shared memory and registers have
    room for.
    """
    in_registers = d <= 80 and m <= (LARGEST_COLUMNS if number == 1 else 88)
    return 2 if in_registers and _reading(d, m, 2) <= room else 1


def shared_bytes(d: int, m: int, tiles: int) -> int:
    """Return the bytes of shared memory that a block needs for m columns, of accumulating and of
    reading so many tiles of tokens the larger.
    """
    return max(_accumulating(d, m), _reading(d, m, tiles))


def _accumulating(d: int, m: int) -> int:
    return 4 * ((d + 1) * (STAGE_TOKENS + 4) + STAGE_TOKENS * _stride(_width(m)))


def _reading(d: int, m: int, tiles: int) -> int:
    tokens = WARPS * 16 * tiles
    return 4 * ((d + 1) * (tokens + 8) + STAGE_ITEMS * ITEM * _stride(_width(m)))


def _width(m: int) -> int:
    return -(-m // 8) * 8


def _stride(width: int) -> int:
    return width if width % 16 else width + 8
