"""Plans fixed beforehand support, refute or abstain, at the level they state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from proofs_check import (
    Plan,
    Sample,
    Status,
)
from proofs_check.arithmetic.statistics import binomial_bounds
from proofs_check.checkers import check


def _coin(p: float, *, n: int = 400, alpha: float = 0.05, target: float = 0.1) -> Sample:
    return Sample(
        draw=lambda rng, m: rng.random(m) < p,
        claim="probability <=",
        target=target,
        chunk=300,
        plan=Plan(n=n, alpha=alpha, sampler="coins"),
        covers="statement",
        scope="coins",
    )


def test_sample_supports_refutes_and_abstains() -> None:
    assert check(_coin(0.01)).status is Status.SUPPORTED
    assert check(_coin(0.3)).status is Status.REFUTED
    assert check(_coin(0.1)).status is Status.INCONCLUSIVE


@pytest.mark.parametrize("wrong", [Status.SUPPORTED, Status.REFUTED])
def test_error_rates_at_the_boundary(wrong: Status) -> None:
    """At p exactly the target the claim is true and barely so: either decision is wrong or lucky,
    each at rate <= alpha.
    """
    repeats, alpha = 300, 0.05
    mistakes = sum(
        check(_coin(0.1, n=200, alpha=alpha), rng_seed=i).status is wrong for i in range(repeats)
    )
    at_least, _ = binomial_bounds(mistakes, repeats, 1e-6)
    assert at_least <= alpha, f"{mistakes} of {repeats} wrongly {wrong}"


def _heavy(mean: float, *, claim: Any = "mean =") -> Sample:
    margin = 0.2 if claim == "mean =" else 0.0
    return Sample(
        draw=lambda rng, m: rng.exponential(mean, m),
        claim=claim,
        target=1.0,
        plan=Plan(n=4000, alpha=0.01, margin=margin, sampler="exponential"),
        covers="statement",
        scope="heavy right tail",
    )


def test_means_are_supported_by_equivalence_only() -> None:
    assert check(_heavy(1.0)).status is Status.SUPPORTED
    assert check(_heavy(1.5)).status is Status.REFUTED
    assert check(_heavy(1.2)).status is Status.INCONCLUSIVE
    assert check(_heavy(0.8, claim="mean <=")).status is Status.SUPPORTED
    assert check(_heavy(0.8, claim="mean >=")).status is Status.REFUTED


def test_false_support_of_a_mean_at_the_margin() -> None:
    repeats = 200
    mistakes = sum(
        check(_heavy(1.2), rng_seed=i).status is Status.SUPPORTED for i in range(repeats)
    )
    assert binomial_bounds(mistakes, repeats, 1e-6)[0] <= 0.01


def test_constant_draws_decide_nothing() -> None:
    constant = Sample(
        draw=lambda _, m: np.zeros(m),
        claim="mean =",
        target=0.0,
        plan=Plan(n=100, margin=0.1, sampler="zeros"),
        covers="statement",
        scope="zeros",
    )
    assert check(constant).status is Status.INCONCLUSIVE


def test_a_draw_of_the_wrong_kind_is_inconclusive() -> None:
    wrong = Sample(
        draw=lambda rng, m: rng.random(m),
        claim="probability <=",
        target=0.5,
        plan=Plan(n=10, sampler="x"),
        covers="statement",
        scope="x",
    )
    assert "booleans" in check(wrong).note
