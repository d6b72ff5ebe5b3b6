"""The polynomials of exp: their stated errors against ball arithmetic, their degrees against the
certified minimal ones.
"""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest

from approxattn.exponential import chebyshev, degree_for, exp_polynomial, minimax, taylor
from approxattn.exponential.chebyshev import TooLowDegreeError, bessel, tails
from approxattn.exponential.degree import expected_error
from approxattn.exponential.minimax import MinimaxRefusedError
from proofs_check.arithmetic.supnorm import sup_error

# Smallest degree with relative error <= 1e-2 ... 1e-12 on [-B, B]; each cell certified from both
# sides in ball arithmetic.
MINIMAL_DEGREES = {
    0.5: (2, 3, 4, 5, 5, 6, 7, 7, 8, 9, 9),
    1.0: (3, 4, 5, 6, 7, 8, 9, 9, 10, 11, 12),
    2.0: (5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    4.0: (7, 9, 10, 12, 13, 14, 15, 16, 17, 18, 19),
    8.0: (12, 14, 16, 17, 19, 20, 22, 23),
}


def relative_error(polynomial) -> float:
    return math.tanh(float(polynomial.log_ratio(np.zeros(()))) / 2)


@pytest.mark.parametrize(
    ("half_range", "degree"),
    [(0.5, 0), (0.5, 3), (2.0, 6), (4.0, 9), (8.0, 14), (11.0, 12), (2.0**-10, 2)],
)
def test_minimax_error_is_the_certified_one(half_range: float, degree: int) -> None:
    polynomial = minimax(degree, half_range)
    b = polynomial.half_range
    certified = sup_error(polynomial.coefficients, (-b, b), kind="relative")
    stated = relative_error(polynomial)
    assert stated >= float(certified.lower()) * (1 - 1e-15), "a stated error below the true one"
    assert stated <= float(certified.upper()) * (1 + 1e-9) + 1e-15


@pytest.mark.parametrize("half_range", MINIMAL_DEGREES)
def test_minimax_reaches_the_minimal_degrees(half_range: float) -> None:
    for power, degree in enumerate(MINIMAL_DEGREES[half_range], start=2):
        assert (
            relative_error(minimax(degree, half_range))
            <= 10.0**-power
            < relative_error(minimax(degree - 1, half_range))
        )


@pytest.mark.parametrize("half_range", [0.3, 1.0, 2.7])
def test_minimax_interval_covers_what_was_asked(half_range: float) -> None:
    assert (
        half_range <= minimax(4, half_range).half_range <= half_range * 2 ** (1 / 8) * (1 + 1e-12)
    )


@pytest.mark.parametrize("b", [2.0**-10, 0.5, 2.0, 8.0, 40.0])
def test_bessel_sums_against_ball_arithmetic(b: float) -> None:
    from flint import arb, ctx

    before = ctx.prec
    ctx.prec = 256
    try:
        exact = [arb(b).bessel_i(arb(k)) for k in range(400)]
        for k in (0, 1, 7, 50):
            assert float(bessel(k, Decimal(b))) == pytest.approx(float(exact[k]), rel=1e-14, abs=0)
        for degree in (0, 1, 5, 30):
            error = sum((2 * x for x in exact[degree + 1 :]), arb(0))
            slope = sum((2 * x * k * k for k, x in enumerate(exact) if k > degree), arb(0)) / b
            for stated, true in zip(tails(degree, Decimal(b)), (error, slope), strict=True):
                ratio = arb(str(stated)) / true
                assert ratio + arb(10) ** -25 >= 1
                assert ratio < 1 + arb(10) ** -15
    finally:
        ctx.prec = before


@pytest.mark.parametrize(
    ("half_range", "degree"), [(0.5, 2), (0.5, 9), (2.0, 8), (4.0, 14), (8.0, 30), (2.0**-10, 1)]
)
def test_chebyshev_error_is_bounded_for_every_row_and_attained_by_the_series(
    half_range: float, degree: int
) -> None:
    polynomial = chebyshev(degree, half_range)
    b = polynomial.half_range
    additive = sup_error(polynomial.coefficients, (-b, b), kind="additive")
    tail = float(tails(degree, Decimal(b))[0])
    held = float(additive.upper())
    rounding = sum(abs(c) * b**t for t, c in enumerate(polynomial.coefficients)) * 2.0**-53
    assert tail - rounding <= held * (1 + 1e-9) <= (tail + rounding) * (1 + 1e-8)
    for share in (1.0, 0.7, 0.2, 0.0):
        certified = (
            sup_error(polynomial.coefficients, (-share * b, share * b), kind="relative")
            if share
            else None
        )
        stated = math.tanh(float(polynomial.log_ratio(np.asarray(share * b))) / 2)
        true = (
            abs(polynomial.coefficients[0] - 1) if certified is None else float(certified.lower())
        )
        assert stated >= true * (1 - 1e-15)
    slopes = np.polynomial.polynomial.polyder(polynomial.coefficients)
    for share in (1.0, 0.3):
        x = np.linspace(-share * b, share * b, 2001)
        ratio = np.polynomial.polynomial.polyval(x, slopes) / np.polynomial.polynomial.polyval(
            x, polynomial.coefficients
        )
        assert (
            np.max(np.abs(ratio - 1))
            <= float(polynomial.slope_error(np.asarray(share * b))) + 1e-12
        )


def test_chebyshev_needs_a_higher_degree_than_minimax() -> None:
    """Its error is spread evenly over the interval, where e^-B of it counts as much as e^B at the
    other end.
    """
    for b, tolerance in ((1.0, 1e-2), (4.0, 1e-2), (4.0, 1e-6), (8.0, 1e-2)):
        low, high = (degree_for(b, tolerance, basis) for basis in ("minimax", "chebyshev"))
        assert low <= high <= 2 * low + 1


def test_chebyshev_bound_is_smaller_for_rows_with_smaller_scores() -> None:
    found = chebyshev(12, 4.0).log_ratio(np.asarray([0.5, 1.0, 2.0, 4.0]))
    assert np.all(found[1:] > 1.5 * found[:-1])


@pytest.mark.parametrize("degree", [0, 2, 4, 10, 40, 150])
@pytest.mark.parametrize("b", [1e-9, 0.1, 1.0, 4.0, 20.0, 100.0, 299.0, 301.0, 1e4])
def test_taylor_log_ratio_is_exact_or_above(degree: int, b: float) -> None:
    from flint import arb, ctx

    before = ctx.prec
    try:
        ctx.prec = 2000
        x, p, m = arb(b), arb(0), arb(0)
        term = arb(1)
        for t in range(degree + 1):
            p, m = p + term, m + (-1) ** t * term
            term = term * x / (t + 1)
        exact = (m * x.exp()).log() - (p * (-x).exp()).log()
        stated = arb(float(taylor(degree).log_ratio(np.asarray(b))))
        assert stated >= exact
        assert stated <= exact * arb(1 + (degree + 2) * 1.1e-3) + arb(
            1e-250
        ) or stated <= 2 * x * arb(1 + 1e-9)
    finally:
        ctx.prec = before


def test_taylor_log_ratio_is_zero_without_scores_and_grows() -> None:
    b = np.linspace(0, 40, 400)
    ratio = taylor(6).log_ratio(b)
    assert ratio[0] == 0
    assert np.all(np.diff(ratio) >= 0)


@pytest.mark.parametrize(
    ("basis", "b", "tolerance", "degree"),
    [
        ("taylor", 0.5, 1e-2, 4),
        ("taylor", 1, 1e-6, 10),
        ("taylor", 2, 1e-2, 8),
        ("taylor", 4, 1e-6, 20 + 2),
        ("taylor", 16, 1e-2, 58),
    ],
)
def test_degree_for_taylor(basis: str, b: float, tolerance: float, degree: int) -> None:
    """The table of T2; one step up is allowed, since the ratio is computed on a grid rounded up."""
    assert degree - 2 <= degree_for(b, tolerance, basis) <= degree


@pytest.mark.parametrize("basis", ["taylor", "chebyshev", "minimax"])
@pytest.mark.parametrize("tolerance", [0.3, 1e-3, 1e-7])
@pytest.mark.parametrize("b", [0.01, 1.0, 5.0])
def test_degree_for_is_the_first_that_does(basis: str, tolerance: float, b: float) -> None:
    step = 2 if basis == "taylor" else 1

    def tv(g: int) -> float:
        try:
            return math.tanh(float(exp_polynomial(g, b, basis).log_ratio(np.asarray(b))) / 4)
        except TooLowDegreeError:
            return 1.0

    degree = degree_for(b, tolerance, basis)
    assert tv(degree) <= tolerance
    assert degree == 0 or tv(degree - step) > tolerance


def test_refusals_say_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"degree\(=3\).*even.*use degree 4"):
        taylor(3)
    with pytest.raises(MinimaxRefusedError, match=r"bounded by 30.*taylor"):
        minimax(20, 30.0)
    with pytest.raises(ValueError, match=r"tolerance\(=1e-12\).*Exact"):
        degree_for(16.0, 1e-12, "minimax")
    with pytest.raises(ValueError, match=r"basis\(='lagrange'\)"):
        degree_for(1.0, 0.1, "lagrange")
    with pytest.raises(
        ValueError, match=r"degree\(=3\) of a chebyshev basis is too low.*higher degree"
    ):
        chebyshev(3, 4.0)
    for degree, half_range in ((60, 22.0), (20, 41.0)):
        with pytest.raises(
            MinimaxRefusedError, match=r"float64 coefficients cannot hold it; use basis='taylor'"
        ):
            chebyshev(degree, half_range)


