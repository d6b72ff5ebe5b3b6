"""Values that are all 1 give 1: each row of weights sums to 1.

A single key gives its value, whatever the query.
"""

import numpy as np
import pytest
from cases import Case, cases, gap, rounding, run
from methods import Row, exempt_from, obeying
from namespaces import LIBRARIES, NUMPY, Library

LAW = "ones"


def departure(row: Row, case: Case, library: Library) -> float:
    value = run(row, case.where(v=np.ones_like(case.v)), library).value
    return gap(value, np.ones_like(value))


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("row", obeying(LAW), ids=str)
def test_weights_sum_to_one(row: Row, library: Library) -> None:
    for case in cases(row):
        assert departure(row, case, library) <= rounding(case), f"on case {case}"


def single_key_departure(row: Row, case: Case, library: Library) -> float:
    one = case.where(q=case.q[..., :1, :], k=case.k[..., :1, :], v=case.v[..., :1, :], options={})
    return gap(
        run(row, one, library).value,
        np.broadcast_to(one.v, (*case.q.shape[:-2], 1, case.v.shape[-1])),
    )


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("row", obeying(LAW), ids=str)
def test_single_key_gives_its_value(row: Row, library: Library) -> None:
    for case in cases(row):
        assert single_key_departure(row, case, library) <= rounding(case), f"on case {case}"


def test_exemptions_are_needed() -> None:
    for row in exempt_from(LAW):
        assert any(departure(row, case, NUMPY) > rounding(case) for case in cases(row)), row.exempt[
            LAW
        ]
        assert any(
            single_key_departure(row, case, NUMPY) > rounding(case) for case in cases(row)
        ), row.exempt[LAW]
