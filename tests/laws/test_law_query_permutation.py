"""Permuting the queries permutes the rows of the output and of the certificate: a row depends on
its own query only.
"""

import numpy as np
import pytest
from cases import Case, gap, plain_cases, rounding, run
from methods import Row, exempt_from, obeying
from namespaces import LIBRARIES, NUMPY, Library

LAW = "query permutation"


def departure(row: Row, case: Case, library: Library) -> float:
    order = np.random.default_rng(1).permutation(case.q.shape[-2])
    whole, moved = run(row, case, library), run(row, case.where(q=case.q[..., order, :]), library)
    bounds = [
        np.where(np.isinf(rows), -1.0, rows)
        for rows in (moved.certificate.rows, whole.certificate.rows[..., order])
    ]
    return max(gap(moved.value, whole.value[..., order, :]), gap(*bounds))


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("row", obeying(LAW), ids=str)
def test_rows_move_with_their_queries(row: Row, library: Library) -> None:
    for case in plain_cases(row):
        assert departure(row, case, library) <= rounding(case), f"on case {case}"


def test_exemptions_are_needed() -> None:
    for row in exempt_from(LAW):
        assert any(departure(row, case, NUMPY) > rounding(case) for case in plain_cases(row)), (
            row.exempt[LAW]
        )
