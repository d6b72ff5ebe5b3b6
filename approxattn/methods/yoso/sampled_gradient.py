"""The surrogate gradient of YOSO estimated from the hashes of the forward pass (Zeng et al. 2021),
in O(n m d dv) whatever the buckets.

Symbols. B_ij = 1 where query i and key j collide in one hash, "mean" is the mean over the m hashes,
a_i = q_i/|q_i|, b_j = k_j/|k_j|, G the cotangent. The estimates are

    dq_i = (l_i - <l_i, a_i> a_i)/|q_i|,   l_i = (bits/2) mean sum_j B_ij <G_i, v_j> b_j,
    dv_j = mean sum_i B_ij G_i,

and dk_j likewise from a_i. They are unbiased for the surrogate gradient of YOSO-E if G does not
depend on the hashes. Through `normalize` it does: biased by O(1/m).

Work. In one bucket with s queries and t keys either all s t pairs are formed, or sum_j v_j b_j^T
(dv x d) is, and multiplied by G: whichever takes fewer operations, so at most 2 (s + t) d dv. The
authors' code does the second one column of v at a time.

Certificate (proved here). Let every collision frequency be within e of p_ij (the argument `off`).

1. l_i is within e (bits/2) sum_j |<G_i, v_j>| |b_j| of its expectation, entry by entry.
2. |<G_i, v_j>| <= sum_c |G_ic||v_jc|, which makes that (|G| (|V|^T |b|))_i: two matrix products.
3. Likewise for dk and dv.
4. The division by the length of a normalised output adds to G_i an error n_i. It counts with
   (bits/2) sum_j |v_j| |b_j| at most.
5. Rounding: with w_i = sum_c |G_ic| sum_j |v_jc|, unit rows, the sums and the projection are off by
   3 gamma_{n + dv + 2 d + m + 32} (bits/2) w_i.
"""

from __future__ import annotations

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._problem import Problem
from approxattn.bounds.gradients import GradientBounds
from approxattn.bounds.rounding import gamma, up
from approxattn.hashing.directions import (
    error_over_length,
    length_noise,
    lengths_of,
    over_length,
    through_length,
    unit_rows,
)
from approxattn.hashing.hyperplanes import codes
from approxattn.methods.yoso.angular_gradient import Terms, visible_lengths


def sampled_gradient(
    problem: Problem,
    dout: Array,
    normals: Array,
    off: float,
    output: tuple[Array, HostArray] | None,
) -> tuple[Terms, GradientBounds, HostArray]:
    """Return the gradient, its error bounds, and the error of the cotangent, shape (..., n_q).

    Parameters
    ----------
    normals : array, shape (hashes, bits, d)
        The hyperplanes of the forward pass.
    off : float
        Bound on |collision frequency - p_ij| for all pairs.
    output : tuple of array and ndarray, or None
        The mean over hashes, shape (..., n_q, dv), and a bound on the l2 error of its rows, if the
        output is divided by its length.
    """
    xp, shape = problem.xp, (*problem.batch, problem.n_q)
    noise = np.zeros(shape)
    if output is not None:
        mean = _arrays.cast(output[0], "float64", xp)
        cotangent, divided = through_length(_arrays.cast(dout, "float64", xp), mean, xp)
        noise = length_noise(divided, np.broadcast_to(output[1], shape))
        dout = _arrays.cast(cotangent, problem.dtype, xp)
    a, b = unit_rows(problem.q, xp), unit_rows(problem.k, xp)
    left, right, dv = _all_hashes(
        a, b, problem.v, dout, codes(problem.q, normals, xp), codes(problem.k, normals, xp), xp
    )
    dv = problem.shown(dv)
    half = int(normals.shape[1]) / 2
    dq, dk = (_tangent(half * x, rows, xp) for x, rows in ((left, problem.q), (right, problem.k)))
    bounds = _bounds(problem, dout, (a, b), off, noise, normals)
    return Terms(dq, dk, dv), bounds, noise


def _tangent(linear: Array, rows: Array, xp: Namespace) -> Array:
    linear, rows = _arrays.cast(linear, "float64", xp), _arrays.cast(rows, "float64", xp)
    unit = unit_rows(rows, xp)
    return over_length(linear - xp.sum(linear * unit, axis=-1, keepdims=True) * unit, rows, xp)


def _all_hashes(
    a: Array, b: Array, v: Array, g: Array, q_codes: Array, k_codes: Array, xp: Namespace
) -> tuple[Array, Array, Array]:
    """Return the means over hashes of sum_j B <G, v> b, of sum_i B <G, v> a and of sum_i B G, batch
    items one by one.
    """
    hashes, *batch, _ = q_codes.shape
    items = []
    for index in np.ndindex(*batch):
        total: tuple[Array, ...] | None = None
        for h in range(hashes):
            rows = [x[(*index, ...)] for x in (a, b, v, g)]
            part = _one_hash(rows, q_codes[(h, *index, ...)], k_codes[(h, *index, ...)], xp)
            total = (
                part if total is None else tuple(x + y for x, y in zip(total, part, strict=True))
            )
        assert total is not None  # noqa: S101 - there is at least one hash
        items.append([x / hashes for x in total])
    if not batch:
        return items[0][0], items[0][1], items[0][2]
    left, right, dv = (
        xp.reshape(xp.stack(list(x)), (*batch, *x[0].shape)) for x in zip(*items, strict=True)
    )
    return left, right, dv


