"""Sums of the rows that share a number, and sums of the rows up to each."""

from __future__ import annotations

import math

import array_api_compat as compat
import numpy as np

from approxattn._arrays import Array, HostArray, Namespace, portions


def segment_sum(values: Array, ids: Array, segments: int) -> Array:
    """Add up the rows that share an id: values (..., n, c), ids (..., n) in 0..segments-1 -> (...,
    segments, c), in float64.

    Every sum is off by at most 2 gamma_n times the l1 norm of its column over the same leading
    index; an id that occurs nowhere gives 0.
    """
    xp = compat.array_namespace(values, ids)
    *batch, n, columns = values.shape
    items = math.prod(batch)
    item = xp.arange(items, dtype=xp.int64, device=compat.device(values))[:, None]
    ids = xp.reshape(xp.reshape(ids, (items, n)) + segments * item, (items * n,))
    rows = xp.reshape(values, (items * n, columns))
    if isinstance(values, np.ndarray):
        sums = _by_product(rows, ids, items * segments)
    elif compat.is_cupy_array(values) or compat.is_torch_array(values):
        sums = _scattered(rows, ids, items * segments, xp)
    else:
        sums = _sorted(rows, ids, items, segments, xp)
    return xp.reshape(sums, (*batch, segments, columns))


def _by_product(rows: HostArray, ids: HostArray, segments: int) -> HostArray:
    """Multiply by the sparse matrix with a one at (ids[j], j): one pass over the rows, in order, so
    with error gamma_n only.
    """
    from scipy.sparse import csr_array  # here, because importing it is slow

    one_hot = csr_array(
        (np.ones(len(ids)), ids, np.arange(len(ids) + 1)), shape=(len(ids), segments)
    )
    return np.asarray(one_hot.T @ rows)


def _scattered(rows: Array, ids: Array, segments: int, xp: Namespace) -> Array:
    """Add each row where it belongs, some at a time: no array of the size of all rows in float64.

    The error is gamma_n, in whatever order. A GPU takes its own each time: sums of equal calls may
    differ in their last bits, of 53.
    """
    n, columns = rows.shape
    sums = xp.zeros((segments, columns), dtype=xp.float64, device=compat.device(rows))
    together = portions.at_once(rows, 1, 3 * columns) if portions.on_device(rows) else n
    step = max(1, min(n, together))
    for first in range(0, n, step):
        part = slice(first, min(first + step, n))
        wide = xp.astype(rows[part, :], xp.float64)
        if compat.is_torch_array(sums):
            sums = sums.index_add(0, ids[part], wide)
        else:
            xp.add.at(sums, ids[part], wide)
    return sums


def _sorted(rows: Array, ids: Array, items: int, segments: int, xp: Namespace) -> Array:
    """Sort by id and subtract prefix sums, taken within each leading index so that a large one
    cannot drown its neighbour.
    """
    n, columns = rows.shape[0] // items, rows.shape[1]
    where = {"device": compat.device(rows)}
    order = xp.argsort(ids)
    ordered = xp.reshape(xp.take(rows, order, axis=0), (items, n, columns))
    prefix = xp.cumulative_sum(xp.astype(ordered, xp.float64), axis=1)
    prefix = xp.concat([xp.zeros((items, 1, columns), dtype=xp.float64, **where), prefix], axis=1)
    prefix = xp.reshape(prefix, (items * (n + 1), columns))
    names = xp.arange(items * segments, dtype=xp.int64, **where)
    shift = names // segments  # one more prefix row (the zero) for each earlier leading index
    ids = xp.take(ids, order)
    start, end = (xp.searchsorted(ids, names, side=side) + shift for side in ("left", "right"))
    return xp.take(prefix, end, axis=0) - xp.take(prefix, start, axis=0)


def running_sum(x: Array, xp: Namespace) -> Array:
    """Return for each row the sum of those up to it, shape (n, c) -> (n, c).

    CuPy's prefix sums count entries in 32 bits: of more, some columns are taken at a time, which
    changes no bit.

    Raises
    ------
    ValueError
        If one column of CuPy's has more.
    """
    n, columns = x.shape
    if not compat.is_cupy_array(x) or n * columns <= portions.LARGEST:
        return xp.cumulative_sum(x, axis=0)
    if n > portions.LARGEST:
        msg = (
            f"{n} tokens are more than CuPy's prefix sums can count ({portions.LARGEST}): pass "
            "fewer at a time, e.g. by a state"
        )
        raise ValueError(msg)
    step = portions.LARGEST // n
    starts = range(0, columns, step)
    parts = [xp.cumulative_sum(x[:, i : min(i + step, columns)], axis=0) for i in starts]
    return xp.concat(parts, axis=1)
