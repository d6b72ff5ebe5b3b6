"""Random combinations with independent entries: Gaussian, random signs, sparse random signs
(Achlioptas 2003; wording unverified).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn.sketching.streams import Once, stream


class _Product(ABC):
    """R x and R^T y by one matrix product each."""

    def apply(self, x: Array) -> Array:
        """Return R x, shape (..., n, m) -> (..., k, m), by one matrix product."""
        return _arrays.namespace(x=x).matmul(self._like(x), x)

    def adjoint(self, y: Array) -> Array:
        """Return R^T y, shape (..., k, m) -> (..., n, m)."""
        xp = _arrays.namespace(y=y)
        return xp.matmul(xp.matrix_transpose(self._like(y)), y)

    @abstractmethod
    def _like(self, x: Array) -> Array:
        """Return R, shape (k, n), in the dtype of x and where it is."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense(_Product):
    """k combinations of n tokens: R x, with R given as an array.

    Attributes
    ----------
    matrix : ndarray, shape (k, n)
        R, on the host.
    """

    matrix: HostArray

    def _like(self, x: Array) -> Array:
        return _arrays.from_host(self.matrix.astype(_arrays.dtype_name(x)), x)


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnDense(_Product):
    """k combinations of n tokens, R x, where R is drawn by counting, beside the array it meets.

    Attributes
    ----------
    entries : callable
        From an array and the name of a dtype to the n k entries, token by token, in that dtype and
        where the array is.
    shape : tuple of int
        Numbers of combinations and of tokens, k and n.
    """

    entries: Callable[[Array, str], Array]
    shape: tuple[int, int]

    @property
    def matrix(self) -> HostArray:
        """R on the host, in float64, shape (k, n)."""
        k, n = self.shape
        return np.asarray(self.entries(np.empty(0), "float64").reshape(n, k).T)

    def _like(self, x: Array) -> Array:
        xp, (k, n) = _arrays.namespace(x=x), self.shape
        flat = self.entries(x, _arrays.dtype_name(x))
        return xp.matrix_transpose(xp.reshape(flat, (n, k)))


def gaussian(n: int, k: int, rng: np.random.Generator) -> DrawnDense:
    """Draw R, shape (k, n), with independent normal entries of variance 1/k.

    Token j always gets the j-th k numbers of a stream: tokens appended later leave it unchanged.

    Parameters
    ----------
    n, k : int
        Numbers of tokens and of combinations.
    rng : numpy.random.Generator
        Gives the key of the stream.

    Returns
    -------
    DrawnDense
        The operator; E R^T R = I.

    Examples
    --------
    >>> import numpy as np
    >>> from approxattn.sketching import gaussian
    >>> sketch = gaussian(1000, 64, np.random.default_rng(0))
    >>> sketch.apply(np.ones((1000, 3))).shape
    (64, 3)
    """
    own = stream(rng)

    def entries(like: Array, dtype: str) -> Array:
        return own.normal(n * k, like, 1 / math.sqrt(k), dtype)

    return DrawnDense(entries=Once(entries), shape=(k, n))


def rademacher(n: int, k: int, rng: np.random.Generator) -> DrawnDense:
    """Draw R, shape (k, n), with independent entries 1/sqrt(k) or -1/sqrt(k), token by token as
    `gaussian`.

    Parameters
    ----------
    n, k : int
        Numbers of tokens and of combinations.
    rng : numpy.random.Generator
        Gives the key of the stream.

    Returns
    -------
    DrawnDense
        The operator; E R^T R = I.

    Examples
    --------
    >>> import numpy as np
    >>> from approxattn.sketching import rademacher
    >>> sketch = rademacher(1000, 64, np.random.default_rng(0))
    >>> np.unique(sketch.matrix)
    array([-0.125,  0.125])
    """
    return _of_values((-1.0, 1.0), n, k, rng)


def sparse_signs(n: int, k: int, rng: np.random.Generator, spread: int = 3) -> DrawnDense:
    """Draw R, shape (k, n), most of whose entries are 0, token by token as `gaussian`.

    An entry is 0 with probability 1 - 1/spread, else sqrt(spread/k) with either sign. R is kept as
    a full matrix: at one entry of three a matrix product is faster than any sparse one. For few
    entries take `count_sketch`.

    Parameters
    ----------
    n, k : int
        Numbers of tokens and of combinations.
    rng : numpy.random.Generator
        Gives the key of the stream.
    spread : int
        One entry of so many is not 0.

    Returns
    -------
    DrawnDense
        The operator; E R^T R = I.

    Examples
    --------
    >>> import numpy as np
    >>> from approxattn.sketching import sparse_signs
    >>> sketch = sparse_signs(1000, 48, np.random.default_rng(0))
    >>> np.unique(sketch.matrix)
    array([-0.25,  0.  ,  0.25])
    """
    size = math.sqrt(spread)
    return _of_values((size, -size, *(0.0,) * (2 * spread - 2)), n, k, rng)


def _of_values(values: tuple[float, ...], n: int, k: int, rng: np.random.Generator) -> DrawnDense:
    """Draw R, shape (k, n), entries iid, each of some values over sqrt(k) with equal
    probability.
    """
    own, scaled = stream(rng), tuple(x / math.sqrt(k) for x in values)

    def entries(like: Array, dtype: str) -> Array:
        return own.entries(scaled, n * k, like, dtype)

    return DrawnDense(entries=Once(entries), shape=(k, n))
