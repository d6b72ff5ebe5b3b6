"""y = x W + b, its gradient, and what errors in x and rounding do to both.

Notation of this folder, for every array computed from an approximate one.

- delta_i bounds the Euclidean distance of row i of an activation to the row that the exact network
  has; on the host, shape (..., n).
- Of a cotangent G the errors are added up over the tokens: total >= sum_i |G_i - exact G_i|, shape
  (...). The two norms are dual to each other: a row of softmax weights, which sums to 1, increases
  neither.
- u is the unit roundoff of the dtype, w its smallest normal number, gamma_k that of `rounding.py`.
  An operation that underflows loses at most w; a sum of floats does not underflow, unless the
  device flushes small numbers to 0, when it loses at most w too.

Rounding (proved here). |W|_F is the Frobenius norm.

1. Entry c of a computed x W + b, W of d rows, is a sum of d products and b_c. It is off by at most
   gamma_{d+2} (sum_a |x_a||W_ac| + |b_c|) + (d + 2) w.
2. By Cauchy & Schwarz over a, and the triangle inequality over c, a row with m entries is off by at
   most gamma_{d+2} (|x| |W|_F + |b|) + (d + 2) sqrt(m) w.
3. Entry (a, b) of a computed sum over N tokens of x_ia g_ib is off by at most gamma_{N+2} sum_i
   |x_ia||g_ib| + (N + 2) w.
4. So that matrix, with p entries, is off by at most gamma_{N+2} sum_i |x_i||g_i| + (N + 2) sqrt(p)
   w in the Frobenius norm.
5. A computed sum over N tokens of g_i, with p entries, is off by at most gamma_{N+2} sum_i |g_i| +
   N sqrt(p) w.

Bounds are computed in float64. A product of two bounds that underflows loses less than 2^-1073, and
`bounded` adds 2^-1060: so every product is rounded outward before the next factor.
"""

from __future__ import annotations

import math

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace, precision
from approxattn.bounds.rounding import gamma, up
from approxattn.bounds.scores import row_norms

_SLACK = 1 + 1e-10
"""For norms computed on the host. LAPACK's singular values are off by a modest multiple of u |W|,
sums of squares by less: *chosen*, a factor of a thousand remains for matrices of any usual size.
"""


def bounded(x: HostArray | float) -> HostArray:
    """Round a bound outward; a bound lost on the way (inf times 0) is inf."""
    x = up(x)
    return np.where(np.isnan(x), np.inf, x)


def roundoff(x: Array) -> float:
    """Return u of what x is computed in, products of matrices included."""
    return precision.unit_roundoff(x)


def plain_roundoff(x: Array) -> float:
    """Return u of everything but products of matrices, which a library may round more."""
    return precision.plain(roundoff(x))


def tiny(x: Array) -> float:
    """Return w of the dtype of x."""
    return _arrays.smallest_normal(_arrays.dtype_name(x))


def where_finite(bound: HostArray, *values: Array) -> HostArray:
    """Return bounds of rows, shape (..., n), inf where a row of a value is not finite.

    An infinity that a layer swallows, as tanh does, would else stand beside a finite bound.
    """
    for x in values:
        xp = _arrays.namespace(x=x)
        fine = _arrays.to_host(xp.all(xp.isfinite(x), axis=-1))
        bound = np.where(fine, bound, np.inf)
    return bound


def where_all_finite(total: HostArray, value: Array) -> HostArray:
    """Return bounds of items, shape (...), inf where an item of the value is not finite."""
    xp = _arrays.namespace(value=value)
    fine = _arrays.to_host(xp.all(xp.isfinite(value), axis=(-2, -1)))
    return np.where(fine, total, np.inf)


def norms(x: Array, xp: Namespace) -> HostArray:
    """Return upper bounds on the Euclidean norms of the rows of x, shape (..., n, d) -> (..., n),
    on the host.
    """
    return row_norms(x, xp) if x.shape[-1] else np.zeros(x.shape[:-1])


