"""T5: what weights that are off say of one row's output, from the sum of their errors.

Symbols. Row i has the exact weights a_j > 0 and the computed ones b_j, of any sign; D = sum_j a_j
and E = sum_j b_j != 0. f_j = a_j / D and f~_j = b_j / E are the normalised ones; the outputs are
out = sum_j f_j v_j and out~ = sum_j f~_j v_j. mu = sum_j |b_j - a_j| / |E|. osc = max - min over
the keys that take part.

T5 (proved here).  |out~_c - out_c| <= mu osc(V_:c) for every column c.

1. sum_j a_j (v_j - out) = 0, so out~ - out = sum_j b_j (v_j - out) / E
   = sum_j (b_j - a_j)(v_j - out) / E.
2. out_c is a mean of column c, so |v_jc - out_c| <= osc(V_:c).

No positivity of the b_j is needed. It is sharp to first order: for two keys of weights a_1 and
a_2 = delta, of which only the second is off, by eps, the error is eps a_1 / (D E) osc, and mu is
eps / E; their ratio a_1 / D goes to 1 as delta goes to 0.

The l1 distance (proved here).  sum_j |f~_j - f_j| <= 2 mu.

1. f~_j - f_j = ((b_j - a_j) - f_j sum_l (b_l - a_l)) / E.
2. Each of the two parts adds at most mu.

So mu takes the place of a total variation. With weights w_j P(s_j) and w_j e^(s_j), a polynomial Q
with Q >= |P - exp| on an interval that holds all s_j gives mu <= sum_t q_t m_t / |E|, with the
moments m_t = sum_j w_j s_j^t: the parts of E that belong to the monomials of degree t, divided by
the coefficients of P.

The gradient of one row (proved here). z_j are numbers with oscillation omega, kappa = sum_j f_j
z_j, P_j = f_j (z_j - kappa); P~ and kappa~ with f~.  sum_j |P~_j - P_j| <= 2 mu (1 + mu) omega.

1. P~_j - P_j = Delta_j (z_j - kappa) - f~_j (kappa~ - kappa) with Delta = f~ - f.
2. Delta sums to 0, so it is a sum of moves of masses tau from one key j to another key l, with
   sum tau <= mu by the l1 distance.
3. One move adds at most tau (|z_j - kappa| + |z_l - kappa|) + (1 + 2 mu) tau |z_j - z_l|, because
   sum_j |f~_j| <= 1 + 2 mu.
4. x = z_j - kappa and y = z_l - kappa have |x|, |y|, |x - y| <= omega, so
   |x| + |y| + |x - y| = 2 max(|x|, |y|, |x - y|) <= 2 omega.
5. By 3 and 4 a move adds at most 2 (1 + mu) tau omega.
"""

from __future__ import annotations

import numpy as np

from approxattn._arrays import HostArray
from approxattn.bounds.rounding import up


def weight_error(total: HostArray, denominator: HostArray, noise: HostArray) -> HostArray:
    """Return mu, shape (..., n_q), inf where nothing is known.

    Parameters
    ----------
    total : ndarray, shape (..., n_q)
        Bound on sum_j |b_j - a_j|.
    denominator, noise : ndarray, shape (..., n_q)
        E as computed, and twice a bound on its relative error.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        least = denominator * (1 - noise / 2) * (1 - 2.0**-48)
        found = up(total / np.where(least > 0, least, np.nan))
    return np.where(np.isfinite(found), found, np.inf)


def l1_norm(mu: HostArray, positive: HostArray) -> HostArray:
    """Return the bound on the l1 norm of normalised weights: 1 where none is negative, and by the
    l1 distance 1 + 2 mu elsewhere.
    """
    if np.all(positive):
        return np.ones(np.broadcast_shapes(np.shape(mu), np.shape(positive)))
    return np.where(positive, 1.0, up(1 + 2 * mu))


def pair_error(mu: HostArray | float) -> HostArray:
    """Return the bound on the l1 error of a row of the gradient, for omega = 1."""
    mu = np.asarray(mu, dtype=np.float64)
    with np.errstate(over="ignore"):
        return up(2 * mu * (1 + mu))
