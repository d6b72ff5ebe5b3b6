"""Hash tables on an NVIDIA GPU, by our kernels: one product for all hashes, no sorting, no atomics.

Rounding: sums are taken in float64 in a fixed order, a sum over keys slab by slab. That is less
than `_arrays.segments` may be off by, so step 6 of `hash_error` holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, Namespace, cuda
from approxattn.hashing.directions import over_largest

LARGEST_BITS = 8
"""*Chosen*: 32 columns of a table in float64 then fit 64 KiB of shared memory."""

COLUMNS = 32
"""Columns of a table that one warp keeps."""

PRODUCTS_AT_ONCE = 2**26
"""Products with normals held at one time. *Chosen*: 256 MiB in float32."""

BUSY = 2048
"""Blocks that keep every multiprocessor busy. *Chosen*."""

SHORTEST_SLAB = 1024
"""Keys that are worth a table of their own. *Chosen*."""


def serves(bits: int, *arrays: Array) -> bool:
    """Return whether our kernels take these arrays and so many bits."""
    return bits <= LARGEST_BITS and cuda.ready(*arrays, shared=shared_bytes(2**bits))


def shared_bytes(buckets: int) -> int:
    """Return the bytes of shared memory that hold a table's columns."""
    return 8 * buckets * COLUMNS


def read_sums(
    columns: Array,
    keys: Array,
    queries: Array,
    normals: Array,
    groups: Sequence[int],
    xp: Namespace,
) -> tuple[Array, Array]:
    """Return for every query the sum over hashes of the columns of the keys that it collides with,
    and the sum over groups of the square of their sum over their size; both float64, shape (...,
    n_q, c), for columns (..., n_k, c), keys (..., n_k, d), queries (..., n_q, d), normals (hashes,
    bits, d).
    """
    launch = cuda.launcher("hashing", columns)
    *batch, n_q, _ = queries.shape
    n_k, c = columns.shape[-2:]
    hashes, bits = normals.shape[:2]
    items, buckets = math.prod(batch), 2**bits
    of_keys, of_queries = (_codes(launch, x, normals, xp) for x in (keys, queries))
    tables = _tables(launch, columns, of_keys, (hashes, items, n_k, c, buckets), xp)
    where: dict[str, Any] = {"device": _arrays.device(columns), "dtype": xp.float64}
    total, squares = (xp.empty((*batch, n_q, c), **where) for _ in range(2))
    sizes = _arrays.from_host(np.asarray(groups, np.int32), columns)
    launch(
        "aa_read_tables",
        (cuda.cells(items * n_q * c),),
        cuda.THREADS,
        *(tables, of_queries, sizes, np.int32(len(groups)), items, n_q),
        *(np.int32(c), np.int32(buckets), total, squares),
    )
    return total, squares


def _codes(launch: cuda.Launcher, x: Array, normals: Array, xp: Namespace) -> Array:
    """Return the codes of rows x, shape (..., n, d), in every hash: int32, shape (hashes, rows)."""
    hashes, bits, d = normals.shape
    rows = math.prod(x.shape[:-1])
    flat = over_largest(xp.reshape(x, (rows, d)), xp)
    across = xp.matrix_transpose(xp.reshape(normals, (hashes * bits, d)))
    codes = xp.empty((hashes, rows), dtype=xp.int32, device=_arrays.device(x))
    step = max(1, PRODUCTS_AT_ONCE // (hashes * bits))
    for first in range(0, rows, step):
        products = _arrays.contiguous(xp.matmul(flat[first : min(first + step, rows), :], across))
        count = products.shape[0]
        grid = cuda.cells(count), min(hashes, 65535)
        numbers = count, np.int32(hashes), np.int32(bits), rows, first
        launch("aa_pack", grid, cuda.THREADS, products, *numbers, codes)
    return codes


def _tables(
    launch: cuda.Launcher,
    columns: Array,
    codes: Array,
    sizes: tuple[int, int, int, int, int],
    xp: Namespace,
) -> Array:
    """Return the tables of all hashes, float64, shape (hashes, items, buckets, columns)."""
    hashes, items, n, c, buckets = sizes
    tiles = -(-c // COLUMNS)
    wanted = -(-BUSY // max(1, hashes * items * tiles))
    length = max(SHORTEST_SLAB, -(-n // wanted))
    slabs = max(1, -(-n // length))
    shape = hashes, items, slabs, buckets, c
    parts = xp.empty(shape, dtype=xp.float64, device=_arrays.device(columns))
    numbers = np.int32(hashes), items, n, np.int32(c), np.int32(buckets), slabs, length
    grid = items * slabs * tiles, min(hashes, 65535)
    shared = shared_bytes(buckets)
    values = _arrays.contiguous(columns)
    launch("aa_tables", grid, COLUMNS, values, codes, *numbers, parts, shared=shared)
    return xp.sum(parts, axis=2) if slabs > 1 else parts
