"""States and readings for a few tokens in NumPy arrays, as a decoder has them: there the calls of
NumPy cost more than the arithmetic, so one call makes all monomials of a degree.

Rounding as in `kernel`: g - 1 for a monomial, 3 for a weight, 1 for a product with a value, n - 1
additions over n tokens, which are no more than in chunks; r - 1 additions for the product with a
state, and no more for the part of a degree, which is a sum over its own rows.
"""

from __future__ import annotations

import functools

import numpy as np

from approxattn._arrays import HostArray
from approxattn.monomials.contraction import weights
from approxattn.monomials.index import rank, suffix_length

FEW = 16
"""Tokens of a leading index, at most. *Chosen*: from about there on the monomials cost more than
the calls.
"""


def are_few(tokens: int, columns: int) -> bool:
    """Return whether these sums are for so few tokens, and their monomials no larger than a
    state.
    """
    return 1 <= tokens <= min(FEW, columns)


@functools.lru_cache(maxsize=32)
def _factors(d: int, degree: int) -> tuple[tuple[HostArray, HostArray], ...]:
    """Return for each degree 2 ... g the coordinate that each monomial begins with, and the place
    of the rest in the degree before, in the order of `index`.
    """
    found = []
    for t in range(2, degree + 1):
        lengths = [suffix_length(d, i, t - 1) for i in range(d)]
        first = np.repeat(np.arange(d), lengths)
        rest = np.concatenate([np.arange(lengths[0] - n, lengths[0]) for n in lengths])
        found.append((first, rest))
    return tuple(found)


def monomials(x: HostArray, degree: int) -> HostArray:
    """Return those of degree <= g, shape (..., n, d) -> (..., n, r)."""
    d = x.shape[-1]
    tokens = x.reshape(-1, d)
    out = np.empty((len(tokens), rank(d, degree)), x.dtype)
    out[:, 0] = 1
    if degree:
        out[:, 1 : d + 1] = tokens
    for t, (first, rest) in enumerate(_factors(d, degree), start=2):
        before = out[:, rank(d, t - 2) : rank(d, t - 1)]
        block = out[:, rank(d, t - 1) : rank(d, t)]
        np.multiply(np.take(tokens, first, axis=1), np.take(before, rest, axis=1), out=block)
    return out.reshape(*x.shape[:-1], out.shape[-1])


def few_states(y: HostArray, values: HostArray, coefficients: tuple[float, ...]) -> HostArray:
    """Return the weighted states, shapes (..., n, d), (..., n, m) -> (..., r, m)."""
    d, degree = y.shape[-1], len(coefficients) - 1
    phi = monomials(y, degree)
    phi *= weights(coefficients, d).astype(y.dtype)
    if y.shape[-2] == 1:
        return np.asarray(np.swapaxes(phi, -1, -2) * values)
    return np.asarray(np.matmul(np.swapaxes(phi, -1, -2), values))


def few_readings(
    x: HostArray, state: HostArray, degree: int, degrees: tuple[int, ...] = ()
) -> tuple[HostArray, HostArray]:
    """Return phi(x)^T S and the parts of its last column, shapes (..., n, d), (..., r, m) -> (...,
    n, m), (..., n, number of degrees).
    """
    d, phi = x.shape[-1], monomials(x, degree)
    sums = np.matmul(phi, state)
    parts = np.empty((*x.shape[:-1], len(degrees)), x.dtype)
    for place, t in enumerate(degrees):
        rows = slice(rank(d, t - 1), rank(d, t))
        parts[..., place] = np.matmul(phi[..., rows], state[..., rows, -1:])[..., 0]
    return sums, parts
