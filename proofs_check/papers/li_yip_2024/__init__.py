"""Li & Yip 2024: BERT-LSH."""

from proofs_check.papers.li_yip_2024 import collisions, reported_cost, tables, whole_cost
from proofs_check.papers.li_yip_2024.coverage import COVERAGE
from proofs_check.papers.li_yip_2024.unchecked import UNCHECKED

__all__ = ["COVERAGE", "THEOREMS", "UNCHECKED"]

THEOREMS = (
    *collisions.THEOREMS,
    *tables.THEOREMS,
    *reported_cost.THEOREMS,
    *whole_cost.THEOREMS,
)
