"""Lemmas, constants, code and small facts: every experiment decides, and the verdict is the one the catalogue vouches for."""

from __future__ import annotations

import pytest

from proofs_check.checkers import check
from proofs_check.papers import (
    alman_song_2023_constant,
    alman_song_2023_lemmas,
    alman_song_2024_lemmas,
    alman_song_2024_tensor,
    heinsen_kozachkov_2026,
    liang_2024_causal,
    liang_2024_code,
    liang_2024_layer,
    ours_identities,
    ours_taylor,
    wang_2020_constants,
)
from proofs_check.verdict import Status, combine

PAPERS = (
    alman_song_2023_constant, alman_song_2023_lemmas, alman_song_2024_lemmas, alman_song_2024_tensor, heinsen_kozachkov_2026, liang_2024_causal, liang_2024_code,
    liang_2024_layer, ours_identities, ours_taylor, wang_2020_constants,
)  # fmt: skip
THEOREMS = {theorem.key: theorem for paper in PAPERS for theorem in paper.THEOREMS}


@pytest.mark.parametrize("key", THEOREMS)
def test_the_verdict_is_the_expected_one(key: str) -> None:
    verdicts = [check(experiment, rng_seed=2) for experiment in THEOREMS[key].experiments]
    assert combine(verdicts).status is THEOREMS[key].expected, [v.note for v in verdicts]
    assert Status.INCONCLUSIVE not in {v.status for v in verdicts}
