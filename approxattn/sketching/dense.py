"""Random combinations with independent entries: Gaussian, random signs, sparse random signs
(Achlioptas 2003; wording unverified).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense:
    """k combinations of n tokens: R x.

    Attributes
    ----------
    matrix : ndarray, shape (k, n)
        R, on the host.
    """

    matrix: HostArray

    def apply(self, x: Array) -> Array:
        """Return R x, shape (..., n, m) -> (..., k, m), by one matrix product."""
        return _arrays.namespace(x=x).matmul(self._like(x), x)

    def adjoint(self, y: Array) -> Array:
        """Return R^T y, shape (..., k, m) -> (..., n, m)."""
        xp = _arrays.namespace(y=y)
        return xp.matmul(xp.matrix_transpose(self._like(y)), y)

    def _like(self, x: Array) -> Array:
        return _arrays.from_host(self.matrix.astype(_arrays.dtype_name(x)), x)


def gaussian(n: int, k: int, rng: np.random.Generator) -> Dense:
    """Draw R, shape (k, n), entries iid N(0, 1/k).

    Token j always gets the j-th k numbers of `rng`: tokens appended later leave it unchanged.
    """
    return Dense(matrix=rng.standard_normal((n, k)).T / np.sqrt(k))


def rademacher(n: int, k: int, rng: np.random.Generator) -> Dense:
    """Draw R, shape (k, n), entries iid +-1/sqrt(k), token by token as `gaussian`."""
    return Dense(matrix=(2.0 * rng.integers(0, 2, (n, k)).T - 1) / np.sqrt(k))


def sparse_signs(n: int, k: int, rng: np.random.Generator, spread: int = 3) -> Dense:
    """Draw R, shape (k, n), entries iid: 0 with probability 1 - 1/spread, else +-sqrt(spread/k);
    token by token as `gaussian`.

    Kept as a full matrix: at one entry of three a matrix product is faster than any sparse one. For
    few entries take `count_sketch`.
    """
    draws = rng.integers(0, 2 * spread, (n, k)).T
    return Dense(matrix=((draws == 0) * 1.0 - (draws == 1)) * np.sqrt(spread / k))
