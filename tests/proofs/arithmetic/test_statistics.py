"""The small statistics against closed forms and other libraries."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import ttost_paired

from proofs_check.arithmetic.statistics import (
    binomial_bounds,
    binomial_p_values,
    block_means,
    campaign_decisions,
    holm,
    mean_p_values,
)


@pytest.mark.parametrize(("failures", "n"), [(0, 10), (3, 10), (10, 10), (7, 400)])
@pytest.mark.parametrize("alpha", [0.05, 1e-6])
def test_binomial_bounds_are_one_sided_clopper_pearson(failures: int, n: int, alpha: float) -> None:
    two_sided = proportion_confint(failures, n, alpha=2 * alpha, method="beta")
    expected = (0.0 if failures == 0 else two_sided[0], 1.0 if failures == n else two_sided[1])
    assert binomial_bounds(failures, n, alpha) == pytest.approx(expected)


LEVELS = (0.3, 0.05, 1e-6, 1e-16, 1e-17, 1e-50, 1e-100, 1e-200, 1e-300)


@pytest.mark.parametrize("alpha", LEVELS)
@pytest.mark.parametrize("n", [1, 2, 10, 100, 2000])
def test_binomial_bounds_hold_at_every_level_and_are_sharp(n: int, alpha: float) -> None:
    """The tails at the bounds, summed exactly: at most alpha, and more than that a little inside.

    One minus a small level is one, and SciPy's quantiles are NaN for some of these.
    """
    for failures in sorted({0, 1, n // 20, n // 2, n - 1, n}):
        low, high = binomial_bounds(failures, n, alpha)
        assert 0 <= low < high <= 1
        if failures < n:
            assert at_most(failures, n, Fraction(high)) <= Fraction(alpha)
            inner = Fraction(high) * (1 - Fraction(2) ** -38)
            assert at_most(failures, n, inner) > Fraction(alpha)
        if failures > 0:
            assert at_most(n - failures, n, 1 - Fraction(low)) <= Fraction(alpha)
            inner = Fraction(low) * (1 + Fraction(2) ** -38)
            assert at_most(n - failures, n, 1 - inner) > Fraction(alpha)


def at_most(k: int, n: int, p: Fraction) -> Fraction:
    """Probability of at most k events in n draws, to 400 digits: far finer than what is asked."""
    with mpmath.workdps(400):
        x = mpmath.mpf(p.numerator) / p.denominator
        term, total = (1 - x) ** n, mpmath.mpf(0)
        for i in range(k + 1):
            total += term
            if x == 1:
                break
            term = term * (n - i) / (i + 1) * x / (1 - x)
        mantissa, exponent = mpmath.frexp(total)
        return Fraction(int(mantissa * 2**1400), 2**1400) * Fraction(2) ** exponent


@given(st.integers(1, 60), st.data(), st.floats(0.01, 0.99))
def test_binomial_p_values_are_exact(n: int, data: st.DataObject, delta: float) -> None:
    failures = data.draw(st.integers(0, n))
    pmf = [math.comb(n, i) * delta**i * (1 - delta) ** (n - i) for i in range(n + 1)]
    expected = (math.fsum(pmf[: failures + 1]), math.fsum(pmf[failures:]))
    assert binomial_p_values(failures, n, delta) == pytest.approx(expected, rel=1e-9)


def test_counts_are_checked() -> None:
    with pytest.raises(ValueError, match="failures"):
        binomial_bounds(5, 4, 0.1)
    for alpha in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="alpha"):
            binomial_bounds(1, 4, alpha)


def test_block_means() -> None:
    assert block_means(np.arange(7.0), 3).tolist() == [0.5, 2.5, 4.5]
    with pytest.raises(ValueError, match="too few"):
        block_means(np.arange(5.0), 3)
    with pytest.raises(ValueError, match="NaN"):
        block_means(np.array([1.0, np.nan, 1.0, 1.0]), 2)


def test_equivalence_is_two_one_sided_tests() -> None:
    means = np.random.default_rng(1).normal(0.1, 1, size=30)
    test = mean_p_values(means, -0.5, 0.5)
    p_value, (_, p_low, _), (_, p_high, _) = ttost_paired(means, np.zeros(30), -0.5, 0.5)
    assert max(test.not_above, test.not_below) == pytest.approx(p_value)
    assert (test.not_below, test.not_above) == pytest.approx((p_low, p_high))
    assert test.above == pytest.approx(1 - test.not_above)


def test_without_spread_nothing_is_shown() -> None:
    test = mean_p_values(np.zeros(10), -1, 1)
    assert min(test[:4]) == 1.0


@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=6))
def test_holm_is_the_closure_of_bonferroni(p_values: list[float]) -> None:
    """A hypothesis is rejected when Bonferroni's test rejects every set of hypotheses that it
    belongs to (Marcus, Peritz & Gabriel 1976).
    """
    sets = [
        s
        for n in range(1, len(p_values) + 1)
        for s in itertools.combinations(range(len(p_values)), n)
    ]
    closed = [
        all(min(p_values[j] for j in s) <= 0.05 / len(s) for s in sets if i in s)
        for i in range(len(p_values))
    ]
    assert holm(p_values, 0.05) == closed


def test_holm_agrees_with_statsmodels() -> None:
    p_values = [0.001, 0.04, 0.012, 0.9, 0.011, 0.3]
    assert holm(p_values, 0.05) == multipletests(p_values, alpha=0.05, method="holm")[0].tolist()


@given(st.lists(st.floats(0, 0.02), min_size=2, max_size=8), st.data())
def test_looking_early_takes_nothing_back(p_values: list[float], data: st.DataObject) -> None:
    """Experiments not carried out count with p = 1: what is decided without them stays decided."""
    done = data.draw(st.lists(st.booleans(), min_size=len(p_values), max_size=len(p_values)))
    early = holm([p if d else 1.0 for p, d in zip(p_values, done, strict=True)], 0.05)
    late = holm(p_values, 0.05)
    assert all(after or not before for before, after in zip(early, late, strict=True))


@pytest.mark.parametrize("as_expected", [0, 10, 20])
def test_the_campaign_keeps_its_level(as_expected: int) -> None:
    """Twenty experiments, some of whose expected decisions would be right and are always reached;
    every true hypothesis at its boundary.
    """
    rng, campaigns, experiments, level = np.random.default_rng(3), 4000, 20, 0.05
    wrong = 0
    for uniform in rng.random((campaigns, experiments)):  # p-values of the true hypotheses
        expected = [1e-9] * as_expected + uniform[as_expected:].tolist()
        other = uniform[:as_expected].tolist() + [1e-9] * (experiments - as_expected)
        decided, opposite = campaign_decisions(expected, other, level)
        wrong += any(decided[as_expected:]) or any(opposite[:as_expected])
    at_least, at_most = binomial_bounds(wrong, campaigns, 1e-6)
    assert at_least <= level
    assert at_most >= level / 4  # and is not wasted


def test_decisions_need_their_p_values() -> None:
    assert campaign_decisions([], [], 0.01) == ([], [])
    assert campaign_decisions([0.004, 0.5], [1.0, 0.0025], 0.01) == ([False, False], [False, True])
    with pytest.raises(ValueError, match="same experiments"):
        campaign_decisions([0.1], [], 0.01)
    with pytest.raises(ValueError, match="level"):
        holm([0.1], 1.0)


@pytest.mark.parametrize("p", [math.nan, -0.1, 1.1, math.inf])
def test_what_is_no_p_value_decides_nothing(p: float) -> None:
    """NaN compares as not too large, and would count as a rejection."""
    with pytest.raises(ValueError, match="p-value lies in"):
        holm([p, 0.5], 0.05)
    with pytest.raises(ValueError, match="p-value lies in"):
        campaign_decisions([0.5], [p], 0.05)
