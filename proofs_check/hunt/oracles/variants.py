"""Softmax attention with a bias, a soft cap and a sink, in extended precision with bounds on the
oracle's own error. It goes the way of `oracles.softmax`, whose steps and symbols are meant here.

    x_ij = s_ij / c,    t_ij = c tanh(x_ij) + b_ij,    f_ij = e^t_ij / (e^a + sum_j e^t_ij).

Scores (proved here).

1. s^_ij is off by at most e_ij. The bias is exact in the format.
2. tanh has slopes of at most 1, so c tanh(x) is off by at most e_ij, and where both x and x^ are at
   least m > 0 in size and of one sign, by at most c (1 - tanh m) <= 2 c e^{-2m}; for m <= 0 that is
   no less than the width 2 c of the range. m = |x^| - e_ij / c serves.
3. Quotient, tanh (four places at most) and product round by at most 12 u min(|s^|, c). The sum with
   the bias rounds by u |t^|, which `exponent_error` has room for: it counts 4 u |t^|.
4. A sink is one more key with the score a, exactly, and the value 0.

Log-sum-exp (proved here). Where every exponent is off by at most eta, so is the logarithm of their
sum. The sum of n terms, each off by a factor 1 + 4 u, is off by a factor within 1 +- (n + 10) u;
the logarithm and the sum with the largest score round by 4 u of their sizes.

Gradient (proved here). dL/ds_ij = P_ij h_ij with h = 1 - tanh^2(x).

5. |h'| <= 4 / (3 sqrt 3) < 1 and 0 <= h(x) <= 4 e^{-2|x|}: h is off by at most
   min(e_ij / c, 4 e^{-2m}) + 20 u, the last for tanh, its square and the difference.
6. P h is off by at most e_P (h^ + its error) + |P^| times that error, and u of the product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proofs_check.hunt.oracles.softmax import (
    Exact,
    ExactGradient,
    Host,
    Long,
    U,
    Weights,
    averages,
    beta_of,
    enlarged,
    exponent_error,
    products,
    scores,
    slopes,
    weights_of,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Variant:
    """What changes the scores.

    Attributes
    ----------
    bias : array, broadcastable to (..., n_q, n_k), or None
        Added to the scores; finite, or -inf, which hides a pair.
    softcap : float or None
        c.
    sinks : array, shape (..., 1, 1), or None
        a.
    """

    bias: Host | None = None
    softcap: float | None = None
    sinks: Host | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Scores:
    """t^ with bounds, h with bounds, and which pairs are seen: shapes (..., n_q, n_k)."""

    t: Exact
    slope: Exact
    visible: Host


def _scores(q: Host, k: Host, scale: float | None, visible: Host, variant: Variant) -> _Scores:
    s, e = scores(q, k, beta_of(scale, q.shape[-1]))
    t, slope = Exact(s, e), Exact(np.ones_like(s), np.zeros_like(s))
    visible = np.broadcast_to(visible, s.shape)
    if variant.softcap is not None:
        t, slope = _capped(t, Long(variant.softcap))
    if variant.bias is not None:
        bias = np.broadcast_to(variant.bias, s.shape).astype(Long)
        visible = visible & (bias > -np.inf)
        t = Exact(t.value + np.where(visible, bias, 0), t.error)
    return _Scores(t=t, slope=slope, visible=visible)


def _capped(s: Exact, cap: Long) -> tuple[Exact, Exact]:
    """Return c tanh(s / c) by steps 1 to 3, and h by step 5."""
    x, off = s.value / cap, s.error / cap
    far = np.exp(-2 * np.maximum(np.abs(x) - off, 0))
    tanh = np.tanh(x)
    rounding = 12 * Long(U) * np.minimum(np.abs(s.value), cap)
    t = Exact(cap * tanh, np.minimum(s.error, 2 * cap * far) + rounding)
    return t, Exact(1 - tanh * tanh, np.minimum(off, 4 * far) + 20 * Long(U))


def _with_sink(found: _Scores, variant: Variant) -> tuple[Exact, Host]:
    """Return the scores and what is seen, with the sink as a last key."""
    (t, e), seen = found.t, found.visible
    if variant.sinks is None:
        return found.t, seen
    column = (*t.shape[:-1], 1)
    sink = np.broadcast_to(variant.sinks.astype(Long), column)
    wide = (
        np.concatenate([a, np.broadcast_to(b, column)], axis=-1)
        for a, b in ((t, sink), (e, Long(0)), (seen, True))
    )
    t, e, seen = wide
    return Exact(t, e), seen


def _with_zero(v: Host, variant: Variant) -> Host:
    """Return the values, with the sink's 0 as the last."""
    if variant.sinks is None:
        return v
    return np.concatenate([v, np.zeros_like(v[..., :1, :])], axis=-2)


def attention(
    q: Host, k: Host, v: Host, variant: Variant, *, scale: float | None, visible: Host
) -> Exact:
    """Return the output of stacks of problems, shape (..., n_q, dv).

    Parameters
    ----------
    q, k, v, scale, visible
        As for `oracles.softmax.attention`.
    variant : Variant
        What changes the scores.
    """
    q, k, v = (x.astype(Long) for x in (q, k, v))
    with np.errstate(all="ignore"):
        (t, e), seen = _with_sink(_scores(q, k, scale, visible, variant), variant)
        return averages(weights_of(t, e, seen), _with_zero(v, variant))


def log_sum_exp(q: Host, k: Host, variant: Variant, *, scale: float | None, visible: Host) -> Exact:
    """Return log sum_j e^t_ij over the keys, shape (..., n_q, 1); 0 for a query that sees none."""
    q, k = (x.astype(Long) for x in (q, k))
    with np.errstate(all="ignore"):
        found = _scores(q, k, scale, visible, variant)
        (t, e), seen = found.t, found.visible
        some = seen.any(axis=-1, keepdims=True)
        shown = np.where(seen, t, -np.inf)
        top = np.where(some, np.max(shown, axis=-1, keepdims=True), 0)
        log = np.log(np.where(some, np.sum(np.exp(shown - top), axis=-1, keepdims=True), 1))
        n = t.shape[-1]
        rounding = (n + 20) * Long(U) + 4 * Long(U) * (np.abs(top) + np.abs(log))
        error = exponent_error(t, e, seen) + rounding
        return Exact(top + log, np.where(some, enlarged(error), 0))


def gradient(
    q: Host,
    k: Host,
    v: Host,
    g: Host,
    variant: Variant,
    *,
    scale: float | None,
    visible: Host,
) -> ExactGradient:
    """Return dq, dk and dv for the cotangents g, shape (..., n_q, dv)."""
    q, k, v, g = (x.astype(Long) for x in (q, k, v, g))
    with np.errstate(all="ignore"):
        found = _scores(q, k, scale, visible, variant)
        (t, e), seen = _with_sink(found, variant)
        n, weights = k.shape[-2], weights_of(t, e, seen)
        p, error = (x[..., :n] for x in slopes(weights, g, _with_zero(v, variant)))
        h, h_error = found.slope
        moved = error * (h + h_error) + np.abs(p) * h_error + Long(U) * np.abs(p * h)
        own = Weights(weights.f[..., :n], weights.rho, weights.single)
        beta = beta_of(scale, q.shape[-1])
        return products(own, Exact(p * h, moved), (q, k, g), beta, found.visible)
