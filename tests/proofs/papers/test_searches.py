"""A search by one function is led by what that function decides."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import Any

import pytest
from hypothesis import strategies as st

from proofs_check import Status
from proofs_check.checkers import check
from proofs_check.papers.shared.searches import search_by


def whole_numbers() -> Any:
    return st.fixed_dictionaries({"x": st.integers(0, 20)})


def half(instance: Any, most: int = 10) -> tuple[Fraction, int]:
    return Fraction(instance["x"], 2), most


@pytest.mark.parametrize("most", [9, 10])
def test_both_sides_are_those_of_the_function(most: int) -> None:
    experiment = search_by(partial(half, most=most), instances=whole_numbers, scope="0 to 20")
    assert experiment.measured({"x": 5}) == 2.5
    assert experiment.bound({"x": 5}) == most
    verdict = check(experiment)
    assert verdict.status is (Status.REFUTED if most < 10 else Status.INCONCLUSIVE)
    assert most < 10 or verdict.tightness == 1


def test_a_side_in_floats_may_be_given() -> None:
    experiment = search_by(
        half, instances=whole_numbers, scope="x", measured=lambda case: case["x"]
    )
    assert experiment.measured({"x": 5}) == 5
    assert experiment.bound({"x": 5}) == 10
