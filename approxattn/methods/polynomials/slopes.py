"""How far the weights w_j P'(s_j) of the consistent gradient are from those of the output.

Symbols as in `forward` and `bounds.moments`; S_j = w_j P'(s_j) (z_j - kappa~) / E is the row that
the consistent gradient sums, P~_j the same with P.

By the ratio (proved here).  sum_j |S_j - P~_j| <= (omega / 2) max |P'/P - 1|, because the mean
distance of z_j from its mean is at most omega / 2.

By moments (proved here).

1. S_j - P~_j = w_j (P' - P)(s_j) (z_j - kappa~) / E, and |z_j - kappa~| <= (1 + mu) omega.
2. So sum_j |S_j - P~_j| <= (1 + mu) omega nu with nu = sum_j w_j |P' - P|(s_j) / |E|.
3. |P' - P|(s) <= sum_t |d_t| |s|^t, d_t = (t + 1) c_{t+1} - c_t. For Taylor's polynomial all d_t
   but the last, -c_g, are 0 up to rounding: nu is the moment of degree g itself.
4. sum_j w_j |s_j|^t is m_t for even t; for odd t at most the root of its neighbours' product
   (Cauchy and Schwarz); and W_i B_i^t at most where a moment is not at hand.
5. The weights of S have the l1 norm 1 + 2 mu + nu at most (`bounds.moments`, the l1 distance).
"""

from __future__ import annotations

import numpy as np

from approxattn._arrays import HostArray
from approxattn.bounds.moments import weight_error
from approxattn.bounds.rounding import up
from approxattn.methods.polynomials.forward import Forward
from approxattn.methods.polynomials.moment_error import Parts
from approxattn.monomials.dense import derivative


def slope_bounds(run: Forward) -> tuple[HostArray, HostArray]:
    """Return the number that takes the place of max |P'/P - 1|, and a bound on the l1 norm of the
    weights with P', both of shape (..., n_q).
    """
    ratio = np.asarray(run.polynomial.slope_error(run.scores.bound))
    if run.host_parts is None:
        return ratio, 1 + ratio
    nu = _nu(run, run.host_parts)
    with np.errstate(over="ignore"):
        return (
            np.minimum(ratio, up(2 * (1 + run.mu) * nu)),
            np.minimum(1 + ratio, up(1 + 2 * run.mu + nu)),
        )


def _nu(run: Forward, parts: Parts) -> HostArray:
    c = np.asarray(run.polynomial.coefficients)
    slopes = np.asarray([*derivative(run.polynomial.coefficients), 0.0])[: c.size]
    apart = np.abs(slopes - c) + 2.0**-50 * np.abs(c)
    sizes = _absolute_moments(run, parts)
    with np.errstate(over="ignore", invalid="ignore"):
        total = up(sum(d * m for d, m in zip(apart, sizes, strict=True)))
    return weight_error(
        np.where(np.isfinite(total), total, np.inf), run.host_denominator, run.weight_noise
    )


def _absolute_moments(run: Forward, parts: Parts) -> list[HostArray]:
    """Return bounds on sum_j w_j |s_j|^t for t = 0 ... g."""
    scores, p = run.scores, run.polynomial
    degrees = p.moments.degrees if p.moments is not None else ()
    moments, slack = parts.moments(p)
    with np.errstate(over="ignore", invalid="ignore"):
        top = up(np.maximum(moments, 0.0) + slack)
        found = [up(scores.total * scores.bound**t) for t in range(p.degree + 1)]
        for place, t in enumerate((0, *degrees)):
            if t % 2 == 0:
                found[t] = np.fmin(found[t], top[..., place])
        for t in range(1, p.degree, 2):
            found[t] = np.fmin(found[t], up(np.sqrt(found[t - 1]) * np.sqrt(found[t + 1])))
    return found
