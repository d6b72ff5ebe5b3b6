"""Zandieh et al. 2023: KDEformer."""

from proofs_check.papers.zandieh_2023.coverage import COVERAGE
from proofs_check.papers.zandieh_2023.sampling import THEOREMS

__all__ = ["COVERAGE", "THEOREMS"]
