"""What an error in the weights does to the gradient of one attention layer.

T3 (proved here). Row i has exact weights f, approximate weights f~ with ln rho_i = osc_j ln(f~_ij /
f_ij), and P = f o (z - kappa 1^T) with z_ij = G_i . v_j, kappa_i = sum_j f_ij z_ij; P~ likewise
with f~. With omega_i = osc_j z_ij:

    |P~_i - P_i|_1 <= (omega_i / 4) ln rho_i.

    Move along f_t proportional to f e^{t lambda}, osc lambda = ln rho: dP/dt = f_t [(lambda - mean
    lambda)(z - mean z) - Cov_t(lambda, z)], whose l1 norm is convex in lambda and in z, so its
    maximum has both two-valued. For two Bernoulli variables X, Y with means 1/2 - u, 1/2 - v (u v
    >= 0 without loss) and covariance c, E|(X - EX)(Y - EY) - c| <= sqrt Var = sqrt((1/4 - u^2)(1/4
    - v^2) + 4 c u v - c^2) <= 1/4: for u v <= 1/10 the largest value over c, 1/16 - (u^2 + v^2)/4 +
    5 u^2 v^2, is at most 1/16 - u v (1/2 - 5 u v); otherwise c <= 1/4 - u v < 2 u v gives at most u
    v - 4 u^2 v^2 <= 1/16.

The rows of P and P~ sum to 0, so a sum against numbers x_j moves by at most half the l1 distance
times osc x, and one entry by at most half of it:

    |dq~_ia - dq_ia| <= beta (omega_i ln rho_i / 8) osc(K_:a),    |dk~_ja - dk_ja| <= beta sum_i
        (omega_i ln rho_i / 8) |q_ia|,
    |dv~_jc - dv_jc| <= sum_i TV_i |G_ic|.

Rounding (proved here). Computed weights f^ that are off by r_i in l1 norm, and z - kappa off by e_i
and at most Z_i = 2 sum_c |G_ic| max|V_:c| large, add r_i Z_i + 2 e_i to the l1 error of row i,
whose sum is then no longer 0: it counts with max|k|, not osc.

Underflow. An operation that underflows loses at most w, the smallest normal number, however small
its result should be, so that no relative bound covers it. The products behind z and kappa, f (z -
kappa), and beta q_i in P_ij beta q_i lose at most t_i = (2 dv + 8) w (1 + Z_i) in each term of dq,
dk or dv before its last factor; that factor, beta max(1, |k_j|) at most for dq and max(1, beta
|q_i|) for dk, multiplies it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._problem import Problem
from approxattn.bounds.perturbation import tv_from_log_ratio
from approxattn.bounds.rounding import EXP_ULPS, blocked_sum_terms, gamma, up
from approxattn.bounds.scores import query_norms, row_norms, score_bound, value_spread, visible_max
from approxattn.bounds.softmax import score_rounding, softmax_rounding
from approxattn.certificate import SOFTMAX_GRADIENT, GradientCertificate


class GradientBounds(NamedTuple):
    """Bounds on the largest absolute error in each row, shapes (..., n_q), (..., n_k),
    (..., n_k).
    """

    dq: HostArray
    dk: HostArray
    dv: HostArray

    def certificate(
        self,
        *,
        target: str = SOFTMAX_GRADIENT,
        theorem: str = "ours.gradient",
        failure: float = 0.0,
        facts: Mapping[str, Any] | None = None,
        unmet: tuple[str, ...] = (),
    ) -> GradientCertificate:
        """Return these bounds with their reasons; see `GradientCertificate`."""
        return GradientCertificate(
            dq=self.dq,
            dk=self.dk,
            dv=self.dv,
            target=target,
            theorem=theorem,
            failure=failure,
            facts=facts or {},
            unmet=unmet,
        )


def no_gradient_bounds(problem: Problem) -> GradientBounds:
    """Return inf throughout: nothing is claimed."""
    queries, keys = (np.full((*problem.batch, n), np.inf) for n in (problem.n_q, problem.n_k))
    return GradientBounds(dq=queries, dk=keys, dv=keys)


def cotangent_size(dout: Array, xp: Namespace) -> HostArray:
    """Return sum_c |G_ic|, rounded up, shape (..., n_q)."""
    size = _arrays.to_host(xp.sum(xp.abs(dout), axis=-1)).astype(np.float64)
    return up(
        size * (1 + gamma(dout.shape[-1] + 2, _arrays.unit_roundoff(_arrays.dtype_name(dout))))
    )


def gradient_bounds(
    problem: Problem,
    dout: Array,
    keys: Array,
    *,
    log_ratio: HostArray,
    weight_noise: HostArray,
    pair_noise: HostArray,
    slope_error: HostArray | float = 0.0,
    term_loss: HostArray | float = 0.0,
    balance: HostArray | float = 1.0,
    query_norm: HostArray | None = None,
) -> GradientBounds:
    """Combine T3 with rounding.

    Parameters
    ----------
    keys : array, shape (..., n_k, d)
        The keys that dq is summed over (centred or not).
    log_ratio : ndarray, shape (..., n_q)
        ln rho_i of the weights in exact arithmetic.
    weight_noise : ndarray, shape (..., n_q)
        r_i, what rounding adds to the l1 error of the weights.
    pair_noise : ndarray, shape (..., n_q)
        e_i, what rounding adds to z - kappa.
    slope_error : ndarray, optional
        Largest |P'/P - 1|: weights of dq and dk that differ from those of the output by this
        factor.
    term_loss : ndarray, optional
        What underflow can take from one term of the sums, for keys and queries with entries of at
        most 1.
    balance : ndarray, optional
        The sums are taken with beta balance q and k / balance.
    query_norm : ndarray, shape (..., n_q), optional
        Bound on the length of the parts that q_i is summed from in dk, in total; that of q_i if not
        given.
    """
    xp, spread, beta = problem.xp, value_spread(problem), problem.scale
    size = cotangent_size(dout, xp)
    omega, largest_pair = size * spread.osc[..., None], 2 * size * spread.top[..., None]
    key_norm = visible_max(row_norms(keys, xp), problem)[..., None]  # (..., 1)
    # no bound: inf against a zero cotangent must not become NaN
    lost = ~np.isfinite(weight_noise + pair_noise)
    weight_noise, pair_noise = (np.where(lost, 0.0, noise) for noise in (weight_noise, pair_noise))
    query_norm = query_norms(problem) if query_norm is None else query_norm
    any_lost = np.any(lost, axis=-1, keepdims=True)
    with np.errstate(over="ignore"):
        truncation = up(_times(omega, log_ratio) / 4)  # l1, rows sum to 0
        slope = _times(omega, slope_error) / 2
        # l1, rows need not sum to 0
        noise = up(weight_noise * largest_pair + 2 * pair_noise + slope)
        # osc of a key column is at most 2 max|k_j|
        dq = up(
            _times(beta * key_norm, truncation + noise)
            + problem.n_k * beta * (balance + key_norm) * term_loss
        )
        from_query = (
            beta * _times(query_norm, truncation / 2 + noise)
            + (1 / balance + beta * query_norm) * term_loss
        )
        dk = up(np.sum(from_query, axis=-1, keepdims=True))
        dv = up(
            np.sum(
                (tv_from_log_ratio(log_ratio) + weight_noise) * size + term_loss,
                axis=-1,
                keepdims=True,
            )
        )
    tiny = _arrays.smallest_normal(problem.dtype)
    dq, dk, dv = (
        np.where(gone, np.inf, x + tiny) for gone, x in ((lost, dq), (any_lost, dk), (any_lost, dv))
    )
    keys_shape = (*problem.batch, problem.n_k)
    return GradientBounds(
        dq=dq, dk=np.broadcast_to(dk, keys_shape), dv=np.broadcast_to(dv, keys_shape)
    )


def _times(a: HostArray | float, b: HostArray | float) -> HostArray:
    """Return a b, where 0 times anything is 0: what has no effect has none however large it is."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where((np.asarray(a) == 0) | (np.asarray(b) == 0), 0.0, np.multiply(a, b))


