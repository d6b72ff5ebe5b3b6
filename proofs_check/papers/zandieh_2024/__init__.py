"""Zandieh et al. 2024: SubGen."""

from proofs_check.papers.zandieh_2024.coverage import COVERAGE
from proofs_check.papers.zandieh_2024.streaming import THEOREMS

__all__ = ["COVERAGE", "THEOREMS"]
