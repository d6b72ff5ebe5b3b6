"""Keys that the mask excludes do not exist: appended, or spread among the others, with whatever
numbers in them.
"""

import numpy as np
import pytest
from cases import Case, gap, plain_cases, rounding, run
from methods import Row, exempt_from, obeying
from namespaces import LIBRARIES, NUMPY, Library

LAW = "padding"


def padded(case: Case, places: list[int], junk: float) -> Case:
    """Insert masked keys and values before the given places."""
    k, v = (np.insert(x, places, junk, axis=-2) for x in (case.k, case.v))
    mask = np.insert(np.ones(case.k.shape[-2], bool), places, False)
    return case.where(k=k, v=v, options={**case.options, "key_mask": mask})


def departure(row: Row, case: Case, library: Library, places: list[int]) -> float:
    plain = run(row, case, library).value
    return max(
        gap(run(row, padded(case, places, junk), library).value, plain) for junk in (0.5, -40.0)
    )


def placements(case: Case) -> list[list[int]]:
    n = case.k.shape[-2]
    return [[n] * 4, [0, 1, 1, n // 2, n]]


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("row", [row for row in obeying(LAW) if not row.needs_square], ids=str)
def test_masked_keys_are_invisible(row: Row, library: Library) -> None:
    for case in plain_cases(row):
        for places in placements(case):
            assert departure(row, case, library, places) <= rounding(case), (
                f"on case {case}, masked keys at {places}"
            )


def test_exemptions_are_needed() -> None:
    for row in [row for row in exempt_from(LAW) if not row.needs_square]:
        found = [
            departure(row, case, NUMPY, places) > rounding(case)
            for case in plain_cases(row)
            for places in placements(case)
        ]
        assert any(found), row.exempt[LAW]
