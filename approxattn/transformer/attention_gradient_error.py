"""The backward companion of T4: what becomes of the gradient of one self-attention whose input is
off, and its cotangent too.

Symbols as in `attention_error.py`, and

    G            cotangent of a head, computed; G' the exact one; total >= sum_i |G'_i - G_i|
    z_ij         G_i . v_j
    P            f o (z - kappa), kappa_i = sum_j f_ij z_ij, as in `bounds/gradients.py`
    rho_i        max_j |v_j - c|: at least half the distance of any two values
    omega_i      2 |G_i| rho_i, so that osc_j z_ij <= omega_i
    |.|_1        sum of absolute values of a row

Rows of P (proved here). Change f first, then z.

1. Change of f: |P moves by|_1 <= omega_i L_i / 4 (T3 of `bounds/gradients.py`).
2. P is linear in z, and |f o (x - mean x)|_1 <= osc(x) / 2.
3. Change of z_ij: G'_i . v'_j - G_i . v_j = G_i . e_j + (G'_i - G_i) . v'_j.
4. By 2 and 3 the change of z moves P by at most |G_i| eta_i + |G'_i - G_i| (rho_i + eta_i): half
   the oscillation of G_i . e_j is at most |G_i| eta_i, that of w . v_j at most |w| rho_i.
5. By 1 and 4, |P'_i - P_i|_1 <= pi_i, with

       pi_i = omega_i L_i / 4 + |G_i| eta_i + |G'_i - G_i| (rho_i + eta_i).

   By 2 also |P_i|_1 <= omega_i / 2.

With second moments (proved here).

6. The last part of 4 needs the standard deviation of x_j = (G'_i - G_i) . v'_j under f' only, since
   E|x - mean x| is no larger.
7. By step 12 of T4 that is at most |G'_i - G_i| (e^(L/2) sigma_v + eta_i).
8. In dq, the same part is a covariance of x and k' under f'. So max_j |k_j - c| becomes e^(L/2)
   sigma_k there, plus max_j |b_j| as before (Cauchy & Schwarz).

Gradients (proved here). Rows of P sum to 0, so sum_j P_ij k_j sees only k_j - c. Summed over the
tokens,

 9. |dq' - dq| <= beta sum_i [ pi_i max_j |k_j - c| + (omega_i / 2 + pi_i) max_j |b_j| ],
10. |dk' - dk| <= beta sum_i [ pi_i |q_i| + (omega_i / 2 + pi_i) |a_i| ],
11. |dv' - dv| <= sum_i [ 2 TV_i |G_i| + |G'_i - G_i| ].
12. The method adds sqrt(width) times its own certificates, summed over the tokens.
13. A sum over i of c_i |G'_i - G_i| is at most max_i c_i times `total`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn.bounds.perturbation import tv_from_log_ratio
from approxattn.bounds.rounding import up
from approxattn.certificate import SOFTMAX_GRADIENT, GradientCertificate
from approxattn.transformer.affine import (
    affine_rounding,
    bounded,
    euclidean,
    norms,
    outer_error,
    roundoff,
    spectral,
    total_error,
)
from approxattn.transformer.attention_error import AttentionErrors, spectral_norm
from approxattn.transformer.self_attention import Heads, PulledHeads, SelfAttention, joined_heads
from approxattn.transformer.token_map import PulledError


class AttentionRun(NamedTuple):
    """One attention as it was computed: weights, tokens u, heads, and the bounds on the errors of u
    and of what T4 carries on.
    """

    weights: SelfAttention
    u: Array
    heads: Heads
    delta: HostArray
    errors: AttentionErrors


class _Side(NamedTuple):
    """One of queries, keys, values: names of its weight and bias, the weight (None: the identity),
    the gradient of each head, its bound.
    """

    name: str
    bias: str
    w: Array | None
    gradient: Array
    bound: HostArray


def pulled_errors(
    run: AttentionRun, pulled: PulledHeads, dout: Array, total: HostArray
) -> PulledError:
    """Return the bounds for the cotangent of u, shape (...), and the weights."""
    weights, xp = run.weights, _arrays.namespace(u=run.u)
    u_norms, g_out = norms(run.u, xp), norms(dout, xp)
    parameters: dict[str, float] = {}
    back = np.zeros_like(total)
    for side in _sides(run, pulled, _head_total(weights, g_out, total)):
        size = norms(side.gradient, xp)
        back = back + _pulled_side(side, size)
        by_head = [(size[..., h, :], side.bound[..., h]) for h in range(weights.heads)]
        bias = getattr(weights, side.bias)
        if side.w is not None:
            each = [outer_error(u_norms, run.delta, g, bound, side.w) for g, bound in by_head]
            parameters[side.name] = float(euclidean(np.asarray(each), 0))
        if bias is not None:
            each = [total_error(bound, g, bias) for g, bound in by_head]
            parameters[side.bias] = float(euclidean(np.asarray(each), 0))
    if weights.wo is not None:
        off, out = euclidean(run.errors.heads, -2), norms(joined_heads(run.heads.out), xp)
        parameters["wo"] = outer_error(out, off, g_out, total, weights.wo)
    if weights.bo is not None:
        parameters["bo"] = total_error(total, g_out, weights.bo)
    return PulledError(bounded(back), parameters)


def _sides(
    run: AttentionRun, pulled: PulledHeads, head_total: HostArray
) -> tuple[_Side, _Side, _Side]:
    weights, grads = run.weights, pulled.heads
    cotangents = norms(pulled.dheads, _arrays.namespace(u=run.u))
    dq, dk, dv = _head_gradients(run, cotangents, head_total, grads.certificate)
    query_name = "w" if weights.wq is None else "wq"
    return (
        _Side("wv", "bv", weights.wv, grads.dv, dv),
        _Side(query_name, "bq", weights.to_queries, grads.dq, dq),
        _Side("wk", "bk", weights.wk, grads.dk, dk),
    )


def _pulled_side(side: _Side, size: HostArray) -> HostArray:
    """Return what one side adds to the error of the cotangent of the input, shape (...)."""
    heads = size.shape[-2]
    rounding: HostArray = np.zeros(())
    if side.w is not None:
        back = _arrays.namespace(w=side.w).matrix_transpose(side.w)
        rounding = np.sum(affine_rounding(size, back, None), axis=-1)
    # The sum over the heads and the three sides: 2 (heads + 3) more roundings of sums no larger
    # than the sum of the parts.
    norm = spectral_norm(side.w)
    adding = 2 * (heads + 3) * roundoff(side.gradient) * np.sum(bounded(norm * size), axis=-1)
    return bounded(np.sum(norm[..., 0] * side.bound + rounding + adding, axis=-1))


def _head_gradients(
    run: AttentionRun, g: HostArray, total: HostArray, certificate: GradientCertificate
) -> tuple[HostArray, HostArray, HostArray]:
    """Return the bounds on dq, dk, dv of each head, summed over the tokens, shape (..., heads), for
    |G_i| = g and `total` of each head.
    """
    errors, beta = run.errors, run.weights.beta
    eta = np.max(errors.v, axis=-1, keepdims=True)
    moved_key = np.max(errors.k, axis=-1, keepdims=True)
    omega = up(g * (2 * errors.value_radius))
    # pi_i is `fixed` plus `per_cotangent` |G'_i - G_i|
    fixed = up(up(omega * errors.log_ratio) / 4 + g * eta)
    per_cotangent = up(errors.value_spread + eta)

    def summed(weight: HostArray, rest: HostArray, smaller: HostArray) -> HostArray:
        """Return sum_i of pi_i weight_i + omega_i / 2 rest_i; `smaller` is the weight for the part
        of pi_i with the error of G.
        """
        known: HostArray = np.sum(fixed * weight + omega / 2 * rest, axis=-1)
        return bounded(known + total * np.max(up(per_cotangent * smaller), axis=-1))

    q = norms(run.heads.q, _arrays.namespace(u=run.u)) + errors.q
    radius, spread = errors.key_radius + moved_key, errors.key_spread + moved_key
    moved_keys = np.broadcast_to(moved_key, g.shape)
    method = _method_totals(certificate, run.heads)
    dq = beta * summed(radius, moved_keys, spread) + method[0]
    dk = beta * summed(q, errors.q, q) + method[1]
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
    xp = _arrays.namespace(wo=weights.wo)
    blocks = xp.reshape(weights.wo, (weights.heads, -1, weights.wo.shape[-1]))  # (heads, width, d')
    rounding = affine_rounding(g_out[..., None, :], xp.matrix_transpose(blocks), None)
    return bounded(spectral(blocks) * total[..., None] + np.sum(rounding, axis=-1))
