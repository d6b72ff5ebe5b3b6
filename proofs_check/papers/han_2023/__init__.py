"""Han et al. 2023: HyperAttention."""

from proofs_check.papers.han_2023.coverage import COVERAGE
from proofs_check.papers.han_2023.criterion import THEOREMS

__all__ = ["COVERAGE", "THEOREMS"]
