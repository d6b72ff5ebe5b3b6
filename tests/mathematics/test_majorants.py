"""Majorants of |P - exp| against mpmath, between their points too, and what slack does to them."""

from __future__ import annotations

import itertools

import mpmath
import numpy as np
import pytest

from approxattn._arrays import HostArray
from approxattn.exponential import ExpPolynomial, one_sided, taylor
from approxattn.exponential.majorants import Difference, certified, difference
from approxattn.exponential.taylor_candidates import DEVIATIONS, TOUCHING
from approxattn.exponential.taylor_majorants import LEAST, STEPS_AN_OCTAVE, majorants_at

TAYLOR = [
    (g, b)
    for g in (0, 2, 4, 8, 12, 24)
    for b in (1e-12, 1e-3, 0.3, 2.0 ** (1 / STEPS_AN_OCTAVE), 2.7, 9.6, 32.0)
]
ONE_SIDED = [
    (g, b, share)
    for g in (1, 2, 3, 6, 10, 24)
    for b in (1e-6, 0.5, 4.0, 32.0)
    for share in (0.1, 1)
]


def errors(polynomial: ExpPolynomial, scores: HostArray) -> HostArray:
    """|P(s) - e^s| with fifty digits more than the largest needs, rounded down by a little."""
    smallest = -(polynomial.degree + 1) * float(np.log10(np.max(np.abs(scores), initial=1e-300)))
    with mpmath.workdps(60 + int(max(smallest, 0.0)) + 2 * polynomial.degree):
        c = [mpmath.mpf(x) for x in reversed(polynomial.coefficients)]
        found = [
            abs(mpmath.polyval(c, mpmath.mpf(float(s))) - mpmath.exp(float(s))) for s in scores
        ]
    return np.array([float(x) for x in found]) * (1 - 2.0**-50)


def places(b: float) -> HostArray:
    """An even and a geometric grid, the ends, and the neighbourhood of where majorants touch."""
    steps = (0.0, 1e-3, 1e-6, 1e-9, -1e-3, -1e-6, -1e-9)
    wide = 2.0 ** (np.ceil(np.log2(b) * STEPS_AN_OCTAVE) / STEPS_AN_OCTAVE)
    nodes = (*TOUCHING, *(y for x in DEVIATIONS for y in leaning_nodes(x)))
    touch = [x * scale * (1 + step) for x in nodes for scale in (b, wide) for step in steps]
    positive = np.concatenate([np.linspace(0, b, 101), np.geomspace(b * 1e-4, b, 60), touch])
    positive = np.unique(np.minimum(positive, b))
    return np.concatenate([-positive[::-1], positive])


def leaning_nodes(sigma: float) -> tuple[float, float]:
    """Sizes of the Radau nodes inside, for B = 1: those of the symmetric scores with these moments
    and a node at 1, found by its Jacobi matrix.
    """
    m = np.array([1.0, 0.0, sigma**2, 0.0, 3 * sigma**4])
    hankel = np.array([[m[i + j] - m[i + j + 1] for j in range(2)] for i in range(2)])
    shifted = np.array([m[2 + j] - m[3 + j] for j in range(2)])
    p = np.linalg.solve(hankel, -shifted)
    one, other = np.abs(np.roots([1.0, p[1], p[0]]))
    return float(one), float(other)


def moments_of(polynomial: ExpPolynomial, scores: HostArray) -> tuple[HostArray, HostArray]:
    """Moments of single scores of weight 1, and what rounding did to them."""
    assert polynomial.moments is not None
    moments = np.stack([scores**t for t in (0, *polynomial.moments.degrees)], axis=-1)
    return moments, np.abs(moments) * 2.0**-48


def largest_excess(polynomial: ExpPolynomial, b: float, scores: HostArray) -> float:
    """|P - exp| over the bound for rows of one key, where it is largest."""
    assert polynomial.moments is not None
    moments, slack = moments_of(polynomial, scores)
    bound = polynomial.moments.weigh(np.full(scores.shape, b), moments, slack)
    assert np.all(np.isfinite(bound))
    return float(np.max(errors(polynomial, scores) / bound))


