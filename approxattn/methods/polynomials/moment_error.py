"""T5 for a row of polynomial attention, from the parts of its denominator.

Symbols as in `forward` and `bounds.moments`. part_t = sum_j w_j c_t s_ij^t, so m_t = part_t / c_t.

1. m_0 is the sum of the weights W_i itself, which is known; the other moments are off by at most
   gamma_K R_i^t K_t and what underflow takes (`forward`, step 6).
2. The error of the keys' own weights, log_error in ln rho, is a second step from the exact row: the
   distances add up, tanh(log_error / 4) for it by T1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from approxattn._arrays import HostArray
from approxattn.bounds.moments import weight_error
from approxattn.bounds.perturbation import tv_from_log_ratio
from approxattn.bounds.rounding import up
from approxattn.exponential import ExpPolynomial
from approxattn.methods.polynomials.centring import CentredScores


def moment_error(
    polynomial: ExpPolynomial,
    scores: CentredScores,
    parts: HostArray,
    rounding: float,
    lost: HostArray,
    denominator: tuple[HostArray, HostArray],
) -> HostArray:
    """Return mu of T5, shape (..., n_q); inf where it says nothing.

    Parameters
    ----------
    parts : ndarray, shape (..., n_q, e)
        part_t for the degrees that `polynomial.moments` names.
    rounding : float
        gamma_K.
    lost : ndarray, shape (..., n_q)
        What underflow can take from a part.
    denominator : tuple of two ndarrays, shape (..., n_q)
        D~_i, and twice a bound on its relative error.
    """
    if polynomial.moments is None:
        return np.full(scores.bound.shape, np.inf)
    moments, slack = moments_of(polynomial, scores.total, parts, rounding, scores.power, lost)
    mu = weight_error(polynomial.moments.weigh(scores.bound, moments, slack), *denominator)
    return up(mu + tv_from_log_ratio(scores.log_error))


def moments_of(
    polynomial: ExpPolynomial,
    total: HostArray,
    parts: HostArray,
    rounding: float,
    power: Callable[[int], HostArray] | HostArray,
    lost: HostArray,
) -> tuple[HostArray, HostArray]:
    """Return m_0 and the other moments, shape (..., n_q, 1 + e), and bounds on their errors.

    Parameters
    ----------
    total : ndarray, shape (..., n_q)
        m_0.
    power : callable or ndarray
        Takes t and returns R_i^t K_t; or R_i, then K_t is m_0.
    """
    degrees = polynomial.moments.degrees if polynomial.moments is not None else ()
    moments = np.empty((*parts.shape[:-1], 1 + len(degrees)))
    slack = np.empty_like(moments)
    moments[..., 0], slack[..., 0] = total, 0.0
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for place, t in enumerate(degrees, start=1):
            c = polynomial.coefficients[t]
            size = power(t) if callable(power) else power**t * total
            moments[..., place] = parts[..., place - 1] / c if c else np.nan
            slack[..., place] = rounding * size + lost / abs(c) if c else np.inf
    return moments, up(slack)


def theorem_for(polynomial: ExpPolynomial, mu: HostArray, by_range: HostArray) -> str:
    """Return the key of what bounds the row with the largest truncation, given both bounds."""
    if np.max(mu, initial=0.0) <= np.max(by_range, initial=0.0) and np.all(np.isfinite(mu)):
        return "ours.moments"
    return "ours.even-taylor" if polynomial.basis == "taylor" else "ours.hilbert"
