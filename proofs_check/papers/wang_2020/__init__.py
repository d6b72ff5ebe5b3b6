"""Wang et al. 2020: Linformer."""

from proofs_check.papers.wang_2020 import (
    constants,
    lemma_1,
    row_submatrix,
    small_delta_and_norms,
    theorem_1,
    theorem_2,
)
from proofs_check.papers.wang_2020.coverage import COVERAGE
from proofs_check.papers.wang_2020.unchecked import UNCHECKED

__all__ = ["COVERAGE", "THEOREMS", "UNCHECKED"]

THEOREMS = (
    *theorem_1.THEOREMS,
    *theorem_2.THEOREMS,
    *lemma_1.THEOREMS,
    *constants.THEOREMS,
    *row_submatrix.THEOREMS,
    *small_delta_and_norms.THEOREMS,
)
