"""Combinations that cost less than a matrix product: CountSketch, one pass over the tokens, and the
subsampled randomised Hadamard transform.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn.sketching.rows import gather, scatter
from approxattn.sketching.streams import Once, stream


@dataclass(frozen=True, kw_only=True, eq=False)
class CountSketch:
    """Each token is added to one of k buckets with a sign: O(n m) (Charikar, Chen & Farach-Colton
    2002; wording unverified).

    Attributes
    ----------
    draws : callable
        From an array to whole numbers in 0..2k-1, shape (n,), where the array is: twice the bucket
        of each token, and 1 more where its sign is +1.
    size : int
        Number of buckets, k.
    """

    draws: Callable[[Array], Array]
    size: int

    def apply(self, x: Array) -> Array:
        """Return the buckets, shape (..., n, m) -> (..., k, m)."""
        draws = self.draws(x)
        return scatter(x * _signs(draws & 1, x), draws >> 1, self.size)

    def adjoint(self, y: Array) -> Array:
        """Return each token's bucket times its sign, shape (..., k, m) -> (..., n, m)."""
        draws = self.draws(y)
        return gather(y, draws >> 1) * _signs(draws & 1, y)


def _signs(bits: Array, x: Array) -> Array:
    """Return -1 for 0 and 1 for 1 in the dtype of x, shape (n,) -> (n, 1)."""
    return _arrays.cast(2 * bits - 1, _arrays.dtype_name(x), _arrays.namespace(x=x))[:, None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Hadamard:
    """k rows of H D x / sqrt(k), D random signs, H the N x N matrix of +-1 with H^T H = N I: O(N
    log N m).

    Attributes
    ----------
    bits : callable
        From an array to n bits where the array is: 1 for a sign +1 on the diagonal of D.
    tokens : int
        Number of tokens, n.
    rows : ndarray of int, shape (k,)
        Rows kept, without repetition.
    length : int
        N, the next power of two from n on; tokens beyond n count as 0.
    """

    bits: Callable[[Array], Array]
    tokens: int
    rows: HostArray
    length: int

    def apply(self, x: Array) -> Array:
        """Return the combinations, shape (..., n, m) -> (..., k, m)."""
        xp = _arrays.namespace(x=x)
        shape = (*x.shape[:-2], self.length - x.shape[-2], x.shape[-1])
        padding = xp.zeros(shape, dtype=x.dtype, device=_arrays.device(x))
        mixed = transform(xp.concat([x * _signs(self.bits(x), x), padding], axis=-2))
        return gather(mixed, self.rows) * self.rows.size**-0.5

    def adjoint(self, y: Array) -> Array:
        """Return D H^T of the rows put back in their places, shape (..., k, m) -> (..., n, m); H is
        symmetric.
        """
        spread = transform(scatter(y, self.rows, self.length))
        return spread[..., : self.tokens, :] * _signs(self.bits(y), y) * self.rows.size**-0.5


def transform(x: Array) -> Array:
    """Return H x along the axis of the tokens, shape (..., N, m), N a power of two, H_ij =
    (-1)^(number of common binary ones of i and j).
    """
    xp = _arrays.namespace(x=x)
    *batch, n, m = x.shape
    width = 1
    while width < n:
        pairs = xp.reshape(x, (*batch, n // (2 * width), 2, width, m))
        low, high = pairs[..., 0, :, :], pairs[..., 1, :, :]
        x = xp.reshape(xp.stack([low + high, low - high], axis=-3), (*batch, n, m))
        width *= 2
    return x


def count_sketch(n: int, k: int, rng: np.random.Generator) -> CountSketch:
    """Draw bucket and sign of every token; tokens appended later leave them unchanged.

    Parameters
    ----------
    n, k : int
        Numbers of tokens and of buckets.
    rng : numpy.random.Generator
        Gives the key of the stream.

    Returns
    -------
    CountSketch
        The operator; E S^T S = I.

    Examples
    --------
    >>> import numpy as np
    >>> from approxattn.sketching import count_sketch
    >>> sketch = count_sketch(1000, 64, np.random.default_rng(0))
    >>> sketch.apply(np.ones((1000, 3))).shape
    (64, 3)
    """
    own = stream(rng)
    return CountSketch(draws=Once(lambda like: own.below(2 * k, n, like)), size=k)


def srht(n: int, k: int, rng: np.random.Generator) -> Hadamard:
    """Draw the signs and the rows of a subsampled randomised Hadamard transform.

    Parameters
    ----------
    n, k : int
        Numbers of tokens and of combinations.
    rng : numpy.random.Generator
        Draws the rows, and gives the key of the stream of signs.

    Returns
    -------
    Hadamard
        The operator; E S^T S = I.

    Raises
    ------
    ValueError
        If k exceeds N, the next power of two from n on: there are no more rows.

    Examples
    --------
    >>> import numpy as np
    >>> from approxattn.sketching import srht
    >>> sketch = srht(1000, 64, np.random.default_rng(0))
    >>> sketch.length, sketch.apply(np.ones((1000, 3))).shape
    (1024, (64, 3))
    """
    length = 1 << max(0, n - 1).bit_length()
    if k > length:
        msg = (
            f"rank(={k}) exceeds the {length} rows of the Hadamard transform of {n} tokens: take a "
            "smaller rank"
        )
        raise ValueError(msg)
    own, rows = stream(rng), np.sort(rng.choice(length, k, replace=False))
    bits = Once(lambda like: own.below(2, n, like))
    return Hadamard(bits=bits, tokens=n, rows=rows, length=length)
