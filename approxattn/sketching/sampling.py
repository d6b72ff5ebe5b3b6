"""Tokens instead of combinations: drawn uniformly, or with probabilities from their norms or
leverage scores, with replacement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn.sketching.rows import gather, scatter, visible_first


@dataclass(frozen=True, kw_only=True, eq=False)
class RowSample:
    """k of the n tokens, drawn uniformly with replacement; unscaled: the factor sqrt(n/k) that
    makes S^T S unbiased cancels in a softmax.

    Attributes
    ----------
    index : ndarray of int, shape (..., k)
        The tokens drawn, one list for each leading index.
    length : int
        n.
    """

    index: HostArray
    length: int

    def apply(self, x: Array) -> Array:
        """Return the tokens drawn, shape (..., n, m) -> (..., k, m)."""
        return gather(x, self.index)

    def adjoint(self, y: Array) -> Array:
        """Return, for each token, the sum over its draws, shape (..., k, m) -> (..., n, m)."""
        return scatter(y, self.index, self.length)


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightedRows:
    """k of the n tokens, drawn with probabilities q_j with replacement, each divided by sqrt(k
    q_j), so that S^T S is unbiased.

    Attributes
    ----------
    index : ndarray of int, shape (k,)
        The tokens drawn.
    weights : ndarray, shape (k,)
        1/sqrt(k q_j).
    length : int
        n.
    """

    index: HostArray
    weights: HostArray
    length: int

    def apply(self, x: Array) -> Array:
        """Return the weighted tokens, shape (..., n, m) -> (..., k, m)."""
        return gather(x, self.index) * self._weights(x)

    def adjoint(self, y: Array) -> Array:
        """Return, for each token, the weighted sum over its draws, shape (..., k, m) -> (..., n,
        m).
        """
        return scatter(y * self._weights(y), self.index, self.length)

    def _weights(self, x: Array) -> Array:
        return _arrays.from_host(self.weights[:, None].astype(_arrays.dtype_name(x)), x)


def row_sample(visible: HostArray, k: int, rng: np.random.Generator) -> RowSample:
    """Draw k of the visible tokens, uniformly with replacement; `visible` is bool, shape (..., n),
    with a token in every row.

    Leading indices with equally many visible tokens share their draws, and one index draws the same
    in any batch.
    """
    order, count = visible_first(visible)
    seed = int(rng.integers(2**63))
    draws = {
        m: np.random.default_rng((seed, m)).integers(0, m, k) for m in {int(c) for c in count.flat}
    }
    ranks = np.reshape([draws[int(c)] for c in count.flat], (*count.shape, k))
    return RowSample(index=np.take_along_axis(order, ranks, axis=-1), length=visible.shape[-1])


def weighted_rows(probabilities: HostArray, k: int, rng: np.random.Generator) -> WeightedRows:
    """Draw k tokens with the given probabilities, shape (n,), with replacement."""
    n = probabilities.size
    index = rng.choice(n, k, p=probabilities)
    return WeightedRows(index=index, weights=(k * probabilities[index]) ** -0.5, length=n)


def norm_probabilities(left: HostArray, right: HostArray) -> HostArray:
    """Return q_j proportional to |a_j||b_j|, from these norms, shape (n,): the least second moment
    of a product A B; uniform when all vanish.
    """
    products = left * right
    total = float(np.sum(products))
    return products / total if total > 0 else np.full(products.shape, 1 / products.size)


def leverage_probabilities(x: HostArray) -> HostArray:
    """Return q_j proportional to the leverage score of row j of x, shape (n, m) -> (n,): |u_j|^2, u
    an orthonormal basis of the column space.
    """
    u, sigma, _ = np.linalg.svd(x, full_matrices=False)
    keep = sigma > sigma[0] * max(x.shape) * 2.0**-52 if sigma.size else np.zeros(0, bool)
    return norm_probabilities(np.sum(u[:, keep] ** 2, axis=1), np.ones(x.shape[0]))
