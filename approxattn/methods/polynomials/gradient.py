"""The two gradients of polynomial attention, and how far they are from the exact one.

With z_ij = G_i . v_j, kappa_i = G_i . out_i and D_i the denominator, write left_i = [G_i, -kappa_i]
/ D_i and right_j = [v_j, 1]: left_i . right_j = (z_ij - kappa_i) / D_i. Then

    plug-in:     dq_i = beta sum_j P (s_ij) (left_i . right_j) k_j     softmax replaced by its
        approximation in the exact gradient (AS24, LSS+24)
    consistent:  dq_i = beta sum_j P'(s_ij) (left_i . right_j) k_j     the exact gradient of the
        approximate forward

and dk likewise, dv_j = sum_i P(s_ij) G_i / D_i for both. Both are sums with R'(s_ij), R' = P or P',
so both are the gradient of a feature sum: of R = int P, one degree higher, or of R = P. No n x n
and no n r d array is formed. (AS24, LSS+24 form Khatri-Rao products of width r (d + 1) instead;
under a causal mask the sums over i are suffix sums, which they do not mention.)

With weights w_j = exp(beta m . k_j) of centred keys (`centring`), right_j = w_j [v_j, 1], k and q
stand for k - c and q - m, and what the weights pass on is

    b_j = w_j dL/dw_j = right_j . sum_i P(s_ij) left_i,    dk_j += beta b_j m for both kinds (q_i is
        q_i - m plus m),    dv_j = w_j sum_i P(s_ij) G_i / D_i.

The consistent gradient also passes through the means c and m: dk_j - mean of dk, and, where queries
are centred, dq_i - mean of dq + (1/n) beta sum_j b_j k_j. The coefficients of P are held fixed.

Rounding: as in `forward.py`, with K of the longer path: the product with left (dv + 1), the way
back through the features (2 g + d g and one sum of r). beta sum_j b_j k_j is the sum over i of the
plug-in dq_i (proved here: exchange the sums), so the last correction is a mean of differences of
two approximations of dq_i, each within the part of its bound that is not truncation: it adds at
most twice the mean of that part. The means are taken in float64.
"""

from __future__ import annotations

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.gradients import GradientBounds, cotangent_size, gradient_bounds
from approxattn.bounds.perturbation import tv_from_log_ratio
from approxattn.bounds.rounding import gamma, up
from approxattn.bounds.scores import query_norms, row_norms, value_spread, visible_max
from approxattn.methods.polynomials.centring import CentredScores
from approxattn.methods.polynomials.forward import Forward, kernel_of
from approxattn.monomials.dense import derivative
from approxattn.monomials.index import rank
from approxattn.monomials.kernel import sum_roundings, underflow

KINDS = ("plug-in", "consistent")


def polynomial_gradient(run: Forward, dout: Array, kind: str) -> tuple[Array, Array, Array]:
    """Return dq, dk, dv for the cotangent dout."""
    problem, xp, weights = run.problem, run.problem.xp, run.scores.weights
    kappa = xp.sum(dout * run.value, axis=-1, keepdims=True)
    left = xp.concat([dout, -kappa], axis=-1) / run.denominator
    sums = run.queries, left, run.keys, run.values
    if kind == "consistent":
        dq, dk, dright = run.kernel.gradients(*sums, run.states)
    else:
        kernel = kernel_of(problem, _primitive(run, kind), run.reach)
        dq, dk = kernel.gradient_x(*sums), kernel.gradient_y(*sums)
        dright = run.kernel.transposed_sums(
            run.queries, run.keys, left if weights is not None else left[..., :-1]
        )
    dq, dk, dv = dq * run.balance * problem.scale, dk / run.balance, dright[..., : problem.dv]
    if weights is not None:
        pull = problem.scale * xp.sum(run.values * dright, axis=-1, keepdims=True)  # beta b_j
        dk, dv = dk + pull * run.scores.middle, dv * weights
        dq = through_mean_query(dq, pull, problem, run.scores) if kind == "consistent" else dq
    if kind == "consistent" and run.scores.keys_centred:
        dk = dk - mean_over_visible(dk, problem)
    if problem.key_mask is not None:
        keep = problem.key_mask[..., None]
        dk, dv = xp.where(keep, dk, xp.zeros_like(dk)), xp.where(keep, dv, xp.zeros_like(dv))
    return dq, dk, dv