@pytest.mark.parametrize(("degree", "b"), TAYLOR)
def test_no_point_of_the_range_is_above_a_taylor_majorant(degree: int, b: float) -> None:
    scores = places(b)
    excess = largest_excess(taylor(degree), b, scores)
    assert excess <= 1
    # elsewhere the rounding of the coefficients is all there is
    assert excess > 0.1 or b < 0.1 or degree > 8


@pytest.mark.parametrize(("degree", "most"), [(4, 3.0), (6, 1.9), (8, 1.8), (12, 1.8)])
@pytest.mark.parametrize("sigma", [0.155, 0.24])
def test_bounds_of_normal_scores_are_near_their_error(
    degree: int, most: float, sigma: float
) -> None:
    b, t = 1.57, np.linspace(-1, 1, 20001)
    polynomial, weights = taylor(degree), np.exp(-0.5 * (t / sigma) ** 2)
    assert polynomial.moments is not None
    used = np.array([0, *polynomial.moments.degrees])
    moments = weights @ (b * t[:, None]) ** used
    bound = polynomial.moments.weigh(np.array([b]), moments[None], np.zeros((1, used.size)))[0]
    error = float(weights[::10] @ errors(polynomial, b * t[::10])) * 10
    assert error < bound < most * error


@pytest.mark.parametrize("b", [1.0, 3.0, 9.6])
def test_odd_parts_gain_where_scores_have_both_signs(b: float) -> None:
    table = majorants_at(4, b)
    even = np.all(table[:, 1::2] == 0, axis=1)
    assert even.sum() == len(TOUCHING) + 1
    moments = np.array([1, 0, 0.2**2, 0, 3 * 0.2**4]) * b ** np.arange(5.0)
    assert np.min(table @ moments) < 0.97 * np.min(table[even] @ moments)


def test_rows_far_below_the_least_half_range_are_covered() -> None:
    for b in (LEAST, 1e-3, 1e-9):
        scores = b * np.array([-1, -0.9, -0.4, -0.2, -0.1, 0.1, 0.5, 1.0])
        assert largest_excess(taylor(4), b, scores) <= 1


@pytest.mark.parametrize(("degree", "b", "share"), ONE_SIDED)
def test_no_point_of_the_range_is_above_a_one_sided_majorant(
    degree: int, b: float, share: float
) -> None:
    polynomial = one_sided(degree, b, share * b)
    excess = largest_excess(polynomial, b, places(b))
    assert excess <= 1
    assert excess > 0.5 or b < 0.1 or degree == 24


@pytest.mark.parametrize("step", [-200, -119, -67, -40, -3, 0, 7, 19])
@pytest.mark.parametrize("nudge", [-4, -1, 0, 1, 4])
def test_ranges_next_to_a_step_are_covered(step: int, nudge: int) -> None:
    b = 2.0 ** (step / STEPS_AN_OCTAVE) * (1 + nudge * 2.0**-52)
    for degree in (2, 4, 8):
        assert largest_excess(taylor(degree), b, np.array([-b, -0.99 * b, 0.99 * b, b])) <= 1


def rows(rng: np.random.Generator, b: float) -> tuple[HostArray, HostArray]:
    """Scores and weights of rows that try to get the most out of their moments."""
    n = 6
    scores = rng.uniform(-b, b, (12, n))
    scores[0], scores[1], scores[2] = b, -b, np.linspace(-b, b, n)
    scores[3] = [b, *[0.0] * (n - 1)]
    scores[4] = rng.choice(TOUCHING, n) * b
    weights = rng.uniform(0, 1, scores.shape) ** 4
    return scores, weights


