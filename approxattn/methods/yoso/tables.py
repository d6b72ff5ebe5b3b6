"""Hash tables of sums: each key adds its value to its bucket, each query reads its own.

For one hash, T[c] = sum_{j: h(k_j) = c} v_j and the query reads T[h(q_i)] = sum_j B_ij v_j, B_ij =
1[h(q_i) = h(k_j)]: a product with a matrix of n_q n_k entries for n_q + n_k row operations.
"""

from __future__ import annotations

import math

from approxattn import _arrays
from approxattn._arrays import Array, Namespace
from approxattn._arrays.segments import segment_sum


def read(table: Array, codes: Array, xp: Namespace) -> Array:
    """Return the table row of every code: (..., buckets, c), (..., n) -> (..., n, c)."""
    *batch, buckets, columns = table.shape
    items, n = math.prod(batch), codes.shape[-1]
    first = buckets * xp.arange(items, dtype=xp.int64, device=_arrays.device(table))[:, None]
    rows = xp.reshape(xp.reshape(codes, (items, n)) + first, (items * n,))
    return xp.reshape(
        xp.take(xp.reshape(table, (items * buckets, columns)), rows, axis=0), (*batch, n, columns)
    )


def collided_sums(
    values: Array, key_codes: Array, query_codes: Array, buckets: int, xp: Namespace
) -> Array:
    """Return sum_j 1[query code = key code] values_j for one hash: (..., n_k, c), (..., n_k), (...,
    n_q) -> float64 (..., n_q, c).
    """
    return read(segment_sum(values, key_codes, buckets), query_codes, xp)
