"""Theorems of some rooms, carried out and held against the verdict that the catalogue expects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from proofs_check.checkers import check
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Verdict, combine


def theorems_of(rooms: Iterable[Any]) -> dict[str, Theorem]:
    """Return the theorems of modules that have `THEOREMS`, by their keys."""
    return {theorem.key: theorem for room in rooms for theorem in room.THEOREMS}


def as_expected(theorem: Theorem) -> list[Verdict]:
    """Carry out every experiment, see to it that together they say what is expected, and return
    their verdicts.
    """
    verdicts = [check(experiment, rng_seed=2) for experiment in theorem.experiments]
    found = combine(verdicts, theorem.covers).status
    notes = [v.note for v in verdicts]
    assert found is theorem.expected, f"{theorem.key}: {found}, not {theorem.expected}: {notes}"
    return verdicts
