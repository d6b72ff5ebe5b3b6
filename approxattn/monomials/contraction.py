"""What sums by features are made of: monomials, their weights, and the length of a chunk."""

from __future__ import annotations

import functools

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn.monomials.index import degrees, multiplicities, rank, suffix_length

FEATURES_AT_ONCE = 2**21
"""Feature values held at one time. *Chosen*: 16 MiB in float64."""

LARGEST_CHUNK = 512


def chunk_length(d: int, degree: int) -> int:
    """Return the number of tokens in a chunk, whose features are held at one time on a host; on a
    device many chunks are.
    """
    return max(8, min(LARGEST_CHUNK, FEATURES_AT_ONCE // rank(d, degree)))


def chunks(n: int, step: int) -> list[slice]:
    """Return 0..n-1 in slices that end inside: the standard says nothing about stops beyond the
    axis.
    """
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def feature_blocks(x: Array, degree: int, xp: Namespace) -> list[Array]:
    """Return the monomials of the rows of x, shape (tokens, d), one array a degree, (number of
    monomials, tokens) each.
    """
    columns = xp.matrix_transpose(x)  # (d, tokens)
    d = columns.shape[0]
    blocks = [xp.ones((1, columns.shape[1]), dtype=x.dtype, device=_arrays.device(x))]
    for t in range(1, degree + 1):
        last = blocks[-1]
        parts = [
            columns[i : i + 1, :] * last[last.shape[0] - suffix_length(d, i, t - 1) :, :]
            for i in range(d)
        ]
        blocks.append(xp.concat(parts, axis=0))
    return blocks


def features(x: Array, degree: int, xp: Namespace) -> Array:
    """Return all monomials of degree <= g of the rows of x, shape (tokens, d) -> (r, tokens)."""
    return xp.concat(feature_blocks(x, degree, xp), axis=0)


@functools.lru_cache(maxsize=32)
def weights(coefficients: tuple[float, ...], d: int) -> HostArray:
    """Return w_alpha = c_{|alpha|} |alpha|!/alpha!, shape (r,); read-only."""
    degree = len(coefficients) - 1
    result = np.asarray(coefficients)[degrees(d, degree)] * multiplicities(d, degree)
    result.setflags(write=False)
    return result
