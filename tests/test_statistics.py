"""The small statistics against closed forms and other libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import ttost_paired

from proofs_check.statistics import (
    binomial_bounds,
    binomial_p_values,
    block_means,
    campaign_threshold,
    draws_to_support,
    mean_p_values,
)


@pytest.mark.parametrize(("failures", "n"), [(0, 10), (3, 10), (10, 10), (7, 400)])
@pytest.mark.parametrize("alpha", [0.05, 1e-6])
def test_binomial_bounds_are_one_sided_clopper_pearson(failures: int, n: int, alpha: float) -> None:
    two_sided = proportion_confint(failures, n, alpha=2 * alpha, method="beta")
    expected = (0.0 if failures == 0 else two_sided[0], 1.0 if failures == n else two_sided[1])
    assert binomial_bounds(failures, n, alpha) == pytest.approx(expected)


@given(st.integers(1, 60), st.data(), st.floats(0.01, 0.99))
def test_binomial_p_values_are_exact(n: int, data: st.DataObject, delta: float) -> None:
    failures = data.draw(st.integers(0, n))
    pmf = [math.comb(n, i) * delta**i * (1 - delta) ** (n - i) for i in range(n + 1)]
    expected = (math.fsum(pmf[: failures + 1]), math.fsum(pmf[failures:]))
    assert binomial_p_values(failures, n, delta) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("delta", "alpha", "n"),
    [(0.1, 0.05, 29), (0.1, 1e-3, 66), (0.05, 0.01, 90), (0.01, 1e-6, 1375), (1e-3, 0.05, 2995)],
)
def test_draws_to_support(delta: float, alpha: float, n: int) -> None:
    assert draws_to_support(delta, alpha) == n
    assert binomial_p_values(0, n, delta)[0] <= alpha < binomial_p_values(0, n - 1, delta)[0]


def test_counts_are_checked() -> None:
    with pytest.raises(ValueError, match="failures"):
        binomial_bounds(5, 4, 0.1)
    with pytest.raises(ValueError, match="delta"):
        draws_to_support(0.0, 0.1)


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


def test_the_campaign_keeps_its_level() -> None:
    """Twenty experiments at the boundary of their claims: the share of campaigns with any wrong decision stays below the level."""
    rng, campaigns, experiments, level = np.random.default_rng(3), 4000, 20, 0.05
    against_truth = rng.random((campaigns, experiments))  # p-values of the true hypotheses
    wrong = int(np.sum(np.any(against_truth <= campaign_threshold(experiments, level), axis=1)))
    at_least, at_most = binomial_bounds(wrong, campaigns, 1e-6)
    assert at_least <= level
    assert at_most >= level / 2  # and is not wasted
    assert campaign_threshold(1, level) == level
    with pytest.raises(ValueError, match="experiments"):
        campaign_threshold(0, level)