def euclidean(x: HostArray, axis: int | tuple[int, ...]) -> HostArray:
    """Return upper bounds on root sums of squares, whatever the size of the entries."""
    top = np.max(np.abs(x), axis=axis, keepdims=True, initial=0.0)
    unit = np.where((top > 0) & np.isfinite(top), top, 1.0)
    roots = np.sqrt(np.sum((x / unit) ** 2, axis=axis)) * _SLACK
    return bounded(roots * np.squeeze(unit, axis=axis))


def spectral(w: Array) -> HostArray:
    """Return upper bounds on the largest singular values of the matrices in w, shape (..., a, b) ->
    (...).
    """
    host = _arrays.to_float64(w)
    known = np.asarray(np.isfinite(host).all(axis=(-2, -1)))
    sizes = np.linalg.norm(np.where(known[..., None, None], host, 0.0), ord=2, axis=(-2, -1))
    return np.where(known, up(sizes * _SLACK), np.inf)


def frobenius(w: Array) -> HostArray:
    """Return upper bounds on the Frobenius norms of the matrices in w, shape (..., a, b)
    -> (...).
    """
    return euclidean(_arrays.to_float64(w), (-2, -1))


def length(b: Array | None) -> HostArray:
    """Return upper bounds on the Euclidean norms along the last axis; 0 for None."""
    return np.zeros(()) if b is None else euclidean(_arrays.to_float64(b), -1)


def affine(x: Array, w: Array, b: Array | None, xp: Namespace) -> Array:
    """Return x W + b."""
    y = xp.matmul(x, w)
    return y if b is None else y + b


def affine_rounding(x_norms: HostArray, w: Array, b: Array | None) -> HostArray:
    """Return step 2 for each row; one matrix, or one a head with x_norms (..., 1, n)."""
    *leading, d, width = w.shape
    lift = (...,) + (None,) * bool(leading)
    size = up(x_norms * frobenius(w)[lift]) + length(b)[lift]
    return bounded(gamma(d + 2, roundoff(w)) * size + (d + 2) * math.sqrt(width) * tiny(w))


def adding_rounding(y: Array) -> HostArray:
    """Return what one addition in every entry can be off by, for each row of the sum y."""
    size = norms(y, _arrays.namespace(y=y))
    return bounded(plain_roundoff(y) * size + math.sqrt(y.shape[-1]) * tiny(y))


def total_over_tokens(x: Array, xp: Namespace) -> Array:
    """Return the sum of x, shape (..., n, c), over everything but the last axis."""
    return xp.sum(xp.reshape(x, (-1, x.shape[-1])), axis=0)


def outer_total(x: Array, g: Array, xp: Namespace) -> Array:
    """Return sum_i x_i^T g_i over all tokens of all leading indices, shapes (..., n, a), (..., n,
    b) -> (a, b).
    """
    x, g = (xp.reshape(y, (-1, y.shape[-1])) for y in (x, g))
    return xp.matmul(xp.matrix_transpose(x), g)


def total_error(total: HostArray, g_norms: HostArray, parameter: Array) -> float:
    """Return the bound on the error of sum_i g_i over all tokens, g off by `total`: step 5.

    `parameter` has the dtype and, in its last axis, the width of that gradient.
    """
    count = g_norms.size
    rounding = gamma(count + 2, plain_roundoff(parameter)) * np.sum(g_norms)
    lost = count * math.sqrt(parameter.shape[-1]) * tiny(parameter)
    return float(bounded(np.sum(total) + rounding + lost))


def outer_error(
    x_norms: HostArray,
    delta: HostArray,
    g_norms: HostArray,
    total: HostArray,
    parameter: Array,
) -> float:
    """Return the bound on the Frobenius error of sum_i x_i^T g_i: with primes for the exact ones,
    x'^T g' - x^T g = x'^T (g' - g) + (x' - x)^T g, and step 4.

    Shapes (..., n), (..., n), (..., n), (...); `parameter` has the dtype and, in its last two axes,
    the shape of that gradient.
    """
    with_total = np.max(x_norms + delta, axis=-1, initial=0.0) * total
    count, entries = g_norms.size, math.prod(parameter.shape[-2:])
    rounding = gamma(count + 2, roundoff(parameter)) * np.sum(x_norms * g_norms)
    lost = (count + 2) * math.sqrt(entries) * tiny(parameter)
    return float(bounded(np.sum(with_total) + np.sum(delta * g_norms) + rounding + lost))
