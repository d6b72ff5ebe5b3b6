"""T4: what becomes of one self-attention whose input is off.

Symbols. Row i of the input u is off by at most delta_i; primes mark the exact network.

    q' = q + a,  k' = k + b,  v' = v + e    rows of queries, keys, values, computed and exact
    r_i          rounding of one row of the projection, so that |a_i| <= |W_Q| delta_i + r_i, and so
                 for b and e with W_K and W_V
    beta         factor of the scores
    f            exact weights of the computed queries and keys, f' those of the exact ones
    c            any centre of the keys, or of the values; one for all that i may see
    osc_j        largest less smallest over j; maxima over j run over the tokens that i may see
    eta_i        max_j |e_j|

Weights (proved here).

1. The score of j differs by beta (q_i . b_j + a_i . k_j + a_i . b_j).
2. Adding a number to a row of scores does nothing to its softmax; so k_j - c may stand for k_j in
   a_i . k_j.
3. b_j = (u'_j - u_j) W_K less rounding, so |q_i . b_j| <= |q_i W_K^T| delta_j + |q_i| r_j; and
   |a_i . (k_j - c)| <= delta_i |W_Q (k_j - c)| + r_i |k_j - c|.
4. By 1 to 3 the log ratios of f' and f have an oscillation of at most

       L_i = 2 beta max_j [ |q_i W_K^T| delta_j + |q_i| r_j + |a_i||b_j|
           + delta_i |W_Q (k_j - c)| + r_i |k_j - c| ].

5. By T1 (`bounds/perturbation.py`) TV_i <= tanh(L_i / 4).

Outputs (proved here).

6. sum_j f'_j v'_j - sum_j f_j v_j = sum_j f'_j e_j + sum_j (f'_j - f_j)(v_j - c).
7. The first part is at most eta_i long, the second at most 2 TV_i max_j |v_j - c|.
8. The method adds sqrt(width of the values) times its own certificate.
9. W_O makes of the heads' errors at most |W_O| times their root sum of squares. It also makes at
   most the sum over heads of |W_V W_O| max_j delta_j + |W_O| (all but the error of u): the smaller
   of the two counts.

With second moments (proved here; `second_moments.py` bounds sigma_v, sigma_k, sigma_s, the largest
standard deviations of v_j, k_j, W_Q k_j under f in any direction).

10. Let lambda_j be the change of score j less its part beta a_i . c, so that osc_j lambda <= L_i,
    and let f_t be proportional to f e^(t lambda), t in [0, 1].
11. d/dt sum_j f_t,j v_j is the covariance of v and lambda under f_t. It is at most the product of
    the largest standard deviation of v in a direction and that of lambda (Cauchy & Schwarz).
12. f_t <= e^(t L) f, so a mean of squares under f_t is at most e^(t L) times that under f.
13. A standard deviation is at most the root mean square about any centre. So with 11 and 12,

        |sum_j f'_j v_j - sum_j f_j v_j| <= e^L sigma_v Lambda,
        Lambda = beta max_j [ |q_i W_K^T| delta_j + |q_i| r_j + |a_i||b_j|
            + delta_i sigma_s + r_i sigma_k ],

    the integral of e^(t L) over [0, 1] being at most e^L.
14. The smaller of 13 and 2 TV_i max_j |v_j - c| counts. To first order, 13 is the Jacobian at the
    computed point, row by row.

(With R = max |u_j| and W = W_Q W_K^T, L is at most 2 beta |W| (2 R delta + delta^2): the textbook
form, with global constants where these are measured.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn.bounds.perturbation import tv_from_log_ratio
from approxattn.certificate import SOFTMAX
from approxattn.transformer.affine import (
    adding_rounding,
    affine_rounding,
    bounded,
    euclidean,
    norms,
    plain_roundoff,
    spectral,
)
from approxattn.transformer.self_attention import Heads, SelfAttention, joined_heads
from approxattn.transformer.sight import Seen, Sight, centre


class AttentionErrors(NamedTuple):
    """Bounds on the host, shapes (..., heads, n) but for the last, (..., n).

    Attributes
    ----------
    q, k, v : ndarray
        Distances of the rows of queries, keys, values.
    log_ratio : ndarray
        L_i.
    key_radius, value_radius : ndarray
        max_j |k_j - c|, |v_j - c|.
    key_spread, value_spread : ndarray
        e^(L/2) sigma_k, e^(L/2) sigma_v where they are known and smaller than those.
    heads, out : ndarray
        Distances of the rows of the heads' outputs and of the attention's.
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


class _Projected(NamedTuple):
    """r and |a|, |b|, |e| of queries, keys, values, shapes (..., heads, n)."""

    q_rounding: HostArray
    k_rounding: HostArray
    v_rounding: HostArray
    q: HostArray
    k: HostArray
    v: HostArray


class _Lengths(NamedTuple):
    """|q_i|, |q_i W_K^T|, |W_Q (k_j - c)|, |k_j - c|, |v_j - c|, shapes (..., heads, n)."""

    q: HostArray
    aimed: HostArray
    steered: HostArray
    keys: HostArray
    values: HostArray


