"""How far the gradients of `gradient` are from the exact one.

Symbols. As in `bounds.gradients` (r_i, e_i, t_i, Z_i, omega_i, ln rho_i) and `forward` (D_i, A_i,
K). R is the polynomial whose derivative weighs the sums, R'_abs(s) = sum_t |r'_t| s^t.

Rounding (proved here). It is that of `forward` with a longer path.

1. K counts also the product with left_i (dv + 1), the way back through the features (2 g + d g and
   one sum of at most r terms), and what `through_centres` adds.
2. r_i is the larger of the noises with A_i and with R'_abs(R_i), because dv has weights P and the
   others R'.
3. Weights of both signs have a larger l1 norm, and kappa may lie outside the range of z: r_i, e_i
   and t_i are taken times that norm.
4. z - kappa is off by the rounding of dv + 1 products, by that of the output, and by left_i; a sum
   with weights of l1 norm a multiplies that by a, at least 1.

Through the mean query (proved here).

1. beta sum_j b_j k_j is the sum over i of the plug-in dq_i: exchange the sums.
2. So what a consistent dq_i gains is a mean of differences of two approximations of dq_i.
3. Each is within the part of its bound that is not truncation. So it adds at most twice the mean of
   that part. The means themselves are taken in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn.bounds.gradients import (
    GradientBounds,
    GradientNoise,
    cotangent_size,
    gradient_bounds,
)
from approxattn.bounds.perturbation import tv_from_log_ratio
from approxattn.bounds.rounding import U64, gamma, times, up
from approxattn.bounds.scores import query_norms, value_spread
from approxattn.methods.polynomials.forward import Forward, kernel_of
from approxattn.methods.polynomials.gradient import primitive
from approxattn.methods.polynomials.slopes import slope_bounds
from approxattn.monomials.dense import derivative
from approxattn.monomials.index import rank
from approxattn.monomials.kernel import sum_roundings, underflow


@dataclass(frozen=True, kw_only=True)
class _Cotangent:
    """What the bounds share.

    Attributes
    ----------
    size : ndarray, shape (..., n_q)
        sum_c |G_ic|.
    top, osc : ndarray, shape (..., 1)
        Size and oscillation of the values.
    coefficients : tuple of float
        Those of R.
    slopes : ndarray, shape (..., n_q)
        sum_j w_j R'_abs(beta |q_i| |k_j|).
    """

    size: HostArray
    top: HostArray
    osc: HostArray
    coefficients: tuple[float, ...]
    slopes: HostArray


def polynomial_gradient_bounds(run: Forward, dout: Array, kind: str) -> GradientBounds:
    """Return T3 plus what the consistent gradient's slope and rounding add."""
    problem, scores, cotangent = run.problem, run.scores, _cotangent(run, dout, kind)
    with np.errstate(over="ignore", invalid="ignore"):
        noise = _noise(run, cotangent, kind)
    of_parts = up(scores.lengths + scores.middle_length)  # q_i is q_i - m plus m
    query_norm = None if scores.weights is None else of_parts

    def combine(log_ratio: HostArray, mu: HostArray | float) -> GradientBounds:
        return gradient_bounds(
            problem,
            dout,
            scores.keys,
            log_ratio=log_ratio,
            noise=noise,
            mu=mu,
            positive=run.positive,
            size=cotangent.size,
            query_norm=query_norm,
            key_norm=scores.radius,
        )

    bounds = combine(run.log_ratio, run.mu)
    rounding_only = combine(np.zeros_like(run.log_ratio), 0.0)
    dk, dv = _weighted_truncation(run, cotangent)
    bounds = GradientBounds(
        dq=bounds.dq,
        dk=np.minimum(bounds.dk, up(dk + rounding_only.dk)),
        dv=np.minimum(bounds.dv, up(dv + rounding_only.dv)),
    )
    if kind == "consistent":  # subtracting the mean can double the error of dk
        bounds = bounds._replace(
            dk=up((2 if scores.keys_centred else 1) * bounds.dk),
            dq=up(bounds.dq + _mean_query_error(run, rounding_only.dq, cotangent)),
        )
    return bounds


def _cotangent(run: Forward, dout: Array, kind: str) -> _Cotangent:
    spread, coefficients = value_spread(run.problem), primitive(run, kind)
    return _Cotangent(
        size=cotangent_size(dout, run.problem.xp),
        top=spread.top[..., None],
        osc=spread.osc[..., None],
        coefficients=coefficients,
        slopes=run.scores.absolute(derivative(coefficients)),
    )


def _roundings(run: Forward, coefficients: tuple[float, ...]) -> int:
    """Return K of step 1, for the longer way of the sums with R and with P."""
    problem, g = run.problem, len(coefficients) - 1
    longest, ways = max(problem.n_q, problem.n_k), []
    for c in (coefficients, run.polynomial.coefficients):
        kind = kernel_of(problem, c, run.largest).kind
        back = rank(problem.d, max(g - 1, 0)) if kind == "features" else 0
        ways.append(sum_roundings(kind, longest, problem.d, g, problem.causal) + back)
    return max(ways) + 6 * g + 3 * (problem.dv + 1) + problem.d * g + 20


