"""Comparing what experiments hand over as exact: integers, rationals and balls.

A float is never exact evidence.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal

from flint import arb, fmpq, fmpz

from proofs_check.arithmetic.balls import as_fraction, ball, enclosing_interval

_RATIONAL = (int, Fraction, fmpq, fmpz)


def is_rational(x: Any) -> bool:
    """Whether x is an exact rational number (and not a float, which only looks like one)."""
    return isinstance(x, _RATIONAL)


def require_exact(*values: Any) -> None:
    """Raise TypeError unless every value is a rational or a ball."""
    for x in values:
        if not is_rational(x) and not isinstance(x, arb):
            msg = (
                f"{type(x).__name__} {x!r} decides nothing: hand over balls (arb) or exact "
                "rationals"
            )
            raise TypeError(msg)


def grade(lhs: Any, rhs: Any) -> str:
    """``exact-rational`` when nothing was rounded, else ``ball``."""
    return "exact-rational" if is_rational(lhs) and is_rational(rhs) else "ball"


def holds(
    lhs: Any, rhs: Any, relation: Literal["<=", "="] = "<=", radius: int | Fraction = 0
) -> bool | None:
    """Whether lhs <= rhs + radius (or |lhs - rhs| <= radius) is certain, certainly false, or
    undecided (None).
    """
    require_exact(lhs, rhs)
    if is_rational(lhs) and is_rational(rhs):
        difference = as_fraction(lhs) - as_fraction(rhs)
        return abs(difference) <= radius if relation == "=" else difference <= radius
    left, right, slack = _as_ball(lhs), _as_ball(rhs), _as_ball(radius)
    gap = left - right
    if not gap.is_finite():
        return None
    if relation == "=":
        gap = abs(gap)
    if gap <= slack or (relation == "<=" and radius == 0 and left <= right):
        return True
    return False if gap > slack else None


def interval(x: Any) -> tuple[float, float]:
    """Outward floats around an exact number or ball."""
    return enclosing_interval(_as_ball(x))


def ratio(lhs: Any, rhs: Any) -> float | None:
    """lhs / rhs in floats, for the tightness column; None when it has no meaning."""
    low, high = float(_as_ball(lhs).mid()), float(_as_ball(rhs).mid())
    if high > 0:
        return low / high
    return float("inf") if low > 0 and high == 0 else None


def _as_ball(x: Any) -> Any:
    return ball(as_fraction(x)) if isinstance(x, fmpq | fmpz) else ball(x)
