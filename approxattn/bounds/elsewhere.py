"""Queries whose keys and values are elsewhere, for certificates that need only their extent.

Of the keys that passed in blocks a certificate needs their number, the length of the longest and
the range of each column of values. A problem with these says the same as one with all keys.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem, pose, refuse_overflow
from approxattn.bounds.scores import key_norms


class Extent(NamedTuple):
    """What a certificate needs of keys and values.

    Attributes
    ----------
    keys : int
        Their number.
    radius : ndarray, shape (...)
        Bound on their lengths.
    high, low : ndarray, shape (..., dv)
        Largest and smallest value of each column.
    """

    keys: int
    radius: HostArray
    high: HostArray
    low: HostArray

    def merge(self, other: Extent) -> Extent:
        """Return that of both."""
        return Extent(
            self.keys + other.keys,
            np.maximum(self.radius, other.radius),
            np.maximum(self.high, other.high),
            np.minimum(self.low, other.low),
        )


@dataclass(frozen=True, kw_only=True)
class Elsewhere(Problem):
    """A problem of which `k` is one row, as long as the longest key, and `v` two rows, the largest
    and the smallest value of each column.

    Parameters
    ----------
    keys : int
        How many keys there are.
    """

    keys: int

    @property
    def n_k(self) -> int:
        """Number of keys."""
        return self.keys


def elsewhere(problem: Problem, extent: Extent) -> Elsewhere:
    """Return the queries of a problem with keys of this extent in the place of its own."""
    like, dtype = problem.q, np.dtype(problem.dtype)
    longest = _not_below(extent.radius, dtype)
    row = np.zeros((*problem.batch, 1, problem.d), dtype)
    row[..., 0, 0] = longest
    ends = np.stack([extent.high, extent.low], axis=-2)
    values = np.broadcast_to(ends.astype(dtype), (*problem.batch, 2, ends.shape[-1]))
    own = {f.name: getattr(problem, f.name) for f in fields(Problem)}
    own |= {"k": _arrays.from_host(row, like), "v": _arrays.from_host(np.array(values), like)}
    return Elsewhere(**own, keys=extent.keys)


def queries_alone(q: Array, scale: float | None) -> Problem:
    """Return queries posed beside one key of zeros."""
    one = _nothing(q)
    return pose(q, one, one, scale=scale)


def keys_alone(k: Array, v: Array, scale: float | None = None) -> Problem:
    """Return keys and values posed beside one query of zeros."""
    return pose(_nothing(k), k, v, scale=scale)


def _nothing(x: Array) -> Array:
    one = x[..., :1, :]
    return _arrays.namespace(x=x).zeros_like(one)


def beside(q: Array, extent: Extent, scale: float | None) -> Elsewhere:
    """Return queries posed beside keys of this extent, numbers of which sums could overflow
    refused.
    """
    plain = queries_alone(q, scale)
    longest = float(np.max(extent.radius, initial=0.0))
    top_q = float(plain.xp.max(plain.xp.abs(plain.q)))
    top_v = float(np.max(np.abs([extent.high, extent.low]), initial=0.0))
    sizes = {
        "beta d max|q| max|k|": plain.scale * plain.d * max(top_q, 1.0) * max(longest, 1.0),
        "n max|k|": extent.keys * longest,
        "n max|v|": extent.keys * top_v,
    }
    for what, size in sizes.items():
        refuse_overflow(what, 2 * size, plain.dtype)
    return elsewhere(plain, extent)


def extent_of(problem: Problem) -> Extent:
    """Return that of the keys and values of a problem."""
    return Extent(problem.n_k, np.max(key_norms(problem), axis=-1), *problem.value_range)


def _not_below(x: HostArray, dtype: np.dtype) -> HostArray:
    """Return the numbers of a dtype that are next to x and not below."""
    found = x.astype(dtype)
    return np.where(found.astype(np.float64) < x, np.nextafter(found, np.inf, dtype=dtype), found)
