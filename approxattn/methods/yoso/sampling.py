"""Means over hashes by tables, and their spread: the sums of groups of independent hashes, compared
with each other.

Spread (proved here). G groups of m_1, m_2, ... hashes, m in all, have means A_g, the whole has mean
A. s^2 is the variance of one hash.

1. A_g has the variance s^2/m_g, and A has s^2/m.
2. Hence E sum_g m_g (A_g - A)^2 = (G - 1) s^2.
3. So sum_g m_g (A_g - A)^2 / ((G - 1) m) is an unbiased estimate of the variance of A.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, Namespace
from approxattn.hashing.hyperplanes import codes
from approxattn.methods.yoso import device_tables
from approxattn.methods.yoso.numpy_tables import fits, numpy_sample
from approxattn.methods.yoso.tables import collided_sums


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The mean over hashes and what is known about its spread.

    Attributes
    ----------
    mean : array, shape (..., n_q, c)
        Mean of the collided sums.
    squares : array, shape (..., n_q, c) or (..., n_q, 1), or None
        Estimated variance of the entries of `mean` (or their sum over a row); None when there is
        one group only.
    counts : array, shape (..., n_q)
        Mean number of visible keys a query collides with.
    factor : float
        What `squares` are in units of the square of.
    """

    mean: Array
    squares: Array | None
    counts: Array
    factor: float = 1.0


def group_sizes(blocks: Sequence[int], groups: int) -> list[int]:
    """Join independent blocks of hashes, in order, into at most so many groups of about
    equal size.
    """
    total, groups = sum(blocks), min(groups, len(blocks))
    sizes, seen = [0], 0
    for size in blocks:
        if seen >= len(sizes) * total / groups:
            sizes.append(0)
        sizes[-1] += size
        seen += size
    return sizes


def sample(
    values: Array,
    keys: Array,
    queries: Array,
    normals: Array,
    groups: Sequence[int],
    *,
    entrywise: bool,
    weights: Array | None,
    xp: Namespace,
) -> Sample:
    """Return the mean over hashes of the sums of `values` over colliding keys, in groups of
    consecutive hashes.

    Parameters
    ----------
    values, keys, queries : array, shapes (..., n_k, c), (..., n_k, d), (..., n_q, d)
        Values are 0 where a key is masked.
    normals : array, shape (hashes, bits, d)
        The hyperplanes.
    entrywise : bool
        Whether the variance of every entry is wanted, or its sum over a row.
    weights : array of the dtype of values, shape (..., n_k), or None
        1 for visible keys, 0 for masked ones; None when all are visible.
    """
    hashes, bits = normals.shape[:2]
    if isinstance(values, np.ndarray) and fits(hashes, bits, values.shape[-1]):
        mean, squares, counts = numpy_sample(
            values, keys, queries, normals, groups, entrywise, weights
        )
        return Sample(mean=mean, squares=squares, counts=counts)
    return _generic(values, keys, queries, normals, groups, entrywise, weights, xp)


def _generic(
    values: Array,
    keys: Array,
    queries: Array,
    normals: Array,
    groups: Sequence[int],
    entrywise: bool,
    weights: Array | None,
    xp: Namespace,
) -> Sample:
    ones = xp.ones_like(values[..., :1]) if weights is None else weights[..., None]
    columns = xp.concat([values, ones], axis=-1)
    if device_tables.serves(int(normals.shape[1]), columns, keys, queries, normals):
        total, squares = device_tables.read_sums(columns, keys, queries, normals, groups, xp)
        squares = squares[..., :-1]
        squares = squares if entrywise else xp.sum(squares, axis=-1, keepdims=True)
    else:
        total, squares = _sums(columns, keys, queries, normals, groups, entrywise, xp)
    hashes = int(normals.shape[0])
    mean = total[..., :-1] / hashes
    if len(groups) == 1:
        return Sample(mean=mean, squares=None, counts=total[..., -1] / hashes)
    between = squares - hashes * _square(mean, entrywise, xp)
    between = xp.maximum(between, xp.zeros_like(between)) / ((len(groups) - 1) * hashes)
    return Sample(mean=mean, squares=between, counts=total[..., -1] / hashes)


def _sums(
    columns: Array,
    keys: Array,
    queries: Array,
    normals: Array,
    groups: Sequence[int],
    entrywise: bool,
    xp: Namespace,
) -> tuple[Array, Array]:
    """Return the sums over all hashes, and the sum over groups of the squares of their sums over
    their sizes.
    """
    key_codes, query_codes = codes(keys, normals, xp), codes(queries, normals, xp)
    buckets = 2 ** int(normals.shape[1])
    total: Array = None
    squares: Array = None
    first = 0
    for size in groups:
        part: Array = None
        for h in range(first, first + size):
            one = collided_sums(columns, key_codes[h, ...], query_codes[h, ...], buckets, xp)
            part = one if part is None else part + one
        square = _square(part[..., :-1], entrywise, xp) / size
        total, squares = (part, square) if total is None else (total + part, squares + square)
        first += size
    return total, squares


def _square(x: Array, entrywise: bool, xp: Namespace) -> Array:
    return x * x if entrywise else xp.sum(x * x, axis=-1, keepdims=True)


def power_of_two(top: float, dtype: str) -> float:
    """Return a power of two near the largest absolute value, 1 if squares of sums can neither
    overflow nor vanish anyway.
    """
    if top == 0 or 2.0**-30 <= top <= 2.0**30:
        return 1.0
    return max(
        2.0 ** math.frexp(top)[1] if top < 2.0**1000 else 2.0**1000,
        _arrays.smallest_normal(dtype),
    )
