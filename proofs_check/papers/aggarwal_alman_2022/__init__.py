"""Aggarwal & Alman 2022: the smallest degree of a polynomial for exp."""

from proofs_check.papers.aggarwal_alman_2022 import (
    degree_table,
    domain_note,
    elementary_bounds,
    kernel_rank,
    leading_coefficients,
    minimal_degree,
)
from proofs_check.papers.aggarwal_alman_2022.coverage import COVERAGE
from proofs_check.papers.aggarwal_alman_2022.unchecked import UNCHECKED

__all__ = ["COVERAGE", "THEOREMS", "UNCHECKED"]

THEOREMS = (
    *minimal_degree.THEOREMS,
    *domain_note.THEOREMS,
    *degree_table.THEOREMS,
    *elementary_bounds.THEOREMS,
    *leading_coefficients.THEOREMS,
    *kernel_rank.THEOREMS,
)