@pytest.mark.parametrize("basis", ["taylor", "one-sided"])
@pytest.mark.parametrize("degree", [2, 4, 6])
@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-3, 1.0])
def test_no_moments_within_their_slack_give_less_than_the_sum(
    basis: str, degree: int, size: float
) -> None:
    """The bound is concave in the moments: its least value is at a corner of the slack."""
    rng = np.random.default_rng([degree, int(1e6 * size)])
    for b in (0.2, 3.0, 11.0):
        polynomial = taylor(degree) if basis == "taylor" else one_sided(degree, b, b / 3)
        assert polynomial.moments is not None
        scores, weights = rows(rng, b)
        found = errors(polynomial, scores.ravel()).reshape(scores.shape)
        true = np.sum(weights * found, axis=-1)
        used = (0, *polynomial.moments.degrees)
        moments = np.stack([np.sum(weights * scores**t, axis=-1) for t in used], axis=-1)
        sizes = np.stack([np.sum(weights * np.abs(scores) ** t, axis=-1) for t in used], axis=-1)
        slack = sizes * (size + 2.0**-45)
        slack[:, 0] = 0.0
        moments[:, 0] *= 1 + 2.0**-45
        for signs in itertools.product((-1.0, 1.0), repeat=len(used)):
            moved = moments + np.array(signs) * slack * (1 - 2.0**-40)
            bound = polynomial.moments.weigh(np.full(true.shape, b), moved, slack)
            assert np.all(bound >= true)


def test_what_lies_beyond_the_range_has_no_bound() -> None:
    for polynomial in (taylor(4), one_sided(3, 2.0, 1.0)):
        assert polynomial.moments is not None
        used = 1 + len(polynomial.moments.degrees)
        beyond = np.array([33.0, 1e9, np.inf, np.nan])
        bound = polynomial.moments.weigh(beyond, np.ones((4, used)), np.zeros((4, used)))
        assert np.all(np.isinf(bound))
        bad = np.full((2, used), np.nan)
        bad[1] = np.inf
        with np.errstate(invalid="ignore"):
            found = polynomial.moments.weigh(np.ones(2), np.ones((2, used)), bad)
        assert np.all(np.isinf(found))


@pytest.mark.parametrize("seed", range(20))
def test_a_candidate_that_is_wrong_is_mended(seed: int) -> None:
    """Any polynomial becomes a majorant of any difference; with a good one hardly more is added."""
    rng = np.random.default_rng(seed)
    b, n = 10.0 ** rng.uniform(-2, 1.4), int(rng.integers(1, 14))
    scale = b ** -np.arange(float(n))
    delta = Difference(coefficients=rng.normal(size=n) * scale, slack=np.zeros(n), tail=0.0)
    candidates = rng.normal(size=(3, n)) * scale
    made = certified(candidates, b, delta)
    x = np.concatenate([np.linspace(-b, b, 4001), b * np.linspace(-1e-2, 1e-2, 401)])
    off = np.abs(np.polynomial.polynomial.polyval(x, delta.coefficients))
    for q, candidate in zip(made, candidates, strict=True):
        gap = np.polynomial.polynomial.polyval(x, q) - off
        size = np.sum(np.abs(q) / scale)
        assert gap.min() >= -1e-13 * size
        if q[0] > candidate[0] * (1 + 2.0**-8) + 1e-9:  # the constant is no larger than needed
            assert gap.min() <= 0.02 * size


def test_slack_and_tail_are_paid_for() -> None:
    delta = difference((1.0, 1.0), 1.0)
    more = Difference(
        coefficients=delta.coefficients, slack=delta.slack + 1e-3, tail=delta.tail + 1e-2
    )
    plain, paid = (certified(np.zeros((1, 2)), 1.0, d)[0, 0] for d in (delta, more))
    assert paid - plain >= 1e-2 + 1e-3


@pytest.mark.parametrize(("degree", "b", "share"), ONE_SIDED)
def test_the_log_ratio_holds_where_the_polynomial_is_positive(
    degree: int, b: float, share: float
) -> None:
    polynomial = one_sided(degree, b, share * b)
    for part in (1e-3, 0.1, 0.5, 1.0):
        end = part * b
        claimed = float(polynomial.log_ratio(np.array(end)))
        x = np.linspace(-end, end, 101)
        with mpmath.workdps(60):
            c = [mpmath.mpf(y) for y in reversed(polynomial.coefficients)]
            values = [mpmath.polyval(c, mpmath.mpf(float(s))) for s in x]
            if min(values) <= 0:
                assert np.isinf(claimed)
                continue
            logs = [float(mpmath.log(y) - s) for y, s in zip(values, x, strict=True)]
        assert max(logs) - min(logs) <= claimed + 1e-15
