"""Budzinskiy 2024: matrices of low rank entry by entry."""

from proofs_check.papers.budzinskiy_2024.coverage import COVERAGE
from proofs_check.papers.budzinskiy_2024.entrywise import THEOREMS

__all__ = ["COVERAGE", "THEOREMS"]