def through_mean_query(dq: Array, pull: Array, problem: Problem, scores: CentredScores) -> Array:
    """Return dq_i - mean of dq + (1/n) sum_j beta b_j k_j for the leading indices with centred
    queries; `pull` is beta b_j, shape (..., n_k, 1).
    """
    xp = problem.xp
    pull, keys, wide = (_arrays.cast(x, "float64", xp) for x in (pull, scores.keys, dq))
    of_weights = xp.matmul(xp.matrix_transpose(pull), keys) / problem.n_q  # (..., 1, d)
    shift = _arrays.cast(of_weights - xp.mean(wide, axis=-2, keepdims=True), problem.dtype, xp)
    on = _arrays.from_host(scores.centred[..., None, None], dq)
    return dq + xp.where(on, shift, xp.zeros_like(shift))


def polynomial_gradient_bounds(run: Forward, dout: Array, kind: str) -> GradientBounds:
    """Return T3 plus what the consistent gradient's slope and rounding add."""
    problem, spread, scores = run.problem, value_spread(run.problem), run.scores
    primitive = _primitive(run, kind)
    g = len(primitive) - 1
    longest = max(problem.n_q, problem.n_k)
    roundings = sum_roundings(
        kernel_of(problem, primitive, run.reach).kind, longest, problem.d, g, problem.causal
    )
    roundings += 6 * g + 3 * (problem.dv + 1) + problem.d * g + rank(problem.d, max(g - 1, 0)) + 20
    slopes = np.zeros_like(scores.size)
    for c in reversed(derivative(primitive)):
        slopes = slopes * scores.size + abs(c)
    noise = np.maximum(
        run.noise(roundings, slopes), run.noise(roundings, run.polynomial.absolute(scores.size))
    )
    size = cotangent_size(dout, problem.xp)
    pair = size * (
        2 * gamma(problem.dv + 4, problem.u) * spread.top[..., None] + run.output_rounding
    )
    amplification = np.maximum(1.0, run.noise(roundings, slopes) / gamma(roundings, problem.u))
    log_ratio = run.log_ratio()

    with np.errstate(over="ignore"):
        lost = _term_loss(run, primitive, slopes, size, spread.top)
        rounding = {
            "weight_noise": noise,
            "pair_noise": up(pair * amplification),
            "term_loss": lost,
        }
    rounding["balance"] = _arrays.to_host(run.balance)[..., 0].astype(np.float64)
    if scores.weights is not None:
        rounding["query_norm"] = up(
            row_norms(scores.queries, problem.xp) + row_norms(scores.middle, problem.xp)
        )

    def combine(ratio: HostArray) -> GradientBounds:
        slope_error = run.polynomial.slope_error(scores.bound) if kind == "consistent" else 0.0
        return gradient_bounds(
            problem, dout, scores.keys, log_ratio=ratio, slope_error=slope_error, **rounding
        )

    bounds, rounding_only = combine(log_ratio), combine(np.zeros_like(log_ratio))
    dk, dv = _weighted_truncation(run, log_ratio, size, size * spread.osc[..., None])
    bounds = bounds._replace(
        dk=np.minimum(bounds.dk, up(dk + rounding_only.dk)),
        dv=np.minimum(bounds.dv, up(dv + rounding_only.dv)),
    )
    if kind == "consistent":  # subtracting the mean can double the error of dk
        bounds = bounds._replace(
            dk=up((2 if scores.keys_centred else 1) * bounds.dk),
            dq=up(bounds.dq + _mean_query_error(run, rounding_only.dq, size, spread.top)),
        )
    return bounds


def _mean_query_error(run: Forward, apart: HostArray, size: HostArray, top: HostArray) -> HostArray:
    """Return what passing through the mean query adds to the error of dq, shape (..., 1); `apart`
    is the part of its bound that is not truncation.
    """
    problem, centred = run.problem, run.scores.centred[..., None]
    if not np.any(centred):
        return np.zeros(centred.shape)
    radius = visible_max(row_norms(run.scores.keys, problem.xp), problem)[..., None]
    # of one row's sum of |beta p_ij k_j|
    largest = 2 * size * top[..., None] * problem.scale * radius
    amplified = largest * (1 + run.polynomial.slope_error(run.scores.bound))
    rounded = gamma(problem.n_q + problem.n_k + 16, 2.0**-53) + 8 * problem.u
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.mean(
            2 * apart + np.nan_to_num(rounded * amplified, nan=np.inf), axis=-1, keepdims=True
        )
    return np.where(centred, up(error), 0.0)


