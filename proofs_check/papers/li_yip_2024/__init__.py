"""Li & Yip 2024: BERT-LSH."""

from proofs_check.papers.li_yip_2024 import collisions, reported_cost, whole_cost
from proofs_check.papers.li_yip_2024.unchecked import UNCHECKED

__all__ = ["THEOREMS", "UNCHECKED"]

THEOREMS = (*collisions.THEOREMS, *reported_cost.THEOREMS, *whole_cost.THEOREMS)
