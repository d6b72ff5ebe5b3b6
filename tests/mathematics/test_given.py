"""Any coefficients in the place of those of exp: the bounds hold between all points, for every kind
of polynomial, whatever the linear programme says, and are about as small as those of our own.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from approxattn._arrays import HostArray
from approxattn.exponential import (
    ExpPolynomial,
    given,
    given_majorants,
    minimax,
    one_sided,
    taylor,
)
from approxattn.exponential.given import check_coefficients, given_over, given_polynomial

TAYLOR = tuple(1 / math.factorial(t) for t in range(13))


def kinds(seed: int) -> dict[str, tuple[float, ...]]:
    """Coefficients of every kind."""
    rng = np.random.default_rng(seed)
    g = int(rng.integers(1, 10))
    c = np.asarray(TAYLOR[: g + 1])
    some = c * (rng.random(g + 1) < 0.6)
    some[0] = 1.0
    found = {
        "taylor": c,
        "noise": c * (1 + 0.2 * rng.standard_normal(g + 1)),
        "random": rng.standard_normal(g + 1),
        "zeros": some,
        "negative": -c,
        "scaled": c * 10.0 ** rng.uniform(-200, 200),
        "no constant": np.concatenate([[0.0], c]),
        "constant": c[:1],
        "tiny top": np.append(c, 1e-300),
        "minimax": minimax(g, 2.0).coefficients,
    }
    return {name: tuple(float(x) for x in values) for name, values in found.items()}


def power_moments(p: ExpPolynomial, s: HostArray, w: HostArray) -> HostArray:
    """m_0 and the moments that p names, of rows of scores and weights."""
    assert p.moments is not None
    return np.stack([np.sum(w * s**t, axis=-1) for t in (0, *p.moments.degrees)], axis=-1)


def errors_and_bounds(
    p: ExpPolynomial, s: HostArray, w: HostArray, b: float
) -> tuple[HostArray, HostArray]:
    """The largest error of an output with values in [0, 1] times |E|, in long double, and T5."""
    assert p.moments is not None
    wide, weight = s.astype(np.longdouble), w.astype(np.longdouble)
    value = np.zeros_like(wide)
    for c in reversed(p.coefficients):
        value = value * wide + np.longdouble(c)
    approximate, exact = weight * value, weight * np.exp(wide)
    total = np.sum(approximate, axis=-1, keepdims=True)
    apart = approximate - total * exact / np.sum(exact, axis=-1, keepdims=True)
    # |sum_j (f~ - f)_j v_j| is largest for v = 1 where the difference has one sign
    error = np.maximum(np.sum(np.maximum(apart, 0), -1), np.sum(np.maximum(-apart, 0), -1))
    slack = 1e-14 * power_moments(p, np.abs(s), w)
    bound = p.moments.weigh(np.full(len(s), b), power_moments(p, s, w), slack)
    return error.astype(float), bound


@pytest.mark.parametrize(("seed", "b"), [(0, 1e-9), (1, 0.4), (2, 11.0), (0, 32.0)])
def test_no_row_is_off_by_more_than_its_moments_say(seed: int, b: float) -> None:
    rng = np.random.default_rng(seed)
    for name, c in kinds(seed).items():
        p = given_polynomial(c, b, b * float(rng.choice([0.05, 0.3, 5.0])))
        rows = np.concatenate(
            [
                rng.uniform(-b, b, (40, 3)),
                b * rng.choice([-1.0, 1.0, 0.0, 0.01], (40, 3)),
                b * 10 ** rng.uniform(-5, 0, (40, 3)) * rng.choice([-1.0, 1.0], (40, 3)),
            ]
        )
        weights = 10 ** rng.uniform(-6, 0, rows.shape)
        error, bound = errors_and_bounds(p, rows, weights, b)
        assert np.all(error <= bound * (1 + 1e-12)), name
        assert np.all(np.isfinite(bound)), name
        beyond = errors_and_bounds(p, rows, weights, 1.01 * max(b, 32.0))[1]
        assert np.all(np.isinf(beyond)), name


@pytest.mark.parametrize(("g", "b"), [(2, 0.3), (6, 0.3), (4, 2.5), (10, 2.5), (2, 8.0), (8, 8.0)])
def test_taylor_by_hand_is_as_good_as_the_basis(g: int, b: float) -> None:
    rng = np.random.default_rng(g)
    s = np.clip(rng.standard_normal((60, 2000)) * b / 7 * rng.uniform(0.4, 1, (60, 1)), -b, b)
    own, copy = taylor(g), given_polynomial(taylor(g).coefficients, b, b / 7)
    by_hand = errors_and_bounds(copy, s, np.ones_like(s), b)[1]
    basis = errors_and_bounds(own, s, np.ones_like(s), b)[1]
    floor = 1e-15 * s.shape[-1]  # of float64
    assert np.median(by_hand) < 1.3 * np.median(basis) + floor  # the basis has more majorants
    ends = np.linspace(b / 10, b, 10)
    bound, best = copy.log_ratio(ends), own.log_ratio(ends)
    # where P is far below e^s step 1 loses more
    assert np.all((bound <= best * 1.08 + 1e-12) | (best > 4))


@pytest.mark.parametrize("g", [2, 3, 6, 9])
def test_our_own_majorants_are_not_better(g: int) -> None:
    rng, b = np.random.default_rng(g), 4.0
    s = np.clip(rng.standard_normal((60, 2000)) * rng.uniform(0.2, 0.6, (60, 1)), -b, b)
    own = one_sided(g, b, 0.6)
    copy = given_polynomial(own.coefficients, b, 0.6)
    ones = np.ones_like(s)
    ratio = errors_and_bounds(copy, s, ones, b)[1] / errors_and_bounds(own, s, ones, b)[1]
    assert np.median(ratio) < 1.02


def test_a_common_factor_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    s = rng.standard_normal((30, 500)) * 0.5
    s, ones = np.clip(s, -3, 3), np.ones_like(s)
    c = one_sided(6, 3.0, 0.5).coefficients
    plain = errors_and_bounds(given_polynomial(c, 3.0, 0.5), s, ones, 3.0)[1]
    for factor in (1e-30, 0.1, 7.0, -2.0, 1e50):
        p = given_polynomial(tuple(factor * x for x in c), 3.0, 0.5)
        bound = errors_and_bounds(p, s, ones, 3.0)[1] / abs(factor)
        if factor > 0:
            np.testing.assert_allclose(bound, plain, rtol=0.05)
            ends = np.array([0.5, 3.0])
            np.testing.assert_allclose(
                p.log_ratio(ends), given_polynomial(c, 3.0, 0.5).log_ratio(ends), rtol=1e-9
            )
        else:
            assert np.all(np.isinf(p.log_ratio(np.array([0.1]))))


def test_degrees_without_a_coefficient_are_not_asked_for() -> None:
    p = given_polynomial((1.0, 0.0, 0.5, 0.0, 1 / 24, 1e-200), 2.0, 0.4)
    assert p.moments is not None
    assert p.moments.degrees == (2, 4)


@pytest.mark.parametrize("seed", [0])
def test_without_a_programme_the_simple_candidate_stands(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_majorants.majorants_of.cache_clear()
    monkeypatch.setattr(given_majorants, "_solve", lambda _: None)
    rng = np.random.default_rng(seed)
    for b in (0.2, 2.0, 9.0):
        for name, c in kinds(seed).items():
            p = given_polynomial(c, b, b / 4)
            s = rng.uniform(-b, b, (100, 4))
            error, bound = errors_and_bounds(p, s, np.ones_like(s), b)
            assert np.all(error <= bound), name
            assert np.all(np.isfinite(bound)), name
    s = np.clip(rng.standard_normal((50, 1000)) * 0.3, -2, 2)
    simple = errors_and_bounds(given_polynomial(TAYLOR[:7], 2.0, 0.3), s, np.ones_like(s), 2.0)[1]
    basis = errors_and_bounds(taylor(6), s, np.ones_like(s), 2.0)[1]
    assert np.median(simple / basis) < 12
    given_majorants.majorants_of.cache_clear()


def test_a_wrong_programme_costs_sharpness_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the solver returns, the majorant holds: `certified` adds what is missing."""
    given_majorants.majorants_of.cache_clear()
    rng = np.random.default_rng(3)
    for wrong in (1.0, -1e6):
        monkeypatch.setattr(
            given_majorants, "_solve", lambda programme, x=wrong: np.full_like(programme.cost, x)
        )
        given_majorants.majorants_of.cache_clear()
        for name, c in kinds(5).items():
            p = given_polynomial(c, 2.0, 0.5)
            s = rng.uniform(-2, 2, (100, 4))
            error, bound = errors_and_bounds(p, s, np.ones_like(s), 2.0)
            assert np.all(error <= bound), name
    given_majorants.majorants_of.cache_clear()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("b", [0.3, 8.0])
