"""Castin et al. 2024: how smooth attention is."""

from proofs_check.papers.castin_2024.coverage import COVERAGE
from proofs_check.papers.castin_2024.growth import THEOREMS

__all__ = ["COVERAGE", "THEOREMS"]
