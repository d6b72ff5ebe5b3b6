"""The Remez exchange for exp in decimal arithmetic, and roots by brackets.

Symbols and reasons are those of `minimax`: P has the degree g, and E(x) = P(x) e^{-x} - 1 of the
best P has g + 2 alternating extremes.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from decimal import Decimal

Poly = list[Decimal]
Function = Callable[[Decimal], Decimal]


@functools.lru_cache(maxsize=4096)
def remez(degree: int, half_range: float) -> tuple[Poly, Poly]:
    """Return the coefficients of the best polynomial and the g + 1 zeros of E; stops when the
    extremes agree to 1e-7.
    """
    b = Decimal(half_range)
    nodes = [-b * Decimal(math.cos(math.pi * i / (degree + 1))) for i in range(degree + 2)]
    for _ in range(60):
        p = interpolate(nodes, degree)
        zeros = [zero_between(p, left, right) for left, right in itertools.pairwise(nodes)]
        slope = functools.partial(slope_at, p)
        nodes = [
            -b,
            *(root_in(slope, left, right, 40) for left, right in itertools.pairwise(zeros)),
            b,
        ]
        sizes = [abs(error_at(p, x)) for x in nodes]
        if max(sizes) <= min(sizes) * (1 + Decimal("1e-7")):
            break
    return p, zeros


def interpolate(nodes: Poly, degree: int) -> Poly:
    """Solve P(x_i) e^{-x_i} - 1 = (-1)^i h for c_0 ... c_g and h, by elimination with pivoting."""
    rows = [
        [x**t for t in range(degree + 1)] + [-((-1) ** i) * x.exp(), x.exp()]
        for i, x in enumerate(nodes)
    ]
    size = degree + 2
    for col in range(size):
        pivot = max(range(col, size), key=lambda i: abs(rows[i][col]))
        rows[col], rows[pivot] = rows[pivot], rows[col]
        for i in range(col + 1, size):
            factor = rows[i][col] / rows[col][col]
            rows[i] = [a - factor * c for a, c in zip(rows[i], rows[col], strict=True)]
    solution = [Decimal(0)] * size
    for i in reversed(range(size)):
        known = sum((rows[i][j] * solution[j] for j in range(i + 1, size)), Decimal(0))
        solution[i] = (rows[i][size] - known) / rows[i][i]
    return solution[: degree + 1]


def value_at(p: Poly, x: Decimal) -> Decimal:
    """Return P(x)."""
    total = Decimal(0)
    for c in reversed(p):
        total = total * x + c
    return total


def slope_at(p: Poly, x: Decimal) -> Decimal:
    """Return P'(x) - P(x), which has the sign of E'(x)."""
    value = derivative = Decimal(0)
    for c in reversed(p):
        derivative = derivative * x + value
        value = value * x + c
    return derivative - value


def error_at(p: Poly, x: Decimal) -> Decimal:
    """Return E(x)."""
    return value_at(p, x) * (-x).exp() - 1


def zero_between(p: Poly, left: Decimal, right: Decimal) -> Decimal:
    """Return a zero of E between two points at which its signs differ."""
    return root_in(lambda x: value_at(p, x) - x.exp(), left, right, 24)


def root_in(f: Function, left: Decimal, right: Decimal, bits: int) -> Decimal:
    """Return a point within 2^-bits of the bracket of a sign change."""
    low, high = bracket_in(f, left, right, bits)
    return (low + high) / 2


def bracket_in(f: Function, left: Decimal, right: Decimal, bits: int) -> tuple[Decimal, Decimal]:
    """Shrink the bracket of a sign change by 2^bits: regula falsi, each step of which also probes a
    little to the far side; bisection where it stalls.
    """
    goal = (right - left) * Decimal(2) ** -bits
    f_left, f_right = f(left), f(right)
    while right - left > goal:
        width = right - left
        guess = (
            left + width * f_left / (f_left - f_right) if f_left != f_right else left + width / 2
        )
        nudge = max(goal / 4, width * Decimal(2) ** -12)
        for x in (guess - nudge, guess + nudge, (left + right) / 2):
            if right - left <= width / 1024 or not left < x < right:
                continue
            value = f(x)
            if (value > 0) == (f_right > 0):
                right, f_right = x, value
            else:
                left, f_left = x, value
    return left, right
