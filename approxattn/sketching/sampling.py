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
    """k of the n tokens, drawn uniformly with replacement.

    They are not scaled: the factor sqrt(n/k) that makes S^T S unbiased cancels in a softmax.

    Attributes
    ----------
    index : ndarray of int, shape (..., k)
        The tokens drawn, one list for each leading index.
    length : int
        Number of tokens, n.
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
        Number of tokens, n.
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
    """Draw k of the visible tokens, uniformly with replacement.

    Leading indices with equally many visible tokens share their draws, and one index draws the same
    in any batch.

    Parameters
    ----------
    visible : ndarray of bool, shape (..., n)
        With a token in every row.
    k : int
        Number of tokens drawn.
    rng : numpy.random.Generator
        Gives the seed.

    Returns
    -------
    RowSample
        The operator.

    Examples
    --------
    >>> import numpy as np
    >>> from approxattn.sketching import row_sample
    >>> visible = np.arange(6) < 4
    >>> sketch = row_sample(visible, 64, np.random.default_rng(0))
    >>> np.unique(sketch.index)
    array([0, 1, 2, 3])
    """
    order, count = visible_first(visible)
    seed = int(rng.integers(2**63))
    draws = {
        m: np.random.default_rng((seed, m)).integers(0, m, k) for m in {int(c) for c in count.flat}
    }
    ranks = np.reshape([draws[int(c)] for c in count.flat], (*count.shape, k))
    return RowSample(index=np.take_along_axis(order, ranks, axis=-1), length=visible.shape[-1])


def weighted_rows(probabilities: HostArray, k: int, rng: np.random.Generator) -> WeightedRows:
    """Draw k tokens with the given probabilities, with replacement.

    Parameters
    ----------
    probabilities : ndarray, shape (n,)
        With sum 1; `norm_probabilities` and `leverage_probabilities` make some.
    k : int
        Number of tokens drawn.
    rng : numpy.random.Generator
        Draws them.

    Returns
    -------
    WeightedRows
        The operator; E S^T S = I on the tokens of positive probability.

    Examples
    --------
    >>> import numpy as np
    >>> from approxattn.sketching import weighted_rows
    >>> sketch = weighted_rows(np.array([0.25, 0.25, 0.5]), 100, np.random.default_rng(0))
    >>> np.unique(sketch.weights ** -2)
    array([25., 50.])
    """
    n = probabilities.size
    index = rng.choice(n, k, p=probabilities)
    return WeightedRows(index=index, weights=(k * probabilities[index]) ** -0.5, length=n)


def norm_probabilities(left: HostArray, right: HostArray) -> HostArray:
    """Return the probabilities that make the second moment of a sampled product A B least.

    They are proportional to |a_j| |b_j|, for the columns a_j of A and the rows b_j of B, and
    uniform when all of these vanish.

    Parameters
    ----------
    left, right : ndarray, shape (n,)
        The norms |a_j| and |b_j|.

    Returns
    -------
    ndarray, shape (n,)
        The probabilities.

    Examples
    --------
    >>> import numpy as np
    >>> from approxattn.sketching import norm_probabilities
    >>> norm_probabilities(np.array([1.0, 2, 1]), np.array([1.0, 1, 2]))
    array([0.2, 0.4, 0.4])
    """
    products = left * right
    total = float(np.sum(products))
    return products / total if total > 0 else np.full(products.shape, 1 / products.size)


def leverage_probabilities(x: HostArray) -> HostArray:
    """Return probabilities proportional to the leverage scores of rows.

    The score of row j is |u_j|^2, where the columns of u are an orthonormal basis of the column
    space.

    Parameters
    ----------
    x : ndarray, shape (n, m)
        The rows.

    Returns
    -------
    ndarray, shape (n,)
        The probabilities.

    Examples
    --------
    >>> import numpy as np
    >>> from approxattn.sketching import leverage_probabilities
    >>> leverage_probabilities(np.array([[1.0, 0], [0, 2], [0, 0]])).round(3)
    array([0.5, 0.5, 0. ])
    """
    u, sigma, _ = np.linalg.svd(x, full_matrices=False)
    keep = sigma > sigma[0] * max(x.shape) * 2.0**-52 if sigma.size else np.zeros(0, bool)
    return norm_probabilities(np.sum(u[:, keep] ** 2, axis=1), np.ones(x.shape[0]))
