"""Counted operations decide at every size; times say which power of n they grow with."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np

from proofs_check import (
    Count,
    Scale,
    Status,
)
from proofs_check.checkers import check


def test_count_needs_every_size() -> None:
    true = Count(
        measured=lambda n: n * n,
        formula=lambda n: n**2,
        sizes=(1, 2, 3),
        covers="statement",
        scope="squares",
    )
    assert (check(true).status, check(true).grade, check(true).tightness) == (
        Status.PROVED,
        "counted",
        1.0,
    )
    false = Count(
        measured=lambda n: n * n + (n == 3),
        formula=lambda n: n**2,
        sizes=(1, 2, 3),
        covers="statement",
        scope="squares",
    )
    assert check(false).witness == {"size": 3, "counted": 10, "formula": Fraction(9)}
    below = Count(
        measured=lambda n: n,
        formula=lambda n: n**2,
        sizes=(2, 3),
        relation="<=",
        covers="statement",
        scope="squares",
    )
    assert check(below).tightness == 0.5


def test_an_unpriced_operation_is_inconclusive() -> None:
    from proofs_check.arithmetic.counting import Tally

    def unique(n: int) -> int:
        tally = Tally()
        tally.unique_values(tally.array(np.arange(n)))
        return tally.flops

    verdict = check(
        Count(
            measured=unique,
            formula=lambda n: n,
            sizes=(4,),
            covers="statement",
            scope="distinct values",
        )
    )
    assert verdict.status is Status.INCONCLUSIVE
    assert "no price" in verdict.note


def _workload(power: float) -> Scale:
    """A clock that advances by n^power during the work: nothing is really timed."""
    now = itertools.accumulate(itertools.repeat(0.0))
    state = {"t": next(now)}

    def prepare(n: int) -> Any:
        def work() -> None:
            state["t"] += float(n) ** power

        return work

    return Scale(
        workload=prepare,
        sizes=(10, 20, 40, 80),
        slope=(0.9, 1.2),
        clock=lambda: state["t"],
        covers="statement",
        scope="an artificial clock",
    )


def test_scale() -> None:
    assert check(_workload(1.0)).status is Status.SUPPORTED
    assert check(_workload(2.0)).status is Status.REFUTED
    assert "did not advance" in check(_workload(-np.inf)).note
