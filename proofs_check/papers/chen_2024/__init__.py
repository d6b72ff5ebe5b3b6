"""Chen et al. 2024: the gradient of attention with rotary positions."""

from proofs_check.papers.chen_2024.coverage import COVERAGE
from proofs_check.papers.chen_2024.rotations import THEOREMS

__all__ = ["COVERAGE", "THEOREMS"]
