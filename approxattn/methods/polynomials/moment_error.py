"""T5 for a row of polynomial attention, from the parts of its denominator.

Symbols as in `forward` and `bounds.moments`. part_t = sum_j w_j c_t s_ij^t, so m_t = part_t / c_t.
m_0 is the sum of the weights W_i itself, which is known; the other moments are off by at most
gamma_K R_i^t K_t and what underflow takes (`forward`, step 6).

The last part as a difference (proved here).

1. E_i = c_0 W_i + sum of part_t over t = 1 ... g. So one part follows from the others.
2. E_i is off by gamma_K sum_t |c_t| R_i^t K_t and what underflow takes; all parts together
   are off by as much, but for underflow, which counts once for each.
3. W_i is rounded up from a sum of n_k terms in float64: gamma_{2 n_k + 64}, of float64, covers it,
   and g + 2 more operations cover the difference itself.

That costs the moment of the highest degree more rounding than a sum of its own. For g <= 3 the
bound lies far above it, and powers of scores are what a causal pass pays for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from approxattn._arrays import HostArray
from approxattn.bounds.moments import weight_error
from approxattn.bounds.rounding import U64, gamma, up
from approxattn.exponential import ExpPolynomial

BY_DIFFERENCE = 3
"""Degree up to which the last part is a difference. *Chosen*: see the module."""


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
    of_last : ndarray, shape (..., n_q), or None
        What the last part may be off by, where it is what the others leave of the denominator;
        None where it was summed by itself.
    """

    found: HostArray
    total: HostArray
    power: Callable[[int], HostArray]
    rounding: float
    lost: HostArray
    of_last: HostArray | None = None

    def moments(self, polynomial: ExpPolynomial) -> tuple[HostArray, HostArray]:
        """Return m_0 and the other moments, shape (..., n_q, 1 + e), and bounds on their errors."""
        degrees = polynomial.moments.degrees if polynomial.moments is not None else ()
        moments = np.empty((1 + len(degrees), *self.found.shape[:-1]))  # a degree in one run
        slack = np.empty_like(moments)
        moments[0], slack[0] = self.total, 0.0
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for place, t in enumerate(degrees, start=1):
                c = polynomial.coefficients[t]
                moments[place] = self.found[..., place - 1] / c if c else np.nan
                slack[place] = self._slack(t, c, last=place == len(degrees)) if c else np.inf
        return np.moveaxis(moments, 0, -1), np.moveaxis(slack, 0, -1)

    def _slack(self, t: int, c: float, *, last: bool) -> HostArray:
        if last and self.of_last is not None:
            return up(self.of_last / abs(c))
        return up(self.rounding * self.power(t) + self.lost / abs(c))


def degrees_summed(polynomial: ExpPolynomial) -> tuple[int, ...]:
    """Return the degrees whose parts are summed by themselves: those that the moments ask for, or
    all but the last of them where that is what the others leave of the denominator.
    """
    degrees = polynomial.moments.degrees if polynomial.moments is not None else ()
    whole = degrees == tuple(range(1, polynomial.degree + 1))
    return degrees[:-1] if whole and 2 <= polynomial.degree <= BY_DIFFERENCE else degrees


def with_last(
    polynomial: ExpPolynomial,
    parts: HostArray,
    denominator: HostArray,
    total: HostArray,
    error: HostArray,
    keys: int,
) -> tuple[HostArray, HostArray]:
    """Return the parts, shape (..., n_q, g), with what is left of the denominator for the last of
    them, and what this one may be off by: see the module.

    `error` bounds, once for the denominator and once for all parts together, what they are off by;
    `total` is m_0, rounded up from a sum over so many keys.
    """
    found = np.empty((1 + parts.shape[-1], *parts.shape[:-1]))  # a degree in one run
    found[:-1] = np.moveaxis(parts, -1, 0)
    constant, last = polynomial.coefficients[0] * total, found[-1]
    np.subtract(denominator, constant, out=last)
    size = np.abs(denominator) + np.abs(constant)
    for part in found[:-1]:
        last -= part
        size += np.abs(part)
    rounded = gamma(2 * keys + polynomial.degree + 70, U64)
    return np.moveaxis(found, 0, -1), up(2 * error + rounded * size)


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
