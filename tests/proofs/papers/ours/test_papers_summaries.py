"""Summary keys, sampled keys, dropped keys and plans: verdicts, and the statements in floats."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import get_args

import numpy as np
import pytest
from scipy.stats import hypergeom
from verdicts import as_expected, theorems_of

from approxattn.bounds.perturbation import tv_from_partial_score_error
from approxattn.planning import evidence
from proofs_check.checkers import check
from proofs_check.papers.ours import summaries
from proofs_check.papers.ours.estimators import plan
from proofs_check.papers.ours.summaries import cell, row
from proofs_check.statements.experiment import Enclose
from proofs_check.statements.verdict import Status

THEOREMS, PLANS = theorems_of([summaries]), theorems_of([plan])


@pytest.mark.parametrize("key", THEOREMS)
def test_the_verdict_is_the_expected_one(key: str) -> None:
    as_expected(THEOREMS[key])


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(23)


def test_mass_and_value_of_a_summary_key_by_finite_differences(rng: np.random.Generator) -> None:
    q, delta = rng.standard_normal((2, 3))
    k, v = rng.standard_normal((6, 3)), rng.standard_normal(6)
    pi = np.exp(k @ q)
    mass = pi.sum()
    pi /= mass
    x = k @ delta

    def gaps(s: float) -> tuple[float, float]:
        """Of mass and of mean value."""
        e = np.exp(k @ (q + s * delta))
        return float(e.sum() - mass * np.exp(s * (pi @ x))), float(e @ v / e.sum() - pi @ v)

    s = 1e-3
    variance, covariance = pi @ (x - pi @ x) ** 2, pi @ ((x - pi @ x) * v)
    assert gaps(0.0) == pytest.approx((0, 0), abs=1e-12)
    assert (gaps(s)[0] + gaps(-s)[0]) / s**2 == pytest.approx(mass * variance, rel=1e-3)
    assert (gaps(s)[1] - gaps(-s)[1]) / (2 * s) == pytest.approx(covariance, rel=1e-3)
    assert abs(covariance) > 0.1  # or nothing was shown


def test_the_excess_is_the_largest_of_two_keys() -> None:
    for rho in (0.01, 0.5, 3.0, 20.0):
        p = np.linspace(0, 1, 200_001)
        h = np.log1p(p * np.expm1(rho)) - p * rho
        assert h.max() == pytest.approx(cell.excess(rho), rel=1e-6)
        assert cell.excess(rho) <= rho**2 / 8 * (1 + 1e-9)


def test_what_is_kept_exactly_never_weighs_too_little(rng: np.random.Generator) -> None:
    """The row bound is below the one without the means, and above every change that is drawn."""
    for _ in range(200):
        n, moved = 6, int(rng.integers(2, 7))
        near = rng.dirichlet(np.ones(n))
        r = near[:moved].sum()
        t = rng.normal(0, rng.uniform(0, 3), moved)
        t -= near[:moved] @ t / r
        exact = near * np.exp(np.append(t, np.zeros(n - moved)))
        total = exact.sum()
        assert total >= 1 - 1e-12
        eta = np.abs(t).max()
        bound = float(row.largest(eta, r))
        assert np.abs(exact / total - near).sum() / 2 <= bound + 1e-12
        assert bound <= float(tv_from_partial_score_error(eta, r)) + r / 256 + 1e-12


def test_sampled_masses_have_the_variance_that_is_proved(rng: np.random.Generator) -> None:
    x = rng.uniform(-1, 1, 9)
    pi = rng.dirichlet(np.ones(9))
    w = np.exp(x)
    draws = rng.choice(9, size=(40_000, 4), p=pi)
    masses = w[draws].mean(axis=1)
    variance = (pi @ w**2 - (pi @ w) ** 2) / 4
    assert masses.mean() == pytest.approx(pi @ w, abs=5 * math.sqrt(variance / 40_000))
    assert masses.var() == pytest.approx(variance, rel=0.05)
    assert variance <= (pi @ w) ** 2 * math.sinh(np.ptp(x) / 2) ** 2 / 4


# --- plans ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", PLANS)
def test_the_verdict_about_plans_is_the_expected_one(key: str) -> None:
    as_expected(PLANS[key])


@pytest.mark.parametrize("rule", [r for r in get_args(plan.Rule) if r != "as stated"])
def test_ways_to_choose_that_go_wrong_are_found(rule: plan.Rule) -> None:
    stated = next(e for e in PLANS["ours.plan-confidence"].experiments if isinstance(e, Enclose))
    assert stated.certify is not None
    wrong = replace(stated, certify=partial(stated.certify, rule=rule))
    assert check(wrong, rng_seed=1).status is Status.REFUTED


@pytest.mark.parametrize(("blocks", "draws"), [(1, 1), (5, 3), (12, 12), (40, 12)])
def test_the_plans_of_the_library_use_the_levels_and_bounds_that_are_stated(
    blocks: int, draws: int
) -> None:
    text = plan.Text(blocks, draws, most=0)
    for place in (1, 2, 7):
        level = evidence.level(place, 0.95)
        assert level == Fraction(1, 20) / (place * (place + 1))
        for found in range(draws + 1):
            stated = plan.most_above(text, found, level)
            assert evidence.most_above(blocks, draws, found, level) == stated


def test_most_above_is_a_confidence_bound_in_floats() -> None:
    text = plan.Text(blocks=40, draws=12, most=5)
    for found in range(4):
        most = plan.most_above(text, found, Fraction(1, 20))
        assert hypergeom.cdf(found, 40, most, 12) > 0.05
        assert hypergeom.cdf(found, 40, most + 1, 12) <= 0.05
