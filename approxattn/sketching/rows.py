"""Take rows by indices, and the adjoint: add rows up where they came from."""

from __future__ import annotations

import math

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._arrays.segments import segment_sum


def gather(x: Array, index: Array) -> Array:
    """Return the rows of x that an index names, shapes (..., n, m), (..., k) -> (..., k, m).

    The index is on the host, and leading axes of it may be missing; one with a single axis may be
    where x is.
    """
    xp = _arrays.namespace(x=x)
    if index.ndim == 1:
        return xp.take(x, _beside(x, index), axis=x.ndim - 2)
    *batch, n, m = x.shape
    index = np.broadcast_to(index, (*batch, index.shape[-1]))
    first = np.reshape(np.arange(math.prod(batch)) * n, (*batch, 1))
    flat = _arrays.from_host(np.reshape(first + index, (-1,)), x)
    rows = xp.take(xp.reshape(x, (math.prod(batch) * n, m)), flat, axis=0)
    return xp.reshape(rows, (*batch, index.shape[-1], m))


def scatter(y: Array, index: Array, n: int) -> Array:
    """Return the sums of the rows of y by the token each is named after, shapes (..., k, m), (...,
    k) -> (..., n, m): the adjoint of `gather`.
    """
    xp = _arrays.namespace(y=y)
    if not isinstance(index, np.ndarray):
        ids = xp.broadcast_to(index, y.shape[:-1])
    else:
        ids = _arrays.from_host(
            np.ascontiguousarray(np.broadcast_to(index, y.shape[:-1])).astype(np.int64), y
        )
    return _arrays.cast(segment_sum(y, ids, n), _arrays.dtype_name(y), xp)


def _beside(x: Array, index: Array) -> Array:
    return _arrays.from_host(index, x) if isinstance(index, np.ndarray) else index


def visible_first(visible: HostArray) -> tuple[HostArray, HostArray]:
    """Return the tokens with the visible ones first, each kind in its order, shape (..., n), and
    the number of visible ones, shape (...).
    """
    return np.argsort(~visible, axis=-1, kind="stable"), np.sum(visible, axis=-1)
