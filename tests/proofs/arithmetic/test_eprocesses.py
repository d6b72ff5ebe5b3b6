"""Tests that may be looked at while they run: exact martingales, and error rates beside those of
tests that may not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from scipy.stats import binom

from proofs_check import Plan, Sample, Status
from proofs_check.arithmetic.eprocesses import MeanBets, log_evidence_below, p_value
from proofs_check.arithmetic.statistics import binomial_bounds, mean_p_values
from proofs_check.checkers import check


@pytest.mark.parametrize("n", [1, 2, 7, 40])
@pytest.mark.parametrize("delta", [0.02, 0.5, 0.9])
def test_the_mean_is_one_at_the_boundary_and_below_one_beyond(n: int, delta: float) -> None:
    events = np.arange(n + 1)
    e = np.exp(log_evidence_below(events, n, delta))
    assert binom.pmf(events, n, delta) @ e == pytest.approx(1, rel=1e-9)
    for p in np.linspace(delta, 1, 9)[1:]:
        assert binom.pmf(events, n, p) @ e < 1


@pytest.mark.parametrize(
    ("k", "n", "delta"), [(0, 5, 0.1), (3, 200, 0.05), (90, 100, 0.5), (20, 20, 0.3)]
)
def test_the_mixture_against_quadrature(k: int, n: int, delta: float) -> None:
    def ratio(q: Any) -> Any:
        likelihood = (q / delta) ** k * ((1 - q) / (1 - delta)) ** (n - k)
        return likelihood / mpmath.sqrt(q * (1 - q))

    cuts = [delta * 2.0**-i for i in range(30, -1, -1)]
    integral = mpmath.quad(ratio, [0, *cuts]) / mpmath.quad(
        lambda q: 1 / mpmath.sqrt(q * (1 - q)), [0, *cuts]
    )
    assert float(log_evidence_below(k, n, delta)) == pytest.approx(
        float(mpmath.log(integral)), abs=1e-6
    )


def test_far_on_the_other_side_there_is_no_evidence() -> None:
    assert float(log_evidence_below(900_000, 1_000_000, 0.01)) == -math.inf
    assert p_value(-math.inf) == 1.0
    assert 0 < p_value(1e4) < 1e-300
    with pytest.raises(ValueError, match="delta"):
        log_evidence_below(1, 2, 1.0)


@pytest.mark.parametrize("above", [True, False])
def test_no_game_against_a_true_hypothesis_can_be_won(above: bool) -> None:
    """Three values, all sequences of four draws: the mean capital is 1 at the bound and at most 1
    on the hypothesis' side of it.
    """
    support, low, high, bound = np.array([-1.0, 0.5, 3.0]), -1.0, 3.0, 0.25
    for weights in (
        [0.5, 0.3333333333333333, 0.16666666666666666],
        [0.6875, 0.0, 0.3125],
        [0.8, 0.1, 0.1],
        [0.1, 0.1, 0.8],
    ):
        mean, capital = float(support @ weights), 0.0
        for sequence in itertools.product(range(3), repeat=4):
            bets = MeanBets(bound, low=low, high=high, above=above)
            bets.update(support[list(sequence[:2])])
            bets.update(support[list(sequence[2:])])
            capital += math.prod(weights[i] for i in sequence) * math.exp(bets.log_e)
        if mean == pytest.approx(bound):
            assert capital == pytest.approx(1, rel=1e-12)
        else:
            assert (capital > 1) == ((mean > bound) == above)


def test_bets_are_checked() -> None:
    with pytest.raises(ValueError, match="strictly between"):
        MeanBets(1.0, low=0.0, high=1.0, above=True)
    bets = MeanBets(0.5, low=0.0, high=1.0, above=True)
    for bad in (1.5, math.nan):
        with pytest.raises(ValueError, match="void"):
            bets.update(np.array([0.1, bad]))


# --- looking again and again ----------------------------------------------------------------------
# 2000 runs of a claim that is exactly at its boundary, looked at after every 100 of 20,000 draws,
# at level 1 %.

ALPHA, DELTA, RUNS = 0.01, 0.02, 2000
LOOKS = np.arange(100, 20_001, 100)


def ever(p: float, decide: Callable[[np.ndarray], np.ndarray]) -> int:
    """In how many runs a test of counts decides at some look."""
    counts = np.cumsum(np.random.default_rng(11).binomial(100, p, size=(RUNS, len(LOOKS))), axis=1)
    return int(np.sum(np.any(decide(counts), axis=1)))


def supports(counts: np.ndarray) -> np.ndarray:
    return np.asarray(log_evidence_below(counts, LOOKS, DELTA)) >= -math.log(ALPHA)


def refutes(counts: np.ndarray) -> np.ndarray:
    return np.asarray(log_evidence_below(LOOKS - counts, LOOKS, 1 - DELTA)) >= -math.log(ALPHA)


def naive_supports(counts: np.ndarray) -> np.ndarray:
    return np.asarray(binom.cdf(counts, LOOKS, DELTA)) <= ALPHA


def naive_refutes(counts: np.ndarray) -> np.ndarray:
    return np.asarray(binom.sf(counts - 1, LOOKS, DELTA)) <= ALPHA


@pytest.mark.parametrize("ours", [supports, refutes])
def test_our_probabilities_may_be_looked_at(ours: Callable[[np.ndarray], np.ndarray]) -> None:
    _, at_most = binomial_bounds(ever(DELTA, ours), RUNS, 1e-3)
    # the interval is that wide even where the rate is well below the level
    assert at_most <= 1.3 * ALPHA


@pytest.mark.parametrize("naive", [naive_supports, naive_refutes])
def test_the_trap_is_there(naive: Callable[[np.ndarray], np.ndarray]) -> None:
    at_least, _ = binomial_bounds(ever(DELTA, naive), RUNS, 1e-3)
    assert at_least >= 4 * ALPHA


def test_true_and_false_claims_are_found_out() -> None:
    assert ever(DELTA / 2, supports) == RUNS
    assert ever(DELTA * 2, refutes) == RUNS
    assert ever(DELTA / 2, refutes) <= ALPHA * RUNS
    assert ever(DELTA * 2, supports) <= ALPHA * RUNS


def test_means_may_be_looked_at_and_t_tests_may_not() -> None:
    """Rare large values, mean exactly at the bound of the hypothesis mean <= bound or mean >=
    bound; 20 looks at 40 draws each.
    """
    rng, runs, level = np.random.default_rng(5), 300, 0.01
    ours, naive = 0, 0
    for _ in range(runs):
        # in [0, 2], mean 0.1
        values = np.where(rng.random((20, 40)) < 0.1, rng.random((20, 40)) * 2, 0.0)
        above, below = (MeanBets(0.1, low=0.0, high=2.0, above=side) for side in (True, False))
        largest = -math.inf
        for batch in values:
            above.update(batch)
            below.update(batch)
            largest = max(largest, above.log_e, below.log_e)
        ours += p_value(largest) <= level / 2
        naive += any(
            min(test.not_above, test.not_below) <= level / 2
            for test in (mean_p_values(values[:n].ravel(), 0.1, 0.1) for n in range(1, 21))
        )
    assert binomial_bounds(ours, runs, 1e-3)[1] <= 4 * level
    assert binomial_bounds(naive, runs, 1e-3)[0] >= 4 * level


# --- the checker under the full budget ------------------------------------------------------------


def coin(
    p: float, *, target: float = 0.1, alpha: float = 0.5e-1, claim: Any = "probability <="
) -> Sample:
    return Sample(
        draw=lambda rng, m: rng.random(m) < p,
        claim=claim,
        target=target,
        chunk=64,
        plan=Plan(n=400, alpha=alpha, sampler="coins"),
        covers="statement",
        scope="coins",
    )


def spread(mean: float, *, claim: Any = "mean =", bounds: Any = (0.0, 1.0), n: int = 400) -> Sample:
    margin = 0.05 if claim == "mean =" else 0.0
    return Sample(
        draw=lambda rng, m: mean + 0.2 * (rng.random(m) - 0.5),
        claim=claim,
        target=0.5,
        bounds=bounds,
        plan=Plan(n=n, alpha=0.01, margin=margin, sampler="uniform draws"),
        covers="statement",
        scope="width 0.2",
    )


def test_the_full_budget_decides_at_a_hundredth_of_the_level() -> None:
    quick, full = check(coin(0.05)), check(coin(0.05), budget="full")
    assert (quick.status, full.status) == (Status.SUPPORTED, Status.SUPPORTED)
    assert full.facts["p_support"] <= 5e-4 < quick.facts["p_support"]
    assert full.facts["n"] % 100 == 0
    assert "at most 4000 draws of coins in batches of 100" in full.scope
    assert check(coin(0.15), budget="full").status is Status.REFUTED
    assert check(coin(0.1), budget="full").status is Status.INCONCLUSIVE
    assert check(coin(0.1), budget="full").facts["n"] == 4000
    assert (
        check(coin(0.94, target=0.9, claim="probability >="), budget="full").status
        is Status.SUPPORTED
    )
    assert (
        check(coin(0.85, target=0.9, claim="probability >="), budget="full").status
        is Status.REFUTED
    )


@pytest.mark.parametrize("wrong", [Status.SUPPORTED, Status.REFUTED])
def test_error_rates_of_the_checker(wrong: Status) -> None:
    """At p exactly the target, either decision is wrong or lucky; the level is 0.5 / 100 each."""
    statuses = [
        check(coin(0.1, alpha=0.49), rng_seed=seed, budget="full").status for seed in range(150)
    ]
    assert binomial_bounds(statuses.count(wrong), 150, 1e-3)[0] <= 0.005


def test_bounded_means_under_the_full_budget() -> None:
    assert check(spread(0.5), budget="full").status is Status.SUPPORTED
    assert check(spread(0.6), budget="full").status is Status.REFUTED
    assert check(spread(0.4), budget="full").status is Status.REFUTED
    assert check(spread(0.55), budget="full").status is Status.INCONCLUSIVE
    assert check(spread(0.45, claim="mean <="), budget="full").status is Status.SUPPORTED
    assert check(spread(0.45, claim="mean >="), budget="full").status is Status.REFUTED
    assert check(spread(0.55, claim="mean >="), budget="full").status is Status.SUPPORTED
    assert "void" in check(spread(0.5, bounds=(0.44, 0.56)), budget="full").note


def test_means_without_bounds_are_tested_once_and_closer() -> None:
    full = check(spread(0.5, bounds=None), budget="full")
    assert full.status is Status.SUPPORTED
    assert full.facts["n"] == 4000
    assert "margin 0.025" in full.scope
    assert (
        check(spread(0.535, bounds=None)).status is Status.SUPPORTED
    )  # inside the plan's margin, outside of half of it
    assert check(spread(0.535, bounds=None), budget="full").status is Status.REFUTED


def test_bounds_leave_room_for_the_margin() -> None:
    with pytest.raises(ValueError, match="strictly: widen them"):
        spread(0.5, bounds=(0.45, 1.0))
    with pytest.raises(ValueError, match="no meaning"):
        Sample(
            draw=lambda rng, m: rng.random(m) < 0.5,
            claim="probability <=",
            target=0.5,
            bounds=(0.0, 1.0),
            plan=Plan(n=9, sampler="coins"),
            covers="statement",
            scope="coins",
        )
