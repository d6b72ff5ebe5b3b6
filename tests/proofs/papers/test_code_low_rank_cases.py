"""The ten-thousand-problem campaign on our low-rank code, in small: smaller certificates are
refuted, and few problems do not refute it.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from proofs_check import Status
from proofs_check.checkers import check
from proofs_check.papers.our_code_campaigns import many_cases_low_rank as code
from proofs_check.statements.experiment import Sample
from proofs_check.statements.theorem import Theorem


@pytest.mark.parametrize("theorem", code.THEOREMS, ids=lambda t: t.key)
def test_few_problems_do_not_refute_it_and_its_mutant_is_refuted(theorem: Theorem) -> None:
    (experiment,), mutant = theorem.experiments, theorem.mutant
    assert isinstance(experiment, Sample)
    assert isinstance(mutant, Sample)
    assert experiment.plan.n == 10_000
    few = replace(experiment, plan=replace(experiment.plan, n=150))
    verdict = check(few, rng_seed=3)
    assert verdict.status is not Status.REFUTED
    assert verdict.facts["events"] == 0
    smaller = replace(mutant, plan=replace(mutant.plan, n=300))
    assert check(smaller, rng_seed=3).status is Status.REFUTED
