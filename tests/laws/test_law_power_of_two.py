"""Scaling the values by a power of two scales the output without rounding: the same bits but for
the exponent.
"""

import numpy as np
import pytest
from cases import Case, cases, run
from methods import Row, exempt_from, obeying
from namespaces import LIBRARIES, NUMPY, Library

LAW = "power of two"
FACTORS = (2.0, 2.0**-10, 2.0**40)


def same_bits(row: Row, case: Case, library: Library) -> bool:
    once = run(row, case, library).value
    return all(
        np.array_equal(run(row, case.where(v=case.v * c), library).value, once * c) for c in FACTORS
    )


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("row", obeying(LAW), ids=str)
def test_exponents_move_and_nothing_else(row: Row, library: Library) -> None:
    for case in cases(row):
        assert same_bits(row, case, library), f"on case {case}"


@pytest.mark.parametrize("row", obeying(LAW), ids=str)
def test_certificate_scales_too(row: Row) -> None:
    for case in cases(row):
        once = run(row, case).certificate.rows
        for c in (2.0, 2.0**40):
            np.testing.assert_allclose(
                run(row, case.where(v=case.v * c)).certificate.rows, once * c, rtol=1e-6
            )


def test_exemptions_are_needed() -> None:
    for row in exempt_from(LAW):
        assert not all(same_bits(row, case, NUMPY) for case in cases(row)), row.exempt[LAW]