def _noise(run: Forward, cotangent: _Cotangent, kind: str) -> GradientNoise:
    """Return r_i, e_i, t_i, the balance and the error of the slopes."""
    problem = run.problem
    roundings = _roundings(run, cotangent.coefficients)
    of_slopes = run.noise(roundings, derivative(cotangent.coefficients))
    of_values = run.noise(roundings, run.polynomial.coefficients)
    pair = cotangent.size * (
        2 * gamma(problem.dv + 4, problem.u) * cotangent.top + run.output_rounding
    )
    amplification = np.maximum(1.0, of_slopes / gamma(roundings, problem.u))
    slope = slope_bounds(run)[0] if kind == "consistent" else 0.0
    return GradientNoise(
        weights=up(np.maximum(of_slopes, of_values) * run.size),
        pairs=up(pair * amplification * run.size),
        terms=up(_term_loss(run, cotangent) * run.size),
        balance=run.balance.ratio,
        slope=slope,
    )


def _mean_query_error(run: Forward, not_truncation: HostArray, cotangent: _Cotangent) -> HostArray:
    """Return what passing through the mean query adds to the error of dq, shape (..., 1)."""
    problem, centred = run.problem, run.scores.centred[..., None]
    if not np.any(centred):
        return np.zeros(centred.shape)
    # of one row's sum of |beta p_ij k_j|
    largest = times(2, cotangent.size, cotangent.top, problem.scale, run.scores.radius)
    rounded = gamma(problem.n_q + problem.n_k + 16, U64) + 8 * problem.u
    with np.errstate(over="ignore", invalid="ignore"):
        amplified = largest * slope_bounds(run)[1] * run.size
        means = np.nan_to_num(rounded * amplified, nan=np.inf)
        error = np.mean(2 * not_truncation + means, axis=-1, keepdims=True)
    return np.where(centred, up(error), 0.0)


def _term_loss(run: Forward, cotangent: _Cotangent) -> HostArray:
    """Return what underflow can take from one term R'(s_ij) (left_i . right_j), shape (..., n_q),
    times an entry of at most 1.

    1. The division by D_i loses w in each of dv + 1 entries of left, which right and R' multiply.
    2. What the kernels of R, R' and P lose for factors of size 1 grows with left and right. It
       counts d times for the entries of a gradient, g + 1 times for the powers below the highest.
    3. With weights, w_j [v_j, 1] and b_j lose as much again.
    """
    problem, of_r = run.problem, cotangent.coefficients
    tiny, right = _arrays.smallest_normal(problem.dtype), np.maximum(cotangent.top, 1.0)
    every = (of_r, derivative(of_r), run.polynomial.coefficients)
    kinds = {kernel_of(problem, c, run.largest).kind for c in (of_r, run.polynomial.coefficients)}
    inside = np.max(
        [
            underflow(kind, c, run.scores.size, *run.largest, problem.d, tiny)
            for kind in kinds
            for c in every
        ],
        axis=0,
    )
    denominator = run.host_denominator
    smallest = np.where(denominator > 0, np.minimum(denominator, 1.0), 1.0)
    left = 1 + cotangent.size * (1 + right) / smallest
    twice = 1 if run.scores.weights is None else 2
    of_kernels = (problem.d + len(of_r)) * left * inside
    of_left = 2 * tiny * (cotangent.slopes + 1)
    return up(twice * (problem.dv + 2) * right * (of_kernels + of_left))


def _weighted_truncation(run: Forward, cotangent: _Cotangent) -> tuple[HostArray, HostArray]:
    """Return T3 key by key, shapes (..., n_k), from the computed weights.

    1. |f - f~|_ij <= (rho_i - 1) f~_ij.
    2. |P - P~|_ij <= (rho_i - 1 + TV_i) omega_i f~_ij.

    Against the sums over all queries of `gradient_bounds` this counts each query by the weight it
    gives to the key, at one more kernel sum. Where weights may be negative this says nothing.
    """
    problem, xp, log_ratio = run.problem, run.problem.xp, run.log_ratio
    if not np.any(np.all(run.positive, axis=-1)):
        nothing = np.full((*problem.batch, problem.n_k), np.inf)
        return nothing, nothing
    # 0 times the largest float, unlike 0 times inf, is 0
    with np.errstate(over="ignore", invalid="ignore"):
        excess = np.minimum(np.expm1(log_ratio), np.finfo(np.float64).max)
        omega = times(cotangent.size, cotangent.osc)
        moved = times(problem.scale, query_norms(problem), omega)
        columns = np.stack(
            [(excess + tv_from_log_ratio(log_ratio)) * moved, excess * cotangent.size], axis=-1
        )
        noise = np.sum(run.weight_noise[..., None] * columns, axis=-2, keepdims=True)
        # the sums are taken of columns with a largest entry of 1; what underflow takes from them,
        # and from their quotients by D_i, comes back times P(s_ij) <= D_i
        top = np.max(columns, axis=-2, keepdims=True)  # (..., 1, 2)
        unit = np.where((top > 0) & np.isfinite(top), columns / top, 0.0)
        tiny = _arrays.smallest_normal(problem.dtype)
        below = tiny * np.sum(1 + run.host_denominator, axis=-1)[..., None, None]
    device = _arrays.cast(_arrays.from_host(unit, problem.q), problem.dtype, xp)
    sums = _arrays.to_host(
        run.kernel.transposed_sums(run.queries, run.keys, device / run.denominator)
    ).astype(np.float64)
    if run.scores.weights is not None:
        sums = sums * _arrays.to_host(run.scores.weights).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        total = up((sums * (1 + 8 * problem.u) + below) * top + noise)
    known = np.isfinite(total) & np.all(run.positive, axis=-1)[..., None, None]
    bounds = np.where(known, total, np.inf)
    return bounds[..., 0], bounds[..., 1]
