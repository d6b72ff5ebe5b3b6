"""Kacham et al. 2023: PolySketchFormer."""

from proofs_check.papers.kacham_2023.coverage import COVERAGE
from proofs_check.papers.kacham_2023.sketches import THEOREMS

__all__ = ["COVERAGE", "THEOREMS"]
