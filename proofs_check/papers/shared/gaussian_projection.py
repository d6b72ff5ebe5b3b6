"""Exact probabilities about a Gaussian projection, as balls.

R of shape (k, n) has i.i.d. entries N(0, 1/k), so |Rx|^2 = |x|^2 chi2_k / k. For u, z orthogonal,
Ru and Rz are independent: given Ru, the product <Ru, Rz> is N(0, |Ru|^2 |z|^2 / k).
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

__all__ = ["chi_square_tails", "claimed_success", "normal_between", "relative_success"]


def _arb(x: int | Fraction) -> Any:
    from flint import arb, fmpq

    return arb(fmpq(x.numerator, x.denominator))


def claimed_success(k: int | Fraction, epsilon: Fraction, events: int) -> Any:
    """1 - 2 events exp(-(epsilon^2 - epsilon^3) k / 4), as every probability of the paper reads."""
    return 1 - 2 * events * (-_arb((epsilon**2 - epsilon**3) * k / 4)).exp()


def relative_success(k: int, epsilon: Fraction, ratio: Any) -> Any:
    """Bound from above the probability that a projected product is off by a relative epsilon.

    That is Pr[|<Ru, Ry> - <u, y>| <= epsilon |<u, y>|] for k >= 2. `ratio` is
    |<u, y>| / (|u| |z|), z the part of y orthogonal to u.

    1. With c = <u, y> / |u|^2: <Ru, Ry> - <u, y> = c (|Ru|^2 - |u|^2) + <Ru, Rz>.
    2. Given Ru this is normal with variance |Ru|^2 |z|^2 / k.
    3. So it lies in any interval of length 2 epsilon |<u, y>| with probability at most
       2 epsilon |<u, y>| sqrt(k) / (sqrt(2 pi) |Ru| |z|).
    4. E[|u| / |Ru|] = sqrt(k) E[chi_k^-1] = sqrt(k/2) Gamma((k - 1)/2) / Gamma(k/2).
    5. Together: epsilon k ratio Gamma((k - 1)/2) / (sqrt(pi) Gamma(k/2)).
    """
    from flint import arb, fmpq

    gammas = (arb(fmpq(k - 1, 2)).lgamma() - arb(fmpq(k, 2)).lgamma()).exp()
    return _arb(epsilon) * k * ratio * gammas / arb.pi().sqrt()


def normal_between(low: Any, high: Any) -> Any:
    """Phi(high) - Phi(low) for 0 <= low <= high."""
    from flint import arb

    root = arb(2).sqrt()
    return ((low / root).erfc() - (high / root).erfc()) / 2


def chi_square_tails(k: int, epsilon: Fraction) -> Any:
    """Pr[|chi2_k / k - 1| >= epsilon] for 0 < epsilon < 1."""
    from flint import arb, fmpq

    shape = arb(fmpq(k, 2))
    above = (shape * _arb(1 + epsilon)).gamma_upper(shape, regularized=1)
    return above + 1 - (shape * _arb(1 - epsilon)).gamma_upper(shape, regularized=1)
