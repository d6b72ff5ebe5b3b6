"""Counted cost of every method; timed scaling stays out of quick campaigns."""

from __future__ import annotations

import pytest

from proofs_check import catalogue
from proofs_check.campaign import Campaign
from proofs_check.checkers import check
from proofs_check.counting import Tally
from proofs_check.experiment import Scale
from proofs_check.papers import code_cost, code_scaling
from proofs_check.verdict import Status, combine


@pytest.mark.parametrize("key", [t.key for t in code_cost.THEOREMS])
def test_counted_cost_is_the_stated_one(key: str) -> None:
    verdicts = [check(experiment) for experiment in catalogue.theorem(key).experiments]
    assert combine(verdicts).status is Status.PROVED, [v.note for v in verdicts]
    assert {v.status for v in verdicts} == {Status.PROVED}


def test_products_are_the_multiplications_of_contractions() -> None:
    tally = Tally()
    a = tally.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    _ = (a @ a.T) * 2
    tally.vecdot(a, a)
    assert tally.products == 2 * 3 * 2 + 2 * 3
    assert tally.counts["multiply"] == tally.products + 4


def test_timed_entries_belong_to_full_campaigns_only() -> None:
    timed = {t.key for t in code_scaling.THEOREMS}
    assert timed
    assert all(isinstance(e, Scale) for t in code_scaling.THEOREMS for e in (*t.experiments, t.mutant))
    assert not timed & set(Campaign(budget="quick").theorems)
    assert timed <= set(Campaign(budget="full").theorems)
    assert not timed & set(catalogue.theorems())
    assert catalogue.theorem("code.scaling-exact").expected is Status.SUPPORTED


@pytest.mark.parametrize("theorem", code_scaling.THEOREMS, ids=lambda t: t.key)
def test_workloads_run(theorem: object) -> None:
    experiment = theorem.experiments[0]  # type: ignore[attr-defined]
    out = experiment.workload(256)()
    assert out.value.shape == (256, 16)
