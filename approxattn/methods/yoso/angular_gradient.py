"""Gradient of YOSO-E, out_i = sum_j p(x_ij) v_j, with respect to the rows q, k and v; dense, taken
in blocks of queries.

Symbols. a_i = q_i/|q_i| and b_j = k_j/|k_j| are unit rows, x_ij = <a_i, b_j> = cos theta_ij, G_i is
the cotangent of row i, z_ij = <G_i, v_j>, and D(x) stands for the derivative of the weight p(x)
with respect to x.

Gradients (proved here). Dividing by |q_i| has the derivative (I - a a^T)/|q_i|, so

    dq_i = (1/|q_i|) sum_j z_ij D(x_ij) (b_j - x_ij a_i),
    dk_j = (1/|k_j|) sum_i z_ij D(x_ij) (a_i - x_ij b_j),
    dv_j = sum_i p_ij G_i.

"exact": D = p'(x) = (bits/pi) (1 - theta/pi)^(bits-1) / sin theta.

1. It diverges at parallel rows, which is why Zeng et al. (2021) avoid it.
2. But |b - x a| = sin theta, so every term is at most (bits/pi) |z|/|q| long (proved here): theta
   has a cone point there, and no more.
3. Parallel and opposite rows contribute 0, the mean of the one-sided derivatives over all
   directions.

"surrogate": D = (bits/2) p(x), the lower bound of p' that the authors' code uses
(`yoso.surrogate-gradient`).

Rounding (proved here). Everything is computed in float64. The true cosine is X, the true angle
Theta; |x - X| <= delta (`cosine_error`), s^2 = 1 - x^2, S^2 = 1 - X^2 and r = (1 -
theta/pi)^(bits-1). arccos itself is off by e_acos, any computed angle by at most e'.

1. |S^2 - s^2| <= 2 delta.
2. Where s^2 >= 16 delta: |S/s - 1| <= 1.1 delta/s^2, |theta - Theta| <= 1.1 delta/s and S |theta -
   Theta| <= 1.2 delta.
3. Elsewhere S <= 4.3 sqrt(delta) and |theta - Theta| <= 1.42 sqrt(delta).
4. The computed b - x a is within 2 delta of the true one.
5. So one term of dq_i |q_i|, and of dk_j |k_j|, is off by at most |z| times

    exact, s^2 >= 16 delta:  (bits/pi) [r (1.1 delta/s^2 + 2.2 delta/s + c u) + 1.2 (bits - 1)/pi
        (delta/s + e_acos)];
    exact, otherwise:        (bits/pi) [r + (bits - 1)/pi e'],  the term being set to 0;
    surrogate:               (bits/2) [(bits/pi) (6.1 delta + 5 e_acos) + p (2.2 delta + c u)],

    where c counts the power and a few operations.

6. The sums over n terms of size |z| D add 2 gamma_{n+blocks+6} of their l1 norm.
7. z itself is off by gamma_{dv+2} |G||v|; G, when it comes through the division of the output by
   its length, by what the caller says. Both count with the largest D sin theta, at most bits/pi or
   bits/2.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._arrays.crossing import at_hand, far, space
from approxattn._problem import Problem
from approxattn.bounds.gradients import GradientBounds
from approxattn.bounds.rounding import EXP_ULPS, U64, gamma, up
from approxattn.bounds.scores import row_lengths
from approxattn.hashing.collision import (
    ACOS_ERROR,
    NEAR,
    angle_errors,
    cosine_error,
    cosines,
    pair_probability,
)
from approxattn.hashing.directions import (
    Lengths,
    error_over_length,
    lengths_of,
    over_length,
    unit_rows,
)
from approxattn.softmax.scores import rows_at_once, visible_block

KINDS = ("exact", "surrogate")

_SUMS = 1 + 2.0**-20
"""Covers the rounding of the float64 sums that add up bounds, for up to 2^32 of them."""


class Weights(NamedTuple):
    """Derivative D of the weight with respect to the cosine, and the error of one term as a
    multiple of |z|, both (..., rows, keys).
    """

    slope: Array
    error: Array


class Terms(NamedTuple):
    """Gradients in float64, shapes of q, k, v."""

    dq: Array
    dk: Array
    dv: Array


class Side(NamedTuple):
    """What the bounds of dq, or of dk, are made of, shapes (..., n), at hand: the errors summed
    over the terms, the lengths of the rows q or k, and those of the gradient.
    """

    error: Array
    rows: Lengths
    gradient: Array


class Kept(NamedTuple):
    """What bounds on the Euclidean norms of the errors of all rows are made of, at hand.

    Attributes
    ----------
    cotangent : array, shape (..., n_q)
        |G_i|.
    values : array, shape (..., n_k)
        |v_j|, 0 for hidden keys.
    widths : array, shape (..., dv)
        l1 norms of the columns of G.
    near : array, shape (..., n_k)
        max|G| summed over nearly parallel pairs.
    queries, keys : Side
        Of dq and dk.
    """

    cotangent: Array
    values: Array
    widths: Array
    near: Array
    queries: Side
    keys: Side


class Sums(NamedTuple):
    """Sums over the keys (for a block of queries) or over queries: of W b, of W x, of the errors;
    the last two of shape (..., n, 1).
    """

    linear: Array
    radial: Array
    error: Array


def expectation_gradient(
    problem: Problem, cotangent: Array, bits: int, kind: str
) -> tuple[Terms, Kept]:
    """Return the gradient for a float64 cotangent, shape (..., n_q, dv), and what
    `expectation_bounds` needs.
    """
    xp = problem.xp
    values = _arrays.cast(problem.v, "float64", xp)
    step = rows_at_once(problem, problem.n_k)
    by_query: list[Sums] = []
    keys: Sums | None = None
    dv: Array = None
    near: Array = None
    for first in range(0, problem.n_q, step):
        rows, columns, part, close = _block(
            problem, cotangent, values, bits, kind, first, min(first + step, problem.n_q)
        )
        by_query.append(rows)
        if keys is not None:
            columns = Sums(*(x + y for x, y in zip(keys, columns, strict=True)))
        keys = columns
        dv, near = (part, close) if dv is None else (dv + part, near + close)
    queries = Sums(*(xp.concat(list(x), axis=-2) for x in zip(*by_query, strict=True)))
    assert keys is not None  # noqa: S101 - there is at least one query
    dq, dk = _tangent(queries, problem.q, problem), _tangent(keys, problem.k, problem)
    sides = [
        Side(at_hand(total.error[..., 0]), lengths_of(rows, xp), row_lengths(grad, xp))
        for total, rows, grad in ((queries, problem.q, dq), (keys, problem.k, dk))
    ]
    widths = at_hand(xp.sum(xp.abs(cotangent), axis=-2))
    norms = row_lengths(cotangent, xp), visible_lengths(problem)
    return Terms(dq, dk, dv), Kept(*norms, widths, at_hand(near[..., 0]), *sides)


def _block(
    problem: Problem, cotangent: Array, values: Array, bits: int, kind: str, first: int, last: int
) -> tuple[Sums, Sums, Array, Array]:
    """Return the sums of queries first..last-1 over keys, those of the keys over them, P^T G and
    max|G| summed over nearly parallel pairs.
    """
    xp = problem.xp
    stop = last if problem.causal else problem.n_k
    q, k = problem.q[..., first:last, :], problem.k[..., :stop, :]
    x = cosines(q, k, xp)  # (..., rows, keys)
    theta = xp.acos(x)
    p, z = (
        pair_probability(theta, bits),
        xp.matmul(cotangent[..., first:last, :], xp.matrix_transpose(values[..., :stop, :])),
    )
    near = xp.astype(xp.abs(x) > NEAR, xp.float64)
    keep = visible_block(problem, p, first, 0, stop)
    if keep is not None:
        p, z, near = (xp.where(keep, y, xp.zeros_like(y)) for y in (p, z, near))
    weights = _exact(x, theta, problem, bits) if kind == "exact" else _surrogate(p, problem, bits)
    w, error = z * weights.slope, xp.abs(z) * weights.error
    a, b = (unit_rows(_arrays.cast(y, "float64", xp), xp) for y in (q, k))
    rows = _sums(w, x, error, b, problem)
    w, x, error, p, near = (xp.matrix_transpose(y) for y in (w, x, error, p, near))
    columns = _sums(w, x, error, a, problem)
    g = cotangent[..., first:last, :]
    part, close = xp.matmul(p, g), xp.matmul(near, xp.max(xp.abs(g), axis=-1, keepdims=True))
    columns = Sums(*(_pad(x, problem) for x in columns))
    return rows, columns, _pad(part, problem), _pad(close, problem)


def _exact(x: Array, theta: Array, problem: Problem, bits: int) -> Weights:
    xp, delta, bits_over_pi = problem.xp, cosine_error(problem.d), bits / math.pi
    square = (1 - x) * (1 + x)
    apart = square >= 16 * delta
    s = xp.sqrt(xp.where(apart, square, xp.ones_like(square)))
    r = (1 - theta / math.pi) ** (bits - 1)
    slope = xp.where(apart, bits_over_pi * r / s, xp.zeros_like(s))
    bend = (bits - 1) / math.pi
    sums = 2 * gamma(_terms(problem), U64)
    far = r * (
        1.1 * delta / (s * s) + (2.2 * delta + sums) / s + _operations(bits)
    ) + 1.2 * bend * (delta / s + ACOS_ERROR)
    lost = r + bend * angle_errors(problem.d)[1]
    return Weights(slope, bits_over_pi * xp.where(apart, far, lost))


def _surrogate(p: Array, problem: Problem, bits: int) -> Weights:
    delta = cosine_error(problem.d)
    sums = 2 * gamma(_terms(problem), U64)
    fixed = bits / math.pi * (6.1 * delta + 5 * ACOS_ERROR)
    return Weights(bits / 2 * p, bits / 2 * (fixed + p * (2.2 * delta + sums + _operations(bits))))


def _operations(bits: int) -> float:
    return (bits * EXP_ULPS + 16) * U64


def _terms(problem: Problem) -> int:
    """Return the longest sum, over keys or over queries, and one addition a block."""
    return max(problem.n_q, problem.n_k) + -(-problem.n_q // rows_at_once(problem, problem.n_k)) + 6


def _sums(w: Array, x: Array, error: Array, other: Array, problem: Problem) -> Sums:
    xp = problem.xp
    return Sums(
        linear=xp.matmul(w, other),
        radial=xp.sum(w * x, axis=-1, keepdims=True),
        error=xp.sum(error, axis=-1, keepdims=True),
    )


def _pad(part: Array, problem: Problem) -> Array:
    """Return a sum over queries for all keys: under a causal mask a block ends with its
    last query.
    """
    xp, missing = problem.xp, problem.n_k - part.shape[-2]
    if not missing:
        return part
    shape = (*part.shape[:-2], missing, part.shape[-1])
    return xp.concat(
        [part, xp.zeros(shape, dtype=part.dtype, device=_arrays.device(part))], axis=-2
    )


def _tangent(sums: Sums, rows: Array, problem: Problem) -> Array:
    """Return (sum W b - (sum W x) a) / |q|, zero for a zero row."""
    rows = _arrays.cast(rows, "float64", problem.xp)
    return over_length(sums.linear - sums.radial * unit_rows(rows, problem.xp), rows, problem.xp)


def expectation_bounds(
    problem: Problem, kept: Kept, noise: HostArray, bits: int, kind: str
) -> GradientBounds:
    """Return the bounds for a cotangent whose rows are within `noise`, shape (..., n_q), of the
    true ones: what the block sums know, the errors of z and of the cotangent, the division by the
    length, underflow.
    """
    largest = bits / math.pi if kind == "exact" else bits / 2
    size_g, size_v = (_arrays.to_host(x) for x in (kept.cotangent, kept.values))
    # times |v_j|: the error of z_ij, wherever it goes
    with np.errstate(over="ignore"):
        pair = 3 * gamma(problem.dv + 2, U64) * size_g + 1.1 * noise
    lost = (
        16 * (max(problem.n_q, problem.n_k) + problem.dv) * (problem.dv + 2) * largest * 2.0**-1022
    )
    lengths = 2 * gamma(problem.d + 16, U64)
    errors = []
    for side, one, others in ((kept.queries, pair, size_v), (kept.keys, size_v, pair)):
        # where the gradient overflows, so may its bound: NaN and inf both mean that there is none
        with np.errstate(over="ignore", invalid="ignore"):
            outer = largest * one * np.sum(others, axis=-1, keepdims=True)
            raw = up(_arrays.to_host(side.error) * _SUMS + outer * _SUMS + lost)
            divided = error_over_length(raw, side.rows) * (1 + lengths)
            errors.append(up(divided + lengths * _arrays.to_host(side.gradient)))
    return GradientBounds(dq=errors[0], dk=errors[1], dv=_value_bound(problem, kept, noise, bits))


def _value_bound(problem: Problem, kept: Kept, noise: HostArray, bits: int) -> HostArray:
    """Bound the error of dv = P^T G as that of the output, with G in the place of V."""
    apart, anywhere = angle_errors(problem.d)
    slope, widths = bits / math.pi, _arrays.to_host(kept.widths)
    per_width = slope * apart + bits * EXP_ULPS * U64 + gamma(_terms(problem), U64)
    close = slope * anywhere * _arrays.to_host(kept.near)
    common = per_width * np.max(widths, axis=-1) + np.sum(noise, axis=-1) + problem.n_q * 2.0**-1022
    return up((common[..., None] + close) * _SUMS)


def visible_lengths(problem: Problem) -> Array:
    """Return |v_j|, 0 for masked keys, shape (..., n_k), at hand."""
    norms, mask = row_lengths(problem.v, problem.xp), problem.key_mask
    if mask is None:
        return norms
    own = space(norms)
    seen = mask if far(norms) else _arrays.to_host(mask)
    return own.where(seen, norms, 0.0)
