"""Statements about random and pooled estimators (Linformer, YOSO, BERT-LSH and ours) come out as
the catalogue vouches.
"""

from __future__ import annotations

import pytest
from verdicts import as_expected, theorems_of

from proofs_check.checkers import check
from proofs_check.papers.li_yip_2024 import collisions as li_yip_2024
from proofs_check.papers.li_yip_2024 import reported_cost as li_yip_2024_cost
from proofs_check.papers.ours.estimators import hashing as ours_hashing
from proofs_check.papers.ours.estimators import landmarks_and_features as ours_low_rank
from proofs_check.papers.ours.estimators import sampling as ours_sampling
from proofs_check.papers.ours.estimators import sketches as ours_estimators
from proofs_check.papers.wang_2020 import lemma_1 as wang_2020_lemma
from proofs_check.papers.wang_2020 import theorem_1 as wang_2020
from proofs_check.papers.wang_2020 import theorem_2 as wang_2020_linear
from proofs_check.papers.zeng_2021 import collision as zeng_2021
from proofs_check.papers.zeng_2021 import gradient as zeng_2021_gradient
from proofs_check.papers.zeng_2021 import hadamard_hashing as zeng_2021_hashes
from proofs_check.papers.zeng_2021 import variance as zeng_2021_variance
from proofs_check.statements.verdict import Status

PAPERS = (
    wang_2020,
    wang_2020_lemma,
    wang_2020_linear,
    zeng_2021,
    zeng_2021_gradient,
    zeng_2021_hashes,
    zeng_2021_variance,
    li_yip_2024,
    li_yip_2024_cost,
    ours_estimators,
    ours_hashing,
    ours_sampling,
    ours_low_rank,
)
THEOREMS = theorems_of(PAPERS)


@pytest.mark.parametrize("key", THEOREMS)
def test_the_verdict_is_the_expected_one(key: str) -> None:
    as_expected(THEOREMS[key])


@pytest.mark.parametrize("key", THEOREMS)
def test_every_experiment_but_a_search_decides(key: str) -> None:
    """A search that finds nothing is inconclusive by design; anything else that is would be dead
    weight.
    """
    theorem = THEOREMS[key]
    idle = [e for e in theorem.experiments if check(e, rng_seed=3).status is Status.INCONCLUSIVE]
    assert all(type(e).__name__ == "Falsify" for e in idle)
    assert len(idle) < len(theorem.experiments)
