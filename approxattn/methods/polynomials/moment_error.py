"""T5 for a row of polynomial attention, from the parts of its denominator.

Symbols as in `forward` and `bounds.moments`. part_t = sum_j w_j c_t s_ij^t, so m_t = part_t / c_t.
m_0 is the sum of the weights W_i itself, which is known; the other moments are off by at most
gamma_K R_i^t K_t and what underflow takes (`forward`, step 6).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from approxattn._arrays import HostArray
from approxattn.bounds.moments import weight_error
from approxattn.bounds.rounding import up
from approxattn.exponential import ExpPolynomial


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Parts of a denominator by degree, and what they may be off by.

    Attributes
    ----------
    found : ndarray, shape (..., n_q, e)
        part_t as computed, for the degrees that `polynomial.moments` names.
    total : ndarray, shape (..., n_q)
        m_0, rounded up.
    power : callable
        Takes t and returns R_i^t K_t, shape (..., n_q).
    rounding : float
        gamma_K.
    lost : ndarray, shape (..., n_q)
        What underflow can take from a part.
    """

    found: HostArray
    total: HostArray
    power: Callable[[int], HostArray]
    rounding: float
    lost: HostArray

    def moments(self, polynomial: ExpPolynomial) -> tuple[HostArray, HostArray]:
        """Return m_0 and the other moments, shape (..., n_q, 1 + e), and bounds on their errors."""
        degrees = polynomial.moments.degrees if polynomial.moments is not None else ()
        moments = np.empty((1 + len(degrees), *self.found.shape[:-1]))  # a degree in one run
        slack = np.empty_like(moments)
        moments[0], slack[0] = self.total, 0.0
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for place, t in enumerate(degrees, start=1):
                c, off = polynomial.coefficients[t], self.rounding * self.power(t)
                moments[place] = self.found[..., place - 1] / c if c else np.nan
                slack[place] = up(off + self.lost / abs(c)) if c else np.inf
        return np.moveaxis(moments, 0, -1), np.moveaxis(slack, 0, -1)


def moment_error(
    polynomial: ExpPolynomial,
    bound: HostArray,
    parts: Parts,
    denominator: HostArray,
    noise: HostArray,
) -> HostArray:
    """Return mu of T5, shape (..., n_q), for scores of at most `bound`; inf where it says nothing.

    `noise` is twice a bound on the relative error of the denominators.
    """
    if polynomial.moments is None:
        return np.full(bound.shape, np.inf)
    total = polynomial.moments.weigh(bound, *parts.moments(polynomial))
    return weight_error(total, denominator, noise)


def theorem_for(polynomial: ExpPolynomial, mu: HostArray, by_range: HostArray) -> str:
    """Return the key of what bounds the row with the largest truncation, given both bounds."""
    if np.max(mu, initial=0.0) <= np.max(by_range, initial=0.0) and np.all(np.isfinite(mu)):
        return "ours.moments"
    return "ours.even-taylor" if polynomial.basis == "taylor" else "ours.hilbert"
