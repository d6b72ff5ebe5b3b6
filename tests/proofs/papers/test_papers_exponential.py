"""Statements about polynomials next to exp come out as the catalogue vouches, by experiments that
all decide.
"""

from __future__ import annotations

import itertools
import re
from fractions import Fraction
from pathlib import Path

import pytest
from verdicts import as_expected

from proofs_check.arithmetic.supnorm import minimax, sup_error
from proofs_check.papers.aggarwal_alman_2022 import degree_table as aggarwal_alman_2022_degrees
from proofs_check.papers.aggarwal_alman_2022.degree_table import DEGREES, HALF_WIDTHS, TOLERANCES
from proofs_check.papers.ours.taylor import TAYLOR_DEGREES
from proofs_check.statements.verdict import Status

THEOREMS = {t.key: t for paper in (aggarwal_alman_2022_degrees,) for t in paper.THEOREMS}


@pytest.mark.parametrize("key", THEOREMS)
def test_the_verdict_is_the_expected_one(key: str) -> None:
    verdicts = as_expected(THEOREMS[key])
    assert Status.INCONCLUSIVE not in {v.status for v in verdicts}


def test_the_table_of_degrees_has_132_cells_and_rises() -> None:
    assert sum(len(row) for rows in DEGREES.values() for row in rows) == 132
    for rows in DEGREES.values():
        assert all(len(row) == len(TOLERANCES) for row in rows)
        assert all(a <= b for row in rows for a, b in itertools.pairwise(row))
        assert all(
            a < b
            for upper, lower in itertools.pairwise(rows)
            for a, b in zip(upper, lower, strict=True)
        )


def test_rounded_coefficients_miss_what_the_exact_ones_reach() -> None:
    """What the entry's alternative reading says."""
    exact, _ = minimax(39, (-16, 16), "relative")
    assert float(sup_error(exact, (-16, 16), "relative")) < 1e-12
    rounded = [Fraction(float(c)) for c in exact]
    assert float(sup_error(rounded, (-16, 16), "relative")) == pytest.approx(8.0e-4, rel=2e-3)
    assert HALF_WIDTHS[-1] == 16


def test_the_page_of_degrees_holds_the_tables() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "generated" / "degrees.md").read_text(
        encoding="utf-8"
    )
    found = [
        [int(x) for x in line.split("|")[2:-1]]
        for line in page.splitlines()
        if re.match(r"\| [0-9.]+ \|", line)
    ]
    rows = [*DEGREES["additive"], *DEGREES["relative"], *TAYLOR_DEGREES]
    assert found == [list(row) for row in rows]
