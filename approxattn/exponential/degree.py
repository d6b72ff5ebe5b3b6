"""Which polynomial for which scores and which tolerance."""

from __future__ import annotations

import math

import numpy as np

from approxattn._arguments import check_choice, check_integer
from approxattn.bounds.perturbation import tv_from_log_ratio
from approxattn.exponential.chebyshev import TooLowDegreeError, chebyshev
from approxattn.exponential.minimax import MAX_DEGREE as MAX_MINIMAX
from approxattn.exponential.minimax import MAX_HALF_RANGE, MinimaxRefusedError, minimax, widened
from approxattn.exponential.one_sided import MAX_DEGREE as MAX_ONE_SIDED
from approxattn.exponential.polynomial import ExpPolynomial
from approxattn.exponential.taylor import MAX_DEGREE as MAX_TAYLOR
from approxattn.exponential.taylor import taylor

BASES = ("taylor", "chebyshev", "minimax")
"""Those that need nothing of the scores but their range."""

POLYNOMIAL_BASES = (*BASES, "one-sided")


def check_degree(degree: int, basis: str) -> None:
    """Refuse a basis that does not exist and a degree that no interval has."""
    check_choice("basis", basis, POLYNOMIAL_BASES)
    if basis == "one-sided":
        check_integer("degree", degree, 0, MAX_ONE_SIDED, "float64 loses the nodes of higher ones")
    elif basis == "taylor":
        check_integer("degree", degree, 0, MAX_TAYLOR, "float64 holds no further coefficient")
        taylor(degree)
    else:
        check_integer("degree", degree, 0, MAX_MINIMAX, f"that of a {basis} basis")


def exp_polynomial(degree: int, half_range: float, basis: str) -> ExpPolynomial:
    """Return the polynomial of a degree in a basis.

    Parameters
    ----------
    degree : int
        Degree of the polynomial; even for "taylor".
    half_range : float
        Bound on the size of the scores.
    basis : {"taylor", "chebyshev", "minimax"}
        The function of this package that makes it.

    Returns
    -------
    ExpPolynomial
        The polynomial and what is known of its error.

    Raises
    ------
    ValueError
        For another basis, and where the function of the basis has no such polynomial.

    Examples
    --------
    >>> from approxattn.exponential import exp_polynomial
    >>> exp_polynomial(4, 1.0, "taylor").coefficients[:3]
    (1.0, 1.0, 0.5)
    """
    check_choice("basis", basis, BASES)
    check_degree(degree, basis)
    degree = int(degree)  # decimal arithmetic takes no integers of NumPy
    if basis == "taylor":
        return taylor(degree)
    return chebyshev(degree, half_range) if basis == "chebyshev" else minimax(degree, half_range)


def degree_for(half_range: float, tolerance: float, basis: str = "minimax") -> int:
    """Return the smallest degree that serves all rows whose scores lie in an interval.

    It serves them where the total variation distance of the weights from those of exp is certified
    to be within the tolerance (theorems T1 and T2).

    Parameters
    ----------
    half_range : float
        The interval is [-half_range, half_range].
    tolerance : float
        The largest distance allowed, in (0, 1).
    basis : {"minimax", "chebyshev", "taylor"}
        Which polynomials.

    Returns
    -------
    int
        The degree.

    Raises
    ------
    ValueError
        If no degree that float64 can hold reaches the tolerance.

    Examples
    --------
    >>> from approxattn.exponential import degree_for
    >>> degree_for(1.0, 1e-3), degree_for(1.0, 1e-3, "taylor")
    (4, 6)
    """
    found = (
        _walk(half_range, tolerance)
        if basis == "minimax"
        else _bisect(half_range, tolerance, basis)
    )
    if not _tv(found, half_range, basis) <= tolerance:
        msg = (
            f"no {basis} polynomial reaches tolerance(={tolerance:g}) for scores bounded by "
            f"{half_range:.4g} in float64: allow a larger tolerance, scale the scores down, use "
            "basis='taylor', or use Exact()"
        )
        raise ValueError(msg)
    return found


def expected_error(degree: int, half_range: float) -> float:
    """Return about the least relative error on [-B, B], B^{g+1} / (2^g (g+1)!), at most 1: the
    leading term of the Chebyshev series; an estimate to plan with.
    """
    exponent = (
        (degree + 1) * math.log(max(half_range, 1e-300))
        - degree * math.log(2)
        - math.lgamma(degree + 2)
    )
    return math.exp(min(exponent, 0.0))


def _walk(half_range: float, tolerance: float) -> int:
    """Return the first minimax degree that is settled, sought around the one to be expected: every
    trial is a Remez exchange, of up to half a second.
    """
    b = widened(half_range) if half_range <= MAX_HALF_RANGE else half_range
    guess = next(
        (g for g in range(MAX_MINIMAX) if expected_error(g, b) <= 2 * tolerance), MAX_MINIMAX
    )  # TV ~ error / 2
    low, high, far = 0, guess, 1
    while high < MAX_MINIMAX and not _settled(high, half_range, tolerance, "minimax"):
        low, high, far = high + 1, min(high + far, MAX_MINIMAX), 2 * far
    far = 1
    while low < high and _settled(max(high - far, low), half_range, tolerance, "minimax"):
        high, far = max(high - far, low), 2 * far
    return _between(max(low, high - far + 1), high, 1, half_range, tolerance, "minimax")


def _bisect(half_range: float, tolerance: float, basis: str) -> int:
    """Return the first degree that is settled: double, then bisect."""
    step = 2 if basis == "taylor" else 1
    top = (MAX_TAYLOR if basis == "taylor" else MAX_MINIMAX) // step
    low, high = 0, min(top, max(1, round(half_range) // step))
    while high < top and not _settled(high * step, half_range, tolerance, basis):
        low, high = high + 1, min(2 * high, top)
    return _between(low, high, step, half_range, tolerance, basis)


def _between(
    low: int, high: int, step: int, half_range: float, tolerance: float, basis: str
) -> int:
    """Bisect: TV falls with the degree until float64 cannot hold the polynomial, so "reached or no
    higher degree helps" is monotone.
    """
    while low < high:
        middle = (low + high) // 2
        low, high = (
            (low, middle)
            if _settled(middle * step, half_range, tolerance, basis)
            else (middle + 1, high)
        )
    return low * step


def _settled(degree: int, half_range: float, tolerance: float, basis: str) -> bool:
    """Return whether this degree reaches the tolerance, or no higher one gains anything."""
    tv = _tv(degree, half_range, basis)
    return not tv > tolerance or (tv < 1 and exp_polynomial(degree, half_range, basis).at_floor)


def _tv(degree: int, half_range: float, basis: str) -> float:
    """Return the TV bound of the worst row: 1 when the degree is too low for any, NaN when float64
    refuses the polynomial.
    """
    try:
        polynomial = exp_polynomial(degree, half_range, basis)
    except TooLowDegreeError:
        return 1.0
    except MinimaxRefusedError:
        return math.nan
    return float(tv_from_log_ratio(polynomial.log_ratio(np.asarray(half_range))))
