"""Adding one vector to all keys adds a constant to each row of scores, which the softmax does not
see.

Methods that compute with differences of keys see nothing of it either; the others may move, but not
further than their two certificates allow.
"""

import numpy as np
import pytest
from cases import Case, Outcome, cases, gap, rounding, run
from methods import TABLE, Row, exempt_from, obeying
from namespaces import LIBRARIES, NUMPY, Library

LAW = "key shift"
SOFTMAX = [row for row in TABLE if row.target == "softmax"]


def shifted_pair(row: Row, case: Case, library: Library) -> tuple[Outcome, Outcome]:
    shift = np.random.default_rng(3).uniform(-1, 1, case.k.shape[-1])
    return run(row, case, library), run(row, case.where(k=case.k + shift), library)


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("row", obeying(LAW), ids=str)
def test_shift_is_invisible(row: Row, library: Library) -> None:
    for case in cases(row):
        here, there = shifted_pair(row, case, library)
        assert gap(here.value, there.value) <= rounding(case), f"on case {case}"


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("row", SOFTMAX, ids=str)
def test_shift_moves_no_further_than_the_certificates(row: Row, library: Library) -> None:
    for case in cases(row):
        here, there = shifted_pair(row, case, library)
        # k + shift rounds once
        allowed = here.certificate.rows + there.certificate.rows + 4e-16 * np.abs(case.v).max()
        excess = np.abs(here.value - there.value).max(axis=-1) - allowed
        assert (excess <= 0).all(), f"by {excess.max()} on case {case}"


def test_exemptions_are_needed() -> None:
    for row in exempt_from(LAW):
        pairs = ((case, *shifted_pair(row, case, NUMPY)) for case in cases(row))
        assert any(gap(here.value, there.value) > rounding(case) for case, here, there in pairs), (
            row.exempt[LAW]
        )
