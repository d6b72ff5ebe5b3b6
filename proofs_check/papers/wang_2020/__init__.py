"""Wang et al. 2020: Linformer."""

from proofs_check.papers.wang_2020 import (
    constants,
    lemma_1,
    small_delta_and_norms,
    theorem_1,
    theorem_2,
)
from proofs_check.papers.wang_2020.unchecked import UNCHECKED

__all__ = ["THEOREMS", "UNCHECKED"]

THEOREMS = (
    *theorem_1.THEOREMS,
    *theorem_2.THEOREMS,
    *lemma_1.THEOREMS,
    *constants.THEOREMS,
    *small_delta_and_norms.THEOREMS,
)
