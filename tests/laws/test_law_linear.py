"""The output is linear in the values: weights depend on queries and keys only."""

import numpy as np
import pytest
from cases import Case, cases, gap, rounding, run
from methods import Row, exempt_from, obeying
from namespaces import LIBRARIES, NUMPY, Library

LAW = "linear"


def departure(row: Row, case: Case, library: Library) -> float:
    """Return how far out(2 v - 3 w) is from 2 out(v) - 3 out(w)."""
    w = np.random.default_rng(4).uniform(-2, 2, case.v.shape)
    together = run(row, case.where(v=2 * case.v - 3 * w), library).value
    return gap(
        together, 2 * run(row, case, library).value - 3 * run(row, case.where(v=w), library).value
    )


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("row", obeying(LAW), ids=str)
def test_linear_in_values(row: Row, library: Library) -> None:
    for case in cases(row):
        assert departure(row, case, library) <= 5 * rounding(case), f"on case {case}"


def test_exemptions_are_needed() -> None:
    for row in exempt_from(LAW):
        assert any(departure(row, case, NUMPY) > 5 * rounding(case) for case in cases(row)), (
            row.exempt[LAW]
        )
