"""Permuting keys and values together changes nothing (randomised methods: with the same draws)."""

import numpy as np
import pytest
from cases import Case, gap, plain_cases, rounding, run
from methods import Row, exempt_from, obeying
from namespaces import LIBRARIES, NUMPY, Library

LAW = "key permutation"


def departure(row: Row, case: Case, library: Library) -> float:
    order = np.random.default_rng(2).permutation(case.k.shape[-2])
    moved = run(row, case.where(k=case.k[..., order, :], v=case.v[..., order, :]), library)
    return gap(moved.value, run(row, case, library).value)


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("row", obeying(LAW), ids=str)
def test_order_of_keys_is_invisible(row: Row, library: Library) -> None:
    for case in plain_cases(row):
        assert departure(row, case, library) <= rounding(case), f"on case {case}"


def test_exemptions_are_needed() -> None:
    for row in exempt_from(LAW):
        assert any(departure(row, case, NUMPY) > rounding(case) for case in plain_cases(row)), (
            row.exempt[LAW]
        )