def attention_errors(
    weights: SelfAttention, u: Array, run: Heads, delta: HostArray, sight: Sight
) -> AttentionErrors:
    """Return T4 for tokens u that are off by delta, shape (..., n)."""
    n, delta = int(u.shape[-2]), delta[..., None, :]
    largest = Seen(sight, n, weights.causal, weights.window)

    def seen(x: HostArray) -> HostArray:
        return bounded(largest(x))

    off, lengths = _projected(weights, u, run, delta), _lengths(weights, run, sight)
    from_keys = (
        lengths.aimed * seen(delta)
        + lengths.q * seen(off.k_rounding)
        + bounded(off.q) * seen(off.k)
    )
    from_queries = delta * seen(lengths.steered) + off.q_rounding * seen(lengths.keys)
    log_ratio = bounded(2 * weights.beta * bounded(from_keys + from_queries))
    key_spread, value_spread = seen(lengths.keys), seen(lengths.values)
    turned = bounded(2 * tv_from_log_ratio(log_ratio) * value_spread)
    radii = key_spread, value_spread
    if run.spread is not None:
        sigma, growth = run.spread, np.exp(log_ratio)
        change = from_keys + delta * sigma.steered + off.q_rounding * sigma.keys
        change = bounded(weights.beta * bounded(change) * (1 + 1e-12))
        root = np.sqrt(growth) * (1 + 1e-12)
        turned = np.minimum(turned, bounded(growth * bounded(sigma.values * change)))
        key_spread = np.minimum(key_spread, bounded(root * sigma.keys))
        value_spread = np.minimum(value_spread, bounded(root * sigma.values))
    mixed, rest = seen(off.v), bounded(turned + method_rows(run))
    heads = bounded(mixed + rest)
    moved = _Moved(mixed, rest, seen(delta), seen(off.v_rounding))
    out = _combined(weights, run, moved)
    q, k, v = (np.broadcast_to(bounded(x), heads.shape) for x in (off.q, off.k, off.v))
    key_radius = np.broadcast_to(radii[0], heads.shape)
    return AttentionErrors(
        q, k, v, log_ratio, key_radius, radii[1], key_spread, value_spread, heads, out
    )


def _projected(weights: SelfAttention, u: Array, run: Heads, delta: HostArray) -> _Projected:
    """Return step 3's parts: what the projections round, and what they make of delta."""
    size = norms(u, _arrays.namespace(u=u))[..., None, :]
    sides = (
        (weights.to_queries, weights.bq, run.q),
        (weights.wk, weights.bk, run.k),
        (weights.wv, weights.bv, run.v),
    )
    roundings = [_rounding(w, b, size, result) for w, b, result in sides]
    moved = [spectral_norm(w) * delta + r for (w, _, _), r in zip(sides, roundings, strict=True)]
    return _Projected(*roundings, *moved)


def _rounding(w: Array | None, b: Array | None, size: HostArray, result: Array) -> HostArray:
    """Return the rounding of a projection; without a matrix there is only that of adding
    the bias.
    """
    if w is not None:
        return affine_rounding(size, w, b)
    return np.zeros(result.shape[:-1]) if b is None else adding_rounding(result)


def _lengths(weights: SelfAttention, run: Heads, sight: Sight) -> _Lengths:
    """Return upper bounds; what was multiplied or subtracted here counts its own rounding."""
    xp = _arrays.namespace(k=run.k)
    q, keys, key_norms = norms(run.q, xp), *_centred(run.k, sight, xp)
    aimed, steered = q, _through(keys, weights.to_queries, xp)
    if weights.wk is not None:
        aimed = _through(run.q, weights.wk, xp)
    return _Lengths(q, aimed, steered, key_norms, _centred(run.v, sight, xp)[1])


def _centred(x: Array, sight: Sight, xp: Namespace) -> tuple[Array, HostArray]:
    """Return x - c as computed, and bounds on its exact length."""
    off = x - centre(x, sight, xp)
    return off, bounded(norms(off, xp) * (1 + 2 * plain_roundoff(x)) + adding_rounding(off))


def _through(x: Array, w: Array, xp: Namespace) -> HostArray:
    """Return bounds on |x_i W^T|."""
    back = xp.matrix_transpose(w)
    return norms(xp.matmul(x, back), xp) + affine_rounding(norms(x, xp), back, None)


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


class _Moved(NamedTuple):
    """Bounds on the parts of a head's error: sum_j f'_j e_j, the rest, and what e_j = (u'_j - u_j)
    W_V - rounding is made of: the largest delta_j and r_j.
    """

    mixed: HostArray
    rest: HostArray
    delta: HostArray
    rounding: HostArray


def _combined(weights: SelfAttention, run: Heads, moved: _Moved) -> HostArray:
    """Return step 9 for each row of the output, shape (..., n)."""
    joint = euclidean(moved.mixed + moved.rest, -2)
    if weights.wo is None:
        return joint
    xp = _arrays.namespace(out=run.out)
    blocks = _arrays.to_float64(weights.wo).reshape(weights.heads, -1, weights.wo.shape[-1])
    through = np.matmul(_arrays.to_float64(weights.wv), blocks)
    each = spectral(blocks)[:, None]
    # the product of the two was rounded here
    slack = 2.0**-45 * through.shape[-1] * bounded(spectral(weights.wv) * spectral(blocks))
    product = bounded(spectral(through) + slack)[:, None]
    separate = np.sum(product * moved.delta + each * (moved.rounding + moved.rest), axis=-2)
    rounding = affine_rounding(norms(joined_heads(run.out), xp), weights.wo, weights.bo)
    return bounded(np.minimum(bounded(separate), bounded(spectral(weights.wo) * joint)) + rounding)


def spectral_norm(w: Array | None) -> HostArray:
    """Return the spectral norm of each head's matrix, shape (heads, 1); 1 where there is none."""
    return np.ones((1, 1)) if w is None else spectral(w)[:, None]
