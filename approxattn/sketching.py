"""Operators that replace n tokens by k: Gaussian combinations, sampled rows, means of blocks.

Each is a frozen record with `apply(x)`, shape (..., n, m) -> (..., k, m). Random ones are drawn on the host, so that every array library sees the same
draws, and one draw serves all leading indices.

Second moments. Let S be the k x n matrix of the operator, A of shape (m, n) with columns a_j, B of shape (n, q) with rows b_j. Then
E A S^T S B = A B for the first two (rows of `RowSample` times sqrt(n/k)), and E ||A S^T S B - A B||_F^2 is

    Gaussian, entries N(0, 1/k):          ( ||A||_F^2 ||B||_F^2 + ||AB||_F^2 ) / k,
    rows drawn uniformly, sqrt(n/k) e_j:  ( n sum_j |a_j|^2 |b_j|^2 - ||AB||_F^2 ) / k.

(Proved here. One term of the k has E ||A r r^T B||^2 = 2 ||AB||^2 + ||A||^2 ||B||^2 for r standard normal, since
E r_a r_b r_c r_d = [ab][cd] + [ac][bd] + [ad][bc], and sum_j (1/n) n^2 |a_j|^2 |b_j|^2 for a row drawn uniformly; both have mean AB.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Gaussian:
    """k random combinations of n tokens: R x with R of shape (k, n), entries iid N(0, 1/k).

    Attributes
    ----------
    matrix : ndarray, shape (k, n)
        R, on the host.
    """

    matrix: HostArray

    def apply(self, x: Array) -> Array:
        """Return R x, shape (..., n, m) -> (..., k, m)."""
        xp = _arrays.namespace(x=x)
        r = _arrays.from_host(self.matrix.astype(_arrays.dtype_name(x)), x)
        return xp.matmul(r, x)


@dataclass(frozen=True, kw_only=True, eq=False)
class RowSample:
    """k of the n tokens, drawn uniformly with replacement; unscaled: the factor sqrt(n/k) of the module's S cancels in a softmax.

    Attributes
    ----------
    index : ndarray of int, shape (..., k)
        The tokens drawn, one list for each leading index.
    """

    index: HostArray

    def apply(self, x: Array) -> Array:
        """Return the tokens drawn, shape (..., n, m) -> (..., k, m)."""
        return _gather(x, self.index)


@dataclass(frozen=True, kw_only=True, eq=False)
class MeanPool:
    """Means over contiguous blocks of the visible tokens; the blocks of one leading index differ by at most one token.

    Attributes
    ----------
    members : ndarray of int, shape (..., k, largest block)
        The tokens of each block; entries from `counts` on are padding.
    counts : ndarray of int, shape (..., k)
        Tokens of each block; 0 where an index has fewer visible tokens than blocks.
    """

    members: HostArray
    counts: HostArray

    def apply(self, x: Array) -> Array:
        """Return the means of the blocks, shape (..., n, m) -> (..., k, m); 0 for an empty block."""
        xp = _arrays.namespace(x=x)
        size = _arrays.from_host(np.maximum(self.counts, 1)[..., None].astype(_arrays.dtype_name(x)), x)
        return xp.sum(self._blocks(x, 0.0), axis=-2) / size

    def deviations(self, x: Array, means: Array) -> Array:
        """Return x_j - means_b(j) in the order of the blocks, shapes (..., n, m), (..., k, m) -> (..., k * largest block, m); padding gives 0."""
        xp = _arrays.namespace(x=x)
        blocks = self._blocks(x, means[..., None, :])
        return xp.reshape(blocks, (*blocks.shape[:-3], -1, blocks.shape[-1]))

    def _blocks(self, x: Array, less: Array | float) -> Array:
        """Return x minus `less`, laid out in blocks, shape (..., k, largest block, m), with 0 for padding."""
        xp = _arrays.namespace(x=x)
        k, largest = self.members.shape[-2:]
        rows = _gather(x, np.reshape(self.members, (*self.members.shape[:-2], -1)))
        blocks = xp.reshape(rows, (*rows.shape[:-2], k, largest, rows.shape[-1])) - less
        real = np.arange(largest) < self.counts[..., None]  # (..., k, largest)
        return xp.where(_arrays.from_host(real[..., None], x), blocks, xp.zeros_like(blocks))


def gaussian(n: int, k: int, rng: np.random.Generator) -> Gaussian:
    """Draw R, shape (k, n). Token j always gets the j-th k numbers of `rng`: tokens appended later leave it unchanged."""
    return Gaussian(matrix=rng.standard_normal((n, k)).T / np.sqrt(k))


def row_sample(visible: HostArray, k: int, rng: np.random.Generator) -> RowSample:
    """Draw k of the visible tokens, uniformly with replacement; `visible` is bool, shape (..., n), with a token in every row.

    Leading indices with equally many visible tokens share their draws, and one index draws the same in any batch.
    """
    order, count = _visible_first(visible)
    seed = int(rng.integers(2**63))
    draws = {m: np.random.default_rng((seed, m)).integers(0, m, k) for m in {int(c) for c in count.flat}}
    ranks = np.reshape([draws[int(c)] for c in count.flat], (*count.shape, k))
    return RowSample(index=np.take_along_axis(order, ranks, axis=-1))


def mean_pool(visible: HostArray, k: int) -> MeanPool:
    """Split the m visible tokens of each leading index into blocks: block i holds those of rank floor(i m / K) to floor((i + 1) m / K) - 1.

    K is k, or the largest m where that is smaller. `visible` is bool, shape (..., n), with a token in every row.
    """
    order, count = _visible_first(visible)
    blocks = min(k, int(np.max(count)))
    edges = np.arange(blocks + 1) * count[..., None] // blocks  # (..., K + 1)
    counts = np.diff(edges, axis=-1)
    ranks = edges[..., :-1, None] + np.arange(int(np.max(counts)))  # (..., K, largest)
    ranks = np.minimum(ranks, order.shape[-1] - 1)
    members = np.take_along_axis(order, np.reshape(ranks, (*count.shape, -1)), axis=-1)
    return MeanPool(members=np.reshape(members, ranks.shape), counts=counts)


def _visible_first(visible: HostArray) -> tuple[HostArray, HostArray]:
    """Return the tokens with the visible ones first, each kind in its order, shape (..., n), and the number of visible ones, shape (...)."""
    return np.argsort(~visible, axis=-1, kind="stable"), np.sum(visible, axis=-1)


def _gather(x: Array, index: HostArray) -> Array:
    """Return the rows of x that a host index names, shapes (..., n, m), (..., k) -> (..., k, m); leading axes of the index may be missing."""
    xp = _arrays.namespace(x=x)
    if index.ndim == 1:
        return xp.take(x, _arrays.from_host(index, x), axis=x.ndim - 2)
    *batch, n, m = x.shape
    index = np.broadcast_to(index, (*batch, index.shape[-1]))
    first = np.reshape(np.arange(int(np.prod(batch))) * n, (*batch, 1))
    rows = xp.take(
        xp.reshape(x, (int(np.prod(batch)) * n, m)), _arrays.from_host(np.reshape(first + index, (-1,)), x), axis=0
    )
    return xp.reshape(rows, (*batch, index.shape[-1], m))
