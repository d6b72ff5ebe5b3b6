"""A bound on scores that sees the directions of queries and keys, at O(n d^2).

Symbols. C_q = L_q L_q^T and C_k = L_k L_k^T are second moments of queries and keys, U s V^T is the
singular value decomposition of L_q^T L_k. Norms of matrices are Frobenius norms.

1. Cauchy-Schwarz holds in any coordinates: for square S, R with S^T R = I, |q . k| = |(S q) . (R
   k)| <= |S q| |R k|.
2. That is least wasteful where queries and keys spread alike. R = s^{-1/2} U^T L_q^T and S =
   s^{-1/2} V^T L_k^T give both the moments diag(s) (balancing, as of linear systems).
3. S^T R = L_k (L_q^T L_k)^{-1} L_q^T = I.
4. Long rows decide the largest norm, so a row counts with its length to the fourth power (*chosen*:
   powers 2 to 4 of the squared length gave the smallest bounds on heads of a small language model).

Rounding (proved here). Any S, R will do for the bound. Let E = I - S^T R as it is in float64, S~q
and R~k the computed products.

1. |S q| <= |S~q| + e_S |q| with e_S = gamma_{d+2} |S| and what underflow takes; e_R likewise.
2. q . k = (S q) . (R k) + q . E k.
3. So |q . k| <= (|S~q| + e_S |q|) (|R~k| + e_R |k|) + |E| |q| |k|.
"""

from __future__ import annotations

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._arrays.crossing import at_hand, far, fetched, placed, space
from approxattn._problem import Problem
from approxattn.bounds.rounding import U64, gamma, outward, up
from approxattn.bounds.scores import largest_visible, row_lengths

FLOOR = {"float64": 1e-10, "float32": 1e-5}
"""Least eigenvalue of a moment over its largest one. *Chosen*: flatter directions would only
amplify rounding.
"""

WIDEST = 256
"""Columns up to which coordinates are balanced. *Chosen*: heads are no wider, and the
decompositions take O(d^3) however few the rows.
"""


def score_bounds_of(
    queries: Array,
    keys: Array,
    problem: Problem,
    lengths: Array | None = None,
    key_lengths: Array | None = None,
    moments: tuple[HostArray, HostArray] | None = None,
) -> tuple[Array, Array]:
    """Return B_i >= max_j |beta queries_i . keys_j| over visible keys, shape (..., n_q), the
    smaller of both bounds; and that by Cauchy-Schwarz as they are. Both at hand.

    `lengths` and `key_lengths` are bounds on the norms of the rows, at hand, and `moments` those of
    queries and keys, where these are known already.
    """
    xp = problem.xp
    lengths = row_lengths(queries, xp) if lengths is None else lengths
    key_lengths = row_lengths(keys, xp) if key_lengths is None else key_lengths
    radius = largest_visible(key_lengths, problem)[..., None]
    plain = outward(problem.scale * lengths * radius)
    if not queries.shape[-2] or problem.d > WIDEST:
        return plain, plain
    if moments is None:
        of_queries, of_keys = fetched(moment(queries, lengths, xp), moment(keys, key_lengths, xp))
        moments = of_queries, of_keys
    both = balancing(*moments, FLOOR[problem.dtype])
    if both is None:
        return plain, plain
    s, r = both
    size_s, size_r = (frobenius(t)[..., None] for t in both)  # (..., 1)
    d, u = problem.d, problem.u
    miss = frobenius(np.eye(d) - np.swapaxes(s, -1, -2) @ r)[..., None]
    miss = miss + gamma(d + 4, U64) * size_s * size_r
    s, r = (_arrays.cast(_arrays.from_host(t, queries), problem.dtype, xp) for t in both)
    loss, tiny = gamma(d + 4, u), d * _arrays.smallest_normal(problem.dtype)
    balanced_q = row_lengths(xp.matmul(queries, xp.matrix_transpose(s)), xp)
    balanced_k = row_lengths(xp.matmul(keys, xp.matrix_transpose(r)), xp)
    size_s, size_r, miss = (placed(x, lengths) for x in (size_s, size_r, miss))
    with np.errstate(over="ignore", invalid="ignore"):
        q = balanced_q + loss * size_s * lengths + tiny * (1 + size_s)
        k = largest_visible(balanced_k, problem)[..., None] + loss * size_r * radius
        k = k + tiny * (1 + size_r)
        balanced = outward(problem.scale * (q * k + miss * lengths * radius))
    return _smaller(balanced, plain), plain


def _smaller(x: Array, y: Array) -> Array:
    """Return the smaller of two numbers at hand, y where x is NaN."""
    return np.fmin(x, y) if space(x) is np else space(x).where(x < y, x, y)


def moment(x: Array, lengths: Array, xp: Namespace) -> Array:
    """Return sum_i |x_i|^4 x_i x_i^T, of rows scaled to a greatest length of 1, at hand, shape
    (..., n, d) -> (..., d, d); `lengths` are at hand.
    """
    own, name = space(lengths), _arrays.dtype_name(x)
    longest = own.max(lengths, axis=-1, keepdims=True)[..., None]
    square = (lengths[..., None] / longest) ** 2
    if not far(lengths) and np.all((longest > 2.0**-60) & (longest < 2.0**60)):
        square = square / longest
    else:
        size = _arrays.cast(placed(longest, x), name, xp)
        x = x / xp.where(size > 0, size, xp.ones_like(size))
    half = x * _arrays.cast(placed(square, x), name, xp)
    return at_hand(xp.matmul(xp.matrix_transpose(half), half))


def balancing(
    moment_q: HostArray, moment_k: HostArray, floor: float
) -> tuple[HostArray, HostArray] | None:
    """Return S and R, shapes (..., d, d), rows by falling moment; None where one of the moments
    vanishes.
    """
    traces = [np.trace(m, axis1=-2, axis2=-1)[..., None, None] for m in (moment_q, moment_k)]
    if not all(np.all(trace > 0) for trace in traces):
        return None
    steep = [floor * trace * np.eye(moment_q.shape[-1]) for trace in traces]
    l_q, l_k = (
        _root(m + least, floor) for m, least in zip((moment_q, moment_k), steep, strict=True)
    )
    u, s, vt = np.linalg.svd(np.swapaxes(l_q, -1, -2) @ l_k)
    if not np.all(s[..., -1] > 0):
        return None
    half = 1 / np.sqrt(s)[..., None]
    s_matrix = half * (vt @ np.swapaxes(l_k, -1, -2))
    return s_matrix, half * (np.swapaxes(u, -1, -2) @ np.swapaxes(l_q, -1, -2))


def frobenius(matrix: HostArray) -> HostArray:
    """Return the Frobenius norm, shape (..., d, d) -> (...), rounded up; no square underflows or
    overflows before the norm does.
    """
    top = np.max(np.abs(matrix), axis=(-2, -1), keepdims=True)
    unit = matrix / np.where(top > 0, top, 1.0)
    return up(np.linalg.norm(unit, axis=(-2, -1)) * top[..., 0, 0])


def _root(moment: HostArray, floor: float) -> HostArray:
    """Return an L with L L^T about the moment: Cholesky's, in a small part of the time of an
    eigendecomposition, unless rounding made an eigenvalue negative.
    """
    try:
        return np.asarray(np.linalg.cholesky(moment))
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(moment)
        least = floor * values[..., -1:]
        return np.asarray(vectors * np.sqrt(np.maximum(values, least))[..., None, :])
