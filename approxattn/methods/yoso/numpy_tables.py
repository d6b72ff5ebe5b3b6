"""Hash tables on NumPy arrays: the path of `sampling.py` that is built for speed.

Same codes, sums in another order.

1. The codes of a token in all m hashes, shape (n, m), are the column indices of a sparse one-hot
   matrix: m ones a row, m 2^bits columns.
2. Its transpose times V is all tables at once.
3. The one-hot matrix of the queries times the tables is the sum over all hashes: neither sorting
   nor one-hot rows are formed.

Rounding. Tokens pass in blocks. W_c is the l1 norm of column c of V, u the unit roundoff of its
dtype.

1. Within a block sums are taken in the dtype of the values: gamma_block(u) W_c.
2. The tables of float32 blocks are added up in float64 and rounded once: gamma_blocks(2^-53) + u.
3. The sum over m hashes is off by gamma_{m+2}(u) times the sum of the tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from approxattn._arrays import HostArray
from approxattn.bounds.rounding import U64, gamma
from approxattn.hashing.directions import over_largest

TOKENS = 2048
"""Tokens hashed or read at a time. *Chosen*: their products with all hyperplanes stay in the
second-level cache.
"""

KEYS = 8192
"""Least number of keys that are added up in the dtype of the values before the table joins the
total. *Chosen*: gamma is 2^-11 in float32.
"""

LARGEST = 2**27
"""Most entries of all tables together; beyond, `sampling.py` takes one hash at a time. *Chosen*:
half a gigabyte in float32.
"""


def fits(hashes: int, bits: int, columns: int) -> bool:
    """Return whether all tables may be held at once."""
    return hashes * (1 << bits) * (columns + 1) <= LARGEST


def code_width(bits: int) -> int:
    """Return the bits that a code takes: those of a whole number of bytes."""
    return next(width for width in (8, 16, 32) if bits <= width)


def key_block(bits: int) -> int:
    """Return how many keys are added up at a time: enough for the addition of the tables to be
    cheap beside it.
    """
    return max(KEYS, 4 << bits)


def sum_error(n_k: int, hashes: int, bits: int, u: float) -> float:
    """Bound the rounding of a mean over hashes in units of W_c."""
    block = min(n_k, key_block(bits))
    return gamma(2 * block + 2 * hashes + 12, u) + gamma(-(-n_k // block) + 4, U64)


def packed_codes(x: HostArray, normals: HostArray) -> HostArray:
    """Return h 2^bits + code of every row in every hash h: x (n, d), normals (hashes, bits, d) ->
    int32 (n, hashes).
    """
    hashes, bits, d = normals.shape
    room = code_width(bits)
    # a hyperplane without normal has bit 0
    planes = np.zeros((hashes, room, d), dtype=normals.dtype)
    planes[:, :bits] = normals
    planes = np.ascontiguousarray(planes.reshape(hashes * room, d).T)
    offsets = (np.arange(hashes) << bits).astype(np.int32)
    out = np.empty((len(x), hashes), dtype=np.int32)
    for first in range(0, len(x), TOKENS):
        rows = _moderate(x[first : first + TOKENS])
        packed = np.packbits(rows @ planes > 0, axis=1, bitorder="little")
        np.add(
            packed.view(f"<u{room // 8}"),
            offsets,
            out=out[first : first + TOKENS],
            casting="unsafe",
        )
    return out


def _moderate(rows: HostArray) -> HostArray:
    """Return rows as they are if all have lengths between 2^-30 and 2^30, divided by their largest
    entries otherwise: signs do not depend on it.

    The underflow of d products, 2^-96 d |x| at most, is far below the rounding of the division that
    is saved and counted in `hyperplanes.py`.
    """
    with np.errstate(over="ignore", under="ignore"):
        squares = np.vecdot(rows, rows)
    moderate = len(rows) == 0 or (squares.min() >= 2.0**-60 and squares.max() <= 2.0**60)
    return rows if moderate else np.asarray(over_largest(rows, np))


def _one_hot(codes: HostArray, columns: int, dtype: Any) -> Any:
    from scipy.sparse import csr_array  # here, because importing it is slow

    rows, hashes = codes.shape
    indptr = np.arange(0, rows * hashes + 1, hashes, dtype=np.int32)
    return csr_array(
        (np.ones(rows * hashes, dtype), codes.reshape(-1), indptr), shape=(rows, columns)
    )


def tables(values: HostArray, codes: HostArray, buckets: int, block: int) -> HostArray:
    """Return the sums of all buckets of all hashes, (n, c), (n, hashes) -> (hashes * 2^bits, c), in
    the dtype of the values.
    """
    total = None
    for first in range(0, len(values), block):
        part = (
            _one_hot(codes[first : first + block], buckets, values.dtype).T
            @ values[first : first + block]
        )
        if len(values) <= block:
            return np.asarray(part)
        if total is None:
            total = part.astype(np.float64)
        else:
            total += part
    assert total is not None  # noqa: S101 - there is at least one key
    return np.asarray(total.astype(values.dtype))


def numpy_sample(
    values: HostArray,
    keys: HostArray,
    queries: HostArray,
    normals: HostArray,
    groups: Sequence[int],
    entrywise: bool,
    weights: HostArray | None,
) -> tuple[HostArray, HostArray | None, HostArray]:
    """Return mean, squares and counts as `sampling.Sample` describes them."""
    batch = values.shape[:-2]
    items = []
    for index in np.ndindex(*batch):
        seen = None if weights is None else weights[index]
        items.append(
            _one_item(values[index], keys[index], queries[index], normals, groups, entrywise, seen)
        )
    mean, squares, counts = ([item[i] for item in items] for i in range(3))
    shaped = [np.stack(x).reshape(*batch, *x[0].shape) for x in (mean, counts)]
    if len(groups) == 1:
        return shaped[0], None, shaped[1]
    return shaped[0], np.stack(squares).reshape(*batch, *squares[0].shape), shaped[1]


def _one_item(
    values: HostArray,
    keys: HostArray,
    queries: HostArray,
    normals: HostArray,
    groups: Sequence[int],
    entrywise: bool,
    seen: HostArray | None,
) -> tuple[HostArray, HostArray, HostArray]:
    hashes, bits = normals.shape[:2]
    buckets = hashes << bits
    key_codes, query_codes = packed_codes(keys, normals), packed_codes(queries, normals)
    table = tables(values, key_codes, buckets, key_block(bits))
    shown = key_codes if seen is None else key_codes[seen > 0]
    counted = np.bincount(shown.reshape(-1), minlength=buckets)
    n_q, c = len(queries), values.shape[1]
    mean, counts = np.empty((n_q, c), values.dtype), np.empty(n_q)
    squares = np.empty((n_q, c if entrywise else 1))
    for first in range(0, n_q, TOKENS):
        rows = slice(first, first + TOKENS)
        codes = query_codes[rows]
        counts[rows] = counted[codes].sum(axis=1) / hashes
        mean[rows], squares[rows] = read_tables(codes, table, groups, entrywise)
    return mean, squares, counts


def read_tables(
    codes: HostArray, table: HostArray, groups: Sequence[int], entrywise: bool
) -> tuple[HostArray, HostArray]:
    """Return the mean over hashes and its estimated variance for a block of queries."""
    hashes, ends = codes.shape[1], np.cumsum(groups)
    sums = []
    for size, end in zip(groups, ends, strict=True):
        chosen = np.ascontiguousarray(codes[:, end - size : end])
        sums.append(_one_hot(chosen, len(table), table.dtype) @ table)
    total = sums[0]
    for part in sums[1:]:
        total = total + part
    mean = total / np.asarray(hashes, total.dtype)
    if len(groups) == 1:
        return mean, np.zeros((len(mean), 1))
    between = np.zeros((len(mean), mean.shape[1] if entrywise else 1))
    for size, part in zip(groups, sums, strict=True):
        gap = part / np.asarray(size, part.dtype) - mean
        between += size * (gap * gap if entrywise else np.vecdot(gap, gap)[:, None])
    return mean, between / ((len(groups) - 1) * hashes)
