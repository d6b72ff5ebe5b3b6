"""Softmax attention and its gradient in extended precision, for many problems at once, each entry
with a bound on the oracle's own error.

Notation: u = 2^-64, the unit roundoff of the 80-bit format; gamma_k = k u / (1 - k u); hats are
computed numbers. q, k, v and the cotangent G of an accepted dtype are exact here, and none of their
products leaves the range of the format, 2^-16445 to 2^16384.

Weights (proved here).

1. A score is a sum of d products times beta, so it is off by at most e_ij = gamma_{d+4} A_ij with
   A_ij = beta sum_c |q_ic k_jc|. Subtracting the largest score m rounds by at most
   2 u max_j |s^_ij| more. So each exponent is off by at most eta_i = max_j (e_ij + 4 u |s^_ij|)
   over the keys that i sees.
2. Then w_ij is off by a factor between e^-eta and e^eta, up to 4 u for exp itself. A quotient of
   such weights by their sum is off by a factor within 1 +- rho_i, rho_i = e^{2 eta_i} - 1 + (4 n +
   40) u.
3. f and f^ both sum to 1 over the keys (the rounding of that sum is in rho), so for any c_i

       |sum_j (f^ - f)_ij v_j| = |sum_j (f^ - f)_ij (v_j - c_i)| <= rho_i sum_j f^_ij |v_j - c_i|.

   With c_i the computed output; the sum itself rounds by gamma_{n+8} sum_j f^_ij |v_j|.

Gradient (proved here). P_ij = f_ij (z_ij - kappa_i), z = G v^T, kappa_i = sum_j f_ij z_ij, dq =
beta P k, dk = beta P^T q, dv = f^T G.

4. z is off by at most e_ij = gamma_{dv+2} sum_c |G_ic v_jc|.
5. kappa, by step 3 with z in the place of v, is off by at most rho_i sum_j f^_ij |z_ij - kappa_i|
   + sum_j f^_ij e_ij + gamma_{n+8} sum_j f^_ij |z_ij| =: e'_i.
6. P_ij is off by at most f^_ij [rho_i |z_ij - kappa_i| + (1 + rho_i) (e_ij + e'_i) + 4 u (|z_ij| +
   |kappa_i|)].
7. dq, dk, dv: the errors of their factors times the other factor, and gamma_{n+8} of the sum of
   absolute terms.

8. A query that sees one key has f = 1, the value as its output and P = 0; one that sees none has
   the output 0; a key that no query sees has dk = dv = 0: there nothing is rounded.

Weights below the range are lost: at most 2^-16440 each, times entries below 2^1024 three times and
at most 2^12 terms. 2^-12000 is more. Bounds are computed in the same format, and enlarged by 2^-50
for that.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Host = np.ndarray[Any, Any]
Long = np.longdouble

U = float(2.0**-64)
EXTENDED = np.finfo(np.longdouble).nmant >= 63
"""Whether this machine has the 80-bit format (or a wider one)."""

LOST = np.ldexp(Long(1), -12000) if EXTENDED else Long(2.0) ** -1000


class Exact(NamedTuple):
    """Numbers and, entry by entry, bounds on their errors."""

    value: Host
    error: Host


class ExactGradient(NamedTuple):
    """The same for dq, dk, dv."""

    dq: Exact
    dk: Exact
    dv: Exact


def gamma(k: float) -> Long:
    """Return gamma_k of the 80-bit format."""
    return Long(k) * Long(U) / (1 - Long(k) * Long(U))


def enlarged(error: Host) -> Host:
    """Return a bound that also covers how it was computed; NaN, which bounds nothing, is inf."""
    bound = error * (1 + Long(2.0**-50)) + LOST
    return np.where(np.isnan(bound), Long(np.inf), bound)


def swap(x: Host) -> Host:
    """Return x with its last two axes exchanged."""
    return np.swapaxes(x, -1, -2)


class Weights(NamedTuple):
    """f^, rho of each row, and whether it sees at most one key: shapes (..., n_q, n_k),
    (..., n_q, 1) twice.
    """

    f: Host
    rho: Host
    single: Host


def beta_of(scale: float | None, d: int) -> Long:
    """Return the factor of the scores."""
    return Long(1) / np.sqrt(Long(d)) if scale is None else Long(scale)


def _weights(q: Host, k: Host, beta: Long, visible: Host) -> Weights:
    s, error = scores(q, k, beta)
    return weights_of(s, error, visible)


def scores(q: Host, k: Host, beta: Long) -> Exact:
    """Return the scores s^ with e, shapes (..., n_q, n_k)."""
    size = beta * (np.abs(q) @ swap(np.abs(k)))
    return Exact(beta * (q @ swap(k)), gamma(q.shape[-1] + 4) * size)


def exponent_error(s: Host, error: Host, visible: Host) -> Host:
    """Return eta, shape (..., n_q, 1), of scores and bounds on their errors."""
    each = np.where(visible, error + 4 * Long(U) * np.abs(s), 0)
    return np.asarray(np.max(each, axis=-1, keepdims=True))


def weights_of(s: Host, error: Host, visible: Host) -> Weights:
    """Return steps 1 and 2 for scores and bounds on their errors."""
    n, eta = s.shape[-1], exponent_error(s, error, visible)
    s = np.where(visible, s, -np.inf)
    top = np.max(s, axis=-1, keepdims=True)
    w = np.exp(s - np.where(np.isfinite(top), top, 0))  # a query that sees no key: weights of 0
    rho = np.expm1(2 * eta * (1 + Long(2.0**-50))) + (4 * n + 40) * Long(U)
    seen = np.sum(np.broadcast_to(visible, s.shape), axis=-1, keepdims=True)
    single = seen <= 1
    f = w / np.where(seen > 0, np.sum(w, axis=-1, keepdims=True), 1)
    return Weights(f, np.where(single, 0, rho), single)


def averages(weights: Weights, v: Host) -> Exact:
    """Return step 3."""
    f, rho, single = weights
    out = f @ v
    gaps = np.abs(v[..., None, :, :] - out[..., :, None, :])  # (..., n_q, n_k, dv)
    spread = np.sum(f[..., None] * gaps, axis=-2)
    error = rho * spread + gamma(v.shape[-2] + 8) * (f @ np.abs(v))
    return Exact(out, np.where(single, 0, enlarged(error)))


def attention(
    q: Host, k: Host, v: Host, *, scale: float | None = None, visible: Host | bool = True
) -> Exact:
    """Return softmax attention of stacks of problems, shape (..., n_q, dv).

    Parameters
    ----------
    q, k, v : array, shapes (..., n_q, d), (..., n_k, d), (..., n_k, dv)
        Any float dtype; leading axes broadcast. What is not visible must still be finite.
    scale : float, optional
        Factor of the scores; None is 1/sqrt(d) without rounding.
    visible : array of bool, broadcastable to (..., n_q, n_k)
        Which keys a query sees.
    """
    q, k, v = (x.astype(Long) for x in (q, k, v))
    with np.errstate(all="ignore"):
        weights = _weights(q, k, beta_of(scale, q.shape[-1]), np.asarray(visible))
        return averages(weights, v)


def gradient(
    q: Host,
    k: Host,
    v: Host,
    g: Host,
    *,
    scale: float | None = None,
    visible: Host | bool = True,
) -> ExactGradient:
    """Return the gradient of softmax attention for the cotangents g, shape (..., n_q, dv)."""
    q, k, v, g = (x.astype(Long) for x in (q, k, v, g))
    beta = beta_of(scale, q.shape[-1])
    with np.errstate(all="ignore"):
        weights = _weights(q, k, beta, np.asarray(visible))
        return products(weights, Exact(*slopes(weights, g, v)), (q, k, g), beta, visible)


def products(
    weights: Weights, p: Exact, given: tuple[Host, Host, Host], beta: Long, visible: Host | bool
) -> ExactGradient:
    """Return step 7 for P with bounds on its errors; `given` are q, k and G."""
    (f, rho, single), (q, k, g) = weights, given
    n = gamma(max(f.shape[-2:]) + 8)
    error = p.error + n * np.abs(p.value)
    dq = Exact(beta * (p.value @ k), beta * (error @ np.abs(k)))
    dk = Exact(beta * (swap(p.value) @ q), beta * (swap(error) @ np.abs(q)))
    dv = Exact(swap(f) @ g, swap((rho + n) * f) @ np.abs(g))
    seen = np.any(np.broadcast_to(visible, f.shape), axis=-2)[..., None]
    moves = ~np.all(single, axis=(-2, -1), keepdims=True)  # else P = 0 in all rows
    return ExactGradient(
        Exact(dq.value, np.where(single, 0, enlarged(dq.error))),
        Exact(dk.value, np.where(seen & moves, enlarged(dk.error), 0)),
        Exact(dv.value, np.where(seen, enlarged(dv.error), 0)),
    )


def slopes(weights: Weights, g: Host, v: Host) -> tuple[Host, Host]:
    """Return P and steps 4 to 6."""
    f, rho, single = weights
    z = g @ swap(v)
    e = gamma(v.shape[-1] + 2) * (np.abs(g) @ swap(np.abs(v)))
    kappa = np.sum(f * z, axis=-1, keepdims=True)
    gap = np.abs(z - kappa)
    summed = gamma(v.shape[-2] + 8) * np.sum(f * np.abs(z), axis=-1, keepdims=True)
    of_kappa = np.sum(f * (rho * gap + e), axis=-1, keepdims=True) + summed
    rounding = 4 * Long(U) * (np.abs(z) + np.abs(kappa))
    error = f * (rho * gap + (1 + rho) * (e + of_kappa) + rounding)
    return np.where(single, 0, f * (z - kappa)), np.where(single, 0, error)


def summed(exact: Exact, axes: tuple[int, ...], shape: tuple[int, ...]) -> Exact:
    """Return sums over leading axes that were broadcast, in the shape of the input."""
    if not axes:
        return Exact(exact.value.reshape(shape), exact.error.reshape(shape))
    terms = int(np.prod([exact.value.shape[a] for a in axes]))
    rounding = gamma(terms + 2) * np.sum(np.abs(exact.value), axis=axes)
    value, error = np.sum(exact.value, axis=axes), np.sum(exact.error, axis=axes)
    return Exact(value.reshape(shape), enlarged(error + rounding).reshape(shape))
