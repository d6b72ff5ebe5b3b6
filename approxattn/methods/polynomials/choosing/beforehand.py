"""The polynomial of a state, which is chosen before any query is known."""

from __future__ import annotations

import math

from approxattn._arguments import check_number
from approxattn.exponential import ExpPolynomial, degree_for, exp_polynomial
from approxattn.exponential.given import given_over

BELOW_0 = -5e-324
"""The largest number below 0, so that an open interval holds 0."""


def polynomial_beforehand(
    half_range: float | None,
    *,
    degree: int | None,
    tolerance: float | None,
    coefficients: tuple[float, ...] | None,
    basis: str | None,
    range_basis: str,
    index: str,
) -> ExpPolynomial:
    """Return the polynomial for scores of at most `half_range`, given what a `Polynomial` says;
    `range_basis` is its basis where nothing is known of the scores but their range.

    Raises
    ------
    ValueError
        If the settings need to see queries, or no half range is given where one is needed.
    """
    refuse_what_needs_queries(basis, index)
    if half_range is None and not (basis == "taylor" and degree is not None):
        msg = (
            f"half_range(={half_range}) must bound |scale q.(k - centre)| of the queries to "
            "come: give it, or basis='taylor' and a degree"
        )
        raise ValueError(msg)
    widest = 0.0
    if half_range is not None:
        rule = "be a finite number >= 0"
        widest = check_number("half_range", half_range, rule, low=BELOW_0, high=math.inf)
    if coefficients is not None:
        return given_over(coefficients, widest)
    if tolerance is not None:
        degree = degree_for(widest, tolerance, range_basis)
    return exp_polynomial(degree or 0, widest, range_basis)


def refuse_what_needs_queries(basis: str | None, index: str) -> None:
    """Raise ValueError where a state cannot have the settings."""
    if basis == "one-sided":
        msg = (
            "basis(='one-sided') follows the spread of the scores, which a state does not "
            "know: use basis='taylor' or 'minimax'"
        )
        raise ValueError(msg)
    if index == "anisotropic":
        msg = (
            "index(='anisotropic') chooses its monomials from the queries, which a state does "
            "not know: use index='full'"
        )
        raise ValueError(msg)
