"""Every theorem's mutant, a deliberately false variant, is refuted by the checker that judges the
theorem.
"""

from __future__ import annotations

import pytest

from proofs_check import Status, catalogue
from proofs_check.checkers import check, falsify


@pytest.mark.parametrize("key", catalogue.theorems())
def test_the_mutant_is_refuted(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(falsify._SHRINKS, "quick", 20)  # nobody reads these witnesses
    theorem = catalogue.theorem(key)
    verdict = check(theorem.mutant, rng_seed=1)
    assert verdict.status is Status.REFUTED, verdict.note
    kinds = {type(experiment) for experiment in theorem.experiments}
    assert type(theorem.mutant) in kinds, (
        "the mutant must go through a checker that judges the theorem"
    )
