"""A polynomial that stands in for exp, with what is known of its error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from approxattn._arrays import HostArray


@dataclass(frozen=True, kw_only=True)
class MomentBound:
    """How moments m_t = sum_j w_j s_j^t of scores bound sum_j w_j |P(s_j) - e^(s_j)|.

    Attributes
    ----------
    degrees : tuple of int
        The t > 0 that are needed, increasing.
    weigh : callable
        Takes bounds b on the scores, shape (...); the moments of degree 0 and of `degrees`, shape
        (..., 1 + their number); and bounds on their errors, of the same shape. Returns the bound,
        shape (...), for any moments within these errors; inf where there is none.
    """

    degrees: tuple[int, ...]
    weigh: Callable[[HostArray, HostArray, HostArray], HostArray]


@dataclass(frozen=True, kw_only=True)
class ExpPolynomial:
    """P(x) = sum_t c_t x^t, positive on [-half_range, half_range] and close to exp there in ratio.

    Attributes
    ----------
    basis : str
        How it was found: taylor, chebyshev, minimax, one-sided or given.
    coefficients : tuple of float
        c_0 ... c_g, the float64 numbers used, not the real ones they were rounded from.
    half_range : float
        B; inf when the polynomial is positive on the whole line.
    at_floor : bool
        Whether rounding the coefficients to float64 costs more than the degree: a higher degree
        would gain nothing.
    log_ratio : callable
        Takes b, shape (...), with 0 <= b <= B; returns ln rho >= max over [-b, b] minus min over
        [-b, b] of ln P(x) - x: what T1 needs.
    slope_error : callable
        Takes b; returns a bound on |P'/P - 1| over [-b, b], inf when there is none: what the
        gradient of the polynomial itself needs.
    moments : MomentBound or None
        What the moments of a row of scores say of the error; None where they say nothing that
        `log_ratio` does not.
    """

    basis: str
    coefficients: tuple[float, ...]
    half_range: float
    at_floor: bool
    log_ratio: Callable[[HostArray], HostArray]
    slope_error: Callable[[HostArray], HostArray]
    moments: MomentBound | None = None

    @property
    def degree(self) -> int:
        """The degree g."""
        return len(self.coefficients) - 1

    def relative_error(self, half_range: HostArray) -> HostArray:
        """Return a bound on |P(x) e^-x - 1| over [-b, b], for 0 <= b <= B, shape of b.

        For Taylor ln P - x vanishes at 0, so it is at most ln rho in size; for the other bases ln
        rho is 2 artanh of that bound. inf where there is none.
        """
        ratio = np.asarray(self.log_ratio(half_range), dtype=np.float64)
        with np.errstate(over="ignore"):
            error = (
                np.expm1(ratio)
                if self.basis == "taylor"
                else -np.expm1(-ratio) / (1 + np.exp(-ratio))
            )  # tanh(ratio / 2)
        return np.asarray(np.where(np.isinf(ratio), np.inf, error * (1 + 2.0**-48)))

    def absolute(self, x: HostArray) -> HostArray:
        """Return sum_t |c_t| x^t for x >= 0: the size of the terms, which is what rounding errors
        are relative to.
        """
        total = np.zeros_like(np.asarray(x, dtype=np.float64))
        with np.errstate(over="ignore"):
            for c in reversed(self.coefficients):
                total = total * x + abs(c)
        return total

    def antiderivative(self) -> tuple[float, ...]:
        """Return the coefficients of the R with R' = P and R(0) = 0."""
        return (0.0, *(c / (t + 1) for t, c in enumerate(self.coefficients)))