def exact_gradient_rounding(problem: Problem, dout: Array, key_block: int) -> GradientBounds:
    """Return the rounding errors of the streaming gradient: scores off by eta move the weights by
    ln rho <= 2 eta, sums by gamma.
    """
    bound, u = score_bound(problem), problem.u
    blocks = -(-problem.n_k // key_block)
    eta = score_rounding(problem, bound) + u * (EXP_ULPS + 4 + 4 * bound) * (blocks + 2)
    terms = blocked_sum_terms(problem.n_k, key_block) + blocked_sum_terms(problem.n_q, key_block)
    # dk and dv add one part a query block, however long
    queries = blocked_sum_terms(problem.n_q, 1)
    sums = gamma(
        2 * terms + queries + problem.dv + 12, u
    ) + 4 * problem.n_k * _arrays.smallest_normal(problem.dtype)
    size = cotangent_size(dout, problem.xp)
    spread = value_spread(problem)
    pair = size * (
        2 * gamma(problem.dv + 4, u) * spread.top[..., None]
        + softmax_rounding(problem, bound, key_block)
    )
    return gradient_bounds(
        problem,
        dout,
        problem.k,
        log_ratio=up(2 * eta),
        weight_noise=up(sums + 0 * bound),
        pair_noise=up(pair),
        term_loss=pair_underflow(problem, size, spread.top),
    )


def pair_underflow(problem: Problem, size: HostArray, top: HostArray) -> HostArray:
    """Return what underflow takes from f (z - kappa) times an entry of at most 1, shape (..., n_q);
    z and kappa are sums of dv products each.
    """
    return (
        (2 * problem.dv + 8)
        * _arrays.smallest_normal(problem.dtype)
        * (1 + 2 * size * top[..., None])
    )
