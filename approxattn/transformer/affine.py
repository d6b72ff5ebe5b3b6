"""y = x W + b, its gradient, and what errors in x and rounding do to both.

Notation of this folder, for every array computed from an approximate one. delta_i bounds the
Euclidean distance of row i of an activation to the row that the exact network has, on the host,
shape (..., n). Of a cotangent G the errors are added up over the tokens instead: total >= sum_i
|G_i - exact G_i|, shape (...). The two norms are dual to each other: a row of softmax weights,
which sums to 1, increases neither.

Rounding (proved here; gamma of `rounding.py`). Entry c of a computed x W + b is off by at most
gamma_{d+2} (sum_a |x_a||W_ac| + |b_c|), so the row by at most gamma_{d+2} (|x| |W|_F + |b|). Entry
(a, b) of a computed sum over N tokens of x_ia g_ib is off by at most gamma_{N+2} sum_i
|x_ia||g_ib|, so the matrix by at most gamma_{N+2} sum_i |x_i||g_i| in the Frobenius norm.
"""

from __future__ import annotations

import math

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn.bounds.rounding import gamma, up
from approxattn.bounds.scores import row_norms


def bounded(x: HostArray | float) -> HostArray:
    """Round a bound outward; a bound lost on the way (inf times 0) is inf."""
    x = up(x)
    return np.where(np.isnan(x), np.inf, x)


def roundoff(x: Array) -> float:
    """Return u of the dtype of x."""
    return _arrays.unit_roundoff(_arrays.dtype_name(x))


def norms(x: Array, xp: Namespace) -> HostArray:
    """Return upper bounds on the Euclidean norms of the rows of x, shape (..., n, d) -> (..., n),
    on the host.
    """
    return row_norms(x, xp) if x.shape[-1] else np.zeros(x.shape[:-1])


def spectral(w: Array) -> HostArray:
    """Return upper bounds on the largest singular values of the matrices in w, shape (..., a, b) ->
    (...).
    """
    host = _arrays.to_host(w).astype(np.float64)
    # The singular values of LAPACK are off by a modest multiple of u |W|; 1e-10 leaves a factor of
    # a thousand for matrices of any usual size.
    return up(np.linalg.norm(host, ord=2, axis=(-2, -1)) * (1 + 1e-10))


def frobenius(w: Array) -> HostArray:
    """Return upper bounds on the Frobenius norms of the matrices in w, shape (..., a, b)
    -> (...).
    """
    host = _arrays.to_host(w).astype(np.float64)
    return up(np.sqrt(np.sum(host * host, axis=(-2, -1))) * (1 + 1e-10))


def length(b: Array | None) -> HostArray:
    """Return upper bounds on the Euclidean norms along the last axis; 0 for None."""
    if b is None:
        return np.zeros(())
    host = _arrays.to_host(b).astype(np.float64)
    return up(np.sqrt(np.sum(host * host, axis=-1)) * (1 + 1e-10))


def affine(x: Array, w: Array, b: Array | None, xp: Namespace) -> Array:
    """Return x W + b."""
    y = xp.matmul(x, w)
    return y if b is None else y + b


def affine_rounding(x_norms: HostArray, w: Array, b: Array | None) -> HostArray:
    """Return the bound on the rounding error of each row of x W + b; one matrix, or one a head with
    x_norms (..., 1, n).
    """
    *leading, d, width = w.shape
    lift = (...,) + (None,) * bool(leading)
    tiny = (d + 2) * math.sqrt(width) * _arrays.smallest_normal(_arrays.dtype_name(w))
    return bounded(
        gamma(d + 2, roundoff(w)) * (x_norms * frobenius(w)[lift] + length(b)[lift]) + tiny
    )


def total_over_tokens(x: Array, xp: Namespace) -> Array:
    """Return the sum of x, shape (..., n, c), over everything but the last axis."""
    return xp.sum(xp.reshape(x, (-1, x.shape[-1])), axis=0)


def outer_total(x: Array, g: Array, xp: Namespace) -> Array:
    """Return sum_i x_i^T g_i over all tokens of all leading indices, shapes (..., n, a), (..., n,
    b) -> (a, b).
    """
    x, g = (xp.reshape(y, (-1, y.shape[-1])) for y in (x, g))
    return xp.matmul(xp.matrix_transpose(x), g)


def total_error(total: HostArray, g_norms: HostArray, u: float) -> float:
    """Return the bound on the error of sum_i g_i over all tokens, g off by `total`."""
    return float(bounded(np.sum(total) + gamma(g_norms.size + 2, u) * np.sum(g_norms)))


def outer_error(
    x_norms: HostArray, delta: HostArray, g_norms: HostArray, total: HostArray, u: float
) -> float:
    """Return the bound on the Frobenius error of sum_i x_i^T g_i: with primes for the exact ones,
    x'^T g' - x^T g = x'^T (g' - g) + (x' - x)^T g.

    Shapes (..., n), (..., n), (..., n), (...).
    """
    with_total = np.max(x_norms + delta, axis=-1, initial=0.0) * total
    rounding = gamma(g_norms.size + 2, u) * np.sum(x_norms * g_norms)
    return float(bounded(np.sum(with_total) + np.sum(delta * g_norms) + rounding))