def _term_loss(
    run: Forward, primitive: tuple[float, ...], slopes: HostArray, size: HostArray, top: HostArray
) -> HostArray:
    """Return what underflow can take from one term R'(s_ij) (left_i . right_j), shape (..., n_q),
    times an entry of at most 1.

    The division by D_i loses w in each of dv + 1 entries of left, which right and R' multiply; what
    the kernel of R or R' loses for factors of size 1 grows with left and right, and counts d times
    for the entries of a gradient and g + 1 times for the powers below the highest.
    """
    problem, g = run.problem, len(primitive)
    tiny, right = _arrays.smallest_normal(problem.dtype), np.maximum(top, 1.0)[..., None]
    kinds = {
        kernel_of(problem, c, run.reach).kind for c in (primitive, run.polynomial.coefficients)
    }
    kernels = [
        (kind, c)
        for kind in kinds
        for c in (primitive, derivative(primitive), run.polynomial.coefficients)
    ]
    inside = [
        underflow(kind, c, run.scores.size, *run.reach, problem.d, tiny) for kind, c in kernels
    ]
    denominator = run.host_denominator
    left = 1 + size * (1 + right) / np.where(denominator > 0, np.minimum(denominator, 1.0), 1.0)
    twice = 1 if run.scores.weights is None else 2  # what w_j [v_j, 1] and b_j lose
    return up(
        twice
        * (problem.dv + 2)
        * right
        * ((problem.d + g) * left * np.max(inside, axis=0) + 2 * tiny * (slopes + 1))
    )


def _weighted_truncation(
    run: Forward, log_ratio: HostArray, size: HostArray, omega: HostArray
) -> tuple[HostArray, HostArray]:
    """Return T3 key by key, shapes (..., n_k), from the computed weights: |f - f~|_ij <= (rho_i -
    1) f~_ij, |P - P~|_ij <= (rho_i - 1 + TV_i) omega_i f~_ij.

    Against the sums over all queries of `gradient_bounds` this counts each query by the weight it
    gives to the key, at one more kernel sum.
    """
    problem, xp = run.problem, run.problem.xp
    # inf is refused below; 0 times the largest float, unlike 0 times inf, is 0
    with np.errstate(over="ignore"):
        excess = np.minimum(np.expm1(log_ratio), np.finfo(np.float64).max)
        moved = omega * query_norms(problem) * problem.scale
        columns = np.stack(
            [(excess + tv_from_log_ratio(log_ratio)) * moved, excess * size], axis=-1
        )
    with np.errstate(invalid="ignore", over="ignore"):
        slack = np.sum(run.weight_noise[..., None] * columns, axis=-2)  # (..., 2)
    safe = np.where(columns < _arrays.largest(problem.dtype) / (4 * problem.n_q), columns, 0.0)
    device = _arrays.cast(_arrays.from_host(safe, problem.q), problem.dtype, xp)
    sums = _arrays.to_host(
        run.kernel.transposed_sums(run.queries, run.keys, device / run.denominator)
    ).astype(np.float64)
    if run.scores.weights is not None:
        sums = sums * _arrays.to_host(run.scores.weights).astype(np.float64)
    refused = np.any(safe < columns, axis=-2) | ~np.isfinite(slack)
    with np.errstate(over="ignore"):
        total = up(sums * (1 + 8 * problem.u) + np.nan_to_num(slack)[..., None, :])
    bounds = np.where(refused[..., None, :] | ~np.isfinite(sums), np.inf, total)
    return bounds[..., 0], bounds[..., 1]


def _primitive(run: Forward, kind: str) -> tuple[float, ...]:
    """Return R with R' = P (plug-in) or R' = P' (consistent)."""
    return run.polynomial.antiderivative() if kind == "plug-in" else run.polynomial.coefficients


def mean_over_visible(x: Array, problem: Problem) -> Array:
    """Return the mean of x, shape (..., n_k, d), over the keys that take part; x is 0 for the
    others.
    """
    xp = problem.xp
    if problem.key_mask is None:
        return xp.mean(x, axis=-2, keepdims=True)
    count = xp.sum(xp.astype(problem.key_mask, x.dtype), axis=-1)[..., None, None]
    return xp.sum(x, axis=-2, keepdims=True) / count


def lost_rows(run: Forward) -> HostArray:
    """Return which denominators are lost to rounding, bool, shape (..., n_q)."""
    return ~(run.host_denominator > 0)
