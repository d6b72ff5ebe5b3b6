"""Keys as a block of queries meets them: the heaviest ones as they are, the others by the means of
what is left of their blocks.

For x in the place of keys or values, with query blocks c, key blocks b and heavy keys T_c, the rows
for c are x_j for j in T_c, then

    (S_b - sum_{j in T_c and b} x_j) / m_cb,   S_b the sum of x over b, m_cb the number of its keys
        that are not in T_c.

Adjoint: with y_j and y_b the gradients of these rows and g_cb = y_cb / m_cb, token j gets sum_c
g_cb(j) for the c that it is not heavy for, and its own y_j from those it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn.sketching import MeanPool
from approxattn.sketching.rows import gather, scatter


@dataclass(frozen=True, kw_only=True, eq=False)
class HeavyAndMeans:
    """The operator x -> rows for each block of queries, shape (..., n, m) -> (..., C, T + K, m).

    Attributes
    ----------
    pool : MeanPool
        The blocks of the keys.
    heavy : ndarray of int, shape (..., C, T)
        The heavy keys of each block of queries.
    real : ndarray of bool, shape (..., C, T)
        False where there were fewer visible keys than heavy ones: padding.
    """

    pool: MeanPool
    heavy: HostArray
    real: HostArray

    @cached_property
    def belongs(self) -> HostArray:
        """Which heavy keys are of which block, bool, shape (..., C, K, T)."""
        block, _ = self.pool.block_of_token()
        blocks = np.reshape(np.take_along_axis(block, self._flat(), axis=-1), self.heavy.shape)
        numbers = np.arange(self.pool.counts.shape[-1])[:, None]
        return np.asarray((blocks[..., None, :] == numbers) & self.real[..., None, :])

    @cached_property
    def left(self) -> HostArray:
        """Number of keys of each block that are not heavy, shape (..., C, K)."""
        return np.asarray(self.pool.counts[..., None, :] - np.sum(self.belongs, axis=-1))

    def stands_for_keys(self) -> HostArray:
        """Return which rows stand for keys, bool, shape (..., C, T + K)."""
        return np.concatenate([self.real, self.left > 0], axis=-1)

    def apply(self, x: Array, means: Array) -> Array:
        """Return the rows, given the means of the blocks, shape (..., K, m); 0 for what is left of
        an empty block.
        """
        xp = _arrays.namespace(x=x)
        heavy = self._rows(x)  # (..., C, T, m)
        counts = self._floats(self.pool.counts[..., None], x)
        sums = (means * counts)[..., None, :, :] - xp.matmul(self._floats(self.belongs, x), heavy)
        left = self.left
        rest = sums / self._floats(np.maximum(left, 1)[..., None], x)
        rest = xp.where(_arrays.from_host(left[..., None] > 0, x), rest, xp.zeros_like(rest))
        return xp.concat([heavy, rest], axis=-2)

    def adjoint(self, y: Array) -> Array:
        """Return the gradient with respect to x, shape (..., C, T + K, m) -> (..., n, m)."""
        xp = _arrays.namespace(y=y)
        width = self.heavy.shape[-1]
        left = self.left
        shares = y[..., width:, :] / self._floats(np.maximum(left, 1)[..., None], y)
        shares = xp.where(_arrays.from_host(left[..., None] > 0, y), shares, xp.zeros_like(shares))
        block, shown = self.pool.block_of_token()
        tokens = gather(xp.sum(shares, axis=-3), block)
        tokens = xp.where(_arrays.from_host(shown[..., None], y), tokens, xp.zeros_like(tokens))
        if width == 0:
            return tokens
        shared = xp.matmul(xp.matrix_transpose(self._floats(self.belongs, y)), shares)
        heavy = y[..., :width, :] - shared
        heavy = xp.where(_arrays.from_host(self.real[..., None], y), heavy, xp.zeros_like(heavy))
        flat = xp.reshape(heavy, (*self._flat().shape, heavy.shape[-1]))
        return tokens + scatter(flat, self._flat(), self.pool.length)

    def _rows(self, x: Array) -> Array:
        xp = _arrays.namespace(x=x)
        rows = gather(x, self._flat())
        return xp.reshape(rows, (*rows.shape[:-2], *self.heavy.shape[-2:], rows.shape[-1]))

    def _flat(self) -> HostArray:
        *batch, blocks, width = self.heavy.shape
        return np.reshape(self.heavy, (*batch, blocks * width))

    def _floats(self, host: HostArray, like: Array) -> Array:
        return _arrays.from_host(host.astype(_arrays.dtype_name(like)), like)


def heaviest(scores: Array, count: int) -> HostArray:
    """Return the places of the largest scores of each row, shape (..., C, n) -> (..., C, count), on
    the host, in order; of equal scores the earlier ones.
    """
    n = scores.shape[-1]
    if not _arrays.on_host(scores):
        xp = _arrays.namespace(scores=scores)
        return np.sort(
            _arrays.to_host(xp.argsort(-scores, axis=-1, stable=True)[..., :count]), axis=-1
        )
    least = np.partition(scores, n - count, axis=-1)[..., n - count, None]
    above, equal = scores > least, scores == least
    missing = count - np.sum(above, axis=-1, keepdims=True)
    chosen = above | (equal & (np.cumsum(equal, axis=-1) <= missing))
    return np.reshape(np.nonzero(chosen)[-1], (*scores.shape[:-1], count))
