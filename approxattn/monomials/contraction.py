"""Contractions with the features: S = phi(Y)^T values, then phi(X) S, and the causal form by
chunked prefix sums.

phi is laid out (r, tokens): each block of monomials is a handful of long row operations, and the
products with S are matrix products. Tokens pass in chunks, so the memory is O(r (m + chunk))
whatever n is.
"""

from __future__ import annotations

import functools

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn.monomials.dense import dense_sums
from approxattn.monomials.index import degrees, multiplicities, rank, suffix_length
from approxattn.monomials.parts.dense import dense_sums_with_parts

FEATURES_AT_ONCE = 2**21
"""Feature values held at one time. *Chosen*: 16 MiB in float64."""

LARGEST_CHUNK = 512


def chunk_length(d: int, degree: int) -> int:
    """Return the number of tokens whose features are held at one time."""
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


def widened(state: Array, d: int, degree: int, asked: tuple[int, ...], xp: Namespace) -> Array:
    """Return the state, shape (r, m), with one more column for each degree asked for: the last one,
    0 but for the monomials of that degree.
    """
    if not asked:
        return state
    own = (degrees(d, degree)[:, None] == np.asarray(asked)).astype(np.float64)
    of_degree = xp.astype(_arrays.from_host(own, state), state.dtype)
    return xp.concat([state, state[:, -1:] * of_degree], axis=1)


def state_of(
    y: Array, values: Array, coefficients: tuple[float, ...], xp: Namespace, before: Array | None
) -> Array:
    """Return S = before + sum_j w phi(y_j) values_j^T, shape (r, m)."""
    w = _arrays.from_host(np.array(weights(coefficients, y.shape[1]))[:, None], y)
    part = xp.matmul(features(y, len(coefficients) - 1, xp), values) * xp.astype(w, y.dtype)
    return part if before is None else before + part


def contract(
    x: Array,
    y: Array,
    values: Array,
    coefficients: tuple[float, ...],
    causal: bool,
    xp: Namespace,
    asked: tuple[int, ...] = (),
) -> Array:
    """Return sum_j P(x_i . y_j) values_j, over j <= i + n_y - n_x if causal, and behind these
    columns the parts of the last one that belong to the degrees asked for; shapes (n_x, d), (n_y,
    d), (n_y, m) -> (n_x, m + number of degrees), at O((n_x + n_y) r m).

    Causal: earlier chunks through the state, the own chunk by its scores.
    """
    degree, d = len(coefficients) - 1, x.shape[1]
    step = chunk_length(d, degree)
    state: Array | None = None
    if not causal:
        for chunk in chunks(y.shape[0], step):
            state = state_of(y[chunk, :], values[chunk, :], coefficients, xp, state)
        state = widened(state, d, degree, asked, xp)
        return xp.concat(
            [_query(x[chunk, :], state, degree, xp) for chunk in chunks(x.shape[0], step)], axis=0
        )
    out, total, earlier = [], None, y.shape[0] - x.shape[0]
    for chunk in chunks(earlier, step):
        total = state_of(y[chunk, :], values[chunk, :], coefficients, xp, total)
    state = None if total is None else widened(total, d, degree, asked, xp)
    y, values = y[earlier:, :], values[earlier:, :]
    for chunk in chunks(x.shape[0], step):
        own = _own_chunk(x[chunk, :], y[chunk, :], values[chunk, :], coefficients, asked, xp)
        out.append(own if state is None else own + _query(x[chunk, :], state, degree, xp))
        total = state_of(y[chunk, :], values[chunk, :], coefficients, xp, total)
        state = widened(total, d, degree, asked, xp)
    return xp.concat(out, axis=0)


def _own_chunk(
    x: Array,
    y: Array,
    values: Array,
    coefficients: tuple[float, ...],
    asked: tuple[int, ...],
    xp: Namespace,
) -> Array:
    if not asked:
        return dense_sums(x, y, values, coefficients, True, xp)
    return dense_sums_with_parts(x, y, values, coefficients, True, xp, asked)


def _query(x: Array, state: Array, degree: int, xp: Namespace) -> Array:
    return xp.matmul(xp.matrix_transpose(features(x, degree, xp)), state)  # (tokens, m)
