"""The polynomials of exp: their stated errors against ball arithmetic, their degrees against the certified minimal ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

from approxattn.exponential import degree_for, minimax, taylor
from approxattn.exponential.minimax import MinimaxRefusedError
from proofs_check.supnorm import sup_error

# Smallest degree with relative error <= 1e-2 ... 1e-12 on [-B, B]; each cell certified from both sides in ball arithmetic.
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
    ("half_range", "degree"), [(0.5, 0), (0.5, 3), (2.0, 6), (4.0, 9), (8.0, 14), (11.0, 12), (2.0**-10, 2)]
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
    assert half_range <= minimax(4, half_range).half_range <= half_range * 2 ** (1 / 8) * (1 + 1e-12)


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
        assert stated <= exact * arb(1 + (degree + 2) * 1.1e-3) + arb(1e-250) or stated <= 2 * x * arb(1 + 1e-9)
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


@pytest.mark.parametrize("basis", ["taylor", "minimax"])
@pytest.mark.parametrize("tolerance", [0.3, 1e-3, 1e-7])
@pytest.mark.parametrize("b", [0.01, 1.0, 5.0])
def test_degree_for_is_the_first_that_does(basis: str, tolerance: float, b: float) -> None:
    make = taylor if basis == "taylor" else (lambda g: minimax(g, b))
    step = 2 if basis == "taylor" else 1

    def tv(g: int) -> float:
        return math.tanh(float(make(g).log_ratio(np.asarray(b))) / 4)

    degree = degree_for(b, tolerance, basis)
    assert tv(degree) <= tolerance
    assert degree == 0 or tv(degree - step) > tolerance


def test_refusals_say_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"degree\(=3\).*even.*use degree 4"):
        taylor(3)
    with pytest.raises(MinimaxRefusedError, match=r"bounded by 32.*taylor"):
        minimax(20, 30.0)
    with pytest.raises(ValueError, match=r"tolerance\(=1e-12\).*Exact"):
        degree_for(16.0, 1e-12, "minimax")
    with pytest.raises(ValueError, match=r"basis\(='chebyshev'\)"):
        degree_for(1.0, 0.1, "chebyshev")


@pytest.mark.parametrize("basis", ["taylor", "minimax"])
@pytest.mark.parametrize("half_range", [59.9, 160.0, 5717.0, 1e9])
def test_scores_beyond_every_degree_are_refused_by_tolerance(basis: str, half_range: float) -> None:
    with pytest.raises(ValueError, match=r"tolerance\(=1e-06\) for scores bounded by .*Exact"):
        degree_for(half_range, 1e-6, basis)
