"""Aggarwal & Alman 2022: the smallest degree of a polynomial for exp."""

from proofs_check.papers.aggarwal_alman_2022 import degree_table, elementary_bounds, minimal_degree
from proofs_check.papers.aggarwal_alman_2022.unchecked import UNCHECKED

__all__ = ["THEOREMS", "UNCHECKED"]

THEOREMS = (*minimal_degree.THEOREMS, *degree_table.THEOREMS, *elementary_bounds.THEOREMS)
