"""Aliakbarpour et al. 2025: support bases."""

from proofs_check.papers.aliakbarpour_2025.coverage import COVERAGE
from proofs_check.papers.aliakbarpour_2025.decomposition import THEOREMS

__all__ = ["COVERAGE", "THEOREMS"]
