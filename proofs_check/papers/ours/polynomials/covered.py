"""Whether a polynomial stays above the error of another one in the place of exp, everywhere.

Symbols. D = Q + sign (P - exp) on [a, b], P and Q with rational coefficients, N their degree.

1. On [m - r, m + r], x = s - m: D(s) = sum_k c_k x^k with c_k = (Q + sign P)^(k)(m) / k!
   - sign e^m / k!.
2. The terms k > N are at most e^(m + r) r^(N+1) / (N+1)! together, those of 3 to N at most
   sum |c_k| r^k.
3. c_0 + c_1 x + c_2 x^2 is at least c_0 - c_1^2 / (4 c_2) where c_2 > 0, and at least
   c_0 - |c_1| r + min(c_2, 0) r^2 always.
4. So D >= what is left of 3 by 2. Intervals where that is negative are halved.

All numbers are balls, the shift of the polynomial included: no rounding is forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from proofs_check.arithmetic.balls import ball, hull

__all__ = ["margin"]

_DEEPEST = 60
"""Halvings of the interval after which it counts as undecided. *Chosen*."""


def margin(above: Sequence[Any], below: Sequence[Any], interval: tuple[Fraction, Fraction]) -> Any:
    """Return a lower bound of Q - |P - exp| on the interval if it is not negative, else a value of
    it if one is negative, else a ball that says neither.

    Parameters
    ----------
    above, below : sequences of exact numbers
        The coefficients of Q and P.
    interval : pair of Fractions
        Where Q is to stay above |P - exp|.
    """
    (one, seen), (other, also) = (_least(above, below, interval, sign) for sign in (1, -1))
    lowest, seen = one.min(other), seen.min(also)
    # a hull has a short radius, which would lose the sign of an end near 0
    return lowest if lowest >= 0 else seen if seen < 0 else hull(lowest, seen)


def _least(
    above: Sequence[Any], below: Sequence[Any], interval: tuple[Fraction, Fraction], sign: int
) -> tuple[Any, Any]:
    """Return a lower bound of D, and its smallest value at the midpoints looked at."""
    from flint import arb, arb_poly

    size = max(len(above), len(below))
    q, p = ([*c, *[0] * (size - len(c))] for c in (above, below))
    sums = [ball(x) + sign * ball(y) for x, y in zip(q, p, strict=True)]
    polynomial, boxes = arb_poly(sums), [(*interval, 0)]
    lowest, smallest = arb("inf"), arb("inf")
    while boxes:
        low, high, depth = boxes.pop()
        middle, radius = (low + high) / 2, ball((high - low) / 2)
        value, bound = _on(polynomial, size, ball(middle), radius, sign)
        smallest = smallest.min(value)
        if smallest < 0:
            return smallest, smallest
        if bound >= 0 or depth >= _DEEPEST:
            lowest = lowest.min(bound)
        else:
            boxes += [(middle, high, depth + 1), (low, middle, depth + 1)]
    return lowest, smallest


def _on(polynomial: Any, size: int, middle: Any, radius: Any, sign: int) -> tuple[Any, Any]:
    """Return D at the middle, and step 3 less step 2."""
    from flint import arb_poly

    shifted, part = polynomial(arb_poly([middle, 1])), middle.exp()
    rest, power, c = 0 * radius, radius**0, []
    for k in range(max(size, 3)):
        part = part / max(k, 1)
        c.append(shifted[k] - sign * part)
        if k > 2:
            rest += abs(c[k]) * power
        power *= radius
    rest += (middle + radius).exp() * power / _factorial(len(c))
    first, second = abs(c[1]), c[2]
    straight = c[0] - first * radius + second.min(0 * second) * radius**2
    bent = c[0] - first**2 / (4 * second) if second > 0 else straight
    return c[0], straight.max(bent) - rest


def _factorial(k: int) -> Any:
    from flint import arb

    return arb(k).fac() if hasattr(arb, "fac") else arb.fac_ui(k)
