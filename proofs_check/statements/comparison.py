"""What an experiment hands over to be compared: two exact numbers, balls or polynomials."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

__all__ = ["Comparison", "Exact", "Identity"]

Exact: TypeAlias = Any
"""An int, a Fraction, a flint ``fmpq``/``fmpz`` or a flint ``arb`` ball."""


class Identity(NamedTuple):
    """``lhs`` minus ``rhs`` must vanish identically (SymPy expressions or ring elements, exact
    rationals, residues).

    Parameters
    ----------
    lhs, rhs : expression or number
        The two sides.
    label : str
        Names the identity where it fails.
    """

    lhs: Any
    rhs: Any = 0
    label: str = ""


class Comparison(NamedTuple):
    """Two enclosures, ``lhs`` and ``rhs`` (``arb`` balls or exact numbers), to be compared by the
    experiment's relation.

    Parameters
    ----------
    lhs, rhs : ball or number
        The two sides.
    label : str
        Names the comparison where it fails.
    """

    lhs: Exact
    rhs: Exact
    label: str = ""
