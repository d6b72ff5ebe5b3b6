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
from approxattn._arrays import HostArray
from approxattn.bounds.gradients import (
    GradientBounds,
    GradientNoise,
    gradient_bounds,
)
from approxattn.bounds.perturbation import tv_from_log_ratio
from approxattn.bounds.rounding import U64, gamma, times, up
from approxattn.bounds.scores import query_norms, value_spread
from approxattn.methods.polynomials.forward import Forward
from approxattn.methods.polynomials.gradient import primitive
from approxattn.methods.polynomials.slopes import slope_bounds
from approxattn.monomials.dense import derivative
from approxattn.monomials.index import rank
from approxattn.monomials.kernel import underflow


@dataclass(frozen=True, kw_only=True)
class Cotangent:
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


def bounds_by_queries(
    run: Forward, kind: str, cotangent: Cotangent
) -> tuple[GradientBounds, GradientBounds]:
    """Return the bounds without a look at single keys, and what they are without truncation."""
    problem, scores = run.problem, run.scores
    with np.errstate(over="ignore", invalid="ignore"):
        noise = _noise(run, cotangent, kind)
    of_parts = up(scores.lengths + scores.middle_length)  # q_i is q_i - m plus m
    query_norm = None if scores.weights is None else of_parts

    def combine(log_ratio: HostArray, mu: HostArray | float) -> GradientBounds:
        return gradient_bounds(
            problem,
            cotangent.size,
            log_ratio=log_ratio,
            noise=noise,
            mu=mu,
            positive=run.positive,
            query_norm=query_norm,
            key_norm=scores.radius,
        )

    return combine(run.log_ratio, run.mu), combine(np.zeros_like(run.log_ratio), 0.0)


def cotangent_of(run: Forward, size: HostArray, kind: str) -> Cotangent:
    """Return what the bounds share, given the lengths of the cotangent."""
    spread, coefficients = value_spread(run.problem), primitive(run, kind)
    return Cotangent(
        size=size,
        top=spread.top[..., None],
        osc=spread.osc[..., None],
        coefficients=coefficients,
        slopes=run.scores.absolute(derivative(coefficients)),
    )


def _roundings(run: Forward, coefficients: tuple[float, ...]) -> int:
    """Return K of step 1, for the longer way of the sums with R and with P."""
    problem, g, ways = run.problem, len(coefficients) - 1, []
    for c in (coefficients, run.polynomial.coefficients):
        back = rank(problem.d, max(g - 1, 0)) if run.kind_of(c) == "features" else 0
        ways.append(run.longest_path(c) + back)
    both = min(problem.earlier, 1)  # sums over earlier and later keys are added
    return max(ways) + both + 6 * g + 3 * (problem.dv + 1) + problem.d * g + 20


def _noise(run: Forward, cotangent: Cotangent, kind: str) -> GradientNoise:
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


def mean_query_error(run: Forward, not_truncation: HostArray, cotangent: Cotangent) -> HostArray:
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


def _term_loss(run: Forward, cotangent: Cotangent) -> HostArray:
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
    kinds = {run.kind_of(c) for c in (of_r, run.polynomial.coefficients)}
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


def truncation_columns(run: Forward, cotangent: Cotangent) -> tuple[HostArray, HostArray]:
    """Return what each query adds to the bounds of dk and dv times the weight it gives to a key,
    shape (..., n_q, 2), and the sum of what rounding adds to these, shape (..., 1, 2).
    """
    columns = columns_of_truncation(run, cotangent.size)
    return columns, truncation_noise(run, columns)


def columns_of_truncation(run: Forward, size: HostArray) -> HostArray:
    """Return these columns, given the lengths of the cotangent."""
    log_ratio = run.log_ratio
    # 0 times the largest float, unlike 0 times inf, is 0
    excess = np.minimum(np.expm1(log_ratio), np.finfo(np.float64).max)
    omega = times(size, value_spread(run.problem).osc[..., None])
    moved = times(run.problem.scale, query_norms(run.problem), omega)
    return np.stack([(excess + tv_from_log_ratio(log_ratio)) * moved, excess * size], axis=-1)


def truncation_noise(run: Forward, columns: HostArray) -> HostArray:
    """Return the sum of what rounding adds to the columns, shape (..., 1, 2)."""
    c = run.polynomial.coefficients  # these sums run over queries, which may be more than the keys
    of_weights = np.maximum(run.weight_noise, run.noise(_roundings(run, c), c))
    noise: HostArray = np.sum(of_weights[..., None] * columns, axis=-2, keepdims=True)
    return noise


def lost_quotients(run: Forward) -> HostArray:
    """Return what underflow takes from columns with entries of about 1 and from their quotients by
    D_i, which comes back times P(s_ij) <= D_i: shape (..., 1, 1).
    """
    tiny = _arrays.smallest_normal(run.problem.dtype)
    lost: HostArray = tiny * np.sum(1 + run.host_denominator, axis=-1)[..., None, None]
    return lost


def truncation_of_keys(
    sums: HostArray, top: HostArray, noise: HostArray, below: HostArray, known: HostArray, u: float
) -> HostArray:
    """Return the bounds of dk and dv key by key, shape (..., n_k, 2), from the sums of columns that
    were divided by `top`; inf where not all weights are `known` to be positive.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        total = up((sums * (1 + 8 * u) + below) * top + noise)
    return np.where(np.isfinite(total) & known[..., None, None], total, np.inf)
