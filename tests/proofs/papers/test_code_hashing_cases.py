"""The ten-thousand-problem campaign on our hashing code, in small: problems, targets, and that
smaller certificates are refuted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import approxattn as aa
from proofs_check import Status
from proofs_check.checkers import check
from proofs_check.papers.our_code_campaigns import many_cases_hashing as code
from proofs_check.statements.theorem import Theorem


@pytest.mark.parametrize("theorem", code.THEOREMS, ids=lambda t: t.key)
def test_few_problems_do_not_refute_it_and_its_mutant_is_refuted(theorem: Theorem) -> None:
    (experiment,) = theorem.experiments
    few = replace(experiment, plan=replace(experiment.plan, n=150))
    verdict = check(few, rng_seed=3)
    assert verdict.status is not Status.REFUTED
    assert verdict.facts["events"] == 0
    assert (
        check(replace(theorem.mutant, plan=replace(theorem.mutant.plan, n=300)), rng_seed=3).status
        is Status.REFUTED
    )


@pytest.mark.parametrize("budget", ["quick", "full"])
def test_no_failure_in_ten_thousand_supports_every_claim_and_many_do_not(budget: Any) -> None:
    for theorem in code.THEOREMS:
        (experiment,) = theorem.experiments
        n, allowed = experiment.plan.n, experiment.target
        assert n >= 10_000
        for failures, status in (
            (0, Status.SUPPORTED),
            (round(n * allowed), Status.INCONCLUSIVE),
            (round(2.2 * n * allowed) + 10, Status.REFUTED),
        ):
            events = iter(np.arange(n) < failures)
            drawn = replace(
                experiment, draw=lambda _, m, e=events: np.array([next(e) for _ in range(m)])
            )
            verdict = check(drawn, rng_seed=0, budget=budget)
            assert verdict.status is status
            assert (verdict.facts["n"], verdict.facts["events"]) == (n, failures), (
                "one test, of all of them"
            )


def test_problems_have_every_style() -> None:
    rng = np.random.default_rng(0)
    found = [code.problem(rng) for _ in range(300)]
    assert {case["style"] for case in found} == set(code.STYLES)
    assert {str(case["q"].dtype) for case in found} == {"float32", "float64"}
    assert {case["k"].shape[0] for case in found} >= {1, 24}
    assert any(not case["k"].flags.c_contiguous for case in found)
    assert any(not case["k"].any(axis=1).all() for case in found)
    assert all(case["mask"] is None or case["mask"].any() for case in found)


def test_targets_are_those_of_the_exact_methods() -> None:
    rng = np.random.default_rng(1)
    for _ in range(60):
        case = code.problem(rng)
        options = {} if case["mask"] is None else {"key_mask": case["mask"]}
        wide = [case[name].astype(np.float64) for name in "qkvg"]
        size = np.abs(wide[2]).sum(axis=0).max()
        exact = aa.attention(*wide[:3], aa.Exact(), **options)
        np.testing.assert_allclose(
            exact.value, code._softmax_target(case).astype(float), atol=1e-13 * size
        )
        method = aa.YosoExpectation(bits=3, zero_rows="orthogonal", gradient="surrogate")
        target = code._yoso_target(case, {"bits": 3})
        assert (
            np.abs(aa.attention(*wide[:3], method, **options).value - target) < 1e-6 * size
        ).all()
        grads = aa.attention_vjp(*wide, method, **options)
        for name, true in zip(("dq", "dk", "dv"), code._surrogate_target(case, 3), strict=True):
            error = np.abs(getattr(grads, name) - true).max(axis=-1)
            assert (error <= getattr(grads.certificate, name) * (1 + 1e-6)).all()


def test_nan_is_a_failure() -> None:
    nothing = np.zeros((1, 1))
    assert code._exceeds(np.array([[np.nan]]), nothing, np.array([np.inf]), 1.0, 1)
    assert not code._exceeds(nothing, nothing, np.array([0.0]), 1.0, 1)
    assert code._exceeds(nothing + 1e-9, nothing, np.array([0.0]), 1.0, 1)
