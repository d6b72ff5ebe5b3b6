"""Certified distance of a polynomial from the exponential, and certified lower bounds for any
polynomial of a degree.

Let P be a polynomial, and E its error on an interval [a, b].

Relative error, E = P e^{-x} - 1 (proved here).

1. E' = (P' - P) e^{-x}.
2. So E is monotone between consecutive real roots of P' - P.
3. Its extremes lie at a, at b and at these roots, and nowhere else.

Additive error, E = P - e^x (proved here).

1. E' = e^x h with h = P' e^{-x} - 1.
2. h' = (P'' - P') e^{-x}.
3. So h is monotone between consecutive real roots of P'' - P'. It has at most one zero there, which
   bisection brackets.
4. E is monotone on both sides of the bracket.
5. Its extremes lie at a, at b, at these roots and in the brackets, and nowhere else.

Lower bound. Let x_0, ..., x_{g+1} be different points of [a, b], P of degree at most g, and
w_i = 1 / prod_{j != i} (x_i - x_j).

1. sum_i w_i P(x_i) = 0: it is a divided difference of order g + 1.
2. Additive: E(x_i) = P(x_i) - e^{x_i}, so that
   |sum_i w_i e^{x_i}| = |sum_i w_i E(x_i)| <= max |E| sum_i |w_i|.
3. Relative: E(x_i) e^{x_i} = P(x_i) - e^{x_i}, so that
   |sum_i w_i e^{x_i}| <= max |E| sum_i |w_i| e^{x_i}.

No polynomial of degree at most g has an error below the quotients (proved here; de la Vallee
Poussin's theorem, as in Cheney, Introduction to Approximation Theory, chapter 3, wording
unverified).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal

from flint import arb, arb_mat, arb_poly, ctx, fmpq, fmpq_poly

from proofs_check.arithmetic.balls import Ball, hull, precision

__all__ = ["levelled_error", "minimax", "minimax_lower_bound", "sup_error"]

Kind = Literal["relative", "additive"]
Interval = tuple[int | float | Fraction, int | float | Fraction]


def _rational(x: int | float | Fraction) -> Any:
    exact = Fraction(x)
    return fmpq(exact.numerator, exact.denominator)


def _check(interval: Interval, kind: str) -> None:
    if not interval[0] < interval[1]:
        msg = f"interval(={interval}) must be (low, high) with low < high"
        raise ValueError(msg)
    if kind not in ("relative", "additive"):
        msg = f"kind(={kind!r}) is neither 'relative' nor 'additive'"
        raise ValueError(msg)


def _at(poly: Any, x: Ball) -> Ball:
    """Enclose P on a ball; the exact coefficients are rounded outward."""
    return arb_poly(poly)(x)


def _error(poly: Any, x: Ball, kind: Kind) -> Ball:
    return _at(poly, x) * (-x).exp() - 1 if kind == "relative" else _at(poly, x) - x.exp()


def _slope(poly: Any, x: Ball, kind: Kind) -> Ball:
    if kind == "relative":
        return _at(poly.derivative() - poly, x) * (-x).exp()
    return _at(poly.derivative(), x) - x.exp()


def _real_roots(poly: Any, low: Ball, high: Ball) -> list[Ball]:
    """Enclosures of all distinct real roots that may lie in [low, high], in increasing order."""
    if poly.degree() < 1:
        return []
    roots = [root.real for root, _ in poly.numer().complex_roots() if root.imag.contains(0)]
    return sorted((r for r in roots if not (r < low or r > high)), key=lambda r: float(r.mid()))


def _bracket(poly: Any, a: Ball, b: Ball) -> Ball:
    """Enclose the zero of h between the exact points a < b, where h is monotone (an end, if there
    is no zero).
    """
    derivative, turning = poly.derivative(), poly.derivative().derivative() - poly.derivative()
    rising = _at(turning, (a + b).mid() / 2)
    if not (rising > 0 or rising < 0):
        return hull(a, b)
    # E varies over the bracket by the square of its width
    enough = (b - a) * arb(2) ** (-ctx.prec // 2)
    a, b = _jump(derivative, turning, (a, b), rising > 0, enough.mid())
    while (b - a) > enough:
        width = b - a
        before = (a, b)
        for share in (3, 5):  # two points: the zero can sit on one of them, not on both
            x = (a + width * share / 8).mid()
            h = _at(derivative, x) * (-x).exp() - 1
            if a < x < b and (h > 0 or h < 0):
                a, b = (a, x) if (h > 0) == (rising > 0) else (x, b)
        if (a, b) == before:
            break
    return hull(a, b)


def _jump(
    derivative: Any, turning: Any, ends: tuple[Ball, Ball], rising: bool, enough: Ball
) -> tuple[Ball, Ball]:
    """A short bracket of the zero of h by Newton's method, if the signs of h at its ends certify
    it; else the ends as they were.
    """
    a, b = ends
    x = ((a + b) / 2).mid()
    for _ in range(24):
        e = (-x).exp()
        slope = (arb_poly(turning)(x) * e).mid()
        y = x if slope == 0 else (x - (arb_poly(derivative)(x) * e - 1).mid() / slope).mid()
        x, step = y, abs(y - x)
        if not (a < x < b):
            return ends
        if step < enough / 8:
            low, high = (x - enough / 3).mid(), (x + enough / 3).mid()
            below, above = (arb_poly(derivative)(z) * (-z).exp() - 1 for z in (low, high))
            certain = (below < 0 and above > 0) if rising else (below > 0 and above < 0)
            return (low, high) if certain and a < low and high < b else ends
    return ends


def _critical_points(poly: Any, low: Ball, high: Ball, kind: Kind) -> list[Ball]:
    """Balls outside which E is strictly monotone on [low, high]; some may straddle an end."""
    if kind == "relative":
        return _real_roots(poly.derivative() - poly, low, high)
    knots = _real_roots(poly.derivative().derivative() - poly.derivative(), low, high)
    points = list(knots)
    edges = [low, *knots, high]
    for left, right in itertools.pairwise(edges):
        a, b = left.upper().mid(), right.lower().mid()
        if a < b and poly.degree() >= 1:
            points.append(_bracket(poly, a, b))
    return sorted(points, key=lambda x: float(x.mid()))


def _centred(poly: Any, x: Ball, kind: Kind) -> Ball:
    """E over the ball x by the mean value form; near a critical point the slope is small, so little
    is lost.
    """
    m = x.mid()
    return _error(poly, m, kind) + _slope(poly, x, kind) * (x - m)


def sup_error(
    coefficients: Sequence[int | float | Fraction],
    interval: Interval,
    kind: Kind,
    *,
    bits: int = 192,
) -> Ball:
    """Enclose max over the interval of |P e^{-x} - 1| (relative) or |P - e^x| (additive).

    Parameters
    ----------
    coefficients : sequence of exact numbers
        c_0, c_1, ... of P; floats are the dyadics they are.
    interval : pair of exact numbers
        Closed interval.
    kind : {"relative", "additive"}
        Which error.
    bits : int
        Working precision: too little widens the answer, never falsifies it.
    """
    _check(interval, kind)
    poly = fmpq_poly([_rational(c) for c in coefficients])
    with precision(bits):
        low, high = arb(_rational(interval[0])), arb(_rational(interval[1]))
        inside = [abs(_error(poly, x, kind)) for x in (low, high)]
        maybe: list[Ball] = []
        for x in _critical_points(poly, low, high, kind):
            (inside if low <= x and x <= high else maybe).append(abs(_centred(poly, x, kind)))
        best = inside[0]
        for value in inside[1:]:
            best = best.max(value)
        top = best
        for value in maybe:
            top = top.max(value)
        return hull(best, top)


def levelled_error(
    points: Sequence[int | float | Fraction], kind: Kind, *, bits: int = 192
) -> Ball:
    """Lower bound, as a ball, for the error of every polynomial of degree <= len(points) - 2 on any
    set holding the points.

    Raises
    ------
    ValueError
        When two points coincide.
    """
    if len(set(points)) != len(points) or len(points) < 2:
        msg = f"points(={points}) must be at least two different numbers"
        raise ValueError(msg)
    with precision(bits):
        xs = [_rational(x) for x in points]
        signed, mass = arb(0), arb(0)
        for i, x in enumerate(xs):
            w = fmpq(1)
            for j, y in enumerate(xs):
                w = w if i == j else w / (x - y)
            e = arb(x).exp()
            signed += arb(w) * e
            mass += abs(arb(w)) * (e if kind == "relative" else 1)
        return abs(signed) / mass


def minimax(
    degree: int, interval: Interval, kind: Kind, *, steps: int = 40, bits: int = 192
) -> tuple[list[Fraction], list[Fraction]]:
    """Near-best polynomial by Remez exchange: exact coefficients and the final reference of degree
    + 2 points.

    The result is not rigorous in itself; `sup_error` of the coefficients and `levelled_error` of
    the reference are, and they meet.
    """
    _check(interval, kind)
    with precision(bits):
        low, high = arb(_rational(interval[0])), arb(_rational(interval[1]))
        points = [
            low + (high - low) * (1 - (arb.pi() * i / (degree + 1)).cos()) / 2
            for i in range(degree + 2)
        ]
        coefficients: list[Fraction] = []
        for _ in range(steps):
            points = [x.mid() for x in points]
            coefficients = _interpolate(points, kind)
            poly = fmpq_poly([_rational(c) for c in coefficients])
            middle = [
                x.mid()
                for x in _exchange(poly, low, high, kind)
                if x.mid() > low and x.mid() < high
            ]
            if len(middle) != degree:
                break
            moved = max(
                (abs(x - y) for x, y in zip(middle, points[1:-1], strict=True)),
                key=float,
                default=arb(0),
            )
            points = [low, *middle, high]
            # the error is stationary there: it is level to about 2^-40
            if moved < (high - low) / 2**20:
                break
        ends = [Fraction(interval[0]), Fraction(interval[1])]
        inner = [_dyadic(x.mid()) for x in points[1:-1]]
        return coefficients, [ends[0], *inner, ends[1]]


def _exchange(poly: Any, low: Ball, high: Ball, kind: Kind) -> list[Ball]:
    """Critical points of E proper: for the additive error, without the knots that only separate
    them.
    """
    if kind == "relative":
        return _real_roots(poly.derivative() - poly, low, high)
    knots = [low, *_real_roots(poly.derivative().derivative() - poly.derivative(), low, high), high]
    brackets = [
        _bracket(poly, a.upper().mid(), b.lower().mid())
        for a, b in itertools.pairwise(knots)
        if a < b
    ]
    return [
        x for x in brackets if x > low and x < high and all(not x.overlaps(knot) for knot in knots)
    ]


def _interpolate(points: list[Ball], kind: Kind) -> list[Fraction]:
    """Coefficients of the P with E(x_i) = +-lambda alternating on the reference, by a linear solve
    at working precision.
    """
    n = len(points)
    rows = []
    for i, x in enumerate(points):
        weight = (-1) ** i * (x.exp() if kind == "relative" else arb(1))
        rows.append([*(x**p for p in range(n - 1)), weight])
    solution = arb_mat(rows).solve(arb_mat(n, 1, [x.exp() for x in points]))
    return [_dyadic(solution[p, 0].mid()) for p in range(n - 1)]


def _dyadic(x: Ball) -> Fraction:
    mantissa, exponent = x.man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def minimax_lower_bound(degree: int, interval: Interval, kind: Kind, *, bits: int = 192) -> Ball:
    """Certified lower bound (a ball) for the error of every polynomial of the degree, near the best
    possible one.
    """
    _, reference = minimax(degree, interval, kind, bits=bits)
    return levelled_error(reference, kind, bits=bits)
