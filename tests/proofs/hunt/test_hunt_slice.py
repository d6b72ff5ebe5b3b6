"""A slice of the quick hunt with a fixed seed: some cells of every mode. What it finds is a defect
of the package, and its line can be given to `python -m proofs_check hunt --replay`.
"""

from __future__ import annotations

import hashlib
import json

import pytest

from proofs_check.hunt.chunk import examine
from proofs_check.hunt.methods import MODES, ROWS, Cell, cells

CELLS = 3
"""Of each mode, chosen by hash."""


def some(mode: str) -> list[Cell]:
    found = [cell for cell in cells(modes=(mode,)) if not ROWS[cell.row].costly]
    found.sort(key=lambda cell: hashlib.sha256(f"slice {cell}".encode()).digest())
    return found[:CELLS]


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_found(mode: str) -> None:
    bounded = 0
    for cell in some(mode):
        for index in (0, 1):
            record = examine(cell, seed=1, index=index)
            bounded += record["rows"]
            assert not record["findings"], json.dumps(record["findings"][0])
    assert bounded, "no row had a bound: nothing was hunted"


def test_every_row_is_hunted_a_little() -> None:
    problems = 0
    for row in ROWS.values():
        record = examine(Cell(row.name, row.modes[0], "float32"), seed=1)
        problems += record["problems"] - record["refused"]
        assert not record["findings"], json.dumps(record["findings"][0])
    assert problems > 1000
