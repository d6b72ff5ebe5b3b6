"""Errors of one self-attention whose input is off, and of its gradient: T4 and its backward
companion.

Row i of the input u is off by at most delta_i; primes mark the exact network. Let q' = q + a, k' =
k + b, v' = v + e, with |a_i| <= |W_Q| delta_i + r_i and so on, r the rounding of the projection.
Maxima over j run over the tokens that i may see.

T4 (proved here). Scores differ by beta (q_i . b_j + a_i . k_j + a_i . b_j), and adding the same
number to a row, such as a_i . c with any centre c of the keys, does nothing to its softmax. So the
log ratios of the weights f', f have oscillation at most

    ln rho_i = 2 beta max_j [ |q_i W_K^T| delta_j + |q_i| r_j + delta_i |W_Q (k_j - c)| + r_i |k_j -
        c| + |a_i||b_j| ],

hence TV_i <= tanh(ln rho_i / 4) (T1), and each head moves by at most

    |f' v' - f v|_i <= |sum_j f'_ij e_j| + TV_i diam v <= max_j |e_j| + 2 TV_i max_j |v_j - c|,

to which the method adds sqrt(width) times its own certificate, and W_O makes |W_O| sqrt(sum over
heads of squares), or sum over heads of |W_V W_O| delta + ... if less. With second moments (proved
here; `spread.py` has sigma_v, sigma_k, sigma_s of v_j, k_j, W_Q k_j under f). Let lambda_j be the
change of score j less its part a_i . c, so that osc lambda <= L = ln rho_i, and f_t ~ f e^(t
lambda). Then d/dt sum_j f_t,j v_j is the covariance of v and lambda under f_t, no longer than the
product of the largest standard deviation of a w . v_j, |w| = 1, and that of lambda; and f_t <= e^(t
L) f, so E_{f_t} g <= e^(t L) E_f g for g >= 0. A standard deviation is at most the root mean square
about any centre, so

    |sum_j f'_ij v_j - sum_j f_ij v_j| <= e^L sigma_v Lambda,  Lambda = beta max_j [ |q_i W_K^T|
        delta_j + |q_i| r_j + delta_i sigma_s + r_i sigma_k + |a_i||b_j| ],

the integral of e^(t L) over [0, 1] being at most e^L. The smaller of this and 2 TV_i max_j |v_j -
c| counts. To first order it is the Jacobian at the computed point, row by row.

(With R = max |u_j| and W = W_Q W_K^T the first is at most 2 beta |W| (2 R delta + delta^2): the
textbook form, with global constants where these are measured.)

Backward (proved here). Let G be the cotangent of a head, total >= sum_i |G'_i - G_i|, z_ij = G_i .
v_j, P = f o (z - kappa) as in `bounds/gradients.py`, omega_i = |G_i| diam v >= osc_j z_ij. Change f
first, then z. T3 bounds the first step; P is linear in z, and the l1 norm of f o (x - mean) is at
most osc(x) / 2:

    |P'_i - P_i|_1 <= pi_i = omega_i ln rho_i / 4 + |G_i| eta + |G'_i - G_i| (diam v / 2 + eta),
        eta = max_j |e_j|,     |P_i|_1 <= omega_i / 2.

With second moments the part of G'_i - G_i is smaller: of x_j = (G'_i - G_i) . v'_j it needs the
standard deviation under f' only, since E|x - mean| is no larger, and that is at most |G'_i - G_i|
(e^(L/2) sigma_v + eta) in place of |G'_i - G_i| (diam v / 2 + eta); and sum_j P_ij k'_j is there a
covariance of x and k', so that max_j |k_j - c| becomes e^(L/2) sigma_k, plus max_j |b_j| as before
(Cauchy & Schwarz).

The rows of P sum to 0, so sum_j P_ij k_j sees only k_j - c. Therefore, summed over the tokens,

    |dq' - dq| <= beta sum_i [ pi_i max_j |k_j - c| + (omega_i / 2 + pi_i) max_j |b_j| ],
    |dk' - dk| <= beta sum_i [ pi_i |q_i| + (omega_i / 2 + pi_i) |a_i| ],
    |dv' - dv| <= sum_i [ 2 TV_i |G_i| + |G'_i - G_i| ],

to which the method adds sqrt(width) times its own certificates, summed over the tokens. Sums over i
of c_i |G'_i - G_i| are at most max_i c_i times `total`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn.bounds.perturbation import tv_from_log_ratio
from approxattn.certificate import SOFTMAX, SOFTMAX_GRADIENT, GradientCertificate
from approxattn.transformer.affine import (
    affine_rounding,
    bounded,
    frobenius,
    norms,
    outer_error,
    roundoff,
    spectral,
    total_error,
)
from approxattn.transformer.second_moments import centre
from approxattn.transformer.self_attention import Heads, PulledHeads, SelfAttention, beside
from approxattn.transformer.token_map import PulledError


class AttentionErrors(NamedTuple):
    """Bounds on the host, shapes (..., heads, n) but for the last, (..., n).

    q, k, v: distances of the rows of queries, keys, values; log_ratio: ln rho_i; key_radius,
    value_radius: max_j |k_j - c|, |v_j - c|; key_spread, value_spread: e^(L/2) sigma_k, e^(L/2)
    sigma_v where they are known and smaller than those; heads, out: distances of the rows of the
    heads' outputs and of the attention's.
    """

    q: HostArray
    k: HostArray
    v: HostArray
    log_ratio: HostArray
    key_radius: HostArray
    value_radius: HostArray
    key_spread: HostArray
    value_spread: HostArray
    heads: HostArray
    out: HostArray


def attention_errors(
    weights: SelfAttention, u: Array, run: Heads, delta: HostArray, key_mask: Array | None
) -> AttentionErrors:
    """Return T4 for tokens u that are off by delta, shape (..., n)."""
    xp, size, delta = (
        _arrays.namespace(u=u),
        norms(u, _arrays.namespace(u=u))[..., None, :],
        delta[..., None, :],
    )
    own = {
        "q": _rounding(weights.to_queries, weights.bq, size, run.q, xp),
        "k": _rounding(weights.wk, weights.bk, size, run.k, xp),
        "v": _rounding(weights.wv, weights.bv, size, run.v, xp),
    }
    to_queries = weights.to_queries
    q, k, v = (
        _norm(w) * delta + own[name]
        for name, w in (("q", to_queries), ("k", weights.wk), ("v", weights.wv))
    )
    keys = run.k - centre(run.k, key_mask, xp)
    centred = norms(keys, xp) * (1 + 4 * roundoff(u))
    steered = norms(xp.matmul(keys, xp.matrix_transpose(to_queries)), xp)
    aimed = norms(
        run.q if weights.wk is None else xp.matmul(run.q, xp.matrix_transpose(weights.wk)), xp
    )
    values = norms(run.v - centre(run.v, key_mask, xp), xp) * (1 + 4 * roundoff(u))

    def seen(x: HostArray) -> HostArray:
        return largest_seen(x, key_mask, weights.causal)

    # `aimed` and `steered` are products of their own: each is off by a rounding of its size at
    # most, which 2 gamma_d |.||W|_F covers.
    slack = 4 * (max(to_queries.shape) + 4) * roundoff(u)
    aimed = aimed + slack * norms(run.q, xp) * _frobenius(weights.wk)
    steered = steered + slack * centred * _frobenius(to_queries)
    by_keys = aimed * seen(delta) + norms(run.q, xp) * seen(own["k"]) + q * seen(k)
    score = by_keys + delta * seen(steered) + own["q"] * seen(centred)
    log_ratio = bounded(2 * weights.beta * score)
    mixed, radius = bounded(seen(v)), bounded(seen(values))
    turned, key_spread, value_spread = (
        2 * tv_from_log_ratio(log_ratio) * radius,
        seen(centred),
        radius,
    )
    if run.spread is not None:
        sigma, growth = run.spread, np.exp(log_ratio)
        change = weights.beta * (by_keys + delta * sigma.steered + own["q"] * sigma.keys)
        turned = np.minimum(turned, bounded(growth * sigma.values * change * (1 + 1e-12)))
        key_spread = np.minimum(key_spread, bounded(np.sqrt(growth) * sigma.keys * (1 + 1e-12)))
        value_spread = np.minimum(
            value_spread, bounded(np.sqrt(growth) * sigma.values * (1 + 1e-12))
        )
    method = method_rows(run)
    heads = bounded(mixed + turned + method)
    out = _combined(
        weights, run, mixed, turned + method, bounded(seen(delta)), bounded(seen(own["v"]))
    )
    shape = heads.shape
    q, k, v, keys = (
        np.broadcast_to(x, shape) for x in (bounded(q), bounded(k), bounded(v), seen(centred))
    )
    return AttentionErrors(q, k, v, log_ratio, keys, radius, key_spread, value_spread, heads, out)


def method_rows(run: Heads) -> HostArray:
    """Return the Euclidean distance of each row to softmax attention of the same q, k, v; inf for a
    method that aims at something else.
    """
    certificate = run.certificate
    rows = (
        certificate.rows
        if certificate.target == SOFTMAX
        else np.full_like(certificate.rows, np.inf)
    )
    return bounded(rows * run.v.shape[-1] ** 0.5)


def pulled_errors(
    weights: SelfAttention,
    u: Array,
    run: Heads,
    errors: AttentionErrors,
    delta: HostArray,
    pulled: PulledHeads,
    dout: Array,
    total: HostArray,
) -> PulledError:
    """Return the backward companion of T4: bounds for the cotangent of u, shape (...), and the
    weights.
    """
    xp, u_norms, g_out = (
        _arrays.namespace(u=u),
        norms(u, _arrays.namespace(u=u)),
        norms(dout, _arrays.namespace(u=u)),
    )
    g, head_total = norms(pulled.dheads, xp), _head_total(weights, g_out, total)
    dq, dk, dv = _head_gradients(weights, run, errors, g, head_total, pulled.heads.certificate, xp)
    sides = (
        _Side("wv", "bv", weights.wv, pulled.heads.dv, dv),
        _Side("w" if weights.wq is None else "wq", "bq", weights.to_queries, pulled.heads.dq, dq),
        _Side("wk", "bk", weights.wk, pulled.heads.dk, dk),
    )
    parameters: dict[str, float] = {}
    back = np.zeros_like(total)
    for side in sides:
        size = norms(side.gradient, xp)
        back = back + _pulled_side(side, size, roundoff(u))
        by_head = [(size[..., h, :], side.bound[..., h]) for h in range(weights.heads)]
        if side.w is not None:
            each = [outer_error(u_norms, delta, g_h, bound, roundoff(u)) for g_h, bound in by_head]
            parameters[side.name] = _stacked(each)
        if getattr(weights, side.bias) is not None:
            parameters[side.bias] = _stacked(
                [total_error(bound, g_h, roundoff(u)) for g_h, bound in by_head]
            )
    if weights.wo is not None:
        off = np.sqrt(np.sum(errors.heads**2, axis=-2))
        parameters["wo"] = outer_error(norms(beside(run.out), xp), off, g_out, total, roundoff(u))
    if weights.bo is not None:
        parameters["bo"] = total_error(total, g_out, roundoff(u))
    return PulledError(bounded(back), parameters)


class _Side(NamedTuple):
    """One of queries, keys, values: names of its weight and bias, the weight (None: the identity),
    the gradient of each head, its bound.
    """

    name: str
    bias: str
    w: Array | None
    gradient: Array
    bound: HostArray


def _pulled_side(side: _Side, size: HostArray, u: float) -> HostArray:
    """Return what one side adds to the error of the cotangent of the input, shape (...)."""
    heads = size.shape[-2]
    rounding: HostArray = np.zeros(())
    if side.w is not None:
        back = _arrays.namespace(w=side.w).matrix_transpose(side.w)
        rounding = np.sum(affine_rounding(size, back, None), axis=-1)
    # The sum over the heads and the three sides: 2 (heads + 3) more roundings of sums no larger
    # than the sum of the parts.
    adding = 2 * (heads + 3) * u * np.sum(_norm(side.w) * size, axis=-1)
    return bounded(np.sum(_norm(side.w)[..., 0] * side.bound + rounding + adding, axis=-1))


def _head_gradients(
    weights: SelfAttention,
    run: Heads,
    errors: AttentionErrors,
    g: HostArray,
    total: HostArray,
    certificate: GradientCertificate,
    xp: Namespace,
) -> tuple[HostArray, HostArray, HostArray]:
    """Return the bounds on dq, dk, dv of each head, summed over the tokens, shape (..., heads)."""
    eta, diameter = np.max(errors.v, axis=-1, keepdims=True), 2 * errors.value_radius
    omega = g * diameter
    fixed = omega * errors.log_ratio / 4 + g * eta  # pi_i without the error of G
    per_cotangent = errors.value_spread + eta  # what that error is multiplied by
    moved_key = np.max(errors.k, axis=-1, keepdims=True)
    q = norms(run.q, xp)

    def summed(weight: HostArray, rest: HostArray, smaller: HostArray) -> HostArray:
        """Return sum_i of pi_i weight_i + omega_i / 2 rest_i; `smaller` is the weight for the part
        of pi_i with the error of G.
        """
        own: HostArray = np.sum(fixed * weight + omega / 2 * rest, axis=-1)
        return bounded(own + total * np.max(per_cotangent * smaller, axis=-1))

    method = _method_totals(certificate, run)
    radius, spread = errors.key_radius + moved_key, errors.key_spread + moved_key
    dq = weights.beta * summed(radius, moved_key + 0 * q, spread) + method[0]
    dk = weights.beta * summed(q + errors.q, errors.q, q + errors.q) + method[1]
    dv = np.sum(2 * tv_from_log_ratio(errors.log_ratio) * g, axis=-1) + total + method[2]
    return bounded(dq), bounded(dk), bounded(dv)


def _method_totals(certificate: GradientCertificate, run: Heads) -> list[HostArray]:
    """Return what the method's own gradients are off by, in Euclidean norms summed over
    the tokens.
    """
    widths = (run.q.shape[-1], run.k.shape[-1], run.v.shape[-1])
    rows = (certificate.dq, certificate.dk, certificate.dv)
    known = certificate.target == SOFTMAX_GRADIENT
    return [
        np.sum(r if known else np.full_like(r, np.inf), axis=-1) * w**0.5
        for r, w in zip(rows, widths, strict=True)
    ]


def _head_total(weights: SelfAttention, g_out: HostArray, total: HostArray) -> HostArray:
    """Return `total` for each head, shape (..., heads)."""
    if weights.wo is None:
        return np.repeat(total[..., None], weights.heads, axis=-1)
    host = _arrays.to_host(weights.wo)
    blocks: HostArray = host.reshape(weights.heads, -1, host.shape[-1])  # (heads, width, d')
    rounding = affine_rounding(g_out[..., None, :], np.swapaxes(blocks, -1, -2), None)
    return bounded(spectral(blocks) * total[..., None] + np.sum(rounding, axis=-1))


def _combined(
    weights: SelfAttention,
    run: Heads,
    mixed: HostArray,
    rest: HostArray,
    delta: HostArray,
    own: HostArray,
) -> HostArray:
    """Return the bound on each row of the output, shape (..., n).

    `mixed` bounds |sum_j f'_ij e_j| and `rest` all else of each head; `delta` and `own` are the
    largest errors and roundings that e_j = (u'_j - u_j) W_V - rounding is made of, so head l sends
    |W_V W_O| delta + |W_O| own.
    """
    if weights.wo is None:
        return bounded(np.sqrt(np.sum((mixed + rest) ** 2, axis=-2)))
    xp = _arrays.namespace(out=run.out)
    blocks = (
        _arrays.to_host(weights.wo)
        .reshape(weights.heads, -1, weights.wo.shape[-1])
        .astype(np.float64)
    )
    through = np.matmul(_arrays.to_host(weights.wv).astype(np.float64), blocks)
    each = spectral(blocks)[:, None]
    product = spectral(through) + 2.0**-45 * through.shape[-1] * spectral(weights.wv) * spectral(
        blocks
    )
    separate = np.sum(product[:, None] * delta + each * (own + rest), axis=-2)
    joint = spectral(weights.wo) * np.sqrt(np.sum((mixed + rest) ** 2, axis=-2))
    return bounded(
        np.minimum(separate, joint)
        + affine_rounding(norms(beside(run.out), xp), weights.wo, weights.bo)
    )


def largest_seen(x: HostArray, key_mask: Array | None, causal: bool) -> HostArray:
    """Return, for each query, the largest x_j >= 0 of the tokens it may see, shape (..., n) ->
    (..., n).
    """
    if key_mask is not None:
        x = np.where(_arrays.to_host(key_mask)[..., None, :], x, 0.0)
    if causal:
        return np.maximum.accumulate(x, axis=-1)
    return np.broadcast_to(np.max(x, axis=-1, keepdims=True), x.shape)


def _rounding(
    w: Array | None, b: Array | None, size: HostArray, result: Array, xp: Namespace
) -> HostArray:
    """Return the rounding of a projection; without a matrix there is only that of adding
    the bias.
    """
    if w is None:
        return (
            roundoff(result) * norms(result, xp) if b is not None else np.zeros(result.shape[:-1])
        )
    return affine_rounding(size, w, b)


def _norm(w: Array | None) -> HostArray:
    """Return the spectral norm of each head's matrix, shape (heads, 1); 1 where there is none."""
    return np.ones((1, 1)) if w is None else spectral(w)[:, None]


def _frobenius(w: Array | None) -> HostArray:
    return np.zeros((1, 1)) if w is None else frobenius(w)[:, None]


def _stacked(bounds: list[float]) -> float:
    """Return the Frobenius norm of matrices that have these."""
    return float(bounded(np.sqrt(np.sum(np.square(bounds)))))
