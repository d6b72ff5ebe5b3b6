"""Lemmas, constants, code and small facts: every experiment decides, and the verdict is the one the
catalogue vouches for.
"""

from __future__ import annotations

import pytest
from verdicts import as_expected, theorems_of

from proofs_check.papers.aggarwal_alman_2022 import (
    elementary_bounds as aggarwal_alman_2022_elementary,
)
from proofs_check.papers.alman_song_2023 import halved_constant as alman_song_2023_constant
from proofs_check.papers.alman_song_2023 import lemmas as alman_song_2023_lemmas
from proofs_check.papers.alman_song_2024 import tensor as alman_song_2024_tensor
from proofs_check.papers.halko_2011 import range_finder as halko_2011
from proofs_check.papers.heinsen_kozachkov_2026 import taylor_features as heinsen_kozachkov_2026
from proofs_check.papers.li_yip_2024 import whole_cost as li_yip_2024_work
from proofs_check.papers.liang_2024 import bounds as liang_2024_bounds
from proofs_check.papers.liang_2024 import causal as liang_2024_causal
from proofs_check.papers.liang_2024 import layer as liang_2024_layer
from proofs_check.papers.ours import gradient_layer as ours_gradient_layer
from proofs_check.papers.ours import identities as ours_identities
from proofs_check.papers.ours import polynomials_conditioning as ours_conditioning
from proofs_check.papers.ours import taylor as ours_taylor
from proofs_check.papers.ours.estimators import matrices as ours_matrices
from proofs_check.papers.wang_2020 import constants as wang_2020_constants
from proofs_check.papers.wang_2020 import small_delta_and_norms as wang_2020_more
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

PAPERS = (
    alman_song_2023_constant,
    alman_song_2023_lemmas,
    alman_song_2024_tensor,
    heinsen_kozachkov_2026,
    liang_2024_causal,
    liang_2024_layer,
    ours_identities,
    ours_taylor,
    wang_2020_constants,
    aggarwal_alman_2022_elementary,
    halko_2011,
    li_yip_2024_work,
    liang_2024_bounds,
    ours_conditioning,
    ours_matrices,
    wang_2020_more,
)
THEOREMS = theorems_of(PAPERS)


@pytest.mark.parametrize("key", THEOREMS)
def test_the_verdict_is_the_expected_one(key: str) -> None:
    verdicts = as_expected(THEOREMS[key])
    assert Status.INCONCLUSIVE not in {v.status for v in verdicts}


@pytest.mark.parametrize(
    "theorem",
    ours_gradient_layer.THEOREMS,
    ids=lambda t: t.key,
)
def test_searches_beside_proofs_find_nothing_new(theorem: Theorem) -> None:
    """What is proved carries the verdict; the search stays below the bound but near it."""
    verdicts = as_expected(theorem)
    searched = [v for v in verdicts if v.status is Status.INCONCLUSIVE]
    assert all(0.5 < (v.tightness or 0) <= 1 for v in searched)
