"""What an error in the weights does to the gradient of one attention layer.

Symbols. Row i has query q_i and cotangent G_i, the gradient of the loss with respect to output i.
Its exact weights are f_ij, its approximate ones f~_ij, and ln rho_i = osc_j ln(f~_ij / f_ij), with
osc = max - min. z_ij = G_i . v_j, kappa_i = sum_j f_ij z_ij, P_ij = f_ij (z_ij - kappa_i), and P~
is the same with f~. omega_i = osc_j z_ij. The gradients are

    dq_i = beta sum_j P_ij k_j,    dk_j = beta sum_i P_ij q_i,    dv_j = sum_i f_ij G_i.

T3 (proved here).  |P~_i - P_i|_1 <= (omega_i / 4) ln rho_i.

1. Join the weights by f_t proportional to f e^(t lambda), 0 <= t <= 1, with osc lambda = ln rho.
2. Along the way dP/dt = f_t [(lambda - mean lambda)(z - mean z) - Cov_t(lambda, z)].
3. The l1 norm of that is convex in lambda and in z, so it is largest where both take two values.
4. Then lambda and z are ln rho and omega times Bernoulli variables X and Y, up to constants. Let
   their means be 1/2 - u and 1/2 - v, u v >= 0 without loss, and c their covariance.
5. E|(X - EX)(Y - EY) - c| <= sqrt(Var) = sqrt((1/4 - u^2)(1/4 - v^2) + 4 c u v - c^2).
6. If u v <= 1/10, the largest value over c is 1/16 - (u^2 + v^2)/4 + 5 u^2 v^2. That is at most
   1/16 - u v (1/2 - 5 u v) <= 1/16.
7. Otherwise c <= 1/4 - u v < 2 u v, which gives at most u v - 4 u^2 v^2 <= 1/16.
8. So the root is at most 1/4 at each t; integrating over t gives T3.

Truncation (proved here). The rows of P and P~ sum to 0. So a sum against numbers x_j moves by at
most half of the l1 distance times osc x, and one entry of P by at most half of it. TV_i is the
total variation between f~_i and f_i.

1. |dq~_ia - dq_ia| <= beta (omega_i ln rho_i / 8) osc(K_:a).
2. |dk~_ja - dk_ja| <= beta sum_i (omega_i ln rho_i / 8) |q_ia|.
3. |dv~_jc - dv_jc| <= sum_i TV_i |G_ic|.

Rounding (proved here). Let the computed weights be off by r_i in l1 norm and z - kappa by e_i, and
let Z_i = 2 sum_c |G_ic| max|V_:c| >= |z_ij - kappa_i|.

1. P_i is off by r_i Z_i + 2 e_i more, in l1 norm.
2. Its sum is then no longer 0, so this part counts with max|k_j|, not with osc.

Underflow (proved here). An operation that underflows loses at most w, the smallest normal number,
however small its result should be: no relative bound covers it. The sums may be taken with beta b q
and k / b, b a power of two; let K = max|k_j| and t_i = (2 dv + 8) w (1 + Z_i).

1. P_ij loses at most t_i: dv w each for z and kappa, w for the product, w Z_i for the weight.
2. An entry of k / b loses w, a product with P_ij another w. So dq_i loses at most
   beta n_k (b + K) t_i + beta b w Z_i.
3. An entry of beta b q loses w, a product another. Where beta q is rounded before b is multiplied
   in, it loses w once more. So dk_j loses at most
   sum_i ((1 / b + beta |q_i|) t_i + (1 + 1 / b) w Z_i).
4. dv_j loses at most sum_i t_i in products.
5. What is multiplied last, by beta or b, is multiplied once a block of keys: n w at most, n the
   larger of n_q and n_k.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._arrays.crossing import at_hand
from approxattn._problem import Problem
from approxattn.bounds.moments import pair_error
from approxattn.bounds.perturbation import tv_from_log_ratio
from approxattn.bounds.rounding import EXP_ULPS, blocked_sum_terms, gamma, outward, times, up
from approxattn.bounds.scores import key_radius, query_norms, score_bound, value_spread
from approxattn.bounds.softmax import (
    score_rounding,
    sink_blocks,
    slope_rounding,
    softmax_rounding,
)
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


def cotangent_lengths(dout: Array, xp: Namespace) -> Array:
    """Return sum_c |G_ic|, rounded up, shape (..., n_q), at hand."""
    size = at_hand(xp.sum(xp.abs(dout), axis=-1))
    return outward(
        size * (1 + gamma(dout.shape[-1] + 2, _arrays.unit_roundoff(_arrays.dtype_name(dout))))
    )


def cotangent_size(dout: Array, xp: Namespace) -> HostArray:
    """Return the same on the host."""
    return _arrays.to_host(cotangent_lengths(dout, xp))


@dataclass(frozen=True, kw_only=True)
class GradientNoise:
    """What rounding and underflow add to each row, in the letters of the module.

    Attributes
    ----------
    weights : ndarray, shape (..., n_q)
        r_i, what rounding adds to the l1 error of the weights.
    pairs : ndarray, shape (..., n_q)
        e_i, what rounding adds to z - kappa.
    terms : ndarray, shape (..., n_q)
        t_i, what underflow can take from one term of the sums, for keys and queries with entries of
        at most 1.
    balance : ndarray
        b: the sums are taken with beta b q and k / b.
    slope : ndarray
        Largest |P'/P - 1|: weights of dq and dk that differ from those of the output by this
        factor. Under a soft cap P is taken times a slope within [0, 1], and this is what is lost of
        that at most.
    """

    weights: HostArray
    pairs: HostArray
    terms: HostArray | float = 0.0
    balance: HostArray | float = 1.0
    slope: HostArray | float = 0.0


def gradient_bounds(
    problem: Problem,
    size: HostArray,
    *,
    log_ratio: HostArray,
    noise: GradientNoise,
    mu: HostArray | float = np.inf,
    positive: HostArray | bool = True,
    query_norm: HostArray | None = None,
    key_norm: HostArray | None = None,
) -> GradientBounds:
    """Combine T3, or what `bounds.moments` says of a gradient, with rounding and underflow.

    Parameters
    ----------
    size : ndarray, shape (..., n_q)
        `cotangent_size`.
    log_ratio : ndarray, shape (..., n_q)
        ln rho_i of the weights in exact arithmetic.
    noise : GradientNoise
        What computing adds.
    mu : ndarray, shape (..., n_q), optional
        mu_i of T5 for the same weights: the smaller of both bounds counts, row by row.
    positive : ndarray of bool, shape (..., n_q), optional
        Where no weight is negative, so that T1 counts; ln rho_i is inf elsewhere.
    query_norm : ndarray, shape (..., n_q), optional
        Bound on the length of the parts that q_i is summed from in dk, in total; that of q_i if not
        given.
    key_norm : ndarray, shape (..., 1), optional
        Bound on the lengths of the keys that dq is summed over; that of the visible ones if not
        given.
    """
    spread, beta = value_spread(problem), problem.scale
    omega, largest_pair = size * spread.osc[..., None], 2 * size * spread.top[..., None]
    if key_norm is None:
        key_norm = _arrays.to_host(key_radius(problem))[..., None]
    query_norm = query_norms(problem) if query_norm is None else query_norm
    # no bound: inf against a zero cotangent must not become NaN
    lost = ~np.isfinite(noise.weights + noise.pairs)
    weight_noise, pair_noise = (np.where(lost, 0.0, x) for x in (noise.weights, noise.pairs))
    with np.errstate(over="ignore"):
        # l1, rows sum to 0
        truncation = np.minimum(up(times(omega, log_ratio) / 4), up(times(omega, pair_error(mu))))
        slope = times(omega, noise.slope) / 2
        # l1, rows need not sum to 0
        added = up(weight_noise * largest_pair + 2 * pair_noise + slope)
        # osc of a key column is at most 2 max|k_j|
        dq = times(beta, key_norm, truncation + added)
        dk = times(beta, query_norm, truncation / 2 + added)
        by_range = np.where(positive, tv_from_log_ratio(log_ratio), np.inf)
        dv = times(np.minimum(by_range, mu) + weight_noise, size)
        below = _underflow(problem, noise, largest_pair, key_norm, query_norm)
        dq = up(dq + below.dq)
        dk, dv = (
            up(np.sum(x + under, axis=-1, keepdims=True))
            for x, under in ((dk, below.dk), (dv, below.dv))
        )
    last = (max(problem.n_q, problem.n_k) + 1) * _arrays.smallest_normal(problem.dtype)
    any_lost = np.any(lost, axis=-1, keepdims=True)
    dq, dk, dv = (
        np.where(gone, np.inf, x + last) for gone, x in ((lost, dq), (any_lost, dk), (any_lost, dv))
    )
    keys_shape = (*problem.batch, problem.n_k)
    return GradientBounds(
        dq=dq, dk=np.broadcast_to(dk, keys_shape), dv=np.broadcast_to(dv, keys_shape)
    )


def _underflow(
    problem: Problem,
    noise: GradientNoise,
    largest_pair: HostArray,
    key_norm: HostArray,
    query_norm: HostArray,
) -> GradientBounds:
    """Return what underflow takes from dq_i, and from term i of dk and dv, each (..., n_q)."""
    w, beta, b = _arrays.smallest_normal(problem.dtype), problem.scale, noise.balance
    of_query = times(beta, query_norm, noise.terms) + times(1 / b, noise.terms)
    return GradientBounds(
        dq=times(problem.n_k, beta, b + key_norm, noise.terms) + times(beta, b, w, largest_pair),
        dk=of_query + times(1 + 1 / b, w, largest_pair),
        dv=np.asarray(noise.terms) + 0 * largest_pair,
    )


class Chains(NamedTuple):
    """How the sums of an exact gradient were taken, where not as `exact_gradient_rounding` thinks.

    Attributes
    ----------
    blocks : int
        Blocks of keys that a query meets at most.
    queries : int
        Queries that a key meets at most, each block of them one by one at the worst.
    """

    blocks: int
    queries: int


def exact_gradient_rounding(
    problem: Problem, size: HostArray, key_block: int, chains: Chains | None = None
) -> GradientBounds:
    """Return the rounding errors of the streaming gradient, given `cotangent_size`: scores off by
    eta move the weights by ln rho <= 2 eta, sums by gamma.
    """
    bound, u = score_bound(problem), problem.u
    plainly = Chains(-(-problem.n_k // key_block), problem.n_q)
    of_keys, n_q = plainly if chains is None else chains
    blocks = of_keys + sink_blocks(problem)
    eta = score_rounding(problem, bound) + u * (EXP_ULPS + 4 + 4 * bound) * (blocks + 2)
    terms = min(problem.n_k, key_block) + of_keys + blocked_sum_terms(n_q, key_block)
    terms += sink_blocks(problem)
    # dk and dv add one part a query block, however long
    queries = blocked_sum_terms(n_q, 1)
    sums = gamma(
        2 * terms + queries + problem.dv + 12, u
    ) + 4 * problem.n_k * _arrays.smallest_normal(problem.dtype)
    spread = value_spread(problem)
    pair = size * (
        2 * gamma(problem.dv + 4, u) * spread.top[..., None]
        + softmax_rounding(problem, bound, key_block, of_keys)
    )
    noise = GradientNoise(
        weights=up(sums + 0 * bound),
        pairs=up(pair),
        terms=pair_underflow(problem, size, spread.top),
        slope=slope_rounding(problem),
    )
    return gradient_bounds(problem, size, log_ratio=up(2 * eta), noise=noise)


def pair_underflow(problem: Problem, size: HostArray, top: HostArray) -> HostArray:
    """Return t_i, what underflow takes from P_ij times an entry of at most 1, shape (..., n_q)."""
    return (
        (2 * problem.dv + 8)
        * _arrays.smallest_normal(problem.dtype)
        * (1 + 2 * size * top[..., None])
    )
