"""A bound on scores that sees the directions of queries and keys, at O(n d^2).

Cauchy-Schwarz holds in any coordinates: for square matrices S, R with S^T R = I,

    |q . k| = |(S q) . (R k)| <= |S q| |R k|,

and is least wasteful where queries and keys spread alike. With second moments C_q = L_q L_q^T, C_k
= L_k L_k^T and the singular value decomposition L_q^T L_k = U s V^T,

    R = s^{-1/2} U^T L_q^T,    S = s^{-1/2} V^T L_k^T

gives both the moments diag(s) (balancing, as of linear systems), and S^T R = L_k (L_q^T L_k)^{-1}
L_q^T = I. Long rows decide the largest norm, so a row counts with its length to the fourth power
(*chosen*: powers 2 to 4 of the squared length gave the smallest bounds on heads of a small language
model).

Any S, R will do for the bound: with E = I - S^T R as it is in float64, and T~ the computed product
of a row with T,

    |q . k| <= (|S~q| + e_S |q|)(|R~k| + e_R |k|) + |E| |q| |k|,    e_T = gamma_{d+2} |T| + what
        underflow takes      (proved here; Frobenius norms).
"""

from __future__ import annotations

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._problem import Problem
from approxattn.bounds.rounding import gamma, up
from approxattn.bounds.scores import row_norms, visible_max

FLOOR = {"float64": 1e-10, "float32": 1e-5}
"""Least eigenvalue of a moment over its largest one. *Chosen*: flatter directions would only
amplify rounding.
"""

WIDEST = 256
"""Columns up to which coordinates are balanced. *Chosen*: heads are no wider, and the
decompositions take O(d^3) however few the rows.
"""


def score_bounds_of(
    queries: Array, keys: Array, problem: Problem, lengths: HostArray | None = None
) -> tuple[HostArray, HostArray]:
    """Return B_i >= max_j |beta queries_i . keys_j| over visible keys, shape (..., n_q), the
    smaller of both bounds; and that by Cauchy-Schwarz as they are.

    `lengths`, shape (..., n_q), are bounds on the norms of the queries where these are known
    already.
    """
    xp = problem.xp
    lengths = row_norms(queries, xp) if lengths is None else lengths
    key_lengths = row_norms(keys, xp)
    radius = visible_max(key_lengths, problem)[..., None]
    plain = up(problem.scale * lengths * radius)
    if not queries.shape[-2] or problem.d > WIDEST:
        return plain, plain
    found = balancing(
        moment(queries, lengths, xp), moment(keys, key_lengths, xp), FLOOR[problem.dtype]
    )
    if found is None:
        return plain, plain
    s, r = found
    size_s, size_r = (up(np.linalg.norm(t, axis=(-2, -1)))[..., None] for t in (s, r))  # (..., 1)
    d, u = problem.d, problem.u
    miss = up(np.linalg.norm(np.eye(d) - np.swapaxes(s, -1, -2) @ r, axis=(-2, -1))[..., None])
    miss = miss + gamma(d + 4, 2.0**-53) * size_s * size_r
    s, r = (_arrays.cast(_arrays.from_host(t, queries), problem.dtype, xp) for t in (s, r))
    loss, tiny = gamma(d + 4, u), d * _arrays.smallest_normal(problem.dtype)
    turned_q = row_norms(xp.matmul(queries, xp.matrix_transpose(s)), xp)
    turned_k = visible_max(row_norms(xp.matmul(keys, xp.matrix_transpose(r)), xp), problem)[
        ..., None
    ]
    with np.errstate(over="ignore", invalid="ignore"):
        q = turned_q + loss * size_s * lengths + tiny * (1 + size_s)
        k = turned_k + loss * size_r * radius + tiny * (1 + size_r)
        turned = up(problem.scale * (q * k + miss * lengths * radius))
    return np.fmin(turned, plain), plain


def moment(x: Array, lengths: HostArray, xp: Namespace) -> HostArray:
    """Return sum_i |x_i|^4 x_i x_i^T, of rows scaled to a greatest length of 1, on the host, shape
    (..., n, d) -> (..., d, d).
    """
    longest = np.max(lengths, axis=-1, keepdims=True)[..., None]
    fourth = (lengths[..., None] / longest) ** 2
    fourth *= fourth
    size = _arrays.cast(_arrays.from_host(longest, x), _arrays.dtype_name(x), xp)
    unit = x / xp.where(size > 0, size, xp.ones_like(size))
    weight = _arrays.cast(_arrays.from_host(fourth, x), _arrays.dtype_name(x), xp)
    return _arrays.to_host(xp.matmul(xp.matrix_transpose(unit * weight), unit)).astype(np.float64)


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
    return half * (vt @ np.swapaxes(l_k, -1, -2)), half * (
        np.swapaxes(u, -1, -2) @ np.swapaxes(l_q, -1, -2)
    )


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
