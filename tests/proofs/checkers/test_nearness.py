"""How near a mutant is: the factor by which it claims more than the theorem, where it fails."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from synthetic_theorems import entry

from proofs_check import Comparison, Count, Enclose, Falsify, Plan, Sample, Status, Symbolic
from proofs_check.checkers.nearness import nearness
from proofs_check.statements.experiment import Experiment, Instance


def doubled(instance: Instance, factor: int = 1) -> tuple[Any, Any]:
    """3 x against 4 x / factor."""
    return 3 * instance["x"], Fraction(4 * instance["x"], factor)


def side(index: int, factor: int, instance: Instance) -> float:
    return float(doubled(instance, factor)[index])


def searched(factor: int) -> Falsify:
    return Falsify(
        instances=lambda: st.fixed_dictionaries({"x": st.integers(1, 5)}),
        measured=partial(side, 0, factor),
        bound=partial(side, 1, factor),
        confirm=partial(doubled, factor=factor),
        covers="statement",
        scope="x from 1 to 5",
    )


def enclosed(factor: int) -> Enclose:
    return Enclose(
        lhs=lambda x: 3 * x,
        rhs=lambda x: 4 * x / factor,
        box=((1, 2),),
        covers="statement",
        scope="x in [1, 2]",
    )


def certified(factor: int) -> Enclose:
    return Enclose(
        certify=lambda _: [Comparison(1, 9, "easy"), Comparison(3, Fraction(4, factor), "tight")],
        covers="statement",
        scope="two numbers",
    )


def counted(factor: int) -> Count:
    return Count(
        measured=lambda n: 2 * n,
        formula=lambda n: 2 * n * factor,
        sizes=(1, 2),
        covers="statement",
        scope="twice",
    )


def coin(rng: np.random.Generator, m: int) -> np.ndarray:
    return rng.random(m) < 0.1


def sampled(target: float) -> Sample:
    return Sample(
        draw=coin,
        claim="probability <=",
        target=target,
        plan=Plan(n=4000, sampler="a coin"),
        covers="statement",
        scope="a coin",
    )


def symbolic(factor: int) -> Symbolic:
    return Symbolic(identities=lambda: [(factor, 1)], covers="statement", scope="a number")


@pytest.mark.parametrize(
    ("experiment", "mutant", "factor"),
    [
        (searched(1), searched(2), 2),
        (enclosed(1), enclosed(2), 2),
        (certified(1), certified(2), 2),
        (counted(1), counted(2), 2),
        (sampled(0.16), sampled(0.05), 3.2),
        (symbolic(1), symbolic(2), None),
    ],
)
def test_the_factor(experiment: Experiment, mutant: Experiment, factor: float | None) -> None:
    from dataclasses import replace

    found = nearness(replace(entry("a.b", experiment), mutant=mutant))
    assert found.verdict.status is Status.REFUTED
    assert found.factor == (None if factor is None else pytest.approx(factor))


def test_no_factor_where_it_has_no_meaning() -> None:
    from dataclasses import replace

    true_mutant = replace(entry("a.b", searched(1)), mutant=searched(1))
    assert nearness(true_mutant).factor is None
    other_instances = replace(entry("a.b", searched(1)), mutant=counted(2))
    assert nearness(other_instances).factor is None
    refuted = replace(entry("a.b", searched(2), expected="refuted"), mutant=searched(3))
    assert nearness(refuted).factor is None
