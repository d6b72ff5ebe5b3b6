"""Contractions with the features: S = phi(K)^T V, then phi(Q) S, and the causal form by chunked prefix sums.

phi is laid out (r, tokens): each block of monomials is a handful of long row operations, and the products with S are matrix products. Tokens pass in
chunks, so the memory is O(r (dv + chunk)) whatever n is.
"""

from __future__ import annotations

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn.monomials.index import degrees, multiplicities, rank, suffix_length

FEATURES_AT_ONCE = 2**21
"""Feature values held at one time. *Chosen*: 16 MiB in float64."""

LARGEST_CHUNK = 512


def chunk_length(d: int, degree: int) -> int:
    """Return the number of tokens whose features are held at one time."""
    return max(8, min(LARGEST_CHUNK, FEATURES_AT_ONCE // rank(d, degree)))


def features(x: Array, degree: int, xp: Namespace) -> Array:
    """Return all monomials of degree <= g of the rows of x, shape (tokens, d) -> (r, tokens)."""
    columns = xp.matrix_transpose(x)  # (d, tokens)
    d = columns.shape[0]
    blocks = [xp.ones((1, columns.shape[1]), dtype=x.dtype, device=_arrays.device(x))]
    for t in range(1, degree + 1):
        last = blocks[-1]
        parts = [columns[i : i + 1, :] * last[last.shape[0] - suffix_length(d, i, t - 1) :, :] for i in range(d)]
        blocks.append(xp.concat(parts, axis=0))
    return xp.concat(blocks, axis=0)


def weights(coefficients: tuple[float, ...], d: int) -> HostArray:
    """Return w_alpha = c_{|alpha|} |alpha|!/alpha!, shape (r,)."""
    degree = len(coefficients) - 1
    return np.asarray(coefficients)[degrees(d, degree)] * multiplicities(d, degree)


def contract(q: Array, k: Array, values: Array, coefficients: tuple[float, ...], xp: Namespace) -> Array:
    """Return P(q k^T) values, shapes (n_q, d), (n_k, d), (n_k, m) -> (n_q, m), at O((n_q + n_k) r m)."""
    degree, step = len(coefficients) - 1, chunk_length(k.shape[1], len(coefficients) - 1)
    state: Array | None = None
    for chunk in _chunks(k.shape[0], step):
        part = _weighted(_state(k[chunk, :], values[chunk, :], degree, xp), coefficients, k, xp)
        state = part if state is None else state + part
    return xp.concat([_query(q[chunk, :], state, degree, xp) for chunk in _chunks(q.shape[0], step)], axis=0)


def contract_causal(q: Array, k: Array, values: Array, coefficients: tuple[float, ...], xp: Namespace) -> Array:
    """Return (M o P(q k^T)) values with M_ij = 1 for j <= i: earlier chunks through the state, the own chunk directly."""
    degree, step = len(coefficients) - 1, chunk_length(k.shape[1], len(coefficients) - 1)
    state: Array | None = None
    outputs = []
    for chunk in _chunks(q.shape[0], step):
        out = xp.matmul(
            xp.tril(horner(xp.matmul(q[chunk, :], xp.matrix_transpose(k[chunk, :])), coefficients)), values[chunk, :]
        )
        outputs.append(out if state is None else out + _query(q[chunk, :], state, degree, xp))
        part = _weighted(_state(k[chunk, :], values[chunk, :], degree, xp), coefficients, k, xp)
        state = part if state is None else state + part
    return xp.concat(outputs, axis=0)


def horner(x: Array, coefficients: tuple[float, ...]) -> Array:
    """Return P(x) entry by entry."""
    total = x * 0 + coefficients[-1]
    for c in reversed(coefficients[:-1]):
        total = total * x + c
    return total


def _chunks(n: int, step: int) -> list[slice]:
    """Return 0..n-1 in slices that end inside: the standard says nothing about stops beyond the axis."""
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def _state(k: Array, values: Array, degree: int, xp: Namespace) -> Array:
    return xp.matmul(features(k, degree, xp), values)  # (r, m)


def _weighted(state: Array, coefficients: tuple[float, ...], like: Array, xp: Namespace) -> Array:
    w = _arrays.from_host(weights(coefficients, like.shape[1])[:, None], like)
    return state * xp.astype(w, like.dtype)


def _query(q: Array, state: Array, degree: int, xp: Namespace) -> Array:
    return xp.matmul(xp.matrix_transpose(features(q, degree, xp)), state)  # (tokens, m)
