"""vAttention: verdicts, and its two budgets anew from their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from verdicts import as_expected, theorems_of

from proofs_check.checkers import check
from proofs_check.papers import desai_2025
from proofs_check.papers.desai_2025 import heads
from proofs_check.statements.verdict import Status

THEOREMS = theorems_of([desai_2025])


@pytest.mark.parametrize("key", THEOREMS)
def test_the_verdict_is_the_expected_one(key: str) -> None:
    as_expected(THEOREMS[key])


@pytest.mark.parametrize("key", THEOREMS)
def test_mutants_are_found(key: str) -> None:
    assert check(THEOREMS[key].mutant, rng_seed=2).status is Status.REFUTED


def one_row() -> heads.Row:
    rng = np.random.default_rng(3)
    weights = rng.uniform(0.5, 1, 60)
    heavy = np.arange(60) < 4
    weights[:4] = 5
    values = rng.standard_normal((60, 2))
    return heads.Row(0, weights, values, heavy, 2.0, np.array([1.0, -1.0]))


@pytest.mark.parametrize("rule", ["known", "one-sided", "coded"])
def test_estimates_are_unbiased_and_exact_where_everything_is_read(rule: heads.Rule) -> None:
    row, rng = one_row(), np.random.default_rng(4)
    whole = heads.run(row, rng, rule, 1e-6, 0.05)
    assert whole.read == 1
    assert max(whole.denominator, whole.output) < 1e-12
    sampled = [heads.run(row, rng, rule, 0.3, 0.3) for _ in range(400)]
    assert max(one.read for one in sampled) < 0.5
    assert min(one.denominator for one in sampled) < 0.01


def test_the_spread_of_the_known_budget_is_what_the_formula_says() -> None:
    row, rng = one_row(), np.random.default_rng(5)
    rest = row.weights[~row.heavy]
    total, delta = row.denominator + row.weights.sum(), 0.317
    eps = 2 * len(rest) * rest.std() / (total * math.sqrt(20))  # z = 1.0006 asks for 6 draws
    errors = [heads.run(row, rng, "known", eps, delta).denominator for _ in range(4000)]
    expected = len(rest) * rest.std() / (total * math.sqrt(6))
    assert math.sqrt(np.mean(np.square(errors))) == pytest.approx(expected, rel=0.05)