@pytest.mark.parametrize("basis", ["taylor", "chebyshev", "minimax"])
@pytest.mark.parametrize("half_range", [59.9, 160.0, 5717.0, 1e9])
def test_scores_beyond_every_degree_are_refused_by_tolerance(basis: str, half_range: float) -> None:
    with pytest.raises(ValueError, match=r"tolerance\(=1e-06\) for scores bounded by .*Exact"):
        degree_for(half_range, 1e-6, basis)


@pytest.mark.parametrize(
    ("basis", "degree", "b"),
    [("taylor", 6, 2.0), ("chebyshev", 9, 3.0), ("minimax", 5, 2.0), ("minimax", 12, 8.0)],
)
def test_relative_error_is_the_certified_one_or_above(basis: str, degree: int, b: float) -> None:
    polynomial = exp_polynomial(degree, b, basis)
    for share in (1.0, 0.4):
        certified = sup_error(polynomial.coefficients, (-share * b, share * b), kind="relative")
        stated = float(polynomial.relative_error(np.asarray(share * b)))
        assert stated >= float(certified.lower()) * (1 - 1e-15)
        assert stated <= 3 * float(certified.upper()) or basis != "taylor"
        assert (
            stated <= float(certified.upper()) * (1 + 1e-9)
            or basis != "minimax"
            or share < 1
            or b < polynomial.half_range
        )


def test_the_estimate_that_searches_start_from_is_near() -> None:
    for b in (0.5, 2.0, 8.0):
        for degree in range(2, 16):
            true = float(minimax(degree, b).relative_error(np.asarray(b)))
            if 1e-14 < true < 0.3:  # below, the rounding of coefficients counts
                assert 0.3 * true <= expected_error(degree, b) <= 8 * true
