"""Gu et al. 2024: attention matrices as sums of convolutions."""

from proofs_check.papers.gu_2024.coverage import COVERAGE
from proofs_check.papers.gu_2024.ranks import THEOREMS

__all__ = ["COVERAGE", "THEOREMS"]