def _one_hash(
    rows: list[Array], q_codes: Array, k_codes: Array, xp: Namespace
) -> tuple[Array, Array, Array]:
    """Return the three sums for one hash of one batch item, tokens taken bucket by bucket."""
    q_order, q_ends = _by_bucket(q_codes, xp)
    k_order, k_ends = _by_bucket(k_codes, xp)
    a, b, v, g = (
        xp.take(x, order, axis=0)
        for x, order in zip(rows, (q_order, k_order, k_order, q_order), strict=True)
    )
    left: list[Array] = []
    right: list[Array] = []
    dv: list[Array] = []
    i = j = 0
    for code in sorted(q_ends.keys() | k_ends.keys()):
        s, t = q_ends.get(code, i), k_ends.get(code, j)
        parts = _bucket(a[i:s, :], b[j:t, :], v[j:t, :], g[i:s, :], xp)
        for sums, part in zip((left, right, dv), parts, strict=True):
            sums.append(part)
        i, j = s, t
    q_back, k_back = xp.argsort(q_order), xp.argsort(k_order)
    return (
        xp.take(xp.concat(left, axis=0), q_back, axis=0),
        xp.take(xp.concat(right, axis=0), k_back, axis=0),
        xp.take(xp.concat(dv, axis=0), k_back, axis=0),
    )


def _by_bucket(token_codes: Array, xp: Namespace) -> tuple[Array, dict[int, int]]:
    """Return the order that puts tokens of a bucket together, and where in it each bucket that
    occurs ends.
    """
    order = xp.argsort(token_codes)
    buckets, counts = np.unique(_arrays.to_host(token_codes), return_counts=True)
    return order, dict(zip(buckets.tolist(), np.cumsum(counts).tolist(), strict=True))


def _bucket(a: Array, b: Array, v: Array, g: Array, xp: Namespace) -> tuple[Array, Array, Array]:
    """Return (G V^T) b, (V G^T) a and the sum of G for every key, for tokens that all collide with
    each other.
    """
    (s, d), (t, dv) = a.shape, v.shape
    if not s or not t:
        return xp.zeros_like(a), xp.zeros_like(b), xp.zeros_like(v)
    total = xp.broadcast_to(xp.sum(g, axis=0, keepdims=True), v.shape)
    if s * t * (dv + 2 * d) <= 2 * (s + t) * d * dv:
        w = xp.matmul(g, xp.matrix_transpose(v))  # (s, t)
        return xp.matmul(w, b), xp.matmul(xp.matrix_transpose(w), a), total
    # (dv, d)
    keys, queries = xp.matmul(xp.matrix_transpose(v), b), xp.matmul(xp.matrix_transpose(g), a)
    return xp.matmul(g, keys), xp.matmul(v, queries), total


def _bounds(
    problem: Problem,
    g: Array,
    units: tuple[Array, Array],
    off: float,
    noise: HostArray,
    normals: Array,
) -> GradientBounds:
    xp, (hashes, bits) = problem.xp, normals.shape[:2]
    half, inexact = (
        bits / 2,
        3 * gamma(problem.n_q + problem.n_k + problem.dv + 2 * problem.d + hashes + 32, problem.u),
    )
    a, b, g, v = (xp.abs(_arrays.cast(x, "float64", xp)) for x in (*units, g, problem.v))
    size_g, size_v = (_arrays.to_host(xp.sum(x, axis=-2)) for x in (g, v))  # (..., dv)
    norm_v = _arrays.to_host(visible_lengths(problem))
    tiny = 64 * (problem.n_q + problem.n_k) * problem.dv * _arrays.smallest_normal(problem.dtype)
    errors = []
    for one, other, unit, sizes, rows, moved in (
        (g, v, b, size_v, problem.q, noise * np.sum(norm_v, axis=-1, keepdims=True)),
        (v, g, a, size_g, problem.k, norm_v * np.sum(noise, axis=-1, keepdims=True)),
    ):
        width = xp.matmul(one, xp.matmul(xp.matrix_transpose(other), unit))  # (..., n, d)
        length = _arrays.to_host(xp.sqrt(xp.sum(width * width, axis=-1)))
        whole = np.sum(_arrays.to_host(one) * sizes[..., None, :], axis=-1)
        raw = half * (off * length * (1 + 2.0**-20) + inexact * whole + moved) + tiny
        errors.append(error_over_length(up(raw), lengths_of(rows, xp)))
    dv = np.max(size_g, axis=-1) * (off + inexact) * (1 + 2.0**-20) + np.sum(noise, axis=-1) + tiny
    visible = (
        np.ones(norm_v.shape) if problem.key_mask is None else _arrays.to_host(problem.key_mask)
    )
    return GradientBounds(dq=errors[0], dk=errors[1], dv=up(np.where(visible, dv[..., None], 0.0)))