def test_ratio_and_slope_hold_and_are_sharp(
    seed: int, b: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(given, "majorants_of", lambda *_: ((0,), ()))  # neither rests on them
    for name, c in kinds(seed).items():
        p = given_polynomial(c, b, b / 5)
        for part in (0.03, 0.4, 1.0):
            s = np.linspace(-b * part, b * part, 1001, dtype=np.longdouble)
            value = sum(np.longdouble(x) * s**t for t, x in enumerate(c))
            slope = sum(t * np.longdouble(x) * s ** max(t - 1, 0) for t, x in enumerate(c))
            ratio = value * np.exp(-s)
            bound, steep = (float(f(np.asarray(b * part))) for f in (p.log_ratio, p.slope_error))
            if not np.all(ratio > 0):
                assert np.isinf(bound), name
                assert np.isinf(steep), name
                continue
            true = float(np.ptp(np.log(ratio)))
            assert true <= bound, name
            assert float(np.max(np.abs(slope / value - 1))) <= steep, name
            # y < 1 needs P above 0 by a part of e^s
            if np.min(ratio) > 0.05 * c[0] and part == 1.0:
                assert bound <= 1.2 * true + 1e-9, name


@pytest.mark.parametrize("half_range", [0.0, 1e-300, 32.0, 1e300, math.nan])
@pytest.mark.parametrize(
    "c",
    [
        (1.0,),
        (0.0, 1.0),
        (1e300, 1e300, 1e300),
        (1e-300, 1e-308),
        TAYLOR,
        tuple(1 / math.factorial(t) for t in range(121)),
        (1.0, *[0.0] * 40, 1e-5),
        (-1.0, 1e200, 1e-200),
    ],
)
def test_nothing_makes_it_fail(c: tuple[float, ...], half_range: float) -> None:
    for deviation in (0.0, math.nan):
        p = given_polynomial(c, half_range, deviation)
        assert p.coefficients == c
        for at in (0.0, 1.0, 40.0):
            assert p.log_ratio(np.array([at]))[0] >= 0
            assert p.slope_error(np.array([at]))[0] >= 0
        if p.moments is not None:
            m = np.ones((2, 1 + len(p.moments.degrees)))
            with np.errstate(all="ignore"):
                found = p.moments.weigh(np.array([0.5, 40.0]), m, 0 * m)
            assert not np.any(np.isnan(found))
            assert np.isinf(found[1])


def test_over_a_range_is_the_same_with_a_deviation_of_its_own() -> None:
    one, other = given_over(TAYLOR[:5], 2.0), given_over(TAYLOR[:5], 2.0)
    assert one.half_range == 2.0
    assert (one.basis, one.coefficients) == (other.basis, other.coefficients)
    ends = np.array([0.1, 1.9])
    np.testing.assert_array_equal(one.log_ratio(ends), other.log_ratio(ends))


@pytest.mark.parametrize("bad", ["12", 3.0, {1.0: 2.0}, None, [1.0, "2"], [[1.0, 2.0]], [True]])
def test_what_is_no_list_of_numbers_is_refused(bad: object) -> None:
    with pytest.raises(TypeError, match="coefficients"):
        check_coefficients(bad)


@pytest.mark.parametrize("bad", [[], [0.0, 0.0], [math.nan], [1.0, math.inf], [1.0] * 152])
def test_what_is_no_polynomial_is_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="coefficients"):
        check_coefficients(bad)


def test_numbers_of_every_kind_become_floats() -> None:
    found = check_coefficients(np.array([1, 2], dtype=np.float32))
    assert found == (1.0, 2.0)
    assert all(type(c) is float for c in found)
    assert check_coefficients(iter([1, 0.5])) == (1.0, 0.5)
