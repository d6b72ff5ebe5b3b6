"""Certified distances from exp: against grids, against closed forms, at starved precision, and the
minimal degrees they prove.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import pytest
from flint import arb
from hypothesis import given, settings
from hypothesis import strategies as st

from proofs_check.arithmetic.balls import ball, lower, precision, upper
from proofs_check.arithmetic.supnorm import levelled_error, minimax, minimax_lower_bound, sup_error

Kind = Literal["relative", "additive"]
KINDS: tuple[Kind, ...] = ("relative", "additive")


def error_at(coefficients: list[Fraction], x: Fraction, kind: Kind) -> arb:
    with precision(192):
        p = ball(sum((c * x**i for i, c in enumerate(coefficients)), Fraction(0)))
        return abs(p * (-ball(x)).exp() - 1) if kind == "relative" else abs(p - ball(x).exp())


@settings(max_examples=120)
@given(
    st.lists(st.fractions(-2, 2, max_denominator=8), max_size=6),
    st.sampled_from(KINDS),
    st.sampled_from((12, 30, 53, 192)),
    st.sampled_from(((-2, 2), (0, 1), (Fraction(-1, 3), Fraction(5, 2)))),
)
def test_the_enclosure_holds_against_a_grid(
    coefficients: list[Fraction], kind: Kind, bits: int, interval: tuple[Fraction, Fraction]
) -> None:
    sup = sup_error(coefficients, interval, kind, bits=bits)
    low, high = (Fraction(x) for x in interval)
    grid = [low + (high - low) * i / 64 for i in range(65)]
    largest = max(lower(error_at(coefficients, x, kind)) for x in grid)
    assert upper(sup) >= largest
    if bits == 192:
        assert lower(sup) >= 0
        assert upper(sup) - lower(sup) <= 1e-15 * max(1.0, upper(sup))
        # between grid points the error moves by at most |E'| h / 2, crudely bounded here
        assert lower(sup) <= largest + 400 * float(high - low) / 128


@pytest.mark.parametrize("kind", KINDS)
def test_closed_forms(kind: Kind) -> None:
    """1 + x is furthest from e^x on [0, 1] at 1; the constants 0 and 2 at an end; the double knot
    of degree 1 is harmless.
    """
    e = math.e
    assert float(sup_error([1, 1], (0, 1), kind)) == pytest.approx(
        1 - 2 / e if kind == "relative" else e - 2, rel=1e-14
    )
    assert float(sup_error([], (0, 1), kind)) == pytest.approx(
        1 if kind == "relative" else e, rel=1e-14
    )
    assert float(sup_error([2], (0, 1), kind)) == pytest.approx(1, rel=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_starved_precision_widens_and_contains(kind: Kind) -> None:
    taylor = [Fraction(1, math.factorial(i)) for i in range(9)]
    sharp = sup_error(taylor, (-2, 2), kind)
    radii = []
    for bits in (10, 20, 30, 53, 80):
        wide = sup_error(taylor, (-2, 2), kind, bits=bits)
        assert wide.overlaps(sharp)
        assert upper(wide) >= lower(sharp)
        radii.append(float(wide.rad()))
    assert radii[0] > 1e-3
    assert radii == sorted(radii, reverse=True)


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_that_bisection_hits_exactly(kind: Kind) -> None:
    """P' = e^x exactly at the midpoint 0 of the interval: the sign there cannot be decided at any
    precision.
    """
    sup = sup_error([1, 1, Fraction(1, 2)], (-1, 1), kind)
    expected = error_at(
        [Fraction(1), Fraction(1), Fraction(1, 2)], Fraction(-1 if kind == "relative" else 1), kind
    )
    assert float(sup) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("half_width", "degree"), [(1, 0), (1, 1), (1, 5), (4, 8)])
def test_remez_meets_the_lower_bound(kind: Kind, half_width: int, degree: int) -> None:
    coefficients, reference = minimax(degree, (-half_width, half_width), kind)
    assert len(coefficients) == degree + 1
    assert len(reference) == degree + 2
    above = sup_error(coefficients, (-half_width, half_width), kind)
    below = levelled_error(reference, kind)
    assert lower(below) <= upper(above)
    assert upper(above) <= lower(below) * (1 + 1e-6)


@given(
    st.lists(st.fractions(-2, 2, max_denominator=16), min_size=4, max_size=4, unique=True),
    st.sampled_from(KINDS),
)
def test_no_polynomial_beats_the_levelled_error(points: list[Fraction], kind: Kind) -> None:
    below = levelled_error(points, kind)
    rivals: list[Any] = [[1, 1, Fraction(1, 2)], minimax(2, (-2, 2), kind, steps=3)[0]]
    for rival in rivals:
        exact = [Fraction(c) for c in rival]
        assert lower(below) <= max(upper(error_at(exact, x, kind)) for x in points)


@pytest.mark.parametrize(
    ("kind", "half_width", "eps", "degree"),
    [
        ("relative", 1, 1e-4, 6),
        ("additive", 1, 1e-4, 5),
        ("relative", 4, 1e-3, 9),
        ("additive", 2, 1e-6, 9),
        ("relative", 2, 1e-6, 9),
    ],
)
def test_minimal_degrees_are_proved(kind: Kind, half_width: int, eps: float, degree: int) -> None:
    interval = (-half_width, half_width)
    found = next(
        g
        for g in range(20)
        if upper(sup_error(minimax(g, interval, kind)[0], interval, kind)) <= eps
    )
    assert lower(minimax_lower_bound(found - 1, interval, kind)) > eps
    assert found in (degree - 1, degree)


def test_misuse() -> None:
    with pytest.raises(ValueError, match="low < high"):
        sup_error([1], (1, 0), "relative")
    with pytest.raises(ValueError, match="kind"):
        sup_error([1], (0, 1), "absolute")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="different"):
        levelled_error([0, 0], "relative")


def test_a_float_coefficient_is_the_dyadic_it_is() -> None:
    assert np.float64(0.1) != Fraction(1, 10)
    exact, rounded = (sup_error([c], (0, 1), "relative") for c in (Fraction(1, 10), 0.1))
    assert not exact.overlaps(rounded) or upper(exact) - lower(rounded) > 0
